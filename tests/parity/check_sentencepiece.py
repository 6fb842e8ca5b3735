#!/usr/bin/env python3
"""SentencePiece models of every kind, trained here, in the real llama.cpp: ids as SentencePiece's own.

Environment and exit status as in check_tokenizer.py.
"""
import os
import shutil
import sys
import tempfile

import check_tokenizer as base
import sentencepiece


def as_it_is(text):
    return text


def not_only_spaces(text):
    """llama.cpp's unigram tokenizer drops one mark of a text of spaces."""
    return text if text.strip(" ") else ""


# name, options of the trainer, what a text must be brought to first, expected model
KINDS = [
    ("bpe", {"model_type": "bpe"}, as_it_is, "llama"),
    ("bpe-without-prefix", {"model_type": "bpe", "add_dummy_prefix": False}, as_it_is, "llama"),
    # With a prefix llama.cpp puts one after each symbol too, and none before a first one.
    ("bpe-with-symbols", {"model_type": "bpe", "add_dummy_prefix": False,
                          "control_symbols": ["<ctl>"],
                          "user_defined_symbols": ["<|x|>", "Hello", "▁▁", "ab▁c", "0", "1", "2"]},
     as_it_is, "llama"),
    ("bpe-squeezing", {"model_type": "bpe", "remove_extra_whitespaces": True}, base.squeezed,
     "llama"),
    ("unigram", {"model_type": "unigram", "byte_fallback": False}, not_only_spaces, "t5"),
    ("unigram-squeezing", {"model_type": "unigram", "byte_fallback": False,
                           "remove_extra_whitespaces": True}, as_it_is, "t5"),
    ("unigram-without-prefix", {"model_type": "unigram", "byte_fallback": False,
                                "add_dummy_prefix": False}, as_it_is, "t5"),
    ("unigram-nmt-nfkc", {"model_type": "unigram", "byte_fallback": False,
                          "normalization_rule_name": "nmt_nfkc",
                          "remove_extra_whitespaces": True}, as_it_is, "t5"),
]


def train(folder, options):
    text = os.path.join(folder, "text")
    with open(text, "w", encoding="utf-8") as out:
        for name in ("multilingual.utf8", "tiny.utf8"):
            with open(os.path.join(base.SHARED, "corpora", name), encoding="utf-8") as f:
                out.write(f.read(150000) + "\n")
    settings = {"byte_fallback": True, "normalization_rule_name": "identity", "vocab_size": 2000,
                "remove_extra_whitespaces": False, "character_coverage": 0.99,
                "allow_whitespace_only_pieces": True, "num_threads": 1, "minloglevel": 2}
    settings.update(options)
    sentencepiece.SentencePieceTrainer.train(
        input=text, model_prefix=os.path.join(folder, "tokenizer"), **settings)
    os.remove(text)
    os.remove(os.path.join(folder, "tokenizer.vocab"))


def compare(kind, llama, texts, work):
    name, options, prepare, expected = kind
    folder = os.path.join(work, name)
    os.mkdir(folder)
    train(folder, options)
    base.fill(folder, {}, "llama", 2024, {})
    out = folder + ".gguf"
    base.convert(folder, "llama", 2024, out)
    tok = sentencepiece.SentencePieceProcessor(model_file=os.path.join(folder, "tokenizer.model"))
    faults = []
    if base.metadata(out).get("tokenizer.ggml.model") != expected:
        faults.append(f"the model is {base.metadata(out).get('tokenizer.ggml.model')!r}")
    model, n, wrong = llama.open(out), 0, 0
    for text in filter(None, map(prepare, texts)):
        want, got = tok.encode_as_ids(text), llama.encode(model, text, False)
        n += 1
        if want == got or (expected == "t5" and sorted(want) == sorted(got)):
            continue  # two cuts of one score are equally good
        wrong += 1
        if wrong <= 3:
            i = next((i for i, (x, y) in enumerate(zip(want, got)) if x != y),
                     min(len(want), len(got)))
            faults.append(f"{text[:40]!r} at {i}: want {tok.id_to_piece(want[i:i + 6])}, "
                          f"got {[t if t >= 2000 else tok.id_to_piece(t) for t in got[i:i + 6]]}")
    llama.lib.llama_model_free(model)
    print(f"{'FAILED' if faults else 'ok':7}{name}: {n - wrong} of {n} texts agree")
    for fault in faults:
        print("       " + fault)
    return not faults


def main():
    if not os.path.isdir(os.path.join(base.SHARED, "corpora")):
        base.skip(f"no corpora in {base.SHARED} (HT_SHARED)")
    if "HT_LLAMA_LIB" not in os.environ:
        base.skip("HT_LLAMA_LIB does not name the folder of libllama")
    if "HT_VOCAB_TOOL" not in os.environ and not os.path.exists(base.CLI):
        base.skip(f"no program {base.CLI} (HT_CLI)")
    llama = base.Llama(os.environ["HT_LLAMA_LIB"])
    texts = base.pieces() + base.mixed() + ["a  b <|x|> c", "Hello<|x|> ab cHello 012", "<ctl>"]
    work = tempfile.mkdtemp(prefix="halftone-sentencepiece-")
    chosen = [kind for kind in KINDS if len(sys.argv) < 2 or kind[0] in sys.argv[1:]]
    failed = 0
    try:
        for kind in chosen:
            failed += not compare(kind, llama, texts, work)
    finally:
        shutil.rmtree(work)
    print(f"check_sentencepiece: {len(chosen) - failed} of {len(chosen)} kinds agree")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
