"""Models that answer: OpenAI's shape over real sockets, many clients, clients that leave, processes that are lost.

Each answer is judged by openapi.json. The official clients are run by tests/parity/check_openai.py.
"""
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
        names = [m["id"] for m in s.get("/v1/models").json()["data"]]
        self.assertEqual(sorted(names), ["lines", "other-q4_K_M"])
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
