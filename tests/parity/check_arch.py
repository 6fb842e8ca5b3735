#!/usr/bin/env python3
"""Architectures: tiny random models of transformers, converted by us to F32 GGUF and run by llama.cpp,
give transformers' logits within 1e-3 relative.

Environment: HT_CLI, HT_LLAMA_LIB, HT_SHARED. Arguments: names of models (default all).
Exit status: 0 passed, 1 failed, 77 skipped.
"""
import os
import shutil
import subprocess
import sys
import tempfile

try:
    import numpy
    import torch
    import transformers
except ImportError as missing:
    print(f"SKIPPED check_arch: the Python package {missing.name} is not here")
    sys.exit(77)
if "HT_LLAMA_LIB" not in os.environ:
    print("SKIPPED check_arch: HT_LLAMA_LIB is not set")
    sys.exit(77)

from llama_logits import Llama

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLI = os.environ.get("HT_CLI", os.path.join(ROOT, "build", "halftone"))
VOCAB, IDS = 4096, [5, 17, 400, 23, 1000, 8, 61, 2, 333, 4000, 90, 12]
SMALL = dict(vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
             max_position_embeddings=256, bos_token_id=0, eos_token_id=0)
GQA = dict(SMALL, num_key_value_heads=2)
MHA = dict(SMALL, num_key_value_heads=4)


def llama3_rope():
    return dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, rope_theta=10000.0,
                original_max_position_embeddings=64)


# name -> (configuration class, its arguments)
MODELS = {
    "llama-gqa": ("LlamaConfig", GQA),
    "llama-mha-tied": ("LlamaConfig", dict(MHA, tie_word_embeddings=True)),
    "llama-bias": ("LlamaConfig", dict(GQA, attention_bias=True, mlp_bias=True)),
    "llama-3.1-rope": ("LlamaConfig", dict(GQA, rope_parameters=llama3_rope())),
    "llama-head-dim": ("LlamaConfig", dict(GQA, head_dim=32)),
    "mistral": ("MistralConfig", dict(GQA, sliding_window=None)),
    "mixtral": ("MixtralConfig", dict(GQA, num_local_experts=4, num_experts_per_tok=2, sliding_window=None)),
    "qwen2": ("Qwen2Config", GQA),
    "qwen2-tied": ("Qwen2Config", dict(MHA, tie_word_embeddings=True)),
    "qwen2-moe": ("Qwen2MoeConfig", dict(GQA, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32,
                                         shared_expert_intermediate_size=64, decoder_sparse_step=1,
                                         norm_topk_prob=False)),
    "qwen3": ("Qwen3Config", dict(GQA, head_dim=32)),
    "qwen3-tied": ("Qwen3Config", dict(GQA, head_dim=16, tie_word_embeddings=True)),
    "qwen3-moe": ("Qwen3MoeConfig", dict(GQA, head_dim=16, num_experts=4, num_experts_per_tok=2,
                                         moe_intermediate_size=32, decoder_sparse_step=1, norm_topk_prob=True)),
    "gemma": ("GemmaConfig", dict(GQA, head_dim=32)),
    "gemma2": ("Gemma2Config", dict(GQA, head_dim=32, query_pre_attn_scalar=32, sliding_window=128)),
    "gemma3": ("Gemma3TextConfig", dict(GQA, num_hidden_layers=7, head_dim=32, query_pre_attn_scalar=32,
                                        sliding_window=128)),
    "phi2": ("PhiConfig", dict(MHA, intermediate_size=256, partial_rotary_factor=0.5)),
    "phi3": ("Phi3Config", dict(GQA, pad_token_id=0, sliding_window=None)),
    "phi3-longrope": ("Phi3Config", dict(GQA, pad_token_id=0, sliding_window=None, max_position_embeddings=1024,
                                         original_max_position_embeddings=512,
                                         rope_parameters=dict(rope_type="longrope", rope_theta=10000.0,
                                                              original_max_position_embeddings=512,
                                                              short_factor=[1.0 + i / 16 for i in range(8)],
                                                              long_factor=[2.0 + i / 4 for i in range(8)]))),
    "gpt2": ("GPT2Config", dict(vocab_size=VOCAB, n_embd=64, n_layer=3, n_head=4, n_positions=256, bos_token_id=0,
                                eos_token_id=0)),
    "gpt-neox": ("GPTNeoXConfig", dict(SMALL, intermediate_size=256, rotary_pct=0.5, use_parallel_residual=True)),
    "gpt-neox-serial": ("GPTNeoXConfig", dict(SMALL, intermediate_size=256, use_parallel_residual=False)),
    "falcon-7b": ("FalconConfig", dict(vocab_size=VOCAB, hidden_size=64, num_hidden_layers=3, num_attention_heads=4,
                                       multi_query=True, parallel_attn=True, bias=False, alibi=False,
                                       bos_token_id=0, eos_token_id=0)),
    "falcon-40b": ("FalconConfig", dict(vocab_size=VOCAB, hidden_size=64, num_hidden_layers=3, num_attention_heads=4,
                                        num_kv_heads=2, new_decoder_architecture=True, bias=False, alibi=False,
                                        bos_token_id=0, eos_token_id=0)),
    "stablelm": ("StableLmConfig", dict(GQA, partial_rotary_factor=0.25, use_qkv_bias=True)),
    "stablelm-12b": ("StableLmConfig", dict(GQA, qk_layernorm=True, use_parallel_residual=True)),
    "starcoder2": ("Starcoder2Config", dict(GQA, use_bias=True, sliding_window=None)),
    "olmo2": ("Olmo2Config", dict(GQA)),
    "deepseek-v2": ("DeepseekV2Config", dict(MHA, num_hidden_layers=27, q_lora_rank=None, kv_lora_rank=32, qk_rope_head_dim=16,
                                             qk_nope_head_dim=32, v_head_dim=32, n_routed_experts=4,
                                             num_experts_per_tok=2, moe_intermediate_size=32, n_shared_experts=1,
                                             first_k_dense_replace=1, routed_scaling_factor=1.0,
                                             topk_method="greedy", n_group=1, topk_group=1,
                                             norm_topk_prob=False)),
    "deepseek-v3": ("DeepseekV3Config", dict(MHA, q_lora_rank=48, kv_lora_rank=32, qk_rope_head_dim=16,
                                             qk_nope_head_dim=32, v_head_dim=32, n_routed_experts=8,
                                             num_experts_per_tok=2, moe_intermediate_size=32, n_shared_experts=1,
                                             first_k_dense_replace=1, n_group=4, topk_group=2,
                                             rope_scaling=None)),
    "gpt-oss": ("GptOssConfig", dict(GQA, head_dim=16, num_local_experts=4, num_experts_per_tok=2,
                                     intermediate_size=64, sliding_window=128)),
    "smollm3": ("SmolLM3Config", dict(GQA, num_hidden_layers=5, pad_token_id=0)),
    "granite": ("GraniteConfig", dict(GQA, attention_multiplier=0.2, embedding_multiplier=3.0,
                                      residual_multiplier=0.5, logits_scaling=4.0)),
    "granite-moe": ("GraniteMoeConfig", dict(GQA, num_local_experts=4, num_experts_per_tok=2,
                                             attention_multiplier=0.25, embedding_multiplier=2.0,
                                             residual_multiplier=0.5, logits_scaling=2.0)),
}


def build(name):
    kind, arguments = MODELS[name]
    torch.manual_seed(sum(name.encode()))
    config = getattr(transformers, kind)(**arguments)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():  # biases and norms of fresh models are zeros and ones, which would hide mistakes
        for key, p in model.named_parameters():
            if p.dim() == 1 or "bias" in key or "sinks" in key:
                p.add_(torch.randn_like(p) * 0.1)
            else:
                p.mul_(2.0)
    return model


def compare(name, llama, work):
    # a plain folder name: the runtime looks for model names in general.name
    folder = os.path.join(work, "m" + str(list(MODELS).index(name)))
    model = build(name)
    model.save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(ROOT, "examples", "model", file), folder)
    out = folder + ".gguf"
    run = subprocess.run([CLI, "convert", folder, "-t", "F32", "-o", out, "--quiet"], capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(run.stderr.strip())
    with torch.no_grad():
        want = model(torch.tensor([IDS])).logits[0].numpy().astype(numpy.float64)
    got = numpy.array(llama.logits(out, IDS, VOCAB), dtype=numpy.float64)
    error = numpy.abs(want - got).max() / numpy.abs(want).max()
    good = error < 1e-3
    print(f"{'ok' if good else 'FAILED':7}{name}: largest difference {error:.1e} of the largest logit", flush=True)
    return good


def main():
    torch.set_num_threads(1)
    llama = Llama(os.environ["HT_LLAMA_LIB"])
    chosen = sys.argv[1:] or list(MODELS)
    failed = 0
    with tempfile.TemporaryDirectory(prefix="halftone-arch-") as work:
        for name in chosen:
            try:
                failed += not compare(name, llama, work)
            except Exception as fault:  # every model is tried
                print(f"FAILED {name}: {fault}", flush=True)
                failed += 1
    print(f"check_arch: {len(chosen) - failed} of {len(chosen)} models agree")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
