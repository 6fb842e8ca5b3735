#!/usr/bin/env python3
"""general.* metadata: what our converter writes from names, model cards, config.json and generation_config.json
against what the gguf package of llama.cpp's newest converter makes of the same folder, key by key, in order, with types.

Cards whose values are no text (a number as version, a boolean as language) make gguf fail; we write them as they
stand. They are not compared, and neither is an empty _name_or_path, by which gguf would name a model "".
"""
import json
import logging
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

try:
    import converter  # noqa: F401 (its gguf is the newest)
    import gguf
    import numpy as np
except ImportError:
    print("SKIPPED check_metadata: gguf is not installed")
    sys.exit(77)

logging.disable(logging.CRITICAL)
ROOT = pathlib.Path(__file__).resolve().parents[2]
HALFTONE = os.environ.get("HT_CLI", str(ROOT / "build" / "halftone"))
OURS_ALONE = {"general.architecture", "general.type", "general.file_type", "general.quantization_version"}

NAMES = """
meta-llama Llama-2-7b-hf Llama-2-7b-chat-hf Meta-Llama-3.1-8B-Instruct Mixtral-8x7B-v0.1 Mixtral-8x22B-Instruct-v0.1
Mistral-7B-Instruct-v0.2 Qwen2.5-0.5B-Instruct Qwen3-30B-A3B Qwen3-235B-A22B-Instruct-2507 gpt2 gpt2-xl gpt2-medium
bloom-7b1 bloom-1b7 falcon-40b-instruct gemma-2-2b-it gemma-3-27b-it phi-2 Phi-3-mini-4k-instruct
Phi-3-medium-128k-instruct Phi-3.5-MoE-instruct TinyLlama-1.1B-Chat-v1.0 SmolLM2-135M smollm3 starcoder2-3b stablelm-2-1_6b
stablelm-2-zephyr-1_6b pythia-160m-deduped OLMo-2-1124-7B DeepSeek-V2-Lite-Chat DeepSeek-R1-Distill-Qwen-1.5B
Kimi-VL-A3B-Thinking gpt-oss-20b granite-3.1-1b-a400m-instruct granite-3.0-8b-base Yi-1.5-9B-Chat-16K
Nous-Hermes-2-Mixtral-8x7B-DPO WizardLM-70B-V1.0 vicuna-7b-v1.5-16k CodeLlama-34b-Instruct-hf LongAlpaca-13B-32k
llava-v1.6-mistral-7b Llama-3.2-11B-Vision my-lora-adapter model-q4_0 model-Q4_K_M-GGUF model-iq2_xs-v2 thing-bf16
thing-F16 thing-fp32 x-0.3B x-1_5B x-1.2M x-1200K x-1M x-2M x-128k x-1M-chat x-large-1M x-mini-small x-xl-xxl 7b
7B-model v2-model model-v2 model-v1-v2 2-3-4 iter3-thing thing-iter12-7b --odd--dashes-- a -- UPPER lower MiXeD
Über-groß-7b straße-1.5 日本語-モデル-7B naïve_name-v1.0 name.with.dots-1.3B under_score-7b chat instruct-1M 3d-model-large
model-7B-7B-chat model-8x7b-8X7B it's-a-model-v1 vv1-model v1.-x q8 iq q4_ q4__ q4_KM x-1.5b1 x-7b12 x-1._5B
""".split()

CARDS = [
    "license: apache-2.0\ntags:\n- text-generation\n- llama\nlanguage:\n- en\n- no\n- de\npipeline_tag: text-generation\n",
    "license: [mit, apache-2.0]\nlicense_name: own\nlicense_link: https://example.com/LICENSE\nlanguage: en\n",
    "license: other\nlicense_name: llama3\nlicense_link: LICENSE\nbase_model: meta-llama/Meta-Llama-3-8B\n",
    "base_model:\n- mistralai/Mistral-7B-v0.1\n- https://huggingface.co/org/Some-Model-13B-v2\n- plain-name-v3\n"
    "- https://example.com/a/b\n- ssh://host/x\n- http://huggingface.co/a/b/c\n- ./local/model\n- a sentence of words\n",
    "base_models: [a/b-7b, c/d]\ndatasets:\n- HuggingFaceFW/fineweb-edu\n- wikitext\n- https://huggingface.co/datasets/x\n"
    "- https://huggingface.co/org/data-v1.2\n",
    "base_model:\ndatasets: one/set\n", "base_model_sources: q/r\ndataset_sources: s/t\n", "datasets: []\nbase_model: []\n",
    "base_model:\n- name: Given\n  author: Somebody\n  version: v1\n  organization: Org\n  description: 'what it is'\n"
    "  url: u\n  doi: d\n  uuid: i\n  repo_url: r\n- {}\n",
    "model_name: My Model\nmodel_creator: Someone\nmodel_type: mistral\nversion: v0.9\n",
    "name: Name\nauthor: A\nversion: 'v1'\norganization: O\ndescription: >\n  folded\n  text\nfinetune: F\nbasename: B\n"
    "size_label: 9B\nurl: U\ndoi: D\nuuid: I\nrepo_url: R\n",
    "model_name: N2\nmodel_author: A2\nmodel_version: 'v2'\nmodel_organization: O2\nmodel_description: |\n  kept\n  lines\n"
    "model_finetune: F2\nmodel_basename: B2\nmodel_size_label: 3B\nmodel_url: U2\nmodel_doi: D2\nmodel_uuid: I2\n"
    "model_repo_url: R2\n",
    "name: ~\nmodel_name: second\nlicense: null\n", "tags: single\nlanguages: [fr]\nlanguage: it\npipeline_tag: x\n",
    "tags:\n\t- tabbed\nlicense: mit\n", "license: a\nlicense: b\n", "- a list\n- no mapping\n", "", "just text\n",
    "widget:\n- text: 'deep'\n  output:\n    url: x\nmodel-index:\n- name: m\n  results: [{a: {b: [1, 2]}}]\nlicense: mit\n",
    "license: \"quoted: mit\"\ntags: ['a b', \"c\\td\"]\n",
]

GENERATION = [
    {"repetition_penalty": 1.1, "top_k": 5}, {"repetition_penalty": 1.1, "penalty_repeat": 1.2},
    {"top_k": 20, "top_p": 0.8, "temperature": 0.7, "min_p": 0.05},
    {"sequence": "top_k;temp", "xtc_probability": 0.1, "xtc_threshold": 0.2, "penalty_last_n": 64, "penalty_repeat": 1.1,
     "mirostat": 2, "mirostat_tau": 5.0, "mirostat_eta": 0.1, "temperature": 1, "top_k": None},
]


def random_names(n):
    rng = random.Random(5)
    pool = ["llama", "Qwen2", "7b", "1.2M", "1M", "0.9m", "128K", "v1", "v0.1", "2", "chat", "instruct", "Vision", "lora", "hf",
            "q4_K_M", "bf16", "large", "mini", "8x7B", "A3B", "1_5b", "7b1", "it", "X", "iter2", "2507", "gguf", "xl", ""]
    return ["-".join(rng.choice(pool) for _ in range(rng.randint(1, 6))) or "x" for _ in range(n)]


def write_model(folder, hidden):
    """A Llama with one layer, without a tokenizer."""
    folder.mkdir(parents=True)
    config = {"architectures": ["LlamaForCausalLM"], "hidden_size": hidden, "intermediate_size": hidden, "vocab_size": hidden,
              "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64,
              "rms_norm_eps": 1e-5}
    layer = "model.layers.0."
    shapes = {"model.embed_tokens.weight": 2, "lm_head.weight": 2, "model.norm.weight": 1, layer + "input_layernorm.weight": 1,
              layer + "post_attention_layernorm.weight": 1}
    shapes |= {f"{layer}{n}_proj.weight": 2 for n in ("self_attn.q", "self_attn.k", "self_attn.v", "self_attn.o", "mlp.gate",
                                                      "mlp.up", "mlp.down")}
    header, at, total = {}, 0, 0
    for name, dims in shapes.items():
        size = hidden**dims
        header[name] = {"dtype": "F16", "shape": [hidden] * dims, "data_offsets": [at, at + 2 * size]}
        at, total = at + 2 * size, total + size
    text = json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(at))
    (folder / "config.json").write_text(json.dumps(config))
    return config, total


def expected(folder, total):
    metadata = gguf.Metadata.load(None, folder, None, total)
    if metadata.name is None:
        metadata.name = folder.name
    if metadata.size_label is None and total > 0:
        metadata.size_label = gguf.size_label(total, total, 0, 0)
    writer = gguf.GGUFWriter(None, "llama")
    metadata.set_gguf_meta_model(writer)
    pairs = []
    for key, v in writer.kv_data[0].items():
        if key in OURS_ALONE:
            continue
        value = v.value
        if v.type == gguf.GGUFValueType.FLOAT32:
            value = float(np.float32(value))
        pairs.append((key, v.type.name, value))
    return pairs


def written(folder, out, vocab_only):
    command = [HALFTONE, "convert", str(folder), "-t", "F16", "-o", str(out), "--overwrite", "--quiet", "--no-source-hash"]
    done = subprocess.run(command + ["--vocab-only"] * vocab_only, capture_output=True, text=True)
    if done.returncode:
        return [("failed", done.stderr, done.returncode)]
    pairs = []
    for field in gguf.GGUFReader(out).fields.values():
        if field.name.startswith("general.") and field.name not in OURS_ALONE:
            value = field.contents()
            pairs.append((field.name, field.types[0].name, float(value) if field.types[0].name == "FLOAT32" else value))
    return pairs


def cases():
    """folder name, card, additions to config.json, generation_config.json, vocabulary alone"""
    for name in NAMES:
        yield name, None, {}, None, False
    for name in random_names(150):
        yield name, None, {}, None, False
    for name in NAMES[::5]:
        yield name, None, {}, None, True
    for name in NAMES[::4]:
        yield "folder-7B-chat", None, {"_name_or_path": f"some-org/{name}"}, None, False
    for path in ("plain-1M", "/home/me/model", "./model", "/data", "../x", "a/b/c"):
        yield "Folder", None, {"_name_or_path": path}, None, False
    for i, card in enumerate(CARDS):
        for ending in ("---\n\n# Title\n", ""):
            yield "Some-Model-v1", "---\n" + card + ending, {"_name_or_path": "org/thing-chat"} if i % 2 else {}, None, False
        yield "Some-Model-v1", ("---\n" + card + "---\ntext\n").replace("\n", "\r\n"), {}, None, False
    ids = "".join(f"- {json.dumps(org + name)}\n" for org in ("", "org/", "./x/") for name in NAMES + random_names(60) if name.strip("-"))
    yield "Merge", "---\nbase_model:\n" + ids + "---\n", {}, None, False
    for card in ("# no front matter\n", "--- \nlicense: mit\n---\n", "\n---\nlicense: mit\n---\n", "\ufeff---\nlicense: mit\n---\n", ""):
        yield "Some-Model-v1", card, {}, None, False
    for card in ("license: &l mit\nname: *l\n", "tags: &t [a, b]\nlanguage: *t\n", "x: &x {license: mit, author: A}\n<<: *x\nname: N\n"):
        yield "Some-Model-v1", "---\n" + card + "---\n", {}, None, False
    for g in GENERATION:
        yield "gen", None, {}, g, False


def main():
    failed = done = 0
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        sizes = {}
        for hidden in (16, 64, 336):  # 2.4 K, 37 K and 1.0 M weights
            sizes[hidden] = (work / f"of{hidden}", *write_model(work / f"of{hidden}", hidden))
        for i, (name, card, config, generation, vocab_only) in enumerate(cases()):
            source, base, total = sizes[(336, 336, 64, 16)[i % 4]]
            folder = work / "models" / name
            shutil.rmtree(folder.parent, ignore_errors=True)
            folder.mkdir(parents=True)
            (folder / "model.safetensors").symlink_to(source / "model.safetensors")
            (folder / "config.json").write_text(json.dumps(base | config))
            if card is not None:
                (folder / "README.md").write_bytes(card.encode())
            if generation:
                (folder / "generation_config.json").write_text(json.dumps(generation))
            want = expected(folder, 0 if vocab_only else total)
            got = written(folder, work / "out.gguf", vocab_only)
            done += 1
            if want != got:
                failed += 1
                shown = card and card[:300]
                print(f"FAILED {name!r} card {shown!r} config {config} of {total} weights")
                for pair in want:
                    if pair not in got:
                        print("   gguf:", pair)
                for pair in got:
                    if pair not in want:
                        print("   ours:", pair)
                if sorted(map(str, want)) == sorted(map(str, got)):
                    print("   another order:", [p[0] for p in got])
    print(f"check_metadata: {done} folders, {failed} differ")
    return 1 if failed else 0


sys.exit(main())
