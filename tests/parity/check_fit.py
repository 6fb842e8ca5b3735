#!/usr/bin/env python3
"""Memory to run: the cache of keys and values exactly as llama.cpp allocates it, buffers to compute in within a tenth.

On files of well-known shapes without weights (tests/lib/shapes.py). What llama.cpp prints is what is compared."""
import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile

from llama_logits import Llama

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "lib"))
import shapes  # noqa: E402

CLI = os.environ["HT_CLI"]


def parameters(llama, ctx, cache_type):
    """Context parameters by their defaults' pattern (see llama_logits.py): length, threads, cache types, small windows."""
    p = llama.lib.llama_context_default_params()
    ints = ctypes.cast(p.raw, ctypes.POINTER(ctypes.c_int32))
    ints[0] = ctx
    ints[7] = ints[8] = 1
    types = next(i for i in range(18, 40) if list(ints[i - 1:i + 3]) == [0, 1, 1, 0])
    ints[types] = ints[types + 1] = cache_type
    raw = bytes(p.raw)
    # embeddings, offload_kqv, no_perf, op_offload, swa_full, kv_unified
    flags = raw.index(bytes([0, 1, 1, 1, 1, 0]), 4 * types)
    p.raw[flags + 4] = 0  # caches of the window's size, as llama-server and llama-cli have them
    return p


def printed(log, what):
    return sum(float(x) for x in re.findall(rf"{what} buffer size = *([0-9.]+) MiB", log)) * 2 ** 20


def main():
    # What is compared does not depend on the processor; with AMX, llama.cpp aborts when it reserves buffers for some of
    # these files (GGML_ASSERT(*cur_backend_id != -1)), so that every machine takes the build without it.
    llama = Llama(os.environ["HT_LLAMA_LIB"], cpu="haswell")
    lib, failed = llama.lib, 0
    print(f"{'model':<15} {'ctx':>6} {'cache':>5} {'KV MiB':>9} {'ours':>9} {'compute':>8} {'ours':>8}")
    with tempfile.TemporaryDirectory() as folder:
        for name, shape in shapes.SHAPES.items():
            path = os.path.join(folder, name + ".gguf")
            shapes.write(path, *shape)
            model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
            if not model:
                raise SystemExit(f"{name}: llama.cpp refuses it: " + "".join(llama.log[-4:]))
            for ctx, cache, number in ((1000, "f16", 1), (8192, "f16", 1), (32768, "f16", 1), (8192, "q8_0", 8)):
                llama.log.clear()
                context = lib.llama_init_from_model(model, parameters(llama, ctx, number))
                log = "".join(llama.log)
                if not context:
                    raise SystemExit(f"{name}: no context: {log[-500:]}")
                lib.llama_free(context)
                said = subprocess.run([CLI, "estimate", path, "-t", "F16", "--ctx", str(ctx), "--cache-type", cache, "--json"],
                                      stdout=subprocess.PIPE, check=True).stdout
                need = json.loads(said)["outputs"][0]["run_memory"]
                kv, compute = printed(log, "KV"), printed(log, "compute") + printed(log, "output")
                ours = need["overhead_bytes"]
                good = abs(kv - need["kv_cache_bytes"]) < 0.02 * 2 ** 20 and compute * 0.9 <= ours <= compute * 1.1
                failed += not good
                print(f"{name:<15} {ctx:>6} {cache:>5} {kv / 2**20:9.2f} {need['kv_cache_bytes'] / 2**20:9.2f} "
                      f"{compute / 2**20:8.1f} {ours / 2**20:8.1f}{'' if good else '  FAILED'}")
            lib.llama_model_free(model)
            os.unlink(path)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
