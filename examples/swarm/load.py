#!/usr/bin/env python3
"""load.py URL SECONDS [CLIENTS]: asks without a pause, and says how many answers were not 200 and who answered."""
import collections
import http.client
import sys
import threading
import time
import urllib.parse

url = urllib.parse.urlsplit(sys.argv[1])
end = time.time() + float(sys.argv[2])
counts, lock = collections.Counter(), threading.Lock()


def client():
    while time.time() < end:
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


threads = [threading.Thread(target=client) for _ in range(int(sys.argv[3]) if len(sys.argv) > 3 else 4)]
begun = time.time()
[thread.start() for thread in threads]
[thread.join() for thread in threads]
total = sum(counts.values())
failed = sum(count for what, count in counts.items() if what.startswith("FAILED"))
print(f"{total} requests, {failed} failed, {total / (time.time() - begun):.0f} a second")
for what, count in counts.most_common():
    print(f"  {count:6} {what}")
