"""HTTP inside TLS: what a record does not show is not known, and what it shows is."""

import socket
import ssl
import subprocess
import threading

from .here import PATIENCE, local, port_of, say

HOST = "hooks.example.com"
# HTTP/2's preface, SETTINGS, and a GET of /hang or /quick (RFC 7541 by hand).
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"


def get2(path, stream):
    block = b"\x82\x87\x04" + bytes([len(path)]) + path.encode() + b"\x41" + bytes([len(HOST)]) + HOST.encode()
    return len(block).to_bytes(3, "big") + b"\1\5" + stream.to_bytes(4, "big") + block


class Connection:
    def __init__(self, port, mode):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if mode.endswith("12"):
            context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols({"h2": ["h2"], "both": ["h2", "http/1.1"]}.get(mode.partition("-")[0], ["http/1.1"]))
        if mode.startswith("silent"):
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", port), PATIENCE)
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = context.wrap_socket(plain, server_hostname=HOST, suppress_ragged_eofs=True)

    def fileno(self):
        return self.sock.fileno()

    def close(self):
        self.sock.close()

    def ask(self, method, path, body=b""):
        self.sock.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )

    def answer(self):
        """A response with a length, or what came of it."""
        got = b""
        while True:
            head, end, body = got.partition(b"\r\n\r\n")
            if end:
                length = next(
                    int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
                )
                if len(body) >= length:
                    return
            more = self.sock.recv(65536)
            if not more:
                raise EOFError
            got += more

    def quick(self):
        self.ask("GET", "/quick")
        self.answer()


class Tls:
    def __init__(self, port):
        self.port = port

    def run(self, mode):
        if mode.startswith("curl"):
            return self.curl(mode)
        c = Connection(self.port, mode)
        say("conn", mode, local(c.fileno()))
        return c, c.fileno(), getattr(self, mode.rpartition("-")[2].removesuffix("12"))

    def curl(self, mode):
        c = Curl(self.port, [] if mode == "curl" else ["--http1.1"])
        say("conn", mode, c.own_port)
        return c, None, self.wait

    def wait(self, c, at):
        at.soon()
        complaint = c.process.communicate()[1]
        if c.process.returncode:
            raise EOFError(complaint)
        return "answered"

    def fresh(self, c, at):
        at()

    def idle(self, c, at):
        c.quick()
        at()

    def twice(self, c, at):
        c.quick()
        c.quick()
        at()

    def post(self, c, at):
        c.ask("POST", "/hang", b"x" * 300)
        at.soon()
        c.answer()
        return "answered"

    def again(self, c, at):
        c.quick()
        c.quick()
        self.post(c, at)

    def h2idle(self, c, at):
        c.sock.sendall(PREFACE + get2("/quick", 1))
        c.sock.sendall(b"\0\0\0\4\1\0\0\0\0")
        threading.Event().wait(0.5)
        at()

    def h2hang(self, c, at):
        c.sock.sendall(PREFACE + get2("/hang", 1))
        at.soon()
        while c.sock.recv(65536):
            pass
        raise EOFError


class Curl:
    def __init__(self, port, version):
        command = ["curl", "-ksS", *version, "-X", "POST", "--data", "x" * 500]
        command += ["--resolve", f"{HOST}:{port}:127.0.0.1", f"https://{HOST}:{port}/hang"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.own_port = port_of(self.process.pid, port)

    def close(self):
        self.process.terminate()
