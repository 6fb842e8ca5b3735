#!/usr/bin/env bash
# --effort best on a mixture of experts: each expert's codes by the tokens that it is sent, however few these are.
#   tests/cli/experts.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
moe=$work/moe
python3 tests/lib/upcycled.py $model "$moe" 6 2 3 || exit 1
best=(quantize "$moe" --effort best --calibration default --ctx 64 --chunks 16 --quiet)

expect "best" 0 "$halftone" "${best[@]}" -t Q2_K_S -o "$work/best" --threads 2 --report "$work/report"
expect "fast" 0 "$halftone" quantize "$moe" -t Q2_K_S -o "$work/fast" --calibration default --ctx 64 --chunks 16 --quiet
holds "as large" test "$(stat -c %s "$work/best/moe-Q2_K_S.gguf")" = "$(stat -c %s "$work/fast/moe-Q2_K_S.gguf")"
expect "compared" 0 "$halftone" compare "$work"/best/*.gguf "$work"/fast/*.gguf --against "$moe" --text default --ctx 64 --chunks 20 --json
tail -n 1 "$work/out" >"$work/compared"
holds "less divergence, and a report that says how" python3 - "$work/compared" "$work/report" <<'PY'
import json, sys
compared, report = (json.load(open(f)) for f in sys.argv[1:])
kld = {m["model"].split("/")[-2]: m["kld"]["mean"] for m in compared["models"]}
assert kld["best"] < .7 * kld["fast"], kld
tensors = report["outputs"][0]["tensors"]
stacks = [t["method"] for t in tensors if "_exps" in t["name"]]
assert len(stacks) == 9 and all(m["experts"] == 6 for m in stacks), stacks
assert all(m["held_out_error"] < m["held_out_error_rounded"] for m in stacks), stacks
assert all(m["experts_without_tokens"] <= m["experts_with_few_tokens"] <= 6 for m in stacks)
assert any(m["experts_with_few_tokens"] for m in stacks), stacks
assert not any("experts" in t.get("method", {}) for t in tensors if "_exps" not in t["name"])
PY

# importance from a pass of its own, one thread, and other instructions
expect "alone, one thread" 0 "$halftone" "${best[@]}" -t Q2_K_S,F16 -o "$work/one" --threads 1 --cpu scalar
holds "the same bytes" cmp "$work/one/moe-Q2_K_S.gguf" "$work/best/moe-Q2_K_S.gguf"
finish
