"""OllamaClient: texts from a server's models, at the level that is set."""

from __future__ import annotations

import base64
import math
import os
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import errors
from . import _names
from ._config import read_config, write_config
from ._stats import Figures
from ._wire import Wire

_KEYS = {_names.FULL: "full_precision", 8: "quantized_8bit", 4: "quantized_4bit"}
# of a type's name: bits of the codes, from which a level follows
_CODES = re.compile(r"^(?:bf|fp?)(16|32)|^(?:i|mx|nv|t)?(?:q|fp?|nf|int)([1-8])", re.IGNORECASE)
_PARTS = re.compile(r"^[ui](?:8|16|32|64)$", re.IGNORECASE)  # of packed weights: what is in them the server says otherwise


@dataclass(frozen=True)
class ModelLevel:
    """A model of the server, and what it is.

    Attributes:
        name: as the server has it.
        bits: 16 (16 bits and more), 8, 4; None: of another level, or it cannot be told.
        type: what most of its weights are stored as, ``"Q4_K"``.
        size: bytes of its files.
        parameters: how many, or None.
    """

    name: str
    bits: int | None
    type: str
    size: int
    parameters: int | None


def _bits_of(kind: str) -> int | None:
    found = _CODES.match(kind)
    if not found:
        return None
    if found.group(1):
        return _names.FULL
    return int(found.group(2)) if int(found.group(2)) in _names.BITS else None


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _main_type(tensors: Any) -> str | None:
    """What most weights are stored as, by a server's list of tensors."""
    sums: dict[str, int] = {}
    for t in tensors if isinstance(tensors, list) else []:
        shape = t.get("shape") if isinstance(t, dict) else None
        if isinstance(shape, list) and all(isinstance(n, int) for n in shape) and isinstance(t.get("type"), str):
            sums[t["type"]] = sums.get(t["type"], 0) + math.prod(shape)
    return max(sums, key=lambda k: sums[k]) if sums else None


def check_bits(bits: Any) -> int:
    """4 or 8; anything else is refused."""
    if isinstance(bits, bool) or not isinstance(bits, int) or bits not in _names.BITS:
        raise errors.UsageError(f"expected 4 or 8 bits, not {bits!r}", "quantization_bits")
    return int(bits)


class OllamaClient:
    """A client of an Ollama server, or of ``halftone serve``, that asks for models at a level of quantization.

    With quantization on, a model's name stands for the file of that level among the server's models, found by what the server says
    that its tensors are; names that say a level stay as they are. Several threads may use a client.

    Args:
        host: where the server is, as ``OLLAMA_HOST`` has it; default: that, or this machine's port 11434.
        enable_quantization, quantization_bits: the level at first, 4 or 8 bits.
        make_missing: a level that is not there is made by the server of its 16-bit model, or pulled; otherwise it is an error.
        gpu_memory_limit_mb: models that the server's files say to be larger (MiB) are refused before they are loaded.
        config: a config.json whose ``"ai"`` has these (arguments win); what is set later is kept in it.
        timeout: seconds that an answer may take.
        token: for a server that wants one; default ``OLLAMA_API_KEY``.
    """

    def __init__(
        self,
        host: str | None = None,
        *,
        enable_quantization: bool | None = None,
        quantization_bits: int | None = None,
        make_missing: bool = False,
        gpu_memory_limit_mb: int | None = None,
        config: str | os.PathLike[str] | None = None,
        timeout: float = 600.0,
        token: str | None = None,
    ) -> None:
        ai = read_config(config) if config is not None else {}
        on = enable_quantization if enable_quantization is not None else ai.get("enable_quantization", False)
        if not isinstance(on, bool):
            raise errors.UsageError("expected True or False", "enable_quantization")
        self.enable_quantization = on
        self.quantization_bits = check_bits(quantization_bits if quantization_bits is not None else ai.get("quantization_bits", 8))
        self.gpu_memory_limit_mb = gpu_memory_limit_mb if gpu_memory_limit_mb is not None else ai.get("gpu_memory_limit_mb")
        self.default_model: str | None = ai.get("llm_model")
        self.make_missing = make_missing
        self._config = Path(config) if config is not None else None
        self._wire = Wire(host if host is not None else ai.get("ollama_host"), token, timeout)
        self._lock = threading.Lock()
        self._figures: dict[str, Figures] = {}
        self._kinds: dict[str, tuple[str | None, int | None]] = {}  # by digest: type, parameters
        self._answered: dict[tuple[str, str], str] = {}  # of each family: what answered last

    # ---- settings ----

    def set_quantization(self, enable: bool, bits: int | None = None) -> None:
        """From now on: off, or 4 or 8 bits (default: as before). Kept in the config.json that the client was made with."""
        if not isinstance(enable, bool):
            raise errors.UsageError("expected True or False", "enable")
        wanted = self.quantization_bits if bits is None else check_bits(bits)
        if self._config is not None:
            write_config(self._config, enable_quantization=enable, quantization_bits=wanted)
        self.enable_quantization, self.quantization_bits = enable, wanted

    def get_quantization_settings(self, model: str | None = None) -> dict[str, Any]:
        """What is set; with a model also ``memory_reduction``, from real sizes (see ``estimate_memory``)."""
        settings: dict[str, Any] = {
            "enabled": self.enable_quantization,
            "bits": self.quantization_bits if self.enable_quantization else None,
            "gpu_memory_limit_mb": self.gpu_memory_limit_mb,
            "host": self._wire.url,
        }
        if model is not None:
            settings["memory_reduction"] = self._estimate_memory_reduction(model)
        return settings

    def _level(self) -> int:
        return self.quantization_bits if self.enable_quantization else _names.FULL

    def _get_quantized_model_name(self, model: str) -> str:
        """``llama3.1:8b-instruct`` at 8 bits: ``llama3.1:q8_8b-instruct``. ``halftone serve`` knows such names; elsewhere
        ``resolve`` tells which of the server's models is meant."""
        return _names.prefixed(model, self.quantization_bits) if self.enable_quantization else model

    # ---- models ----

    def _tags(self) -> list[dict[str, Any]]:
        models = self._wire.ask("GET", "/api/tags").get("models")
        if not isinstance(models, list) or not all(isinstance(m, dict) and isinstance(m.get("name"), str) for m in models):
            raise errors.FormatError("the list of models has another form: is this an Ollama server?", self._wire.url)
        return models

    def list_available_models(self) -> list[str]:
        """Names of the server's models."""
        return [m["name"] for m in self._tags()]

    def check_model_exists(self, model: str) -> bool:
        """Is the model there, at the level that is set?"""
        try:
            self.resolve(model)
        except errors.NotFoundError:
            return False
        return True

    def _look(self, tag: dict[str, Any]) -> ModelLevel:
        """By its tensors where the server lists them, otherwise by the type that it read from the file."""
        name, digest = tag["name"], str(tag.get("digest") or tag["name"])
        details = _object(tag.get("details"))
        if digest not in self._kinds:
            shown = self._wire.ask("POST", "/api/show", {"model": name, "verbose": True}, name)
            n = _object(shown.get("model_info")).get("general.parameter_count")
            self._kinds[digest] = (_main_type(shown.get("tensors")), n if isinstance(n, int) and n > 0 else None)
        kind, parameters = self._kinds[digest]
        if not kind or _PARTS.match(kind):
            kind = str(details.get("quantization_level") or "")
        size = tag.get("size")
        return ModelLevel(name, _bits_of(kind), kind, size if isinstance(size, int) else 0, parameters)

    def levels(self, model: str) -> list[ModelLevel]:
        """The server's files of a model, at whatever level."""
        wanted = _names.family(model)
        return [self._look(tag) for tag in self._tags() if _names.family(tag["name"]) == wanted]

    def resolve(self, model: str) -> ModelLevel:
        """The server's model that a name means at the level that is set. NotFoundError: there is none; it says what to do."""
        if not isinstance(model, str) or not model:
            raise errors.UsageError("expected the name of a model", "model")
        tags = self._tags()
        exact = next((t for t in tags if t["name"].lower() in (model.lower(), model.lower() + ":latest")), None)
        if not self.enable_quantization or _names.is_quantized(model):
            if exact is None:
                raise errors.NotFoundError(f"the server has no such model; `ollama pull {model}` brings it", model)
            return self._look(exact)
        found = self._at(model, self.quantization_bits, tags)
        if found is None and self.make_missing:
            found = self.prepare(model)
        if found is None:
            name = _names.published(model, self.quantization_bits)
            raise errors.NotFoundError(
                f"the server has no {self.quantization_bits}-bit file of it; prepare() makes one of its 16-bit model or pulls it, as does "
                f"`ollama pull {name}`; set_quantization(False) does without",
                model,
            )
        return found

    def _at(self, model: str, bits: int, tags: list[dict[str, Any]]) -> ModelLevel | None:
        family = _names.family(model)
        fitting = [f for f in (self._look(t) for t in tags if _names.family(t["name"]) == family) if f.bits == bits]
        return max(fitting, key=lambda f: f.size) if fitting else None

    def prepare(self, model: str, bits: int | None = None) -> ModelLevel:
        """Makes a level on the server: quantized of its 16-bit model where it has that, otherwise pulled by the name that libraries
        have it by. What is there stays. Takes as long as it takes."""
        wanted = self._level() if bits is None else check_bits(bits)
        tags = self._tags()
        there, full = self._at(model, wanted, tags), self._at(model, _names.FULL, tags)
        if there is not None:
            return there
        name = _names.published(model, wanted)
        if full is not None and wanted != _names.FULL:
            body = {"model": name, "from": full.name, "quantize": _names.TYPES[wanted], "stream": False}
            self._wire.ask("POST", "/api/create", body, name)
        else:
            self._wire.ask("POST", "/api/pull", {"model": name, "stream": False}, name)
        made = self._at(model, wanted, self._tags())
        if made is None:
            raise errors.VerifyError(f"the server made it, and most of its weights are not of {wanted} bits", name)
        return made

    # ---- memory ----

    def estimate_memory(self, model: str) -> dict[str, Any]:
        """Bytes of weights at each level: ``{"full_precision", "quantized_8bit", "quantized_4bit"}``, of the server's files; that of 16
        bits also from the number of its weights. None: it is not known."""
        out: dict[str, Any] = dict.fromkeys(_KEYS.values())
        for f in self.levels(model):
            if f.bits in _KEYS and f.size:
                out[_KEYS[f.bits]] = max(f.size, out[_KEYS[f.bits]] or 0)
            if f.parameters and not out["full_precision"]:
                out["full_precision"] = 2 * f.parameters
        return out

    def _estimate_memory_reduction(self, model: str | None = None) -> float | None:
        """The share of 16 bits' memory that the level saves, from real sizes: 0.47 where 8 bits take 8.5. None: they are not known."""
        model = model or self.default_model
        if model is None:
            raise errors.UsageError("of which model? Sizes are those of real files", "model")
        if not self.enable_quantization:
            return 0.0
        sizes = self.estimate_memory(model)
        full, small = sizes["full_precision"], sizes[_KEYS[self.quantization_bits]]
        return 1 - small / full if full and small else None

    def _memory(self, name: str) -> int | None:
        """What the server says that the model takes now."""
        models = self._wire.ask("GET", "/api/ps").get("models")
        for m in models if isinstance(models, list) else []:
            if isinstance(m, dict) and m.get("name") == name and isinstance(m.get("size"), int):
                return int(m["size"])
        return None

    def _check_limit(self, f: ModelLevel) -> None:
        if self.gpu_memory_limit_mb and f.size > self.gpu_memory_limit_mb << 20:
            raise errors.MemoryBudgetError(
                f"its weights take {f.size >> 20} MiB, gpu_memory_limit_mb allows {self.gpu_memory_limit_mb}; a lower level takes less",
                f.name,
            )

    # ---- texts ----

    def generate(
        self,
        model: str,
        prompt: str,
        temperature: float = 0.7,
        max_tokens: int = 512,
        *,
        system: str | None = None,
        images: Sequence[bytes] = (),
        format: str | dict[str, Any] | None = None,
        seed: int | None = None,
    ) -> str:
        """The text that the model makes of a prompt."""
        options: dict[str, Any] = {"temperature": temperature, "num_predict": max_tokens}
        if seed is not None:
            options["seed"] = seed
        body: dict[str, Any] = {"prompt": prompt, "stream": False, "options": options}
        if system is not None:
            body["system"] = system
        if format is not None:
            body["format"] = format
        if images:
            body["images"] = [base64.b64encode(image).decode() for image in images]
        if not isinstance(prompt, str) or not prompt:
            raise errors.UsageError("expected a text", "prompt")
        found = self.resolve(model)
        self._check_limit(found)
        return self._ask(model, found, body)

    def _ask(self, model: str, found: ModelLevel, body: dict[str, Any]) -> str:
        since = time.monotonic()
        try:
            answer = self._wire.ask("POST", "/api/generate", {"model": found.name, **body}, found.name)
            text = answer.get("response")
            if not isinstance(text, str) or answer.get("done") is not True:
                raise errors.FormatError("the answer has no whole text", found.name)
        except Exception:
            self._record_performance(found.name, time.monotonic() - since, False)
            raise
        seconds = time.monotonic() - since
        count, took = answer.get("eval_count"), answer.get("eval_duration")
        measured = isinstance(count, int) and isinstance(took, int) and took > 0
        with self._lock:
            known = self._figures.get(found.name)
        memory = known.memory if known and known.memory is not None else self._memory(found.name)
        self._record_performance(
            found.name, seconds, True, count if measured and count else 0, took / 1e9 if measured and took else 0.0, memory
        )
        self._let_go(model, found)
        return text

    def _let_go(self, model: str, found: ModelLevel) -> None:
        """Another level answered for the model before: it leaves the server's memory."""
        family = _names.family(model)
        with self._lock:
            before = self._answered.get(family)
            self._answered[family] = found.name
        if before is None or before == found.name:
            return
        try:
            self._wire.ask("POST", "/api/generate", {"model": before, "keep_alive": 0, "stream": False}, before)
        except errors.NotFoundError:
            pass  # it was deleted meanwhile

    # ---- figures ----

    def _record_performance(
        self, model: str, elapsed_time: float, success: bool, tokens: int = 0, token_seconds: float = 0.0, memory: int | None = None
    ) -> None:
        with self._lock:
            self._figures.setdefault(model, Figures()).add(elapsed_time, success, tokens, token_seconds, memory)

    def get_performance_stats(self, model: str | None = None) -> dict[str, Any]:
        """Figures of one model: of the name that answered, or of all levels of it together; without a name of each that answered.

        ``total_calls``, ``successful_calls``, ``failed_calls``, ``average_time``, ``min_time``, ``max_time`` (seconds),
        ``success_rate``, ``tokens``, ``tokens_per_second``, ``memory_bytes`` (as the server tells it)."""
        with self._lock:
            if model is None:
                return {name: f.told() for name, f in self._figures.items()}
            if model in self._figures:
                return self._figures[model].told()
            whole, family = Figures(), _names.family(model)
            for name, f in self._figures.items():
                if _names.family(name) == family:
                    whole = whole.merged(f)
            return whole.told()

    def compare_quantization_performance(
        self, model: str, prompt: str, test_iterations: int = 3, *, max_tokens: int = 128, images: Sequence[bytes] = ()
    ) -> dict[str, dict[str, Any]]:
        """The same prompt at each level that the server has: ``{"full_precision", "quantized_8bit", "quantized_4bit"}``, each with
        ``available``, ``model``, the figures of ``get_performance_stats``, ``speedup`` (tokens a second over those of the highest level
        there is; nan where it is not there), ``memory_reduction`` (of the files), ``agreement`` (the share of the reference's words
        that come the same, from the start to the first that differs), ``answer``. Each is loaded before it is timed, at temperature 0."""
        if isinstance(test_iterations, bool) or not isinstance(test_iterations, int) or not 1 <= test_iterations <= 1000:
            raise errors.UsageError("expected a number from 1 to 1000", "test_iterations")
        files = {f.bits: f for f in sorted(self.levels(model), key=lambda f: f.size)}
        results: dict[str, dict[str, Any]] = {}
        reference: dict[str, Any] | None = None
        for bits, key in _KEYS.items():
            found = files.get(bits)
            if found is None:
                reason = f"the server has no such level of {model}"
                results[key] = {"available": False, "model": None, "speedup": math.nan, "reason": reason}
                continue
            results[key] = self._measure(found, prompt, test_iterations, max_tokens, images)
            reference = reference or results[key]
            _relate(results[key], reference)
        if reference is None:
            raise errors.NotFoundError("the server has no level of this model", model)
        return results

    def _measure(self, found: ModelLevel, prompt: str, n: int, max_tokens: int, images: Sequence[bytes]) -> dict[str, Any]:
        self._check_limit(found)
        options = {"temperature": 0, "seed": 1, "num_predict": max_tokens}
        body: dict[str, Any] = {"prompt": prompt, "stream": False, "options": options}
        if images:
            body["images"] = [base64.b64encode(image).decode() for image in images]
        own = Figures()
        text = ""
        self._wire.ask("POST", "/api/generate", {"model": found.name, "stream": False}, found.name)  # loads it
        for _ in range(n):
            since = time.monotonic()
            answer = self._wire.ask("POST", "/api/generate", {"model": found.name, **body}, found.name)
            count, took = answer.get("eval_count"), answer.get("eval_duration")
            sound = isinstance(count, int) and isinstance(took, int)
            own.add(time.monotonic() - since, True, count if sound and count else 0, took / 1e9 if sound and took else 0.0)
            text = str(answer.get("response", ""))
        own.memory = self._memory(found.name)
        with self._lock:
            self._figures[found.name] = self._figures.get(found.name, Figures()).merged(own)
        return {"available": True, "model": found.name, "type": found.type, "size_bytes": found.size, **own.told(), "answer": text}


def _relate(one: dict[str, Any], reference: dict[str, Any]) -> None:
    """Puts a level beside the reference."""
    speed, of = one["tokens_per_second"], reference["tokens_per_second"]
    one["speedup"] = speed / of if speed and of else reference["average_time"] / one["average_time"]
    one["memory_reduction"] = 1 - one["size_bytes"] / reference["size_bytes"] if one["size_bytes"] and reference["size_bytes"] else None
    words, theirs = one["answer"].split(), reference["answer"].split()
    same = next((i for i, (a, b) in enumerate(zip(words, theirs)) if a != b), min(len(words), len(theirs)))
    most = max(len(words), len(theirs))
    one["agreement"] = same / most if most else 1.0
