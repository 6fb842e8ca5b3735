"""Numbers of the caller, in place: anything with the buffer protocol (NumPy, array, bytes) or DLPack (PyTorch and
others), and new arrays of the caller's kind. Nothing is copied. Nothing here is public."""

from __future__ import annotations

import ctypes as C
import importlib
import math
import sys
from collections.abc import Sequence
from typing import Any

from . import errors

# Formats of the struct module, by our names of types
_FORMATS = {"f": "f32", "d": "f64", "e": "f16", "B": "u8", "b": "i8", "i": "i32", "c": "u8"}
_FORMATS |= {"l": "i64", "q": "i64", "I": "u32", "h": "i16", "H": "u16", "?": "bool", "L": "u64", "Q": "u64"}
# DLPack's: code and bits
_DLPACK = {(2, 32): "f32", (2, 64): "f64", (2, 16): "f16", (4, 16): "bf16", (1, 8): "u8", (0, 8): "i8"}
_DLPACK |= {(0, 32): "i32", (0, 64): "i64", (1, 16): "u16", (1, 32): "u32", (0, 16): "i16", (6, 8): "bool"}
SIZES = {"f32": 4, "f64": 8, "f16": 2, "bf16": 2, "u8": 1, "i8": 1, "i32": 4, "i64": 8}
SIZES |= {"u16": 2, "u32": 4, "i16": 2, "bool": 1, "u64": 8}


class _PyBuffer(C.Structure):
    _fields_ = [
        ("buf", C.c_void_p),
        ("obj", C.c_void_p),
        ("len", C.c_ssize_t),
        ("itemsize", C.c_ssize_t),
        ("readonly", C.c_int),
        ("ndim", C.c_int),
        ("format", C.c_char_p),
        ("shape", C.POINTER(C.c_ssize_t)),
        ("strides", C.POINTER(C.c_ssize_t)),
        ("suboffsets", C.POINTER(C.c_ssize_t)),
        ("internal", C.c_void_p),
    ]


class _DLTensor(C.Structure):
    _fields_ = [
        ("data", C.c_void_p),
        ("device_type", C.c_int32),
        ("device_id", C.c_int32),
        ("ndim", C.c_int32),
        ("code", C.c_uint8),
        ("bits", C.c_uint8),
        ("lanes", C.c_uint16),
        ("shape", C.POINTER(C.c_int64)),
        ("strides", C.POINTER(C.c_int64)),
        ("byte_offset", C.c_uint64),
    ]


_get = C.pythonapi.PyObject_GetBuffer
_get.argtypes, _get.restype = [C.py_object, C.POINTER(_PyBuffer), C.c_int], C.c_int
_release = C.pythonapi.PyBuffer_Release
_release.argtypes, _release.restype = [C.POINTER(_PyBuffer)], None
_capsule = C.pythonapi.PyCapsule_GetPointer
_capsule.argtypes, _capsule.restype = [C.py_object, C.c_char_p], C.c_void_p
_FORMAT_AND_STRIDES, _WRITABLE = 0x18 | 0x04, 0x01
_CPU = (1, 3, 11, 13)  # devices whose memory the processor reads: its own, pinned and managed


class View:
    """Where numbers of the caller lie, for as long as the view is kept."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.pointer = 0
        self.shape: tuple[int, ...] = ()
        self.dtype = ""
        self.kind = "buffer"
        self._buffer: _PyBuffer | None = None
        self._keep: object = None

    def __del__(self) -> None:
        if self._buffer is not None:
            _release(C.byref(self._buffer))

    @property
    def count(self) -> int:
        return math.prod(self.shape)

    def fail(self, message: str) -> errors.UsageError:
        return errors.UsageError(message, self.what)


def _contiguous(shape: Sequence[int], strides: Sequence[int], unit: int) -> bool:
    for n, stride in zip(reversed(shape), reversed(strides)):
        if n != 1 and stride != unit:
            return False
        unit *= n
    return True


def _of_buffer(view: View, given: Any, writable: bool) -> None:
    b = _PyBuffer()
    try:
        _get(given, C.byref(b), _FORMAT_AND_STRIDES | (_WRITABLE if writable else 0))
    except (BufferError, TypeError, ValueError) as refused:
        raise view.fail(f"its numbers cannot be used in place: {refused}") from None
    view._buffer = b
    form = (b.format or b"B").decode().lstrip("@=<")
    if b.ndim and not _contiguous(b.shape[: b.ndim], b.strides[: b.ndim], b.itemsize) and b.len:
        raise view.fail("it is not contiguous: numpy.ascontiguousarray makes it so")
    view.pointer, view.shape, view.dtype = b.buf or 0, tuple(b.shape[: b.ndim]), _FORMATS.get(form, form)
    numpy = sys.modules.get("numpy")
    view.kind = "numpy" if numpy is not None and isinstance(given, numpy.ndarray) else "buffer"
    if SIZES.get(view.dtype) != b.itemsize:
        raise view.fail(f'its numbers are of the kind "{form}", which is not known here')


def _of_dlpack(view: View, given: Any) -> None:
    if hasattr(given, "detach"):
        given = given.detach()
    try:
        device = int(given.__dlpack_device__()[0])
        capsule = given.__dlpack__() if device in _CPU else None
    except (BufferError, RuntimeError, TypeError, ValueError) as refused:
        raise view.fail(f"its numbers cannot be used in place: {refused}") from None
    if capsule is None:
        raise view.fail("it is on another device: move it to the processor's memory (.cpu()) first")
    t = _DLTensor.from_address(_capsule(capsule, b"dltensor"))
    view._keep = (capsule, given)
    view.shape = tuple(t.shape[: t.ndim])
    view.dtype = _DLPACK.get((t.code, t.bits), "") if t.lanes == 1 else ""
    if not view.dtype:
        raise view.fail("the kind of its numbers is not known here")
    if t.strides and view.count and not _contiguous(view.shape, t.strides[: t.ndim], 1):
        raise view.fail("it is not contiguous: .contiguous() makes it so")
    view.pointer = (t.data or 0) + t.byte_offset
    view.kind = "torch" if type(given).__module__.split(".")[0] == "torch" else "dlpack"


def view(given: Any, what: str, writable: bool = False) -> View:
    """Where the numbers lie; refused: other devices, gaps between numbers, unknown kinds."""
    v = View(what)
    numpy = sys.modules.get("numpy")
    if hasattr(given, "__dlpack__") and not (numpy is not None and isinstance(given, numpy.ndarray)):
        _of_dlpack(v, given)
    else:
        _of_buffer(v, given, writable)
    return v


def floats(given: Any, what: str, kinds: tuple[str, ...] = ("f32",)) -> View:
    """Floats of 32 bits, or of one of these kinds."""
    v = view(given, what)
    if v.dtype not in kinds:
        expected = "floats of 32 bits" if kinds == ("f32",) else " or ".join(kinds)
        raise v.fail(f"expected {expected}, got {v.dtype}")
    return v


def _has_numpy() -> bool:
    try:
        return hasattr(importlib.import_module("numpy"), "ndarray")
    except ImportError:
        return False


def new(kind: str, dtype: str, shape: Sequence[int]) -> tuple[Any, int]:
    """A new array (NumPy's, PyTorch's, or a memoryview) and where its numbers lie."""
    if kind == "auto":
        kind = "numpy" if _has_numpy() else "buffer"
    if kind == "torch":
        torch: Any = importlib.import_module("torch")
        names = {"f32": torch.float32, "u8": torch.uint8, "i32": torch.int32, "f16": torch.float16}
        names |= {"bf16": torch.bfloat16, "i8": torch.int8, "i64": torch.int64}
        tensor = torch.empty(tuple(shape), dtype=names[dtype])
        return tensor, tensor.data_ptr()
    if kind == "numpy":
        numpy: Any = importlib.import_module("numpy")
        names = {"f32": "float32", "u8": "uint8", "i32": "int32", "f16": "float16", "i8": "int8", "i64": "int64"}
        array = numpy.empty(tuple(shape), dtype=names[dtype])
        return array, array.ctypes.data
    size = math.prod(shape) * SIZES[dtype]
    room = bytearray(size)
    where = C.addressof((C.c_char * size).from_buffer(room)) if size else 0
    form = {"f32": "f", "u8": "B", "i32": "i", "i8": "b", "i64": "q", "u16": "H"}[dtype]
    flat: Any = memoryview(room)
    return flat.cast(form, tuple(shape)) if size else flat.cast(form), where


def output(out: Any, kind: str, dtype: str, shape: tuple[int, ...]) -> tuple[Any, int]:
    """The caller's array for a result, or a new one, and where its numbers lie."""
    if out is None:
        return new(kind if kind != "dlpack" else "auto", dtype, shape)
    room = view(out, "out", writable=True)
    if room.dtype != dtype or room.shape != shape:
        raise room.fail(f"expected {dtype} of the shape {shape}, got {room.dtype} of {room.shape}")
    return out, room.pointer
