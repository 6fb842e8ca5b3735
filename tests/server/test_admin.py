#!/usr/bin/env python3
"""`halftone admin`: what it finds in a data folder, a bucket and on PostgreSQL, the way to PostgreSQL, and the backups of doc/scale.md, whose
commands are run as they are written there. Without PostgreSQL, moto or sqlite3 it says so and leaves out what needs them.
HALFTONE=build/halftone tests/server/test_admin.py"""
import glob
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest

from service import EXAMPLE, PROGRAM, ROOT, STILL, Service
import test_postgres
import test_s3
from test_workers import Worker, until

V1 = "/api/v1"
JOBS = V1 + "/quantize/jobs"
MODELS = [os.path.join(ROOT, "examples")]
BOTH = [{"type": "Q8_0"}, {"type": "nf4"}]


def or_none(make):
    try:
        return make()
    except SystemExit:
        return None


def admin(*arguments, status=0, **environment):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HALFTONE_", "QUANTIZATION_"))}
    done = subprocess.run([PROGRAM, "admin", *arguments], capture_output=True, text=True, timeout=STILL, env={**kept, **environment})
    assert done.returncode == status, (arguments, done.returncode, done.stdout, done.stderr)
    return done


def submit(service, **more):
    answer = service.post(JOBS, {"name": "job", "source_model": EXAMPLE, "outputs": BOTH, **more})
    assert answer.status == 201, answer
    return answer.json()["id"]


def state(folder):
    """Everything below it; the database by its content."""
    found = {}
    for at, folders, names in os.walk(folder):
        for name in folders + names:
            path = os.path.join(at, name)
            if not name.startswith("halftone.db"):
                found[os.path.relpath(path, folder)] = os.path.getmtime(path) if os.path.isfile(path) else None
    with sqlite3.connect(os.path.join(folder, "halftone.db")) as db:
        found["rows"] = "\n".join(db.iterdump())
    db.close()
    return found


class Check(unittest.TestCase):
    """A folder with a model of a file and a folder. Each test has a copy of it."""

    @classmethod
    def setUpClass(cls):
        cls.kept = tempfile.mkdtemp(prefix="halftone-test-")
        s = Service(data=cls.kept, models=MODELS)
        cls.job = submit(s)
        assert s.wait(cls.job)["status"] == "completed", s.get(f"{JOBS}/{cls.job}").json()
        s.stop()
        cls.place = os.path.basename(glob.glob(cls.kept + "/models/*")[0])

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.kept)

    def setUp(self):
        self.at = tempfile.mkdtemp(prefix="halftone-test-")
        self.data = os.path.join(self.at, "data")
        shutil.copytree(self.kept, self.data)

    def tearDown(self):
        shutil.rmtree(self.at)

    def path(self, *more):
        return os.path.join(self.data, "models", self.place, *more)

    def check(self, *arguments):
        """{(kind, name)}, after all that a person is told is the same."""
        before = state(self.data)
        done = subprocess.run([PROGRAM, "admin", "check", "--data", self.data, "--json", *arguments], capture_output=True, text=True, timeout=STILL)
        answer = json.loads(done.stdout)
        self.assertEqual(done.returncode, 0 if answer["agrees"] else 1, done.stderr)
        self.assertEqual(answer["agrees"], not answer["problems"])
        self.assertEqual(state(self.data), before)
        told = admin("check", "--data", self.data, *arguments, status=done.returncode).stdout
        for p in answer["problems"]:
            self.assertIn(f"{p['name']}: {p['text']}", told)
        self.answer = answer
        return {(p["kind"], p["name"]) for p in answer["problems"]}

    def test_agrees(self):
        self.assertEqual(self.check(), set())
        files = [f for f in glob.glob(self.path("**"), recursive=True) if os.path.isfile(f) and os.path.basename(f) not in ("report.json", "quality.html")]
        self.assertEqual((self.answer["files"], self.answer["bytes"]), (len(files), sum(map(os.path.getsize, files))))
        self.assertEqual(self.check("--quick"), set())
        self.assertEqual(self.answer["bytes"], 0)

    def test_files(self):
        gguf = os.path.basename(glob.glob(self.path("*.gguf"))[0])
        inside = os.path.relpath(glob.glob(self.path("*", "*.safetensors"))[0], self.path())
        config = os.path.join(os.path.dirname(inside), "config.json")
        with open(self.path(inside), "r+b") as f:
            f.seek(-1, 2)
            last = f.read(1)
            f.seek(-1, 2)
            f.write(bytes([last[0] ^ 1]))
        self.assertEqual(self.check(), {("sha256", f"models/{self.place}/{inside}")})
        self.assertEqual(self.check("--quick"), set())
        os.truncate(self.path(gguf), 1000)
        os.unlink(self.path(config))
        wanted = {("size", f"models/{self.place}/{gguf}"), ("missing", f"models/{self.place}/{config}")}
        self.assertEqual(self.check("--quick"), wanted)
        self.assertEqual(self.check(), wanted | {("sha256", f"models/{self.place}/{inside}")})
        self.assertEqual({p["job_id"] for p in self.answer["problems"]}, {self.job})

    def test_orphans(self):
        other = "0123456789abcdef" * 2
        for folder in (f"models/old-{other}", "models/empty", f"jobs/{other}", f"jobs/{self.job}.e7", "jobs/what"):
            os.mkdir(os.path.join(self.data, folder))
        for name in (f"models/old-{other}/old.gguf", f"models/old-{other}/report.json", f"models/{self.place}/stray.gguf", "models/loose"):
            with open(os.path.join(self.data, name), "w") as f:
                f.write("x")
        self.assertEqual(self.check(), {("orphan", name) for name in (
            f"models/old-{other}/old.gguf", f"models/old-{other}/report.json", f"models/{self.place}/stray.gguf", "models/loose", "models/empty",
            f"jobs/{other}", f"jobs/{self.job}.e7", "jobs/what")})

    def test_unrecorded(self):
        with sqlite3.connect(self.data + "/halftone.db") as db:
            db.execute("DELETE FROM variants WHERE name LIKE '%.gguf'")
        db.close()
        gguf = f"models/{self.place}/" + os.path.basename(glob.glob(self.path("*.gguf"))[0])
        self.assertEqual(self.check(), {("unrecorded", gguf), ("orphan", gguf)})

    def test_beside_a_service(self):
        """While it runs, with a job that is at work."""
        s = Service(data=self.data, models=MODELS)
        try:
            submit(s, options={"threads": "1", "cpu": "scalar", "effort": "best"})
            os.kill(until(lambda: Worker.child(s)), signal.SIGSTOP)
            answer = json.loads(admin("check", "--data", self.data, "--json").stdout)
            self.assertEqual((answer["agrees"], s.get(V1 + "/models").status), (True, 200))
        finally:
            s.stop(signal.SIGKILL)

    def test_refused(self):
        nothing = tempfile.mkdtemp()
        self.assertIn("halftone.db", admin("check", "--data", nothing, status=1).stderr)
        self.assertEqual(os.listdir(nothing), [])
        os.rmdir(nothing)
        with sqlite3.connect(self.data + "/halftone.db") as db:
            db.execute("PRAGMA user_version = 99")
        db.close()
        self.assertIn("another version", admin("check", "--data", self.data, status=1).stderr)
        for arguments, why in (([], "check or migrate"), (["chek"], "check or migrate"), (["check", "--dat", "x"], "--data"),
                               (["check", "--store", "postgresql://me:secret@h/d"], "command line"), (["migrate", "--data", "x"], "--store")):
            self.assertIn(why, admin(*arguments, status=2).stderr)


class Bucket(unittest.TestCase):
    def test_bucket(self):
        server = or_none(test_s3.moto)
        if not server:
            self.skipTest("moto_server is not installed")
        environment = {**test_s3.KEYS, "AWS_ENDPOINT_URL": server.url}
        s = Service("--artifacts", "s3://models/team", models=MODELS, environment=environment)
        try:
            self.assertEqual(s.wait(submit(s))["status"], "completed")
            check = ["check", "--data", s.data, "--artifacts", "s3://models/team", "--json"]
            answer = json.loads(admin(*check, **environment).stdout)
            self.assertTrue(answer["agrees"] and answer["bytes"] > 5e6, answer)
            self.assertIn("bucket", admin("check", "--data", s.data, status=1).stdout)
            names = test_s3.objects(server, "team/objects/")
            gguf, other = next(n for n in names if n.endswith(".gguf")), next(n for n in names if n.endswith("config.json"))
            for method, name, data in (("PUT", gguf, b"other"), ("DELETE", other, None), ("PUT", "team/objects/stray", b"x"),
                                       ("POST", "team/objects/old-%032x.e1/f?uploads=" % 5, b"")):
                request = test_s3.urllib.request.Request(f"{server.url}/models/{name}", method=method, data=data, headers={"Content-Type": "application/xml"})
                test_s3.urllib.request.urlopen(request).close()
            found = {(p["kind"], p["name"]) for p in json.loads(admin(*check, status=1, **environment).stdout)["problems"]}
            self.assertEqual(found, {("size", gguf[5:]), ("missing", other[5:]), ("orphan", "objects/stray"), ("orphan", "objects/old-%032x.e1/f" % 5)})
            # a copy that is not what it is a copy of
            with open(os.path.join(s.data, "objects", "stray-copy"), "w") as f:
                f.write("x")
            self.assertIn("objects/stray-copy", admin(*check, status=1, **environment).stdout)
        finally:
            s.close()
            server.close()


def everything(service):
    """What a client sees; addresses and times are as they were, only what counts seconds is left out."""
    seen = {path: service.get(path).json() for path in (JOBS, V1 + "/models", V1 + "/tokens")}
    for job in seen[JOBS]["jobs"]:
        for more in ("", "/log", "/outputs"):
            seen[job["id"] + more] = service.get(f"{JOBS}/{job['id']}{more}").json()
    return seen


@unittest.skipUnless(glob.glob("/usr/lib/postgresql/*/bin/initdb"), "PostgreSQL's server is not installed")
class Migrate(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.pg = or_none(test_postgres.Server)
        cls.kept = tempfile.mkdtemp(prefix="halftone-test-")
        s = Service("--workers", "0", data=cls.kept, models=MODELS)
        worker = Worker(s, "one")
        cls.done = submit(s)
        s.wait(cls.done)
        worker.stop()
        model = s.get(V1 + "/models").json()["models"][0]["id"]
        s.request("PATCH", f"{V1}/models/{model}", {"tags": ["kept", "Größe"]})
        cancelled = submit(s, name="it's \"another\" — ende")
        s.post(f"{JOBS}/{cancelled}/cancel")
        cls.waiting = submit(s, priority=3, options={"checkpoint-seconds": "1"})
        # as a worker of this test's own: a job that runs
        id = s.post(V1 + "/workers", {"name": "by hand", "version": cls.version()}).json()["id"]
        cls.running = s.post(f"{V1}/workers/{id}/claim", {"seconds": 0}).json()
        cls.waiting_too = submit(s)
        cls.seen = everything(s)
        s.stop()

    @staticmethod
    def version():
        return subprocess.run([PROGRAM, "--version"], capture_output=True, text=True).stdout.split()[1]

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.kept)
        cls.pg.close()

    def setUp(self):
        self.at = tempfile.mkdtemp(prefix="halftone-test-")
        self.data = os.path.join(self.at, "data")
        shutil.copytree(self.kept, self.data)
        self.name = "m%d" % time.monotonic_ns()
        self.url = self.pg.database(self.name)

    def tearDown(self):
        shutil.rmtree(self.at)

    def migrate(self, **more):
        return admin("migrate", "--data", self.data, "--store", self.url, "--json", **more)

    def test_whole(self):
        """What a client sees is the same before and after; what waited is done; what ran is its worker's still."""
        answer = json.loads(self.migrate().stdout)
        self.assertEqual((answer["moved_before"], answer["rows"]["jobs"], answer["rows"]["models"], answer["rows"]["tags"]), (False, 4, 1, 2))
        self.assertGreater(answer["rows"]["log"], 3)
        self.assertGreater(answer["rows"]["files"], 3)
        again = json.loads(self.migrate().stdout)
        self.assertEqual((again["moved_before"], again["rows"]), (True, answer["rows"]))
        self.assertTrue(json.loads(admin("check", "--data", self.data, "--store", self.url, "--json").stdout)["agrees"])
        refused = subprocess.run([PROGRAM, "serve", "--port", "0", "--data", self.data], capture_output=True, text=True, timeout=STILL)
        self.assertEqual(refused.returncode, 1)
        self.assertIn("moved to another database", refused.stderr)
        s = Service("--store", self.url, "--workers", "0", data=self.data, models=MODELS)
        try:
            self.assertEqual(everything(s), self.seen)
            beat = s.request("PATCH", f"{V1}/tasks/{self.running['task']}", {"progress": 1})
            self.assertEqual(beat.status, 200, beat)
            worker = Worker(s, "two")
            try:
                self.assertEqual(s.wait(self.waiting_too)["status"], "completed")
            finally:
                worker.stop()
            self.assertIn("in use", self.migrate(status=1).stderr)
        finally:
            s.stop(signal.SIGKILL)
        self.assertIn("give an empty database", self.migrate(status=1).stderr)

    def test_refused(self):
        s = Service(data=self.data, models=MODELS)
        self.assertIn("in use", self.migrate(status=1).stderr)
        s.stop()
        self.pg.sql("CREATE TABLE variants(id TEXT)", self.name)
        self.assertIn("variants", self.migrate(status=1).stderr)
        # what fails there is taken back whole, and is no reason to refuse the next one
        self.name += "f"
        self.url = self.pg.database(self.name)
        Service("--store", self.url, data=self.at + "/other", models=MODELS).stop()
        self.pg.sql("CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'not today'; END $$ LANGUAGE plpgsql;"
                    "CREATE TRIGGER no BEFORE INSERT ON tags EXECUTE FUNCTION no()", self.name)
        self.assertIn("not today", self.migrate(status=1).stderr)
        self.assertEqual(self.pg.sql("SELECT count(*) FROM jobs", self.name), "0")
        self.pg.sql("DROP TRIGGER no ON tags", self.name)
        self.migrate()
        shutil.rmtree(self.data)
        shutil.copytree(self.kept, self.data)
        other = Service("--store", self.pg.database(self.name + "o"), models=MODELS)
        submit(other)
        other.close()
        self.url = self.pg.url(self.name + "o")
        self.assertIn("give an empty database", self.migrate(status=1).stderr)
        self.url = "postgresql://halftone@/d?host=/nowhere"
        self.assertIn("database", self.migrate(status=1).stderr)
        Service(data=self.data, models=MODELS).stop()  # nothing was marked

    def test_killed(self):
        """kill -9 in the middle, with much to move: nothing is there, or all of it. The same command again ends it."""
        with sqlite3.connect(self.data + "/halftone.db") as db:
            db.executemany("INSERT INTO log VALUES(?, ?, 0, 'info', ?)", [(self.done, n, f"line {n}") for n in range(10000, 60000)])
        db.close()
        command = [PROGRAM, "admin", "migrate", "--data", self.data, "--store", self.url]
        halves = 0
        for i in range(3):
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                process.wait(0.2 + 0.3 * i)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            there = int(self.pg.sql("SELECT count(*) FROM pg_class WHERE relname = 'log'", self.name))
            rows = int(self.pg.sql("SELECT count(*) FROM log", self.name)) if there else 0
            self.assertTrue(rows == 0 or rows >= 50000, rows)
            halves += rows == 0
        self.assertGreater(halves, 0)
        self.assertGreaterEqual(json.loads(self.migrate().stdout)["rows"]["log"], 50000)


class Backup(unittest.TestCase):
    """The commands of doc/scale.md."""

    def setUp(self):
        if not shutil.which("sqlite3"):
            self.skipTest("sqlite3 is not installed")
        self.at = tempfile.mkdtemp(prefix="halftone-test-")
        self.names = {"/srv/halftone": self.at + "/data", "/srv/restored": self.at + "/restored", "/backup": self.at + "/backup"}
        os.mkdir(self.at + "/backup")

    def tearDown(self):
        shutil.rmtree(self.at)

    def commands(self):
        with open(os.path.join(ROOT, "doc", "scale.md")) as f:
            section = f.read().split("## Backup and restore\n")[1].split("\n## ")[0]
        return [[line[4:] for line in block.rstrip("\n").split("\n")] for block in re.findall(r"(?:^ {4}.*\n)+", section, re.M)]

    def run_as_written(self, lines, **environment):
        for line in lines:
            if line.startswith("halftone serve"):
                continue
            for there, here in self.names.items():
                line = line.replace(there, here)
            line = re.sub(r"^halftone\b", PROGRAM, line)
            done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=STILL, env={**os.environ, **environment})
            self.assertEqual(done.returncode, 0, (line, done.stdout, done.stderr))

    def restored(self, *arguments):
        s = Service(*arguments, data=self.at + "/restored", models=MODELS)
        try:
            self.assertEqual(s.wait(self.id)["status"], "completed")
            self.assertEqual(s.wait(self.waiting)["status"], "completed")
        finally:
            s.stop()

    def begin(self, *arguments):
        s = Service(*arguments, data=self.at + "/data", models=MODELS)
        self.id = submit(s)
        s.wait(self.id)
        self.waiting = submit(s, options={"threads": "1", "cpu": "scalar", "effort": "best"})
        os.kill(until(lambda: Worker.child(s)), signal.SIGSTOP)
        return s

    def test_folder(self):
        backup, restore = self.commands()[:2]
        s = self.begin()
        self.run_as_written(backup)
        s.stop(signal.SIGKILL)
        self.run_as_written(restore)
        self.restored()

    def test_postgresql(self):
        pg = or_none(test_postgres.Server)
        if not pg:
            self.skipTest("PostgreSQL's server is not installed")
        try:
            url = pg.database("halftone")
            for name in ("halftone", "restored", "postgres"):
                self.names[f"postgresql://halftone@db/{name}"] = f"'{pg.url(name)}'"
            s = self.begin("--store", url)
            dump, rest = self.commands()[2][:1], self.commands()[2][1:]
            path = {"PATH": pg.bin + ":" + os.environ["PATH"]}
            self.run_as_written(dump, **path)
            self.run_as_written([line for line in self.commands()[0] + self.commands()[1] if line.startswith(("cp", "install"))
                                 and "halftone.db" not in line], **path)
            shutil.copytree(self.at + "/backup/models", self.at + "/restored/models")
            s.stop(signal.SIGKILL)
            self.run_as_written(rest, **path)
            self.restored("--store", pg.url("restored"))
        finally:
            pg.close()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], *sys.argv[1:]])
