#!/usr/bin/env python3
"""Greedy text: from the example model's folder and its F32 file it is transformers' over 64 tokens, and from the F32
file llama.cpp's. From its Q8_0 file too, but that llama.cpp rounds what is multiplied to eight bits, and we do not
(option exact): where its text is another, its two best logits must be as close as that rounding brings them.

Environment: HT_CLI, HT_LIB or HT_BUILD, HT_LLAMA_LIB.
Exit status: 0 passed, 1 failed, 77 skipped.
"""
import os
import subprocess
import sys
import tempfile

from halftone_chat import Generator
from llama_logits import Llama

import numpy
import torch
import transformers

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("HT_BUILD", os.path.join(ROOT, "build"))
CLI = os.environ.get("HT_CLI", os.path.join(BUILD, "halftone"))
LIB = os.environ.get("HT_LIB", os.path.join(BUILD, "libhalftone.so"))
MODEL = os.path.join(ROOT, "examples", "model")
NEW = 64
# Of the largest logit: the field's eight-bit products are 0.5 to 1 % off.
CLOSE = 0.005
PROMPTS = ["Once upon a time", "The king", "Lily and Tom went to the", "ROMEO:\n", "In the year 1905, the city", "\"Why?\" asked",
           "def f(x):\n    return", "= = History = =\n\n The first", "caf\u00e9 \u4e2d\u6587 \U0001f600", "a"]


def ours(path, prompt, **options):
    generator = Generator(LIB, path, threads=1, max_tokens=NEW, **options)
    try:
        generator.prompt(prompt)
        return generator.text().decode(errors="replace")  # a model may end within a character
    finally:
        generator.close()


def theirs(model, tokenizer, prompt):
    ids = tokenizer(prompt, return_tensors="pt", add_special_tokens=True)
    with torch.no_grad():
        out = model.generate(**ids, max_new_tokens=NEW, do_sample=False, pad_token_id=tokenizer.eos_token_id)
    new = out[0, ids["input_ids"].shape[1]:]
    return tokenizer.decode(new, skip_special_tokens=True)


def greedy_of_llama(llama, path, tokenizer, prompt, n_vocab):
    """Ids, and for each how much better it was than any token: a sequence is run anew for every token."""
    ids, gaps = tokenizer(prompt)["input_ids"], []
    n = len(ids)

    def sequences():
        while len(ids) < n + NEW and (len(ids) == n or ids[-1] != tokenizer.eos_token_id):
            yield ids

    for logits in llama.chunks(path, sequences(), n_vocab):
        last = logits[-1]
        first, second = numpy.argsort(-last, kind="stable")[:2]
        gaps.append((last[first] - last[second]) / numpy.abs(last).max())
        ids.append(int(first))
    return ids[n:], gaps


def common(a, b):
    return next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))


def compare_llama(llama, path, tokenizer, prompt, n_vocab, **options):
    """The words to print, and whether it is good."""
    want, gaps = greedy_of_llama(llama, path, tokenizer, prompt, n_vocab)
    have = ours(path, prompt, **options)
    text = tokenizer.decode(want, skip_special_tokens=True)
    if have == text:
        return "the same", True
    # the token in which the first other byte lies
    at = common(have, text)
    index = next(i for i in range(len(want)) if len(tokenizer.decode(want[:i + 1])) > at)
    return f"other from token {index} on, where llama.cpp's best is ahead by {gaps[index]:.1e}", gaps[index] < CLOSE


def main():
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL)
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32)
    failed = same = 0
    with tempfile.TemporaryDirectory(prefix="halftone-generate-") as work:
        full, small = os.path.join(work, "full.gguf"), os.path.join(work, "small.gguf")
        subprocess.run([CLI, "convert", MODEL, "-t", "F32", "-o", full, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([CLI, "quantize", MODEL, "-t", "Q8_0", "-o", small, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        llama = Llama(os.environ["HT_LLAMA_LIB"]) if os.environ.get("HT_LLAMA_LIB") else None
        for prompt in PROMPTS:
            want = theirs(model, tokenizer, prompt)
            good = all(ours(path, prompt) == want for path in (MODEL, full))
            print(f"{'ok' if good else 'FAILED':7}{prompt!r}: transformers' {len(want)} characters, from the folder and from F32", flush=True)
            failed += not good
            if not llama:
                continue
            for name, path in (("F32", full), ("Q8_0", small)):
                words, good = compare_llama(llama, path, tokenizer, prompt, model.config.vocab_size, exact="true")
                good = good and (name == "Q8_0" or words == "the same")
                print(f"{'ok' if good else 'FAILED':7}{prompt!r}: {name} and llama.cpp: {words}", flush=True)
                failed += not good
                same += name == "Q8_0" and words == "the same"
    if not llama:
        print("SKIPPED llama.cpp: HT_LLAMA_LIB is not set")
    elif same < len(PROMPTS) // 2:
        print(f"FAILED only {same} of {len(PROMPTS)} texts are llama.cpp's")
        failed += 1
    print(f"check_generate: {len(PROMPTS)} prompts, {same} of them from Q8_0 as llama.cpp's to the last token, {failed} failures")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
