#!/usr/bin/env python3
"""Folders that `quantize` writes of the example model, loaded by transformers with the programs of the formats: the
weights that they compute with must be the library's, bit by bit, and their first choices must be those of the model
with these weights.

Environment: HT_CLI, HT_BUILD, HT_SOURCE_ROOT. Exit: 0 passed, 1 failed.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import warnings
import zipfile

warnings.filterwarnings("ignore")
import bnb_plain  # noqa: F401
import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GptOssConfig, GptOssForCausalLM, LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from matrices import Halftone

ROOT = pathlib.Path(os.environ["HT_SOURCE_ROOT"])
MODEL = ROOT / "examples/model"
# Not here: w4a16:sym=off, as compressed-tensors 0.20.1 expects zero points in the shape that they have before packing
# when transformers loads a folder, and so refuses what it packs itself.
SCHEMES = ["nf4", "nf4:nested=on", "fp4:block=128", "int8", "fp8", "fp8:scale=tensor", "fp8-block", "w4a16",
           "w8a16", "w8a8", "nvfp4", "mxfp4"]
# What several schemes are in, by rules, skipped modules and budgets: "TYPE RULE RULE skip=NAME", "TYPE bpw=BITS".
MIXED = ["w4a16:group=32 layers:0=none attention=w8a16 last:2+ffn=w8a8 layers:3=fp8 output=w8a16",
         "fp8 attention=nvfp4 ffn_down=fp8-block:config=compressed-tensors skip=re:.*layers.1.*",
         "nf4 ffn_down=fp4:block=128 attention=nf4:nested=on skip=o_proj output=nf4",
         "adaptive max-error=0.087 layers:0=none", "w4a16:group=32>fp8>none max-error=0.087 attention=nvfp4",
         "int8 first:2=none skip=k_proj output=int8", "fp8-block ffn_down=none skip=model.layers.0",
         "w4a16 bpw=5", "w8a16 bpw=6.5", "nf4 bpw=6", "int8 bpw=10"]
BUDGET = ["--calibration", "default", "--calibration-length", "64", "--chunks", "20", "--budget-time", "2s"]
IDS = torch.tensor([[1, 5, 9, 200, 33, 7, 88, 1024]])
logging.set_verbosity_error()
logging.disable_progress_bar()


def module_weights(ht, folder, schemes):
    """float32 weights by module, decoded by the library from the folder's tensors; schemes by module."""
    decoded = {}
    with safe_open(folder / "model.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    with safe_open(MODEL / "model.safetensors", "pt") as file:
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}
    for name, shape in shapes.items():
        module = name[:-len(".weight")]
        if module not in schemes:
            continue
        parts = {}
        for key, tensor in tensors.items():
            if not key.startswith(module + "."):
                continue
            raw = tensor.contiguous()
            dtype = {torch.bfloat16: np.uint16, torch.float8_e4m3fn: np.uint8}.get(raw.dtype)
            if dtype:
                raw = raw.view(torch.int16 if dtype == np.uint16 else torch.uint8)
            array = raw.numpy()
            parts[key[len(module):]] = array.view(dtype) if dtype else array
        decoded[module] = ht.dequantize(schemes[module], parts, shape, "bf16")
    return decoded


def client_weight(module):
    """What the client's module computes with, as float32; None: it does not say."""
    import bitsandbytes as bnb
    weight = module.weight
    if isinstance(module, bnb.nn.Linear4bit):
        return bnb.functional.dequantize_4bit(weight.data, weight.quant_state).float().numpy()
    if isinstance(module, bnb.nn.Linear8bitLt):
        state = module.state
        codes, scale = (state.CB, state.SCB) if state.CB is not None else (weight.data, weight.SCB)
        return bnb.functional.int8_vectorwise_dequant(codes, scale).float().numpy()
    return weight.detach().float().numpy() if weight.dtype in (torch.bfloat16, torch.float32) else None


def check(ht, folder, schemes):
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    with torch.no_grad():
        logits = model(IDS).logits.float()
    decoded = module_weights(ht, folder, schemes)
    compared = 0
    for name, weight in decoded.items():
        theirs = client_weight(model.get_submodule(name))
        if theirs is None:
            continue
        compared += 1
        if not np.array_equal(theirs, weight.reshape(theirs.shape)):
            return f"{name}: {np.count_nonzero(theirs != weight)} of {weight.size} weights differ"
    plain = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.bfloat16)
    with torch.no_grad():
        for name, weight in decoded.items():
            plain.get_submodule(name).weight.copy_(torch.from_numpy(weight))
        want = plain(IDS).logits.float()
    difference = float((logits - want).norm() / want.norm())
    rounded = any(s in ("int8", "w8a8", "nvfp4", "mxfp4") or s.startswith("fp8") for s in schemes.values())
    bound = .05 if rounded else .01  # activations
    if not torch.isfinite(logits).all() or difference > bound:
        return f"logits differ by {difference:.4f}"
    return f"ok: {compared} of {len(decoded)} matrices bit by bit, logits within {difference:.5f}"


# ---- the same folders of PyTorch files ----

def quantize(*args):
    run = subprocess.run([os.environ["HT_CLI"], *map(str, args), "--quiet"], capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(run.stderr)
    return run.stdout


def report_of(*args):
    return json.loads(quantize(*args, "--json").splitlines()[-1])["outputs"]


def same_bytes(a, b):
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(*(t.reshape(-1).view(torch.uint8) for t in (a, b)))


def loaded(folder):
    """Its tensors, as torch.load reads and maps them; with the offsets that it computes checked against the headers."""
    os.environ["TORCH_SERIALIZATION_DEBUG"] = "1"
    tensors = {}
    for file in sorted(folder.glob("*.bin")):
        with zipfile.ZipFile(file) as archive:
            assert archive.testzip() is None, file
        read, mapped = (torch.load(file, weights_only=True, mmap=mmap) for mmap in (False, True))
        assert list(read) == list(mapped), file
        for name, tensor in read.items():
            assert same_bytes(tensor, mapped[name]), name
            assert tensor.is_contiguous() and (mapped[name].data_ptr() % 64 == 0 or not tensor.numel()), name
        tensors |= mapped
    return tensors


def logits_of(folder):
    with torch.no_grad():
        return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)(IDS).logits


def check_torch(work):
    """Tensors bit by bit those of the safetensors folder, and the same logits, to the last bit."""
    types = ["BF16", "nf4", "int8", "fp8", "w4a16", "mxfp4"]
    for form in ("safetensors", "pytorch"):
        quantize("quantize", MODEL, "-t", ",".join(f"{form}/{t}" for t in types), "-o", work / form, "--split-max-size", "4M")
    for t in types:
        same, made = work / f"safetensors/model-{t}", work / f"pytorch/model-{t}-pytorch"
        tensors, compared = loaded(made), 0
        for file in same.glob("*.safetensors"):
            for name, tensor in load_file(file).items():
                other = tensors.pop(name)
                assert same_bytes(tensor, other), (t, name)
                compared += 1
        assert not tensors and compared, (t, list(tensors))
        if t in ("BF16", "nf4"):  # the tensors are the same: that the folder is loaded at all
            assert torch.equal(logits_of(same), logits_of(made)), t
    return f"{', '.join(types)}: every tensor; BF16 and nf4: every logit"


def check_tied(work):
    """A tied output is saved once, and is one tensor again when it is loaded."""
    config = LlamaConfig(vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=1, num_attention_heads=2,
                         num_key_value_heads=1, tie_word_embeddings=True)
    model = LlamaForCausalLM(config).bfloat16()
    tied = work / "tied"
    config.save_pretrained(tied)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (tied / file).write_bytes((MODEL / file).read_bytes())
    state = model.state_dict()
    assert state["lm_head.weight"].data_ptr() == state["model.embed_tokens.weight"].data_ptr()
    torch.save(state, tied / "pytorch_model.bin")
    quantize("convert", tied, "--format", "pytorch", "-o", work)
    tensors = loaded(work / "tied-BF16-pytorch")
    assert tensors["lm_head.weight"].data_ptr() == tensors["model.embed_tokens.weight"].data_ptr()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in state.items()) and len(tensors) == len(state)
    sizes = [(work / f / "pytorch_model.bin").stat().st_size for f in ("tied", "tied-BF16-pytorch")]
    assert abs(sizes[0] - sizes[1]) < 64 * 32, sizes
    return "one storage"


# ---- experts of gpt-oss ----

def check_gpt_oss(work):
    """Its experts in MXFP4: transformers decodes what the library decodes, bit by bit, and takes them from nowhere else."""
    config = GptOssConfig(vocab_size=256, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                          num_key_value_heads=2, head_dim=32, num_local_experts=3, num_experts_per_tok=2)
    torch.manual_seed(3)
    GptOssForCausalLM(config).bfloat16().save_pretrained(work / "oss")
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (work / "oss" / file).write_bytes((MODEL / file).read_bytes())
    made = report_of("quantize", work / "oss", "-t", "mxfp4:config=gpt-oss,BF16", "--format", "safetensors", "-o", work)
    estimated = report_of("estimate", work / "oss", "-t", "mxfp4:config=gpt-oss,BF16", "--format", "safetensors")
    assert [o["size_bytes"] for o in estimated] == [o["size_bytes"] for o in made]
    packed = {t["name"] for t in made[0]["tensors"] if "scheme" in t}
    assert packed == {f"model.layers.{n}.mlp.experts.{m}_proj" for n in (0, 1) for m in ("gate_up", "down")}, packed
    quantize("convert", made[0]["path"], "-t", "F32", "--format", "safetensors", "-o", work / "decoded")
    decoded = load_file(next((work / "decoded").glob("*/model.safetensors")))
    model = AutoModelForCausalLM.from_pretrained(made[0]["path"], dtype=torch.bfloat16)
    state = model.state_dict()
    for name in packed:
        assert torch.equal(state[name].float(), decoded[name]), name
        assert .05 < float((state[name].float() - load_file(work / "oss/model.safetensors")[name].float()).norm() / decoded[name].norm()) < .15, name
    logits = [AutoModelForCausalLM.from_pretrained(f, dtype=torch.bfloat16)(IDS % 256).logits for f in (made[0]["path"], made[1]["path"])]
    assert torch.isfinite(logits[0]).all() and not torch.equal(*logits)
    return f"{len(packed)} stacks of experts"


# ---- folders of schemes ----

def outputs(work):
    """What it is called, and its report."""
    only = sys.argv[1:]
    plain = [s for s in only or SCHEMES if " " not in s and s != "gpt-oss"]
    mixed = [s for s in only or MIXED if " " in s]
    if plain:
        made = report_of("quantize", MODEL, "-t", ",".join(plain), "-o", work)
        assert [o["type"] for o in made] == plain, made
        yield from zip(plain, made)
    for n, text in enumerate(mixed):
        scheme, *rules = text.split(" ")
        options = [("--skip-modules", r[5:]) if r.startswith("skip=") else
                   ("--max-error", r[10:]) if r.startswith("max-error=") else
                   ("--bpw", r[4:], *BUDGET) if r.startswith("bpw=") else ("--rule", r) for r in rules]
        yield text, report_of("quantize", MODEL, "-t", scheme, "-o", f"{work}/{n}", *(o for pair in options for o in pair))[0]


def main():
    ht = Halftone(os.path.join(os.environ["HT_BUILD"], "libhalftone.so"))
    done = wrong = 0
    with tempfile.TemporaryDirectory() as work:
        for name, output in outputs(work):
            schemes = {t["name"][:-len(".weight")]: t["scheme"] for t in output["tensors"] if "scheme" in t}
            try:
                said = check(ht, pathlib.Path(output["path"]), schemes)
            except Exception as error:  # one client's refusal must not hide the others
                said = f"{type(error).__name__}: {str(error)[:300]}"
            ok = said.startswith("ok: ")
            done += 1
            wrong += not ok
            kinds = sorted(set(schemes.values()))
            print(f"{'ok    ' if ok else 'FAILED'} {name}: {said.removeprefix('ok: ')}{', of ' + ', '.join(kinds) if ' ' in name else ''}",
                  flush=True)
        for what, run in (("PyTorch files", check_torch), ("a tied output", check_tied), ("gpt-oss", check_gpt_oss)):
            if sys.argv[1:] not in ([], [what]):
                continue
            try:
                print(f"ok     {what}: {run(pathlib.Path(work))}", flush=True)
            except Exception as error:
                wrong += 1
                print(f"FAILED {what}: {type(error).__name__}: {str(error)[:300]}", flush=True)
    print(f"check_folders: {wrong} failed; {done} folders of schemes, PyTorch files, a tied output, gpt-oss")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
