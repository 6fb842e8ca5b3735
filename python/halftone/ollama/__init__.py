"""Models at a server that speaks as Ollama does (Ollama itself, ``halftone serve``), at the level of quantization that is wanted.

    from halftone.ollama import OllamaClient, AISelector
    client = OllamaClient(enable_quantization=True, quantization_bits=8)
    print(client.generate("llama3.1:8b-instruct", "Why is the sky blue?"))

``doc/runtime.md`` says what a level is and where it is found. Only the standard library is needed beside the package itself.
"""

from ._config import read_config, write_config
from .client import ModelLevel, OllamaClient
from .selector import PROMPT, SCHEMA, AISelector, Evaluation

__all__ = [
    "AISelector",
    "Evaluation",
    "ModelLevel",
    "OllamaClient",
    "PROMPT",
    "SCHEMA",
    "read_config",
    "write_config",
]
