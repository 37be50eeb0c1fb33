"""Clients of databases, caches and queues for the ledger: each brings its connection to a point, then says what it sees.

    talk.py KIND PORT MODE...

A line `conn MODE PORT` for each connection, `ready` when all are at their points, and `saw PORT WHAT` at its end: `lost`
where it was owed an answer and will not get it, `answered`, `closed` where it waited for nothing. SIGTERM: it closes all
connections as its library does, and exits.
"""

import importlib
import signal
import sys
import threading
import time

from talks.here import PATIENCE, local, say, stopping, watch

KIND, PORT, MODES = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
arrived = threading.Barrier(len(MODES) + 1)

# Libraries complain about connections that are gone when they clean up.
sys.unraisablehook = lambda *_: None


class Postgres:
    def __init__(self):
        import psycopg

        self.module = psycopg
        # It would ask a server that is gone, on a new connection, to cancel what was lost.
        psycopg.Connection._try_cancel = lambda *_, **__: None
        self.to = f"host=127.0.0.1 port={PORT} user=postgres dbname=postgres"

    def run(self, mode):
        autocommit = mode not in ("transaction", "failed")
        with_ = self.module.connect(self.to, autocommit=autocommit)
        fd = with_.fileno()
        say("conn", mode, local(fd))
        return with_, fd, getattr(self, mode)

    def idle(self, c, at):
        c.execute("select 1").fetchall()
        at()

    def large(self, c, at):
        c.execute("select repeat('x', 90) from generate_series(1, 200)").fetchall()
        at()

    def wide(self, c, at):
        c.execute("select $1 || repeat('x', 4000)".replace("$1", "%s::text"), ["y" * 3000]).fetchall()
        at()

    def transaction(self, c, at):
        c.execute("create temporary table t (n int)")
        c.execute("insert into t values (1)")
        at()

    def committed(self, c, at):
        with c.transaction():
            c.execute("select repeat('x', 900)").fetchall()
        at()

    def failed(self, c, at):
        try:
            c.execute("select nothing")
        except self.module.Error:
            pass
        at()

    def query(self, c, at):
        at.soon()
        c.execute("select pg_sleep(60)")
        return "answered"

    def finishes(self, c, at):
        """Its client leaves when it has its answer, as who is told to stop does."""
        at.soon()
        c.execute("select pg_sleep(2)").fetchall()
        c.close()
        return "answered"

    def rows(self, c, at):
        sql = """select repeat('x', 100), case when g = 900 then pg_sleep(60)::text end
                 from generate_series(1, 1000) g"""
        for number, _ in enumerate(c.cursor().stream(sql)):
            if number == 100:
                at()
        return "answered"

    def copy(self, c, at):
        c.execute("create temporary table t (n text)")
        with c.cursor().copy("copy t from stdin") as copy:
            for _ in range(2000):
                copy.write("x" * 50 + "\n")
            at()
            time.sleep(PATIENCE)
        return "answered"

    def listen(self, c, at):
        c.execute("listen c")
        with self.module.connect(self.to, autocommit=True) as other:
            for _ in range(9):
                other.execute("notify c, '" + "y" * 200 + "'")
        for number, _ in enumerate(c.notifies(timeout=PATIENCE)):
            if number == 8:
                break
        at()


class MySql:
    def __init__(self):
        import pymysql

        self.module = pymysql

    def run(self, mode):
        c = self.module.connect(
            host="127.0.0.1", port=PORT, user="ledger", database="test", autocommit=mode not in ("transaction",)
        )
        fd = c._sock.fileno()
        say("conn", mode, local(fd))
        return c, fd, getattr(self, mode)

    def ask(self, c, sql, *args):
        with c.cursor() as cursor:
            cursor.execute(sql, *args)
            return cursor.fetchall()

    def idle(self, c, at):
        self.ask(c, "select 1")
        at()

    def large(self, c, at):
        self.ask(c, "select repeat('x', 90) from seq_1_to_200")
        at()

    def wide(self, c, at):
        self.ask(c, "select concat(%s, repeat('x', 4000))", ["y" * 3000])
        at()

    def committed(self, c, at):
        c.begin()
        self.ask(c, "insert into t values (1)")
        c.commit()
        at()

    def transaction(self, c, at):
        self.ask(c, "insert into t values (2)")
        at()

    def query(self, c, at):
        at.soon()
        self.ask(c, "select sleep(60)")
        return "answered"

    def rows(self, c, at):
        cursor = c.cursor(self.module.cursors.SSCursor)
        cursor.execute("select repeat('x', 1000), if(seq = 900, sleep(60), 0) from seq_1_to_1000")
        for _ in range(100):
            cursor.fetchone()
        at()
        list(cursor.fetchall_unbuffered())
        return "answered"


class Redis:
    def __init__(self):
        import redis

        self.module = redis

    def run(self, mode):
        version = 3 if mode in ("three", "half") else 2
        c = self.module.Connection(host="127.0.0.1", port=PORT, socket_timeout=PATIENCE, protocol=version)
        c.connect()
        fd = c._sock.fileno()
        say("conn", mode, local(fd))
        c.close = c.disconnect
        return c, fd, getattr(self, mode)

    def ask(self, c, *words):
        c.send_command(*words)
        return c.read_response()

    def idle(self, c, at):
        self.ask(c, "SET", "a", "1")
        at()

    def three(self, c, at):
        self.ask(c, "HSET", "h", "a", "1")
        self.ask(c, "HGETALL", "h")
        at()

    def large(self, c, at):
        self.ask(c, "SET", "l", "x" * 5000)
        self.ask(c, "GET", "l")
        at()

    def blocked(self, c, at):
        self.ask(c, "SET", "a", "1")
        c.send_command("BLPOP", "nothing", "0")
        at()

    def subscribed(self, c, at):
        self.ask(c, "SUBSCRIBE", "c")
        at()

    def multi(self, c, at):
        self.ask(c, "MULTI")
        self.ask(c, "SET", "a", "1")
        at()

    def executed(self, c, at):
        words = [("MULTI",), ("INCR", "n"), ("INCR", "n"), ("EXEC",)]
        c.send_packed_command(c.pack_commands(words))
        for _ in words:
            c.read_response()
        at()

    def pipeline(self, c, at):
        """The first of three is answered; the second waits, and with it the third."""
        c.send_packed_command(c.pack_commands([("INCR", "p"), ("BLPOP", "nothing", "0"), ("INCR", "p")]))
        c.read_response()
        at()
        c.read_response()
        return "answered"

    def half(self, c, at):
        """The server does not read it to its end; what it had said unasked before stays unread."""
        self.ask(c, "CLIENT", "TRACKING", "ON")
        self.ask(c, "GET", "watched")
        other = self.module.Connection(host="127.0.0.1", port=PORT, socket_timeout=0.3)
        other.connect()
        self.ask(other, "SET", "watched", "1")
        try:
            while self.ask(other, "PING"):
                time.sleep(0.1)
        except self.module.TimeoutError:
            other.disconnect()
        at.soon()
        c.send_packed_command(c.pack_commands([("INCR", "n"), ("SET", "half", "x" * 50_000_000)]))
        return "answered"

    def script(self, c, at):
        # Whoever asks after it waits for it.
        time.sleep(1)
        at.soon()
        self.ask(c, "EVAL", "while true do end", "0")
        return "answered"


class At:
    """The point that a connection is to be brought to."""

    def __init__(self, fd):
        self.fd, self.waited = fd, False

    def __call__(self):
        arrived.wait()

    def soon(self):
        """It will be there in a moment: the call that follows does not return."""
        threading.Timer(0.5, arrived.wait).start()


def known(connection, name):
    """What a connection of ours has; those of libraries have members of any name."""
    ours = type(connection).__module__.startswith("talks.")
    return getattr(connection, name, None) if ours else None


def play(kind, mode):
    connection, fd, act = kind.run(mode)
    port = known(connection, "own_port") or local(fd)
    try:
        what = act(connection, At(fd))
        if what is None:
            waits = known(connection, "until_gone")
            waits() if waits else watch(fd)
            what = "closed"
    except Exception as error:
        what = f"lost {type(error).__name__}: {error}".replace("\n", " ")
    if stopping.is_set():
        connection.close()
    say("saw", port, what)


HERE = {"postgresql": Postgres, "mysql": MySql, "redis": Redis}
# Module and class of the others.
ELSEWHERE = {
    "tls": ("tls", "Tls"),
    "grpc": ("rpc", "Grpc"),
    "memcached": ("caches", "Memcached"),
    "mongodb": ("caches", "MongoDb"),
    "mqtt": ("queues", "Mqtt"),
    "nats": ("queues", "Nats"),
    "smtp": ("queues", "Smtp"),
    "fastcgi": ("fastcgi", "FastCgi"),
    "amqp": ("rabbitmq", "RabbitMq"),
    "celery": ("workers", "Celery"),
    "rq": ("workers", "Rq"),
}


def speaker():
    if KIND in HERE:
        return HERE[KIND]()
    module, name = ELSEWHERE[KIND]
    return getattr(importlib.import_module(f"talks.{module}"), name)(PORT)


def main():
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    kind = speaker()
    threads = [threading.Thread(target=play, args=(kind, mode), daemon=True) for mode in MODES]
    for thread in threads:
        thread.start()
    arrived.wait()
    say("ready")
    for thread in threads:
        while thread.is_alive():
            thread.join(0.1)
    say("gone")


main()
