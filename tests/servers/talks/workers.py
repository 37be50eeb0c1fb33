"""Workers of Celery and RQ: a job is a connection's, until it is acknowledged behind its end."""

import os
import signal
import subprocess
import sys
import time

from .here import PATIENCE, say, stopping, tcp_of

APP = """
import sys, time
from celery import Celery
app = Celery(broker=sys.argv.pop(1))
app.conf.update(task_acks_late=True, worker_prefetch_multiplier=1, broker_heartbeat=0, task_ignore_result=True,
                worker_hijack_root_logger=False, worker_redirect_stdouts=False, broker_connection_retry_on_startup=True)

@app.task(name="job")
def job(seconds):
    print("begun", flush=True)
    time.sleep(seconds)
    print("done", flush=True)

app.worker_main(["worker", "--pool=solo", "-c", "1", "--without-gossip", "--without-mingle", "--without-heartbeat", "-Q", "celery",
                 "--loglevel=ERROR"])
"""


RQ = """
import sys
from redis import Redis
from rq import Queue, Worker
port, queue = int(sys.argv[1]), sys.argv[2]
connection = Redis(port=port)
Worker([Queue(queue, connection=connection)], connection=connection).work(logging_level="ERROR")
"""


class Worker:
    def __init__(self, port, seconds):
        from celery import Celery

        broker = f"amqp://guest:guest@127.0.0.1:{port}//"
        app = Celery(broker=broker)
        # A connection that is closed at once may take with it what the broker has not read yet.
        app.conf.broker_transport_options = {"confirm_publish": True}
        # That it acknowledges at all shows when it has done so once.
        for length in (0, seconds):
            app.send_task("job", [length], queue="celery")
        app.pool.force_close_all()
        app.close()
        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "C_FORCE_ROOT": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-c", APP, broker], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env
        )
        begun = 0
        for line in self.process.stdout:
            begun += "begun" in line
            if begun == 2:
                break
        # What it takes jobs from it has opened first.
        self.own_port = tcp_of(self.process.pid, port)[0]

    def until_gone(self):
        while self.process.poll() is None and not stopping.wait(0.05):
            pass

    def close(self):
        """A warm shutdown."""
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)


class Celery:
    def __init__(self, port):
        self.port = port

    def run(self, mode):
        c = Worker(self.port, PATIENCE if mode == "job" else 2)
        say("conn", mode, c.own_port)
        return c, None, getattr(self, mode)

    def job(self, c, at):
        time.sleep(0.5)
        at()

    def short(self, c, at):
        at()


class RqWorker(Worker):
    """It has another process do the job, and says before that it does."""

    def __init__(self, port, queue, seconds):
        from redis import Redis
        from rq import Queue
        from rq.worker import Worker as Known

        env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        self.process = subprocess.Popen([sys.executable, "-c", RQ, str(port), queue], env=env)
        with Redis(port=port) as redis:
            jobs = Queue(queue, connection=redis)
            if seconds:
                job = jobs.enqueue("time.sleep", seconds)
                self.until(lambda: job.get_status() == "started")
            else:
                self.until(lambda: [worker.state for worker in Known.all(queue=jobs)] == ["idle"])
            # Long lists are opaque, and this connection is of the same workload.
            redis.ping()
        # The first that it opens is the one that it is told by what to do.
        self.own_port = tcp_of(self.process.pid, port)[1]

    def until(self, true):
        ends = time.monotonic() + PATIENCE
        while not true():
            if time.monotonic() > ends or self.process.poll() is not None:
                raise TimeoutError("the worker does not get there")
            time.sleep(0.05)


class Rq:
    def __init__(self, port):
        self.port = port

    def run(self, mode):
        c = RqWorker(self.port, mode, {"job": PATIENCE, "short": 3}.get(mode))
        say("conn", mode, c.own_port)
        return c, None, lambda _, at: at()
