"""gRPC calls of every kind; on SIGTERM it drains for so many seconds. grpc_server.py PORT [SECONDS]"""

import os
import signal
import sys
import threading
import time
from concurrent import futures

import grpc

stop = threading.Event()


def quick(_, context):
    return context.peer().encode()


def slow(_, context):
    time.sleep(2)
    return b"done"


def hang(_, context):
    time.sleep(600)


def fails(_, context):
    """Its database is gone by then."""
    if stop.wait(600):
        context.abort(grpc.StatusCode.UNAVAILABLE, "the database is gone")


def flaky(_, context):
    """Fails now, and again when it is told to stop."""
    context.set_code(grpc.StatusCode.UNAVAILABLE)
    return b""


def breaks(_, context):
    yield b"first"
    stop.wait(600)
    context.abort(grpc.StatusCode.INTERNAL, "it broke")


def missing(_, context):
    stop.wait(600)
    context.abort(grpc.StatusCode.NOT_FOUND, "there is none")


def some(_, context):
    yield b"first"
    time.sleep(600)


def gather(requests, context):
    for _ in requests:
        pass
    return b"done"


def talk(requests, context):
    for request in requests:
        yield request


calls = {
    "Quick": grpc.unary_unary_rpc_method_handler(quick),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
    "Hang": grpc.unary_unary_rpc_method_handler(hang),
    "Fails": grpc.unary_unary_rpc_method_handler(fails),
    "Flaky": grpc.unary_unary_rpc_method_handler(flaky),
    "Missing": grpc.unary_unary_rpc_method_handler(missing),
    "Breaks": grpc.unary_stream_rpc_method_handler(breaks),
    "Some": grpc.unary_stream_rpc_method_handler(some),
    "Gather": grpc.stream_unary_rpc_method_handler(gather),
    "Talk": grpc.stream_stream_rpc_method_handler(talk),
}
server = grpc.server(futures.ThreadPoolExecutor(64))
server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("ledger.Calls", calls),))
server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
server.start()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
while not stop.wait(0.05):
    pass
server.stop(float(sys.argv[2]) if len(sys.argv) > 2 else 3).wait()
# Handlers that hang would hold it.
os._exit(0)
