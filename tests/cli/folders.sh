#!/usr/bin/env bash
# Outputs that are Hugging Face folders: what is in them, that they appear whole or not at all, and what is refused.
#   tests/cli/folders.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
out=$work/made

expect "several at once" 0 "$halftone" quantize $model -t Q8_0,fp8,gptq:bits=3,group=64 -o "$out" --quiet --report "$work/report"
expect "the file alone" 0 "$halftone" quantize $model -t Q8_0 -o "$work/alone" --quiet
holds "a folder beside it does not change a file" cmp "$out/model-Q8_0.gguf" "$work/alone/model-Q8_0.gguf"
for file in config.json generation_config.json model.safetensors README.md tokenizer.json tokenizer_config.json chat_template.jinja; do
    holds "$file is there" test -s "$out/model-fp8/$file"
done
for file in tokenizer.json tokenizer_config.json generation_config.json chat_template.jinja; do
    holds "$file is the source's" cmp "$model/$file" "$out/model-fp8/$file"
done
holds "nothing else is left" test "$(ls -A "$out" | tr '\n' ' ')" = "model-Q8_0.gguf model-fp8 model-gptq-bits3-group64 "
expect "read back" 0 "$halftone" inspect --verify "$out/model-fp8/model.safetensors" --json
python3 - "$out" "$work/report" $model <<'PY' || { echo "FAILED what the folder says"; failed=1; }
import hashlib, json, sys
out, report, model = sys.argv[1:]
before, after = (json.load(open(f + "/config.json")) for f in (model, out + "/model-fp8"))
assert after.pop("quantization_config")["quant_method"] == "compressed-tensors"
assert before == after, "the rest of config.json"
done = json.load(open(report))["outputs"]
assert [o["format"] for o in done] == ["gguf", "safetensors", "safetensors"], done
assert [o["type"] for o in done] == ["Q8_0", "fp8", "gptq:bits=3,group=64"]
for o in done:
    assert sum(f["size_bytes"] for f in o["files"]) == o["size_bytes"]
    for f in o["files"]:
        data = open(f["path"], "rb").read()
        assert len(data) == f["size_bytes"] and hashlib.sha256(data).hexdigest() == f["sha256"], f["path"]
    assert 0 < o["relative_rmse"] < .3 and o["path"] == o["files"][0]["path"][:len(o["path"])]
assert done[1]["unquantized"] == []
PY

expect "estimated" 0 "$halftone" estimate $model -t fp8 --json
size=$(grep -o '"size_bytes": [0-9]*' "$work/out" | head -n 1 | cut -d' ' -f2)
holds "an estimate is exact" test "$size" = "$(cat "$out"/model-fp8/* | wc -c)"

expect "once more is refused" 2 "$halftone" quantize $model -t fp8 -o "$out" --quiet
expect "unless it may be replaced" 0 "$halftone" quantize $model -t fp8 -o "$out" --quiet --overwrite
mkdir "$out/model-fp8/mine"
expect "but for what is more than a model" 2 "$halftone" quantize $model -t fp8 -o "$out" --quiet --overwrite
holds "which stays" test -d "$out/model-fp8/mine"

# shards with an index; conversion without loss gives the source's tensors
expect "converted" 0 "$halftone" convert $model --format safetensors -o "$work/same" --quiet
holds "no tensor differs" python3 - $model/model.safetensors "$work"/same/*/model.safetensors <<'PY'
import json, struct, sys
def tensors(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + n])
    head.pop("__metadata__", None)
    return {k: (v["dtype"], v["shape"], data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]) for k, v in head.items()}
assert tensors(sys.argv[1]) == tensors(sys.argv[2])
PY

# what is packed becomes floats again, under the source's names
for type in nf4 gptq w8a16; do
    expect "$type packed" 0 "$halftone" quantize $model -t $type -o "$work/packed" --quiet
    expect "$type unpacked" 0 "$halftone" convert "$work/packed/model-$type" --format safetensors -t F32 -o "$work/floats" --quiet
    holds "$type has the same tensors" python3 - $model/model.safetensors "$work/floats/model-$type-F32/model.safetensors" <<'PY'
import json, struct, sys
def shapes(path):
    data = open(path, "rb").read()
    head = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
    head.pop("__metadata__", None)
    return {k: v["shape"] for k, v in head.items()}, {v["dtype"] for v in head.values()}
assert shapes(sys.argv[1])[0] == shapes(sys.argv[2])[0] and shapes(sys.argv[2])[1] == {"F32"}
PY
    holds "$type is not mentioned" python3 -c 'import json, sys; assert "quantization_config" not in json.load(open(sys.argv[1]))' \
        "$work/floats/model-$type-F32/config.json"
done

expect "in shards" 0 "$halftone" quantize $model -t fp8 -o "$work/shards" --split-max-size 3M --quiet
shards=$work/shards/model-fp8
holds "with an index" test -s "$shards/model.safetensors.index.json"
holds "no file without it" test ! -e "$shards/model.safetensors"
holds "of at most that size" test -z "$(find "$shards" -name 'model-*' -size +3200k)"

# killed, continued
killed_at 20 "$work/killed/model-fp8.journal" "$work/killed" "$halftone" quantize $model -t fp8,gptq -o "$work/killed" --checkpoint-seconds 0 --threads 1
lacks "nothing half-made is visible" "$work/killed/model-fp8"
expect "continued" 0 "$halftone" quantize $model -t fp8,gptq -o "$work/killed" --resume --quiet
holds "the same folder" cmp "$work/killed/model-fp8/model.safetensors" "$out/model-fp8/model.safetensors"
lacks "no journal" "$work/killed/model-fp8.journal"

# PyTorch's form: files that zipfile finds whole, of the same tensors; continued after a kill; of the size that was estimated
torch=$work/torch
expect "PyTorch files" 0 "$halftone" quantize $model -t pytorch/nf4 -o "$torch" --quiet --report "$work/torch.report"
expect "and floats" 0 "$halftone" convert $model --format pytorch -o "$torch" --split-max-size 3M --quiet
expect "and back" 0 "$halftone" convert "$torch/model-BF16-pytorch" --format safetensors -o "$torch/back" --quiet
holds "no tensor differs" cmp "$work/same"/*/model.safetensors "$torch"/back/*/model.safetensors
expect "read back" 0 "$halftone" inspect --verify "$torch/model-nf4-pytorch/pytorch_model.bin" --json
holds "what the archives say" python3 - "$torch" "$work/torch.report" <<'PY'
import glob, json, os, sys, zipfile
torch, report = sys.argv[1:]
assert json.load(open(report))["outputs"][0]["format"] == "pytorch"
floats = torch + "/model-BF16-pytorch"
index = json.load(open(floats + "/pytorch_model.bin.index.json"))
files = sorted(glob.glob(floats + "/*.bin"))
assert len(files) > 2 and {floats + "/" + f for f in index["weight_map"].values()} == set(files)
assert "quantization_config" in json.load(open(torch + "/model-nf4-pytorch/config.json"))
total = 0
for path in files + [torch + "/model-nf4-pytorch/pytorch_model.bin"]:
    with zipfile.ZipFile(path) as z:
        assert z.testzip() is None, path
        names = [i.filename for i in z.infolist()]
        assert names[0] == "archive/data.pkl" and z.read("archive/version") == b"3\n" and z.read("archive/byteorder") == b"little"
        for i in z.infolist():
            head = open(path, "rb").read()[i.header_offset:i.header_offset + 30]
            start = i.header_offset + 30 + int.from_bytes(head[26:28], "little") + int.from_bytes(head[28:30], "little")
            assert start % 64 == 0 and i.compress_type == 0, i.filename
            total += i.file_size if path in files and "/data/" in i.filename else 0
assert total == index["metadata"]["total_size"]
PY
expect "estimated" 0 "$halftone" estimate $model -t pytorch/nf4 --json
size=$(grep -o '"size_bytes": [0-9]*' "$work/out" | head -n 1 | cut -d' ' -f2)
holds "an estimate is exact" test "$size" = "$(cat "$torch"/model-nf4-pytorch/* | wc -c)"
killed_at 20 "$torch/killed/model-nf4-pytorch.journal" "$torch/killed" "$halftone" quantize $model -t pytorch/nf4,pytorch/F32 -o "$torch/killed" --checkpoint-seconds 0 --threads 1
lacks "nothing half-made is visible" "$torch/killed/model-nf4-pytorch"
expect "continued" 0 "$halftone" quantize $model -t pytorch/nf4,pytorch/F32 -o "$torch/killed" --resume --quiet
holds "the same file" cmp "$torch/killed/model-nf4-pytorch/pytorch_model.bin" "$torch/model-nf4-pytorch/pytorch_model.bin"
expect "read whole" 0 python3 -c 'import sys, zipfile; assert zipfile.ZipFile(sys.argv[1]).testzip() is None' \
    "$torch/killed/model-F32-pytorch/pytorch_model.bin"
expect "a type of GGUF in it" 2 "$halftone" quantize $model -t pytorch/Q4_K_M -o "$work/never"
expect "a mistyped container" 2 "$halftone" convert $model --format pytroch -o "$work/never"
holds "names those that are" grep -q 'expected gguf, safetensors or pytorch, got' "$work/err"

# the card says how codes were chosen, and what was quantized twice
holds "the card names the method" grep -q 'codes were chosen by `round`' "$out/model-gptq-bits3-group64/README.md"
expect "quantized twice" 0 "$halftone" quantize "$out/model-gptq-bits3-group64" -t fp8 --allow-requantize -o "$work/twice" --quiet
holds "and the card says so" grep -q 'quantized twice, from GPTQ' "$work"/twice/*/README.md

# mixed precision: rules, names that are skipped, estimates, and the way back
rules=(--rule last:1=none --rule w4a16/attention=w8a16 --rule w4a16/output=fp8 --skip-modules model.layers.0.mlp.down_proj)
expect "rules" 0 "$halftone" quantize $model -t w4a16:group=32,nf4 -o "$work/mixed" --quiet --report "$work/report" "${rules[@]}"
python3 - "$work/mixed" "$work/report" <<'PY' || { echo "FAILED what the rules made"; failed=1; }
import json, sys
out, report = sys.argv[1:]
done = json.load(open(report))["outputs"][0]
config = json.load(open(done["path"] + "/config.json"))["quantization_config"]
assert config["format"] == "mixed-precision", config
assert sorted(g["format"] for g in config["config_groups"].values()) == ["float-quantized", "pack-quantized", "pack-quantized"], config
left = {t["name"] for t in done["tensors"] if t.get("because") and "scheme" not in t}
assert left == {"model.layers.0.mlp.down_proj.weight"} | {t["name"] for t in done["tensors"] if ".7." in t["name"] and "_proj" in t["name"]}, left
assert {n + ".weight" for n in config["ignore"]} == left
why = {t["name"]: (t.get("scheme"), t.get("because")) for t in done["tensors"]}
assert why["model.layers.2.self_attn.k_proj.weight"] == ("w8a16", "w4a16/attention=w8a16"), why
assert why["model.layers.2.mlp.up_proj.weight"] == ("w4a16:group=32", None), why
card = open(done["path"] + "/README.md").read()
assert "- `w4a16/attention=w8a16`: 28 of them w8a16\n" in card and "- `model.layers.0.mlp.down_proj`: 1 of them as in the original" in card, card
assert len(json.load(open(report))["outputs"][1]["unquantized"]) == 0
PY
size=$("$halftone" estimate $model -t w4a16:group=32 "${rules[@]}" --json | grep -o '"size_bytes": [0-9]*' | head -n 1 | cut -d' ' -f2)
holds "estimated with the same rules" test "$size" = "$(cat "$work"/mixed/model-w4a16-group32-mixed/* | wc -c)"
printf 'model: %s\ntype: w4a16:group=32\noutput: %s\nrule: {"last:1": none, attention: w8a16, output: fp8}\nskip-modules: [model.layers.0.mlp.down_proj]\n' $model "$work/yaml" >"$work/recipe.yaml"
expect "from a recipe" 0 "$halftone" quantize --config "$work/recipe.yaml" --quiet
holds "the same weights" cmp "$work"/yaml/*/model.safetensors "$work"/mixed/*w4a16*/model.safetensors
expect "and back" 0 "$halftone" convert "$work/yaml/model-w4a16-group32-mixed" -t F32 -o "$work/back" --quiet
expect "what one folder cannot hold" 2 "$halftone" quantize $model -t nf4 --rule attention=int8 -o "$work/never"
holds "says why" grep -q 'nf4: bitsandbytes.* not both.*compressed-tensors' "$work/err"

# a ladder: a matrix with an outlier in each group needs more bits, and q and k, which programs fuse with it, follow
python3 - $model "$work/outliers" <<'PY'
import json, os, shutil, struct, sys
source, made = sys.argv[1:]
shutil.copytree(source, made)
os.chmod(made, 0o755)
path = made + "/model.safetensors"
os.chmod(path, 0o644)
data = bytearray(open(path, "rb").read())
n = struct.unpack("<Q", data[:8])[0]
v = json.loads(data[8:8 + n])["model.layers.2.self_attn.v_proj.weight"]
assert v["dtype"] == "BF16"
for at in range(8 + n + v["data_offsets"][0], 8 + n + v["data_offsets"][1], 64):  # one of 32 weights
    data[at:at + 2] = struct.pack("<H", 0x3f00 | at >> 6 & 63)  # about a half
open(path, "wb").write(data)
PY
expect "a ladder" 0 "$halftone" quantize "$work/outliers" -t adaptive,adaptive-nf4 -o "$work/ladder" --quiet --report "$work/report" --rule layers:3+ffn=none
python3 - "$work/report" <<'PY' || { echo "FAILED what the ladder chose"; failed=1; }
import json, sys
def schemes(output):
    return {t["name"][13:-len(".weight")]: (t.get("scheme"), t.get("because"), t.get("relative_rmse")) for t in output["tensors"] if "_proj" in t["name"]}
mixed, bnb = (schemes(o) for o in json.load(open(sys.argv[1]))["outputs"])
qkv = {f"2.self_attn.{x}_proj" for x in "qkv"}
for name, (scheme, because, error) in mixed.items():
    want = "w8a16" if name in qkv else None if name.startswith("3.mlp") else "w4a16:group=32"
    assert scheme == want, (name, scheme, because)
    assert name not in qkv or because.startswith("w4a16:group=32: error ") and because.endswith("v_proj.weight"), because
    assert name in qkv or scheme is None or because is None and error < .1, (name, because, error)
assert {n for n, (scheme, *_) in bnb.items() if scheme is None} == qkv | {n for n in bnb if n.startswith("3.mlp")}, bnb
PY
holds "the card counts them" grep -qx -e '- w4a16:group=32: 50' "$work/ladder/outliers-adaptive-mixed/README.md"
holds "of each level" grep -qx -e '- w8a16: 3' "$work/ladder/outliers-adaptive-mixed/README.md"
expect "on one thread" 0 "$halftone" quantize "$work/outliers" -t adaptive -o "$work/ladder1" --quiet --threads 1 --rule layers:3+ffn=none
holds "the same choice" cmp "$work"/ladder{,1}/outliers-adaptive-mixed/model.safetensors
size=$("$halftone" estimate "$work/outliers" -t adaptive --rule layers:3+ffn=none --json | grep -o '"size_bytes": [0-9]*' | head -n 1 | cut -d' ' -f2)
holds "an estimate is exact" test "$size" = "$(cat "$work"/ladder1/outliers-adaptive-mixed/* | wc -c)"
expect "with more error allowed" 0 "$halftone" estimate "$work/outliers" -t adaptive --max-error .5 --json
holds "all on the first level" test "$(grep -o '"scheme": "w8a16"' "$work/out" | wc -l)" = 0
expect "levels that cannot share a folder" 2 "$halftone" quantize $model -t 'nf4>int8>int8_dynamic>none' -o "$work/never"
holds "names those that can" grep -q 'w4a16:group=32>w8a16>w8a8>none' "$work/err"

# importance reaches every Linear, also those whose rows a GGUF file has in another order
expect "importance" 0 "$halftone" imatrix $model --text $model/README.md --ctx 64 --chunks 2 -o "$work/importance.gguf" --quiet
expect "used" 0 "$halftone" quantize $model -t gptq:bits=3,group=64 --imatrix "$work/importance.gguf" -o "$work/important" --quiet
holds "everywhere" python3 - "$out/model-gptq-bits3-group64/model.safetensors" "$work"/important/*/model.safetensors <<'PY'
import json, struct, sys
def tensors(path):
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    return {k: data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]] for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"}
a, b = (tensors(p) for p in sys.argv[1:3])
same = [k for k in a if k.endswith(".qweight") and a[k] == b[k]]
assert not same and len(a) == len(b), same
PY

# listed with their options
expect "listed" 0 "$halftone" types
for name in nf4 gptq awq fp8; do holds "$name is listed" grep -q "^  $name  *[^ ].*; loaded by" "$work/out"; done
holds "with its options" grep -q 'bits=2 3 4 8 (default 4)' "$work/out"
expect "listed for programs" 0 "$halftone" types --json
holds "every scheme" grep -q '"schemes"' "$work/out"

# refused, with what to do
expect "a type of GGUF in a folder" 2 "$halftone" quantize $model -t safetensors/Q4_K_M -o "$work/never"
expect "a scheme in a file" 2 "$halftone" quantize $model -t gguf/nf4 -o "$work/never"
expect "a scheme converts nothing" 2 "$halftone" convert $model -t nf4 -o "$work/never"
expect "a mistyped one" 2 "$halftone" quantize $model -t gtpq -o "$work/never"
holds "names the nearest" grep -q 'did you mean gptq' "$work/err"
expect "an option that is not there" 2 "$halftone" quantize $model -t gptq:bitz=3 -o "$work/never"
holds "names those that are" grep -q 'it has bits' "$work/err"
expect "from a GGUF file" 3 "$halftone" quantize "$out/model-Q8_0.gguf" -t fp8 -o "$work/never"
lacks "nothing is made" "$work/never"

# layers left out: the folder is the GGUF file without them, whatever its tensors are called
expect "layers left out" 0 "$halftone" quantize $model -t BF16,safetensors/BF16,pytorch/nf4,nf4 --prune-layers 1,3 -o "$work/pruned" \
    --split-max-size 3M --quiet
expect "which runs as the file does" 0 "$halftone" eval "$work/pruned/model-BF16" --against "$work/pruned/model-BF16-00001-of-"*.gguf \
    --text default --ctx 64 --chunks 2 --json
holds "with the same logits" python3 -c '
import json, sys
report = json.loads(open(sys.argv[1]).read().splitlines()[-1])
assert report["kld"]["mean"] < 1e-9 and report["top1_agreement"] == 1, report' "$work/out"
expect "packed ones too" 0 "$halftone" compare "$work/pruned/model-nf4" "$work/pruned/model-nf4-pytorch" --against "$work/pruned/model-nf4" \
    --text default --ctx 64 --chunks 1 --json
holds "alike" python3 -c '
import json, sys
for m in json.loads(open(sys.argv[1]).read().splitlines()[-1])["models"]: assert m["kld"]["mean"] < 1e-9, m' "$work/out"
holds "configuration, names and index are true" python3 - $model "$work/pruned" <<'PY'
import json, re, struct, sys
before = json.load(open(sys.argv[1] + "/config.json"))
for name, ext in ("model-BF16", ".safetensors"), ("model-nf4", ".safetensors"), ("model-nf4-pytorch", ".bin"):
    at = f"{sys.argv[2]}/{name}"
    config = json.load(open(at + "/config.json"))
    assert config["num_hidden_layers"] == before["num_hidden_layers"] - 2
    assert {k for k in before if before[k] != config[k]} <= {"num_hidden_layers", "dtype"}, name
    stem = "model" if ext == ".safetensors" else "pytorch_model"
    index = json.load(open(f"{at}/{stem}{ext}.index.json"))["weight_map"]
    layers = {int(m.group(1)) for m in (re.match(r"model\.layers\.(\d+)\.", n) for n in index) if m}
    assert layers == set(range(config["num_hidden_layers"])), (name, layers)
    for file in set(index.values()) if ext == ".safetensors" else ():
        data = open(f"{at}/{file}", "rb").read()
        held = json.loads(data[8:8 + struct.unpack("<Q", data[:8])[0]])
        assert {n for n, f in index.items() if f == file} == set(held) - {"__metadata__"}, file
    assert "2 of the original's 8 layers were left out (1,3, from 0)" in open(at + "/README.md").read()
PY
expect "all layers" 2 "$halftone" quantize $model -t nf4 --prune-layers 0,1,2,3,4,5,6,7 -o "$work/none" --quiet
expect "a layer that is not there" 2 "$halftone" quantize $model -t nf4 --prune-layers 8 -o "$work/none" --quiet
config() { # name, members of config.json that are set
    rm -rf "$work/$1"
    mkdir "$work/$1"
    cp "$model"/* "$work/$1" # no links: making one touches the model, which other tests read at the same time
    python3 -c '
import json, os, sys
path = sys.argv[1] + "/config.json"
config = {**json.load(open(path)), **json.loads(sys.argv[2])}
os.remove(path)
json.dump(config, open(path, "w"))' "$work/$1" "$2"
}
config listed '{"layer_types": ["a", "b", "c", "d", "e", "f", "g", "h"], "mlp_only_layers": [0, 3, 4], "max_window_layers": 5, "decoder_sparse_step": 2,
    "sliding_window_pattern": 3, "eos_token_id": [1, 2, 3, 4, 5, 6, 7, 8]}'
expect "lists of layers" 0 "$halftone" quantize "$work/listed" -t nf4 --prune-layers 2,3 -o "$work/made-listed" --quiet
holds "lose those that went" python3 -c '
import json, sys
c = json.load(open(sys.argv[1]))
assert c["layer_types"] == ["a", "b", "e", "f", "g", "h"] and c["mlp_only_layers"] == [0, 2] and c["max_window_layers"] == 3, c
assert len(c["eos_token_id"]) == 8 and c["sliding_window_pattern"] == 3' "$work/made-listed/listed-nf4/config.json"
config placed '{"decoder_sparse_step": 2}'
expect "a layer that would become another kind" 3 "$halftone" quantize "$work/placed" -t nf4 --prune-layers 3 -o "$work/none" --quiet
holds "is told" grep -q 'config.json: decoder_sparse_step: .* layer 4 becomes layer 3 and another kind' "$work/err"
config short '{"layer_types": ["a", "b"]}'
expect "a list that is too short" 3 "$halftone" quantize "$work/short" -t nf4 --prune-layers 3 -o "$work/none" --quiet
config unknown '{"of_each": [1, 2, 3, 4, 5, 6, 7, 8]}'
expect "a list that may be about layers" 3 "$halftone" quantize "$work/unknown" -t nf4 --prune-layers 3 -o "$work/none" --quiet
lacks "nothing of those" "$work/none/unknown-nf4"

finish
