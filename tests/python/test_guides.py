"""The code of the guides that the package follows, run as it is written there, but for the names of modules and models.

The guides are not part of the source: HT_SHARED names the folder that has them in guides/.
"""
import contextlib
import io
import os
import re
from pathlib import Path

import halftone
import pytest

GUIDES = Path(os.environ.get("HT_SHARED", "/nowhere")) / "guides"
if not GUIDES.is_dir():
    pytest.skip("SKIPPED the guides' code: HT_SHARED has no guides/", allow_module_level=True)

# What the guides call modules, and what they are here (doc/python.md)
ALIASES = {
    "src.nexus_final.sli": "halftone.sli",
    "oumi.core.configs": "halftone",
    "from oumi import": "from halftone import",
}


def blocks(number, language):
    text = next(GUIDES.glob(f"{number}_*")).read_text(encoding="utf-8")
    found = re.findall(rf"^```{language}\n(.*?)^```", text, re.S | re.M)
    for theirs, ours in ALIASES.items():
        found = [block.replace(theirs, ours) for block in found]
    return found


def run(code, names):
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(code, "guide", "exec"), names)  # noqa: S102
    return out.getvalue()


@pytest.fixture
def here(tmp_path, monkeypatch, model):
    """A folder where the models that the one-command guide names are real ones."""
    monkeypatch.chdir(tmp_path)
    for name in ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", "microsoft/DialoGPT-small"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(model)
    short = halftone.QuantizationConfig

    class Short(short):
        """The built-in text takes long on a busy machine: a little of it will do."""

        def __init__(self, **members):
            super().__init__(**{"calibration_samples": 2, **members})

    monkeypatch.setattr(halftone, "QuantizationConfig", Short)
    return tmp_path


def test_one_command_api(here):
    """The call, and the loop over models, of which one cannot be a GGUF file."""
    api, loop = [b for b in blocks("002", "python") if "quantize(config)" in b]
    names = {}
    printed = run(api, names)
    assert re.fullmatch(r"Compression ratio: 3\.2\d+\n", printed) and (here / "model.gguf").exists()
    lines = run(loop, names).splitlines()
    assert [line.split(": ")[0] for line in lines] == ["TinyLlama/TinyLlama-1.1B-Chat-v1.0", "microsoft/DialoGPT-small"]
    assert all(float(line.split(": ")[1]) > 2 for line in lines)
    assert (here / "models/TinyLlama-1.1B-Chat-v1.0-quantized.gguf").is_file()
    assert (here / "models/DialoGPT-small-quantized.safetensors").is_dir()


def test_one_command_recipes(here):
    """Every YAML block, completed where it is a fragment."""
    found = blocks("002", "yaml")
    assert len(found) >= 5
    for i, text in enumerate(found):
        whole = text if "model_name" in text else f'model: "TinyLlama/TinyLlama-1.1B-Chat-v1.0"\noutput_path: r{i}.gguf\n{text}'
        whole = whole if "method" in whole else f"method: q4_0\n{whole}"
        Path(f"r{i}.yaml").write_text(whole)
        with halftone.Job("quantize") as job:
            job.config(f"r{i}.yaml")
            job.set("chunks", 12)
            job.set("ctx", 64)
            report = job.run(halftone._library.lib.ht_job_run)
        assert Path(report["outputs"][0]["path"]).exists() and report["recipe"]["method"] in text + "q4_0"


# What a block of the layers' guide needs that its neighbours gave, and blocks that need what is not in the package
SHOWN = ("class QuantizationMode", "@dataclass", "def quantize_layer(", "def dequantize_layer(", "def is_quantized",
         "def get_quantized_size_ratio", "NF4 → INT8", "if any(x in", "quantizer = LayerQuantizer(config: Opt")
NOT_YET = ("layer_cache", "universal_sli", "LayerCache(", "cache.", "quantized.to('cuda')", "layer.to('cuda')")


def test_layers():
    torch = pytest.importorskip("torch", reason="this environment is one without PyTorch")
    from halftone.sli import quantization as q

    run_ = 0
    for block in blocks("003", "python"):
        if any(x in block for x in SHOWN + NOT_YET):
            continue
        layer = torch.nn.Linear(64, 64)
        config = q.QuantizationConfig(mode=q.QuantizationMode.NF4)
        quantizer = q.LayerQuantizer(config)
        model = torch.nn.ModuleDict({"attn": torch.nn.Linear(64, 64), "mlp": torch.nn.Linear(64, 64)})
        names = {**vars(q), "torch": torch, "nn": torch.nn, "layer": layer, "config": config, "quantizer": quantizer,
                 "quantized_layer": quantizer.quantize_layer(layer), "attention_layer": layer, "model": model,
                 "quantized": quantizer.quantize_layer(layer), "custom_config": q.get_int8_config()}
        printed = run(block, names)
        run_ += 1
        if "Size reduced to" in block:
            assert printed == "Size reduced to 13% of original\n", "of float32, scales counted; the guide says 25 %"
        if "get_layer_size_mb" in block:
            assert 4 < float(re.search(r"Reduction: ([0-9.]+)x", printed)[1]) < 8
        if "list_configs()" in block:
            assert names["available"] == ["int8", "nf4", "fp4", "my_custom_int8"]
        if "to_dict()" in block:
            assert names["restored"] == names["config"]
        if "def test_quantization_retention" in block:
            names["generate"] = lambda m, tokenizer, prompt: m["mlp"](m["attn"](prompt)).argmax().item()
            torch.manual_seed(0)
            retention = io.StringIO()
            with contextlib.redirect_stdout(retention):
                names["test_quantization_retention"](model, None, [torch.randn(64) for _ in range(20)])
            assert 60 <= float(re.search(r"Retention: ([0-9.]+)%", retention.getvalue())[1]) <= 100
    assert run_ >= 15
