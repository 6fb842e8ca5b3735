#!/usr/bin/env python3
"""Trains the example model: a small Llama on the texts of a corpora folder.

    python examples/train/train.py --corpora DIR --out examples/model --minutes 50

The schedule follows the clock, so that the learning rate has always decayed when the time is up.
The last fiftieth of every text is held out. Writes what save_pretrained writes, in BF16, and
training.json with the figures of the model card.
"""
import argparse
import json
import math
import pathlib
import time

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

TEXTS = ["prose-cal.txt", "GrimmsFairyTales.txt", "tinyshakespeare.txt", "tinystories_1000.txt", "wiki.utf8",
         "wiki.valid.tokens", "c4.utf8", "technical.utf8", "code.utf8", "tiny.utf8"]
CONTEXT, BATCH, VOCABULARY = 256, 8, 4096
CHAT_TEMPLATE = ("{% for message in messages %}{{ message['role'] + ': ' + message['content'] + '\\n' }}"
                 "{% endfor %}{% if add_generation_prompt %}{{ 'assistant:' }}{% endif %}")


def load(corpora):
    """Every text, cut into a part to train on and a held-out end."""
    parts = {}
    for name in TEXTS:
        text = (corpora / name).read_text(encoding="utf-8", errors="replace")
        cut = len(text) - len(text) // 50
        parts[name] = (text[:cut], text[cut:])
    return parts


def train_tokenizer(texts):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<|endoftext|>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token="<|endoftext|>",
                                   eos_token="<|endoftext|>", model_max_length=1024)
    fast.chat_template = CHAT_TEMPLATE
    return fast


def new_model(tokenizer):
    return LlamaForCausalLM(LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=256, intermediate_size=768, num_hidden_layers=8,
        num_attention_heads=8, num_key_value_heads=2, head_dim=32, max_position_embeddings=1024,
        rms_norm_eps=1e-5, tie_word_embeddings=False, bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id))


def loss_of(model, ids):
    logits = model(ids[:, :-1]).logits.float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())


@torch.no_grad()
def held_out(model, tokenizer, parts):
    """Mean loss per token, and bits per byte, over whole windows of each held-out end."""
    model.eval()
    figures = {}
    for name, (_, end) in parts.items():
        ids = torch.tensor(tokenizer(end)["input_ids"])
        n = len(ids) // (CONTEXT + 1)
        if n == 0:
            continue
        windows = ids[:n * (CONTEXT + 1)].view(n, CONTEXT + 1)[:64]
        loss = sum(loss_of(model, w[None]).item() for w in windows) / len(windows)
        bytes_per_token = len(end.encode()) / len(ids)
        figures[name] = {"loss": round(loss, 4), "perplexity": round(math.exp(loss), 2),
                         "bits_per_byte": round(loss / math.log(2) / bytes_per_token, 4)}
    model.train()
    return figures


def save(model, tokenizer, out, figures):
    out.mkdir(parents=True, exist_ok=True)
    bf16 = LlamaForCausalLM(model.config).to(torch.bfloat16)
    bf16.load_state_dict({k: v.to(torch.bfloat16) for k, v in model.state_dict().items()})
    bf16.config.dtype = torch.bfloat16
    bf16.save_pretrained(out)
    tokenizer.save_pretrained(out)
    (out / "training.json").write_text(json.dumps(figures, indent=1) + "\n")


def train(args):
    torch.manual_seed(1)
    torch.set_num_threads(1)
    parts = load(args.corpora)
    tokenizer = train_tokenizer([text for text, _ in parts.values()])
    stream = torch.cat([torch.tensor(tokenizer(text)["input_ids"] + [tokenizer.eos_token_id])
                        for text, _ in parts.values()])
    model = new_model(tokenizer)
    decay = [p for p in model.parameters() if p.dim() > 1]
    plain = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW([{"params": decay, "weight_decay": 0.1},
                                   {"params": plain, "weight_decay": 0.0}], lr=args.rate, betas=(0.9, 0.95))
    start, step, saved = time.time(), 0, 0.0
    generator = torch.Generator().manual_seed(2)
    while (progress := (time.time() - start) / (60 * args.minutes)) < 1:
        rate = args.rate * min(1, (step + 1) / 100) * (0.05 + 0.95 * (1 + math.cos(math.pi * progress)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = rate
        at = torch.randint(0, len(stream) - CONTEXT - 1, (BATCH,), generator=generator)
        batch = torch.stack([stream[i:i + CONTEXT + 1] for i in at])
        loss = loss_of(model, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        if step % 50 == 0:
            print(f"step {step} {progress:.1%} loss {loss.item():.3f} rate {rate:.2e} "
                  f"{step * BATCH * CONTEXT / (time.time() - start):.0f} tokens/s", flush=True)
        if time.time() - saved > 300 and step % 50 == 0:
            save(model, tokenizer, args.out, {"steps": step, "finished": False})
            saved = time.time()
    figures = {"finished": True, "parameters": sum(p.numel() for p in model.parameters()), "steps": step,
               "tokens_seen": step * BATCH * CONTEXT, "tokens_of_text": len(stream), "batch": BATCH,
               "context": CONTEXT, "minutes": args.minutes, "peak_rate": args.rate,
               "held_out": held_out(model, tokenizer, parts)}
    save(model, tokenizer, args.out, figures)
    print(json.dumps(figures, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--corpora", type=pathlib.Path, required=True, help="folder with the texts")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for the model")
    parser.add_argument("--minutes", type=float, default=50)
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    train(parser.parse_args())
