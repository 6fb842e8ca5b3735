#!/usr/bin/env bash
# --fit and --bpw: the budget is met to the byte, less is lost than by the named mixes, the recipe makes the same file
# again, and what is refused.
#   tests/cli/budget.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
text=(--calibration default --ctx 64 --chunks 30 --quiet)
quick=(--budget-time 1s)
fit=(--calibration default --chunks 8 --quiet) # with --fit, --ctx is the context to run with

expect "bits" 0 "$halftone" quantize $model --bpw 4.5 "${text[@]}" -o "$work/bits" --threads 2 --report "$work/report"
expect "read back" 0 "$halftone" inspect --verify "$work/bits/model-4.5bpw.gguf" --json
holds "the report" python3 - "$work/report" <<'PY'
import json, sys
report = json.load(open(sys.argv[1]))
budget, output = report["budget"], report["outputs"][0]
assert 4.49 < output["bpw"] <= 4.5, output["bpw"]
assert sum(t["bytes"] for t in output["tensors"]) == budget["size_bytes"] <= budget["limit_bytes"]
assert budget["measured"] == "two types of each matrix" and budget["exact"] and budget["tried"] >= 2
assert budget["taken"] in ("solved", "swapped")
assert budget["named"]["size_bytes"] <= budget["limit_bytes"]
assert 0 < budget["divergence"] < .85 * budget["named"]["divergence"], budget
assert .6 < budget["divergence"] / budget["estimated_divergence"] < 1.7, budget
sizes, losses = zip(*((p["size_bytes"], p["estimated_divergence"]) for p in budget["curve"]))
assert len(sizes) > 10 and sorted(sizes) == list(sizes) and sorted(losses, reverse=True) == list(losses)
assert len({t["type"] for t in output["tensors"]}) > 4
PY
expect "by one thread" 0 "$halftone" quantize $model --bpw 4.5 "${text[@]}" -o "$work/one" --threads 1 --cpu scalar
holds "the same bytes" cmp "$work/one/model-4.5bpw.gguf" "$work/bits/model-4.5bpw.gguf"
expect "the recipe" 0 "$halftone" quantize --config "$work/bits/model-4.5bpw.recipe.yaml" -o "$work/again.gguf" --quiet
holds "makes the same file" cmp "$work/again.gguf" "$work/bits/model-4.5bpw.gguf"

# the named mix at its own size, on a text that was not looked at
expect "a named mix" 0 "$halftone" quantize $model -t Q4_K_M "${text[@]}" -o "$work"
size=$(stat -c %s "$work/model-Q4_K_M.gguf")
expect "a size" 0 "$halftone" quantize $model --fit $size "${quick[@]}" "${fit[@]}" -o "$work/fit.gguf"
holds "is met" test "$(stat -c %s "$work/fit.gguf")" -le $size -a "$(stat -c %s "$work/fit.gguf")" -gt $((size * 99 / 100))
expect "compared" 0 "$halftone" compare "$work/fit.gguf" "$work/model-Q4_K_M.gguf" --against $model --text README.md --ctx 64 --chunks 12 --json
tail -n 1 "$work/out" >"$work/compared"
holds "less is lost" python3 - "$work/compared" <<'PY'
import json, sys
kld = {m["model"].split("/")[-1]: m["kld"]["mean"] for m in json.load(open(sys.argv[1]))["models"]}
assert kld["fit.gguf"] < .9 * kld["model-Q4_K_M.gguf"], kld
PY

# what options give a type to is left to them, and counts all the same
expect "with a rule" 0 "$halftone" quantize $model --bpw 4.5 "${quick[@]}" "${text[@]}" --tensor-type 'ffn_down=q8_0' -o "$work/rule" --report "$work/report"
holds "the rule holds" python3 - "$work/report" <<'PY'
import json, sys
output = json.load(open(sys.argv[1]))["outputs"][0]
assert {t["type"] for t in output["tensors"] if "ffn_down.weight" in t["name"]} == {"q8_0"} and output["bpw"] <= 4.5
PY
expect "its recipe" 0 "$halftone" quantize --config "$work/rule/model-4.5bpw.recipe.yaml" -o "$work/rule.gguf" --quiet
holds "makes the same file, too" cmp "$work/rule.gguf" "$work/rule/model-4.5bpw.gguf"

# the smallest that can is named, and can
expect "too few bits" 3 "$halftone" quantize $model --bpw 0.5 "${text[@]}" -o "$work/never"
least=$(grep -o -e '--bpw [0-9.]*' "$work/err" | cut -d' ' -f2)
expect "the fewest" 0 "$halftone" quantize $model --bpw "${least:-0}" "${quick[@]}" "${text[@]}" -o "$work/least"
expect "too small a file" 3 "$halftone" quantize $model --fit 100K "${fit[@]}" -o "$work/never"
least=$(grep -o -e '--fit [0-9]*' "$work/err" | cut -d' ' -f2)
expect "one byte less" 3 "$halftone" quantize $model --fit $((${least:-2} - 1)) "${fit[@]}" -o "$work/never"
expect "too little memory to run in" 3 "$halftone" quantize $model --fit 1M --ctx 512 --calibration default --quiet -o "$work/never"
expect "the context, and chunks of the text" 0 "$halftone" quantize $model --fit 1G --ctx 512 --calibration default --calibration-length 64 --chunks 30 "${quick[@]}" --quiet -o "$work/room" --report "$work/report"
holds "each its own" grep -q '"calibration_ctx": 64' "$work/report"
expect "an estimate" 0 "$halftone" estimate $model --bpw 4.5 --calibration default
holds "names what was asked for" grep -q '^4.5bpw ' "$work/out"
expect "nothing is made without a run" 0 "$halftone" quantize $model --bpw 4.5 "${text[@]}" -o "$work/never" --dry-run

refused() { # what it says, options…
    local says=$1
    shift
    expect "refused: $*" 2 "$halftone" quantize $model "$@" "${fit[@]}" -o "$work/never"
    holds "refused: $*: it says $says" grep -q -e "$says" "$work/err"
}
refused "leave -t out" --bpw 4.5 -t Q4_K_M
refused "not both" --bpw 4.5 --fit 3M
refused "expected bits" --bpw x
refused "expected bits" --bpw 0
refused "not a size" --fit much
refused "it is for --fit" -t Q4_K_M --budget-time 1m
refused "expected a time" --bpw 4.5 --budget-time soon
refused "one file" --fit 4M --split-max-size 1M
refused "several memory sizes" --gpu "M2 Max"
refused "GGUF" --bpw 4.5 --format safetensors
nothing_left "refused" "$work/never"
finish
