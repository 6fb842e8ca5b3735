#!/usr/bin/env python3
"""Peak memory of quantizing models far larger than it: sparse folders (holes read as zeros) in the shapes of a dense
13 B-parameter Llama and of a mixture of eight experts of the same size, to Q4_K_M; with --shapes also of 7 B and 70 B,
with --types to schemes.

    HT_CLI=build/halftone bench/memory.py WORK_FOLDER [--threads N] [--shapes dense,experts,7b,70b] [--types T,…]
                                          [--layers N]

WORK_FOLDER takes 9 GB for a while (for 70 B five times as much); the sources take nothing. --layers makes fewer layers of
the same width, where there is no room for all: memory depends on the largest matrices, not on how many there are.
"""
import argparse
import json
import os
import shutil
import struct
import subprocess

import machine

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CLI = os.environ.get("HT_CLI", os.path.join(ROOT, "build", "halftone"))
VOCAB = 32000
# layers, width, feed-forward width, heads, heads of keys and values, experts
SHAPES = {"dense": (40, 5120, 13824, 40, 40, 0), "experts": (16, 4096, 7168, 32, 8, 8), "7b": (32, 4096, 11008, 32, 32, 0),
          "70b": (80, 8192, 28672, 64, 8, 0)}


def layer(at, embd, ff, kv, experts):
    yield at + "input_layernorm.weight", (embd,)
    yield at + "post_attention_layernorm.weight", (embd,)
    for name, rows in (("q", embd), ("k", kv), ("v", kv), ("o", embd)):
        yield f"{at}self_attn.{name}_proj.weight", (rows, embd)
    if not experts:
        for name, shape in (("gate", (ff, embd)), ("up", (ff, embd)), ("down", (embd, ff))):
            yield f"{at}mlp.{name}_proj.weight", shape
        return
    yield at + "block_sparse_moe.gate.weight", (experts, embd)
    for e in range(experts):
        for name, shape in (("w1", (ff, embd)), ("w2", (embd, ff)), ("w3", (ff, embd))):
            yield f"{at}block_sparse_moe.experts.{e}.{name}.weight", shape


def make(folder, layers, embd, ff, heads, kv_heads, experts):
    shapes = {"model.embed_tokens.weight": (VOCAB, embd), "model.norm.weight": (embd,), "lm_head.weight": (VOCAB, embd)}
    for i in range(layers):
        shapes.update(layer(f"model.layers.{i}.", embd, ff, embd // heads * kv_heads, experts))
    header, end, weights = {}, 0, 0
    for name, shape in shapes.items():
        n = 1
        for size in shape:
            n *= size
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + 2 * n]}
        end, weights = end + 2 * n, weights + n
    text = json.dumps(header).encode()
    os.makedirs(folder)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    config = dict(model_type="mixtral" if experts else "llama", hidden_size=embd, intermediate_size=ff, vocab_size=VOCAB,
                  architectures=["MixtralForCausalLM" if experts else "LlamaForCausalLM"], num_hidden_layers=layers,
                  num_attention_heads=heads, num_key_value_heads=kv_heads, rms_norm_eps=1e-5, torch_dtype="bfloat16",
                  max_position_embeddings=4096, tie_word_embeddings=False)
    if experts:
        config |= dict(num_local_experts=experts, num_experts_per_tok=2)
    json.dump(config, open(os.path.join(folder, "config.json"), "w"))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(ROOT, "examples", "model", name), folder)
    return weights


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("--threads", default="2")
    parser.add_argument("--shapes", default="dense,experts")
    parser.add_argument("--types", default="Q4_K_M")
    parser.add_argument("--layers", type=int)
    options = parser.parse_args()
    machine.begin("memory")
    for name in options.shapes.split(","):
        layers, *width = SHAPES[name]
        source, out = (os.path.join(options.folder, f"halftone-memory-{name}{end}") for end in ("", "-out"))
        shutil.rmtree(source, ignore_errors=True)
        weights = make(source, options.layers or layers, *width)
        for kind in options.types.split(","):
            shutil.rmtree(out, ignore_errors=True)
            subprocess.run([CLI, "quantize", source, "-t", kind, "-o", out, "--threads", options.threads, "--quiet",
                            "--report", out + ".json"], check=True, stdout=subprocess.DEVNULL)
            report = json.load(open(out + ".json"))
            print(f"{name:8} {kind:7} {weights / 1e9:5.1f} B weights, {report['outputs'][0]['size_bytes'] / 1e9:5.2f} GB "
                  f"written, peak memory {report['peak_rss_bytes'] / 1e6:5.0f} MB, {report['seconds']:6.1f} s", flush=True)
            machine.row(shape=name, type=kind, weights=weights, bytes=report["outputs"][0]["size_bytes"],
                        peak_bytes=report["peak_rss_bytes"], seconds=report["seconds"])
            shutil.rmtree(out)
            os.remove(out + ".json")
        shutil.rmtree(source)


if __name__ == "__main__":
    main()
