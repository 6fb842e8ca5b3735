#!/usr/bin/env python3
"""Loss at the same bits, ours beside llama.cpp's, AutoRound's, GPTQModel's, bitsandbytes' and hqq's in one run: each makes its own file
of the same model, with the same calibration text, and `halftone compare` reads all of them and measures their divergence from the source.

    eval "$(tests/parity/setup.sh)"      # installs the rivals, once
    HT_CLI=build/halftone bench/peers.py MODEL --calibration FILE --text FILE [--text FILE …] [--ctx 256] [--chunks 200]
        [--rows gptq,nf4,Q4_K_M,…] [--rivals llama.cpp,AutoRound,…] [--iters 200] [--keep DIR]
        [--plot size.svg]

MODEL is a folder with BF16 weights; --iters are AutoRound's rounds of tuning (several: 200,1000). A line a file: bytes, mean
divergence and its standard error on each text, processor seconds and peak memory of making it. Text that is calibrated on is given
to all as windows of --ctx tokens that begin with BOS. llama.cpp's files are those of `--effort fast` with importance of that text, which
are llama-quantize's byte for byte (`tests/parity/check_encode.py`). hqq writes no file that others read: its bytes are counted from what
it packs. What a rival cannot make is said, with its last words; the exit status is 1 where a rival loses less than we do.
`--json FILE` keeps the rows, and `bench/loss_plot.py` draws them.
"""
import argparse
import contextlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import loss_plot
import machine

ROOT = pathlib.Path(__file__).resolve().parent.parent

COUNTED = "counted_bytes"  # of a folder that is not what its maker would ship

# ---- the rivals: each is run in a process of its own, which is `peers.py --make RIVAL MODEL FOLDER …` ----


def windows(tokenizer, text, ctx):
    """The tokens of a text, cut up, each window with the model's BOS first where it has one."""
    ids = tokenizer(pathlib.Path(text).read_text(encoding="utf-8"), add_special_tokens=False)["input_ids"]
    first = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    step = ctx - len(first)
    return [first + ids[i:i + step] for i in range(0, len(ids) - step + 1, step)]


def computing():
    """What torch multiplies fastest: without instructions for BF16 that takes six times as long as floats do."""
    import torch
    with open("/proc/cpuinfo") as file:
        return torch.bfloat16 if re.search(r"\b(avx512_bf16|amx_bf16)\b", file.read()) else torch.float32


def loaded(model):
    from transformers import AutoModelForCausalLM, AutoTokenizer
    return AutoModelForCausalLM.from_pretrained(model, dtype=computing()), AutoTokenizer.from_pretrained(model)


def as_in_source(folder):
    """Tensors that were left as they were take 16 bits again where the model was computed with in 32."""
    import torch
    from safetensors.torch import load_file, save_file
    for file in pathlib.Path(folder).rglob("*.safetensors"):
        tensors = {name: t.bfloat16() if t.dtype == torch.float32 and torch.equal(t, t.bfloat16().float()) else t
                   for name, t in load_file(file).items()}
        save_file(tensors, file, metadata={"format": "pt"})


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
              enable_torch_compile=False, low_cpu_mem_usage=False, amp=computing() == torch.bfloat16,
              **options).quantize_and_save(folder, format=form)
    as_in_source(folder)


def by_gptqmodel(model, folder, text, ctx, **options):
    from gptqmodel import GPTQModel, QuantizeConfig
    from transformers import AutoTokenizer
    found = windows(AutoTokenizer.from_pretrained(model), text, ctx)
    data = [{"input_ids": w, "attention_mask": [1] * len(w)} for w in found]
    # pack_impl: the packer that is not compiled first
    quantized = GPTQModel.load(model, QuantizeConfig(pack_impl="original", **options), device="cpu", dtype=computing())
    quantized.quantize(data, batch_size=8)
    quantized.save(folder)
    as_in_source(folder)


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
    source, packed = source.float(), 0
    for name, module in list(source.named_modules()):
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            copy = torch.nn.Linear(module.in_features, module.out_features, bias=False)
            copy.weight.data = module.weight.data.clone()
            layer = HQQLinear(copy, json.loads(json.dumps(config)), compute_dtype=torch.float32, device="cpu")
            module.weight.data = layer.dequantize()
            parts = (layer.meta["scale"], layer.meta["zero"])  # which are saved in 16 bits
            packed += layer.W_q.numel() * layer.W_q.element_size() + sum(2 * part.numel() for part in parts)
        elif isinstance(module, (torch.nn.Linear, torch.nn.Embedding)):
            packed += 2 * module.weight.numel()
    source.save_pretrained(folder)
    (pathlib.Path(folder) / COUNTED).write_text(str(packed))
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
    ROWS[mix] = (mix, [f"llama.cpp {mix}", f"AutoRound {mix}"])


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("--calibration", required=True)
    p.add_argument("--text", action="append", default=[])
    p.add_argument("--ctx", type=int, default=256)
    p.add_argument("--chunks", type=int, default=200)
    p.add_argument("--rows", default=",".join(ROWS))
    p.add_argument("--rivals", help="only these programs: llama.cpp,AutoRound,GPTQModel,bitsandbytes,hqq")
    p.add_argument("--iters", default="200")
    p.add_argument("--plot", metavar="FILE.svg", help="draw size against loss, with bench/loss_plot.py")
    p.add_argument("--keep", metavar="DIR", help="leave the files there; those that are there from an earlier run are not made again")
    p.add_argument("--make", nargs=3, help=argparse.SUPPRESS)  # a rival, its iterations, a folder
    a = p.parse_args()
    if unknown := [key for key in a.rows.split(",") if key not in ROWS]:
        p.error(f"--rows: there is no {unknown[0]}; there are {', '.join(ROWS)}")
    programs = {name.split()[0] for _, names in ROWS.values() for name in names}
    if a.rivals and (unknown := set(a.rivals.split(",")) - programs):
        p.error(f"--rivals: there is no {min(unknown)}; there are {', '.join(sorted(programs))}")
    if not a.make and not a.text:
        p.error("--text is missing: what is measured on")
    for file in (a.model, a.calibration, *a.text):
        if not os.path.exists(file):
            p.error(f"{file} does not exist")
    return a


def make_theirs(a):
    name, iters, folder = a.make
    rival, options = RIVALS[name]
    if rival is by_autoround:
        options = {**options, "iters": int(iters)}
    if rival in (by_autoround, by_gptqmodel):
        options = {**options, "text": a.calibration, "ctx": a.ctx}
    rival(a.model, folder, **options)


def last_words(log):
    """The last line that says something, without what a terminal would have drawn over it."""
    lines = [line.rsplit("\r", 1)[-1].strip() for line in log.splitlines()]
    return next((line[:200] for line in reversed(lines) if line), "no words")


def run(command, folder):
    """What making took: (file or folder, seconds of all cores, megabytes), or a string: why there is nothing."""
    environment = {**os.environ, "PYTHONPATH": os.path.join(os.environ.get("HT_CONVERTER", ""), "gguf-py"),  # AutoRound's GGUF
                   "GPTQMODEL_CPU_WORKERS": "2", "TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": "",
                   "OMP_NUM_THREADS": "1"}  # torch's threads wait by spinning, which would count
    took = folder.with_name(folder.name + ".took.json")
    if took.exists():
        return tuple(json.loads(took.read_text()))
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    log = folder.with_name(folder.name + ".log")
    with open(log, "w") as out:
        child = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, env=environment, cwd=folder.parent)
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        return last_words(log.read_text(errors="replace"))
    made = sorted(folder.rglob("*.gguf")) or sorted({p.parent for p in folder.rglob("config.json")})
    if not made:
        return "nothing was written"
    result = str(made[0]), used.ru_utime + used.ru_stime, used.ru_maxrss / 1e3
    took.write_text(json.dumps(result))
    return result


def ours(a, spec, folder, effort="best"):
    best = ["--effort", effort] if "@" not in spec and spec != "awq:group=64" else []
    calibration = ["--calibration", a.calibration, "--ctx", str(a.ctx), "--chunks", "100000"] if best or "@" in spec else []
    return run([os.environ["HT_CLI"], "quantize", a.model, "-t", spec, "-o", str(folder), "--quiet", *best, *calibration], folder)


def theirs(a, name, iters, folder):
    if name.startswith("llama.cpp "):
        return ours(a, name.removeprefix("llama.cpp "), folder, "fast")
    python = os.environ.get("HT_GPTQMODEL_PYTHON", sys.executable)
    return run([python, __file__, a.model, "--calibration", a.calibration, "--ctx", str(a.ctx), "--make", name, iters, str(folder)],
               folder)


def size_of(path):
    path = pathlib.Path(path)
    if (path / COUNTED).exists():
        return int((path / COUNTED).read_text())
    return sum(f.stat().st_size for f in path.glob("*.safetensors")) if path.is_dir() else path.stat().st_size


def measured(a, text, paths):
    """By path: mean divergence and its error."""
    done = subprocess.run([os.environ["HT_CLI"], "compare", *paths, "--against", a.model, "--text", text, "--ctx", str(a.ctx),
                           "--chunks", str(a.chunks), "--json", "--quiet"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    models = json.loads(done.stdout.splitlines()[-1])["models"]
    return {m["model"]: (m["kld"]["mean"], m["kld"]["mean_error"]) for m in models}


def row(a, key, work):
    """What a row has: (program, who, result of `run`), ours first."""
    spec, rivals = ROWS[key]
    made = [("halftone", "halftone " + spec, ours(a, spec, work / key / "ours"))]
    for name in rivals:
        if a.rivals and name.split()[0] not in a.rivals.split(","):
            continue
        for iters in a.iters.split(",") if name.startswith("AutoRound") else ["-"]:
            said = name + ("" if iters == "-" else f", {iters} iterations")
            made.append((name.split()[0], said, theirs(a, name, iters, work / key / f"{name}-{iters}".replace(" ", "-"))))
    return made


def tell(a, key, made):
    """Measures a row's files and prints them: the losses on the first text, ours first, and None for what is not there."""
    paths = [result[0] for _, _, result in made if not isinstance(result, str)]
    by_text = [measured(a, text, paths) for text in a.text] if paths else []
    out = []
    for program, said, result in made:
        if isinstance(result, str):
            print(f"  {said:36s} not made: {result}", flush=True)
            machine.row(row=key, who=said, program=program, not_made=result)
            out.append(None)
            continue
        path, seconds, memory = result
        losses, size = [by[path] for by in by_text], size_of(path)
        print(f"  {said:36s} {size:10d} bytes " + " ".join(f" {mean:.6f} ± {error:.6f}" for mean, error in losses)
              + f"  {seconds:7.1f} s of processor time, {memory:5.0f} MB", flush=True)
        machine.row(row=key, who=said, program=program, kind="gguf" if path.endswith(".gguf") else "folder", bytes=size,
                    losses=[mean for mean, _ in losses], errors=[error for _, error in losses], processor_seconds=seconds, peak_mb=memory)
        out.append(losses[0][0])
    return out


def main():
    a = arguments()
    for name in ("model", "calibration"):
        setattr(a, name, os.path.abspath(getattr(a, name)))
    os.environ["HT_CLI"] = os.path.abspath(os.environ.get("HT_CLI", str(ROOT / "build/halftone")))
    if a.make:
        return make_theirs(a)
    machine.begin("peers")
    worse = 0
    with contextlib.nullcontext(os.path.abspath(a.keep)) if a.keep else tempfile.TemporaryDirectory(prefix="halftone-peers-") as work:
        for key in a.rows.split(","):
            start = time.monotonic()
            made = row(a, key, pathlib.Path(work))
            print(f"{key} ({time.monotonic() - start:.0f} s)")
            mine, *others = tell(a, key, made)
            worse += mine is None or any(other is not None and other < mine for other in others)
            if not a.keep:
                shutil.rmtree(pathlib.Path(work) / key)
    points = [r for r in machine.report["rows"] if "not_made" not in r]
    if a.plot and points:
        pathlib.Path(a.plot).write_text(loss_plot.picture(points), encoding="utf-8")
    sys.exit(1 if worse else 0)


if __name__ == "__main__":
    main()
