"""One layer as a safetensors file: its tensors, what they belong to, and a hash over both. Nothing here is public.

    u64 n | JSON of n bytes | tensors, without gaps, those of large numbers first (so that each is aligned)

``__metadata__`` has the layer's description (JSON) under ``halftone.layer``, and under ``sha256`` the hash of the header
without that member (JSON with sorted keys and no blanks), followed by the tensors' bytes.
"""

from __future__ import annotations

import ctypes as C
import hashlib
import json
import math
from dataclasses import dataclass
from typing import IO, Any

import torch

from .. import errors

DTYPES = {
    "F64": torch.float64,
    "I64": torch.int64,
    "F32": torch.float32,
    "I32": torch.int32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I16": torch.int16,
    "U8": torch.uint8,
    "I8": torch.int8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
_MOST_HEADER = 64 << 20
_STEP = 4 << 20  # bytes that are read and hashed at once
_LAYER, _HASH = "halftone.layer", "sha256"


@dataclass
class LayerFile:
    """What a file holds. ``tensors`` share one piece of memory."""

    description: dict[str, Any]
    tensors: dict[str, torch.Tensor]


def memory_of(tensor: torch.Tensor) -> memoryview:
    """The bytes of a contiguous tensor in the processor's memory."""
    n = tensor.numel() * tensor.element_size()
    return memoryview((C.c_char * n).from_address(tensor.data_ptr()) if n else b"").cast("B")


def _canonical(header: dict[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def write(file: IO[bytes], description: dict[str, Any], tensors: dict[str, torch.Tensor]) -> int:
    """Writes a layer; its size."""
    order = sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))
    ready = {name: tensors[name].detach().to("cpu").contiguous() for name in order}
    header: dict[str, Any] = {"__metadata__": {"format": "pt", _LAYER: _canonical(description).decode()}}
    at = 0
    for name, tensor in ready.items():
        if tensor.dtype not in NAMES:
            raise errors.UnsupportedError(f"numbers of {tensor.dtype} cannot be kept in a file", name)
        n = tensor.numel() * tensor.element_size()
        header[name] = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [at, at + n]}
        at += n
    digest = hashlib.sha256(_canonical(header))
    for tensor in ready.values():
        digest.update(memory_of(tensor))
    header["__metadata__"][_HASH] = digest.hexdigest()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for tensor in ready.values():
        file.write(memory_of(tensor))
    return 8 + len(text) + at


def _fail(message: str) -> errors.FormatError:
    return errors.FormatError(message)


def _read_header(file: IO[bytes], size: int) -> tuple[dict[str, Any], int]:
    n = int.from_bytes(file.read(8), "little")
    if size < 8 or n > min(_MOST_HEADER, size - 8):
        raise _fail("its header is longer than the file")
    try:
        header = json.loads(file.read(n))
    except (ValueError, RecursionError):
        raise _fail("its header is not JSON") from None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or not isinstance(metadata.get(_LAYER), str):
        raise _fail("its header describes no layer")
    return header, size - 8 - n


def _place(name: str, entry: Any, n_data: int) -> tuple[int, int, torch.dtype, list[int]]:
    """Where a tensor lies, and what it is: checked."""
    try:
        dtype, shape, (start, end) = DTYPES[entry["dtype"]], entry["shape"], entry["data_offsets"]
        ints = all(type(n) is int and 0 <= n < 1 << 48 for n in (*shape, start, end))
    except (KeyError, TypeError, ValueError):
        raise _fail(f"{name}: its entry in the header is wrong") from None
    size = torch.empty((), dtype=dtype, device="meta").element_size()
    if not ints or len(shape) > 8 or not start <= end <= n_data or end - start != math.prod(shape) * size or start % size:
        raise _fail(f"{name}: its place in the file is wrong")
    return start, end, dtype, shape


def describe(file: IO[bytes], size: int) -> dict[str, Any]:
    """The description alone: what it says is not checked against the hash."""
    header, _ = _read_header(file, size)
    return _description(header)


def _description(header: dict[str, Any]) -> dict[str, Any]:
    try:
        found = json.loads(header["__metadata__"][_LAYER])
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise _fail("its description is wrong")
    return found


def _read_data(file: IO[bytes], data: torch.Tensor, digest: Any) -> None:
    room, at = memory_of(data), 0
    while at < len(room):
        n = file.readinto(room[at : at + _STEP])  # type: ignore[attr-defined]
        if not n:
            raise _fail("it ends too early")
        if digest is not None:
            digest.update(room[at : at + n])
        at += n


def read(file: IO[bytes], size: int, verify: bool = True) -> LayerFile:
    """Reads a layer; FormatError: it is not what was written."""
    header, n_data = _read_header(file, size)
    places = {name: _place(name, entry, n_data) for name, entry in header.items() if name != "__metadata__"}
    at = 0
    for start, end, _, _ in sorted(places.values(), key=lambda p: p[:2]):
        if start != at:
            raise _fail("there is a gap between its tensors")
        at = end
    if at != n_data:
        raise _fail("it is longer than its tensors")
    expected = header["__metadata__"].pop(_HASH, None)
    data = torch.empty(n_data, dtype=torch.uint8)
    digest = hashlib.sha256(_canonical(header)) if verify else None
    _read_data(file, data, digest)
    if digest is not None and digest.hexdigest() != expected:
        raise _fail("its bytes are not those that were written: the hash differs")
    tensors = {name: data[a:b].view(dtype).reshape(shape) for name, (a, b, dtype, shape) in places.items()}
    return LayerFile(_description(header), tensors)
