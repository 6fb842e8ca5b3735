#!/usr/bin/env python3
"""The service under mixed use for a long time: no job is lost, memory and descriptors stay bounded.

    HALFTONE=build/halftone python3 tests/server/soak.py [--seconds 600] [--clients 4] [--seed N]

A fifth of the time warms it up. Both after that and at the end everything comes to rest, and then the two are compared:
the same number of descriptors but for DESCRIPTORS, the same resident memory but for MEMORY."""
import argparse
import json
import os
import random
import shutil
import socket
import struct
import sys
import tempfile
import threading
import time

from service import EXAMPLE, STILL, Events, Service, sha256

V1 = "/api/v1"
JOBS = V1 + "/quantize/jobs"
DESCRIPTORS = 4  # connections that the kernel has not let go of yet
MEMORY = 16 << 20  # what the allocator keeps for each of its threads, and SQLite's caches
ENDED = ("completed", "failed", "cancelled")
BAD = [b"GET / HTTP/1.1\r\n\r\n", b"POST " + JOBS.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
       b"GET " + b"/x" * 5000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 9, b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nX: ",
       b"POST " + JOBS.encode() + b" HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4096\r\nContent-Type: application/json\r\n\r\n{\"source_model\":",
       b"PUT /api/v1/uploads/cut.gguf HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n\r\nGGUF" + b"\0" * 70000]


class Soak:
    def __init__(self, service, seed):
        self.s, self.seed, self.lock = service, seed, threading.Lock()
        self.jobs, self.counts, self.failures = {}, {}, []

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def submit(self, rng):
        with self.lock:
            if sum(v == "waits" for v in self.jobs.values()) >= 8:
                return None
        answer = self.s.post(JOBS, {"source_model": rng.model, "gguf_quant_types": [rng.choice(["Q8_0", "Q4_0", "Q4_K_M"])], "options": {"threads": "1"}})
        assert answer.status == 201, answer
        with self.lock:
            self.jobs[answer.json()["id"]] = "waits"
        return answer.json()["id"]

    def ended(self, id, statuses):
        job = self.s.wait(id)
        assert job["status"] in statuses, job
        with self.lock:
            self.jobs[id] = job["status"]
        return job

    def complete(self, rng):
        """Submitted, waited for, downloaded, its file deleted from the registry."""
        if not (id := self.submit(rng)):
            return
        output = self.ended(id, ("completed",))["outputs"][0]
        address = f"{JOBS}/{id}/outputs/{output['name']}"
        assert sha256(self.s.get(address).body) == output["sha256"], output
        self.drop(f"GET {address} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(), 65536)
        mine = [m for m in self.s.get(V1 + "/models?limit=200").json()["models"] if m["source_model"] == rng.model]
        assert len(mine) == 1, mine
        assert self.s.delete(f"{V1}/models/{mine[0]['id']}").status == 204

    def cancel(self, rng):
        if not (id := self.submit(rng)):
            return
        time.sleep(rng.uniform(0, 0.5))
        assert self.s.post(f"{JOBS}/{id}/cancel").status in (200, 202, 204, 409)
        self.ended(id, ("cancelled", "completed"))

    def listen(self, rng):
        with self.lock:
            some = rng.choice(list(self.jobs) or [None])
        events = Events(self.s, rng.choice([V1 + "/events", f"{JOBS}/{some}/events"]) if some else V1 + "/events")
        time.sleep(rng.uniform(0, 1))
        events.close()

    def drop(self, data, take=0):
        """A client that vanishes: what it sent may be incomplete, and what it is sent is not taken."""
        with socket.create_connection(("127.0.0.1", self.s.port), STILL) as c:
            c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            c.sendall(data)
            while take > 0 and (piece := c.recv(take)):
                take -= len(piece)

    def bad(self, rng):
        try:
            self.drop(rng.choice(BAD), rng.choice([0, 1]))
        except OSError:
            pass  # it was refused before all was sent
        for method, path, body in rng.sample([("GET", "/nothing", None), ("POST", JOBS, b"{"), ("PATCH", JOBS, b"{}"), ("POST", JOBS, {"source_model": "../../etc"}),
                                              ("GET", JOBS + "/" + "0" * 32, None), ("GET", JOBS + "?cursor=%ff", None), ("PUT", V1 + "/uploads/bad.gguf", b"GGUF" * 99)], 3):
            answer = self.s.request(method, path, body, judge=False)
            assert 400 <= answer.status < 500, (method, path, answer)

    def estimate(self, rng):
        body = {"source_model": rng.model, "gguf_quant_types": rng.sample(["Q8_0", "Q4_K_M", "Q6_K"], 2)}
        answer = self.s.post(V1 + "/quantize/estimate", body)
        assert answer.status in (200, 429, 503), answer
        text = json.dumps(body).encode()
        self.drop(b"POST %s/quantize/estimate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (V1.encode(), len(text), text))

    def look(self, rng):
        for path in (JOBS, V1 + "/models", V1 + "/system", "/healthz", "/readyz", "/metrics", "/"):
            assert self.s.get(path, judge=False).status == 200, path

    def client(self, n, end):
        rng = random.Random(self.seed * 100 + n)
        rng.model = f"example{n}"  # each deletes what came of its own
        try:
            while time.monotonic() < end and not self.failures:
                what = rng.choice([self.complete, self.complete, self.cancel, self.listen, self.listen, self.bad, self.bad, self.estimate, self.look])
                what(rng)
                self.count(what.__name__)
                time.sleep(rng.uniform(0, 0.2))
        except BaseException as e:
            self.failures.append(repr(e))
            raise

    def run(self, seconds, clients):
        end = time.monotonic() + seconds
        threads = [threading.Thread(target=self.client, args=(n, end)) for n in range(clients)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert not self.failures, self.failures

    def rest(self):
        """Descriptors and memory once no client is there any more: as soon as they stand still for a while."""
        same, before, end = 0, None, time.monotonic() + STILL
        while same < 5:
            assert time.monotonic() < end, f"it does not come to rest: {before}"
            now = len(os.listdir(f"/proc/{self.s.process.pid}/fd")), memory(self.s.process.pid) >> 20
            same, before = (same + 1 if now == before else 0), now
            time.sleep(0.5)
        return now[0], memory(self.s.process.pid)

    def check_jobs(self):
        found, address = {}, JOBS + "?limit=200"
        while address:
            page = self.s.get(address).json()
            found.update((j["id"], j["status"]) for j in page["jobs"])
            address = f"{JOBS}?limit=200&cursor={page['next_cursor']}" if page.get("next_cursor") else None
        assert found == self.jobs, f"jobs were lost or changed: {set(found.items()) ^ set(self.jobs.items())}"


def memory(pid, name="VmRSS"):
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) << 10 for line in f if line.startswith(name + ":"))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "little"))
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="halftone-soak-")
    for n in range(args.clients):
        shutil.copytree(EXAMPLE, f"{folder}/models/example{n}")
    service = Service("--jobs", "2", "--log-level", "error", data=folder + "/data", models=[folder + "/models"])
    soak = Soak(service, args.seed)
    print(f"seed {args.seed}")
    try:
        soak.run(args.seconds / 5, args.clients)
        warm = soak.rest()
        soak.run(args.seconds * 4 / 5, args.clients)
        end, peak = soak.rest(), memory(service.process.pid, "VmHWM")
        soak.check_jobs()
        left = os.listdir(folder + "/data/jobs"), [n for n in os.listdir(folder + "/data/uploads") if n != "cut.gguf"]
        assert left == ([], []), f"files were left: {left}"
    finally:
        status = service.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(f"{len(soak.jobs)} jobs, {soak.counts}")
    print(f"descriptors {warm[0]} -> {end[0]}, memory {warm[1] / 1e6:.1f} -> {end[1] / 1e6:.1f} MB, at most {peak / 1e6:.1f} MB")
    if end[0] > warm[0] + DESCRIPTORS or end[1] > warm[1] + MEMORY:
        sys.exit("more than at the beginning")
    if status != 0:
        sys.exit(f"the service ended with {status}")


main()
