#!/usr/bin/env python3
"""A model's tensors, and what one matrix loses by each scheme. It needs NumPy.

    python tensors.py [MODEL]
"""
import sys

import halftone
import numpy as np

with halftone.Model(sys.argv[1] if len(sys.argv) > 1 else "examples/model") as model:
    linears = [t for t in model.tensors.values() if t.linear and t.layer is not None]
    print(f"{model.architecture}, {model.n_layers} layers, {len(model.tensors)} tensors, {len(linears)} matrices in layers")
    x = linears[0].read()
for scheme in ("int8", "fp8", "nf4", "gptq:bits=4", "gptq:bits=3"):
    q = halftone.quantize_matrix(scheme, x)
    error = np.linalg.norm(halftone.dequantize(q) - x) / np.linalg.norm(x)
    print(f"{scheme:12} {q.bits_per_weight:.2f} bits a weight, relative error {error:.4f}")
