#!/usr/bin/env python3
"""Tiny checkpoints as other programs pack them, one folder a form, of random codes: packed_sources.py EXAMPLE OUT
Prints a line each: the folder and what reports must call it. Without any library, as the normal suite has none."""
import json
import os
import random
import struct
import sys

EXAMPLE, OUT = sys.argv[1:]
WIDTH, FF, VOCAB = 64, 128, 4096
random.seed(7)

SIZES = {"F32": 4, "BF16": 2, "F16": 2, "I64": 8, "I32": 4, "I8": 1, "U8": 1, "F8_E4M3": 1}


def noise(n):
    return random.randbytes(n)


def repeat(value, shape):
    n = 1
    for extent in shape:
        n *= extent
    return value * n


def half(x):
    return struct.pack("<e", x)


def bf16(x):
    return struct.pack("<f", x)[2:]


def f32(x):
    return struct.pack("<f", x)


def bf16_noise(n):
    """Of either sign, .03 to .06."""
    data = bytearray(noise(2 * n))
    for i in range(1, len(data), 2):
        data[i] = data[i] & 0x80 | 0x3d
    for i in range(0, len(data), 2):
        data[i] &= 0x7f
    return bytes(data)


def e4m3(n):
    """Of either sign, .5 to .94."""
    return bytes(b & 0x87 | 0x30 for b in noise(n))


def bfloat(*shape):
    n = 1
    for extent in shape:
        n *= extent
    return "BF16", shape, bf16_noise(n)


# ---- what a module of n_out x n_in is packed to ----

NF4 = (-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
       -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
       0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0)


def nf4(rows, columns):
    state = json.dumps(dict(quant_type="nf4", blocksize=64, dtype="bfloat16", shape=[rows, columns])).encode()
    n = rows * columns
    return {"weight": ("U8", (n // 2, 1), noise(n // 2)), "weight.absmax": ("F32", (n // 64,), f32(.05) * (n // 64)),
            "weight.quant_map": ("F32", (16,), struct.pack("<16f", *NF4)),
            "weight.quant_state.bitsandbytes__nf4": ("U8", (len(state),), state)}


def int8(rows, columns):
    return {"weight": ("I8", (rows, columns), noise(rows * columns)), "SCB": ("F32", (rows,), f32(.05) * rows),
            "weight_format": ("U8", (), b"\0")}


def gptq(order):
    def pack(rows, columns):
        groups = columns // 32
        parts = {"qweight": ("I32", (columns // 8, rows), noise(rows * columns // 2)),
                 "qzeros": ("I32", (groups, rows // 8), b"\x77" * (groups * rows // 2)),
                 "scales": ("F16", (groups, rows), half(.01) * (groups * rows))}
        if order:
            parts["g_idx"] = "I32", (columns,), struct.pack(f"<{columns}i", *(k * 7 % columns // 32 for k in range(columns)))
        return parts
    return pack


def awq(rows, columns):
    groups = columns // 32
    return {"qweight": ("I32", (columns, rows // 8), noise(rows * columns // 2)),
            "qzeros": ("I32", (groups, rows // 8), b"\x88" * (groups * rows // 2)),
            "scales": ("F16", (groups, rows), half(.01) * (groups * rows))}


def gemv(rows, columns):
    words = 4  # of a row's zero points: padded
    return {"qweight": ("I32", (rows, columns // 8), noise(rows * columns // 2)),
            "qzeros": ("I32", (rows, words), b"\x88" * (rows * words * 4)),
            "scales": ("F16", (rows, words * 8), half(.01) * (rows * words * 8))}


def hqq(rows, columns):
    n = rows * columns
    return {"W_q": ("U8", (n // 128, 64), noise(n // 2)), "scale": ("BF16", (n // 64, 1), bf16(.01) * (n // 64)),
            "zero": ("BF16", (n // 64, 1), bf16(7.5) * (n // 64)), "shape": ("I64", (2,), struct.pack("<2q", rows, columns)),
            "nbits": ("I64", (), struct.pack("<q", 4))}


def w4a16(rows, columns):
    return {"weight_packed": ("I32", (rows, columns // 8), noise(rows * columns // 2)),
            "weight_scale": ("BF16", (rows, columns // 32), bf16(.01) * (rows * columns // 32)),
            "weight_shape": ("I64", (2,), struct.pack("<2q", rows, columns))}


def w8a8(rows, columns):
    return {"weight": ("I8", (rows, columns), noise(rows * columns)), "weight_scale": ("BF16", (rows, 1), bf16(5e-4) * rows)}


def small(scale, shape_of, dtype, value, **more):
    def pack(rows, columns):
        shape = shape_of(rows, columns)
        return {"weight": ("F8_E4M3", (rows, columns), e4m3(rows * columns)), scale: (dtype, shape, repeat(value, shape)), **more}
    return pack


def nvfp4(codes, total, value):
    def pack(rows, columns):
        return {codes: ("U8", (rows, columns // 2), noise(rows * columns // 2)),
                "weight_scale": ("F8_E4M3", (rows, columns // 16), b"\x38" * (rows * columns // 16)), total: value}
    return pack


def mxfp4(rows, columns):
    return {"weight_packed": ("U8", (rows, columns // 2), noise(rows * columns // 2)),
            "weight_scale": ("U8", (rows, columns // 32), b"\x79" * (rows * columns // 32))}


def compressed(kind, bits, **more):
    return dict(quant_method="compressed-tensors", config_groups=dict(g=dict(weights=dict(type=kind, num_bits=bits, **more))))


def modelopt(algorithm):
    return dict(quant_method="modelopt", quant_algo=algorithm)


ONE = "F32", (), f32(.05)
FORMS = {
    "nf4": ("bitsandbytes nf4", dict(quant_method="bitsandbytes", load_in_4bit=True), nf4),
    "int8": ("bitsandbytes int8", dict(quant_method="bitsandbytes", load_in_8bit=True), int8),
    "gptq": ("GPTQ", dict(quant_method="gptq", bits=4, group_size=32), gptq(False)),
    "gptq-order": ("GPTQ", dict(quant_method="gptq", bits=4, group_size=32, desc_act=True), gptq(True)),
    "awq": ("AWQ", dict(quant_method="awq", bits=4, group_size=32, version="gemm"), awq),
    "awq-gemv": ("AWQ awq-gemv", dict(quant_method="awq", bits=4, group_size=32, version="gemv"), gemv),
    "auto-round": ("AutoRound gptq", dict(quant_method="auto-round", bits=4, packing_format="auto_round:auto_gptq"), gptq(False)),
    "hqq": ("HQQ", dict(quant_method="hqq", quant_config=dict(weight_quant_params=dict(nbits=4, group_size=64, axis=1))), hqq),
    "ct-w4a16": ("compressed-tensors w4a16", compressed("int", 4), w4a16),
    "ct-w8a8": ("compressed-tensors w8a8", compressed("int", 8), w8a8),
    "ct-fp8": ("compressed-tensors fp8", compressed("float", 8), small("weight_scale", lambda r, c: (r, 1), "BF16", bf16(.06))),
    "ct-nvfp4": ("compressed-tensors nvfp4", compressed("float", 4),
                 nvfp4("weight_packed", "weight_global_scale", ("F32", (1,), f32(50)))),
    "ct-mxfp4": ("compressed-tensors mxfp4", compressed("float", 4), mxfp4),
    "fp8": ("fp8", dict(quant_method="fp8", weight_block_size=[32, 32]),
            small("weight_scale_inv", lambda r, c: (r // 32, c // 32), "F32", f32(.06))),
    "fp8-untold": ("fp8", None, small("weight_scale_inv", lambda r, c: ((r + 127) // 128, (c + 127) // 128), "F32", f32(.06))),
    "mxfp8": ("mxfp8", dict(quant_method="mxfp8", weight_block_size=[1, 32]),
              small("weight_scale_inv", lambda r, c: (r, c // 32), "U8", b"\x7b")),
    "fbgemm": ("fbgemm_fp8", dict(quant_method="fbgemm_fp8"), small("weight_scale", lambda r, c: (r, 1), "F32", f32(.06))),
    "modelopt-fp8": ("ModelOpt fp8", modelopt("FP8"), small("weight_scale", lambda r, c: (), "F32", f32(.06), input_scale=ONE)),
    "modelopt-nvfp4": ("ModelOpt nvfp4", modelopt("NVFP4"), nvfp4("weight", "weight_scale_2", ("F32", (), f32(.02)))),
}


def write(folder, config, tensors):
    os.makedirs(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        os.symlink(os.path.join(os.path.realpath(EXAMPLE), file), os.path.join(folder, file))
    with open(os.path.join(folder, "config.json"), "w") as f:
        json.dump(config, f)
    header, data = {}, []
    at = 0
    for name, (dtype, shape, values) in tensors.items():
        n = SIZES[dtype]
        for extent in shape:
            n *= extent
        assert n == len(values), (name, dtype, shape, len(values))
        header[name] = dict(dtype=dtype, shape=shape, data_offsets=[at, at + n])
        at += n
        data.append(values)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(os.path.join(folder, "model.safetensors"), "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(data))


LINEARS = {"self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (WIDTH, WIDTH), "self_attn.v_proj": (WIDTH, WIDTH),
           "self_attn.o_proj": (WIDTH, WIDTH), "mlp.gate_proj": (FF, WIDTH), "mlp.up_proj": (FF, WIDTH),
           "mlp.down_proj": (WIDTH, FF)}
NORM = "BF16", (WIDTH,), bf16(1) * WIDTH
PLAIN = {"model.embed_tokens.weight": bfloat(VOCAB, WIDTH), "lm_head.weight": bfloat(VOCAB, WIDTH), "model.norm.weight": NORM,
         "model.layers.0.input_layernorm.weight": NORM, "model.layers.0.post_attention_layernorm.weight": NORM}
SHARED = dict(hidden_size=WIDTH, num_hidden_layers=1, intermediate_size=FF, num_attention_heads=2, num_key_value_heads=2,
              head_dim=32, vocab_size=VOCAB, dtype="bfloat16", rms_norm_eps=1e-5, max_position_embeddings=256)
LLAMA = dict(SHARED, architectures=["LlamaForCausalLM"], model_type="llama")


def llama(name, quantization, pack):
    tensors = dict(PLAIN)
    for (module, (rows, columns)) in LINEARS.items():
        for part, tensor in pack(rows, columns).items():
            tensors[f"model.layers.0.{module}.{part}"] = tensor
    write(os.path.join(OUT, name), dict(LLAMA, **(dict(quantization_config=quantization) if quantization else {})), tensors)


def gpt_oss(experts=2):
    tensors = dict(PLAIN)
    at = "model.layers.0."
    for module in ("q_proj", "k_proj", "v_proj", "o_proj"):
        tensors[f"{at}self_attn.{module}.weight"] = bfloat(WIDTH, WIDTH)
        tensors[f"{at}self_attn.{module}.bias"] = bfloat(WIDTH)
    tensors[at + "self_attn.sinks"] = bfloat(2)
    tensors[at + "mlp.router.weight"], tensors[at + "mlp.router.bias"] = bfloat(experts, WIDTH), bfloat(experts)
    for module, rows, columns in (("gate_up_proj", 2 * FF, WIDTH), ("down_proj", WIDTH, FF)):
        n = experts * rows * columns // 32
        tensors[f"{at}mlp.experts.{module}_blocks"] = "U8", (experts, rows, columns // 32, 16), noise(16 * n)
        tensors[f"{at}mlp.experts.{module}_scales"] = "U8", (experts, rows, columns // 32), b"\x79" * n
        tensors[f"{at}mlp.experts.{module}_bias"] = bfloat(experts, rows)
    config = dict(SHARED, architectures=["GptOssForCausalLM"], model_type="gpt_oss", num_local_experts=experts,
                  num_experts_per_tok=1, sliding_window=128, quantization_config=dict(quant_method="mxfp4"))
    write(os.path.join(OUT, "gpt-oss"), config, tensors)


for name, (told, quantization, pack) in FORMS.items():
    llama(name, quantization, pack)
    print(name, told)
gpt_oss()
print("gpt-oss", "mxfp4")
