"""The real llama.cpp through its C library: next-token logits of a GGUF file for given token ids."""
import ctypes
import glob
import os


class Blob(ctypes.Structure):
    """Parameters are passed by value; only their defaults are used, so their layout need not be known."""
    _fields_ = [("raw", ctypes.c_byte * 1024)]


class Batch(ctypes.Structure):
    _fields_ = [("n_tokens", ctypes.c_int32), ("token", ctypes.c_void_p), ("embd", ctypes.c_void_p),
                ("pos", ctypes.c_void_p), ("n_seq_id", ctypes.c_void_p), ("seq_id", ctypes.c_void_p),
                ("logits", ctypes.c_void_p)]


class Llama:
    def __init__(self, folder, cpu=None):
        """`cpu`: the build for that processor ("haswell") rather than the best that this machine can run."""
        def load(pattern):
            return ctypes.CDLL(sorted(glob.glob(os.path.join(folder, pattern)))[0], mode=ctypes.RTLD_GLOBAL)

        load("libggml-base*.so")
        ggml = load("libggml.*so")
        lib = self.lib = load("libllama.*so")
        self.log = []
        self.quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
            lambda level, text, _: self.log.append(text.decode("utf-8", "replace")))
        lib.llama_log_set(self.quiet, None)
        if cpu:
            ggml.ggml_backend_load.restype = ctypes.c_void_p
            if not ggml.ggml_backend_load(os.path.join(folder, f"libggml-cpu-{cpu}.so").encode()):
                raise RuntimeError(f"llama.cpp's build for {cpu} does not load here: " + "".join(self.log[-4:]).strip())
        else:
            ggml.ggml_backend_load_all_from_path(folder.encode())
        lib.llama_backend_init()
        for name in ("model", "context"):
            getattr(lib, f"llama_{name}_default_params").restype = Blob
        lib.llama_model_load_from_file.restype = ctypes.c_void_p
        lib.llama_model_load_from_file.argtypes = [ctypes.c_char_p, Blob]
        lib.llama_init_from_model.restype = ctypes.c_void_p
        lib.llama_init_from_model.argtypes = [ctypes.c_void_p, Blob]
        lib.llama_batch_get_one.restype = Batch
        lib.llama_decode.argtypes = [ctypes.c_void_p, Batch]
        lib.llama_get_logits_ith.restype = ctypes.POINTER(ctypes.c_float)
        lib.llama_get_logits_ith.argtypes = [ctypes.c_void_p, ctypes.c_int32]
        lib.llama_get_logits.restype = ctypes.POINTER(ctypes.c_float)
        lib.llama_get_logits.argtypes = [ctypes.c_void_p]
        lib.llama_get_memory.restype = ctypes.c_void_p
        lib.llama_get_memory.argtypes = [ctypes.c_void_p]
        lib.llama_memory_clear.argtypes = [ctypes.c_void_p, ctypes.c_bool]
        lib.llama_model_free.argtypes = [ctypes.c_void_p]
        lib.llama_free.argtypes = [ctypes.c_void_p]
        self.context = self.exact_cache(lib.llama_context_default_params())

    @staticmethod
    def exact_cache(params):
        """The cache of keys and values in F32 (type 0) rather than F16 (type 1): two ints side by side."""
        ints = ctypes.cast(params.raw, ctypes.POINTER(ctypes.c_int32))
        for i in range(18, 40):
            if ints[i] == 1 and ints[i + 1] == 1 and ints[i - 1] == 0 and ints[i + 2] == 0:
                ints[i] = ints[i + 1] = 0
                break
        else:
            raise RuntimeError("this llama.cpp has other context parameters than this check knows")
        if list(ints[10:14]) == [-1] * 4:  # rotation, pooling, attention, flash attention: all automatic
            ints[13] = 0  # plain attention, in F32 throughout
            if ints[7] == ints[8] == 4:
                ints[7] = ints[8] = 1  # more threads than cores only wait for each other
            return params
        raise RuntimeError("this llama.cpp has other context parameters than this check knows")

    def chunks(self, path, chunks, n_vocab):
        """For each chunk of token ids by itself, in one pass: an array of len(chunk) x n_vocab logits."""
        import numpy as np
        lib, model, context = self.lib, *self.open(path)
        for chunk in chunks:
            n = len(chunk)
            ids, wanted = (ctypes.c_int32 * n)(*chunk), (ctypes.c_int8 * n)(*[1] * n)
            batch = Batch(n, ctypes.cast(ids, ctypes.c_void_p), None, None, None, None, ctypes.cast(wanted, ctypes.c_void_p))
            lib.llama_memory_clear(lib.llama_get_memory(context), True)
            if lib.llama_decode(context, batch) != 0:
                raise RuntimeError("llama_decode failed: " + "".join(self.log[-6:]).strip())
            yield np.ctypeslib.as_array(lib.llama_get_logits(context), (n, n_vocab)).copy()
        lib.llama_free(context)
        lib.llama_model_free(model)

    def open(self, path):
        self.log.clear()
        lib = self.lib
        model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        if not model:
            raise RuntimeError("llama.cpp refuses it: " + "".join(self.log[-6:]).strip())
        context = lib.llama_init_from_model(model, self.context)
        if not context:
            lib.llama_model_free(model)
            raise RuntimeError("no context: " + "".join(self.log[-6:]).strip())
        return model, context

    def logits(self, path, ids, n_vocab):
        """One row of n_vocab logits after each token."""
        lib, model, context = self.lib, *self.open(path)
        rows = []
        for token in ids:
            one = (ctypes.c_int32 * 1)(token)
            if lib.llama_decode(context, lib.llama_batch_get_one(one, 1)) != 0:
                raise RuntimeError("llama_decode failed: " + "".join(self.log[-6:]).strip())
            rows.append(lib.llama_get_logits_ith(context, -1)[:n_vocab])
        lib.llama_free(context)
        lib.llama_model_free(model)
        return rows
