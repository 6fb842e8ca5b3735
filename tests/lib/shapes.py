"""GGUF files in the shapes of well-known models, six layers of each, without their weights: holes in the file read as
zeros, so that gigabytes take a few kilobytes of disk. Programs that map files open them as they would the real ones."""
import struct

LAYERS = 6  # of each: a whole turn of every pattern of sliding windows; buffers for computing do not depend on it

U32, F32, BOOL, STR = 4, 6, 7, 8
F16 = 1


def packed(value):
    if isinstance(value, bool):
        return struct.pack("<IB", BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", U32, value)
    if isinstance(value, float):
        return struct.pack("<If", F32, value)
    if isinstance(value, list):
        return struct.pack("<IIQ", 9, BOOL, len(value)) + bytes(value)
    return struct.pack("<IQ", STR, len(value.encode())) + value.encode()


def write(path, arch, keys, tensors):
    """tensors: name -> dimensions, the row length first; vectors are F32, the rest F16."""
    def text(s):
        return struct.pack("<Q", len(s)) + s.encode()

    kvs = {"general.architecture": arch, "general.name": "shape", "tokenizer.ggml.model": "none"}
    kvs.update({f"{arch}.{k}": v for k, v in keys.items()})
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(kvs))
    head += b"".join(text(k) + packed(v) for k, v in kvs.items())
    at = 0
    for name, dims in tensors.items():
        plain = len(dims) == 1 or name.endswith(("gate_inp.weight",))
        head += text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, 0 if plain else F16, at)
        n = 1
        for d in dims:
            n *= d
        at += (n * (4 if plain else 2) + 31) // 32 * 32
    with open(path, "wb") as f:
        f.write(head)
        f.truncate((len(head) + 31) // 32 * 32 + at)


def decoder(keys, heads, kv_heads, head, ff, vocab, embd, layers, tied=False, norms=(), qk_norm=False, biases=False,
            experts=0, used=0, expert_ff=0, sinks=False):
    keys = {"block_count": layers, "context_length": 131072, "embedding_length": embd, "feed_forward_length": ff,
            "attention.head_count": heads, "attention.head_count_kv": kv_heads, "vocab_size": vocab,
            "attention.layer_norm_rms_epsilon": 1e-5, "attention.key_length": head, "attention.value_length": head,
            "rope.dimension_count": head, **keys}
    tensors = {"token_embd.weight": (embd, vocab), "output_norm.weight": (embd,)}
    if not tied:
        tensors["output.weight"] = (embd, vocab)
    if experts:
        keys.update({"expert_count": experts, "expert_used_count": used, "expert_feed_forward_length": expert_ff})
    for i in range(layers):
        b = f"blk.{i}."
        for n in norms or ("attn_norm", "ffn_norm"):
            tensors[f"{b}{n}.weight"] = (embd,)
        shapes = {"attn_q": (embd, heads * head), "attn_k": (embd, kv_heads * head), "attn_v": (embd, kv_heads * head),
                  "attn_output": (heads * head, embd)}
        if experts:
            shapes.update({"ffn_gate_exps": (embd, expert_ff, experts), "ffn_up_exps": (embd, expert_ff, experts),
                           "ffn_down_exps": (expert_ff, embd, experts), "ffn_gate_inp": (embd, experts)})
        else:
            shapes.update({"ffn_gate": (embd, ff), "ffn_up": (embd, ff), "ffn_down": (ff, embd)})
        tensors.update({f"{b}{n}.weight": s for n, s in shapes.items()})
        if qk_norm:
            tensors.update({f"{b}attn_q_norm.weight": (head,), f"{b}attn_k_norm.weight": (head,)})
        if biases:
            tensors.update({f"{b}attn_{n}.bias": shapes[f"attn_{n}"][1:] for n in ("q", "k", "v")})
            if sinks:
                tensors[f"{b}attn_output.bias"] = (embd,)
                tensors[f"{b}attn_sinks.weight"] = (heads,)
                tensors.update({f"{b}ffn_gate_inp.bias": (experts,), f"{b}ffn_gate_exps.bias": (expert_ff, experts),
                                f"{b}ffn_up_exps.bias": (expert_ff, experts), f"{b}ffn_down_exps.bias": (embd, experts)})
    return keys, tensors


def deepseek_v2(layers=LAYERS, experts=16):
    """With a tenth of its experts: their number changes no buffer."""
    embd, heads, rank, q_rank, rope, nope, value, vocab, ff, dense = 5120, 128, 512, 1536, 64, 128, 128, 102400, 1536, 12288
    keys = {"block_count": layers, "context_length": 163840, "embedding_length": embd, "feed_forward_length": dense,
            "attention.head_count": heads, "attention.head_count_kv": 1, "vocab_size": vocab,
            "attention.layer_norm_rms_epsilon": 1e-6, "attention.key_length": rank + rope,
            "attention.value_length": rank, "attention.key_length_mla": nope + rope,
            "attention.value_length_mla": value, "attention.kv_lora_rank": rank, "attention.q_lora_rank": q_rank,
            "rope.dimension_count": rope, "leading_dense_block_count": 1, "expert_count": experts,
            "expert_used_count": 6, "expert_feed_forward_length": ff, "expert_shared_count": 2,
            "expert_weights_scale": 16.0}
    tensors = {"token_embd.weight": (embd, vocab), "output_norm.weight": (embd,), "output.weight": (embd, vocab)}
    for i in range(layers):
        shapes = {"attn_norm": (embd,), "ffn_norm": (embd,), "attn_q_a": (embd, q_rank), "attn_q_a_norm": (q_rank,),
                  "attn_q_b": (q_rank, heads * (nope + rope)), "attn_kv_a_mqa": (embd, rank + rope),
                  "attn_kv_a_norm": (rank,), "attn_k_b": (nope, rank, heads), "attn_v_b": (rank, value, heads),
                  "attn_output": (heads * value, embd)}
        if i == 0:
            shapes.update({"ffn_gate": (embd, dense), "ffn_up": (embd, dense), "ffn_down": (dense, embd)})
        else:
            shapes.update({"ffn_gate_exps": (embd, ff, experts), "ffn_up_exps": (embd, ff, experts),
                           "ffn_down_exps": (ff, embd, experts), "ffn_gate_inp": (embd, experts),
                           "ffn_gate_shexp": (embd, 2 * ff), "ffn_up_shexp": (embd, 2 * ff),
                           "ffn_down_shexp": (2 * ff, embd)})
        tensors.update({f"blk.{i}.{n}.weight": s for n, s in shapes.items()})
    return keys, tensors


GEMMA = ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm")
# Published configurations, as their config.json has them.
SHAPES = {
    "Llama-3.2-1B": ("llama", *decoder({}, 32, 8, 64, 8192, 128256, 2048, LAYERS, tied=True)),
    "Llama-3.1-8B": ("llama", *decoder({}, 32, 8, 128, 14336, 128256, 4096, LAYERS)),
    "Llama-2-7B": ("llama", *decoder({}, 32, 32, 128, 11008, 32000, 4096, LAYERS)),
    "Qwen2.5-7B": ("qwen2", *decoder({}, 28, 4, 128, 18944, 152064, 3584, LAYERS, biases=True)),
    "Qwen3-30B-A3B": ("qwen3moe", *decoder({}, 32, 4, 128, 6144, 151936, 2048, LAYERS, qk_norm=True, experts=128, used=8,
                                           expert_ff=768)),
    "gemma-2-9b": ("gemma2", *decoder({"attention.sliding_window": 4096, "attn_logit_softcapping": 50.0,
                                       "final_logit_softcapping": 30.0}, 16, 8, 256, 14336, 256000, 3584, LAYERS,
                                      tied=True, norms=GEMMA)),
    "gemma-3-4b": ("gemma3", *decoder({"attention.sliding_window": 1024}, 8, 4, 256, 10240, 262208, 2560, LAYERS,
                                      tied=True, norms=GEMMA, qk_norm=True)),
    "gpt-oss-20b": ("gpt-oss", *decoder({"attention.sliding_window": 128}, 64, 8, 64, 2880, 201088, 2880, LAYERS,
                                        norms=("attn_norm", "post_attention_norm"), biases=True, experts=32, used=4,
                                        expert_ff=2880, sinks=True)),
    "DeepSeek-V2": ("deepseek2", *deepseek_v2()),
}
