#!/usr/bin/env python3
"""What `gptq` and `awq` pack, dequantized by GPTQModel's own layers (those that run on every processor, and that
transformers loads such checkpoints with), must be the library's weights, bit by bit. So must those of a folder whose modules
differ in bits and groups, or are left out, by rules or by a budget, as GPTQModel loads it.

Environment: HT_CLI, HT_BUILD, HT_GPTQMODEL_PYTHON (setup.sh installs it). Exit: 0 passed, 1 failed, 77 skipped.
"""
import contextlib
import io
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
    print("SKIPPED check_gptqmodel: GPTQModel is not here (HT_GPTQMODEL_PYTHON names a Python that has it)")
    sys.exit(77)
if os.path.abspath(sys.executable) != os.path.abspath(python):
    os.execv(python, [python, *sys.argv])

with contextlib.redirect_stdout(io.StringIO()):  # its banner
    import numpy as np
    import torch
    from gptqmodel import BACKEND, GPTQModel
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.nn_modules.qlinear.torch_awq import AwqTorchLinear
    from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
    from safetensors import safe_open
    from gptqmodel.utils.model import convert_gptq_v1_to_v2_format_module

import int_layouts
from matrices import Halftone

ht = Halftone(os.path.join(os.environ.get("HT_BUILD", str(ROOT / "build")), "libhalftone.so"))
failed = compared = 0


def check(what, theirs, ours):
    global failed, compared
    compared += 1
    if not np.array_equal(theirs, ours):
        failed += 1
        print(f"FAILED {what}: {np.abs(theirs - ours).max()} at most")


def load(layer, parts):
    for suffix, array in parts.items():
        buffer = getattr(layer, suffix[1:])
        new = torch.from_numpy(array)
        assert buffer.shape == new.shape and buffer.dtype == new.dtype, (suffix, buffer.shape, new.shape)
        buffer.copy_(new)


def by_gptqmodel(parts, bits, group, sym, version, shape):
    layer = TorchLinear(bits=bits, group_size=group, sym=sym, desc_act=False, in_features=shape[1],
                        out_features=shape[0], bias=False, pack_dtype=torch.int32, register_buffers=True)
    load(layer, parts)
    if version == 1:
        convert_gptq_v1_to_v2_format_module(layer, bits, torch.int32)
    layer.post_init()
    return layer.dequantize_weight().T.float().numpy()


x = int_layouts.matrix(128, 256, 3)
one_sided = np.abs(x)  # zero points of 0
for bits, group, sym, version in itertools.product((2, 3, 4, 8), (32, 64, 128, -1), ("on", "off"), (1, 2)):
    scheme = f"gptq:bits={bits},group={group},sym={sym},version=v{version}"
    for name, weights in (("both signs", x), ("one sign", one_sided)):
        parts = ht.quantize(scheme, weights)
        theirs = by_gptqmodel(parts, bits, group, sym == "on", version, x.shape)
        check(f"{scheme}, {name}", theirs, ht.dequantize(scheme, parts, x.shape))
    parts[".g_idx"] = np.random.default_rng(1).permutation(parts[".g_idx"]).astype(np.int32)
    theirs = by_gptqmodel(parts, bits, group, sym == "on", version, x.shape)
    check(f"{scheme}, act-order", theirs, ht.dequantize(scheme, parts, x.shape))
    # Zero points of all kinds, as GPTQModel stores them in version 1: it subtracts from whole words, and borrows.
    zeros = np.random.default_rng(bits).integers(0, 1 << bits, (parts[".scales"].shape))
    words = int_layouts.to_stream(zeros, bits).view(np.uint32)
    if version == 1:
        words = words - np.uint32({2: 0x55555555, 4: 0x11111111, 8: 0x01010101}[bits]) if bits != 3 else \
            int_layouts.to_stream((zeros - 1) % 8, 3).view(np.uint32)
    parts[".qzeros"] = words.view(np.int32)
    theirs = by_gptqmodel(parts, bits, group, sym == "on", version, x.shape)
    check(f"{scheme}, any zero points", theirs, ht.dequantize(scheme, parts, x.shape))

for group in (32, 64, 128, -1):
    scheme = f"awq:group={group}"
    parts = ht.quantize(scheme, x)
    layer = AwqTorchLinear(bits=4, group_size=group, sym=False, desc_act=False, in_features=x.shape[1],
                           out_features=x.shape[0], bias=False, pack_dtype=torch.int32, register_buffers=True)
    load(layer, parts)
    layer.post_init()
    theirs = dequantize_gemm(layer.qweight, layer.qzeros, layer.scales, 4, layer.group_size).T.float().numpy()
    check(scheme, theirs, ht.dequantize(scheme, parts, x.shape))

# Folders with `dynamic`: other bits and groups, and modules that are left out; rounded, and with groups by activations.
RULES = ["--rule", "last:1=none", "--rule", "layers:2+ffn_down=gptq:bits=3,group=64", "--rule", "attn_v=gptq:bits=8,group=64",
         "--rule", "output=gptq:group=32", "--skip-modules", r"-:.*layers\.0\.mlp\..*"]
CALIBRATED = ["--calibration", "default", "--ctx", "64", "--chunks", "16"]
FOLDERS = {"rounded": ["-t", "gptq:group=32", *RULES],
           "act-order": ["-t", "gptq:group=32,act_order=on@best", *CALIBRATED, "--rule", "output=gptq:group=64,act_order=on"],
           "budget": ["-t", "gptq", "--bpw", "3.75", *CALIBRATED],
           "budget, calibrated, act-order": ["-t", "gptq:act_order=on@best", "--bpw", "4.5", *CALIBRATED],
           "act-order, v2, not symmetric": ["-t", "gptq:group=64,act_order=on,version=v2,sym=off@best:sequential=off", *CALIBRATED]}


def check_folder(what, options):
    global failed
    with tempfile.TemporaryDirectory() as work:
        run = subprocess.run([os.environ.get("HT_CLI", str(ROOT / "build/halftone")), "quantize", ROOT / "examples/model", *options, "-o",
                              work, "--json", "--quiet"], capture_output=True, text=True)
        if run.returncode:
            sys.exit(run.stderr)
        made = json.loads(run.stdout.splitlines()[-1])["outputs"][0]
        with contextlib.redirect_stdout(io.StringIO()):
            model = GPTQModel.load(made["path"], device="cpu", backend=BACKEND.TORCH, dtype=torch.float16).model
        with safe_open(made["path"] + "/model.safetensors", "np") as file:
            for tensor in made["tensors"]:
                if not tensor["name"].endswith("_proj.weight") and not tensor["name"].startswith("lm_head"):
                    continue
                module = tensor["name"][:-len(".weight")]
                layer = model.get_submodule(module)
                if isinstance(layer, TorchLinear) != ("scheme" in tensor):
                    failed += 1
                    print(f"FAILED {what}, {module}: a {type(layer).__name__}, but {tensor.get('scheme')} in the file")
                if "scheme" not in tensor:
                    continue
                parts = {suffix: file.get_tensor(module + suffix) for suffix in (".qweight", ".qzeros", ".scales", ".g_idx")}
                if "act_order" in tensor["scheme"] and (np.diff(parts[".g_idx"]) >= 0).all():
                    failed += 1
                    print(f"FAILED {what}, {module}: groups follow one another")
                shape = tensor["shape"][1::-1]
                check(f"{what}, {module}, {tensor['scheme']}", layer.dequantize_weight().T.float().numpy(),
                      ht.dequantize(tensor["scheme"], parts, shape, "bf16"))


for what, options in FOLDERS.items():
    check_folder(what, options)
print(f"check_gptqmodel: {compared} compared, {failed} differ")
sys.exit(1 if failed else 0)
