"""A server on bare sockets, a thread for each connection. Says `begun PORT`, and `got PATH` for each request.

`/hang…` is never answered, all else at once. The ways to be started:

- `plain`: the default action for every signal;
- `cpu`: burns CPU until its limit (RLIMIT_CPU) ends it;
- `headless`: its main thread ends, the others serve on;
- `slow`: one thread takes a request every 0.3 s; exits after the last of them when told to stop;
- `reuse`: shares its port (SO_REUSEPORT), exits at once when told to stop;
- `leaves`: keeps its connections, read or not; told by SIGUSR1 or SIGTERM, closes them, says `closed`, and exits 0.3 s later;
- `lingers`: told by either, shuts their sending sides down, says `closed`, reads what comes for 0.5 s, and exits;
- `discards`: the same, but throws away what it reads before it is copied (MSG_TRUNC), as lighttpd does;
- `worker`: as `leaves`, in a child whose parent has opened the listener; says `worker PID`;
- `drops`: answers nothing; told by SIGUSR1, closes all connections, and exits 0.3 s later; by SIGUSR2, replaces itself then;
- `closes`: told to stop, closes its listener, says `closed`, and exits 6 s later;
- `helper`: has a child that serves nobody and that SIGUSR1 makes it end; says `helped` then; exits at once when told to stop;
- `deferred`: asks the kernel for connections with a request alone (TCP_DEFER_ACCEPT), exits at once when told to stop;
- `mptcp`: speaks MPTCP, which plain TCP clients do not notice;
- `goes_on`: does nothing when told to stop; listens on a Unix socket, too;
- `front`: asks a worker of its own, in the same cgroup, and wakes itself up by a connection to itself.
"""

import ctypes
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import time

PORT, WAY = int(sys.argv[1]), sys.argv[2]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
SYS_EXIT = {"x86_64": 60, "aarch64": 93}[os.uname().machine]


def say(*words):
    os.write(1, (" ".join(words) + "\n").encode())


def serve(connection, inner=None):
    while data := connection.recv(65536):
        path = data.split(b" ")[1].decode()
        if inner:
            inner.sendall(data)
        say("got", path)
        if path.startswith("/hang"):
            time.sleep(1000)
        connection.sendall(OK)


def thread(target, *arguments):
    threading.Thread(target=target, args=arguments, daemon=True).start()


listener = socket.socket(proto=socket.IPPROTO_MPTCP if WAY == "mptcp" else 0)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
if WAY == "reuse":
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
if WAY == "deferred":
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_DEFER_ACCEPT, 30)
listener.bind(("127.0.0.1", PORT))
listener.listen(64)


def accept():
    while True:
        connection, _ = listener.accept()
        thread(serve, connection)


if WAY == "slow":
    stopping = False

    def stop(*_):
        global stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    listener.settimeout(0.05)
    say("begun")
    taken = 0
    while not (stopping and taken == 4):
        try:
            connection, _ = listener.accept()
        except TimeoutError:
            continue
        time.sleep(0.3)
        connection.recv(65536)
        connection.sendall(OK)
        taken += 1
    sys.exit(0)

if WAY in ("leaves", "lingers", "discards", "worker", "drops"):
    if WAY == "worker" and (worker := os.fork()):
        say("worker", str(worker))
        os.waitpid(worker, 0)
        time.sleep(1000)
    kept = []
    lingers = WAY in ("lingers", "discards")

    def leave(by, _):
        for connection in kept:
            if lingers:
                connection.shutdown(socket.SHUT_WR)
            else:
                connection.close()
        say("closed")
        until = time.monotonic() + 0.5
        while lingers and (left := until - time.monotonic()) > 0:
            for connection in select.select(kept, [], [], left)[0]:
                if not connection.recv(65536, socket.MSG_TRUNC if WAY == "discards" else 0):
                    kept.remove(connection)
        time.sleep(0.3)
        if by == signal.SIGUSR2:
            os.execvp("sleep", ["sleep", "1000"])
        os._exit(0)

    signal.signal(signal.SIGUSR1, leave)
    signal.signal(signal.SIGUSR2, leave)
    signal.signal(signal.SIGTERM, leave)
    say("begun")
    while True:
        connection, _ = listener.accept()
        kept.append(connection)
        connection.settimeout(0.5)
        try:
            data = connection.recv(65536)
            if WAY == "drops":
                say("got", data.split(b" ")[1].decode())
            else:
                connection.sendall(OK)
        except TimeoutError:
            say("silent")

if WAY == "closes":

    def close(*_):
        listener.close()
        say("closed")
        time.sleep(6)
        os._exit(0)

    signal.signal(signal.SIGTERM, close)
    say("begun")
    while True:
        connection, _ = listener.accept()
        thread(serve, connection)

if WAY == "front":
    behind = subprocess.Popen([sys.executable, __file__, "0", "plain"], stdout=subprocess.PIPE)
    inner_port = int(behind.stdout.readline().split()[1])
    thread(lambda: [say(line.decode().strip()) for line in behind.stdout])
    wake = socket.create_connection(("127.0.0.1", PORT))
    woken, _ = listener.accept()
    for _ in range(3):
        wake.sendall(b"!")
        woken.recv(1)
        woken.sendall(b"?")
        wake.recv(1)
    wake.sendall(b"!")
    say("begun")
    while True:
        connection, _ = listener.accept()
        thread(serve, connection, socket.create_connection(("127.0.0.1", inner_port)))

if WAY == "goes_on":
    local = socket.socket(socket.AF_UNIX)
    local.bind(f"\0drainwatch-ways-{PORT}")
    local.listen()
    signal.signal(signal.SIGTERM, lambda *_: say("told"))
if WAY == "helper":
    helper = subprocess.Popen(["sleep", "1000"])

    def end_it(*_):
        helper.terminate()
        helper.wait()
        say("helped")

    signal.signal(signal.SIGUSR1, end_it)
thread(accept)
if WAY == "cpu":
    resource.setrlimit(resource.RLIMIT_CPU, (2, 2))
say("begun", str(listener.getsockname()[1]))
if WAY == "cpu":
    while True:
        pass
if WAY == "headless":
    # ctypes lets go of the interpreter's lock: the main thread ends, and nothing else.
    ctypes.CDLL(None).syscall(SYS_EXIT, 0)
if WAY in ("reuse", "deferred", "helper"):
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while True:
    time.sleep(1000)
