"""A job that serves nobody. Says `begun` when it is at work."""

import os
import signal
import subprocess
import sys
import threading
import time


def burn():
    while True:
        pass


what = sys.argv[1]
if what == "child":
    child = subprocess.Popen(["sleep", "1000"])
if what == "drain":
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
if what == "threads":
    threading.Thread(target=burn, daemon=True).start()
print("begun", flush=True)
if what == "burn":
    burn()
if what == "child":
    child.wait()
time.sleep(1000)
