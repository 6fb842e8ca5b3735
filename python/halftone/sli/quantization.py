"""Layers of a model, quantized one by one.

    config = QuantizationConfig(mode=QuantizationMode.NF4)
    quantizer = LayerQuantizer(config)
    quantized = quantizer.quantize_layer(nn.Linear(1024, 4096))
    quantizer.get_quantized_size_ratio(quantized)      # 0.1293: bytes of codes and scales by those of the float32 weight
    restored = quantizer.dequantize_layer(quantized)

Weights are really stored in their mode, by the library: NF4 and FP4 as bitsandbytes stores them (bit by bit), INT8 as its
LLM.int8, INT8_DYNAMIC as compressed-tensors' W8A8, INT4 as its W4A16. Where bitsandbytes is installed, ``LayerQuantizer(config,
backend="bitsandbytes")`` puts the same bytes into its own modules. What cannot be done is an error; a layer comes back as it
was only where the mode is NONE or ``llm_int8_skip_modules`` says so.
"""

from __future__ import annotations

import importlib.util
import logging
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from enum import Enum
from typing import Any

import torch
from torch import nn

from .. import errors
from . import _bitsandbytes
from ._linear import (
    DynamicLinear,
    Int8Linear,
    QuantizedLinear,
    is_linear,
    quantize_weight,
    weight_of,
)
from ._modules import rebuilt

logger = logging.getLogger(__name__)

BITSANDBYTES_AVAILABLE = importlib.util.find_spec("bitsandbytes") is not None
"""Is bitsandbytes installed? Nothing here needs it but ``backend="bitsandbytes"``."""


class QuantizationMode(Enum):
    """How a weight is stored."""

    NONE = "none"  # as it is
    INT8 = "int8"  # whole numbers of 8 bits, a scale for each row; outliers of the input as floats
    INT8_DYNAMIC = "int8_dynamic"  # the same without outliers
    NF4 = "nf4"  # 4 bits whose values are quantiles of the normal distribution
    FP4 = "fp4"  # floats of 4 bits
    INT4 = "int4"  # whole numbers of 4 bits, a scale for each group


_HIGHER = {
    QuantizationMode.NF4: QuantizationMode.INT8,
    QuantizationMode.FP4: QuantizationMode.INT8,
    QuantizationMode.INT4: QuantizationMode.INT8,
    QuantizationMode.INT8: QuantizationMode.INT8_DYNAMIC,
    QuantizationMode.INT8_DYNAMIC: QuantizationMode.NONE,
    QuantizationMode.NONE: QuantizationMode.NONE,
}


@dataclass
class QuantizationConfig:
    """How layers are quantized.

    Attributes:
        mode: how the weight is stored.
        compute_dtype: in which dequantized weights are multiplied (not of storage).
        compress_statistics, double_quant: both: scales of NF4 and FP4 are quantized themselves, in 8 bits.
        quant_storage_dtype: uint8.
        quant_type: ``"nf4"`` or ``"fp4"``; with the mode FP4 it is ``"fp4"``, and with NF4 nothing else is taken.
        llm_int8_threshold: inputs from this magnitude on are outliers, which INT8 multiplies as floats; 0: none.
        llm_int8_skip_modules: names of modules that stay as they are, in every mode: whole parts of dotted names (``"gate"``
            is not ``gate_proj``).
    """

    mode: QuantizationMode = QuantizationMode.NONE
    compute_dtype: torch.dtype = torch.float16
    compress_statistics: bool = True
    quant_storage_dtype: torch.dtype = torch.uint8
    double_quant: bool = True
    quant_type: str = "nf4"
    llm_int8_threshold: float = 6.0
    llm_int8_skip_modules: list[str] | None = None

    def __post_init__(self) -> None:
        self.mode = _mode(self.mode)
        if self.mode is QuantizationMode.FP4:
            self.quant_type = "fp4"
        self.check()

    def check(self) -> None:
        """Raises where the members contradict each other."""
        if self.quant_type not in ("nf4", "fp4"):
            raise errors.UsageError(f'expected "nf4" or "fp4", got {self.quant_type!r}', "quant_type")
        if self.mode is QuantizationMode.NF4 and self.quant_type != "nf4":
            raise errors.UsageError('the mode is NF4, but this is "fp4": say one of them', "quant_type")
        if self.compute_dtype not in (torch.float16, torch.bfloat16, torch.float32):
            raise errors.UsageError(f"expected float16, bfloat16 or float32, got {self.compute_dtype}", "compute_dtype")
        if self.quant_storage_dtype is not torch.uint8:
            raise errors.UsageError(f"expected torch.uint8, got {self.quant_storage_dtype}", "quant_storage_dtype")
        if not 0 <= self.llm_int8_threshold < float("inf"):
            raise errors.UsageError("expected a number from 0 on", "llm_int8_threshold")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON: ``{'mode': 'int8', 'compute_dtype': 'torch.float16', …}``."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        found["mode"] = self.mode.value
        found["compute_dtype"], found["quant_storage_dtype"] = str(self.compute_dtype), str(self.quant_storage_dtype)
        return found

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> QuantizationConfig:
        """The reverse. Members that are left out have their defaults; unknown ones are refused."""
        known = {f.name for f in fields(cls)}
        if unknown := set(data) - known:
            raise errors.UsageError(f"expected {', '.join(sorted(known))}", ", ".join(sorted(map(str, unknown))))
        values = dict(data)
        for name in ("compute_dtype", "quant_storage_dtype"):
            if isinstance(values.get(name), str):
                dtype = getattr(torch, values[name].removeprefix("torch."), None)
                if not isinstance(dtype, torch.dtype):
                    raise errors.UsageError(f"{values[name]!r} is not a dtype", name)
                values[name] = dtype
        return cls(**values)

    def skips(self, name: str) -> bool:
        """Does ``llm_int8_skip_modules`` name the module, or one that it is in?"""
        return any(
            re.search(rf"(^|\.){re.escape(part)}(\.|$)", name) for part in self.llm_int8_skip_modules or () if part
        )

    def scheme(self, n_in: int) -> str:
        """The library's scheme for a weight with ``n_in`` columns."""
        nested = self.compress_statistics and self.double_quant
        if self.mode in (QuantizationMode.NF4, QuantizationMode.FP4):
            return self.quant_type + (":nested=on" if nested else "")
        if self.mode is QuantizationMode.INT8:
            return "int8"
        if self.mode is QuantizationMode.INT8_DYNAMIC:
            return "w8a8:range=absmax"
        group = next((g for g in (128, 64, 32) if n_in % g == 0), -1)
        return f"w4a16:group={group}"


def _mode(mode: str | QuantizationMode) -> QuantizationMode:
    try:
        return mode if isinstance(mode, QuantizationMode) else QuantizationMode(str(mode).lower())
    except ValueError:
        raise errors.UsageError(
            f"there is no mode {mode!r}; expected {', '.join(m.value for m in QuantizationMode)}", "mode"
        ) from None


class LayerQuantizer:
    """Quantizes layers, and turns them back.

    Args:
        config: how; default: not at all (``QuantizationMode.NONE``).
        backend: ``"halftone"``, or ``"bitsandbytes"`` for its modules with the same bytes (INT8, NF4, FP4).
    """

    def __init__(self, config: QuantizationConfig | None = None, *, backend: str = "halftone") -> None:
        self.config = config if config is not None else QuantizationConfig()
        if not isinstance(self.config, QuantizationConfig):
            raise errors.UsageError(f"expected a QuantizationConfig, got {type(config).__name__}", "config")
        if backend not in ("halftone", "bitsandbytes"):
            raise errors.UsageError('expected "halftone" or "bitsandbytes"', "backend")
        if backend == "bitsandbytes" and not BITSANDBYTES_AVAILABLE:
            raise ImportError(f"bitsandbytes is required for {self.config.mode.value} quantization by its modules")
        self.backend = backend

    def quantize_layer(self, layer: nn.Module, layer_name: str = "") -> nn.Module:
        """The layer with every Linear in it quantized: a new module, which shares what is not quantized with ``layer``.

        Refused: a layer without a Linear, one that is quantized already, weights that are not float32, float16 or bfloat16,
        or not finite.
        """
        self.config.check()
        if self.config.mode is QuantizationMode.NONE:
            return layer
        if self.config.skips(layer_name):
            logger.debug("%s: skipped, as llm_int8_skip_modules says", layer_name or "the layer")
            return layer
        if self.is_quantized(layer):
            raise errors.UsageError("it is quantized already", layer_name)
        if is_linear(layer):
            return self._quantize(layer, layer_name)
        found = [(n, m) for n, m in layer.named_modules(prefix=layer_name) if is_linear(m)]
        if not found:
            raise errors.UnsupportedError(f"there is no Linear in this {type(layer).__name__}", layer_name)
        return rebuilt(layer, {id(m): self._quantize(m, n) for n, m in found if not self.config.skips(n)})

    def _quantize(self, layer: nn.Module, name: str) -> nn.Module:
        weight, c = weight_of(layer, name), self.config
        try:
            matrix = quantize_weight(c.scheme(weight.shape[1]), weight)
        except errors.HalftoneError as refused:
            raise type(refused)(refused.message, name or refused.where) from None
        logger.debug("%s: %s, %.3f bits a weight", name or "a Linear", matrix.scheme, matrix.bits_per_weight)
        bias = getattr(layer, "bias", None)
        if self.backend == "bitsandbytes":
            made = _bitsandbytes.module(matrix, bias, c)
        elif c.mode is QuantizationMode.INT8:
            made = Int8Linear(
                matrix, bias, c.mode.value, weight.dtype, c.compute_dtype, threshold=c.llm_int8_threshold
            )
        elif c.mode is QuantizationMode.INT8_DYNAMIC:
            made = DynamicLinear(matrix, bias, c.mode.value, weight.dtype, c.compute_dtype)
        else:
            made = QuantizedLinear(matrix, bias, c.mode.value, weight.dtype, c.compute_dtype)
        made.train(layer.training)
        return made.to(layer.weight.device)

    def dequantize_layer(self, layer: nn.Module) -> nn.Module:
        """The layer with every quantized Linear as an ``nn.Linear`` of ``config.compute_dtype`` again."""
        if _quantized(layer):
            return self._dequantize(layer)
        found = [m for m in layer.modules() if _quantized(m)]
        if not found:
            raise errors.UsageError("nothing in it is quantized", type(layer).__name__)
        return rebuilt(layer, {id(m): self._dequantize(m) for m in found})

    def _dequantize(self, layer: nn.Module) -> nn.Linear:
        weight = layer.dequantized() if isinstance(layer, QuantizedLinear) else _bitsandbytes.dequantized(layer)
        bias = layer.bias
        made = nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
        made.weight = nn.Parameter(weight.to(self.config.compute_dtype))
        if bias is not None:
            made.bias = nn.Parameter(bias.detach().to(self.config.compute_dtype))
        return made.to(next(layer.parameters()).device).train(layer.training)

    def is_quantized(self, layer: nn.Module) -> bool:
        """Is it, or anything in it, quantized?"""
        return any(_quantized(m) for m in layer.modules())

    def get_quantized_size_ratio(self, layer: nn.Module) -> float:
        """Bytes of the quantized weights, scales counted, by those of the weights that they were made from; 1: none is."""
        after = before = 0
        for m in layer.modules():
            if isinstance(m, QuantizedLinear):
                after, before = after + m.quantized_bytes(), before + m.original_bytes()
            elif _bitsandbytes.is_module(m):
                after, before = after + _bitsandbytes.n_bytes(m), before + _bitsandbytes.original_bytes(m)
        return after / before if before else 1.0


def _quantized(layer: nn.Module) -> bool:
    return isinstance(layer, QuantizedLinear) or _bitsandbytes.is_module(layer)


# Words of names, between dots and underscores
_ATTENTION = ("attn", "attention", "qkv")
_ATTENTION_WORDS = {"query", "key", "value", "q", "k", "v", "o"}
_FFN = ("ffn", "mlp", "feedforward")
_FFN_WORDS = {"fc", "fc1", "fc2", "fc3", "gate", "up", "down"}


class AdaptiveQuantizer:
    """Quantizes each Linear of a model by what it is for.

    Args:
        base_config: of Linears that are of neither; or another AdaptiveQuantizer, whose configurations are taken.
        attention_config: of attention; None: one step of NF4, FP4, INT4 → INT8 → INT8_DYNAMIC → NONE above the base.
        ffn_config: of feed-forward layers; None: the base.
    """

    def __init__(
        self,
        base_config: QuantizationConfig | AdaptiveQuantizer,
        attention_config: QuantizationConfig | None = None,
        ffn_config: QuantizationConfig | None = None,
        *,
        backend: str = "halftone",
    ) -> None:
        if isinstance(base_config, AdaptiveQuantizer):
            attention_config = attention_config or base_config.attention_config
            ffn_config = ffn_config or base_config.ffn_config
        base = base_config.base_config if isinstance(base_config, AdaptiveQuantizer) else base_config
        self.base_config: QuantizationConfig = base
        self.attention_config: QuantizationConfig = attention_config or _above(base)
        self.ffn_config: QuantizationConfig = ffn_config or base
        self.backend = backend

    def get_config_for_layer(self, layer_name: str) -> QuantizationConfig:
        """By the whole dotted name; the last part that says anything decides."""
        for part in reversed(layer_name.lower().split(".")):
            words = set(part.split("_"))
            if any(x in part for x in _ATTENTION) or words & _ATTENTION_WORDS:
                return self.attention_config
            if any(x in part for x in _FFN) or "feed_forward" in part or words & _FFN_WORDS:
                return self.ffn_config
        return self.base_config

    def quantize_model(self, model: nn.Module) -> nn.Module:
        """A model with each Linear quantized; what stays as it is, is shared with ``model``."""
        replaced = {}
        for name, layer in self._linears(model):
            made = LayerQuantizer(self.get_config_for_layer(name), backend=self.backend).quantize_layer(layer, name)
            if made is not layer:
                replaced[id(layer)] = made
        if not replaced:
            raise errors.UsageError("no Linear of it is to be quantized", type(model).__name__)
        if id(model) in replaced:
            return replaced[id(model)]
        return rebuilt(model, replaced)

    @staticmethod
    def _linears(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
        return ((n, m) for n, m in model.named_modules() if is_linear(m))


def _above(config: QuantizationConfig) -> QuantizationConfig:
    return replace(config, mode=_HIGHER[config.mode], quant_type="nf4")


class QuantizationRegistry:
    """Configurations by name, of the process: ``int8``, ``nf4`` and ``fp4`` are there."""

    _lock = threading.Lock()
    _configs: dict[str, QuantizationConfig] = {}

    @classmethod
    def register(cls, name: str, config: QuantizationConfig) -> None:
        """Adds one, or replaces it."""
        if not isinstance(config, QuantizationConfig):
            raise errors.UsageError(f"expected a QuantizationConfig, got {type(config).__name__}", name)
        with cls._lock:
            cls._configs[name] = replace(config)

    @classmethod
    def get(cls, name: str) -> QuantizationConfig:
        """A copy of one."""
        with cls._lock:
            if name not in cls._configs:
                raise errors.NotFoundError(f"there is no such configuration; there are {', '.join(cls._configs)}", name)
            return replace(cls._configs[name])

    @classmethod
    def list_configs(cls) -> list[str]:
        """Their names, in the order in which they were registered."""
        with cls._lock:
            return list(cls._configs)


def get_int8_config() -> QuantizationConfig:
    """INT8, with the output and the embeddings as they are."""
    return QuantizationConfig(mode=QuantizationMode.INT8, llm_int8_skip_modules=["lm_head", "embed_tokens"])


def get_nf4_config() -> QuantizationConfig:
    """NF4 with quantized scales."""
    return QuantizationConfig(mode=QuantizationMode.NF4)


def get_fp4_config() -> QuantizationConfig:
    """FP4 with quantized scales."""
    return QuantizationConfig(mode=QuantizationMode.FP4, quant_type="fp4")


def get_mixed_precision_config() -> AdaptiveQuantizer:
    """Attention in INT8, feed-forward layers and others in NF4, the output as it is."""
    base = replace(get_nf4_config(), llm_int8_skip_modules=["lm_head", "embed_tokens"])
    return AdaptiveQuantizer(base, attention_config=get_int8_config(), ffn_config=base)


for _name, _config in (("int8", get_int8_config()), ("nf4", get_nf4_config()), ("fp4", get_fp4_config())):
    QuantizationRegistry.register(_name, _config)


def quantize_layer(layer: nn.Module, mode: str | QuantizationMode = "int8", **kwargs: Any) -> nn.Module:
    """A layer quantized in one line; ``kwargs`` are members of :class:`QuantizationConfig`."""
    return LayerQuantizer(QuantizationConfig(mode=_mode(mode), **kwargs)).quantize_layer(layer)


def dequantize_layer(layer: nn.Module, compute_dtype: torch.dtype = torch.float16) -> nn.Module:
    """A layer turned back in one line."""
    return LayerQuantizer(QuantizationConfig(compute_dtype=compute_dtype)).dequantize_layer(layer)
