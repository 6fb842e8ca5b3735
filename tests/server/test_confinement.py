"""Children that parse models see the allowed folders and nothing else, and are limited as jobs are.

    HALFTONE=build/halftone python3 tests/server/test_confinement.py
"""
import json
import os
import shutil
import struct
import tempfile
import time
import unittest

from service import EXAMPLE, SANITIZED, Service

V1 = "/api/v1"
JOBS = V1 + "/quantize/jobs"


def copy_model(folder, names=("config.json", "model.safetensors", "tokenizer.json")):
    os.makedirs(folder)
    for name in names:
        shutil.copy(os.path.join(EXAMPLE, name), os.path.join(folder, name))
    return folder


def gguf_of_strings(n):
    """A GGUF file without tensors whose only value is a list of n strings of one byte."""
    head = b"GGUF" + struct.pack("<IQQ", 3, 0, 1)
    key = b"tokenizer.ggml.tokens"
    return head + struct.pack("<Q", len(key)) + key + struct.pack("<IIQ", 9, 8, n) + (struct.pack("<Q", 1) + b"x") * n


class Case(unittest.TestCase):
    longMessage = True

    def setUp(self):
        self.base = tempfile.mkdtemp(prefix="halftone-test-")
        self.addCleanup(shutil.rmtree, self.base)
        self.root = os.path.join(self.base, "models")
        self.outside = os.path.join(self.base, "outside")
        os.makedirs(self.root)
        os.makedirs(self.outside)

    def serve(self, *arguments):
        s = Service(*arguments, models=[self.root])
        self.addCleanup(s.close)
        return s


class Links(Case):
    """Each way in which a model under --models may lead out of it: refused by jobs, estimates and recommendations."""

    def refused(self, s, model):
        for path, body in ((JOBS, {"gguf_quant_types": ["Q8_0"]}), (V1 + "/quantize/estimate", {"gguf_quant_types": ["Q8_0"]}),
                           (V1 + "/recommend", {"memory": "8G"})):
            answer = s.post(path, {"source_model": model, **body})
            self.assertEqual((answer.status, answer.pointers()), (422, ["/source_model"]), (path, model, answer))
            self.assertIn(b"leaves the allowed folders", answer.body)

    def taken(self, s, model):
        answer = s.post(JOBS + "?dry_run=true", {"source_model": model, "gguf_quant_types": ["Q8_0"]})
        self.assertEqual(answer.status, 200, (model, answer))

    def test_ways_out(self):
        copy_model(self.root + "/good")
        # part 2 of a split file
        for name in ("split-00001-of-00002.gguf", "whole.gguf"):
            shutil.copy(EXAMPLE + "/model.safetensors", f"{self.root}/{name}")
        open(self.outside + "/two.gguf", "w").close()
        os.symlink(self.outside + "/two.gguf", self.root + "/split-00002-of-00002.gguf")
        # a lone safetensors file beside a configuration that is a link
        copy_model(self.root + "/beside", ["model.safetensors", "tokenizer.json"])
        shutil.copy(EXAMPLE + "/config.json", self.outside)
        os.symlink(self.outside + "/config.json", self.root + "/beside/config.json")
        # shards that an index names
        copy_model(self.root + "/shards", ["config.json", "tokenizer.json"])
        shutil.copy(EXAMPLE + "/model.safetensors", self.outside + "/shard.safetensors")
        os.symlink("../../outside/shard.safetensors", self.root + "/shards/a.safetensors")
        with open(self.root + "/shards/model.safetensors.index.json", "w") as f:
            json.dump({"weight_map": {"x": "a.safetensors"}}, f)
        # a folder inside the model's folder
        copy_model(self.root + "/templates")
        os.makedirs(self.root + "/templates/additional_chat_templates")
        os.symlink("/etc/passwd", self.root + "/templates/additional_chat_templates/x.jinja")
        s = self.serve()
        for model in ("split-00001-of-00002.gguf", "beside/model.safetensors", "beside", "shards", "templates"):
            self.refused(s, model)
        self.taken(s, "good/model.safetensors")  # links that are not read with it do not matter
        self.taken(s, "good")

    def test_links_under_the_folders_are_followed(self):
        """As in a hub's cache: the snapshot's files are links to blobs."""
        copy_model(self.root + "/blobs")
        os.makedirs(self.root + "/snapshots/1")
        for name in ("config.json", "model.safetensors", "tokenizer.json"):
            os.symlink("../../blobs/" + name, f"{self.root}/snapshots/1/{name}")
        s = self.serve()
        self.taken(s, "snapshots/1")
        self.assertEqual(self.end_of(s, self.submit(s, "snapshots/1")["id"])["status"], "completed")

    def submit(self, s, model, types=("Q8_0",)):
        answer = s.post(JOBS, {"source_model": model, "gguf_quant_types": list(types)})
        self.assertEqual(answer.status, 201, answer)
        return answer.json()

    def end_of(self, s, id):
        while True:  # as long as it makes progress the suite's own limit is enough
            job = s.get(f"{JOBS}/{id}").json()
            if job["status"] in ("completed", "failed", "cancelled"):
                return job
            time.sleep(0.05)

    def test_swapped_after_submission(self):
        """The folder becomes a link out, or a file in it does, while the job waits for its turn."""
        copy_model(self.root + "/first")
        for name in ("whole", "part"):
            copy_model(f"{self.root}/{name}")
        copy_model(self.outside + "/model")
        s = self.serve("--jobs", "1")
        first = self.submit(s, "first", ["IQ3_S", "IQ4_XS", "Q3_K_M", "Q5_K_M", "Q6_K"])
        whole, part = self.submit(s, "whole"), self.submit(s, "part")
        shutil.rmtree(self.root + "/whole")
        os.symlink(self.outside + "/model", self.root + "/whole")
        os.remove(self.root + "/part/model.safetensors")
        os.symlink(self.outside + "/model/model.safetensors", self.root + "/part/model.safetensors")
        s.post(f"{JOBS}/{first['id']}/cancel")
        for job in (whole, part):
            ended = self.end_of(s, job["id"])
            self.assertEqual(ended["status"], "failed", ended)
            self.assertIn("allowed folders", ended["error"])
            self.assertNotIn(self.outside, json.dumps(ended))


class Limits(Case):
    @unittest.skipIf(SANITIZED, "a sanitizer needs more memory than any limit")
    def test_memory(self):
        """What takes much more memory than its file is refused; the service and its next request are not concerned."""
        s = self.serve("--memory-limit", "64M")
        self.assertEqual(s.request("PUT", V1 + "/uploads/small.gguf", gguf_of_strings(10)).status, 201)
        big = gguf_of_strings(8_000_000)
        answer = s.request("PUT", V1 + "/uploads/big.gguf", big)
        self.assertEqual((answer.status, answer.json()["type"].rsplit("/", 1)[-1]), (422, "does-not-fit"), answer)
        self.assertIn(b"memory", answer.body)
        with open(self.root + "/big.gguf", "wb") as f:
            f.write(big)
        for path, body in ((V1 + "/quantize/estimate", {"gguf_quant_types": ["Q8_0"]}), (V1 + "/recommend", {"memory": "8G"})):
            answer = s.post(path, {"source_model": "big.gguf", **body})
            self.assertEqual(answer.status, 422, (path, answer))
            self.assertIn(b"memory", answer.body)
        self.assertEqual(s.get("/readyz").status, 200)
        self.assertEqual([u["name"] for u in s.get(V1 + "/uploads").json()["uploads"]], ["small.gguf"])


if __name__ == "__main__":
    unittest.main()
