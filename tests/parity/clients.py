"""What the programs that load packed checkpoints compute with, on the CPU: their modules' weights as they decode them."""
import os

os.environ["GPTQMODEL_CPU_WORKERS"] = "2"  # with two cores or fewer it would refuse to load
os.environ["TORCHDYNAMO_DISABLE"] = "1"  # nothing here runs often enough to be compiled

import bnb_plain  # noqa: F401
import torch
from transformers import AutoModelForCausalLM

PACKED = ("Linear4bit", "Linear8bitLt", "TorchLinear", "AwqTorchLinear")


def is_packed(module):
    """By its class' name: the programs are imported where one of their modules is met."""
    return type(module).__name__ in PACKED


def load(path, dtype=torch.bfloat16):
    """By transformers, with the program that the folder's configuration names."""
    model = AutoModelForCausalLM.from_pretrained(path, dtype=dtype, attn_implementation="eager").eval()
    if any(hasattr(module, "quantization_scheme") for module in model.modules()):
        with torch.no_grad():
            model(torch.tensor([[1]]))  # compressed-tensors decompresses at the first pass
    return model


def load_gptqmodel(path, awq=False, dtype=torch.float16):
    """dtype: of the folder's scales, as they are decoded in it."""
    from gptqmodel import BACKEND, GPTQModel
    return GPTQModel.load(str(path), device="cpu", dtype=dtype, attn_implementation="eager",
                          backend=BACKEND.AWQ_TORCH if awq else BACKEND.GPTQ_TORCH).model.eval()


def weight_of(module, leaf="weight"):
    """What the module computes with, in the dtype that it is decoded to."""
    if leaf != "weight" or not is_packed(module):
        return getattr(module, leaf).detach()
    kind = type(module).__name__
    if kind == "TorchLinear":
        return module.dequantize_weight().T
    if kind == "AwqTorchLinear":
        from gptqmodel.quantization.awq.utils.packing_utils import dequantize_gemm
        return dequantize_gemm(module.qweight, module.qzeros, module.scales, 4, module.group_size).T
    from bitsandbytes import functional
    if kind == "Linear4bit":
        return functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
    state = module.state
    codes, scale = (state.CB, state.SCB) if state.CB is not None else (module.weight.data, module.weight.SCB)
    return functional.int8_vectorwise_dequant(codes, scale)


def in_float32(model):
    """All that is not packed; packed weights keep the dtype that they are decoded to."""
    for module in model.modules():
        if is_packed(module):
            continue
        for tensors in (module._parameters, module._buffers):
            for tensor in tensors.values():
                if tensor is not None and tensor.is_floating_point():
                    tensor.data = tensor.data.float()
    return model


def logits_of(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].float().numpy()
