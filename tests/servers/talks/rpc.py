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
        return c, None, lambda c, at: self.told(getattr(self, mode), c, at)

    def told(self, act, c, at):
        """What the server's library says of calls that it cancels comes from the server, too."""
        try:
            return act(c, at)
        except grpc.RpcError as error:
            if error.details() != "Cancelling all calls":
                raise
            return "failed"

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

    def failed(self, call, *codes):
        """A call that must be answered with an error."""
        try:
            answers = call()
            if hasattr(answers, "__iter__") and not isinstance(answers, bytes):
                list(answers)
        except grpc.RpcError as error:
            if error.code().name not in codes:
                raise
            return f"failed {error.code().name}"
        return "answered"

    def fails(self, c, at):
        at.soon()
        call = c.channel.unary_unary(SERVICE + "Fails")
        return self.failed(lambda: call(b"x", timeout=PATIENCE), "UNAVAILABLE")

    def again(self, c, at):
        """It has failed in the same way before, so what it says is a reference to that."""
        for _ in range(3):
            self.failed(lambda: c.channel.unary_unary(SERVICE + "Flaky")(b"x", timeout=PATIENCE), "UNAVAILABLE")
        return self.fails(c, at)

    def breaks(self, c, at):
        answers = c.channel.unary_stream(SERVICE + "Breaks")(b"x", timeout=PATIENCE)
        next(answers)
        at()
        return self.failed(lambda: answers, "INTERNAL")

    def missing(self, c, at):
        """An answer like any other."""
        at.soon()
        call = c.channel.unary_unary(SERVICE + "Missing")
        self.failed(lambda: call(b"x", timeout=PATIENCE), "NOT_FOUND")
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
