#!/usr/bin/env python3
"""Every family's tiny checkpoint to a GGUF file and back to a folder: the same tensors, bit for bit, and the folder's own
GGUF file is the first one again. undone.py PROGRAM MODELS.TXT WORK. Without any library, as the normal suite has none."""
import json
import os
import random
import shutil
import struct
import subprocess
import sys

PROGRAM, MODELS, WORK = sys.argv[1:]
SIZES = {"F32": 4, "BF16": 2, "F16": 2}


def models():
    """name, configuration, [(tensor, dtype, shape)] of each model of floats in the list."""
    name, config, tensors = None, None, []
    for line in open(MODELS, encoding="utf-8"):
        if line.startswith("#") or not line.strip():
            continue
        word, _, rest = line.rstrip("\n").partition(" ")
        if word == "model":
            if name:
                yield name, config, tensors
            name, tensors = rest, []
        elif word == "config":
            config = json.loads(rest)
        else:
            dtype, shape = rest.split()
            tensors.append((word, dtype, [int(n) for n in shape.split(",")]))
    yield name, config, tensors


def write_folder(folder, config, tensors, dtype):
    """Weights that are neither tiny nor alike: a norm that is stored less one keeps all of its bits then."""
    header, blobs, at = {}, [], 0
    for name, _, shape in tensors:
        n = 1
        for extent in shape:
            n *= extent
        values = [random.choice((-1, 1)) * random.uniform(0.01, 1) for _ in range(n)]
        blob = struct.pack(f"<{n}f", *values)
        if dtype == "BF16":
            blob = b"".join(blob[i + 2:i + 4] for i in range(0, len(blob), 4))
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [at, at + len(blob)]}
        at += len(blob)
        blobs.append(blob)
    head = json.dumps(header).encode()
    os.makedirs(folder)
    with open(folder + "/model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(head)) + head + b"".join(blobs))
    with open(folder + "/config.json", "w", encoding="utf-8") as out:
        json.dump(config, out)


def read_folder(folder):
    data = open(folder + "/model.safetensors", "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + n])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]])
            for name, t in header.items()}


def run(*arguments):
    done = subprocess.run([PROGRAM, *arguments, "--quiet", "--threads", "1"], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())


def same_weights(one, other):
    """Two GGUF files from the middle to the end, where there are weights alone: what a model is called is no part of it."""
    n = min(os.path.getsize(one), os.path.getsize(other)) // 2
    return open(one, "rb").read()[-n:] == open(other, "rb").read()[-n:]


def bare_name(name):
    """The language model of a multimodal one becomes a model of its own."""
    return name.replace("language_model.model.", "model.").replace("model.language_model.", "model.")


def check(name, config, tensors, dtype):
    work = f"{WORK}/{name}-{dtype}"
    kept = [t for t in tensors if not any(part in t[0] for part in ("vision", "multi_modal"))]
    write_folder(work + "/source", config, tensors, dtype)
    run("convert", work + "/source", "-o", work + "/first.gguf")
    run("convert", work + "/first.gguf", "--format", "safetensors", "-o", work + "/out", "--name", "made")
    made = f"{work}/out/made-{dtype}"
    run("convert", made, "-o", work + "/second.gguf")
    source, back = read_folder(work + "/source"), read_folder(made)
    wanted = {bare_name(t[0]): source[t[0]] for t in kept}
    differ = sorted(n for n in set(wanted) | set(back) if wanted.get(n) != back.get(n))
    # adding one to a norm of 32 bits drops what is below the last bit of one, which is lost
    plus_one = config.get("model_type", "").startswith("gemma") and dtype == "F32"
    if plus_one:
        differ = [n for n in differ if "norm" not in n]
    if differ:
        raise RuntimeError(f"{len(differ)} tensors are not what they were: {', '.join(differ[:4])}")
    if not same_weights(work + "/first.gguf", work + "/second.gguf"):
        raise RuntimeError("the folder's GGUF file has other weights than the first")
    shutil.rmtree(work)


def main():
    random.seed(5)
    failed = done = 0
    for name, config, tensors in models():
        if any(dtype not in SIZES for _, dtype, _ in tensors):
            continue  # packed: what comes back is floats
        config.pop("quantization_config", None)
        for dtype in ("BF16", "F32") if name in ("llama-gqa", "gemma2") else ("BF16",):
            config["dtype"] = {"BF16": "bfloat16", "F32": "float32"}[dtype]
            try:
                check(name, config, tensors, dtype)
                done += 1
            except (RuntimeError, OSError) as wrong:
                print(f"FAILED {name}, {dtype}: {str(wrong)[:500]}")
                failed += 1
    print(f"undone: {done} models went round, {failed} did not")
    sys.exit(failed > 0 or done < 35)


main()
