"""Layers quantized one by one, against bitsandbytes, the float layer and a double reference."""
import copy
import json

import halftone
import pytest

torch = pytest.importorskip("torch", reason="this environment is one without PyTorch")
from torch import nn  # noqa: E402

from halftone.sli import quantization as q  # noqa: E402
from halftone.sli.quantization import (  # noqa: E402
    AdaptiveQuantizer, LayerQuantizer, QuantizationConfig, QuantizationMode, QuantizationRegistry)

MODES = [m for m in QuantizationMode if m is not QuantizationMode.NONE]
# Root of the mean squared difference of outputs, by that of the output: what the weights' rounding and the compute dtype lose
LOSSES = {"int8": 0.02, "int8_dynamic": 0.02, "nf4": 0.12, "fp4": 0.16, "int4": 0.16}


def linear(n_in=256, n_out=128, dtype=torch.float32, bias=True, seed=0):
    torch.manual_seed(seed)
    return nn.Linear(n_in, n_out, bias=bias).to(dtype)


def loss(a, b):
    return ((a.double() - b.double()).square().mean() / a.double().square().mean()).sqrt().item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", MODES)
def test_forward(mode, dtype):
    layer = linear(dtype=dtype)
    before = layer.weight.clone()
    made = LayerQuantizer(QuantizationConfig(mode=mode)).quantize_layer(layer)
    x = torch.randn(2, 5, 256).to(dtype)
    y = made(x)
    assert y.dtype is dtype and y.shape == (2, 5, 128) and 1e-5 < loss(layer(x), y) < LOSSES[mode.value]
    assert torch.equal(layer.weight, before) and type(layer) is nn.Linear
    # a double reference over the stored weight
    w = made.dequantized().double()
    reference = x.double() @ w.t() + layer.bias.double()
    assert loss(reference, y) < (0.02 if "int8" in mode.value else 0.006)


def test_int8_outliers():
    """Large inputs are multiplied as floats: without that they would spoil the others."""
    layer, x = linear(), torch.randn(16, 256)
    x[:, 7] = 300.0
    with_ = LayerQuantizer(QuantizationConfig(mode=QuantizationMode.INT8)).quantize_layer(layer)
    without = LayerQuantizer(QuantizationConfig(mode=QuantizationMode.INT8, llm_int8_threshold=0.0)).quantize_layer(layer)
    rest = layer(x) - x[:, 7:8] * layer.weight[:, 7]
    by = [made(x) - x[:, 7:8] * made.dequantized()[:, 7] for made in (with_, without)]
    assert loss(rest, by[0]) < 0.02 < 0.2 < loss(rest, by[1])


@pytest.mark.parametrize("mode, bits", [("int8", 8.04), ("int8_dynamic", 8.04), ("nf4", 4.14), ("fp4", 4.14), ("int4", 4.13)])
def test_size_counts_scales(mode, bits):
    made = q.quantize_layer(linear(1024, 1024, torch.float16), mode)
    ratio = LayerQuantizer().get_quantized_size_ratio(made)
    assert bits - 0.12 < 16 * ratio < bits + 0.02
    stored = sum(p.numel() * p.element_size() for p in made.parameters() if p is not made.bias)
    assert stored == made.quantized_bytes()
    assert LayerQuantizer().get_quantized_size_ratio(linear()) == 1


def test_given_in_16_bits():
    """Weights go to the library as they are, and the bytes are those of the same numbers in 32 bits."""
    for dtype, name in ((torch.bfloat16, "bf16"), (torch.float16, "f16")):
        x = linear().weight.detach().to(dtype)
        for scheme in halftone.schemes():
            if scheme.can_write:
                a, b = halftone.quantize_matrix(scheme.name, x), halftone.quantize_matrix(scheme.name, x.float(), dtype=name)
                assert a.dtype == name and all(torch.equal(a.parts[s].view(torch.uint8), p.view(torch.uint8)) for s, p in b.parts.items())
    x[3, 5] = float("inf")
    with pytest.raises(halftone.NonFiniteError, match="row 3, column 5"):
        halftone.quantize_matrix("nf4", x)


@pytest.mark.parametrize("mode", MODES)
def test_back(mode):
    layer = linear()
    made = q.quantize_layer(layer, mode)
    back = q.dequantize_layer(made, compute_dtype=torch.float32)
    assert type(back) is nn.Linear and back.weight.dtype is torch.float32
    assert torch.equal(back.weight, made.dequantized()) and torch.equal(back.bias, layer.bias)
    assert 1e-4 < loss(layer.weight, back.weight) < LOSSES[mode.value]
    assert q.dequantize_layer(made).weight.dtype is torch.float16
    quantizer = LayerQuantizer()
    assert quantizer.is_quantized(made) and not quantizer.is_quantized(back)
    with pytest.raises(halftone.UsageError, match="nothing"):
        quantizer.dequantize_layer(back)


@pytest.mark.parametrize("mode", [QuantizationMode.NF4, QuantizationMode.FP4])
@pytest.mark.parametrize("nested", [True, False])
def test_same_bytes_as_bitsandbytes(mode, nested):
    bnb = pytest.importorskip("bitsandbytes")
    layer = linear(dtype=torch.bfloat16)
    c = QuantizationConfig(mode=mode, double_quant=nested, compute_dtype=torch.float32)
    ours = LayerQuantizer(c).quantize_layer(layer)
    theirs = bnb.nn.Linear4bit(256, 128, compute_dtype=torch.float32, quant_type=mode.value, compress_statistics=nested)
    theirs.load_state_dict(layer.state_dict())
    theirs = theirs.to("cpu")
    state = theirs.weight.quant_state.as_dict(packed=True)
    assert torch.equal(theirs.weight.data, ours.parts[".weight"])
    assert torch.equal(state["absmax"], ours.parts[".weight.absmax"])
    module = LayerQuantizer(c, backend="bitsandbytes").quantize_layer(layer)
    assert type(module) is bnb.nn.Linear4bit and torch.equal(module.weight.data, theirs.weight.data)
    quantizer = LayerQuantizer(c)
    assert quantizer.is_quantized(module) and loss(ours.dequantized(), quantizer.dequantize_layer(module).weight) < 1e-3
    assert abs(quantizer.get_quantized_size_ratio(module) - quantizer.get_quantized_size_ratio(ours)) < 0.01


def test_int8_in_bitsandbytes():
    bnb = pytest.importorskip("bitsandbytes")
    layer = linear(dtype=torch.float16)
    c = QuantizationConfig(mode=QuantizationMode.INT8)
    module = LayerQuantizer(c, backend="bitsandbytes").quantize_layer(layer)
    assert type(module) is bnb.nn.Linear8bitLt
    x = torch.randn(4, 256).half()
    ours = LayerQuantizer(c).quantize_layer(layer)
    assert torch.equal(module.weight.data, ours.parts[".weight"]) and loss(layer(x), module(x)) < 0.03
    assert loss(module(x), ours(x)) < 0.01
    with pytest.raises(halftone.UnsupportedError):
        LayerQuantizer(QuantizationConfig(mode=QuantizationMode.INT4), backend="bitsandbytes").quantize_layer(layer)


class Block(nn.Module):
    """Names as models have them."""

    def __init__(self):
        super().__init__()
        self.self_attn = nn.ModuleDict({n: nn.Linear(64, 64) for n in ("q_proj", "k_proj", "v_proj", "o_proj")})
        self.mlp = nn.ModuleDict({n: nn.Linear(64, 64) for n in ("gate_proj", "up_proj", "down_proj")})
        self.gate = nn.Linear(64, 64)
        self.norm = nn.LayerNorm(64)


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed_tokens = nn.Embedding(10, 64)
        self.layers = nn.ModuleList([Block(), Block()])
        self.value_net = nn.Linear(64, 64)
        self.keyboard = nn.Linear(64, 64)
        self.lm_head = nn.Linear(64, 10)


def modes(model):
    return {n: getattr(m, "mode", None) for n, m in model.named_modules()
            if isinstance(m, (nn.Linear, q.QuantizedLinear))}


def test_adaptive():
    torch.manual_seed(0)
    model = Small()
    made = q.get_mixed_precision_config().quantize_model(model)
    found = modes(made)
    for layer in "01":
        for n in ("q_proj", "k_proj", "v_proj", "o_proj"):
            assert found[f"layers.{layer}.self_attn.{n}"] == "int8"
        for n in ("gate_proj", "up_proj", "down_proj"):
            assert found[f"layers.{layer}.mlp.{n}"] == "nf4"
    assert found["lm_head"] is None and found["keyboard"] == "nf4"
    assert set(modes(model).values()) == {None}, "the model itself is as it was"
    assert made.layers[0].norm.weight is model.layers[0].norm.weight, "what is not quantized is shared"
    wrapped = AdaptiveQuantizer(q.get_mixed_precision_config())
    assert modes(wrapped.quantize_model(model)) == found


@pytest.mark.parametrize("base, above", [("nf4", "int8"), ("fp4", "int8"), ("int4", "int8"), ("int8", "int8_dynamic"),
                                         ("int8_dynamic", "none"), ("none", "none")])
def test_hierarchy(base, above):
    a = AdaptiveQuantizer(QuantizationConfig(mode=QuantizationMode(base)))
    assert a.attention_config.mode.value == above and a.ffn_config is a.base_config
    assert a.get_config_for_layer("model.layers.0.self_attn.q_proj") is a.attention_config
    assert a.get_config_for_layer("transformer.h.0.attn.c_attn") is a.attention_config
    assert a.get_config_for_layer("encoder.layer.0.attention.self.query") is a.attention_config
    assert a.get_config_for_layer("transformer.h.0.mlp.c_fc") is a.ffn_config
    assert a.get_config_for_layer("decoder.layers.0.fc1") is a.ffn_config
    assert a.get_config_for_layer("keyboard") is a.base_config


def test_skipped():
    c = QuantizationConfig(mode=QuantizationMode.INT8, llm_int8_skip_modules=["lm_head", "self_attn", "gate", "norm"])
    found = modes(LayerQuantizer(c).quantize_layer(Small()))
    assert found["lm_head"] is None and found["layers.0.self_attn.q_proj"] is None and found["layers.0.gate"] is None
    assert found["layers.0.mlp.gate_proj"] == "int8", "gate is not gate_proj"
    layer = linear()
    assert LayerQuantizer(c).quantize_layer(layer, "model.layers.0.self_attn") is layer
    assert LayerQuantizer().quantize_layer(layer) is layer, "NONE"


def test_transformers():
    """A real model: GPT-2's Conv1D too, and the output of the quantized model near that of the float model."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(n_embd=64, n_layer=2, n_head=4, vocab_size=100)).eval()
    c = QuantizationConfig(mode=QuantizationMode.INT8, llm_int8_skip_modules=["lm_head"])
    made = AdaptiveQuantizer(c, attention_config=c).quantize_model(model)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        assert loss(model(ids).logits, made(ids).logits) < 0.05
    assert type(model.transformer.h[0].attn.c_attn).__name__ == "Conv1D"
    assert isinstance(made.transformer.h[0].attn.c_attn, q.Int8Linear)
    back = LayerQuantizer(QuantizationConfig(compute_dtype=torch.float32)).dequantize_layer(made)
    with torch.no_grad():
        assert loss(model(ids).logits, back(ids).logits) < 0.05


def test_moves_and_is_saved(tmp_path):
    made = q.quantize_layer(linear(), "nf4")
    x = torch.randn(3, 256)
    again = copy.deepcopy(made)
    torch.save(made.state_dict(), tmp_path / "s.pt")
    again.load_state_dict(torch.load(tmp_path / "s.pt", weights_only=True))
    assert torch.equal(made(x), again(x)) and torch.equal(made.to("cpu")(x), again(x))
    assert not any(p.requires_grad for n, p in made.named_parameters() if n != "bias")


def test_config_as_a_dict():
    c = QuantizationConfig(mode=QuantizationMode.INT8, llm_int8_skip_modules=["lm_head"])
    data = json.loads(json.dumps(c.to_dict()))
    assert data["mode"] == "int8" and data["compute_dtype"] == "torch.float16"
    assert QuantizationConfig.from_dict(data) == c
    for wrong in ({"mod": "int8"}, {"mode": "int9"}, {"compute_dtype": "torch.nothing"}, {"compute_dtype": "torch.int8"},
                  {"mode": "nf4", "quant_type": "fp4"}, {"quant_type": "int8"}, {"llm_int8_threshold": -1}):
        with pytest.raises(halftone.UsageError):
            QuantizationConfig.from_dict(wrong)


def test_registry():
    assert QuantizationRegistry.list_configs()[:3] == ["int8", "nf4", "fp4"]
    QuantizationRegistry.register("my_custom_int8", QuantizationConfig(mode=QuantizationMode.INT8, llm_int8_threshold=8.0))
    assert QuantizationRegistry.get("my_custom_int8").llm_int8_threshold == 8 and "my_custom_int8" in QuantizationRegistry.list_configs()
    QuantizationRegistry.get("nf4").double_quant = False
    assert QuantizationRegistry.get("nf4").double_quant, "what is handed out is a copy"
    with pytest.raises(halftone.NotFoundError, match="int8, nf4, fp4"):
        QuantizationRegistry.get("nf5")
    with pytest.raises(halftone.UsageError):
        QuantizationRegistry.register("x", "int8")


@pytest.mark.parametrize("kind, call", [
    (halftone.UnsupportedError, lambda: q.quantize_layer(nn.LayerNorm(4))),
    (halftone.UsageError, lambda: q.quantize_layer(linear(), "int9")),
    (halftone.UsageError, lambda: q.quantize_layer(linear().double(), "nf4")),
    (halftone.UsageError, lambda: q.quantize_layer(nn.Linear(4, 4, device="meta"), "nf4")),
    (halftone.UsageError, lambda: q.quantize_layer(q.quantize_layer(linear(), "nf4"), "nf4")),
    (halftone.UsageError, lambda: LayerQuantizer("nf4")),
    (halftone.UsageError, lambda: LayerQuantizer(backend="other")),
    (halftone.UsageError, lambda: q.quantize_layer(linear(), "nf4", quant_storage_dtype=torch.int8)),
    (TypeError, lambda: q.quantize_layer(linear(), "nf4", no_such_member=1)),
])
def test_refused(kind, call):
    with pytest.raises(kind):
        call()


def test_not_finite():
    layer = linear()
    layer.weight.data[3, 5] = float("nan")
    with pytest.raises(halftone.NonFiniteError) as caught:
        LayerQuantizer(QuantizationConfig(mode=QuantizationMode.NF4)).quantize_layer(layer, "model.layers.0.mlp.up_proj")
    assert caught.value.where == "model.layers.0.mlp.up_proj"


def test_bitsandbytes_missing(monkeypatch):
    monkeypatch.setattr(q, "BITSANDBYTES_AVAILABLE", False)
    with pytest.raises(ImportError, match="bitsandbytes is required for int8 quantization"):
        LayerQuantizer(q.get_int8_config(), backend="bitsandbytes")
    assert q.quantize_layer(linear(), "int8").mode == "int8", "nothing else needs it"


def test_torch_tensors_in_place():
    x = torch.randn(4, 256)
    packed = halftone.encode("q4_k", x)
    assert isinstance(packed, torch.Tensor) and packed.dtype is torch.uint8
    assert isinstance(halftone.decode("q4_k", packed), torch.Tensor)
    out = torch.zeros(4, 256)
    assert halftone.decode("q4_k", packed, out=out) is out and out.abs().sum() > 0
    assert halftone.encode("q4_k", x.requires_grad_()).shape == packed.shape
    for wrong in (x.detach().t(), x.detach().double(), x.detach().bfloat16(), torch.empty(4, 256, device="meta")):
        with pytest.raises(halftone.UsageError):
            halftone.encode("q4_k", wrong)
