"""Exceptions: one for each code of the library, with the fields of its diagnosis.

Each is also of the built-in kind that fits it, so that ``except FileNotFoundError`` and ``except ValueError`` work.
"""

from __future__ import annotations


class HalftoneError(Exception):
    """Something that the library refused or could not do.

    Attributes:
        code: the name of the library's code, ``"HT_ERR_FORMAT"``.
        where: file, and tensor or key: ``"model.safetensors: model.norm.weight"``; or ``""``.
        message: one sentence: what is wrong and, where possible, what to do next.
        offset: byte offset in the file, or None.
    """

    code = "HT_ERR_INTERNAL"

    def __init__(self, message: str, where: str = "", offset: int | None = None) -> None:
        super().__init__(message, where, offset)
        self.message = message
        self.where = where
        self.offset = offset

    def __str__(self) -> str:
        at = "" if self.offset is None else f" (at byte {self.offset})"
        return f"{self.where}: {self.message}{at}" if self.where else f"{self.message}{at}"


class UsageError(HalftoneError, ValueError):
    """A wrong argument, or a handle that cannot be used now."""

    code = "HT_ERR_USAGE"


class OutOfMemoryError(HalftoneError, MemoryError):
    """The library could not allocate."""

    code = "HT_ERR_MEMORY"


class InputOutputError(HalftoneError, OSError):
    """A file could not be read or written, or a hub not be reached."""

    code = "HT_ERR_IO"


class NotFoundError(HalftoneError, FileNotFoundError):
    """A file, a tensor or a hub's model that is not there."""

    code = "HT_ERR_NOT_FOUND"


class ExistsError(HalftoneError, FileExistsError):
    """An output that is there already; ``overwrite=True`` replaces it."""

    code = "HT_ERR_EXISTS"


class DeniedError(HalftoneError, PermissionError):
    """What the system or a hub does not permit."""

    code = "HT_ERR_DENIED"


class FormatError(HalftoneError, ValueError):
    """A malformed file."""

    code = "HT_ERR_FORMAT"


class UnsupportedError(HalftoneError, ValueError):
    """A sound input that is not supported."""

    code = "HT_ERR_UNSUPPORTED"


class NonFiniteError(HalftoneError, ValueError):
    """NaN or infinity among weights or importance."""

    code = "HT_ERR_NONFINITE"


class LimitError(HalftoneError, ValueError):
    """An input that is larger than a limit."""

    code = "HT_ERR_LIMIT"


class NoSpaceError(HalftoneError, OSError):
    """Not enough disk space."""

    code = "HT_ERR_NO_SPACE"


class MemoryBudgetError(HalftoneError, MemoryError):
    """``memory`` is less than the work needs."""

    code = "HT_ERR_NO_MEMORY_BUDGET"


class CancelledError(HalftoneError):
    """The call was cancelled."""

    code = "HT_ERR_CANCELLED"


class VerifyError(HalftoneError):
    """What was written is not what was meant: verification failed, or a limit of ``fail_if`` was exceeded."""

    code = "HT_ERR_VERIFY"


class InternalError(HalftoneError):
    """A fault of the library."""

    code = "HT_ERR_INTERNAL"


class LibraryError(HalftoneError, ImportError):
    """libhalftone.so is missing, cannot be loaded, or is of another version."""

    code = "HT_ERR_NOT_FOUND"


by_code: dict[str, type[HalftoneError]] = {
    kind.code: kind
    for kind in (
        UsageError,
        OutOfMemoryError,
        InputOutputError,
        NotFoundError,
        ExistsError,
        DeniedError,
        FormatError,
        UnsupportedError,
        NonFiniteError,
        LimitError,
        NoSpaceError,
        MemoryBudgetError,
        CancelledError,
        VerifyError,
        InternalError,
    )
}
"""The exception of each code."""
