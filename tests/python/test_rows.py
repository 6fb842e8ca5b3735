"""Rows: encode and decode, and what is refused."""
import array
import ctypes

import halftone
import pytest
from halftone import _library
from values import relative_error, weights

# What types lose of normally distributed weights: bounds a little above what they lose.
LOSSES = {"f32": 0.0, "f16": 3e-4, "bf16": 3e-3, "q8_0": 0.006, "q6_k": 0.02, "q4_k": 0.09, "q4_0": 0.1, "q2_k": 0.4}


@pytest.mark.parametrize("name", LOSSES)
def test_round_trip(name):
    x = weights(8, 512)
    packed = halftone.encode(name, x)
    assert bytes(packed) and tuple(memoryview(packed).shape) == (8, halftone.row_size(name, 512))
    assert relative_error(x, halftone.decode(name, packed)) <= LOSSES[name]


def test_every_type():
    x, ones = weights(2, 256), array.array("f", [1.0] * 256)
    for t in halftone.types():
        packed = halftone.encode(t.name, x, ones if t.needs_importance else None)
        assert memoryview(packed).nbytes == 2 * 256 // t.block_weights * t.block_bytes
        assert relative_error(x, halftone.decode(t.name, packed)) < 0.9, t.name


def test_same_bytes_as_the_call():
    """The package adds nothing to ht_encode_rows."""
    x = weights(4, 256)
    out = (ctypes.c_ubyte * (4 * halftone.row_size("q4_k", 256)))()
    flat = (ctypes.c_float * 1024)(*memoryview(x).cast("B").cast("f"))
    rows = _library.Rows(type=b"q4_k", n_rows=4, row_len=256)
    assert _library.lib.ht_rows_encode(rows, flat, out, None) == 0
    assert bytes(out) == bytes(memoryview(halftone.encode("Q4_K", x)).cast("B"))
    assert bytes(out) == bytes(memoryview(halftone.encode("q4_k", x, threads=1)).cast("B"))


def test_output_in_place():
    x = weights(4, 256)
    room = memoryview(bytearray(4 * 144)).cast("B", (4, 144))
    assert halftone.encode("q4_k", x, out=room) is room
    assert bytes(room.cast("B")) == bytes(memoryview(halftone.encode("q4_k", x)).cast("B"))


def test_runs_of_rows(monkeypatch):
    """Decoded in runs, the rows are the same."""
    packed = halftone.encode("q4_0", weights(7, 256))
    whole = bytes(memoryview(halftone.decode("q4_0", packed)).cast("B"))
    monkeypatch.setattr("halftone.rows._DECODED_AT_ONCE", 600)
    assert bytes(memoryview(halftone.decode("q4_0", packed)).cast("B")) == whole


def test_importance_counts():
    x = weights(4, 256)
    importance = array.array("f", [float(i % 7) for i in range(256)])
    assert bytes(memoryview(halftone.encode("q4_k", x, importance)).cast("B")) != bytes(
        memoryview(halftone.encode("q4_k", x)).cast("B"))


@pytest.mark.parametrize("call, kind, message", [
    (lambda x: halftone.encode("q4_9", x), halftone.UsageError, "no such numeric format"),
    (lambda x: halftone.encode("q4_k", memoryview(array.array("f", [0.0] * 255))), halftone.UsageError, "multiple"),
    (lambda x: halftone.encode("q4_k", array.array("d", [0.0] * 256)), halftone.UsageError, "floats of 32 bits, got f64"),
    (lambda x: halftone.encode("q4_k", memoryview(array.array("f", [0.0] * 512))[::2]), halftone.UsageError, "contiguous"),
    (lambda x: halftone.encode("q4_k", array.array("f", [float("nan")] * 256)), halftone.NonFiniteError, "finite|infinity"),
    (lambda x: halftone.encode("q4_k", x, array.array("f", [1.0] * 255)), halftone.UsageError, "shape"),
    (lambda x: halftone.encode("q4_k", x, array.array("f", [-1.0] * 256)), halftone.NonFiniteError, "finite|infinity"),
    (lambda x: halftone.encode("q4_k", x, out=bytearray(4)), halftone.UsageError, "shape"),
    (lambda x: halftone.encode("q4_k", x, out=bytes(4 * 144)), halftone.UsageError, "in place"),
    (lambda x: halftone.encode("iq2_xxs", x), halftone.UsageError, "importance"),
    (lambda x: halftone.encode("q4_k", "text"), halftone.UsageError, "in place"),
    (lambda x: halftone.encode("q4_k", [1.0] * 256), halftone.UsageError, "in place"),
    (lambda x: halftone.decode("q4_k", bytes(143)), halftone.UsageError, "blocks of 144"),
    (lambda x: halftone.decode("q4_k", b""), halftone.UsageError, "0 bytes"),
])
def test_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call(weights(4, 256))
