"""The library's lists, as dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from . import _library as _l
from . import errors

S = TypeVar("S")


def _all(call: Any, kind: Callable[[], S]) -> Iterator[S]:
    """Each gets a struct of its own."""
    index = 0
    while True:
        info = kind()
        if not call(index, info):
            return
        yield info
        index += 1


@dataclass(frozen=True)
class Type:
    """A numeric format of GGUF files. Blocks are of ``block_weights`` weights in ``block_bytes`` bytes."""

    name: str
    gguf_id: int
    block_weights: int
    block_bytes: int
    uses_importance: bool
    needs_importance: bool


@dataclass(frozen=True)
class Mix:
    """A named mix, as ``types`` of :func:`halftone.quantize` takes it.

    ``divergence`` is what it lost on the example model, in nats a token, and ``same_top_token`` the share of tokens whose
    likeliest successor stayed the same; None: not measured.
    """

    name: str
    default_type: str
    about: str
    needs_importance: bool
    divergence: float | None
    same_top_token: float | None


@dataclass(frozen=True)
class Scheme:
    """How matrices of Hugging Face folders are stored: ``nf4``, ``gptq``, ``awq`` …; losses as of :class:`Mix`."""

    name: str
    label: str
    family: str
    about: str
    loaders: str
    can_write: bool
    divergence: float | None
    same_top_token: float | None


@dataclass(frozen=True)
class Container:
    """A kind of file."""

    name: str
    suffix: str
    is_folder: bool
    can_write: bool
    title: str
    about: str


@dataclass(frozen=True)
class Method:
    """How codes are chosen."""

    name: str
    about: str


@dataclass(frozen=True)
class Architecture:
    """An architecture that can be converted, and the Hugging Face classes of it."""

    name: str
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Gpu:
    """A card: bytes of memory (0: shared with the processor), bytes a second."""

    name: str
    memory: int
    bandwidth: int


@dataclass(frozen=True)
class Option:
    """An option of a job: ``kind`` is ``"flag"``, ``"text"`` or ``"list"``, ``verbs`` the functions that take it."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    metavar: str
    help: str


def _measured(info: Any) -> tuple[float | None, float | None]:
    return (info.divergence, info.same_top_token) if info.divergence else (None, None)


def types() -> list[Type]:
    """Numeric formats that can be written."""
    return [
        Type(_l.text(i.name), i.gguf_id, i.block_weights, i.block_bytes, i.uses_importance, i.needs_importance)
        for i in _all(_l.lib.ht_type_at, _l.TypeInfo)
    ]


def mixes() -> list[Mix]:
    """Named mixes of GGUF files."""
    return [
        Mix(_l.text(i.name), _l.text(i.default_type), _l.text(i.about), i.needs_importance, *_measured(i))
        for i in _all(_l.lib.ht_mix_at, _l.MixInfo)
    ]


def schemes() -> list[Scheme]:
    """Schemes of Hugging Face folders."""
    return [
        Scheme(
            _l.text(i.name),
            _l.text(i.label),
            _l.text(i.family),
            _l.text(i.about),
            _l.text(i.loaders),
            i.can_write,
            *_measured(i),
        )
        for i in _all(_l.lib.ht_scheme_at, _l.SchemeInfo)
    ]


def containers() -> list[Container]:
    """Kinds of files."""
    return [
        Container(
            _l.text(i.name), _l.text(i.suffix), i.is_folder, i.can_write, _l.text(i.title), _l.text(i.about)
        )
        for i in _all(_l.lib.ht_container_at, _l.ContainerInfo)
    ]


def methods() -> list[Method]:
    """Ways to choose codes."""
    return [Method(_l.text(i.name), _l.text(i.about)) for i in _all(_l.lib.ht_method_at, _l.MethodInfo)]


def architectures() -> list[Architecture]:
    """Architectures that can be converted."""
    return [
        Architecture(_l.text(i.name), tuple(_l.text(i.classes).split()))
        for i in _all(_l.lib.ht_arch_at, _l.ArchInfo)
    ]


def gpus() -> list[Gpu]:
    """Cards that :func:`halftone.recommend` knows."""
    return [Gpu(_l.text(i.name), i.memory, i.bandwidth) for i in _all(_l.lib.ht_gpu_at, _l.GpuInfo)]


def options() -> list[Option]:
    """Options of jobs. As arguments of Python they have ``_`` in place of ``-``."""
    return [
        Option(
            _l.text(i.name),
            ("flag", "text", "list")[i.kind],
            tuple(_l.text(i.verbs).split()),
            _l.text(i.metavar),
            _l.text(i.help),
        )
        for i in _all(_l.lib.ht_option_at, _l.OptionInfo)
    ]


def type_info(name: str) -> Type:
    """The numeric format of a name, in capitals or not."""
    for t in types():
        if t.name == name.lower():
            return t
    raise errors.UsageError("there is no such numeric format; halftone.types() lists them", name)
