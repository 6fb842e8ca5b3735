#!/usr/bin/env python3
"""The service and its workers under faults that a seed chooses: campaign.py [--runs N] [--first SEED] [--lanes N] [--seed SEED] [--keep].

A run is a number. It picks the database (SQLite, PostgreSQL), the doorbell (in the process, Redis), where files lie (sent to the service, a shared
folder, a bucket), services, workers, jobs (whole, divided, cancelled) and faults: processes, Redis and PostgreSQL are killed or stopped for longer
than the lease, wires cut and healed, Redis emptied, disks filled, the bucket fails. When the faults are over everything is running again, and

  - every job that was accepted is there once, and ends completed, with the bytes of a direct run, or cancelled because we said so;
  - it is published once; what a worker does that comes back too late changes nothing; nobody tried more often than is allowed (P1 to P4);
  - who listens to the events hears of every end, or is told to read the list, and ids rise (P6); Redis, emptied or not, owes nothing in the end (P7);
  - the service starts again, and then no folder, part, copy or upload of an attempt is left, `halftone admin check` agrees and the database is sound.

A run that fails tells its number and keeps its folder with what every process said. No time limit means that something is wrong: only STILL
seconds without any change do."""
import argparse
import glob
import json
import multiprocessing
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import urllib.request
import http.client

import campaign_faults as faults
from campaign_place import Disk, Lane, Process, Wire, descendants, free_port, may_mount
from service import EXAMPLE, PROGRAM, ROOT, STILL, sha256
import test_s3
from test_workers import until

V1 = "/api/v1"
JOBS = V1 + "/quantize/jobs"
ENDED = ("completed", "failed", "cancelled")
MOST_ATTEMPTS = 3

# What jobs are made of: (body, options). The slow ones are those that faults find at work.
SLOW = {"threads": "1", "cpu": "scalar"}
KINDS_OF_JOB = [({"gguf_quant_types": ["Q8_0"]}, {}), ({"gguf_quant_types": ["Q4_K_M", "Q8_0"]}, {}), ({"gguf_quant_types": ["Q4_K_M"]}, SLOW),
                ({"gguf_quant_types": ["Q4_K_M", "Q8_0"]}, {**SLOW, "checkpoint-seconds": "0"}), ({"outputs": [{"format": "safetensors", "type": "nf4"}]}, {}),
                ({"gguf_quant_types": ["Q8_0"]}, {"threads": "1", "effort": "best", "checkpoint-seconds": "0"})]


def types_of(body):
    return body.get("gguf_quant_types") or [o["type"] for o in body["outputs"]]


def direct(folder):
    """What one process writes by itself: [{name: hash}], one for each kind of job."""
    known = []
    for body, options in KINDS_OF_JOB:
        out = tempfile.mkdtemp(dir=folder)
        words = [w for name, value in options.items() if name != "checkpoint-seconds" for w in ("--" + name, value)]
        subprocess.run([PROGRAM, "quantize", EXAMPLE, "-t", ",".join(types_of(body)), "-o", out, "--quiet", *words], check=True, stdout=subprocess.DEVNULL)
        found = {}
        for at, _, names in os.walk(out):
            for name in names:
                with open(os.path.join(at, name), "rb") as f:
                    found[os.path.relpath(os.path.join(at, name), out)] = sha256(f.read())
        shutil.rmtree(out)
        known.append(found)
    return known


class Plan:
    """All that the seed decides."""

    def __init__(self, seed, can):
        rng = random.Random(seed)
        self.seed = seed
        self.store = rng.choice(["sqlite", "postgres"])
        self.redis = rng.random() < 0.5
        self.files = rng.choice(["sent", "shared", "bucket"])
        if self.files == "bucket" and "s3" not in can:
            self.files = "sent"
        self.services = 2 if self.store == "postgres" and rng.random() < 0.3 else 1
        self.embedded = rng.random() < 0.3
        self.workers = rng.randint(0 if self.embedded else 1, 3)
        self.divided = (self.files == "shared" or self.embedded) and self.files != "bucket" and rng.random() < 0.6
        self.disk = rng.random() < 0.25 and "mount" in can
        self.jobs = [(rng.randrange(len(KINDS_OF_JOB)), rng.uniform(0, 1.5), rng.uniform(0, 3) if rng.random() < 0.2 else None)
                     for _ in range(rng.randint(1, 3))]
        places = {"process": [f"service{i}" for i in range(self.services)] + [f"worker{i}" for i in range(self.workers)],
                  "wire": [f"wire{i}" for i in range(self.workers)], "s3": ["s3"] if self.files == "bucket" else [],
                  "redis": ["redis"] if self.redis else [], "postgres": ["postgres"] if self.store == "postgres" else [],
                  "disk": ["data"] + [f"worker{i}" for i in range(self.workers)] if self.disk else []}
        self.faults = faults.schedule(rng, places)
        self.s3_seed = rng.random()

    def __str__(self):
        text = f"seed {self.seed}: {self.store}, {'Redis, ' if self.redis else ''}files {self.files}, {self.services} service(s), {self.workers} worker(s)"
        text += f"{', one within' if self.embedded else ''}{', divided' if self.divided else ''}{', small disks' if self.disk else ''}\n"
        text += "".join(f"  job {types_of(KINDS_OF_JOB[k][0])} {KINDS_OF_JOB[k][1]} at {at:.2f}s{'' if cancel is None else f', cancelled {cancel:.2f}s later'}\n" for k, at, cancel in self.jobs)
        return text + "".join(f"  {f}\n" for f in self.faults)


class Job:
    def __init__(self, number, kind, at, cancel_after):
        self.number, self.kind, self.at, self.cancel_after = number, kind, at, cancel_after
        self.id, self.told_cancel, self.cancel_unsure, self.first_outputs, self.retries = None, False, False, None, 0


class Listener:
    """A client of the events that comes back with the last id, as browsers do, and reads the list when it is told to."""

    def __init__(self, run):
        self.run, self.known, self.last, self.faults, self.over = run, {}, None, [], threading.Event()
        self.thread = threading.Thread(target=self.listen, daemon=True)
        self.thread.start()

    def listen(self):
        while not self.over.is_set():
            try:
                self.hear()
            except (OSError, ValueError, http.client.HTTPException):
                pass
            except Exception:
                self.run.failures.append(traceback.format_exc())
            time.sleep(0.1)

    def hear(self):
        c = http.client.HTTPConnection("127.0.0.1", self.run.ports[0], timeout=2)
        try:
            c.request("GET", V1 + "/events", headers={"Last-Event-ID": str(self.last)} if self.last is not None else {})
            response = c.getresponse()
            if response.status != 200:
                return
            if self.last is None:  # it asks for nothing that was before, so it reads the list
                self.read_list()
            fields = {}
            for line in response:
                line = line.decode().rstrip("\n")
                if line and not line.startswith(":"):
                    name, value = line.split(": ", 1)
                    fields[name] = value
                elif "id" in fields:
                    self.take(int(fields["id"]), fields["event"], json.loads(fields["data"]))
                    fields = {}
                if self.over.is_set():
                    return
        finally:
            c.close()

    def take(self, id, kind, data):
        if kind == "resync":
            self.read_list()
        elif self.last is not None and id <= self.last:
            self.faults.append(f"event {id} ({kind}) after {self.last}")
        if self.last is None or id > self.last:
            self.last = id
        if kind == "job":
            self.known[data["id"]] = data["status"]

    def read_list(self):
        for job in self.run.ask("GET", JOBS + "?limit=200")[1]["jobs"]:
            self.known[job["id"]] = job["status"]

    def close(self):
        self.over.set()


class Run:
    def __init__(self, lane, plan, known, folder):
        self.lane, self.plan, self.known, self.folder = lane, plan, known, folder
        self.processes, self.wires, self.disks, self.ports = {}, {}, {}, []
        self.wanted, self.stopped, self.begun = set(), set(), time.monotonic()
        self.chance, self.between, self.calm = random.Random(plan.s3_seed), None, threading.Event()
        self.jobs = [Job(n, *row) for n, row in enumerate(plan.jobs)]
        self.failures, self.listener, self.lock, self.over = [], None, threading.Lock(), False
        self.log = open(os.path.join(folder, "run.log"), "w", buffering=1)
        self.note(str(plan))

    def note(self, text):
        self.log.write(f"{time.monotonic() - self.begun:8.3f} {text}\n")

    # ---- what there is ----

    def set_up(self):
        plan = self.plan
        self.data = os.path.join(self.folder, "data")
        os.mkdir(self.data)
        if plan.disk:
            self.disks["data"] = Disk(self.data, 192)
        arguments, environment, worker_arguments = ["--lease", str(faults.LEASE), "--workers", str(int(plan.embedded))], {}, []
        if plan.store == "postgres":
            self.postgres = self.lane.get("postgres")
            self.database = "c%d" % time.monotonic_ns()
            arguments += ["--store", self.postgres.database(self.database)]
        if plan.redis:
            self.redis = self.lane.get("redis")
            self.redis.ask("FLUSHALL")
            arguments += ["--redis", self.redis.url]
            worker_arguments += ["--redis", self.redis.url]
        if plan.files == "bucket":
            self.between = test_s3.Between(self.lane.get("s3"))
            self.prefix = f"team/c{time.monotonic_ns()}"
            environment = {**test_s3.KEYS, "AWS_ENDPOINT_URL": self.between.url}
            arguments += ["--artifacts", f"s3://models/{self.prefix}", "--artifact-copies", "0"]
            worker_arguments += ["--artifacts", f"s3://models/{self.prefix}"]
        if plan.files == "shared":
            worker_arguments += ["--artifacts", "file://" + self.data]
        if plan.divided:
            arguments += ["--task-size", "2M"]
        for i in range(plan.services):
            self.ports.append(free_port())
            own = ["--name", f"service{i}"] if plan.services > 1 else []
            self.processes[f"service{i}"] = Process(os.path.join(self.folder, f"service{i}.log"), [
                "serve", "--port", str(self.ports[i]), "--data", self.data, "--models", os.path.join(ROOT, "examples"), *arguments, *own], environment)
        for i in range(plan.workers):
            self.set_up_worker(i, worker_arguments, environment)
        threading.Thread(target=self.keep_up, daemon=True).start()
        self.want("service0")
        until(lambda: self.answers(0))  # the tables are made by one
        self.want(*self.processes)
        until(lambda: all(p.process for p in self.processes.values()))  # faults befall what there is

    def set_up_worker(self, i, arguments, environment):
        folder = os.path.join(self.folder, f"worker{i}")
        os.mkdir(folder)
        if self.plan.disk:
            self.disks[f"worker{i}"] = Disk(folder, 96)
        self.wires[f"wire{i}"] = wire = Wire(self.ports[i % len(self.ports)])
        self.processes[f"worker{i}"] = Process(os.path.join(self.folder, f"worker{i}.log"), [
            "worker", "--server", f"http://127.0.0.1:{wire.port}", "--name", f"worker{i}", "--data", folder, *arguments], environment)

    def start(self, name):
        self.note(f"start {name}")
        self.processes[name].start()

    def answers(self, i):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[i]}/healthz", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def keep_up(self):
        """As a service manager does: what ended and is wanted is started again; without its database a service does not start."""
        while not self.over:
            with self.lock:
                for name in self.wanted:
                    if not self.processes[name].alive():
                        self.start(name)
            time.sleep(0.1)

    def leave(self, name, how):
        """It stays away until it is wanted again."""
        with self.lock:
            self.wanted.discard(name)
        self.processes[name].signal(how)

    def end(self, name, how):
        self.leave(name, how)
        return self.processes[name].process.wait(STILL)

    def want(self, *names):
        with self.lock:
            self.wanted.update(names)

    # ---- for faults ----

    def children(self, process):
        found = []
        for pid in descendants(process.process.pid)[1:] if process.alive() else []:
            try:
                with open(f"/proc/{pid}/cmdline") as f:
                    if f.read().split("\0")[1:2] == ["quantize"]:
                        found.append(pid)
            except OSError:
                pass
        return found

    def stop_child(self, pid):
        self.stopped.add(pid)
        self.signal(pid, signal.SIGSTOP)

    def continue_children(self):
        for pid in self.stopped:
            self.signal(pid, signal.SIGCONT)
        self.stopped.clear()

    def signal(self, pid, number):
        try:
            os.kill(pid, number)
        except OSError:
            pass

    def bucket_fails(self, kinds, one_in):
        self.between.fault = (lambda method, path: self.chance.choice(kinds) if self.chance.randrange(one_in) == 0 else None) if kinds else lambda method, path: None

    # ---- as a client ----

    def ask_once(self, method, path, body=None, headers=None):
        i = self.chance.randrange(len(self.ports))
        c = http.client.HTTPConnection("127.0.0.1", self.ports[i], timeout=STILL if self.calm.is_set() else 10)
        try:
            c.request(method, path, json.dumps(body).encode() if body is not None else None, {"Content-Type": "application/json", **(headers or {})})
            answer = c.getresponse()
            data = answer.read()
            return answer.status, json.loads(data) if data and answer.headers["Content-Type"].startswith(("application/json", "application/problem")) else data, answer.headers
        finally:
            c.close()

    def ask(self, method, path, body=None, headers=None, again=None):
        """Until it is answered with something else than "later". `again` is called when that it was not heard is all that is known."""
        end = time.monotonic() + STILL
        while time.monotonic() < end:
            try:
                answer = self.ask_once(method, path, body, headers)
                if answer[0] not in (429, 503, 507):
                    self.check_answer(method, path, answer)
                    return answer
            except (OSError, http.client.HTTPException):
                if again:
                    again()
            time.sleep(0.1)
        raise AssertionError(f"{method} {path}: no answer in {STILL} seconds")

    def check_answer(self, method, path, answer):
        """Trouble that passes is told as such: 503, 507."""
        if answer[0] >= 500:
            self.failures.append(f"{method} {path} was answered with {answer[0]}: {answer[1]}")
            raise AssertionError(self.failures[-1])

    def submit(self, job):
        body, options = KINDS_OF_JOB[job.kind]
        self.sleep_until(job.at)
        request = {"name": f"job{job.number}", "source_model": EXAMPLE, **body, **({"options": options} if options else {})}
        status, answer, _ = self.ask("POST", JOBS, request, {"Idempotency-Key": f"c{self.plan.seed}-{job.number}"})
        if status != 201:
            raise AssertionError(f"submitting gave {status}: {answer}")
        job.id = answer["id"]
        self.note(f"job{job.number} is {job.id}")
        if job.cancel_after is not None:
            time.sleep(job.cancel_after)
            self.cancel(job)

    def cancel(self, job):
        def unsure():
            job.cancel_unsure = True
        status, answer, _ = self.ask("POST", f"{JOBS}/{job.id}/cancel", again=unsure)
        self.note(f"job{job.number} cancel: {status}")
        if status not in (200, 409):
            raise AssertionError(f"cancelling gave {status}: {answer}")
        job.told_cancel = status == 200

    def sleep_until(self, at):
        time.sleep(max(0, self.begun + at - time.monotonic()))

    # ---- a run ----

    def play(self):
        happenings = sorted([(f.at, 0, n, f) for n, f in enumerate(self.plan.faults)] + [(f.at + f.seconds, 1, n, f) for n, f in enumerate(self.plan.faults)],
                            key=lambda h: h[:3])
        for at, ends, _, fault in happenings:
            while (left := self.begun + at - time.monotonic()) > 0:
                time.sleep(left)
            self.note(f"{'end of' if ends else 'begin'} {fault}")
            (faults.end if ends else faults.begin)(self, fault)
        self.continue_children()
        self.want(*self.processes)
        self.calm.set()

    def guarded(self, what, *arguments):
        try:
            what(*arguments)
        except Exception:
            self.failures.append(traceback.format_exc())

    def go(self):
        self.set_up()
        self.begun = time.monotonic()
        self.listener = Listener(self)
        threads = [threading.Thread(target=self.guarded, args=(self.submit, job), daemon=True) for job in self.jobs]
        for t in threads:
            t.start()
        self.play()
        self.until(lambda: not any(t.is_alive() for t in threads), "submitted")
        self.wait_for_ends()
        self.check_jobs()
        self.check_events()
        self.check_workers()
        self.start_anew()
        self.check_remains()
        self.check_soundness()

    def until(self, true, what):
        end = time.monotonic() + STILL
        while not (found := true()):
            if self.failures:
                raise AssertionError(self.failures[0])
            if time.monotonic() > end:
                raise AssertionError(f"it did not come about: {what}")
            time.sleep(0.05)
        self.note(what)
        return found

    def job(self, job):
        status, answer, _ = self.ask("GET", f"{JOBS}/{job.id}")
        if status != 200:
            raise AssertionError(f"job{job.number} was accepted, and now: {status} {answer}")
        return answer

    def wait_for_ends(self):
        for job in self.jobs:
            while True:
                self.until(lambda: self.job(job)["status"] in ENDED, f"job{job.number} ended")
                now = self.job(job)
                if now["status"] != "failed":
                    break
                self.check_failure(job, now)
                status, answer, _ = self.ask("POST", f"{JOBS}/{job.id}/retry")
                if status not in (200, 409):
                    raise AssertionError(f"a retry gave {status}: {answer}")
            job.first_outputs = now["outputs"]

    def check_failure(self, job, now):
        """A job may fail for what it was told to bear: its attempts were used up by faults, or a disk was full."""
        job.retries += 1
        self.note(f"job{job.number} failed: {now['error']} ({now['error_advice']})")
        ends = [f for f in self.plan.faults if f.kind not in ("flush", "redis-kill", "redis-stop")]
        used_up = f"{MOST_ATTEMPTS} attempts" in (now["error"] or "") and len(ends) * (self.plan.services + self.plan.workers) >= MOST_ATTEMPTS
        full = any(f.kind == "full" for f in self.plan.faults) and any(word in (now["error"] or "") + (now["error_advice"] or "") for word in ("space", " is free"))
        if job.retries > 3 or not (used_up or full):
            raise AssertionError(f"job{job.number} failed for no reason that it was given: {now['error']} ({now['error_advice']})")

    # ---- what must hold ----

    def check_jobs(self):
        jobs = self.ask("GET", JOBS + "?limit=200")[1]["jobs"]
        if sorted(j["id"] for j in jobs) != sorted(j.id for j in self.jobs):
            raise AssertionError(f"submitted {[j.id for j in self.jobs]}, there are {[j['id'] for j in jobs]}")
        for job in self.jobs:
            now = self.job(job)
            self.check_end(job, now)
            if now["attempt"] > MOST_ATTEMPTS:
                raise AssertionError(f"attempt {now['attempt']}")

    def check_end(self, job, now):
        if now["status"] == "cancelled":
            if not (job.told_cancel or job.cancel_unsure):
                raise AssertionError(f"job{job.number} is cancelled, and nobody said so")
            return
        if now["status"] != "completed" or job.told_cancel:
            raise AssertionError(f"job{job.number} is {now['status']}{', though it was cancelled' if job.told_cancel else ''}")
        known = self.known[job.kind]
        wanted = sorted(name for name in known if "/" not in name) or sorted({name.split("/")[0] for name in known})
        if sorted(o["name"] for o in now["outputs"]) != wanted:
            raise AssertionError(f"job{job.number} has {now['outputs']}, not {wanted}")
        for o in now["outputs"]:
            self.check_output(job, o, known)

    def check_output(self, job, o, known):
        files = {f"{o['name']}/{f['name']}": (f["sha256"], f["url"]) for f in o["files"]} if o["sha256"] is None else {
            o["name"]: (o["sha256"], f"{JOBS}/{job.id}/outputs/{o['name']}")}
        if {n: h for n, (h, _) in files.items()} != {n: h for n, h in known.items() if n.split("/")[0] == o["name"]}:
            raise AssertionError(f"job{job.number}: {o['name']} is not what one process writes: {files}")
        for name, (hash, url) in files.items():
            status, body, headers = self.ask("GET", url)
            if status == 307:
                with urllib.request.urlopen(headers["Location"]) as answer:
                    status, body = answer.status, answer.read()
            body = body if isinstance(body, bytes) else None
            if body is not None and sha256(body) != hash:
                raise AssertionError(f"job{job.number}: {name} was downloaded with other bytes")

    def check_events(self):
        try:
            self.until(lambda: all(self.listener.known.get(job.id) == self.job(job)["status"] for job in self.jobs), "the listener knows every end")
        except AssertionError as why:
            raise AssertionError(f"{why}: it knows {self.listener.known}, until event {self.listener.last}")
        if self.listener.faults:
            raise AssertionError(self.listener.faults)

    def check_workers(self):
        """What nobody wants any more a worker forgets when it introduces itself, if not before."""
        for name, p in self.processes.items():
            if not name.startswith("worker"):
                continue
            folder = os.path.join(self.folder, name)
            left = lambda: [e for part in ("jobs", "uploads") for e in os.listdir(os.path.join(folder, part))]
            end = time.monotonic() + 1
            while left() and time.monotonic() < end:
                time.sleep(0.05)
            if left():
                self.end(name, signal.SIGTERM)
                self.want(name)
            self.until(lambda: not left(), f"{name} has forgotten")

    def start_anew(self):
        """All services end as they are told; the first then sweeps what crashes left."""
        self.listener.close()
        for name in sorted(self.processes, reverse=True):  # workers first
            self.until(lambda: self.processes[name].ready(), f"{name} is up")
            if (status := self.end(name, signal.SIGTERM)) != 0:
                raise AssertionError(f"{name} ended with {status}")
        self.ports = self.ports[:1]
        self.want("service0")
        until(lambda: self.answers(0))

    def remains(self):
        """Of attempts, here and in the bucket."""
        left = ["jobs/" + e for e in os.listdir(self.data + "/jobs") if not e.startswith(".")]
        completed = [job for job in self.jobs if self.job(job)["status"] == "completed"]
        if self.plan.files == "bucket":
            server = self.lane.get("s3")
            lies = test_s3.objects(server, self.prefix)
            left += [k for k in lies if not any(f"-{job.id}.e" in k for job in completed)]
            left += ["upload"] * test_s3.uploads(server, self.prefix)
            for job in completed:
                left += self.twice(job, sorted(k.split("/objects/")[1].split("/")[0] for k in lies if f"-{job.id}.e" in k))
        else:
            for job in completed:
                left += self.twice(job, [m for m in os.listdir(self.data + "/models") if job.id in m])
            left += [m for m in os.listdir(self.data + "/models") if not any(job.id in m for job in completed)]
        return left

    def twice(self, job, places):
        return [] if len(set(places)) == 1 else [f"job{job.number} lies in {sorted(set(places))}"]

    def check_remains(self):
        self.last_remains = None

        def nothing():
            self.last_remains = self.remains()
            return not self.last_remains
        try:
            self.until(nothing, "nothing is left over")
        except AssertionError:
            raise AssertionError(f"left over: {self.last_remains}")
        for job in self.jobs:
            if self.job(job)["outputs"] != job.first_outputs:
                raise AssertionError(f"job{job.number} has changed since it was completed: {job.first_outputs}, {self.job(job)['outputs']}")
        if self.plan.redis:
            self.until(lambda: self.redis.ask("EXISTS", "halftone:tasks") and self.redis.ask("XLEN", "halftone:tasks") == 0, "Redis owes nothing")

    def check_soundness(self):
        service = self.processes["service0"]
        arguments = ["--store", self.postgres.url(self.database)] if self.plan.store == "postgres" else []
        arguments += ["--artifacts", f"s3://models/{self.prefix}"] if self.plan.files == "bucket" else []
        done = subprocess.run([PROGRAM, "admin", "check", "--data", self.data, "--json", *arguments], capture_output=True, text=True, env=service.environment, timeout=STILL)
        if done.returncode != 0 or not json.loads(done.stdout)["agrees"]:
            raise AssertionError(f"admin check: {done.returncode} {done.stdout}{done.stderr}")
        if (status := self.end("service0", signal.SIGTERM)) != 0:
            raise AssertionError(f"the service ended with {status}")
        if self.plan.store == "sqlite":
            with sqlite3.connect(os.path.join(self.data, "halftone.db")) as db:
                found = db.execute("PRAGMA integrity_check").fetchall() + db.execute("PRAGMA foreign_key_check").fetchall()
            db.close()
            if found != [("ok",)]:
                raise AssertionError(f"the database: {found}")
        for name, p in self.processes.items():
            if bad := p.said("Sanitizer", "runtime error"):
                raise AssertionError(f"{name}: {bad}")

    def close(self):
        with self.lock:
            self.over = True
        if self.listener:
            self.listener.close()
        self.continue_children()
        for p in self.processes.values():
            p.signal_all(signal.SIGCONT)
            p.signal_all(signal.SIGKILL)
            p.process and p.process.wait()
        for wire in self.wires.values():
            wire.close()
        if self.between:
            self.between.shutdown()
            self.between.server_close()
        if self.plan.redis and hasattr(self, "redis"):
            self.redis.process.send_signal(signal.SIGCONT)
            if self.redis.process.poll() is not None:
                self.redis.start()
        if self.plan.store == "postgres" and hasattr(self, "database"):
            self.postgres.signal_all(signal.SIGCONT) if self.postgres.answers() else self.postgres.restart()
            self.postgres.sql(f"DROP DATABASE {self.database} WITH (FORCE)")
        for disk in self.disks.values():
            disk.close()
        self.log.close()


def run_seed(lane, seed, known, place, can):
    """None, or why it failed; then its folder stays."""
    folder = tempfile.mkdtemp(prefix=f"seed-{seed}-", dir=place)
    run = Run(lane, Plan(seed, can), known, folder)
    why = None
    try:
        run.go()
    except SystemExit:
        run.close()
        raise
    except Exception:
        why = traceback.format_exc()
        run.note(why)
        for name in run.disks:  # what was written on it goes with it
            shutil.copytree(run.disks[name].folder, os.path.join(folder, name + "-kept"), ignore_dangling_symlinks=True, ignore=shutil.ignore_patterns(".filler"))
    run.close()
    if why is None:
        shutil.rmtree(folder)
    return why and f"{run.plan}{why}  logs: {folder}\n"


def leave(*_):
    """What was started ends with this process, however it ends."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def work(seeds, answers, known, place, can):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, leave)
    lane = Lane()
    try:
        while (seed := seeds.get()) is not None:
            begun = time.monotonic()
            try:
                why = run_seed(lane, seed, known, place, can)
            except Exception:
                why = traceback.format_exc()
            answers.put((seed, why, time.monotonic() - begun))
    finally:
        lane.close()


def watch(answers, n, verbose):
    """The seeds that failed."""
    failed = []
    for done in range(1, n + 1):
        seed, why, seconds = answers.get()
        if why:
            failed.append(seed)
            print(f"seed {seed} failed after {seconds:.1f} s; again with: {sys.argv[0]} --seed {seed}\n{why}", flush=True)
        elif verbose:
            print(f"{done} of {n}: seed {seed}, {seconds:.1f} s", flush=True)
    return failed


def available(place):
    """What a run may be made of."""
    can = {"mount"} if may_mount(os.path.join(place, "try")) else set()
    can |= {"s3"} if test_s3.program("moto_server") else set()
    os.rmdir(os.path.join(place, "try"))
    for name, there in (("redis-server", shutil.which("redis-server")), ("postgresql", glob.glob("/usr/lib/postgresql/*/bin/initdb"))):
        if not there:
            print(f"SKIPPED: {name} is not installed")
            sys.exit(77)
    if missing := {"mount", "s3"} - can:
        print(f"left out, for they cannot be made here: {', '.join(sorted(missing))}")
    return can


def arguments():
    p = argparse.ArgumentParser()
    p.add_argument("--runs", type=int, default=40)
    p.add_argument("--first", type=int, default=1)
    p.add_argument("--seed", type=int, help="this one alone")
    p.add_argument("--lanes", type=int, default=6, help="how many runs side by side")
    p.add_argument("--verbose", action="store_true")
    return p.parse_args()


def main():
    args, begun = arguments(), time.monotonic()
    signal.signal(signal.SIGTERM, leave)
    place = tempfile.mkdtemp(prefix="halftone-campaign-")
    can, known = available(place), direct(place)
    numbers = [args.seed] if args.seed is not None else range(args.first, args.first + args.runs)
    seeds, answers = multiprocessing.Queue(), multiprocessing.Queue()
    lanes = [multiprocessing.Process(target=work, args=(seeds, answers, known, place, can)) for _ in range(min(args.lanes, len(numbers)))]
    for seed in [*numbers] + [None] * len(lanes):
        seeds.put(seed)
    try:
        for lane in lanes:
            lane.start()
        failed = watch(answers, len(numbers), args.verbose)
    except BaseException:
        for lane in lanes:
            lane.terminate()
        raise
    finally:
        for lane in lanes:
            lane.join()
    print(f"{len(numbers)} runs in {time.monotonic() - begun:.0f} s, {len(failed)} failed{': ' + ', '.join(map(str, failed)) if failed else ''}")
    if not failed:
        shutil.rmtree(place)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
