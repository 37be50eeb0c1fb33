"""What speaks MongoDB's protocol and keeps nothing: documents that say `hang` are not answered. mongo.py PORT"""

import socketserver
import struct
import sys
import threading

import bson


class Handler(socketserver.BaseRequestHandler):
    def take(self, length):
        data = b""
        while len(data) < length:
            more = self.request.recv(length - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def handle(self):
        try:
            while True:
                length, number, _, operation = struct.unpack("<4i", self.take(16))
                body = self.take(length - 16)
                self.one(number, operation, body)
        except (EOFError, OSError):
            pass

    def one(self, number, operation, body):
        if operation == 2004:
            # The handshake of old: flags, collection, skip, return.
            command = bson.decode(body[body.index(0, 4) + 1 + 8 :])
            reply = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(self.answer(command))
            self.request.sendall(struct.pack("<4i", 16 + len(reply), number + 1, number, 1) + reply)
            return
        flags = struct.unpack("<I", body[:4])[0]
        size = struct.unpack("<i", body[5:9])[0]
        command = bson.decode(body[5 : 5 + size])
        if b"hang" in body and next(iter(command)) in ("find", "insert"):
            threading.Event().wait()
        if flags & 2:
            return
        reply = struct.pack("<IB", 0, 0) + bson.encode(self.answer(command))
        self.request.sendall(struct.pack("<4i", 16 + len(reply), number + 1, number, 2013) + reply)

    def answer(self, command):
        name = next(iter(command))
        if name in ("hello", "ismaster", "isMaster"):
            return {
                "ok": 1.0,
                "isWritablePrimary": True,
                "ismaster": True,
                "helloOk": True,
                "maxBsonObjectSize": 16777216,
                "maxMessageSizeBytes": 48000000,
                "maxWriteBatchSize": 100000,
                "minWireVersion": 0,
                "maxWireVersion": 21,
                "logicalSessionTimeoutMinutes": 30,
                "connectionId": 1,
            }
        if name == "ping":
            return {"ok": 1.0, "port": self.client_address[1]}
        if name == "find":
            return {"ok": 1.0, "cursor": {"id": 0, "ns": "ledger.things", "firstBatch": [{"text": "x" * 3000}] * 3}}
        return {"ok": 1.0, "n": 1}


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


Server(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
