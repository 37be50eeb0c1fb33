"""Python's own http.server, as people run it: HTTP/1.0 or 1.1, one thread or many."""

import http.server
import os
import signal
import socket
import sys
import threading
import time
import urllib.parse

from ledger import DIR, HOST, ON_TERM, PART, PORT, event, poison, wait_release

VERSION = os.environ.get("LEDGER_HTTP", "1.1")
THREADS = os.environ.get("LEDGER_THREADS", "many")
# `bind`: sleep before the listener exists. `accept`: listen, then take long to begin accepting.
SLOW_START = os.environ.get("LEDGER_SLOW_START", "")


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = f"HTTP/{VERSION}"

    def log_message(self, *args):
        pass

    def begin(self, length=None, status=200, **headers):
        self.send_response(status)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def answer(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        do, path = query.get("do", "ok"), url.path
        event("got", path)
        if self.command == "POST":
            self.rfile.read(int(self.headers["Content-Length"]))
            event("body", path)
        poison(do)
        if do == "ok":
            self.begin(2)
            self.wfile.write(b"ok")
        elif do == "hang":
            wait_release()
            self.begin(2)
            self.wfile.write(b"ok")
        elif do == "part":
            self.begin(2 * len(PART))
            self.wfile.write(PART)
            wait_release()
            self.wfile.write(PART)
        elif do == "close":
            self.close_connection = True
            self.begin(None)
            self.wfile.write(PART)
            wait_release()
            self.wfile.write(PART)
        elif do == "big":
            self.begin(int(query["n"]))
            self.wfile.write(b"b" * int(query["n"]))
        event("sent", path)

    def do_GET(self):
        self.answer()

    def do_POST(self):
        self.answer()

    def do_HEAD(self):
        event("got", self.path)
        self.begin(100000)


class Server(http.server.ThreadingHTTPServer if THREADS == "many" else http.server.HTTPServer):
    daemon_threads = False
    request_queue_size = 128

    def __init__(self):
        self.address_family = socket.AF_INET6 if ":" in HOST else socket.AF_INET
        super().__init__((HOST, PORT), Handler)

    def server_bind(self):
        # http.server looks its own name up, which may ask the network.
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = HOST, PORT


def main():
    def exit_at_once(*_):
        event("stopping")
        os._exit(0)

    if ON_TERM == "exit":
        signal.signal(signal.SIGTERM, exit_at_once)
    event("started")
    if SLOW_START == "bind":
        time.sleep(3600)
    server = Server()
    event("listening")
    if SLOW_START == "accept":
        time.sleep(3600)
    if ON_TERM == "drain":

        def drain(*_):
            event("stopping")
            # shutdown() waits for serve_forever(), which runs in the thread that the handler interrupts.
            threading.Thread(target=server.shutdown).start()

        signal.signal(signal.SIGTERM, drain)
    server.serve_forever(poll_interval=0.02)
    server.server_close()  # closes the listener, then joins the handler threads


sys.exit(main())
