"""An ASGI application for uvicorn."""

import asyncio
import os
import urllib.parse

from ledger import PART, event, poison, released


async def wait_release():
    while not released():
        await asyncio.sleep(0.005)


async def app(scope, receive, send):
    if scope["type"] != "http":
        return
    path = scope["path"]
    query = dict(urllib.parse.parse_qsl(scope["query_string"].decode()))
    do = query.get("do", "ok")
    event("by", str(os.getpid()))
    event("got", path)
    if scope["method"] == "POST":
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            more = message.get("more_body", False)
        event("body", path)
    poison(do)

    async def begin(*headers):
        await send({"type": "http.response.start", "status": 200, "headers": list(headers)})

    async def body(data, more=False):
        await send({"type": "http.response.body", "body": data, "more_body": more})

    if do == "hang":
        await wait_release()
    if do == "part":
        await begin((b"content-length", str(2 * len(PART)).encode()))
        await body(PART, True)
        await wait_release()
        await body(PART)
    elif do == "chunk":
        await begin()
        await body(PART, True)
        await wait_release()
        await body(PART)
    elif do == "sse":
        await begin((b"content-type", b"text/event-stream"))
        await body(b"data: 1\n\n", True)
        await wait_release()
        await body(b"data: 2\n\n")
    elif do == "big":
        data = b"b" * int(query["n"])
        await begin((b"content-length", str(len(data)).encode()))
        await body(data)
    else:
        await begin((b"content-length", b"2"))
        await body(b"ok")
    event("sent", path)
