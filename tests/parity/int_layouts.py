"""GPTQ's and AWQ's layouts read and written with NumPy alone, bit by bit as their descriptions say: to compare with."""
import numpy as np

AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]


def bits_of(words):
    """[n] words of 32 bits: their bits, the lowest of the first word first."""
    return (np.ascontiguousarray(words).view(np.uint32)[..., None] >> np.arange(32, dtype=np.uint32) & 1).astype(np.uint8)


def stream(words, bits, n):
    """Codes [lines, n] of rows of words [lines, words], without gaps."""
    flat = bits_of(words).reshape(words.shape[0], -1)[:, :n * bits].reshape(words.shape[0], n, bits)
    return (flat.astype(np.int32) << np.arange(bits)).sum(-1)


def to_stream(codes, bits):
    """The reverse: int32 words, the last of a line filled up with zeros."""
    lines, n = codes.shape
    flat = (codes.astype(np.uint32)[..., None] >> np.arange(bits, dtype=np.uint32) & 1).reshape(lines, n * bits)
    flat = np.pad(flat, ((0, 0), (0, -n * bits % 32))).reshape(lines, -1, 32)
    return (flat << np.arange(32, dtype=np.uint32)).sum(-1, dtype=np.uint32).view(np.int32)


def gptq_codes(parts, bits, shape, version):
    """Codes [n_in, n_out], zero points and scales [groups, n_out], and the group of each input."""
    n_out, n_in = shape
    q = stream(np.ascontiguousarray(parts[".qweight"].T), bits, n_in).T
    zeros = stream(parts[".qzeros"], bits, n_out) + (1 if version == 1 else 0)
    groups = zeros.shape[0]
    g_idx = parts.get(".g_idx", np.arange(n_in) // (n_in // groups))
    return q, zeros, parts[".scales"], g_idx


def awq_codes(parts, shape):
    n_out, n_in = shape

    def unfold(words):
        codes = np.empty((words.shape[0], n_out), np.int32)
        for nibble, column in enumerate(AWQ_ORDER):
            codes[:, column::8] = words.view(np.uint32) >> np.uint32(4 * nibble) & np.uint32(15)
        return codes

    q, zeros = unfold(parts[".qweight"]), unfold(parts[".qzeros"])
    return q, zeros, parts[".scales"], np.arange(n_in) // (n_in // zeros.shape[0])


def weights(q, zeros, scales, g_idx):
    """[n_out, n_in] as float32, each product rounded once to the scales' dtype."""
    steps = (q - zeros[g_idx]).astype(scales.dtype) * scales[g_idx]
    return np.ascontiguousarray(steps.astype(np.float32).T)


def matrix(n_out, n_in, seed):
    """Weights that bfloat16 holds: near normal, rows of different sizes, a few large ones."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((n_out, n_in)) * 0.02 * (1 + np.arange(n_out) % 7)[:, None]
    x[rng.random(x.shape) < 0.002] *= 12
    bits = x.astype(np.float32).view(np.uint32)
    return (bits & np.uint32(0xffff0000)).view(np.float32)
