"""MQTT, NATS and SMTP."""

import asyncio
import queue
import smtplib
import threading
import time

from .here import PATIENCE, local, say, stopping


class Mqtt:
    def __init__(self, port):
        self.port = port

    def run(self, mode):
        import paho.mqtt.client as mqtt

        c = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id=mode)
        came = queue.Queue()
        c.on_message = lambda _c, _d, message: (came.put(message), self.work(mode))
        joined = threading.Event()
        c.on_subscribe = lambda *_: joined.set()
        c.reconnect_delay_set(600, 600)
        c.connect("127.0.0.1", self.port)
        c.loop_start()
        while not c.is_connected():
            time.sleep(0.01)
        c.came, c.joined = came, joined
        fd = c.socket().fileno()
        say("conn", mode, local(fd))
        c.close = c.disconnect
        return c, fd, getattr(self, mode)

    def work(self, mode):
        if mode == "job":
            time.sleep(PATIENCE)

    def idle(self, c, at):
        at()

    def quality0(self, c, at):
        c.publish("things", b"x" * 500, qos=0)
        time.sleep(0.3)
        at()

    def quality1(self, c, at):
        c.publish("things", b"x" * 500, qos=1).wait_for_publish(PATIENCE)
        at()

    def quality2(self, c, at):
        c.publish("things", b"x" * 500, qos=2).wait_for_publish(PATIENCE)
        at()

    def subscribed(self, c, at):
        self.subscribe(c, "waiting")
        at()

    def subscribe(self, c, topic):
        c.subscribe(topic, qos=1)
        c.joined.wait(PATIENCE)

    def publish(self, topic):
        """By somebody else."""
        from paho.mqtt import publish

        publish.single(topic, b"one", qos=1, hostname="127.0.0.1", port=self.port)

    def job(self, c, at):
        """It is at work on what came, and has not acknowledged it."""
        self.subscribe(c, "jobs")
        self.publish("jobs")
        c.came.get(timeout=PATIENCE)
        time.sleep(0.3)
        at()

    def done(self, c, at):
        self.subscribe(c, "done")
        self.publish("done")
        c.came.get(timeout=PATIENCE)
        time.sleep(0.3)
        at()


class Nats:
    def __init__(self, port):
        self.port = port

    def run(self, mode):
        import nats

        c = Loop()
        c.nats = c.do(nats.connect(f"nats://127.0.0.1:{self.port}", allow_reconnect=False))
        fd = c.nats._transport._io_writer.get_extra_info("socket").fileno()
        say("conn", mode, local(fd))
        return c, fd, getattr(self, mode)

    def idle(self, c, at):
        c.do(c.nats.flush())
        at()

    def subscribed(self, c, at):
        c.do(c.nats.subscribe("waiting"))
        c.do(c.nats.flush())
        at()

    def asked(self, c, at):
        async def answer(message):
            await message.respond(b"done")

        c.do(c.nats.subscribe("asked", cb=answer))
        c.do(c.nats.request("asked", b"x" * 300, timeout=PATIENCE))
        c.do(c.nats.flush())
        at()

    def published(self, c, at):
        c.do(c.nats.publish("things", b"x" * 300))
        time.sleep(0.3)
        at()


class Loop:
    """An event loop in a thread of its own."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        threading.Thread(target=self.loop.run_forever, daemon=True).start()

    def do(self, what):
        return asyncio.run_coroutine_threadsafe(what, self.loop).result(PATIENCE)

    def close(self):
        self.do(self.nats.close())


class Smtp:
    def __init__(self, port):
        self.port = port

    def run(self, mode):
        c = smtplib.SMTP("127.0.0.1", self.port, "ledger.example", timeout=PATIENCE)
        c.ehlo()
        fd = c.sock.fileno()
        say("conn", mode, local(fd))
        c.close = c.quit
        return c, fd, getattr(self, mode)

    def idle(self, c, at):
        at()

    def sent(self, c, at):
        c.sendmail("a@ledger.example", ["b@ledger.example"], "Subject: done\r\n\r\n" + 60 * ("x" * 50 + "\r\n"))
        at()

    def hangs(self, c, at):
        """The server does not take it."""
        at.soon()
        c.sendmail("a@ledger.example", ["b@ledger.example"], "Subject: hang\r\n\r\nhello")
        return "answered"

    def half(self, c, at):
        c.mail("a@ledger.example")
        c.rcpt("b@ledger.example")
        c.docmd("DATA")
        c.sock.sendall(b"Subject: half\r\n\r\nhel")
        at.soon()
        if not c.sock.recv(100):
            raise EOFError
        return "answered"
