"""Tiny checkpoints, one a variant: what is set in config.json, which tensors, which tokenizer, which files beside."""
import dataclasses
import json
import pathlib
import typing

from convert_tokenizers import BYTE_LEVEL, LLAMA3, QWEN, added, bpe, real, spm, template

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS = 4096  # of the embeddings in tests/golden/models.txt


@dataclasses.dataclass
class Variant:
    name: str
    base: str  # of tests/golden/models.txt
    config: dict = dataclasses.field(default_factory=dict)  # changes; None deletes
    tokenizer: dict | None = dataclasses.field(default_factory=dict)  # files; {}: none; None: HT_SHARED is missing
    rows: int = 512
    pre: str | None = None  # of a vocabulary that is trained on the spot
    files: dict = dataclasses.field(default_factory=dict)
    dtype: str = ""  # F16; BF16 for Gemma, to whose F16 norms the converter adds 1 in that type
    outtype: str = "F16"
    folder: str = "model"
    shards: int = 1
    bin: bool = False
    order: typing.Callable | None = None  # of the tensors in a .bin, or over the shards
    tensors: typing.Callable | None = None  # [(name, type, shape)] to the same
    text: typing.Callable | None = None  # of config.json
    refused: str | None = None  # what our message must name; the converter refuses too


def bases():
    found, name = {}, None
    for line in (ROOT / "tests" / "golden" / "models.txt").read_text().splitlines():
        word, _, rest = line.partition(" ")
        if word == "model":
            name = rest
        elif word == "config":
            found[name] = ({**json.loads(rest), **next((v for k, v in OLD_NAMES.items() if name.startswith(k)), {})}, [])
        elif word != "#":
            kind, shape = rest.split(" ")
            found[name][1].append((word, kind, [int(n) for n in shape.split(",")]))
    return found


GPT2 = dict(pre="gpt-2")
END = "<|endoftext|>"
# What transformers no longer writes, and the converter still expects.
OLD_NAMES = {"gpt2": dict(n_ctx=256), "gpt-neox": dict(rotary_pct=0.25, model_type="", rope_parameters={}),
             "falcon-7b": dict(num_kv_heads=1)}
NUMBERS = ("num_attention_heads", "hidden_size")


def every_architecture():
    """Each base with the tokenizer of its kind, at several types."""
    spm_archs = {"llama", "mistral", "mixtral", "gemma", "gemma2", "gemma3", "phi3", "qwen2", "smollm3", "granite"}
    for base, (config, _) in bases().items():
        kind = config["architectures"][0].lower()
        if base in ("gemma3-vision", "stablelm-12b", "gpt-oss-mxfp4") or "fp8" in base:
            continue  # tokens beyond its rows; refused by the converter; kept as MXFP4 by it; FP8 has variants of its own
        uses_spm = any(kind.startswith(a) for a in spm_archs) and not kind.startswith(("qwen2moe", "granitemoe"))
        gemma = kind.startswith("gemma")
        tokenizer = spm(settings=dict(tokenizer_class="GemmaTokenizer") if gemma else None) if uses_spm else bpe()
        yield Variant(f"arch {base}", base, tokenizer=tokenizer, pre=None if uses_spm else "gpt-2")
        if gemma:
            yield Variant(f"arch {base} F16", base, tokenizer=tokenizer, dtype="F16")
        yield Variant(f"arch {base} BF16 to F32", base, tokenizer=tokenizer, pre=None if uses_spm else "gpt-2", dtype="BF16",
                      outtype="F32")


def sampling():
    """D1: generation_config.json."""
    g = {"do_sample": True, "temperature": 0.6, "top_p": 0.9, "top_k": 40}
    for name, more in {"repetition": {"repetition_penalty": 1.1}, "repetition 1": {"repetition_penalty": 1},
                       "no repetition": {}, "both": {"repetition_penalty": 1.2, "penalty_repeat": 1.3},
                       "text": {"repetition_penalty": 1.05, "min_p": 0.0, "typical_p": 0.5}}.items():
        yield Variant(f"sampling {name}", "llama-gqa", tokenizer=spm(), files={"generation_config.json": json.dumps(g | more)})


def switches():
    """D2: what the post-processor says and what tokenizer_config.json says."""
    begins = template([END, "A"], ids=[(0, END)])
    ends = template(["A", END], ids=[(0, END)])
    both = template([END, "A", END], [END, "A", END, "B", END], ids=[(0, END)])
    pair = template(["A"], ["A", END, "B"], ids=[(0, END)])
    unknown = template(["<|other|>", "A"], ids=[(1, "<|other|>")])
    turn = template([END, "A", "<|other|>"], ids=[(0, END), (1, "<|other|>")])
    roberta = {"type": "RobertaProcessing", "sep": [END, 0], "cls": [END, 0], "trim_offsets": True, "add_prefix_space": False}
    sequence = {"type": "Sequence", "processors": [BYTE_LEVEL, begins]}
    plain = {"type": "Sequence", "processors": [begins, BYTE_LEVEL]}
    posts = {"none": None, "bytes": BYTE_LEVEL, "begins": begins, "ends": ends, "both": both, "pair": pair,
             "unknown": unknown, "turn": turn, "roberta": roberta, "sequence": sequence, "bytes last": plain}
    for name, post in posts.items():
        for said in ({}, {"add_bos_token": True, "add_eos_token": True}, {"add_bos_token": False, "add_eos_token": False}):
            switch = " ".join(f"{k}={v}" for k, v in said.items())
            yield Variant(f"switches {name} {switch}", "qwen2", tokenizer=bpe(post, said, first=(END, "<|other|>")), **GPT2)
    yield Variant("switches spm and json", "llama-gqa", tokenizer=spm(dict(add_bos_token=True, add_eos_token=False)))
    yield Variant("switches cls and sep", "qwen2", **GPT2, tokenizer=bpe(begins, dict(
        bos_token=None, eos_token=None, cls_token=END, sep_token="<|other|>"), first=(END, "<|other|>")))
    yield Variant("switches no settings", "qwen2", **GPT2, tokenizer={"tokenizer.json": bpe(both)["tokenizer.json"]})


def prefixes():
    """D3: add_prefix_space."""
    for base in ("llama-gqa", "granite", "granite-moe", "smollm3", "mistral"):
        for said in (True, False):
            yield Variant(f"prefix {base} spm {said}", base, tokenizer=spm(dict(add_prefix_space=said)))
            yield Variant(f"prefix {base} bpe {said}", base, tokenizer=bpe(settings=dict(add_prefix_space=said)), **GPT2)
    yield Variant("prefix qwen2 bpe", "qwen2", tokenizer=bpe(settings=dict(add_prefix_space=True)), **GPT2)
    yield Variant("prefix phi3 spm", "phi3", tokenizer=spm(dict(add_prefix_space=True)))


def excess():
    """D4: tokens beyond the embedding."""
    decoder = {"399": added("<in>"), "400": added("<beyond>"), "401": added("<plain>", special=False)}
    yield Variant("excess spm", "llama-gqa", rows=390, tokenizer=spm())
    yield Variant("excess spm one", "mistral", rows=399, tokenizer=spm())
    yield Variant("excess user", "llama-gqa", rows=390, tokenizer=spm(user=("<user>",)))
    yield Variant("excess decoder", "llama-gqa", rows=400, tokenizer=spm(dict(added_tokens_decoder=decoder)))
    yield Variant("excess added", "llama-gqa", rows=400, tokenizer=spm(extra={"added_tokens.json": b'{"<a>": 399, "<b>": 400}'}))
    yield Variant("excess ids", "llama-gqa", dict(bos_token_id=1, eos_token_id=395, pad_token_id=401), rows=390, tokenizer=spm())


def lengths():
    """D5: attention.key_length without head_dim in config.json."""
    for base in ("llama-gqa", "mistral", "mixtral", "qwen2", "qwen2-moe", "qwen3", "qwen3-moe", "smollm3", "granite", "olmo2",
                 "starcoder2", "gpt-oss", "gemma3", "deepseek-v2", "deepseek-v3", "stablelm", "phi3"):
        changes = dict(head_dim=None)
        if base in ("qwen3", "qwen3-moe", "gpt-oss", "gemma3"):
            changes = {}  # another default than that of the tensors
        yield Variant(f"lengths {base}", base, changes, tokenizer=bpe() if base not in ("gemma3", "phi3") else spm(), **GPT2)
        yield Variant(f"lengths {base} no model_type", base, dict(changes, model_type=None, use_cache=None),
                      tokenizer=bpe() if base not in ("gemma3", "phi3") else spm(), **GPT2)


def numbers():
    """D6: what only Python takes for JSON."""
    for name, old, new in (("NaN", '"initializer_range": 0.02', '"initializer_range": NaN'),
                           ("Infinity", '"initializer_range": 0.02', '"initializer_range": Infinity'),
                           ("minus", '"initializer_range": 0.02', '"initializer_range": -Infinity'),
                           ("list", '"initializer_range": 0.02', '"time_step_limit": [0.0, Infinity], "initializer_range": 0.02')):
        yield Variant(f"numbers {name}", "llama-gqa", tokenizer=spm(), text=lambda t, o=old, n=new: t.replace(o, n))


def rope():
    """D7: scalings of the rotation."""
    def yarn(**more):
        return dict(dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=64), **more)
    longrope = dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.0] * 8, long_factor=[2.0] * 8,
                    original_max_position_embeddings=64)
    scalings = {
        "linear": dict(rope_type="linear", rope_theta=10000.0, factor=4.0), "dynamic": dict(rope_type="dynamic", rope_theta=1e4, factor=2.0),
        "yarn": yarn(), "yarn betas": yarn(beta_fast=32.0, beta_slow=1.0), "yarn attention": yarn(attention_factor=1.2),
        "yarn attn": yarn(attn_factor=1.3), "yarn both": yarn(attention_factor=1.1, attn_factor=1.3),
        "yarn extrapolation": yarn(extrapolation_factor=0.5), "yarn mscale": yarn(mscale=0.7, mscale_all_dim=0.7),
        "llama3": dict(rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                       original_max_position_embeddings=64), "longrope": longrope,
        "mrope": dict(rope_type="default", rope_theta=1e6, mrope_section=[2, 3, 3]),
        "mrope four": dict(rope_type="default", rope_theta=1e6, mrope_section=[2, 2, 2, 2]),
    }
    for name, scaling in scalings.items():
        for base in ("llama-gqa", "qwen2"):
            yield Variant(f"rope {name} {base}", base, dict(rope_parameters=scaling), tokenizer=spm())
        old = {("type" if k == "rope_type" else k): v for k, v in scaling.items() if k != "rope_theta"}
        yield Variant(f"rope {name} old", "llama-gqa", dict(rope_parameters=None, rope_scaling=old, rope_theta=20000.0), tokenizer=spm())
    elsewhere = {k: v for k, v in yarn().items() if k != "original_max_position_embeddings"}
    yield Variant("rope yarn original elsewhere", "llama-gqa", dict(rope_parameters=elsewhere, original_max_position_embeddings=48),
                  tokenizer=spm())
    yield Variant("rope yarn original elsewhere no model_type", "llama-gqa", dict(
        rope_parameters=elsewhere, original_max_position_embeddings=48, model_type=None), tokenizer=spm())
    yield Variant("rope yarn no original", "llama-gqa", dict(rope_parameters=elsewhere), tokenizer=spm())
    yield Variant("rope yarn integers", "qwen2", dict(rope_parameters=yarn(factor=4, attn_factor=1)), tokenizer=bpe(), **GPT2)
    for base in ("qwen3", "olmo2", "smollm3", "granite", "starcoder2", "gpt-oss", "mixtral", "qwen2-moe", "qwen3-moe"):
        yield Variant(f"rope yarn {base}", base, dict(rope_parameters=yarn(attn_factor=1.3)), tokenizer=bpe(), **GPT2)
    for name, more in {"": {}, " attn": dict(attn_factor=1.4)}.items():
        yield Variant(f"rope phi3 longrope{name}", "phi3", dict(rope_parameters=dict(longrope, **more), original_max_position_embeddings=64),
                      tokenizer=spm())


def ends():
    """D8: ids that the converter fixes for some models."""
    code = spm()
    yield Variant("ends gemma", "gemma", rows=512, tokenizer=spm(dict(tokenizer_class="GemmaTokenizer")))
    yield Variant("ends CodeLlama", "llama-gqa", rows=32016, tokenizer=code)
    yield Variant("ends CodeLlama bpe", "llama-gqa", rows=32016, tokenizer=bpe(), **GPT2)
    yield Variant("ends SmolLM2", "llama-gqa", rows=49152, tokenizer=bpe(), **GPT2)
    yield Variant("ends SmolLM2 said", "llama-gqa", rows=49152, tokenizer=bpe(BYTE_LEVEL, dict(add_bos_token=True)), **GPT2)
    yield Variant("ends smollm3 49152", "smollm3", rows=49152, tokenizer=bpe(), **GPT2)
    yield Variant("ends granite 49152", "granite", rows=49152, tokenizer=bpe(), **GPT2)


def backwards(tensors):
    return tensors[::-1]


def norms_first(tensors):
    return sorted(tensors, key=lambda t: (len(t[2]), t[0][::-1]))


def orders():
    """D9: tensors of .bin files in the pickle's order; experts over shards."""
    for base in ("llama-gqa", "mixtral", "qwen2-moe", "qwen3-moe", "deepseek-v3", "gpt2", "granite-moe"):
        uses_spm = base in ("llama-gqa", "mixtral")
        kind = dict(tokenizer=spm()) if uses_spm else dict(tokenizer=bpe(), **GPT2)
        for name, how in {"backwards": backwards, "norms first": norms_first}.items():
            yield Variant(f"orders {base} bin {name}", base, bin=True, order=how, **kind)
            yield Variant(f"orders {base} shards {name}", base, shards=3, order=how, **kind)
        yield Variant(f"orders {base} bin shards", base, bin=True, shards=2, order=backwards, **kind)


CARDS = {
    "plain": "license: mit\nname: Given\ntags: [a, b]\nlanguage: [en, de]\n",
    "anchor": "x: &lic mit\nlicense: *lic\nname: Given\ntags: [a, b]\n",
    "anchored list": "tags: &t\n- a\n- b\nlanguage: *t\nlicense: mit\n",
    "anchored mapping": "base: &b\n  name: Base\nbase_model:\n- *b\nlicense: mit\n",
    "merge": "common: &c {license: mit, author: Me}\n<<: *c\nname: Given\n",
    "flow": "datasets: [&d org/set, *d]\nlicense: mit\n",
}


def cards():
    """D10: model cards."""
    for name, card in CARDS.items():
        yield Variant(f"cards {name}", "llama-gqa", tokenizer=spm(), files={"README.md": f"---\n{card}---\n# Title\n"})


def vocabularies():
    """D11: real vocabularies in architectures that are not theirs."""
    settings = {"tokenizer_config.json": json.dumps(dict(tokenizer_class="PreTrainedTokenizerFast", bos_token=END, eos_token=END)).encode()}
    neox = real("gptneox", "20B_tokenizer.json")
    if neox:
        neox = {"tokenizer.json": neox["20B_tokenizer.json"], **settings}
    phi = real("phi-2", "tokenizer.json")
    phi = phi and dict(phi, **settings)
    for base in ("starcoder2", "olmo2"):
        yield Variant(f"vocabularies neox {base}", base, rows=50432, tokenizer=neox)
        yield Variant(f"vocabularies phi-2 {base}", base, rows=51200, tokenizer=phi)
    yield Variant("vocabularies neox gpt-neox", "gpt-neox", rows=50432, tokenizer=neox)
    yield Variant("vocabularies phi-2 phi2", "phi2", rows=51200, tokenizer=real("phi-2", "tokenizer.json", "tokenizer_config.json"))
    yield Variant("vocabularies falcon", "falcon-7b", rows=65024, tokenizer=dict(real("falcon", "tokenizer.json"), **settings) if neox else None)
    yield Variant("vocabularies gpt2", "gpt2", rows=50257, tokenizer=real("gpt2", "vocab.json", "merges.txt"))
    yield Variant("vocabularies qwen2", "qwen2", rows=151936, tokenizer=real(
        "qwen2-internvl2", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"))
    yield Variant("vocabularies llama2", "llama-gqa", rows=32000, tokenizer=real(
        "llama2", "tokenizer.model", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"))
    yield Variant("vocabularies mistral v1", "mistral", rows=32000, tokenizer=(lambda f: f and {"tokenizer.model": f["tokenizer.model.v1"]})(
        real("mistral", "tokenizer.model.v1")))
    yield Variant("vocabularies mistral v3", "mistral", rows=32768, tokenizer=(
        lambda f: f and {"tokenizer.model": f["mistral_instruct_tokenizer_240323.model.v3"]})(
            real("mistral", "mistral_instruct_tokenizer_240323.model.v3")))
    yield Variant("vocabularies tinystories", "llama-gqa", rows=512, tokenizer=(lambda f: f and {"tokenizer.model": f["tok512.model"]})(
        real("tinystories-spm", "tok512.model")))
    yield Variant("vocabularies patterns", "qwen2", pre="qwen2", tokenizer=bpe(pattern=QWEN))
    yield Variant("vocabularies llama3", "llama-gqa", pre="smaug-bpe", tokenizer=bpe(pattern=LLAMA3))
    yield Variant("vocabularies llama-bpe", "llama-gqa", pre="llama-bpe", tokenizer=bpe(
        pattern=LLAMA3, edit=lambda root: root["model"].__setitem__("ignore_merges", True)))


def shared_experts():
    """D12: the gate of qwen2moe's shared expert."""
    for dtype, outtype in (("F32", "F32"), ("BF16", "BF16"), ("F16", "F16")):
        yield Variant(f"shared expert {outtype}", "qwen2-moe", dtype=dtype, outtype=outtype, tokenizer=bpe(), **GPT2)


def quantized():
    """D13: quantized checkpoints that cannot be read."""
    for method, suffixes in {"aqlm": (".codes", ".codebooks", ".scales"), "eetq": (".weight", ".weight_scales"),
                             "quanto": (".weight._data", ".weight._scale"), "made-up": (".weight", ".weight_other")}.items():
        def replaced(tensors, suffixes=suffixes):
            for name, kind, shape in tensors:
                if ".mlp." in name:
                    for suffix in suffixes:
                        yield name.removesuffix(".weight") + suffix, "I32" if suffix.startswith(".q") else "F16", shape
                else:
                    yield name, kind, shape
        yield Variant(f"quantized {method}", "llama-gqa", dict(quantization_config=dict(quant_method=method, bits=4)), tokenizer=spm(),
                      tensors=lambda t, r=replaced: list(r(t)), refused=method)


def bare(tensors):
    return [(n.removeprefix("model."), k, s) for n, k, s in tensors if not n.startswith("lm_head")]


def classes():
    """D14: the names of classes."""
    for base, name, kind in (("llama-gqa", "LlamaModel", dict(tokenizer=spm())), ("qwen2", "Qwen2Model", dict(tokenizer=bpe(), **GPT2)),
                             ("qwen3", "Qwen3Model", dict(tokenizer=bpe(), **GPT2))):
        yield Variant(f"classes {name}", base, dict(architectures=[name]), tensors=bare, **kind)
        yield Variant(f"classes {name} shards", base, dict(architectures=[name]), tensors=bare, shards=2, **kind)
    yield Variant("classes LLaMAForCausalLM", "llama-gqa", dict(architectures=["LLaMAForCausalLM"]), tokenizer=spm())
    yield Variant("classes LLaMAForCausalLM no type", "llama-gqa", dict(architectures=["LLaMAForCausalLM"], model_type=None), tokenizer=spm())
    yield Variant("classes unknown", "llama-gqa", dict(architectures=["NobodysForCausalLM"], model_type="nobodys"), tokenizer=spm(),
                  refused="a GGUF file of it")
    yield Variant("classes two names", "llama-gqa", dict(architectures=["LlamaForCausalLM", "Other"]), tokenizer=spm())


def others():
    """FP8, many types, tied outputs, names of folders, tokens of every kind."""
    for base in ("qwen3-fp8", "deepseek-v3-fp8", "qwen3-moe-fp8"):
        yield Variant(f"others {base}", base, dict(dtype=None), dtype="BF16", outtype="BF16", tokenizer=bpe(), **GPT2)
    for dtype, outtype in (("BF16", "BF16"), ("BF16", "F16"), ("F32", "BF16"), ("F16", "BF16")):
        yield Variant(f"others {dtype} to {outtype}", "llama-gqa", dtype=dtype, outtype=outtype, tokenizer=spm())
    yield Variant("others tied with output", "llama-gqa", dict(tie_word_embeddings=True), tokenizer=spm())
    yield Variant("others folder", "llama-gqa", folder="Some-Org_Model-7B-chat-v1.2", tokenizer=spm())
    decoder = {"0": added("<unk>"), "1": added("<s>"), "2": added("</s>"), "400": added("<|im_start|>"),
               "401": added("▁two words", special=False), "402": added("<|looks|>", special=False), "350": added("<changed>", special=False)}
    for base in ("llama-gqa", "phi3", "gemma2", "qwen2"):
        yield Variant(f"others decoder {base}", base, tokenizer=spm(dict(added_tokens_decoder=decoder, chat_template="{{ messages }}")))
    yield Variant("others jinja", "llama-gqa", tokenizer=spm(), files={"chat_template.jinja": "{{ messages }}"})
    yield Variant("others templates", "llama-gqa", tokenizer=spm(dict(chat_template=[
        dict(name="default", template="{{ a }}"), dict(name="tool_use", template="{{ b }}")])))
    yield Variant("others added bpe", "qwen2", tokenizer=bpe(edit=lambda root: root["added_tokens"].extend(
        dict(added(text, special=special), id=380 + i) for i, (text, special) in
        enumerate((("<|im_start|>", True), ("<think>", False), ("two words", False))))), **GPT2)


def variants():
    for group in (every_architecture, sampling, switches, prefixes, excess, lengths, numbers, rope, ends, orders, cards, vocabularies,
                  shared_experts, quantized, classes, others):
        yield from group()
