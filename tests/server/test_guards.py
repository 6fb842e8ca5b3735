"""What must not get in: names of hosts and sites, tokens, paths, bodies that are not what they should be; and settings.

    HALFTONE=build/halftone python3 tests/server/test_guards.py
"""
import json
import os
import shutil
import subprocess
import tempfile
import time
import unittest
import urllib.parse

from service import DOCUMENT, EXAMPLE, PROGRAM, ROOT, STILL, Service, until_limited
from wire import Wire

V1 = "/api/v1"
JOBS = V1 + "/quantize/jobs"
SECRET = "this stands outside of every allowed folder"


def setUpModule():
    """A folder of models beside things that are nobody's business, with links from one to the other."""
    global s, base, root
    base = tempfile.mkdtemp(prefix="halftone-test-")
    root = os.path.join(base, "models")
    os.makedirs(os.path.join(root, "good"))
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        shutil.copy(os.path.join(EXAMPLE, name), os.path.join(root, "good", name))
    for folder in ("outside", "models-secret", "models2"):
        os.makedirs(os.path.join(base, folder))
        with open(os.path.join(base, folder, "secret.gguf"), "w") as f:
            f.write(SECRET)
    for name, target in {"link-outside": "../outside", "link-absolute": os.path.join(base, "outside"), "link-etc": "/etc",
                         "link-root": "/", "link-up": "..", "link-file.gguf": "../outside/secret.gguf", "link-loop": "link-loop",
                         "link-proc": "/proc/self/root", "link-chain": "link-outside", "link-inside": "good"}.items():
        os.symlink(target, os.path.join(root, name))
    os.makedirs(os.path.join(root, "leaky"))
    shutil.copy(os.path.join(EXAMPLE, "model.safetensors"), os.path.join(root, "leaky"))
    os.symlink("/etc/passwd", os.path.join(root, "leaky", "config.json"))
    os.mkfifo(os.path.join(root, "pipe.gguf"))
    s = Service(models=[root])


def tearDownModule():
    assert s.close() == 0
    shutil.rmtree(base)


def traversals():
    up = [".." + "/.." * n for n in range(1, 4)] + ["../outside", "../models-secret", "../models2", "good/../../outside", "./../outside",
          "good/../..", "../models/../outside", "..", "../", "../.", "good/../good/../../outside", ".//..//outside", "good/./../../outside"]
    absolute = ["/etc", "/etc/passwd", "/", "//etc/passwd", "/proc/self/environ", "/proc/self/root/etc", "/proc/1/cwd", "/dev/stdin", "/dev/zero",
                base, base + "/outside", base + "/outside/secret.gguf", base + "/models-secret", base + "/models2/secret.gguf",
                root + "/../outside", root + "/good/../../outside", root + "/../models-secret", root + "x", root + "-secret", root + "/..",
                root + "/./../outside/secret.gguf", root + "//../outside", "/proc/self/cwd" + root, "/etc/../etc/passwd"]
    links = ["link-outside", "link-outside/secret.gguf", "link-absolute", "link-absolute/secret.gguf", "link-etc/passwd", "link-root/etc/passwd",
             "link-up", "link-up/outside", "link-file.gguf", "link-loop", "link-proc", "link-chain", "link-chain/secret.gguf",
             root + "/link-outside/secret.gguf", root + "/link-etc", root + "/link-file.gguf", "leaky/config.json/x"]
    odd = ["~", "~root", "~/x", "file:///etc/passwd", "http://127.0.0.1/x", "..\\outside", "%2e%2e/outside", "..%2foutside", "..%252foutside",
           "%c0%ae%c0%ae/outside", "good\n", "\tgood", "good/", "x" * 1024, "good/" * 200, "-o/tmp/x", "--output=/tmp/x", "$(id)", "`id`", ";id", "a;b",
           "..;/outside", "\u202e/outside", "good\u0000", ".../outside", "....//outside", "-", "pipe.gguf/x"]
    return up, absolute, links, odd


class Case(unittest.TestCase):
    longMessage = True


class Paths(Case):
    def refused(self, answer, what, statuses=(400, 404, 422)):
        self.assertIn(answer.status, statuses, (what, answer))
        for word in (SECRET, "root:x:", "secret.gguf"):
            if word not in what:
                self.assertNotIn(word.encode(), answer.body, what)

    def test_corpus_is_large(self):
        self.assertGreaterEqual(sum(len(group) for group in traversals()), 60)

    def test_local(self):
        up, absolute, links, odd = traversals()
        for name in up + absolute + links + [o for o in odd if o != "good/"]:
            self.refused(s.get(V1 + "/local?path=" + urllib.parse.quote(name, safe="")), name)

    def test_source_model(self):
        up, absolute, links, odd = traversals()
        for name in up + absolute + links + [o for o in odd if o != "good/"]:
            for extra in ({}, {"source_type": "local"}, {"source_type": "upload"}, {"source_type": "huggingface"}):
                body = json.dumps({"source_model": name, "gguf_quant_types": ["Q8_0"], **extra})
                if extra.get("source_type") == "huggingface" and name in ("link-etc/passwd", "a/b", "link-up/outside", "link-outside/secret.gguf",
                        "link-absolute/secret.gguf", "link-chain/secret.gguf", "pipe.gguf/x"):
                    continue  # names that the hub could know
                if not extra and name == "pipe.gguf/x":
                    continue  # so is this
                answer = s.request("POST", JOBS, body.encode(), {"Content-Type": "application/json"})
                self.refused(answer, name)

    def test_paths_in_options(self):
        up, absolute, links, _ = traversals()
        for name in up + absolute + links:
            for where in ({"config": {"imatrix_dataset": name}}, {"config": {"calibration_dataset": name}}, {"options": {"imatrix": name}},
                          {"options": {"calibration": name}}, {"options": {"text": name}},
                          {"options": {"calibration": f"default,{name}:2"}}, {"config": {"calibration_dataset": f"{name}:1,default"}}):
                answer = s.post(JOBS, {"source_model": "good", "gguf_quant_types": ["Q8_0"], **where})
                self.refused(answer, name, (422,))

    def test_folder_with_a_link_out(self):
        answer = s.post(JOBS, {"source_model": "leaky", "gguf_quant_types": ["Q8_0"]})
        self.assertEqual((answer.status, answer.pointers()), (422, ["/source_model"]))

    def test_links_inside_are_fine(self):
        answer = s.post(JOBS + "?dry_run=true", {"source_model": "link-inside", "gguf_quant_types": ["Q8_0"]})
        self.assertEqual(answer.status, 200, answer)

    def test_pipe(self):
        self.assertEqual(s.post(JOBS, {"source_model": "pipe.gguf", "gguf_quant_types": ["Q8_0"]}).status, 422)
        self.assertEqual(s.get(V1 + "/local?path=pipe.gguf").status, 404)

    def test_listing_shows_no_links(self):
        names = [e["name"] for e in s.get(V1 + "/local?path=" + root).json()["entries"]]
        self.assertEqual(sorted(names), ["good", "leaky"])

    def test_in_addresses(self):
        for path in ("/../etc/passwd", "/api/v1/../../etc/passwd", "/%2e%2e/etc/passwd", "/api/v1/uploads/..%2f..%2fx.gguf", "/%00", "//etc/passwd",
                     "/api/v1/uploads/%2e%2e%2fx.gguf", "/..%5cx", "/api/v1/quantize/jobs/..%2f..%2f..%2fetc%2fpasswd",
                     "/api/v1/models/..%2fx", "/./etc", "/%", "/%zz", "/api//v1/system"):
            for method in ("GET", "PUT", "DELETE"):
                answer = s.request(method, path, b"GGUF" if method == "PUT" else None, judge=False)
                self.assertIn(answer.status, (400, 404, 405, 422), (method, path))
                self.assertNotIn(b"root:x:", answer.body)


BAD_JSON = [b"", b" ", b"{", b"}", b"[", b"]", b"{}x", b"{} {}", b"null", b"true", b"1", b"\"x\"", b"[]", b"[{}]", b"{\"a\"}", b"{\"a\":}", b"{\"a\":1,}",
            b"{,}", b"{\"a\":1 \"b\":2}", b"{'a': 1}", b"{a: 1}", b"{\"a\": 01}", b"{\"a\": +1}", b"{\"a\": .5}", b"{\"a\": 1.}", b"{\"a\": 1e}", b"{\"a\": NaN}",
            b"{\"a\": Infinity}", b"{\"a\": 0x1}", b"{\"a\": tru}", b"{\"a\": nul}", b"{\"a\": \"\\x\"}", b"{\"a\": \"\\u12\"}", b"{\"a\": \"\\ud800\"}",
            b"{\"a\": \"\n\"}", b"{\"a\": \"\x00\"}", b"{\"a\": \"\\u0000\"}", b"{\"a\": \"\xff\"}", b"{\"a\": \"\xc0\xaf\"}", b"{\"a\": \"\xed\xa0\x80\"}", b"\xef\xbb\xbf{}",
            b"\xff\xfe{\x00}\x00", b"{\"a\": \"x}", b"{\"a\": 1, \"a\": 2}", b"{\"source_model\": \"a\", \"source_model\": \"b\"}", b"// c\n{}", b"/* c */{}", b"{}//",
            b"{\"a\": 1e999}", b"{\"a\": 99999999999999999999999}", b"[" * 100, b"{\"a\":" * 100, b"{\"a\":" * 30 + b"1" + b"}" * 30, b"{\"a\": [" + b"[" * 30 + b"]" * 31 + b"}",
            b"\x00{}", b"{}\x00", b"<a/>", b"a=1&b=2", b"{\"a\": \"\\\"}", b"{\"\xff\": 1}", b"{\"a\": 1}}", b"{\"a\":: 1}", b"{\"a\": [1,]}", b"{\"a\": [1 2]}", b"{\"a\"=1}"]

M = {"source_model": "good"}
BAD_BODIES = [  # the body, and the pointer that is named
    ({}, "/source_model"), ({"source_model": 1}, "/source_model"), ({"source_model": ""}, "/source_model"), ({"source_model": None}, "/source_model"),
    ({"source_model": ["good"]}, "/source_model"), ({"source_model": "x" * 1025}, "/source_model"), ({"source_models": []}, "/source_models"),
    ({"source_models": "good"}, "/source_models"), ({"source_models": ["good", "good"]}, "/source_models/1"), ({"source_models": ["good", 1]}, "/source_models/1"),
    ({**M, "source_models": ["good"]}, "/source_model"), ({**M, "colour": 1}, "/colour"), ({**M, "a/b~c": 1}, "/a~1b~0c"), ({**M, "name": ""}, "/name"),
    ({**M, "name": 5}, "/name"), ({**M, "name": "x" * 201}, "/name"), ({**M, "description": "x" * 4001}, "/description"), ({**M, "source_type": "ftp"}, "/source_type"),
    ({**M, "source_revision": "main"}, "/source_revision"), ({"source_model": "a/b", "source_revision": "../x"}, "/source_revision"), ({"source_model": "a/b", "source_revision": "x:y.gguf"}, "/source_revision"),
    ({"source_model": "gpt2"}, "/source_model"),
    ({"source_model": "a/b@-x"}, "/source_model"), ({"source_model": "a/b@x", "source_revision": "y"}, "/source_revision"),
    ({**M, "gguf_quant_types": []}, "/gguf_quant_types"), ({**M, "gguf_quant_types": "Q8_0"}, "/gguf_quant_types"), ({**M, "gguf_quant_types": ["Q9_9"]}, "/gguf_quant_types/0"),
    ({**M, "gguf_quant_types": ["Q8_0", 1]}, "/gguf_quant_types/1"), ({**M, "gguf_quant_types": ["Q8_0", "Q8_0"]}, "/gguf_quant_types/1"),
    ({**M, "gguf_quant_types": ["Q8_0", "q8_0"]}, "/gguf_quant_types/1"), ({**M, "gguf_quant_types": ["Q8_0,Q4_0"]}, "/gguf_quant_types/0"),
    ({**M, "gguf_quant_types": ["IQ1_S"]}, "/gguf_quant_types/0"), ({**M, "output_formats": ["gptqq"]}, "/output_formats/0"), ({**M, "output_formats": ["gguf", "exl2"]}, "/output_formats/1"),
    ({**M, "output_formats": []}, "/output_formats"), ({**M, "output_formats": "gguf"}, "/output_formats"), ({**M, "output_formats": ["onnx"]}, "/output_formats/0"),
    ({**M, "gptq_bits": 4}, "/gptq_bits"), ({**M, "awq_bits": 4}, "/awq_bits"), ({**M, "gptq_bits": "4"}, "/gptq_bits"), ({**M, "priority": 101}, "/priority"),
    ({**M, "priority": -101}, "/priority"), ({**M, "priority": 1.5}, "/priority"), ({**M, "priority": "1"}, "/priority"), ({**M, "priority": True}, "/priority"), ({**M, "config": []}, "/config"),
    ({**M, "config": {"x": 1}}, "/config/x"), ({**M, "config": {"threads": 0}}, "/config/threads"), ({**M, "config": {"threads": "4"}}, "/config/threads"),
    ({**M, "config": {"threads": 1e9}}, "/config/threads"), ({**M, "config": {"use_imatrix": "yes"}}, "/config/use_imatrix"), ({**M, "config": {"use_imatrix": 1}}, "/config/use_imatrix"),
    ({**M, "config": {"damp_percent": 2}}, "/config/damp_percent"), ({**M, "config": {"calibration_samples": 0}}, "/config/calibration_samples"),
    ({**M, "config": {"imatrix_dataset": "wikitext"}}, "/config/imatrix_dataset"), ({**M, "options": []}, "/options"), ({**M, "options": {"colour": True}}, "/options/colour"),
    ({**M, "options": {"output": "/tmp"}}, "/options/output"), ({**M, "options": {"report": "x"}}, "/options/report"), ({**M, "options": {"html": "x"}}, "/options/html"),
    ({**M, "options": {"type": "Q8_0"}}, "/options/type"), ({**M, "options": {"layer-cache": "/tmp"}}, "/options/layer-cache"), ({**M, "options": {"resume": True}}, "/options/resume"),
    ({**M, "options": {"overwrite": True}}, "/options/overwrite"), ({**M, "options": {"pure": "yes"}}, "/options/pure"), ({**M, "options": {"pure": 1}}, "/options/pure"),
    ({**M, "options": {"memory": ["1G"]}}, "/options/memory"), ({**M, "options": {"tensor-type": [1]}}, "/options/tensor-type"), ({**M, "options": {"tensor-type": {"a": 1}}}, "/options/tensor-type"),
    ({**M, "options": {"name": "../x"}}, "/options/name"), ({**M, "options": {"name": ""}}, "/options/name"), ({**M, "options": {"name": "-x"}}, "/options/name"),
    ({**M, "outputs": []}, "/outputs"), ({**M, "outputs": {}}, "/outputs"), ({**M, "outputs": ["nf4"]}, "/outputs/0"), ({**M, "outputs": [{}]}, "/outputs/0/type"),
    ({**M, "outputs": [{"type": 4}]}, "/outputs/0/type"), ({**M, "outputs": [{"type": "nf4", "colour": 1}]}, "/outputs/0/colour"), ({**M, "outputs": [{"type": "nf5"}]}, "/outputs/0"),
    ({**M, "outputs": [{"type": "Q8_0"}, {"type": ""}]}, "/outputs/1/type"), ({**M, "outputs": [{"type": "Q8_0", "format": "safetensors"}]}, "/outputs/0"),
    ({**M, "outputs": [{"type": "nf4", "format": "gguf"}]}, "/outputs/0"), ({**M, "outputs": [{"type": "nf4", "format": "ggml"}]}, "/outputs/0/format"),
    ({**M, "outputs": [{"type": "nf4", "options": []}]}, "/outputs/0/options"), ({**M, "outputs": [{"type": "nf4", "options": {"blok": 64}}]}, "/outputs/0/options/blok"),
    ({**M, "outputs": [{"type": "nf4", "options": {"block": 65}}]}, "/outputs/0/options/block"), ({**M, "outputs": [{"type": "nf4", "options": {"block": [64]}}]}, "/outputs/0/options/block"),
    ({**M, "outputs": [{"type": "nf4", "options": {"block": None}}]}, "/outputs/0/options/block"), ({**M, "outputs": [{"type": "nf4:block"}]}, "/outputs/0"), ({**M, "outputs": [{"type": "nf4:block="}]}, "/outputs/0"),
    ({**M, "outputs": [{"type": "nf4:block=64,block=32"}]}, "/outputs/0"), ({**M, "outputs": [{"type": "nf4:block=32", "options": {"block": 32}}]}, "/outputs/0/options/block"),
    ({**M, "outputs": [{"type": "nf4"}, {"type": "NF4", "options": {"block": 64}}]}, "/outputs/1"), ({**M, "outputs": [{"type": "Q8_0", "options": {"block": 64}}]}, "/outputs/0/options"),
    ({**M, "outputs": [{"type": "IQ1_S"}]}, "/outputs/0"), ({**M, "outputs": [{"type": "nf4"}], "output_formats": ["gguf"]}, "/output_formats"), ({**M, "outputs": [{"type": "nf4"}], "gguf_quant_types": ["Q8_0"]}, "/gguf_quant_types"),
    ({**M, "outputs": [{"type": "Q8_0"}] * 65}, "/outputs"), ({**M, "outputs": [{"type": "x" * 201}]}, "/outputs/0/type"), ({**M, "output_formats": ["safetensors"]}, "/output_formats/0"),
    ({**M, "output_formats": ["nf4"], "gguf_quant_types": ["Q8_0"]}, "/gguf_quant_types"), ({**M, "output_formats": ["nf4"], "gptq_bits": 4}, "/gptq_bits"), ({**M, "gguf_quant_types": ["nf4"]}, "/gguf_quant_types/0"),
    ({**M, "config": {"effort": "more"}}, "/config/effort"), ({**M, "options": {"effort": "more"}}, "/options/effort"), ({**M, "config": {"effort": True}}, "/config/effort"),
    ({**M, "config": {"calibration_length": 8}}, "/config/calibration_length"), ({**M, "config": {"calibration_seed": 0}}, "/config/calibration_seed"),
    ({**M, "config": {"bpw": 0}}, "/config/bpw"), ({**M, "config": {"bpw": 33}}, "/config/bpw"), ({**M, "config": {"bpw": "4.5"}}, "/config/bpw"), ({**M, "options": {"bpw": "x"}}, "/options/bpw"), ({**M, "options": {"bpw": "1e99"}}, "/options/bpw"),
    ({**M, "config": {"fit": "much"}}, "/config/fit"), ({**M, "config": {"fit": "-1G"}}, "/config/fit"), ({**M, "config": {"fit": ""}}, "/config/fit"), ({**M, "config": {"fit": "4GBs"}}, "/config/fit"), ({**M, "config": {"fit": 4}}, "/config/fit"),
    ({**M, "config": {"fit": "4G", "bpw": 4}}, "/config/bpw"), ({**M, "config": {"bpw": 4}, "options": {"gpu": "RTX 3060"}}, "/config/bpw"), ({**M, "config": {"ctx": 512}}, "/config/ctx"), ({**M, "config": {"bpw": 4, "ctx": 512}}, "/config/ctx"),
    ({**M, "config": {"fit": "4G", "ctx": 0}}, "/config/ctx"), ({**M, "config": {"fit": "4G"}, "options": {"ctx": "x"}}, "/options/ctx"), ({**M, "config": {"budget_time": "1m"}}, "/config/budget_time"), ({**M, "config": {"bpw": 4, "budget_time": "soon"}}, "/config/budget_time"),
    ({**M, "config": {"bpw": 4}, "gguf_quant_types": ["Q8_0"]}, "/gguf_quant_types"), ({**M, "config": {"bpw": 4}, "outputs": [{"type": "Q8_0"}]}, "/outputs"), ({**M, "config": {"bpw": 4}, "output_formats": ["gptq"]}, "/output_formats"),
    ({**M, "options": {"memory": "1\n2"}}, "/options/memory"), ({**M, "options": {"memory": "1" * 5000}}, "/options/memory"), ({**M, "options": {"a/b": True}}, "/options/a~1b"),
]


class Bodies(Case):
    def test_bad_json(self):
        self.assertGreaterEqual(len(BAD_JSON), 60)
        for body in BAD_JSON:
            answer = s.request("POST", JOBS, body, {"Content-Type": "application/json"})
            self.assertEqual(answer.status, 400, (body, answer))
            self.assertEqual(answer.json()["type"], V1 + "/problems/bad-json")

    def test_bad_bodies(self):
        self.assertGreaterEqual(len(BAD_BODIES), 60)
        for address in (JOBS, V1 + "/quantize/estimate"):
            for body, pointer in BAD_BODIES:
                answer = s.post(address, body)
                self.assertEqual(answer.status, 422, (body, answer))
                self.assertIn(pointer, answer.pointers(), body)
        self.assertEqual(s.get(JOBS).json()["total"], 0, "nothing was queued")

    def test_every_fault_is_named(self):
        answer = s.post(JOBS, {**M, "gguf_quant_types": ["Q9"], "config": {"threads": 5000}, "priority": 500})
        self.assertEqual(sorted(answer.pointers()), ["/config/threads", "/priority"])

    def test_long_names_are_cut(self):
        for name in ("\u00e4" * 100, "x" + "\u00e4" * 400, "\U0001f600" * 70, "~/" * 300, "n" * 5000):
            for body in ({**M, name: 1}, {**M, "config": {name: 1}}, {**M, "options": {name: True}}, {**M, "gguf_quant_types": [name]}):
                answer = s.post(JOBS, body)
                self.assertEqual((answer.status, len(answer.json()["errors"])), (422, 1), (name[:5], answer))
                self.assertLess(len(answer.body), 3000)

    def test_names_that_are_near(self):
        for body, words in (({"outputs": [{"type": "nf5"}]}, "did you mean nf4?"), ({"outputs": [{"type": "Q4_KM"}]}, "did you mean Q4_K_M?"), ({"gguf_quant_types": ["Q5_KM"]}, "did you mean Q5_K_M?"),
                            ({"outputs": [{"type": "nf4", "format": "safetensor"}]}, "did you mean safetensors?"), ({"output_formats": ["ggfu"]}, "did you mean gguf?"), ({"output_formats": ["nf44"]}, "did you mean nf4?"),
                            ({"outputs": [{"type": "nf4", "options": {"blok": 64}}]}, "did you mean block?"), ({"outputs": [{"type": "nf4", "options": {"zzzzzz": 64}}]}, "it has block"),
                            ({"outputs": [{"type": "nf4", "options": {"block": 65}}]}, "expected 32, 64, 128, 256, 512, 1024, 2048 or 4096, got 65"),
                            ({"outputs": [{"type": "Q8_0", "format": "safetensors"}]}, "Q8_0 is a type of the format gguf, not of safetensors"), ({"outputs": [{"type": "Q8_0:x=1"}]}, "Q8_0 has no options")):
            answer = s.post(JOBS, {**M, **body})
            self.assertIn(words, answer.json()["errors"][0]["detail"], body)
        self.assertIn("did you mean gguf?", s.get(V1 + "/quantize/formats/ggfu/types").json()["detail"])

    def test_not_built(self):
        for body in ({**M, "output_formats": ["onnx"]}, {**M, "output_formats": ["gguf", "exl2"]}):
            self.assertEqual(s.post(JOBS, body).json()["type"], V1 + "/problems/not-built")

    def test_content_types(self):
        body = json.dumps({**M, "gguf_quant_types": ["Q8_0"]}).encode()
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx", "", "text/json"):
            self.assertEqual(s.request("POST", JOBS + "?dry_run=true", body, {"Content-Type": kind}).status, 415, kind)
        self.assertEqual(s.request("POST", JOBS + "?dry_run=true", body, {"Content-Type": "Application/JSON; charset=utf-8"}).status, 200)

    def test_too_large(self):
        body = b'{"description": "' + b"x" * (1 << 20) + b'"}'
        answer = s.request("POST", JOBS, body, {"Content-Type": "application/json"})
        self.assertEqual(answer.status, 413)
        head = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: " + b"y" * 40000 + b"\r\n\r\n"
        self.assertIn(b" 431 ", s.raw(head).split(b"\r\n")[0])

    def test_it_still_serves(self):
        self.assertEqual(s.get("/readyz").status, 200)


class Sites(Case):
    def test_hosts(self):
        good = ("localhost", f"localhost:{s.port}", "127.0.0.1", f"127.0.0.1:{s.port}", "[::1]", f"[::1]:{s.port}", "LOCALHOST", "localhost.")
        bad = ("example.org", "localhost.example.org", "127.0.0.1.example.org", "10.0.0.1", "evil:8700", "localhost@evil", "0.0.0.0", "xlocalhost", "[::2]",
               "localhost:evil", "localhost:80:80", "::1", "[::1", "127.1", "2130706433", "halftone")
        for host in good:
            self.assertEqual(s.get("/healthz", headers={"Host": host}).status, 200, host)
        for host in bad:
            for path in ("/healthz", JOBS, "/"):
                answer = s.get(path, headers={"Host": host}, judge=False)
                self.assertIn(answer.status, (400, 403), (host, path))
        other = Service("--allow-host", "quant.example.org")
        self.assertEqual(other.get("/healthz", headers={"Host": "quant.example.org:443"}).status, 200)
        self.assertEqual(other.get("/healthz", headers={"Host": "example.org"}).status, 403)
        self.assertEqual(other.close(), 0)

    def test_other_sites(self):
        body = {**M, "gguf_quant_types": ["Q8_0"]}
        own = f"http://127.0.0.1:{s.port}"
        bad = ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://127.0.0.1:1"}, {"Origin": "http://localhost:3000"}, {"Origin": own + ".evil.example"},
               {"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": own, "Sec-Fetch-Site": "cross-site"}, {"Origin": "file://"}, {"Origin": ""})
        for headers in bad:
            for method, path in (("POST", JOBS + "?dry_run=true"), ("DELETE", JOBS + "/" + "0" * 32), ("POST", JOBS + "/" + "0" * 32 + "/cancel"),
                                 ("PATCH", V1 + "/models/" + "0" * 32), ("PUT", V1 + "/uploads/x.gguf")):
                answer = s.request(method, path, body if method in ("POST", "PATCH") else None, headers)
                self.assertEqual(answer.status, 403, (headers, path))
        for headers in ({"Origin": own}, {"Origin": own, "Sec-Fetch-Site": "same-origin"}, {"Sec-Fetch-Site": "none"}, {}):
            self.assertEqual(s.request("POST", JOBS + "?dry_run=true", body, headers).status, 200, headers)
        self.assertEqual(s.get(V1 + "/system", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}).status, 403)
        self.assertEqual(s.get("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}).status, 200)
        self.assertNotIn("access-control-allow-origin", s.get(JOBS, headers={"Origin": own}).headers)


class Tokens(Case):
    def command(self, *arguments):
        return subprocess.run([PROGRAM, "serve", *arguments], capture_output=True, text=True, timeout=STILL)

    def test_scopes(self):
        data = tempfile.mkdtemp(prefix="halftone-test-")
        tokens = {}
        for scope in ("read", "submit", "admin"):
            made = self.command("--data", data, "--new-token", "the " + scope, "--scope", scope)
            self.assertEqual(made.returncode, 0, made)
            tokens[scope] = made.stdout.strip()
            self.assertRegex(tokens[scope], r"^ht_[0-9a-f]{64}$")
        self.assertEqual(self.command("--data", data, "--new-token", "the read").returncode, 2)
        self.assertEqual(self.command("--data", data, "--new-token", "x", "--scope", "all").returncode, 2)
        for folder, _, files in os.walk(data):
            for name in files:
                with open(os.path.join(folder, name), "rb") as f:
                    content = f.read()
                for token in tokens.values():
                    self.assertNotIn(token[3:].encode(), content, "only hashes are kept")
        one = Service(data=data, models=[root])
        body = {**M, "gguf_quant_types": ["Q8_0"]}
        wanted = {("GET", JOBS): "read", ("GET", V1 + "/system"): "read", ("GET", "/metrics"): "read", ("GET", V1 + "/local"): "read",
                  ("POST", JOBS): "submit", ("POST", V1 + "/quantize/estimate"): "submit", ("PATCH", V1 + "/models/x"): "submit",
                  ("DELETE", V1 + "/models/x"): "admin", ("GET", V1 + "/tokens"): "admin", ("POST", V1 + "/tokens"): "admin"}
        order = ["read", "submit", "admin"]
        for (method, path), least in wanted.items():
            sent = body if method in ("POST", "PATCH") else None
            self.assertEqual(one.request(method, path, sent).status, 401, path)
            for scope in order:
                status = one.request(method, path, sent, token=tokens[scope]).status
                if order.index(scope) < order.index(least):
                    self.assertEqual(status, 403, (method, path, scope))
                else:
                    self.assertNotIn(status, (401, 403), (method, path, scope))
        for path in ("/healthz", "/readyz", "/", V1 + "/openapi.json", V1 + "/session"):
            self.assertEqual(one.get(path).status, 200, path)
        self.assertIn("www-authenticate", one.get(JOBS).headers)
        self.session(one, tokens)
        self.by_api(one, tokens["admin"])
        self.assertFalse([line for line in one.lines if any(t[3:] in json.dumps(line) for t in tokens.values())], "no token in the log")
        self.assertEqual(one.stop(), 0)
        self.assertEqual(self.command("--data", data, "--remove-token", "the read").returncode, 0)
        self.assertNotIn("the read", self.command("--data", data, "--list-tokens").stdout)
        shutil.rmtree(data)

    def session(self, one, tokens):
        url = V1 + "/session"
        self.assertEqual(one.get(url).json(), {"authenticated": False, "token_required": True, "scope": None, "name": None})
        answer = one.post(url, {"token": tokens["submit"]})
        cookie = answer.headers["set-cookie"]
        self.assertIn("HttpOnly; SameSite=Strict; Path=/", cookie)
        self.assertNotIn(tokens["submit"][3:], cookie)
        jar = {"Cookie": cookie.split(";")[0]}
        self.assertEqual(one.get(url, headers=jar).json()["scope"], "submit")
        self.assertEqual(one.get(JOBS, headers=jar).status, 200)
        self.assertEqual(one.request("POST", JOBS + "?dry_run=true", {**M, "gguf_quant_types": ["Q8_0"]}, {**jar, "Origin": "http://evil.example"}).status, 403)
        self.assertEqual(one.delete(V1 + "/models/x", headers=jar).status, 403)
        self.assertEqual(one.delete(url, headers=jar).status, 204)
        self.assertEqual(one.get(JOBS, headers=jar).status, 401)
        for wrong in ({}, {"token": 1}, {"token": ""}, {"token": "x" * 257}, {"token": "x", "more": 1}):
            self.assertEqual(one.post(url, wrong).status, 422, wrong)

    def by_api(self, one, admin):
        made = one.post(V1 + "/tokens", {"name": "made here", "scope": "read"}, token=admin).json()
        self.assertEqual(one.get(JOBS, token=made["token"]).status, 200)
        listed = one.get(V1 + "/tokens", token=admin)
        self.assertIn("made here", [t["name"] for t in listed.json()["tokens"]])
        self.assertNotIn(made["token"][3:].encode(), listed.body)
        self.assertEqual(one.post(V1 + "/tokens", {"name": "made here", "scope": "read"}, token=admin).status, 409)
        for wrong in ({}, {"name": "x"}, {"name": "x", "scope": "all"}, {"name": "", "scope": "read"}):
            self.assertEqual(one.post(V1 + "/tokens", wrong, token=admin).status, 422, wrong)
        cookie = one.post(V1 + "/session", {"token": made["token"]}).headers["set-cookie"].split(";")[0]
        self.assertEqual(one.delete(f"{V1}/tokens/{made['id']}", token=admin).status, 204)
        self.assertEqual(one.delete(f"{V1}/tokens/{made['id']}", token=admin).status, 404)
        self.assertEqual(one.get(JOBS, headers={"Cookie": cookie}).status, 401, "a session ends with its token")

    def test_guessing_is_slowed(self):
        one = Service()
        made = one.post(V1 + "/tokens", {"name": "only", "scope": "admin"}).json()
        self.assertEqual(one.get(JOBS).status, 401, "with the first token, one is wanted")
        guessed = until_limited(lambda n: one.get(JOBS, token=f"ht_{n:064x}"))
        self.assertEqual([a.status for a in guessed[:9]], [401] * 9)
        self.assertEqual(guessed[-1].status, 429)
        tried = until_limited(lambda n: one.post(V1 + "/session", {"token": "ht_x"}))
        self.assertLess(len(tried), 9, "guesses are counted together, wherever they are made")
        limited = tried[-1]
        self.assertEqual(limited.status, 429)
        self.assertGreaterEqual(int(limited.headers["retry-after"]), 1)
        self.assertEqual(one.get("/healthz").status, 200)
        self.assertIn(one.get(JOBS, token=made["token"]).status, (200, 429))
        self.assertEqual(one.close(), 0)

    def test_rate(self):
        one = Service("--rate-limit", "5")
        wire = Wire(("127.0.0.1", one.port))
        wire.send(f"GET {JOBS} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode() * 200)  # at once: the client costs no time
        answers = [wire.answer() for _ in range(200)]
        wire.close()
        self.assertEqual([a.status for a in answers[:10]], [200] * 10)
        limited = [a for a in answers if a.status == 429]
        self.assertGreater(len(limited), 0)
        self.assertEqual({a.one("retry-after") for a in limited}, {"1"})
        self.assertEqual([one.get("/healthz").status for _ in range(30)], [200] * 30, "probes are not counted")
        time.sleep(1.1)
        self.assertEqual(one.get(JOBS).status, 200)
        self.assertEqual(one.close(), 0)

    def test_queue_is_bounded(self):
        one = Service("--max-queued", "1", models=[root])
        body = {"source_models": ["good", os.path.join(root, "good")], "gguf_quant_types": ["Q8_0"]}
        answer = one.post(JOBS, body)
        self.assertEqual((answer.status, answer.headers.get("retry-after")), (429, "60"))
        self.assertEqual(one.close(), 0)

    def test_upload_limit(self):
        one = Service("--upload-limit", "1K")
        self.assertEqual(one.request("PUT", V1 + "/uploads/a.gguf", b"GGUF" + bytes(2000)).status, 413)
        self.assertEqual(one.close(), 0)
        two = Service("--disk-reserve", "900T")
        self.assertEqual(two.request("PUT", V1 + "/uploads/a.gguf", b"GGUF" + bytes(2000)).status, 507)
        self.assertEqual(two.close(), 0)


BAD_YAML = ["port: x", "port: -1", "port: 70000", "port: 1.5", "port: 8700x", "port:", "port: []", "port: {}", "port: 1\nport: 2", "colour: red", "- port: 1", "[port]", "just a text", "1",
            "port: *a", "x: &a 1", "port: &a 1", "port: !!int 1", "port: !x 1", "<<: {port: 1}", "<<: *a", "port: 1\n---\nport: 2", "port: 1\n...\nport: 2\n", "{port: 1", "port: [1", "port: 'x", 'port: "x', 'port: "\\q"',
            "port: 1\n bad: 2", "\tport: 1", "port: 1\n\tdata: x", "? port", "? {a: b}\n: 1", "[a]: 1", "models: {a: b}", "models: [[a]]", "models: [{a: b}]", "models: [/nonexistent-folder]",
            "models: ['']", "host: example.org", "host: 300.1.1.1", "host: [127.0.0.1]", "host: ''", "jobs: 0", "jobs: 65", "jobs: many", "memory-limit: lots", "memory-limit: -1", "memory-limit: 5X",
            "memory-limit: 1e99", "log-level: loud", "rate-limit: fast", "connections: 1", "http-threads: 0", "http-threads: 65", "%YAML 9.9\n---\nport: 1", "%TAG ! x\nport: 1", "port: 1\x00", "\x01port: 1",
            "port: @x", "port: `x", "help: true", "config: x", "new-token: x", "a" * 100 + ": 1", "\ud7ff: 1", "port: |\n 1\n x", "- - - -", "!!map {port: 1}", "&a {port: 1}", "upload-limit: ''"]
GOOD_YAML = {"port: 0": {}, "": {}, "# nothing": {}, "{port: 0, jobs: 2}": {"jobs": 2}, "jobs: '3'": {"jobs": 3}, "--- \njobs: 2\n...": {"jobs": 2}, "allow-host: [a, b]": {}, "allow-host: a": {},
             "memory-limit: 4G": {"memory": 4 * 10**9}}


class Settings(Case):
    def run_with(self, text, *more, environment=None):
        with tempfile.TemporaryDirectory(prefix="halftone-test-") as folder:
            path = os.path.join(folder, "serve.yaml")
            with open(path, "wb") as f:
                f.write(text if isinstance(text, bytes) else text.encode())
            return subprocess.run([PROGRAM, "serve", "--config", path, "--data", os.path.join(folder, "data"), *more], capture_output=True, text=True,
                                  timeout=STILL, env={**os.environ, **(environment or {})})

    def test_bad_yaml(self):
        self.assertGreaterEqual(len(BAD_YAML), 60)
        for text in BAD_YAML + [b"port: \xff", b"\xff\xfe\x00", b"port: 1\n" + b"#" * (1 << 20), b"[" * 5000]:
            run = self.run_with(text)
            self.assertEqual(run.returncode, 2, (text[:80], run))
            self.assertTrue(run.stderr.startswith("halftone serve: "), run.stderr)
            self.assertEqual(run.stdout, "")

    def test_lines_are_named(self):
        self.assertIn("serve.yaml, line 3: there is no setting", self.run_with("port: 0\njobs: 1\ncolour: red\n").stderr)

    def test_good_yaml(self):
        for text, means in GOOD_YAML.items():
            with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
                f.write(text)
                f.flush()
                one = Service("--config", f.name)
                system = one.get(V1 + "/system").json()
                self.assertEqual(system["workers"]["slots"], means.get("jobs", 1), text)
                self.assertEqual(system["memory"]["job_limit_bytes"], means.get("memory"), text)
                self.assertEqual(one.close(), 0)

    def test_nearer_wins(self):
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as f:
            f.write(f"jobs: 2\nmodels: [{base}]\n")
            f.flush()
            for arguments, environment, jobs, roots in (((), {}, 2, [base]), ((), {"HALFTONE_JOBS": "3", "HALFTONE_MODELS": f"{root}:{base}"}, 3, [root, base]),
                                                        (("--jobs", "4", "--models", root), {"HALFTONE_JOBS": "3", "HALFTONE_MODELS": base}, 4, [root]),
                                                        (("--jobs=5",), {"HALFTONE_JOBS": "3"}, 5, [base])):
                one = Service("--config", f.name, *arguments, environment=environment)
                system = one.get(V1 + "/system").json()
                self.assertEqual((system["workers"]["slots"], system["roots"]), (jobs, roots))
                self.assertEqual(one.close(), 0)

    def test_bad_arguments(self):
        for arguments in (("--colour",), ("--port",), ("--port", "x"), ("--port=70000",), ("x",), ("--host", "example.org"), ("--models", "/nonexistent-folder"), ("--scope", "read"),
                          ("--config", "/nonexistent-file"), ("--memory-limit", "x"), ("--jobs", "0"), ("--log-level", "loud"), ("-x",), ("--allow-host", "")):
            run = subprocess.run([PROGRAM, "serve", "--data", os.path.join(base, "none"), *arguments], capture_output=True, text=True, timeout=STILL)
            self.assertEqual((run.returncode, run.stdout), (2, ""), arguments)
        bad = subprocess.run([PROGRAM, "serve"], capture_output=True, text=True, timeout=STILL, env={**os.environ, "HALFTONE_PORT": "x"})
        self.assertEqual(bad.returncode, 2)
        self.assertIn("HALFTONE_PORT", bad.stderr)

    def test_beyond_loopback_wants_a_token(self):
        data = tempfile.mkdtemp(prefix="halftone-test-")
        for host in ("0.0.0.0", "::", "10.1.2.3"):
            run = subprocess.run([PROGRAM, "serve", "--host", host, "--port", "0", "--data", data], capture_output=True, text=True, timeout=STILL)
            self.assertEqual(run.returncode, 2, host)
            self.assertIn("--new-token", run.stderr)
        subprocess.run([PROGRAM, "serve", "--new-token", "a", "--scope", "admin", "--data", data], check=True, capture_output=True)
        one = Service("--host", "0.0.0.0", data=data)
        self.assertEqual(one.get(JOBS).status, 401)
        self.assertEqual(one.get("/healthz", headers={"Host": "10.0.0.7"}).status, 200, "an address cannot be rebound")
        self.assertEqual(one.get("/healthz", headers={"Host": "example.org"}).status, 403)
        self.assertEqual(one.stop(), 0)
        shutil.rmtree(data)

    def test_help(self):
        run = subprocess.run([PROGRAM, "serve", "--help"], capture_output=True, text=True)
        self.assertEqual(run.returncode, 0)
        for option in ("--host", "--port", "--data", "--models", "--jobs", "--memory-limit", "--allow-host", "--new-token", "--config"):
            self.assertIn(option, run.stdout)

    def test_one_service_a_folder(self):
        run = subprocess.run([PROGRAM, "serve", "--port", "0", "--data", s.data], capture_output=True, text=True, timeout=STILL)
        self.assertEqual((run.returncode, run.stdout), (1, ""))


if __name__ == "__main__":
    unittest.main()
