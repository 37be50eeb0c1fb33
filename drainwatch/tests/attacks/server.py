"""Accepts, reads and never answers; ends by its stop signal. At SIGUSR1 it closes its connections, and ends a moment later.
Arguments: port, and a value of optmem_max, or nothing."""

import os
import pathlib
import signal
import socket
import sys
import time

port = int(sys.argv[1])
if len(sys.argv) > 2:
    pathlib.Path("/proc/sys/net/core/optmem_max").write_text(sys.argv[2])
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
listener = socket.create_server(("127.0.0.1", port))
held = []


def leave(*_):
    for connection in held:
        connection.close()
    time.sleep(0.3)
    os._exit(0)


signal.signal(signal.SIGUSR1, leave)
print("ready", flush=True)
if len(sys.argv) > 2:
    # In a network namespace of its own it is its own only client.
    if os.fork() == 0:
        os.setsid()
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        for client in clients:
            client.sendall(b"GET /unseen HTTP/1.1\r\nHost: x\r\n\r\n")
        for client in clients:
            client.recv(1)
        os._exit(0)
while True:
    connection, _ = listener.accept()
    held.append(connection)
    head = connection.recv(4096).split()
    print("got", head[1].decode(), flush=True)
