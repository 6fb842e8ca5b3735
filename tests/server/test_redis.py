#!/usr/bin/env python3
"""The doorbell: workers that Redis wakes. A server is started for this run in a temporary folder; it is emptied, killed, lied to and left away.
The database remains the truth: no job is lost and none is published twice. Without redis-server it says so and ends with status 77."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from service import EXAMPLE, PROGRAM, ROOT, STILL, Service, sha256
import test_workers
from test_workers import Worker, until

V1 = "/api/v1"
JOBS = V1 + "/quantize/jobs"
MODELS = [os.path.join(ROOT, "examples")]
TASKS, DEAD, GROUP = "halftone:tasks", "halftone:dead", "workers"
ACL = os.path.join(ROOT, "packaging", "deploy", "redis-users.acl")


class Redis:
    def __init__(self, *arguments, port=None):
        self.program = shutil.which("redis-server")
        if not self.program:
            print("SKIPPED: Redis is not installed (Debian: redis-server)")
            sys.exit(77)
        self.folder = tempfile.mkdtemp(prefix="ht-redis-")
        self.arguments = arguments
        with socket.create_server(("127.0.0.1", port or 0)) as s:
            self.port = s.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}/1"
        self.start()

    def start(self):
        self.process = subprocess.Popen([self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self.folder, "--save", "", *self.arguments],
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self.answers)

    def answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def kill(self):
        self.process.kill()
        self.process.wait()

    def ask(self, *words, database=1):
        """RESP, as it comes."""
        with socket.create_connection(("127.0.0.1", self.port), STILL) as s:
            f = s.makefile("rwb")
            for line in (("SELECT", str(database)), words):
                f.write(b"*%d\r\n" % len(line) + b"".join(b"$%d\r\n%s\r\n" % (len(w.encode()), w.encode()) for w in line))
                f.flush()
                answer = self.read(f)
            return answer

    def read(self, f):
        line = f.readline()
        kind, rest = line[:1], line[1:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.read(f) for _ in range(int(rest))]
        if kind == b"$":
            return None if rest == b"-1" else f.read(int(rest) + 2)[:-2].decode()
        if kind == b"-":
            raise RuntimeError(rest.decode())
        return int(rest) if kind == b":" else rest.decode()

    def entries(self):
        return self.ask("XLEN", TASKS)

    def close(self):
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


class Doorbell(unittest.TestCase):
    def setUp(self):
        redis.ask("FLUSHALL")
        self.workers, self.services = [], []

    def tearDown(self):
        if redis.process.poll() is not None:
            redis.start()
        for w in self.workers:
            w.process.poll() is None and w.process.send_signal(signal.SIGCONT)
            w.stop(signal.SIGKILL if w.process.poll() is None else signal.SIGTERM)
        for s in self.services:
            s.close()

    def service(self, *arguments, **more):
        s = Service("--workers", "0", "--lease", "3", "--redis", redis.url, *arguments, models=MODELS, **more)
        self.services.append(s)
        return s

    def worker(self, service, name, *arguments, **more):
        w = Worker(service, name, "--redis", redis.url, *arguments, **more)
        self.workers.append(w)
        return w

    def submit(self, service, **more):
        answer = service.post(JOBS, {"name": "job", "source_model": EXAMPLE, "gguf_quant_types": ["Q8_0"], **more})
        self.assertEqual(answer.status, 201, answer)
        return answer.json()["id"]

    def check(self, service, id):
        job = service.wait(id)
        self.assertEqual(job["status"], "completed", job)
        self.assertEqual(job["outputs"][0]["sha256"], test_workers.direct()[job["outputs"][0]["name"]])
        return job

    def metric(self, service, name):
        text = service.get("/metrics").body.decode()
        return next(float(line.split()[-1]) for line in text.split("\n") if line.startswith(f"halftone_{name} "))

    def test_wakes(self):
        """An entry for each job that waits; whoever takes the job ends its entry."""
        s = self.service()
        ids = [self.submit(s) for _ in range(3)]
        until(lambda: redis.entries() == 3)
        jobs = {e[1][1] for e in redis.ask("XRANGE", TASKS, "-", "+")}
        self.assertEqual(jobs, set(ids))
        self.worker(s, "one")
        for id in ids:
            self.assertEqual(self.check(s, id)["attempt"], 1)
        until(lambda: redis.entries() == 0)
        self.assertGreaterEqual(self.metric(s, "doorbell_acknowledged_total"), 1)
        # a worker that waits is woken, and does not find the job by asking now and then
        before = self.metric(s, "doorbell_acknowledged_total")
        self.check(s, self.submit(s))
        until(lambda: self.metric(s, "doorbell_acknowledged_total") > before)

    def test_parts(self):
        """Each task of a job that is divided wakes a worker, too."""
        s = self.service("--task-size", "2M")
        self.worker(s, "one", "--artifacts", "file://" + s.data)
        id = self.submit(s)
        self.check(s, id)
        self.assertGreater(self.metric(s, "doorbell_added_total"), 2)

    def test_unsuited(self):
        """A job that the only worker cannot do: its entry is there for others, and does not wake this one again and again."""
        s = self.service()
        self.worker(s, "small")
        self.submit(s, options={"memory": "900000G"})
        until(lambda: self.metric(s, "doorbell_acknowledged_total") >= 1)
        time.sleep(3)
        self.assertLessEqual(self.metric(s, "doorbell_acknowledged_total"), 2)
        until(lambda: redis.entries() == 1)
        self.check(s, self.submit(s))  # it is not deaf

    def test_cancelled(self):
        s = self.service()
        id = self.submit(s)
        until(lambda: redis.entries() == 1)
        s.post(f"{JOBS}/{id}/cancel")
        until(lambda: redis.entries() == 0)

    def test_flushed(self):
        """FLUSHALL takes stream and group: both are there again, and no job is lost."""
        s = self.service()
        ids = [self.submit(s) for _ in range(3)]
        until(lambda: redis.entries() == 3)
        redis.ask("FLUSHALL")
        until(lambda: redis.ask("EXISTS", TASKS) and redis.entries() == 3)
        self.worker(s, "one")
        self.check(s, ids[0])
        redis.ask("FLUSHALL")
        for id in ids[1:] + [self.submit(s)]:
            self.assertEqual(self.check(s, id)["attempt"], 1)

    def test_killed(self):
        """Redis is killed, stays away, and comes back empty: workers ask the server meanwhile."""
        s = self.service()
        self.worker(s, "one")
        self.check(s, self.submit(s))
        redis.kill()
        ids = [self.submit(s) for _ in range(2)]
        for id in ids:
            self.assertEqual(self.check(s, id)["attempt"], 1)
        until(lambda: any(line["event"] == "doorbell_away" for line in s.lines))
        redis.start()
        until(lambda: redis.ask("EXISTS", TASKS))
        self.check(s, self.submit(s))

    def test_taken_and_forgotten(self):
        """A reader that never asks the server: its entry is given out anew, and after five times lies among the dead. The job is done all the same."""
        s = self.service()
        id = self.submit(s)
        until(lambda: redis.entries() == 1)

        def take():
            if redis.ask("EXISTS", DEAD):
                return True
            try:
                redis.ask("XREADGROUP", "GROUP", GROUP, "thief", "COUNT", "10", "STREAMS", TASKS, ">")
            except RuntimeError:
                pass
            time.sleep(0.5)
            return False
        until(take)
        self.assertEqual(redis.ask("XRANGE", DEAD, "-", "+")[0][1][1], id)
        self.assertEqual(self.metric(s, "doorbell_dead_total"), 1)
        self.worker(s, "one")
        self.check(s, id)

    def test_consumers_go(self):
        """Who was not heard of for long and is owed nothing leaves the group."""
        s = self.service()
        until(lambda: redis.ask("EXISTS", TASKS))
        self.submit(s)
        until(lambda: redis.entries() == 1)
        redis.ask("XREADGROUP", "GROUP", GROUP, "owed", "COUNT", "1", "STREAMS", TASKS, ">")
        redis.ask("XGROUP", "CREATECONSUMER", TASKS, GROUP, "gone")
        names = lambda: {c[1] for c in redis.ask("XINFO", "CONSUMERS", TASKS, GROUP)}
        self.assertLessEqual({"gone", "owed"}, names())
        until(lambda: "gone" not in names(), 60)

    def test_guarded(self):
        """Only the owner's word ends an entry: who lost it changes nothing."""
        s = self.service()
        until(lambda: redis.ask("EXISTS", TASKS))
        entry = redis.ask("XADD", TASKS, "*", "job", "none", "epoch", "1", "tries", "1")
        redis.ask("XREADGROUP", "GROUP", GROUP, "owner", "COUNT", "1", "STREAMS", TASKS, ">")
        worker = s.post(V1 + "/workers", {"name": "w", "version": self.version(), "slots": 1}).json()["id"]
        before = self.metric(s, "doorbell_refused_total")
        s.post(f"{V1}/workers/{worker}/claim", {"seconds": 0, "entry": entry, "consumer": "stranger"})
        until(lambda: self.metric(s, "doorbell_refused_total") > before)
        until(lambda: redis.entries() == 0)  # no job of that name waits: the comparison ends it

    def version(self):
        return subprocess.run([PROGRAM, "--version"], capture_output=True, text=True).stdout.split()[1]

    def test_worker_killed(self):
        s = self.service()
        first = self.worker(s, "first")
        id = self.submit(s, options={"threads": "1", "cpu": "scalar", "effort": "best"})
        os.kill(until(lambda: first.child()), signal.SIGSTOP)
        first.stop(signal.SIGKILL)
        self.worker(s, "second")
        self.assertEqual(s.wait(id)["attempt"], 2)

    def test_refused(self):
        cases = [(["serve", "--redis", "redis://u:secret@h"], {}, 2, "command line"), (["serve", "--redis", "rediss://h"], {}, 1, "stunnel"),
                 (["serve", "--redis", "http://h"], {}, 1, "redis://"), (["worker", "--server", "http://h", "--redis", "redis://u:secret@h"], {}, 2, "command line"),
                 (["worker", "--server", "http://h"], {"REDIS_URL": "redis://h:99999999/1"}, 2, "redis://"),
                 (["worker", "--server", "http://h"], {"REDIS_URL": "redis://u:secret%@h"}, 2, "redis://")]
        for arguments, environment, status, why in cases:
            data = tempfile.mkdtemp()
            kept = {k: v for k, v in os.environ.items() if not k.startswith(("HALFTONE_", "REDIS_"))}
            done = subprocess.run([PROGRAM, *arguments, "--data", data] + (["--port", "0"] if arguments[0] == "serve" else []), env={**kept, **environment},
                                  capture_output=True, text=True, timeout=STILL)
            shutil.rmtree(data)
            self.assertEqual(done.returncode, status, (arguments, done.stderr))
            self.assertIn(why, done.stderr)
            self.assertNotIn("secret", done.stderr)


class Roles(unittest.TestCase):
    """The users of packaging/deploy/redis-users.acl can do what they have to, and a worker nothing else."""

    def test_roles(self):
        with open(ACL) as f:
            text = f.read().replace("CHANGE-SERVICE", "of-the-service").replace("CHANGE-WORKER", "of-the-worker")
        folder = tempfile.mkdtemp()
        with open(os.path.join(folder, "users.acl"), "w") as f:
            f.write("\n".join(line for line in text.split("\n") if line.startswith("user ")) + "\n")
        server = Redis("--aclfile", os.path.join(folder, "users.acl"))
        s = w = None
        try:
            address = f"127.0.0.1:{server.port}"
            s = Service("--workers", "0", "--lease", "3", "--redis", f"redis://halftone-service@{address}", models=MODELS, environment={"REDIS_PASSWORD": "of-the-service"})
            w = Worker(s, "one", environment={"REDIS_URL": f"redis://halftone-worker:of%2Dthe%2dworker@{address}"})
            until(lambda: any(line["event"] == "doorbell_reached" for line in s.lines))
            id = s.post(JOBS, {"name": "job", "source_model": EXAMPLE, "gguf_quant_types": ["Q8_0"]}).json()["id"]
            self.assertEqual(s.wait(id)["status"], "completed")
            until(lambda: "halftone_doorbell_acknowledged_total 1" in s.get("/metrics").body.decode())
            self.assertFalse([line for line in w.lines if line["event"] == "doorbell_away"])
            for command in ("FLUSHALL", f"XACK {TASKS} {GROUP} 1-1", "KEYS *", f"XADD {TASKS} * a b", "GET other"):
                with socket.create_connection(("127.0.0.1", server.port), STILL) as c:
                    c.sendall(f"AUTH halftone-worker of-the-worker\r\n{command}\r\n".encode())
                    got = b""
                    while got.count(b"\r\n") < 2:
                        got += c.recv(4096)
                    self.assertIn(b"NOPERM", got, command)
        finally:
            if w:
                w.stop()
            if s:
                s.close()
            server.close()
            shutil.rmtree(folder)


if __name__ == "__main__":
    redis = Redis()
    try:
        unittest.main()
    finally:
        redis.close()
