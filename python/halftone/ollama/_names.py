"""Names of models, and which of them differ by their level alone."""

from __future__ import annotations

import re

BITS = (4, 8)
FULL = 16
TYPES = {4: "q4_K_M", 8: "q8_0", FULL: "fp16"}

_LEVEL = r"(?:i?q[1-8](?:_(?:0|1|k|k_[sml]|s|m|xs|xxs|nl))?|bf16|fp?16|fp?32|mxfp4|tq[12]_0)"
_SUFFIX = re.compile(rf"^(.+)-{_LEVEL}$", re.IGNORECASE)
_WHOLE = re.compile(rf"^{_LEVEL}$", re.IGNORECASE)
_PREFIX = re.compile(r"^q([48])_(.+)$", re.IGNORECASE)


def split(name: str) -> tuple[str, str]:
    """``"llama3.1:8b"``: ``("llama3.1", "8b")``; without a tag it is ``"latest"``."""
    slash = name.rfind("/")
    colon = name.rfind(":")
    return (name[:colon], name[colon + 1 :]) if colon > slash else (name, "latest")


def is_quantized(name: str) -> bool:
    """Does the name say a level already: ``x:q4_8b``, ``x:8b-q4_K_M``, ``x:q8_0``?"""
    tag = split(name)[1]
    return bool(_PREFIX.match(tag) or _SUFFIX.match(tag) or _WHOLE.match(tag))


def family(name: str) -> tuple[str, str]:
    """What is the same of all levels of a model, small: its name, and its tag without the level."""
    model, tag = split(name)
    found = _SUFFIX.match(tag)
    prefix = _PREFIX.match(tag)
    if _WHOLE.match(tag):
        tag = "latest"
    elif found:
        tag = found.group(1)
    elif prefix:
        tag = prefix.group(2)
    for host in ("registry.ollama.ai/", "library/"):
        model = model.removeprefix(host)
    return model.lower(), tag.lower()


def prefixed(name: str, bits: int) -> str:
    """The guide's name of a level: ``llama3.1:8b-instruct``, 8: ``llama3.1:q8_8b-instruct``. Names that say a level stay."""
    if is_quantized(name):
        return name
    model, tag = split(name)
    return f"{model}:q{bits}_{tag}"


def published(name: str, level: int) -> str:
    """The name by which libraries of models have a level: ``llama3.1:8b-instruct-q8_0``."""
    model, tag = split(name)
    return f"{model}:{TYPES[level]}" if tag == "latest" else f"{model}:{tag}-{TYPES[level]}"
