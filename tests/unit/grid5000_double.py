"""A small server that answers as Grid'5000's API is published to: jobs, deployments, walltimes, listings; and fails."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Callable
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

Fault = Callable[["Handler", str], bool]
"""Given the handler and the body, breaks an answer; whether the request was done with."""


class Testbed:
    """What the server knows. `faults` are taken one at each request, in order; None lets it through."""

    __test__ = False

    def __init__(self) -> None:
        self.jobs: list[dict] = []
        self.deployments: dict[str, list[dict]] = {}
        self.fixed: dict[str, object] = {}
        self.faults: list[Fault | None] = []
        self.seen: list[tuple[str, str, dict]] = []
        self.headers: list[dict] = []
        self.bodies: list[dict] = []
        self.password: tuple[str, str] | None = None
        self.walltime = {"pending": "+0:0:0", "granted": "+0:0:0"}
        self.deployed: Callable[[dict], list[dict]] = lambda body: [ended(body, "terminated")]
        self.quit = threading.Event()

    def counted(self, method: str, path: str) -> int:
        return sum(seen[:2] == (method, path) for seen in self.seen)

    def tick(self) -> None:
        """Called before each request."""

    def job(self, **more: object) -> dict:
        uid = 1000 + len(self.jobs)
        made = {
            "uid": uid,
            "user_uid": "ada",
            "user": "ada",
            "walltime": 3600,
            "queue": "default",
            "state": "waiting",
            "project": "default",
            "name": f"job-{uid}",
            "types": ["deploy"],
            "mode": "PASSIVE",
            "command": "sleep infinity",
            "submitted_at": 1790000000,
            "started_at": 0,
            "message": "",
            "properties": "",
            "directory": "/home/ada",
            "events": [],
        } | more
        self.jobs.append(made)
        return made


def ended(body: dict, status: str, **states: str) -> dict:
    """A deployment as it is told once it has ended; hosts by short name that are not OK."""
    result = {
        host: {"macro": None, "micro": None, "state": states.get(host.partition(".")[0].replace("-", "_"), "OK")}
        for host in body["nodes"]
    }
    return {"status": status, "result": result if status == "terminated" else None}


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    testbed: Testbed

    def log_message(self, *args: object) -> None:
        return

    def answer(self, status: int, body: object = "", headers: dict | None = None) -> None:
        plain = isinstance(body, str)
        data = (body if plain else json.dumps(body)).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain" if plain else "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def handle_any(self) -> None:
        parts = urlsplit(self.path)
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        self.testbed.seen.append((self.command, parts.path, query))
        self.testbed.tick()
        self.testbed.headers.append(dict(self.headers))
        if self.testbed.faults and (fault := self.testbed.faults.pop(0)) and fault(self, text):
            return
        if self.testbed.password and not self._known():
            self.answer(401, "Authorization Required")
            return
        self._route(parts.path, query, json.loads(text) if text else {})

    do_GET = do_POST = do_DELETE = handle_any  # noqa: N815

    def _known(self) -> bool:
        expected = base64.b64encode(":".join(self.testbed.password or ()).encode()).decode()
        return self.headers.get("Authorization") == f"Basic {expected}"

    def _route(self, path: str, query: dict, body: dict) -> None:
        parts = path.strip("/").split("/")
        if path in self.testbed.fixed:
            fixed = self.testbed.fixed[path]
            self.answer(200, fixed(query) if callable(fixed) else fixed)
        elif parts[:3] == ["sites", "nancy", "jobs"]:
            self._jobs(parts[3:], query, body)
        elif parts[:3] == ["sites", "nancy", "deployments"]:
            self._deployments(parts[3:], query, body)
        else:
            self.answer(404, f"Not Found: {path}")

    def _jobs(self, rest: list[str], query: dict, body: dict) -> None:
        testbed = self.testbed
        if not rest and self.command == "POST":
            testbed.bodies.append(body)
            self.answer(201, testbed.job(name=body["name"]), {"Location": "/sites/nancy/jobs/1"})
        elif not rest:
            wanted = [key for key in ("name", "user", "state") if key in query]
            found = [each for each in testbed.jobs if all(str(each[key]) == query[key] for key in wanted)]
            offset, limit = int(query.get("offset", 0)), int(query.get("limit", 50))
            page = [
                {k: v for k, v in each.items() if k != "resources_by_type" or query.get("resources") == "yes"}
                for each in found[::-1][offset : offset + limit]
            ]
            self.answer(200, {"total": len(found), "offset": offset, "items": page, "links": []})
        elif not (job := next((each for each in testbed.jobs if str(each["uid"]) == rest[0]), None)):
            self.answer(404, f"Couldn't find OAR::Job with 'job_id'={rest[0]}")
        elif rest[1:] == ["walltime"] and self.command == "POST":
            testbed.bodies.append(body)
            if job["state"] != "running":
                self.answer(403, f"Job {rest[0]} is not running")
            else:
                self.answer(202, f"Walltime change request updated for job {rest[0]}, it will be handled shortly")
        elif rest[1:] == ["walltime"]:
            self.answer(200, {"uid": job["uid"]} | testbed.walltime)
        elif self.command == "DELETE":
            job["state"] = "error"
            self.answer(202, "", {"X-Oar-Info": "Deleting the job = 1 ...REGISTERED."})
        else:
            self.answer(200, job)

    def _deployments(self, rest: list[str], query: dict, body: dict) -> None:
        known = self.testbed.deployments
        if not rest and self.command == "POST":
            self.testbed.bodies.append(body)
            uid = f"D-{len(known)}"
            base = {"uid": uid, "nodes": body["nodes"], "environment": body["environment"], "user_uid": "ada"}
            states = [{"status": "processing", "result": {}}, *self.testbed.deployed(body)]
            known[uid] = [base | each for each in states]
            self.answer(201, known[uid][0])
        elif not rest:
            items = [states[0] for states in known.values() if states[0]["status"] == query.get("status")]
            self.answer(200, {"total": len(items), "offset": 0, "items": items, "links": []})
        elif self.command == "DELETE":
            known[rest[0]] = [known[rest[0]][0] | {"status": "canceled"}]
            self.answer(202)
        else:
            states = known[rest[0]]
            self.answer(200, states[0], {"Cache-Control": "max-age=60, private"})
            del states[: len(states) > 1]


@contextmanager
def serving(testbed: Testbed):
    """The address of a server that knows `testbed`."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"testbed": testbed}))
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        testbed.quit.set()
        server.shutdown()
        server.server_close()
        thread.join()


# Faults


def says(status: int, text: str = "", headers: dict | None = None) -> Fault:
    def fault(handler: Handler, body: str) -> bool:
        handler.answer(status, text, headers)
        return True

    return fault


def torn(handler: Handler, body: str) -> bool:
    """Half of an answer, and the connection closed."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"items": [{"uid"')
    handler.close_connection = True
    return True


def trickling(handler: Handler, body: str) -> bool:
    """An answer that comes byte by byte and never ends."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    while not handler.testbed.quit.wait(0.02):
        handler.wfile.write(b" ")
        handler.wfile.flush()
    handler.close_connection = True
    return True


def closed(handler: Handler, body: str) -> bool:
    """The connection closed without an answer."""
    handler.close_connection = True
    return True


def done_and_closed(handler: Handler, body: str) -> bool:
    """What was asked is done, and its answer lost."""
    answered = handler.answer
    handler.answer = lambda *args: None
    try:
        handler._route(urlsplit(handler.path).path, {}, json.loads(body))
    finally:
        handler.answer = answered
    handler.close_connection = True
    return True
