"""Logits of a model through libhalftone.so."""
import ctypes
import os

import numpy


class Diag(ctypes.Structure):
    _fields_ = [("code", ctypes.c_int), ("offset", ctypes.c_int64), ("where", ctypes.c_char * 256),
                ("message", ctypes.c_char * 1024)]


class Halftone:
    def __init__(self, library):
        self.lib = ctypes.CDLL(library)
        self.lib.ht_model_open.argtypes = [ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_uint64,
                                           ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p]
        self.lib.ht_model_logits.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int,
                                             ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p]
        self.lib.ht_model_vocabulary.argtypes = [ctypes.c_void_p]
        self.lib.ht_model_close.argtypes = [ctypes.c_void_p]

    def logits(self, path, ids, n_ctx=0, steps=None, memory=0, threads=1, fast=False):
        """steps: how many tokens each call takes; all in one by default."""
        model, diag = ctypes.c_void_p(), ctypes.create_string_buffer(8192)
        if self.lib.ht_model_open(os.fsencode(path), n_ctx, threads, memory, int(fast), ctypes.byref(model), diag):
            raise RuntimeError(f"open {path}: {diag.raw.replace(bytes(1), b' ').decode(errors='replace').strip()}")
        try:
            out = numpy.empty((len(ids), self.lib.ht_model_vocabulary(model)), dtype=numpy.float32)
            at = 0
            for step in steps or [len(ids)]:
                part = numpy.array(ids[at:at + step], dtype=numpy.int32)
                if self.lib.ht_model_logits(model, part.ctypes.data, step, at, step, out[at:].ctypes.data, diag):
                    raise RuntimeError(f"run {path}: {diag.raw.replace(bytes(1), b' ').decode(errors='replace').strip()}")
                at += step
            return out
        finally:
            self.lib.ht_model_close(ctypes.byref(model))
