"""Numbers for the tests, with or without NumPy."""
import array
import random


def weights(rows: int, row_len: int, seed: int = 1) -> memoryview:
    """Float32 of shape (rows, row_len), normally distributed, as a buffer."""
    r = random.Random(seed)
    flat = array.array("f", (r.gauss(0, 0.05) for _ in range(rows * row_len)))
    return memoryview(flat).cast("B").cast("f", (rows, row_len))


def relative_error(a, b) -> float:
    """Root of the squared difference of two matrices of the same shape, divided by that of the first."""
    xs, ys = memoryview(a).cast("B").cast("f"), memoryview(b).cast("B").cast("f")
    assert len(xs) == len(ys)
    return (sum((x - y) ** 2 for x, y in zip(xs, ys)) / sum(x * x for x in xs)) ** 0.5
