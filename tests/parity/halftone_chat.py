"""Text from a model, and conversations, through libhalftone.so."""
import ctypes
import os


class Stats(ctypes.Structure):
    _fields_ = [("context", ctypes.c_int), ("trained_context", ctypes.c_int), ("prompt_tokens", ctypes.c_int),
                ("read_tokens", ctypes.c_int), ("new_tokens", ctypes.c_int), ("prompt_seconds", ctypes.c_double),
                ("seconds", ctypes.c_double), ("reason", ctypes.c_char_p), ("context_full", ctypes.c_bool)]


class Refused(Exception):
    pass


class Generator:
    def __init__(self, library, path, **options):
        self.lib = lib = ctypes.CDLL(library)
        pointer, size, text = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p
        lib.ht_generator_open.argtypes = [text, pointer, pointer]
        lib.ht_generator_set.argtypes = [pointer, text, text, pointer]
        lib.ht_generator_prompt.argtypes = [pointer, text, size, pointer]
        lib.ht_generator_say.argtypes = [pointer, text, text, size, pointer]
        lib.ht_generator_conversation.argtypes = [pointer, pointer, pointer, pointer]
        lib.ht_generator_next.argtypes = [pointer, pointer, pointer, pointer]
        lib.ht_generator_stats.argtypes = [pointer, pointer]
        lib.ht_generator_close.argtypes = lib.ht_free.argtypes = [pointer]
        self.handle, self.diag = pointer(), ctypes.create_string_buffer(8192)
        self.check(lib.ht_generator_open(os.fsencode(path), ctypes.byref(self.handle), self.diag))
        for name, value in options.items():
            self.check(lib.ht_generator_set(self.handle, name.replace("_", "-").encode(), str(value).encode(), self.diag))

    def check(self, error):
        if error:
            raise Refused(b" ".join(part for part in self.diag.raw[16:].split(b"\0") if part).decode(errors="replace"))

    def prompt(self, text):
        data = text.encode()
        self.check(self.lib.ht_generator_prompt(self.handle, data, len(data), self.diag))

    def say(self, role, text):
        data = text.encode()
        self.check(self.lib.ht_generator_say(self.handle, role.encode(), data, len(data), self.diag))

    def conversation(self):
        text, size = ctypes.c_void_p(), ctypes.c_size_t()
        self.check(self.lib.ht_generator_conversation(self.handle, ctypes.byref(text), ctypes.byref(size), self.diag))
        try:
            return ctypes.string_at(text, size.value).decode()
        finally:
            self.lib.ht_free(text)

    def text(self):
        """All that comes, as bytes."""
        pieces, piece, size = [], ctypes.c_void_p(), ctypes.c_size_t()
        while True:
            self.check(self.lib.ht_generator_next(self.handle, ctypes.byref(piece), ctypes.byref(size), self.diag))
            if not size.value:
                return b"".join(pieces)
            pieces.append(ctypes.string_at(piece, size.value))

    def stats(self):
        stats = Stats()
        self.lib.ht_generator_stats(self.handle, ctypes.byref(stats))
        return stats

    def close(self):
        self.lib.ht_generator_close(ctypes.byref(self.handle))
