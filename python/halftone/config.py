"""One-command quantization: a configuration with the keys of its recipe files (doc/one_command.md)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Union

_GROUP = 128  # of AWQ's folders: what they have where nothing is said


@dataclass
class ModelParams:
    """Which model.

    Attributes:
        model_name: a path, or ``ORG/NAME`` of the hub.
        tokenizer_name: the model's own, or None; another one is refused.
    """

    model_name: Union[str, "os.PathLike[str]"]
    tokenizer_name: str | None = None


@dataclass
class QuantizationConfig:
    """What to make of a model.

    Attributes:
        model: which.
        method: ``awq_q4_0``, ``awq_q4_1``, ``awq_q8_0``, ``awq_f16``, ``bnb_4bit``, ``bnb_8bit``, ``q4_0``, ``q4_1``,
            ``q8_0``, ``f16``, or any type of :func:`halftone.quantize`.
        output_path: a ``.gguf`` file, or a folder whose name ends in ``.safetensors`` or ``.pytorch``.
        output_format: ``"gguf"``, ``"safetensors"``, ``"pytorch"``; None: as the path's end and the method say.
        awq_group_size: weights that share a scale in AWQ's folders.
        calibration_samples: chunks of 512 tokens of the calibration text, of as many as it has.
        batch_size: accepted, and changes nothing: ``options={"memory": "2G"}`` limits the memory.
        cleanup_temp: accepted, and changes nothing: no temporary files are left.
        verbose: accepted: the log (``logging.getLogger("halftone")``) has all.
        strict: a method that does not suit the model is an error, rather than the next one taken.
        options: other options of the job: ``{"overwrite": True, "calibration": "mine.txt"}``.
    """

    model: ModelParams
    method: str = "awq_q4_0"
    output_path: Union[str, "os.PathLike[str]"] = "quantized_model.gguf"
    output_format: str | None = None
    awq_group_size: int = _GROUP
    calibration_samples: int = 512
    batch_size: int | None = None
    cleanup_temp: bool = True
    verbose: bool = False
    strict: bool = False
    options: Mapping[str, object] = field(default_factory=dict)

    def to_options(self) -> dict[str, object]:
        """The options of the job."""
        return {
            "model_name": os.fspath(self.model.model_name),
            "tokenizer_name": self.model.tokenizer_name,
            "method": self.method,
            "output_path": os.fspath(self.output_path),
            "output_format": self.output_format,
            "awq_group_size": None if self.awq_group_size == _GROUP else self.awq_group_size,
            "calibration_samples": self.calibration_samples,
            "batch_size": self.batch_size,
            "cleanup_temp": "true" if self.cleanup_temp else "false",
            "verbose": "true" if self.verbose else "false",
            "strict": self.strict,
            **self.options,
        }
