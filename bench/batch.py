#!/usr/bin/env python3
"""CPU seconds a token of 1, 4 and 16 texts at once, ours (the process that the service runs a model in) and llama.cpp's
(llama_decode of a batch with a token of every sequence), in turn: prompts of 64 tokens, then 24 tokens each.

    HT_CLI=build/halftone HT_LLAMA_LIB=FOLDER bench/batch.py [--threads N] [--rounds N] FILE.gguf [--texts N …]
"""
import argparse
import ctypes
import json
import os
import socket
import subprocess
import sys
import time

import machine

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "parity"))
from llama_logits import Batch, Llama

PROMPT, NEW = 64, 24
TICK = os.sysconf("SC_CLK_TCK")


def prompt(seq):
    return [(i * 7919 + 13 + seq * 31) % 3000 + 300 for i in range(PROMPT)]


class Ours:
    def __init__(self, path, threads):
        self.near, far = socket.socketpair()
        self.process = subprocess.Popen(
            [os.environ.get("HT_CLI", "build/halftone"), "serve", "--as-model", path, "--texts", "16", "--context", "256", "--threads", str(threads)],
            pass_fds=[far.fileno()], env=dict(os.environ, HALFTONE_MODEL_SOCKET=str(far.fileno())), stdout=subprocess.PIPE, text=True)
        far.close()
        self.ready = json.loads(self.process.stdout.readline())
        self.id = 0

    def cpu(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def make(self, n, new):
        for seq in range(n):
            self.id += 1
            request = {"id": self.id, "do": "text", "tokens": prompt(seq + self.id), "max_tokens": new, "temperature": 0}
            self.near.sendall((json.dumps(request) + "\n").encode())
        ended = made = 0
        while ended < n:
            event = json.loads(self.process.stdout.readline())
            if event["event"] == "error":
                raise RuntimeError(event["message"])
            ended += event["event"] == "end"
            made += event.get("new_tokens", 0)
        return made

    def measure(self, n):
        start = self.cpu()
        self.make(n, 1)
        middle = self.cpu()
        made = self.make(n, NEW)
        end = self.cpu()
        return (middle - start) / (n * PROMPT), (end - middle - (middle - start)) / max(made - n, 1)

    def close(self):
        self.near.close()
        self.process.wait()


class Theirs:
    def __init__(self, path, threads):
        llama = self.llama = Llama(os.environ["HT_LLAMA_LIB"])
        lib = self.lib = llama.lib
        params = lib.llama_context_default_params()
        ints = ctypes.cast(params.raw, ctypes.POINTER(ctypes.c_int32))
        ints[0] = 256 * 16
        assert ints[3] == 1, list(ints[:12])
        ints[3] = 16
        if ints[7] == ints[8]:
            ints[7] = ints[8] = threads
        self.model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        self.context = lib.llama_init_from_model(self.model, params)
        if not self.context:
            raise RuntimeError("".join(llama.log[-6:]))
        lib.llama_batch_init.restype = Batch
        self.batch = lib.llama_batch_init(512, 0, 1)

    def decode(self, rows):
        """rows: (token, position, sequence, wanted)."""
        b = self.batch
        token, pos = (ctypes.cast(p, ctypes.POINTER(ctypes.c_int32)) for p in (b.token, b.pos))
        n_seq = ctypes.cast(b.n_seq_id, ctypes.POINTER(ctypes.c_int32))
        seq = ctypes.cast(b.seq_id, ctypes.POINTER(ctypes.POINTER(ctypes.c_int32)))
        wanted = ctypes.cast(b.logits, ctypes.POINTER(ctypes.c_int8))
        for i, (t, p, s, w) in enumerate(rows):
            token[i], pos[i], n_seq[i], seq[i][0], wanted[i] = t, p, 1, s, w
        b.n_tokens = len(rows)
        if self.lib.llama_decode(self.context, b):
            raise RuntimeError("".join(self.llama.log[-6:]))

    def measure(self, n):
        lib = self.lib
        lib.llama_memory_clear(lib.llama_get_memory(self.context), True)
        start = time.process_time()
        for seq in range(n):
            self.decode([(t, i, seq, i == PROMPT - 1) for i, t in enumerate(prompt(seq))])
        middle = time.process_time()
        for step in range(NEW):
            self.decode([(prompt(seq)[step], PROMPT + step, seq, 1) for seq in range(n)])
        end = time.process_time()
        return (middle - start) / (n * PROMPT), (end - middle) / (n * NEW)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--rounds", type=int, default=3)
    arguments.add_argument("--texts", type=int, nargs="+", default=[1, 4, 16])
    arguments.add_argument("file")
    args = arguments.parse_args()
    machine.begin("batch")
    ours, theirs = Ours(args.file, args.threads), Theirs(args.file, args.threads)
    print(f"{'texts':>5}  {'ours: prompt':>12}  {'token':>9}  {'llama.cpp: prompt':>17}  {'token':>9}  {'times':>5}   (CPU ms a token)")
    for n in args.texts:
        best = [[1e9, 1e9], [1e9, 1e9]]
        for _ in range(args.rounds):
            for who, side in enumerate((ours, theirs)):
                for k, seconds in enumerate(side.measure(n)):
                    best[who][k] = min(best[who][k], seconds * 1000)
        print(f"{n:5}  {best[0][0]:12.2f}  {best[0][1]:9.2f}  {best[1][0]:17.2f}  {best[1][1]:9.2f}  {best[1][1] / best[0][1]:5.2f}")
        machine.row(texts=n, prompt_ms=best[0][0], token_ms=best[0][1], their_prompt_ms=best[1][0], their_token_ms=best[1][1])
    ours.close()


if __name__ == "__main__":
    main()
