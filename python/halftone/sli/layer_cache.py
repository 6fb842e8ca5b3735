"""Layers that were quantized once: in memory, and on the disk.

    cache = LayerCache(cache_dir="cache", max_cache_size_gb=50.0)
    cache.cache_layer(model_id="Llama-2-7b", layer_index=0, layer=quantized, quantization_mode="nf4")
    layer = cache.get_layer("Llama-2-7b", 0)       # None: it is not there
    cache.stats().hit_rate

On the disk a layer is one safetensors file with a hash over all that is in it; nothing is pickled, and no file names code. Files
are written beside their place and renamed, so that whoever looks finds a whole layer or none; several processes may use one
folder at once. Where the folder would grow beyond its limit, the layers that were used longest ago are removed. A file that is
not what was written is removed with a warning, and its layer is a miss.

What :meth:`LayerCache.get_layer` gives is for inference (no gradients) and in the processor's memory. Layers that were asked for
before come from memory: modules of their own each time, for the same numbers, which are not to be changed in place.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import secrets
import threading
import weakref
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import torch
from torch import nn

from .. import errors
from . import _layer_file, _modules
from ._linear import QuantizedLinear
from .quantization import QuantizationMode

logger = logging.getLogger(__name__)

_VERSION = 1  # of what files say
_GB = 10**9
_SUFFIX, _UNFINISHED, _LOCK = ".safetensors", ".unfinished-", ".lock"
_Key = tuple[str, int, str]


@dataclass
class LayerCacheStats:
    """What a cache was asked for since it was made, and what it holds.

    Attributes:
        memory_hits, disk_hits, misses: of :meth:`LayerCache.get_layer`.
        evicted_memory, evicted_disk: layers that made room for others.
        damaged: files that were not what was written.
        memory_bytes, disk_bytes: what is held now; on the disk by all processes.
    """

    memory_hits: int = 0
    disk_hits: int = 0
    misses: int = 0
    evicted_memory: int = 0
    evicted_disk: int = 0
    damaged: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0

    @property
    def hits(self) -> int:
        return self.memory_hits + self.disk_hits

    @property
    def hit_rate(self) -> float:
        """Hits by all that was asked for; 0: nothing was."""
        return self.hits / (self.hits + self.misses) if self.hits + self.misses else 0.0


@dataclass
class _Held:
    """A layer in memory, and of which file it is."""

    layer: nn.Module
    n_bytes: int
    inode: int


_caches: weakref.WeakSet[LayerCache] = weakref.WeakSet()


def _forked() -> None:
    """A thread that is not in the child may have held a lock."""
    for cache in _caches:
        cache._guard = threading.Lock()


os.register_at_fork(after_in_child=_forked)


def default_cache_dir() -> Path:
    """``$XDG_CACHE_HOME/halftone/layers``, or that of ``~/.cache``."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "halftone/layers"


def _refused(error: OSError, where: Path) -> errors.HalftoneError:
    known: dict[int | None, type[errors.HalftoneError]] = {
        errno.ENOSPC: errors.NoSpaceError,
        errno.EDQUOT: errors.NoSpaceError,
        errno.EACCES: errors.DeniedError,
        errno.EPERM: errors.DeniedError,
        errno.EROFS: errors.DeniedError,
    }
    return known.get(error.errno, errors.InputOutputError)(error.strerror or str(error), str(where))


def _limit(gigabytes: float, what: str) -> int:
    if not 0 <= gigabytes < float("inf"):
        raise errors.UsageError(f"expected gigabytes from 0 on, got {gigabytes!r}", what)
    return int(gigabytes * _GB)


class LayerCache:
    """Layers by model, index and mode.

    Args:
        cache_dir: the folder; None: :func:`default_cache_dir`. It is made where it is not there.
        max_cache_size_gb: 10⁹ bytes that its files may take; layers that are just being written come on top.
        max_memory_cache_size_gb: 10⁹ bytes of layers that are kept in memory; 0: none.
        verify: are files checked against their hash when they are read?

    Several threads may use one cache, and several processes one folder. After a fork a child goes on with what it has.
    """

    def __init__(
        self,
        cache_dir: str | os.PathLike[str] | None = None,
        max_cache_size_gb: float = 50.0,
        max_memory_cache_size_gb: float = 4.0,
        *,
        verify: bool = True,
    ) -> None:
        self.cache_dir = Path(cache_dir) if cache_dir is not None else default_cache_dir()
        self.max_cache_bytes = _limit(max_cache_size_gb, "max_cache_size_gb")
        self.max_memory_bytes = _limit(max_memory_cache_size_gb, "max_memory_cache_size_gb")
        self.verify = verify
        self._stats = LayerCacheStats()
        self._memory: OrderedDict[_Key, _Held] = OrderedDict()
        self._guard = threading.Lock()
        _caches.add(self)
        try:
            self.cache_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise _refused(error, self.cache_dir) from None

    # ---- where layers are ----

    def _folder(self, model_id: str) -> Path:
        if not isinstance(model_id, str) or not model_id:
            raise errors.UsageError("expected the name of a model", "model_id")
        return self.cache_dir / hashlib.sha256(model_id.encode("utf-8", "surrogateescape")).hexdigest()[:32]

    def path(self, model_id: str, layer_index: int, quantization_mode: str) -> Path:
        """The layer's file, whether it is there or not."""
        if type(layer_index) is not int or not -2 <= layer_index < 1 << 31:
            raise errors.UsageError(f"expected a layer's index from 0 on, got {layer_index!r}", "layer_index")
        return self._folder(model_id) / f"{layer_index}.{_mode_name(quantization_mode)}{_SUFFIX}"

    def _modes(self, model_id: str, layer_index: int) -> list[str]:
        """Of a layer's files, that which was used last first."""
        self.path(model_id, layer_index, "none")  # refuses what is none
        found = []
        with suppress(FileNotFoundError):
            for entry in os.scandir(self._folder(model_id)):
                index, _, rest = entry.name.partition(".")
                if index == str(layer_index) and rest.endswith(_SUFFIX):
                    with suppress(FileNotFoundError):
                        found.append((entry.stat().st_mtime_ns, rest.removesuffix(_SUFFIX)))
        return [mode for _, mode in sorted(found, reverse=True)]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The folder for this thread of this process alone."""
        lock = os.open(self.cache_dir / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    # ---- writing ----

    def cache_layer(
        self, model_id: str, layer_index: int, layer: nn.Module, quantization_mode: str | QuantizationMode | None = None
    ) -> Path:
        """Writes a layer to the disk, in the place of one that is there; its file.

        Args:
            model_id: any name; another model of the same name is not told from it.
            layer_index: from 0 on; -1 and -2 are for what is in no layer.
            layer: a quantized layer, or any module.
            quantization_mode: under which it is kept; that of a :class:`QuantizationMode` must be the layer's own. None: the
                layer's own, ``"none"``, or ``"mixed"``.
        """
        modes = {m.mode for m in layer.modules() if isinstance(m, QuantizedLinear)} or {"none"}
        own = modes.pop() if len(modes) == 1 else "mixed"
        mode = own if quantization_mode is None else _mode_name(quantization_mode)
        if mode in {m.value for m in QuantizationMode} and mode != own:
            raise errors.UsageError(f"the layer is {own}, and not {mode}", "quantization_mode")
        entries, tensors = _modules.taken_apart(layer, f"layer {layer_index}")
        return self.put(model_id, layer_index, mode, entries, tensors)

    def put(
        self,
        model_id: str,
        layer_index: int,
        mode: str,
        entries: list[dict[str, Any]],
        tensors: dict[str, torch.Tensor],
        prefix: str = "",
    ) -> Path:
        """Writes a layer that is taken apart, its tensors under names that begin with ``prefix``."""
        path = self.path(model_id, layer_index, mode)
        size = sum(t.numel() * t.element_size() for t in tensors.values())
        if size > self.max_cache_bytes:
            raise errors.LimitError(
                f"the layer takes {size} bytes, and max_cache_size_gb lets all take {self.max_cache_bytes}", str(path)
            )
        told = {"version": _VERSION, "model_id": model_id, "layer_index": layer_index, "mode": mode, "prefix": prefix}
        try:
            path.parent.mkdir(exist_ok=True)
            with self._unfinished(path.parent) as file:
                size = _layer_file.write(file, {**told, "modules": entries}, {prefix + n: t for n, t in tensors.items()})
                file.flush()
                with self._locked():
                    self._make_room(size, path)
                    os.replace(file.name, path)
        except OSError as error:
            if isinstance(error, errors.HalftoneError):
                raise
            raise _refused(error, path) from None
        logger.debug("%s: layer %d, %s, %d bytes", model_id, layer_index, mode, size)
        return path

    @contextmanager
    def _unfinished(self, folder: Path) -> Iterator[IO[bytes]]:
        """A file that is locked by its writer, and removed unless it was renamed."""
        path = folder / f"{_UNFINISHED}{os.getpid()}-{secrets.token_hex(8)}"
        with self._locked():
            file = open(path, "xb")
            fcntl.flock(file, fcntl.LOCK_EX)
        try:
            with file:
                yield file
        finally:
            with suppress(FileNotFoundError):
                os.unlink(path)

    def _files(self) -> Iterator[os.DirEntry[str]]:
        for folder in os.scandir(self.cache_dir):
            if re.fullmatch("[0-9a-f]{32}", folder.name) and folder.is_dir(follow_symlinks=False):
                with suppress(FileNotFoundError):
                    yield from os.scandir(folder.path)

    def _make_room(self, size: int, path: Path) -> None:
        """With the folder locked: removes what writers left that were killed, and layers that were used longest ago."""
        found, total = [], size
        for entry in self._files():
            if entry.name.startswith(_UNFINISHED):
                _remove_abandoned(entry.path)
            elif entry.name.endswith(_SUFFIX) and entry.path != str(path):
                with suppress(FileNotFoundError):
                    stat = entry.stat()
                    found.append((stat.st_mtime_ns, entry.path, stat.st_size))
                    total += stat.st_size
        for _, old, n in sorted(found):
            if total <= self.max_cache_bytes:
                break
            with suppress(FileNotFoundError):
                os.unlink(old)
            logger.debug("%s: removed, to make room", old)
            total -= n
            with self._guard:
                self._stats.evicted_disk += 1

    # ---- reading ----

    def get_layer(
        self,
        model_id: str,
        layer_index: int,
        quantization_mode: str | QuantizationMode | None = None,
        *,
        template: nn.Module | None = None,
    ) -> nn.Module | None:
        """A layer as it was cached, or None.

        Args:
            quantization_mode: None: the one that was used last.
            template: for layers that are or have modules of other classes than PyTorch's own: such a module, which may be on
                the meta device. A copy of it comes back, with the cached modules and numbers in it.
        """
        modes = [_mode_name(quantization_mode)] if quantization_mode is not None else self._modes(model_id, layer_index)
        with self._guard:  # those that are in memory alone
            modes += [k[2] for k in reversed(self._memory) if quantization_mode is None and k[:2] == (model_id, layer_index)]
        layer = self._get(model_id, layer_index, modes[0], template) if modes else None
        with self._guard:
            self._stats.misses += layer is None
        return layer

    def _get(self, model_id: str, layer_index: int, mode: str, template: nn.Module | None) -> nn.Module | None:
        path, key = self.path(model_id, layer_index, mode), (model_id, layer_index, mode)
        with suppress(FileNotFoundError, PermissionError):  # it was used now
            os.utime(path)
        held = self._held(key, path) if template is None else None
        if held is not None:
            return _modules.alias(held)
        found = self._read(path, key)
        if found is None:
            return None
        file, inode = found
        prefix = file.description["prefix"]
        tensors = {n.removeprefix(prefix): t for n, t in file.tensors.items()}
        try:
            layer = _modules.put_together(file.description["modules"], tensors, template)
        except errors.FormatError as error:
            self._damaged(path, inode, str(error))
            return None
        with self._guard:
            self._stats.disk_hits += 1
        return _modules.alias(layer) if template is None and self._hold(key, layer, inode) else layer

    def _held(self, key: _Key, path: Path) -> nn.Module | None:
        """The layer in memory, unless another process replaced it on the disk."""
        try:
            inode = os.stat(path).st_ino
        except FileNotFoundError:
            inode = None
        with self._guard:
            held = self._memory.get(key)
            if held is None or inode not in (held.inode, None):
                return None
            self._memory.move_to_end(key)
            self._stats.memory_hits += 1
            return held.layer

    def _hold(self, key: _Key, layer: nn.Module, inode: int) -> bool:
        """Is it kept in memory from now on?"""
        size = _modules.n_bytes(layer)
        with self._guard:
            old = self._memory.pop(key, None)
            self._stats.memory_bytes -= old.n_bytes if old is not None else 0
            if size > self.max_memory_bytes:
                return False
            while self._memory and self._stats.memory_bytes + size > self.max_memory_bytes:
                _, evicted = self._memory.popitem(last=False)
                self._stats.memory_bytes -= evicted.n_bytes
                self._stats.evicted_memory += 1
            self._memory[key] = _Held(layer, size, inode)
            self._stats.memory_bytes += size
            return True

    def _read(self, path: Path, key: _Key) -> tuple[_layer_file.LayerFile, int] | None:
        try:
            with open(path, "rb", buffering=0) as file:
                stat = os.fstat(file.fileno())
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)  # it is read while what came is hashed
                try:
                    found = _layer_file.read(file, stat.st_size, self.verify)
                    _check_told(found.description, key)
                    return found, stat.st_ino
                except errors.FormatError as error:
                    self._damaged(path, stat.st_ino, str(error))
                    return None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _refused(error, path) from None

    def _damaged(self, path: Path, inode: int, why: str) -> None:
        logger.warning("%s: %s; it is removed, and the layer has to be cached anew", path, why)
        with self._locked(), suppress(FileNotFoundError):
            if os.stat(path).st_ino == inode:
                os.unlink(path)
        with self._guard:
            self._stats.damaged += 1

    def check(self, model_id: str, layer_index: int, quantization_mode: str) -> bool:
        """Is the layer on the disk, and what was written? It is read, and not kept. It counts as asked for."""
        path = self.path(model_id, layer_index, quantization_mode)
        found = self._read(path, (model_id, layer_index, _mode_name(quantization_mode)))
        with suppress(FileNotFoundError, PermissionError):
            os.utime(path)
        with self._guard:
            self._stats.disk_hits += found is not None
            self._stats.misses += found is None
        return found is not None

    def files_of(self, model_id: str, layer_index: int, quantization_mode: str) -> dict[str, torch.Tensor]:
        """The tensors that a layer's file holds, by its own names. FileNotFoundError: it is not there."""
        path = self.path(model_id, layer_index, quantization_mode)
        found = self._read(path, (model_id, layer_index, _mode_name(quantization_mode)))
        if found is None:
            raise errors.NotFoundError("it is not there", str(path))
        return found[0].tensors

    # ---- the rest ----

    def layers(self, model_id: str) -> list[tuple[int, str]]:
        """Index and mode of each layer on the disk."""
        found = []
        with suppress(FileNotFoundError):
            for entry in os.scandir(self._folder(model_id)):
                index, _, rest = entry.name.partition(".")
                if rest.endswith(_SUFFIX) and re.fullmatch("-?[0-9]+", index):
                    found.append((int(index), rest.removesuffix(_SUFFIX)))
        return sorted(found)

    def clear(self, model_id: str | None = None) -> None:
        """Removes a model's layers, or all, from memory and the disk."""
        with self._guard:
            for key in [k for k in self._memory if model_id in (None, k[0])]:
                self._stats.memory_bytes -= self._memory.pop(key).n_bytes
        folder = None if model_id is None else self._folder(model_id)
        with self._locked():
            for entry in self._files():
                if entry.name.endswith(_SUFFIX) and folder in (None, Path(entry.path).parent):
                    with suppress(FileNotFoundError):
                        os.unlink(entry.path)

    def stats(self) -> LayerCacheStats:
        """A copy of the counts."""
        size = 0
        for entry in self._files():
            if entry.name.endswith(_SUFFIX):
                with suppress(FileNotFoundError):
                    size += entry.stat().st_size
        with self._guard:
            return replace(self._stats, disk_bytes=size)


def _mode_name(mode: str | QuantizationMode) -> str:
    name = mode.value if isinstance(mode, QuantizationMode) else mode
    if not isinstance(name, str) or not re.fullmatch("[a-z0-9_+-]{1,64}", name):
        raise errors.UsageError(f"expected a mode, small letters and digits, got {name!r}", "quantization_mode")
    return name


def _check_told(told: dict[str, Any], key: _Key) -> None:
    if told.get("version") != _VERSION:
        raise errors.FormatError(f"it is of the version {told.get('version')!r}, not {_VERSION}")
    if (told.get("model_id"), told.get("layer_index"), told.get("mode")) != key:
        raise errors.FormatError("it is another layer's")
    if not isinstance(told.get("modules"), list) or not isinstance(told.get("prefix"), str):
        raise errors.FormatError("its description is wrong")


def _remove_abandoned(path: str) -> None:
    """An unfinished file that nobody writes: its lock is free."""
    with suppress(OSError):
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
