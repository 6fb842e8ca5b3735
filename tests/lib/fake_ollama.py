"""An Ollama server as its source defines the answers (api/types.go, server/routes.go, server/create.go of ollama/ollama, read
at fb30760, August 2026): names, shapes, statuses, error texts and streams. It holds models and blobs, and runs none.

    with FakeOllama() as server: …server.address, server.requests…

`server.script[path]` replaces the answer of a path: a function of the handler."""
import base64
import datetime
import hashlib
import http.server
import json
import re
import socketserver
import struct
import sys
import threading

FILE_TYPES = {0: "unknown", 1: "F16", 2: "Q4_0", 7: "Q8_0", 14: "Q4_K_S", 15: "Q4_K_M", 26: "IQ3_S", 27: "IQ3_M", 32: "BF16"}
GENERATED = ["A", " short", " answer", " with \x1b[31m", " \u201cquotes\u201d."]


def now():
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f") + "789Z"


def valid_name(text):
    part = "[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}"
    return re.fullmatch(rf"(?:(?:[A-Za-z0-9_][A-Za-z0-9_.:-]{{0,349}}/)?[A-Za-z0-9_][A-Za-z0-9_-]{{0,79}}/)?{part}(?::{part})?", text) is not None


def shortest(text):
    """types/model/name.go, DisplayShortest: host and namespace where they are not the default, and always the tag."""
    parts = text.split("/")
    parts[-1] += "" if ":" in parts[-1] else ":latest"
    if len(parts) == 3 and parts[0].lower() == "registry.ollama.ai":
        parts = parts[1:]
    if len(parts) == 2 and parts[0].lower() == "library":
        parts = parts[1:]
    return "/".join(parts)


def quoted(text):
    """As Go's %#v writes a string (strconv.Quote)."""
    out = '"'
    for c in text:
        code = ord(c)
        short = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 34: '\\"', 92: "\\\\"}.get(code)
        out += short or (f"\\x{code:02x}" if code < 32 or code == 127 else f"\\u{code:04x}" if 0x80 <= code < 0xa0 or code == 0x200b else
                         f"\\U{code:08x}" if code >= 0xe0000 else c)
    return out + '"'


def go_value(value):
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    text = f"{float(value):.17g}" if float(f"{float(value):.6g}") != float(value) else f"{float(value):.6g}"
    return "1.048576e+06" if float(value) == 1048576 else text


class Gguf:
    """The keys of a GGUF file."""
    sizes = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}

    def __init__(self, data):
        if data[:4] != b"GGUF":
            raise ValueError("supplied file was not in GGUF format")
        self.data, self.at = data, 8
        n_tensors, n_keys = self.take("Q"), self.take("Q")
        self.keys = {}
        for _ in range(n_keys):
            name = self.text()
            self.keys[name] = self.value(self.take("I"))
        self.n_tensors = n_tensors

    def take(self, code):
        value, = struct.unpack_from("<" + code, self.data, self.at)
        self.at += struct.calcsize("<" + code)
        return value

    def text(self):
        n = self.take("Q")
        self.at += n
        return self.data[self.at - n:self.at].decode(errors="replace")

    def value(self, kind):
        if kind == 8:
            return self.text()
        if kind == 9:
            kind, n = self.take("I"), self.take("Q")
            return [self.value(kind) for _ in range(n)]
        return self.take(self.sizes[kind])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    # ---- answers ----

    def send(self, status, body=b"", kind="application/json; charset=utf-8"):
        if isinstance(body, (dict, list)):
            body = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        self.send_response(status)
        if body:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def error(self, status, text):
        self.send(status, {"error": text})

    def begin_stream(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def line(self, value):
        self.chunk(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")

    def end_stream(self):
        self.wfile.write(b"0\r\n\r\n")

    # ---- requests ----

    def handle_one(self):
        owner = self.server.owner
        length = self.headers.get("Content-Length")
        body = self.rfile.read(int(length)) if length else b""
        path = self.path.split("?")[0]
        owner.requests.append((self.command, path, dict(self.headers), body))
        if (script := owner.script.get(path)):
            return script(self)
        if path.startswith("/api/blobs/"):
            return self.blob(path.removeprefix("/api/blobs/"), body)
        route = {("GET", "/"): self.root, ("GET", "/api/version"): self.version, ("GET", "/api/tags"): self.tags, ("GET", "/api/ps"): self.ps,
                 ("POST", "/api/show"): self.show, ("POST", "/api/generate"): self.generate, ("POST", "/api/pull"): self.pull,
                 ("POST", "/api/create"): self.create, ("DELETE", "/api/delete"): self.delete}.get((self.command, path))
        if not route:
            return self.send(405 if path.startswith("/api/") else 404, b"405 method not allowed", "text/plain")
        if self.command == "GET":
            return route()
        if not body:
            return self.error(400, "missing request body")
        try:
            value = json.loads(body)
        except ValueError:
            return self.error(400, "invalid character")
        for name, kind in (("model", str), ("prompt", str), ("system", str), ("template", str), ("stream", bool), ("options", dict),
                           ("parameters", dict), ("files", dict), ("images", list), ("messages", list), ("quantize", str), ("from", str)):
            if name in value and not isinstance(value[name], kind):
                return self.error(400, f"json: cannot unmarshal {type(value[name]).__name__} into Go struct field .{name} of type {kind.__name__}")
        return route(value)

    do_GET = do_POST = do_DELETE = do_HEAD = handle_one

    def found(self, value):
        name = value.get("model") or value.get("name") or ""
        models = self.server.owner.models
        if not valid_name(name):
            return name, None
        wanted = shortest(name)
        return name, next((models[n] for n in models if n.lower() == wanted.lower()), None)

    def root(self):
        self.send(200, b"Ollama is running", "text/plain; charset=utf-8")

    def version(self):
        self.send(200, {"version": "0.13.2"})

    def tags(self):
        keys = ("name", "model", "modified_at", "size", "digest", "details", "capabilities")
        self.send(200, {"models": [{k: m[k] for k in keys} for m in self.server.owner.models.values()]})

    def ps(self):
        self.send(200, {"models": [{"name": m["name"], "model": m["model"], "size": 2 * m["size"], "digest": m["digest"], "details": m["details"],
                                    "expires_at": now(), "size_vram": m["size"], "context_length": 4096} for m in self.server.owner.loaded()]})

    def show(self, value):
        name, m = self.found(value)
        if not name:
            return self.error(400, "model is required")
        if not m:
            return self.error(404, f"model '{shortest(name) if valid_name(name) else name}' not found")
        parameters = [f"{k:<30} {go_value(v)}" for k, values in m["options"].items() for v in (values if isinstance(values, list) else [values])]
        out = {"license": "\n".join(m["license"]), "modelfile": self.modelfile(m), "parameters": "\n".join(parameters),
               "template": m["jinja"] if m["jinja"] and m["template"] == "{{ .Prompt }}" else m["template"], "system": m["system"],
               "details": m["details"], "messages": m["messages"], "model_info": m["info"], "capabilities": m["capabilities"], "modified_at": m["modified_at"],
               "renderer": m["renderer"], "parser": m["parser"], "requires": m["requires"]}
        if value.get("verbose"):
            out["tensors"] = m["tensors"]
        self.send(200, {k: v for k, v in out.items() if v or k in ("model_info", "details")})

    @staticmethod
    def modelfile(m):
        def quote(text):
            if "\n" in text or text[:1] == " " or text[-1:] == " ":
                return f'"""{text}"""' if '"' in text else f'"{text}"'
            return text
        out = f"# Modelfile generated by \"ollama show\"\n# To build a new Modelfile based on this, replace FROM with:\n# FROM {m['name']}\n\nFROM /blobs/x\n"
        return out + f"TEMPLATE {quote(m['template'])}\n" + (f"SYSTEM {quote(m['system'])}\n" if m["system"] else "")

    def generate(self, value):
        name, m = self.found(value)
        if not m:
            return self.error(404, f"model '{name}' not found")
        for key, option in value.get("options", {}).items():
            if key in ("num_ctx", "top_k", "seed", "num_predict") and (not isinstance(option, (int, float)) or isinstance(option, bool)):
                return self.error(400, f'option "{key}" must be of type integer')
            if key == "stop" and not isinstance(option, list):
                return self.error(400, 'option "stop" must be of type array')
        for image in value.get("images", []):
            try:
                base64.b64decode(image, validate=True)
            except ValueError:
                return self.error(400, "illegal base64 data at input byte 0")
        if value.get("images") and "vision" not in m["capabilities"]:
            return self.error(400, f"{name} does not support images")
        base = {"model": value["model"], "created_at": now()}
        if not value.get("prompt"):
            unload = value.get("keep_alive") == 0
            self.server.owner.resident.discard(m["name"]) if unload else self.server.owner.resident.add(m["name"])
            return self.send(200, base | {"response": "", "done": True, "done_reason": "unload" if unload else "load"})
        self.server.owner.resident.add(m["name"])
        pieces = [self.server.owner.answers.pop(0)] if self.server.owner.answers else GENERATED
        figures = {"done": True, "done_reason": "stop", "context": [1, 2, 3], "total_duration": 5043500667, "load_duration": 5025959,
                   "prompt_eval_count": 26, "prompt_eval_duration": 325953000, "eval_count": 290, "eval_duration": m["eval_duration"]}
        if value.get("stream") is False:
            return self.send(200, base | {"response": "".join(pieces)} | figures)
        self.begin_stream()
        for piece in pieces:
            self.line(base | {"response": piece, "done": False})
        self.line(base | {"response": ""} | figures)
        return self.end_stream()

    def pull(self, value):
        name = value.get("model") or value.get("name") or ""
        if not valid_name(name):
            return self.error(400, "invalid model name")
        if value.get("stream") is False and not shortest(name).startswith("missing"):
            self.server.owner.add(name, level=next((kind for kind in FILE_TYPES.values() if name.upper().endswith(kind)), "Q4_K_M"))
            return self.send(200, {"status": "success"})
        if value.get("stream") is False:
            return self.error(500, "pull model manifest: file does not exist")
        self.begin_stream()
        self.line({"status": "pulling manifest"})
        if shortest(name).startswith("missing"):
            self.line({"error": "pull model manifest: file does not exist"})
            return self.end_stream()
        digest = "sha256:" + "ab" * 32
        for done in (None, 0, 400, 1000):
            self.line({"status": "pulling " + "ab" * 6, "digest": digest, "total": 1000} | ({"completed": done} if done else {}))
        for status in ("verifying sha256 digest", "writing manifest", "success"):
            self.line({"status": status})
        self.server.owner.add(name)
        return self.end_stream()

    def blob(self, digest, body):
        owner = self.server.owner
        if not re.fullmatch(r"sha256[:-][0-9a-fA-F]{64}", digest):
            return self.error(400, "invalid digest format")
        if self.command == "HEAD":
            return self.send(200 if digest in owner.blobs else 404)
        if self.command != "POST":
            return self.send(405)
        if digest in owner.blobs:
            return self.send(200)
        got = "sha256:" + hashlib.sha256(body).hexdigest()
        if got != digest:
            return self.error(400, f'digest mismatch, expected "{digest}", got "{got}"')
        owner.blobs[digest] = body
        return self.send(201)

    def create(self, value):
        owner = self.server.owner
        name = value.get("model") or value.get("name") or ""
        for path, digest in value.get("files", {}).items():
            if path.startswith("/") or ".." in path.split("/"):
                return self.error(400, "file path must be relative")
            if not digest:
                return self.error(400, "invalid digest format")
        if not valid_name(name):
            return self.error(400, "invalid model name")
        if "files" not in value and "from" not in value:
            return self.error(400, "neither 'from' or 'files' was specified")
        if "from" in value:
            return self.create_from(name, value)
        lacking = [d for d in value.get("files", {}).values() if d not in owner.blobs]
        if not value.get("files") or lacking:
            return self.error(400 if not lacking else 500, "no files provided to convert" if not lacking else f"open blobs/{lacking[0]}: no such file or directory")
        try:
            parts = [Gguf(owner.blobs[d]) for d in value["files"].values()]
        except (ValueError, struct.error):
            return self.error(400, "supplied file was not in GGUF format")
        keys = next((p.keys for p in parts if "general.architecture" in p.keys), {})
        kind = FILE_TYPES.get(keys.get("general.file_type", 0), "unknown")
        if value.get("quantize") and kind not in ("F16", "BF16", "F32"):
            return self.error(500, "quantization is only supported for F16, BF16 and F32 models")
        if "{%" in value.get("template", ""):
            return self.error(400, "template error: template: :1: unexpected \"%\" in command")
        self.begin_stream()
        self.line({"status": "parsing GGUF"})
        if value.get("quantize"):
            kind = value["quantize"].upper()
            for done in (1000, 2000):
                self.line({"status": f"quantizing F16 model to {kind}", "digest": "0" * 19, "total": 2000, "completed": done})
            self.line({"status": "verifying conversion"})
        for digest in value["files"].values():
            self.line({"status": f"creating new layer {digest}"})
        self.line({"status": "writing manifest"})
        owner.add(name, level=kind, architecture=keys.get("general.architecture", ""), jinja=keys.get("tokenizer.chat_template", ""),
                  template=value.get("template") or "{{ .Prompt }}", system=value.get("system", ""), options=value.get("parameters", {}),
                  license=[value["license"]] if value.get("license") else [], messages=value.get("messages", []), renderer=value.get("renderer", ""),
                  parser=value.get("parser", ""), requires=value.get("requires", ""), files=value["files"])
        self.line({"status": "success"})
        return self.end_stream()

    def create_from(self, name, value):
        _, m = self.found({"model": value["from"]})
        if not m:
            return self.error(404, f"model '{value['from']}' not found")
        kind = value.get("quantize", "").upper()
        if kind and kind not in ("F32", "F16", "Q4_K_S", "Q4_K_M", "Q8_0"):
            return self.error(400, f"unsupported quantization type {kind} - supported types are F32, F16, Q4_K_S, Q4_K_M, Q8_0")
        if kind and m["details"]["quantization_level"] not in ("F16", "BF16", "F32"):
            return self.error(400, "quantization is only supported for F16, BF16 and F32 models")
        self.server.owner.add(name, level=kind or m["details"]["quantization_level"], capabilities=m["capabilities"])
        if value.get("stream") is False:
            return self.send(200, {"status": "success"})
        self.begin_stream()
        self.line({"status": "success"})
        return self.end_stream()

    def delete(self, value):
        name, m = self.found(value)
        if not m:
            return self.error(404, f"model '{name}' not found")
        del self.server.owner.models[m["name"]]
        return self.send(200)


class Threads(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Clients that go away are part of the tests; anything else is a mistake of this server's."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class FakeOllama:
    def __init__(self):
        self.models, self.blobs, self.requests, self.script = {}, {}, [], {}
        self.answers, self.resident = [], set()  # texts that come next; models that requests have loaded
        self.server = Threads(("127.0.0.1", 0), Handler)
        self.server.owner = self
        self.address = f"127.0.0.1:{self.server.server_address[1]}"

    def add(self, name, level="Q4_K_M", architecture="llama", capabilities=("completion",), options=None, template="{{ .Prompt }}", system="", jinja="",
            license=(), messages=(), renderer="", parser="", requires="", files=None, size=1321098329, tensors=None, eval_duration=4709213000):
        name = shortest(name)
        details = {"parent_model": "", "format": "gguf", "family": architecture, "families": [architecture], "parameter_size": "1.2B", "quantization_level": level}
        self.models[name] = {"name": name, "model": name, "modified_at": now(), "size": size, "digest": hashlib.sha256(name.encode()).hexdigest(),
                             "details": details, "capabilities": list(capabilities), "options": options or {}, "template": template, "system": system,
                             "jinja": jinja, "license": list(license), "messages": list(messages), "renderer": renderer, "parser": parser,
                             "requires": requires, "files": files or {}, "eval_duration": eval_duration,
                             "tensors": tensors if tensors is not None else [{"name": "blk.0.ffn_up.weight", "type": level.removesuffix("_M").removesuffix("_S"), "shape": [2048, 8192]}],
                             "info": {"general.architecture": architecture, f"{architecture}.context_length": 131072, f"{architecture}.embedding_length": 2048,
                                      "tokenizer.ggml.tokens": []}}
        return self.models[name]

    def loaded(self):
        return [m for name, m in self.models.items() if name in self.resident] or list(self.models.values())[:1]

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
