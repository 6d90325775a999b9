"""The deployer over HTTP, with an engine of a few lines behind a socket: `python3 -m unittest`."""
import contextlib
import hashlib
import hmac
import http.client
import io
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from http.server import BaseHTTPRequestHandler
from unittest import mock

import deployer

SECRET = b"0123456789abcdef0123456789abcdef"
FOLDER = pathlib.Path(__file__).resolve().parent
DIGEST = "sha256:" + "a" * 64


def service(image="shop/api:1"):
    template = {"ContainerSpec": {"Image": image, "Env": ["VERSION=1"]}, "ForceUpdate": 0}
    spec = {"Name": "shop_api", "Labels": {"owner": "us"}, "TaskTemplate": template, "UpdateConfig": {"Parallelism": 1}}
    return {"ID": "s1", "Version": {"Index": 7}, "Spec": spec}


class FakeEngine(socketserver.ThreadingUnixStreamServer):
    """Holds one service. `course` are the states of an update, one for each time that it is asked for."""

    daemon_threads = True

    def __init__(self, path):
        super().__init__(str(path), FakeHandler)
        self.service, self.course, self.registry = service(), ["updating", "completed"], {}
        self.left, self.updates, self.interfere, self.broken = [], [], 0, None

    def get(self, path):
        if path.startswith("/distribution/"):
            digest = self.registry.get(path.removeprefix("/distribution/").removesuffix("/json"))
            return (200, {"Descriptor": {"digest": digest}}) if digest else (404, {"message": "no such image"})
        if path not in ("/services/shop_api", "/services/s1"):
            return 404, {"message": f"service {path.rsplit('/', 1)[1]} not found"}
        if self.left:
            # the first look finds no update yet
            state = self.left.pop(0)
            if state:
                self.service["UpdateStatus"] = {"State": state, "StartedAt": f"t{len(self.updates)}", "Message": f"update {state}"}
        return 200, self.service

    def post(self, path, body):
        index = self.service["Version"]["Index"]
        if self.interfere:
            self.interfere -= 1
            self.service["Version"]["Index"] = index + 1
        if path != f"/services/s1/update?version={self.service['Version']['Index']}":
            return 500, {"message": "rpc error: code = Unknown desc = update out of sequence"}
        self.updates.append(body)
        # as a swarm does, which tells nothing until the new update has begun
        self.service.pop("UpdateStatus", None)
        self.service.update(Spec=body, Version={"Index": index + 1})
        self.left = [None, *self.course]
        return 200, {"Warnings": None}


class FakeHandler(BaseHTTPRequestHandler):
    def answer(self, status, thing):
        body = json.dumps(thing).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer(*(self.server.broken or self.server.get(self.path)))

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(*(self.server.broken or self.server.post(self.path, body)))

    def log_message(self, *_):
        pass


def signed(stamp, body, secret=SECRET):
    digest = hmac.new(secret, str(stamp).encode() + b"." + body, hashlib.sha256).hexdigest()
    return {"X-Timestamp": str(stamp), "X-Signature-256": f"sha256={digest}"}


def asked(service="api", image="shop/api:2"):
    return json.dumps({"service": service, "image": image}).encode()


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.socket = pathlib.Path(folder.name, "engine.sock")
        self.engine = self.running(FakeEngine(self.socket))
        self.now = time.time()
        allowed = deployer.repositories("api=shop/api,r.test/shop/api web=shop/web")
        self.deployer = deployer.Deployer(
            SECRET, allowed, "shop", deployer.Engine(str(self.socket)), patience=5, clock=lambda: self.now)
        # some time ago, or nothing would be taken yet
        self.deployer.began -= 3600
        self.port = self.running(deployer.server(self.deployer, 0)).server_address[1]
        patch = mock.patch.object(deployer.Engine.followed, "__defaults__", (0.01,))
        patch.start()
        self.addCleanup(patch.stop)
        log = contextlib.redirect_stdout(io.StringIO())
        self.log = log.__enter__()
        self.addCleanup(log.__exit__, None, None, None)

    def running(self, server):
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.addCleanup(server.server_close)
        self.addCleanup(server.shutdown)
        return server

    def send(self, body, headers, method="POST", path="/deploy"):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        self.addCleanup(connection.close)
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())

    def order(self, body=None, **more):
        body = asked() if body is None else body
        return self.send(body, signed(int(self.now), body), **more)

    def image(self):
        return self.engine.service["Spec"]["TaskTemplate"]["ContainerSpec"]["Image"]

    def lines(self):
        return [json.loads(line) for line in self.log.getvalue().splitlines()]


class Deploys(Case):
    def test_a_signed_request_updates_the_service(self):
        before = service()["Spec"]
        status, said = self.order()
        self.assertEqual(status, 200)
        wanted = {"service": "api", "image": "shop/api:2", "state": "completed", "message": "update completed"}
        self.assertEqual(said, wanted)
        [sent] = self.engine.updates
        self.assertEqual(sent["TaskTemplate"]["ContainerSpec"], {"Image": "shop/api:2", "Env": ["VERSION=1"]})
        self.assertEqual(sent["UpdateConfig"], before["UpdateConfig"])
        self.assertEqual(sent["Labels"], {"owner": "us", "com.docker.stack.image": "shop/api:2"})
        self.assertEqual(sent["TaskTemplate"]["ForceUpdate"], 0)
        [line] = self.lines()
        self.assertEqual({key: line[key] for key in ("status", "service", "state")},
                         {"status": 200, "service": "api", "state": "completed"})

    def test_the_same_image_again_replaces_the_tasks(self):
        self.assertEqual(self.order(asked(image="shop/api:1"))[0], 200)
        self.assertEqual(self.engine.updates[0]["TaskTemplate"]["ForceUpdate"], 1)

    def test_an_image_of_a_registry_is_pinned_by_its_digest(self):
        self.engine.registry["r.test/shop/api%3A2"] = DIGEST
        self.assertEqual(self.order(asked(image="r.test/shop/api:2"))[0], 200)
        self.assertEqual(self.image(), f"r.test/shop/api:2@{DIGEST}")
        # one that the registry does not know goes by its tag, and so does what names no registry
        self.engine.registry["shop/api%3A4"] = DIGEST
        for image in ("r.test/shop/api:3", "shop/api:4"):
            self.now += 1
            self.assertEqual(self.order(asked(image=image))[0], 200)
            self.assertEqual(self.image(), image)

    def test_an_update_that_fails_is_told(self):
        self.engine.course = ["updating", "rollback_started", "rollback_completed"]
        status, said = self.order()
        self.assertEqual((status, said["state"]), (422, "rollback_completed"))
        self.engine.course = ["updating", "paused"]
        self.now += 1
        status, said = self.order()
        self.assertEqual((status, said["state"], said["message"]), (422, "paused", "update paused"))

    def test_an_update_that_takes_long_goes_on(self):
        self.deployer.patience = 0.1
        self.engine.course = ["updating"]
        self.assertEqual(self.order()[0], 202)
        self.engine.course = []
        self.now += 1
        # not the state of the update before
        self.engine.service["UpdateStatus"] = {"State": "completed", "StartedAt": "t1", "Message": "before"}
        status, said = self.order()
        self.assertEqual((status, said["state"], said["message"]), (202, "updating", ""))

    def test_a_service_that_somebody_else_changes_meanwhile_is_read_again(self):
        self.engine.interfere = 2
        self.assertEqual(self.order()[0], 200)
        self.engine.interfere, self.now = 3, self.now + 1
        status, said = self.order()
        self.assertEqual(status, 502)
        self.assertIn("out of sequence", said["error"])
        self.assertEqual(len(self.engine.updates), 1)

    def test_one_update_of_a_service_at_a_time(self):
        with self.deployer.busy["api"]:
            status, said = self.order()
        self.assertEqual(status, 503)
        self.assertIn("under way", said["error"])
        self.now += 1
        self.assertEqual(self.order()[0], 200)


class Refuses(Case):
    def tearDown(self):
        self.assertEqual(self.engine.updates, [])
        super().tearDown()

    def test_a_bad_signature(self):
        body, now = asked(), int(self.now)
        good = signed(now, body)
        bad = [
            {},
            {"X-Timestamp": good["X-Timestamp"]},
            {"X-Signature-256": good["X-Signature-256"]},
            {**good, "X-Timestamp": str(now + 1)},
            {**good, "X-Signature-256": good["X-Signature-256"].removeprefix("sha256=")},
            {**good, "X-Signature-256": good["X-Signature-256"].upper()},
            {**good, "X-Signature-256": good["X-Signature-256"][:-1]},
            {**good, "X-Signature-256": "sha256=\u00fc"},
            signed(now, body, b"another secret of the same size"),
            signed(now, asked(image="shop/api:3")),
            # the body alone, as GitHub signs it
            {**good, "X-Signature-256": "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()},
        ]
        for headers in bad:
            with self.subTest(headers=headers):
                self.assertEqual(self.send(body, headers)[0], 401)
        self.assertEqual({line["status"] for line in self.lines()}, {401})
        self.assertEqual(len(self.lines()), len(bad))

    def test_a_time_that_is_off(self):
        for off in (-301, 12, 302, -86400):
            with self.subTest(off=off):
                stamp = int(self.now) + off
                status, said = self.send(asked(), signed(stamp, asked()))
                self.assertEqual(status, 401)
                self.assertIn("seconds off", said["error"])
        for stamp in ("", "now", "-5", "1e9", f" {int(self.now)}.0", "9" * 13):
            with self.subTest(stamp=stamp):
                body = asked()
                digest = hmac.new(SECRET, stamp.strip().encode() + b"." + body, hashlib.sha256).hexdigest()
                headers = {"X-Timestamp": stamp, "X-Signature-256": f"sha256={digest}"}
                self.assertEqual(self.send(body, headers)[0], 401)

    def test_what_was_signed_before_the_start(self):
        self.deployer.began = int(self.now)
        for after in (-2, 0, 10):
            status, said = self.send(asked(), signed(int(self.now) + after, asked()))
            self.assertEqual(status, 401)
            self.assertIn("after this service started", said["error"])

    def test_what_is_not_on_the_list(self):
        for wish in (
            ("postgres", "shop/postgres:17"),
            ("api", "shop/web:1"),
            ("api", "shop/api"),
            ("api", "shop/api:"),
            ("api", "shop/api/evil:1"),
            ("api", "shop/api-evil:1"),
            ("api", "evil.test/shop/api:1"),
            ("api", "shop/api:1@sha256:short"),
            ("api", "shop/api:1\n"),
            ("../services/s1", "shop/api:1"),
        ):
            with self.subTest(wish=wish):
                self.now += 1
                self.assertEqual(self.order(asked(*wish))[0], 403)

    def test_what_is_not_understood(self):
        for body in (b"", b"{", b"[]", b'"api"', b'{"service": "api"}', b'{"service": "api", "image": 5}',
                     b'{"service": "api", "image": "shop/api:2", "force": true}', b"\xff\xfe"):
            with self.subTest(body=body):
                self.now += 1
                self.assertEqual(self.order(body)[0], 400)

    def test_other_requests(self):
        self.assertEqual(self.order(path="/")[0], 404)
        self.assertEqual(self.send(None, {}, "GET", "/deploy")[0], 405)
        self.assertEqual(self.send(None, {}, "GET", "/health")[0], 200)
        long = b"x" * (deployer.LONGEST + 1)
        self.assertEqual(self.order(long)[0], 413)
        body = asked()
        for length in ("-1", "many"):
            self.assertEqual(self.send(body, {**signed(int(self.now), body), "Content-Length": length})[0], 411)

    def test_a_sender_that_falls_silent(self):
        with mock.patch.object(deployer.Handler, "timeout", 0.2):
            with socket.create_connection(("127.0.0.1", self.port), 10) as connection:
                connection.sendall(b"POST /deploy HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhalf")
                self.assertIn(b" 408 ", connection.makefile("rb").readline())

    def test_what_the_engine_does_not_do(self):
        self.engine.broken = (503, {"message": "This node is not a swarm manager."})
        status, said = self.order()
        self.assertEqual(status, 502)
        self.assertIn("not a swarm manager", said["error"])
        self.engine.broken, self.now = None, self.now + 1
        self.assertEqual(self.order(asked("web", "shop/web:1"))[0], 404)
        self.socket.unlink()
        self.now += 1
        status, said = self.order()
        self.assertEqual(status, 502)
        self.assertIn("does not answer", said["error"])


class Replays(Case):
    def test_a_request_is_taken_once(self):
        body = asked()
        headers = signed(int(self.now), body)
        self.assertEqual(self.send(body, headers)[0], 200)
        for later in (0, 1, 299):
            self.now = int(headers["X-Timestamp"]) + later
            status, said = self.send(body, headers)
            self.assertEqual(status, 409)
            self.assertIn("sign a new one", said["error"])
        self.now = int(headers["X-Timestamp"]) + 301
        self.assertEqual(self.send(body, headers)[0], 401)
        self.assertEqual(len(self.engine.updates), 1)
        # one signed again goes through, and forgets what no replay gets past the time with
        self.assertEqual(self.order()[0], 200)
        self.assertEqual(len(self.deployer.seen), 1)

    def test_a_request_dated_ahead_is_remembered_for_as_long_as_it_is_valid(self):
        body, begun = asked(), int(self.now)
        headers = signed(begun + 9, body)
        self.assertEqual(self.send(body, headers)[0], 200)
        self.now = begun + 300
        self.order()
        self.assertEqual(self.send(body, headers)[0], 409)
        self.assertEqual(self.send(body, signed(int(self.now) + 60, body))[0], 401)

    def test_what_was_taken_before_a_start_is_no_good_after_it(self):
        body = asked()
        # by a sender whose clock is ahead
        headers = signed(int(self.now) + 8, body)
        self.assertEqual(self.send(body, headers)[0], 200)
        self.now += 3
        self.deployer.began, self.deployer.seen = int(self.now), {}
        for later in (0, 6, 20):
            self.now += later
            self.assertEqual(self.send(body, headers)[0], 401)
        self.assertEqual(self.order()[0], 200)

    def test_of_several_at_once_one_is_taken(self):
        body = asked()
        headers = signed(int(self.now), body)
        found = []
        threads = [threading.Thread(target=lambda: found.append(self.send(body, headers)[0])) for _ in range(8)]
        [thread.start() for thread in threads]
        [thread.join() for thread in threads]
        self.assertEqual(sorted(found), [200] + [409] * 7)

    def test_one_that_was_refused_is_used_up(self):
        body = asked("postgres", "shop/postgres:1")
        headers = signed(int(self.now), body)
        self.assertEqual([self.send(body, headers)[0] for _ in range(2)], [403, 409])


class Program(Case):
    """As it runs in its container, and as the README speaks to it."""

    def start(self, secret):
        folder = self.socket.parent
        (folder / "secret").write_bytes(secret)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {
            "SECRET_FILE": str(folder / "secret"), "ENGINE_SOCKET": str(self.socket), "PORT": str(port), "STACK": "shop",
            "ALLOWED": "api=registry.macula.local/shop/api", "PATIENCE": "20", "PATH": os.environ["PATH"]}
        process = subprocess.Popen(
            [sys.executable, "-u", str(FOLDER / "deployer.py")], env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process, port

    def test_a_short_secret_is_refused(self):
        process, _ = self.start(b"change-me\n")
        self.assertNotEqual(process.wait(20), 0)
        self.assertIn("openssl rand -hex 32", process.stderr.read())

    @unittest.skipUnless(shutil.which("openssl") and shutil.which("curl"), "openssl or curl is not installed")
    def test_the_commands_of_the_readme(self):
        readme = (FOLDER.parent / "README.md").read_text()
        [commands] = re.findall(r"(?m)^    body=.*\n(?:    .*\n)*?    curl .*\n(?:      .*\n)*", readme)
        self.assertIn("openssl", commands)
        # a line end after the secret is not part of it
        process, port = self.start(SECRET + b"\n")
        self.assertEqual(json.loads(process.stdout.readline())["msg"], "ready")
        commands = commands.replace("127.0.0.1:8088", f"127.0.0.1:{port}")
        environment = {**os.environ, "DEPLOY_SECRET": SECRET.decode()}
        send = ["bash", "-euo", "pipefail", "-c", commands]
        # what is signed right after the start is refused, and says so
        for _ in range(30):
            done = subprocess.run(send, env=environment, capture_output=True, text=True, timeout=60)
            if done.returncode == 0:
                break
            self.assertIn("after this service started", done.stdout)
            self.assertEqual(json.loads(process.stdout.readline())["status"], 401)
            time.sleep(1)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout)["state"], "completed")
        self.assertEqual(self.image(), "registry.macula.local/shop/api:2")
        said = process.stdout.readline()
        self.assertEqual(json.loads(said)["status"], 200)
        self.assertNotIn(SECRET.decode(), said)
        # stopped as an engine stops it
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(20), 0)


if __name__ == "__main__":
    unittest.main()
