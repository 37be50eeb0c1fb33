"""gRPC, as its own library speaks it: one connection for each mode."""

import threading

import grpc

from .here import PATIENCE, say, stopping

SERVICE = "/ledger.Calls/"


class Connection:
    def __init__(self, port):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])
        # The server says where it is asked from.
        self.own_port = int(self.channel.unary_unary(SERVICE + "Quick")(b"", timeout=PATIENCE).rpartition(b":")[2])

    def until_gone(self):
        gone = threading.Event()
        self.channel.subscribe(lambda state: state != grpc.ChannelConnectivity.READY and gone.set())
        while not stopping.is_set() and not gone.wait(0.05):
            pass

    def close(self):
        self.channel.close()


class Grpc:
    def __init__(self, port):
        self.port = port

    def run(self, mode):
        c = Connection(self.port)
        say("conn", mode, c.own_port)
        return c, None, getattr(self, mode)

    def idle(self, c, at):
        at()

    def unary(self, c, at):
        at.soon()
        c.channel.unary_unary(SERVICE + "Hang")(b"x", timeout=PATIENCE)
        return "answered"

    def finishes(self, c, at):
        at.soon()
        c.channel.unary_unary(SERVICE + "Slow")(b"x", timeout=PATIENCE)
        return "answered"

    def server(self, c, at):
        answers = c.channel.unary_stream(SERVICE + "Some")(b"x", timeout=PATIENCE)
        next(answers)
        at()
        list(answers)
        return "answered"

    def endless(self, at):
        for number in range(3):
            yield b"%d" % number
        at.soon()
        threading.Event().wait(PATIENCE)

    def client(self, c, at):
        c.channel.stream_unary(SERVICE + "Gather")(self.endless(at), timeout=PATIENCE)
        return "answered"

    def bidi(self, c, at):
        answers = c.channel.stream_stream(SERVICE + "Talk")(self.endless(at), timeout=PATIENCE)
        list(answers)
        return "answered"
