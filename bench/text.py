#!/usr/bin/env python3
"""Our tokenizer and the `tokenizers` library on one core, by turns in one process.

    bench/text.py BUILD_FOLDER TOKENIZER_FOLDER TEXT...

Megabytes of text a second, the median of several turns: the library is given the text's lines as a batch
(encode_batch, one thread), which suits it better than one long text; ours the text as a whole through libhalftone.
"""
import ctypes
import os
import statistics
import sys
import time

import machine

os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import tokenizers  # noqa: E402  (the threads' number must stand before)

TURNS = 7


class Ours:
    def __init__(self, build, folder):
        self.lib = ctypes.CDLL(os.path.join(build, "libhalftone.so"))
        self.handle = ctypes.c_void_p()
        diag = ctypes.create_string_buffer(8192)
        if self.lib.ht_tokenizer_open(folder.encode(), ctypes.byref(self.handle), diag):
            sys.exit(f"{folder} cannot be opened")
        self.lib.ht_tokenizer_encode.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint,
                                                 ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]

    def encode(self, data):
        ids, n = ctypes.c_void_p(), ctypes.c_size_t()
        if self.lib.ht_tokenizer_encode(self.handle, data, len(data), 2, ctypes.byref(ids), ctypes.byref(n), None):
            sys.exit("encoding failed")
        self.lib.ht_free.argtypes = [ctypes.c_void_p]
        self.lib.ht_free(ids)
        return n.value


def main():
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    machine.begin("text")
    ours = Ours(sys.argv[1], sys.argv[2])
    library = tokenizers.Tokenizer.from_file(os.path.join(sys.argv[2], "tokenizer.json"))
    for path in sys.argv[3:]:
        with open(path, "rb") as f:
            data = f.read()
        lines = data.decode().splitlines(keepends=True)
        rates = {"ours": [], "library": []}
        for _ in range(TURNS):
            start = time.process_time()
            ours.encode(data)
            rates["ours"].append(len(data) / 1e6 / (time.process_time() - start))
            start = time.process_time()
            library.encode_batch(lines, add_special_tokens=False)
            rates["library"].append(len(data) / 1e6 / (time.process_time() - start))
        a, b = (statistics.median(rates[who]) for who in ("ours", "library"))
        print(f"{os.path.basename(path):24} halftone {a:6.1f} MB/s  tokenizers {tokenizers.__version__} {b:6.2f} MB/s"
              f"  {a / b:5.1f}x")
        machine.row(text=os.path.basename(path), mbs=a, their_mbs=b)


if __name__ == "__main__":
    main()
