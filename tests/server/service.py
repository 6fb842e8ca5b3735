"""`halftone serve` in a folder of its own, and a client whose every answer is judged by the API's description."""
import hashlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import openapi

PROGRAM = os.path.abspath(os.environ.get("HALFTONE", "build/halftone"))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
EXAMPLE = os.path.join(ROOT, "examples", "model")
DOCUMENT = openapi.Document(json.load(open(os.path.join(ROOT, "apps/service/api/openapi.json"))))
STILL = 600  # seconds: a last resort, not a measure
SANITIZED = any(word in open(PROGRAM, "rb").read() for word in (b"__asan_init", b"__tsan_init")) if os.path.exists(PROGRAM) else False


class Response:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)

    def pointers(self):
        return [e["pointer"] for e in self.json().get("errors", [])]

    def __repr__(self):
        return f"<{self.status} {self.body[:300]!r}>"


class Service:
    def __init__(self, *arguments, data=None, models=(), environment=None):
        self.own = data is None
        self.data = data or tempfile.mkdtemp(prefix="halftone-test-")
        self.arguments = ["serve", "--port", "0", "--data", self.data]
        for folder in models:
            self.arguments += ["--models", folder]
        self.arguments += arguments
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("HALFTONE_", "HF_", "REDIS_"))}
        self.environment.update(environment or {})
        self.token = None
        self.lines = []
        self.start()

    def start(self):
        begun = time.monotonic()
        self.process = subprocess.Popen([PROGRAM] + self.arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        env=self.environment, text=True)
        first = self.process.stdout.readline()
        self.seconds_to_ready = time.monotonic() - begun
        if not first:
            raise RuntimeError("the service did not start: " + self.process.stderr.read())
        self.first = json.loads(first)
        self.port = self.first["port"]
        threading.Thread(target=self.collect, args=(self.process.stdout,), daemon=True).start()
        self.errors = []
        threading.Thread(target=lambda f: self.errors.extend(f), args=(self.process.stderr,), daemon=True).start()

    def collect(self, pipe):
        for line in pipe:
            self.lines.append(json.loads(line))

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(STILL)
        self.process.stdout.close()
        if any("Sanitizer" in line for line in self.errors):
            sys.exit("".join(self.errors))
        return status

    def close(self):
        status = self.stop()
        if self.own:
            shutil.rmtree(self.data, ignore_errors=True)
        return status

    def raw(self, data, timeout=STILL):
        """Bytes to the server, and what comes back until it closes or says no more."""
        with socket.create_connection(("127.0.0.1", self.port), timeout) as s:
            s.sendall(data)
            s.settimeout(timeout)
            got = b""
            try:
                while piece := s.recv(65536):
                    got += piece
            except TimeoutError:
                pass
            return got

    def connection(self, timeout=STILL):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def request(self, method, path, body=None, headers=None, judge=True, token=None, timeout=STILL):
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
            headers.setdefault("Content-Type", "application/json")
        token = token or self.token
        if token and "Authorization" not in headers and "Cookie" not in headers:
            headers["Authorization"] = "Bearer " + token
        c = self.connection(timeout)
        try:
            c.request(method, path, body, headers)
            r = c.getresponse()
            answer = Response(r.status, {k.lower(): v for k, v in r.getheaders()}, r.read())
        finally:
            c.close()
        if judge:
            DOCUMENT.judge(method, path.split("?")[0], answer.status, answer.headers.get("content-type"), answer.body)
        return answer

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body=None, **kw):
        return self.request("POST", path, body, **kw)

    def delete(self, path, **kw):
        return self.request("DELETE", path, **kw)

    def wait(self, job_id, *statuses):
        """As long as the job changes: a slow machine is no fault. STILL seconds without any change are."""
        statuses = statuses or ("completed", "failed", "cancelled")
        seen, since = None, time.monotonic()
        while True:
            job = self.get(f"/api/v1/quantize/jobs/{job_id}").json()
            if job["status"] in statuses:
                return job
            waiting = self.get("/api/v1/quantize/jobs?status=completed,failed,cancelled&limit=1").json()["total"]
            sign = (job["status"], job["progress"], job["current_step"], json.dumps(job["live"]), waiting)
            if sign != seen:
                seen, since = sign, time.monotonic()
            if time.monotonic() - since > STILL:
                raise AssertionError(f"nothing changes any more: {job}")
            time.sleep(0.03)


class Events:
    """A client of server-sent events: a thread that collects them."""

    def __init__(self, service, path="/api/v1/events", headers=None):
        self.c = service.connection()
        headers = dict(headers or {})
        if service.token:
            headers["Authorization"] = "Bearer " + service.token
        self.c.request("GET", path, headers=headers)
        self.response = self.c.getresponse()
        assert self.response.status == 200, self.response.read()
        assert self.response.headers["Content-Type"] == "text/event-stream", self.response.headers
        self.events, self.comments, self.retry = [], 0, None
        self.ended = threading.Event()
        self.changed = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        fields = {}
        try:
            for line in self.response:
                line = line.decode().rstrip("\n")
                with self.changed:
                    if line.startswith(":"):
                        self.comments += 1
                    elif line:
                        name, value = line.split(": ", 1)
                        if name == "retry":
                            self.retry = int(value)
                        else:
                            fields[name] = value
                    elif fields:
                        self.events.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
                        fields = {}
                    self.changed.notify_all()
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass
        with self.changed:
            self.ended.set()
            self.changed.notify_all()

    def until(self, found, seconds=STILL):
        with self.changed:
            if not self.changed.wait_for(lambda: any(found(*e) for e in self.events), seconds):
                raise AssertionError(f"the event did not come: {[(i, k, d.get('status')) for i, k, d in self.events][-20:]}")
            return next(e for e in self.events if found(*e))

    def close(self):
        if self.c.sock:
            self.c.sock.shutdown(socket.SHUT_RDWR)
        self.c.close()


def until_limited(ask, most=200):
    """Answers up to the first 429. There is one more attempt every few seconds: a slow client needs more of them."""
    answers = []
    while len(answers) < most and (not answers or answers[-1].status != 429):
        answers.append(ask(len(answers)))
    return answers


def sha256(data):
    return hashlib.sha256(data).hexdigest()
