"""Models that answer: OpenAI's shape over real sockets, many clients, clients that leave, processes that are lost.

Each answer is judged by openapi.json. The official clients are run by tests/parity/check_served.py.
"""
import hashlib
import json
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
import unittest

from service import EXAMPLE, SANITIZED, STILL, Service

folder = tempfile.mkdtemp(prefix="halftone-run-")
shutil.copytree(EXAMPLE, os.path.join(folder, "lines"))
shutil.copytree(EXAMPLE, os.path.join(folder, "other-q4_K_M"))
shutil.copytree(EXAMPLE, os.path.join(folder, "caller"))
with open(os.path.join(folder, "caller", "chat_template.jinja"), "w") as f:
    f.write("{% for t in tools or [] %}{{ t | tojson }}\n{% endfor %}{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}"
            "{% for c in m.tool_calls or [] %}{{ c.function.name }}({{ c.function.arguments.x }}){% endfor %}\n{% endfor %}assistant:")
s = Service("--run-exact", "1", "--run-texts", "4", models=[folder])


def tearDownModule():
    status = s.close()
    shutil.rmtree(folder)
    assert status == 0, status


def chat(text="Tell me about the sea.", judge=True, **more):
    body = {"model": "lines", "messages": [{"role": "user", "content": text}], "max_tokens": 24, "seed": 7}
    body.update(more)
    return s.post("/v1/chat/completions", body, judge=judge)


def content(answer):
    assert answer.status == 200, answer
    return answer.json()["choices"][0]["message"]["content"]


def events(answer):
    assert answer.headers["content-type"] == "text/event-stream", answer.headers
    parts = answer.body.decode().split("\n\n")
    assert parts[-1] == "" and all(p.startswith("data: ") for p in parts[:-1]), parts
    return [p[6:] for p in parts[:-1]]


def processes():
    """The children of the service that are models."""
    found = []
    for pid in os.listdir("/proc"):
        try:
            with open(f"/proc/{pid}/stat") as f:
                parent = int(f.read().rsplit(")", 1)[1].split()[1])
            with open(f"/proc/{pid}/cmdline") as f:
                model = "--as-model" in f.read()
        except (OSError, ValueError):
            continue
        if parent == s.process.pid and model:
            found.append(int(pid))
    return found


def until(what, seconds=STILL):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.02)


class A_Idle(unittest.TestCase):
    def test_nothing_is_loaded(self):
        cards = {m["id"]: m["meta"] for m in s.get("/v1/models").json()["data"]}
        self.assertEqual(sorted(cards), ["caller", "lines", "other-q4_K_M"])
        self.assertEqual({k: v for k, v in cards["lines"].items() if k != "size"}, {"level": "", "format": "safetensors", "variant": None})
        self.assertGreater(cards["lines"]["size"], 16e6)
        self.assertEqual(processes(), [])
        with open(f"/proc/{s.process.pid}/status") as f:
            resident = int(f.read().split("VmRSS:")[1].split()[0])
        if not SANITIZED:
            self.assertLess(resident, 32 * 1024)


class Chat(unittest.TestCase):
    def test_whole(self):
        answer = chat(logprobs=True, top_logprobs=3).json()
        choice = answer["choices"][0]
        self.assertEqual(choice["finish_reason"], "length")
        self.assertEqual(answer["usage"]["completion_tokens"], 24)
        self.assertEqual("".join(t["token"] for t in choice["logprobs"]["content"]), choice["message"]["content"])
        for token in choice["logprobs"]["content"]:
            self.assertEqual(len(token["top_logprobs"]), 3)
            falling = [t["logprob"] for t in token["top_logprobs"]]
            self.assertEqual(falling, sorted(falling, reverse=True))
            self.assertLessEqual(token["logprob"], 1e-6)

    def test_stream_says_the_same(self):
        whole = content(chat())
        got = events(chat(stream=True, stream_options={"include_usage": True}))
        self.assertEqual(got[-1], "[DONE]")
        chunks = [json.loads(e) for e in got[:-1]]
        self.assertEqual(chunks[0]["choices"][0]["delta"], {"role": "assistant", "content": ""})
        text = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
        self.assertEqual(text, whole)
        self.assertEqual(chunks[-2]["choices"][0]["finish_reason"], "length")
        self.assertEqual(chunks[-1]["choices"], [])
        self.assertEqual(chunks[-1]["usage"]["completion_tokens"], 24)

    def test_seeds(self):
        self.assertEqual(content(chat(seed=1)), content(chat(seed=1)))
        several = {c["message"]["content"] for c in chat(n=4, seed=1).json()["choices"]}
        self.assertEqual(len(several), 4)
        self.assertIn(content(chat(seed=1)), several)

    def test_stop(self):
        whole = content(chat(temperature=0, max_tokens=40))
        stop = whole[10:13]
        answer = chat(temperature=0, max_tokens=40, stop=[stop, "never"]).json()["choices"][0]
        self.assertEqual(answer["message"]["content"], whole[:whole.index(stop)])
        self.assertEqual(answer["finish_reason"], "stop")

    def test_many_clients_get_what_one_gets(self):
        texts = [f"Tell me about number {i % 5}." for i in range(20)]
        alone = {t: content(chat(t, seed=i % 5)) for i, t in enumerate(texts[:5])}
        got = {}

        def ask(i):
            got[i] = content(chat(texts[i], seed=i % 5, judge=False))

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(20)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual([got[i] for i in range(20)], [alone[t] for t in texts])
        self.assertEqual(len(processes()), 1)

    def test_prefix_is_kept(self):
        long = "The same beginning of many words. " * 20
        chat(long + "First.", max_tokens=1)
        cached = chat(long + "Second.", max_tokens=1).json()["usage"]["prompt_tokens_details"]["cached_tokens"]
        self.assertGreater(cached, 100)

    def test_context_is_enforced(self):
        answer = chat("word " * 3000)
        self.assertEqual((answer.status, answer.json()["error"]["code"]), (400, "context-full"))
        self.assertIn("1024", answer.json()["error"]["message"])


class Formats(unittest.TestCase):
    schema = {"type": "object", "additionalProperties": False, "required": ["name", "age", "tags", "kind"], "properties": {
        "name": {"type": "string", "maxLength": 12}, "age": {"type": "integer"}, "note": {"anyOf": [{"type": "null"}, {"type": "boolean"}]},
        "tags": {"type": "array", "items": {"type": "string", "maxLength": 5}, "maxItems": 2}, "kind": {"enum": ["cat", "cow"]}}}

    def check(self, value):
        self.assertEqual([k for k in value if k != "note"], ["name", "age", "tags", "kind"])
        self.assertLessEqual(len(value["name"]), 12)
        self.assertIsInstance(value["age"], int)
        self.assertLessEqual(len(value["tags"]), 2)
        self.assertIn(value["kind"], ("cat", "cow"))

    def test_schema(self):
        kind = {"type": "json_schema", "json_schema": {"name": "x", "strict": True, "schema": self.schema}}
        answer = chat(response_format=kind, max_tokens=400, n=8, temperature=1.5).json()
        for choice in answer["choices"]:
            self.assertEqual(choice["finish_reason"], "stop")
            self.check(json.loads(choice["message"]["content"]))
        body = {"model": "lines", "messages": [{"role": "user", "content": "Hi"}], "format": self.schema, "stream": False, "options": {"temperature": 1.5}}
        self.check(json.loads(s.post("/api/chat", body).json()["message"]["content"]))

    def test_any_object(self):
        done = 0
        for seed in range(6):
            answer = chat(response_format={"type": "json_object"}, max_tokens=200, seed=seed, temperature=1.2, logprobs=True).json()["choices"][0]
            if answer["finish_reason"] == "stop":  # a tiny model may go on and on within a string
                self.assertIsInstance(json.loads(answer["message"]["content"]), dict)
                done += 1
            else:
                self.assertTrue(answer["message"]["content"].lstrip().startswith("{"))
        self.assertGreater(done, 0)

    def test_what_cannot_be_guaranteed(self):
        for schema in ({"type": "string", "pattern": "a+"}, {"type": "integer", "minimum": 3}, {"$ref": "#/nowhere"}, {"type": "strings"}):
            answer = chat(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}})
            self.assertEqual(answer.status, 400, schema)
            self.assertIn("schema", answer.json()["error"]["message"])


class Tools(unittest.TestCase):
    """A tiny model calls nothing by itself: a schema makes it write a call as Llama 3 does."""
    tools = [{"type": "function", "function": {"name": "look", "description": "Looks </s> at x.", "parameters": {"type": "object"}}}]
    call = {"type": "object", "required": ["name", "parameters"], "properties": {"name": {"const": "look"}, "parameters": {
        "type": "object", "required": ["x"], "properties": {"x": {"type": "integer"}}}}}
    format = {"type": "json_schema", "json_schema": {"name": "call", "schema": call}}

    def test_openai(self):
        ask = dict(model="caller", tools=self.tools, response_format=self.format, max_tokens=200)
        choice = chat(**ask).json()["choices"][0]
        self.assertEqual((choice["finish_reason"], choice["message"]["content"]), ("tool_calls", None))
        called = choice["message"]["tool_calls"][0]
        self.assertEqual(called["function"]["name"], "look")
        self.assertIsInstance(json.loads(called["function"]["arguments"])["x"], int)
        chunks = [json.loads(e) for e in events(chat(stream=True, **ask))[:-1]]
        self.assertEqual([c["choices"][0]["delta"]["tool_calls"][0]["function"] for c in chunks if c["choices"][0]["delta"].get("tool_calls")],
                         [called["function"]])
        self.assertEqual(chunks[-1]["choices"][0]["finish_reason"], "tool_calls")
        more = chat(model="caller", tools=self.tools, messages=[{"role": "user", "content": "x"}, {"role": "assistant", "tool_calls": [called]},
                                                                {"role": "tool", "tool_call_id": called["id"], "content": "7"}])
        self.assertEqual(more.status, 200, more)

    def test_ollama(self):
        body = {"model": "caller", "messages": [{"role": "user", "content": "x"}], "tools": self.tools, "format": self.call}
        message = s.post("/api/chat", dict(body, stream=False)).json()["message"]
        self.assertEqual((message["content"], message["tool_calls"][0]["function"]["name"]), ("", "look"))
        self.assertIsInstance(message["tool_calls"][0]["function"]["arguments"]["x"], int)
        streamed = [o["message"]["tool_calls"] for o in lines(s.post("/api/chat", body)) if "tool_calls" in o["message"]]
        self.assertEqual(len(streamed), 1)

    def test_they_reach_the_template(self):
        with_tools = chat(model="caller", tools=self.tools, max_tokens=1).json()["usage"]["prompt_tokens"]
        without = chat(model="caller", tools=self.tools, tool_choice="none", max_tokens=1).json()["usage"]["prompt_tokens"]
        self.assertGreater(with_tools, without + 20)
        self.assertEqual(chat(tools=self.tools).json()["error"]["code"], "unsupported")
        wrong = [{"role": "assistant", "tool_calls": [{"function": {"name": "look", "arguments": "{"}}]}]
        self.assertEqual(chat(model="caller", messages=wrong).status, 400)


class Completions(unittest.TestCase):
    def ask(self, **more):
        return s.post("/v1/completions", dict({"model": "lines", "prompt": "Once", "seed": 3}, **more))

    def test_prompts(self):
        both = self.ask(prompt=["Once", "The king"], max_tokens=6).json()
        self.assertEqual([c["index"] for c in both["choices"]], [0, 1])
        self.assertEqual(self.ask(max_tokens=6).json()["choices"][0]["text"], both["choices"][0]["text"])

    def test_echo_tells_the_prompt(self):
        choice = self.ask(prompt="Once upon a time", echo=True, max_tokens=0, logprobs=1).json()["choices"][0]
        self.assertEqual(choice["text"], "Once upon a time")
        self.assertEqual("".join(choice["logprobs"]["tokens"]), "Once upon a time")
        self.assertIsNone(choice["logprobs"]["token_logprobs"][0])
        self.assertTrue(all(p <= 1e-6 for p in choice["logprobs"]["token_logprobs"][1:]))

    def test_tokens(self):
        self.assertEqual(self.ask(prompt=[5, 6, 7], max_tokens=2).status, 200)
        for tokens in ([1 << 40], [-1], [5, 999999]):
            self.assertEqual(self.ask(prompt=tokens).status, 400, tokens)


def lines(answer):
    assert answer.status == 200 and answer.headers["content-type"] == "application/x-ndjson", answer
    parts = answer.body.decode().split("\n")
    assert parts[-1] == "" and all(parts[:-1]), parts  # a blank line is no JSON for some clients
    return [json.loads(p) for p in parts[:-1]]


class Ollama(unittest.TestCase):
    options = {"num_predict": 8, "seed": 3, "temperature": 0.5}

    def test_what_there_is(self):
        self.assertRegex(s.get("/api/version").json()["version"], r"^\d+\.\d+\.\d+$")
        self.assertEqual(sorted(m["name"] for m in s.get("/api/tags").json()["models"]), ["caller:latest", "lines:latest", "other-q4_K_M:latest"])
        shown = s.post("/api/show", {"model": "lines"}).json()
        self.assertEqual(shown["model_info"]["general.architecture"], "llama")
        self.assertEqual(s.post("/api/show", {"name": "lines", "verbose": True}).json()["details"]["family"], "llama")
        self.assertEqual(s.post("/api/show", {"model": "nothing"}).status, 404)

    def test_generate_and_chat(self):
        for path, body, piece in (("/api/generate", {"prompt": "Tell me."}, lambda o: o["response"]),
                                  ("/api/chat", {"messages": [{"role": "user", "content": "Tell me."}]}, lambda o: o["message"]["content"])):
            body = dict(body, model="lines", options=self.options)
            whole = s.post(path, dict(body, stream=False)).json()
            self.assertEqual((whole["done"], whole["done_reason"], whole["eval_count"]), (True, "length", 8))
            self.assertGreater(whole["total_duration"], 0)
            got = lines(s.post(path, body))
            self.assertEqual([o["done"] for o in got], [False] * (len(got) - 1) + [True])
            self.assertEqual("".join(piece(o) for o in got), piece(whole))
        raw = s.post("/api/generate", {"model": "lines", "prompt": "Once", "raw": True, "stream": False, "options": self.options}).json()
        self.assertEqual(raw["response"], s.post("/v1/completions", {"model": "lines", "prompt": "Once", "max_tokens": 8, "seed": 3, "temperature": 0.5,
                                                                     "top_k": 40, "top_p": 0.9}).json()["choices"][0]["text"])

    def test_load_and_unload(self):
        self.assertEqual(s.post("/api/generate", {"model": "lines", "keep_alive": "1h", "stream": False}).json()["done_reason"], "load")
        running = s.get("/api/ps").json()["models"]
        self.assertIn("lines:latest", [m["name"] for m in running])
        self.assertEqual(s.post("/api/chat", {"model": "lines", "messages": [], "keep_alive": 0}).json()["done_reason"], "unload")
        until(lambda: "lines:latest" not in [m["name"] for m in s.get("/api/ps").json()["models"]])

    def test_names_of_ones_own(self):
        blobs = os.path.join(s.data, "run", "blobs")
        before = set(os.listdir(blobs)) if os.path.exists(blobs) else set()
        self.assertEqual(s.post("/api/copy", {"source": "lines", "destination": "mine:7b"}).status, 200)
        made = lines(s.post("/api/create", {"model": "small:q4", "from": "mine:7b", "quantize": "q4_K_M", "system": "Be brief.",
                                            "parameters": {"num_predict": 3, "stop": ["x"]}}))
        self.assertEqual(made[-1], {"status": "success"})
        self.assertIn("quantizing", json.dumps(made))
        shown = s.post("/api/show", {"model": "small:q4"}).json()
        self.assertEqual((shown["system"], shown["details"]["quantization_level"]), ("Be brief.", "Q4_K_M"))
        self.assertRegex(shown["parameters"], r"num_predict +3\n")
        for path in ("/v1/chat/completions", "/api/chat"):
            answer = s.post(path, {"model": "small:q4", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 3, "stream": False})
            self.assertEqual(answer.status, 200, answer)
        self.assertEqual(len(set(os.listdir(blobs)) - before), 1)
        for name in ("small:q4", "mine:7b"):
            self.assertEqual(s.request("DELETE", "/api/delete", {"model": name}).status, 200)
        self.assertEqual(set(os.listdir(blobs)), before)
        self.assertEqual(s.request("DELETE", "/api/delete", {"model": "mine:7b"}).status, 404)
        self.assertEqual(s.request("DELETE", "/api/delete", {"model": "lines"}).status, 400)

    def test_a_deleted_name_leaves_the_file_loaded(self):
        chat()
        before = processes()
        for _ in range(2):
            self.assertEqual(s.post("/api/copy", {"source": "lines", "destination": "again:x"}).status, 200)
            self.assertEqual(content(chat(model="again:x")), content(chat()))
            self.assertEqual(s.request("DELETE", "/api/delete", {"model": "again:x"}).status, 200)
            self.assertTrue(content(chat()))
        self.assertEqual(processes(), before)

    def test_files_that_are_brought(self):
        files = {}
        for name in os.listdir(EXAMPLE):
            with open(os.path.join(EXAMPLE, name), "rb") as f:
                data = f.read()
            digest = "sha256:" + hashlib.sha256(data).hexdigest()
            self.assertEqual(s.get("/api/blobs/" + digest).status, 404)
            self.assertEqual(s.request("POST", "/api/blobs/" + digest, data).status, 201)
            self.assertEqual(s.request("POST", "/api/blobs/" + digest, data).status, 200)
            self.assertEqual(s.get("/api/blobs/" + digest).status, 200)
            files[name] = digest
        self.assertEqual(lines(s.post("/api/create", {"model": "brought", "files": files}))[-1], {"status": "success"})
        answer = s.post("/api/generate", {"model": "brought", "prompt": "Once", "stream": False, "options": self.options})
        self.assertEqual(answer.json()["eval_count"], 8)
        self.assertEqual(s.request("DELETE", "/api/delete", {"name": "brought"}).status, 200)
        wrong = s.request("POST", "/api/blobs/sha256:" + "0" * 64, b"x")
        self.assertEqual((wrong.status, "digest mismatch" in wrong.json()["error"]), (400, True))
        self.assertEqual(s.request("POST", "/api/blobs/sha256:xyz", b"x").status, 400)

    def test_refusals(self):
        chat = {"model": "lines", "messages": [{"role": "user", "content": "Hi"}]}
        wrong = [("/api/chat", dict(chat, options={"temperature": "hot"})), ("/api/chat", dict(chat, options={"stop": 5})),
                 ("/api/chat", dict(chat, options=5)), ("/api/chat", dict(chat, keep_alive="soon")), ("/api/chat", dict(chat, messages=5)),
                 ("/api/chat", dict(chat, messages=[{"role": "user", "content": "x", "images": ["eA=="]}])),
                 ("/api/chat", dict(chat, format="xml")), ("/api/chat", dict(chat, stream="yes")), ("/api/chat", dict(chat, top_logprobs=21)),
                 ("/api/chat", {}), ("/api/generate", {"model": "lines", "prompt": 5}), ("/api/generate", {"model": "lines", "prompt": "x", "suffix": "y"}),
                 ("/api/generate", {"model": "lines", "prompt": "x", "images": ["eA=="]}),
                 ("/api/generate", {"model": "lines", "prompt": "x", "template": "{{ .Prompt }}"}),
                 ("/api/generate", {"model": "lines", "prompt": "x", "raw": True, "system": "y"}),
                 ("/api/embed", {"model": "lines", "input": 5}), ("/api/embed", {"model": "lines", "input": "x"}), ("/api/embeddings", {"model": "lines"}),
                 ("/api/create", {"model": "x"}), ("/api/create", {"model": "../x", "from": "lines"}), ("/api/create", {"model": "x", "from": "lines", "quantize": "q9"}),
                 ("/api/create", {"model": "x", "files": {"../x.gguf": "sha256:" + "0" * 64}}), ("/api/create", {"model": "x", "files": {"x.gguf": "sha256:" + "0" * 64}}),
                 ("/api/copy", {"source": "lines", "destination": "a b"}), ("/api/chat", dict(chat, options={"typical_p": 0.5}))]
        for path, body in wrong:
            answer = s.post(path, dict(body, stream=body.get("stream", False)))
            self.assertEqual(answer.status, 400, (path, body, answer))
            self.assertEqual(set(answer.json()), {"error"}, body)
        self.assertEqual(s.post("/api/pull", {"model": "llama3.2"}).status, 404)
        self.assertEqual(s.get("/api/chat", judge=False).json().keys(), {"error"})
        self.assertEqual(s.request("POST", "/api/chat", b"{", headers={"Content-Type": "application/json"}).status, 400)
        self.assertEqual(s.request("POST", "/api/chat", b"{}", headers={"Content-Type": "text/plain", "Origin": "http://elsewhere.example"}).status, 403)

    def test_the_port_that_programs_look_for(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        one = Service("--ollama-port", str(port), models=[folder])
        try:
            stray = os.path.join(one.data, "run", "blobs", "sha256-" + "0" * 64)
            os.makedirs(os.path.dirname(stray))
            open(stray, "w").close()
            one.stop()
            one.start()
            self.assertFalse(os.path.exists(stray))  # no name needs it
            one.port = port
            self.assertEqual(one.get("/", judge=False).body, b"Ollama is running")
            self.assertEqual(one.request("HEAD", "/", judge=False).status, 200)
            self.assertEqual(len(one.get("/api/tags").json()["models"]), 3)
        finally:
            self.assertEqual(one.close(), 0)


class Refusals(unittest.TestCase):
    def test_wrong_members(self):
        wrong = [{"model": "nothing-here"}, {"model": 5}, {"model": ""}, {"messages": "x"}, {"messages": []}, {"messages": [5]},
                 {"messages": [{"content": "x"}]}, {"messages": [{"role": "user", "content": 5}]},
                 {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]},
                 {"temperature": "hot"}, {"temperature": -1}, {"temperature": 1e300}, {"top_p": 2}, {"top_k": 1.5}, {"max_tokens": -1},
                 {"seed": "x"}, {"stop": 5}, {"stop": [""]}, {"stop": ["x"] * 17}, {"n": 0}, {"n": 1000}, {"stream": "yes"},
                 {"top_logprobs": 3}, {"logprobs": True, "top_logprobs": 21}, {"logit_bias": {"5": 1}}, {"tool_choice": "required"},
                 {"tools": [{"type": "function"}]}, {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
                 {"response_format": {"type": "xml"}}, {"response_format": {"type": "json_schema"}}, {"modalities": ["audio"]}]
        for more in wrong:
            answer = chat(**more)
            self.assertIn(answer.status, (400, 404), more)
            self.assertEqual(set(answer.json()), {"error"}, more)
            self.assertTrue(answer.json()["error"]["message"], more)

    def test_no_embeddings(self):
        answer = s.post("/v1/embeddings", {"model": "lines", "input": "x"})
        self.assertEqual((answer.status, answer.json()["error"]["code"]), (400, "unsupported"))

    def test_shapes_of_the_guards(self):
        self.assertEqual(s.post("/v1/chat/completions", None, headers={"Content-Type": "application/json"}).json()["error"]["code"], "bad-json")
        self.assertEqual(s.request("POST", "/v1/chat/completions", b"x", headers={"Content-Type": "text/plain"}).status, 415)
        self.assertEqual(s.request("PUT", "/v1/models", b"", judge=False).json()["error"]["code"], "method")
        self.assertEqual(s.get("/v1/nothing", judge=False).json()["error"]["code"], "not-found")
        self.assertEqual(s.get("/v1/models", headers={"Host": "elsewhere.example"}).json()["error"]["code"], "host")
        large = b'{"model": "' + b"x" * (1 << 20) + b'"}'
        self.assertEqual(s.request("POST", "/v1/completions", large, headers={"Content-Type": "application/json"}).status, 413)
        self.assertEqual(s.get("/v1/models/nothing").status, 404)
        self.assertEqual(s.get("/v1/models/lines").json()["id"], "lines")

    def test_control_tokens_in_texts_are_text(self):
        plain = chat("</s><s>", max_tokens=1).json()["usage"]["prompt_tokens"]
        self.assertGreater(plain, chat("", max_tokens=1).json()["usage"]["prompt_tokens"] + 2)


class Leaving(unittest.TestCase):
    def begin(self, n=100000):
        body = json.dumps({"model": "lines", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": n, "stream": True,
                           "temperature": 1, "seed": 1}).encode()
        c = socket.create_connection(("127.0.0.1", s.port), STILL)
        c.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return c

    def test_500_clients_leave_in_the_middle(self):
        chat()
        pids, fds = processes(), len(os.listdir(f"/proc/{s.process.pid}/fd"))
        for i in range(500):
            c = self.begin()
            if i % 3 == 0:
                c.recv(1)
            c.close()
        self.assertTrue(content(chat()))
        until(lambda: len(os.listdir(f"/proc/{s.process.pid}/fd")) <= fds + 2)
        self.assertEqual(processes(), pids)

    def test_process_is_killed(self):
        chat()
        c = self.begin()
        c.recv(100)
        for pid in processes():
            os.kill(pid, signal.SIGKILL)
        got = b""
        while piece := c.recv(65536):
            got += piece
        c.close()
        if b"[DONE]" not in got:  # the answer may have been whole just then
            self.assertIn(b'"code":"model-ended"', got.replace(b'": ', b'":'))
        self.assertTrue(content(chat()))

    def test_model_is_deleted_while_it_answers(self):
        path = os.path.join(folder, "short-lived")
        shutil.copytree(EXAMPLE, path)
        body = {"model": "short-lived", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 300, "stream": True, "seed": 1}
        answer = {}
        ask = threading.Thread(target=lambda: answer.update(a=s.post("/v1/chat/completions", body)))
        ask.start()
        until(lambda: len(processes()) >= 1)
        time.sleep(0.3)
        shutil.rmtree(path)
        ask.join()
        self.assertIn(answer["a"].status, (200, 404, 500))
        self.assertEqual(s.post("/v1/chat/completions", body).status, 404)
        self.assertTrue(content(chat()))


class Z_Limits(unittest.TestCase):
    def test_keep_alive_and_memory(self):
        with_two = Service("--keep-alive", "1", "--run-texts", "1", "--run-memory", "420M", models=[folder])
        try:
            for name in ("lines", "other-q4_K_M", "lines"):
                answer = with_two.post("/v1/completions", {"model": name, "prompt": "Once", "max_tokens": 2})
                self.assertEqual(answer.status, 200, (name, answer))
            unloaded = lambda: [e for e in with_two.lines if e["event"] == "model" and "unloaded" in e["text"]]
            until(lambda: len(unloaded()) == 3)
        finally:
            self.assertEqual(with_two.close(), 0)

    def test_too_large(self):
        small = Service("--run-memory", "100M", models=[folder])
        try:
            answer = small.post("/v1/completions", {"model": "lines", "prompt": "Once", "max_tokens": 2})
            self.assertEqual((answer.status, answer.json()["error"]["code"]), (503, "no-room"))
        finally:
            self.assertEqual(small.close(), 0)

    def test_stops_while_it_answers(self):
        one = Service(models=[folder])
        body = {"model": "lines", "prompt": "Once", "max_tokens": 900, "n": 8}
        ask = threading.Thread(target=lambda: one.post("/v1/completions", body, judge=False))
        ask.start()
        time.sleep(0.3)
        self.assertEqual(one.close(), 0)
        ask.join()


if __name__ == "__main__":
    unittest.main()
