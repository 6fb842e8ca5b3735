"""Uses of the package, for mypy --strict alone."""
import halftone
from halftone import Model, Progress


def tell(p: Progress) -> None:
    print(p.done / p.total, p.seconds_left)


report: dict[str, object] = halftone.quantize("model", ["Q4_K_M"], "out", progress=tell, overwrite=True)
with Model("model") as model:
    ids: list[int] = model.tokenizer.encode("text")
    text: str = "".join(model.generate("text", 5, temperature=0.5))
    shape: tuple[int, ...] = model.tensors["a"].shape
try:
    halftone.inspect("model")
except halftone.FormatError as error:
    where: tuple[str, str, int | None] = (error.code, error.where, error.offset)
