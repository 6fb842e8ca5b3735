#!/usr/bin/env python3
"""What HQQ quantizes and AWQ's gemv layout, read by the library: the weights of hqq's own dequantization, bit by bit, for
all bits, both axes and dtypes; gemv against an independent packer. Then folders as HQQLinear saves them, converted to floats.

Environment: HT_CLI, HT_BUILD, HT_GPTQMODEL_PYTHON (setup.sh installs hqq there). Exit: 0 passed, 1 failed, 77 skipped.
"""
import copy
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
python = os.environ.get("HT_GPTQMODEL_PYTHON")
if not python:
    print("SKIPPED check_hqq: hqq is not here (HT_GPTQMODEL_PYTHON names a Python that has it)")
    sys.exit(77)
if os.path.abspath(sys.executable) != os.path.abspath(python):
    os.execv(python, [python, *sys.argv])

import numpy as np
import torch
from hqq.core.quantize import BaseQuantizeConfig, HQQLinear, Quantizer
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

import int_layouts
from matrices import Halftone

ht = Halftone(os.path.join(os.environ.get("HT_BUILD", str(ROOT / "build")), "libhalftone.so"))
DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32}
failed = compared = 0


def check(what, theirs, ours):
    global failed, compared
    compared += 1
    if not np.array_equal(theirs, ours):
        failed += 1
        print(f"FAILED {what}: {np.abs(theirs - ours).max()} at most")


def raw(t):
    return t.view(torch.int16).numpy().view(np.uint16) if t.dtype == torch.bfloat16 else t.numpy()


for bits, group, axis, dtype, shape in itertools.product((1, 2, 3, 4, 8), (16, 64, None), (0, 1), DTYPES,
                                                         ((64, 128), (96, 80))):
    x = torch.from_numpy(int_layouts.matrix(*shape, bits))
    if group and group == 64 and shape == (96, 80) and axis == 1 and x.numel() // group % 8:
        continue
    packed, meta = Quantizer.quantize(x, nbits=bits, group_size=group, axis=axis, channel_wise=True, optimize=False,
                                      compute_dtype=DTYPES[dtype], device="cpu", round_zero=bits == 4)
    meta["compute_dtype"] = DTYPES[dtype]
    packed, meta = Quantizer.to_inplace(packed, meta, "cpu")
    if meta["nbits"] == 3 and group is None:
        meta["group_size"] = shape[axis]  # its own code needs it to cut off what 3 bits are filled up with
    theirs = Quantizer.dequantize(packed, meta).float().numpy()
    parts = {".W_q": packed.numpy(), ".scale": raw(meta["scale"]), ".zero": raw(meta["zero"])}
    scheme = f"hqq:bits={bits},group={group or -1},axis={axis},dtype={dtype}"
    check(f"{scheme}, {shape}", theirs, ht.dequantize(scheme, parts, shape, dtype))

for (n_out, n_in), group in itertools.product(((32, 128), (40, 1536)), (32, 64, 128, -1)):
    rng = np.random.default_rng(n_in + group)
    size = group if group > 0 else n_in
    groups, multiple = n_in // size, {32: 4, 64: 2}.get(size, 1)
    width = -(-(-(-groups // 8)) // multiple) * multiple
    q, zeros = rng.integers(0, 16, (n_out, n_in)), rng.integers(0, 16, (n_out, groups))
    scales = (rng.random((n_out, groups)) * 0.01).astype(np.float16)
    pad = ((0, 0), (0, 8 * width - groups))
    parts = {".qweight": int_layouts.to_stream(q, 4), ".qzeros": int_layouts.to_stream(np.pad(zeros, pad), 4),
             ".scales": np.pad(scales, pad)}
    theirs = int_layouts.weights(q.T, zeros.T, scales.T, np.arange(n_in) // size)
    check(f"awq-gemv, {n_out} x {n_in}, {group}", theirs, ht.dequantize(f"awq-gemv:group={group}", parts, (n_out, n_in)))



def save(folder, model, config):
    """The model as HQQ saves it; its weights as it dequantizes them."""
    stored, weights = {}, {}
    for name, w in model.state_dict().items():
        module = name.removesuffix(".weight")
        if not module.endswith("_proj"):
            stored[name] = weights[name] = w
            continue
        layer = HQQLinear(copy.deepcopy(model.get_submodule(module)), copy.deepcopy(config), compute_dtype=w.dtype, device="cpu")
        weights[name] = layer.dequantize()
        stored.update({f"{module}.{k}": v.detach().contiguous() for k, v in layer.state_dict().items()})
    folder.mkdir()
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    told = json.loads(model.config.to_json_string())
    told["quantization_config"] = {"quant_method": "hqq", "quant_config": config, "skip_modules": ["lm_head"]}
    (folder / "config.json").write_text(json.dumps(told))
    return weights


torch.manual_seed(1)
model = LlamaForCausalLM(LlamaConfig(vocab_size=256, hidden_size=256, intermediate_size=384, num_hidden_layers=1,
                                     num_attention_heads=4, num_key_value_heads=4, tie_word_embeddings=False,
                                     architectures=["LlamaForCausalLM"], dtype="bfloat16")).to(torch.bfloat16)
cli = os.environ.get("HT_CLI", str(ROOT / "build" / "halftone"))
for bits, axis in ((4, 1), (3, 0), (2, 1), (8, 1)):
    with tempfile.TemporaryDirectory() as work:
        theirs = save(pathlib.Path(work) / "m", model, dict(BaseQuantizeConfig(nbits=bits, group_size=64, axis=axis)))
        done = subprocess.run([cli, "convert", f"{work}/m", "--format", "safetensors", "-t", "F32", "-o", work, "--quiet"],
                              capture_output=True, text=True)
        ours = load_file(f"{work}/m-F32/model.safetensors") if done.returncode == 0 else {}
        compared += 1
        wrong = [k for k in theirs if k not in ours or not torch.equal(ours[k], theirs[k].float())]
        if wrong:
            failed += 1
            print(f"FAILED a folder of {bits} bits, axis {axis}: {len(wrong)} tensors, first {wrong[0]} {done.stderr.strip()}")

print(f"check_hqq: {compared} compared, {failed} differ")
sys.exit(1 if failed else 0)
