"""Matrices by scheme through libhalftone.so (halftone/matrix.h), for the parity checks.

    from matrices import Halftone
    ht = Halftone(os.path.join(os.environ["HT_BUILD"], "libhalftone.so"))
    parts = ht.quantize("nf4:block=64", x, "bf16")           # {".weight": array, ".weight.absmax": array, ...}
    again = ht.dequantize("nf4:block=64", parts, x.shape, "bf16")

Arrays have the dtype of the part where NumPy has it, otherwise an unsigned integer of its width: bf16 is uint16,
f8_e4m3 is uint8; ht.dtypes tells the part's own. Needs NumPy alone.
"""
import ctypes

import numpy as np

WIDTHS = {"f32": np.float32, "f16": np.float16, "bf16": np.uint16, "i8": np.int8, "i16": np.int16, "i32": np.int32,
          "i64": np.int64, "u8": np.uint8, "u16": np.uint16, "u32": np.uint32, "u64": np.uint64, "f64": np.float64,
          "bool": np.uint8, "f8_e4m3": np.uint8, "f8_e5m2": np.uint8, "f8_e8m0": np.uint8}


class Diag(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("offset", ctypes.c_int64), ("where", ctypes.c_char * 256),
                ("message", ctypes.c_char * 512)]


class Matrix(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("n_out", ctypes.c_int64), ("n_in", ctypes.c_int64),
                ("dtype", ctypes.c_char_p), ("importance", ctypes.c_void_p), ("amax", ctypes.c_float),
                ("n_threads", ctypes.c_int), ("allocator", ctypes.c_void_p), ("progress", ctypes.c_void_p),
                ("ctx", ctypes.c_void_p), ("n_experts", ctypes.c_int64)]


class Part(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("suffix", ctypes.c_char_p), ("dtype", ctypes.c_char_p),
                ("n_dims", ctypes.c_int), ("shape", ctypes.c_int64 * 4), ("n_bytes", ctypes.c_uint64),
                ("data", ctypes.c_void_p)]


class SchemeInfo(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("name", ctypes.c_char_p), ("label", ctypes.c_char_p),
                ("family", ctypes.c_char_p), ("about", ctypes.c_char_p), ("loaders", ctypes.c_char_p),
                ("can_write", ctypes.c_bool), ("shares_amax", ctypes.c_bool)]


class OptionInfo(ctypes.Structure):
    _fields_ = [("size", ctypes.c_size_t), ("name", ctypes.c_char_p), ("about", ctypes.c_char_p),
                ("choices", ctypes.c_char_p), ("otherwise", ctypes.c_char * 32), ("least", ctypes.c_double),
                ("most", ctypes.c_double), ("reading", ctypes.c_bool)]


class Refused(Exception):
    pass


class Halftone:
    def __init__(self, library):
        self.lib = ctypes.CDLL(library)
        self.dtypes = {}  # of the parts that quantize() gave last, by suffix
        self.lib.ht_scheme_at.argtypes = [ctypes.c_size_t, ctypes.c_void_p]
        self.lib.ht_scheme_at.restype = ctypes.c_bool
        self.lib.ht_scheme_option_at.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_void_p]
        self.lib.ht_scheme_option_at.restype = ctypes.c_bool
        self.lib.ht_matrix_parts.argtypes = [ctypes.c_char_p] + [ctypes.c_void_p] * 4
        self.lib.ht_matrix_quantize.argtypes = [ctypes.c_char_p] + [ctypes.c_void_p] * 3 + [ctypes.c_size_t,
                                                                                          ctypes.c_void_p]
        self.lib.ht_matrix_dequantize.argtypes = [ctypes.c_char_p] + [ctypes.c_void_p] * 2 + [
            ctypes.c_size_t, ctypes.c_void_p, ctypes.c_void_p]

    def schemes(self):
        """Every scheme: {"name", "family", "can_write", "options": {name: [choices] or (least, most)}}."""
        found, info, i = [], SchemeInfo(ctypes.sizeof(SchemeInfo)), 0
        while self.lib.ht_scheme_at(i, ctypes.byref(info)):
            options, o, k = {}, OptionInfo(ctypes.sizeof(OptionInfo)), 0
            while self.lib.ht_scheme_option_at(info.name, k, ctypes.byref(o)):
                options[o.name.decode()] = o.choices.decode().split() if o.choices else (o.least, o.most)
                k += 1
            found.append({"name": info.name.decode(), "family": info.family.decode(), "can_write": info.can_write,
                          "options": options})
            i += 1
        return found

    @staticmethod
    def _try(err, diag):
        if err:
            raise Refused(f"{diag.where.decode(errors='replace')}: {diag.message.decode(errors='replace')}")

    def _room(self, scheme, matrix):
        parts, n, diag = (Part * 8)(), ctypes.c_size_t(8), Diag()
        parts[0].size = ctypes.sizeof(Part)
        self._try(self.lib.ht_matrix_parts(scheme.encode(), ctypes.byref(matrix), parts, ctypes.byref(n),
                                           ctypes.byref(diag)), diag)
        return parts, n.value

    @staticmethod
    def _matrix(shape, dtype, importance=None, amax=0.0, threads=1, experts=0):
        return Matrix(size=ctypes.sizeof(Matrix), n_out=shape[0], n_in=shape[1], dtype=dtype.encode(),
                      importance=importance.ctypes.data if importance is not None else None, amax=amax,
                      n_threads=threads, n_experts=experts)

    def quantize(self, scheme, x, dtype="bf16", importance=None, amax=0.0, threads=1, experts=0):
        """x: float32 [n_out, n_in] with values that the dtype holds. The parts by suffix."""
        x = np.ascontiguousarray(x, np.float32)
        if importance is not None:
            importance = np.ascontiguousarray(importance, np.float32)
        matrix, diag = self._matrix(x.shape, dtype, importance, amax, threads, experts), Diag()
        parts, n = self._room(scheme, matrix)
        data = [np.full(int(p.n_bytes), 0xa5, np.uint8) for p in parts[:n]]
        for part, room in zip(parts, data):
            part.data = room.ctypes.data
        self._try(self.lib.ht_matrix_quantize(scheme.encode(), ctypes.byref(matrix), x.ctypes.data, parts, n,
                                              ctypes.byref(diag)), diag)
        self.dtypes = {p.suffix.decode(): p.dtype.decode() for p in parts[:n]}
        return {p.suffix.decode(): d[:p.n_bytes].view(WIDTHS[p.dtype.decode()]).reshape(p.shape[:p.n_dims])
                for p, d in zip(parts, data)}

    def dequantize(self, scheme, arrays, shape, dtype="bf16", threads=1, experts=0):
        """float32 [n_out, n_in] of the parts, by suffix, as quantize() gives them."""
        matrix, diag = self._matrix(shape, dtype, threads=threads, experts=experts), Diag()
        parts, n = self._room(scheme, matrix)
        held = {k: np.asarray(v, order="C") for k, v in arrays.items()}  # ascontiguousarray would add a dimension to scalars
        for part in parts[:n]:
            array = held.get(part.suffix.decode())
            if array is None:
                continue  # the library tells that it is missing
            size = np.dtype(WIDTHS[part.dtype.decode()]).itemsize
            if array.dtype.itemsize != size:
                raise Refused(f"{part.suffix.decode()}: {array.dtype} for {part.dtype.decode()}")
            part.n_dims = array.ndim
            for i, extent in enumerate(array.shape):
                part.shape[i] = extent
            part.n_bytes = array.nbytes
            part.data = array.ctypes.data
        out = np.empty(shape, np.float32)
        self._try(self.lib.ht_matrix_dequantize(scheme.encode(), ctypes.byref(matrix), parts, n, out.ctypes.data,
                                                ctypes.byref(diag)), diag)
        return out
