"""Signals without end, from a process to itself or to its child, until it is killed. Argument: how."""

import os
import signal
import sys
import time

way = sys.argv[1]
target = os.getpid()
if way == "ignored":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
else:
    signal.signal(signal.SIGTERM, lambda *_: None)
if way == "child":
    child = os.fork()
    if child == 0:
        while True:
            time.sleep(60)
    target = child
print("ready", flush=True)
count = 0
while True:
    os.kill(target, signal.SIGTERM)
    count += 1
    if count == 20_000:
        print("flooding", flush=True)
