"""Servers that are all stopped at once, each in a cgroup of its own with one request in flight. Arguments: the cgroup below
which they are, and how many. Stops them at SIGUSR1."""

import os
import pathlib
import signal
import socket
import sys

signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
home = pathlib.Path(sys.argv[1])
servers, clients = [], []
for n in range(int(sys.argv[2])):
    cgroup = home / str(n)
    cgroup.mkdir()
    told, tells = os.pipe()
    server = os.fork()
    if server == 0:
        (cgroup / "cgroup.procs").write_text(str(os.getpid()))
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        listener = socket.create_server(("127.0.0.1", 0))
        os.write(tells, listener.getsockname()[1].to_bytes(2, "big"))
        connection, _ = listener.accept()
        connection.recv(4096)
        os.write(tells, b"!")
        while True:
            signal.pause()
    client = socket.create_connection(("127.0.0.1", int.from_bytes(os.read(told, 2), "big")))
    client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    os.read(told, 1)
    os.close(told)
    os.close(tells)
    servers.append(server)
    clients.append(client)
print("ready", flush=True)
signal.sigwait([signal.SIGUSR1])
for server in servers:
    os.kill(server, signal.SIGTERM)
for server in servers:
    os.waitpid(server, 0)
print("stopped", flush=True)
signal.sigwait([signal.SIGUSR1])
