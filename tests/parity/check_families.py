#!/usr/bin/env python3
"""Every scheme in every family of models: a tiny model whose widths are multiples of 128, written by `quantize`, opened by
safetensors and loaded on the CPU by the program that the scheme is for. Its weights are the library's, bit by bit, and its
logits the engine's within 1e-3 of the largest.

The program computes in float32 here. Where it cannot (it rounds activations to 8 bits or to halves), transformers computes
with its dequantized weights instead. What a program does not take is in FAULTS, with its own words.

Environment: HT_CLI, HT_BUILD, HT_GPTQMODEL_PYTHON. Arguments: families, schemes (default all).
Exit: 0 passed, 1 failed, 77 skipped.
"""
import contextlib
import io
import json
import logging as python_logging
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import warnings

python = os.environ.get("HT_GPTQMODEL_PYTHON")
if not python:
    print("SKIPPED check_families: GPTQModel is not here (HT_GPTQMODEL_PYTHON names a Python that has it)")
    sys.exit(77)
if os.path.abspath(sys.executable) != os.path.abspath(python):
    os.execv(python, [python, *sys.argv])

warnings.filterwarnings("ignore")
with contextlib.redirect_stdout(io.StringIO()):  # GPTQModel's banner
    from clients import in_float32, is_packed, load, load_gptqmodel, logits_of, weight_of
import numpy as np
import torch
from safetensors import safe_open
from transformers.utils import logging

import check_arch
from halftone_logits import Halftone

CLI = os.environ["HT_CLI"]
IDS = [5, 17, 400, 23, 100, 8, 61, 2]
BOUND = 1e-3  # of the largest logit
ROUGHLY = .2  # the same, where the client rounds activations; not of sparse models, whose routers may choose other experts then
# GPTQModel's last: it changes classes of transformers, experts among them.
SCHEMES = ["nf4", "fp4:nested=on", "int8", "w4a16", "w8a16", "w8a8", "fp8", "fp8-block", "nvfp4", "mxfp4", "mxfp8", "gptq", "awq"]
# Of activations; bitsandbytes rounds those to bfloat16, or decodes 4 bits to other weights in float32.
ROUNDING = ("nf4", "fp4", "int8", "awq", "w8a8", "fp8", "nvfp4", "mxfp4", "mxfp8")
FAMILIES = ["llama-gqa", "mistral", "mixtral", "qwen2", "qwen2-moe", "qwen3", "qwen3-moe", "gemma", "gemma2", "gemma3", "phi2",
            "phi3", "gpt-neox", "falcon-7b", "falcon-40b", "stablelm", "starcoder2", "olmo2", "olmo3", "deepseek-v2",
            "deepseek-v3", "gpt-oss", "smollm3", "granite", "granite-moe", "granite-moe-shared"]
SPARSE = ("mixtral", "qwen2-moe", "qwen3-moe", "deepseek-v2", "deepseek-v3", "gpt-oss", "granite-moe", "granite-moe-shared")
FALCON = ("falcon-7b", "falcon-40b")
# (families, schemes, words of the client's fault); of several that match, the last.
FAULTS = [
    # transformers 5.23 merges experts: not at all where they are whole numbers, and without the global scales of NVFP4 (they come out
    # 14,563 times too large)
    (("mixtral", "qwen2-moe", "qwen3-moe", "deepseek-v2", "deepseek-v3"), ("w8a8",), "issues during automatic conversion"),
    (("mixtral", "qwen2-moe", "qwen3-moe", "deepseek-v2", "deepseek-v3"), ("nvfp4",), "experts.gate_up_proj"),
    # GPTQModel 7.7 looks for experts and halves under its own names alone, not under those that the checkpoint has
    (("deepseek-v2", "deepseek-v3", "granite-moe", "granite-moe-shared"), ("gptq", "awq"), "gate_up_proj"),
    (("granite-moe-shared",), ("awq",), "Unsupport model_type granitemoeshared"),
    (("mixtral", "gpt-oss", "phi3"), ("gptq",), "Missing required quantized weights"),
    (("gpt-oss", "phi3"), ("awq",), "gate_up_proj"),
    (("mixtral",), ("awq",), "mlp.gate.weight"),
    # it does not find the output that GPT-NeoX calls embed_out
    (("gpt-neox",), ("gptq", "awq"), "first lm_head.weight"),
    # bitsandbytes 0.50 rounds no activations whose rows do not follow one another
    (("deepseek-v2", "deepseek-v3"), ("int8",), "The size of tensor a"),
    # Falcon has a Linear class of its own, which transformers' bitsandbytes and compressed-tensors leave as it is
    (FALCON, ("nf4", "fp4:nested=on"), "`ignore_mismatched_sizes`"),
    (FALCON, ("int8",), "first transformer.h.0.self_attention.query_key_value.weight"),
    (FALCON, ("w4a16", "w8a16", "nvfp4", "mxfp4"), "'FalconLinear' object has no attribute 'weight'"),
]
CANNOT = {(f, s): words for families, schemes, words in FAULTS for f in families for s in schemes}


def widths(name):
    """What makes a model of check_arch a small one of multiples of 128."""
    has = check_arch.MODELS[name][1]
    wide = dict(hidden_size=256, vocab_size=512, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2,
                num_key_value_heads=1, head_dim=128, query_pre_attn_scalar=128, moe_intermediate_size=128, kv_lora_rank=128,
                shared_expert_intermediate_size=128, shared_intermediate_size=128, qk_rope_head_dim=64, qk_nope_head_dim=64,
                v_head_dim=128, num_experts=2, num_local_experts=2)
    wide = {k: v for k, v in wide.items() if k in has}
    if has.get("num_key_value_heads") == has["num_attention_heads"]:
        wide["num_key_value_heads"] = 2
    if has.get("q_lora_rank"):
        wide["q_lora_rank"] = 128
    if "num_kv_heads" in has:
        wide["num_attention_heads"] = 4
    return wide


def write(name, schemes, folder):
    """The folders of all schemes: their reports."""
    plain = folder / "plain"
    check_arch.build(name, widths(name)).to(torch.bfloat16).save_pretrained(plain)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(check_arch.ROOT, "examples", "model", file), plain)
    types = [t for s in schemes for t in ("-t", s)]
    made = subprocess.run([CLI, "quantize", plain, *types, "-o", folder, "--json", "--quiet"], capture_output=True, text=True)
    if made.returncode:
        raise RuntimeError(made.stderr.strip())
    return json.loads(made.stdout.splitlines()[-1])["outputs"]


def as_floats(path, out):
    """transformers' own model of the folder's weights as we decode them, in float32."""
    done = subprocess.run([CLI, "convert", path, "-t", "F32", "--format", "safetensors", "-o", out, "--quiet"],
                          capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return load(next(out.iterdir()), torch.float32)


def differing(plain, client):
    """Parameters of the model of floats that are others in the client; and how many of them it keeps packed."""
    wrong, packed = [], 0
    for name, weight in plain.named_parameters():
        where, _, leaf = name.rpartition(".")
        module = client.get_submodule(where)
        packed += leaf == "weight" and is_packed(module)
        theirs = weight_of(module, leaf)
        if not is_packed(module):
            weight = weight.to(theirs.dtype)  # GPTQModel has what is not packed in halves
        if theirs.shape != weight.shape or not torch.equal(theirs.float(), weight.float()):
            wrong.append(name)
    return wrong, packed


def distance(a, b):
    return float(np.abs(a - b).max() / np.abs(b).max()) if np.isfinite(a).all() else np.inf


def check(engine, output, work, sparse):
    """The largest difference of logits, and how many weights the client keeps packed."""
    path, scheme = pathlib.Path(output["path"]), output["type"]
    with safe_open(path / "model.safetensors", "pt") as file:
        n_tensors = len(list(file.keys()))
    if n_tensors < len(output["tensors"]):
        raise AssertionError(f"safetensors finds {n_tensors} tensors")
    awq = scheme.startswith("awq")
    client = load_gptqmodel(path, awq) if awq or scheme.startswith("gptq") else load(path)
    plain = as_floats(path, work / (path.name + ".floats"))
    ours = engine.logits(str(path), IDS)
    wrong, packed = differing(plain, client)
    if wrong:
        raise AssertionError(f"{len(wrong)} weights are others than the client's, first {wrong[0]}")
    roughly = distance(logits_of(client, IDS), ours)
    if not sparse and not roughly < ROUGHLY:
        raise AssertionError(f"with its activations the client's logits differ by {roughly:.1e} of the largest")
    apart = distance(ours, logits_of(plain if scheme.startswith(ROUNDING) else in_float32(client), IDS))
    if not apart < BOUND:
        raise AssertionError(f"logits differ by {apart:.1e} of the largest")
    return apart, packed


def told(name, scheme, run):
    """Whether it is as it should be, and the line that says so."""
    cannot = CANNOT.get((name, scheme))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            apart, packed = run()
    except Exception as error:  # one client's fault must not hide the others
        said = f"{type(error).__name__}: {str(error)[:300]}"
        if cannot and cannot in said:
            return True, f"cannot {name} {scheme}: {said}"
        return False, f"FAILED {name} {scheme}: {said}"
    if cannot:
        return False, f"FAILED {name} {scheme}: the client takes it, but FAULTS says {cannot!r}"
    return True, f"ok     {name} {scheme}: logits within {apart:.1e}, {packed} matrices kept packed"


def main():
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    python_logging.disable(python_logging.ERROR)
    torch.set_num_threads(1)
    families = [a for a in sys.argv[1:] if a in FAMILIES] or FAMILIES
    schemes = [a for a in sys.argv[1:] if a not in FAMILIES] or SCHEMES
    engine = Halftone(os.path.join(os.environ["HT_BUILD"], "libhalftone.so"))
    done = wrong = cannot = 0
    for name in families:
        with tempfile.TemporaryDirectory(prefix="halftone-families-") as work:
            for output in write(name, schemes, pathlib.Path(work)):
                good, line = told(name, output["type"], lambda: check(engine, output, pathlib.Path(work), name in SPARSE))
                print(line, flush=True)
                done, wrong, cannot = done + 1, wrong + (not good), cannot + line.startswith("cannot")
    print(f"check_families: {done - wrong - cannot} of {done} as their programs have them, {cannot} that the programs do not take, "
          f"{wrong} failed")
    sys.exit(1 if wrong or done != len(families) * len(schemes) else 0)


if __name__ == "__main__":
    main()
