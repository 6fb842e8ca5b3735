#!/usr/bin/env python3
"""The examples of doc/api.md, each run as it is written: only the address, the job's id and the folders are this run's.
HALFTONE=build/halftone tests/server/test_doc.py"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "hub")]
import fake_hub  # noqa: E402
import service  # noqa: E402

TEXT = (HERE.parent.parent / "doc" / "api.md").read_text()
failures = 0


def fail(text):
    global failures
    failures += 1
    print("FAILED", text)


def examples():
    """Runs of lines that are indented by four."""
    for block in re.findall(r"(?:^ {4}.*\n)+", TEXT, re.M):
        yield "\n".join(line[4:] for line in block.rstrip("\n").split("\n"))


class Run:
    def __init__(self, at, server, models):
        self.at, self.server, self.models, self.id = at, server, models, "ID"

    def here(self, text):
        """The example with this run's names."""
        program = [("halftone serve", f"{service.PROGRAM} serve")] if text.startswith("halftone") else []
        for there, name in [*program, ("http://localhost:8700", f"http://127.0.0.1:{self.server.port}"), ("/jobs/ID/", f"/jobs/{self.id}/"),
                            ("/srv/halftone", str(self.at / "data")), ("/srv/models", self.models), ("/mnt/checkpoints", self.models),
                            ("~/models", self.models)]:
            text = text.replace(there, name)
        return text

    def shell(self, text, **more):
        return subprocess.run(["bash", "-c", text], cwd=self.at, capture_output=True, text=True, check=False, **more)

    def wait(self):
        job = self.server.wait(self.id)
        if job["status"] != "completed":
            fail(f"the job: {job}")

    def make(self, text):
        """A job by curl."""
        done = self.shell(self.here(text))
        try:
            job = json.loads(done.stdout)
            self.id = job["id"]
        except (ValueError, KeyError):
            return fail(f"{text}\n{done.stdout}{done.stderr}")
        return self.wait()

    def make_outputs(self, text):
        """A member of a job's body."""
        answer = self.server.post("/api/v1/quantize/jobs", json.loads("{" + text + "}") | {"source_model": "model"})
        if answer.status != 201:
            return fail(f"{text}\n{answer}")
        self.id = answer.json()["id"]
        return self.wait()

    def download(self, text):
        name = text.split("/outputs/")[1].split()[0]
        done = self.shell(self.here(text))
        if done.returncode or not (self.at / name).exists():
            fail(f"{text}\n{done.stdout}{done.stderr}: {sorted(os.listdir(self.at))}")
        elif "tar " in text and not (self.at / name / "config.json").exists() and not list(self.at.glob("*/config.json")):
            fail(f"{text}: no folder came out of it: {sorted(os.listdir(self.at))}")

    def listen(self, text):
        """Without an end: until what the next example shows has come, of a job that begins meanwhile."""
        wanted = {"retry: 3000", "event: job"}
        with subprocess.Popen(self.here(text).split() + ["-s"], cwd=self.at, stdout=subprocess.PIPE, text=True) as curl:
            for line in curl.stdout:
                if line.startswith("retry"):
                    self.server.post("/api/v1/quantize/jobs", {"source_model": "model", "gguf_quant_types": ["Q4_0"]})
                wanted.discard(line.strip())
                if not wanted:
                    break
            curl.kill()
        if wanted:
            fail(f"{text}\nended without {wanted}")

    def serve(self, text):
        """Each line is a command: it prints a token, or its log's first line says where it listens."""
        for line in text.split("\n"):
            line = line.split("#")[0].strip()
            if "--new-token" in line:
                done = self.shell(self.here(line))
                if done.returncode or not re.search(r"\bht_\w{20}", done.stdout):
                    fail(f"{line}\n{done.stdout}{done.stderr}")
            else:
                own = "" if "--data" in line else f" --data {self.at}/data"
                self.listens(self.here(line) + f" --port 0{own}", line)

    def listens(self, command, text):
        with subprocess.Popen(["bash", "-c", "exec " + command], cwd=self.at, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              text=True) as process:
            first = process.stdout.readline()
            process.terminate()
            errors = process.stderr.read()
        if not first or json.loads(first)["event"] != "listening":
            fail(f"{text}\n{first}{errors}")

    def configure(self, text):
        (self.at / "serve.yaml").write_text(self.here(text))
        self.listens(f"{service.PROGRAM} serve --config serve.yaml --port 0", text)


KINDS = [(r"curl -X POST .*/quantize/jobs ", "make"), (r'"outputs": \[', "make_outputs"), (r"curl -f?O.*/outputs/", "download"),
         (r"curl -N .*/events", "listen"), (r"halftone serve ", "serve"), (r"port: \d+\n", "configure"), (r"retry: |id: ", None)]


def main():
    models = tempfile.mkdtemp(prefix="halftone-models-")
    shutil.copytree(service.EXAMPLE, os.path.join(models, "model"))
    hub = fake_hub.FakeHub()
    hub.add("meta-llama/Llama-2-7b-hf", fake_hub.read_folder(pathlib.Path(service.EXAMPLE)))
    hub.start()
    counts = {kind: 0 for _, kind in KINDS}
    with tempfile.TemporaryDirectory(prefix="halftone-doc-") as at:
        server = service.Service(models=[models], environment={"HF_ENDPOINT": hub.url, "HF_HOME": f"{at}/hub"})
        run = Run(pathlib.Path(at), server, models)
        for text in examples():
            kind = next((name for pattern, name in KINDS if re.match(pattern, text)), "unknown")
            if kind == "unknown":
                fail(f"nobody runs this example:\n{text}")
                continue
            counts[kind] += 1
            if kind:
                getattr(run, kind)(text)
        server.close()
    hub.stop()
    shutil.rmtree(models)
    for kind, n in counts.items():
        if n == 0:
            fail(f"no example of the kind {kind}")
    print(f"{sum(counts.values())} examples")
    sys.exit(failures > 0)


main()
