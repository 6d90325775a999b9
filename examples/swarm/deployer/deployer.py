"""POST /deploy gives a service of the stack another image, as its own `update_config` says, for whoever knows the secret.

    {"service": "api", "image": "registry.example.com/shop/api:2"}
    X-Timestamp: seconds since 1970
    X-Signature-256: sha256=HEX, the HMAC-SHA256 of the timestamp, a dot and the body
"""
import dataclasses
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import sys
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# seconds that a request may be old, and as long as a signature is remembered
WINDOW = 300
# seconds that a sender's clock may be ahead
AHEAD = 10
# letters of a secret that nobody guesses
SHORTEST = 32
# bytes of a body
LONGEST = 16 * 1024
ENDED = {"completed": 200, "paused": 422, "rollback_paused": 422, "rollback_completed": 422}
VERSION_OF_IMAGE = re.compile(r":[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}(@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64}")


class Refused(Exception):
    """What the sender is told."""

    def __init__(self, status, why):
        super().__init__(why)
        self.status, self.why = status, why


class Connection(http.client.HTTPConnection):
    """To the engine, which listens at a file."""

    def __init__(self, path):
        super().__init__("engine", timeout=15)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Engine:
    def __init__(self, path):
        self.path = path

    def ask(self, method, path, body=None):
        """The status and what the engine answers."""
        connection = Connection(self.path)
        try:
            content = None if body is None else json.dumps(body)
            connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            raise Refused(502, f"the engine does not answer: {error}") from error
        finally:
            connection.close()
        try:
            said = json.loads(text) if text.strip() else {}
        except ValueError:
            said = {"message": text.decode(errors="replace").strip()}
        return answer.status, said

    def told(self, method, path, body=None):
        """What the engine answers, where that is not an error."""
        status, said = self.ask(method, path, body)
        if status >= 400:
            raise Refused(404 if status == 404 else 502, f"the engine says: {said.get('message', status)}")
        return said

    def pinned(self, image):
        """The image with the digest that its registry names now, so that all tasks run the same one."""
        registry, slash, _ = image.partition("/")
        # without a registry in its name it would be one of Docker Hub's, which may be anybody's
        if "@" in image or not slash or not (set(registry) & {".", ":"} or registry == "localhost"):
            return image
        try:
            status, said = self.ask("GET", f"/distribution/{urllib.parse.quote(image)}/json")
        except Refused:
            return image
        digest = said.get("Descriptor", {}).get("digest") if status == 200 else None
        return f"{image}@{digest}" if digest else image

    def update(self, name, image):
        """Has the swarm replace the tasks: the service's id, and when its update before this one had begun."""
        pinned = self.pinned(image)
        for attempt in range(3):
            found = self.told("GET", f"/services/{urllib.parse.quote(name)}")
            spec, version = found["Spec"], found["Version"]["Index"]
            template = spec["TaskTemplate"]
            if template["ContainerSpec"]["Image"] == pinned:
                # the same name again may be another image by now; without this the swarm sees no change
                template["ForceUpdate"] = template.get("ForceUpdate", 0) + 1
            template["ContainerSpec"]["Image"] = pinned
            spec.setdefault("Labels", {})["com.docker.stack.image"] = image
            # without a login in the request the engine goes on with the one that the service has
            path = f"/services/{found['ID']}/update?version={version}"
            status, said = self.ask("POST", path, spec)
            if status < 400:
                return found["ID"], found.get("UpdateStatus", {}).get("StartedAt")
            why = said.get("message", str(status))
            # somebody else has changed the service since it was read
            if "out of sequence" not in why:
                break
        raise Refused(502, f"the engine says: {why}")

    def followed(self, id, before, patience, pause=0.5):
        """The update's state and the engine's word on it, when it has ended or patience has."""
        end = time.monotonic() + patience
        state, message = "updating", ""
        while True:
            try:
                update = self.told("GET", f"/services/{id}").get("UpdateStatus") or {}
                # nothing is told until the new one has begun
                if update.get("State") and update.get("StartedAt") != before:
                    state, message = update["State"], update.get("Message", "")
            except Refused as refused:
                # the update goes on without us, and under another manager
                message = refused.why
            if state in ENDED or time.monotonic() >= end:
                return state, message
            time.sleep(pause)


@dataclasses.dataclass
class Deployer:
    secret: bytes
    # the repositories that a service may have its image from, by its name in the stack
    allowed: dict
    stack: str
    engine: Engine
    # seconds to wait for the end of an update
    patience: float = 120
    clock: object = time.time

    def __post_init__(self):
        self.began = int(self.clock())
        self.lock = threading.Lock()
        self.seen = {}
        self.busy = {service: threading.Lock() for service in self.allowed}

    def admit(self, stamp, given, body):
        """Refuses what was not signed with the secret, is too old or too new, or was already received."""
        wanted = b"sha256=" + hmac.new(self.secret, stamp + b"." + body, hashlib.sha256).hexdigest().encode()
        # in constant time: how long it takes says nothing about how much of it is right
        if not hmac.compare_digest(wanted, given):
            raise Refused(401, "the signature is wrong")
        if not re.fullmatch(rb"[0-9]{1,12}", stamp):
            raise Refused(401, "X-Timestamp is not in seconds since 1970")
        signed, now = int(stamp), self.clock()
        if not -AHEAD <= now - signed <= WINDOW:
            raise Refused(401, f"the time is {abs(now - signed):.0f} seconds off")
        # what came before the start is not remembered, and might be a replay
        if signed <= self.began + AHEAD:
            raise Refused(401, f"signed too early after this service started: sign it again in {AHEAD} seconds")
        with self.lock:
            self.seen = {known: end for known, end in self.seen.items() if end >= now}
            if wanted in self.seen:
                raise Refused(409, "this request was already received: sign a new one")
            self.seen[wanted] = signed + WINDOW

    def wish(self, body):
        """The service and the image that are asked for."""
        try:
            wish = json.loads(body)
        except ValueError as error:
            raise Refused(400, f"the body is not JSON: {error}") from error
        keys = ("service", "image")
        if not isinstance(wish, dict) or set(wish) != set(keys) or not all(isinstance(wish[key], str) for key in keys):
            raise Refused(400, 'the body is not {"service": "...", "image": "..."}')
        return wish["service"], wish["image"]

    def check(self, service, image):
        if service not in self.allowed:
            raise Refused(403, f"{service} is not a service that may be deployed")
        for repository in self.allowed[service]:
            if image.startswith(repository) and VERSION_OF_IMAGE.fullmatch(image[len(repository):]):
                return
        raise Refused(403, f"{image} is not an image that {service} may have")

    def deploy(self, service, image):
        """The status of the answer, the update's state, and what the engine says of it."""
        if not self.busy[service].acquire(blocking=False):
            raise Refused(503, f"another update of {service} is under way: sign it again later")
        try:
            id, before = self.engine.update(f"{self.stack}_{service}", image)
            state, message = self.engine.followed(id, before, self.patience)
        finally:
            self.busy[service].release()
        return ENDED.get(state, 202), state, message


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # a sender that falls silent holds no thread for longer
    timeout = 10

    def reply(self, status, thing):
        body = json.dumps(thing).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        if self.path == "/health":
            return self.reply(200, {})
        self.reply(405 if self.path == "/deploy" else 404, {})

    def body(self):
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"[0-9]{1,9}", length):
            raise Refused(411, "Content-Length is missing")
        if int(length) > LONGEST:
            raise Refused(413, f"the body is longer than {LONGEST} bytes")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise Refused(400, "the body is cut off")
        return body

    def do_POST(self):
        if self.path != "/deploy":
            return self.reply(404, {})
        begun, wish = time.monotonic(), {}
        try:
            header = lambda name: self.headers.get(name, "").encode("latin-1", "replace")
            deployer, body = self.server.deployer, self.body()
            deployer.admit(header("X-Timestamp"), header("X-Signature-256"), body)
            wish["service"], wish["image"] = deployer.wish(body)
            deployer.check(**wish)
            status, state, message = deployer.deploy(**wish)
            said = {**wish, "state": state, "message": message}
        except Refused as refused:
            status, said = refused.status, {**wish, "error": refused.why}
        except OSError:
            status, said = 408, {"error": "the body did not arrive in time"}
        forwarded = self.headers.get_all("X-Forwarded-For") or [self.client_address[0]]
        log("deploy", status=status, seconds=round(time.monotonic() - begun, 1), client=forwarded[-1], **said)
        try:
            self.reply(status, said)
        except OSError:
            # the sender has gone, the update goes on
            pass

    def log_message(self, *_):
        pass


def log(msg, /, **more):
    line = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "msg": msg, **more}
    print(json.dumps(line), flush=True)


def repositories(text):
    """`api=shop/api,registry.example.com/shop/api frontend=shop/frontend`"""
    pairs = [entry.partition("=") for entry in text.split()]
    return {service: [one for one in several.split(",") if one] for service, _, several in pairs}


def server(deployer, port):
    made = ThreadingHTTPServer(("", port), Handler)
    made.daemon_threads, made.deployer = True, deployer
    return made


def main():
    secret = pathlib.Path(os.environ.get("SECRET_FILE", "/run/secrets/deploy_secret")).read_bytes().strip()
    if len(secret) < SHORTEST:
        sys.exit(f"the secret has {len(secret)} letters; {SHORTEST} are the fewest: openssl rand -hex 32")
    engine = Engine(os.environ.get("ENGINE_SOCKET", "/var/run/docker.sock"))
    patience = float(os.environ.get("PATIENCE", "120"))
    deployer = Deployer(secret, repositories(os.environ["ALLOWED"]), os.environ["STACK"], engine, patience)
    # the first process of a container is stopped by no signal that it does not take
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    log("ready", allowed=deployer.allowed)
    server(deployer, int(os.environ.get("PORT", "9000"))).serve_forever()


if __name__ == "__main__":
    main()
