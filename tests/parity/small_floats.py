"""What the checks of FP8 and of four-bit floats share: weights with hard rows, and comparisons in PyTorch's dtypes."""
import os
import pathlib

import numpy as np
import torch
from compressed_tensors.compressors import BaseCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme

from matrices import Halftone

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = os.environ.get("HT_BUILD", str(ROOT / "build"))
DTYPES = {"bf16": torch.bfloat16, "f16": torch.float16, "f32": torch.float32}
TORCH = {**DTYPES, "u8": torch.uint8, "f8_e4m3": torch.float8_e4m3fn, "f8_e8m0": torch.float8_e8m0fnu}


class Compared:
    """Counts what was compared, and tells what differs."""

    def __init__(self):
        self.ht = Halftone(os.path.join(BUILD, "libhalftone.so"))
        self.n = self.wrong = 0

    def same(self, ours, theirs, *what):
        if theirs.dtype in (torch.float8_e4m3fn, torch.float8_e8m0fnu):
            ours, theirs = ours.view(torch.uint8), theirs.view(torch.uint8)
        self.n += 1
        if ours.shape == theirs.shape and ours.dtype == theirs.dtype and torch.equal(ours, theirs):
            return
        self.wrong += 1
        differ = (ours != theirs).nonzero() if ours.shape == theirs.shape else []
        first = tuple(differ[0].tolist()) if len(differ) else None
        print(f"{what}: {ours.dtype} {tuple(ours.shape)} for {theirs.dtype} {tuple(theirs.shape)}, {len(differ)} differ",
              f"first at {first}: {ours[first]} for {theirs[first]}" if first else "")

    def quantize(self, scheme, weights, experts=0):
        """The parts as tensors by their names without the point, and our decoded weights in float32."""
        dtype = next(name for name, d in DTYPES.items() if d == weights.dtype)
        parts = self.ht.quantize(scheme, weights.float().numpy(), dtype, experts=experts)
        types = dict(self.ht.dtypes)
        values = self.ht.dequantize(scheme, parts, tuple(weights.shape), dtype, experts=experts)
        tensors = {suffix.lstrip("._"): torch.from_numpy(np.atleast_1d(array).copy()).view(TORCH[types[suffix]]).reshape(array.shape)
                   for suffix, array in parts.items()}
        return tensors, torch.from_numpy(values)

    def against_compressor(self, scheme, form, args, weights):
        """Their codes under our scales, and their decompression of our parts."""
        compressor = BaseCompressor.get_value_from_registry(form)
        theirs = QuantizationScheme(targets=["Linear"], weights=QuantizationArgs(**args))
        parts, values = self.quantize(scheme, weights)
        what = (scheme, weights.dtype, tuple(weights.shape))
        state = {**parts, "weight": weights, "weight_scale": as_float(parts["weight_scale"], weights.dtype)}
        state.pop("weight_packed", None)
        if (state["weight_scale"] > 0).all() and state["weight_scale"].isfinite().all():  # half lacks some powers of two
            for name, tensor in compressor.compress(state, theirs).items():
                self.same(parts[name], tensor, *what, name)
        decoded = compressor.decompress(parts, theirs)["weight"]
        self.same(values, decoded.float(), *what, "decoded")
        return parts

    def finish(self, name):
        print(f"{name}: {self.n} compared, {self.wrong} differ")
        return 1 if self.wrong or not self.n else 0


def as_float(scale, dtype):
    if scale.dtype == torch.uint8:
        return torch.pow(2.0, scale.float() - 127).to(dtype)
    return scale.to(dtype) if scale.dtype == torch.float8_e4m3fn else scale


def weights(rows, columns, dtype, seed=3):
    """Near normal, with outliers, a row of zeros, a row of almost nothing, and an even ramp, which meets ties."""
    random = torch.Generator().manual_seed(seed)
    w = torch.randn(rows, columns, generator=random) * 0.05 * (1 + torch.arange(rows) % 5).unsqueeze(1)
    w[torch.rand(rows, columns, generator=random) < 0.002] *= 30
    w[1] = 0
    w[2] = 0
    w[2, 5] = 1e-6
    w[3] = torch.arange(columns) / columns * 7 - 3.5
    return w.to(dtype)
