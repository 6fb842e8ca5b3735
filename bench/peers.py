#!/usr/bin/env python3
"""Loss at the same bits, ours beside AutoRound's, GPTQModel's, bitsandbytes' and hqq's in one run: each makes its own file of the same
model, with the same calibration text, and `halftone compare` reads all of them and measures their divergence from the source.

    eval "$(tests/parity/setup.sh)"      # installs the rivals, once
    HT_CLI=build/halftone bench/peers.py MODEL --calibration FILE --text FILE [--text FILE …] [--ctx 256] [--chunks 200]
        [--rows gptq,nf4,Q4_K_M,…] [--iters 200] [--plot size.svg]

MODEL is a folder with BF16 weights; --iters are AutoRound's rounds of tuning (several: 200,1000). A line a file: bytes, mean
divergence and its standard error on each text, processor seconds and peak memory of making it. Text that is calibrated on is given
to all as windows of --ctx tokens that begin with BOS. What a rival cannot make is said, with its last words; the exit status is 1
where a rival loses less than we do.
"""
import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import machine

ROOT = pathlib.Path(__file__).resolve().parent.parent

# ---- the rivals: each is run in a process of its own, which is `peers.py --make RIVAL MODEL FOLDER …` ----


def windows(tokenizer, text, ctx):
    """The tokens of a text, cut up, each window with the model's BOS first where it has one."""
    ids = tokenizer(pathlib.Path(text).read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"]
    first = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    step = ctx - len(first)
    return [first + ids[i:i + step] for i in range(0, len(ids) - step + 1, step)]


def loaded(model):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer
    return AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16), AutoTokenizer.from_pretrained(model)


def by_autoround(model, folder, text, ctx, form, iters, **options):
    import torch
    sys.path.insert(0, str(ROOT / "tests/parity"))
    from no_datasets import without_datasets
    without_datasets()
    from auto_round import AutoRound
    source, tokenizer = loaded(model)
    found = [torch.tensor([w]) for w in windows(tokenizer, text, ctx)]
    data = torch.utils.data.DataLoader([{"input_ids": w[0], "attention_mask": torch.ones_like(w[0])} for w in found], batch_size=8)
    # torch.compile takes longer than all of the tuning of a small model does
    AutoRound(source, tokenizer, dataset=data, nsamples=len(found), seqlen=ctx, iters=iters, batch_size=8, device_map="cpu",
              enable_torch_compile=False, low_cpu_mem_usage=False, **options).quantize_and_save(folder, format=form)


def by_gptqmodel(model, folder, text, ctx, **options):
    from gptqmodel import GPTQModel, QuantizeConfig
    from transformers import AutoTokenizer
    found = windows(AutoTokenizer.from_pretrained(model), text, ctx)
    data = [{"input_ids": w, "attention_mask": [1] * len(w)} for w in found]
    # pack_impl: the packer that is not compiled first
    quantized = GPTQModel.load(model, QuantizeConfig(pack_impl="original", **options), device="cpu")
    quantized.quantize(data, batch_size=8)
    quantized.save(folder)


def by_bitsandbytes(model, folder, kind):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig
    config = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type=kind, bnb_4bit_compute_dtype=torch.bfloat16)
    AutoModelForCausalLM.from_pretrained(model, quantization_config=config, device_map="cpu").save_pretrained(folder)
    AutoTokenizer.from_pretrained(model).save_pretrained(folder)


def by_hqq(model, folder, bits, group):
    """hqq's own file is one that torch pickles: its weights are put into the model's folder instead, in float32."""
    import torch
    from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
    source, tokenizer = loaded(model)
    config = dict(BaseQuantizeConfig(nbits=bits, group_size=group, axis=1))
    source = source.float()
    for name, module in list(source.named_modules()):
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            copy = torch.nn.Linear(module.in_features, module.out_features, bias=False)
            copy.weight.data = module.weight.data.clone()
            layer = HQQLinear(copy, json.loads(json.dumps(config)), compute_dtype=torch.float32, device="cpu")
            module.weight.data = layer.dequantize()
    source.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


GPTQ = {"bits": 4, "group_size": 128, "desc_act": False, "sym": True}
AUTO = {"bits": 4, "group_size": 128, "sym": True}
RIVALS = {
    "GPTQModel W4g128": (by_gptqmodel, GPTQ),
    "GPTQModel W4g32": (by_gptqmodel, {**GPTQ, "group_size": 32}),
    "GPTQModel W3g128": (by_gptqmodel, {**GPTQ, "bits": 3}),
    "GPTQModel W2g32": (by_gptqmodel, {**GPTQ, "bits": 2, "group_size": 32}),
    "GPTQModel AWQ W4g128": (by_gptqmodel, {"bits": 4, "group_size": 128, "sym": False, "method": "awq", "format": "gemm"}),
    "AutoRound W4g128": (by_autoround, {**AUTO, "form": "auto_gptq"}),
    "AutoRound W2g32": (by_autoround, {**AUTO, "bits": 2, "group_size": 32, "form": "auto_gptq"}),
    "bitsandbytes NF4": (by_bitsandbytes, {"kind": "nf4"}),
    "bitsandbytes FP4": (by_bitsandbytes, {"kind": "fp4"}),
    "hqq 4 bits g64": (by_hqq, {"bits": 4, "group": 64}),
}
for mix in ("Q2_K_S", "Q3_K_M", "Q4_K_M", "Q4_0"):
    RIVALS[f"AutoRound {mix}"] = (by_autoround, {"scheme": f"gguf:{mix.lower()}", "form": f"gguf:{mix.lower()}"})

# ---- rows: what we make, as `-t` takes it, and whom it is compared with ----

ROWS = {
    "gptq": ("gptq@best", ["GPTQModel W4g128", "AutoRound W4g128"]),
    "gptq:group=32": ("gptq:group=32@best", ["GPTQModel W4g32"]),
    "gptq:bits=3": ("gptq:bits=3@best", ["GPTQModel W3g128"]),
    "gptq:bits=2": ("gptq:bits=2,group=32@best", ["GPTQModel W2g32", "AutoRound W2g32"]),
    "awq": ("awq@best", ["GPTQModel AWQ W4g128"]),
    "nf4": ("nf4@best", ["bitsandbytes NF4"]),
    "fp4": ("fp4@best", ["bitsandbytes FP4"]),
    "hqq": ("awq:group=64", ["hqq 4 bits g64"]),
}
for mix in ("Q2_K_S", "Q3_K_M", "Q4_K_M", "Q4_0"):
    ROWS[mix] = (mix, [f"AutoRound {mix}"])


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--calibration", required=True)
    p.add_argument("--text", action="append", default=[])
    p.add_argument("--ctx", type=int, default=256)
    p.add_argument("--chunks", type=int, default=200)
    p.add_argument("--rows", default=",".join(ROWS))
    p.add_argument("--iters", default="200")
    p.add_argument("--plot", help="an SVG file: size against loss")
    p.add_argument("--make", nargs=3, help=argparse.SUPPRESS)  # a rival, its iterations, a folder
    return p.parse_args()


def make_theirs(a):
    name, iters, folder = a.make
    rival, options = RIVALS[name]
    if rival is by_autoround:
        options = {**options, "iters": int(iters)}
    if rival in (by_autoround, by_gptqmodel):
        options = {**options, "text": a.calibration, "ctx": a.ctx}
    rival(a.model, folder, **options)


def run(command, folder):
    """What making took: (file or folder, seconds of all cores, megabytes), or a string: why there is nothing."""
    environment = {**os.environ, "PYTHONPATH": os.path.join(os.environ.get("HT_CONVERTER", ""), "gguf-py"),  # AutoRound's GGUF
                   "GPTQMODEL_CPU_WORKERS": "2", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": "",
                   "OMP_NUM_THREADS": "1"}  # torch's threads wait by spinning, which would count
    folder.mkdir(parents=True)
    log = folder.with_suffix(".log")
    with open(log, "w") as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=folder.parent)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        return (log.read_text(errors="replace").strip().splitlines() or ["no words"])[-1][:200]
    made = sorted(folder.rglob("*.gguf")) or sorted({p.parent for p in folder.rglob("config.json")})
    if not made:
        return "nothing was written"
    return str(made[0]), used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3


def ours(a, spec, folder):
    best = ["--effort", "best"] if "@" not in spec and spec != "awq:group=64" else []
    calibration = ["--calibration", a.calibration, "--ctx", str(a.ctx), "--chunks", "100000"] if best or "@" in spec else []
    return run([os.environ["HT_CLI"], "quantize", a.model, "-t", spec, "-o", str(folder), "--quiet", *best, *calibration], folder)


def theirs(a, name, iters, folder):
    python = os.environ.get("HT_GPTQMODEL_PYTHON", sys.executable)
    return run([python, __file__, a.model, "--calibration", a.calibration, "--ctx", str(a.ctx), "--make", name, iters, str(folder)],
               folder)


def size_of(path):
    path = pathlib.Path(path)
    return sum(f.stat().st_size for f in path.glob("*.safetensors")) if path.is_dir() else path.stat().st_size


def measured(a, text, paths):
    """By path: mean divergence and its error."""
    done = subprocess.run([os.environ["HT_CLI"], "compare", *paths, "--against", a.model, "--text", text, "--ctx", str(a.ctx),
                           "--chunks", str(a.chunks), "--json", "--quiet"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return {p: (m["kld"]["mean"], m["kld"]["mean_error"])
            for p, m in zip(paths, json.loads(done.stdout.splitlines()[-1])["models"])}


def row(a, key, work):
    """The lines of a row: (who, bytes, losses by text, seconds, memory)."""
    spec, rivals = ROWS[key]
    made = [("halftone " + spec, ours(a, spec, work / key / "ours"))]
    for name in rivals:
        for iters in a.iters.split(",") if name.startswith("AutoRound") else ["-"]:
            said = name + ("" if iters == "-" else f", {iters} iterations")
            made.append((said, theirs(a, name, iters, work / key / f"{name}-{iters}".replace(" ", "-"))))
    for said, result in made:
        if isinstance(result, str):
            print(f"  {said:36s} not made: {result}", flush=True)
    made = [(said, result) for said, result in made if not isinstance(result, str)]
    losses = [measured(a, text, [r[0] for _, r in made]) for text in a.text]
    return [(said, size_of(path), [by[path] for by in losses], seconds, memory) for said, (path, seconds, memory) in made]


def plot(path, points):
    """Bytes across, divergence up, both as logarithms: what ours and theirs reach."""
    import math
    left, width, top, height = 70, 560, 20, 340
    xs, ys = [math.log(p[1]) for p in points], [math.log(p[2]) for p in points]
    x0, x1, y0, y1 = min(xs) - .03, max(xs) + .2, min(ys) - .2, max(ys) + .2
    out = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 660 420" font-family="sans-serif" font-size="11">',
           '<rect width="660" height="420" fill="#fff"/>',
           f'<text x="{left + width / 2}" y="408" text-anchor="middle">megabytes of weights</text>',
           f'<text x="16" y="{top + height / 2}" text-anchor="middle" transform="rotate(-90 16 {top + height / 2})">'
           'mean divergence from the source</text>',
           f'<path d="M{left} {top}V{top + height}H{left + width}" fill="none" stroke="#888"/>']
    for (said, size, loss), x, y in zip(points, xs, ys):
        px, py = left + (x - x0) / (x1 - x0) * width, top + (y1 - y) / (y1 - y0) * height
        mine = said.startswith("halftone")
        out.append(f'<circle cx="{px:.1f}" cy="{py:.1f}" r="4" fill="{"#0a6" if mine else "#c60"}"/>'
                   f'<text x="{px + 6:.1f}" y="{py + 4:.1f}" fill="{"#064" if mine else "#742"}">{said}: {size / 1e6:.2f}, {loss:.4f}</text>')
    pathlib.Path(path).write_text("\n".join(out) + "\n</svg>\n")


def main():
    a = arguments()
    for name in ("model", "calibration"):
        setattr(a, name, os.path.abspath(getattr(a, name)))
    os.environ["HT_CLI"] = os.path.abspath(os.environ.get("HT_CLI", str(ROOT / "build/halftone")))
    if a.make:
        return make_theirs(a)
    machine.begin("peers")
    worse, points = 0, []
    with tempfile.TemporaryDirectory(prefix="halftone-peers-") as work:
        for key in a.rows.split(","):
            start = time.monotonic()
            lines = row(a, key, pathlib.Path(work))
            print(f"{key} ({time.monotonic() - start:.0f} s)")
            for said, size, losses, seconds, memory in lines:
                print(f"  {said:36s} {size:10d} bytes " + " ".join(f" {mean:.6f} ± {error:.6f}" for mean, error in losses)
                      + f"  {seconds:7.1f} s of processor time, {memory:5.0f} MB", flush=True)
                machine.row(row=key, who=said, bytes=size, losses=[mean for mean, _ in losses], processor_seconds=seconds, peak_mb=memory)
                worse += losses[0][0] < lines[0][2][0][0]
                points.append((said, size, losses[0][0]))
    if a.plot:
        plot(a.plot, points)
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
