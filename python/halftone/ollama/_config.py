"""config.json: ``{"ai": {"llm_model", "ollama_host", "enable_quantization", "quantization_bits", "gpu_memory_limit_mb", …}}``."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from .. import errors

_LARGEST = 1 << 20
_KINDS: dict[str, tuple[type, str]] = {
    "llm_provider": (str, "a text"),
    "llm_model": (str, "a text"),
    "ollama_host": (str, "a text"),
    "enable_quantization": (bool, "true or false"),
    "quantization_bits": (int, "4 or 8"),
    "gpu_memory_limit_mb": (int, "a whole number of MiB"),
}


def _whole(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as f:
            data = f.read(_LARGEST + 1)
    except FileNotFoundError:
        raise errors.NotFoundError("there is no such file", str(path)) from None
    except OSError as e:
        raise errors.InputOutputError(f"it cannot be read: {e.strerror}", str(path)) from e
    if len(data) > _LARGEST:
        raise errors.LimitError("it is larger than 1 MiB", str(path))
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise errors.FormatError(f"it is damaged: {e}", str(path)) from None
    if not isinstance(whole, dict) or not isinstance(whole.get("ai", {}), dict):
        raise errors.FormatError('it is damaged: expected an object with an object "ai"', str(path))
    return whole


def _check(path: Path, ai: dict[str, Any]) -> None:
    for name, (kind, words) in _KINDS.items():
        value = ai.get(name)
        sound = value is None or (isinstance(value, kind) and isinstance(value, bool) == (kind is bool))
        if sound and isinstance(value, int) and kind is int:
            sound = value in (4, 8) if name == "quantization_bits" else value > 0
        if not sound:
            raise errors.FormatError(f"ai.{name}: expected {words}", str(path))
    if ai.get("llm_provider", "ollama") != "ollama":
        raise errors.UnsupportedError(f"ai.llm_provider: \"{ai['llm_provider']}\" is not known here; \"ollama\" is", str(path))


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The ``"ai"`` object of a config.json, its known members checked."""
    ai: dict[str, Any] = _whole(Path(path)).get("ai", {})
    _check(Path(path), ai)
    return ai


def write_config(path: str | os.PathLike[str], **changes: Any) -> None:
    """Sets members of ``"ai"``; None removes one. All else stays. The file is written beside its place and moved there: a reader
    sees the old one or the new one, and where that fails nothing has changed."""
    given = Path(path)
    whole = _whole(given) if given.exists() else {}
    ai = dict(whole.get("ai", {}))
    for name, value in changes.items():
        if value is None:
            ai.pop(name, None)
        else:
            ai[name] = value
    _check(given, ai)
    real = given.resolve()
    mode = real.stat().st_mode & 0o777 if real.exists() else 0o600
    if not mode & 0o222:
        raise errors.DeniedError("it is read-only; nothing was changed", str(path))
    try:
        fd, new = tempfile.mkstemp(prefix=real.name + ".", dir=real.parent)
    except OSError as e:
        raise errors.InputOutputError(f"it cannot be written: {e.strerror}; nothing was changed", str(path)) from e
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as f:
            os.fchmod(f.fileno(), mode)
            json.dump({**whole, "ai": ai}, f, indent=2, ensure_ascii=False)
            f.write("\n")
            f.flush()
            os.fsync(f.fileno())
        os.replace(new, real)
    except OSError as e:
        Path(new).unlink(missing_ok=True)
        raise errors.InputOutputError(f"it cannot be written: {e.strerror}; nothing was changed", str(path)) from e
