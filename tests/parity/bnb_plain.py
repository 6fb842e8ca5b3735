"""bitsandbytes 0.50 as it is on a processor without AVX-512. Importing this sees to it.

With AVX-512 its native code decodes 4-bit matrices wrongly where a row has not a power of two of blocks: not even what it packed itself
comes back. A matrix is one run of blocks, by its own definition and on every other processor, and laid out as one row it is
decoded so there, too. And with AVX512-BF16 a layer rearranges its weights when it first runs, so that they could not be compared."""
import ctypes

from bitsandbytes.backends.cpu import ops
from bitsandbytes.nn import modules

FOUR_BITS = ("cdequantize_blockwise_cpu_nf4_", "cdequantize_blockwise_cpu_fp4_")


class OneRow:
    def __init__(self, native):
        self.native = native

    def __getattr__(self, name):
        call = getattr(self.native, name)
        if not name.startswith(FOUR_BITS):
            return call
        return lambda codes, absmax, out, block, rows, columns: call(
            codes, absmax, out, block, ctypes.c_longlong(1), ctypes.c_longlong(rows.value * columns.value))


ops.lib = OneRow(ops.lib)
modules.has_avx512bf16 = lambda: False
