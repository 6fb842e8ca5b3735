#!/usr/bin/env python3
"""Outputs that are folders over HTTP, and by the client: test_folders.py WORKER. The worker (tests/server/worker_main.c) publishes them with a program that plays the quantizer."""
import http.server
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import unittest

import folders
from service import EXAMPLE, PROGRAM, Service, sha256

WORKER = os.path.abspath(sys.argv.pop(1))
V1 = "/api/v1"
JOBS = V1 + "/quantize/jobs"
FILES = dict(folders.FOLDER)


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.data = os.path.join(tempfile.mkdtemp(prefix="halftone-test-"), "data")
        cls.job = folders.publish(WORKER, cls.data)
        cls.s = Service(data=cls.data)

    @classmethod
    def tearDownClass(cls):
        assert cls.s.stop() == 0
        shutil.rmtree(os.path.dirname(cls.data))

    def outputs(self):
        return self.s.get(f"{JOBS}/{self.job}/outputs").json()["outputs"]

    def variant(self):
        [model] = self.s.get(V1 + "/models").json()["models"]
        return model, next(v for v in model["variants"] if v["files"])

    def check_archive(self, body):
        with tarfile.open(fileobj=io.BytesIO(body)) as tar:
            members = tar.getmembers()
            self.assertEqual([m.name for m in members], ["toy-nf4"] + ["toy-nf4/" + name for name in FILES])
            self.assertTrue(members[0].isdir() and all(m.isfile() and m.mode == 0o644 and m.uid == 0 for m in members[1:]))
            self.assertEqual({m.name[8:]: tar.extractfile(m).read() for m in members[1:]}, FILES)


class Downloads(Case):
    def test_lists(self):
        folder, single = self.outputs()
        self.assertEqual([(f["name"], f["size"], f["sha256"]) for f in folder["files"]], [(n, len(d), sha256(d)) for n, d in FILES.items()])
        self.assertEqual((folder["file_size"], folder["sha256"], single["files"]), (sum(map(len, FILES.values())), None, None))
        job = self.s.get(f"{JOBS}/{self.job}").json()
        self.assertEqual(job["requested"], folders.REQUESTED)
        self.assertEqual(job["outputs"], [folder, single])

    def test_each_file(self):
        for file in self.outputs()[0]["files"] + self.variant()[1]["files"]:
            answer = self.s.get(file["url"])
            self.assertEqual((answer.status, answer.body), (200, FILES[file["name"]]))
            self.assertEqual(answer.headers["etag"], f'"{file["sha256"]}"')
            self.assertIn(f'filename="{file["name"]}"', answer.headers["content-disposition"])
            head = self.s.request("HEAD", file["url"])
            self.assertEqual((head.status, head.headers["content-length"]), (200, str(file["size"])))
        part = self.s.get(self.outputs()[0]["files"][1]["url"], headers={"Range": "bytes=8-15"})
        self.assertEqual((part.status, part.body), (206, b"weights "))

    def test_archive(self):
        for url in (self.outputs()[0]["url"], self.variant()[1]["url"]):
            answer = self.s.get(url)
            self.assertEqual((answer.status, answer.headers["content-type"]), (200, "application/x-tar"))
            self.assertEqual(int(answer.headers["content-length"]), len(answer.body))
            self.assertIn('filename="toy-nf4.tar"', answer.headers["content-disposition"])
            self.check_archive(answer.body)
            head = self.s.request("HEAD", url)
            self.assertEqual((head.headers["content-length"], head.headers["etag"], head.body), (str(len(answer.body)), answer.headers["etag"], b""))

    def test_parts_of_the_archive(self):
        url = self.outputs()[0]["url"]
        whole = self.s.get(url)
        tag, size = whole.headers["etag"], len(whole.body)
        for first, last in ((0, 0), (0, 511), (100, 2000), (1024, 1030), (512, size - 1), (size - 5, size - 1), (1500, 1600)):
            part = self.s.get(url, headers={"Range": f"bytes={first}-{last}", "If-Range": tag})
            self.assertEqual((part.status, part.headers["content-range"]), (206, f"bytes {first}-{last}/{size}"))
            self.assertEqual(part.body, whole.body[first:last + 1])
        self.assertEqual(self.s.get(url, headers={"Range": "bytes=5-", "If-Range": '"another"'}).status, 200)
        beyond = self.s.get(url, headers={"Range": f"bytes={size}-"})
        self.assertEqual((beyond.status, beyond.headers["content-range"]), (416, f"bytes */{size}"))
        self.assertEqual(self.s.get(url, headers={"If-None-Match": tag}).status, 304)

    def test_what_is_not_there(self):
        for name in ("absent", "..", "%2e%2e", "..%2Freport.json", "config.json%00", "config.json%2Fx", "report.json"):
            answer = self.s.get(f"{JOBS}/{self.job}/outputs/toy-nf4/files/{name}", judge=False)
            self.assertIn(answer.status, (400, 404), name)
        self.assertEqual(self.s.get(f"{JOBS}/{self.job}/outputs/toy-Q8_0.gguf/files/toy-Q8_0.gguf").status, 404)
        self.assertEqual(self.s.get(f"{JOBS}/{'0' * 32}/outputs/toy-nf4/files/config.json").status, 404)
        model, variant = self.variant()
        self.assertEqual(self.s.get(f"{V1}/models/{model['id']}/variants/{'0' * 32}/files/config.json").status, 404)


class Client(Case):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="halftone-test-")

    def tearDown(self):
        shutil.rmtree(self.folder)

    def run_client(self, *arguments, status=0, server=None):
        done = subprocess.run([PROGRAM, *arguments, "--server", server or f"127.0.0.1:{self.s.port}"], capture_output=True, text=True, cwd=self.folder, env={**os.environ, "NO_PROXY": "*"})
        self.assertEqual(done.returncode, status, (arguments, done.stdout, done.stderr))
        return done

    def read(self, name):
        at = os.path.join(self.folder, name)
        return {n: open(os.path.join(at, n), "rb").read() for n in os.listdir(at)}

    def test_download(self):
        shown = self.run_client("jobs", "outputs", self.job).stdout
        self.assertTrue(all(name in shown for name in FILES), shown)
        self.assertEqual(self.run_client("jobs", "download", self.job, "nf4").stdout, "toy-nf4\n")
        self.assertEqual(self.read("toy-nf4"), FILES)
        self.assertIn("--overwrite", self.run_client("jobs", "download", self.job, "nf4", status=2).stderr)
        with open(os.path.join(self.folder, "toy-nf4", "old"), "w"):
            pass
        self.run_client("jobs", "download", self.job, "toy-nf4", "--overwrite")
        self.assertEqual((self.read("toy-nf4"), os.listdir(self.folder)), (FILES, ["toy-nf4"]))
        self.run_client("jobs", "download", self.job, "nf4", "--file", "config.json", "-o", "c.json")
        with open(os.path.join(self.folder, "c.json"), "rb") as f:
            self.assertEqual(f.read(), FILES["config.json"])
        self.run_client("jobs", "download", self.job, "nf4", "--file", "absent", status=2)
        self.run_client("jobs", "download", self.job, "Q8_0")
        model, variant = self.variant()
        self.assertIn("3 files", self.run_client("registry", "show", model["id"]).stdout)
        answer = json.loads(self.run_client("registry", "download", model["id"], "nf4", "-o", "r", "--json").stdout)
        self.assertEqual((answer["path"], answer["size_bytes"], len(answer["files"])), ("r", sum(map(len, FILES.values())), 3))
        self.assertEqual(self.read("r"), FILES)

    def test_goes_on(self):
        """What an earlier try left is used where it is right, and nothing else gets into the folder."""
        part = os.path.join(self.folder, "toy-nf4.part")
        whole = FILES["model.safetensors"]
        for name, left in (("half", {"model.safetensors.part": whole[:1000], "config.json": FILES["config.json"]}), ("foreign file", {"stray": b"x", "config.json": b"[]"}),
                           ("too long", {"model.safetensors.part": whole + b"x"}), ("another name's part", {"other.part": b"x"}), ("all", dict(FILES))):
            os.mkdir(part)
            for file, data in left.items():
                with open(os.path.join(part, file), "wb") as f:
                    f.write(data)
            self.run_client("jobs", "download", self.job, "nf4")
            self.assertEqual(self.read("toy-nf4"), FILES, name)
            self.assertEqual(os.listdir(self.folder), ["toy-nf4"], name)
            shutil.rmtree(os.path.join(self.folder, "toy-nf4"))
        os.mkdir(part)
        with open(os.path.join(part, "model.safetensors.part"), "wb") as f:
            f.write(b"y" * 1000)
        self.assertIn("SHA-256", self.run_client("jobs", "download", self.job, "nf4", status=1).stderr)
        self.assertFalse(os.path.exists(os.path.join(self.folder, "toy-nf4")))
        self.run_client("jobs", "download", self.job, "nf4")
        self.assertEqual(self.read("toy-nf4"), FILES)
        os.symlink("/", part)
        self.run_client("jobs", "download", self.job, "nf4", "--overwrite", status=1)

    def test_a_server_that_lies(self):
        file = {"name": "config.json", "size": 2, "sha256": sha256(b"{}")}
        for files in ([], [{**file, "name": "../x"}], [{**file, "name": ".x"}], [{**file, "name": ""}], [{**file, "name": "a.part"}], [file, file], [{**file, "sha256": "0" * 64}], [{**file, "sha256": "x"}], [{**file, "size": 1}],
                      [{**file, "size": 1 << 60}]):
            output = {"id": "1", "name": "toy", "status": "completed", "quant_type": "nf4", "file_size": 2, "sha256": None, "files": files}

            class Liar(http.server.BaseHTTPRequestHandler):
                def do_GET(self):
                    body = b"{}" if "/files/" in self.path else json.dumps({"outputs": [output]}).encode()
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)

                def log_message(self, *_):
                    pass

            with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar) as liar:
                threading.Thread(target=liar.serve_forever, daemon=True).start()
                self.run_client("jobs", "download", "0" * 32, "nf4", server=f"127.0.0.1:{liar.server_port}", status=4 if files and files[0]["size"] > 1 << 50 else 1)
                liar.shutdown()
            self.assertFalse(os.path.exists(os.path.join(self.folder, "toy")), files)
            self.assertEqual(set(os.listdir(self.folder)) - {"toy.part"}, set(), files)


class Gone(Case):
    def test_changed_on_the_disk(self):
        [place] = os.listdir(os.path.join(self.data, "models"))
        path = os.path.join(self.data, "models", place, "toy-nf4", "model.safetensors")
        with open(path, "ab") as f:
            f.write(b"more")
        output = self.outputs()[0]
        self.assertEqual(self.s.get(output["url"]).status, 409)
        self.assertEqual(self.s.get(output["files"][1]["url"]).status, 409)
        self.assertEqual(self.s.get(output["files"][0]["url"]).status, 200)
        os.truncate(path, len(FILES["model.safetensors"]))
        self.assertEqual(self.s.get(output["url"]).status, 200)

    def test_deleted(self):
        output = self.outputs()[0]
        self.assertEqual(self.s.delete(f"{JOBS}/{self.job}").status, 204)
        self.check_archive(self.s.get(output["url"]).body)
        self.assertEqual(self.s.get(output["files"][0]["url"]).status, 200)
        model, variant = self.variant()
        self.assertEqual(self.s.delete(f"{V1}/models/{model['id']}/variants/{variant['id']}").status, 204)
        [place] = os.listdir(os.path.join(self.data, "models"))
        self.assertEqual(sorted(os.listdir(os.path.join(self.data, "models", place))), ["report.json", "toy-Q8_0.gguf"])
        self.assertEqual((self.s.get(output["url"]).status, self.s.get(output["files"][0]["url"]).status), (404, 404))
        self.assertEqual(self.s.delete(f"{V1}/models/{model['id']}").status, 204)
        self.assertEqual(os.listdir(os.path.join(self.data, "models")), [])


class Real(unittest.TestCase):
    """By the program itself: what is asked for is estimated, made, listed, downloaded and the same as on the command line."""

    @classmethod
    def setUpClass(cls):
        cls.s = Service(models=[os.path.dirname(EXAMPLE)])
        cls.folder = tempfile.mkdtemp(prefix="halftone-test-")

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)
        assert cls.s.close() == 0

    def test_from_end_to_end(self):
        s, made = self.s, os.path.join(self.folder, "made")
        body = {"source_model": EXAMPLE, "outputs": [{"type": "Q8_0"}, {"type": "gptq", "options": {"bits": 3, "group": 64}}, {"format": "safetensors", "type": "BF16"},
                                                     {"format": "pytorch", "type": "nf4"}]}
        estimate = s.post(V1 + "/quantize/estimate", body).json()
        self.assertIn("outputs", estimate, estimate)
        self.assertEqual([o["format"] for o in estimate["outputs"]], ["gguf", "safetensors", "safetensors", "pytorch"])
        job = s.post(JOBS, body).json()
        self.assertEqual([o["name"] for o in job["outputs"]], ["model-Q8_0.gguf", "model-gptq-bits3-group64", "model-BF16", "model-nf4-pytorch"])
        ids = [o["id"] for o in job["outputs"]]
        job = s.wait(job["id"])
        self.assertEqual(job["status"], "completed", job)
        self.assertEqual([(o["id"], o["quant_type"]) for o in job["outputs"]], list(zip(ids, ["Q8_0", "gptq:bits=3,group=64", "safetensors/BF16", "pytorch/nf4"])))
        self.assertEqual([o["file_size"] for o in job["outputs"]], [o["size_bytes"] for o in estimate["outputs"]])
        arguments = job["command"].split()[1:]
        subprocess.run([PROGRAM] + [a.replace("--output=out", "--output=" + made) for a in arguments], check=True, capture_output=True)
        for output in job["outputs"][1:]:
            at = os.path.join(made, output["name"])
            self.assertEqual({f["name"] for f in output["files"]}, set(os.listdir(at)))
            with tarfile.open(fileobj=io.BytesIO(s.get(output["url"]).body)) as tar:
                for file in output["files"]:
                    data = tar.extractfile(f"{output['name']}/{file['name']}").read()
                    self.assertEqual((len(data), sha256(data)), (file["size"], file["sha256"]))
                    if file["name"] in ("model.safetensors", "config.json", "tokenizer.json"):
                        with open(os.path.join(at, file["name"]), "rb") as f:
                            self.assertEqual(f.read(), data, file["name"])
        tensors = s.get(f"{JOBS}/{job['id']}/tensors").json()["tensors"]
        self.assertEqual({t for row in tensors for t in row["outputs"]}, {"Q8_0", "gptq:bits=3,group=64", "safetensors/BF16", "pytorch/nf4"})

    def test_the_client(self):
        environment = {**os.environ, "HALFTONE_SERVER": f"127.0.0.1:{self.s.port}", "NO_PROXY": "*"}
        run = lambda *a: subprocess.run([PROGRAM, *a], check=True, capture_output=True, text=True, cwd=self.folder, env=environment).stdout
        self.assertTrue(run("jobs", "submit", EXAMPLE, "-t", "nf4:block=128,Q4_K_M", "--name", "by the client", "--watch").endswith("completed\n"))
        job = json.loads(run("jobs", "show", "last", "--json"))
        self.assertEqual([r["quant_type"] for r in job["requested"]], ["nf4:block=128", "Q4_K_M"])
        run("jobs", "download", "last", "nf4:block=128", "-o", "mine")
        got = {n: open(os.path.join(self.folder, "mine", n), "rb").read() for n in os.listdir(os.path.join(self.folder, "mine"))}
        self.assertEqual({n: sha256(d) for n, d in got.items()}, {f["name"]: f["sha256"] for f in job["outputs"][0]["files"]})

    def test_aliases(self):
        job = self.s.post(JOBS, {"source_model": EXAMPLE, "output_formats": ["gptq"], "gptq_bits": 8, "config": {"group_size": 32}}).json()
        self.assertEqual((job["output_formats"], job["gguf_quant_types"], job["requested"][0]["quant_type"]), (["gptq"], [], "gptq:bits=8,group=32"))
        self.assertEqual(self.s.wait(job["id"])["status"], "completed")


if __name__ == "__main__":
    unittest.main()
