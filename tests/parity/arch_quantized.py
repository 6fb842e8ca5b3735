"""Checkpoints whose weights are stored in blocks, made from plain ones: block-scaled FP8 and gpt-oss' MXFP4."""
import json
import os
import shutil

import torch
from safetensors.torch import load_file, save_file


def weights_of(folder):
    return load_file(os.path.join(folder, "model.safetensors"))


def put_weights(folder, tensors):
    save_file({k: v.contiguous() for k, v in tensors.items()}, os.path.join(folder, "model.safetensors"),
              metadata={"format": "pt"})


def edit_config(folder, **values):
    path = os.path.join(folder, "config.json")
    with open(path) as file:
        config = json.load(file)
    config.update(values)
    with open(path, "w") as file:
        json.dump(config, file)


def fp8(weight, block):
    """Codes, a factor for each block, and the weights that they stand for. The last blocks may be cut short."""
    rows, columns = (-(-n // b) for n, b in zip(weight.shape, block))
    scales = torch.empty(rows, columns)
    codes = torch.empty(weight.shape, dtype=torch.float8_e4m3fn)
    plain = torch.empty_like(weight)
    for i in range(rows):
        for j in range(columns):
            part = (slice(i * block[0], (i + 1) * block[0]), slice(j * block[1], (j + 1) * block[1]))
            scales[i, j] = weight[part].abs().max() / 448
            codes[part] = (weight[part] / scales[i, j]).to(torch.float8_e4m3fn)
            plain[part] = codes[part].float() * scales[i, j]
    return codes, scales, plain


def to_fp8(folder, plain_folder, block=(32, 20)):
    """Every projection of the folder becomes FP8; plain_folder gets the weights that these are."""
    shutil.copytree(folder, plain_folder)
    stored, plain = {}, {}
    for name, weight in weights_of(folder).items():
        plain[name] = stored[name] = weight
        if name.endswith("_proj.weight") or "_a_proj" in name or "_b_proj" in name:
            stored[name], stored[name + "_scale_inv"], plain[name] = fp8(weight, block)
    assert len(stored) > len(plain)
    put_weights(folder, stored)
    put_weights(plain_folder, plain)
    edit_config(folder, quantization_config=dict(quant_method="fp8", fmt="e4m3", activation_scheme="dynamic",
                                                 weight_block_size=list(block)))


FP4 = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6])


def to_mxfp4(folder, plain_folder):
    """Experts of random nibbles and scales: [experts, rows, blocks, 16], the low nibble first."""
    shutil.copytree(folder, plain_folder)
    stored, plain = {}, {}
    for name, weight in weights_of(folder).items():
        plain[name] = stored[name] = weight
        if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
            continue
        experts, inputs, rows = weight.shape
        codes = torch.randint(0, 256, (experts, rows, inputs // 32, 16), dtype=torch.uint8)
        scales = torch.randint(120, 124, (experts, rows, inputs // 32), dtype=torch.uint8)
        values = torch.stack([FP4[(codes & 15).long()], FP4[(codes >> 4).long()]], dim=-1).flatten(-2)
        values = values * torch.exp2(scales.float() - 127).unsqueeze(-1)
        plain[name] = values.reshape(experts, rows, inputs).transpose(1, 2)
        del stored[name]
        stored[name + "_blocks"], stored[name + "_scales"] = codes, scales
    assert len(stored) > len(plain)
    put_weights(folder, stored)
    put_weights(plain_folder, plain)
    edit_config(folder, quantization_config=dict(quant_method="mxfp4"))
