"""Jobs: models are quantized, converted, measured and looked into.

Models are named as on the command line: a GGUF file, a Hugging Face folder, a safetensors or PyTorch file, or
``ORG/NAME[@REVISION][:FILE.gguf]`` of the hub. Options are those of the command (``halftone help quantize``) with ``_`` in
place of ``-``; :func:`halftone.options` lists them. Results are the reports that ``--json`` prints
(``doc/report.schema.json``): sizes in bytes, times in seconds, losses in nats a token.
"""

from __future__ import annotations

import collections
import ctypes as C
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Union

from . import _call, _hub, errors
from . import _library as _l
from . import progress as _p
from .config import QuantizationConfig

Path = Union[str, "os.PathLike[str]"]
OptionValue = Union[str, int, float, bool, "os.PathLike[str]", Sequence[Union[str, "os.PathLike[str]"]], None]
Report = dict[str, Any]

# Keys of recipe files (src/job/keys.def), which have _ themselves
_KEYS = frozenset(
    "model_name tokenizer_name output_path output_format awq_group_size calibration_samples batch_size cleanup_temp".split()
)
_LEVELS = (logging.INFO, logging.WARNING)
_log = logging.getLogger("halftone")


def _option(name: str) -> bytes:
    """Its name in the library: keys of recipe files as they are, options with - in place of _."""
    return _l.raw(name if name in _KEYS else name.replace("_", "-"), "option")


class Job:
    """One job of the library: options, then one call. The functions of this module are made of it."""

    def __init__(self, verb: str = "") -> None:
        handle = C.c_void_p()
        if _l.lib.ht_job_open(handle):
            raise errors.OutOfMemoryError("out of memory", "job")
        self._handle = handle
        self._use = _call.Handle("job")
        self._lines: collections.deque[tuple[int, str]] = collections.deque()
        if verb:
            self.set("verb", verb)
        for option, value in _hub.options().items():
            self.set(option, value)

    def set(self, name: str, value: OptionValue) -> None:
        """Sets an option; lists are set one by one. None and False leave it as it is."""
        if value is None or value is False:
            return
        if not isinstance(value, (str, bytes, int, float, os.PathLike)):
            for one in value:
                self.set(name, one)
            return
        text = None if value is True else _l.raw(str(value) if isinstance(value, (int, float)) else value, name)
        diag = _l.Diag()
        with self._use.use():
            _l.check(_l.lib.ht_job_set(self._handle, _option(name), text, diag), diag)

    def config(self, path: Path) -> None:
        """Sets the options of a recipe file."""
        diag = _l.Diag()
        with self._use.use():
            _l.check(_l.lib.ht_job_config(self._handle, _l.raw(path, "config"), diag), diag)

    def cancel(self) -> None:
        """Stops the call that runs soon; from any thread."""
        if not self._use.closed:
            _l.lib.ht_job_cancel(self._handle)

    def run(self, call: Callable[..., int], *before: Any, progress: _p.ProgressLike = None) -> Report:
        """Makes a call that ends with room for a text and a diagnosis."""
        out, diag, listener = C.c_void_p(), _l.Diag(), _p.Listener(progress)

        def tell(_ctx: Any, told: Any) -> int:
            self._hand_over()
            return 0 if listener.tell(_p.read(told.contents)) else 1

        def log(_ctx: Any, level: int, line: bytes) -> None:
            self._lines.append((level, _l.text(line)))

        on_progress, on_log = _l.ProgressFn(tell), _l.LogFn(log)

        def work() -> int:
            _l.lib.ht_job_on_progress(self._handle, on_progress, None)
            _l.lib.ht_job_on_log(self._handle, on_log, None)
            try:
                return call(self._handle, *before, C.byref(out), C.byref(diag))
            finally:
                _l.lib.ht_job_on_progress(self._handle, _l.ProgressFn(), None)
                _l.lib.ht_job_on_log(self._handle, _l.LogFn(), None)
                listener.close()
                self._hand_over()

        code = _call.interruptible(work, self.cancel, self._use.use())
        if listener.raised is not None:
            raise listener.raised
        _l.check(code, diag)
        report: Report = json.loads(_l.take_text(out))
        return report

    def _hand_over(self) -> None:
        """What was logged, from a thread of the interpreter: the library's own threads do not wait for handlers."""
        while self._lines:
            level, line = self._lines.popleft()
            _log.log(_LEVELS[min(level, 1)], "%s", line)

    def close(self) -> None:
        if self._use.close():
            _l.lib.ht_job_close(self._handle)

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_use"):
            self.close()


def _start(verb: str, source: Path | None, options: Mapping[str, Any]) -> Job:
    job = Job(verb)
    options = {**options, "source": source}
    if options.get("config") is not None:  # first: the others win over it
        job.config(options["config"])
    for name, value in options.items():
        if name != "config":
            job.set(name, value)
    return job


def _types(types: str | Iterable[str] | None) -> str | None:
    return types if isinstance(types, str) or types is None else ",".join(types)


def convert(
    source: Path, output: Path, type: str | None = None, *, progress: _p.ProgressLike = None, **options: OptionValue
) -> Report:
    """Converts a model without quantizing it, between any formats.

    Args:
        source: a model.
        output: a folder, or the file itself.
        type: ``"F32"``, ``"F16"`` or ``"BF16"``; None: the type of the source.
        options: those of ``halftone convert``: ``format="safetensors"``, ``split_max_size="4G"`` …
    """
    with _start("convert", source, {"output": output, "type": type, **options}) as job:
        return job.run(_l.lib.ht_job_run, progress=progress)


def estimate(
    source: Path, types: str | Iterable[str], *, progress: _p.ProgressLike = None, **options: OptionValue
) -> Report:
    """Exact sizes, disk, memory and time of a run, and the memory to run each output. Nothing is written."""
    with _start("", source, {"type": _types(types), **options}) as job:
        return job.run(_l.lib.ht_job_estimate, progress=progress)


def recommend(source: Path, *, progress: _p.ProgressLike = None, **options: OptionValue) -> Report:
    """The best type for a program and a memory size or a card: ``memory="8G"``, ``gpu="RTX 3060"``, ``ctx=8192``,
    ``program="vLLM"`` (the command's ``--for``)."""
    if "program" in options:
        options["for"] = options.pop("program")
    with _start("", source, options) as job:
        return job.run(_l.lib.ht_job_recommend, progress=progress)


def evaluate(
    models: Path | Sequence[Path], *, progress: _p.ProgressLike = None, **options: OptionValue
) -> Report:
    """Perplexity of models on a ``text`` (a file, or ``"default"``); with ``against``, what they lost beside it."""
    return _measure(models, False, progress, options)


def compare(models: Sequence[Path], *, progress: _p.ProgressLike = None, **options: OptionValue) -> Report:
    """Size, quality, speed and memory of models; the reference is the largest, or ``against``."""
    return _measure(models, True, progress, options)


def _measure(
    models: Path | Sequence[Path], compare: bool, progress: _p.ProgressLike, options: dict[str, OptionValue]
) -> Report:
    several = [models] if isinstance(models, (str, os.PathLike)) else list(models)
    options.setdefault("text", "default" if "tokens" not in options else None)
    with _start("", None, {"model": [os.fspath(m) for m in several], **options}) as job:
        return job.run(_l.lib.ht_job_eval, C.c_bool(compare), progress=progress)


def imatrix(
    source: Path | None, output: Path, *, progress: _p.ProgressLike = None, **options: OptionValue
) -> Report:
    """Collects an importance matrix of a model on a ``text``, or merges ``in_file``\\ s where ``source`` is None."""
    with _start("", source, {"output": output, **options}) as job:
        return job.run(_l.lib.ht_job_imatrix, progress=progress)


def inspect(
    source: Path, *, tensors: bool = False, verify: bool = False, progress: _p.ProgressLike = None
) -> Report:
    """What a file or folder contains; ``tensors`` lists each, ``verify`` checks every block."""
    flags = (1 if tensors else 0) | (2 if verify else 0)
    with _start("", source, {}) as job:
        return job.run(_l.lib.ht_job_inspect, C.c_uint(flags), progress=progress)


def pull(name: str, *, progress: _p.ProgressLike = None, **options: OptionValue) -> Report:
    """Brings a model of the hub into its cache: ``report["path"]`` is what to open. ``include`` chooses files."""
    with _start("", None, options) as job:
        return job.run(_l.lib.ht_hub_pull, _l.raw(name, "name"), progress=progress)


def quantize(
    source: Path | QuantizationConfig,
    types: str | Iterable[str] | None = None,
    output: Path | None = None,
    *,
    progress: _p.ProgressLike = None,
    **options: OptionValue,
) -> Report:
    """Quantizes a model: reads it once, writes every output, verifies, publishes.

    Args:
        source: a model; or a :class:`QuantizationConfig`, which says all.
        types: ``"Q4_K_M"``, ``["Q4_K_M", "nf4", "gptq:bits=3"]``: mixes (GGUF files) and schemes (folders).
        output: a folder; or the file itself, where there is only one.
        progress: see :data:`halftone.progress.ProgressLike`.
        options: those of ``halftone quantize``: ``calibration="default"``, ``effort="best"``, ``overwrite=True`` …
            ``config="recipe.yaml"`` reads them from a file.

    Returns:
        The report: ``report["outputs"]`` has ``path``, ``type``, ``size_bytes``, ``bpw``, ``sha256`` of each. Beside them,
        of the first: ``compression_ratio`` (bytes of the source by bytes of the output), ``original_size``, ``output_size``
        in bytes, ``output_path``; and ``notes``: what became of a method.
    """
    if isinstance(source, QuantizationConfig):
        if types is not None or output is not None or options:
            raise errors.UsageError("the configuration says all: its member options takes others", "config")
        model, chosen = None, source.to_options()
    else:
        model, chosen = source, {"type": _types(types), "output": output, **options}
    with _start("quantize", model, chosen) as job:
        return _summed_up(job.run(_l.lib.ht_job_run, progress=progress))


def _summed_up(report: Report) -> Report:
    output, before = report["outputs"][0], report["source"]["bytes"]
    report["compression_ratio"] = before / output["size_bytes"]
    report["original_size"], report["output_size"] = before, output["size_bytes"]
    report["output_path"] = output["path"]
    report["notes"] = report["recipe"].get("notes", [])
    return report
