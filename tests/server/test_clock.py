"""A clock that jumps under the running service: what waits, expires or counts goes by a clock that does not.

    HALFTONE=build/halftone CLOCK_STEP_LIBRARY=build/tests/libclock_step.so python3 tests/server/test_clock.py
"""
import os
import shutil
import signal
import struct
import tempfile
import time
import unittest

from service import EXAMPLE, STILL, Events, Service

V1 = "/api/v1"
JOBS = V1 + "/quantize/jobs"
LIBRARY = os.environ.get("CLOCK_STEP_LIBRARY")
TYPES = ["Q2_K", "Q5_K_M", "IQ4_NL", "Q8_0"]
HOUR = 3600


@unittest.skipUnless(LIBRARY, "a sanitizer wants to be loaded first")
class Clock(unittest.TestCase):
    longMessage = True

    def service(self, *arguments):
        folder = tempfile.mkdtemp(prefix="halftone-test-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        os.mkdir(folder + "/models")
        shutil.copytree(EXAMPLE, folder + "/models/example")
        self.offsets = folder + "/offsets"
        self.step()
        s = Service(*arguments, data=folder + "/data", models=[folder + "/models"],
                    environment={"LD_PRELOAD": LIBRARY, "CLOCK_STEP": self.offsets})
        self.addCleanup(s.stop, signal.SIGKILL)
        s.token = s.post(V1 + "/tokens", {"name": "admin", "scope": "admin"}).json()["token"]
        return s

    def step(self, wall=0, monotonic=0):
        fd = os.open(self.offsets, os.O_WRONLY | os.O_CREAT, 0o600)
        os.pwrite(fd, struct.pack("qq", wall, monotonic), 0)
        os.close(fd)

    def session(self, s):
        cookie = s.post(V1 + "/session", {"token": s.token}).headers["set-cookie"].split(";")[0]
        return lambda: s.get(JOBS, headers={"Cookie": cookie}).status

    def test_wall_clock_steps(self):
        s = self.service("--jobs", "2")
        works = self.session(s)
        events = Events(s)
        job = s.post(JOBS, {"source_model": "example", "gguf_quant_types": TYPES, "options": {"threads": "1", "cpu": "scalar"}}).json()
        mine = lambda i, k, d: d.get("id") == job["id"]
        events.until(lambda i, k, d: mine(i, k, d) and d["status"] == "quantizing")
        steps = [HOUR, -HOUR, 0, -2 * HOUR, 13 * HOUR, 0, HOUR, -24 * HOUR]
        followed = 0
        for wall in steps:
            self.step(wall)
            last = events.events[-1][0]
            _, _, data = events.until(lambda i, k, d: i > last and mine(i, k, d) or mine(i, k, d) and d["status"] in ("completed", "failed"))
            followed += data["status"] == "quantizing"
            self.assertEqual(works(), 200, "the session goes on")
        self.assertGreaterEqual(followed, 3, "the job was too short to show anything")
        done = s.wait(job["id"])
        self.assertEqual((done["status"], done["attempt"]), ("completed", 1), done)
        metrics = s.get("/metrics").body.decode()
        self.assertIn("\nhalftone_writes_fenced_total 0\n", metrics, "the lease was kept")
        seen = [d["progress"] for i, k, d in events.events if mine(i, k, d)]
        self.assertEqual(seen, sorted(seen), "progress does not fall")
        ids = [i for i, _, _ in events.events]
        self.assertEqual(ids, sorted(set(ids)), "ids rise")
        events.close()
        later = s.post(JOBS, {"source_model": "example", "gguf_quant_types": ["Q8_0"]}).json()  # a day earlier by the wall clock
        self.assertGreater(later["id"], job["id"], "ids sort by age all the same")
        self.assertEqual(s.wait(later["id"])["status"], "completed")
        self.assertEqual(s.stop(), 0)

    def test_rates(self):
        s = self.service("--rate-limit", "20")
        begun, passed = time.monotonic(), 0
        for n in range(150):
            if n == 75:
                self.step(HOUR)
            passed += s.get(V1 + "/system").status == 200
        self.assertLessEqual(passed, 40 + 20 * (time.monotonic() - begun) + 1, "an hour that did not pass gives nothing")
        self.step(-HOUR)
        end = time.monotonic() + STILL
        while s.get(V1 + "/system").status != 200:
            self.assertLess(time.monotonic(), end, "an hour back takes nothing away")
            time.sleep(0.1)

    def test_sessions_end_after_twelve_hours(self):
        s = self.service()
        works = self.session(s)
        self.step(wall=24 * HOUR)
        self.assertEqual(works(), 200)
        self.step(monotonic=12 * HOUR - 600)
        self.assertEqual(works(), 200)
        self.step(monotonic=12 * HOUR + 1)
        self.assertEqual(works(), 401)
        self.assertEqual(s.get(JOBS).status, 200, "the token itself goes on")


if __name__ == "__main__":
    unittest.main()
