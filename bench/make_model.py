#!/usr/bin/env python3
"""Writes a Hugging Face folder of random BF16 weights in the shape of a 1.1 B-parameter Llama, to measure speed.

    make_model.py FOLDER [layers [vocabulary]]
"""
import json
import os
import sys

import numpy

EMBD, HEADS, KV, FF = 2048, 32, 4, 5632


def main():
    folder, layers = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 22
    vocab = int(sys.argv[3]) if len(sys.argv) > 3 else 32000
    os.makedirs(folder, exist_ok=True)
    shapes = {"model.embed_tokens.weight": (vocab, EMBD), "model.norm.weight": (EMBD,), "lm_head.weight": (vocab, EMBD)}
    kv = EMBD // HEADS * KV
    for i in range(layers):
        at = f"model.layers.{i}."
        shapes |= {at + "input_layernorm.weight": (EMBD,), at + "post_attention_layernorm.weight": (EMBD,),
                   at + "self_attn.q_proj.weight": (EMBD, EMBD), at + "self_attn.k_proj.weight": (kv, EMBD),
                   at + "self_attn.v_proj.weight": (kv, EMBD), at + "self_attn.o_proj.weight": (EMBD, EMBD),
                   at + "mlp.gate_proj.weight": (FF, EMBD), at + "mlp.up_proj.weight": (FF, EMBD),
                   at + "mlp.down_proj.weight": (EMBD, FF)}
    config = dict(architectures=["LlamaForCausalLM"], model_type="llama", hidden_size=EMBD, intermediate_size=FF,
                  num_hidden_layers=layers, num_attention_heads=HEADS, num_key_value_heads=KV, vocab_size=vocab,
                  max_position_embeddings=2048, rms_norm_eps=1e-5, rope_theta=10000.0, torch_dtype="bfloat16")
    with open(os.path.join(folder, "config.json"), "w") as file:
        json.dump(config, file, indent=1)
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(numpy.prod(shape))
        header[name] = dict(dtype="BF16", shape=shape, data_offsets=[offset, offset + size])
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = numpy.random.default_rng(1)
    with open(os.path.join(folder, "model.safetensors"), "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            x = random.standard_normal(shape, dtype=numpy.float32) * numpy.float32(0.02)
            if len(shape) == 1:
                x = x + 1
            (x.view(numpy.uint32) >> 16).astype(numpy.uint16).tofile(file)


if __name__ == "__main__":
    main()
