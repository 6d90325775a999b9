"""Counts visits in PostgreSQL. On SIGTERM it says first that it is going, and goes when nobody asks any more."""
import json
import os
import pathlib
import signal
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg2

GOING = threading.Event()
# longer than the edge needs to notice: its checks, and the names that it keeps
FAREWELL = 4


def visit():
    password = pathlib.Path("/run/secrets/postgres_password").read_text().strip()
    connection = psycopg2.connect(host="postgres", user="app", dbname="app", password=password, connect_timeout=3)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("select pg_advisory_xact_lock(1)")
            cursor.execute("create table if not exists visits (n bigint not null)")
            cursor.execute("insert into visits select 0 where not exists (select 1 from visits)")
            cursor.execute("update visits set n = n + 1 returning n")
            return cursor.fetchone()[0]
    finally:
        connection.close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, thing):
        body = json.dumps(thing).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Served-By", socket.gethostname())
        if GOING.is_set():
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        version = os.environ.get("VERSION", "1")
        if self.path == "/api/health":
            return self.reply(503 if GOING.is_set() else 200, {"version": version})
        if self.path == "/api/version":
            # the one is of the stack's file, the other of the image
            release, node = os.environ.get("RELEASE", "1"), os.environ.get("NODE", "-")
            return self.reply(200, {"version": version, "release": release, "node": node})
        if self.path == "/api/visit":
            try:
                return self.reply(200, {"visits": visit(), "version": version})
            except psycopg2.Error as error:
                return self.reply(503, {"error": str(error).strip()})
        self.reply(404, {})

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def go(*_):
    GOING.set()
    threading.Thread(target=lambda: (time.sleep(FAREWELL), server.shutdown())).start()


server = Server(("", 8000), Handler)
signal.signal(signal.SIGTERM, go)
server.serve_forever()
