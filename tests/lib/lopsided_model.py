#!/usr/bin/env python3
"""Writes a folder with a Llama whose embedding is most of it, and has an odd number of rows: lopsided_model.py FOLDER"""
import json
import os
import random
import struct
import sys

EMBD, HEADS, FF, VOCAB = 256, 4, 512, 3999


def floats(n, source):
    """BF16, of either sign and not far from 0.03."""
    high, low = source.choices((0x3C, 0x3D, 0xBC, 0xBD), k=n), source.randbytes(n)
    return b"".join(struct.pack("BB", a, b) for a, b in zip(low, high))


def main():
    folder, source = sys.argv[1], random.Random(1)
    os.makedirs(folder, exist_ok=True)
    at = "model.layers.0."
    shapes = {"model.embed_tokens.weight": (VOCAB, EMBD), "model.norm.weight": (EMBD,), "lm_head.weight": (VOCAB, EMBD),
              at + "input_layernorm.weight": (EMBD,), at + "post_attention_layernorm.weight": (EMBD,)}
    shapes |= {f"{at}self_attn.{name}_proj.weight": (EMBD, EMBD) for name in "qkvo"}
    shapes |= {at + "mlp.gate_proj.weight": (FF, EMBD), at + "mlp.up_proj.weight": (FF, EMBD), at + "mlp.down_proj.weight": (EMBD, FF)}
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=EMBD, intermediate_size=FF, num_hidden_layers=1,
                  num_attention_heads=HEADS, num_key_value_heads=HEADS, vocab_size=VOCAB, max_position_embeddings=256, rms_norm_eps=1e-5,
                  rope_theta=10000.0, torch_dtype="bfloat16")
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file)
    header, data = {}, b""
    for name, shape in shapes.items():
        bytes_of = floats(shape[0] * (shape[1] if len(shape) > 1 else 1), source)
        header[name] = dict(dtype="BF16", shape=shape, data_offsets=[len(data), len(data) + len(bytes_of)])
        data += bytes_of
    text = json.dumps(header).encode()
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + data)


if __name__ == "__main__":
    main()
