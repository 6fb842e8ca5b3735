#!/usr/bin/env python3
"""GPTQ's layout: what `gptq` packs, unpacked by an independent reader, must give the weights that the library gives back
for the same parts, for every choice of options; with the error that the search promises.

GPTQModel's own unpacking is compared in check_gptqmodel.py. Environment: HT_BUILD. Exit: 0 passed, 1 failed, 77 skipped.
"""
import itertools
import os
import pathlib
import sys

try:
    import numpy as np
except ImportError:
    print("SKIPPED check_gptq: NumPy is not here")
    sys.exit(77)

import int_layouts
from matrices import Halftone

ROOT = pathlib.Path(__file__).resolve().parents[2]
ht = Halftone(os.path.join(os.environ.get("HT_BUILD", str(ROOT / "build")), "libhalftone.so"))
failed = compared = 0


def check(what, good):
    global failed, compared
    compared += 1
    if not good:
        failed += 1
        print(f"FAILED {what}")


def error(x, y):
    return float(np.sqrt(((x - y) ** 2).sum() / (x ** 2).sum()))


x = int_layouts.matrix(160, 384, 1)
for bits, group, sym, version, config in itertools.product((2, 3, 4, 8), (32, 64, 128, -1), ("on", "off"), (1, 2),
                                                          ("gptq", "auto-round")):
    errors = {}
    for search in ("absmax", "mse"):
        scheme = f"gptq:bits={bits},group={group},sym={sym},version=v{version},range={search},config={config}"
        parts = ht.quantize(scheme, x)
        ours = ht.dequantize(scheme, parts, x.shape)
        check(f"{scheme}: g_idx", (".g_idx" in parts) == (config == "gptq"))
        q, zeros, scales, g_idx = int_layouts.gptq_codes(parts, bits, x.shape, version)
        check(f"{scheme}: weights", np.array_equal(int_layouts.weights(q, zeros, scales, g_idx), ours))
        check(f"{scheme}: zero points", zeros.min() >= 2 - version and zeros.max() < 1 << bits)
        if sym == "on":
            check(f"{scheme}: one zero point", (zeros == 1 << bits - 1).all())
        either = bits <= 3 and sym == "on" and search == "mse"  # few codes: the outermost one is on the side that needs it
        check(f"{scheme}: scales", np.isfinite(scales).all() and (scales != 0).all() and (either or (scales > 0).all()))
        errors[search] = error(x, ours)
    check(f"gptq:bits={bits},group={group},sym={sym}: {errors}", errors["mse"] < errors["absmax"])

# Act-order: columns in the order of another model's importance, each with its group's scale.
for bits, sym in itertools.product((2, 3, 4, 8), ("on", "off")):
    scheme = f"gptq:bits={bits},group=64,sym={sym}"
    parts = ht.quantize(scheme, x)
    parts[".g_idx"] = np.random.default_rng(bits).permutation(parts[".g_idx"]).astype(np.int32)
    again = int_layouts.weights(*int_layouts.gptq_codes(parts, bits, x.shape, 1))
    check(f"{scheme}: act-order", np.array_equal(again, ht.dequantize(scheme, parts, x.shape)))

print(f"check_gptq: {compared} compared, {failed} differ")
sys.exit(1 if failed else 0)
