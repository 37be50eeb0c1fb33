"""What all clients of `talk.py` have in common."""

import os
import select
import socket
import threading
import time

PATIENCE = 60
lock = threading.Lock()
stopping = threading.Event()


def say(*words):
    with lock:
        os.write(1, (" ".join(map(str, words)) + "\n").encode())


def local(fd):
    with socket.socket(fileno=os.dup(fd)) as sock:
        return sock.getsockname()[1]


def tcp_of(pid, port):
    """Our ports of a process's connections to this port, in the order in which it opened them."""
    with open(f"/proc/{pid}/net/tcp") as table:
        rows = [line.split() for line in table][1:]
    to = f"0100007F:{port:04X}"
    ports = {f"socket:[{row[9]}]": int(row[1].split(":")[1], 16) for row in rows if row[2] == to and row[3] == "01"}
    links = [link_of(f"/proc/{pid}/fd/{name}") for name in sorted(os.listdir(f"/proc/{pid}/fd"), key=int)]
    return [ports[link] for link in links if link in ports]


def link_of(descriptor):
    """What it names, if it is still open."""
    try:
        return os.readlink(descriptor)
    except FileNotFoundError:
        return None


def port_of(pid, port):
    """Our port of the connection that a process opens to this port."""
    for _ in range(PATIENCE * 100):
        if ports := tcp_of(pid, port):
            return ports[0]
        time.sleep(0.01)
    raise TimeoutError(f"process {pid} has not connected to port {port}")


def descriptor(port):
    """Of a connection of ours that a library keeps to itself."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if local(int(name)) == port:
                return int(name)
        except OSError:
            pass
    raise LookupError(port)


def watch(fd):
    """Until the server has closed it, or the client is to stop; what comes meanwhile stays unread."""
    with socket.socket(fileno=os.dup(fd)) as sock:
        poll = select.poll()
        poll.register(sock, select.POLLRDHUP)
        while not stopping.is_set():
            if poll.poll(50):
                return
