"""A WSGI application for gunicorn."""

import urllib.parse

from ledger import PART, event, poison, wait_release


def slowly(path):
    yield PART
    wait_release()
    yield PART
    event("sent", path)


def app(environ, start_response):
    path = environ["PATH_INFO"]
    query = dict(urllib.parse.parse_qsl(environ["QUERY_STRING"]))
    do = query.get("do", "ok")
    event("got", path)
    if environ["REQUEST_METHOD"] == "POST":
        environ["wsgi.input"].read()
        event("body", path)
    poison(do)
    if do == "part":
        start_response("200 OK", [("Content-Length", str(2 * len(PART)))])
        return slowly(path)
    if do == "chunk":
        start_response("200 OK", [])
        return slowly(path)
    if do == "hang":
        wait_release()
    body = b"b" * int(query["n"]) if do == "big" else b"ok"
    start_response("200 OK", [("Content-Length", str(len(body)))])
    return [body]
