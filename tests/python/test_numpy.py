"""NumPy's arrays: in place, in and out."""
import halftone
import pytest

np = pytest.importorskip("numpy", reason="this environment is the one without NumPy")


def test_arrays():
    x = np.random.default_rng(1).standard_normal((3, 4, 512)).astype(np.float32)
    packed = halftone.encode("q6_k", x)
    assert isinstance(packed, np.ndarray) and packed.dtype == np.uint8 and packed.shape == (3, 4, 2 * 210)
    back = halftone.decode("q6_k", packed)
    assert back.dtype == np.float32 and back.shape == x.shape
    assert np.sqrt(((back - x) ** 2).mean()) < 0.03


def test_in_place():
    x = np.ones((2, 256), np.float32)
    x.flags.writeable = False
    out = np.zeros((2, 144), np.uint8)
    assert halftone.encode("q4_k", x, out=out) is out and out.any()
    out.flags.writeable = False
    with pytest.raises(halftone.UsageError, match="in place"):
        halftone.encode("q4_k", x, out=out)


@pytest.mark.parametrize("x", [
    np.ones((2, 512), np.float32)[:, ::2],
    np.ones((256, 2), np.float32).T,
    np.ones((2, 256)),
    np.ones((2, 256), np.int32),
    np.ones((2, 256), ">f4"),
    np.array([None] * 256),
    np.float32(1),
], ids=["every other column", "transposed", "float64", "int32", "big-endian", "objects", "a number"])
def test_refused(x):
    with pytest.raises(halftone.UsageError):
        halftone.encode("q4_k", x)


def test_model_gives_arrays(model):
    with halftone.Model(model) as m:
        t = m.tensors["model.embed_tokens.weight"]
        rows = t.read()
        assert isinstance(rows, np.ndarray) and rows.shape == t.shape
        assert np.array_equal(t.read(5, 2), rows[5:7])
        room = np.empty(t.shape, np.float32)
        assert t.read(out=room) is room and np.array_equal(room, rows)


def test_matrix():
    x = np.random.default_rng(1).standard_normal((64, 512)).astype(np.float32)
    for scheme in halftone.schemes():
        if not scheme.can_write or scheme.name == "fp8-block":  # which wants multiples of 128
            continue
        q = halftone.quantize_matrix(scheme.name, x)
        back = halftone.dequantize(q)
        assert back.shape == x.shape and np.sqrt(((back - x) ** 2).mean()) < 0.2, scheme.name
        assert 4 < q.bits_per_weight < 9, scheme.name


def test_matrix_in_16_bits():
    """The bytes are those of the same numbers in 32 bits, and the dtype is the model's."""
    half = np.random.default_rng(1).standard_normal((64, 256)).astype(np.float16)
    a, b = halftone.quantize_matrix("nf4", half), halftone.quantize_matrix("nf4", half.astype(np.float32), dtype="f16")
    assert a.dtype == b.dtype == "f16" and halftone.quantize_matrix("nf4", half.astype(np.float32)).dtype == "bf16"
    assert all(np.array_equal(a.parts[s], part) for s, part in b.parts.items())
    half[2, 7] = np.nan
    with pytest.raises(halftone.NonFiniteError, match="row 2, column 7"):
        halftone.quantize_matrix("nf4", half)
