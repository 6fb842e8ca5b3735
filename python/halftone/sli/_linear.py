"""Linear layers whose weight is stored as a scheme of the library stores it. Nothing here is public but the classes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from .. import errors
from ..matrix import QuantizedMatrix, dequantize, quantize_matrix

DTYPES = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}


def is_conv1d(layer: nn.Module) -> bool:
    """GPT-2's Linear, of transformers, which keeps its weight transposed."""
    return type(layer).__name__ == "Conv1D" and hasattr(layer, "nf") and hasattr(layer, "weight")


def is_linear(layer: nn.Module) -> bool:
    return type(layer) is nn.Linear or is_conv1d(layer)


def weight_of(layer: nn.Module, name: str) -> torch.Tensor:
    """Its weight [n_out, n_in] in the processor's memory."""
    weight: torch.Tensor = layer.weight.detach()
    if weight.is_meta:
        raise errors.UsageError("its weight is on the meta device: it has no numbers yet", name)
    if weight.dtype not in DTYPES:
        raise errors.UsageError(f"its weight is of {weight.dtype}; expected float32, float16 or bfloat16", name)
    return (weight.t() if is_conv1d(layer) else weight).to("cpu")


class QuantizedLinear(nn.Module):
    """A Linear whose weight [out_features, in_features] is stored by a scheme of the library.

    The parts of the weight are parameters without gradient (``parts`` has them by the names that the scheme's programs give
    them), so that they move, are saved and counted with the module. The forward pass decodes the weight with the library in
    the processor's memory and computes in ``compute_dtype``; the result has the input's dtype.

    Attributes:
        mode: ``"nf4"``, ``"fp4"``, ``"int8"`` …
        scheme: as :func:`halftone.quantize_matrix` takes it.
        original_dtype: of the weight that was quantized.
    """

    def __init__(
        self,
        matrix: QuantizedMatrix,
        bias: torch.Tensor | None,
        mode: str,
        original_dtype: torch.dtype,
        compute_dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.in_features, self.out_features = matrix.n_in, matrix.n_out
        self.mode, self.scheme, self.dtype_name = mode, matrix.scheme, matrix.dtype
        self.original_dtype, self.compute_dtype = original_dtype, compute_dtype
        self._names = {suffix: suffix.lstrip(".").replace(".", "_") for suffix in matrix.parts}
        self._dtypes = dict(matrix.dtypes)
        for suffix, name in self._names.items():
            self.register_parameter(name, nn.Parameter(matrix.parts[suffix], requires_grad=False))
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)

    @property
    def part_dtypes(self) -> dict[str, str]:
        """The parts' dtypes, as checkpoints name them."""
        return dict(self._dtypes)

    @property
    def parts(self) -> dict[str, torch.Tensor]:
        return {suffix: getattr(self, name).detach() for suffix, name in self._names.items()}

    @property
    def matrix(self) -> QuantizedMatrix:
        """The weight as the library has it, in the processor's memory."""
        parts = {suffix: part.to("cpu") for suffix, part in self.parts.items()}
        return QuantizedMatrix(self.scheme, self.out_features, self.in_features, self.dtype_name, parts, self._dtypes)

    def dequantized(self) -> torch.Tensor:
        """Float32 [out_features, in_features], as programs that load the parts compute with it."""
        weight: torch.Tensor = dequantize(self.matrix)
        return weight

    def quantized_bytes(self) -> int:
        """Bytes of the weight's parts, scales counted."""
        return sum(p.numel() * p.element_size() for p in self.parts.values())

    def original_bytes(self) -> int:
        """Bytes of the weight that was quantized."""
        return int(self.in_features * self.out_features * torch.empty((), dtype=self.original_dtype).element_size())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weight = self.dequantized().to(x.device, self.compute_dtype)
        bias = None if self.bias is None else self.bias.to(self.compute_dtype)
        return F.linear(x.to(self.compute_dtype), weight, bias).to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}, mode={self.mode}, {self.scheme}"


class Int8Linear(QuantizedLinear):
    """Eight bits for weight and activations, as LLM.int8 of bitsandbytes computes.

    Each row of the input is rounded to 127 steps of its largest magnitude, and multiplied as whole numbers. Columns of the
    input with a magnitude of at least ``threshold`` are outliers: they are multiplied as floats. threshold 0: there are none.
    """

    codes, scales, steps = ".weight", ".SCB", 127.0

    def __init__(self, *args: Any, threshold: float = 0.0, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.threshold = threshold

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.parts
        codes, scales = parts[self.codes], parts[self.scales].float().reshape(-1) / self.steps
        rows = x.reshape(-1, self.in_features).float()
        outliers = torch.zeros(self.in_features, dtype=torch.bool, device=x.device)
        if self.threshold > 0 and len(rows):
            outliers = (rows.abs() >= self.threshold).any(dim=0)
        plain = rows.masked_fill(outliers, 0) if outliers.any() else rows
        largest = plain.abs().amax(dim=1, keepdim=True) if len(rows) else plain[:, :1]
        rounded = torch.round(plain * (127 / largest.clamp_min(1e-30))).to(torch.int8)
        y = torch._int_mm(rounded, codes.t().contiguous()).float() * (largest / 127) * scales
        if outliers.any():
            y += rows[:, outliers] @ (codes[:, outliers].float() * scales[:, None]).t()
        if self.bias is not None:
            y += self.bias.float()
        return y.reshape(*x.shape[:-1], self.out_features).to(x.dtype)


class DynamicLinear(Int8Linear):
    """Eight bits for weight and activations, scales of the input found as it comes, without outliers."""

    codes, scales, steps = ".weight", ".weight_scale", 1.0


def quantize_weight(scheme: str, weight: torch.Tensor) -> QuantizedMatrix:
    return quantize_matrix(scheme, weight.contiguous(), dtype=DTYPES[weight.dtype])
