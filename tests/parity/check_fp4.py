#!/usr/bin/env python3
"""nvfp4 and mxfp4 against compressed_tensors, gpt-oss' experts against transformers: codes are its own under our scales, decoded weights those of its
decompression, bit by bit; ModelOpt's form is decoded as ModelOpt does, scale times weight_scale_2 first; scales follow
compressed_tensors' rule.

Environment: HT_BUILD (folder of libhalftone.so). Exit status: 0 passed, 1 failed, 77 skipped.
"""
import sys

try:
    import torch
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.utils import calculate_qparams
    from transformers.integrations.mxfp4 import convert_moe_packed_tensors
except ImportError as missing:
    print(f"SKIPPED check_fp4: the Python package {missing.name} is not here")
    sys.exit(77)

from small_floats import DTYPES, Compared, as_float, weights

FP4 = {"num_bits": 4, "type": "float", "symmetric": True}
NV = {**FP4, "strategy": "tensor_group", "group_size": 16, "scale_dtype": torch.float8_e4m3fn}
MX = {**FP4, "strategy": "group", "group_size": 32, "scale_dtype": torch.uint8}


def check_nvfp4(compared, dtype):
    w = weights(200, 320, dtype)
    parts = compared.against_compressor("nvfp4", "nvfp4-pack-quantized", NV, w)
    wide = w.float().reshape(200, -1, 16)  # in float32, as theirs is when its statistics are
    expected, _ = calculate_qparams(wide.amin(-1), wide.amax(-1), QuantizationArgs(**NV),
                                    global_scale=parts["weight_global_scale"])
    small = (expected == 0.125) & (wide.abs().amax(-1) > 0)  # too small for a scale: theirs is that of zeros
    ours = torch.where(small, expected, parts["weight_scale"].float())
    compared.same(ours, expected, "nvfp4", dtype, "scales")


def check_modelopt(compared, dtype):
    w = weights(200, 320, dtype)
    parts, values = compared.quantize("nvfp4:config=modelopt", w)
    exact = parts["weight_scale"].float() * parts["weight_scale_2"]
    table = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6])
    codes = torch.stack((parts["weight"] & 15, parts["weight"] >> 4), -1).flatten(1).long()
    decoded = (table[codes].unflatten(1, (-1, 16)) * exact.unsqueeze(-1)).flatten(1).to(dtype)
    compared.same(values, decoded.float(), "nvfp4:config=modelopt", dtype, "decoded")
    ours, _ = compared.quantize("nvfp4", w)
    compared.same(ours["weight_scale"], parts["weight_scale"], "nvfp4:config=modelopt", dtype, "scales")


def check_mxfp4(compared, dtype):
    w = weights(200, 320, dtype)
    parts = compared.against_compressor("mxfp4", "mxfp4-pack-quantized", MX, w)
    if dtype == torch.float16:
        return  # half has no powers of two as small as those of zeros
    groups = w.reshape(200, -1, 32)
    expected, _ = calculate_qparams(groups.amin(-1), groups.amax(-1), QuantizationArgs(**MX))
    compared.same(as_float(parts["weight_scale"], dtype), expected, "mxfp4", dtype, "scales")


def check_gpt_oss(compared, dtype):
    w = weights(192, 320, dtype)
    parts, values = compared.quantize("mxfp4:config=gpt-oss", w, experts=3)
    decoded = convert_moe_packed_tensors(parts["blocks"], parts["scales"], dtype=dtype)
    compared.same(values.reshape(3, 64, 320), decoded.transpose(1, 2).float(), "mxfp4:config=gpt-oss", dtype, "decoded")
    plain, _ = compared.quantize("mxfp4", w)
    compared.same(parts["blocks"].reshape(192, 160), plain["weight_packed"], "mxfp4:config=gpt-oss", dtype, "codes")


def main():
    compared = Compared()
    for dtype in DTYPES.values():
        check_nvfp4(compared, dtype)
        check_modelopt(compared, dtype)
        check_mxfp4(compared, dtype)
        check_gpt_oss(compared, dtype)
    return compared.finish("check_fp4")


sys.exit(main())
