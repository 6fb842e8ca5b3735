"""An open model: its tensors, tokenizer, logits and text."""

from __future__ import annotations

import ctypes as C
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from . import _arrays, _call, _hub, errors
from . import _library as _l
from . import progress as _p
from .jobs import OptionValue, Path

_AROUND, _SPECIAL = 1, 2
_FAST, _STREAM = 1, 2
_VIEWS = {"native": _l.VIEW_NATIVE, "gguf": _l.VIEW_GGUF}


class Tokenizer:
    """The tokenizer of a GGUF file or a Hugging Face folder. Several threads may use it at once."""

    def __init__(self, path: Path) -> None:
        handle, diag = C.c_void_p(), _l.Diag()
        _l.check(_l.lib.ht_tokenizer_open(_l.raw(path, "path"), handle, diag), diag)
        self._own(handle, None)

    def _own(self, handle: C.c_void_p, model: Model | None) -> None:
        self._handle, self._model = handle, model
        self._use = model._use if model is not None else _call.Handle("tokenizer")

    @classmethod
    def _of(cls, model: Model, handle: C.c_void_p) -> Tokenizer:
        tokenizer = cls.__new__(cls)
        tokenizer._own(handle, model)
        return tokenizer

    def encode(self, text: str | bytes, *, around: bool = False, special: bool = False) -> list[int]:
        """Token ids of a text. ``around``: with the tokens that the model wants before and behind it; ``special``:
        control tokens are found by their spelling (not for text of strangers)."""
        data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
        ids, n, diag = C.c_void_p(), C.c_size_t(), _l.Diag()
        flags = (_AROUND if around else 0) | (_SPECIAL if special else 0)
        with self._use.use(exclusive=False):
            code = _l.lib.ht_tokenizer_encode(self._handle, data, len(data), flags, ids, n, diag)
        _l.check(code, diag)
        try:
            return list((C.c_int32 * n.value).from_address(ids.value or 0)) if n.value else []
        finally:
            _l.lib.ht_free(ids)

    def decode(self, ids: Sequence[int], *, special: bool = False) -> str:
        """The text of token ids; ``special`` shows control tokens. Bytes that are not UTF-8 become U+FFFD."""
        return self.decode_bytes(ids, special=special).decode("utf-8", "replace")

    def decode_bytes(self, ids: Sequence[int], *, special: bool = False) -> bytes:
        """The bytes of token ids."""
        data, n, diag = C.c_void_p(), C.c_size_t(), _l.Diag()
        array = _ids(ids)
        with self._use.use(exclusive=False):
            code = _l.lib.ht_tokenizer_decode(
                self._handle, array, len(array), _SPECIAL if special else 0, data, n, diag
            )
        _l.check(code, diag)
        return _l.take_text(data, n.value)

    def __len__(self) -> int:
        with self._use.use(exclusive=False):
            return int(_l.lib.ht_tokenizer_size(self._handle))

    @property
    def bos(self) -> int | None:
        """The token before a text, if there is one."""
        with self._use.use(exclusive=False):
            token = int(_l.lib.ht_tokenizer_bos(self._handle))
        return token if token >= 0 else None

    @property
    def eos(self) -> int | None:
        """The token behind a text, if there is one."""
        with self._use.use(exclusive=False):
            token = int(_l.lib.ht_tokenizer_eos(self._handle))
        return token if token >= 0 else None

    def is_end(self, token: int) -> bool:
        """Does the token end what a model writes?"""
        with self._use.use(exclusive=False):
            return bool(_l.lib.ht_tokenizer_is_end(self._handle, token))

    def close(self) -> None:
        """Frees it; a model's tokenizer lives as long as the model."""
        if self._model is None and self._use.close():
            _l.lib.ht_tokenizer_close(self._handle)

    def __enter__(self) -> Tokenizer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_use"):
            self.close()


def _ids(ids: Sequence[int]) -> Any:
    try:
        array = (C.c_int32 * len(ids))(*ids)
    except TypeError:
        raise errors.UsageError("expected a sequence of token ids", "tokens") from None
    if any(a != b for a, b in zip(array, ids)):
        raise errors.UsageError("a token id does not fit 32 bits", "tokens")
    return array


@dataclass(frozen=True)
class Tensor:
    """A tensor of a model.

    Attributes:
        name: in its view.
        dtype: in which it is stored: ``"bf16"``, ``"q4_k"``; of a packed matrix, that of the model's floats.
        shape: outermost first; of a packed matrix that of its weights, (n_out, n_in).
        role: what it is for, ``"attn_q"``; ``""``: of no role that is known.
        layer, expert: from 0; None: of no layer, of no or of all experts.
        bias: the bias of that role, not its weight.
        linear: of the native view: a Linear's matrix, which schemes quantize.
        scheme: how another program packed it, as :func:`halftone.dequantize` takes it; ``""``: not packed.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    role: str
    layer: int | None
    expert: int | None
    bias: bool
    linear: bool
    scheme: str
    _model: Model
    _view: int
    _index: int
    _rows: tuple[int, int]

    def read(self, first: int = 0, n: int | None = None, *, kind: str = "auto", out: Any = None) -> Any:
        """Rows ``first`` … ``first + n`` (default: all others) as float32, decoded.

        The last dimension is a row, all others count them. All rows have the tensor's shape, some have (n, row_len).
        ``kind``: ``"numpy"``, ``"torch"``, ``"buffer"``, or ``"auto"``: NumPy where it is installed.
        """
        rows, row_len = self._rows
        count = rows - first if n is None else n
        if first < 0 or count < 0 or first + count > rows:
            raise errors.UsageError(f"it has {rows} rows; there are none from {first} to {first + count}", self.name)
        whole = first == 0 and count == rows
        result, where = _arrays.output(out, kind, "f32", self.shape if whole else (count, row_len))
        diag = _l.Diag()
        with self._model._use.use(exclusive=False):
            code = _l.lib.ht_model_read_rows(
                self._model._handle, self._view, self._index, first, count, where, diag
            )
        _l.check(code, diag)
        return result


class Tensors(Mapping[str, Tensor]):
    """The tensors of a view, by name and in order."""

    def __init__(self, model: Model, view: int) -> None:
        self._found: dict[str, Tensor] = {}
        info = _l.TensorInfo()
        with model._use.use(exclusive=False):
            for i in range(_l.lib.ht_model_tensor_count(model._handle, view)):
                _l.lib.ht_model_tensor_at(model._handle, view, i, info)
                name = _l.text(info.name)
                self._found[name] = Tensor(
                    name,
                    _l.text(info.dtype),
                    tuple(info.shape[: info.n_dims]),
                    _l.text(info.role),
                    info.layer if info.layer >= 0 else None,
                    info.expert if info.expert >= 0 else None,
                    info.bias,
                    info.linear,
                    _l.text(info.scheme),
                    model,
                    view,
                    i,
                    (info.n_rows, info.row_len),
                )

    def __getitem__(self, name: str) -> Tensor:
        return self._found[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


class Generation(Iterator[str]):
    """A text as it is made, piece by piece. ``stats`` tells of it; ``close`` ends it early."""

    def __init__(self, model: Model, options: Mapping[str, OptionValue]) -> None:
        self._handle, diag = C.c_void_p(), _l.Diag()
        self._use = _call.Handle("generator")
        self._model = model
        with model._use.use():
            code = _l.lib.ht_model_generator(model._handle, self._handle, diag)
        _l.check(code, diag)
        model._generations.add(self)
        for name, value in options.items():
            self._set(name.replace("_", "-"), value)

    def _set(self, name: str, value: OptionValue) -> None:
        if value is None or value is False:
            return
        if not isinstance(value, (str, int, float, os.PathLike)):
            for one in value:
                self._set(name, one)
            return
        text = b"true" if value is True else _l.raw(str(value), name)
        diag = _l.Diag()
        _l.check(_l.lib.ht_generator_set(self._handle, _l.raw(name, "option"), text, diag), diag)

    def _begin(self, call: Any, *arguments: Any) -> None:
        diag = _l.Diag()
        code = _call.interruptible(
            lambda: call(self._handle, *arguments, C.byref(diag)),
            lambda: _l.lib.ht_generator_cancel(self._handle),
            self._use.use(),
        )
        _l.check(code, diag)

    def __iter__(self) -> Generation:
        return self

    def __next__(self) -> str:
        if self._use.closed:
            raise StopIteration
        diag = _l.Diag()

        def piece() -> tuple[int, bytes]:
            at, n = C.c_void_p(), C.c_size_t()
            code = _l.lib.ht_generator_next(self._handle, C.byref(at), C.byref(n), C.byref(diag))
            return code, C.string_at(at.value, n.value) if at.value else b""

        code, text = _call.interruptible(piece, lambda: _l.lib.ht_generator_cancel(self._handle), self._use.use())
        _l.check(code, diag)
        if not text:
            raise StopIteration
        return text.decode("utf-8", "replace")

    @property
    def stats(self) -> dict[str, Any]:
        """Tokens read and made, seconds, and the ``reason`` of the end: ``"end"``, ``"stop"``, ``"length"``, or None."""
        stats = _l.GeneratorStats()
        with self._use.use():
            _l.lib.ht_generator_stats(self._handle, stats)
        told = {name: getattr(stats, name) for name, *_ in stats._fields_}
        told["reason"] = _l.text(stats.reason) or None
        return told

    def close(self) -> None:
        """Ends it, and frees its memory."""
        if self._use.close():
            _l.lib.ht_generator_close(self._handle)

    def __del__(self) -> None:
        if hasattr(self, "_model"):
            self.close()


class Model:
    """A checkpoint that is open: headers are read, weights when they are asked for.

    Args:
        source: a path, or ``ORG/NAME[@REVISION][:FILE.gguf]`` of the hub.
        fast: quantized weights times activations in eight bits; otherwise exact floats.
        stream: of a hub's model, weights are not downloaded first.
        ctx: longest sequence of :meth:`logits`, in tokens; 0: what the model was trained with.
        threads: 0 takes every core.
        memory: bytes that matrices may take (layers are then read as they are needed); 0: no limit.
        progress: of a download.

    Several threads may read tensors and encode texts; other calls belong to one thread at a time.
    """

    def __init__(
        self,
        source: Path,
        *,
        fast: bool = False,
        stream: bool = False,
        ctx: int = 0,
        threads: int = 0,
        memory: int = 0,
        progress: _p.ProgressLike = None,
    ) -> None:
        self._handle, diag, listener = C.c_void_p(), _l.Diag(), _p.Listener(progress)
        self._generations: weakref.WeakSet[Generation] = weakref.WeakSet()
        self._views: dict[int, Tensors] = {}
        hub = [part for pair in _hub.options().items() for part in pair]
        names = (C.c_char_p * (len(hub) + 1))(*[_l.raw(text, "hub") for text in hub], None)
        stop = [False]

        def tell(_ctx: Any, told: Any) -> int:
            return 0 if listener.tell(_p.read(told.contents)) and not stop[0] else 1

        on_progress = _l.ProgressFn(tell)
        options = _l.ModelOptions(
            flags=(_FAST if fast else 0) | (_STREAM if stream else 0),
            n_ctx=ctx,
            n_threads=threads,
            memory=memory,
            hub=C.cast(names, C.POINTER(C.c_char_p)),
            progress=on_progress,
        )
        path = _l.raw(source, "source")
        try:
            code = _call.interruptible(
                lambda: _l.lib.ht_model_open_with(path, C.byref(options), C.byref(self._handle), C.byref(diag)),
                lambda: stop.__setitem__(0, True),
            )
        finally:
            listener.close()
        if listener.raised is not None:
            raise listener.raised
        _l.check(code, diag)
        self._use = _call.Handle("model")

    def _info(self) -> _l.ModelInfo:
        info = _l.ModelInfo()
        with self._use.use(exclusive=False):
            _l.lib.ht_model_info(self._handle, info)
        return info

    @property
    def path(self) -> str:
        """What was opened: of a hub's model, in the cache."""
        return _l.text(self._info().path)

    @property
    def architecture(self) -> str:
        """As GGUF names it: ``"llama"``."""
        return _l.text(self._info().architecture)

    @property
    def packed_as(self) -> str | None:
        """How another program packed most of its matrices: ``"bitsandbytes nf4"``."""
        return _l.text(self._info().packed_as) or None

    @property
    def n_layers(self) -> int:
        return int(self._info().n_layers)

    @property
    def n_ctx_train(self) -> int:
        """Longest sequence that it was trained with, in tokens; 0: it cannot be run here."""
        return int(self._info().n_ctx_train)

    @property
    def vocabulary(self) -> int:
        """Tokens: the length of a row of logits; 0: it cannot be run here."""
        return int(self._info().vocabulary)

    @property
    def tensors(self) -> Tensors:
        """The checkpoint's tensors under its own names and shapes."""
        return self.view("native")

    def view(self, name: str) -> Tensors:
        """The tensors of ``"native"``, or of ``"gguf"``: renamed, permuted and stacked, as converting writes them."""
        if name not in _VIEWS:
            raise errors.UsageError('expected "native" or "gguf"', name)
        which = _VIEWS[name]
        if which not in self._views:
            self._views[which] = Tensors(self, which)
        return self._views[which]

    @property
    def tokenizer(self) -> Tokenizer:
        """Its tokenizer, which lives as long as the model."""
        handle, diag = C.c_void_p(), _l.Diag()
        with self._use.use():
            _l.check(_l.lib.ht_model_tokenizer(self._handle, handle, diag), diag)
        return Tokenizer._of(self, handle)

    def logits(self, tokens: Sequence[int], *, at: int = 0, n: int | None = None, kind: str = "auto") -> Any:
        """Predictions after each token (or after the last ``n``): float32 of shape (n, vocabulary).

        Tokens are at positions ``at``, ``at + 1``, …; ``at`` > 0 continues what earlier calls gave.
        """
        array = _ids(tokens)
        count = len(array) if n is None else n
        if not 1 <= count <= len(array):
            raise errors.UsageError(f"expected 1 to {len(array)} rows of logits, got {count}", "n")
        result, where = _arrays.new(kind, "f32", (count, self.vocabulary))
        diag = _l.Diag()

        def compute() -> int:
            _l.lib.ht_model_cancel(self._handle, False)  # what was meant for a call before
            code: int = _l.lib.ht_model_logits(self._handle, array, len(array), at, count, where, C.byref(diag))
            return code

        code = _call.interruptible(compute, lambda: _l.lib.ht_model_cancel(self._handle, True), self._use.use())
        _l.check(code, diag)
        return result

    def generate(self, prompt: str, max_tokens: int = 256, **options: OptionValue) -> Generation:
        """Continues a text: an iterator of its pieces.

        Options are those of ``halftone generate``: ``temperature``, ``top_k``, ``top_p``, ``min_p``, ``seed``, ``stop`` …
        """
        generation = Generation(self, {"max-tokens": max_tokens, **options})
        text = prompt.encode("utf-8", "surrogateescape")
        generation._begin(_l.lib.ht_generator_prompt, text, len(text))
        return generation

    def chat(self, messages: Sequence[Mapping[str, str]], max_tokens: int = 256, **options: OptionValue) -> Generation:
        """The answer to a conversation, by the model's own template: an iterator of its pieces.

        Messages have ``"role"`` (``"system"``, ``"user"``, ``"assistant"``) and ``"content"``; the last is a user's.
        """
        if not messages or messages[-1].get("role") != "user":
            raise errors.UsageError("the last message is not a user's", "messages")
        generation = Generation(self, {"max-tokens": max_tokens, **options})
        for message in messages:
            text = message["content"].encode("utf-8", "surrogateescape")
            generation._begin(_l.lib.ht_generator_say, _l.raw(message["role"], "role"), text, len(text))
        return generation

    def close(self) -> None:
        """Frees it and what it gave out."""
        for generation in list(self._generations):
            generation.close()
        if self._use.close():
            _l.lib.ht_model_close(self._handle)

    def __enter__(self) -> Model:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_use"):
            self.close()
