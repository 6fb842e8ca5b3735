#!/usr/bin/env python3
"""Pre-tokenizers and kinds: small tokenizers of every known form, trained here, in the real llama.cpp.

For each form a tokenizer is trained by the `tokenizers` library on a few hundred kilobytes of text,
converted by us, and the ids of both are compared on the test pieces and on multilingual text. The
name that we chose must be the expected one. Environment and exit status as in check_tokenizer.py.
"""
import os
import shutil
import sys
import tempfile

import check_tokenizer as base
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
import json

C = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"\s*[\r\n]+|\s+(?!\S)|\s+"
WORD = r"[^\r\n\p{L}\p{N}]?\p{L}+"
MARKS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
SLASH = r" ?[^\s\p{L}\p{N}]+[\r\n/]*"
UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"


def cased(end):
    start = r"[^\r\n\p{L}\p{N}]?"
    return f"{start}{UPPER}*{LOWER}+{end}|{start}{UPPER}+{LOWER}*{end}"


def split(regex, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": {"Regex": regex}, "behavior": behavior, "invert": invert}


def bytelevel(use_regex):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
            "use_regex": use_regex}


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def splits(*regexes):
    return sequence(*[split(regex) for regex in regexes], bytelevel(False))


DIGITS = {"type": "Digits", "individual_digits": True}
LLAMA3 = f"{C}|{WORD}|\\p{{N}}{{1,3}}|{MARKS}|{TAIL}"
QWEN2 = f"{C}|{WORD}|\\p{{N}}|{MARKS}|{TAIL}"
DEEPSEEK3 = (r"\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
             r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
             r"| ?[\p{P}\p{S}]+[\r\n]*|" + TAIL)

# expected name, architecture, pre-tokenizer, ignore_merges
FORMS = [
    ("gpt-2", "llama", bytelevel(True), False),
    # "phi-2" and "olmo" are names of two vocabularies, not of these architectures (check_convert.py has them)
    ("gpt-2", "phi2", bytelevel(True), False),
    ("gpt-2", "gptneox", bytelevel(True), False),
    ("smollm", "llama", sequence(DIGITS, bytelevel(True)), False),
    ("starcoder", "starcoder2", sequence(DIGITS, bytelevel(True)), False),
    ("refact", "granite", sequence(DIGITS, bytelevel(True)), False),
    ("llama-bpe", "llama", splits(LLAMA3), True),
    ("dbrx", "olmo2", splits(LLAMA3), False),
    ("smaug-bpe", "llama", splits(LLAMA3), False),
    ("qwen2", "qwen2", splits(QWEN2), False),
    ("stablelm2", "stablelm", splits(QWEN2), False),
    ("qwen35", "qwen3", splits(f"{C}|[^\\r\\n\\p{{L}}\\p{{N}}]?[\\p{{L}}\\p{{M}}]+|\\p{{N}}"
                               rf"| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{TAIL}"), False),
    ("bailingmoe", "llama", splits(rf"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{{L}}\p{{N}}]?+\p{{L}}+|\p{{N}}"
                                   r"| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"), False),
    ("seed-coder", "llama", splits(rf"{C}|{WORD}|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{TAIL}"),
     False),
    ("minicpm5", "llama", splits(r"\p{N}{1,3}", f"{C}|{WORD}|\\p{{N}}+|{MARKS}|{TAIL}"), True),
    ("exaone-moe", "llama", splits(
        C + r"|[^\r\n\p{L}\p{N}]?(?:\p{L}\p{M}*(?: \p{L}\p{M}*)*)+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"), False),
    ("jais-2", "llama", splits(
        f"{C}|{WORD}|\\p{{N}}{{1,3}}|{MARKS}|\\s*[\\r\\n]+|"
        + "|".join(f"\\s{{{n}}}(?!\\S)" for n in (512, 256, 128, 64, 32, 16, 8, 4))
        + r"|\s{1,2}(?!\S)|\s{1}"), False),
    ("gpt-4o", "phi3", splits(f"{cased(C + '?')}|\\p{{N}}{{1,3}}|{SLASH}|{TAIL}"), False),
    ("tekken", "llama", splits(f"{cased('')}|\\p{{N}}|{SLASH}|{TAIL}"), True),
    ("deepseek-v3", "deepseek2", splits(*DEEPSEEK3), False),
    ("deepseek-coder", "llama", sequence(split(r"[\r\n]"), split(r"\s?\p{L}+"),
                                         split(r"\s?\p{P}+"), split("[一-龥ࠀ-一가-\ud7ff]+"), DIGITS,
                                         bytelevel(False)), False),
    ("falcon", "falcon", sequence({"type": "Punctuation", "behavior": "Contiguous"},
                                  bytelevel(True), {"type": "Digits", "individual_digits": False},
                                  split("[0-9][0-9][0-9]")), False),
    ("bloom", "llama", splits(r" ?[^(\s|[.,!?…。，、।۔،])]+"), False),
]


def corpus():
    texts = []
    for name in ("multilingual.utf8", "code.utf8", "tiny.utf8"):
        with open(os.path.join(base.SHARED, "corpora", name), encoding="utf-8", newline="") as f:
            texts.append(f.read(200000))
    return [text[i:i + 4000] for text in texts for i in range(0, len(text), 4000)]


def byte_level(pre_tokenizer, ignore_merges):
    empty = {"version": "1.0", "added_tokens": [], "normalizer": None,
             "pre_tokenizer": pre_tokenizer, "post_processor": None,
             "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True,
                         "use_regex": True},
             "model": {"type": "BPE", "ignore_merges": ignore_merges, "vocab": {}, "merges": []}}
    tok = Tokenizer.from_str(json.dumps(empty))
    tok.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=3000, show_progress=False, special_tokens=["<|endoftext|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return tok


def byte_fallback(prefix):
    tok = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    first = [normalizers.Prepend("▁")] if prefix else []
    tok.normalizer = normalizers.Sequence(first + [normalizers.Replace(" ", "▁")])
    tok.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    tok.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(),
                                     decoders.Fuse()] + ([decoders.Strip(" ", 1, 0)] if prefix else []))
    tok.train_from_iterator(corpus(), trainers.BpeTrainer(
        vocab_size=3000, show_progress=False, limit_alphabet=400,
        special_tokens=["<unk>", "<|endoftext|>"] + [f"<0x{i:02X}>" for i in range(256)]))
    saved = json.loads(tok.to_str())
    saved["added_tokens"] = saved["added_tokens"][:2]
    saved["pre_tokenizer"] = None
    return Tokenizer.from_str(json.dumps(saved))


def unigram():
    tok = Tokenizer(models.Unigram())
    # As T5 has it. Without its normalization table a runtime knows no white space but spaces, so
    # the texts of this kind have single spaces.
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(),
                                                 pre_tokenizers.Metaspace()])
    tok.decoder = decoders.Metaspace()
    tok.train_from_iterator(corpus(), trainers.UnigramTrainer(
        vocab_size=3000, show_progress=False, unk_token="<unk>",
        special_tokens=["<pad>", "</s>", "<unk>"]))
    return tok


def wordpiece():
    tok = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100000))
    tok.normalizer = normalizers.BertNormalizer(lowercase=True)
    tok.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tok.decoder = decoders.WordPiece()
    tok.train_from_iterator(corpus(), trainers.WordPieceTrainer(
        vocab_size=3000, show_progress=False,
        special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]))
    return tok


def checked(*arguments):
    try:
        return compare(*arguments)
    except RuntimeError as error:
        print(f"FAILED {arguments[0]}: {error}")
        return False


def compare(name, tok, settings, arch, llama, texts, work, expect):
    folder = os.path.join(work, f"{name} {len(os.listdir(work))}")  # llama.cpp expects tokens of a model that is called phi3
    os.mkdir(folder)
    tok.save(os.path.join(folder, "tokenizer.json"))
    with open(os.path.join(folder, "tokenizer_config.json"), "w", encoding="utf-8") as f:
        json.dump(settings, f)
    rows = tok.get_vocab_size() + 24
    base.fill(folder, {}, arch, rows, {})
    out = folder + ".gguf"
    base.convert(folder, arch, rows, out)
    faults = []
    meta = base.metadata(out)
    for key, want in expect.items():
        if meta.get("tokenizer.ggml." + key) != want:
            faults.append(f"{key} is {meta.get('tokenizer.ggml.' + key)!r}, not {want!r}")
    model = llama.open(out)
    n = wrong = 0
    for text in texts:
        want = tok.encode(text, add_special_tokens=False).ids
        got = llama.encode(model, text, True)
        n += 1
        if want == got or (meta["tokenizer.ggml.model"] == "t5" and sorted(want) == sorted(got)):
            continue  # two cuts of one score are equally good
        wrong += 1
        if wrong <= 3:
            i = next((i for i, (x, y) in enumerate(zip(want, got)) if x != y),
                     min(len(want), len(got)))
            before = tok.decode(want[max(0, i - 3):i])
            faults.append(f"after {before!r}: want {[tok.id_to_token(t) for t in want[i:i + 5]]}, "
                          f"got {[tok.id_to_token(t) for t in got[i:i + 5]]}")
    llama.lib.llama_model_free(model)
    print(f"{'FAILED' if faults else 'ok':7}{name} ({arch}): {n - wrong} of {n} texts agree")
    for fault in faults:
        print("       " + fault)
    return not faults


def single_spaces(text):
    return " ".join(text.split())


def as_it_is(text):
    return text


KINDS = [
    ("byte-fallback", lambda: byte_fallback(True), "llama", {"model": "llama"}, as_it_is),
    ("byte-fallback-no-prefix", lambda: byte_fallback(False), "llama", {"model": "llama"}, as_it_is),
    ("unigram", unigram, "llama", {"model": "t5"}, single_spaces),
    ("wordpiece", wordpiece, "llama", {"model": "bert"}, as_it_is),
]


def main():
    if not os.path.isdir(os.path.join(base.SHARED, "corpora")):
        base.skip(f"no corpora in {base.SHARED} (HT_SHARED)")
    if "HT_LLAMA_LIB" not in os.environ:
        base.skip("HT_LLAMA_LIB does not name the folder of libllama")
    if "HT_VOCAB_TOOL" not in os.environ and not os.path.exists(base.CLI):
        base.skip(f"no program {base.CLI} (HT_CLI)")
    llama = base.Llama(os.environ["HT_LLAMA_LIB"])
    texts = [text for text in base.pieces() + base.mixed() if text]
    work = tempfile.mkdtemp(prefix="halftone-pretokenizer-")
    settings = {"eos_token": "<|endoftext|>", "bos_token": "<|endoftext|>"}
    failed = n = 0
    try:
        for name, arch, pre, ignore_merges in FORMS:
            if len(sys.argv) > 1 and name not in sys.argv[1:]:
                continue
            n += 1
            tok = byte_level(pre, ignore_merges)
            failed += not checked(name, tok, settings, arch, llama, texts, work,
                                  {"pre": name, "model": "gpt2"})
        for name, make, arch, expect, prepare in KINDS:
            if len(sys.argv) > 1 and name not in sys.argv[1:]:
                continue
            n += 1
            failed += not checked(name, make(), {}, arch, llama,
                                  list(filter(None, map(prepare, texts))), work, expect)
    finally:
        shutil.rmtree(work)
    print(f"check_pretokenizer: {n - failed} of {n} forms agree")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
