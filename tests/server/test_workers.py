#!/usr/bin/env python3
"""Jobs on other machines: real `halftone worker` processes that are killed, stopped for longer than their lease, drained and
lied to. Frozen jobs (SIGSTOP of the quantizing child) take no time of the machine."""
import base64
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from service import DOCUMENT, EXAMPLE, PROGRAM, ROOT, STILL, Service, sha256

V1 = "/api/v1"
JOBS = V1 + "/quantize/jobs"
TYPES = ["Q4_K_M", "Q8_0"]
LEASE = 3


def direct():
    """What one machine writes by itself: name -> hash."""
    if not hasattr(direct, "known"):
        out = tempfile.mkdtemp()
        subprocess.run([PROGRAM, "quantize", EXAMPLE, "-t", ",".join(TYPES + ["nf4"]), "-o", out, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        direct.known = {}
        for folder, _, names in os.walk(out):
            for name in names:
                with open(os.path.join(folder, name), "rb") as f:
                    direct.known[os.path.relpath(os.path.join(folder, name), out)] = sha256(f.read())
        shutil.rmtree(out)
    return direct.known


class Worker:
    def __init__(self, service, name, *arguments, data=None, token=None, environment=None):
        self.data = data or tempfile.mkdtemp(prefix="halftone-worker-")
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("HALFTONE_", "HF_", "REDIS_"))}
        if token:
            self.environment["HALFTONE_TOKEN"] = token
        self.environment.update(environment or {})
        self.process = subprocess.Popen([PROGRAM, "worker", "--server", f"http://127.0.0.1:{service.port}", "--name", name, "--data", self.data, *arguments],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment)
        self.lines, self.errors = [], []
        threading.Thread(target=lambda: [self.lines.append(json.loads(line)) for line in self.process.stdout], daemon=True).start()
        threading.Thread(target=lambda: self.errors.extend(self.process.stderr), daemon=True).start()
        until(lambda: self.lines or self.process.poll() is not None)
        self.id = next((line["worker_id"] for line in self.lines if line["event"] == "working"), None)

    def child(self, verb="quantize"):
        """The process that quantizes."""
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/stat") as f:
                    fields = f.read().rsplit(")", 1)[1].split()
                with open(f"/proc/{pid}/cmdline") as f:
                    words = f.read().split("\0")
            except OSError:
                continue
            if int(fields[1]) == self.process.pid and fields[0] != "Z" and words[1:2] == [verb]:
                return int(pid)
        return None

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(STILL)
        shutil.rmtree(self.data, ignore_errors=True)
        return status


def until(true, seconds=STILL):
    end = time.monotonic() + seconds
    while not (found := true()):
        if time.monotonic() > end:
            raise AssertionError("it did not come about")
        time.sleep(0.02)
    return found


class Far(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.s = Service("--workers", "0", "--lease", str(LEASE), models=[os.path.join(ROOT, "examples")])
        cls.workers = []

    @classmethod
    def tearDownClass(cls):
        cls.s.close()

    def tearDown(self):
        for w in self.workers:
            w.process.poll() is None and w.process.send_signal(signal.SIGCONT)
            w.stop(signal.SIGKILL if w.process.poll() is None else signal.SIGTERM)
        self.workers.clear()

    def worker(self, name, *arguments, **more):
        w = Worker(self.s, name, *arguments, **more)
        self.workers.append(w)
        return w

    def submit(self, types=TYPES, **more):
        body = {"name": "job", "source_model": EXAMPLE, **({"gguf_quant_types": types} if types else {}), **more}
        answer = self.s.post(JOBS, body)
        self.assertEqual(answer.status, 201, answer)
        return answer.json()["id"]

    def submit_frozen(self, worker):
        """A job of this worker whose child does not go on."""
        id = self.submit(options={"threads": "1", "cpu": "scalar", "effort": "best"})
        child = until(lambda: worker.child())
        os.kill(child, signal.SIGSTOP)
        until(lambda: self.job(id)["status"] in ("quantizing", "preparing"))
        return id, child

    def job(self, id):
        return self.s.get(f"{JOBS}/{id}").json()

    def check(self, id, attempt=1, types=TYPES):
        job = self.s.wait(id)
        self.assertEqual(job["status"], "completed", job)
        self.assertEqual((job["progress"], job["attempt"], job["error"]), (100, attempt, None), job)
        self.assertEqual([o["quant_type"] for o in job["outputs"]], types)
        for o in job["outputs"]:
            whole = self.s.get(f"{JOBS}/{id}/outputs/{o['name']}").body
            self.assertEqual(sha256(whole), o["sha256"])
        return job

    def check_same(self, id, attempt=1):
        """Byte for byte what one machine writes."""
        for o in self.check(id, attempt)["outputs"]:
            self.assertEqual(o["sha256"], direct()[o["name"]], o)

    def claim(self, machine=None, worker=None):
        """As a worker of this test's own. The task, or None."""
        worker = worker or self.s.post(V1 + "/workers", {"name": "by hand", "version": "0.1.0"}).json()["id"]
        answer = self.s.post(f"{V1}/workers/{worker}/claim", {"seconds": 0, **({"machine": machine} if machine is not None else {})})
        return (answer.json() if answer.status == 200 else None)

    def finish(self, task, **body):
        return self.s.post(f"{V1}/tasks/{task}/finish", body)

    def bring(self, task, name, data, digest=None):
        digest = digest or base64.b64encode(hashlib.sha256(data).digest()).decode()
        return self.s.request("PUT", f"{V1}/tasks/{task}/files/{name}", data, {"Content-Digest": f"sha-256=:{digest}:", "Content-Type": "application/octet-stream"})

    def alive(self):
        return [w for w in self.s.get(V1 + "/workers").json()["workers"] if w["name"] in ("one", "two") and w["seconds_silent"] < LEASE and w["id"] in [o.id for o in self.workers]]

    def finished(self, id):
        """Tensors that its attempts have finished, by their journals."""
        journals = [os.path.join(f, n) for f, _, names in os.walk(self.s.data + "/jobs") if id in f for n in names if n.endswith(".journal")]
        return sum(sum(line.startswith(b"done ") for line in open(j, "rb")) for j in journals)

    def left_over(self):
        return [e for e in os.listdir(self.s.data + "/jobs") if not e.startswith(".")]


class Work(Far):
    def test_two_workers(self):
        one, two = self.worker("one", "--labels", "rack1,gpu"), self.worker("two", "--models", os.path.join(ROOT, "examples"))
        ids = [self.submit() for _ in range(4)]
        for id in ids:
            self.check_same(id)
        workers = self.alive()
        self.assertEqual([(w["name"], w["labels"]) for w in workers], [("one", ["rack1", "gpu"]), ("two", [])])
        self.assertIn("gguf", workers[0]["machine"]["formats"])
        self.assertEqual([w["id"] for w in self.s.get(V1 + "/system").json()["workers"]["elsewhere"] if w["id"] == two.id], [two.id])
        did = [{line["job_id"] for line in w.lines if line["event"] == "job"} for w in (one, two)]
        self.assertEqual(did[0] | did[1], set(ids))
        self.assertEqual(did[0] & did[1], set())
        fetched = ["fetching the model from the server" in json.dumps(w.lines) for w in (one, two)]
        self.assertEqual(fetched, [bool(did[0]), False])  # the second sees the same files
        log = " ".join(line["line"] for line in self.s.get(f"{JOBS}/{ids[0]}/log").json()["lines"])
        self.assertIn("quantizing", log)
        until(lambda: self.left_over() == [])
        until(lambda: os.listdir(one.data + "/jobs") == [] == os.listdir(one.data + "/uploads"))

    def test_folder_output(self):
        self.worker("one")
        id = self.submit(None, outputs=[{"format": "safetensors", "type": "nf4"}])
        job = self.s.wait(id)
        self.assertEqual(job["status"], "completed", job)
        [output] = job["outputs"]
        written = {f["name"]: f["sha256"] for f in output["files"]}
        known = {os.path.basename(n): h for n, h in direct().items() if n.startswith(output["name"] + "/")}
        self.assertEqual(written["model.safetensors"], known["model.safetensors"])
        self.assertEqual(set(written), set(known))

    def test_upload(self):
        """A model that was brought to the service, and lies nowhere else."""
        out = tempfile.mkdtemp()
        subprocess.run([PROGRAM, "quantize", EXAMPLE, "-t", "F16", "-o", out, "--quiet"], check=True)
        with open(os.path.join(out, os.listdir(out)[0]), "rb") as f:
            answer = self.s.request("PUT", V1 + "/uploads/brought.gguf", f.read(), {"Content-Type": "application/octet-stream"})
        shutil.rmtree(out)
        self.assertEqual(answer.status, 201, answer)
        self.worker("one")
        self.check(self.submit(["Q8_0"], source_model="brought.gguf", source_type="upload"), types=["Q8_0"])

    def test_killed(self):
        """kill -9: the lease ends, another worker does it."""
        one = self.worker("one")
        id, child = self.submit_frozen(one)
        until(lambda: [t["job_id"] for w in self.alive() for t in w["tasks"]] == [id])
        one.process.kill()
        one.process.wait()
        until(lambda: not os.path.exists(f"/proc/{child}"))  # its child goes with it
        self.worker("two")
        self.check(id, attempt=2)
        until(lambda: self.left_over() == [])

    def test_stopped(self):
        """SIGSTOP for longer than the lease: what it does afterwards changes nothing."""
        one = self.worker("one")
        id, child = self.submit_frozen(one)
        one.process.send_signal(signal.SIGSTOP)
        two = self.worker("two")
        done = self.check(id, attempt=2)
        os.kill(child, signal.SIGCONT)
        one.process.send_signal(signal.SIGCONT)
        until(lambda: any("another worker has this job" in json.dumps(line) for line in one.lines))
        until(lambda: not one.child() and os.listdir(one.data + "/jobs") == [])
        self.assertEqual(self.job(id)["outputs"], done["outputs"])
        self.assertEqual(len([m for m in os.listdir(self.s.data + "/models") if id in m]), 1)
        two.stop()
        self.check_same(self.submit())  # the first goes on with others

    def test_cancel(self):
        one = self.worker("one")
        id, child = self.submit_frozen(one)
        since = time.monotonic()
        self.assertEqual(self.s.post(f"{JOBS}/{id}/cancel").status, 200)
        self.assertEqual(self.s.wait(id)["status"], "cancelled")
        self.assertLess(time.monotonic() - since, 20)
        until(lambda: not os.path.exists(f"/proc/{child}") and os.listdir(one.data + "/jobs") == [])
        until(lambda: self.left_over() == [] == [m for m in os.listdir(self.s.data + "/models") if id in m])

    def test_cancel_of_a_dead_worker(self):
        one = self.worker("one")
        id, _ = self.submit_frozen(one)
        one.process.kill()
        self.assertEqual(self.s.post(f"{JOBS}/{id}/cancel").status, 200)
        self.assertEqual(self.s.wait(id)["status"], "cancelled")
        until(lambda: self.left_over() == [])

    def test_drain(self):
        """SIGTERM gives the job back at once; it is not counted as an attempt."""
        one = self.worker("one")
        id, _ = self.submit_frozen(one)
        self.assertEqual(one.stop(), 0)
        self.assertEqual((self.job(id)["status"], self.job(id)["attempt"]), ("queued", 0))
        self.assertNotIn(one.id, [w["id"] for w in self.alive()])
        self.worker("two")
        self.check(id)

    def test_continues(self):
        """Its own unfinished work, after a restart of the worker."""
        data = tempfile.mkdtemp(prefix="halftone-worker-")
        one = self.worker("one", data=data)
        id, _ = self.submit_frozen(one)
        one.process.send_signal(signal.SIGTERM)
        self.assertEqual(one.process.wait(STILL), 0)
        self.assertEqual(os.listdir(data + "/jobs"), [id])
        os.makedirs(data + "/jobs/" + "0" * 32)  # of a job that nobody knows
        self.worker("one", data=data)
        self.check(id)
        until(lambda: os.listdir(data + "/jobs") == [])

    def test_shared_folder(self):
        """Work in the service's own folder: nothing is sent; each attempt has a folder of its own."""
        share = ["--artifacts", "file://" + self.s.data]
        one = self.worker("one", *share)
        self.check_same(self.submit())
        until(lambda: self.left_over() == [] == os.listdir(one.data + "/jobs"))
        id = self.submit(options={"threads": "1", "cpu": "scalar", "effort": "best", "checkpoint-seconds": "0"})
        until(lambda: self.finished(id) >= 5)
        os.kill(one.child(), signal.SIGSTOP)  # it lives on for a while, as on a machine that is cut off
        one.process.kill()
        one.process.wait()
        self.worker("two", *share)
        job = self.check(id, attempt=2)
        log = " ".join(line["line"] for line in self.s.get(f"{JOBS}/{id}/log?limit=200").json()["lines"])
        self.assertRegex(log, r"[1-9][0-9]* finished tensors are taken from")
        best = tempfile.mkdtemp()
        subprocess.run([PROGRAM, "quantize", EXAMPLE, "-t", ",".join(TYPES), "--effort", "best", "-o", best, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        for o in job["outputs"]:
            with open(os.path.join(best, o["name"]), "rb") as f:
                self.assertEqual(o["sha256"], sha256(f.read()), o["name"])
        shutil.rmtree(best)
        until(lambda: self.left_over() == [])
        for folder, why in ((tempfile.gettempdir(), "is not the data folder"), ("/nowhere", "--artifacts")):
            wrong = self.worker("wrong", "--artifacts", folder)
            self.assertIn(wrong.process.wait(STILL), (1, 2))
            until(lambda: why in "".join(wrong.errors), 10)

    def test_server_restarts(self):
        s = Service("--workers", "0", "--lease", "12", models=[os.path.join(ROOT, "examples")])
        try:
            one = Worker(s, "one")
            id = s.post(JOBS, {"name": "job", "source_model": EXAMPLE, "gguf_quant_types": TYPES}).json()["id"]
            child = until(lambda: one.child() or s.get(f"{JOBS}/{id}").json()["status"] == "completed")
            child is not True and os.kill(child, signal.SIGSTOP)
            s.process.kill()
            s.process.wait()
            s.arguments[2] = str(s.port)
            s.start()
            child is not True and os.kill(child, signal.SIGCONT)
            job = s.wait(id)
            self.assertEqual((job["status"], job["attempt"]), ("completed", 1), job)
            self.assertEqual(one.stop(), 0)
        finally:
            s.close()

    def test_refused(self):
        for arguments, why in ((["--slots", "0"], "--slots"), (["--labels", "a b"], "--labels"), (["--server", "ftp://x"], "http"),
                               (["--server", "http://user:secret@127.0.0.1:1"], "HALFTONE_TOKEN"), (["--models", "/nowhere"], "/nowhere")):
            with self.subTest(arguments):
                w = self.worker("one", *arguments)
                self.assertEqual(w.process.wait(STILL), 2)
                until(lambda: why in "".join(w.errors), 10)
        one = self.worker("one")
        two = self.worker("two", data=one.data)
        self.assertEqual(two.process.wait(STILL), 1)
        until(lambda: "another process" in "".join(two.errors), 10)


class Trouble(Far):
    """A proxy between worker and server, that loses words or makes them come at a bad moment."""

    def between(self, fault):
        import test_s3  # which needs what is above
        between = test_s3.Between(self.s)
        between.fault = fault
        self.addCleanup(between.shutdown)
        self.workers.append(Worker(between, "one"))
        return between

    def test_lost_words(self):
        """What a worker asks and brings is asked and brought again."""
        asked = {}

        def fault(method, path):
            """The first two of each; heartbeats are left alone."""
            if "/tasks/" not in path or method == "PATCH":
                return None
            asked[method, path] = n = asked.get((method, path), 0) + 1
            return {1: "drop", 2: 503}.get(n)
        self.between(fault)
        self.check_same(self.submit())
        self.assertEqual({3}, set(asked.values()), asked)
        self.assertTrue({"source", "finish", "model.safetensors", "report.json"} <= {path.rsplit("/", 1)[1] for _, path in asked}, asked)

    def test_cancelled_at_the_end(self):
        """Somebody cancels while the word that all is done is on its way."""
        said = []

        def fault(method, path):
            if path.endswith("/finish") and not said:
                said.append(self.s.post(f"{JOBS}/{id}/cancel").status)
        id = None
        self.between(fault)
        id = self.submit()
        self.assertEqual(self.s.wait(id)["status"], "cancelled")
        self.assertEqual(said, [200])
        until(lambda: self.left_over() == [] == [m for m in os.listdir(self.s.data + "/models") if id in m])


class Parts(Far):
    """One job over many workers."""
    @classmethod
    def setUpClass(cls):
        cls.s = Service("--workers", "0", "--lease", str(LEASE), "--task-size", "2M", models=[os.path.join(ROOT, "examples")])
        cls.workers = []

    def tasks(self):
        return [t for w in self.s.get(V1 + "/workers").json()["workers"] for t in w["tasks"]]

    def log(self, id):
        return " ".join(line["line"] for line in self.s.get(f"{JOBS}/{id}/log?limit=200").json()["lines"])

    def test_three_workers_one_killed(self):
        share = ["--artifacts", "file://" + self.s.data, "--models", os.path.join(ROOT, "examples")]
        id = self.submit(TYPES + [])
        workers = {w.id: w for w in (self.worker(name, *share) for name in ("one", "two", "three"))}
        dead = until(lambda: next((w for w in workers.values() if w.child()), None))
        child = dead.child()
        child and os.kill(child, signal.SIGSTOP)  # it lives on, and is a zombie
        dead.process.kill()
        self.check_same(id)
        log = self.log(id)
        self.assertRegex(log, r"divided into [2-9] parts")
        self.assertRegex(log, r"[1-9][0-9]* finished tensors are taken from")
        did = [w for w in workers.values() if w is not dead and any(line["event"] == "job" and line["job_id"] == id for line in w.lines)]
        self.assertTrue(did)
        until(lambda: self.left_over() == [])

    def test_cancel(self):
        one = self.worker("one", "--artifacts", "file://" + self.s.data)
        id = self.submit(options={"threads": "1", "cpu": "scalar", "effort": "best"})
        until(lambda: "in parts" in (self.job(id)["current_step"] or ""))
        until(lambda: self.tasks())
        self.assertEqual(self.s.post(f"{JOBS}/{id}/cancel").status, 200)
        self.assertEqual(self.s.wait(id)["status"], "cancelled")
        until(lambda: not one.child() and self.tasks() == [])
        until(lambda: self.left_over() == [] == [m for m in os.listdir(self.s.data + "/models") if id in m])

    def test_apart(self):
        """A worker without the folder is given whole jobs only, and one whose layers come in turn is not divided."""
        one = self.worker("one")
        self.check_same(self.submit())
        one.stop()
        self.worker("two", "--artifacts", "file://" + self.s.data)
        id = self.submit(["Q8_0", "Q4_K_M"], options={"calibration": "default", "effort": "best", "ctx": "32", "chunks": "64"})
        self.check(id, types=["Q8_0", "Q4_K_M"])
        self.assertNotIn("divided", self.log(id))

    def test_by_hand(self):
        share = {"share": True}
        id = self.submit(["Q8_0"])
        whole = self.claim(share)
        self.assertEqual(self.finish(whole["task"], status="split").status, 422)
        self.assertEqual(self.finish(whole["task"], status="split", parts=1).status, 422)
        self.assertEqual(self.finish(whole["task"], status="completed", parts=2).status, 422)
        self.assertEqual(self.finish(whole["task"], status="split", parts=2).json(), {"status": "quantizing"})
        self.assertEqual(self.finish(whole["task"], status="split", parts=2).status, 409)
        self.assertIsNone(self.claim({"share": False}))
        first, second = self.claim(share), self.claim(share)
        self.assertEqual([(t["job_id"], t["part"], t["parts"]) for t in (first, second)], [(id, 1, 2), (id, 2, 2)])
        self.assertIsNone(self.claim(share))
        self.assertEqual(self.finish(first["task"], status="queued").json(), {"status": "queued"})
        again = self.claim(share)
        self.assertEqual((again["part"], again["attempt"]), (1, 1))
        for ask in (lambda: self.finish(first["task"], status="completed"), lambda: self.s.request("PATCH", f"{V1}/tasks/{first['task']}", {})):
            self.assertEqual(ask().status, 409)
        for task in (again, second, second):  # the last one's answer may have been lost
            self.assertEqual(self.finish(task["task"], status="completed").json(), {"status": "completed"})
        last = self.claim(share)
        self.assertEqual((last["job_id"], last["attempt"], last.get("part")), (id, 1, None))
        self.assertEqual(last["request"]["tasks"], {"parts": 2, "left": 0})
        self.finish(last["task"], status="cancelled")


class Calibrated(Parts):
    """The calibration text is divided first, and the outputs when its parts are done."""
    TYPES = ["Q4_K_M", "IQ3_S"]
    OPTIONS = {"calibration": "default", "ctx": "64", "chunks": "100", "threads": "1"}

    test_apart = test_three_workers_one_killed = None  # of Parts

    def alone(self):
        """What one machine writes: name -> hash."""
        with tempfile.TemporaryDirectory() as out:
            command = [PROGRAM, "quantize", EXAMPLE, "-t", ",".join(self.TYPES), "-o", out, "--quiet"]
            subprocess.run(command + [f"--{k}={v}" for k, v in self.OPTIONS.items()], check=True, stdout=subprocess.DEVNULL)
            return {name: sha256(open(os.path.join(out, name), "rb").read()) for name in os.listdir(out)}

    def kill_one(self, workers):
        dead = until(lambda: next((w for w in workers if w.child()), None))
        child = dead.child()
        child and os.kill(child, signal.SIGSTOP)  # it lives on, and is a zombie
        dead.process.kill()
        workers.remove(dead)

    def test_one_killed_while_text_and_one_while_outputs_are_in_parts(self):
        share = ["--artifacts", "file://" + self.s.data, "--models", os.path.join(ROOT, "examples")]
        id = self.submit(self.TYPES, options=self.OPTIONS)
        workers = [self.worker(name, *share) for name in ("one", "two", "three")]
        until(lambda: "text is divided into" in self.log(id))
        self.kill_one(workers)
        until(lambda: re.search("(^| )divided into", self.log(id).replace("text is divided into", "")))
        self.kill_one(workers)
        job = self.check(id, types=self.TYPES)
        alone = self.alone()
        for o in job["outputs"]:
            self.assertEqual(o["sha256"], alone[o["name"]], o)
        log = self.log(id)
        self.assertRegex(log, "the calibration text is divided into [2-9] parts")
        self.assertIn("importance of 16 of 16 groups of chunks is taken from other runs", log)
        self.assertRegex(log, r"[1-9][0-9]* finished tensors are taken from")
        until(lambda: self.left_over() == [])

    def test_cancel(self):
        one = self.worker("one", "--artifacts", "file://" + self.s.data)
        id = self.submit(self.TYPES, options={**self.OPTIONS, "cpu": "scalar", "chunks": "1000"})
        until(lambda: "in parts" in (self.job(id)["current_step"] or ""))
        until(lambda: self.tasks())
        self.assertEqual(self.s.post(f"{JOBS}/{id}/cancel").status, 200)
        self.assertEqual(self.s.wait(id)["status"], "cancelled")
        until(lambda: not one.child() and self.tasks() == [])
        until(lambda: self.left_over() == [] == [m for m in os.listdir(self.s.data + "/models") if id in m])

    def test_by_hand(self):
        share = {"share": True}
        id = self.submit(["Q8_0"], options={"calibration": "default"})
        whole = self.claim(share)
        self.assertEqual(self.finish(whole["task"], status="queued", collects=True).status, 422)
        self.assertEqual(self.finish(whole["task"], status="split", collects=True).status, 422)
        self.assertEqual(self.finish(whole["task"], status="split", parts=2, collects=True).json(), {"status": "quantizing"})
        first, second = self.claim(share), self.claim(share)
        self.assertEqual([(t["job_id"], t["part"], t["parts"], t["collects"]) for t in (first, second)], [(id, 1, 2, True), (id, 2, 2, True)])
        self.assertIsNone(self.claim(share))
        self.assertEqual(self.finish(first["task"], status="queued").json(), {"status": "queued"})
        again = self.claim(share)
        self.assertEqual((again["part"], again["collects"], again["attempt"]), (1, True, 1))
        self.assertEqual(self.finish(first["task"], status="completed").status, 409)
        self.assertEqual(self.finish(again["task"], status="completed").json(), {"status": "completed"})
        self.assertIn("calibrating in parts: 1 of 2", self.job(id)["current_step"])
        for task in (second, second):  # the last one's answer may have been lost
            self.assertEqual(self.finish(task["task"], status="completed").json(), {"status": "completed"})
        between = self.claim(share)
        self.assertEqual((between["attempt"], between.get("part"), between["request"]["tasks"]), (1, None, {"parts": 0, "left": 0, "collecting": 2}))
        self.assertEqual(self.finish(between["task"], status="split", parts=2).json(), {"status": "quantizing"})
        tasks = [self.claim(share), self.claim(share)]
        self.assertEqual([(t["part"], t["parts"], t.get("collects")) for t in tasks], [(1, 2, None), (2, 2, None)])
        for task in tasks:
            self.assertEqual(self.finish(task["task"], status="completed").json(), {"status": "completed"})
        last = self.claim(share)
        self.assertEqual((last["job_id"], last["attempt"], last["request"]["tasks"]), (id, 1, {"parts": 2, "left": 0, "collecting": 2}))
        self.finish(last["task"], status="cancelled")


class Rows(Far):
    """A job whose largest tensors lie in several of its parts."""
    OPTIONS = {"threads": "1", "cpu": "scalar", "effort": "best"}

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="halftone-test-")
        cls.model = os.path.join(cls.folder, "lopsided")
        subprocess.run([sys.executable, os.path.join(ROOT, "tests", "lib", "lopsided_model.py"), cls.model], check=True)
        cls.s = Service("--workers", "0", "--lease", str(LEASE), "--task-size", "1M", models=[cls.folder])
        cls.workers = []

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.folder)

    def alone(self, *more):
        out = tempfile.mkdtemp(dir=self.folder)
        command = [PROGRAM, "quantize", self.model, "-t", "Q4_K_M,Q8_0", "-o", out, "--quiet", "--report", out + "/report.json"]
        for name, value in self.OPTIONS.items():
            command += ["--" + name, value]
        subprocess.run(command + list(more), check=True, stdout=subprocess.DEVNULL)
        return out

    def test_killed_in_a_tensor(self):
        share = ["--artifacts", "file://" + self.s.data, "--models", self.folder]
        workers = [self.worker(name, *share) for name in ("one", "two", "three")]
        id = self.submit(["Q4_K_M", "Q8_0"], source_model=self.model, options={**self.OPTIONS, "checkpoint-seconds": "0"})
        until(lambda: "in parts" in (self.job(id)["current_step"] or ""))
        dead = until(lambda: next((w for w in workers if w.child()), None))
        dead.process.kill()
        job = self.s.wait(id)
        self.assertEqual(job["status"], "completed", job)
        out = self.alone()
        for o in job["outputs"]:
            with open(os.path.join(out, o["name"]), "rb") as f:
                self.assertEqual(o["sha256"], sha256(f.read()), o)
        log = " ".join(line["line"] for line in self.s.get(f"{JOBS}/{id}/log?limit=200").json()["lines"])
        parts = re.search(r"divided into ([0-9]+) parts", log)[1]
        with open(os.path.join(self.alone("--part", f"2/{parts}"), "report.json")) as f:
            self.assertGreaterEqual(json.load(f)["part"]["cut"], 1)
        until(lambda: self.left_over() == [])


class Words(Far):
    """The requests by themselves."""

    def test_what_a_worker_can_do(self):
        id = self.submit(["Q8_0"], options={"cpu": "avx2", "memory": "4G"})
        able = {"formats": ["gguf"], "cpu_levels": ["scalar", "avx2"], "memory_bytes": 8 << 30}
        for lack in ({"formats": ["safetensors"]}, {"cpu_levels": ["scalar"]}, {"memory_bytes": 1 << 30}):
            self.assertIsNone(self.claim({**able, **lack}), lack)
        task = self.claim(able)
        self.assertEqual((task["job_id"], task["attempt"], task["lease_seconds"]), (id, 1, LEASE))
        self.assertIsNone(self.claim(able))
        self.assertEqual(self.finish(task["task"], status="queued").json(), {"status": "queued"})
        again = self.claim(able)
        self.assertEqual((again["attempt"], again["epoch"]), (1, task["epoch"] + 2))
        for ask in (lambda: self.finish(task["task"], status="completed"), lambda: self.finish(task["task"], status="failed", error="x"),
                    lambda: self.s.request("PATCH", f"{V1}/tasks/{task['task']}", {"progress": 50}), lambda: self.bring(task["task"], "a", b"x"),
                    lambda: self.s.get(f"{V1}/tasks/{task['task']}/source")):
            self.assertEqual(ask().status, 409)
        self.assertEqual(self.job(id)["attempt"], 1)
        failed = self.finish(again["task"], status="failed", error="no", error_advice="try")
        self.assertEqual((failed.json(), self.job(id)["error"]), ({"status": "failed"}, "no"))

    def test_a_lease_ends(self):
        id = self.submit(["Q8_0"])
        tasks = [self.claim()]
        for _ in range(2):
            until(lambda: (task := self.claim()) and tasks.append(task) is None)
        self.assertEqual([t["attempt"] for t in tasks], [1, 2, 3])
        self.assertEqual(self.s.request("PATCH", f"{V1}/tasks/{tasks[2]['task']}", {"progress": 5}).json()["cancel"], False)
        until(lambda: self.claim() is None and self.job(id)["status"] == "failed")
        self.assertIn("3 attempts", self.job(id)["error"])
        self.assertEqual(self.finish(tasks[2]["task"], status="completed").status, 409)

    def test_progress(self):
        id = self.submit(["Q8_0"])
        task = self.claim()["task"]
        live = {"tensor": "blk.0", "unit": "weights", "done": 5, "total": 10, "rate": 1.0, "seconds": 5, "seconds_left": None}
        told = {"status": "quantizing", "step": "quantize", "current_step": "quantizing", "progress": 41.5, "live": live,
                "log": [{"level": "info", "text": "a line"}]}
        self.assertEqual(self.s.request("PATCH", f"{V1}/tasks/{task}", told).status, 200)
        job = self.job(id)
        self.assertEqual((job["status"], job["progress"], job["live"]["tensor"]), ("quantizing", 41.5, "blk.0"))
        self.assertEqual([l["line"] for l in self.s.get(f"{JOBS}/{id}/log").json()["lines"]], ["a line"])
        for bad in ({"progress": 101}, {"status": "completed"}, {"live": {"done": 1}}, {"log": [{"level": "loud", "text": ""}]},
                    {"outputs": [{"name": "x"}]}, {"nonsense": 1}, {"step": "x" * 100}):
            self.assertEqual(self.s.request("PATCH", f"{V1}/tasks/{task}", bad).status, 422, bad)
        self.assertEqual(self.s.post(f"{JOBS}/{id}/cancel").status, 200)
        self.assertEqual(self.s.request("PATCH", f"{V1}/tasks/{task}", {}).json()["cancel"], True)
        self.assertEqual(self.finish(task, status="completed").status, 409)
        self.assertEqual(self.finish(task, status="cancelled").json(), {"status": "cancelled"})
        self.assertEqual(self.job(id)["status"], "cancelled")

    def test_files(self):
        id = self.submit(["Q8_0"])
        task = self.claim()["task"]
        right = self.bring(task, "a.gguf", b"GGUF")
        self.assertEqual((right.status, right.json()), (201, {"name": "a.gguf", "size": 4, "sha256": sha256(b"GGUF")}))
        for name in ("..%2fa", ".hidden", "a%2f..%2fb", "a/b/c", "a/.b", "a%0ab", "%2fetc%2fx"):
            self.assertIn(self.bring(task, name, b"x").status, (400, 404, 422), name)
        self.assertEqual(self.bring(task, "b.gguf", b"x", digest=base64.b64encode(b"0" * 32).decode()).status, 422)
        self.assertEqual(self.s.request("PUT", f"{V1}/tasks/{task}/files/c", b"x", judge=False).status, 422)
        self.assertEqual(sorted(os.listdir(f"{self.s.data}/jobs/{id}.e1/out")), ["a.gguf"])
        self.assertIn("no report", self.finish(task, status="completed").json()["detail"])

        def report(hash):
            files = [{"path": "/w/a.gguf", "size_bytes": 4, "sha256": hash}]
            return json.dumps({"outputs": [{"path": "/w/a.gguf", "type": "Q8_0", "format": "gguf", "bpw": 8, "files": files}], "source": {}}).encode()
        self.bring(task, "report.json", report("0" * 64))
        self.assertIn("SHA-256", self.finish(task, status="completed").json()["detail"])
        self.bring(task, "report.json", report(sha256(b"GGUF")))
        for _ in range(2):  # its answer may have been lost
            self.assertEqual(self.finish(task, status="completed").json(), {"status": "completed"})
        self.assertEqual(self.job(id)["outputs"][0]["sha256"], sha256(b"GGUF"))
        self.assertEqual(self.bring(task, "d", b"x").status, 409)
        until(lambda: self.left_over() == [])

    def test_source(self):
        self.submit(["Q8_0"])
        task = self.claim()["task"]
        source = self.s.get(f"{V1}/tasks/{task}/source").json()
        self.assertEqual((source["name"], source["folder"]), (os.path.basename(EXAMPLE), True))
        [weights] = [f for f in source["files"] if f["name"].endswith(".safetensors")]
        whole = self.s.get(f"{V1}/tasks/{task}/source/{weights['name']}").body
        with open(os.path.join(EXAMPLE, weights["name"]), "rb") as f:
            self.assertEqual(whole, f.read())
        part = self.s.get(f"{V1}/tasks/{task}/source/{weights['name']}", headers={"Range": "bytes=1000-"})
        self.assertEqual((part.status, part.body), (206, whole[1000:]))
        for name in ("..%2f..%2fMakefile", "nothing", "%2fetc%2fpasswd"):
            self.assertIn(self.s.get(f"{V1}/tasks/{task}/source/{name}", judge=False).status, (400, 404), name)
        self.finish(task, status="cancelled")

    def test_unknown(self):
        for path in ("x", "0" * 32, "0" * 32 + "-0", "0" * 32 + "-x", "0" * 32 + "--1"):
            self.assertEqual(self.s.request("PATCH", f"{V1}/tasks/{path}", {}).status, 404, path)
        self.assertEqual(self.s.request("PATCH", f"{V1}/tasks/{'0' * 32}-1", {}).status, 409)
        self.assertEqual(self.s.post(f"{V1}/workers/{'0' * 32}/claim", {}).status, 404)
        self.assertEqual(self.s.delete(f"{V1}/workers/{'0' * 32}").status, 404)
        self.assertEqual(self.s.post(V1 + "/workers", {"name": "x", "version": "0.0.9"}).status, 409)
        self.assertEqual(self.s.post(V1 + "/workers", {"name": "x"}).status, 422)
        id = self.s.post(V1 + "/workers", {"name": "x", "version": "0.1.0", "holds": ["0" * 32]}).json()
        self.assertEqual(id["drop"], ["0" * 32])
        self.assertEqual(self.s.delete(f"{V1}/workers/{id['id']}").status, 204)

    def test_waiting(self):
        """A claim waits, and is answered when a job comes."""
        worker = self.s.post(V1 + "/workers", {"name": "x", "version": "0.1.0"}).json()["id"]
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(self.s.post(f"{V1}/workers/{worker}/claim", {"seconds": 30}).json())) for _ in range(8)]
        for t in threads:
            t.start()
        time.sleep(0.3)
        ids = [self.submit(["Q8_0"]) for _ in range(8)]
        for t in threads:
            t.join(STILL)
        self.assertEqual(sorted(a["job_id"] for a in answers), sorted(ids))
        for a in answers:
            self.finish(a["task"], status="cancelled")


class Tokens(unittest.TestCase):
    def test_scopes(self):
        data = tempfile.mkdtemp(prefix="halftone-test-")
        make = lambda scope: subprocess.run([PROGRAM, "serve", "--data", data, "--new-token", scope, "--scope", scope], check=True, capture_output=True, text=True).stdout.strip()
        tokens = {scope: make(scope) for scope in ("read", "submit", "worker", "admin")}
        s = Service("--workers", "0", "--lease", str(LEASE), data=data, models=[os.path.join(ROOT, "examples")])
        try:
            new = {"name": "x", "version": "0.1.0"}
            self.assertEqual([s.post(V1 + "/workers", new, token=tokens[k]).status for k in ("read", "submit", "worker", "admin")], [403, 403, 201, 201])
            for path in (JOBS, V1 + "/models", V1 + "/system", V1 + "/workers", V1 + "/tokens"):
                self.assertEqual(s.get(path, token=tokens["worker"]).status, 403, path)
            self.assertEqual(s.post(JOBS, {}, token=tokens["worker"]).status, 403)
            wrong = Worker(s, "wrong", token="ht_" + "0" * 64)
            self.assertEqual(wrong.process.wait(STILL), 1)
            until(lambda: "token" in "".join(wrong.errors), 10)
            right = Worker(s, "right", token=tokens["worker"])
            id = s.post(JOBS, {"name": "job", "source_model": EXAMPLE, "gguf_quant_types": ["Q8_0"]}, token=tokens["submit"]).json()["id"]
            s.token = tokens["read"]
            self.assertEqual(s.wait(id)["status"], "completed")
            for pid in (right.process.pid, s.process.pid):
                with open(f"/proc/{pid}/cmdline") as f:
                    self.assertNotIn("ht_", f.read())
            self.assertEqual(right.stop(), 0)
        finally:
            s.close()
            shutil.rmtree(data)


class ZLast(unittest.TestCase):
    """Last: every operation for workers was answered as it should be at least once."""

    def test_every_operation(self):
        good = {(m, p) for m, p, status in DOCUMENT.seen if status < 300}
        wanted = {(m, p) for m, p in DOCUMENT.operations if p.startswith((V1 + "/workers", V1 + "/tasks"))}
        self.assertEqual(wanted - good, set())


if __name__ == "__main__":
    unittest.main(verbosity=2)
