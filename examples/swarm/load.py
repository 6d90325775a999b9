#!/usr/bin/env python3
"""load.py URL SECONDS [CLIENTS]: asks without a pause, and says how many answers were not 200, how long the slowest
took, and who answered. SIGTERM ends it earlier."""
import collections
import http.client
import signal
import sys
import threading
import time
import urllib.parse

url = urllib.parse.urlsplit(sys.argv[1])
end = time.time() + float(sys.argv[2])
counts, slowest, lock = collections.Counter(), 0.0, threading.Lock()


def client():
    global slowest
    while time.time() < end:
        asked = time.time()
        try:
            connection = http.client.HTTPConnection(url.hostname, url.port or 80, timeout=10)
            connection.request("GET", url.path or "/")
            answer = connection.getresponse()
            body = answer.read().decode()
            connection.close()
            what = body.strip() if answer.status == 200 else f"FAILED {answer.status}"
        except OSError as error:
            what = f"FAILED {error}"
        with lock:
            counts[what] += 1
            slowest = max(slowest, time.time() - asked)


def stop(*_):
    global end
    end = 0


signal.signal(signal.SIGTERM, stop)
threads = [threading.Thread(target=client) for _ in range(int(sys.argv[3]) if len(sys.argv) > 3 else 4)]
begun = time.time()
[thread.start() for thread in threads]
[thread.join() for thread in threads]
total = sum(counts.values())
failed = sum(count for what, count in counts.items() if what.startswith("FAILED"))
print(f"{total} requests, {failed} failed, {total / (time.time() - begun):.0f} a second, the slowest took {slowest:.1f} s")
for what, count in counts.most_common():
    print(f"  {count:6} {what}")
