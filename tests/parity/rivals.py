"""Folders as the programs that quantize write them, each with its own quantizer, packer and configuration, and the model's
weights as that program decodes them from the folder: rows of check_packed_logits.py that need the Python of GPTQModel."""
import json
import logging
import os
import pathlib
import shutil
import types

import clients
from no_datasets import without_datasets
import torch
from compressed_tensors.compressors import ModelCompressor
from compressed_tensors.quantization import QuantizationArgs, QuantizationConfig, QuantizationScheme, apply_quantization_config
from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer, FineGrainedFP8Config
from transformers.integrations.finegrained_fp8 import Fp8Quantize

logging.getLogger("tokenicer").setLevel(logging.ERROR)


def weights_in(model):
    """By name, as the model computes with them; what is not packed too, and what it keeps beside its weights."""
    names = set()
    for where, module in model.named_modules():
        packed = clients.is_packed(module)
        names.update((where, leaf) for leaf, p in module._parameters.items() if p is not None and not (packed and leaf == "weight"))
        if packed:
            names.add((where, "weight"))
    return {f"{where}.{leaf}": clients.weight_of(model.get_submodule(where), leaf).float() for where, leaf in names}


# ---- GPTQModel: calibrates, quantizes and saves; its plain layers load ----

def gptqmodel(**options):
    def make(source, folder):
        from gptqmodel import GPTQModel, QuantizeConfig
        generator = torch.Generator().manual_seed(5)
        texts = [dict(input_ids=torch.randint(0, 300, (64,), generator=generator).tolist(), attention_mask=[1] * 64)
                 for _ in range(8)]
        # pack_impl: the packer that is not compiled first
        model = GPTQModel.load(source, QuantizeConfig(pack_impl="original", **options), device="cpu")
        model.quantize(texts, batch_size=1)
        model.save(folder)
        awq = options.get("method") == "awq"  # which keeps scales in the model's dtype
        return weights_in(clients.load_gptqmodel(folder, awq, torch.bfloat16 if awq else torch.float16))
    return make


# ---- AutoRound: rounds to nearest and exports; its own layers load its own form, GPTQModel's the others ----

def auto_round(form, **options):
    def make(source, folder):
        without_datasets()
        from auto_round import AutoRound
        work = pathlib.Path(folder + ".work")
        # a model, not its path: of a path it would quantize in processes of its own, which would ask for `datasets` again
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
        AutoRound(model, AutoTokenizer.from_pretrained(source), iters=0, disable_opt_rtn=True, device_map="cpu", low_cpu_mem_usage=False,
                  **options).quantize_and_save(str(work), format=form)
        made = work if (work / "config.json").exists() else next(work.iterdir())
        shutil.move(made, folder)
        if form != "auto_round":  # its own configuration would choose kernels that are compiled first
            return weights_in(clients.load_gptqmodel(folder, form == "auto_awq"))
        return weights_by_layers(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float16, device_map="cpu").eval())
    return make


def weights_by_layers(model):
    """What each layer multiplies with, from its products with unit vectors."""
    found = {}
    for name, module in model.named_modules():
        if not hasattr(module, "qweight"):
            found.update({f"{name}.{leaf}": p.detach().float() for leaf, p in module._parameters.items() if p is not None})
            continue
        n_in = module.in_features if hasattr(module, "in_features") else module.infeatures
        with torch.no_grad():
            found[f"{name}.weight"] = module(torch.eye(n_in, dtype=torch.float16)).T.float().contiguous()
    return found


# ---- compressed-tensors: its ModelCompressor, with the scales of its own observers' arithmetic ----

def compressed_tensors(inputs=None, **args):
    args = QuantizationArgs(symmetric=True, **args)

    def make(source, folder):
        model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
        scheme = QuantizationScheme(targets=["Linear"], weights=args, input_activations=inputs)
        apply_quantization_config(model, QuantizationConfig(config_groups={"group_0": scheme}, ignore=["lm_head"]))
        for module in model.modules():
            if hasattr(module, "quantization_scheme"):
                calibrate(module, args)
        compressor = ModelCompressor.from_pretrained_model(model)
        compressor.compress_model(model)
        model.save_pretrained(folder)
        compressor.update_config(folder)
        return weights_in(clients.load(folder))
    return make


def calibrate(module, args):
    weight = module.weight.data
    tiles = weight.reshape(weight.shape[0], -1, args.group_size or weight.shape[1])
    shared = None
    if args.strategy == "tensor_group":
        shared = generate_gparam(weight.min(), weight.max())
        module.weight_global_scale.data.copy_(shared)
    scale, _ = calculate_qparams(tiles.amin(2), tiles.amax(2), args, global_scale=shared)
    module.weight_scale.data.copy_(scale)


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


GROUP = dict(strategy="group", type="int")
TOKENS = dict(num_bits=8, strategy="token", dynamic=True)
SOURCES = {
    "GPTQ": gptqmodel(bits=4, group_size=128, desc_act=True),
    "GPTQ of 3 bits": gptqmodel(bits=3, group_size=64, sym=False),
    "AWQ": gptqmodel(bits=4, group_size=128, method="awq", format="gemm"),
    "AutoRound gptq": auto_round("auto_round", scheme="W4A16"),
    "GPTQ by AutoRound": auto_round("auto_gptq", scheme="W8A16"),
    "AWQ by AutoRound": auto_round("auto_awq", scheme="W4A16", sym=False),
    "compressed-tensors w4a16": compressed_tensors(num_bits=4, group_size=128, **GROUP),
    "compressed-tensors w8a16": compressed_tensors(num_bits=8, group_size=64, **GROUP),
    "compressed-tensors w8a8": compressed_tensors(num_bits=8, type="int", strategy="channel",
                                                  inputs=QuantizationArgs(type="int", **TOKENS)),
    "compressed-tensors fp8": compressed_tensors(num_bits=8, type="float", strategy="channel",
                                                 inputs=QuantizationArgs(type="float", **TOKENS)),
    "compressed-tensors nvfp4": compressed_tensors(num_bits=4, type="float", strategy="tensor_group", group_size=16,
                                                   scale_dtype=torch.float8_e4m3fn),
    "HQQ": hqq(nbits=4, group_size=64, axis=1),
    "HQQ of 3 bits": hqq(nbits=3, group_size=64, axis=0),
    "fp8": finegrained_fp8,
}
