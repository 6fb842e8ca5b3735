#!/usr/bin/env python3
"""Running a model in a quarter of its memory: are the results the same to the bit, and does the disk explain the time?

    streaming.py HALFTONE MODEL.gguf [rounds]

Each round drops the file from the system's memory and reads it from the disk, which gives the disk's throughput; then
evaluates the model with and without --memory, the file dropped before each. Layers are read while others are computed:
under the cap a run should take no less than the longer of computing and reading, and no more than both one after the
other. MODEL is one file with 1 B parameters or more, as make_model.py and `halftone quantize` make it. Timing is of the
whole process.
"""
import json
import os
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import machine

CTX, CHUNKS, PIECE = 128, 2, 8 << 20


def drop(path):
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def throughput(path):
    drop(path)
    start, total = time.monotonic(), 0
    with open(path, "rb", buffering=0) as file:
        while piece := file.read(PIECE):
            total += len(piece)
    return total / (time.monotonic() - start)


def run(program, verb, model, tokens, *options):
    command = [program, verb, model, "--tokens", tokens, "--ctx", str(CTX), "--chunks", str(CHUNKS), "--json", *options]
    drop(model)
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return time.monotonic() - start, json.loads(done.stdout.strip().splitlines()[-1])


def collected(program, model, tokens, path, *options):
    run(program, "imatrix", model, tokens, "-o", path, "--overwrite", *options)
    with open(path, "rb") as file:
        return file.read()


def main():
    program, model = sys.argv[1:3]
    machine.begin("streaming")
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    cap = os.path.getsize(model) // 4
    disk, capped, free = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        tokens = os.path.join(folder, "tokens")
        source = random.Random(1)
        with open(tokens, "wb") as file:
            file.write(struct.pack(f"<{CTX * CHUNKS}i", *(source.randrange(1000) for _ in range(CTX * CHUNKS))))
        for _ in range(rounds):
            disk.append(throughput(model))
            took, small = run(program, "eval", model, tokens, "--memory", str(cap))
            capped.append(took)
            took, large = run(program, "eval", model, tokens)
            free.append(took)
        out = os.path.join(folder, "sums.gguf")
        same = collected(program, model, tokens, out, "--memory", str(cap)) == collected(program, model, tokens, out)
    figures = ("perplexity", "perplexity_error", "tokens")
    same = same and all(small[k] == large[k] for k in figures)
    layers, rate = small["layers"], statistics.median(disk)
    with_cap, without = statistics.median(capped), statistics.median(free)
    first = min(large["size_bytes"] / rate, without)  # without a cap the file comes from the disk too, once
    reading, computing = layers["bytes_read"] / rate, without - first
    print(f"{os.path.basename(model)}: {os.path.getsize(model) / 1e6:.0f} MB, --memory {cap / 1e6:.0f} MB, {rounds} rounds, medians")
    print(f"layers: {layers['hits']} there in time, {layers['reads']} read ({layers['cache_reads']} of them from --layer-cache), "
          f"{layers['bytes_read'] / 1e6:.0f} MB")
    print(f"disk: {rate / 1e6:.0f} MB/s, so reading alone {reading:.2f} s ({' '.join(f'{r / 1e6:.0f}' for r in disk)})")
    print(f"without a cap {without:.2f} s, with it {with_cap:.2f} s: slower by a factor of {with_cap / without:.2f}")
    print(f"expected between {max(reading, computing):.2f} s (all at once) and {reading + without:.2f} s (one after the other)")
    machine.row(model=os.path.basename(model), cap_bytes=cap, disk_mbs=rate / 1e6, without_s=without, with_s=with_cap, same=same)
    print("results: " + ("the same to the bit" if same else "DIFFERENT"))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
