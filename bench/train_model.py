#!/usr/bin/env python3
"""Trains a small model of another shape than the example model's, so that what is measured on one model can be measured on more.

    bench/train_model.py SHAPE FOLDER --corpora DIR [--seconds 600]

SHAPE is qwen2 (biases on queries, keys and values; embeddings that are the head as well) or qwen3_moe (norms of queries and keys; eight
experts, of which each token goes through two). Rows are whole blocks of 256. The tokenizer is the example model's, the texts are those of
its training except prose-cal.txt, which is left for calibration. The schedule follows the processor time of the process, which computes
with one thread. Writes what save_pretrained writes, in BF16, and training.json.
"""
import argparse
import json
import math
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TEXTS = ["GrimmsFairyTales.txt", "tinyshakespeare.txt", "tinystories_1000.txt", "wiki.utf8", "wiki.valid.tokens", "c4.utf8",
         "technical.utf8", "code.utf8", "tiny.utf8"]
CONTEXT, BATCH, RATE = 256, 4, 3e-3
COMMON = {"hidden_size": 256, "num_hidden_layers": 6, "num_attention_heads": 4, "num_key_value_heads": 2,
          "max_position_embeddings": 1024, "rms_norm_eps": 1e-6, "use_sliding_window": False}
SHAPES = {
    "qwen2": ("Qwen2", {"intermediate_size": 768, "tie_word_embeddings": True}),
    "qwen3_moe": ("Qwen3Moe", {"intermediate_size": 768, "moe_intermediate_size": 256, "num_experts": 8, "num_experts_per_tok": 2,
                               "norm_topk_prob": True, "head_dim": 64, "output_router_logits": True, "tie_word_embeddings": False}),
}


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("shape", choices=SHAPES)
    p.add_argument("folder", type=pathlib.Path)
    p.add_argument("--corpora", type=pathlib.Path, required=True, help="folder with the texts")
    p.add_argument("--seconds", type=float, default=600, help="of processor time")
    a = p.parse_args()
    missing = [name for name in TEXTS if not (a.corpora / name).is_file()]
    if missing:
        p.error(f"{a.corpora} lacks {', '.join(missing)}")
    if a.seconds <= 0:
        p.error("--seconds must be above 0")
    return a


def stream(tokenizer, corpora):
    """All texts as one row of tokens, each of them ended."""
    import torch
    rows = [tokenizer((corpora / name).read_text(encoding="utf-8", errors="replace"))["input_ids"] + [tokenizer.eos_token_id]
            for name in TEXTS]
    return torch.tensor([token for row in rows for token in row])


def new_model(shape, tokenizer):
    import transformers
    name, options = SHAPES[shape]
    config = getattr(transformers, name + "Config")(vocab_size=len(tokenizer), bos_token_id=tokenizer.bos_token_id,
                                                    eos_token_id=tokenizer.eos_token_id, **COMMON, **options)
    return getattr(transformers, name + "ForCausalLM")(config)


def trained(model, text, seconds):
    """What training took: the steps, and the mean loss of the last hundred."""
    import torch
    groups = [{"params": [p for p in model.parameters() if p.dim() > 1], "weight_decay": 0.1},
              {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=RATE, betas=(0.9, 0.95))
    at = torch.Generator().manual_seed(2)
    begin, steps, losses = time.process_time(), 0, []
    while (progress := (time.process_time() - begin) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (steps + 1) / 100) * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)
        first = torch.randint(0, len(text) - CONTEXT - 1, (BATCH,), generator=at).tolist()
        batch = torch.stack([text[i:i + CONTEXT] for i in first])
        loss = model(batch, labels=batch).loss  # the model moves labels by one itself, and adds what keeps experts busy
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        steps += 1
        losses.append(loss.item())
        if steps % 50 == 0:
            print(f"step {steps} {progress:.1%} loss {sum(losses[-50:]) / 50:.3f}", flush=True)
    return steps, sum(losses[-100:]) / len(losses[-100:])


def main():
    a = arguments()
    import torch
    from transformers import AutoTokenizer
    torch.manual_seed(1)
    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(ROOT / "examples/model", model_max_length=1 << 30)
    text = stream(tokenizer, a.corpora)
    model = new_model(a.shape, tokenizer)
    steps, loss = trained(model, text, a.seconds)
    if not math.isfinite(loss):
        sys.exit(f"{a.shape}: the loss is not a number after {steps} steps")
    model.config.output_router_logits = False
    model.to(torch.bfloat16).save_pretrained(a.folder)
    tokenizer.save_pretrained(a.folder)
    figures = {"parameters": sum(p.numel() for p in model.parameters()), "steps": steps, "tokens_seen": steps * BATCH * CONTEXT,
               "tokens_of_text": len(text), "processor_seconds": a.seconds, "loss": round(loss, 4)}
    (a.folder / "training.json").write_text(json.dumps(figures, indent=1) + "\n")
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
