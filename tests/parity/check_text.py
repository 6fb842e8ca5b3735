#!/usr/bin/env python3
"""Token ids of `halftone tokenize`, against each tokenizer's own library and llama.cpp's stored results.

For every form of pre-tokenizer and every kind of model a small tokenizer is trained here; for each tokenizer under shared/tokenizers, as a folder and as the GGUF that we write of it: the test pieces
of shared/vocab and slices of multilingual text and code must give the ids that `tokenizers`, `transformers`
or `sentencepiece` give, and decoding must give their text. For each vocabulary shared/vocab/*.gguf the ids must be
those stored beside it. Environment and exit status as in check_tokenizer.py.
"""
import json
import os
import subprocess
import sys
import tempfile

import check_pretokenizer as forms
import check_tokenizer as base
import sentencepiece


def ours(model, texts, *flags):
    run = subprocess.run([base.CLI, "tokenize", model, "--json", *flags], input=json.dumps(texts),
                         capture_output=True, text=True, encoding="utf-8")
    if run.returncode:
        raise RuntimeError(f"tokenize {model}: {run.stderr.strip()}")
    return json.loads(run.stdout)


def compare(name, texts, got, want):
    wrong = [(t, w, g) for t, w, g in zip(texts, want, got)
             if w != g and not ("unigram" in name and sorted(w) == sorted(g))]  # two cuts of one score
    print(f"{'FAIL' if wrong else 'ok  '}   {name}: {len(texts) - len(wrong)} of {len(texts)} texts")
    for text, w, g in wrong[:int(os.environ.get("HT_SHOW", "3"))]:
        at = next((i for i, (x, y) in enumerate(zip(w, g)) if x != y), min(len(w), len(g)))
        print(f"       {text[:60]!r}: at {at} want {w[max(at - 2, 0):at + 6]}, got {g[max(at - 2, 0):at + 6]}")
    return not wrong


def stored(path):
    """The texts and ids that lie beside a vocabulary of llama.cpp's."""
    with open(path + ".inp", encoding="utf-8", newline="") as f:
        texts = f.read().split("\n__ggml_vocab_test__\n")
    with open(path + ".out", encoding="utf-8") as f:
        ids = [[int(x) for x in line.split()] for line in f.read().split("\n")]
    return texts, ids[:len(texts)]


def check_stored():
    good = True
    folder = os.path.join(base.SHARED, "vocab")
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if name.endswith(".gguf") and os.path.exists(path + ".out"):
            texts, want = stored(path)
            try:
                good &= compare(name, texts, ours(path, texts, "--plain"), want)
            except RuntimeError as error:
                good = False
                print(f"FAIL   {name}: {error}")
    return good


def check_made(name, folder, arch, rows, encode, decode, texts, flags):
    """One tokenizer's files, as a folder and as a GGUF: encoding, and decoding what was encoded."""
    good = True
    base.fill(folder, {}, arch, rows, {})
    want = list(map(encode, texts))
    out = folder + ".gguf"
    base.convert(folder, arch, rows, out)
    for what, model in (("folder", folder), ("GGUF", out)):
        try:
            good &= compare(f"{name} ({what})", texts, ours(model, texts, *flags), want)
            if decode:
                good &= compare(f"{name} ({what}), decoding", texts, ours(model, want, "--decode", *flags),
                                list(map(decode, want)))
        except RuntimeError as error:
            good = False
            print(f"FAIL   {name} ({what}): {error}")
    return good


def short_words(text):
    """A GGUF cannot say from which length on a word is unknown; BERT's is 100."""
    return " ".join(word[:90] for word in text.split())


def check_forms(texts):
    good = True
    names = [(f"pre-tokenizer {name}", arch, lambda pre=pre, ignore=ignore: forms.byte_level(pre, ignore), base_texts)
             for name, arch, pre, ignore in forms.FORMS for base_texts in [forms.as_it_is]]
    names += [(name, arch, make, prepare) for name, make, arch, _, prepare in forms.KINDS]
    names = [(name, arch, make, short_words if name == "wordpiece" else prepare) for name, arch, make, prepare in names]
    for name, arch, make, prepare in names:
        if len(sys.argv) > 1 and name.split()[-1] not in sys.argv[1:]:
            continue
        tok = make()
        if name.split()[-1] in ("olmo", "qwen2", "qwen35"):
            tok.normalizer = forms.normalizers.NFC()  # as the models of that name have it
        with tempfile.TemporaryDirectory() as work:
            folder = os.path.join(work, "made")
            os.mkdir(folder)
            tok.save(os.path.join(folder, "tokenizer.json"))
            good &= check_made(name, folder, arch, tok.get_vocab_size() + 24,
                               lambda text: tok.encode(text, add_special_tokens=False).ids,
                               lambda ids: tok.decode(ids, skip_special_tokens=False),
                               [text for text in map(prepare, texts) if text], [])
    return good


def check_sentencepiece(texts):
    """Models that the sentencepiece library trains, with its normalization tables."""
    good = True
    for model_type, rule, options in [("unigram", "nmt_nfkc", {}), ("unigram", "nmt_nfkc_cf", {}),
                                      ("unigram", "identity", {"byte_fallback": True}),
                                      ("bpe", "identity", {"byte_fallback": True, "split_by_unicode_script": False,
                                                           "remove_extra_whitespaces": False}),
                                      ("bpe", "identity", {"byte_fallback": True, "split_by_whitespace": False,
                                                           "remove_extra_whitespaces": False,
                                                           "allow_whitespace_only_pieces": True})]:
        name = f"sentencepiece {model_type} {rule} {' '.join(options)}"
        if len(sys.argv) > 1 and model_type not in sys.argv[1:]:
            continue
        with tempfile.TemporaryDirectory() as work:
            folder = os.path.join(work, "made")
            os.mkdir(folder)
            prefix = os.path.join(folder, "tokenizer")
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter([line for text in forms.corpus() for line in text.split("\n") if line][:6000]),
                model_prefix=prefix, vocab_size=2500, model_type=model_type, normalization_rule_name=rule,
                character_coverage=0.98, minloglevel=2, num_threads=1, hard_vocab_limit=False, **options)
            tok = sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")
            good &= check_made(name, folder, "llama", tok.get_piece_size(), tok.encode_as_ids,
                               None, texts, ["--plain"])
    return good


def check_folder(case, texts):
    name, files, arch, vocab_size, encoder = case[:5]
    good = True
    with tempfile.TemporaryDirectory() as folder:
        if base.SAVED in name:
            with tempfile.TemporaryDirectory() as work:
                base.save_again(folder, files, arch, vocab_size, work)
        else:
            base.fill(folder, files, arch, vocab_size, {})
        encode = encoder(folder)
        out = os.path.join(folder, "vocab-only.gguf")
        base.convert(folder, arch, vocab_size, out)
        # sentencepiece takes control tokens' spellings for text
        flags = ["--plain"] if encoder is base.by_sentencepiece else []
        # a GGUF of SentencePiece's BPE cannot say that runs of spaces count once
        squeezes = encoder is base.by_sentencepiece and not encode("  ")
        for what, model in (("folder", folder), ("GGUF", out)):
            given = list(map(base.squeezed, texts)) if squeezes and what == "GGUF" else texts
            if case[5] is base.no_first_space and what == "GGUF":  # nor that a text's own space stands for it
                given = list(map(base.no_first_space, texts))
            try:
                good &= compare(f"{name} ({what})", given, ours(model, given, *flags), list(map(encode, given)))
            except RuntimeError as error:
                good = False
                print(f"FAIL   {name} ({what}): {error}")
    return good


def main():
    if not os.path.isdir(os.path.join(base.SHARED, "tokenizers")):
        base.skip(f"no {base.SHARED}/tokenizers")
    texts = base.pieces() + base.mixed()
    some = sys.argv[1:]
    good = bool(some) or check_stored()
    for case in base.CASES:
        if not some or case[0] in some:
            good &= check_folder(case, texts)
    good &= check_forms(texts)
    good &= check_sentencepiece(texts)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
