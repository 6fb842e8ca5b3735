#!/usr/bin/env python3
"""The program against a hub on this machine: tests/hub/test_client.py HALFTONE [-v] [TestCase.name …]."""
import filecmp
import hashlib
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "lib"))
import fake_hub  # noqa: E402
import reports  # noqa: E402

HALFTONE = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else "halftone"
MODEL = HERE.parent.parent / "examples" / "model"
FILES = fake_hub.read_folder(MODEL)
NEEDED = ["README.md", "chat_template.jinja", "config.json", "generation_config.json", "model.safetensors",
          "tokenizer.json", "tokenizer_config.json"]
LEFTOVERS = {"training.json": b"{}", "optimizer.pt": b"x" * 200_000, "model.ckpt": b"x", "runs/events.out": b"x",
             "checkpoint-10/model.safetensors": b"x", "flax_model.msgpack": b"x", "logs.txt": b"x"}
BIG = "model.safetensors"


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.hub = fake_hub.FakeHub()
        cls.hub.add("org/model", FILES | LEFTOVERS)
        cls.hub.start()

    @classmethod
    def tearDownClass(cls):
        cls.hub.stop()

    def setUp(self):
        self.hub.reset()
        self.folder = tempfile.TemporaryDirectory(prefix="halftone-hub-")
        self.addCleanup(self.folder.cleanup)
        self.at = pathlib.Path(self.folder.name)
        self.cache = self.at / "home" / "hub"

    def env(self, **more):
        env = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "HUGGING"))
               and k.lower() not in ("http_proxy", "https_proxy", "all_proxy", "no_proxy")}
        env |= {"HF_HOME": str(self.at / "home"), "HF_ENDPOINT": self.hub.url, "HALFTONE_HUB_TRIES": "3",
                "HF_HUB_DOWNLOAD_TIMEOUT": "5"}
        return env | more

    def run_it(self, *args, status=0, **env):
        r = subprocess.run([HALFTONE, *args], env=self.env(**env), cwd=self.at, capture_output=True, text=True, timeout=fake_hub.LAST_RESORT)
        self.assertEqual(r.returncode, status, f"{args}: {r.stdout[-500:]}\n{r.stderr[-1500:]}")
        self.assertNotIn("hf_right", r.stdout + r.stderr)  # the token is shown nowhere
        self.assertNotIn("signature", r.stderr)
        report = reports.of_output(r.stdout)
        if report:
            self.assertEqual(reports.errors(report), [])
        return r

    def pull(self, name="org/model", *args, **env):
        lines = [json.loads(x) for x in self.run_it("pull", name, "--json", *args, **env).stdout.splitlines()]
        return lines[-1], lines[:-1]

    def fails(self, *args, says, status=3, **env):
        r = self.run_it(*args, status=status, **env)
        self.assertRegex(r.stderr, says)
        return r

    def repo(self, name="org/model"):
        return self.cache / ("models--" + name.replace("/", "--"))

    def blobs(self, name="org/model"):
        folder = self.repo(name) / "blobs"
        return sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []

    def check_snapshot(self, name="org/model", files=None):
        """Every file of the snapshot is a relative link to a blob that has its hash for a name."""
        repo = self.hub.repos[name]
        folder = self.repo(name) / "snapshots" / repo.commit
        found = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if not p.is_dir())
        self.assertEqual(found, sorted(files or NEEDED))
        for file in found:
            link = folder / file
            self.assertTrue(link.is_symlink())
            self.assertEqual(os.readlink(link), "../" * (2 + file.count("/")) + "blobs/" + repo.etag(file))
            self.assertEqual(link.read_bytes(), repo.files[file])
        return folder

    def asked(self, **want):
        return [r for r in self.hub.requests if all(r[k] == v or (callable(v) and v(r[k])) for k, v in want.items())]


class Pull(Case):
    def test_whole(self):
        answer, events = self.pull()
        folder = self.check_snapshot()
        self.assertEqual(answer["path"], str(folder))
        self.assertEqual(answer["snapshot"], str(folder))
        self.assertEqual(answer["commit"], self.hub.repos["org/model"].commit)
        self.assertEqual(sorted(f["name"] for f in answer["files"]), NEEDED)
        self.assertEqual((self.repo() / "refs" / "main").read_text(), answer["commit"])
        last = [e for e in events if e["step"] == "download"][-1]
        self.assertEqual((last["event"], last["unit"], last["done"]), ("progress", "bytes", last["total"]))
        self.assertTrue((self.repo() / ".no_exist" / answer["commit"] / "merges.txt").is_file())
        locks = list((self.cache / ".locks" / "models--org--model").iterdir())
        self.assertEqual(len(locks), len(NEEDED))

    def test_progress_is_of_the_whole(self):
        self.hub.add("org/shards", shards())
        self.hub.faults["model-00001-of-00002.safetensors"] = {"speed": 8_000_000}
        _, events = self.pull("org/shards")
        downloads = [e for e in events if e["step"] == "download"]
        self.assertEqual(len({e["total"] for e in downloads}), 1)
        done = [e["done"] for e in downloads]
        self.assertEqual(done, sorted(done))
        self.assertGreater(len(set(done)), 2)
        self.assertTrue(any(e["rate"] > 0 and e["seconds_left"] >= 0 for e in downloads))

    def test_again_costs_one_request(self):
        self.pull()
        self.hub.reset()
        self.pull()
        self.assertEqual(len(self.hub.requests), 1)

    def test_token_goes_to_the_endpoint_alone(self):
        self.pull(HF_TOKEN="hf_right")
        self.assertTrue(self.asked(host="store"))
        self.assertFalse(self.asked(host="store", token=lambda t: t is not None))
        self.assertFalse(self.asked(host="endpoint", token=None))

    def test_token_of_the_file_and_of_the_other_name(self):
        (self.at / "home").mkdir()
        (self.at / "home" / "token").write_text("hf_right\n")
        self.pull()
        self.assertTrue(self.asked(host="endpoint", token="Bearer hf_right"))
        self.hub.reset()
        self.pull(HUGGINGFACE_TOKEN=" hf_right ", HF_HOME=str(self.at / "other"))
        self.assertTrue(self.asked(host="endpoint", token="Bearer hf_right"))

    def test_cache_of_the_variable(self):
        answer, _ = self.pull(HF_HUB_CACHE=str(self.at / "elsewhere"))
        self.assertTrue(answer["path"].startswith(str(self.at / "elsewhere" / "models--org--model")))

    def test_revision(self):
        repo = self.hub.repos["org/model"]
        repo.revisions["refs/pr/1"] = repo.commit
        self.pull("org/model@refs/pr/1")
        self.assertEqual((self.repo() / "refs/refs/pr/1").read_text(), repo.commit)
        self.pull("org/model@" + repo.commit)
        self.fails("pull", "org/model@v9", says='no branch, tag or commit "v9"')

    def test_include(self):
        answer, _ = self.pull("org/model", "--include", "*.txt", "--include", "tok*")
        self.assertEqual(sorted(f["name"] for f in answer["files"]), ["logs.txt", "tokenizer.json", "tokenizer_config.json"])
        self.fails("pull", "org/model", "--include", "*.exe", says="none of its")

    def test_names(self):
        for name in ("model", "org/model/x", "org/../x", "org/model@../x", "org/model:../x", "-x/y"):
            self.run_it("pull", "--", name, status=2)

    def test_list_without_sizes(self):
        self.hub.add("org/silent", FILES).silent = True
        self.pull("org/silent")
        self.check_snapshot("org/silent")
        self.assertTrue(self.asked(method="HEAD", host="endpoint"))
        self.assertFalse(self.asked(method="HEAD", host="store"))

    def test_renamed(self):
        self.hub.renamed["old/model"] = "org/model"
        self.pull("old/model", HF_TOKEN="hf_right")
        self.assertTrue((self.repo("old/model") / "blobs").is_dir())
        self.assertFalse(self.asked(host="endpoint", token=None))

    def test_what_others_fetched_is_used(self):
        repo = self.hub.repos["org/model"]
        blob = self.repo() / "blobs" / repo.etag(BIG)
        blob.parent.mkdir(parents=True)
        blob.write_bytes(repo.files[BIG])
        self.pull()
        self.assertFalse(self.asked(host="store"))
        self.check_snapshot()

    def test_several_at_once(self):
        four = threading.Barrier(4, timeout=fake_hub.LAST_RESORT)  # no content comes before all four are asked for
        for file in ("a.bin", "b.bin", "c.bin", "d.bin"):
            self.hub.faults[file] = {"together": four}
        self.hub.add("org/parts", {f"{x}.bin": x.encode() * 400_000 for x in "abcd"})
        self.pull("org/parts", "--include", "*.bin", HF_HUB_DOWNLOAD_TIMEOUT="60", HALFTONE_HUB_TRIES="1")
        self.assertFalse(four.broken)

    def test_two_processes(self):
        self.hub.faults[BIG] = {"speed": 8_000_000}
        both = [subprocess.Popen([HALFTONE, "pull", "org/model"], env=self.env(), cwd=self.at, stdout=subprocess.DEVNULL)
                for _ in range(2)]
        self.assertEqual([p.wait(fake_hub.LAST_RESORT) for p in both], [0, 0])
        self.check_snapshot()
        self.assertEqual(len(self.asked(host="store", method="GET")), 1)

    def test_gguf(self):
        self.run_it("quantize", str(MODEL), "-t", "Q8_0,Q4_0", "-o", "out")
        q8, q4 = (self.at / "out" / f"model-{t}.gguf" for t in ("Q8_0", "Q4_0"))
        self.hub.add("org/model-GGUF", {q8.name: q8.read_bytes(), q4.name: q4.read_bytes(), "README.md": b"#"})
        self.fails("pull", "org/model-GGUF", says="say which, as org/model-GGUF:FILE.gguf", status=2)
        answer, _ = self.pull("org/model-GGUF:model-Q4_0.gguf")
        self.assertTrue(filecmp.cmp(answer["path"], q4, shallow=False))
        self.fails("pull", "org/model-GGUF:none.gguf", says='no file "none.gguf"')
        self.run_it("inspect", "org/model-GGUF:model-Q4_0.gguf")
        self.hub.add("org/one-GGUF", {q8.name: q8.read_bytes()})
        r = self.run_it("quantize", "org/one-GGUF", "-t", "Q4_0", "--allow-requantize", "-o", "again")
        self.assertTrue((self.at / "again" / "model-Q4_0.gguf").is_file(), r.stdout)

    def test_split_gguf_and_index(self):
        self.run_it("convert", str(MODEL), "-t", "F16", "--split-max-size", "3M", "-o", "parts")
        parts = {p.name: p.read_bytes() for p in (self.at / "parts").iterdir()}
        self.assertGreater(len(parts), 2)
        self.hub.add("org/split-GGUF", parts)
        answer, _ = self.pull("org/split-GGUF")
        self.assertEqual(sorted(f["name"] for f in answer["files"]), sorted(parts))
        self.assertTrue(answer["path"].endswith(f"-00001-of-{len(parts):05d}.gguf"))
        self.run_it("quantize", "org/split-GGUF", "-t", "Q8_0", "-o", "a", "--no-cache", HF_HUB_CACHE=str(self.at / "new"))
        self.run_it("quantize", str(self.at / "parts" / answer["path"].split("/")[-1]), "-t", "Q8_0", "-o", "b")
        self.assertEqual([p.read_bytes() for p in (self.at / "a").glob("*.gguf")], [p.read_bytes() for p in (self.at / "b").glob("*.gguf")])


def shards():
    """The example in two safetensors files with an index."""
    data = FILES[BIG]
    n = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    names, parts, index = sorted(header), {}, {}
    for i, group in enumerate((names[:len(names) // 2], names[len(names) // 2:])):
        head, body = {}, b""
        for name in group:
            a, b = header[name]["data_offsets"]
            head[name] = header[name] | {"data_offsets": [len(body), len(body) + b - a]}
            body += data[8 + n + a:8 + n + b]
            index[name] = f"model-{i + 1:05d}-of-00002.safetensors"
        text = json.dumps(head).encode()
        parts[f"model-{i + 1:05d}-of-00002.safetensors"] = len(text).to_bytes(8, "little") + text + body
    parts["model.safetensors.index.json"] = json.dumps({"metadata": {}, "weight_map": index}).encode()
    return {k: v for k, v in FILES.items() if k != BIG} | parts


class Refused(Case):
    def test_gated(self):
        self.hub.add("org/gated", FILES, gated="manual")
        self.fails("pull", "org/gated", says=r"gated: accept its terms at \S+/org/gated, then set HF_TOKEN")
        self.pull("org/gated", HF_TOKEN="hf_right")
        self.hub.add("org/never", FILES, gated="refused")
        self.fails("pull", "org/never", HF_TOKEN="hf_right", says="owner has no access: ask for it at")

    def test_missing_and_private(self):
        self.hub.add("org/private", FILES, private=True)
        self.fails("pull", "org/none", says="no such model, and there is no such folder here.*set HF_TOKEN")
        self.fails("pull", "org/private", says="no such model.*private")
        self.fails("pull", "org/none", HF_TOKEN="hf_right", says="this token may not read it")
        self.pull("org/private", HF_TOKEN="hf_right")
        self.fails("pull", "org/model", HF_TOKEN="hf_wrong", says="rejects this token")
        r = self.run_it("pull", "org/none", "--json", status=3)
        self.assertEqual(json.loads(r.stdout)["code"], "HT_ERR_NOT_FOUND")
        self.assertFalse((self.cache / "models--org--none").exists())

    def test_no_weights(self):
        self.hub.add("org/empty", {"README.md": b"#"})
        self.fails("pull", "org/empty", says="holds no weights")
        self.hub.add("org/onnx", {"config.json": b"{}", "model.onnx": b"x"})
        self.fails("pull", "org/onnx", says="ONNX")

    def test_pointer_instead_of_weights(self):
        data = b"version https://git-lfs.github.com/spec/v1\noid sha256:%064d\nsize 12345\n" % 7
        self.hub.add("org/pointer", FILES | {BIG: data})
        self.fails("pull", "org/pointer", says="Git LFS pointer")
        self.assertNotIn(fake_hub.git_name(data), self.blobs("org/pointer"))

    def test_hostile_list(self):
        names = ["../../x", "/etc/x", "a/../../x", "a\\b", "", "a//b", "\x01", "./config.json", "a" * 600]
        files = FILES | {}
        repo = self.hub.add("org/hostile", files)
        entries = json.loads(repo.list())
        entries["siblings"] += [{"rfilename": n, "size": 1, "blobId": fake_hub.git_name(b"x")} for n in names]
        entries["siblings"] += [{"rfilename": "merges.txt", "size": 1, "blobId": "../../../../x"}]
        repo.listing = json.dumps(entries).encode()
        r = self.run_it("pull", "org/hostile", status=3)  # its ETag is no name either: asked for, and there is none
        self.assertIn("9 files of org/hostile have names that are no paths", r.stderr)
        self.assertIn('no file "merges.txt"', r.stderr)
        entries["siblings"].pop()
        repo.listing = json.dumps(entries).encode()
        self.run_it("pull", "org/hostile")
        self.check_snapshot("org/hostile")
        outside = [p for p in self.at.rglob("*") if p.name == "x"]
        self.assertEqual(outside, [])
        for text in (b"", b"[]", b"{", b'{"sha": "../../x", "siblings": []}', b'{"siblings": []}', b'{"sha": 5}',
                     json.dumps({"sha": repo.commit, "siblings": [{"rfilename": "a"}, {"rfilename": "a"}]}).encode(),
                     json.dumps({"sha": repo.commit, "siblings": [{}]}).encode(), b"[" * 100_000):
            repo.listing = text
            self.run_it("pull", "org/hostile", status=3)


class Broken(Case):
    def test_cut_connections_go_on(self):
        self.hub.faults[BIG] = {"cuts": [1000, 5_000_000, 5_000_001, 16_000_000]}
        self.pull()
        self.check_snapshot()
        ranges = [r["range"] for r in self.asked(host="store", method="GET")]
        self.assertEqual(len(ranges), 5)
        self.assertIsNone(ranges[0])
        self.assertTrue(all(re.fullmatch(r"bytes=\d+-", r) and int(r[6:-1]) > 0 for r in ranges[1:]))
        self.assertTrue(all(r["if_range"] for r in self.asked(host="store") if r["range"]))

    def test_killed_and_begun_again(self):
        self.hub.faults[BIG] = {"speed": 4_000_000}
        p = subprocess.Popen([HALFTONE, "pull", "org/model"], env=self.env(), cwd=self.at, stdout=subprocess.DEVNULL)
        part = self.repo() / "blobs" / (self.hub.repos["org/model"].etag(BIG) + ".incomplete")
        while not (part.exists() and part.stat().st_size > 1_000_000):
            time.sleep(0.05)
        p.kill()
        p.wait()
        had = part.stat().st_size
        self.hub.reset()
        self.pull()
        self.check_snapshot()
        self.assertFalse(part.exists())
        self.assertGreaterEqual(int(self.asked(host="store")[0]["range"][6:-1]), had)

    def test_interrupted(self):
        self.hub.faults[BIG] = {"speed": 2_000_000}
        p = subprocess.Popen([HALFTONE, "pull", "org/model"], env=self.env(), cwd=self.at, stderr=subprocess.PIPE, text=True,
                             stdout=subprocess.DEVNULL)
        while not self.asked(host="store"):
            time.sleep(0.05)
        time.sleep(0.3)
        p.send_signal(signal.SIGINT)
        self.assertEqual(p.wait(fake_hub.LAST_RESORT), 130)
        self.assertIn("interrupted; what came is kept", p.stderr.read())
        p.stderr.close()

    def test_part_of_something_else(self):
        repo = self.hub.repos["org/model"]
        part = self.repo() / "blobs" / (repo.etag(BIG) + ".incomplete")
        part.parent.mkdir(parents=True)
        part.write_bytes(b"not what it should be" * 1000)
        self.pull()
        self.check_snapshot()
        self.assertEqual(len(self.asked(host="store")), 2)  # the rest of it, and then all

    def test_part_that_is_whole_or_too_long(self):
        repo = self.hub.repos["org/model"]
        part = self.repo() / "blobs" / (repo.etag(BIG) + ".incomplete")
        part.parent.mkdir(parents=True)
        part.write_bytes(repo.files[BIG])
        self.pull()
        self.assertFalse(self.asked(host="store"))
        (self.repo() / "blobs" / repo.etag(BIG)).unlink()
        part.write_bytes(repo.files[BIG] + b"more")
        self.pull()
        self.check_snapshot()

    def test_wrong_bytes(self):
        self.hub.faults[BIG] = {"wrong_bytes": True}
        self.fails("pull", "org/model", says="its SHA-256 is not the", status=1)
        self.assertFalse([b for b in self.blobs() if b.startswith(self.hub.repos["org/model"].etag(BIG))])
        self.hub.faults = {"config.json": {"wrong_bytes": True}}
        self.fails("pull", "org/model", says="config.json.*its SHA-256 is not the", status=1, HF_HUB_CACHE=str(self.at / "new"))
        self.hub.reset()
        self.pull()

    def test_lying_sizes(self):
        for fault in ({"longer": True}, {"endless": True, "says": 1 << 40}, {"endless": True, "says": len(FILES[BIG])}):
            self.hub.faults[BIG] = fault
            self.run_it("pull", "org/model", status=1)
            self.assertNotIn(self.hub.repos["org/model"].etag(BIG), self.blobs())
        self.hub.faults = {BIG: {"says": 1000}}
        self.fails("pull", "org/model", says="sends 1000 bytes, but the hub lists", status=1)
        self.hub.faults = {BIG: {"linked_etag": "0" * 64}}
        self.fails("pull", "org/model", says="has changed on the hub", status=1)

    def test_endless_list(self):
        self.hub.faults["LIST"] = {"endless": True, "says": 1 << 40}
        self.fails("pull", "org/model", says="longer than the expected 67108864 bytes")

    def test_server_without_ranges(self):
        self.hub.faults[BIG] = {"cuts": [9_000_000], "no_ranges": True}
        self.pull()
        self.check_snapshot()

    def test_content_replaced_while_it_comes(self):
        self.hub.faults[BIG] = {"cuts": [9_000_000], "changing_etag": True}
        self.pull()  # If-Range makes the server send all of it again, and the hash decides
        self.check_snapshot()

    def test_busy(self):
        self.hub.busy = [(429, None, None, [("Retry-After", "1")]), (503, None, None, []),
                         (429, None, None, [("RateLimit", '"api";r=0;t=1')])]
        start = time.monotonic()
        r = self.run_it("pull", "org/model", HALFTONE_HUB_TRIES="6")
        self.assertGreater(time.monotonic() - start, 2)
        self.assertIn("asks to wait 1 s", r.stderr)
        self.hub.busy = [(429, None, None, [("Retry-After", "0")])] * 9
        self.fails("pull", "org/model", says="limits how much may be asked", status=1)
        self.hub.busy = [(429, None, None, [("Retry-After", "100000")])]
        self.fails("pull", "org/model", says="again in 1667 minutes", status=1)

    def test_redirects(self):
        for where, says in (("http://169.254.169.254/latest/meta-data", "in a private network"),
                            ("http://10.0.0.1/x", "in a private network"),
                            ("http://[fd00::1]/x", "in a private network"),
                            ("http://0x7f000001.example@192.168.0.1/x", "not a web address"),
                            ("file:///etc/passwd", "not a web address"), ("gopher://127.0.0.1/", "not a web address")):
            self.hub.faults[BIG] = {"redirect": where}
            self.fails("pull", "org/model", says=says)
        self.hub.faults[BIG] = {"redirect": f"{self.hub.url}/org/model/resolve/main/{BIG}"}
        self.fails("pull", "org/model", says="more than 5 redirects")

    def test_redirect_to_a_name_of_this_machine(self):
        """A hub in the local network sends us to a name that turns out to be this machine: known only at connect."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            try:
                s.connect(("10.255.255.255", 9))  # sends nothing: which address would be ours?
            except OSError:
                self.skipTest("this machine has no network")
            address = s.getsockname()[0]
        if address.startswith("127."):
            self.skipTest("this machine has no network")
        hub = fake_hub.FakeHub(address=address)
        self.addCleanup(hub.stop)
        hub.add("org/model", FILES)
        hub.start()
        hub.faults[BIG] = {"redirect": self.hub.store_url.replace("127.0.0.1", "localhost") + f"/org/model/{BIG}?signature=1"}
        self.fails("pull", "org/model", says="in a private network", HF_ENDPOINT=hub.url)
        self.assertEqual(self.hub.requests, [])
        self.hub.faults[BIG] = dict(hub.faults[BIG])
        self.pull()  # from a hub on this machine it is no further

    def test_silence(self):
        over = threading.Event()
        self.addCleanup(over.set)
        self.hub.faults[BIG] = {"silent": over}  # longer than the program waits
        self.fails("pull", "org/model", says="connection failed", status=1, HF_HUB_DOWNLOAD_TIMEOUT="1", HALFTONE_HUB_TRIES="1")

    def test_early_hints(self):
        self.hub.faults[BIG] = {"hints": True}
        self.pull()
        self.check_snapshot()

    def test_nobody_there(self):
        self.fails("pull", "org/model", says="connection failed", status=1, HF_ENDPOINT="http://127.0.0.1:9", HALFTONE_HUB_TRIES="1")
        self.fails("pull", "org/model", says="not the address", status=2, HF_ENDPOINT="ftp://127.0.0.1")
        self.fails("pull", "org/model", says="not the address", status=2, HF_ENDPOINT="http://user:secret@127.0.0.1")

    def test_offline(self):
        self.fails("pull", "org/model", "--offline", says="not in the cache")
        self.pull()
        self.hub.reset()
        answer, _ = self.pull("org/model", "--offline")
        self.assertEqual(answer["path"], str(self.check_snapshot()))
        self.pull("org/model", HF_HUB_OFFLINE="1")
        self.assertEqual(self.hub.requests, [])
        r = self.run_it("pull", "org/model", HF_ENDPOINT="http://127.0.0.1:9")
        self.assertIn("cannot be reached: org/model is taken from the cache", r.stderr)


class Secure(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = tempfile.TemporaryDirectory(prefix="halftone-hub-")
        cls.addClassCleanup(cls.keys.cleanup)
        cls.cert, key = (os.path.join(cls.keys.name, n) for n in ("cert.pem", "key.pem"))
        try:
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                            "-subj", "/CN=hub", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cls.cert],
                           check=True, capture_output=True)
        except FileNotFoundError:
            raise unittest.SkipTest("the openssl program is not here: nothing is tested over TLS")
        cls.plain, cls.hub = cls.hub, fake_hub.FakeHub(certificate=(cls.cert, key))
        cls.addClassCleanup(cls.plain.stop)
        cls.hub.add("org/model", FILES)
        cls.hub.start()

    def test_whole_and_streamed(self):
        self.pull(SSL_CERT_FILE=self.cert)
        self.check_snapshot()
        self.run_it("quantize", "org/model", "-t", "Q8_0", "-o", "out", "--no-cache", SSL_CERT_FILE=self.cert,
                    HF_HUB_CACHE=str(self.at / "other"))

    def test_certificate_of_nobody(self):
        self.fails("pull", "org/model", says="certificate cannot be verified", status=1)
        self.assertEqual(self.hub.connections, 1)  # asking again would not help

    def test_no_way_back_to_plain_text(self):
        self.hub.faults[BIG] = {"redirect": f"{self.plain.store_url}/org/model/{BIG}?signature=1"}
        self.fails("pull", "org/model", says="from https to http: not followed", SSL_CERT_FILE=self.cert)
        self.assertEqual(self.plain.requests, [])

    def test_the_proxy_of_the_environment(self):
        """It is asked to connect, and sees neither path nor token."""
        proxy = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(proxy.close)
        seen = []

        def answer():
            client, _ = proxy.accept()
            seen.append(client.recv(4096))
            client.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
            client.close()

        thread = threading.Thread(target=answer)
        thread.start()
        url = f"http://127.0.0.1:{proxy.getsockname()[1]}"
        self.fails("pull", "org/model", says="connection failed", status=1, HTTPS_PROXY=url, SSL_CERT_FILE=self.cert,
                   HF_TOKEN="hf_right", HALFTONE_HUB_TRIES="1")
        thread.join()
        self.assertIn(b"CONNECT 127.0.0.1:", seen[0])
        self.assertNotIn(b"hf_right", seen[0])
        self.pull(HTTPS_PROXY=url, NO_PROXY="127.0.0.1", SSL_CERT_FILE=self.cert)


class Used(Case):
    def test_everywhere(self):
        self.run_it("quantize", "org/model", "-t", "Q4_0", "-o", "a")
        self.run_it("quantize", str(MODEL), "-t", "Q4_0", "-o", "b", "--name", "model")
        a = self.at / "a" / "model-Q4_0.gguf"
        self.assertTrue(a.is_file())
        self.run_it("convert", "org/model", "-t", "F16", "-o", "c")
        r = self.run_it("tokenize", "org/model", "--text", "-")
        self.assertEqual(r.returncode, 0)
        self.run_it("generate", "org/model", "--prompt", "A", "--max-tokens", "2", "--quiet")
        (self.at / "t.txt").write_text("Some words to measure a model on. " * 400)
        r = self.run_it("eval", "a/model-Q4_0.gguf", "--against", "org/model", "--text", "t.txt", "--chunks", "1", "--ctx", "128", "--json")
        self.assertIn('"kld"', r.stdout)
        self.run_it("imatrix", "org/model", "--text", "t.txt", "--chunks", "1", "--ctx", "128", "-o", "i.gguf")
        self.hub.reset()
        for args in (["inspect"], ["tokenize"], ["generate", "--prompt", "A", "--max-tokens", "1"], ["estimate", "-t", "Q4_0"]):
            self.run_it(args[0], "org/model", "--offline", *args[1:])
        self.assertEqual(self.hub.requests, [])

    def test_paths_in_the_cache_have_names(self):
        answer, _ = self.pull()
        self.run_it("quantize", answer["path"], "-t", "Q4_0", "-o", "a")
        self.assertEqual([p.name for p in (self.at / "a").iterdir()], ["model-Q4_0.gguf"])
        file = self.at / "a" / "model-Q4_0.gguf"
        self.hub.add("org/g", {"some-Q4_0.gguf": file.read_bytes()})
        answer, _ = self.pull("org/g")
        self.run_it("quantize", answer["path"], "-t", "Q4_0", "-o", "b", "--allow-requantize")
        self.assertEqual([p.name for p in (self.at / "b").iterdir()], ["some-Q4_0.gguf"])

    def test_local_folder_wins(self):
        (self.at / "org").mkdir()
        (self.at / "org" / "model").symlink_to(MODEL)
        self.run_it("quantize", "org/model", "-t", "Q4_0", "-o", "a")
        self.assertEqual(self.hub.requests, [])

    def test_recipes_do_not_say_where_the_hub_is(self):
        for option in ("hub-endpoint", "hub-token", "hub-cache"):
            (self.at / "r.yaml").write_text(f"model: org/model\ntype: Q4_0\n{option}: http://127.0.0.1:9\n")
            self.fails("estimate", "--config", "r.yaml", says="no such option", status=2)
            self.run_it("estimate", "org/model", "-t", "Q4_0", f"--{option}", "x", status=2)

    def test_search_and_info(self):
        found = json.loads(self.run_it("hub", "search", "MODEL", "--json").stdout)["models"]
        self.assertIn({"id": "org/model", "downloads": 5, "likes": 2, "gated": False, "private": False,
                       "updated": "2026-01-01T00:00:00.000Z", "license": "apache-2.0", "task": "text-generation"}, found)
        self.assertIn("org/model", self.run_it("hub", "search", "a b&c=d", "--json").stdout + "org/model")
        info = json.loads(self.run_it("hub", "info", "org/model", "--json").stdout)
        sizes = {f["name"]: f["size"] for f in info["files"]}
        self.assertEqual(sizes, {n: len(d) for n, d in self.hub.repos["org/model"].files.items()})
        self.assertEqual(info["bytes"], sum(sizes.values()))
        self.run_it("hub", "info", "org/model")
        self.run_it("hub", "search", "model")
        self.run_it("hub", "find", "x", status=2)


class Remote(Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.wanted = tempfile.TemporaryDirectory(prefix="halftone-hub-")
        cls.addClassCleanup(cls.wanted.cleanup)
        cls.want = pathlib.Path(cls.wanted.name)
        subprocess.run([HALFTONE, "quantize", str(MODEL), "-t", "Q4_K_M,Q8_0", "-o", cls.wanted.name, "--name", "model", "--quiet"],
                       check=True, stdout=subprocess.DEVNULL)

    def same(self, folder):
        for name in ("model-Q4_K_M.gguf", "model-Q8_0.gguf"):
            self.assertEqual(hashlib.sha256(self.strip(self.at / folder / name)).hexdigest(),
                             hashlib.sha256(self.strip(self.want / name)).hexdigest())

    def strip(self, path):
        """The weights: metadata has the model's name, which is that of the repository."""
        listing = json.loads(self.run_it("inspect", str(path), "--tensors", "--json").stdout)
        return path.read_bytes()[-sum(t["bytes"] for t in listing["tensors"]):]

    def weights(self):
        return [p for p in self.cache.rglob("blobs/*") if p.is_file() and p.stat().st_size > 1_000_000]

    def test_estimate_reads_headers(self):
        here = json.loads(self.run_it("estimate", str(MODEL), "-t", "Q4_K_M,Q8_0", "--json").stdout)
        there = json.loads(self.run_it("estimate", "org/model", "-t", "Q4_K_M,Q8_0", "--json").stdout.splitlines()[-1])
        sizes = [(o["type"], o["bpw"]) for o in here["outputs"]]
        self.assertEqual([(o["type"], o["bpw"]) for o in there["outputs"]], sizes)
        self.assertEqual(there["source"]["hub"]["not_downloaded_bytes"], len(FILES[BIG]))
        self.assertEqual(there["download_bytes"], len(FILES[BIG]))
        self.assertEqual(self.weights(), [])
        ranges = [r["range"] for r in self.asked(host="store")]
        self.assertEqual(len(ranges), 1)
        a, b = map(int, ranges[0][6:].split("-"))
        self.assertLess(b - a, 300_000)
        self.run_it("quantize", "org/model", "-t", "Q4_K_M", "--dry-run")
        self.run_it("recommend", "org/model", "--memory", "1G")
        self.assertEqual(self.weights(), [])

    def test_inspect_and_tokenize_need_no_weights(self):
        here = json.loads(self.run_it("inspect", str(MODEL), "--tensors", "--json").stdout)
        there = json.loads(self.run_it("inspect", "org/model", "--tensors", "--json").stdout)
        self.assertEqual(there["tensors"], here["tensors"])
        self.run_it("tokenize", "org/model")
        self.run_it("convert", "org/model", "--vocab-only", "-o", "v.gguf")
        self.assertEqual(self.weights(), [])
        self.assertTrue(all(r["range"] for r in self.asked(host="store")))
        self.run_it("inspect", "org/model", "--verify")  # reads all, and keeps nothing
        self.assertEqual(self.weights(), [])
        path = self.want / "model-Q8_0.gguf"
        self.hub.add("org/g", {path.name: path.read_bytes()})
        self.run_it("tokenize", "org/g")  # whose tokenizer is in the file

    def test_streaming_resumes(self):
        self.hub.faults[BIG] = {"speed": 3_000_000}
        args = ["quantize", "org/model", "-t", "Q4_K_M,Q8_0", "-o", "out", "--no-cache"]
        p = subprocess.Popen([HALFTONE, *args], env=self.env(), cwd=self.at, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not any((self.at / "out").glob("*.part")) if (self.at / "out").exists() else True:
            time.sleep(0.05)
        time.sleep(1.5)
        p.kill()
        p.wait()
        self.hub.reset()
        self.run_it(*args, "--resume")
        self.same("out")

    def test_estimate_is_exact(self):
        there = json.loads(self.run_it("estimate", "org/model", "-t", "Q4_K_M,Q8_0", "--json").stdout.splitlines()[-1])
        self.run_it("quantize", "org/model", "-t", "Q4_K_M,Q8_0", "-o", "out")
        for o in there["outputs"]:
            self.assertEqual(o["size_bytes"], (self.at / "out" / f"model-{o['type']}.gguf").stat().st_size)

    def test_streaming(self):
        r = self.run_it("quantize", "org/model", "-t", "Q4_K_M,Q8_0", "-o", "out", "--no-cache", "--json")
        self.same("out")
        self.assertEqual(self.weights(), [])
        report = json.loads(r.stdout.splitlines()[-1])
        hub = report["source"]["hub"]
        self.assertEqual(hub["received_bytes"], len(FILES[BIG]))  # nothing twice
        file = [f for f in report["source"]["files"] if f["path"].endswith(BIG)][0]
        self.assertEqual((file["sha256"], file["sha256_from"]), (hashlib.sha256(FILES[BIG]).hexdigest(), "the hub"))
        self.assertEqual(len(self.asked(host="endpoint", path=lambda p: p.endswith(BIG))), 1)  # then its address is known

    def test_streaming_shards(self):
        self.hub.add("org/shards", shards())
        self.run_it("quantize", "org/shards", "-t", "Q4_K_M,Q8_0", "-o", "out", "--no-cache", "--name", "model")
        self.same("out")
        self.run_it("quantize", "org/shards", "-t", "Q4_K_M,Q8_0", "-o", "out2", "--name", "model")
        self.same("out2")
        self.assertEqual(len(self.weights()), 2)
        self.hub.reset()
        self.run_it("quantize", "org/shards", "-t", "Q4_K_M,Q8_0", "-o", "out3", "--no-cache", "--name", "model")
        self.assertEqual(len(self.hub.requests), 1)  # what is in the cache is not fetched again

    def test_streaming_through_cuts(self):
        self.hub.faults[BIG] = {"cuts": [100, 300_000, 4_000_000, 8_388_608, 12_345_678]}
        self.run_it("quantize", "org/model", "-t", "Q4_K_M,Q8_0", "-o", "out", "--no-cache")
        self.assertEqual(self.hub.faults[BIG]["cuts"], [])
        self.same("out")

    def test_streaming_with_addresses_that_expire(self):
        self.hub.faults[BIG] = {"expire_after": 2}
        self.run_it("quantize", "org/model", "-t", "Q4_K_M,Q8_0", "-o", "out", "--no-cache", HALFTONE_HUB_TRIES="9")
        self.same("out")

    def test_streaming_faults(self):
        for fault, says in (({"changing_etag": True}, "changed while it was read"), ({"no_ranges": True}, "range requests"),
                            ({"linked_etag": "1" * 64}, "changed while it was read"), ({"longer": True}, "changed"),
                            ({"redirect": "http://10.0.0.1/x"}, "in a private network")):
            self.hub.faults[BIG] = fault
            r = self.run_it("quantize", "org/model", "-t", "Q8_0", "-o", "bad", "--no-cache",
                            status=1 if "changed" in says else 3)
            self.assertRegex(r.stderr, says)
            self.assertEqual(list((self.at / "bad").glob("*")) if (self.at / "bad").exists() else [], [])

    def test_streaming_measured(self):
        (self.at / "t.txt").write_text("Some words to measure a model on. " * 400)
        self.run_it("quantize", "org/model", "-t", "Q8_0", "-o", "out", "--no-cache", "--measure", "--text", "t.txt", "--chunks", "1",
                    "--ctx", "128")
        self.assertEqual(self.weights(), [])

    def test_streaming_gguf(self):
        path = self.want / "model-Q8_0.gguf"
        self.hub.add("org/g", {path.name: path.read_bytes()})
        self.run_it("quantize", "org/g", "-t", "Q4_0", "--allow-requantize", "-o", "x", "--no-cache")
        self.run_it("quantize", str(path), "-t", "Q4_0", "--allow-requantize", "-o", "y")
        self.assertEqual((self.at / "x" / "model-Q4_0.gguf").read_bytes(), (self.at / "y" / "model-Q4_0.gguf").read_bytes())


class Service(Case):
    """`halftone serve`: what parses has neither the token nor a network; another process lends it the bytes."""

    def setUp(self):
        super().setUp()
        self.p = subprocess.Popen([HALFTONE, "serve", "--port", "0", "--data", str(self.at / "data")], stdout=subprocess.PIPE,
                                  env=self.env(HF_TOKEN="hf_right"), text=True)
        self.addCleanup(self.stop)
        self.port = json.loads(self.p.stdout.readline())["port"]
        threading.Thread(target=self.p.stdout.read, daemon=True).start()

    def stop(self):
        self.p.terminate()
        self.assertEqual(self.p.wait(), 0)
        self.p.stdout.close()

    def ask(self, method, path, body=None):
        c = http.client.HTTPConnection("127.0.0.1", self.port)
        c.request(method, "/api/v1" + path, json.dumps(body) if body else None, {"Content-Type": "application/json"} if body else {})
        answer = c.getresponse()
        text = answer.read()
        c.close()
        self.assertNotIn(b"hf_right", text)
        return answer.status, json.loads(text)

    def children(self):
        """{verb: (has the token, is filtered)} of the service's children that live now."""
        found = {}
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
                if int(re.search(r"PPid:\s*(\d+)", status)[1]) != self.p.pid:
                    continue
                words = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes()
                if environment:
                    found[b" ".join(words[1:3] if words[1] == b"hub" else words[1:2]).decode()] = (
                        b"hf_right" in environment, re.search(r"Seccomp:\s*(\d)", status)[1] == "2")
            except (OSError, TypeError, IndexError):
                pass
        return found

    def run_job(self, **more):
        status, job = self.ask("POST", "/quantize/jobs", {"source_model": "org/model", "source_type": "huggingface",
                                                          "gguf_quant_types": ["Q8_0"], "options": {"no-cache": True}, **more})
        self.assertEqual(status, 201, job)
        seen = {}
        while job["status"] not in ("completed", "failed", "cancelled"):
            seen |= self.children()
            job = self.ask("GET", "/quantize/jobs/" + job["id"])[1]
        return job, seen

    def test_job(self):
        self.hub.faults[BIG] = {"speed": 8_000_000}
        job, seen = self.run_job()
        self.assertEqual(job["status"], "completed", job)
        self.assertEqual((seen["hub lend"][0], seen["quantize"]), (True, (False, True)), seen)
        self.run_it("quantize", str(MODEL), "-t", "Q8_0", "-o", "here", "--quiet")
        there = next((self.at / "data" / "models").rglob("*.gguf"))
        here = next((self.at / "here").glob("*.gguf"))
        size = sum(t["bytes"] for t in json.loads(self.run_it("inspect", str(here), "--tensors", "--json").stdout)["tensors"])
        self.assertEqual(there.read_bytes()[-size:], here.read_bytes()[-size:])
        report = json.loads(next((self.at / "data" / "models").rglob("report.json")).read_text())
        self.assertEqual(report["source"]["hub"]["received_bytes"], len(FILES[BIG]))  # nothing twice
        self.assertFalse([p for p in self.cache.rglob("blobs/*") if p.is_file() and p.stat().st_size > 1_000_000])

    def test_estimate_and_recommend(self):
        status, there = self.ask("POST", "/quantize/estimate", {"source_model": "org/model", "source_type": "huggingface",
                                                                "gguf_quant_types": ["Q8_0"]})
        self.assertEqual((status, there["download_bytes"]), (200, len(FILES[BIG])), there)
        status, answer = self.ask("POST", "/recommend", {"source_model": "org/model", "source_type": "huggingface", "memory": "1G"})
        self.assertEqual(status, 200, answer)

    def test_what_goes_wrong_is_told(self):
        status, answer = self.ask("POST", "/quantize/estimate", {"source_model": "org/nothing", "source_type": "huggingface",
                                                                 "gguf_quant_types": ["Q8_0"]})
        self.assertEqual((status, answer["type"].rsplit("/", 1)[-1]), (404, "not-found"), answer)
        self.hub.faults[BIG] = {"changing_etag": True}
        job, _ = self.run_job()
        self.assertEqual(job["status"], "failed")
        self.assertIn("changed while it was read", job["error"])


if __name__ == "__main__":
    unittest.main(verbosity=1)
