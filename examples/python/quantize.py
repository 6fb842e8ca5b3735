#!/usr/bin/env python3
"""Several types from one reading of a model, with their sizes and what they lose.

    python quantize.py [MODEL] [FOLDER]
"""
import sys

import halftone

model, folder = (sys.argv[1:] + ["examples/model", "out/python"][len(sys.argv) - 1 :])[:2]
report = halftone.quantize(model, ["Q8_0", "Q4_K_M", "nf4"], folder, measure=True, ctx=128, chunks=4, overwrite=True)
for output in report["outputs"]:
    print(f"{output['type']:8} {output['size_bytes'] / 1e6:6.2f} MB  {output['bpw']:.2f} bits a weight  "
          f"divergence {output['quality']['kld']['mean']:.4f}  {output['path']}")
