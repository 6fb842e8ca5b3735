#!/usr/bin/env python3
"""`halftone jobs` and `halftone registry` against the real server, and against one that lies, stalls and hangs up.

    test_client.py HALFTONE MODEL
"""
import contextlib
import hashlib
import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

HALFTONE, MODEL = (os.path.realpath(a) for a in sys.argv[1:3])
failures = 0


def holds(name, truth, more=""):
    global failures
    if not truth:
        print("FAILED", name, more)
        failures += 1


class Client:
    def __init__(self, server, folder, token=None):
        self.folder = folder
        self.environment = {**os.environ, "HALFTONE_SERVER": server, "HALFTONE_TOKEN": token or "", "NO_PROXY": "*"}

    def __call__(self, *arguments, status=0, timeout=600):
        done = subprocess.run([HALFTONE, *arguments], capture_output=True, text=True, cwd=self.folder, env=self.environment,
                              timeout=timeout)
        holds(f"{' '.join(arguments)}: status {done.returncode}, not {status}", done.returncode == status, done.stderr)
        return done

    def json(self, *arguments, **options):
        return json.loads(self(*arguments, "--json", **options).stdout or "null")


@contextlib.contextmanager
def service(data, *arguments):
    process = subprocess.Popen([HALFTONE, "serve", "--port", "0", "--data", data, *arguments], stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True)
    try:
        line = json.loads(process.stdout.readline())
        threading.Thread(target=process.stdout.read, daemon=True).start()
        yield f"127.0.0.1:{line['port']}"
    finally:
        process.terminate()
        holds("the service stops", process.wait(30) == 0)


def sha256(path):
    with open(path, "rb") as f:
        return hashlib.sha256(f.read()).hexdigest()


def whole_round(folder):
    """Submit, watch, show, download, registry, delete: with the real server."""
    with service(os.path.join(folder, "data"), "--models", os.path.dirname(MODEL)) as server:
        client = Client(server, folder)
        holds("it is ready", client("jobs", "ready").stdout == "ready\n")
        holds("no jobs at first", client("jobs").stdout == "no jobs\n")
        client("jobs", "show", "last", status=3)
        watched = client("jobs", "submit", MODEL, "-t", "Q4_K_M,Q8_0", "--name", "first", "--priority", "3", "--tensor-type",
                         "ffn_down=q6_k", "--watch").stdout.split("\n")
        job = client.json("jobs", "show", "last")
        holds("its id, then how it went, then its end", watched[0] == job["id"] and watched[-2] == "completed", watched)
        holds("the job is what was asked for", job["name"] == "first" and job["priority"] == 3 and
              job["gguf_quant_types"] == ["Q4_K_M", "Q8_0"] and job["options"] == {"tensor-type": ["ffn_down=q6_k"]}, job)
        holds("by the end of its id", client.json("jobs", "show", job["id"][-6:])["id"] == job["id"])
        holds("watching what has ended", client("jobs", "watch", "last").stdout == "completed\n")
        listed = client("jobs", "list", "--status", "completed", "--search", "first").stdout.split("\n")
        holds("the list has a header", listed[0].split() == ["id", "status", "done", "outputs", "name"], listed)
        holds("and short ids, that every command takes", listed[1].split()[0] == job["id"][-8:] and
              client.json("jobs", "show", listed[1].split()[0])["id"] == job["id"], listed)
        holds("not in another", client("jobs", "list", "--status", "failed").stdout == "no jobs\n")
        client("jobs", "log", "last")
        logged = client.json("jobs", "submit", MODEL, "-t", "IQ3_M", "--calibration", "default", "--chunks", "2")
        client("jobs", "watch", logged["id"])
        holds("a log", "importance" in client("jobs", "log", logged["id"]).stdout)
        client("jobs", "delete", logged["id"])
        budget = client.json("jobs", "submit", MODEL, "--bpw", "4.5", "--effort", "best", "--calibration", "default", "--calibration-length", "64",
                             "--chunks", "40", "--budget-time", "1s")
        holds("a budget and a text, as quantize takes them", budget["options"]["bpw"] == "4.5" and budget["requested"][0]["quant_type"] == "4.5bpw" and
              "--effort=best" in budget["command"] and "--type" not in budget["command"], budget)
        client("jobs", "watch", budget["id"])
        holds("a file by a budget", [o["name"] for o in client.json("jobs", "outputs", budget["id"])["outputs"]] == ["model-4.5bpw.gguf"])
        client("jobs", "submit", MODEL, "--bpw", "4.5", "-t", "Q8_0", status=2)
        client("jobs", "delete", budget["id"])
        outputs = client.json("jobs", "outputs", "last")["outputs"]
        out = {o["quant_type"]: o for o in outputs}
        client("jobs", "download", "last", status=2)  # of two, which?
        client("jobs", "download", "last", "Q8_0")
        holds("the download's hash", sha256(os.path.join(folder, "model-Q8_0.gguf")) == out["Q8_0"]["sha256"])
        client("jobs", "download", "last", "Q8_0", status=2)
        client("jobs", "download", "last", "Q8_0", "--overwrite")
        made = os.path.join(folder, "here")
        subprocess.run([HALFTONE, "quantize", MODEL, "-t", "Q4_K_M", "--tensor-type", "ffn_down=q6_k", "-o", made], check=True, capture_output=True)
        client("jobs", "download", "last", "model-Q4_K_M.gguf", "-o", "x.gguf")
        holds("the same bytes as made here", sha256(os.path.join(folder, "x.gguf")) == sha256(os.path.join(made, "model-Q4_K_M.gguf")))

        # an interrupted download goes on; a part that is another file's, or too long, does not end up in it
        with open(os.path.join(folder, "model-Q8_0.gguf"), "rb") as f:
            bytes_ = f.read()
        for name, part in (("half", bytes_[:4000000]), ("whole", bytes_), ("foreign", b"x" * 4000000), ("too long", bytes_ + b"x")):
            with open(os.path.join(folder, "p.gguf.part"), "wb") as f:
                f.write(part)
            client("jobs", "download", "last", "Q8_0", "-o", "p.gguf", status=1 if name == "foreign" else 0)
            if name != "foreign":
                holds(f"{name}: the file", sha256(os.path.join(folder, "p.gguf")) == out["Q8_0"]["sha256"])
                os.unlink(os.path.join(folder, "p.gguf"))
            holds(f"{name}: no part is left", not os.path.exists(os.path.join(folder, "p.gguf.part")))

        # the same key is the same job; others are refused
        one = client.json("jobs", "submit", MODEL, "-t", "Q8_0", "--idempotency-key", "k1")
        holds("the same key", client.json("jobs", "submit", MODEL, "-t", "Q8_0", "--idempotency-key", "k1")["id"] == one["id"])
        client("jobs", "watch", one["id"])
        client("jobs", "submit", MODEL, "-t", "NOTHING", status=2)
        client("jobs", "submit", "/etc", "-t", "Q8_0", status=2)
        client("jobs", "submit", MODEL, "-t", "Q8_0", "--no-such-option", status=2)
        client("jobs", "submit", status=2)
        holds("a dry run answers the estimate", client.json("jobs", "submit", MODEL, "-t", "Q8_0", "--dry-run")["fits"] is True)

        # a failing job, and what becomes of it
        failing = client.json("jobs", "submit", MODEL, "-t", "Q8_0", "--fail-if", "kld>-1", "--measure")
        holds("the failure is told", "kld" in client("jobs", "watch", failing["id"], status=1).stderr)
        client("jobs", "retry", failing["id"])
        client("jobs", "watch", failing["id"], status=1)
        client("jobs", "delete", failing["id"])
        client("jobs", "show", failing["id"], status=3)

        # cancelling
        long = client.json("jobs", "submit", MODEL, "-t", "IQ2_XXS,IQ1_S,IQ3_XXS", "--calibration", "default", "--threads", "1")
        watching = subprocess.Popen([HALFTONE, "jobs", "watch", long["id"]], env=client.environment, stdout=subprocess.PIPE, text=True)
        time.sleep(0.5)
        client("jobs", "cancel", long["id"])
        holds("the watcher hears of it", watching.communicate(timeout=600)[0].endswith("cancelled\n") and watching.returncode == 1)

        # the registry
        model = client.json("registry", "list")["models"][0]
        holds("tags", client.json("registry", "tag", model["id"], "small", "test")["tags"] == ["small", "test"])
        holds("found by a tag", model["id"] in client("registry", "list", "--tag", "small").stdout)
        holds("not by another", client("registry", "list", "--tag", "large").stdout == "")
        client("registry", "download", model["id"], "Q4_K_M", "-o", "r.gguf")
        holds("a variant's bytes", sha256(os.path.join(folder, "r.gguf")) in (v["sha256"] for v in model["variants"]))
        client("registry", "delete", model["id"])
        client("registry", "show", model["id"], status=3)


def with_tokens(folder):
    """A server that wants a token."""
    data = os.path.join(folder, "tokens")
    made = subprocess.run([HALFTONE, "serve", "--new-token", "test", "--scope", "read", "--data", data], capture_output=True, text=True)
    holds("a token", made.returncode == 0, made.stderr)
    token = made.stdout.strip().split("\n")[-1].split()[-1]
    with service(data, "--models", os.path.dirname(MODEL)) as server:
        holds("without one", "token" in Client(server, folder)("jobs", status=1).stderr)
        client = Client(server, folder, token)
        client("jobs")
        client("jobs", "submit", MODEL, "-t", "Q8_0", status=1)  # it may only read
        client("jobs", "--token", "x" * 64, status=1)
        client("jobs", "--token", "a b\n", status=2)


class Liar(http.server.BaseHTTPRequestHandler):
    """What a broken or hostile server may answer; the path's last piece says what."""
    protocol_version = "HTTP/1.1"
    seen, body = [], bytes(range(256)) * 4096
    ID = "0123456789abcdef" * 2

    def log_message(self, *_):
        pass

    def answer(self, status, body, kind="application/json", **headers):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def job(self, status):
        return {"id": self.ID, "name": "\x1b[2Jevil\x9b\x07", "status": status, "progress": 50.0, "current_step": "\x1b]0;x\x07",
                "outputs": [], "completed_outputs": 0, "total_outputs": 1, "error": None}

    def do_GET(self):
        cls = type(self)
        cls.seen.append((self.path, dict(self.headers)))
        mode = cls.mode
        if mode == "redirect":
            self.answer(302, b"", Location=f"http://127.0.0.1:{cls.other}/stolen")
        elif mode == "html":
            self.answer(200, b"<html>hello</html>", "text/html")
        elif mode == "huge":
            self.answer(200, b"[" * 100000)
        elif mode == "problem":
            self.answer(503, json.dumps({"title": "x" * 5000, "detail": "\x1b[31mred", "status": 503, "type": "y"}).encode())
        elif mode == "events":
            self.events()
        elif mode == "log":
            after = int(self.path.split("after=")[1])
            line = {"id": after + 1, "time": "now\x07", "level": "warning", "line": f"line {after}\x1b"}
            self.answer(200, json.dumps({"lines": [line], "next_after": min(after + 1, 3)}).encode())
        elif self.path.endswith("/outputs"):
            size, sha = len(cls.body), hashlib.sha256(cls.body).hexdigest()
            name = {"path": "../../escape", "hidden": ".bashrc"}.get(mode, "m.gguf")
            sha = {"wrong": "0" * 64, "nohash": "../../x"}.get(mode, sha)
            size = 1 << 60 if mode == "giant" else size
            self.answer(200, json.dumps({"outputs": [{"id": "1", "name": name, "quant_type": "Q8_0", "status": "completed", "file_size": size,
                                                      "sha256": sha}]}).encode())
        elif "/outputs/" in self.path:
            self.file()
        else:
            self.answer(200, json.dumps({"jobs": [self.job("queued")], "total": 1}).encode())

    def file(self):
        """Breaks off every 300,000 bytes; goes on from where it is asked to."""
        cls = type(self)
        start = int((self.headers.get("Range") or "bytes=0-")[6:-1])
        body = cls.body[start:] + (b"more" if cls.mode == "more" else b"")
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(cls.body) - 1}/{len(cls.body)}")
        self.end_headers()
        self.wfile.write(body[:300000] if cls.mode == "cut" else body)
        self.close_connection = True

    def events(self):
        """Ends the stream twice; the third connection brings the end of the job."""
        cls = type(self)
        if not self.path.endswith("/events"):
            self.answer(200, json.dumps(self.job("quantizing")).encode())
            return
        cls.streams += 1
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        text = ": hello\r\nretry: 100\nid: %d\nevent: job\ndata: {\"id\": \"%s\",\ndata: \"status\": \"quantizing\", \"progress\": 1e999}\n\n" % (
            cls.streams, self.ID)
        text += "event: job\ndata: not json\n\nevent: job\ndata: {\"id\": \"other\", \"status\": \"failed\"}\n\nevent: unknown\ndata: {}\n\nbad line\n\n"
        if cls.streams == 3:
            text += "data: {\"id\": \"%s\", \"status\": \"completed\", \"progress\": 100}\nevent: job\n\n" % self.ID
        self.wfile.write(text.encode())
        self.close_connection = True


def liars(folder):
    servers = [http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar) for _ in range(2)]
    for s in servers:
        threading.Thread(target=s.serve_forever, daemon=True).start()
    Liar.other = servers[1].server_port
    client = Client(f"127.0.0.1:{servers[0].server_port}", folder, "secret")

    def ask(mode, *arguments, status):
        Liar.mode, Liar.seen, Liar.streams = mode, [], 0
        return client(*arguments, status=status)

    ask("redirect", "jobs", status=1)
    holds("a redirect is not followed, and no token goes elsewhere", len(Liar.seen) == 1)
    holds("the token goes to the server", Liar.seen[0][1].get("Authorization") == "Bearer secret")
    ask("html", "jobs", status=1)
    ask("huge", "jobs", status=1)
    done = ask("problem", "jobs", status=1)
    holds("a problem is told without control characters", "\x1b" not in done.stderr and "red" in done.stderr, repr(done.stderr[:200]))
    done = ask("log", "jobs", "log", Liar.ID, status=0)
    holds("a log ends where it leads no further", [x[-10:] for x in done.stdout.split("\n")] == [f"line {i}\\x1b" for i in range(4)] + [""], done.stdout)
    done = ask("plain", "jobs", status=0)
    holds("a name without control characters", "\x1b" not in done.stdout and "\x07" not in done.stdout and "evil" in done.stdout)
    for mode, status in (("path", 2), ("hidden", 2), ("nohash", 1), ("giant", 4), ("wrong", 1), ("more", 1)):
        ask(mode, "jobs", "download", Liar.ID, status=status)
    holds("and nothing is left of those", not [n for n in os.listdir(folder) if "gguf" in n and n != "m.gguf.part"] and
          not os.path.exists(os.path.join(folder, "../../escape")), os.listdir(folder))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, "m.gguf.part"))
    ask("cut", "jobs", "download", Liar.ID, status=0)
    ranges = [h.get("Range") for p, h in Liar.seen if "/outputs/" in p]
    tags = {h.get("If-Range") for p, h in Liar.seen if h.get("Range")}
    holds("a download that is cut goes on", ranges == [None, "bytes=300000-", "bytes=600000-", "bytes=900000-"], ranges)
    holds("of the same file only", tags == {'"%s"' % hashlib.sha256(Liar.body).hexdigest()}, tags)
    holds("to the file", sha256(os.path.join(folder, "m.gguf")) == hashlib.sha256(Liar.body).hexdigest())
    done = ask("events", "jobs", "watch", Liar.ID, status=0)
    last = [h.get("Last-Event-ID") for p, h in Liar.seen if p.endswith("/events")]
    holds("events go on behind the last", last == [None, "1", "2"] and done.stdout.endswith("completed\n"), (last, done.stdout))
    for s in servers:
        s.shutdown()
    Client("127.0.0.1:1", folder)("jobs", status=1)
    for bad in (["--server", "ftp://x"], ["--server", "x" * 3000], ["--server"], ["nothing"], ["show"], ["show", "xyz"], ["list", "--what", "x"],
                ["submit", MODEL, "--priority", "1000"], ["download", "last", "a", "b"]):
        client("jobs", *bad, status=2)


def main():
    for part in (whole_round, with_tokens, liars):
        with tempfile.TemporaryDirectory() as folder:
            part(folder)
    print("FAILED" if failures else "every case passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
