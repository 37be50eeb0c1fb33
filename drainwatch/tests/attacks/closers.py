"""Processes that accept, answer, and close a moment later, all the time, each its own only client, until they are killed.
Argument: how many."""

import os
import socket
import sys
import time

REQUEST = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def close_all_the_time():
    parent = os.getppid()
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)
    while os.getppid() == parent:
        pairs = []
        for _ in range(40):
            client = socket.create_connection(listener.getsockname())
            server, _ = listener.accept()
            client.sendall(REQUEST)
            server.recv(4096)
            server.sendall(ANSWER)
            pairs.append((client, server))
        # Long enough for them to be idle.
        time.sleep(0.1)
        for client, server in pairs:
            server.close()
            client.close()


for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        close_all_the_time()
        os._exit(0)
# So that each has had a turn, and all have closed more than is kept of one.
time.sleep(2)
print("flooding", flush=True)
while True:
    time.sleep(60)
