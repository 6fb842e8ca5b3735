#!/usr/bin/env python3
"""Tokens a second of a GGUF file, ours and llama.cpp's in turn in one process: a prompt of 512 tokens, then 16 tokens
one by one, after some that are not measured: both programs arrange the weights' memory first.

    HT_LIB=build/libhalftone.so HT_LLAMA_LIB=FOLDER bench/speed.py [--threads N] [--rounds N] [--json OUT] FILE.gguf…
"""
import argparse
import ctypes
import os
import sys
import time

import machine

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests", "parity"))
from halftone_logits import Halftone
from llama_logits import Llama

clock = time.process_time if os.environ.get("HT_CPU_TIME") else time.perf_counter
PROMPT, STEPS, WARM = 512, 16, 10
IDS = [(i * 7919 + 13) % 30000 + 1 for i in range(PROMPT + STEPS)]


def ours(engine, path, threads):
    model, diag = ctypes.c_void_p(), ctypes.create_string_buffer(8192)
    if engine.lib.ht_model_open(path.encode(), PROMPT + STEPS, threads, 0, 1, ctypes.byref(model), diag):
        raise RuntimeError(diag.raw)
    logits = (ctypes.c_float * engine.lib.ht_model_vocabulary(model))()
    tokens = (ctypes.c_int32 * len(IDS))(*IDS)

    def call(at, n):
        if engine.lib.ht_model_logits(model, ctypes.byref(tokens, 4 * at), n, at, 1, logits, diag):
            raise RuntimeError(diag.raw)

    for i in range(WARM):
        call(i, 1)
    start = clock()
    call(0, PROMPT)
    middle = clock()
    for i in range(STEPS):
        call(PROMPT + i, 1)
    end = clock()
    engine.lib.ht_model_close(ctypes.byref(model))
    return PROMPT / (middle - start), STEPS / (end - middle)


def theirs(llama, path, threads):
    lib = llama.lib
    params = lib.llama_context_default_params()
    ints = ctypes.cast(params.raw, ctypes.POINTER(ctypes.c_int32))
    ints[0] = 1024
    if ints[7] == ints[8]:
        ints[7] = ints[8] = threads
    model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
    context = lib.llama_init_from_model(model, params)
    if not context:
        raise RuntimeError("".join(llama.log[-6:]))
    tokens = (ctypes.c_int32 * len(IDS))(*IDS)

    def call(at, n):
        if lib.llama_decode(context, lib.llama_batch_get_one(ctypes.byref(tokens, 4 * at), n)):
            raise RuntimeError("".join(llama.log[-6:]))
        lib.llama_get_logits_ith(context, -1)

    for i in range(WARM):
        call(i, 1)
    lib.llama_free(context)
    context = lib.llama_init_from_model(model, params)
    start = clock()
    call(0, PROMPT)
    middle = clock()
    for i in range(STEPS):
        call(PROMPT + i, 1)
    end = clock()
    lib.llama_free(context)
    lib.llama_model_free(model)
    return PROMPT / (middle - start), STEPS / (end - middle)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    machine.begin("speed")
    engine = Halftone(os.environ.get("HT_LIB", os.path.join(ROOT, "build", "libhalftone.so")))
    llama = Llama(os.environ["HT_LLAMA_LIB"])
    llama.lib.llama_batch_get_one.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    print(f"{'file':28} {'prompt':>22} {'ratio':>6} {'generation':>22} {'ratio':>6}   (ours / llama.cpp, tokens/s)")
    for path in args.files:
        best = [[0, 0], [0, 0]]
        for _ in range(args.rounds):
            for side, result in enumerate((ours(engine, path, args.threads), theirs(llama, path, args.threads))):
                best[side] = [max(a, b) for a, b in zip(best[side], result)]
        (prompt, steps), (their_prompt, their_steps) = best
        print(f"{os.path.basename(path):28} {prompt:10.1f} / {their_prompt:9.1f} {prompt / their_prompt:5.2f}x "
              f"{steps:10.2f} / {their_steps:9.2f} {steps / their_steps:5.2f}x", flush=True)
        machine.row(file=os.path.basename(path), threads=args.threads, prompt_tokens_s=prompt, their_prompt_tokens_s=their_prompt,
                    tokens_s=steps, their_tokens_s=their_steps, gbs=steps * os.path.getsize(path) / 1e9)


if __name__ == "__main__":
    main()
