#!/usr/bin/env bash
# --fit and --bpw with a scheme: the budget is met to the byte, fused matrices end alike, less is lost than by one scheme of all, the
# recipe makes the same folder again, and what is refused.
#   tests/cli/budget_schemes.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
text=(--calibration default --calibration-length 64 --chunks 30 --quiet)

# the same weights and configuration; the card is called after the folder
same_folder() {
    diff -rq -x README.md "$1" "$2" && cmp <(tail -n +2 "$1/README.md") <(tail -n +2 "$2/README.md")
}

expect "bits" 0 "$halftone" quantize $model -t gptq --bpw 4 "${text[@]}" -o "$work/bits" --threads 2 --report "$work/report"
holds "the report" python3 - "$work/report" <<'PY'
import collections, json, sys
report = json.load(open(sys.argv[1]))
budget, output = report["budget"], report["outputs"][0]
tensors = [t for t in output["tensors"] if t["name"].endswith("_proj.weight")]
assert sum(t["bytes"] for t in tensors) == budget["size_bytes"] <= budget["limit_bytes"], budget
weights = sum(t["shape"][0] * t["shape"][1] for t in tensors)
assert 3.95 < budget["size_bytes"] * 8 / weights <= 4, budget
assert budget["counts"] == "matrices" and budget["rest_as"] == "gptq" and budget["exact"] and budget["tried"] >= 2
assert budget["named"]["type"].startswith("gptq:bits=3") and budget["named"]["size_bytes"] <= budget["limit_bytes"]
assert 0 < budget["divergence"] < .75 * budget["named"]["divergence"], budget
assert .5 < budget["divergence"] / budget["estimated_divergence"] < 2, budget
groups = collections.defaultdict(set)
for t in tensors:
    layer, module = t["name"].split(".")[2], t["name"].split(".")[-2]
    fused = "qkv" if module in ("q_proj", "k_proj", "v_proj") else "gate_up" if module in ("gate_proj", "up_proj") else module
    groups[layer, fused].add(t.get("scheme"))
assert all(len(schemes) == 1 for schemes in groups.values()), groups
assert len(set.union(*groups.values())) > 2, groups
PY
expect "by one thread" 0 "$halftone" quantize $model -t gptq --bpw 4 "${text[@]}" -o "$work/one" --threads 1 --cpu scalar
holds "the same bytes" diff -r "$work/one/model-gptq-4bpw" "$work/bits/model-gptq-4bpw"
expect "the recipe" 0 "$halftone" quantize --config "$work/bits/model-gptq-4bpw.recipe.yaml" -o "$work/again" --quiet
holds "makes the same folder" same_folder "$work/again/model-gptq-mixed" "$work/bits/model-gptq-4bpw"

# a size is that of the weight files, heads included
expect "a size" 0 "$halftone" quantize $model -t gptq --fit 7500000 --budget-time 1s "${text[@]}" -o "$work/fit" --report "$work/report"
size=$(stat -c %s "$work/fit/model-gptq-7500000/model.safetensors")
holds "is met" test "$size" -le 7500000 -a "$size" -gt 7400000
holds "and told" grep -q "\"size_bytes\": $size" "$work/report"
expect "in shards of .bin files" 0 "$halftone" quantize $model -t pytorch/gptq --fit 7500000 --split-max-size 3M --budget-time 1s "${text[@]}" -o "$work/shards"
size=$(stat -c %s "$work"/shards/model-gptq-7500000-pytorch/*.bin | awk '{ sum += $1 } END { print sum }')
holds "all of them count" test "$size" -le 7500000 -a "$size" -gt 7400000
expect "their recipe" 0 "$halftone" quantize --config "$work/shards/model-gptq-7500000-pytorch.recipe.yaml" -o "$work/shards/again" --quiet --split-max-size 3M
holds "makes .bin files, too" same_folder "$work/shards/again/model-gptq-mixed-pytorch" "$work/shards/model-gptq-7500000-pytorch"
expect "too small" 3 "$halftone" quantize $model -t gptq --fit 2M "${text[@]}" -o "$work/never"
least=$(grep -o -e '--fit [0-9]*' "$work/err" | cut -d' ' -f2)
expect "the least" 0 "$halftone" quantize $model -t gptq --fit "${least:-0}" --budget-time 1s "${text[@]}" -o "$work/least"
holds "is the least" test "$(stat -c %s "$work"/least/*/model.safetensors)" -eq "${least:-0}"
expect "one byte less" 3 "$halftone" quantize $model -t gptq --fit $((${least:-2} - 1)) "${text[@]}" -o "$work/never"

# formats of compressed-tensors together; what stays as it is; a rule comes first, and counts no more
expect "compressed-tensors" 0 "$halftone" quantize $model -t w4a16 --bpw 5 --budget-time 1s "${text[@]}" -o "$work/ct" --report "$work/report"
holds "of several groups" python3 - "$work/report" "$work/ct/model-w4a16-5bpw/config.json" <<'PY'
import json, sys
budget = json.load(open(sys.argv[1]))["budget"]
groups = json.load(open(sys.argv[2]))["quantization_config"]["config_groups"].values()
assert len({(g["weights"]["num_bits"], g["weights"].get("group_size")) for g in groups}) > 1, groups
assert budget["divergence"] <= budget["named"]["divergence"], budget
PY
expect "some as they are" 0 "$halftone" quantize $model -t nf4 --bpw 6 --budget-time 1s "${text[@]}" --rule first:1=none -o "$work/nf4" --report "$work/report"
holds "the rule holds" python3 - "$work/report" <<'PY'
import json, sys
tensors = [t for t in json.load(open(sys.argv[1]))["outputs"][0]["tensors"] if t["name"].endswith("_proj.weight")]
first = [t for t in tensors if ".layers.0." in t["name"]]
rest = [t for t in tensors if ".layers.0." not in t["name"]]
assert not any("scheme" in t for t in first)
assert {t.get("scheme") for t in rest} == {None, "nf4"}
assert sum(t["bytes"] for t in rest) * 8 <= 6 * sum(t["shape"][0] * t["shape"][1] for t in rest)
PY
expect "its recipe" 0 "$halftone" quantize --config "$work/nf4/model-nf4-6bpw.recipe.yaml" -o "$work/nf4/again" --quiet
holds "makes the same folder, too" same_folder "$work/nf4/again/model-nf4-mixed" "$work/nf4/model-nf4-6bpw"
expect "calibrated" 0 "$halftone" quantize $model -t gptq --bpw 3.5 --effort best --budget-time 1s "${text[@]}" -o "$work/best"
expect "its recipe" 0 "$halftone" quantize --config "$work"/best/*.recipe.yaml -o "$work/best/again" --quiet
holds "makes the calibrated folder" same_folder "$work"/best/again/*-mixed "$work"/best/*bpw
expect "too few bits" 3 "$halftone" quantize $model -t nf4 --bpw 4 "${text[@]}" -o "$work/never"
expect "an estimate" 0 "$halftone" estimate $model -t gptq --bpw 4.5 --calibration default
holds "of the scheme" grep -q '^gptq ' "$work/out"
expect "nothing is made without a run" 0 "$halftone" quantize $model -t gptq --bpw 4.5 "${text[@]}" -o "$work/never" --dry-run

refused() { # exit, what it says, options…
    local code=$1 says=$2
    shift 2
    expect "refused: $*" "$code" "$halftone" quantize "$@" "${text[@]}" -o "$work/never"
    holds "refused: $*: it says $says" grep -q -e "$says" "$work/err"
}
refused 2 "name a scheme" $model -t Q4_K_M --bpw 4
refused 2 "one output" $model -t gptq,nf4 --bpw 4
refused 2 "ladder" $model -t adaptive --bpw 4
refused 2 "bytes or bits" $model -t gptq --fit 1G --ctx 512
refused 2 "bytes or bits" $model -t gptq --gpu "RTX 3060"
refused 3 "not measured" $model -t nvfp4 --bpw 5
expect "a GGUF file" 0 "$halftone" convert $model -o "$work/model.gguf" --quiet
refused 3 "give the folder" "$work/model.gguf" -t gptq --bpw 4
nothing_left "refused" "$work/never"
finish
