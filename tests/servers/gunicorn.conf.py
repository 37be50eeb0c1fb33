"""gunicorn's hooks tell the harness which worker runs."""

from ledger import event


def post_worker_init(worker):
    event("worker", str(worker.pid))


def worker_exit(server, worker):
    event("worker_gone", str(worker.pid))
