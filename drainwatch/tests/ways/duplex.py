"""A server that reads from its one connection while it writes to it. Says `begun`, `got` for what it reads, and `wrote`.

The ways to be started:

- `pipelined`: answers its first request with more than the connection has room for, and no other one;
- `greets`: begins HTTP/2 with more than the connection has room for, and answers nothing;
- `answers_in_vain`: answers the stream that is given up, and no other one; told by SIGUSR1, closes its connection and exits.
"""

import os
import signal
import socket
import struct
import sys
import threading

PORT, WAY = int(sys.argv[1]), sys.argv[2]
# More than a socket's buffers, and no more frames than are walked over in one call.
MUCH = 12 << 20


def say(word):
    os.write(1, (word + "\n").encode())


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def write(data):
    connection.sendall(data)
    say("wrote")


listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", PORT))
listener.listen()
say("begun")
connection, _ = listener.accept()
SETTINGS = frame(4, 0, 0)
if WAY == "pipelined":
    connection.recv(65536)
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % MUCH + bytes(MUCH)
    threading.Thread(target=write, args=(answer,)).start()
if WAY == "greets":
    # Frames of a kind that nobody knows are ignored (RFC 9113 section 5.5).
    ignored = frame(0xBE, 0, 0, bytes(16375))
    threading.Thread(target=write, args=(SETTINGS + ignored * (MUCH // len(ignored)),)).start()
if WAY == "answers_in_vain":
    signal.signal(signal.SIGUSR1, lambda *_: (connection.close(), os._exit(0)))
    connection.recv(65536)
    say("got")
    connection.recv(65536)
    write(SETTINGS + frame(1, 5, 3, b"\x88"))
else:
    connection.recv(65536)
    say("got")
while True:
    signal.pause()
