#!/usr/bin/env python3
"""A model that is run layer by layer, with a limit of memory. It needs PyTorch.

    python larger_than_memory.py [MODEL] [FOLDER] [GIGABYTES]
"""
import sys

from halftone.sli.quantization import get_nf4_config
from halftone.sli.universal_sli import UniversalSLIProcessor

path, folder, memory = (sys.argv[1:] + ["examples/model", "out/python/cache", "0.0074"][len(sys.argv) - 1 :])[:3]
with UniversalSLIProcessor(path, get_nf4_config(), cache_dir=folder, max_memory_cache_size_gb=float(memory)) as processor:
    print("Once upon a time", end="")
    for piece in processor.generate("Once upon a time", 20):
        print(piece, end="", flush=True)
    print(f"\n{processor.get_layer(0)}\n{processor.stats()}")
