"""Halftone quantizes language models: any checkpoint in, any quantized format out, with the loss measured.

    import halftone
    report = halftone.quantize("Llama-3.2-1B", ["Q4_K_M", "nf4"], "out")
    for output in report["outputs"]:
        print(output["type"], output["size_bytes"], output["bpw"])

``doc/python.md`` leads through it. Whatever takes long releases the interpreter, can be interrupted with Ctrl-C, and tells
its progress to a function, or to tqdm with ``progress=True``. What it logs goes to ``logging.getLogger("halftone")``.
"""

from typing import TYPE_CHECKING, Any

from . import _library
from ._version import __version__
from .errors import (
    CancelledError,
    DeniedError,
    ExistsError,
    FormatError,
    HalftoneError,
    InputOutputError,
    InternalError,
    LibraryError,
    LimitError,
    MemoryBudgetError,
    NonFiniteError,
    NoSpaceError,
    NotFoundError,
    OutOfMemoryError,
    UnsupportedError,
    UsageError,
    VerifyError,
)

if TYPE_CHECKING:
    from ._lists import (
        Architecture,
        Container,
        Gpu,
        Method,
        Mix,
        Option,
        Scheme,
        Type,
        architectures,
        containers,
        gpus,
        methods,
        mixes,
        options,
        schemes,
        types,
    )
    from .config import (
        ModelParams,
        QuantizationConfig,
    )
    from .jobs import (
        Job,
        compare,
        convert,
        estimate,
        evaluate,
        imatrix,
        inspect,
        pull,
        quantize,
        recommend,
    )
    from .matrix import (
        QuantizedMatrix,
        dequantize,
        quantize_matrix,
    )
    from .model import (
        Generation,
        Model,
        Tensor,
        Tensors,
        Tokenizer,
    )
    from .progress import (
        Progress,
    )
    from .rows import (
        decode,
        encode,
        row_size,
    )

# Imported when they are first asked for, so that `import halftone` takes little time.
_MODULES = {
    "_lists": "Architecture Container Gpu Method Mix Option Scheme Type architectures containers gpus methods mixes options schemes types",
    "config": "ModelParams QuantizationConfig",
    "jobs": "Job compare convert estimate evaluate imatrix inspect pull quantize recommend",
    "matrix": "QuantizedMatrix dequantize quantize_matrix",
    "model": "Generation Model Tensor Tensors Tokenizer",
    "progress": "Progress",
    "rows": "decode encode row_size",
}
_HOME = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'halftone' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module("." + _HOME[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


__all__ = [
    "__version__",
    "Architecture",
    "Container",
    "Gpu",
    "Method",
    "Mix",
    "Option",
    "Scheme",
    "Type",
    "architectures",
    "containers",
    "gpus",
    "methods",
    "mixes",
    "options",
    "schemes",
    "types",
    "ModelParams",
    "QuantizationConfig",
    "Job",
    "compare",
    "convert",
    "estimate",
    "evaluate",
    "imatrix",
    "inspect",
    "pull",
    "quantize",
    "recommend",
    "QuantizedMatrix",
    "dequantize",
    "quantize_matrix",
    "Generation",
    "Model",
    "Tensor",
    "Tensors",
    "Tokenizer",
    "Progress",
    "decode",
    "encode",
    "row_size",
    "CancelledError",
    "DeniedError",
    "ExistsError",
    "FormatError",
    "HalftoneError",
    "InputOutputError",
    "InternalError",
    "LibraryError",
    "LimitError",
    "MemoryBudgetError",
    "NonFiniteError",
    "NoSpaceError",
    "NotFoundError",
    "OutOfMemoryError",
    "UnsupportedError",
    "UsageError",
    "VerifyError",
]
