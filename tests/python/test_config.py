"""One-command quantization: configurations, and what becomes of methods."""
import logging
import os
from pathlib import Path

import halftone
import pytest
from halftone import ModelParams, QuantizationConfig

# Neither NumPy nor PyTorch has a part in it.
pytestmark = pytest.mark.skipif(os.environ["HT_WITH"] != "bare", reason="run in the bare environment")


def config(model, output, **members):
    members = {"calibration_samples": 12, "options": {"ctx": 64}, **members}  # a short text
    return QuantizationConfig(model=ModelParams(model_name=model), output_path=output, **members)


def test_as_the_guide_has_it(model, tmp_path):
    c = QuantizationConfig(
        model=ModelParams(model_name=str(model)), method="awq_q4_0", output_path=str(tmp_path / "model.gguf"),
        output_format="gguf", calibration_samples=12, options={"ctx": 64})
    result = halftone.quantize(c)
    assert 3.2 < result["compression_ratio"] < 3.3
    assert result["output_size"] == (tmp_path / "model.gguf").stat().st_size
    assert result["original_size"] == result["source"]["bytes"] and result["output_path"] == str(tmp_path / "model.gguf")
    assert result["recipe"]["method"] == "awq_q4_0" and "AWQ's scales" in result["notes"][0]


@pytest.mark.parametrize("method, path, made, ratio", [
    ("awq_q4_1", "a.gguf", "awq_Q4_1", 2.9), ("awq_f16", "a.gguf", "awq_F16", 0.99), ("bnb_4bit", "a.safetensors", "nf4", 2.0),
    ("bnb_8bit", "a.pytorch", "int8", 1.5), ("q4_0", "a.gguf", "Q4_0", 3.2), ("q8_0", "a.gguf", "Q8_0", 1.8),
    ("f16", "a.safetensors", "F16", 0.9), ("Q5_K_M", "a.gguf", "Q5_K_M", 2.6),
])
def test_methods(model, tmp_path, method, path, made, ratio):
    result = halftone.quantize(config(model, tmp_path / path, method=method))
    assert result["outputs"][0]["type"] == made and result["compression_ratio"] > ratio
    assert Path(result["output_path"]) == tmp_path / path and (tmp_path / path).exists()


def test_batch(model, tmp_path, caplog):
    """The guide's loop: every model a .gguf, whatever its method can be stored in."""
    with caplog.at_level(logging.WARNING, logger="halftone"):
        for method in ("awq_q4_0", "bnb_4bit"):
            result = halftone.quantize(config(model, tmp_path / f"{method}-quantized.gguf", method=method))
            assert result["compression_ratio"] > 2
    assert result["output_path"].endswith("bnb_4bit-quantized.safetensors")
    assert any("cannot be stored in a GGUF file" in line for line in caplog.messages)
    with pytest.raises(halftone.UnsupportedError, match="cannot be stored"):
        halftone.quantize(config(model, tmp_path / "strict.gguf", method="bnb_4bit", strict=True))


def test_recipe(model, tmp_path):
    recipe = Path(model).parent / "production/balanced.yaml"
    result = halftone.quantize(model, output=tmp_path / "m.gguf", config=recipe, chunks=12, ctx=64)
    assert result["outputs"][0]["type"] == "awq_Q4_0"


def test_refused(model, tmp_path):
    for c, message in [
        (config(model, tmp_path / "a.gguf", method="awq_q4"), "did you mean awq_q4_0"),
        (config(model, tmp_path / "a.gguf", method="bnb_4bit", output_format="pytorch"), "ends in .gguf"),
        (config(model, tmp_path / "a", output_format="onnx"), "expected"),
        (config(model, tmp_path / "a.gguf", batch_size=0), "number"),
        (config(model, tmp_path / "a.safetensors", awq_group_size=3), "number"),
        (config(model, tmp_path / "a.gguf", options={"overwrit": True}), "did you mean overwrite"),
    ]:
        with pytest.raises(halftone.UsageError, match=message):
            halftone.quantize(c)
    with pytest.raises(halftone.UsageError, match="says all"):
        halftone.quantize(config(model, tmp_path / "a.gguf"), "Q4_0")
    other = QuantizationConfig(ModelParams(str(model), "another"), output_path=tmp_path / "a.gguf")
    with pytest.raises(halftone.UnsupportedError, match="tokenizer"):
        halftone.quantize(other)
    with pytest.raises(TypeError):
        QuantizationConfig(model=ModelParams("x"), metod="q4_0")
    assert not list(tmp_path.iterdir())
