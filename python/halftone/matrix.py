"""One matrix by a scheme, as bitsandbytes, GPTQ, AWQ, compressed-tensors and others store it."""

from __future__ import annotations

import ctypes as C
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from . import _arrays, errors
from . import _library as _l

MatrixProgress = Callable[[int, int], object]
"""Is given the rows that are done, and all rows. What it raises stops the call, and is raised by it."""


@dataclass(frozen=True)
class QuantizedMatrix:
    """A matrix [n_out, n_in] as a scheme stores it.

    ``parts`` are its tensors by suffix (``".weight"``, ``".weight.absmax"``), in NumPy or PyTorch as the matrix came.
    ``dtypes`` are theirs as checkpoints name them; numbers that NumPy does not know (bf16, FP8) are kept as bytes or
    16-bit integers.
    """

    scheme: str
    n_out: int
    n_in: int
    dtype: str
    parts: Mapping[str, Any]
    dtypes: Mapping[str, str] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        """Bytes of all parts, scales counted."""
        return sum(_bytes(part) for part in self.parts.values())

    @property
    def bits_per_weight(self) -> float:
        """Bits for each weight, scales counted."""
        return 8 * self.n_bytes / (self.n_out * self.n_in)


def _bytes(part: Any) -> int:
    v = _arrays.view(part, "part")
    return v.count * _arrays.SIZES[v.dtype]


def _request(scheme: str, n_out: int, n_in: int, dtype: str, threads: int) -> tuple[bytes, _l.Matrix]:
    matrix = _l.Matrix(n_out=n_out, n_in=n_in, dtype=_l.raw(dtype, "dtype"), n_threads=threads)
    return _l.raw(scheme, "scheme"), matrix


def _parts(scheme: bytes, matrix: _l.Matrix) -> list[_l.Part]:
    parts = (_l.Part * _l.MATRIX_PARTS)()
    parts[0].size = C.sizeof(_l.Part)
    n, diag = C.c_size_t(_l.MATRIX_PARTS), _l.Diag()
    _l.check(_l.lib.ht_matrix_parts(scheme, matrix, parts, n, diag), diag)
    return list(parts[: n.value])


def _array_of(parts: list[_l.Part]) -> Any:
    return (_l.Part * len(parts))(*parts)


def _listen(matrix: _l.Matrix, tell: MatrixProgress | None, raised: list[BaseException]) -> None:
    def progress(_ctx: Any, done: int, of: int) -> bool:
        try:
            if tell is not None and not raised:
                tell(done, of)
        except BaseException as error:
            raised.append(error)
        return not raised

    matrix.progress = _l.RowsFn(progress)


def _finish(code: int, diag: _l.Diag, raised: list[BaseException]) -> None:
    if raised:
        raise raised[0]
    _l.check(code, diag)


def _stored(kind: str, part: _l.Part) -> tuple[str, tuple[int, ...]]:
    """Kind of numbers and shape of a part in an array: its own where the array's library has such numbers, else bytes."""
    name, shape = _l.text(part.dtype), tuple(part.shape[: part.n_dims])
    known = {"f32", "i32", "i64", "u8", "i8"}
    known |= {"torch": {"f16", "bf16"}, "numpy": {"f16"}}.get(kind, set())
    if name in known:
        return name, shape
    size = part.n_bytes // max(1, math.prod(shape))
    return "u8", (*shape[:-1], shape[-1] * size) if shape else (part.n_bytes,)


def quantize_matrix(
    scheme: str,
    x: Any,
    *,
    dtype: str | None = None,
    importance: Any = None,
    amax: float = 0.0,
    threads: int = 0,
    progress: MatrixProgress | None = None,
) -> QuantizedMatrix:
    """Quantizes a Linear's weight.

    Args:
        scheme: ``"nf4"``, or with options, ``"gptq:bits=3,group=64"`` (:func:`halftone.schemes` lists them).
        x: float32, float16 or bfloat16 of shape (n_out, n_in), contiguous: NumPy, PyTorch or a buffer.
        dtype: of the model that it belongs to: ``"f32"``, ``"f16"`` or ``"bf16"``; None: that of ``x``, bf16 for float32.
        importance: float32 of shape (n_in,), not negative.
        amax: largest magnitude of all matrices that are fused with it; 0: of this one alone.
        threads: 0 takes every core.
        progress: is told the rows that are done.
    """
    given = _arrays.floats(x, "x", ("f32", "f16", "bf16"))
    if len(given.shape) != 2:
        raise given.fail(f"expected a matrix, got the shape {given.shape}")
    dtype = dtype or (given.dtype if given.dtype != "f32" else "bf16")
    name, matrix = _request(scheme, given.shape[0], given.shape[1], dtype, threads)
    matrix.x_dtype = given.dtype.encode()
    weights = None if importance is None else _arrays.floats(importance, "importance")
    if weights is not None:
        if weights.shape != given.shape[1:]:
            raise weights.fail(f"expected the shape {given.shape[1:]}, got {weights.shape}")
        matrix.importance = weights.pointer
    matrix.amax = amax
    kind = given.kind if given.kind != "dlpack" else "auto"
    parts, arrays = _parts(name, matrix), []
    for part in parts:
        array, part.data = _arrays.new(kind, *_stored(kind, part))
        arrays.append(array)
    raised: list[BaseException] = []
    _listen(matrix, progress, raised)
    filled, diag = _array_of(parts), _l.Diag()
    code = _l.lib.ht_matrix_quantize(name, matrix, given.pointer, filled, len(parts), diag)
    _finish(code, diag, raised)
    result, dtypes = {}, {}
    for part, array in zip(filled, arrays):
        suffix = _l.text(part.suffix)
        n = part.n_bytes // _arrays.SIZES.get(_l.text(part.dtype), 1)
        result[suffix] = array[: part.shape[0]] if part.n_dims == 1 and n != len(array) else array
        dtypes[suffix] = _l.text(part.dtype)
    return QuantizedMatrix(scheme, given.shape[0], given.shape[1], dtype, result, dtypes)


def _take(matrix: QuantizedMatrix, part: _l.Part) -> _arrays.View:
    """The caller's part, which has the shape and size that the scheme says; a text may be shorter."""
    suffix = _l.text(part.suffix)
    if suffix not in matrix.parts:
        raise errors.UsageError(f"this part is missing; there are {', '.join(matrix.parts)}", suffix)
    v = _arrays.view(matrix.parts[suffix], suffix)
    n_bytes, wanted = v.count * _arrays.SIZES[v.dtype], _stored(v.kind, part)
    if (v.dtype, v.shape) == wanted:
        return v
    if part.dtype != b"u8" or part.n_dims != 1 or len(v.shape) != 1 or not 0 < n_bytes < part.n_bytes:
        raise v.fail(f"expected {wanted[0]} of the shape {wanted[1]}, got {v.dtype} of {v.shape}")
    part.shape[0], part.n_bytes = n_bytes, n_bytes
    return v


def parts_of(matrix: QuantizedMatrix) -> dict[str, str]:
    """The dtypes of a matrix's parts, by suffix, as its scheme says."""
    return {_l.text(part.suffix): _l.text(part.dtype) for part in _parts(*_request_of(matrix))}


def _request_of(matrix: QuantizedMatrix) -> tuple[bytes, _l.Matrix]:
    return _request(matrix.scheme, matrix.n_out, matrix.n_in, matrix.dtype, 0)


def check_parts(matrix: QuantizedMatrix) -> None:
    """Refuses parts that are not as the scheme says."""
    for part in _parts(*_request_of(matrix)):
        _take(matrix, part)


def dequantize(
    matrix: QuantizedMatrix,
    *,
    threads: int = 0,
    out: Any = None,
    progress: MatrixProgress | None = None,
) -> Any:
    """The float32 matrix [n_out, n_in] that programs which load the parts compute with, bit by bit.

    Its kind is that of the parts, unless ``out`` (float32 of that shape) is given. Parts are checked.
    """
    name, request = _request(matrix.scheme, matrix.n_out, matrix.n_in, matrix.dtype, threads)
    parts, kind = _parts(name, request), "buffer"
    keep: list[_arrays.View] = []
    for part in parts:
        v = _take(matrix, part)
        part.data, kind = v.pointer, v.kind
        keep.append(v)
    raised: list[BaseException] = []
    _listen(request, progress, raised)
    result, where = _arrays.output(out, kind, "f32", (matrix.n_out, matrix.n_in))
    diag = _l.Diag()
    code = _l.lib.ht_matrix_dequantize(name, request, _array_of(parts), len(parts), where, diag)
    _finish(code, diag, raised)
    return result
