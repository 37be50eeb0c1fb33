"""A mail server by aiosmtpd: what says `hang` is not taken. smtp.py PORT"""

import asyncio
import sys

from aiosmtpd.smtp import SMTP


class Handler:
    async def handle_DATA(self, server, session, envelope):
        if b"hang" in envelope.content:
            await asyncio.sleep(600)
        return "250 OK"


async def main():
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(Handler(), loop=loop), "127.0.0.1", int(sys.argv[1]))
    await server.serve_forever()


asyncio.run(main())
