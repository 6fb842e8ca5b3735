#!/usr/bin/env python3
"""The service on PostgreSQL: test_postgres.py PROGRAM… runs each program (the store's own tests) on a server that is started for
this run in a temporary folder, as an unprivileged user, and then several services on one database. Without the server's programs it says so
and ends with status 77."""
import glob
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from service import EXAMPLE, PROGRAM, ROOT, STILL, Events, Service, sha256
import test_workers
from test_workers import Worker, until

V1 = "/api/v1"
JOBS = V1 + "/quantize/jobs"
MODELS = [os.path.join(ROOT, "examples")]


class Server:
    """PostgreSQL, reached by a socket in its folder."""

    def __init__(self):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        found = [f for f in found if os.path.exists(f + "/initdb") and os.path.exists(f + "/psql")]
        if not found:
            print("SKIPPED: PostgreSQL's server is not installed (Debian: postgresql)")
            sys.exit(77)
        self.bin = found[-1]
        self.folder = tempfile.mkdtemp(prefix="ht-pg-")
        self.user = []
        if os.geteuid() == 0:  # it refuses to run as root
            os.chmod(self.folder, 0o777)
            self.user = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
        self.run("initdb", "-D", self.folder + "/data", "-A", "trust", "-U", "halftone", "--no-sync", "-E", "UTF8", "--locale=C")
        self.start()

    def run(self, name, *arguments):
        subprocess.run([*self.user, f"{self.bin}/{name}", *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)

    def start(self):
        # what is tested is what it says, not this machine's disk
        self.run("pg_ctl", "-D", self.folder + "/data", "-w", "-l", self.folder + "/log", "-o",
                 f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off -c max_connections=60", "start")

    def stop(self, how="fast"):
        self.run("pg_ctl", "-D", self.folder + "/data", "-w", "-m", how, "stop")

    def url(self, database="postgres"):
        return f"postgresql://halftone@/{database}?host={self.folder}"

    def database(self, name):
        self.sql(f"CREATE DATABASE {name}")
        return self.url(name)

    def sql(self, text, database="postgres"):
        done = subprocess.run([f"{self.bin}/psql", "-h", self.folder, "-U", "halftone", "-d", database, "-Atc", text], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def close(self):
        self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)


def submit(service, types=("Q4_K_M", "Q8_0"), **more):
    """503 is an answer where the database is busy, and says that it is to be asked again."""
    body, end = {"name": "job", "source_model": EXAMPLE, "gguf_quant_types": list(types), **more}, time.monotonic() + STILL
    while (answer := service.post(JOBS, body)).status == 503 and time.monotonic() < end:
        time.sleep(0.1)
    assert answer.status == 201, answer
    return answer.json()["id"]


class Several(unittest.TestCase):
    def setUp(self):
        self.data = tempfile.mkdtemp(prefix="halftone-test-")
        self.url = pg.database("d%d" % time.monotonic_ns())
        self.services, self.workers = [], []

    def tearDown(self):
        for w in self.workers:
            w.stop(signal.SIGKILL)
        for s in self.services:
            s.stop()
        shutil.rmtree(self.data)

    def service(self, name, *arguments):
        s = Service("--store", self.url, "--name", name, "--lease", "3", *arguments, data=self.data, models=MODELS)
        self.services.append(s)
        return s

    def check(self, service, id, attempt=1):
        job = service.wait(id)
        self.assertEqual((job["status"], job["attempt"]), ("completed", attempt), job)
        for o in job["outputs"]:
            self.assertEqual(sha256(service.get(f"{JOBS}/{id}/outputs/{o['name']}").body), o["sha256"])
            self.assertEqual(o["sha256"], test_workers.direct()[o["name"]])

    def test_one_database(self):
        """Two services, one database, one folder: a job that one takes is anybody's, and so is what it has made."""
        a, b = self.service("a"), self.service("b")
        ids = [submit(s) for s in (a, b, a, b)]
        for id in ids:
            self.check(b, id)
            self.check(a, id)
        did = pg.sql("SELECT DISTINCT worker FROM jobs ORDER BY 1", self.url.split("/")[3].split("?")[0]).split("\n")
        self.assertTrue(all(d.startswith(("embedded-a-", "embedded-b-")) for d in did), did)
        self.assertEqual(a.get(V1 + "/models").json()["total"], 1)
        self.assertEqual(a.get(JOBS + "?search=JOB&sort=name&limit=3").json()["total"], 4)
        first = a.get(JOBS + "?sort=-progress&limit=2").json()
        second = b.get(f"{JOBS}?sort=-progress&limit=2&cursor={first['next_cursor']}").json()
        self.assertEqual(sorted(j["id"] for j in first["jobs"] + second["jobs"]), sorted(ids))

    def test_in_parts(self):
        """A job with a calibration text is divided twice, and both services make its parts: the bytes are those of one machine."""
        a, b = self.service("a", "--task-size", "2M"), self.service("b", "--task-size", "2M")
        options = {"calibration": "default", "ctx": "64", "chunks": "32"}
        job = b.wait(submit(a, ("Q4_K_M",), options=options))
        self.assertEqual((job["status"], job["attempt"]), ("completed", 1), job)
        with tempfile.TemporaryDirectory() as out:
            subprocess.run([PROGRAM, "quantize", EXAMPLE, "-t", "Q4_K_M", "-o", out, "--quiet"] + [f"--{k}={v}" for k, v in options.items()],
                           check=True, stdout=subprocess.DEVNULL)
            with open(os.path.join(out, job["outputs"][0]["name"]), "rb") as f:
                self.assertEqual(sha256(f.read()), job["outputs"][0]["sha256"])
        counts = pg.sql("SELECT count(CASE WHEN n < 0 THEN 1 END), count(CASE WHEN n > 0 THEN 1 END), count(lease_until) FROM tasks",
                        self.url.split("/")[3].split("?")[0]).split("|")
        self.assertGreaterEqual(min(map(int, counts[:2])), 2)
        self.assertEqual(int(counts[2]), 0)

    def test_events_of_another(self):
        """Who listens to one service hears of what the other does, and of its end."""
        a, b = self.service("a", "--workers", "0"), self.service("b")
        events = Events(a)
        id = submit(a)
        events.until(lambda _, kind, data: kind == "job" and data["id"] == id and data["status"] == "completed")
        self.assertEqual(a.delete(f"{JOBS}/{id}").status, 204)
        other = Events(b, f"{V1}/events")
        id = submit(b)
        other.until(lambda _, kind, data: kind == "job" and data["id"] == id and data["status"] == "completed")
        self.assertEqual(a.delete(f"{JOBS}/{id}").status, 204)
        other.until(lambda _, kind, data: kind == "removed" and data["id"] == id)
        events.close()
        other.close()

    def test_worker_of_one(self):
        a, b = self.service("a", "--workers", "0"), self.service("b", "--workers", "0")
        self.workers.append(Worker(b, "one"))
        self.check(a, submit(a))
        self.assertEqual([w["name"] for w in a.get(V1 + "/workers").json()["workers"]], ["one"])

    def test_service_killed(self):
        """kill -9 in the middle of a job: the other service does it when the lease has ended. The first comes back, and ends no other's."""
        a = self.service("a")
        id = submit(a, options={"threads": "1", "cpu": "scalar", "effort": "best"})
        child = until(lambda: test_workers.Worker.child(a))
        os.kill(child, signal.SIGSTOP)
        b = self.service("b")
        a.process.kill()
        a.process.wait()
        self.check_ended(b, id)
        a.start()
        self.assertEqual(a.get(f"{JOBS}/{id}").json()["status"], "completed")
        self.check(a, submit(a))

    def check_ended(self, service, id):
        job = service.wait(id)
        self.assertEqual((job["status"], job["attempt"]), ("completed", 2), job)

    def test_database_restarts(self):
        """The database is killed and comes back: nobody has to be started anew, and nothing is lost."""
        a = self.service("a")
        ids = [submit(a)]
        pg.stop("immediate")
        try:
            answer = a.post(JOBS, {"name": "job", "source_model": EXAMPLE, "gguf_quant_types": ["Q8_0"]})
            self.assertEqual(answer.status, 503, answer)
            self.assertEqual(a.get(JOBS).status, 503)
            self.assertEqual(a.get(f"{V1}/tasks/{ids[0]}-1/source").status, 503)  # nobody knows whose it is
            until(lambda: a.get("/readyz").status == 503)
        finally:
            pg.start()
        until(lambda: a.get(V1 + "/models").status == 200)
        until(lambda: a.get("/readyz").status == 200)
        ids.append(submit(a))
        for id in ids:
            job = a.wait(id)
            self.assertEqual(job["status"], "completed", job)

    def test_database_away_at_the_end(self):
        """It is away while a finished job is published, for longer than a few tries take: that is no fault of the job."""
        a = self.service("a", "--lease", "15")
        id = submit(a, options={"threads": "1", "cpu": "scalar"})
        child = until(lambda: test_workers.Worker.child(a))
        os.kill(child, signal.SIGSTOP)
        pg.stop("immediate")
        os.kill(child, signal.SIGCONT)
        until(lambda: not os.path.exists(f"/proc/{child}"))
        time.sleep(4)
        pg.start()
        self.check(a, id)

    def test_share_of_two(self):
        """A worker that has the folder of two services may ask either, whichever was started last."""
        a, b = self.service("a", "--workers", "0"), self.service("b", "--workers", "0")
        for s in (a, b):
            w = Worker(s, "one", "--artifacts", "file://" + self.data)
            self.workers.append(w)
            self.check(s, submit(s))
            w.stop()

    def test_refused(self):
        database = self.url.split("/")[3].split("?")[0]
        a = self.service("a")
        cases = [(["--store", "postgresql://me:secret@h/d"], 2, "command line"), (["--store", "mysql://h/d"], 1, "postgresql://"),
                 (["--store", f"postgresql://halftone@/{database}?host=/nowhere"], 1, "database"), (["--store", self.url, "--name", "a/b"], 2, "--name"),
                 (["--store", self.url, "--name", "a"], 1, "in use")]
        for arguments, status, why in cases:
            done = subprocess.run([PROGRAM, "serve", "--port", "0", "--data", self.data, *arguments], capture_output=True, text=True, timeout=STILL)
            self.assertEqual(done.returncode, status, (arguments, done.stderr))
            self.assertIn(why, done.stderr)
        a.stop()
        pg.sql("UPDATE meta SET value = 99 WHERE name = 'version'", database)
        done = subprocess.run([PROGRAM, "serve", "--port", "0", "--data", self.data, "--store", self.url], capture_output=True, text=True, timeout=STILL)
        self.assertEqual(done.returncode, 1)
        self.assertIn("later version", done.stderr)


class Roles(unittest.TestCase):
    """The roles of packaging/deploy/postgresql-roles.sql: the services' is no superuser, and the other one reads."""

    def test_roles(self):
        with open(os.path.join(ROOT, "packaging", "deploy", "postgresql-roles.sql")) as f:
            text = f.read().replace("halftone", "keeper")  # here halftone is the superuser
        subprocess.run([f"{pg.bin}/psql", "-h", pg.folder, "-U", "halftone", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-q"], input=text, text=True, check=True)
        s = Service("--store", f"postgresql://keeper@/keeper?host={pg.folder}", models=MODELS)
        try:
            self.assertEqual(s.wait(submit(s))["status"], "completed")
        finally:
            s.close()
        self.assertEqual(self.ask("SELECT count(*) FROM jobs").stdout.strip(), "1")
        for text in ("DELETE FROM jobs", "CREATE TABLE mine (n INTEGER)", "UPDATE meta SET value = 0"):
            self.assertIn("permission denied", self.ask(text).stderr, text)

    def ask(self, text):
        return subprocess.run([f"{pg.bin}/psql", "-h", pg.folder, "-U", "keeper_reader", "-d", "keeper", "-Atc", text], capture_output=True, text=True)


def run_on_postgresql(programs):
    for program in programs:
        environment = {**os.environ, "HT_TEST_POSTGRESQL": pg.database("u%d" % time.monotonic_ns()), "HT_QUEUE_SEEDS": "3"}
        done = subprocess.run([program], env=environment, capture_output=True, text=True)
        if done.returncode:
            sys.exit(done.stdout + done.stderr)
        print(os.path.basename(program), "on PostgreSQL:", done.stderr.strip().split("\n")[-1] if "PASSED" not in done.stdout else "passed")


if __name__ == "__main__":
    programs = [a for a in sys.argv[1:] if "/" in a]
    sys.argv = [a for a in sys.argv if a not in programs]
    pg = Server()
    try:
        run_on_postgresql(programs)
        ended = unittest.main(verbosity=2, exit=False).result.wasSuccessful()
    finally:
        pg.close()
    sys.exit(0 if ended else 1)
