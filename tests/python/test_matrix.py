"""Matrices by schemes."""
import array
import dataclasses

import halftone
import pytest
from values import relative_error, weights


@pytest.mark.parametrize("scheme, most", [("nf4", 0.1), ("nf4:nested=on", 0.1), ("int8", 0.02), ("gptq:bits=3", 0.25), ("fp8", 0.04)])
def test_round_trip(scheme, most):
    x = weights(64, 256)
    q = halftone.quantize_matrix(scheme, x)
    assert relative_error(x, halftone.dequantize(q)) < most
    assert set(q.parts) == set(q.dtypes) and q.n_out == 64 and q.n_in == 256


def test_bits_count_scales():
    """Four bits, and 32, or 8 and a little, for each 64 weights."""
    x = weights(256, 1024)
    assert 4.5 <= halftone.quantize_matrix("nf4", x).bits_per_weight < 4.51
    assert 4.12 <= halftone.quantize_matrix("nf4:nested=on", x).bits_per_weight < 4.17


def test_progress_stops():
    x = weights(512, 1024)

    def tell(done, of):
        assert 0 <= done <= of == 512
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        halftone.quantize_matrix("nf4", x, progress=tell, threads=1)  # of several, another may have taken all rows before this one


def test_refused():
    x = weights(64, 256)
    q = halftone.quantize_matrix("nf4", x)
    for kind, call in [
        (halftone.UsageError, lambda: halftone.quantize_matrix("nf5", x)),
        (halftone.UsageError, lambda: halftone.quantize_matrix("nf4:block=7", x)),
        (halftone.UsageError, lambda: halftone.quantize_matrix("nf4", array.array("f", [0.0] * 64))),
        (halftone.UsageError, lambda: halftone.quantize_matrix("nf4", x, dtype="f64")),
        (halftone.UnsupportedError, lambda: halftone.quantize_matrix("fp8-block", x)),
        (halftone.NonFiniteError, lambda: halftone.quantize_matrix("nf4", memoryview(array.array("f", [float("inf")] * 256)).cast("B").cast("f", (4, 64)))),
        (halftone.UsageError, lambda: halftone.dequantize(dataclasses.replace(q, parts={}))),
        (halftone.UsageError, lambda: halftone.dequantize(dataclasses.replace(q, n_out=32))),
        (halftone.UsageError, lambda: halftone.dequantize(q, out=bytearray(4))),
        (halftone.FormatError, lambda: halftone.dequantize(dataclasses.replace(q, parts={**q.parts, ".weight.quant_state.bitsandbytes__nf4": b"{"}))),
    ]:
        with pytest.raises(kind):
            call()
