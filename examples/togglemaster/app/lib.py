"""What the five services share: a small HTTP server, a call to another service, JSON logs."""
import json, os, signal, sys, time, uuid
import urllib.error, urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

NAME = os.environ["SERVICE"]


def log(level="info", **fields):
    print(json.dumps({"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "level": level, "service": NAME, **fields}), flush=True)


def needs(what, check):
    """A service that lacks what it needs says so and ends, so that whoever starts it learns why."""
    try:
        check()
    except Exception as error:
        log("error", needs=what, error=f"{type(error).__name__}: {error}".strip())
        sys.exit(1)


class Refused(Exception):
    def __init__(self, status, text):
        self.status, self.text = status, text


def call(url, key, request_id):
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}", "X-Request-ID": request_id})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        raise Refused(error.code if error.code in (401, 403, 404) else 502, f"{url}: {error.code}")
    except OSError as error:
        raise Refused(502, f"{url}: {error}")


def check_key(request):
    call(os.environ["AUTH_URL"] + "/validate", request.key, request.id)


class Request:
    def __init__(self, handler):
        parts = urlsplit(handler.path)
        self.method, self.path = handler.command, parts.path
        self.query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        self.id = handler.headers.get("X-Request-ID") or str(uuid.uuid4())
        self.key = (handler.headers.get("Authorization") or "").removeprefix("Bearer ").strip()
        length = int(handler.headers.get("Content-Length") or 0)
        self.body = json.loads(handler.rfile.read(length)) if length else {}


def serve(routes):
    """routes: {(method, path): function(request) -> (status, object)}; /health is there by itself."""
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            started = time.monotonic()
            request = Request(self)
            path, trouble = request.path, {}
            try:
                if path == "/health":
                    status, result = 200, {"status": "ok"}
                else:
                    found = routes.get((request.method, path))
                    if not found and (request.method, path.rsplit("/", 1)[0] + "/*") in routes:
                        found = routes[(request.method, path.rsplit("/", 1)[0] + "/*")]
                    if not found:
                        raise Refused(404, f"no {request.method} {request.path}")
                    status, result = found(request)
            except Refused as refused:
                status, result = refused.status, {"error": refused.text}
            except Exception as error:
                status, result = 500, {"error": f"{type(error).__name__}: {error}".strip()}
            if status >= 500:
                trouble = {"level": "error", **result}
            body = json.dumps(result).encode() + b"\n"
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            if path != "/health":
                log(request_id=request.id, method=request.method, path=request.path, status=status, duration_ms=round((time.monotonic() - started) * 1000, 1), **trouble)

        do_GET = do_POST = do_DELETE = do_PUT = answer

        def log_message(self, *_):
            pass

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()


def database():
    import psycopg2
    connection = psycopg2.connect(os.environ["DATABASE_URL"])
    connection.autocommit = True
    return connection


def rows(sql, *values):
    with database() as connection, connection.cursor() as cursor:
        cursor.execute(sql, values)
        return cursor.fetchall() if cursor.description else []
