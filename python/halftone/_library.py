"""libhalftone.so by ctypes: structs and calls as include/halftone/ declares them. Nothing here is public."""

from __future__ import annotations

import ctypes as C
import os
from pathlib import Path
from typing import Any

from . import errors
from ._version import __version__

MATRIX_PARTS, PART_DIMS, TENSOR_DIMS = 8, 4, 8
VIEW_NATIVE, VIEW_GGUF = 0, 1


class Diag(C.Structure):
    _fields_ = [
        ("code", C.c_int),
        ("offset", C.c_int64),
        ("where", C.c_char * 256),
        ("message", C.c_char * 512),
    ]


class Progress(C.Structure):
    _fields_ = [
        ("step", C.c_char_p),
        ("tensor", C.c_char_p),
        ("unit", C.c_char_p),
        ("done", C.c_uint64),
        ("total", C.c_uint64),
        ("bytes_read", C.c_uint64),
        ("bytes_written", C.c_uint64),
        ("seconds", C.c_double),
        ("rate", C.c_double),
        ("seconds_left", C.c_double),
    ]


ProgressFn = C.CFUNCTYPE(C.c_int, C.c_void_p, C.POINTER(Progress))
LogFn = C.CFUNCTYPE(None, C.c_void_p, C.c_int, C.c_char_p)
RowsFn = C.CFUNCTYPE(C.c_bool, C.c_void_p, C.c_int64, C.c_int64)


class OptionInfo(C.Structure):
    _fields_ = [
        ("name", C.c_char_p),
        ("kind", C.c_int),
        ("verbs", C.c_char_p),
        ("metavar", C.c_char_p),
        ("help", C.c_char_p),
        ("group", C.c_char_p),
    ]


class TypeInfo(C.Structure):
    _fields_ = [
        ("name", C.c_char_p),
        ("gguf_id", C.c_uint32),
        ("block_weights", C.c_uint32),
        ("block_bytes", C.c_uint32),
        ("uses_importance", C.c_bool),
        ("needs_importance", C.c_bool),
    ]


class MixInfo(C.Structure):
    _fields_ = [
        ("name", C.c_char_p),
        ("file_type", C.c_uint32),
        ("default_type", C.c_char_p),
        ("about", C.c_char_p),
        ("needs_importance", C.c_bool),
        ("divergence", C.c_double),
        ("same_top_token", C.c_double),
        ("measured_with_importance", C.c_bool),
    ]


class Sized(C.Structure):
    """A struct of which the first member is its size."""

    def __init__(self, **members: Any) -> None:
        super().__init__(size=C.sizeof(type(self)), **members)


class ContainerInfo(Sized):
    _fields_ = [
        ("size", C.c_size_t),
        ("name", C.c_char_p),
        ("suffix", C.c_char_p),
        ("is_folder", C.c_bool),
        ("can_write", C.c_bool),
        ("title", C.c_char_p),
        ("about", C.c_char_p),
    ]


class MethodInfo(Sized):
    _fields_ = [("size", C.c_size_t), ("name", C.c_char_p), ("about", C.c_char_p)]


class ArchInfo(C.Structure):
    _fields_ = [("name", C.c_char_p), ("classes", C.c_char_p)]


class GpuInfo(C.Structure):
    _fields_ = [("name", C.c_char_p), ("memory", C.c_uint64), ("bandwidth", C.c_uint64)]


class SchemeInfo(Sized):
    _fields_ = [
        ("size", C.c_size_t),
        ("name", C.c_char_p),
        ("label", C.c_char_p),
        ("family", C.c_char_p),
        ("about", C.c_char_p),
        ("loaders", C.c_char_p),
        ("can_write", C.c_bool),
        ("shares_amax", C.c_bool),
        ("divergence", C.c_double),
        ("same_top_token", C.c_double),
    ]


class Rows(Sized):
    _fields_ = [
        ("size", C.c_size_t),
        ("type", C.c_char_p),
        ("n_rows", C.c_int64),
        ("row_len", C.c_int64),
        ("importance", C.c_void_p),
        ("n_threads", C.c_int),
        ("progress", RowsFn),
        ("ctx", C.c_void_p),
    ]


class Matrix(Sized):
    _fields_ = [
        ("size", C.c_size_t),
        ("n_out", C.c_int64),
        ("n_in", C.c_int64),
        ("dtype", C.c_char_p),
        ("importance", C.c_void_p),
        ("amax", C.c_float),
        ("n_threads", C.c_int),
        ("allocator", C.c_void_p),
        ("progress", RowsFn),
        ("ctx", C.c_void_p),
        ("n_experts", C.c_int64),
        ("x_dtype", C.c_char_p),
    ]


class Part(Sized):
    _fields_ = [
        ("size", C.c_size_t),
        ("suffix", C.c_char_p),
        ("dtype", C.c_char_p),
        ("n_dims", C.c_int),
        ("shape", C.c_int64 * PART_DIMS),
        ("n_bytes", C.c_uint64),
        ("data", C.c_void_p),
    ]


class ModelOptions(Sized):
    _fields_ = [
        ("size", C.c_size_t),
        ("flags", C.c_uint),
        ("n_ctx", C.c_int),
        ("n_threads", C.c_int),
        ("memory", C.c_uint64),
        ("allocator", C.c_void_p),
        ("hub", C.POINTER(C.c_char_p)),
        ("progress", ProgressFn),
        ("ctx", C.c_void_p),
    ]


class ModelInfo(Sized):
    _fields_ = [
        ("size", C.c_size_t),
        ("path", C.c_char_p),
        ("architecture", C.c_char_p),
        ("packed_as", C.c_char_p),
        ("is_gguf", C.c_bool),
        ("n_layers", C.c_int),
        ("n_heads", C.c_int),
        ("n_kv_heads", C.c_int),
        ("n_experts", C.c_int),
        ("n_ctx_train", C.c_int),
        ("vocabulary", C.c_int),
    ]


class TensorInfo(Sized):
    _fields_ = [
        ("size", C.c_size_t),
        ("name", C.c_char_p),
        ("dtype", C.c_char_p),
        ("n_dims", C.c_int),
        ("shape", C.c_int64 * TENSOR_DIMS),
        ("n_rows", C.c_int64),
        ("row_len", C.c_int64),
        ("role", C.c_char_p),
        ("layer", C.c_int32),
        ("expert", C.c_int32),
        ("bias", C.c_bool),
        ("linear", C.c_bool),
        ("scheme", C.c_char * 128),
    ]


class Message(Sized):
    _fields_ = [("size", C.c_size_t), ("role", C.c_char_p), ("text", C.c_char_p), ("len", C.c_size_t)]


class GeneratorStats(C.Structure):
    _fields_ = [
        ("context", C.c_int),
        ("trained_context", C.c_int),
        ("prompt_tokens", C.c_int),
        ("read_tokens", C.c_int),
        ("new_tokens", C.c_int),
        ("prompt_seconds", C.c_double),
        ("seconds", C.c_double),
        ("reason", C.c_char_p),
        ("context_full", C.c_bool),
    ]


_text, _handle, _diag, _out = C.c_char_p, C.c_void_p, C.POINTER(Diag), C.POINTER(C.c_void_p)
_err, _size, _index, _none = C.c_int, C.c_size_t, C.c_size_t, None
# Every call of the public headers that the package uses: result, arguments.
_CALLS: dict[str, tuple[Any, list[Any]]] = {
    "ht_version": (_text, []),
    "ht_free": (_none, [C.c_void_p]),
    "ht_err_name": (_text, [C.c_int]),
    "ht_err_text": (_text, [C.c_int]),
    "ht_row_size": (_size, [_text, C.c_int64]),
    "ht_rows_encode": (_err, [C.POINTER(Rows), C.c_void_p, C.c_void_p, _diag]),
    "ht_rows_decode": (_err, [C.POINTER(Rows), C.c_void_p, C.c_void_p, _diag]),
    "ht_type_at": (C.c_bool, [_index, C.POINTER(TypeInfo)]),
    "ht_mix_at": (C.c_bool, [_index, C.POINTER(MixInfo)]),
    "ht_container_at": (C.c_bool, [_index, C.POINTER(ContainerInfo)]),
    "ht_method_at": (C.c_bool, [_index, C.POINTER(MethodInfo)]),
    "ht_arch_at": (C.c_bool, [_index, C.POINTER(ArchInfo)]),
    "ht_gpu_at": (C.c_bool, [_index, C.POINTER(GpuInfo)]),
    "ht_scheme_at": (C.c_bool, [_index, C.POINTER(SchemeInfo)]),
    "ht_option_at": (C.c_bool, [_index, C.POINTER(OptionInfo)]),
    "ht_matrix_parts": (_err, [_text, C.POINTER(Matrix), C.POINTER(Part), C.POINTER(_size), _diag]),
    "ht_matrix_quantize": (_err, [_text, C.POINTER(Matrix), C.c_void_p, C.POINTER(Part), _size, _diag]),
    "ht_matrix_dequantize": (_err, [_text, C.POINTER(Matrix), C.POINTER(Part), _size, C.c_void_p, _diag]),
    "ht_job_open": (_err, [_out]),
    "ht_job_close": (_none, [_out]),
    "ht_job_set": (_err, [_handle, _text, _text, _diag]),
    "ht_job_config": (_err, [_handle, _text, _diag]),
    "ht_job_on_progress": (_none, [_handle, ProgressFn, C.c_void_p]),
    "ht_job_on_log": (_none, [_handle, LogFn, C.c_void_p]),
    "ht_job_cancel": (_none, [_handle]),
    "ht_job_run": (_err, [_handle, _out, _diag]),
    "ht_job_estimate": (_err, [_handle, _out, _diag]),
    "ht_job_recommend": (_err, [_handle, _out, _diag]),
    "ht_job_eval": (_err, [_handle, C.c_bool, _out, _diag]),
    "ht_job_imatrix": (_err, [_handle, _out, _diag]),
    "ht_job_inspect": (_err, [_handle, C.c_uint, _out, _diag]),
    "ht_hub_pull": (_err, [_handle, _text, _out, _diag]),
    "ht_model_open_with": (_err, [_text, C.POINTER(ModelOptions), _out, _diag]),
    "ht_model_close": (_none, [_out]),
    "ht_model_cancel": (_none, [_handle, C.c_bool]),
    "ht_model_info": (C.c_bool, [_handle, C.POINTER(ModelInfo)]),
    "ht_model_tensor_count": (_size, [_handle, C.c_int]),
    "ht_model_tensor_at": (C.c_bool, [_handle, C.c_int, _index, C.POINTER(TensorInfo)]),
    "ht_model_read_rows": (
        _err,
        [_handle, C.c_int, _index, C.c_int64, C.c_int64, C.c_void_p, _diag],
    ),
    "ht_model_logits": (
        _err,
        [_handle, C.POINTER(C.c_int32), C.c_int, C.c_int, C.c_int, C.c_void_p, _diag],
    ),
    "ht_model_generator": (_err, [_handle, _out, _diag]),
    "ht_generator_close": (_none, [_out]),
    "ht_generator_set": (_err, [_handle, _text, _text, _diag]),
    "ht_generator_prompt": (_err, [_handle, _text, _size, _diag]),
    "ht_generator_say": (_err, [_handle, _text, _text, _size, _diag]),
    "ht_generator_next": (_err, [_handle, _out, C.POINTER(_size), _diag]),
    "ht_generator_stats": (_none, [_handle, C.POINTER(GeneratorStats)]),
    "ht_generator_cancel": (_none, [_handle]),
    "ht_model_chat_template": (_text, [_handle]),
    "ht_model_chat": (_err, [_handle, C.POINTER(Message), _size, _out, C.POINTER(_size), _diag]),
    "ht_tokenizer_open": (_err, [_text, _out, _diag]),
    "ht_model_tokenizer": (_err, [_handle, _out, _diag]),
    "ht_tokenizer_close": (_none, [_out]),
    "ht_tokenizer_encode": (_err, [_handle, _text, _size, C.c_uint, _out, C.POINTER(_size), _diag]),
    "ht_tokenizer_decode": (
        _err,
        [_handle, C.POINTER(C.c_int32), _size, C.c_uint, _out, C.POINTER(_size), _diag],
    ),
    "ht_tokenizer_size": (C.c_int, [_handle]),
    "ht_tokenizer_bos": (C.c_int32, [_handle]),
    "ht_tokenizer_eos": (C.c_int32, [_handle]),
    "ht_tokenizer_is_end": (C.c_bool, [_handle, C.c_int32]),
}


def _check_whole(path: str) -> None:
    """Refuses a library that is cut off: the system's loader would be killed by it."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(64)
            if head[:5] != b"\x7fELF\x02" or len(head) < 64:
                return  # the loader says what it is not
            at, sections = (int.from_bytes(head[i : i + 8], "little") for i in (32, 40))
            segment, n, section, m = (int.from_bytes(head[i : i + 2], "little") for i in (54, 56, 58, 60))
            ends = [at + segment * n, sections + section * m]
            file.seek(at)
            table = file.read(segment * n)
    except OSError:
        return  # it is looked for elsewhere, or the loader says why not
    for entry in range(0, len(table) - 55, segment or 56):  # p_offset, p_filesz
        offset, length = (int.from_bytes(table[entry + i : entry + i + 8], "little") for i in (8, 32))
        ends.append(offset + length)
    if size < max(ends):
        raise errors.LibraryError(f"the library cannot be loaded: it has {size} bytes of {max(ends)}", path)


def _load() -> C.CDLL:
    """The library of the package, or the one that HALFTONE_LIBRARY names."""
    path = os.environ.get("HALFTONE_LIBRARY") or str(Path(__file__).parent / "libhalftone.so")
    _check_whole(path)
    try:
        library = C.CDLL(path)
    except OSError as error:
        raise errors.LibraryError(f"the library cannot be loaded: {error}", path) from None
    for name, (result, arguments) in _CALLS.items():
        try:
            call = getattr(library, name)
        except AttributeError:
            raise errors.LibraryError(f"the library has no {name}: it is of another version", path) from None
        call.restype, call.argtypes = result, arguments
    version = library.ht_version().decode()
    if version != __version__:
        raise errors.LibraryError(f"the library is of version {version}, the package of {__version__}", path)
    return library


lib: Any = _load()


def text(value: bytes | None) -> str:
    """Text of the library; what is not UTF-8 keeps its bytes as os.fsdecode does."""
    return value.decode("utf-8", "surrogateescape") if value else ""


def raw(value: str | os.PathLike[str], what: str) -> bytes:
    """Text for the library."""
    path: object = value if isinstance(value, (str, bytes)) else os.fspath(value)
    if not isinstance(path, str):
        raise errors.UsageError(f"expected text, got {type(value).__name__}", what)
    data = path.encode("utf-8", "surrogateescape")
    if b"\0" in data:
        raise errors.UsageError("NUL in a text", what)
    return data


def error(code: int, diag: Diag) -> errors.HalftoneError:
    name = text(lib.ht_err_name(code))
    kind = errors.by_code.get(name, errors.InternalError)
    message = text(diag.message) or text(lib.ht_err_text(code))
    return kind(message, text(diag.where), diag.offset if diag.offset >= 0 else None)


def check(code: int, diag: Diag) -> None:
    """Raises the exception of a code that is not success."""
    if code:
        raise error(code, diag)


def take_text(pointer: C.c_void_p, length: int | None = None) -> bytes:
    """Copies text that is the caller's, and frees it."""
    try:
        return C.string_at(pointer.value or 0, -1 if length is None else length)
    finally:
        lib.ht_free(pointer)
