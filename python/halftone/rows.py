"""Rows of numbers in GGUF's numeric formats."""

from __future__ import annotations

from typing import Any

from . import _arrays, errors
from . import _library as _l
from ._lists import type_info

_DECODED_AT_ONCE = 1 << 26  # weights


def _progress(calls: list[BaseException]) -> Any:
    """Runs the interpreter's signal handlers now and then; what they raise stops the call."""

    def tell(_ctx: Any, _done: int, _of: int) -> bool:
        try:
            return not calls
        except BaseException as raised:
            calls.append(raised)
            return False

    return _l.RowsFn(tell)


def _encode(request: _l.Rows, source: int, target: int) -> None:
    diag = _l.Diag()
    raised: list[BaseException] = []
    if request.n_rows * request.row_len > 1 << 20:
        request.progress = _progress(raised)
    code = _l.lib.ht_rows_encode(request, source, target, diag)
    if raised:
        raise raised[0]
    _l.check(code, diag)


def row_size(type: str, row_len: int) -> int:
    """Bytes of one encoded row of ``row_len`` weights."""
    info = type_info(type)
    if row_len < 1 or row_len % info.block_weights:
        raise errors.UsageError(f"{row_len} is not a multiple of its blocks of {info.block_weights} weights", type)
    return row_len // info.block_weights * info.block_bytes


def encode(type: str, x: Any, importance: Any = None, *, threads: int = 0, out: Any = None) -> Any:
    """Encodes rows of float32, as ``ggml_quantize_chunk`` of llama.cpp does, byte for byte.

    Args:
        type: a numeric format, ``"q4_k"`` (:func:`halftone.types` lists them).
        x: float32 of shape (…, row_len), contiguous: a NumPy array, a PyTorch tensor, or a buffer.
        importance: float32 of shape (row_len,), not negative: how much each column counts.
        threads: 0 takes every core.
        out: uint8 of shape (…, row_size) to write to.

    Returns:
        uint8 of shape (…, row_size), of the kind of ``x``; or ``out``.
    """
    given = _arrays.floats(x, "x")
    if not given.shape:
        raise given.fail("expected rows, got one number")
    size = row_size(type, given.shape[-1])
    weights = None if importance is None else _arrays.floats(importance, "importance")
    if weights is not None and weights.shape != given.shape[-1:]:
        raise weights.fail(f"expected the shape {given.shape[-1:]}, got {weights.shape}")
    result, where = _arrays.output(out, given.kind, "u8", (*given.shape[:-1], size))
    _encode(
        _l.Rows(
            type=_l.raw(type, "type"),
            n_rows=given.count // given.shape[-1],
            row_len=given.shape[-1],
            importance=weights.pointer if weights is not None else None,
            n_threads=threads,
        ),
        given.pointer,
        where,
    )
    return result


def decode(type: str, data: Any, *, threads: int = 0, out: Any = None) -> Any:
    """Decodes rows, to what programs that load them compute with.

    Args:
        type: a numeric format.
        data: uint8 of shape (…, row_size), contiguous.
        threads: 0 takes every core.
        out: float32 of shape (…, row_len) to write to.

    Returns:
        float32 of shape (…, row_len), of the kind of ``data``; or ``out``.
    """
    given = _arrays.view(data, "data")
    info = type_info(type)
    if given.dtype != "u8" or not given.shape:
        raise given.fail(f"expected bytes, got {given.dtype}")
    if given.shape[-1] % info.block_bytes or not given.shape[-1]:
        raise given.fail(f"{given.shape[-1]} bytes are no row of blocks of {info.block_bytes} bytes")
    row_len = given.shape[-1] // info.block_bytes * info.block_weights
    result, where = _arrays.output(out, given.kind, "f32", (*given.shape[:-1], row_len))
    n_rows, size = given.count // given.shape[-1], given.shape[-1]
    # Decoding is so fast that telling of progress would be felt; signals are handled between runs of rows.
    step = max(1, _DECODED_AT_ONCE // row_len)
    for row in range(0, n_rows, step):
        request = _l.Rows(type=_l.raw(type, "type"), n_rows=min(step, n_rows - row), row_len=row_len, n_threads=threads)
        diag = _l.Diag()
        code = _l.lib.ht_rows_decode(request, given.pointer + row * size, where + 4 * row * row_len, diag)
        _l.check(code, diag)
    return result
