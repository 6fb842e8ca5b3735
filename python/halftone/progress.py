"""Progress of long calls."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Union

from . import _library as _l

logger = logging.getLogger("halftone")


@dataclass(frozen=True)
class Progress:
    """How far a step of a job is. It is told about ten times a second.

    Attributes:
        step: ``"quantize"``, ``"verify"``, ``"measure"`` …
        tensor: the one started last, or ``""``.
        unit: what is counted: ``"weights"``, ``"bytes"``, ``"tokens"``.
        done, total: how many, of how many.
        bytes_read, bytes_written: bytes.
        seconds: since the step began.
        rate: units a second over the last seconds.
        seconds_left: None while it is not known.
    """

    step: str
    tensor: str
    unit: str
    done: int
    total: int
    bytes_read: int
    bytes_written: int
    seconds: float
    rate: float
    seconds_left: float | None


ProgressLike = Union[Callable[[Progress], object], bool, None]
"""A function that is given each :class:`Progress` (what it raises cancels the call, and is raised by it), True for a bar
of tqdm (or, without tqdm, a line in the log for each step), or None."""


def read(told: Any) -> Progress:
    return Progress(
        _l.text(told.step),
        _l.text(told.tensor),
        _l.text(told.unit),
        told.done,
        told.total,
        told.bytes_read,
        told.bytes_written,
        told.seconds,
        told.rate,
        told.seconds_left if told.seconds_left >= 0 else None,
    )


class Bar:
    """A bar of tqdm for each step."""

    def __init__(self) -> None:
        try:
            self._tqdm: Any = importlib.import_module("tqdm.auto").tqdm
        except ImportError:
            self._tqdm = None
        self._bar: Any = None
        self._step = ""

    def __call__(self, p: Progress) -> None:
        if p.step != self._step:
            self.close()
            self._step = p.step
            if self._tqdm is None:
                logger.info("%s: %d %s", p.step, p.total, p.unit)
            else:
                self._bar = self._tqdm(total=p.total, desc=p.step, unit=f" {p.unit}", unit_scale=True, file=sys.stderr)
        if self._bar is not None:
            self._bar.total = p.total
            self._bar.update(p.done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


class Listener:
    """What hears a call's progress: the caller's function or a bar. What it raised is kept, and cancels."""

    def __init__(self, wanted: ProgressLike) -> None:
        self._bar = Bar() if wanted is True else None
        self._tell: Callable[[Progress], object] | None = self._bar or (wanted if callable(wanted) else None)
        self.raised: BaseException | None = None

    def tell(self, p: Progress) -> bool:
        """False: cancel."""
        try:
            if self._tell is not None and self.raised is None:
                self._tell(p)
        except BaseException as raised:
            self.raised = raised
        return self.raised is None

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
