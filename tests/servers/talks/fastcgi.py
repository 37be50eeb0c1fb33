"""What a web server asks PHP for: by hand, and by nginx."""

import http.client
import os
import socket
import struct
import subprocess
import tempfile
import time

from .here import PATIENCE, local, port_of, say

NGINX = """
daemon off; master_process off; pid {at}/pid; error_log {at}/error;
events {{ worker_connections 64; }}
http {{
    access_log off;
    client_body_temp_path {at}/1; proxy_temp_path {at}/2; fastcgi_temp_path {at}/3; uwsgi_temp_path {at}/4;
    scgi_temp_path {at}/5;
    server {{
        listen unix:{at}/socket;
        location / {{
            include /etc/nginx/fastcgi_params;
            fastcgi_param SCRIPT_FILENAME {scripts}$document_uri;
            fastcgi_pass 127.0.0.1:{port};
        }}
    }}
}}
"""
SCRIPTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "php")


def record(kind, body=b""):
    return struct.pack(">BBHHBB", 1, kind, 1, len(body), 0, 0) + body


def pair(name, value):
    return struct.pack(">BI", len(name), len(value) | 1 << 31) + name.encode() + value.encode()


class Nginx:
    """Asked for one page, which PHP has been asked for then."""

    def __init__(self, port):
        at = tempfile.mkdtemp()
        with open(f"{at}/conf", "w") as conf:
            conf.write(NGINX.format(at=at, port=port, scripts=SCRIPTS))
        self.process = subprocess.Popen(["nginx", "-c", f"{at}/conf"], stderr=subprocess.DEVNULL)
        self.client = socket.socket(socket.AF_UNIX)
        while self.client.connect_ex(f"{at}/socket"):
            if self.process.poll() is not None:
                raise ChildProcessError(f"nginx ended with {self.process.returncode}, see {at}/error")
            time.sleep(0.01)
        self.client.sendall(b"GET /hang.php HTTP/1.0\r\n\r\n")
        self.own_port = port_of(self.process.pid, port)

    def answer(self):
        answer = http.client.HTTPResponse(self.client)
        answer.begin()
        answer.read()
        return answer.status

    def close(self):
        self.process.terminate()


class FastCgi:
    def __init__(self, port):
        self.port = port

    def run(self, mode):
        if mode == "nginx":
            c = Nginx(self.port)
            say("conn", mode, c.own_port)
            return c, None, self.nginx
        c = socket.create_connection(("127.0.0.1", self.port), PATIENCE)
        say("conn", mode, local(c.fileno()))
        return c, c.fileno(), getattr(self, mode)

    def ask(self, c, script):
        params = {
            "SCRIPT_FILENAME": f"{SCRIPTS}/{script}",
            "REQUEST_METHOD": "GET",
            "REQUEST_URI": f"/{script}?a=b",
            "HTTP_HOST": "ledger.example",
        }
        body = b"".join(pair(name, value) for name, value in params.items())
        c.sendall(record(1, struct.pack(">HB5x", 1, 1)) + record(4, body) + record(4) + record(5))

    def answer(self, c):
        """Until the record that ends the request; or what came of it."""
        stream = c.makefile("rb")
        while True:
            head = stream.read(8)
            if len(head) < 8:
                raise EOFError
            _, kind, _, length, padding, _ = struct.unpack(">BBHHBB", head)
            stream.read(length + padding)
            if kind == 3:
                return "answered"

    def idle(self, c, at):
        self.ask(c, "quick.php")
        self.answer(c)
        at()

    def hang(self, c, at):
        self.ask(c, "hang.php")
        at.soon()
        return self.answer(c)

    def part(self, c, at):
        self.ask(c, "part.php")
        at.soon()
        return self.answer(c)

    def nginx(self, c, at):
        at.soon()
        status = c.answer()
        if status == 502:
            raise EOFError(status)
        return f"answered {status}"
