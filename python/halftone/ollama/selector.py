"""AISelector: what a vision model thinks of a photo."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from .. import errors
from .client import OllamaClient

_LARGEST = 64 << 20
_CRITERIA = ("focus", "exposure", "composition")

PROMPT = """You are a photo editor who selects photos. Look at the photo and judge it.
Give whole numbers from 0 (unusable) to 100 (perfect):
focus: is the subject sharp?
exposure: are lights and shadows neither lost nor flat?
composition: is the subject placed well, without distraction?
score: how good is the photo as a whole?
Then keep: true if a photographer would keep it, otherwise false; and reason: one short sentence."""
"""What the model is asked; the answer has the form of :data:`SCHEMA`."""

SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        **{name: {"type": "integer"} for name in (*_CRITERIA, "score")},
        "keep": {"type": "boolean"},
        "reason": {"type": "string"},
    },
    "required": [*_CRITERIA, "score", "keep", "reason"],
}
"""JSON Schema of the answer, sent as the request's ``format``."""


@dataclass(frozen=True)
class Evaluation(Mapping[str, Any]):
    """A photo's judgement; also a mapping: ``result["score"]``.

    Attributes:
        focus, exposure, composition, score: from 0 to 100.
        keep: would a photographer keep it?
        reason: one sentence of the model's.
        model: the server's model that answered.
        seconds: that it took.
    """

    focus: int
    exposure: int
    composition: int
    score: int
    keep: bool
    reason: str
    model: str
    seconds: float

    def __getitem__(self, name: str) -> Any:
        if name not in {f.name for f in fields(self)}:
            raise KeyError(name)
        return getattr(self, name)

    def __iter__(self) -> Iterator[str]:
        return (f.name for f in fields(self))

    def __len__(self) -> int:
        return len(fields(self))


def read_photo(photo: str | os.PathLike[str] | bytes) -> bytes:
    """Bytes of a PNG, JPEG or WebP image: what Ollama's models take."""
    where = "photo" if isinstance(photo, bytes) else str(photo)
    if isinstance(photo, bytes):
        data = photo
    else:
        try:
            with open(photo, "rb") as f:
                data = f.read(_LARGEST + 1)
        except FileNotFoundError:
            raise errors.NotFoundError("there is no such file", where) from None
        except OSError as e:
            raise errors.InputOutputError(f"it cannot be read: {e.strerror}", where) from e
    if len(data) > _LARGEST:
        raise errors.LimitError("the photo is larger than 64 MiB", where)
    png, jpeg = data[:8] == b"\x89PNG\r\n\x1a\n", data[:3] == b"\xff\xd8\xff"
    webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    if not (png or jpeg or webp):
        raise errors.FormatError("it is no PNG, JPEG or WebP image", where)
    return data


def parse_evaluation(text: str, model: str, seconds: float) -> Evaluation:
    """The model's answer, checked: every member, its kind and its range."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise errors.FormatError(f"the model's answer is no JSON: {text[:80]!r}", model) from None
    if not isinstance(value, dict):
        raise errors.FormatError(f"the model's answer is no object: {text[:80]!r}", model)
    for name in (*_CRITERIA, "score"):
        n = value.get(name)
        if isinstance(n, bool) or not isinstance(n, int) or not 0 <= n <= 100:
            raise errors.FormatError(f"the model's answer: {name} is {n!r}, not a whole number from 0 to 100", model)
    if not isinstance(value.get("keep"), bool):
        raise errors.FormatError(f"the model's answer: keep is {value.get('keep')!r}, not true or false", model)
    if not isinstance(value.get("reason"), str):
        raise errors.FormatError("the model's answer has no reason", model)
    known = {name: value[name] for name in (*_CRITERIA, "score", "keep")}
    return Evaluation(**known, reason=value["reason"].strip(), model=model, seconds=seconds)


class AISelector:
    """Judges photos by a vision model of an Ollama server, at the level of quantization that is set.

    Args:
        enable_llm: False: nothing is asked of a model, and ``evaluate`` is an error.
        enable_quantization, quantization_bits: the level at first.
        model: the vision model; default: ``"llm_model"`` of the config.json, or ``"llava"``.
        client: one that is there; otherwise one is made of ``host`` and ``config``.
        attempts: how often the model is asked for an answer of the right form.
    """

    def __init__(
        self,
        enable_llm: bool = True,
        enable_quantization: bool | None = None,
        quantization_bits: int | None = None,
        *,
        model: str | None = None,
        host: str | None = None,
        config: str | os.PathLike[str] | None = None,
        client: OllamaClient | None = None,
        attempts: int = 2,
    ) -> None:
        self.enable_llm = enable_llm
        self.client = client or OllamaClient(
            host, enable_quantization=enable_quantization, quantization_bits=quantization_bits, config=config
        )
        if client is not None and enable_quantization is not None:
            client.set_quantization(enable_quantization, quantization_bits)
        self.model = model or self.client.default_model or "llava"
        self.attempts = max(1, attempts)

    def set_quantization(self, enable: bool, bits: int | None = None) -> None:
        """As :meth:`OllamaClient.set_quantization`."""
        self.client.set_quantization(enable, bits)

    def get_quantization_settings(self) -> dict[str, Any]:
        """As :meth:`OllamaClient.get_quantization_settings`, with the model's name."""
        return {**self.client.get_quantization_settings(), "enable_llm": self.enable_llm, "model": self.model}

    def get_performance_stats(self, model: str | None = None) -> dict[str, Any]:
        """As :meth:`OllamaClient.get_performance_stats`; of the selector's own model where none is named."""
        return self.client.get_performance_stats(model or self.model)

    def evaluate(self, photo: str | os.PathLike[str] | bytes) -> Evaluation:
        """Asks the model about a photo. An answer of another form is asked for again, ``attempts`` times in all, then an error."""
        if not self.enable_llm:
            raise errors.UsageError("this selector was made without a language model (enable_llm=False)", "evaluate")
        data = read_photo(photo)
        for attempt in range(self.attempts):
            since = time.monotonic()
            text = self.client.generate(
                self.model, PROMPT, 0.0 if attempt == 0 else 0.7, 300, images=[data], format=SCHEMA, seed=attempt + 1
            )
            name = self.client.resolve(self.model).name
            try:
                return parse_evaluation(text, name, time.monotonic() - since)
            except errors.FormatError:
                if attempt + 1 == self.attempts:
                    raise
        raise AssertionError("not reached")

    def compare_quantization_performance(
        self, test_image_path: str | os.PathLike[str] | bytes, test_iterations: int = 3
    ) -> dict[str, dict[str, Any]]:
        """The same photo at each level that the server has: see :meth:`OllamaClient.compare_quantization_performance`."""
        if not self.enable_llm:
            raise errors.UsageError("this selector was made without a language model (enable_llm=False)", "compare")
        data = read_photo(test_image_path)
        return self.client.compare_quantization_performance(self.model, PROMPT, test_iterations, max_tokens=300, images=[data])


