"""Small tokenizers of every kind, trained on the spot, and the real ones of HT_SHARED."""
import functools
import io
import json
import os
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = pathlib.Path(os.environ.get("HT_SHARED", ROOT / ".." / "shared"))
CORPUS = [line for line in (ROOT / "README.md").read_text().splitlines() if line.strip()]


def added(content, special=True, **more):
    return dict({"content": content, "lstrip": False, "normalized": False, "rstrip": False, "single_word": False,
                 "special": special}, **more)


@functools.cache
def spm_model(size=400, byte_fallback=True, user=()):
    import sentencepiece
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=out, model_type="bpe", vocab_size=size, byte_fallback=byte_fallback,
        minloglevel=2, num_threads=1, user_defined_symbols=list(user), control_symbols=["<ctl>"])
    return out.getvalue()


@functools.cache
def bpe_json(first=("<|endoftext|>",), vocab=380, pattern=None, digits=False):
    """A byte-level BPE, as JSON's object; the special tokens come first."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers, decoders
    t = Tokenizer(models.BPE())
    steps = [pre_tokenizers.Split(Regex(pattern), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)] if pattern else \
        [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if digits:
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    t.pre_tokenizer = pre_tokenizers.Sequence(steps) if len(steps) > 1 else steps[0]
    t.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=list(first), show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    t.train_from_iterator(CORPUS, trainer)
    return t.to_str()


QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)


def bpe(post=None, settings=None, edit=None, **arguments):
    """tokenizer.json with a post-processor, and tokenizer_config.json."""
    root = json.loads(bpe_json(**arguments))
    if post is not None:
        root["post_processor"] = post
    if edit:
        edit(root)
    config = dict({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
                  **(settings or {}))
    return {"tokenizer.json": json.dumps(root).encode(), "tokenizer_config.json": json.dumps(clean(config)).encode()}


def spm(settings=None, size=400, extra=None, **arguments):
    config = dict({"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"},
                  **(settings or {}))
    files = {"tokenizer.model": spm_model(size, **arguments), "tokenizer_config.json": json.dumps(clean(config)).encode()}
    return dict(files, **(extra or {}))


def clean(config):
    return {k: v for k, v in config.items() if v is not None}


def template(single, pair=None, ids=()):
    """A TemplateProcessing; A and B are the texts, the rest special tokens."""
    def step(s):
        return {"Sequence": {"id": s, "type_id": 0}} if s in "AB" else {"SpecialToken": {"id": s, "type_id": 0}}
    tokens = {s: {"id": s, "ids": [i], "tokens": [s]} for i, s in ids}
    return {"type": "TemplateProcessing", "single": [step(s) for s in single],
            "pair": [step(s) for s in (pair or [*single, "B"])], "special_tokens": tokens}


BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True}


def real(name, *files, **more):
    """Files of a real tokenizer, or None without HT_SHARED."""
    folder = SHARED / "tokenizers" / name
    if not folder.is_dir():
        return None
    return dict({n: (folder / n).read_bytes() for n in files}, **more)
