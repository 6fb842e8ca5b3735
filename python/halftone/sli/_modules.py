"""Modules as a description and tensors, and back: what a layer's file says of its modules. Nothing here is public.

Code is never named by a file: modules are made of the classes that are listed here, or put into a module that the caller gives.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from .. import errors
from ..matrix import QuantizedMatrix, check_parts
from . import _bitsandbytes
from ._layer_file import NAMES
from ._linear import DynamicLinear, Int8Linear, QuantizedLinear

_QUANTIZED: dict[str, type[QuantizedLinear]] = {c.__name__: c for c in (QuantizedLinear, Int8Linear, DynamicLinear)}
# Classes that are made from a file: arguments of their constructors, which are attributes too
_MADE: dict[str, tuple[Any, tuple[str, ...]]] = {
    "ModuleDict": (nn.ModuleDict, ()),
    "ModuleList": (nn.ModuleList, ()),
    "Sequential": (nn.Sequential, ()),
    "ParameterDict": (nn.ParameterDict, ()),
    "Linear": (nn.Linear, ("in_features", "out_features")),
    "Embedding": (nn.Embedding, ("num_embeddings", "embedding_dim", "padding_idx")),
    "LayerNorm": (nn.LayerNorm, ("normalized_shape", "eps", "elementwise_affine")),
    "RMSNorm": (nn.RMSNorm, ("normalized_shape", "eps", "elementwise_affine")),
    "Dropout": (nn.Dropout, ("p",)),
    "GELU": (nn.GELU, ("approximate",)),
    "SiLU": (nn.SiLU, ()),
    "ReLU": (nn.ReLU, ()),
    "Tanh": (nn.Tanh, ()),
    "Sigmoid": (nn.Sigmoid, ()),
    "Identity": (nn.Identity, ()),
}
_WITH_TENSORS = ("Linear", "Embedding", "LayerNorm", "RMSNorm")


def rebuilt(module: nn.Module, replaced: dict[int, nn.Module]) -> nn.Module:
    """The module with others in the place of some of its own. What is not replaced is shared with the original."""
    memo: dict[int, Any] = dict(replaced)
    for tensor in (*module.parameters(), *module.buffers()):
        memo[id(tensor)] = tensor
    result: nn.Module = copy.deepcopy(module, memo)
    return result


def alias(module: nn.Module) -> nn.Module:
    """Modules of its own, for the same numbers: moving or casting it leaves the other as it is."""
    memo: dict[int, Any] = {}
    for p in module.parameters():
        memo[id(p)] = nn.Parameter(p.detach(), requires_grad=p.requires_grad)
    for b in module.buffers():
        memo[id(b)] = b.detach()
    result: nn.Module = copy.deepcopy(module, memo)
    return result


def n_bytes(module: nn.Module) -> int:
    """Bytes of all its numbers."""
    found = {id(t): t for t in (*module.parameters(), *module.buffers())}
    return sum(t.numel() * t.element_size() for t in found.values())


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def quantized_entry(path: str, module: QuantizedLinear) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "path": path,
        "class": type(module).__name__,
        "mode": module.mode,
        "scheme": module.scheme,
        "n_out": module.out_features,
        "n_in": module.in_features,
        "dtype": module.dtype_name,
        "parts": module.part_dtypes,
        "original_dtype": NAMES[module.original_dtype],
        "compute_dtype": NAMES[module.compute_dtype],
    }
    if isinstance(module, Int8Linear):
        entry["threshold"] = module.threshold
    return entry


def taken_apart(module: nn.Module, name: str) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Its modules, outermost first, and their tensors by dotted names."""
    entries: list[dict[str, Any]] = []
    tensors: dict[str, torch.Tensor] = {}

    def walk(path: str, m: nn.Module) -> None:
        if _bitsandbytes.is_module(m):
            raise errors.UnsupportedError(
                "it is a module of bitsandbytes: quantize with LayerQuantizer's own modules to keep it", _joined(name, path)
            )
        if isinstance(m, QuantizedLinear):
            entries.append(quantized_entry(path, m))
            for suffix, part in m.parts.items():
                tensors[(path + suffix).lstrip(".")] = part
            if m.bias is not None:
                tensors[_joined(path, "bias")] = m.bias
            return
        kind = type(m).__name__
        arguments = {a: getattr(m, a) for a in _MADE[kind][1]} if type(m) is _MADE.get(kind, (None,))[0] else None
        own = [n for n, t in (*m._parameters.items(), *m._buffers.items()) if t is not None]
        entries.append({"path": path, "class": kind, "arguments": arguments, "tensors": own})
        for n in own:
            tensors[_joined(path, n)] = getattr(m, n)
        for n, child in m._modules.items():
            if child is not None:
                walk(_joined(path, n), child)

    walk("", module)
    for key, tensor in tensors.items():
        if tensor.is_meta:
            raise errors.UsageError("it is on the meta device: it has no numbers yet", _joined(name, key))
    return entries, tensors


def _quantized(entry: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> QuantizedLinear:
    path = entry["path"]
    parts = {suffix: tensors[(path + suffix).lstrip(".")] for suffix in entry["parts"]}
    matrix = QuantizedMatrix(
        str(entry["scheme"]), int(entry["n_out"]), int(entry["n_in"]), str(entry["dtype"]), parts, dict(entry["parts"])
    )
    try:
        check_parts(matrix)
    except errors.HalftoneError as wrong:
        raise errors.FormatError(f"{path}: {wrong}") from None
    of = {name: dtype for dtype, name in NAMES.items()}
    bias = tensors.get(_joined(path, "bias"))
    if bias is not None and tuple(bias.shape) != (matrix.n_out,):
        raise errors.FormatError(f"{path}: its bias is of another shape")
    more = {"threshold": float(entry["threshold"])} if "threshold" in entry else {}
    made = _QUANTIZED[entry["class"]](
        matrix, bias, str(entry["mode"]), of[entry["original_dtype"]], of[entry["compute_dtype"]], **more
    )
    made.requires_grad_(False)
    return made


def _made(entry: Mapping[str, Any]) -> nn.Module:
    kind, arguments = entry["class"], entry.get("arguments")
    if kind not in _MADE or not isinstance(arguments, dict) or set(arguments) != set(_MADE[kind][1]):
        raise errors.UsageError(
            f"the layer is or has a {kind}, which a file alone does not make: give template= (such a module, on the meta device)",
            entry["path"],
        )
    more = {"device": "meta"} if kind in _WITH_TENSORS else {}
    made: nn.Module = _MADE[kind][0](**arguments, **more)
    for name in list(made._parameters):
        made._parameters[name] = None
    return made


def _place(root: nn.Module | None, path: str, module: nn.Module) -> nn.Module:
    """The module at its place under the root; the root."""
    if not path:
        return module
    parent, _, name = path.rpartition(".")
    assert root is not None
    above = root.get_submodule(parent)
    if isinstance(above, (nn.ModuleList, nn.Sequential)) or name in above._modules:
        above._modules[name] = module
    else:
        above.add_module(name, module)
    return root


def _give(module: nn.Module, name: str, tensor: torch.Tensor) -> None:
    if name in module._buffers:
        module._buffers[name] = tensor
    elif isinstance(module, nn.ParameterDict):
        module[name] = nn.Parameter(tensor, requires_grad=False)
    else:
        module._parameters[name] = nn.Parameter(tensor, requires_grad=False)


def _like(template: nn.Module, entry: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> nn.Module:
    """The template's module at the entry's place, which must be of its class and have its tensors."""
    path = entry["path"]
    try:
        module = template.get_submodule(path)
    except AttributeError:
        raise errors.UsageError("the template has no such module", path) from None
    own = {n: t for n, t in (*module._parameters.items(), *module._buffers.items()) if t is not None}
    if type(module).__name__ != entry["class"] or set(own) != set(entry["tensors"]):
        raise errors.UsageError(f"the template has another module here: expected a {entry['class']} as it was cached", path)
    for name, tensor in own.items():
        if tensor.shape != tensors[_joined(path, name)].shape:
            raise errors.UsageError(f"the template's tensor is of the shape {tuple(tensor.shape)}", _joined(path, name))
    return module


def put_together(
    entries: list[dict[str, Any]], tensors: Mapping[str, torch.Tensor], template: nn.Module | None = None
) -> nn.Module:
    """The reverse of :func:`taken_apart`; with a template, a copy of that with the tensors in it."""
    root = None if template is None else rebuilt(template, {})
    try:
        for entry in entries:
            path = entry["path"]
            if entry["class"] in _QUANTIZED and "scheme" in entry:
                if template is not None and path:
                    template.get_submodule(path)  # it has such a place
                root = _place(root, path, _quantized(entry, tensors))
                continue
            if template is not None:
                assert root is not None
                module = _like(root, entry, tensors)
            else:
                module = _made(entry)
                root = _place(root, path, module)
            for name in entry["tensors"]:
                _give(module, name, tensors[_joined(path, name)])
        if root is None:
            raise KeyError("no module")
        if extra := {n for n, _ in root.named_modules(remove_duplicate=False)} - {e["path"] for e in entries}:
            raise errors.UsageError(f"the template has modules that the layer has not: {', '.join(sorted(extra))}", "template")
    except errors.HalftoneError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, AssertionError, RuntimeError) as wrong:
        if template is not None and isinstance(wrong, AttributeError):
            raise errors.UsageError(f"the template is another module: {wrong}", "template") from None
        raise errors.FormatError(f"its description is wrong: {wrong}") from None
    return root.eval()
