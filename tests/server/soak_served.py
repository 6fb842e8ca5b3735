#!/usr/bin/env python3
"""Thousands of requests to models that answer, and clients that leave in the middle of theirs: nothing is leaked.

    HALFTONE=build/halftone python3 tests/server/soak_served.py [--requests 10000] [--leave 500] [--clients 4] [--seed N]

Of the service and of the model's process are counted: memory of their own, descriptors, threads, children. First when part of
the requests has warmed them up, then at the end, each time at rest. The requests are of every kind, wrong ones among them.
While clients leave, others ask for texts that are known: each gets its own, whole and streamed."""
import argparse
import json
import os
import random
import shutil
import signal
import socket
import struct
import sys
import tempfile
import threading
import time

from service import EXAMPLE, SANITIZED, STILL, Service

DESCRIPTORS = 2  # connections that the kernel has not let go of yet
THREADS = 1      # one of them has not ended yet
MEMORY = {"service": 6 << 20, "model": 6 << 20}  # what the allocator keeps for each thread: 630 bytes a request at 10,000
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}, "required": ["a", "b"]}
TEMPLATE = ("{% for m in messages %}{{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
            "{% for t in tools or [] %}{{ t | tojson }}{% endfor %}assistant:")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}


def status_of(pid):
    with open(f"/proc/{pid}/status") as f:
        lines = dict(line.split(":", 1) for line in f)
    return {"memory": int(lines["RssAnon"].split()[0]) << 10, "descriptors": len(os.listdir(f"/proc/{pid}/fd")),
            "threads": int(lines["Threads"])}


def children_of(pid):
    """All, ended ones that nobody waited for too: {pid: (is a model, name)}"""
    found = {}
    for entry in os.listdir("/proc"):
        try:
            with open(f"/proc/{entry}/stat") as f:
                parent = int(f.read().rsplit(")", 1)[1].split()[1])
            with open(f"/proc/{entry}/cmdline") as f:
                line = f.read().split("\0")
        except (OSError, ValueError, IndexError):
            continue
        if parent == pid:
            found[int(entry)] = line[line.index("--as-model") + 1] if "--as-model" in line else None
    return found


class Soak:
    def __init__(self, service, seed):
        self.s, self.seed, self.lock = service, seed, threading.Lock()
        self.counts, self.failures, self.left = {}, [], 0

    # ---- one request each

    def ask(self, path, body, status=200):
        answer = self.s.post(path, body)
        assert answer.status == status, (path, body, answer)
        return answer

    def chat(self, rng, **more):
        words = " ".join(rng.choice(["sea", "king", "bread", "night", "<|x|>", "\U0001f40b", "é"]) for _ in range(rng.randint(1, 40)))
        return dict({"model": "lines", "messages": [{"role": "user", "content": words}], "max_tokens": rng.randint(1, 6),
                     "seed": rng.randint(0, 9)}, **more)

    def whole(self, rng):
        self.ask("/v1/chat/completions", self.chat(rng, logprobs=True, top_logprobs=3, n=rng.randint(1, 3), stop=["q"]))

    def streamed(self, rng):
        got = self.ask("/v1/chat/completions", self.chat(rng, stream=True, stream_options={"include_usage": True}))
        assert got.body.endswith(b"data: [DONE]\n\n"), got

    def completion(self, rng):
        self.ask("/v1/completions", {"model": "lines", "prompt": ["Once", "The"], "max_tokens": 3, "echo": True, "logprobs": 2})

    def ollama(self, rng):
        self.ask("/api/chat", {"model": "lines", "messages": self.chat(rng)["messages"], "options": {"num_predict": 3}})
        self.ask("/api/generate", {"model": "lines", "prompt": "Once", "stream": False, "options": {"num_predict": 2}, "format": SCHEMA})

    def constrained(self, rng):
        kind = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}
        self.ask("/v1/chat/completions", self.chat(rng, response_format=kind, max_tokens=12))

    def tools(self, rng):
        self.ask("/v1/chat/completions", self.chat(rng, tools=[TOOL], stream=rng.random() < 0.5))

    def look(self, rng):
        for path in ("/v1/models", "/api/tags", "/api/ps", "/api/v1/runtime/levels"):
            assert self.s.get(path).status == 200, path
        self.ask("/api/show", {"model": "lines", "verbose": True})

    def names(self, rng):
        name = f"copy{rng.getrandbits(60)}:x"
        self.ask("/api/copy", {"source": "lines", "destination": name})
        self.ask("/v1/completions", {"model": name, "prompt": "Once", "max_tokens": 1})
        assert self.s.request("DELETE", "/api/delete", {"model": name}).status == 200

    def wrong(self, rng):
        path, body, status = rng.choice([
            ("/v1/chat/completions", self.chat(rng, temperature="hot"), 400), ("/v1/chat/completions", self.chat(rng, model="none"), 404),
            ("/v1/chat/completions", self.chat(rng, messages=[{"role": "user", "content": "x " * 3000}]), 400),
            ("/v1/chat/completions", self.chat(rng, response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": {"$ref": "#/no"}}}), 400),
            ("/v1/completions", {"model": "lines", "prompt": [999999]}, 400), ("/v1/embeddings", {"model": "lines", "input": "x"}, 400),
            ("/api/chat", {"model": "lines", "messages": 5}, 400), ("/api/embed", {"model": "lines", "input": ["x"]}, 400),
            ("/api/create", {"model": "x", "files": {"x.gguf": "sha256:" + "0" * 64}, "stream": False}, 400)])
        self.ask(path, body, status)

    def reload(self, rng):
        """Another model comes and goes: its process, its thread, its pipes."""
        self.ask("/api/generate", {"model": "other", "prompt": "Once", "stream": False, "options": {"num_predict": 1}, "keep_alive": 0})

    def begin(self, rng, path="/v1/chat/completions"):
        body = json.dumps(self.chat(rng, stream=True, max_tokens=300, temperature=1, options={"num_predict": 300})).encode()
        c = socket.create_connection(("127.0.0.1", self.s.port), STILL)
        c.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (path.encode(), len(body)) + body)
        return c

    def leave(self, rng):
        """At once, when the first byte is there, or amid the text; by an end or by a reset."""
        with self.begin(rng, rng.choice(["/v1/chat/completions", "/api/chat"])) as c:
            if rng.random() < 0.5:
                c.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            how = rng.random()
            if how < 0.6:
                c.recv(1)
            if how < 0.3:
                c.recv(300)

    # ---- many of them

    def client(self, n, requests):
        rng = random.Random(self.seed * 100 + n)
        kinds = [self.whole] * 6 + [self.streamed] * 6 + [self.leave] * 3 + [self.wrong] * 3 + [
            self.completion, self.ollama, self.ollama, self.constrained, self.tools, self.look, self.names]
        try:
            while not self.failures:
                with self.lock:
                    if self.left <= 0:
                        return
                    self.left -= 1
                    what = self.reload if self.left % 200 == 0 else rng.choice(kinds)
                    self.counts[what.__name__] = self.counts.get(what.__name__, 0) + 1
                what(rng)
        except BaseException as e:
            self.failures.append(repr(e))
            raise

    def run(self, requests, clients):
        self.left = requests
        threads = [threading.Thread(target=self.client, args=(n, requests)) for n in range(clients)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert not self.failures, self.failures

    def known(self, i, stream):
        body = {"model": "lines", "prompt": f"Number {i} is", "max_tokens": 8, "seed": i, "temperature": 1, "stream": stream}
        answer = self.s.post("/v1/completions", body)
        assert answer.status == 200, answer
        if not stream:
            return answer.json()["choices"][0]["text"]
        chunks = [json.loads(e[6:]) for e in answer.body.decode().split("\n\n")[:-2]]
        return "".join(c["choices"][0]["text"] for c in chunks)

    def undisturbed(self, n, ended):
        try:
            rng, done = random.Random(self.seed + n), 0
            while not ended.is_set() or done < 3:
                i = rng.randrange(len(self.texts))
                assert self.known(i, rng.random() < 0.5) == self.texts[i], i
                done += 1
            self.counts["undisturbed"] = self.counts.get("undisturbed", 0) + done
        except BaseException as e:
            self.failures.append(repr(e))
            raise

    def fill(self):
        """All that a model may keep of what it has read."""
        def ask(i):
            try:
                self.ask("/v1/completions", {"model": "lines", "prompt": f"{i} " + "word " * 600, "max_tokens": 8})
            except BaseException as e:
                self.failures.append(repr(e))
        threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
        for t in threads: t.start()
        for t in threads: t.join()
        assert not self.failures, self.failures

    def crowd(self, n, others=3):
        """Clients that leave, all of them there at the same time and one after the other, while others get their texts."""
        self.texts = [self.known(i, False) for i in range(6)]
        ended, rng = threading.Event(), random.Random(self.seed)
        threads = [threading.Thread(target=self.undisturbed, args=(k, ended)) for k in range(others)]
        for t in threads: t.start()
        try:
            for at in range(0, n, 50):
                sockets = [self.begin(rng) for _ in range(min(50, n - at) // 2)]
                sockets[0].recv(1)  # the others have come behind it, and most of them still wait for their turn
                rng.shuffle(sockets)
                for c in sockets:
                    c.close()
                for _ in range(min(50, n - at) - len(sockets)):
                    self.leave(rng)
        finally:
            ended.set()
            for t in threads: t.join()
        assert not self.failures, self.failures

    # ---- what there is at rest

    def count(self):
        children = children_of(self.s.process.pid)
        models = [pid for pid, path in children.items() if path]
        assert len(models) == 1, children
        return {"service": dict(status_of(self.s.process.pid), children=len(children)),
                "model": dict(status_of(models[0]), children=len(children_of(models[0])))}

    def rest(self):
        """As soon as all stands still for a while."""
        same, before, end = 0, None, time.monotonic() + STILL
        while same < 5:
            assert time.monotonic() < end, f"it does not come to rest: {before}"
            busy = [m for m in self.s.get("/api/v1/runtime/levels").json()["models"] if m.get("running")]
            one = len(children_of(self.s.process.pid)) == 1
            now = json.dumps({k: dict(v, memory=v["memory"] >> 20) for k, v in self.count().items()}) if one and not busy else None
            same, before = (same + 1 if now and now == before else 0), now
            time.sleep(0.3)
        return self.count()


def more(before, after):
    """What there is more of than there may be."""
    found = []
    for who in before:
        for what, most in (("descriptors", DESCRIPTORS), ("threads", THREADS), ("children", 0), ("memory", 1 << 62 if SANITIZED else MEMORY[who])):
            if after[who][what] > before[who][what] + most:
                found.append(f"{what} of the {who}: {before[who][what]} -> {after[who][what]}")
    return found


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--leave", type=int, default=500)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "little"))
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="halftone-served-")
    for name in ("lines", "other"):
        shutil.copytree(EXAMPLE, f"{folder}/models/{name}")
        with open(f"{folder}/models/{name}/chat_template.jinja", "w") as f:
            f.write(TEMPLATE)
    service = Service("--run-exact", "1", "--run-texts", "4", "--log-level", "error", data=folder + "/data", models=[folder + "/models"])
    soak = Soak(service, args.seed)
    print(f"seed {args.seed}", flush=True)
    try:
        soak.fill()
        soak.run(max(args.requests // 5, 60), args.clients)
        soak.crowd(args.leave // 5)
        warm = soak.rest()
        soak.counts = {}
        soak.run(args.requests, args.clients)
        soak.crowd(args.leave)
        end = soak.rest()
        left = os.listdir(folder + "/data/run/blobs") if os.path.exists(folder + "/data/run/blobs") else []
        assert not left, f"files were left: {left}"
    finally:
        status = service.stop()
        shutil.rmtree(folder, ignore_errors=True)
    print(soak.counts)
    for who in warm:
        print(f"{who}: " + ", ".join(f"{what} {warm[who][what]} -> {end[who][what]}" for what in warm[who]))
    if found := more(warm, end):
        sys.exit("more than at the beginning: " + "; ".join(found))
    if status != 0:
        sys.exit(f"the service ended with {status}")


main()
