"""Folders as the programs that quantize write them, each with its own quantizer, packer and configuration, and the model's
weights as that program decodes them from the folder: rows of check_packed_logits.py that need the Python of GPTQModel."""
import json
import os
import pathlib
import shutil
import types

import clients
import torch
from safetensors.torch import load_file, save_file
from transformers import FineGrainedFP8Config
from transformers.integrations.finegrained_fp8 import Fp8Quantize


def weights_in(model):
    """By name, as the model computes with them; what is not packed too, and what it keeps beside its weights."""
    names = set()
    for where, module in model.named_modules():
        for leaf in {"weight"} if clients.is_packed(module) else module._parameters:
            if getattr(module, leaf, None) is not None:
                names.add((where, leaf))
    return {f"{where}.{leaf}": clients.weight_of(model.get_submodule(where), leaf).float() for where, leaf in names}


# ---- hqq and transformers' FP8: their layers' state in a folder ----

def save(source, folder, pack, quantization):
    """pack: a module's name and its weight to the tensors that are stored and the weight that these are."""
    shutil.copytree(source, folder)
    file = os.path.join(folder, "model.safetensors")
    stored, weights = {}, {}
    for name, weight in load_file(file).items():
        stored[name] = weights[name] = weight
        if name.endswith("_proj.weight"):
            del stored[name]
            tensors, weights[name] = pack(name, weight)
            stored.update(tensors)
    save_file({k: v.contiguous() for k, v in stored.items()}, file, metadata={"format": "pt"})
    path = pathlib.Path(folder, "config.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "quantization_config": quantization}))
    return {k: v.float() for k, v in weights.items()}


def hqq(**options):
    def make(source, folder):
        from hqq.core.quantize import BaseQuantizeConfig, HQQLinear
        config = dict(BaseQuantizeConfig(**options))

        def pack(name, weight):
            linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=False)
            linear.weight.data = weight
            layer = HQQLinear(linear, json.loads(json.dumps(config)), compute_dtype=weight.dtype, device="cpu")
            return ({f"{name.removesuffix('.weight')}.{k}": v.detach() for k, v in layer.state_dict().items()},
                    layer.dequantize())
        return save(source, folder, pack, {"quant_method": "hqq", "quant_config": config, "skip_modules": ["lm_head"]})
    return make


def finegrained_fp8(source, folder):
    config = FineGrainedFP8Config(weight_block_size=(128, 128))
    quantizer = Fp8Quantize(types.SimpleNamespace(quantization_config=config))
    told = {"quant_method": "fp8", "weight_block_size": [128, 128], "activation_scheme": "dynamic"}
    save(source, folder, lambda name, weight: (quantizer._quantize_one(name, weight), weight), told)
    return weights_in(clients.load(folder))


SOURCES = {
    "HQQ": hqq(nbits=4, group_size=64, axis=1),
    "HQQ of 3 bits": hqq(nbits=3, group_size=64, axis=0),
    "fp8": finegrained_fp8,
}
