#!/usr/bin/env python3
"""Importance: what `halftone imatrix` collects is what the field's own tool collected from the same model and text, every
sum within 1e-3, every count equal; on tiny models (experts, shared experts, latent attention) it is what hooks in
transformers see; experts without data are named; merging adds; and a model quantized with it runs in llama.cpp.

Environment: HT_CLI, HT_LLAMA_LIB, HT_SHARED. Exit status: 0 passed, 1 failed, 77 skipped.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import check_arch  # skips where its packages are missing
from check_arch import CLI, ROOT, VOCAB
from llama_logits import Llama

import converter  # noqa: F401 (its gguf is the newest)
import gguf
import numpy
import torch

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import reports  # noqa: E402

SHARED = os.environ.get("HT_SHARED", os.path.join(ROOT, "..", "shared"))
CTX, CHUNKS = 32, 6
TINY = ["llama-gqa", "gpt2", "phi3", "mixtral", "qwen2-moe", "qwen3-moe", "deepseek-v2", "deepseek-v3", "gpt-oss"]
NAMES = [(r"self_attn\.([qkv])_proj", r"attn_\1"), (r"self_attn\.o_proj", "attn_output"),
         (r"self_attn\.qkv_proj", "attn_qkv"), (r"mlp\.gate_up_proj", "ffn_up"), (r"attn\.c_attn", "attn_qkv"),
         (r"attn\.c_proj", "attn_output"), (r"mlp\.c_fc", "ffn_up"), (r"mlp\.c_proj", "ffn_down"),
         (r"self_attn\.q_a_proj", "attn_q_a"), (r"self_attn\.q_b_proj", "attn_q_b"),
         (r"self_attn\.kv_a_proj_with_mqa", "attn_kv_a_mqa"),
         (r"shared_experts?\.(gate|up|down)_proj", r"ffn_\1_shexp"), (r"shared_expert_gate", "ffn_gate_inp_shexp"),
         (r"(?:mlp|block_sparse_moe)\.(?:gate|router)", "ffn_gate_inp"), (r"mlp\.(gate|up|down)_proj", r"ffn_\1")]


def run(*arguments):
    done = subprocess.run([CLI, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stderr.strip())
    report = reports.of_output(done.stdout)
    if report and reports.errors(report):
        raise RuntimeError(f"{arguments}: {reports.errors(report)}")
    return done


def read(path):
    """name -> (sums by matrix, counts)"""
    tensors = {t.name: t.data.astype(numpy.float64) for t in gguf.GGUFReader(path).tensors}
    out = {}
    for name, sums in tensors.items():
        if name.endswith(".in_sum2"):
            counts = tensors[name[:-8] + ".counts"].reshape(-1)
            out[name[:-8]] = (sums.reshape(len(counts), -1), counts)
    return out


def worst(got, want):
    """Largest difference of a sum, relative to it and a hundredth of its matrix's mean: what a single row has near 0
    is the rounding of those who computed it."""
    return max(((numpy.abs(got[n][0] - s) / (s + 0.01 * s.mean(-1, keepdims=True) + 1e-30)).max(), n)
               for n, (s, _) in want.items())


def agree(what, got, want, all_names=True):
    if all_names and sorted(got) != sorted(want):
        raise RuntimeError(f"other tensors: {sorted(set(got) ^ set(want))}")
    missing = set(want) - set(got)
    if missing:
        raise RuntimeError(f"nothing for {sorted(missing)}")
    for name, (_, counts) in want.items():
        if not numpy.array_equal(got[name][1], counts):
            raise RuntimeError(f"{name}: counts {got[name][1]}, not {counts}")
    error, where = worst(got, want)
    if error > 1e-3:
        raise RuntimeError(f"{where}: sums differ by {error:.1e}")
    print(f"ok     {what}: {len(want)} tensors, largest difference {error:.1e}", flush=True)


def hidden_of(module, expert, rows):
    """What an expert's last matrix takes."""
    if hasattr(module, "gate_up_proj_bias"):  # gpt-oss: columns alternate, both halves are clamped
        fused = rows @ module.gate_up_proj[expert] + module.gate_up_proj_bias[expert]
        gate, up = fused[..., ::2].clamp(max=7), fused[..., 1::2].clamp(-7, 7)
        return (up + 1) * gate * torch.sigmoid(gate * 1.702)
    gate, up = torch.nn.functional.linear(rows, module.gate_up_proj[expert]).chunk(2, dim=-1)
    return module.act_fn(gate) * up


class Hooks:
    """What the matrices of a model take, as their module's inputs show it."""

    def __init__(self, model, n_experts):
        self.sums, self.counts, self.n_experts = {}, {}, n_experts
        for path, module in model.named_modules():
            layer = re.search(r"(?:layers|h)\.(\d+)\.(.*)", path)
            if path == "lm_head" and not model.config.tie_word_embeddings:  # a tied one is never collected
                self.watch(module, "output")
            if not layer:
                continue
            if layer[2].endswith(".experts"):
                module.register_forward_pre_hook(self.experts(f"blk.{layer[1]}.", module), with_kwargs=True)
                continue
            for pattern, name in NAMES:
                if hasattr(module, "weight") and re.fullmatch(r"(?:.*\.)?" + pattern, layer[2]):
                    self.watch(module, f"blk.{layer[1]}." + re.sub(r"(?:.*\.)?" + pattern, name, layer[2]))
                    break

    def add(self, name, matrix, n_matrices, x):
        x = x.detach().double().reshape(-1, x.shape[-1]).numpy()
        name += ".weight"
        if name not in self.sums:
            self.sums[name] = numpy.zeros((n_matrices, x.shape[1]))
            self.counts[name] = numpy.zeros(n_matrices)
        self.sums[name][matrix] += (x * x).sum(0)
        self.counts[name][matrix] += len(x)

    def watch(self, module, name):
        module.register_forward_pre_hook(lambda _, inputs: self.add(name, 0, 1, inputs[0]))

    def experts(self, block, module):
        def see(_, inputs, named):
            x = (inputs[0] if inputs else named["hidden_states"]).reshape(-1, inputs[0].shape[-1])
            chosen = next(i for i in list(inputs[1:]) + list(named.values()) if i is not None and not i.is_floating_point())
            for expert in range(self.n_experts):
                rows = x[(chosen.reshape(len(x), -1) == expert).any(-1)]
                hidden = hidden_of(module, expert, rows)
                for name in ("gate", "up"):
                    self.add(f"{block}ffn_{name}_exps", expert, self.n_experts, rows)
                self.add(f"{block}ffn_down_exps", expert, self.n_experts, hidden)
        return see

    def result(self):
        return {n: (s, self.counts[n]) for n, s in self.sums.items()}


def tokenizer_of(folder):
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(ROOT, "examples", "model", file), folder)


def with_bos(folder, ids):
    out = folder + "-f32.gguf"
    run("convert", folder, "-t", "F32", "-o", out, "--quiet")
    fields = gguf.GGUFReader(out).fields
    adds = fields.get("tokenizer.ggml.add_bos_token")
    ids = ids.copy()
    if adds and adds.contents():
        ids[:, 0] = fields["tokenizer.ggml.bos_token_id"].contents()
    return ids


def check_tiny(name, work):
    folder = os.path.join(work, name)
    model = check_arch.build(name, {})
    model.save_pretrained(folder)
    tokenizer_of(folder)
    ids = (numpy.arange(CTX * CHUNKS, dtype=numpy.int32) * 7919 % (VOCAB - 5)).reshape(CHUNKS, CTX)
    ids.tofile(folder + ".ids")
    config = model.config
    hooks = Hooks(model, getattr(config, "num_experts", None) or getattr(config, "num_local_experts", None)
                  or getattr(config, "n_routed_experts", 0))
    with torch.no_grad():
        for chunk in with_bos(folder, ids):
            model(torch.tensor(chunk[None].astype(numpy.int64)))
    run("imatrix", folder, "--tokens", folder + ".ids", "--ctx", CTX, "--process-output", "-o", folder + ".gguf", "--quiet")
    got = read(folder + ".gguf")
    # the two factors of latent attention are no module's: q's part without a position is k_b's input
    agree(f"{name} against transformers", got, hooks.result(), all_names=not any("attn_k_b" in n for n in got))
    for n, (sums, counts) in got.items():
        if "attn_k_b" in n or "attn_v_b" in n:
            assert counts[0] == CTX * CHUNKS and (sums > 0).all(), n


def check_unreached(work):
    """One token over and over reaches few of 64 experts."""
    folder = os.path.join(work, "wide")
    model = check_arch.build("qwen3-moe", {"num_experts": 64})
    model.save_pretrained(folder)
    tokenizer_of(folder)
    numpy.full(CTX, 7, dtype=numpy.int32).tofile(folder + ".ids")
    done = run("imatrix", folder, "--tokens", folder + ".ids", "--ctx", CTX, "-o", folder + ".gguf", "--json")
    report = json.loads(done.stdout.splitlines()[-1])
    got = read(folder + ".gguf")
    for entry in report["experts_without_data"]:
        sums, counts = got[entry["tensor"]]
        assert entry["experts"] == [i for i in range(64) if counts[i] == 0] and entry["experts"], entry
        assert (sums[entry["experts"]] == 0).all() and entry["of"] == 64
        assert f"{entry['tensor']}: no token reached {len(entry['experts'])} of 64 experts" in done.stderr
    assert len(report["experts_without_data"]) == 3 * model.config.num_hidden_layers
    run("quantize", folder, "-t", "IQ4_NL", "--imatrix", folder + ".gguf", "-o", os.path.join(work, "wide-out"), "--quiet")
    print("ok     experts without data are named, and the model is quantized", flush=True)


def check_prose(work, llama):
    model, text = os.path.join(SHARED, "models", "prose-5.8m"), os.path.join(SHARED, "corpora", "prose-cal.txt")
    if not os.path.exists(model):
        print("SKIPPED prose-5.8m: HT_SHARED does not have it")
        return
    ours, half = os.path.join(work, "prose.gguf"), os.path.join(work, "half.gguf")
    theirs = os.path.join(model, "imatrix.gguf")
    run("imatrix", model, "--text", text, "--ctx", 256, "-o", ours, "--quiet")
    agree("prose-5.8m against llama-imatrix", read(ours), read(theirs))
    a, b = (gguf.GGUFReader(p).fields for p in (ours, theirs))
    for key in ("general.type", "imatrix.chunk_count", "imatrix.chunk_size"):
        assert a[key].contents() == b[key].contents(), key
    run("imatrix", model, "--text", text, "--ctx", 256, "--chunks", 20, "-o", half, "--quiet")
    run("imatrix", model, "--text", text, "--ctx", 256, "--from-chunk", 20, "--in-file", half, "-o", half, "--overwrite", "--quiet")
    agree("prose-5.8m in two parts", read(half), read(ours))
    run("imatrix", "--in-file", theirs, "--in-file", ours, "-o", os.path.join(work, "both.gguf"), "--quiet")
    agree("merged with the field's own file", read(os.path.join(work, "both.gguf")),
          {n: (2 * s, 2 * c) for n, (s, c) in read(theirs).items()})
    ids = list(range(300, 364))
    logits = []
    run("convert", model, "-t", "F32", "-o", os.path.join(work, "f32.gguf"), "--quiet")
    run("quantize", model, "-t", "IQ3_XXS", "--imatrix", ours, "-o", os.path.join(work, "iq.gguf"), "--quiet")
    for file in ("f32.gguf", "iq.gguf"):
        x = numpy.array(llama.logits(os.path.join(work, file), ids, 2048), dtype=numpy.float64)
        logits.append(x - numpy.log(numpy.exp(x - x.max(-1, keepdims=True)).sum(-1, keepdims=True)) - x.max(-1, keepdims=True))
    kld = (numpy.exp(logits[0]) * (logits[0] - logits[1])).sum(-1).mean()
    assert 0 < kld < 0.5, kld
    print(f"ok     IQ3_XXS with our importance in llama.cpp: mean divergence from F32 {kld:.3f}", flush=True)


def main():
    torch.set_num_threads(1)
    llama = Llama(os.environ["HT_LLAMA_LIB"])
    failed = 0
    with tempfile.TemporaryDirectory(prefix="halftone-imatrix-") as work:
        checks = [(name, lambda name=name: check_tiny(name, work)) for name in sys.argv[1:] or TINY]
        if not sys.argv[1:]:
            checks += [("experts without data", lambda: check_unreached(work)), ("prose-5.8m", lambda: check_prose(work, llama))]
        for name, check in checks:
            try:
                check()
            except Exception as fault:  # every one is tried
                print(f"FAILED {name}: {type(fault).__name__} {fault}", flush=True)
                failed += 1
    print(f"check_imatrix: {failed} failed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
