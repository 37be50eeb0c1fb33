"""The side channel between a server under test and the harness.

The harness starts every server with LEDGER_DIR set. The server appends one line per moment to
`events` there, and a handler that is told to hang waits for the file `release`.
"""

import ctypes
import os
import threading
import time

DIR = os.environ["LEDGER_DIR"]
PORT = int(os.environ.get("LEDGER_PORT", "0"))
HOST = os.environ.get("LEDGER_HOST", "127.0.0.1")
ON_TERM = os.environ.get("LEDGER_ON_TERM", "default")
PART = b"p" * 1000


def event(word, what=""):
    """Reports a moment: one write with O_APPEND, so lines of several processes never mix."""
    fd = os.open(f"{DIR}/events", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(fd, f"{word} {what}\n".encode())
    os.close(fd)


def released():
    return os.path.exists(f"{DIR}/release")


def wait_release():
    """Blocks this thread until the harness lets handlers finish."""
    while not released():
        time.sleep(0.005)


def poison(kind):
    """Ends this process from inside a request handler."""
    if kind == "exit0":
        os._exit(0)
    if kind == "exit1":
        os._exit(1)
    if kind == "abort":
        os.abort()
    if kind == "segv":
        ctypes.string_at(0)
    if kind == "oom":
        hoard = []
        while True:
            hoard.append(bytearray(os.urandom(1024)) * 4096)


def main_thread():
    return threading.current_thread() is threading.main_thread()
