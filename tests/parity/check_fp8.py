#!/usr/bin/env python3
"""fp8, fp8-block and mxfp8 against their readers: codes are compressed_tensors' own under our scales, scales follow its
rule, decoded weights are those of its decompression and of transformers' FP8 dequantizer, bit by bit; and E4M3 is
PyTorch's for every bfloat16 that a row with a scale of one holds.

Environment: HT_BUILD (folder of libhalftone.so). Exit status: 0 passed, 1 failed, 77 skipped.
"""
import sys
import types

try:
    import torch
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.utils import calculate_qparams
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize
except ImportError as missing:
    print(f"SKIPPED check_fp8: the Python package {missing.name} is not here")
    sys.exit(77)

from small_floats import DTYPES, Compared, as_float, weights

FP8 = {"num_bits": 8, "type": "float", "symmetric": True}
MX = {**FP8, "strategy": "group", "group_size": 32, "scale_dtype": torch.uint8}
CT = {
    "fp8": ("float-quantized", {**FP8, "strategy": "channel"}),
    "fp8:scale=tensor": ("float-quantized", {**FP8, "strategy": "tensor"}),
    "fp8-block:config=compressed-tensors": ("float-quantized", {**FP8, "strategy": "block", "block_structure": [128, 128]}),
    "mxfp8:config=compressed-tensors": ("mxfp8-quantized", MX),
}
TRANSFORMERS = {"fp8-block": ((128, 128), "float"), "fp8-block:scales=ue8m0": ((128, 128), "ue8m0"),
                "mxfp8": ((1, 32), "ue8m0")}


def ranges(w, args):
    """Smallest and largest of each block."""
    if args["strategy"] == "tensor":
        return w.min(), w.max()
    if args["strategy"] == "block":
        w = w.reshape(w.shape[0] // 128, 128, -1, 128)
        return w.amin((1, 3)), w.amax((1, 3))
    w = w.reshape(w.shape[0], -1, args.get("group_size", w.shape[1]))
    return w.amin(-1), w.amax(-1)


def check_compressed_tensors(compared, dtype):
    for scheme, (form, args) in CT.items():
        compared.against_compressor(scheme, form, args, weights(200, 320, dtype))
        w = weights(256, 384, dtype, seed=5)
        parts = compared.against_compressor(scheme, form, args, w)
        expected, _ = calculate_qparams(*ranges(w, args), QuantizationArgs(**args))
        if dtype == torch.float16 and "mxfp8" in scheme:
            continue  # half has no powers of two as small as those of zeros
        ours = as_float(parts["weight_scale"], dtype)
        compared.same(ours.reshape(expected.shape), expected, scheme, dtype, "scales")


def check_transformers(compared, dtype):
    for scheme, (block, scales) in TRANSFORMERS.items():
        config = types.SimpleNamespace(weight_block_size=block, scale_fmt=scales)
        quantizer = types.SimpleNamespace(quantization_config=config)
        w = weights(256, 384, dtype)
        parts, values = compared.quantize(scheme, w)
        decoded = Fp8Dequantize(quantizer)._dequantize_one(parts["weight"], parts["weight_scale_inv"], dtype)
        compared.same(values, decoded.float(), scheme, dtype, "decoded")
        if scales == "ue8m0":  # float scales it rounds twice
            own = Fp8Quantize(quantizer)._quantize_one("m.weight", w)
            compared.same(parts["weight"], own["m.weight"], scheme, dtype, "codes of its own quantizer")
            compared.same(parts["weight_scale_inv"].view(torch.uint8), own["m.weight_scale_inv"].view(torch.uint8), scheme,
                          dtype, "scales of its own quantizer")


def check_every_bfloat16(compared):
    x = torch.arange(65536, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    x = x[x.isfinite() & (x.abs() <= 448)]
    rows = torch.nn.functional.pad(x, (0, -len(x) % 255)).reshape(-1, 255)
    rows = torch.cat((rows, torch.full((len(rows), 1), 448.0, dtype=torch.bfloat16)), 1)
    parts, values = compared.quantize("fp8", rows)
    compared.same(parts["weight"], rows.to(torch.float8_e4m3fn), "every bfloat16")
    compared.same(values, rows.to(torch.float8_e4m3fn).float(), "every bfloat16, decoded")


def main():
    compared = Compared()
    for dtype in DTYPES.values():
        check_compressed_tensors(compared, dtype)
        check_transformers(compared, dtype)
    check_every_bfloat16(compared)
    return compared.finish("check_fp8")


sys.exit(main())
