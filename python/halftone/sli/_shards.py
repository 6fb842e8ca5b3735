"""A quantized folder taken apart into the layers of a cache, and a folder made of layers again. Nothing here is public.

Each layer's file has the checkpoint's own names, so that a folder of links to them, with an index, is a checkpoint.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from .. import errors
from ..matrix import QuantizedMatrix, parts_of
from ..model import Model, Tensor
from . import _layer_file
from ._layer_file import DTYPES
from ._linear import DTYPES as FLOATS
from .quantization import QuantizationConfig, QuantizationMode

OUTSIDE, FILES = -1, -2
"""Indices of what is in no layer, and of the files beside the weights."""
_INDEX = "model.safetensors.index.json"
_CLASSES = {QuantizationMode.INT8: "Int8Linear", QuantizationMode.INT8_DYNAMIC: "DynamicLinear"}
_FLOAT_NAMES = {name: dtype for dtype, name in FLOATS.items()}


class Stored:
    """The tensors of a folder's safetensors files, as they are stored there. One is read at a time."""

    def __init__(self, folder: Path) -> None:
        self._places: dict[str, tuple[Path, int, torch.dtype, list[int], int]] = {}
        for path in sorted(folder.glob("*.safetensors")):
            with open(path, "rb") as file:
                n = int.from_bytes(file.read(8), "little")
                for name, entry in json.loads(file.read(n)).items():
                    if name != "__metadata__":
                        start, end = entry["data_offsets"]
                        self._places[name] = (path, 8 + n + start, DTYPES[entry["dtype"]], entry["shape"], end - start)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def read(self, name: str) -> torch.Tensor:
        path, at, dtype, shape, n = self._places[name]
        data = torch.empty(n, dtype=torch.uint8)
        with open(path, "rb") as file:
            file.seek(at)
            if file.readinto(_layer_file.memory_of(data)) != n:
                raise errors.FormatError("it ends too early", str(path))
        return data.view(dtype).reshape(shape)


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def by_layer(model: Model, stored: Iterable[str]) -> dict[int, list[str]]:
    """Names of stored tensors, by the layer that the model's table says; the parts of a weight are in its layer."""
    layers = {_module(t.name): t.layer for t in model.tensors.values() if t.layer is not None}
    found: dict[int, list[str]] = {OUTSIDE: []}
    for name in stored:
        module = _module(name)
        while module and module not in layers:
            module = _module(module)
        found.setdefault(layers[module] if module else OUTSIDE, []).append(name)
    return found


def prefix_of(index: int, names: list[str]) -> str:
    """What all names of a layer begin with: "model.layers.0."."""
    if index == OUTSIDE or not names:
        return ""
    common = os.path.commonprefix(names)
    return common[: common.rfind(".") + 1]


def _quantized_entry(t: Tensor, path: str, config: QuantizationConfig) -> dict[str, Any]:
    n_out, n_in = t.shape if t.linear else t.shape[::-1]  # GPT-2's are shown as its code keeps them, [in, out]
    matrix = QuantizedMatrix(t.scheme, n_out, n_in, t.dtype, {})
    entry: dict[str, Any] = {
        "path": path,
        "class": _CLASSES.get(config.mode, "QuantizedLinear"),
        "mode": config.mode.value,
        "scheme": t.scheme,
        "n_out": n_out,
        "n_in": n_in,
        "dtype": t.dtype,
        "parts": parts_of(matrix),
        "original_dtype": _layer_file.NAMES[_FLOAT_NAMES[t.dtype]],
        "compute_dtype": _layer_file.NAMES[config.compute_dtype],
    }
    if config.mode in _CLASSES:
        entry["threshold"] = config.llm_int8_threshold if config.mode is QuantizationMode.INT8 else 0.0
    return entry


def _containers(paths: Iterable[str]) -> list[str]:
    found = {""}
    for path in paths:
        while path:
            found.add(path)
            path = _module(path)
    return sorted(found, key=lambda p: (p.count(".") if p else -1, p))


def entries_of(
    model: Model, names: list[str], prefix: str, config: QuantizationConfig, tensors: dict[str, torch.Tensor]
) -> list[dict[str, Any]]:
    """The layer's modules: quantized Linears, Linears, and containers that hold what is left, by dotted names."""
    packed = {_module(t.name): t for t in model.tensors.values() if t.scheme and len(t.shape) == 2}
    linear = {_module(t.name) for t in model.tensors.values() if t.linear and not t.scheme and len(t.shape) == 2}
    own: dict[str, list[str]] = {}
    for name in names:
        module = _module(name)
        while module and module not in packed:
            module = _module(module)
        own.setdefault(module or _module(name), []).append(name)
    entries = []
    for path in _containers(m.removeprefix(prefix) for m in own):
        module = (prefix + path).rstrip(".")
        if module in packed:
            entries.append(_quantized_entry(packed[module], path, config))
            continue
        held = [n.removeprefix(module + ".") for n in own.get(module, ())]
        weight = tensors.get(f"{path}.weight".lstrip("."))
        entry = {"path": path, "class": "ModuleDict", "arguments": {}, "tensors": held}
        if module in linear and weight is not None and set(held) <= {"weight", "bias"}:
            entry |= {"class": "Linear", "arguments": {"in_features": weight.shape[1], "out_features": weight.shape[0]}}
        entries.append(entry)
    return entries


def files_of(folder: Path) -> dict[str, torch.Tensor]:
    """The files beside the weights, as bytes."""
    found = {}
    for path in sorted(folder.iterdir()):
        if path.is_file() and path.suffix != ".safetensors" and path.name not in (_INDEX, "README.md"):
            data = path.read_bytes()
            found[path.name] = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
    return found


def assemble(folder: Path, layers: list[Path], files: dict[str, torch.Tensor]) -> None:
    """A checkpoint of links to layers' files. FileNotFoundError: one of them is not there any more."""
    weight_map, total = {}, 0
    for i, layer in enumerate(layers):
        name = f"model-{i + 1:05d}-of-{len(layers):05d}.safetensors"
        os.link(layer, folder / name)
        with open(folder / name, "rb") as file:
            for tensor in json.loads(file.read(int.from_bytes(file.read(8), "little"))):
                if tensor != "__metadata__":
                    weight_map[tensor] = name
        total += (folder / name).stat().st_size
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")
    for name, data in files.items():
        (folder / Path(name).name).write_bytes(bytes(_layer_file.memory_of(data)))
