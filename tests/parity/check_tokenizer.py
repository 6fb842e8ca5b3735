#!/usr/bin/env python3
"""Token ids: our GGUF in the real llama.cpp against the tokenizer's own library.

For each tokenizer under shared/tokenizers: its files and a config.json go into a folder, `halftone
convert --vocab-only` writes a GGUF of it, llama.cpp loads that, and both encode the test pieces of
shared/vocab and slices of multilingual text. Metadata is compared with the vocabularies that
llama.cpp's own converter wrote.

Environment: HT_CLI (the program), HT_LLAMA_LIB (folder of libllama*.so), HT_SHARED (data folder).
Exit status: 0 passed, 1 failed, 77 skipped (something is not here; it says what).
"""
import ctypes
import glob
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import unicodedata

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def skip(why):
    print(f"SKIPPED {os.path.basename(sys.argv[0])}: {why}")
    sys.exit(77)


try:
    import converter  # noqa: F401 (its gguf is the newest)
    import gguf
    import sentencepiece
    import tokenizers
    import transformers
except ImportError as missing:
    skip(f"the Python package {missing.name} is not here (HT_PARITY_PYTHON names the interpreter)")

SHARED = os.environ.get("HT_SHARED", os.path.join(ROOT, "..", "shared"))
CLI = os.environ.get("HT_CLI", os.path.join(ROOT, "build", "halftone"))
TOKENIZERS = os.path.join(SHARED, "tokenizers")


class Llama:
    """The few calls of llama.h that a vocabulary needs."""

    class Params(ctypes.Structure):
        # Larger than the real one; by the ABI a caller may give more than the callee reads.
        _fields_ = [("raw", ctypes.c_ubyte * 256)]

    # Where vocab_only lies, and the defaults from there on: newer and older forms of the struct.
    VOCAB_ONLY = [(72, [0, 0, 1]), (64, [0, 1])]

    def __init__(self, folder):
        def load(pattern):
            found = sorted(glob.glob(os.path.join(folder, pattern)))
            if not found:
                skip(f"no {pattern} in HT_LLAMA_LIB={folder}")
            return ctypes.CDLL(found[0], mode=ctypes.RTLD_GLOBAL)

        load("libggml-base*.so")
        ggml = load("libggml.*so")
        self.lib = load("libllama.*so")
        self.quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
            lambda level, text, _: self.log.append(text.decode("utf-8", "replace")))
        self.log = []
        self.lib.llama_log_set(self.quiet, None)
        ggml.ggml_backend_load_all_from_path(folder.encode())
        lib = self.lib
        lib.llama_backend_init()
        lib.llama_model_default_params.restype = self.Params
        lib.llama_model_load_from_file.restype = ctypes.c_void_p
        lib.llama_model_load_from_file.argtypes = [ctypes.c_char_p, self.Params]
        lib.llama_model_get_vocab.restype = ctypes.c_void_p
        lib.llama_model_get_vocab.argtypes = [ctypes.c_void_p]
        lib.llama_model_free.argtypes = [ctypes.c_void_p]
        lib.llama_tokenize.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int32,
                                       ctypes.POINTER(ctypes.c_int32), ctypes.c_int32,
                                       ctypes.c_bool, ctypes.c_bool]
        for name in ("bos", "eos", "n_tokens"):
            getattr(lib, "llama_vocab_" + name).argtypes = [ctypes.c_void_p]
        self.params = lib.llama_model_default_params()
        for offset, defaults in self.VOCAB_ONLY:
            if list(self.params.raw[offset:offset + len(defaults)]) == defaults:
                self.params.raw[offset] = 1
                return
        skip("this llama.cpp has another llama_model_params than this check knows")

    def open(self, path):
        self.log.clear()
        model = self.lib.llama_model_load_from_file(path.encode(), self.params)
        if not model:
            raise RuntimeError("llama.cpp refuses it: " + "".join(self.log[-6:]).strip())
        return model

    def encode(self, model, text, special, around=False):
        data = text.encode()
        out = (ctypes.c_int32 * (len(data) + 16))()
        n = self.lib.llama_tokenize(self.lib.llama_model_get_vocab(model), data, len(data), out,
                                    len(out), around, special)
        return list(out[:n])


def pieces():
    texts = []
    for path in sorted(glob.glob(os.path.join(SHARED, "vocab", "*.inp"))):
        with open(path, encoding="utf-8", newline="") as f:
            texts += f.read().split("\n__ggml_vocab_test__\n")
    return list(dict.fromkeys(texts))


def mixed():
    """Slices of many languages, as lines and as longer runs with line ends inside."""
    with open(os.path.join(SHARED, "corpora", "multilingual.utf8"), encoding="utf-8",
              newline="") as f:
        text = f.read()
    lines = [line for line in text.split("\n") if line][:400]
    runs = [text[i:i + 1500] for i in range(0, len(text), 6000)]
    with open(os.path.join(SHARED, "corpora", "code.utf8"), encoding="utf-8", newline="") as f:
        code = f.read()
    return lines + runs + [code[i:i + 1500] for i in range(0, len(code), 20000)]


def by_json(folder):
    tok = tokenizers.Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    return lambda text: tok.encode(text, add_special_tokens=False).ids


def by_class(name):
    def make(folder):
        tok = getattr(transformers, name).from_pretrained(folder)
        return lambda text: tok.encode(text, add_special_tokens=False)
    return make


def by_sentencepiece(folder):
    tok = sentencepiece.SentencePieceProcessor(
        model_file=os.path.join(folder, "tokenizer.model"))
    return tok.encode_as_ids


def nfc(text):
    return unicodedata.normalize("NFC", text)


def nfc_without_end(text):
    """llama.cpp takes "</s>" for a control token in every vocabulary that has it."""
    return nfc(text).replace("</s>", "")


def no_first_space(text):
    """Metaspace puts no mark before a text that has a space there, nor after a special token;
    llama.cpp puts one in both places."""
    for special in ("<s>", "</s>", "<unk>"):
        text = text.replace(special, "")
    return text.lstrip(" ▁")


def squeezed(text):
    """llama.cpp's SentencePiece keeps runs of spaces; a model with remove_extra_whitespaces does not."""
    while "  " in text:
        text = text.replace("  ", " ")
    return text.strip(" ")


def english(text):
    """Only what a vocabulary without byte tokens can spell."""
    return squeezed("".join(c for c in text if c.isascii() and c.isalpha() or c == " "))


CONFIGS = {
    "llama": ("LlamaForCausalLM", "llama"),
    "phi2": ("PhiForCausalLM", "phi"),
    "phi3": ("Phi3ForCausalLM", "phi3"),
    "qwen2": ("Qwen2ForCausalLM", "qwen2"),
    "gptneox": ("GPTNeoXForCausalLM", "gpt_neox"),
    "gpt2": ("GPT2LMHeadModel", "gpt2"),
    "falcon": ("FalconForCausalLM", "falcon"),
    "starcoder2": ("Starcoder2ForCausalLM", "starcoder2"),
    "granite": ("GraniteForCausalLM", "granite"),
    "olmo2": ("Olmo2ForCausalLM", "olmo2"),
    "stablelm": ("StableLmForCausalLM", "stablelm"),
    "qwen3": ("Qwen3ForCausalLM", "qwen3"),
    "deepseek2": ("DeepseekV3ForCausalLM", "deepseek_v3"),
}

# name, files {in the folder: under shared/tokenizers}, architecture, vocab_size, encoder, texts
# are brought through this first (what the runtime does not do by itself), reference vocabulary
CASES = [
    ("phi-2", "phi-2/*", "phi2", 51200, by_json, None, None),
    ("phi-3-mini", "phi-3-mini/*", "phi3", 32064, by_json, None, "phi-3"),
    ("qwen2-internvl2", "qwen2-internvl2/*", "qwen2", 151936, by_class("Qwen2Tokenizer"),
     nfc_without_end, None),
    ("minimind", "minimind/tok*", "llama", 6400, by_json, None, None),
    ("gptneox", {"tokenizer.json": "gptneox/20B_tokenizer.json"}, "gptneox", 50432, by_json, nfc,
     "gpt-neox"),
    ("mistral-v1", {"tokenizer.model": "mistral/tokenizer.model.v1"}, "llama", 32000,
     by_sentencepiece, None, None),
    ("mistral-v3", {"tokenizer.model": "mistral/mistral_instruct_tokenizer_240323.model.v3"},
     "llama", 32768, by_sentencepiece, None, None),
    ("gpt2", "gpt2/*", "gpt2", 50257, by_class("GPT2Tokenizer"), None, "gpt-2"),
    ("llama2", "llama2/*", "llama", 32000, by_sentencepiece, None, "llama-spm"),
    ("tinystories-512", {"tokenizer.model": "tinystories-spm/tok512.model"}, "llama", 512,
     by_sentencepiece, squeezed, None),
    ("tinystories-105", {"tokenizer.model": "tinystories-spm/tok105.model"}, "llama", 105,
     by_sentencepiece, english, None),
    ("falcon", "falcon/*", "falcon", 65024, by_json, None, "falcon"),
]

# The same tokenizers, loaded and saved by the installed transformers.
SAVED = f"-saved-by-transformers-{transformers.__version__}"
CASES += [
    ("phi-2" + SAVED, "phi-2/*", "phi2", 51200, by_json, None, None),
    ("phi-3-mini" + SAVED, "phi-3-mini/*", "phi3", 32064, by_json, no_first_space, None),
    ("qwen2-internvl2" + SAVED, "qwen2-internvl2/*", "qwen2", 151936, by_json, nfc_without_end, None),
    ("minimind" + SAVED, "minimind/tok*", "llama", 6400, by_json, None, None),
    ("mistral-v1" + SAVED, {"tokenizer.model": "mistral/tokenizer.model.v1",
                            "tokenizer_config.json": "llama2/tokenizer_config.json"},
     "llama", 32000, by_json, no_first_space, None),
]


def fill(folder, files, arch, vocab_size, extra):
    if isinstance(files, str):
        found = glob.glob(os.path.join(TOKENIZERS, files))
        files = {os.path.basename(path): os.path.relpath(path, TOKENIZERS) for path in found}
    for name, source in files.items():
        shutil.copyfile(os.path.join(TOKENIZERS, source), os.path.join(folder, name))
    cls, model_type = CONFIGS[arch]
    config = {"architectures": [cls], "model_type": model_type, "vocab_size": vocab_size,
              "hidden_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4, "num_key_value_heads": 4,
              "intermediate_size": 128, "max_position_embeddings": 128}
    config.update(extra)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as f:
        json.dump(config, f)


def convert(folder, arch, vocab_size, out):
    tool = os.environ.get("HT_VOCAB_TOOL")
    command = ([tool, folder, arch, str(vocab_size), out] if tool
               else [CLI, "convert", folder, "--vocab-only", "-o", out])
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        raise RuntimeError(f"{' '.join(command)}: {run.stderr.strip()}")


def metadata(path):
    fields = gguf.GGUFReader(path).fields
    return {key: field.contents() for key, field in fields.items() if key.startswith("tokenizer")}


def same_metadata(ours, reference):
    """The keys that say what the vocabulary is; ids depend on a config.json that is not here."""
    a, b = metadata(ours), metadata(reference)
    faults = []
    for key in ("model", "tokens", "merges"):
        key = "tokenizer.ggml." + key
        if a.get(key) != b.get(key):
            faults.append(f"{key} differs from {os.path.basename(reference)}")
    key = "tokenizer.ggml.token_type"
    padding = [text.startswith("[PAD") or text.startswith("<dummy") or text.startswith("[dummy")
               for text in b["tokenizer.ggml.tokens"]]
    if any(x != y and not p for x, y, p in zip(a[key], b[key], padding)):
        faults.append(f"{key} differs from {os.path.basename(reference)}")
    return faults


class Recorder:
    """Takes what PyPI's gguf would write of special tokens and chat templates."""

    KEYS = {"add_bos_token_id": "BOS_ID", "add_eos_token_id": "EOS_ID", "add_unk_token_id": "UNK_ID",
            "add_sep_token_id": "SEP_ID", "add_pad_token_id": "PAD_ID", "add_cls_token_id": "CLS_ID",
            "add_mask_token_id": "MASK_ID", "add_eot_token_id": "EOT_ID",
            "add_add_bos_token": "ADD_BOS", "add_add_eos_token": "ADD_EOS",
            "add_add_sep_token": "ADD_SEP", "add_chat_template": "CHAT_TEMPLATE"}

    def __init__(self):
        self.found = {}

    def __getattr__(self, name):
        key = getattr(gguf.Keys.Tokenizer, Recorder.KEYS[name], None) if name in self.KEYS else None
        if key is None:
            raise AttributeError(name)
        return lambda value: self.found.__setitem__(key, value)


def same_special(folder, out):
    """Whatever the field's own code finds in the folder, we find too."""
    ours = metadata(out)
    special = gguf.SpecialVocab(folder, load_merges=False, n_vocab=len(ours["tokenizer.ggml.tokens"]))
    recorder = Recorder()
    logging.disable(logging.CRITICAL)
    special.add_to_gguf(recorder, quiet=True)
    faults = []
    for key, want in recorder.found.items():
        if isinstance(want, list):
            want = next((t["template"] for t in want if t.get("name") == "default"), None)
        if ours.get(key) != want:
            faults.append(f"{key} is {str(ours.get(key))[:60]!r}, PyPI's gguf writes {str(want)[:60]!r}")
    return faults


def same_around(folder, llama, model):
    """What is put before and after a text, where transformers can tell."""
    if not (os.path.exists(os.path.join(folder, "tokenizer_config.json"))
            and os.path.exists(os.path.join(folder, "tokenizer.json"))):
        return []
    try:
        tok = transformers.AutoTokenizer.from_pretrained(folder)
    except Exception as error:  # a folder that Python refuses tells nothing
        print(f"       (transformers cannot open {os.path.basename(folder)}: "
              f"{str(error).splitlines()[0]})")
        return []
    want, got = tok("Hello world").input_ids, llama.encode(model, "Hello world", True, True)
    return [] if want == got else [f"with special tokens: want {want}, got {got}"]


def save_again(folder, files, arch, vocab_size, work):
    """The folder as the installed transformers saves it: other files, other keys."""
    source = os.path.join(work, "source")
    os.mkdir(source)
    fill(source, files, arch, vocab_size, {})
    tok = transformers.AutoTokenizer.from_pretrained(source)
    tok.save_pretrained(folder)
    shutil.rmtree(source)
    fill(folder, {}, arch, vocab_size, {})


def check(case, llama, texts, work):
    name, files, arch, vocab_size, encoder, prepare, reference = case
    folder = os.path.join(work, name)
    out = os.path.join(work, name + ".gguf")
    os.mkdir(folder)
    if name.endswith(SAVED):
        save_again(folder, files, arch, vocab_size, work)
    else:
        fill(folder, files, arch, vocab_size, {})
    convert(folder, arch, vocab_size, out)
    encode, model = encoder(folder), llama.open(out)
    # `tokenizers` finds special tokens in the text; SentencePiece takes their text as text.
    special = encoder is not by_sentencepiece
    faults, n, count = [], 0, 0
    for text in texts:
        text = prepare(text) if prepare else text
        if not text:
            continue
        want, got = encode(text), llama.encode(model, text, special)
        n, count = n + 1, count + len(want)
        if want != got and len(faults) < 4:
            i = next((i for i, (x, y) in enumerate(zip(want, got)) if x != y),
                     min(len(want), len(got)))
            faults.append(f"{text[:60]!r}: at {i}: want {want[i:i + 8]}, got {got[i:i + 8]}")
        elif want != got:
            faults.append("")
    faults += same_around(folder, llama, model)
    llama.lib.llama_model_free(model)
    faults += same_special(folder, out)
    if reference:
        path = os.path.join(SHARED, "vocab", f"ggml-vocab-{reference}.gguf")
        faults += same_metadata(out, path)
    print(f"{'FAILED' if faults else 'ok':7}{name}: {n} texts, {count} tokens"
          + (f", {len(faults)} faults" if faults else ""))
    for fault in filter(None, faults):
        print("       " + fault)
    return not faults


def main():
    if not os.path.isdir(TOKENIZERS):
        skip(f"no tokenizers in {SHARED} (HT_SHARED)")
    if "HT_LLAMA_LIB" not in os.environ:
        skip("HT_LLAMA_LIB does not name the folder of libllama")
    if "HT_VOCAB_TOOL" not in os.environ and not os.path.exists(CLI):
        skip(f"no program {CLI} (HT_CLI)")
    llama = Llama(os.environ["HT_LLAMA_LIB"])
    texts = pieces() + mixed()
    chosen = [case for case in CASES if len(sys.argv) < 2 or case[0] in sys.argv[1:]]
    work = tempfile.mkdtemp(prefix="halftone-tokenizer-")
    failed = 0
    try:
        for case in chosen:
            try:
                failed += not check(case, llama, texts, work)
            except RuntimeError as error:
                failed += 1
                print(f"FAILED {case[0]}: {error}")
    finally:
        shutil.rmtree(work)
    print(f"check_tokenizer: {len(chosen) - failed} of {len(chosen)} tokenizers agree")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
