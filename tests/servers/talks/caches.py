"""memcached and MongoDB."""

from .here import PATIENCE, descriptor, local, say


class Memcached:
    def __init__(self, port):
        self.port = port

    def run(self, mode):
        from pymemcache.client.base import Client

        c = Client(("127.0.0.1", self.port), timeout=PATIENCE, default_noreply=False)
        c.set("begin", "1")
        fd = c.sock.fileno()
        say("conn", mode, local(fd))
        return c, fd, getattr(self, mode)

    def idle(self, c, at):
        c.get("begin")
        at()

    def large(self, c, at):
        c.set("large", "x" * 9000)
        c.get("large")
        at()

    def quiet(self, c, at):
        c.set("quiet", "1", noreply=True)
        at()

    def many(self, c, at):
        c.set_many({f"k{n}": "v" * 50 for n in range(30)})
        c.get_many([f"k{n}" for n in range(30)])
        at()

    def half(self, c, at):
        """The data of a value does not come to its end."""
        c.sock.sendall(b"set half 0 0 5000\r\nxxxx")
        at.soon()
        if not c.sock.recv(100):
            raise EOFError
        return "answered"


class MongoDb:
    """One client for each mode; its pool has one connection, and what it watches the server with is none of ours."""

    def __init__(self, port):
        self.port = port

    def run(self, mode):
        import pymongo

        c = pymongo.MongoClient(
            "127.0.0.1",
            self.port,
            maxPoolSize=1,
            retryReads=False,
            retryWrites=False,
            # Nobody is to notice that the server has gone, and to try again.
            serverMonitoringMode="poll",
            heartbeatFrequencyMS=600_000,
        )
        # The server says where it is asked from.
        port = c.ledger.command("ping")["port"]
        say("conn", mode, port)
        return c, descriptor(port), getattr(self, mode)

    def idle(self, c, at):
        c.ledger.things.insert_one({"a": 1})
        at()

    def found(self, c, at):
        list(c.ledger.things.find({}))
        at()

    def query(self, c, at):
        at.soon()
        c.ledger.things.find_one({"hang": True})
        return "answered"

    def write(self, c, at):
        at.soon()
        c.ledger.hang.insert_one({"hang": True, "text": "x" * 4000})
        return "answered"

    def unacknowledged(self, c, at):
        from pymongo import WriteConcern

        c.ledger.get_collection("things", write_concern=WriteConcern(w=0)).insert_one({"a": 1})
        at()

