"""Every address of the API over real sockets; each answer is judged by openapi.json.

    HALFTONE=build/halftone python3 tests/server/test_api.py
"""
import base64
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import service
from service import DOCUMENT, EXAMPLE, PROGRAM, ROOT, STILL, Events, Service, sha256

V1 = "/api/v1"
JOBS = V1 + "/quantize/jobs"


def setUpModule():
    global s, uploads
    uploads = tempfile.mkdtemp(prefix="halftone-test-")
    subprocess.run([PROGRAM, "quantize", EXAMPLE, "-t", "Q8_0", "-o", uploads, "--quiet"], check=True)
    s = Service(models=[os.path.join(ROOT, "examples")])
    global patient
    patient = Events(s)  # for as long as the tests take



def tearDownModule():
    shutil.rmtree(uploads)
    assert s.close() == 0


class Case(unittest.TestCase):
    longMessage = True

    def made(self, answer):
        self.assertEqual(answer.status, 201, answer)
        return answer.json()

    def submit(self, types=("Q8_0",), **more):
        return self.made(s.post(JOBS, {"source_model": EXAMPLE, "gguf_quant_types": list(types), **more}))


class Plain(Case):
    def test_probes(self):
        for prefix in ("", V1):
            self.assertEqual(s.get(prefix + "/healthz").json(), {"status": "ok"})
            self.assertEqual(s.get(prefix + "/readyz").json()["status"], "ready")
            metrics = s.get(prefix + "/metrics").body.decode()
            for name in ("halftone_jobs{status=\"queued\"}", "halftone_queue_age_seconds", "halftone_sse_clients",
                         "halftone_http_request_seconds_bucket{le=\"+Inf\"}", "halftone_build_info", "halftone_sqlite_busy_total"):
                self.assertIn(name, metrics)

    def test_metrics_are_of_the_format(self):
        sample = re.compile(r'^[a-zA-Z_:][a-zA-Z0-9_:]*(\{[a-z]+="[^"\\]*"(,[a-z]+="[^"\\]*")*\})? -?[0-9.e+-]+$')
        for line in s.get("/metrics").body.decode().splitlines():
            self.assertTrue(line.startswith(("# HELP halftone_", "# TYPE halftone_")) or sample.match(line), line)

    def test_first_line_tells_the_port(self):
        self.assertEqual(s.first["event"], "listening")
        self.assertEqual(s.first["url"], f"http://127.0.0.1:{s.port}/")

    def test_lists(self):
        self.assertEqual([(f["name"], f["folder"]) for f in s.get(V1 + "/quantize/formats").json()["formats"]], [("gguf", False), ("safetensors", True), ("pytorch", True)])
        self.assertEqual(s.get(V1 + "/quantize/formats/pytorch/types").json(), s.get(V1 + "/quantize/formats/safetensors/types").json())
        schemes = {t["name"]: t for t in s.get(V1 + "/quantize/formats/safetensors/types").json()["types"]}
        self.assertEqual((schemes["nf4"]["family"], schemes["nf4"]["options"][0]["name"]), ("bitsandbytes", "block"))
        self.assertTrue(all(2 < t["bits_per_weight"] < 33 and t["hint"] and t["loaders"] for t in schemes.values()), schemes)
        types = s.get(V1 + "/quantize/formats/gguf/types").json()["types"]
        mixes = json.loads(subprocess.run([PROGRAM, "types", "--json"], capture_output=True, check=True).stdout)["mixes"]
        self.assertEqual([t["name"] for t in types], [m["name"] for m in mixes])
        self.assertTrue(any(t["needs_importance"] for t in types) and any(t["recommended"] for t in types))
        loss = {t["name"]: t["measured"]["divergence"] for t in types if t["measured"]}
        self.assertTrue(loss["Q8_0"] < loss["Q4_K_M"] < loss["Q2_K"], loss)
        self.assertIsNone(next(t for t in types if t["name"] == "BF16")["measured"])
        cards = {g["name"]: g["memory_bytes"] for g in s.get(V1 + "/gpus").json()["gpus"]}
        self.assertEqual((cards["NVIDIA GeForce RTX 3060"], cards["Apple M2"]), (12 << 30, None))
        self.assertEqual([(p["name"], p["folder"]) for p in s.get(V1 + "/gpus").json()["programs"]], [("llama.cpp", False), ("transformers", True), ("vLLM", True)])
        self.assertTrue(schemes["w8a16"]["measured"]["divergence"] < schemes["fp8"]["measured"]["divergence"] < schemes["nf4"]["measured"]["divergence"], schemes)

    def test_system(self):
        system = s.get(V1 + "/system").json()
        self.assertGreater(system["disk"]["data_free_bytes"], 0)
        self.assertGreater(system["memory"]["server_rss_bytes"], 1 << 20)
        self.assertEqual(system["roots"], [os.path.join(ROOT, "examples")])
        self.assertEqual(system["workers"]["slots"], 1)

    def test_description(self):
        served = s.get(V1 + "/openapi.json").json()
        self.assertEqual(served, DOCUMENT.document)
        for (method, path), (_, operation) in DOCUMENT.operations.items():
            answer = s.request("OPTIONS", re.sub(r"\{[^}]*\}", "x", path), judge=False)
            self.assertEqual(answer.status, 405, path)
            self.assertIn(method, answer.headers["allow"].split(", "), path)
            for code in operation["responses"]:
                self.assertTrue(code.isdigit(), (method, path))

    def test_every_route_is_described(self):
        with open(os.path.join(ROOT, "apps/service/api/routes.c")) as f:
            rows = re.findall(r'^    \{"([A-Z]+)", ([^,]+),', f.read(), re.M)
        self.assertGreater(len(rows), 40)
        described = {(method, re.sub(r"\{[^}]*\}", "{}", path)) for method, path in DOCUMENT.operations if method != "HEAD"}
        routes = {(method, pattern.replace("JOBS", '"/api/v1/quantize/jobs"').replace("V1", '"/api/v1"').replace('" "', "").strip('"'))
                  for method, pattern in rows}
        self.assertEqual(routes ^ described, set())

    def test_page(self):
        page = s.get("/")
        self.assertEqual(page.status, 200)
        self.assertIn(b"<!doctype html>", page.body.lower())
        self.assertTrue(page.headers["content-type"].startswith("text/html"))
        self.assertEqual(s.get("/nothing-is-here").status, 404)
        self.assertEqual(s.request("POST", "/", b"", judge=False).status, 405)

    def test_headers_of_every_answer(self):
        for path in ("/", "/healthz", JOBS, JOBS + "/" + "0" * 32, V1 + "/nothing", V1 + "/openapi.json"):
            h = s.get(path, judge=False).headers
            self.assertIn("default-src 'self'", h["content-security-policy"], path)
            self.assertIn("frame-ancestors 'none'", h["content-security-policy"], path)
            self.assertEqual(h["x-content-type-options"], "nosniff", path)
            self.assertRegex(h["x-request-id"], r"^[0-9a-f]{8}-\d+$", path)
            self.assertFalse([name for name in h if name.startswith("access-control-")], path)

    def test_log(self):
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        answer = s.post(JOBS, {}, headers={"traceparent": trace})
        until = time.monotonic() + STILL
        found = []
        while not found and time.monotonic() < until:
            found = [line for line in s.lines if line.get("request_id") == answer.headers["x-request-id"]]
        self.assertEqual((found[0]["event"], found[0]["path"], found[0]["status"], found[0]["traceparent"]), ("request", JOBS, 422, trace))
        self.assertEqual({"time", "level", "event", "method", "bytes", "seconds", "peer", "token"} - set(found[0]), set())

    def test_kinds_of_problems(self):
        problem = s.get(JOBS + "/" + "0" * 32).json()
        self.assertEqual(s.get(problem["type"]).json()["title"], problem["title"])
        self.assertEqual(s.get(V1 + "/problems/none").status, 404)

    def test_wrong_methods(self):
        answer = s.request("PUT", JOBS, b"{}", judge=False)
        self.assertEqual(answer.status, 405)
        self.assertEqual(answer.headers["allow"], "GET, HEAD, POST")
        self.assertIn(s.request("TRACE", JOBS, judge=False).status, (405, 501))


class Guide(Case):
    """The two requests of the guide, word for word but for the model, by curl."""

    def curl(self, address, body):
        run = subprocess.run(["curl", "-sS", "-X", "POST", f"http://localhost:{s.port}{address}", "-H",
                              "Content-Type: application/json", "-d", body], capture_output=True, check=True)
        return json.loads(run.stdout)

    @unittest.skipUnless(shutil.which("curl"), "curl is not installed")
    def test_requests(self):
        model = EXAMPLE
        job = self.curl(JOBS, '{"name": "Llama-2-7B Quantization", "source_model": "%s", "output_formats": ["gguf"], '
                              '"gguf_quant_types": ["Q4_K_M", "Q5_K_M", "Q8_0"]}' % model)
        DOCUMENT.check({"$ref": "#/components/schemas/Job"}, job)
        self.assertEqual(job["name"], "Llama-2-7B Quantization")
        self.assertEqual(job["total_outputs"], 3)
        estimate = self.curl(V1 + "/quantize/estimate", '{"source_model": "%s", "output_formats": ["gguf"], '
                             '"gguf_quant_types": ["Q4_K_M", "Q5_K_M", "Q8_0"]}' % model)
        DOCUMENT.check({"$ref": "#/components/schemas/Estimate"}, estimate)
        done = s.wait(job["id"])
        self.assertEqual(done["status"], "completed", done)
        self.assertEqual(done["progress"], 100)
        self.assertEqual([o["file_size"] for o in done["outputs"]], [o["size_bytes"] for o in estimate["outputs"]])


class Jobs(Case):
    def test_from_end_to_end(self):
        job = self.submit(["Q4_K_M", "Q8_0"], name="from end to end", description="two of them")
        self.assertEqual((job["status"], job["source_type"], job["completed_outputs"]), ("queued", "local", 0))
        done = s.wait(job["id"])
        self.assertEqual(done["status"], "completed", done)
        self.assertEqual(done["completed_outputs"], 2)
        direct = tempfile.mkdtemp(prefix="halftone-test-")
        command = done["command"].split(" ")
        self.assertEqual(command[:2], ["halftone", "quantize"])
        subprocess.run([PROGRAM] + [direct.join(a.rsplit("out", 1)) if a == "--output=out" else a for a in command[1:]] + [],
                       check=True, capture_output=True)
        for output in s.get(f"{JOBS}/{job['id']}/outputs").json()["outputs"]:
            file = s.get(output["url"])
            self.assertEqual(sha256(file.body), output["sha256"])
            self.assertEqual(len(file.body), output["file_size"])
            with open(os.path.join(direct, f"model-{output['quant_type']}.gguf"), "rb") as f:
                self.assertEqual(sha256(f.read()), output["sha256"], "the command that is shown makes the same file")
        shutil.rmtree(direct)
        log = [line["line"] for line in s.get(f"{JOBS}/{job['id']}/log").json()["lines"]]
        self.assertIn("quantizing", log)
        tensors = s.get(f"{JOBS}/{job['id']}/tensors").json()["tensors"]
        self.assertEqual(len(tensors), 75)
        head = next(t for t in tensors if t["name"] == "output.weight")
        self.assertEqual((head["shape"], head["weights"], head["source_type"]), ([256, 4096], 256 * 4096, "bf16"))
        self.assertEqual(set(head["outputs"]), {o["quant_type"] for o in job["outputs"]})
        self.assertGreater(min(o["relative_rmse"] for o in head["outputs"].values()), 0)

    def test_location(self):
        answer = s.post(JOBS, {"source_model": EXAMPLE, "gguf_quant_types": ["q8_0"]})
        self.assertEqual(answer.status, 201)
        job = s.get(answer.headers["location"]).json()
        self.assertEqual(job["gguf_quant_types"], ["Q8_0"])
        self.assertEqual(job["name"], "model")
        s.wait(job["id"])

    def test_all_fields(self):
        job = self.submit(["Q8_0"], source_type="local", output_formats=["gguf"], priority=5, description="d",
                          config={"use_imatrix": False, "imatrix_dataset": "default", "calibration_dataset": "default",
                                  "calibration_samples": 128, "group_size": 128, "desc_act": False, "damp_percent": 0.01,
                                  "threads": 1, "verify_output": True, "measure": False},
                          options={"tensor-type": ["ffn_down=q8_0"], "pure": True, "memory": "256M"})
        done = s.wait(job["id"])
        self.assertEqual(done["status"], "completed", done)
        self.assertEqual(done["config"]["calibration_samples"], 128)
        self.assertEqual(done["options"]["pure"], True)

    def test_mixed_precision(self):
        types = s.get(V1 + "/quantize/formats/safetensors/types").json()["types"]
        self.assertEqual({t["name"]: t["levels"] for t in types}["adaptive"], "w4a16:group=32>w8a16>w8a8>none")
        body = {"source_model": EXAMPLE, "outputs": [{"format": "safetensors", "type": "adaptive"}, {"format": "safetensors", "type": "fp8"}],
                "options": {"rule": ["adaptive/first:2=none", "fp8/attention=nvfp4"], "max-error": "0.2", "skip-modules": ["model.layers.7.mlp.up_proj"]}}
        wrong = s.post(V1 + "/quantize/estimate", {**body, "options": {"rule": ["attention=int8"]}})
        self.assertEqual(wrong.status, 422, wrong.body)
        self.assertIn("compressed-tensors holds", wrong.json()["detail"])
        job = s.post(JOBS, body).json()
        done = s.wait(job["id"])
        self.assertEqual(done["status"], "completed", done)
        self.assertEqual([o["name"] for o in done["outputs"]], ["model-adaptive-mixed", "model-fp8-mixed"])

    def test_split(self):
        job = self.submit(["Q8_0"], options={"split-max-size": "5M"})
        done = s.wait(job["id"])
        self.assertEqual(done["status"], "completed", done)
        outputs = s.get(f"{JOBS}/{job['id']}/outputs").json()["outputs"]
        self.assertEqual(len(outputs), 2)
        for output in outputs:
            self.assertEqual(sha256(s.get(output["url"]).body), output["sha256"])

    def test_importance_and_measure(self):
        job = self.submit(["Q4_K_M"], config={"use_imatrix": True, "imatrix_dataset": "model/README.md:2,default", "calibration_samples": 2, "measure": True},
                          options={"ctx": 64})
        self.assertIn("--calibration=" + os.path.join(EXAMPLE, "README.md") + ":2,default", job["command"])
        done = s.wait(job["id"])
        self.assertEqual(done["status"], "completed", done)
        output = done["outputs"][0]
        for name in ("perplexity", "kld", "top1_agreement"):
            self.assertIsInstance(output[name], float, name)
        variant = self.variant_of(done)
        self.assertEqual((variant["job_name"], variant["importance"]), (job["name"], "several texts"))
        quality = variant["quality"]
        for name in ("perplexity", "perplexity_error", "tokens"):
            self.assertGreater(quality[name], 0, name)
        reference = quality["reference"]
        self.assertAlmostEqual(quality["perplexity"] / quality["perplexity_ratio"], reference["perplexity"], delta=1e-3 * reference["perplexity"])
        self.assertGreater(reference["perplexity_error"], 0)
        report = s.get(f"{JOBS}/{job['id']}/report")
        self.assertEqual((report.status, report.headers["content-type"]), (200, "text/html; charset=utf-8"))
        self.assertIn("sandbox", report.headers["content-security-policy"])
        self.assertIn(b"KL divergence", report.body)
        self.assertEqual(s.delete(f"{JOBS}/{job['id']}").status, 204)
        variant = self.variant_of(done)
        self.assertEqual(variant["job_name"], job["name"], "the registry outlives the job")
        self.assertEqual(s.get(f"{JOBS}/{job['id']}/report").status, 200)

    def variant_of(self, job):
        model = s.get(f"/api/v1/models/{job['model_id']}").json()
        return next(v for v in model["variants"] if v["job_id"] == job["id"])

    def test_report_only_of_what_was_measured(self):
        job = s.wait(self.submit(["Q8_0"])["id"])
        self.assertIsNone(self.variant_of(job)["importance"])
        self.assertEqual(s.get(f"{JOBS}/{job['id']}/report").status, 404)
        self.assertEqual(s.get(f"{JOBS}/{'0' * 32}/report").status, 404)

    def test_budget(self):
        """Bits a weight: one file, whose command makes it again, and a text of which everything is said."""
        config = {"calibration_dataset": "default", "calibration_samples": 12, "calibration_length": 64, "calibration_seed": 7, "bpw": 4.5, "budget_time": "2s"}
        body = {"source_model": EXAMPLE, "output_formats": ["gguf"], "config": config}
        estimate = s.post(V1 + "/quantize/estimate", body).json()
        self.assertEqual([o["type"] for o in estimate["outputs"]], ["4.5bpw"])
        job = self.made(s.post(JOBS, body))
        self.assertEqual([r["quant_type"] for r in job["requested"]], ["4.5bpw"])
        for word in ("--bpw=4.5", "--budget-time=2s", "--calibration-length=64", "--calibration-seed=7", "--chunks=12"):
            self.assertIn(word, job["command"].split(" "))
        self.assertNotIn("--type", job["command"])
        done = s.wait(job["id"])
        self.assertEqual(done["status"], "completed", done)
        output = done["outputs"][0]
        self.assertEqual((output["name"], output["quant_type"]), ("model-4.5bpw.gguf", "4.5bpw"))
        self.assertLessEqual(output["bits_per_weight"], 4.5)
        self.assertGreater(output["bits_per_weight"], 4.45)
        tensors = s.get(f"{JOBS}/{job['id']}/tensors").json()["tensors"]
        self.assertGreater(len({t["outputs"]["4.5bpw"]["type"] for t in tensors}), 4)
        budget = s.get(f"{JOBS}/{job['id']}/tensors").json()["budget"]
        self.assertGreater(len(budget["curve"]), 10)
        self.assertNotIn("recipe", budget, "where files lie is not told")

    def test_budgets_of_sizes(self):
        """By size, with a context and a card: what is asked for, and the least where nothing meets it."""
        for config, type in (({"fit": "5MB"}, "5MB"), ({"fit": "5GB", "ctx": 512}, "5GB"), ({"gpu": "RTX 3060"}, "gpu"), ({"gpu": "RTX 3060", "fit": "1Gi", "ctx": 256}, "1Gi")):
            estimate = s.post(V1 + "/quantize/estimate", {"source_model": EXAMPLE, "config": config})
            self.assertEqual([o["type"] for o in estimate.json()["outputs"]], [type], estimate)
        self.assertLess(s.post(V1 + "/quantize/estimate", {"source_model": EXAMPLE, "config": {"fit": "5MB"}}).json()["outputs"][0]["size_bytes"], 5_000_000)
        wrong = s.post(V1 + "/quantize/estimate", {"source_model": EXAMPLE, "config": {"fit": "100K"}})
        self.assertEqual(wrong.status, 422, wrong)
        self.assertRegex(wrong.json()["detail"], r"the smallest file that this model can have is --fit \d+")
        self.assertIn("no card", s.post(V1 + "/quantize/estimate", {"source_model": EXAMPLE, "config": {"gpu": "RTX 99999"}}).json()["detail"])

    def test_best_effort(self):
        """A text that is named for `best` is looked at, whatever older clients say of importance."""
        config = {"effort": "best", "use_imatrix": False, "calibration_dataset": "default", "calibration_samples": 12, "calibration_length": 64}
        job = self.made(s.post(JOBS, {"source_model": EXAMPLE, "outputs": [{"type": "Q4_K_M"}, {"type": "nf4"}], "config": config}))
        for word in ("--effort=best", "--calibration=default"):
            self.assertIn(word, job["command"].split(" "))
        plain = self.submit(["Q4_K_M"], config={**config, "effort": "fast"})
        self.assertNotIn("--calibration=", plain["command"])
        best, fast = s.wait(job["id"]), s.wait(plain["id"])
        self.assertEqual((best["status"], fast["status"]), ("completed", "completed"), best)
        self.assertNotEqual(best["outputs"][0]["sha256"], fast["outputs"][0]["sha256"])
        told = s.get(f"{JOBS}/{job['id']}/tensors").json()
        self.assertIsNone(told["budget"])
        methods = [o["method"] for t in told["tensors"] for o in t["outputs"].values() if o["method"]]
        self.assertTrue(any(m["held_out_error"] < m["held_out_error_rounded"] for m in methods if "held_out_error" in m), methods)
        self.assertEqual(best["outputs"][0]["bits_per_weight"], fast["outputs"][0]["bits_per_weight"])

    def test_relative_name(self):
        job = self.made(s.post(JOBS, {"source_model": "model", "gguf_quant_types": ["Q8_0"]}))
        self.assertEqual(job["source_type"], "local")
        self.assertEqual(s.wait(job["id"])["status"], "completed")

    def test_cancel_retry_delete(self):
        job = self.submit(["Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_XS"], config={"measure": True, "threads": 1})
        address = f"{JOBS}/{job['id']}"
        s.wait(job["id"], "quantizing", "measuring", "preparing")
        self.assertEqual(s.delete(address).status, 409, "a job that runs is not deleted")
        self.assertEqual(s.post(address + "/cancel").status, 200)
        cancelled = s.wait(job["id"])
        self.assertEqual(cancelled["status"], "cancelled")
        self.assertIn(cancelled["ended_in"], ("quantizing", "measuring", "preparing", "verifying"), "where it ended")
        self.assertEqual(s.post(address + "/cancel").status, 200, "twice is no fault")
        self.assertEqual(s.request("PATCH", address, {"priority": 3}).status, 409)
        self.assertEqual(os.listdir(os.path.join(s.data, "jobs")), [], "nothing is left")
        self.assertEqual(s.post(address + "/retry").status, 200)
        self.assertIsNone(s.wait(job["id"], "quantizing", "preparing", "measuring", "completed")["ended_in"])
        s.post(address + "/cancel")
        s.wait(job["id"])
        self.assertEqual(s.delete(address).status, 204)
        self.assertEqual(s.get(address).status, 404)
        for what in ("/cancel", "/retry"):
            self.assertEqual(s.post(address + what).status, 404)
        self.assertEqual(s.delete(address).status, 404)

    def test_ended_jobs_refuse(self):
        job = self.submit()
        s.wait(job["id"])
        self.assertEqual(s.post(f"{JOBS}/{job['id']}/cancel").status, 409)
        self.assertEqual(s.post(f"{JOBS}/{job['id']}/retry").status, 409)

    def test_idempotency(self):
        body = {"source_model": EXAMPLE, "gguf_quant_types": ["Q8_0"], "name": "once"}
        first = s.post(JOBS, body, headers={"Idempotency-Key": "key-1"})
        again = s.post(JOBS, body, headers={"Idempotency-Key": "key-1"})
        other = s.post(JOBS, {**body, "name": "twice"}, headers={"Idempotency-Key": "key-1"})
        self.assertEqual(self.made(first)["id"], self.made(again)["id"])
        self.assertEqual(again.headers.get("idempotent-replayed"), "true")
        self.assertEqual(other.status, 422)
        self.assertEqual(s.post(JOBS, body, headers={"Idempotency-Key": "k" * 256}).status, 422)
        self.assertEqual(s.post(JOBS, body, headers={"Idempotency-Key": "a b"}).status, 422)
        s.wait(first.json()["id"])

    def test_batch(self):
        total = s.get(JOBS + "?limit=1").json()["total"]
        answer = s.post(JOBS, {"source_models": [EXAMPLE, "model"], "gguf_quant_types": ["Q8_0"]})
        ids = [job["id"] for job in self.made(answer)["jobs"]]
        self.assertEqual(len(set(ids)), 2)
        none = s.post(JOBS, {"source_models": [EXAMPLE, "/nowhere"], "gguf_quant_types": ["Q8_0"]})
        self.assertEqual((none.status, none.pointers()), (422, ["/source_models/1"]))
        self.assertEqual(s.get(JOBS + "?limit=1").json()["total"], total + 2, "all or none")
        for i in ids:
            self.assertEqual(s.wait(i)["status"], "completed")

    def test_dry_run(self):
        total = s.get(JOBS + "?limit=1").json()["total"]
        body = {"source_model": EXAMPLE, "gguf_quant_types": ["Q4_K_M"]}
        dry = s.post(JOBS + "?dry_run=true", body)
        self.assertEqual(dry.status, 200)
        self.assertEqual(dry.json()["outputs"], s.post(V1 + "/quantize/estimate", body).json()["outputs"])
        self.assertEqual(s.get(JOBS + "?limit=1").json()["total"], total)
        self.assertEqual(s.post(JOBS + "?dry_run=perhaps", body).status, 422)
        many = s.post(JOBS + "?dry_run=true", {"source_models": [EXAMPLE, "model"], "gguf_quant_types": ["Q8_0"]})
        self.assertEqual(len(many.json()["estimates"]), 2)

    def test_list(self):
        mark = "list-%d" % time.monotonic_ns()
        ids = [self.submit(name=f"{mark} {n}")["id"] for n in ("b", "a", "c")]
        for i in ids:  # one after the other
            s.wait(i)
        page = s.get(f"{JOBS}?search={mark}&sort=name&limit=2")
        names = [j["name"][-1] for j in page.json()["jobs"]]
        self.assertEqual((names, page.json()["total"]), (["a", "b"], 3))
        link = re.match(r'<([^>]+)>; rel="next"$', page.headers["link"]).group(1)
        second = s.get(link)
        self.assertEqual([j["name"][-1] for j in second.json()["jobs"]], ["c"])
        self.assertIsNone(second.json()["next_cursor"])
        self.assertNotIn("link", second.headers)
        self.assertEqual([j["id"] for j in s.get(f"{JOBS}?search={mark}&offset=1&sort=created").json()["jobs"]], ids[1:])
        self.assertEqual(s.get(f"{JOBS}?search={mark}&status=failed,cancelled").json()["total"], 0)
        self.assertEqual(s.get(f"{JOBS}?search={mark}&status=completed").json()["total"], 3)
        self.assertEqual([j["id"] for j in s.get(f"{JOBS}?search={mark}").json()["jobs"]], ids[::-1], "newest first")
        for query in ("limit=0", "limit=201", "limit=x", "limit=-1", "offset=-1", "sort=colour", "status=done", "status=queued,,",
                      "cursor=nonsense", "nothing=1", "offset=1&cursor=x"):
            answer = s.get(f"{JOBS}?{query}")
            self.assertEqual(answer.status, 422, query)

    def test_priority(self):
        slow = self.submit(["Q4_K_M"], config={"measure": True}, options={"chunks": 1})
        late = self.submit(name="late")
        answer = s.request("PATCH", f"{JOBS}/{late['id']}", {"priority": 7})
        if answer.status == 200:  # it may have begun by now
            self.assertEqual(answer.json()["priority"], 7)
        for body in ({}, {"priority": 101}, {"priority": "7"}, {"priority": 1, "name": "x"}):
            self.assertEqual(s.request("PATCH", f"{JOBS}/{late['id']}", body).status, 422, body)
        s.wait(slow["id"])
        s.wait(late["id"])

    def test_failure_has_a_reason(self):
        folder = os.path.join(uploads, "broken")
        os.makedirs(folder, exist_ok=True)
        shutil.copy(os.path.join(EXAMPLE, "config.json"), folder)
        with open(os.path.join(folder, "model.safetensors"), "wb") as f:
            f.write(b"\xff" * 64)
        with_root = Service(models=[uploads])
        job = with_root.post(JOBS, {"source_model": "broken", "gguf_quant_types": ["Q8_0"]}).json()
        failed = with_root.wait(job["id"])
        log = with_root.get(f"{JOBS}/{job['id']}/log").json()
        self.assertEqual([line["level"] for line in log["lines"]][-1], "error")
        self.assertEqual(with_root.get(f"{JOBS}/{job['id']}/log?after={log['next_after']}").json()["lines"], [])
        estimate = with_root.post(V1 + "/quantize/estimate", {"source_model": "broken", "gguf_quant_types": ["Q8_0"]})
        self.assertEqual(with_root.close(), 0)
        self.assertEqual((failed["status"], failed["ended_in"]), ("failed", "preparing"))
        self.assertIn("model.safetensors", failed["error"])
        self.assertEqual(estimate.status, 422, estimate)

    def test_missing(self):
        for name in ("0" * 32, "x", "0" * 31, "0" * 33, "A" * 32, "%F0%9F%92%A9"):
            for what in ("", "/outputs", "/log", "/events", "/outputs/model-Q8_0.gguf"):
                self.assertEqual(s.get(f"{JOBS}/{name}{what}").status, 404, name + what)


class Downloads(Case):
    @classmethod
    def setUpClass(cls):
        job = s.post(JOBS, {"source_model": EXAMPLE, "gguf_quant_types": ["Q8_0"]}).json()
        cls.output = s.wait(job["id"])["outputs"][0]
        cls.url = cls.output["url"]
        cls.whole = s.get(cls.url).body

    def test_headers(self):
        h = s.get(self.url).headers
        digest = base64.b64encode(bytes.fromhex(self.output["sha256"])).decode()
        self.assertEqual(h["etag"], '"%s"' % self.output["sha256"])
        self.assertEqual(h["content-digest"], f"sha-256=:{digest}:")
        self.assertEqual(h["accept-ranges"], "bytes")
        self.assertEqual(h["x-content-type-options"], "nosniff")
        self.assertEqual(h["content-disposition"], "attachment; filename=\"model-Q8_0.gguf\"; filename*=UTF-8''model-Q8_0.gguf")

    def test_head(self):
        head = s.request("HEAD", self.url)
        self.assertEqual((head.status, head.body), (200, b""))
        self.assertEqual(int(head.headers["content-length"]), len(self.whole))
        self.assertEqual(head.headers["etag"], '"%s"' % self.output["sha256"])

    def test_ranges(self):
        n = len(self.whole)
        for text, first, end in (("bytes=0-0", 0, 1), ("bytes=100-199", 100, 200), (f"bytes={n - 1}-", n - 1, n), ("bytes=-5", n - 5, n),
                                 (f"bytes=0-{n * 2}", 0, n), ("bytes=4096-", 4096, n)):
            part = s.get(self.url, headers={"Range": text})
            self.assertEqual(part.status, 206, text)
            self.assertEqual(part.headers["content-range"], f"bytes {first}-{end - 1}/{n}")
            self.assertEqual(part.body, self.whole[first:end], text)
            self.assertNotIn("content-digest", part.headers, "that is a digest of the whole")
        for text in (f"bytes={n}-", "bytes=-0", f"bytes={n + 5}-{n + 9}"):
            answer = s.get(self.url, headers={"Range": text})
            self.assertEqual((answer.status, answer.headers["content-range"]), (416, f"bytes */{n}"), text)
        for text in ("bytes=0-1,5-6", "items=0-1", "bytes=5-1", "bytes=", "nonsense", "bytes=a-b", "bytes=0-1-2"):
            self.assertEqual(s.get(self.url, headers={"Range": text}).status, 200, text)

    def test_conditions(self):
        tag = '"%s"' % self.output["sha256"]
        for value, status in ((tag, 304), ("*", 304), (f'"x", {tag}', 304), ("W/" + tag, 304), ('"x"', 200), (tag[:-2] + '"', 200)):
            answer = s.get(self.url, headers={"If-None-Match": value})
            self.assertEqual(answer.status, status, value)
            self.assertEqual(answer.headers["etag"], tag)
        for value, status in ((tag, 206), ('"x"', 200), ("W/" + tag, 200), ("Sat, 29 Oct 1994 19:43:31 GMT", 200)):
            answer = s.get(self.url, headers={"Range": "bytes=0-9", "If-Range": value})
            self.assertEqual(answer.status, status, value)

    def test_resume(self):
        c = s.connection()
        c.request("GET", self.url)
        start = c.getresponse().read(1 << 20)
        c.close()
        rest = s.get(self.url, headers={"Range": f"bytes={len(start)}-", "If-Range": '"%s"' % self.output["sha256"]})
        self.assertEqual(sha256(start + rest.body), self.output["sha256"])

    def test_names_that_are_not_outputs(self):
        base = self.url.rsplit("/", 1)[0]
        for name in ("other.gguf", "MODEL-Q8_0.GGUF", "model-Q8_0.gguf%20", ".", "%00", "model-Q8_0.gguf.partial"):
            self.assertIn(s.get(f"{base}/{name}", judge=False).status, (400, 404), name)


class EventStreams(Case):
    def test_a_job(self):
        everything = Events(s)
        job = self.submit(["Q4_K_M"], name="listened to")
        one = Events(s, f"{JOBS}/{job['id']}/events", {"Last-Event-ID": "1"})
        everything.until(lambda i, kind, data: data.get("id") == job["id"] and data.get("status") == "completed")
        one.until(lambda i, kind, data: data.get("status") == "completed" or kind == "resync")
        mine = [e for e in everything.events if e[2].get("id") == job["id"]]
        ids = [e[0] for e in everything.events]
        self.assertEqual(ids, sorted(set(ids)), "ids increase")
        self.assertEqual(everything.retry, 3000)
        states = [e[2]["status"] for e in mine]
        self.assertEqual((states[0], states[-1]), ("queued", "completed"))
        for _, kind, data in mine:
            self.assertEqual(kind, "job")
            DOCUMENT.check({"$ref": "#/components/schemas/JobEvent"}, data)
        progress = [e[2]["progress"] for e in mine]
        self.assertEqual(progress, sorted(progress), "progress never goes back")
        for how in ({"headers": {"Last-Event-ID": str(mine[0][0])}}, {"path": f"{V1}/events?after={mine[0][0]}"}):
            back = Events(s, **how)
            back.until(lambda i, kind, data: i == mine[-1][0])
            self.assertEqual([e for e in back.events if e[2].get("id") == job["id"]], mine[1:], "nothing missed, nothing twice")
            back.close()
        self.assertEqual(s.delete(f"{JOBS}/{job['id']}").status, 204)
        everything.until(lambda i, kind, data: kind == "removed" and data["id"] == job["id"])
        everything.close()
        one.close()

    def test_other_jobs_are_not_told(self):
        quiet = self.submit()
        s.wait(quiet["id"])
        listener = Events(s, f"{JOBS}/{quiet['id']}/events")
        loud = self.submit()
        s.wait(loud["id"])
        time.sleep(0.1)
        self.assertEqual([e for e in listener.events if e[2].get("id") == loud["id"]], [])
        listener.close()

    def test_unknown_id_resyncs(self):
        for value in ("999999999999", "nonsense", "-1"):
            listener = Events(s, headers={"Last-Event-ID": value})
            listener.until(lambda i, kind, data: kind == "resync")
            listener.close()
        self.assertEqual(s.get(V1 + "/events?after=x").status, 422)

    def test_too_far_behind_resyncs(self):
        one = Service(models=[os.path.join(ROOT, "examples")])
        first = Events(one)
        body = {"source_model": "model", "gguf_quant_types": ["Q4_K_M", "Q6_K", "Q5_K_M"], "config": {"measure": True}, "priority": 100}
        slow = [one.post(JOBS, body).json() for _ in range(8)]  # enough to do for as long as this takes
        waiting = one.post(JOBS, {"source_model": "model", "gguf_quant_types": ["Q8_0"], "name": "n" * 200}).json()
        start = first.until(lambda i, kind, data: data.get("id") == waiting["id"])[0]
        c = one.connection()
        for n in range(300):  # each is an event of some hundred bytes
            c.request("PATCH", f"{JOBS}/{waiting['id']}", json.dumps({"priority": n % 100}), {"Content-Type": "application/json"})
            answer = c.getresponse()
            answer.read()
            self.assertEqual(answer.status, 200)
        latest = first.until(lambda i, kind, data: data.get("id") == waiting["id"] and data.get("priority") == 99 and i > start + 250)[0]
        late = Events(one, headers={"Last-Event-ID": str(start)})
        resync = late.until(lambda i, kind, data: kind == "resync")
        self.assertGreaterEqual(resync[0], latest)
        self.assertEqual(one.post(f"{JOBS}/{waiting['id']}/cancel").status, 200)
        late.until(lambda i, kind, data: data.get("status") == "cancelled")
        ids = [e[0] for e in late.events]
        self.assertEqual(ids, sorted(set(ids)))
        first.close()
        late.close()
        c.close()
        self.assertEqual(one.get(f"{JOBS}/{slow[-1]['id']}").json()["status"], "queued", "the work lasted")
        self.assertEqual(one.close(), 0)

    def test_headers(self):
        listener = Events(s)
        self.assertEqual(listener.response.headers["X-Accel-Buffering"], "no")
        self.assertEqual(listener.response.headers["Cache-Control"], "no-store")
        listener.close()

    def test_a_client_that_does_not_read(self):
        lazy = socket.create_connection(("127.0.0.1", s.port))
        lazy.sendall(b"GET /api/v1/events?after=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
        job = self.submit()
        self.assertEqual(s.wait(job["id"])["status"], "completed", "it holds nobody up")
        lazy.close()


class Estimates(Case):
    def test_exact(self):
        body = {"source_model": EXAMPLE, "gguf_quant_types": ["Q4_K_M", "F16"]}
        estimate = s.post(V1 + "/quantize/estimate", body).json()
        self.assertTrue(estimate["fits"])
        self.assertEqual(estimate["reasons"], [])
        self.assertEqual(estimate["download_bytes"], 0)
        self.assertEqual(estimate["source"]["architecture"], "llama")
        self.assertNotIn(ROOT, json.dumps(estimate["outputs"]))
        again = s.post(V1 + "/quantize/estimate", body).json()
        self.assertEqual(again["outputs"], estimate["outputs"])

    def test_options_count(self):
        plain = s.post(V1 + "/quantize/estimate", {"source_model": EXAMPLE, "gguf_quant_types": ["Q4_K_M"]}).json()
        pure = s.post(V1 + "/quantize/estimate", {"source_model": EXAMPLE, "gguf_quant_types": ["Q4_K_M"], "options": {"pure": True}}).json()
        self.assertLess(pure["outputs"][0]["size_bytes"], plain["outputs"][0]["size_bytes"])

    def test_memory_counts_the_model_that_is_run(self):
        body = {"source_model": EXAMPLE, "gguf_quant_types": ["Q4_K_M"]}
        plain = s.post(V1 + "/quantize/estimate", body).json()
        run = s.post(V1 + "/quantize/estimate", {**body, "config": {"measure": True, "use_imatrix": True}}).json()
        self.assertEqual(plain["engine_memory_bytes"], 0)
        self.assertGreater(run["engine_memory_bytes"], os.path.getsize(os.path.join(EXAMPLE, "model.safetensors")) // 4)
        self.assertGreaterEqual(run["memory_bytes"], run["engine_memory_bytes"])
        self.assertGreater(run["memory_bytes"], plain["memory_bytes"])

    def test_refusals(self):
        wrong = s.post(V1 + "/quantize/estimate", {"source_model": EXAMPLE, "options": {"tensor-type": "(=q4_k"}})
        self.assertEqual(wrong.status, 422, wrong)

    def test_recommend(self):
        answer = s.post(V1 + "/recommend", {"source_model": EXAMPLE, "memory": "64M", "ctx": 512})
        self.assertEqual(answer.status, 200, answer)
        self.assertEqual(answer.json()["recommended"]["type"], "Q8_0")
        self.assertNotIn("path", answer.json()["source"])
        cards = s.post(V1 + "/recommend", {"source_model": EXAMPLE, "gpu": "rtx 3060", "gpu_count": 2, "ctx": 1024, "cache_type": "q8_0"}).json()
        self.assertEqual((cards["place"]["gpu_count"], cards["place"]["memory_bytes"]), (2, 24 << 30))
        self.assertEqual(cards["recommended"]["run_memory"]["cache_type"], "q8_0")
        folders = s.post(V1 + "/recommend", {"source_model": EXAMPLE, "memory": "8G", "ctx": 512, "for": "vllm"}).json()
        self.assertEqual((folders["program"], folders["recommended"]["type"]), ("vLLM", "gptq:bits=8"))
        for body in ({}, {"source_model": EXAMPLE, "gpu": "no such card"}, {"source_model": EXAMPLE, "gpu_count": 2},
                     {"source_model": EXAMPLE, "cache_type": "q4_k"}, {"source_model": EXAMPLE, "memory": "8G", "for": "word"}, {"source_model": EXAMPLE, "memory": "much"}, {"source_model": EXAMPLE, "ctx": 0}, {"source_model": "/x"}):
            self.assertEqual(s.post(V1 + "/recommend", body).status, 422, body)


class Registry(Case):
    def test_models(self):
        job = self.submit(["Q8_0"], name="registered")
        s.wait(job["id"])
        models = s.get(V1 + "/models").json()
        model = next(m for m in models["models"] if any(v["job_id"] == job["id"] for v in m["variants"]))
        variant = next(v for v in model["variants"] if v["job_id"] == job["id"])
        self.assertEqual(s.get(f"{V1}/models/{model['id']}").json(), model)
        tagged = s.request("PATCH", f"{V1}/models/{model['id']}", {"tags": ["good", "small"]})
        self.assertEqual(sorted(tagged.json()["tags"]), ["good", "small"])
        self.assertEqual(s.get(V1 + "/models?tag=good").json()["total"], 1)
        self.assertEqual(s.get(V1 + "/models?tag=none").json()["total"], 0)
        for body in ({}, {"tags": "x"}, {"tags": [1]}, {"tags": ["x" * 65]}, {"tags": ["a", "a"]}, {"colour": 1}):
            self.assertEqual(s.request("PATCH", f"{V1}/models/{model['id']}", body).status, 422, body)
        self.assertEqual(s.delete(f"{JOBS}/{job['id']}").status, 204)
        file = s.get(variant["url"])
        self.assertEqual(sha256(file.body), variant["sha256"], "it outlives its job")
        self.assertEqual(s.request("HEAD", variant["url"]).status, 200)
        self.assertEqual(s.get(variant["url"], headers={"Range": "bytes=0-3"}).body, b"GGUF")
        self.assertEqual(s.delete(variant["url"]).status, 204)
        self.assertEqual(s.get(variant["url"]).status, 404)

    def test_delete(self):
        folder = tempfile.mkdtemp(prefix="halftone-test-")
        shutil.copytree(EXAMPLE, os.path.join(folder, "other"))
        with_root = Service(models=[folder])
        job = with_root.post(JOBS, {"source_model": "other", "gguf_quant_types": ["Q8_0"]}).json()
        with_root.wait(job["id"])
        model = with_root.get(V1 + "/models").json()["models"][0]
        self.assertEqual(with_root.delete(f"{V1}/models/{model['id']}").status, 204)
        self.assertEqual(with_root.get(V1 + "/models").json()["models"], [])
        self.assertEqual([f for _, _, files in os.walk(os.path.join(with_root.data, "models")) for f in files], [])
        self.assertEqual(with_root.get(f"{JOBS}/{job['id']}/outputs/model-Q8_0.gguf").status in (404, 409), True)
        self.assertEqual(with_root.close(), 0)
        shutil.rmtree(folder)

    def test_missing(self):
        for method in ("GET", "DELETE"):
            self.assertEqual(s.request(method, f"{V1}/models/{'0' * 32}").status, 404)
            self.assertEqual(s.request(method, f"{V1}/models/{'0' * 32}/variants/{'0' * 32}").status, 404)
        self.assertEqual(s.request("PATCH", f"{V1}/models/{'0' * 32}", {"tags": []}).status, 404)


class Sources(Case):
    def test_local(self):
        roots = s.get(V1 + "/local").json()
        self.assertIsNone(roots["path"])
        listing = s.get(V1 + "/local?path=" + roots["entries"][0]["path"]).json()
        self.assertIsNone(listing["parent"])
        model = next(e for e in listing["entries"] if e["name"] == "model")
        self.assertEqual((model["kind"], model["format"]), ("model", "safetensors"))
        self.assertEqual(model["size_bytes"], os.path.getsize(os.path.join(EXAMPLE, "model.safetensors")))
        inside = s.get(V1 + "/local?path=" + model["path"]).json()
        self.assertEqual(inside["parent"], roots["entries"][0]["path"])
        self.assertEqual(roots["example"], model, "examples/model is known as the example")
        for folder, known in ((ROOT, True), (EXAMPLE, True), (os.path.join(ROOT, "doc"), False)):
            other = Service(models=[folder])
            self.assertEqual((other.get(V1 + "/local").json()["example"] or {}).get("path"), EXAMPLE if known else None, folder)
            self.assertEqual(other.close(), 0)

    def test_uploads(self):
        with open(os.path.join(uploads, "model-Q8_0.gguf"), "rb") as f:
            data = f.read()
        url = V1 + "/uploads/mine.gguf"
        put = s.request("PUT", url, data, {"Content-Type": "application/octet-stream"})
        self.assertEqual(put.status, 201, put)
        self.assertEqual((put.json()["sha256"], put.json()["architecture"]), (sha256(data), "llama"))
        self.assertEqual([u["name"] for u in s.get(V1 + "/uploads").json()["uploads"]], ["mine.gguf"])
        self.assertEqual(s.request("PUT", url, data).status, 409, "nothing is overwritten")
        job = self.made(s.post(JOBS, {"source_model": "mine.gguf", "gguf_quant_types": ["Q4_0"], "options": {"allow-requantize": True}}))
        self.assertEqual(job["source_type"], "upload")
        self.assertEqual(s.wait(job["id"])["status"], "completed")
        self.assertEqual(s.delete(url).status, 204)
        self.assertEqual(s.delete(url).status, 404)
        gone = s.post(JOBS, {"source_model": "mine.gguf", "source_type": "upload"})
        self.assertEqual((gone.status, gone.pointers()), (422, ["/source_model"]))

    def test_chunked_upload(self):
        with open(os.path.join(uploads, "model-Q8_0.gguf"), "rb") as f:
            data = f.read()
        cuts = [0, 1, 3, *range(4, len(data), 100000), len(data)] # the first bytes come one by one
        pieces = (data[i:j] for i, j in zip(cuts, cuts[1:]))
        c = s.connection()
        c.request("PUT", V1 + "/uploads/chunks.gguf", pieces, encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        self.assertEqual(c.getresponse().status, 201)
        c.close()
        self.assertEqual(s.delete(V1 + "/uploads/chunks.gguf").status, 204)

    def test_bad_uploads(self):
        with open(os.path.join(uploads, "model-Q8_0.gguf"), "rb") as f:
            data = f.read()
        cases = {"no gguf": b"PK\x03\x04" + bytes(1000), "cut short": data[:-1000], "header alone": data[:24], "empty": b"",
                 "damaged": data[:8] + b"\xff" * 8 + data[16:], "three bytes": b"GGU"}
        for name, body in cases.items():
            answer = s.request("PUT", V1 + "/uploads/bad.gguf", body)
            self.assertEqual(answer.status, 422, (name, answer))
            self.assertNotIn(s.data.encode(), answer.body)
            self.assertNotIn(b".incoming", answer.body)
        for name in ("bad", "bad.bin", ".gguf", "-x.gguf", ".hidden.gguf", "a%20b.gguf", "x" * 200 + ".gguf", "%2e%2e.gguf"):
            answer = s.request("PUT", f"{V1}/uploads/{name}", data)
            self.assertIn(answer.status, (422, 404, 400), name)
        self.assertEqual(os.listdir(os.path.join(s.data, "uploads")), [])

    def test_what_a_crash_left_is_cleared(self):
        one = Service()
        folder = os.path.join(one.data, "uploads")
        c = socket.create_connection(("127.0.0.1", one.port))
        c.sendall(b"PUT /api/v1/uploads/cut.gguf HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nGGUF" + bytes(50000))
        until = time.monotonic() + STILL
        while not os.listdir(folder) and time.monotonic() < until:
            time.sleep(0.01)
        one.stop(signal.SIGKILL)
        self.assertEqual(len(os.listdir(folder)), 1)
        again = Service(data=one.data)
        self.assertEqual(os.listdir(folder), [])
        self.assertEqual(again.stop(), 0)
        c.close()
        shutil.rmtree(one.data)

    def test_who_waits_for_the_database(self):
        """Another program holds it: what writes waits its turn, and nobody waits for what writes."""
        database = sqlite3.connect(os.path.join(s.data, "halftone.db"), isolation_level=None)
        database.execute("BEGIN IMMEDIATE")
        statuses = []
        job = {"source_model": EXAMPLE, "gguf_quant_types": ["Q8_0"], "name": "late"}
        writers = [threading.Thread(target=lambda: statuses.append(s.post(JOBS, job).status)) for _ in range(6)]
        for w in writers:
            w.start()
        time.sleep(0.3)
        for _ in range(10): # a connection each: they are shared out among the threads that serve
            self.assertEqual(s.get("/healthz").status, 200)
            self.assertEqual(s.get(JOBS + "?limit=1").status, 200)
        self.assertEqual(statuses, [], "they wait, as long as it is held")
        database.execute("ROLLBACK")
        database.close()
        for w in writers:
            w.join()
        self.assertEqual(statuses, [201] * 6)

    def test_upload_that_is_cut(self):
        c = socket.create_connection(("127.0.0.1", s.port))
        c.sendall(b"PUT /api/v1/uploads/cut.gguf HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\nGGUF" + bytes(50000))
        time.sleep(0.2)
        c.close()
        until = time.monotonic() + STILL
        while os.listdir(os.path.join(s.data, "uploads")) and time.monotonic() < until:
            time.sleep(0.02)
        self.assertEqual(os.listdir(os.path.join(s.data, "uploads")), [])


class Hub(Case):
    """Against a hub on this machine: what leaves the service, and what comes back."""

    @classmethod
    def setUpClass(cls):
        sys.path.insert(0, os.path.join(ROOT, "tests", "hub"))
        import fake_hub
        cls.hub = fake_hub.FakeHub()
        files = fake_hub.read_folder(pathlib.Path(EXAMPLE))
        cls.hub.add("org/model", files)
        cls.hub.add("org/gated", files, gated=True)
        cls.hub.start()
        cls.home = tempfile.mkdtemp(prefix="halftone-test-")
        cls.service = Service(environment={"HOME": cls.home, "HF_ENDPOINT": cls.hub.url, "HALFTONE_HUB_TRIES": "2", "HF_HUB_DOWNLOAD_TIMEOUT": "5"})

    @classmethod
    def tearDownClass(cls):
        assert cls.service.close() == 0
        cls.hub.stop()
        shutil.rmtree(cls.home)

    def test_search(self):
        models = self.service.get(V1 + "/hub/search?q=model&limit=5").json()["models"]
        self.assertEqual([(m["id"], m["license"]) for m in models], [("org/model", "apache-2.0")])
        for query in ("", "?q=", "?q=" + "x" * 201, "?q=a%0ab", "?q=a&limit=0", "?q=a&limit=101", "?q=a&colour=red"):
            self.assertEqual(self.service.get(V1 + "/hub/search" + query).status, 422, query)
        self.assertEqual(self.service.get(V1 + "/hub/search?q=--help").status, 200, "words are words")

    def test_model(self):
        info = self.service.get(V1 + "/hub/models/org/model").json()
        self.assertEqual((info["id"], info["license"], info["gated"]), ("org/model", "apache-2.0", False))
        self.assertEqual(self.service.get(V1 + "/hub/models/org/none").status, 404)
        gated = self.service.get(V1 + "/hub/models/org/gated")
        self.assertEqual((gated.status, gated.json()["gated"]), (200, True), gated)
        for name in ("..%2fx/y", "a/b..c", "-a/b", "a/-b", "a--b/c", "a/b?revision=..", "a/b?revision=-x", "%20/x"):
            self.assertIn(self.service.get(V1 + "/hub/models/" + name).status, (400, 404, 422), name)

    def test_estimate_reads_headers_alone(self):
        self.hub.reset()
        estimate = self.service.post(V1 + "/quantize/estimate", {"source_model": "org/model", "gguf_quant_types": ["Q8_0"]})
        self.assertEqual(estimate.status, 200, estimate)
        weights = [r["range"] for r in self.hub.requests if r["host"] == "store" and r["method"] == "GET"]
        spans = [re.match(r"bytes=(\d+)-(\d+)$", r) for r in weights]
        self.assertTrue(all(spans), "the weights' file is never asked for as a whole")
        self.assertLess(sum(int(m[2]) - int(m[1]) for m in spans), 4 << 20)
        self.assertGreater(estimate.json()["download_bytes"], os.path.getsize(os.path.join(EXAMPLE, "model.safetensors")) - 1)
        missing = self.service.post(V1 + "/quantize/estimate", {"source_model": "org/none", "gguf_quant_types": ["Q8_0"]})
        self.assertEqual(missing.status, 404, missing)
        self.assertNotIn(self.home.encode(), missing.body)

    def test_job(self):
        job = self.service.post(JOBS, {"source_model": "org/model@main", "gguf_quant_types": ["Q8_0"]}).json()
        self.assertEqual((job["source_type"], job["source_revision"]), ("huggingface", "main"))
        done = self.service.wait(job["id"])
        self.assertEqual(done["status"], "completed", done)
        estimate = self.service.post(V1 + "/quantize/estimate", {"source_model": "org/model@main", "gguf_quant_types": ["Q8_0"]}).json()
        self.assertEqual(done["outputs"][0]["file_size"], estimate["outputs"][0]["size_bytes"])

    def test_names(self):
        good = {"org/model": None, "org/model@main": "main", "org/model:model.gguf": None, "org/model@refs/pr/1:a/b.gguf": "refs/pr/1"}
        for name, revision in good.items():
            answer = self.service.post(JOBS, {"source_model": name, "gguf_quant_types": ["Q8_0"]})
            self.assertEqual((answer.status, answer.json().get("source_revision")), (201, revision), name)
        both = self.service.post(JOBS, {"source_model": "org/model:model.gguf", "source_revision": "v1"}).json()
        self.assertEqual((both["source_model"], both["source_revision"]), ("org/model@v1:model.gguf", "v1"))
        for name in ("model", "org/", "/model", "org/model@", "org/model:", "org/model:../x", "org/model@..", "org//model", "a/b/c", "org/mod el"):
            self.assertEqual(self.service.post(JOBS, {"source_model": name, "source_type": "huggingface"}).status, 422, name)
        for job in self.service.get(JOBS).json()["jobs"]:
            self.service.post(f"{JOBS}/{job['id']}/cancel")

    def test_cache_without_a_home(self):
        one = Service(environment={"HOME": "", "XDG_CACHE_HOME": "", "HF_ENDPOINT": self.hub.url})
        job = one.post(JOBS, {"source_model": "org/model", "gguf_quant_types": ["Q8_0"]}).json()
        self.assertEqual(one.wait(job["id"])["status"], "completed")
        self.assertTrue(os.path.isdir(os.path.join(one.data, "hub", "hub", "models--org--model")))
        self.assertEqual(one.close(), 0)

    def test_job_without_a_model(self):
        job = self.service.post(JOBS, {"source_model": "org/none", "gguf_quant_types": ["Q8_0"]}).json()
        failed = self.service.wait(job["id"])
        self.assertEqual(failed["status"], "failed")
        self.assertTrue(failed["error_advice"])


class Stopping(Case):
    def test_stop_and_come_back(self):
        one = Service(models=[os.path.join(ROOT, "examples")])
        job = one.post(JOBS, {"source_model": "model", "gguf_quant_types": ["Q4_K_M"], "config": {"measure": True}, "options": {"chunks": 1}}).json()
        one.wait(job["id"], "preparing", "quantizing", "measuring")
        listener = Events(one)
        self.assertEqual(one.stop(), 0)
        self.assertTrue(listener.ended.wait(STILL))
        self.assertIn("shutdown", [e[1] for e in listener.events])
        self.assertEqual([line["event"] for line in one.lines if line["event"] == "stopping"], ["stopping"])
        again = Service(data=one.data, models=[os.path.join(ROOT, "examples")])
        self.assertEqual(again.wait(job["id"])["status"], "completed", "a job goes on after a restart")
        self.assertEqual(again.stop(signal.SIGINT), 0)
        shutil.rmtree(one.data)

    def test_probes_while_it_stops(self):
        one = Service(models=[os.path.join(ROOT, "examples")])
        for _ in range(3):
            one.post(JOBS, {"source_model": "model", "gguf_quant_types": ["Q4_K_M"], "config": {"measure": True}})
        time.sleep(0.3)
        statuses = []
        one.process.send_signal(signal.SIGTERM)
        while one.process.poll() is None:
            for path in ("/readyz", "/healthz", JOBS):
                try:
                    statuses.append((path, one.get(path, timeout=10).status))
                except (OSError, http.client.HTTPException):
                    pass
        self.assertEqual(one.close(), 0)
        self.assertLessEqual({status for _, status in statuses}, {200, 503})
        self.assertIn(("/readyz", 503), statuses)

    def test_notify(self):
        folder = tempfile.mkdtemp(prefix="halftone-test-")
        manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        manager.bind(os.path.join(folder, "notify"))
        manager.settimeout(STILL)
        one = Service(environment={"NOTIFY_SOCKET": os.path.join(folder, "notify")})
        self.assertEqual(manager.recv(100), b"READY=1")
        self.assertEqual(one.close(), 0)
        self.assertEqual(manager.recv(100), b"STOPPING=1")
        manager.close()
        shutil.rmtree(folder)


class Z_Coverage(Case):
    """Last: every operation of the description answered as it should at least once."""

    def test_listeners_hear_that_it_lives(self):
        with patient.changed:
            self.assertTrue(patient.changed.wait_for(lambda: patient.comments > 0, STILL))
        patient.close()

    def test_every_operation(self):
        elsewhere = {("POST", V1 + "/tokens"), ("GET", V1 + "/tokens"), ("DELETE", V1 + "/tokens/{id}"), ("POST", V1 + "/session"),
                     ("DELETE", V1 + "/session"), ("GET", V1 + "/session")}  # test_guards.py
        elsewhere |= {(m, p + "/files/{file}") for m in ("GET", "HEAD")
                      for p in (JOBS + "/{id}/outputs/{name}", V1 + "/models/{id}/variants/{variant}")}  # test_folders.py
        elsewhere |= {(m, p) for m, p in DOCUMENT.operations if p.startswith(("/v1/", V1 + "/runtime/")) or
                      (p.startswith("/api/") and not p.startswith("/api/v1/"))}  # test_runtime.py, test_levels.py
        elsewhere |= {(m, p) for m, p in DOCUMENT.operations if p.startswith((V1 + "/workers", V1 + "/tasks"))}  # test_workers.py
        good = {(m, p) for m, p, status in DOCUMENT.seen if status < 300}
        missing = set(DOCUMENT.operations) - good - elsewhere - {("GET", V1 + "/events"),
                                                                       ("GET", JOBS + "/{id}/events")}
        self.assertEqual(missing, set())


if __name__ == "__main__":
    unittest.main()
