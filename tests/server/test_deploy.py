#!/usr/bin/env python3
"""What packaging/ names must be there: options and environment variables of the program, figures of /metrics, and what Redis is told in
the compose file. PostgreSQL's roles are tried by test_postgres.py, Redis's users by test_redis.py.
HALFTONE=build/halftone tests/server/test_deploy.py"""
import glob
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest

from service import PROGRAM, ROOT, Service

DEPLOY = os.path.join(ROOT, "packaging", "deploy")


def read(*path):
    with open(os.path.join(*path)) as f:
        return f.read()


def without_comments(text):
    return re.sub(r"(^|\s)#.*", "", text)


def options_of(verb):
    done = subprocess.run([PROGRAM, *verb, "--help"], capture_output=True, text=True, check=True)
    return set(re.findall(r"--[a-z][a-z0-9-]*", done.stdout))


class Deploy(unittest.TestCase):
    def test_options(self):
        """Each command line: a list that begins with a verb."""
        found = 0
        for path in glob.glob(os.path.join(ROOT, "packaging", "*", "*.yaml")):
            for words in re.findall(r"(?:command|args): \[([^]]*)\]", read(path)):
                words = re.findall(r'"([^"]*)"', words)
                verb = words[:2] if words[0] == "jobs" else words[:1]
                if words[0] not in ("serve", "worker", "jobs"):
                    continue
                known = options_of(verb)
                for word in words:
                    if word.startswith("--"):
                        self.assertIn(word, known, f"{path}: {words}")
                        found += 1
        self.assertGreater(found, 10)

    def test_environment(self):
        """A name that the program reads stands in it; HALFTONE_X is the option --x of serve."""
        with open(PROGRAM, "rb") as f:
            program = f.read()
        options, found = options_of(["serve"]), 0
        for path in glob.glob(os.path.join(ROOT, "packaging", "*", "*.yaml")):
            text = read(path)
            for name in re.findall(r"^ +([A-Z][A-Z0-9_]+): ", text, re.M) + re.findall(r"--from-literal=([A-Z_0-9]+)=", text):
                found += 1
                setting = "--" + name[len("HALFTONE_"):].lower().replace("_", "-") if name.startswith("HALFTONE_") else None
                self.assertTrue(b"\0" + name.encode() + b"\0" in program or setting in options, f"{path}: {name}")
        self.assertGreater(found, 15)

    def test_variables(self):
        """What the compose files ask of .env is said at their head."""
        for path in glob.glob(os.path.join(ROOT, "packaging", "*", "compose.yaml")):
            text = read(path)
            head = text[:text.index("name: halftone")]
            for name in set(re.findall(r"(?<!\$)\$\{([A-Z_0-9]+)", text)):
                self.assertTrue(name in head or name.startswith("AWS_") and "AWS_" in head, f"{path}: {name}")

    def test_alerts(self):
        """Each figure of an alert is one of /metrics, of a service with a doorbell. It is not started where that cannot be had."""
        wanted = set(re.findall(r"halftone_\w+", without_comments(read(DEPLOY, "prometheus-alerts.yaml"))))
        self.assertGreater(len(wanted), 5)
        try:
            s = Service("--redis", "redis://127.0.0.1:1")
        except RuntimeError as e:
            self.assertIn("hiredis", str(e))
            s = Service()
            wanted = {name for name in wanted if "doorbell" not in name}
            print("no hiredis: the doorbell's figures are not looked for")
        try:
            known = set(re.findall(r"^(halftone_\w+)", s.get("/metrics").body.decode(), re.M))
        finally:
            s.close()
        self.assertEqual(wanted - known, set())

    def test_policies(self):
        for name in ("bucket-policy.json", "bucket-lifecycle.json"):
            json.loads(read(DEPLOY, name))

    def test_redis_of_compose(self):
        """The configuration is what the compose file says, and the password is on no command line."""
        if not shutil.which("redis-server"):
            print("no redis-server: the compose file's is not started")
            return
        text = read(DEPLOY, "compose.yaml")
        script = re.search(r"- \|\n((?: {8}.*\n)+)", text).group(1).replace("$$", "$").replace("docker-entrypoint.sh ", "")
        script = "".join(line[8:] for line in script.splitlines(True))
        folder = tempfile.mkdtemp()
        script = script.replace("appendonly yes", f"appendonly yes\nport 0\nunixsocket {folder}/socket\ndir {folder}")
        server = subprocess.Popen(["sh", "-c", script], env={**os.environ, "REDIS_PASSWORD": "of a kind"}, stdout=subprocess.DEVNULL)
        try:
            end = time.monotonic() + 60
            while not os.path.exists(folder + "/socket"):
                self.assertIsNone(server.poll(), script)
                self.assertLess(time.monotonic(), end)
                time.sleep(0.02)
            with open(f"/proc/{server.pid}/cmdline") as f:
                self.assertNotIn("of a kind", f.read())
            asked = subprocess.run(["redis-cli", "-s", folder + "/socket", "config", "get", "[am]*y*"], capture_output=True, text=True, check=True,
                                   env={**os.environ, "REDISCLI_AUTH": "of a kind"}).stdout.split()
            self.assertEqual((asked[asked.index("appendonly") + 1], asked[asked.index("maxmemory-policy") + 1]), ("yes", "noeviction"))
        finally:
            server.kill()
            server.wait()
            shutil.rmtree(folder)


if __name__ == "__main__":
    unittest.main()
