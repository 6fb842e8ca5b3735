"""Models that are larger than memory: quantized once, kept layer by layer in a cache, and run from there.

    processor = UniversalSLIProcessor(model_name="Llama-2-7b", quantization_config=get_nf4_config(), cache_dir="cache")
    logits = processor.logits(processor.tokenizer.encode("Once upon a time", around=True))
    for piece in processor.generate("Once upon a time", 100):
        print(piece, end="")

The model is quantized by the library, a layer at a time and within the limits of memory, and its layers go into a
:class:`~halftone.sli.layer_cache.LayerCache`. What runs is the library's engine, on a checkpoint of links to the cache's files: it
reads the layers as it needs them, and keeps as many in memory as ``max_memory_cache_size_gb`` lets it. The logits are those of the
whole quantized model, bit by bit. With the mode NONE the model itself is run in this way.
"""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import torch
from torch import nn

from .. import errors
from ..jobs import OptionValue, quantize
from ..model import Generation, Model, Tokenizer
from ..progress import ProgressLike
from . import _layer_file, _shards
from .layer_cache import LayerCache, LayerCacheStats
from .quantization import LayerQuantizer, QuantizationConfig, QuantizationMode

_WORK = ".work-"  # folders of a processor: the folder that is taken apart, the links that are run
_TRIES = 3


class _WorkFolder:
    """A folder in the cache's, which is locked by whoever uses it; what killed processes left is removed."""

    def __init__(self, cache_dir: Path) -> None:
        for left in cache_dir.glob(_WORK + "*"):
            with suppress(OSError), open(left / "lock", "rb") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
        self.path = Path(tempfile.mkdtemp(prefix=_WORK, dir=cache_dir))
        self._lock: IO[bytes] = open(self.path / "lock", "wb")
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._process = os.getpid()

    def close(self) -> None:
        if self._process == os.getpid():
            shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _fingerprint(path: Path) -> str:
    """Of the model's files: names, sizes and times. A folder's all count; of a GGUF file, all files that it is split into."""
    if path.suffix == ".gguf":
        stem = re.sub(r"-\d+-of-\d+$", "", path.stem)
        files = [p for p in path.parent.iterdir() if re.fullmatch(re.escape(stem) + r"(-\d+-of-\d+)?", p.stem)]
    else:
        files = [p for p in (path if path.is_dir() else path.parent).iterdir() if p.is_file()]
    told = sorted((p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files)
    return hashlib.sha256(repr(told).encode()).hexdigest()[:16]


def _skipped(model: Model, config: QuantizationConfig) -> list[str]:
    """The modules that ``llm_int8_skip_modules`` names, by their whole names where the model has such; else what it says."""
    linears = [t.name.rpartition(".")[0] for t in model.tensors.values() if t.linear and t.role != "token_embd"]
    return [name for name in linears if config.skips(name)] or list(config.llm_int8_skip_modules or ())


class UniversalSLIProcessor:
    """A model that is run layer by layer.

    Args:
        model_name: a path, or ``ORG/NAME[@REVISION]`` of the hub.
        quantization_config: how it is quantized; None: not at all.
        cache: where its layers are kept; None: a cache of ``cache_dir`` and ``max_cache_size_gb``.
        max_memory_cache_size_gb: 10⁹ bytes of matrices that are held in memory; 0: all of them.
        verify: are layers that are in the cache read and checked before they are run?
        threads: 0 takes every core.
        progress: of the quantization, and of a download.

    Raises:
        LimitError: the cache's limit is less than the quantized model takes.
        UnsupportedError: the model cannot be quantized so, or not be run.
    """

    def __init__(
        self,
        model_name: str | os.PathLike[str],
        quantization_config: QuantizationConfig | None = None,
        *,
        cache: LayerCache | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        max_cache_size_gb: float = 50.0,
        max_memory_cache_size_gb: float = 4.0,
        verify: bool = True,
        threads: int = 0,
        progress: ProgressLike = None,
    ) -> None:
        config = quantization_config if quantization_config is not None else QuantizationConfig()
        if not isinstance(config, QuantizationConfig):
            raise errors.UsageError(f"expected a QuantizationConfig, got {type(config).__name__}", "quantization_config")
        config.check()
        if not 0 <= max_memory_cache_size_gb < math.inf:
            raise errors.UsageError("expected gigabytes from 0 on", "max_memory_cache_size_gb")
        self.model_name, self.config, self._verify, self._progress = os.fspath(model_name), config, verify, progress
        self._work: _WorkFolder | None = None
        self._memory, self._threads = int(max_memory_cache_size_gb * 10**9), threads
        if config.mode is QuantizationMode.NONE:
            self.cache = cache
            self._model = Model(model_name, progress=progress, memory=self._memory, threads=threads)
            return
        self.cache = cache if cache is not None else LayerCache(cache_dir, max_cache_size_gb, 0)
        with Model(model_name, progress=progress) as source:
            self.n_layers = source.n_layers
            path = Path(source.path)
            self._source = self.model_name if os.path.exists(self.model_name) else path
            self._skipped = _skipped(source, config)
            inputs = [t.shape[-1] for t in source.tensors.values() if t.linear and t.role != "token_embd"]
        self._scheme = config.scheme(math.gcd(*inputs))
        more = f"{config.compute_dtype} {config.llm_int8_threshold} skip={','.join(self._skipped)}"
        self.model_id = f"{self.model_name} {_fingerprint(path)} {self._scheme} {more}"
        self._model = self._open()

    # ---- from the cache to a checkpoint ----

    def _indices(self) -> list[int]:
        return [_shards.FILES, _shards.OUTSIDE, *range(self.n_layers)]

    def _open(self) -> Model:
        assert self.cache is not None
        mode = self.config.mode.value
        for _ in range(_TRIES):  # other processes may evict what is looked for
            if not all([self._is_there(i) for i in self._indices()]):
                self._fill()
            folder = _WorkFolder(self.cache.cache_dir)
            try:
                files = self.cache.files_of(self.model_id, _shards.FILES, mode)
                layers = [self.cache.path(self.model_id, i, mode) for i in self._indices()[1:]]
                _shards.assemble(folder.path, layers, files)
            except FileNotFoundError:
                folder.close()
                continue
            self._work = folder
            return Model(folder.path, memory=self._memory, threads=self._threads)
        raise errors.LimitError("its layers are evicted while others are made: max_cache_size_gb is too small", self.model_name)

    def _is_there(self, index: int) -> bool:
        assert self.cache is not None
        mode = self.config.mode.value
        if self._verify:
            return self.cache.check(self.model_id, index, mode)
        return self.cache.path(self.model_id, index, mode).exists()

    def _fill(self) -> None:
        """Quantizes the model, and puts its layers into the cache."""
        assert self.cache is not None
        work = _WorkFolder(self.cache.cache_dir)
        try:
            report = quantize(
                self._source,
                self._scheme,
                work.path,
                progress=self._progress,
                format="safetensors",
                skip_modules=self._skipped or None,
                no_source_hash=True,
            )
            output = report["outputs"][0]
            if output["size_bytes"] > self.cache.max_cache_bytes:
                raise errors.LimitError(
                    f"quantized, the model takes {output['size_bytes']} bytes, and max_cache_size_gb lets the cache take "
                    f"{self.cache.max_cache_bytes}",
                    self.model_name,
                )
            self._take_apart(Path(output["path"]))
        finally:
            work.close()

    def _take_apart(self, folder: Path) -> None:
        assert self.cache is not None
        mode, stored = self.config.mode.value, _shards.Stored(folder)
        with Model(folder) as model:
            groups = _shards.by_layer(model, stored)
            for index, names in groups.items():
                prefix = _shards.prefix_of(index, names)
                tensors = {n.removeprefix(prefix): stored.read(n) for n in names}
                entries = _shards.entries_of(model, names, prefix, self.config, tensors)
                self.cache.put(self.model_id, index, mode, entries, tensors, prefix)
        self.cache.put(self.model_id, _shards.FILES, mode, [], _shards.files_of(folder))

    # ---- what it does ----

    @property
    def model(self) -> Model:
        """What runs."""
        return self._model

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self._model.tokenizer

    def logits(self, tokens: Sequence[int], *, at: int = 0, n: int | None = None) -> torch.Tensor:
        """Predictions after each token (or after the last ``n``), as :meth:`halftone.Model.logits`: float32 (n, vocabulary)."""
        found: torch.Tensor = self._model.logits(tokens, at=at, n=n, kind="torch")
        return found

    def generate(self, prompt: str, max_tokens: int = 256, **options: OptionValue) -> Generation:
        """Continues a text: an iterator of its pieces. Options are those of ``halftone generate``."""
        return self._model.generate(prompt, max_tokens, **options)

    def chat(self, messages: Sequence[Mapping[str, str]], max_tokens: int = 256, **options: OptionValue) -> Generation:
        """The answer to a conversation: an iterator of its pieces."""
        return self._model.chat(messages, max_tokens, **options)

    def get_layer(self, layer_index: int, *, dequantize: bool = False) -> nn.Module:
        """A layer as it is in the cache: modules by their dotted names. ``dequantize``: with Linears of ``compute_dtype``."""
        if self.cache is None or self.config.mode is QuantizationMode.NONE:
            raise errors.UsageError("nothing is quantized, so nothing is cached", self.model_name)
        if not 0 <= layer_index < self.n_layers:
            raise errors.UsageError(f"expected a layer from 0 to {self.n_layers - 1}, got {layer_index}", "layer_index")
        found = self.cache.get_layer(self.model_id, layer_index, self.config.mode)
        if found is None:
            self._fill()
            found = self.cache.get_layer(self.model_id, layer_index, self.config.mode)
        if found is None:
            raise errors.LimitError("it was evicted again: max_cache_size_gb is too small", self.model_name)
        return LayerQuantizer(self.config).dequantize_layer(found) if dequantize else found

    def stats(self) -> LayerCacheStats:
        """What the cache was asked for."""
        return self.cache.stats() if self.cache is not None else LayerCacheStats()

    def close(self) -> None:
        """Closes the model; its layers stay in the cache."""
        if hasattr(self, "_model"):
            self._model.close()
        if self._work is not None:
            self._work.close()
            self._work = None

    def __enter__(self) -> UniversalSLIProcessor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_work"):
            self.close()
