#!/usr/bin/env python3
"""The service beside llama.cpp's server, over HTTP in one run: 1, 4 and 16 clients at once, in turn round by round. Time to the
first token, tokens a second in total, and CPU seconds a token; a prompt of 1,000 tokens and its repetition; memory when idle.

    HT_CLI=build/halftone HT_LLAMA_SERVER=…/llama-server bench/served.py [--threads N] [--rounds N] FILE.gguf

On a machine that does other things, one thread each (--threads 1) is fairer: two wait for each other by spinning.
Without HT_LLAMA_SERVER it tells our figures alone. FILE.gguf needs a tokenizer. The model that doc/runtime.md tells of:

    bench/make_model.py m && cp TOKENIZER_OF_LLAMA_2/tokenizer* m && halftone quantize m -t Q4_K_M -o q
"""
import argparse
import http.client
import json
import os
import pathlib
import random
import shutil
import socket
import statistics
import subprocess
import tempfile
import threading
import time

import machine

TICK = os.sysconf("SC_CLK_TCK")
MODEL, CONTEXT = "m", 1280


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def processes(pid):
    """The process and what it started."""
    found = [pid]
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(pathlib.Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            if parent == pid:
                found.append(int(entry))
    return found


class Server:
    def __init__(self, command, port=None):
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        if port is None:
            port = json.loads(self.process.stdout.readline())["port"]
        self.port = port
        threading.Thread(target=self.process.stdout.read, daemon=True).start()

    def memory(self):
        return sum(int(pathlib.Path(f"/proc/{p}/status").read_text().split("VmRSS:")[1].split()[0]) for p in processes(self.process.pid)) * 1024

    def cpu(self):
        seconds = 0
        for p in processes(self.process.pid):
            fields = pathlib.Path(f"/proc/{p}/stat").read_text().rsplit(")", 1)[1].split()
            seconds += (int(fields[11]) + int(fields[12])) / TICK
        return seconds

    def wait(self):
        for _ in range(1200):
            try:
                c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
                c.request("GET", "/v1/models")
                if c.getresponse().status == 200 and self.ask([5, 6, 7], 2)[2] == 2:
                    return
            except (OSError, http.client.HTTPException, RuntimeError):
                pass
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.process.args[0]} ended with {self.process.returncode}")
            time.sleep(0.25)
        raise RuntimeError(f"{self.process.args[0]} does not answer")

    def ask(self, prompt, n):
        """Seconds to the first text, to the end, and tokens that were made."""
        body = {"model": MODEL, "prompt": prompt, "max_tokens": n, "temperature": 0, "stream": True, "stream_options": {"include_usage": True}}
        start, first, made = time.monotonic(), None, 0
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        c.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        answer = c.getresponse()
        if answer.status != 200:
            raise RuntimeError(answer.read().decode())
        for line in answer:
            if not line.startswith(b"data: {"):
                continue
            event = json.loads(line[6:])
            if first is None and event.get("choices") and event["choices"][0].get("text"):
                first = time.monotonic() - start
            made = (event.get("usage") or {}).get("completion_tokens", made)
        end = time.monotonic() - start
        return first if first is not None else end, end, made

    def at_once(self, prompts, n):
        results = [None] * len(prompts)

        def one(i):
            results[i] = self.ask(prompts[i], n)
        threads = [threading.Thread(target=one, args=(i,)) for i in range(len(prompts))]
        cpu, start = self.cpu(), time.monotonic()
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        wall, cpu = time.monotonic() - start, self.cpu() - cpu
        if not all(results):
            raise RuntimeError("a client got no answer")
        made = sum(r[2] for r in results)
        return statistics.mean(r[0] for r in results), made / wall, cpu / made

    def close(self):
        self.process.terminate()
        self.process.wait(60)


def prompts(rng, n, tokens):
    return [[rng.randrange(300, 30000) for _ in range(tokens)] for _ in range(n)]


def middle(rounds, k):
    return statistics.median(r[k] for r in rounds)


def start(args, work):
    """Both servers, the other one where it is told, and what ours holds before anything was asked of it."""
    (work / "models").mkdir()
    shutil.copyfile(args.file, work / "models" / f"{MODEL}.gguf")
    threads = str(args.threads)
    ours = Server([os.environ.get("HT_CLI", "build/halftone"), "serve", "--port", "0", "--data", str(work / "data"), "--models", str(work / "models"),
                   "--run-threads", threads, "--run-texts", "16", "--run-context", str(CONTEXT)])
    time.sleep(1)
    idle, sides = ours.memory(), {"ours": ours}
    if "HT_LLAMA_SERVER" in os.environ:
        port = free_port()
        sides["llama.cpp"] = Server([os.environ["HT_LLAMA_SERVER"], "-m", args.file, "--port", str(port), "-t", threads, "-tb", threads,
                                     "-np", "16", "-c", str(16 * CONTEXT), "--no-ui"], port)
    for side in sides.values():
        side.wait()
    return sides, idle


def measure_clients(args, sides, rng):
    print(f"prompts of {args.prompt} tokens, answers of {args.new}, {args.threads} threads, medians of {args.rounds} rounds in turn")
    print("clients  server     first token, s  tokens/s in total  CPU ms a token   ours, times: tokens/s   CPU")
    for n in args.clients:
        rounds = {name: [] for name in sides}
        for _ in range(args.rounds):
            given = prompts(rng, n, args.prompt)
            for name, side in sides.items():
                rounds[name].append(side.at_once(given, args.new))
        for name, kept in rounds.items():
            speed = statistics.median(a[1] / b[1] for a, b in zip(rounds["ours"], kept))
            cpu = statistics.median(b[2] / a[2] for a, b in zip(rounds["ours"], kept))
            print(f"{n:7}  {name:9}  {middle(kept, 0):14.2f}  {middle(kept, 1):17.1f}  {middle(kept, 2) * 1e3:14.1f}   {speed:21.2f}  {cpu:4.2f}", flush=True)
            machine.row(clients=n, server=name, first_token_s=middle(kept, 0), tokens_s=middle(kept, 1), processor_s_token=middle(kept, 2))


def measure_prefix(args, sides, rng):
    for name, side in sides.items():
        first, again, ratios = [], [], []
        for _ in range(args.rounds):
            (prefix,) = prompts(rng, 1, 1000)
            first.append(side.ask(prefix + [400, 401], 4)[0])
            again.append(side.ask(prefix + [500, 501], 4)[0])
            ratios.append(first[-1] / again[-1])
        print(f"a prefix of 1,000 tokens, {name}: first token after {statistics.median(first):.2f} s, where it was read before after "
              f"{statistics.median(again):.3f} s: {statistics.median(ratios):.0f} times sooner", flush=True)
        machine.row(prefix=1000, server=name, first_token_s=statistics.median(first), again_s=statistics.median(again))


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--threads", type=int, default=2)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    arguments.add_argument("--prompt", type=int, default=64, help="tokens of each prompt")
    arguments.add_argument("--new", type=int, default=48, help="tokens of each answer")
    arguments.add_argument("file")
    args = arguments.parse_args()
    machine.begin("served")
    work, sides = pathlib.Path(tempfile.mkdtemp(prefix="halftone-served-")), {}
    try:
        sides, idle = start(args, work)
        rng = random.Random(1)
        measure_clients(args, sides, rng)
        measure_prefix(args, sides, rng)
        print(f"the idle service: {idle / 2**20:.1f} MiB resident")
    finally:
        for side in sides.values():
            side.close()
        shutil.rmtree(work)


if __name__ == "__main__":
    main()
