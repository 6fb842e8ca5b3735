"""Uses of the package, for mypy --strict alone."""
import halftone
from halftone import Model, Progress
from halftone.sli.layer_cache import LayerCache
from halftone.sli.quantization import get_nf4_config
from halftone.sli.universal_sli import UniversalSLIProcessor


def tell(p: Progress) -> None:
    print(p.done / p.total, p.seconds_left)


report: dict[str, object] = halftone.quantize("model", ["Q4_K_M"], "out", progress=tell, overwrite=True)
with Model("model") as model:
    ids: list[int] = model.tokenizer.encode("text")
    text: str = "".join(model.generate("text", 5, temperature=0.5))
    shape: tuple[int, ...] = model.tensors["a"].shape
with UniversalSLIProcessor("model", get_nf4_config(), cache=LayerCache("cache", 50.0)) as processor:
    hits: int = processor.stats().hits
    made: str = next(processor.generate("text", 5))
    layers: list[tuple[int, str]] = LayerCache().layers("model")
try:
    halftone.inspect("model")
except halftone.FormatError as error:
    where: tuple[str, str, int | None] = (error.code, error.where, error.offset)

from halftone.ollama import AISelector, Evaluation, OllamaClient  # noqa: E402

client = OllamaClient(enable_quantization=True, quantization_bits=4)
said: str = client.generate("llama3.1:8b-instruct", "Why?", temperature=0.2, max_tokens=20)
judged: Evaluation = AISelector(client=client).evaluate("photo.jpg")
score: int = judged.score
