#!/usr/bin/env python3
"""Folders whose weights other programs packed, converted to F32 GGUF: every weight is, bit by bit, what the program that
packed it makes of it. compressed_tensors' compressors and transformers' FP8 quantizer pack and decode; the forms of
ModelOpt, GPTQ, AWQ, AutoRound and HQQ are laid out by NumPy and torch as their checkpoints have them. Then the folders that
`quantize` writes of the example model: every weight is what the library makes of the folder's parts.

Environment: HT_CLI, HT_BUILD. Exit status: 0 passed, 1 failed, 77 skipped.
"""
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import types

try:
    import converter  # noqa: F401 (its gguf is the newest)
    import gguf
    import numpy as np
    import torch
    import transformers
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam
    from safetensors.torch import save_file
    from safetensors import safe_open
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize, Fp8Quantize
except ImportError as missing:
    print(f"SKIPPED check_packed_sources: the Python package {missing.name} is not here")
    sys.exit(77)

import int_layouts
from matrices import Halftone

ROOT = pathlib.Path(__file__).resolve().parents[2]
CLI = os.environ.get("HT_CLI", str(ROOT / "build" / "halftone"))
EXAMPLE = ROOT / "examples" / "model"
CONFIG = dict(vocab_size=256, hidden_size=256, intermediate_size=384, num_hidden_layers=1, num_attention_heads=4,
              num_key_value_heads=4, head_dim=64, tie_word_embeddings=False, dtype="bfloat16")
FLOAT = {"type": "float", "symmetric": True}
INT = {"type": "int"}


# ---- what packs: a weight to its tensors and to what they are decoded to ----

def compressed_tensors(form, **args):
    told = {**FLOAT, **args}
    args = QuantizationArgs(**told)
    scheme = QuantizationScheme(targets=["Linear"], weights=args)
    compressor = BaseCompressor.get_value_from_registry(form)
    config = {"quant_method": "compressed-tensors", "format": form, "quantization_status": "compressed",
              "config_groups": {"group_0": {"targets": ["Linear"], "weights": {
                  k: str(v) if isinstance(v, torch.dtype) else v for k, v in told.items()}}}, "ignore": ["lm_head"]}

    def pack(w):
        block = args.block_structure or (1, args.group_size or w.shape[1])
        tiles = w.reshape(w.shape[0] // block[0], block[0], -1, block[1])
        low, high = tiles.amin((1, 3)), tiles.amax((1, 3))
        state = {"weight": w}
        if args.strategy == "tensor":
            low, high = w.min(), w.max()
        if args.strategy == "tensor_group":
            state["weight_global_scale"] = generate_gparam(w.min(), w.max())
        state["weight_scale"], zero = calculate_qparams(low, high, args, global_scale=state.get("weight_global_scale"))
        if not args.symmetric:
            state["weight_zero_point"] = zero
        packed = compressor.compress(state, scheme)
        return packed, compressor.decompress(packed, scheme)["weight"]
    return config, pack


def packed_in_order(group):
    """Groups of inputs that do not lie side by side: what older versions wrote as actorder "group"."""
    config, pack = compressed_tensors("pack-quantized", **INT, num_bits=4, strategy="group", group_size=group)
    config["config_groups"]["group_0"]["weights"]["actorder"] = "group"

    def scattered(w):
        order = torch.randperm(w.shape[1], generator=torch.Generator().manual_seed(w.shape[1]))
        packed, values = pack(w[:, order])
        q, decoded = np.empty(w.shape, np.int32), torch.empty_like(values)
        q[:, order] = int_layouts.stream(packed["weight_packed"].numpy(), 4, w.shape[1])
        decoded[:, order] = values
        g_idx = torch.empty(w.shape[1], dtype=torch.int32)
        g_idx[order] = (torch.arange(w.shape[1]) // group).to(torch.int32)
        return {**packed, "weight_packed": torch.from_numpy(int_layouts.to_stream(q, 4)), "weight_g_idx": g_idx}, decoded
    return config, scattered


def finegrained(block, scales="float", **config):
    told = types.SimpleNamespace(weight_block_size=block, scale_fmt=scales)
    quantizer = types.SimpleNamespace(quantization_config=told)

    def pack(w):
        packed = {k.rpartition(".")[2]: v for k, v in Fp8Quantize(quantizer)._quantize_one("m.weight", w).items()}
        packed.update(config.pop("extra", {}))
        return packed, Fp8Dequantize(quantizer)._dequantize_one(packed["weight"], packed["weight_scale_inv"], w.dtype)
    return {"quant_method": "fp8", "weight_block_size": block, **config}, pack


def mxfp8():
    config, pack = finegrained([1, 32], "ue8m0", scale_fmt="ue8m0")

    def bytes_of_scales(w):
        packed, decoded = pack(w)
        return {**packed, "weight_scale_inv": packed["weight_scale_inv"].view(torch.uint8)}, decoded
    return {**config, "quant_method": "mxfp8"}, bytes_of_scales


def modelopt_fp8(rows):
    def pack(w):
        scale = (w.float().abs().amax(1) if rows else w.float().abs().max()) / 448
        q = (w.float() / (scale.unsqueeze(1) if rows else scale)).clamp(-448, 448).to(torch.float8_e4m3fn)
        packed = {"weight": q, "weight_scale": scale}
        if not rows:
            packed["input_scale"] = torch.tensor(0.5)
        return packed, q.float() * (scale.unsqueeze(1) if rows else scale)
    return {"quant_method": "modelopt", "quant_algo": "FP8_PER_CHANNEL_PER_TOKEN" if rows else "FP8"}, pack


def modelopt_nvfp4():
    _, other = compressed_tensors("nvfp4-pack-quantized", num_bits=4, strategy="tensor_group", group_size=16,
                                  scale_dtype=torch.float8_e4m3fn)
    table = torch.tensor([0, .5, 1, 1.5, 2, 3, 4, 6, -0., -.5, -1, -1.5, -2, -3, -4, -6])

    def pack(w):
        packed, _ = other(w)
        codes, scale, scale_2 = packed["weight_packed"], packed["weight_scale"], 1 / packed["weight_global_scale"]
        values = table[torch.stack((codes & 15, codes >> 4), -1).flatten(1).long()].unflatten(1, (-1, 16))
        decoded = (values * (scale.float() * scale_2).unsqueeze(-1)).flatten(1).to(w.dtype)
        return {"weight": codes, "weight_scale": scale, "weight_scale_2": scale_2.reshape(()),
                "input_scale": torch.tensor(0.5)}, decoded
    return {"quant_method": "modelopt", "quant_algo": "NVFP4"}, pack


def fbgemm():
    _, rows = modelopt_fp8(True)

    def pack(w):
        packed, decoded = rows(w)
        return {**packed, "weight_scale": packed["weight_scale"].unsqueeze(1), "input_scale_ub": torch.tensor([1200.0])}, decoded
    return {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, pack


def grid(w, bits, group, order=False):
    """Codes [n_in, n_out], zero points and scales [groups, n_out], and the group of each input."""
    x = w.float().numpy().T
    g_idx = np.arange(x.shape[0]) // group
    if order:
        g_idx = np.random.default_rng(x.shape[0]).permutation(g_idx)
    members = np.stack([x[g_idx == g] for g in range(x.shape[0] // group)])
    low, high = np.minimum(members.min(1), 0), np.maximum(members.max(1), 0)
    most = 2 ** bits - 1
    scales = ((high - low) / most).astype(np.float16)
    zeros = np.clip(np.round(-low / scales.astype(np.float32)), 1, most).astype(np.int32)
    q = np.clip(np.round(x / scales.astype(np.float32)[g_idx]) + zeros[g_idx], 0, most).astype(np.int32)
    return q, zeros, scales, g_idx


def tensors(**arrays):
    return {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in arrays.items()}


def gptq(bits, group, version=1, order=False, method=None):
    def pack(w):
        size = group if group > 0 else w.shape[1]
        q, zeros, scales, g_idx = grid(w, bits, size, order)
        packed = tensors(qweight=int_layouts.to_stream(q.T, bits).T, scales=scales,
                         qzeros=int_layouts.to_stream(zeros - (version == 1), bits))
        if order or not method:
            packed.update(tensors(g_idx=g_idx.astype(np.int32)))
        return packed, torch.from_numpy(int_layouts.weights(q, zeros, scales, g_idx))
    config = {"quant_method": "gptq", "checkpoint_format": "gptq_v2" if version == 2 else "gptq", "desc_act": order}
    return {**(method or config), "bits": bits, "group_size": group, "sym": False}, pack


def awq(group, method=None):
    def fold(codes):
        words = np.zeros((codes.shape[0], codes.shape[1] // 8), np.uint32)
        for nibble, column in enumerate(int_layouts.AWQ_ORDER):
            words |= codes[:, column::8].astype(np.uint32) << np.uint32(4 * nibble)
        return words.view(np.int32)

    def pack(w):
        q, zeros, scales, g_idx = grid(w, 4, group)
        return (tensors(qweight=fold(q), qzeros=fold(zeros), scales=scales),
                torch.from_numpy(int_layouts.weights(q, zeros, scales, g_idx)))
    return {**(method or {"quant_method": "awq", "version": "gemm", "zero_point": True}), "bits": 4, "group_size": group}, pack


def awq_gemv(group):
    def pack(w):
        q, zeros, scales, g_idx = grid(w, 4, group)
        groups, multiple = zeros.shape[0], {32: 4, 64: 2}.get(group, 1)
        pad = ((0, 0), (0, -groups % (8 * multiple)))
        return (tensors(qweight=int_layouts.to_stream(q.T, 4), qzeros=int_layouts.to_stream(np.pad(zeros.T, pad), 4),
                        scales=np.pad(scales.T, pad)),
                torch.from_numpy(int_layouts.weights(q, zeros, scales, g_idx)))
    return {"quant_method": "awq", "version": "gemv", "zero_point": True, "bits": 4, "group_size": group}, pack


def hqq(bits, group, axis):
    def pack(w):
        x = w.reshape((-1, group) if axis == 1 else (group, -1))
        low, most = x.amin(axis, True), 2 ** bits - 1
        scale = ((x.amax(axis, True) - low) / most).to(w.dtype)
        zero = (-low.float() / scale.float()).to(w.dtype)
        q = (x.float() / scale.float() + zero.float()).round().clamp(0, most)
        fold, step = (10, -(-q.shape[0] // 10)) if bits == 3 else (8 // bits, q.shape[0] * bits // 8)
        codes = torch.nn.functional.pad(q, (0, 0, 0, fold * step - q.shape[0])).to(torch.int32).reshape(fold, step, -1)
        top = 27 if bits == 3 else 8 - bits
        packed = sum(codes[i] << (top - bits * i) for i in range(fold))
        meta = dict(nbits=bits, group_size=group, axis=axis, offload_meta=0, view_as_float=0, stores_quant_config=1,
                    channel_wise=1, optimize=1, round_zero=int(bits == 4), encoded_state_dict=1)
        text = dict(packing=f"{bits}bit", compute_dtype="torch.bfloat16", unpack_view_dtype="torch.uint8")
        return ({"W_q": packed.to(torch.int32 if bits == 3 else torch.uint8), "scale": scale, "zero": zero,
                 "shape": torch.tensor(w.shape), **{k: torch.tensor(v) for k, v in meta.items()},
                 **{k: torch.tensor(list(v.encode()), dtype=torch.uint8) for k, v in text.items()}},
                ((q.to(w.dtype) - zero) * scale).reshape(w.shape))
    return {"quant_method": "hqq", "skip_modules": ["lm_head"], "quant_config": {
        "weight_quant_params": {"nbits": bits, "group_size": group, "axis": axis, "view_as_float": False}}}, pack


def auto_round(packing):
    return {"quant_method": "auto-round", "packing_format": packing, "data_type": "int"}


MX = dict(strategy="group", group_size=32, scale_dtype=torch.uint8)
FORMS = {
    "float-quantized by rows": compressed_tensors("float-quantized", num_bits=8, strategy="channel"),
    "float-quantized by matrices": compressed_tensors("float-quantized", num_bits=8, strategy="tensor"),
    "float-quantized by blocks": compressed_tensors("float-quantized", num_bits=8, strategy="block", block_structure=[128, 128]),
    "nvfp4-pack-quantized": compressed_tensors("nvfp4-pack-quantized", num_bits=4, strategy="tensor_group", group_size=16,
                                               scale_dtype=torch.float8_e4m3fn),
    "mxfp4-pack-quantized": compressed_tensors("mxfp4-pack-quantized", num_bits=4, **MX),
    "mxfp8-quantized": compressed_tensors("mxfp8-quantized", num_bits=8, **MX),
    "fp8": finegrained([128, 128]),
    "fp8, powers of two": finegrained([128, 128], "ue8m0", scale_fmt="ue8m0"),
    "fp8 by matrices": finegrained(None, activation_scheme="static"),
    "mxfp8": mxfp8(),
    "fbgemm_fp8": fbgemm(),
    "modelopt FP8": modelopt_fp8(False),
    "modelopt FP8 by rows": modelopt_fp8(True),
    "modelopt NVFP4": modelopt_nvfp4(),
    "pack-quantized, 4 bits": compressed_tensors("pack-quantized", **INT, num_bits=4, strategy="group", group_size=32),
    "pack-quantized, 4 bits, zero points": compressed_tensors("pack-quantized", **INT, num_bits=4, strategy="group",
                                                              group_size=64, symmetric=False),
    "pack-quantized, 4 bits, act-order": packed_in_order(128),
    "pack-quantized, 8 bits by rows": compressed_tensors("pack-quantized", **INT, num_bits=8, strategy="channel"),
    "int-quantized": compressed_tensors("int-quantized", **INT, num_bits=8, strategy="channel"),
    "gptq": gptq(4, 128),
    "gptq by rows, version 2": gptq(4, -1, version=2),
    "gptq, 2 bits": gptq(2, 32),
    "gptq, 3 bits, act-order": gptq(3, 64, order=True),
    "gptq, 4 bits, act-order": gptq(4, 32, order=True),
    "gptq, 8 bits, act-order, version 2": gptq(8, 128, version=2, order=True),
    "awq": awq(128),
    "awq, groups of 32": awq(32),
    "awq gemv": awq_gemv(128),
    "awq gemv, groups of 32": awq_gemv(32),
    "auto-round as gptq": gptq(4, 128, method=auto_round("auto_round:auto_gptq")),
    "auto-round": gptq(4, 32, version=2, method=auto_round("auto_round")),
    "auto-round as awq": awq(128, auto_round("auto_round:auto_awq")),
    "hqq": hqq(4, 64, 1),
    "hqq, other axis": hqq(4, 64, 0),
    "hqq, 2 bits": hqq(2, 16, 1),
    "hqq, 3 bits": hqq(3, 64, 1),
}
SEPARATE = {"modelopt NVFP4"}  # written in hf_quant_config.json alone


# ---- folders ----

def write(folder, tensors, quantization, separate=False):
    folder.mkdir()
    save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads(transformers.LlamaConfig(**CONFIG, architectures=["LlamaForCausalLM"]).to_json_string())
    if quantization and separate:
        (folder / "hf_quant_config.json").write_text(json.dumps(
            {"producer": {"name": "modelopt"}, "quantization": {"quant_algo": quantization["quant_algo"], "group_size": 16,
                                                                "exclude_modules": ["lm_head"]}}))
    elif quantization:
        config["quantization_config"] = quantization
    (folder / "config.json").write_text(json.dumps(config))


def convert(folder, out):
    done = subprocess.run([CLI, "convert", str(folder), "-t", "F32", "-o", str(out), "--allow-requantize", "--quiet"],
                          capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())
    return {t.name: t.data for t in gguf.GGUFReader(out).tensors}


def compare(work, name, config, pack, model):
    folder = work / name.replace(" ", "-").replace(",", "")
    packed, decoded = {}, {}
    for key, w in model.items():
        if not key.endswith("_proj.weight"):
            packed[key] = decoded[key] = w
            continue
        parts, decoded[key] = pack(w)
        packed.update({key.removesuffix("weight") + suffix: tensor for suffix, tensor in parts.items()})
    write(folder, packed, config, name in SEPARATE)
    write(folder.with_suffix(".plain"), {k: v.float() for k, v in decoded.items()}, None)
    return compare_folders(work, name, folder, folder.with_suffix(".plain"))


def compare_folders(work, name, folder, decoded):
    ours = convert(folder, work / "ours.gguf")
    plain = convert(decoded, work / "plain.gguf")
    (work / "ours.gguf").unlink()
    (work / "plain.gguf").unlink()
    wrong = [k for k in plain if k not in ours or not np.array_equal(ours[k], plain[k])] + [k for k in ours if k not in plain]
    if wrong:
        print(f"{name}: {len(wrong)} of {len(plain)} tensors differ, first {wrong[0]}")
    return not wrong


# ---- what quantize writes ----

SCHEMES = ["nf4", "nf4:nested=on", "fp4:block=128", "int8", "gptq", "gptq:bits=3,group=64", "gptq:bits=8,version=v2",
           "gptq:config=auto-round", "awq", "w4a16", "w4a16:sym=off", "w8a16", "w8a8", "fp8", "fp8-block", "nvfp4", "mxfp4"]


def tensors_of(folder):
    with safe_open(folder / "model.safetensors", "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}


def as_array(tensor):
    if tensor.dtype in (torch.bfloat16, torch.float8_e4m3fn):
        tensor = tensor.view(torch.int16 if tensor.dtype == torch.bfloat16 else torch.uint8)
    array = tensor.numpy()
    return array.view(np.uint16) if array.dtype == np.int16 else array


def check_written(work, ht, original, scheme, folder):
    packed, decoded = tensors_of(folder), {}
    for name, w in original.items():
        module = name.removesuffix("weight")
        parts = {"." + k[len(module):]: as_array(v) for k, v in packed.items() if k.startswith(module)}
        one = list(parts) == [".weight"] and packed[name].dtype == w.dtype
        decoded[name] = packed[name] if one else torch.from_numpy(ht.dequantize(scheme, parts, w.shape, "bf16"))
    plain = work / (folder.name + ".plain")
    plain.mkdir()
    save_file({k: v.float().contiguous() for k, v in decoded.items()}, plain / "model.safetensors")
    for file in EXAMPLE.iterdir():
        if file.suffix == ".json":
            (plain / file.name).write_bytes(file.read_bytes())
    return compare_folders(work, scheme, folder, plain) and check_floats(work, scheme, folder, decoded)


def check_floats(work, scheme, folder, decoded):
    """The same as a folder of floats."""
    done = subprocess.run([CLI, "convert", folder, "--format", "safetensors", "-t", "F32", "-o", work / "floats", "--quiet"],
                          capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"to a folder: {done.returncode}: {done.stderr.strip()}")
    ours = tensors_of(work / "floats" / (folder.name + "-F32"))
    wrong = [k for k in decoded if k not in ours or not torch.equal(ours[k], decoded[k].float())]
    wrong += [k for k in ours if k not in decoded]
    if wrong:
        print(f"{scheme}: {len(wrong)} of {len(decoded)} tensors of the folder of floats differ, first {wrong[0]}")
    return not wrong


def written(work):
    ht, passed = Halftone(os.path.join(os.environ.get("HT_BUILD", str(ROOT / "build")), "libhalftone.so")), 0
    arguments = [x for scheme in SCHEMES for x in ("-t", scheme)]
    done = subprocess.run([CLI, "quantize", EXAMPLE, *arguments, "-o", work / "written", "--json", "--quiet"],
                          capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    original = tensors_of(EXAMPLE)
    for output in json.loads(done.stdout.splitlines()[-1])["outputs"]:
        try:
            passed += check_written(work, ht, original, output["type"], pathlib.Path(output["path"]))
        except Exception as error:  # one form's fault must not hide the others
            print(f"{output['type']}: {error}")
    return passed


def main():
    torch.manual_seed(1)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**CONFIG)).to(torch.bfloat16).state_dict()
    passed = 0
    with tempfile.TemporaryDirectory(prefix="halftone-packed-") as work:
        for name, (config, pack) in FORMS.items():
            try:
                passed += compare(pathlib.Path(work), name, config, pack, model)
            except RuntimeError as error:
                print(f"{name}: {error}")
        print(f"check_packed_sources: {passed} of {len(FORMS)} forms are what their programs decode")
        again = written(pathlib.Path(work))
    print(f"check_packed_sources: {again} of {len(SCHEMES)} folders that quantize writes are what the library decodes")
    return passed != len(FORMS) or again != len(SCHEMES)


if __name__ == "__main__":
    sys.exit(main())
