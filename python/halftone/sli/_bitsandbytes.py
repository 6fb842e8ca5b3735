"""The same bytes in bitsandbytes' own modules. It is imported when they are asked for. Nothing here is public."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import torch
from torch import nn

from .. import errors
from ..matrix import QuantizedMatrix


def _loaded() -> Any:
    return sys.modules.get("bitsandbytes")


def is_module(layer: nn.Module) -> bool:
    """A quantized module of bitsandbytes; without it, there is none."""
    bnb = _loaded()
    return bnb is not None and isinstance(layer, (bnb.nn.Linear8bitLt, bnb.nn.Linear4bit))


def module(matrix: QuantizedMatrix, bias: torch.Tensor | None, config: Any) -> nn.Module:
    bnb: Any = importlib.import_module("bitsandbytes")
    if matrix.scheme.split(":")[0] in ("nf4", "fp4"):
        made: Any = bnb.nn.Linear4bit(
            matrix.n_in,
            matrix.n_out,
            bias=bias is not None,
            compute_dtype=config.compute_dtype,
            quant_type=config.quant_type,
            device="meta",
        )
        stats = {k.removeprefix(".weight."): v for k, v in matrix.parts.items() if k != ".weight"}
        made.weight = bnb.nn.Params4bit.from_prequantized(matrix.parts[".weight"], stats, device="cpu", module=made)
    elif matrix.scheme == "int8":
        made = bnb.nn.Linear8bitLt(
            matrix.n_in,
            matrix.n_out,
            bias=bias is not None,
            has_fp16_weights=False,
            threshold=config.llm_int8_threshold,
            device="meta",
        )
        codes, scales = matrix.parts[".weight"], matrix.parts[".SCB"]
        made.weight = bnb.nn.Int8Params(codes, requires_grad=False, has_fp16_weights=False, CB=codes, SCB=scales)
    else:
        raise errors.UnsupportedError("bitsandbytes has modules for INT8, NF4 and FP4 alone", matrix.scheme)
    if bias is not None:
        made.bias = nn.Parameter(bias.detach().clone())
    made.original_bytes = matrix.n_out * matrix.n_in * (4 if matrix.dtype == "f32" else 2)
    return made


def dequantized(layer: nn.Module) -> torch.Tensor:
    """Float32 [n_out, n_in]."""
    bnb = _loaded()
    weight: Any = layer.weight
    if isinstance(layer, bnb.nn.Linear4bit):
        if weight.quant_state is None:
            raise errors.UsageError("its weight is not quantized yet: bitsandbytes does that on .to(device)", "layer")
        found: torch.Tensor = bnb.functional.dequantize_4bit(weight.data, weight.quant_state).float()
        return found
    scales = weight.SCB if weight.SCB is not None else layer.state.SCB
    if scales is None:
        raise errors.UsageError("its weight is not quantized yet: bitsandbytes does that on .to(device)", "layer")
    codes: torch.Tensor = weight.data
    return codes.float() * (scales.float().reshape(-1, 1) / 127)


def n_bytes(layer: nn.Module) -> int:
    """Bytes of codes and scales."""
    bnb = _loaded()
    weight: Any = layer.weight
    tensors = [weight.data]
    if isinstance(layer, bnb.nn.Linear4bit):
        tensors += weight.quant_state.as_dict(packed=True).values()
    else:
        tensors.append(weight.SCB if weight.SCB is not None else layer.state.SCB)
    return sum(t.numel() * t.element_size() for t in tensors)


def original_bytes(layer: nn.Module) -> int:
    """Bytes of the weight that it was made from; where somebody else made it, of 16-bit floats."""
    known = getattr(layer, "original_bytes", None)
    return known if known is not None else 2 * int(layer.in_features) * int(layer.out_features)
