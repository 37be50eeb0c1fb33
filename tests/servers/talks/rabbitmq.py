"""RabbitMQ."""

import os
import subprocess

import pika

from .here import PATIENCE, local, say, stopping


class RabbitMq:
    def __init__(self, port):
        self.port = port

    def run(self, mode):
        # The library's own, but where they are to come in between.
        heartbeat = 2 if mode == "job" else 60
        to = pika.ConnectionParameters(host="127.0.0.1", port=self.port, heartbeat=heartbeat)
        c = pika.BlockingConnection(to)
        fd = c._impl._transport._sock.fileno()
        say("conn", mode, local(fd))
        return c, fd, getattr(self, mode)

    def consume(self, c, queue, messages, size=2000):
        channel = c.channel()
        channel.basic_qos(prefetch_count=1)
        channel.queue_declare(queue)
        for _ in range(messages):
            channel.basic_publish("", queue, b"x" * size)
        return channel, channel.consume(queue)

    def job(self, c, at):
        """The second of two jobs takes long; heartbeats go on meanwhile."""
        channel, jobs = self.consume(c, "jobs", 2)
        done, _, _ = next(jobs)
        channel.basic_ack(done.delivery_tag)
        next(jobs)
        c.sleep(3)
        at()
        c.sleep(PATIENCE)

    def first(self, c, at):
        _, jobs = self.consume(c, "first", 1, 100)
        next(jobs)
        at()

    def waiting(self, c, at):
        channel, jobs = self.consume(c, "empty", 1)
        done, _, _ = next(jobs)
        channel.basic_ack(done.delivery_tag)
        c.process_data_events()
        at()

    def drains(self, c, at):
        channel, jobs = self.consume(c, "drained", 1)
        done, _, _ = next(jobs)
        at()
        while not stopping.is_set():
            c.sleep(0.05)
        c.sleep(0.3)
        channel.basic_ack(done.delivery_tag)

    def confirmed(self, c, at):
        self.confirming(c, "confirmed").basic_publish("", "confirmed", b"x" * 2000)
        at()

    def confirm(self, c, at):
        """The second message is not confirmed: its queue does not get to it."""
        channel = self.confirming(c, "held")
        channel.basic_publish("", "held", b"x" * 2000)
        suspend(self.port, "held")
        at.soon()
        channel.basic_publish("", "held", b"x" * 2000)
        return "answered"

    def confirming(self, c, queue):
        channel = c.channel()
        channel.queue_declare(queue)
        channel.confirm_delivery()
        return channel


def suspend(port, queue):
    """Has a queue's process wait, as one does whose disk is slow."""
    environment = broker(port)
    resource = '{resource, <<"/">>, queue, <<"%s">>}' % queue
    code = f"{{ok, Q}} = rabbit_amqqueue:lookup({resource}), sys:suspend(amqqueue:get_pid(Q))."
    command = ["/usr/lib/rabbitmq/bin/rabbitmqctl", "-n", environment["RABBITMQ_NODENAME"], "eval", code]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)


def broker(port):
    """What the broker at this port was started with."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ") as file:
                environment = dict(entry.split("=", 1) for entry in file.read().split("\0") if "=" in entry)
        except (OSError, UnicodeDecodeError):
            continue
        if environment.get("RABBITMQ_NODE_PORT") == str(port):
            return environment
    raise LookupError(port)
