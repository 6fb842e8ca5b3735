#!/usr/bin/env python3
"""Conversations: chat templates run by us give the text and the tokens that transformers gives.

Templates: those of the tokenizers beside the repository, of tests/parity/chat/, and files given as arguments (.jinja, or
JSON with a chat_template). Environment: HT_LIB or HT_BUILD, HT_SHARED.
Exit status: 0 passed, 1 failed, 77 skipped.
"""
import glob
import json
import os
import sys
import tempfile

from halftone_chat import Generator, Refused

import transformers

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
LIB = os.environ.get("HT_LIB") or os.path.join(os.environ.get("HT_BUILD", os.path.join(ROOT, "build")), "libhalftone.so")
SHARED = os.environ.get("HT_SHARED", os.path.join(ROOT, "..", "shared"))
MODEL = os.path.join(ROOT, "examples", "model")

SYSTEM, USER, ANSWER = "system", "user", "assistant"
CONVERSATIONS = [
    [(USER, "Hello")],
    [(SYSTEM, "Be brief."), (USER, "Hello")],
    [(SYSTEM, "Be brief."), (USER, "Hello"), (ANSWER, "Hi there"), (USER, "Who are you?")],
    [(USER, "  spaces around \n"), (ANSWER, "\n\n  and here  \n"), (USER, "\u3000\u00e9 \U0001f600 'quotes' \"and\" \\n {{ x }} {% y %}\n\n")],
    [(USER, "q"), (ANSWER, "<think>\nhm, well\n</think>\n\nIt is 4."), (USER, "sure?"), (ANSWER, "<think></think>yes"), (USER, "ok")],
    [(USER, "")],
    [(USER, "one"), (USER, "two")],
    [(SYSTEM, ""), (USER, "<<SYS>> [INST] <|im_end|> <|nothing|>")],
    [(SYSTEM, "only the system")],
    [(USER, "a"), (ANSWER, "b")],
]


def template_of(path):
    if path.endswith(".json"):
        with open(path, encoding="utf-8") as file:
            template = json.load(file).get("chat_template")
        return template if isinstance(template, str) else None
    with open(path, encoding="utf-8") as file:
        return file.read()


def ours(path, conversation):
    generator = Generator(LIB, MODEL, chat_template=path, threads=1, ctx=4096, max_tokens=1)
    try:
        tokens = None
        for role, text in conversation:
            generator.say(role, text)
            tokens = generator.stats().prompt_tokens if role == USER else None
        return generator.conversation(), tokens
    except Refused as refused:
        return refused, None
    finally:
        generator.close()


def theirs(tokenizer, template, conversation):
    messages = [{"role": role, "content": text} for role, text in conversation]
    try:
        text = tokenizer.apply_chat_template(messages, chat_template=template, add_generation_prompt=True, tokenize=False)
    except Exception as refused:  # whatever a template raises
        return refused, None
    return text, len(tokenizer(text, add_special_tokens=False)["input_ids"])


def compare(path, template, tokenizer, work):
    file = os.path.join(work, "template.jinja")
    with open(file, "w", encoding="utf-8") as out:
        out.write(template)
    same, refused = 0, 0
    for conversation in CONVERSATIONS:
        want, n_want = theirs(tokenizer, template, conversation)
        have, n_have = ours(file, conversation)
        if isinstance(want, Exception) and isinstance(have, Exception):
            refused += 1
        elif isinstance(have, Refused) and "do not fit" in str(have):
            refused += 1
        elif not isinstance(want, str) or want != have or (n_have is not None and n_have != n_want):
            print(f"FAILED {path}: {conversation}\n  theirs {want!r} ({n_want} tokens)\n  ours   {have!r} ({n_have} tokens)")
            return False
        else:
            same += 1
    print(f"ok     {path}: {same} conversations the same, {refused} refused by both", flush=True)
    return same > 0


def main():
    patterns = [os.path.join(SHARED, "tokenizers", "*", "*tokenizer_config.json"), os.path.join(ROOT, "tests", "parity", "chat", "*.jinja"),
                os.path.join(MODEL, "chat_template.jinja")]
    paths = sys.argv[1:] or sorted(path for pattern in patterns for path in glob.glob(pattern))
    tokenizer = transformers.AutoTokenizer.from_pretrained(MODEL)
    good = bad = 0
    with tempfile.TemporaryDirectory(prefix="halftone-chat-") as work:
        for path in paths:
            template = template_of(path)
            if template:
                passed = compare(os.path.relpath(path, ROOT), template, tokenizer, work)
                good, bad = good + passed, bad + (not passed)
    print(f"check_chat: {good} of {good + bad} templates agree")
    sys.exit(1 if bad or not good else 0)


if __name__ == "__main__":
    main()
