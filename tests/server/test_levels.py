"""Levels of models that answer: settings in config.json, switches, figures. Each answer is judged by openapi.json."""
import http.client
import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import unittest

from service import EXAMPLE, PROGRAM, STILL, Service

V1 = "/api/v1/runtime"
folder = tempfile.mkdtemp(prefix="halftone-levels-")
shutil.copytree(EXAMPLE, os.path.join(folder, "lines"))
# names that lie: the levels are found by the tensors
subprocess.run([PROGRAM, "quantize", EXAMPLE, "-t", "Q4_K_M", "-o", os.path.join(folder, "kept-Q8_0.gguf")], check=True, capture_output=True)
subprocess.run([PROGRAM, "quantize", EXAMPLE, "-t", "Q8_0", "-o", os.path.join(folder, "kept-large.gguf")], check=True, capture_output=True)
os.rename(os.path.join(folder, "kept-large.gguf"), os.path.join(folder, "kept-Q4_K_M.gguf"))
subprocess.run([PROGRAM, "quantize", EXAMPLE, "-t", "Q6_K", "-o", os.path.join(folder, "six.gguf")], check=True, capture_output=True)
subprocess.run([PROGRAM, "quantize", EXAMPLE, "-t", "nf4", "-o", os.path.join(folder, "made")], check=True, capture_output=True)
os.rename(os.path.join(folder, "made", "model-nf4"), os.path.join(folder, "packed"))
s = Service("--run-texts", "4", models=[folder])
CONFIG = os.path.join(s.data, "config.json")


def tearDownModule():
    status = s.close()
    shutil.rmtree(folder)
    assert status == 0, status


def until(what, seconds=STILL):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)


def config(ai=None, **others):
    with open(CONFIG, "w") as f:
        json.dump({"ai": ai or {}, **others}, f)


def ask(model, **more):
    return s.post("/v1/completions", {"model": model, "prompt": "Once", "max_tokens": 6, "seed": 1, **more})


def levels(name):
    answer = s.get(f"{V1}/levels/{name}")
    assert answer.status == 200, answer
    return answer.json()


def switch(name, level, **more):
    return s.post(f"{V1}/levels/{name}", {"level": level, **more})


class A_Levels(unittest.TestCase):
    def setUp(self):
        config()

    def test_what_a_file_is(self):
        self.assertEqual({v["name"]: (v["level"], v["type"]) for v in levels("kept")["levels"]},
                         {"kept:q8_0": ("4", "q4_k"), "kept:q4_K_M": ("8", "q8_0")})
        self.assertIn(("lines", "off", "bf16"), [(v["name"], v["level"], v["type"]) for v in levels("lines")["levels"]])
        self.assertEqual([(v["level"], v["type"]) for v in levels("six")["levels"]], [("other", "q6_k")])
        self.assertEqual([(v["level"], v["type"]) for v in levels("packed")["levels"]], [("4", "nf4")])
        self.assertEqual({m["name"] for m in s.get(V1 + "/levels").json()["models"]}, {"lines", "kept", "six", "packed"})

    def test_a_switch_of_what_is_there(self):
        answer = switch("kept", "8").json()
        self.assertEqual((answer["to"], answer["answers"], answer["made"]), ("8", "kept:q4_K_M", False))
        self.assertEqual(ask("kept").json()["model"], "kept:q4_K_M")
        answer = switch("kept", "4").json()
        self.assertEqual((answer["from"], answer["answers"]), ("kept:q4_K_M", "kept:q8_0"))
        self.assertLess(answer["seconds"]["loaded"], 30)
        self.assertEqual(ask("kept").json()["model"], "kept:q8_0")
        until(lambda: {v["name"]: v["state"] for v in levels("kept")["levels"]} == {"kept:q8_0": "ready", "kept:q4_K_M": "unloaded"})
        self.assertEqual(ask("kept:q4_K_M").json()["model"], "kept:q4_K_M")  # who names a level gets that
        self.assertEqual(switch("kept", "unset").json()["wanted"], None)
        self.assertEqual(ask("kept").json()["model"], "kept:q4_K_M")  # as without levels

    def test_a_level_is_made(self):
        answer = switch("lines", "4").json()
        self.assertEqual((answer["made"], answer["answers"]), (True, "lines:q4_K_M"))
        job = s.get("/api/v1/quantize/jobs/" + answer["job"]).json()
        self.assertEqual((job["status"], job["name"]), ("completed", "lines: level 4"))
        self.assertEqual(ask("lines").json()["model"], "lines:q4_K_M")
        self.assertEqual(switch("lines", "off").json()["answers"], "lines")
        again = switch("lines", "4").json()
        self.assertEqual((again["made"], again["answers"]), (False, "lines:q4_K_M"))
        with open(CONFIG) as f:
            self.assertEqual(json.load(f)["ai"]["models"], {"lines": {"enable_quantization": True, "quantization_bits": 4}})

    def test_texts_end_on_the_old_level(self):
        switch("kept", "8")
        body = {"model": "kept", "prompt": "Once", "max_tokens": 400, "seed": 1, "stop": ["never to be seen"], "stream": True}
        connection = http.client.HTTPConnection("127.0.0.1", s.port, timeout=STILL)
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.readline().decode()  # it has begun
        self.assertEqual(switch("kept", "4").status, 200)
        self.assertEqual(ask("kept").json()["model"], "kept:q8_0")
        text += answer.read().decode()
        connection.close()
        events = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
        self.assertEqual((answer.status, {e["model"] for e in events}), (200, {"kept:q4_K_M"}))
        self.assertIn("data: [DONE]", text)

    def test_figures(self):
        before = {v["name"]: v["statistics"] for v in levels("kept")["levels"]}["kept:q8_0"]
        for _ in range(3):
            ask("kept:q8_0")
        self.assertEqual(ask("kept:q8_0", prompt="word " * 3000).status, 400)
        after = {v["name"]: v["statistics"] for v in levels("kept")["levels"]}["kept:q8_0"]
        self.assertEqual((after["succeeded"] - before["succeeded"], after["failed"] - before["failed"], after["tokens"] - before["tokens"]), (3, 1, 18))
        self.assertLessEqual(after["least_seconds"], after["average_seconds"])
        self.assertLessEqual(after["average_seconds"], after["most_seconds"])
        self.assertEqual(after["rate"], after["succeeded"] / (after["succeeded"] + after["failed"]))
        self.assertGreater(after["tokens_per_second"], 0)
        self.assertGreater(after["memory_bytes"], 5 << 20)

    def test_settings_for_all(self):
        config({"llm_model": "kept", "other": [1, 2.5]}, mine={"x": "y"})
        answer = s.request("PATCH", V1 + "/levels", {"enable_quantization": True, "quantization_bits": 4}).json()
        self.assertEqual({m["name"]: (m["wanted"], m["wanted_by"]) for m in answer["models"]}["kept"], ("4", "all"))
        self.assertEqual(ask("kept").json()["model"], "kept:q8_0")
        self.assertEqual(ask("six").json()["model"], "six")  # no such level: the answer names what answered
        with open(CONFIG) as f:
            self.assertEqual(json.load(f), {"ai": {"llm_model": "kept", "other": [1, 2.5], "enable_quantization": True, "quantization_bits": 4}, "mine": {"x": "y"}})
        config({"enable_quantization": True, "quantization_bits": 8, "models": {"Kept": {"enable_quantization": False}}})
        self.assertEqual((levels("kept")["wanted"], levels("packed")["wanted"]), ("off", "8"))  # read anew
        self.assertEqual(s.request("PATCH", V1 + "/levels", {"enable_quantization": None, "quantization_bits": None}).json()["settings"]["enable_quantization"], None)

    def test_the_name_of_the_guide(self):
        for name in ("kept:q4_latest", "kept:q8_latest"):
            answer = ask(name)
            self.assertEqual(answer.json()["model"], "kept:q8_0" if "q4" in name else "kept:q4_K_M")
        self.assertEqual(ask("six:q4_latest").status, 404)  # a level that is part of the name is not left out

    def test_memory_limit(self):
        try:
            answer = s.request("PATCH", V1 + "/levels", {"gpu_memory_limit_mb": 100}).json()
            self.assertEqual(answer["memory_limit_bytes"], 100 << 20)
            refused = switch("kept", "8")
            self.assertEqual((refused.status, refused.json()["type"]), (503, "/api/v1/problems/no-room"))
            self.assertIn("GB", refused.json()["detail"])
            self.assertEqual(levels("kept")["wanted"], None)  # nothing changed
            self.assertEqual(levels("kept")["switch"]["state"], "failed")
        finally:
            self.assertEqual(s.request("PATCH", V1 + "/levels", {"gpu_memory_limit_mb": None}).status, 200)
        self.assertEqual(switch("kept", "8").status, 200)


class B_Wrong(unittest.TestCase):
    def test_bodies(self):
        config()
        for body in ({}, {"level": "5"}, {"level": 4}, {"level": None}, {"enable_quantization": True}, {"enable_quantization": True, "quantization_bits": 5},
                     {"quantization_bits": 4}, {"level": "4", "make": "yes"}, {"level": "4", "more": 1}, {"enable_quantization": 1}):
            self.assertEqual(s.post(V1 + "/levels/kept", body).status, 422, body)
        for body in ({}, {"quantization_bits": 6}, {"quantization_bits": "4"}, {"enable_quantization": "yes"}, {"enable_quantization": True}, {"gpu_memory_limit_mb": 0},
                     {"gpu_memory_limit_mb": 1.5}, {"gpu_memory_limit_mb": 1 << 40}, {"llm_model": "x"}):
            self.assertEqual(s.request("PATCH", V1 + "/levels", body).status, 422, body)
        self.assertEqual(s.get(V1 + "/levels/nothing").status, 404)
        self.assertEqual(switch("nothing", "4").status, 404)
        with open(CONFIG) as f:
            self.assertEqual(json.load(f), {"ai": {}})

    def test_levels_that_cannot_be_made(self):
        answer = switch("six", "8")  # there is nothing of 16 bits
        self.assertEqual(answer.status, 422)
        self.assertIn("cannot be made", answer.json()["detail"])
        self.assertEqual(switch("lines", "8", make=False).status, 404)

    def test_damaged(self):
        config({"enable_quantization": True, "quantization_bits": 4})
        self.assertEqual(levels("kept")["wanted"], "4")
        for text in ("{", "[]", '{"ai": 5}', '{"ai": {"quantization_bits": "4"}}', '{"ai": {"models": {"x": 5}}}', '{"ai": {"gpu_memory_limit_mb": -1}}', '{"ai": {}, "ai": {}}',
                     '{"ai": {"enable_quantization": true}}', "\0", "[" * 100000):
            with open(CONFIG, "w") as f:
                f.write(text)
            settings = s.get(V1 + "/levels").json()["settings"]
            self.assertEqual(settings["state"], "damaged", text[:50])
            self.assertTrue(settings["fault"], text[:50])
            self.assertEqual(settings["enable_quantization"], True)  # as it was read last
            answer = s.request("PATCH", V1 + "/levels", {"enable_quantization": True})
            self.assertIn(answer.status, (409, 422), text[:50])
            answer = switch("kept", "8")
            self.assertIn(answer.status, (409, 422), text[:50])
            with open(CONFIG) as f:
                self.assertEqual(f.read(), text)
        config()

    def test_read_only(self):
        config({"mine": 1})
        os.chmod(CONFIG, 0o444)
        answer = switch("kept", "8")
        self.assertEqual(answer.status, 409)
        self.assertIn("read-only", answer.json()["detail"])
        self.assertEqual(levels("kept")["wanted"], None)
        os.chmod(CONFIG, 0o600)
        self.assertEqual(switch("kept", "8").status, 200)
        self.assertEqual(os.stat(CONFIG).st_mode & 0o777, 0o600)
        config()

    def test_deleted_while_it_is_switched(self):
        path = os.path.join(folder, "short-Q8_0.gguf")
        shutil.copy(os.path.join(folder, "kept-Q4_K_M.gguf"), path)
        self.assertEqual(levels("short")["levels"][0]["level"], "8")
        os.rename(path, path + ".gone")
        answer = switch("short", "8")
        self.assertEqual(answer.status, 404)
        os.rename(path + ".gone", path)
        self.assertEqual(switch("short", "8").status, 200)
        os.unlink(path)
        self.assertEqual(ask("short").status, 404)
        shutil.copytree(EXAMPLE, os.path.join(folder, "short"))
        got = {}
        asking = threading.Thread(target=lambda: got.update(a=switch("short", "8")))  # is made: its source goes
        asking.start()
        shutil.rmtree(os.path.join(folder, "short"))
        asking.join()
        self.assertIn(got["a"].status, (200, 404, 422, 502), got["a"])
        if got["a"].status != 200:
            self.assertTrue(got["a"].json()["detail"])
        self.assertEqual(switch("kept", "4").status, 200)


class Client(unittest.TestCase):
    def run_it(self, *arguments):
        return subprocess.run([PROGRAM, "levels", *arguments, "--server", f"http://127.0.0.1:{s.port}"], capture_output=True, text=True)

    def test_commands(self):
        config()
        done = self.run_it("set", "kept", "8")
        self.assertRegex(done.stdout, r"^kept:q4_K_M answers for kept; loaded in \d+\.\d\d s\n$", done)
        ask("kept")
        self.assertRegex(self.run_it("show", "kept").stdout, r"(?m)^kept  \[8\]\n(.*\n)*  \* 8     q8_0 .* ready .* calls, .* tokens/s  kept:q4_K_M$")
        self.assertIn("lines", self.run_it().stdout)
        done = self.run_it("settings", "--level", "4", "--memory-mb", "3000", "--json")
        self.assertEqual(json.loads(done.stdout)["settings"], {"state": "read", "fault": None, "enable_quantization": True, "quantization_bits": 4, "gpu_memory_limit_mb": 3000,
                                                               "models": {"kept": {"enable_quantization": True, "quantization_bits": 8}}})
        self.assertIn("[4, as all]", self.run_it("set", "kept", "unset").stdout)
        self.assertEqual(self.run_it("settings", "--level", "unset", "--memory-mb", "unset").returncode, 0)
        self.assertEqual(self.run_it("set", "made/up", "8").returncode, 3)
        for wrong in (["settings"], ["settings", "--level", "5"], ["settings", "--memory-mb", "x"], ["set", "kept"], ["set", "kept", "8", "more"]):
            self.assertEqual(self.run_it(*wrong).returncode, 2, wrong)
        self.assertNotEqual(self.run_it("set", "kept", "5").returncode, 0)

    def test_folders_in_names(self):
        os.makedirs(os.path.join(folder, "deep"))
        shutil.copy(os.path.join(folder, "kept-Q4_K_M.gguf"), os.path.join(folder, "deep", "one-Q8_0.gguf"))
        try:
            self.assertEqual(self.run_it("set", "deep/one", "8").returncode, 0)
            self.assertEqual(s.get(V1 + "/levels/deep/one").json()["wanted"], "8")
        finally:
            shutil.rmtree(os.path.join(folder, "deep"))
            config()


def trace(name, readings):
    """Readings by time: shares of the host's memory that are used, or whole readings."""
    path = os.path.join(folder, name)
    with open(path, "w") as f:
        for time_, value in readings:
            host = {"memory_total_bytes": 1 << 40, "memory_available_bytes": int((1 - value) * (1 << 40))} if isinstance(value, float) else {}
            f.write(json.dumps({"time": time_, "host": host, **(value if isinstance(value, dict) else {})}) + "\n")
    return path


class Adjusting(unittest.TestCase):
    """Recorded readings in, steps out: of a service with models that are there at off, 8 and 4 bits."""

    def serve(self, readings, adjust, begin=True):
        data = tempfile.mkdtemp(prefix="halftone-adjust-")
        with open(os.path.join(data, "config.json"), "w") as f:
            json.dump({"ai": {"enable_quantization": True, "quantization_bits": 8, "adjust": {"hold_seconds": 10, "pause_seconds": 20, "up_hold_seconds": 30, **adjust}}}, f)
        one = Service("--readings", trace("trace", readings), data=data, models=[folder])
        self.addCleanup(shutil.rmtree, data)
        self.addCleanup(one.close)
        self.assertEqual(one.post("/v1/completions", {"model": "kept", "prompt": "Once", "max_tokens": 2}).json()["model"], "kept:q4_K_M")
        if begin:  # not before the model is loaded
            self.assertEqual(one.request("PATCH", V1 + "/adjust", {"enabled": True}).status, 200)
        return one

    def decisions(self, one, n):
        until(lambda: len(one.get(V1 + "/adjust").json()["decisions"]) >= n)
        return [(d["time"], d["step"], d["model"], d["from"], d["to"], d["applied"]) for d in one.get(V1 + "/adjust").json()["decisions"]]

    def model(self, one):
        return one.post("/v1/completions", {"model": "kept", "prompt": "Once", "max_tokens": 2}).json()["model"]

    def test_down_and_up(self):
        readings = [(t, 0.9) for t in range(0, 15, 5)] + [(t, 0.7) for t in range(15, 100, 5)] + [(t, 0.3) for t in range(100, 140, 5)] + [(t, 0.3) for t in range(140, 400, 5)]
        one = self.serve(readings, {}, begin=False)
        self.assertEqual(one.get(V1 + "/adjust").json()["decisions"], [])  # off by default
        answer = one.request("PATCH", V1 + "/adjust", {"enabled": True})
        self.assertEqual((answer.status, answer.json()["source"]), (200, "trace"))
        self.assertEqual(self.decisions(one, 2), [(10, "down", "kept", "8", "4", True), (130, "up", "kept", "4", "8", True)])
        until(lambda: one.get(V1 + "/adjust").json()["stepped"] == [])
        self.assertEqual(self.model(one), "kept:q4_K_M")
        told = one.get(V1 + "/adjust").json()
        self.assertIn("memory in use of host is 0.9, above 0.8", told["decisions"][0]["reason"])
        self.assertIn("low", told["decisions"][1]["reason"])
        until(lambda: len([e for e in one.lines if e["event"] == "adjusted"]) == 2)
        with open(os.path.join(one.data, "config.json")) as f:
            self.assertNotIn("models", json.load(f)["ai"])  # what people set stays as it is

    def test_command_line(self):
        one = self.serve([(t, 0.9) for t in range(0, 40, 5)], {}, begin=False)

        def adjust(*arguments):
            return subprocess.run([PROGRAM, "levels", "adjust", *arguments, "--server", f"http://127.0.0.1:{one.port}"], capture_output=True, text=True)

        self.assertEqual((adjust().returncode, adjust().stdout), (0, "adjusting: off\n"))
        self.assertEqual(adjust("perhaps").returncode, 2)
        self.assertTrue(adjust("dry-run").stdout.startswith("adjusting: told only\n"))
        self.decisions(one, 1)
        self.assertIn("  down kept, 8 to 4 (told only): memory in use of host is 0.9, above 0.8", adjust().stdout)
        self.assertEqual(json.loads(adjust("off", "--json").stdout)["settings"]["enabled"], False)
        self.assertEqual(adjust("on").stdout.splitlines()[0], "adjusting: on")
        with open(os.path.join(one.data, "config.json")) as f:
            self.assertEqual(json.load(f)["ai"]["adjust"]["enabled"], True)

    def test_stays_down(self):
        one = self.serve([(t, 0.9) for t in range(0, 15, 5)] + [(t, 0.7) for t in range(15, 200, 5)], {})
        self.assertEqual(self.decisions(one, 1), [(10, "down", "kept", "8", "4", True)])
        self.assertEqual(self.model(one), "kept:q8_0")
        self.assertEqual(one.get(V1 + "/levels/kept").json()["wanted_by"], "adjusting")
        self.assertEqual(one.get(V1 + "/adjust").json()["stepped"], [{"model": "kept", "from": "8"}])
        self.assertEqual(one.post(V1 + "/levels/kept", {"level": "8"}).status, 200)  # who says a level means it
        self.assertEqual(self.model(one), "kept:q4_K_M")

    def test_dry_run(self):
        one = self.serve([(t, 0.9) for t in range(0, 50, 5)], {"dry_run": True})
        self.assertEqual([d[-1] for d in self.decisions(one, 2)], [False, False])
        self.assertTrue(one.get(V1 + "/adjust").json()["decisions"][0]["dry_run"])
        self.assertEqual(self.model(one), "kept:q4_K_M")

    def test_nothing_lower_and_cards(self):
        hot = {"gpus": [{"name": "Card", "memory_used_bytes": 1, "memory_total_bytes": 10, "load": 0.1, "temperature": 91, "slowed": None}]}
        one = self.serve([(t, hot) for t in range(0, 200, 5)], {})
        decisions = self.decisions(one, 2)
        self.assertEqual(decisions[0][1:], ("down", "kept", "8", "4", True))
        told = one.get(V1 + "/adjust").json()["decisions"]
        self.assertIn("the temperature of Card is 91, above 85", told[0]["reason"])
        self.assertEqual((told[1]["applied"], told[1]["error"]), (False, "no loaded model has a lower level here"))
        self.assertEqual(one.get(V1 + "/adjust").json()["gauges"]["temperature"], {"value": 91.0, "of": "Card"})

    def test_up_only_where_it_fits(self):
        small = {"host": {"memory_total_bytes": 100_000_000, "memory_available_bytes": 41_000_000}}  # 8 bits take 3.4 MB more
        high = {"host": {"memory_total_bytes": 100_000_000, "memory_available_bytes": 39_000_000}}
        one = self.serve([(t, high) for t in range(0, 15, 5)] + [(t, small) for t in range(15, 100, 5)],
                         {"memory_high": 0.6, "memory_low": 0.595})
        self.decisions(one, 2)
        told = one.get(V1 + "/adjust").json()["decisions"]
        self.assertEqual((told[1]["step"], told[1]["applied"]), ("up", False))
        self.assertIn("memory in use would be 0.62", told[1]["error"])

    def test_the_machine(self):
        answer = s.request("PATCH", V1 + "/adjust", {"enabled": True, "dry_run": True, "interval_seconds": 0.1})
        self.assertEqual(answer.status, 200)
        until(lambda: s.get(V1 + "/adjust").json()["reading"])
        told = s.get(V1 + "/adjust").json()
        self.assertEqual(told["source"], "machine")
        self.assertGreater(told["reading"]["host"]["memory_total_bytes"], 1 << 28)
        self.assertTrue(told["reason"])
        self.assertEqual(s.request("PATCH", V1 + "/adjust", {"enabled": None, "dry_run": None, "interval_seconds": None}).json()["settings"]["enabled"], False)

    def test_wrong(self):
        config()
        for body in ({}, {"enable": True}, {"enabled": 1}, {"memory_high": 2}, {"memory_high": 0.5, "memory_low": 0.6}, {"memory_low": 0.9}, {"watch": "cpu"}, {"interval_seconds": 0},
                     {"hold_seconds": "5"}, {"temperature_high": 1e9}):
            answer = s.request("PATCH", V1 + "/adjust", body)
            self.assertEqual(answer.status, 422, (body, answer))
        with open(CONFIG) as f:
            self.assertEqual(json.load(f), {"ai": {}})
        broken = subprocess.run([PROGRAM, "serve", "--port", "0", "--data", tempfile.mkdtemp(dir=folder), "--readings", "/does/not/exist"], capture_output=True, text=True)
        self.assertEqual(broken.returncode, 1)
        self.assertIn("/does/not/exist cannot be read", broken.stderr)


class Comparing(unittest.TestCase):
    def test_levels(self):
        config()
        switch("lines", "4")
        answer = s.post(V1 + "/compare", {"model": "lines", "prompts": ["Once upon a time", "The king"], "iterations": 2, "max_tokens": 12})
        self.assertEqual(answer.status, 200, answer)
        told = answer.json()
        self.assertEqual((told["model"], told["reference"]), ("lines", "lines"))
        by = {v["level"]: v for v in told["levels"]}
        self.assertEqual((by["8"]["name"], by["8"]["speedup"]), (None, None))
        self.assertIn("no such level", by["8"]["fault"])
        full, four = by["off"], by["4"]
        self.assertEqual((full["agreement"], full["same_texts"], full["speedup"], full["loss_difference"], full["calls"]), (1, 1, 1, 0, 4))
        # the loss is that of the reference's own texts, as /v1/completions tells it
        made = s.post("/v1/completions", {"model": "lines", "prompt": "Once upon a time", "max_tokens": 12, "temperature": 0, "logprobs": 0}).json()
        self.assertEqual(made["model"], "lines:q4_K_M")
        self.assertGreater(full["loss"], 0)
        self.assertLess(abs(four["loss_difference"]), 1)
        self.assertAlmostEqual(four["loss_difference"], four["loss"] - full["loss"])
        self.assertTrue(0 <= four["agreement"] <= 1 and four["tokens_per_second"] > 0 and four["memory_bytes"] > 5 << 20)
        self.assertAlmostEqual(four["memory_ratio"], four["memory_bytes"] / full["memory_bytes"])
        some = s.post(V1 + "/compare", {"model": "lines", "prompts": ["The"], "levels": ["4"], "max_tokens": 4}).json()
        self.assertEqual(([v["level"] for v in some["levels"]], some["reference"]), (["4"], "lines:q4_K_M"))
        shown = subprocess.run([PROGRAM, "levels", "compare", "lines", "-p", "The king", "--max-tokens", "4", "--server", f"http://127.0.0.1:{s.port}"], capture_output=True, text=True)
        self.assertRegex(shown.stdout, r"(?m)^off .* 1\.00 .*1\.0000 .* lines\n8 .* no such level .*\n4 .* lines:q4_K_M\nagreement and loss: of the texts that lines makes", shown)

    def test_wrong(self):
        good = {"model": "kept", "prompts": ["x"]}
        for more in ({"prompts": []}, {"prompts": [""]}, {"prompts": [5]}, {"prompts": ["x"] * 33}, {"levels": ["5"]}, {"levels": []}, {"iterations": 0}, {"iterations": 1.5},
                     {"max_tokens": 0}, {"model": 5}, {"more": 1}):
            self.assertEqual(s.post(V1 + "/compare", {**good, **more}).status, 422, more)
        self.assertEqual(s.post(V1 + "/compare", {"model": "kept"}).status, 422)
        self.assertEqual(s.post(V1 + "/compare", {**good, "model": "nothing"}).status, 404)
        self.assertEqual(s.post(V1 + "/compare", {**good, "levels": ["off"]}).status, 422)  # there is none


class C_Restart(unittest.TestCase):
    def test_the_level_stays(self):
        config()
        self.assertEqual(switch("kept", "4").status, 200)
        s.stop()
        s.start()
        self.assertEqual(ask("kept").json()["model"], "kept:q8_0")
        config()

    def test_a_file_of_ones_own(self):
        own = os.path.join(folder, "my.json")
        with open(own, "w") as f:
            json.dump({"ai": {"enable_quantization": True, "quantization_bits": 4, "gpu_memory_limit_mb": 6144}}, f)
        one = Service("--levels-config", own, models=[folder])
        try:
            self.assertEqual(one.post("/v1/completions", {"model": "kept", "prompt": "Once", "max_tokens": 2}).json()["model"], "kept:q8_0")
            with open(own, "w") as f:
                f.write("{")
            one.stop()
            one.start()  # a damaged file keeps nothing from starting
            self.assertEqual(one.get(V1 + "/levels").json()["settings"]["state"], "damaged")
            self.assertEqual(one.post("/v1/completions", {"model": "kept", "prompt": "Once", "max_tokens": 2}).status, 200)
        finally:
            self.assertEqual(one.close(), 0)


if __name__ == "__main__":
    unittest.main()
