#!/usr/bin/env python3
"""Architectures: tiny random models of transformers, converted by us to F32 GGUF and run by llama.cpp,
give transformers' logits within 1e-3 relative; so do their block-scaled FP8 and MXFP4 forms. A configuration that leaves out what
its class supplies gives the same file. The folder that we make of the GGUF file again gives the logits in transformers.

Environment: HT_CLI, HT_LLAMA_LIB, HT_SHARED. Arguments: names of models (default all).
Exit status: 0 passed, 1 failed, 77 skipped.
"""
import filecmp
import json
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

from arch_quantized import to_fp8, to_mxfp4
from llama_logits import Llama

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CLI = os.environ.get("HT_CLI", os.path.join(ROOT, "build", "halftone"))
VOCAB, IDS = 4096, [5, 17, 400, 23, 1000, 8, 61, 2, 333, 4000, 90, 12]
LONG = [(i * 577 + 11) % VOCAB for i in range(40)]  # more tokens than a sliding window of 8 to 16 sees
SMALL = dict(vocab_size=VOCAB, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
             max_position_embeddings=256, bos_token_id=0, eos_token_id=0)
GQA = dict(SMALL, num_key_value_heads=2)
MHA = dict(SMALL, num_key_value_heads=4)


def llama3_rope():
    return dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, rope_theta=10000.0,
                original_max_position_embeddings=64)


def longrope(original, longest=1024):
    return dict(max_position_embeddings=longest, original_max_position_embeddings=original, pad_token_id=0,
                rope_parameters=dict(rope_type="longrope", rope_theta=10000.0,
                                     original_max_position_embeddings=original,
                                     short_factor=[1.0 + i / 16 for i in range(8)],
                                     long_factor=[2.0 + i / 4 for i in range(8)]))


def yarn(**more):
    return dict(dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, beta_fast=32.0, beta_slow=1.0,
                     original_max_position_embeddings=64), **more)


MLA = dict(MHA, kv_lora_rank=32, qk_rope_head_dim=16, qk_nope_head_dim=32, v_head_dim=32, num_experts_per_tok=2,
           moe_intermediate_size=32, n_shared_experts=1, first_k_dense_replace=1)
# without a latent query the runtime wants the small DeepSeek V2's 27 layers
LITE = dict(MLA, num_hidden_layers=27, q_lora_rank=None, n_routed_experts=4, routed_scaling_factor=1.0,
            topk_method="greedy", n_group=1, topk_group=1, norm_topk_prob=False)
V3 = dict(MLA, q_lora_rank=48, n_routed_experts=8, n_group=4, topk_group=2)
OSS = dict(GQA, head_dim=16, num_local_experts=4, num_experts_per_tok=2, intermediate_size=64)
GRANITE_MOE = dict(GQA, num_local_experts=4, num_experts_per_tok=2, attention_multiplier=0.25,
                   embedding_multiplier=2.0, residual_multiplier=0.5, logits_scaling=2.0)
GEMMA3 = dict(GQA, num_hidden_layers=7, head_dim=32, query_pre_attn_scalar=32, sliding_window=128)
NO_WINDOW = dict(reference=dict(sliding_window=None))  # the runtime lets Mistral and Phi-3 see everything

# name -> (configuration class, its arguments, and for some: ids, the tokens; reference, the arguments that
# differ in the model to compare with; change, what is done to the saved weights)
MODELS = {
    "llama-gqa": ("LlamaConfig", GQA),
    "llama-mha-tied": ("LlamaConfig", dict(MHA, tie_word_embeddings=True)),
    "llama-bias": ("LlamaConfig", dict(GQA, attention_bias=True, mlp_bias=True)),
    "llama-3.1-rope": ("LlamaConfig", dict(GQA, rope_parameters=llama3_rope())),
    "llama-linear-rope": ("LlamaConfig", dict(GQA, rope_parameters=dict(rope_type="linear", rope_theta=10000.0,
                                                                        factor=4.0))),
    "llama-head-dim": ("LlamaConfig", dict(GQA, head_dim=32)),
    "mistral": ("MistralConfig", dict(GQA, sliding_window=None)),
    "mistral-window": ("MistralConfig", dict(GQA, sliding_window=16), dict(NO_WINDOW, ids=LONG)),
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
    "gemma2-window": ("Gemma2Config", dict(GQA, head_dim=32, query_pre_attn_scalar=32, sliding_window=16),
                      dict(ids=LONG)),
    "gemma3": ("Gemma3TextConfig", GEMMA3),
    "gemma3-window": ("Gemma3TextConfig", dict(GEMMA3, sliding_window=8), dict(ids=LONG)),
    "gemma3-linear-rope": ("Gemma3TextConfig", dict(GEMMA3, rope_parameters=dict(
        full_attention=dict(rope_type="linear", factor=8.0, rope_theta=1e6),
        sliding_attention=dict(rope_type="default", rope_theta=1e4))), dict(ids=LONG)),
    "gemma3-vision": ("Gemma3Config", dict(text_config=dict(GEMMA3, sliding_window=8), vision_config=dict(
        hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14),
        mm_tokens_per_image=4, image_token_index=4095, boi_token_index=4094, eoi_token_index=4093), dict(ids=LONG)),
    "phi2": ("PhiConfig", dict(MHA, intermediate_size=256, partial_rotary_factor=0.5)),
    "phi3": ("Phi3Config", dict(GQA, pad_token_id=0, sliding_window=None)),
    "phi3-longrope": ("Phi3Config", dict(GQA, sliding_window=None, **longrope(512))),
    "phi3-longrope-long": ("Phi3Config", dict(GQA, sliding_window=None, **longrope(32)), dict(ids=LONG)),
    "phi3-window": ("Phi3Config", dict(GQA, pad_token_id=0, sliding_window=16), dict(NO_WINDOW, ids=LONG)),
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
    "olmo3": ("Olmo3Config", dict(GQA, num_hidden_layers=5, sliding_window=12), dict(ids=LONG)),
    "olmo3-yarn": ("Olmo3Config", dict(GQA, num_hidden_layers=5, sliding_window=12, rope_parameters=dict(
        full_attention=yarn(attention_factor=1.1386294361119891), sliding_attention=dict(rope_type="default", rope_theta=10000.0))),
                   dict(ids=LONG)),
    "deepseek-v2": ("DeepseekV2Config", LITE),
    "deepseek-v2-yarn": ("DeepseekV2Config", dict(LITE, rope_parameters=yarn(mscale=0.707, mscale_all_dim=0.707)),
                         dict(ids=LONG)),
    "deepseek-v3": ("DeepseekV3Config", dict(V3, rope_scaling=None)),
    "deepseek-v3-yarn": ("DeepseekV3Config", dict(V3, rope_parameters=yarn(mscale=1.0, mscale_all_dim=1.0)),
                         dict(ids=LONG)),
    "deepseek-v3-fp8": ("DeepseekV3Config", dict(V3, rope_scaling=None), dict(change=to_fp8)),
    "qwen3-fp8": ("Qwen3Config", dict(GQA, head_dim=32), dict(change=to_fp8)),
    "qwen3-moe-fp8": ("Qwen3MoeConfig", dict(GQA, head_dim=16, num_experts=4, num_experts_per_tok=2,
                                             moe_intermediate_size=32, decoder_sparse_step=1, norm_topk_prob=True),
                      dict(change=to_fp8)),
    "qwen2-yarn": ("Qwen2Config", dict(GQA, rope_parameters=yarn()), dict(ids=LONG)),
    "gpt-oss": ("GptOssConfig", dict(OSS, sliding_window=128)),
    "gpt-oss-window": ("GptOssConfig", dict(OSS, sliding_window=8), dict(ids=LONG)),
    "gpt-oss-mxfp4": ("GptOssConfig", dict(OSS, sliding_window=128), dict(change=to_mxfp4)),
    "smollm3": ("SmolLM3Config", dict(GQA, num_hidden_layers=5, pad_token_id=0)),
    "granite": ("GraniteConfig", dict(GQA, attention_multiplier=0.2, embedding_multiplier=3.0,
                                      residual_multiplier=0.5, logits_scaling=4.0)),
    "granite-moe": ("GraniteMoeConfig", GRANITE_MOE),
    "granite-moe-shared": ("GraniteMoeSharedConfig", dict(GRANITE_MOE, shared_intermediate_size=32)),
}


def build(name, changes):
    kind, arguments = MODELS[name][:2]
    torch.manual_seed(sum(name.encode()))
    config = getattr(transformers, kind)(**dict(arguments, **changes))
    auto = transformers.AutoModelForImageTextToText if "vision_config" in arguments else transformers.AutoModelForCausalLM
    model = auto.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():  # biases and norms of fresh models are zeros and ones, which would hide mistakes
        for key, p in model.named_parameters():
            if p.dim() == 1 or "bias" in key or "sinks" in key:
                p.add_(torch.randn_like(p) * 0.1)
            else:
                p.mul_(2.0)
    return model


def wanted_logits(name, folder, ids):
    """Saves the model for us, and runs it, or one that is the same but for its reference arguments."""
    options = MODELS[name][2] if len(MODELS[name]) > 2 else {}
    model = build(name, {})
    model.save_pretrained(folder)
    if "change" in options:
        plain = folder + "-plain"
        options["change"](folder, plain)
        model = type(model).from_pretrained(plain, attn_implementation="eager", dtype=torch.float32).eval()
    if "reference" in options:
        model = build(name, options["reference"])
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy().astype(numpy.float64)


def without_defaults(config, kind):
    """What the class would supply is left out, as it is in nested and in hand-written configurations."""
    defaults = kind().to_dict()
    kept = {}
    for key, value in config.items():
        if key == "text_config":
            kept[key] = dict(without_defaults(value, type(kind().text_config)))
        elif key in ("architectures", "model_type") or key.endswith("_token_id") or key not in defaults \
                or defaults[key] != value:
            kept[key] = value
    return kept


def convert(folder, out):
    run = subprocess.run([CLI, "convert", folder, "-t", "F32", "-o", out, "--quiet"], capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError(run.stderr.strip())


def check_defaults(name, folder, out):
    path = os.path.join(folder, "config.json")
    with open(path) as file:
        config = json.load(file)
    with open(path, "w") as file:
        json.dump(without_defaults(config, getattr(transformers, MODELS[name][0])), file)
    short = out.replace(".gguf", "-short.gguf")
    convert(folder, short)
    if not filecmp.cmp(out, short, shallow=False):
        raise RuntimeError("without what its class supplies, the configuration gives another file")


def check_back(name, out, want, ids):
    """The largest difference of the folder that comes of the GGUF file: from what the runtime computes, or from the model itself where
    the file says what the runtime does not do."""
    run = subprocess.run([CLI, "convert", out, "--format", "safetensors", "-o", out + "-back", "--quiet"], capture_output=True,
                         text=True)
    if run.returncode != 0:
        raise RuntimeError("to a folder: " + run.stderr.strip())
    folder, = (entry.path for entry in os.scandir(out + "-back"))
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    with torch.no_grad():
        got = model(torch.tensor([ids])).logits[0].numpy().astype(numpy.float64)
    options = MODELS[name][2] if len(MODELS[name]) > 2 else {}
    wants = [want]
    if "reference" in options:
        with torch.no_grad():
            wants.append(build(name, {})(torch.tensor([ids])).logits[0].numpy().astype(numpy.float64))
    return min(numpy.abs(w - got).max() / numpy.abs(w).max() for w in wants)


def check_scaled(name, folder, out, want, ids):
    """The largest difference of the model with AWQ's scales folded into it from the one without, in transformers (llama.cpp looks GELU up
    in a table of halves, which makes more of the last bits than the fold does), and how many edges have some."""
    made = out.replace(".gguf", "-scaled.gguf")
    run = subprocess.run([CLI, "quantize", folder, "-t", "awq_f32", "-o", made, "--calibration", "default", "--ctx", "32", "--chunks", "16",
                          "--json", "--quiet"], capture_output=True, text=True)
    if run.returncode != 0:
        raise RuntimeError("scales: " + run.stderr.strip())
    edges = json.loads(run.stdout.splitlines()[-1])["scales"]
    assert all(e["held_out_error"] <= e["held_out_error_without"] for e in edges), edges
    return check_back(name, made, want, ids), sum(e["alpha"] > 0 for e in edges), len(edges)


def compare(name, llama, work):
    # a plain folder name: the runtime looks for model names in general.name
    folder = os.path.join(work, "m" + str(list(MODELS).index(name)))
    options = MODELS[name][2] if len(MODELS[name]) > 2 else {}
    ids = options.get("ids", IDS)
    want = wanted_logits(name, folder, ids)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(os.path.join(ROOT, "examples", "model", file), folder)
    out = folder + ".gguf"
    convert(folder, out)
    check_defaults(name, folder, out)
    got = numpy.array(llama.logits(out, ids, VOCAB), dtype=numpy.float64)
    error = numpy.abs(want - got).max() / numpy.abs(want).max()
    back = check_back(name, out, want, ids)
    scaled, n_scaled, n_edges = check_scaled(name, folder, out, want, ids)
    good = error < 1e-3 and back < 1e-3 and scaled < 1e-4
    print(f"{'ok' if good else 'FAILED':7}{name}: largest difference {error:.1e} of the largest logit, {back:.1e} of a folder of it, "
          f"{scaled:.1e} with scales at {n_scaled} of {n_edges} places", flush=True)
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
