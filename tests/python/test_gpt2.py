"""GPT-2, whose code keeps matrices turned round (Conv1D): folders as bitsandbytes loads them, read back by us and by transformers."""
import shutil

import halftone
import pytest

torch = pytest.importorskip("torch", reason="this environment is one without PyTorch")
transformers = pytest.importorskip("transformers")

from halftone.sli import quantization as q  # noqa: E402
from halftone.sli.universal_sli import UniversalSLIProcessor  # noqa: E402

IDS = [5, 17, 300, 2, 99, 1024, 7]


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory, model):
    """A small one, with the tokenizer of the shipped model."""
    folder = tmp_path_factory.mktemp("gpt2") / "gpt2"
    torch.manual_seed(0)
    made = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        n_embd=128, n_layer=2, n_head=4, vocab_size=4096, n_positions=64, bos_token_id=0, eos_token_id=0, initializer_range=0.1)).eval()
    made.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model / name, folder)
    return folder, made


def distance(a, b):
    return ((a - b).square().mean() / a.square().mean()).sqrt().item()


@pytest.mark.parametrize("mode, scheme", [("nf4", "nf4:nested=on"), ("fp4", "fp4"), ("int8", "int8")])
def test_folders(mode, scheme, gpt2, tmp_path):
    """What the library writes is what LayerQuantizer makes of the same Conv1D, bit by bit; the loss is that of the scheme."""
    source, made = gpt2
    folder = halftone.quantize(source, scheme, tmp_path)["outputs"][0]["path"]
    c = q.QuantizationConfig(mode=mode, double_quant="nested" in scheme, compute_dtype=torch.float32, llm_int8_skip_modules=["lm_head"])
    ours = q.LayerQuantizer(c).quantize_layer(made)
    with halftone.Model(folder) as m, halftone.Model(source) as whole, torch.no_grad():
        assert m.packed_as and m.tensors["transformer.h.0.mlp.c_fc.weight"].scheme.startswith(mode)
        for name in ("h.0.attn.c_attn", "h.1.attn.c_proj", "h.0.mlp.c_fc", "h.1.mlp.c_proj"):
            read = m.tensors[f"transformer.{name}.weight"].read(kind="torch")
            module = ours.transformer.get_submodule(name)
            assert torch.equal(read, module.dequantized().t()) and read.shape == made.transformer.get_submodule(name).weight.shape
        logits, floats = m.logits(IDS, kind="torch"), whole.logits(IDS, kind="torch")
        assert 1e-4 < distance(floats, logits) < 0.4
        if mode != "int8":  # which rounds inputs too in PyTorch
            assert distance(ours(torch.tensor([IDS])).logits[0], logits) < 2e-3


@pytest.mark.parametrize("mode", ["nf4", "int8"])
def test_transformers_loads_it(mode, gpt2, tmp_path):
    pytest.importorskip("bitsandbytes")
    folder = halftone.quantize(gpt2[0], mode, tmp_path)["outputs"][0]["path"]
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    assert type(theirs.transformer.h[0].attn.c_attn).__name__ in ("Linear4bit", "Linear8bitLt")
    with halftone.Model(folder) as m, torch.no_grad():
        assert distance(theirs(torch.tensor([IDS])).logits[0].float(), m.logits(IDS, kind="torch")) < (0.05 if mode == "int8" else 0.02)  # which computes in bfloat16


def test_one_command_and_processor(gpt2, tmp_path):
    report = halftone.quantize(gpt2[0], method="bnb_4bit", output=tmp_path / "model.pytorch")
    assert report["outputs"][0]["type"].startswith("nf4")
    with UniversalSLIProcessor(gpt2[0], q.get_nf4_config(), cache_dir=tmp_path / "c") as processor:
        layer = processor.get_layer(0)
        assert layer.attn.c_attn.mode == "nf4" and layer.attn.c_attn.weight.numel() and layer.mlp.c_fc.out_features == 512
        assert torch.equal(layer.mlp.c_fc.bias, gpt2[1].transformer.h[0].mlp.c_fc.bias) and "".join(processor.generate("Once", 4))


def test_schemes_of_linears_alone(gpt2, tmp_path):
    with pytest.raises(halftone.UnsupportedError, match="suits none"):
        halftone.quantize(gpt2[0], "w8a8", tmp_path)
    q8 = halftone.quantize(gpt2[0], "Q8_0", tmp_path)["outputs"][0]["path"]
    folder = halftone.quantize(q8, "nf4", tmp_path, allow_requantize=True)["outputs"][0]["path"]  # a GGUF file becomes such a folder, too
    with halftone.Model(folder) as m, halftone.Model(gpt2[0]) as whole:
        assert 1e-4 < distance(whole.logits(IDS, kind="torch"), m.logits(IDS, kind="torch")) < 0.3
