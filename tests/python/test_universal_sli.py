"""Models run layer by layer from the cache: the same logits and texts as the whole model, quantized once."""
import json
import shutil

import halftone
import pytest

torch = pytest.importorskip("torch", reason="this environment is one without PyTorch")

from halftone.sli import layer_cache, quantization as q  # noqa: E402
from halftone.sli.layer_cache import LayerCache  # noqa: E402
from halftone.sli.universal_sli import UniversalSLIProcessor  # noqa: E402

TEXT = "Once upon a time"
SMALL = {"none": 0.0074, "int8": 0.011, "int8_dynamic": 0.0074, "nf4": 0.0073, "fp4": 0.0073, "int4": 0.0073}
"""Gigabytes: less than the matrices take, so that layers are read again for every token."""
MODES = [m for m in q.QuantizationMode if m is not q.QuantizationMode.NONE]
SCHEMES = {"int8": "int8", "int8_dynamic": "w8a8:range=absmax", "nf4": "nf4:nested=on", "fp4": "fp4:nested=on", "int4": "w4a16:group=128"}


def config(mode):
    return q.QuantizationConfig(mode=mode, compute_dtype=torch.float32)


@pytest.mark.parametrize("mode", MODES)
def test_same_as_the_whole_model(mode, model, tmp_path):
    """Bit by bit, what the quantized folder gives when it is in memory as a whole; a generated text too."""
    folder = halftone.quantize(model, SCHEMES[mode.value], tmp_path / "q")["outputs"][0]["path"]
    with halftone.Model(folder) as whole, \
            UniversalSLIProcessor(str(model), config(mode), cache_dir=tmp_path / "c", max_memory_cache_size_gb=SMALL[mode.value]) as processor:
        ids = processor.tokenizer.encode(TEXT, around=True)
        logits = processor.logits(ids)
        assert logits.shape == (len(ids), whole.vocabulary) and torch.equal(logits, whole.logits(ids, kind="torch"))
        assert torch.equal(processor.logits([5], at=len(ids)), whole.logits([5], at=len(ids), kind="torch"))
        assert "".join(processor.generate(TEXT, 8)) == "".join(whole.generate(TEXT, 8))
        assert processor.model.packed_as == whole.packed_as


def test_not_quantized(model):
    with halftone.Model(model) as whole, UniversalSLIProcessor(model, max_memory_cache_size_gb=SMALL["none"]) as processor:
        ids = whole.tokenizer.encode(TEXT, around=True)
        assert torch.equal(processor.logits(ids), whole.logits(ids, kind="torch"))
        assert "".join(processor.generate(TEXT, 4)) == "".join(whole.generate(TEXT, 4))
        assert processor.stats().hits == processor.stats().misses == 0
        with pytest.raises(halftone.UsageError, match="nothing is quantized"):
            processor.get_layer(0)


def test_quantized_once(model, tmp_path, monkeypatch):
    cache = LayerCache(tmp_path)
    with UniversalSLIProcessor(model, config("nf4"), cache=cache) as processor:
        assert cache.stats().misses == 10 and [i for i, _ in cache.layers(processor.model_id)] == list(range(-2, 8))
        text, used = "".join(processor.generate(TEXT, 6)), cache.stats().disk_bytes
        assert list(tmp_path.glob(".work-*"))
    assert not list(tmp_path.glob(".work-*")), "links, which go with the processor"
    monkeypatch.setattr("halftone.sli.universal_sli.quantize", lambda *_, **__: pytest.fail("it is quantized again"))
    again = LayerCache(tmp_path)
    with UniversalSLIProcessor(model, config("nf4"), cache=again) as processor:
        assert "".join(processor.generate(TEXT, 6)) == text
        assert again.stats().misses == 0 and again.stats().disk_hits == 10 and again.stats().disk_bytes == used
    with pytest.raises(pytest.fail.Exception, match="quantized again"):
        UniversalSLIProcessor(model, config("fp4"), cache=again)


def test_what_is_lost_is_made_again(model, tmp_path):
    cache = LayerCache(tmp_path)
    with UniversalSLIProcessor(model, config("int8"), cache=cache) as processor:
        ids = processor.tokenizer.encode(TEXT)
        expected, name = processor.logits(ids), processor.model_id
        file = cache.path(name, 3, "int8")
        cache.clear()  # what runs goes on with its links
        assert torch.equal(processor.logits(ids), expected) and processor.get_layer(2) is not None
    with open(file, "r+b") as damaged:
        damaged.seek(-1, 2)
        damaged.write(b"\x55")
    cache.path(name, 5, "int8").unlink()
    with UniversalSLIProcessor(model, config("int8"), cache=cache) as processor:
        assert torch.equal(processor.logits(ids), expected)
    assert cache.stats().damaged == 1


def test_another_model_of_the_same_name(model, tmp_path):
    shutil.copytree(model, tmp_path / "m")
    with UniversalSLIProcessor(tmp_path / "m", config("nf4"), cache_dir=tmp_path / "c") as processor:
        first = processor.model_id
    told = json.loads((tmp_path / "m/config.json").read_text())
    (tmp_path / "m/config.json").write_text(json.dumps({**told, "rope_parameters": {"rope_theta": 5000.0, "rope_type": "default"}}))
    with UniversalSLIProcessor(tmp_path / "m", config("nf4"), cache_dir=tmp_path / "c") as processor:
        assert processor.model_id != first and processor.stats().misses == 10


def test_layers(model, tmp_path):
    """A layer's modules: what LayerQuantizer makes of the same weights, bit by bit."""
    with halftone.Model(model) as source, UniversalSLIProcessor(model, config("nf4"), cache_dir=tmp_path) as processor:
        layer = processor.get_layer(7)
        linears = {n: m for n, m in layer.named_modules() if isinstance(m, q.QuantizedLinear)}
        assert set(linears) == {"self_attn." + x for x in ("q_proj", "k_proj", "v_proj", "o_proj")} | {
            "mlp." + x for x in ("gate_proj", "up_proj", "down_proj")}
        quantizer = q.LayerQuantizer(config("nf4"))
        for name, made in linears.items():
            weight = torch.nn.Linear(made.in_features, made.out_features, bias=False)
            weight.weight.data = source.tensors[f"model.layers.7.{name}.weight"].read(kind="torch").bfloat16()
            ours = quantizer.quantize_layer(weight.to(torch.bfloat16))
            assert made.mode == "nf4"
            for s, part in ours.parts.items():
                theirs = made.parts[s]
                assert torch.equal(part, theirs[: len(part)]) and not bytes(theirs[len(part) :]).strip(), s  # a text may have blanks behind it
            assert made.original_dtype is torch.bfloat16
        norm = source.tensors["model.layers.7.input_layernorm.weight"].read(kind="torch")
        assert torch.equal(layer.input_layernorm.weight.float(), norm)
        back = processor.get_layer(7, dequantize=True)
        assert type(back.mlp.up_proj) is torch.nn.Linear and back.mlp.up_proj.weight.dtype is torch.float32
        assert torch.equal(back.mlp.up_proj.weight, linears["mlp.up_proj"].dequantized())
        for wrong in (-1, 8):
            with pytest.raises(halftone.UsageError, match="0 to 7"):
                processor.get_layer(wrong)


def test_beside_transformers(model, tmp_path):
    """The engine on the cache, and PyTorch on the same model quantized by AdaptiveQuantizer: the same predictions."""
    transformers = pytest.importorskip("transformers")
    c = q.QuantizationConfig(mode=q.QuantizationMode.NF4, compute_dtype=torch.float32, llm_int8_skip_modules=["lm_head"])
    theirs = transformers.AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    made = q.LayerQuantizer(c).quantize_layer(theirs)
    with UniversalSLIProcessor(model, c, cache_dir=tmp_path) as processor, torch.no_grad():
        ids = processor.tokenizer.encode("Once upon a time there was a little girl", around=True)
        ours, torchs = processor.logits(ids), made(torch.tensor([ids])).logits[0]
        assert (ours - torchs).square().mean().sqrt() < 2e-3 * torchs.square().mean().sqrt()


def test_skipped_modules(model, tmp_path):
    c = q.QuantizationConfig(mode="int8", llm_int8_skip_modules=["lm_head", "embed_tokens", "self_attn"])
    with UniversalSLIProcessor(model, c, cache_dir=tmp_path) as processor:
        layer = processor.get_layer(0)
        assert type(layer.self_attn.q_proj) is torch.nn.Linear and layer.mlp.up_proj.mode == "int8"


def test_two_at_once(model, tmp_path):
    with UniversalSLIProcessor(model, config("nf4"), cache_dir=tmp_path) as a, \
            UniversalSLIProcessor(model, config("nf4"), cache_dir=tmp_path) as b:
        assert torch.equal(a.logits([1, 2, 3]), b.logits([1, 2, 3]))
        assert len(list(tmp_path.glob(".work-*"))) == 2


def test_what_a_killed_process_left(model, tmp_path):
    left = tmp_path / ".work-x"
    left.mkdir(parents=True)
    (left / "lock").write_text("")
    with UniversalSLIProcessor(model, config("nf4"), cache_dir=tmp_path):
        assert not left.exists()


def test_refused(model, tmp_path):
    with pytest.raises(halftone.NotFoundError):
        UniversalSLIProcessor(tmp_path / "nothing", config("nf4"), cache_dir=tmp_path / "c")
    with pytest.raises(halftone.LimitError, match="max_cache_size_gb"):
        UniversalSLIProcessor(model, config("nf4"), cache_dir=tmp_path / "c", max_cache_size_gb=0.002)
    with pytest.raises(halftone.UsageError, match="AdaptiveQuantizer"):
        UniversalSLIProcessor(model, q.get_mixed_precision_config())
    for wrong in ({"max_memory_cache_size_gb": -1}, {"max_cache_size_gb": float("nan")}):
        with pytest.raises(halftone.UsageError):
            UniversalSLIProcessor(model, config("nf4"), cache_dir=tmp_path / "c", **wrong)
    processor = UniversalSLIProcessor(model, config("nf4"), cache_dir=tmp_path / "c")
    processor.close()
    processor.close()
    with pytest.raises(halftone.UsageError, match="closed"):
        processor.logits([1])
    assert not list((tmp_path / "c").glob(".work-*")) and isinstance(processor.stats(), layer_cache.LayerCacheStats)
