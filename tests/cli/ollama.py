#!/usr/bin/env python3
"""`halftone ollama` and `quantize --to-ollama` against a server that answers as Ollama does (tests/lib/fake_ollama.py), and against
ones that lie, stop in the middle, or are no Ollama at all. tests/cli/ollama.py PROGRAM"""
import base64
import hashlib
import http.server
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "lib"))
from fake_ollama import GENERATED, FakeOllama  # noqa: E402

PROGRAM = os.path.abspath(sys.argv[1])
os.chdir(HERE.parent.parent)
MODEL = "examples/model"
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==")
failures = 0


def holds(name, truth, seen=""):
    global failures
    if not truth:
        print("FAILED", name, str(seen)[-1500:])
        failures += 1


def run(*arguments, host, status=0, text=None, says=None, **env):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OLLAMA") and "proxy" not in k.lower()}
    done = subprocess.run([PROGRAM, *map(str, arguments)], capture_output=True, text=True, input=text, timeout=300, env={**environment, "OLLAMA_HOST": host, **env})
    shown = " ".join(map(str, arguments))
    holds(f"{shown}: status {done.returncode}, not {status}", done.returncode == status, done.stderr)
    if says:
        holds(f"{shown}: says {says}", says in done.stderr, done.stderr)
    holds(f"{shown}: no escape", "\x1b" not in done.stderr and ("\x1b" not in done.stdout or "generate" in arguments), done)
    return done


def sent(server, path, method="POST"):
    return [json.loads(body) if body[:1] == b"{" else body for m, p, _, body in server.requests if p == path and m == method]


def lists(work):
    with FakeOllama() as server:
        holds("an empty list has a header", run("ollama", host=server.address).stdout.split() == ["name", "id", "size", "level", "weights", "modified"])
        server.add("llama3.2:1b", system="Be kind.", options={"temperature": 0.6, "stop": ["<|eot_id|>", "a\n\"b\\"]}, template="{{ .System }} {{ .Prompt }}")
        server.add("someone/Tiny", level="Q8_0", architecture="qwen2")
        listed = run("ollama", "list", host=server.address).stdout.splitlines()
        holds("a line a model", len(listed) == 3 and listed[1].split()[0] == "llama3.2:1b" and "1.32 GB" in listed[1] and "Q4_K_M" in listed[1], listed)
        holds("the tag is always there", listed[2].split()[0] == "someone/Tiny:latest" and "Q8_0" in listed[2], listed)
        holds("JSON is the server's", json.loads(run("ollama", "list", "--json", host=server.address).stdout)["models"][0]["model"] == "llama3.2:1b")
        loaded = run("ollama", "ps", host=server.address).stdout.splitlines()
        holds("what is loaded", loaded[1].split()[:6] == ["llama3.2:1b", "2.64", "GB", "1.32", "GB", "4096"], loaded)
        shown = run("ollama", "show", "llama3.2:1b", host=server.address).stdout
        for pattern in ("architecture +llama", "level +Q4_K_M", "context +131072", "capabilities +completion", r"stop +\"<\|eot_id\|>\"", "Be kind", r"\{\{ .System"):
            holds(f"show: {pattern}", re.search(pattern, shown), shown)
        run("ollama", "show", "nothing", host=server.address, status=3, says='has no model "nothing"')
        for name, status in (("llama3.2:1b", 0), ("LLAMA3.2:1b", 0), ("registry.ollama.ai/library/llama3.2:1b", 0), ("llama3.2", 3), ("someone/tiny", 0),
                             ("someone/tiny:7b", 3)):
            done = run("ollama", "exists", name, host=server.address, status=status)
            holds("exists prints nothing", done.stdout == done.stderr == "", done)
        holds("exists, in JSON", json.loads(run("ollama", "exists", "llama3.2", "--json", host=server.address, status=3).stdout) == {"exists": False})
        seen = len(server.requests)
        for name in ("", "a b", "-x", "a:", "a/b/c/d", "a//b", "../x", "a:b:c", "é", "x" * 81, "a:" + "b" * 81, "a\nb", "a.b/c/.d", "n.s/m"):
            done = run("ollama", "show", name, host=server.address, status=2)
            holds(f"{name!r} is no name", "name of a model" in done.stderr or name.startswith("-"), done.stderr)
        holds("and nobody was asked", len(server.requests) == seen, server.requests[seen:])
        run("ollama", "delete", "llama3.2:1b", host=server.address)
        holds("deleted", list(server.models) == ["someone/Tiny:latest"], server.models)
        run("ollama", "delete", "llama3.2:1b", host=server.address, status=3, says="has no model")
        run("ollama", "pull", "llama3.2:3b", host=server.address, says="verifying sha256 digest")
        holds("pulled", "llama3.2:3b" in server.models)
        lines = [json.loads(line) for line in run("ollama", "pull", "x", "--json", host=server.address).stdout.splitlines()]
        holds("pull, in JSON", lines[-1] == {"status": "success"} and lines[3]["completed"] == 400, lines)
        run("ollama", "pull", "missing", host=server.address, status=1, says="file does not exist")
        for arguments, words in ((("shwo", "x"), "did you mean show?"), (("show",), "usage: halftone ollama show NAME"), (("show", "a", "b"), "usage"),
                                 (("create", "x"), "usage"), (("list", "--nothing"), ""), (("generate", "x"), "give a prompt"),
                                 (("generate", "x", "-p", "a", "-f", "b"), "give a prompt"), (("generate", "x", "-p", "a", "--parameter", "b"), "NAME=VALUE"),
                                 (("create", "x", "f", "--parameter", "=b"), "NAME=VALUE")):
            run("ollama", *arguments, host=server.address, status=2, says=words)


def generated(work):
    image, other = work / "photo.png", work / "photo.jpg"
    image.write_bytes(PNG)
    other.write_bytes(b"\xff\xd8\xff\xe0" + bytes(200))
    with FakeOllama() as server:
        server.add("llava", capabilities=("completion", "vision"))
        server.add("llama3.2")
        done = run("ollama", "generate", "llama3.2", "-p", "Why?", "--system", "Briefly.", "--parameter", "temperature=0.5", "--parameter", "num_ctx=8e3", "--parameter",
                   "stop=END", "--parameter", "stop=12", "--parameter", "odd=text", "--parameter", "use_mmap=false", "--keep-alive", "10m", host=server.address)
        holds("the text, as it was made", done.stdout == "".join(GENERATED), done.stdout)
        asked = sent(server, "/api/generate")[-1]
        holds("what was asked", asked["prompt"] == "Why?" and asked["system"] == "Briefly." and asked["keep_alive"] == "10m" and asked["stream"] is True, asked)
        holds("parameters have types", asked["options"] == {"temperature": 0.5, "num_ctx": 8000, "stop": ["END", "12"], "odd": "text", "use_mmap": False}, asked)
        lines = [json.loads(line) for line in run("ollama", "generate", "llama3.2", "-f", "-", "--json", text="From a pipe", host=server.address).stdout.splitlines()]
        holds("in JSON the server's lines", lines[-1]["eval_count"] == 290 and sent(server, "/api/generate")[-1]["prompt"] == "From a pipe", lines)
        run("ollama", "generate", "llava", "-p", "What is it?", "--image", image, "--image", other, host=server.address)
        images = [base64.b64decode(i, validate=True) for i in sent(server, "/api/generate")[-1]["images"]]
        holds("the images, byte for byte", images == [PNG, other.read_bytes()], images)
        run("ollama", "generate", "llama3.2", "-p", "x", "--image", image, host=server.address, status=2, says="does not support images")
        seen = len(server.requests)
        (work / "no.png").write_text("not an image")
        run("ollama", "generate", "llava", "-p", "x", "--image", work / "no.png", host=server.address, status=3, says="no PNG, JPEG or WebP image")
        run("ollama", "generate", "llava", "-p", "x", "--image", work / "nowhere", host=server.address, status=3, says="No such file")
        run("ollama", "generate", "llava", "-f", image, host=server.address, status=2, says="no UTF-8 text")
        holds("what is wrong here is not asked", len(server.requests) == seen)
        run("ollama", "generate", "nothing", "-p", "x", host=server.address, status=3, says="model 'nothing' not found")
        run("ollama", "generate", "llama3.2", "-p", "x", "--parameter", "num_ctx=many", host=server.address, status=2, says='option "num_ctx" must be of type integer')
        holds("an empty prompt loads", run("ollama", "generate", "llama3.2", "-p", "", host=server.address).stdout == "")


def created(work):
    made = work / "made"
    subprocess.run([PROGRAM, "quantize", MODEL, "-t", "Q8_0,IQ3_M,F16", "--calibration", "default", "--chunks", "2", "-o", made, "--quiet"], check=True, capture_output=True)
    small, large, f16 = made / "model-IQ3_M.gguf", made / "model-Q8_0.gguf", made / "model-F16.gguf"
    digest = "sha256:" + hashlib.sha256(small.read_bytes()).hexdigest()
    with FakeOllama() as server:
        run("ollama", "create", "tiny:iq3_M", small, host=server.address, says="success")
        holds("sent under its hash", server.blobs == {digest: small.read_bytes()})
        m = server.models["tiny:iq3_M"]
        holds("a model that names it", m["files"] == {"model-IQ3_M.gguf": digest} and m["details"]["quantization_level"] == "IQ3_M" and m["jinja"], m)
        holds("with nothing of its own", m["options"] == {} and m["template"] == "{{ .Prompt }}" and not m["system"], m)
        server.requests.clear()
        run("ollama", "create", "tiny:again", small, host=server.address)
        holds("what is there is not sent again", [r[0] for r in server.requests if "blobs" in r[1]] == ["HEAD"], server.requests)

        # everything of another model goes over, but what it has of its file
        stops = ["<|eot|>", 'tab\there "quoted" \\ \u201c\x07\x0b\x01\U000e0001']
        server.add("big", options={"temperature": 0.6, "num_ctx": 131072, "num_batch": 1048576, "stop": stops, "penalize_newline": True, "mode": "fast"},
                   template='{{ if .System }}{{ .System }}\n{{ end }}"{{ .Prompt }}"', system="Be kind.\nAlways.", license=["one", "two"],
                   messages=[{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}], renderer="r", parser="p", requires="0.13.0")
        run("ollama", "create", "tiny:like", small, "--like", "big", "--parameter", "temperature=1", host=server.address, says="are kept")
        m, big = server.models["tiny:like"], server.models["big:latest"]
        for key in "template", "system", "messages", "renderer", "parser", "requires":
            holds(f"{key} goes over", m[key] == big[key], (m[key], big[key]))
        holds("the licence goes over", m["license"] == ["one\ntwo"], m["license"])
        holds("parameters go over, with their types, and what was said wins", m["options"] == {**big["options"], "temperature": 1}, m["options"])
        server.add("native", jinja="{% for m in messages %}{{ m.content }}{% endfor %}")
        run("ollama", "create", "tiny:native", small, "--like", "native", host=server.address)
        holds("a template of the file's is not Ollama's", server.models["tiny:native"]["template"] == "{{ .Prompt }}")
        holds("and was not sent", "template" not in sent(server, "/api/create")[-1])
        run("ollama", "create", "tiny:other", small, "--like", "nothing", host=server.address, status=3, says="no such model to be like")
        holds("nothing was made", "tiny:other" not in server.models)

        # a model that is replaced keeps what it had, if it is of the same architecture
        run("ollama", "create", "big", large, host=server.address, says="are kept")
        holds("replaced, with its template", server.models["big:latest"]["template"] == m["template"] and server.models["big:latest"]["details"]["quantization_level"] == "Q8_0")
        server.add("big2", architecture="qwen2", template="{{ .Prompt }}!", system="Q")
        run("ollama", "create", "big2", large, host=server.address, says="another architecture")
        holds("of another architecture nothing is kept", server.models["big2:latest"]["template"] == "{{ .Prompt }}" and not server.models["big2:latest"]["system"])

        # the caller's own
        (work / "t").write_text("{{ .Prompt }} \u2026")
        run("ollama", "create", "own", f16, "--template", work / "t", "--system", "S", "--quantize", "q4_K_M", host=server.address, says="quantizing F16 model to Q4_K_M")
        m = server.models["own:latest"]
        holds("template and system message from here", m["template"] == "{{ .Prompt }} \u2026" and m["system"] == "S" and m["details"]["quantization_level"] == "Q4_K_M", m)
        run("ollama", "create", "own2", large, "--quantize", "q4_K_M", host=server.address, status=1, says="only supported for F16")
        (work / "t").write_text("{% if x %}")
        run("ollama", "create", "own3", large, "--template", work / "t", host=server.address, status=2, says="template error")
        (work / "t").write_bytes(b"\xff")
        run("ollama", "create", "own3", large, "--template", work / "t", host=server.address, status=3, says="no UTF-8 text")

        # a split file is named by its first part
        subprocess.run([PROGRAM, "quantize", MODEL, "-t", "Q8_0", "--split-max-size", "3M", "-o", work / "split", "--quiet"], check=True, capture_output=True)
        parts = sorted((work / "split").glob("*.gguf"))
        holds("there are parts", len(parts) > 1 and parts[0].name.endswith(f"-00001-of-{len(parts):05d}.gguf"), parts)
        run("ollama", "create", "split", parts[0], host=server.address)
        holds("every part was sent", sorted(server.models["split:latest"]["files"]) == [p.name for p in parts], server.models["split:latest"]["files"])
        parts[-1].unlink()
        run("ollama", "create", "split2", parts[0], host=server.address, status=3, says=parts[-1].name)

        # what is no GGUF file
        seen = len(server.requests)
        (work / "text").write_text("words")
        for path, words in ((work / "text", "no GGUF file"), (MODEL, "it is a folder"), (work / "none.gguf", "No such file"), ("/dev/null", "no ordinary file")):
            run("ollama", "create", "x", path, host=server.address, status=3, says=words)
        holds("nothing was sent", not [r for r in server.requests[seen:] if "blobs" in r[1] or "create" in r[1]])

        # bytes that change on the way: the server says so, and there is no model
        server.script["/api/blobs/sha256:" + hashlib.sha256(f16.read_bytes()).hexdigest()] = (
            lambda h: h.send(404) if h.command == "HEAD" else h.error(400, 'digest mismatch, expected "sha256:a", got "sha256:b"'))
        server.blobs.clear()
        run("ollama", "create", "changed", f16, host=server.address, status=2, says="digest mismatch")
        holds("and there is no model", "changed:latest" not in server.models)
    return small


def quantized(work):
    out = work / "out"
    with FakeOllama() as server:
        done = run("quantize", MODEL, "-t", "Q8_0", "-o", out, "--to-ollama", "me/tiny:1b", host=server.address)
        holds("one output has the name", server.models["me/tiny:1b"]["details"]["quantization_level"] == "Q8_0", done)
        holds("the table is there", "model-Q8_0.gguf" in done.stdout, done.stdout)
        lines = [json.loads(line) for line in run("quantize", MODEL, "-t", "Q4_K_M,F16", "-o", out, "--to-ollama", "tiny:1b", "--json", host=server.address).stdout.splitlines()]
        holds("several get tags of their own", {"tiny:1b-q4_K_M", "tiny:1b-fp16"} <= set(server.models), list(server.models))
        holds("the last line is the report", len(lines[-1]["outputs"]) == 2, lines[-1])
        run("quantize", MODEL, "-t", "Q4_K_S,Q3_K_S", "-o", out, "--to-ollama", "tiny", host=server.address)
        holds("without a tag the level is the tag", {"tiny:q4_K_S", "tiny:q3_K_S"} <= set(server.models), list(server.models))
        new = work / "new"
        seen = len(server.requests)
        run("quantize", MODEL, "-t", "Q8_0,nf4", "-o", new, "--to-ollama", "tiny", host=server.address, status=2, says="nf4 makes a folder")
        run("quantize", MODEL, "-t", "Q8_0", "-o", new, "--to-ollama", "not a name", host=server.address, status=2, says="not a name")
        run("quantize", MODEL, "-t", "Q8_0", "-o", new, "--to-ollama", "tiny", "--dry-run", host=server.address)
        holds("nobody was asked", len(server.requests) == seen)
        server.script["/api/create"] = lambda h: h.error(500, "no room")
        run("quantize", MODEL, "-t", "Q2_K", "-o", out, "--to-ollama", "full", host=server.address, status=1, says="no room")
        holds("what was made stays here", (out / "model-Q2_K.gguf").exists())
    run("quantize", MODEL, "-t", "Q8_0", "-o", new, "--to-ollama", "tiny", host=server.address, status=1, says="cannot reach")
    holds("nothing was made for a server that is not there", not new.exists())


def hosts(work):
    with FakeOllama() as server:
        port = server.address.split(":")[1]
        for host in (f"127.0.0.1:{port}", f"http://127.0.0.1:{port}", f"http://127.0.0.1:{port}/", f"0.0.0.0:{port}", f":{port}", f"localhost:{port}"):
            run("ollama", "list", host=host)
        run("ollama", "list", "--server", f"http://127.0.0.1:{port}", host="nowhere.invalid")
        server.script["/below/api/tags"] = lambda h: h.send(200, {"models": []})
        run("ollama", "list", host=f"127.0.0.1:{port}/below")
        run("ollama", "list", host=server.address, OLLAMA_API_KEY="secret")
        holds("the token is sent", server.requests[-1][2].get("Authorization") == "Bearer secret", server.requests[-1])
        server.script["/api/tags"] = lambda h: h.error(401, "unauthorized")
        run("ollama", "list", host=server.address, status=1, says="OLLAMA_API_KEY")
    for host, words in (("127.0.0.1:x", "not a port"), ("127.0.0.1:99999", "not a port"), ("ftp://x", "begins with http"), ("x" * 2000, "too long"),
                        ("http://127.0.0.1:1", "cannot reach"), ("[::1]:1", "cannot reach"), ("::1", "cannot reach http://[::1]:11434")):
        run("ollama", "list", host=host, status=1 if "reach" in words else 2, says=words)


def hostile(work, small):
    evil = "\x1b]0;pwned\x07\x1b[2J"
    with FakeOllama() as server:
        def answer(body, kind="application/json", status=200):
            return lambda h: h.send(status, body if isinstance(body, bytes) else json.dumps(body).encode(), kind)

        for body in (b"<html>", b"[]", b"null", b"3", b'{"models":null}', b'{"models":{}}', b'{"models":[],"models":[]}', b"{", b"", b'{"models":[' + b"[" * 5000,
                     b'{"a":"\xff"}'):
            server.script["/api/tags"] = answer(body)
            run("ollama", "list", host=server.address, status=1)
        for models in ([{}], [3, None, "x", []], [{"name": evil, "digest": evil, "size": "x", "details": 3, "modified_at": [1]}], [{"name": "x" * 5000, "size": -1e300}]):
            server.script["/api/tags"] = server.script["/api/ps"] = answer({"models": models})
            run("ollama", "list", host=server.address)
            run("ollama", "ps", host=server.address)
        for shown in ({}, {"details": {"family": evil}, "model_info": {"general.architecture": evil, evil: 3}, "capabilities": [1, evil], "parameters": evil + "\n" + evil},
                      {"capabilities": "x", "parameters": 4, "template": evil * 100}):
            server.script["/api/show"] = answer(shown)
            run("ollama", "show", "x", host=server.address)
        for shown in ([], "x"):
            server.script["/api/show"] = answer(shown)
            run("ollama", "show", "x", host=server.address, status=1, says="is not an Ollama server")
        for parameters in ("stop", "stop \"", 'stop "\\', 'stop "\\xg1"', 'stop "\\U0000"', "x" * 100 + " 1", "a " + "b" * 500, ' "a"', 'a "b" "c"', 'a "\\q"'):
            server.script["/api/show"] = answer({"parameters": parameters, "details": {"family": "llama"}})
            run("ollama", "create", "x", small, host=server.address, status=1, says="cannot be read")
        holds("nothing was made of it", not server.models)
        del server.script["/api/show"]

        def stream(*pieces, end=True):
            def script(h):
                h.begin_stream()
                for piece in pieces:
                    h.chunk(piece)
                if end:
                    h.end_stream()
                else:
                    h.close_connection = True
                    h.connection.shutdown(2)
            return script

        server.add("m")
        said = b'{"response":"said","done":false}\n'
        for script, status, words in ((stream(said), 1, "in the middle of its answer"), (stream(said, end=False), 1, "cannot reach"), (stream(said, b'{"response":"x'), 1, "no JSON object"),
                                      (stream(said, b'{"error":"ran out"}\n'), 1, "ran out"), (stream(said, b'{"error":{"a":1}}\n'), 1, "status 500"),
                                      (stream(b"[1]\n"), 1, "no JSON object"), (stream(b"x" * 1000000, b"y" * 1000000, *([b"z" * 1000000] * 8)), 1, "too long"),
                                      (stream(b'{"done":true,"eval_count":"x","response":7}\n'), 0, None), (stream(b'\n\n{"response":"a","done":true}'), 0, None),
                                      (answer(b"", status=204), 1, "status 204"), (answer(b"x" * 200000, status=500), 1, "status 500"),
                                      (answer({"error": evil}, status=503), 1, "\\x1b]0;pwned"), (answer(b"", status=302), 1, "status 302")):
            server.script["/api/generate"] = script
            done = run("ollama", "generate", "m", "-p", "x", host=server.address, status=status, says=words)
            holds("no more than was said", done.stdout in ("said", "a", ""), done.stdout[:200])
        for script, words in ((stream(b'{"status":"success"}\n', b'{"status":"more"}\n'), "before it was done"), (stream(b'{"status":7}\n'), "before it was done"),
                              (stream(b'{"status":"' + evil.encode().replace(b"\x1b", b"\\u001b").replace(b"\x07", b"\\u0007") + b'","total":-1,"completed":1e308}\n'), "before"),
                              (stream(), "before it was done")):
            server.script["/api/pull"] = script
            run("ollama", "pull", "m", host=server.address, status=1, says=words)
        for status in (500, 302, 400):
            server.script["/api/blobs/sha256:" + hashlib.sha256(small.read_bytes()).hexdigest()] = lambda h, status=status: h.send(status)
            run("ollama", "create", "x", small, host=server.address, status=2 if status == 400 else 1, says=f"status {status}")

        # a redirect is not followed: nobody else gets the token
        class Thief(http.server.BaseHTTPRequestHandler):
            seen = []

            def do_GET(self):
                self.seen.append(dict(self.headers))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_):
                pass
        thief = http.server.HTTPServer(("127.0.0.1", 0), Thief)
        threading.Thread(target=thief.serve_forever, daemon=True).start()

        def redirect(h):
            h.send_response(307)
            h.send_header("Location", f"http://127.0.0.1:{thief.server_address[1]}/api/tags")
            h.send_header("Content-Length", "0")
            h.end_headers()
        server.script["/api/tags"] = redirect
        run("ollama", "list", host=server.address, status=1, says="status 307", OLLAMA_API_KEY="secret")
        holds("nobody else was asked", not Thief.seen, Thief.seen)
        thief.shutdown()


def own_server(work):
    """The same commands against the program's own service, which speaks Ollama's interface too."""
    models = work / "models"
    models.mkdir()
    for level in "F16", "Q4_K_M":
        subprocess.run([PROGRAM, "quantize", MODEL, "-t", level, "-o", work / f"tiny-{level}.gguf", "--quiet"], check=True, capture_output=True)
    (work / "tiny-F16.gguf").rename(models / "tiny.gguf")
    server = subprocess.Popen([PROGRAM, "serve", "--port", "0", "--data", work / "data", "--models", models], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        host = f"127.0.0.1:{json.loads(server.stdout.readline())['port']}"
        threading.Thread(target=server.stdout.read, daemon=True).start()
        holds("own: the model is listed", "tiny:latest" in run("ollama", "list", host=host).stdout)
        holds("own: it is shown", re.search("architecture +llama", run("ollama", "show", "tiny", host=host).stdout))
        run("ollama", "exists", "tiny", host=host)
        run("ollama", "exists", "nothing", host=host, status=3)
        alone = subprocess.run([PROGRAM, "generate", models / "tiny.gguf", "--chat", "-p", "Once upon a time", "-n", "8", "--quiet"], check=True, capture_output=True, text=True).stdout
        said = run("ollama", "generate", "tiny", "-p", "Once upon a time", "--parameter", "num_predict=8", "--parameter", "temperature=0", host=host).stdout
        holds("own: it says what generate --chat says", said == alone, (said, alone))
        run("ollama", "create", "mine:q4", work / "tiny-Q4_K_M.gguf", host=host, says="success")
        holds("own: a model of a blob", "mine:q4" in run("ollama", "list", host=host).stdout)
        holds("own: it answers", run("ollama", "generate", "mine:q4", "-p", "Once", "--parameter", "num_predict=4", host=host).stdout)
        run("ollama", "delete", "mine:q4", host=host)
        run("ollama", "delete", "mine:q4", host=host, status=3)
    finally:
        server.terminate()
        holds("own: the service stops", server.wait(60) == 0)


with tempfile.TemporaryDirectory() as folder:
    at = pathlib.Path(folder)
    lists(at)
    generated(at)
    file = created(at)
    quantized(at)
    hosts(at)
    hostile(at, file)
    own_server(at)
print("every case passed" if not failures else f"{failures} failed")
sys.exit(1 if failures else 0)
