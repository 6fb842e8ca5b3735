#!/usr/bin/env python3
"""AWQ's layout: what `awq` packs, unpacked by an independent reader, must give the weights that the library gives back
for the same parts.

GPTQModel's own unpacking is compared in check_gptqmodel.py. Environment: HT_BUILD. Exit: 0 passed, 1 failed, 77 skipped.
"""
import itertools
import os
import pathlib
import sys

try:
    import numpy as np
except ImportError:
    print("SKIPPED check_awq: NumPy is not here")
    sys.exit(77)

import int_layouts
from matrices import Halftone

ROOT = pathlib.Path(__file__).resolve().parents[2]
ht = Halftone(os.path.join(os.environ.get("HT_BUILD", str(ROOT / "build")), "libhalftone.so"))
failed = compared = 0
for (n_out, n_in), group in itertools.product(((64, 128), (136, 640)), (32, 64, 128, -1)):
    x = int_layouts.matrix(n_out, n_in, group + n_out)
    errors = {}
    for search in ("absmax", "mse"):
        scheme = f"awq:group={group},range={search}"
        parts = ht.quantize(scheme, x)
        theirs = int_layouts.weights(*int_layouts.awq_codes(parts, x.shape))
        ours = ht.dequantize(scheme, parts, x.shape)
        errors[search] = np.sqrt(((x - ours) ** 2).sum() / (x ** 2).sum())
        compared += 1
        if not np.array_equal(theirs, ours):
            failed += 1
            print(f"FAILED {scheme}, {n_out} x {n_in}: weights")
    if not errors["mse"] < errors["absmax"]:
        failed += 1
        print(f"FAILED awq:group={group}: {errors}")
print(f"check_awq: {compared} compared, {failed} differ")
sys.exit(1 if failed else 0)
