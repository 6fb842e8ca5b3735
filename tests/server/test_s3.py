#!/usr/bin/env python3
"""Finished files in a bucket. Two servers that speak S3 are started for this run: moto, which knows conditional writes and small parts but takes
any signature, and nanio, which compares signatures and knows no conditions. test_s3.py PROGRAM… runs each program (the artifacts' own tests)
on both, and then the service on moto, with a proxy in between that answers 500, 503, nothing, late, or half. Without the servers it says so and
ends with status 77."""
import http.client
import http.server
import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

from service import EXAMPLE, PROGRAM, ROOT, STILL, Service, sha256
import test_workers
from test_workers import Worker, until

V1 = "/api/v1"
JOBS = V1 + "/quantize/jobs"
MODELS = [os.path.join(ROOT, "examples")]
KEYS = {"AWS_ACCESS_KEY_ID": "halftone", "AWS_SECRET_ACCESS_KEY": "a secret/of+ours", "AWS_REGION": "eu-central-1"}


def program(name):
    beside = os.path.join(os.path.dirname(os.environ.get("HT_CLIENTS_PYTHON", "")), name)
    return beside if os.path.exists(beside) else shutil.which(name)


class Server:
    """A program that serves S3 on a free port."""

    def __init__(self, name, *arguments, **environment):
        found = program(name)
        if not found:
            print(f"SKIPPED: {name} is not installed (PyPI: {'moto[server]' if name == 'moto_server' else name}; tests/parity/setup.sh)")
            sys.exit(77)
        with socketserver.TCPServer(("127.0.0.1", 0), None) as s:
            self.port = s.server_address[1]
        self.folder = tempfile.mkdtemp(prefix="ht-s3-")
        arguments = [a.replace("FOLDER", self.folder).replace("PORT", str(self.port)) for a in arguments]
        self.process = subprocess.Popen([found, *arguments], env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.url = f"http://127.0.0.1:{self.port}"
        until(self.answers)

    def answers(self):
        try:
            urllib.request.urlopen(self.url, timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def close(self):
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


def moto():
    server = Server("moto_server", "-H", "127.0.0.1", "-p", "PORT")
    bucket(server)
    return server


def bucket(server):
    """By moto, which asks for no signature."""
    request = urllib.request.Request(f"{server.url}/models", method="PUT",
                                     data=b"<CreateBucketConfiguration><LocationConstraint>eu-central-1</LocationConstraint></CreateBucketConfiguration>")
    urllib.request.urlopen(request).close()


def objects(server, prefix="team/"):
    with urllib.request.urlopen(f"{server.url}/models?list-type=2&prefix={prefix}") as answer:
        text = answer.read().decode()
    return [urllib.parse.unquote(part.split("</Key>")[0]) for part in text.split("<Key>")[1:]]


def uploads(server, prefix):
    with urllib.request.urlopen(f"{server.url}/models?uploads=") as answer:
        return answer.read().decode().count(f"<Key>{prefix}/")


class Between(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Passes requests on to a server. `fault(method, path)` names what happens to one: a status, "cut", "slow" or "drop"; None: nothing."""
    daemon_threads = True

    def __init__(self, server):
        super().__init__(("127.0.0.1", 0), self.Handler)
        self.server, self.fault, self.seen, self.lock = server, lambda method, path: None, [], threading.Lock()
        self.port = self.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        pass

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def pass_on(self):
            between = self.server
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            with between.lock:
                fault = between.fault(self.command, self.path)
                between.seen.append((self.command, self.path, fault))
            if isinstance(fault, int):
                text = b"<Error><Code>Trouble</Code><Message>made for this test</Message></Error>"
                self.send_response(fault)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(b"" if self.command == "HEAD" else text)
                return
            if fault == "drop":
                self.close_connection = True
                return
            if fault == "slow":
                time.sleep(1)
            c = http.client.HTTPConnection("127.0.0.1", between.server.port)
            c.request(self.command, self.path, body, {k: v for k, v in self.headers.items() if k.lower() not in ("connection", "expect")})
            answer = c.getresponse()
            data = answer.read()
            if fault == "answer":  # it was done, but nobody hears of it
                self.close_connection = True
                return
            self.send_response(answer.status)
            for k, v in answer.getheaders():
                if k.lower() not in ("transfer-encoding", "connection", "content-length", "date", "server"):
                    self.send_header(k, v)
            length = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data[:len(data) // 2] if fault == "cut" else data)
            if fault == "cut":
                self.close_connection = True

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = do_HEAD = pass_on


class Bucket(unittest.TestCase):
    def setUp(self):
        self.prefix = f"team/t{time.monotonic_ns()}"
        self.url = f"s3://models/{self.prefix}"
        self.workers, self.services = [], []

    def tearDown(self):
        for w in self.workers:
            w.process.poll() is None and w.process.send_signal(signal.SIGCONT)
            w.stop(signal.SIGKILL if w.process.poll() is None else signal.SIGTERM)
        for s in self.services:
            s.close()

    def environment(self, endpoint=None):
        return {**KEYS, "AWS_ENDPOINT_URL": (endpoint or server).url}

    def service(self, *arguments, endpoint=None, **more):
        s = Service("--artifacts", self.url, "--lease", "3", *arguments, models=MODELS, environment=self.environment(endpoint), **more)
        self.services.append(s)
        return s

    def worker(self, service, name, *arguments, endpoint=None):
        w = Worker(service, name, *arguments, environment=self.environment(endpoint))
        self.workers.append(w)
        return w

    def submit(self, service, **more):
        body = {"name": "job", "source_model": EXAMPLE, "gguf_quant_types": ["Q4_K_M", "Q8_0"], **more}
        answer = service.post(JOBS, body)
        self.assertEqual(answer.status, 201, answer)
        return answer.json()["id"]

    def fetch(self, service, path, **headers):
        """As a client does that follows the redirection, without its token."""
        answer = service.get(path, headers=headers)
        if answer.status != 307:
            return answer.status, answer.body
        with urllib.request.urlopen(urllib.request.Request(answer.headers["location"], headers=headers)) as r:
            return r.status, r.read()

    def check(self, service, id, attempt=1):
        """Completed, once, with the bytes that one machine writes; in the bucket lies what is recorded, and nothing else of the job."""
        job = service.wait(id)
        self.assertEqual((job["status"], job["attempt"]), ("completed", attempt), job)
        wanted = set()
        for o in job["outputs"]:
            status, body = self.fetch(service, f"{JOBS}/{id}/outputs/{o['name']}")
            self.assertEqual((status, sha256(body)), (200, o["sha256"]))
            self.assertEqual(o["sha256"], test_workers.direct()[o["name"]])
            wanted.add(o["name"])
        lies = [k for k in objects(server, self.prefix) if f"-{id}.e" in k]
        self.assertEqual(sorted(k.rsplit("/", 1)[1] for k in lies), sorted(wanted), lies)
        return job

    def check_folder(self, service, id):
        job = service.wait(id)
        self.assertEqual((job["status"], job["attempt"]), ("completed", 1), job)
        output = job["outputs"][0]
        for f in output["files"]:
            self.assertEqual(sha256(self.fetch(service, f["url"])[1]), f["sha256"])
        return output

    def test_here(self):
        """Jobs that run within the service: downloads are redirected, ranges and folders work, and what is deleted is gone."""
        s = self.service()
        id = self.submit(s, gguf_quant_types=["Q8_0"], name="one")
        job = self.check(s, id)
        name = job["outputs"][0]["name"]
        path = f"{JOBS}/{id}/outputs/{name}"
        shutil.rmtree(os.path.join(s.data, "objects"))  # the copy
        answer = s.get(path)
        self.assertEqual(answer.status, 307)
        self.assertIn("X-Amz-Signature=", answer.headers["location"])
        self.assertNotIn(KEYS["AWS_SECRET_ACCESS_KEY"], answer.headers["location"])
        self.assertEqual(answer.headers["cache-control"], "no-store")
        whole = self.fetch(s, path)[1]
        self.assertEqual(sha256(whole), job["outputs"][0]["sha256"])
        self.assertEqual(self.fetch(s, path, Range="bytes=100-199"), (206, whole[100:200]))
        head = s.request("HEAD", path)
        self.assertEqual((head.status, head.headers["content-length"]), (200, str(len(whole))))
        self.assertEqual(s.get(path, headers={"If-None-Match": head.headers["etag"]}).status, 304)
        model = s.get(V1 + "/models").json()["models"][0]
        self.assertEqual(s.delete(f"{V1}/models/{model['id']}").status, 204)
        until(lambda: not objects(server, self.prefix))
        self.assertEqual(uploads(server, self.prefix), 0)

    def test_folder(self):
        """An output that is a folder comes as an archive that the service puts together, from copies."""
        s = self.service("--artifact-copies", "0")
        id = s.post(JOBS, {"name": "f", "source_model": EXAMPLE, "outputs": [{"format": "safetensors", "type": "nf4"}]}).json()["id"]
        output = self.check_folder(s, id)
        archive = s.get(f"{JOBS}/{id}/outputs/{output['name']}")
        self.assertEqual(archive.status, 200)
        names = subprocess.run(["tar", "-t"], input=archive.body, capture_output=True, check=True).stdout.decode().split()
        self.assertEqual(len([n for n in names if not n.endswith("/")]), len(output["files"]))

    def test_proxy(self):
        s = self.service("--downloads", "proxy", "--artifact-copies", "0")
        id = self.submit(s, gguf_quant_types=["Q8_0"])
        job = s.wait(id)
        path = f"{JOBS}/{id}/outputs/{job['outputs'][0]['name']}"
        answer = s.get(path)
        self.assertEqual((answer.status, sha256(answer.body)), (200, job["outputs"][0]["sha256"]))
        self.assertEqual(s.get(path, headers={"Range": "bytes=5-9"}).body, answer.body[5:10])

    def test_client(self):
        """`halftone jobs download` follows the link, without sending the token there."""
        s = self.service("--artifact-copies", "0")
        id = self.submit(s, gguf_quant_types=["Q8_0"])
        job = s.wait(id)
        with tempfile.TemporaryDirectory() as out:
            done = subprocess.run([PROGRAM, "jobs", "download", id, "-o", os.path.join(out, "got"), "--server", f"http://127.0.0.1:{s.port}"], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            with open(os.path.join(out, "got"), "rb") as f:
                self.assertEqual(sha256(f.read()), job["outputs"][0]["sha256"])

    def test_workers(self):
        """One worker brings its files to the bucket itself, one has no keys and sends them to the service."""
        s = self.service("--workers", "0")
        own = self.worker(s, "own", "--artifacts", self.url)
        self.check(s, self.submit(s))
        id = s.post(JOBS, {"name": "f", "source_model": EXAMPLE, "outputs": [{"format": "safetensors", "type": "nf4"}]}).json()["id"]
        self.check_folder(s, id)
        own.stop()
        self.worker(s, "other")
        self.check(s, self.submit(s))
        self.assertEqual(uploads(server, self.prefix), 0)

    def test_refused(self):
        s = self.service("--workers", "0")
        at = ["--server", f"http://127.0.0.1:{s.port}"]
        cases = [(["worker", *at, "--artifacts", "s3://models/another"], self.environment(), 1, "keeps its files in"),
                 (["worker", *at, "--artifacts", self.url], {"AWS_ENDPOINT_URL": server.url}, 2, "AWS_ACCESS_KEY_ID"),
                 (["serve", "--port", "0", "--artifacts", "s3://models/x"], {"AWS_ENDPOINT_URL": server.url}, 1, "AWS_ACCESS_KEY_ID"),
                 (["serve", "--port", "0", "--artifacts", "s3://key:secret@models/x"], self.environment(), 2, "command line"),
                 (["serve", "--port", "0", "--artifacts", "s3://no-such-bucket/x"], self.environment(), 1, "NoSuchBucket"),
                 (["serve", "--port", "0", "--artifacts", "ftp://x"], self.environment(), 1, "s3://BUCKET")]
        for arguments, environment, status, why in cases:
            data = tempfile.mkdtemp()
            kept = {k: v for k, v in os.environ.items() if not k.startswith(("HALFTONE_", "HF_", "AWS_"))}
            done = subprocess.run([PROGRAM, *arguments, "--data", data], env={**kept, **environment}, capture_output=True, text=True, timeout=STILL)
            shutil.rmtree(data)
            self.assertEqual(done.returncode, status, (arguments, done.stderr))
            self.assertIn(why, done.stderr)

    def trouble(self, fault, **more):
        """A job whose worker and service speak to the bucket through a proxy with this fault."""
        between = Between(server)
        s = self.service("--workers", "0", "--artifact-copies", "0", endpoint=between, **more)
        self.worker(s, "one", "--artifacts", self.url, endpoint=between)
        between.fault = fault
        id = self.submit(s)
        s.wait(id)
        between.fault = lambda method, path: None
        self.check(s, id)
        faults = [f for _, _, f in between.seen if f]
        self.assertTrue(faults)
        between.shutdown()
        return faults

    def test_trouble(self):
        """Every third request fails, each time otherwise: the job is published once, with the same bytes."""
        kinds, n = [500, 503, "cut", "drop", "answer", "slow", 502, 429], [0]

        def fault(method, path):
            n[0] += 1
            return kinds[n[0] // 3 % len(kinds)] if n[0] % 3 == 0 else None
        self.assertGreater(len(self.trouble(fault)), 3)

    def test_lost_answers(self):
        """Each first answer to a part and to a completion is lost, though it was done."""
        seen = set()

        def fault(method, path):
            key = (method, path)
            if method in ("PUT", "POST") and "uploadId" in path and key not in seen:
                seen.add(key)
                return "answer"
            return None
        self.assertGreaterEqual(len(self.trouble(fault)), 4)

    def test_worker_killed(self):
        """kill -9 while the parts go up: another does the job; what is left is ended when the service starts again."""
        between, stalled = Between(server), threading.Event()

        def fault(method, path):
            if method == "PUT" and "partNumber" in path:
                stalled.set()
                return 503
            return None
        between.fault = fault
        s = self.service("--workers", "0")
        first = self.worker(s, "first", "--artifacts", self.url, endpoint=between)
        id = self.submit(s)
        self.assertTrue(stalled.wait(STILL))
        first.stop(signal.SIGKILL)
        self.worker(s, "second", "--artifacts", self.url)
        self.check(s, id, attempt=2)
        self.assertGreater(uploads(server, self.prefix), 0)
        s.stop()
        s.start()
        until(lambda: uploads(server, self.prefix) == 0)
        between.shutdown()


def run_on_both(programs):
    nanio = Server("nanio", "serve", "--data-dir", "FOLDER", "--host", "127.0.0.1", "--port", "PORT", "--region", KEYS["AWS_REGION"],
                   NANIO_ACCESS_KEY=KEYS["AWS_ACCESS_KEY_ID"], NANIO_SECRET_KEY=KEYS["AWS_SECRET_ACCESS_KEY"])
    os.mkdir(os.path.join(nanio.folder, "models"))  # a bucket is a folder there
    for program in programs:
        for server_, lacks in ((server, ""), (nanio, "conditions")):
            environment = {**os.environ, **KEYS, "AWS_ENDPOINT_URL": server_.url, "HT_TEST_S3": "s3://models/suite", "HT_TEST_S3_LACKS": lacks, "HALFTONE_S3_PART_SIZE": "5242880"}
            done = subprocess.run([program], env=environment, capture_output=True, text=True)
            if done.returncode or "SKIPPED" in done.stdout:
                sys.exit(done.stdout + done.stderr)
            if lacks:  # another secret is refused
                environment["AWS_SECRET_ACCESS_KEY"] = "another"
                done = subprocess.run([program], env=environment, capture_output=True, text=True)
                if not done.returncode or "403" not in done.stderr:
                    sys.exit("a wrong secret was taken:\n" + done.stdout + done.stderr)
    nanio.close()


if __name__ == "__main__":
    programs = [a for a in sys.argv[1:] if os.path.sep in a]
    server = moto()
    try:
        run_on_both(programs)
        unittest.main(argv=[sys.argv[0]] + [a for a in sys.argv[1:] if a not in programs])
    finally:
        server.close()
