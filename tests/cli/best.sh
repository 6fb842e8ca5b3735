#!/usr/bin/env bash
# --effort best: less loss at the same bytes, the same bytes however it is run, and what is refused.
#   tests/cli/best.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
best=(quantize $model --effort best --calibration default --ctx 64 --chunks 30 --quiet)

expect "best" 0 "$halftone" "${best[@]}" -t Q4_K_M,Q2_K_S,Q4_0 -o "$work/best" --threads 2 --report "$work/report"
expect "fast" 0 "$halftone" quantize $model -t Q4_K_M,Q2_K_S,Q4_0 -o "$work/fast" --calibration default --ctx 64 --chunks 30 --quiet
for type in Q4_K_M Q2_K_S Q4_0; do
    holds "$type: as large" test "$(stat -c %s "$work/best/model-$type.gguf")" = "$(stat -c %s "$work/fast/model-$type.gguf")"
    expect "$type: read back" 0 "$halftone" inspect --verify "$work/best/model-$type.gguf" --json
done
expect "compared" 0 "$halftone" compare "$work"/best/*.gguf "$work"/fast/*.gguf --against $model --text default --ctx 64 --chunks 28 --json
tail -n 1 "$work/out" >"$work/compared"
holds "less divergence, and a report that says how" python3 - "$work/compared" "$work/report" <<'PY'
import json, sys
compared, report = (json.load(open(f)) for f in sys.argv[1:])
kld = {tuple(m["model"].split("/")[-2:]): m["kld"]["mean"] for m in compared["models"]}
for type in "Q4_K_M", "Q2_K_S", "Q4_0":
    name = f"model-{type}.gguf"
    assert kld["best", name] < .8 * kld["fast", name], (type, kld)
assert report["recipe"]["effort"] == "best" and len(report["recipe"]["calibration_builtin_sha256"]) == 64
for output in report["outputs"]:
    tensors = [t for t in output["tensors"] if ".ffn_" in t["name"] or ".attn_" in t["name"]]
    chosen = [t["method"] for t in tensors if "method" in t]
    assert len(chosen) == sum(t["type"] != "f32" for t in tensors) > 20, output["type"]
    assert all(m["held_out_error"] <= m["held_out_error_rounded"] for m in chosen)
    assert all(abs(m["held_out_ratio"] - m["held_out_error"] / m["held_out_error_rounded"]) < 1e-4 for m in chosen)
    assert sum(m["taken"] != "round" for m in chosen) > len(chosen) / 2
    embedding = next(t for t in output["tensors"] if t["name"] == "token_embd.weight")["method"]
    assert embedding["taken"] != "round" and embedding["held_out_divergence"] < embedding["held_out_divergence_rounded"], embedding
PY

expect "a card, and progress" 0 "$halftone" quantize $model --effort best --calibration default --ctx 64 --chunks 30 -t Q4_0 -o "$work/card" --measure --json
holds "it rises to its total, and the time left is never less than none" python3 - "$work/err" "$work/out" <<'PY'
import json, sys
lines = [json.loads(line) for name in sys.argv[1:] for line in open(name) if line.startswith('{"event":"progress"')]
told = [e for e in lines if e["step"] == "best"]
assert len(told) > 8, len(told)
done = [e["done"] for e in told]
assert done == sorted(done) and done[-1] == told[-1]["total"], done
assert all(-1 <= e["seconds_left"] < 1e6 for e in told), told
PY
hash=$(sed -n 's/.*"calibration_builtin_sha256": "\([0-9a-f]*\)".*/\1/p' "$work/report")
holds "the card names the text" grep -q "the built-in text (SHA-256 \`$hash\`), 30 chunks of 64 tokens" "$work/card/model.quality.md"
holds "and says what is left of the errors" grep -qE '^\| Q4_0 \| ffn_down \| 8 \| [0-8] \| [0-9.e-]+ \| [0-9.e-]+ \| [0-9]+ % \|$' "$work/card/model.quality.md"

# one output among several, by one thread, and with the weights in turns through little memory; beside one that is not made so,
# importance comes from a pass of its own
expect "alone, one thread" 0 "$halftone" "${best[@]}" -t Q2_K_S,F16 -o "$work/one" --threads 1 --cpu scalar
holds "the same bytes" cmp "$work/one/model-Q2_K_S.gguf" "$work/best/model-Q2_K_S.gguf"

# folders of schemes, in the same way
expect "folders" 0 "$halftone" "${best[@]}" -t gptq:bits=3,nf4,fp8-block -o "$work/folders" --threads 2 --report "$work/report"
expect "folders, fast" 0 "$halftone" quantize $model -t gptq:bits=3,nf4,fp8-block -o "$work/plain" --calibration default --ctx 64 --chunks 30 --quiet
expect "folders compared" 0 "$halftone" compare "$work"/folders/model-* "$work"/plain/model-* --against $model --text default --ctx 64 --chunks 28 --json
tail -n 1 "$work/out" >"$work/compared"
holds "less divergence, and a report that says how" python3 - "$work/compared" "$work/report" <<'PY'
import json, sys
compared, report = (json.load(open(f)) for f in sys.argv[1:])
kld = {tuple(m["model"].split("/")[-2:]): m["kld"]["mean"] for m in compared["models"]}
for type in "gptq-bits3", "nf4", "fp8-block":
    assert kld["folders", "model-" + type] < .8 * kld["plain", "model-" + type], (type, kld)
for output in report["outputs"]:
    chosen = [t["method"] for t in output["tensors"] if "scheme" in t]
    assert len(chosen) >= 8 * 4 and all(m["held_out_error"] < m["held_out_error_rounded"] for m in chosen), chosen
PY
holds "the card says so" grep -q 'chosen by `best`: layer by layer' "$work/folders/model-nf4/README.md"
expect "a folder by one thread" 0 "$halftone" "${best[@]}" -t gptq:bits=3 -o "$work/one" --threads 1 --cpu scalar
holds "the same bytes" cmp "$work/one/model-gptq-bits3/model.safetensors" "$work/folders/model-gptq-bits3/model.safetensors"

# what a method is told, and groups by activations
expect "orders" 0 "$halftone" "${best[@]}" -t gptq:bits=3,group=32,act_order=on@best,gptq:bits=3@best:order=group,gptq:bits=3@best:order=natural,sequential=off \
    --effort fast -o "$work/orders" --threads 2
holds "groups by activations" grep -q '"desc_act": *true' "$work/orders/model-gptq-bits3-group32-act_orderon-best/config.json"
for folder in "$work"/orders/*; do
    expect "${folder##*/} is read" 0 "$halftone" inspect --verify "$folder" --json
    holds "${folder##*/}: other codes" bash -c "! cmp -s $folder/model.safetensors $work/folders/model-gptq-bits3/model.safetensors"
done
expect "by one thread" 0 "$halftone" "${best[@]}" -t gptq:bits=3,group=32,act_order=on@best -o "$work/one" --threads 1 --cpu scalar
holds "the same bytes" cmp "$work/one/model-gptq-bits3-group32-act_orderon-best/model.safetensors" "$work/orders/model-gptq-bits3-group32-act_orderon-best/model.safetensors"
expect "a method without its text" 2 "$halftone" quantize $model -t gptq@best -o "$work/never"
expect "groups without a text" 2 "$halftone" quantize $model -t gptq:act_order=on -o "$work/never"
expect "an order that is none" 2 "$halftone" "${best[@]}" -t gptq@best:order=down -o "$work/never"
expect "HQQ for codes of a table" 2 "$halftone" quantize $model -t nf4@hqq -o "$work/never"

# AWQ's scales, folded into the model first
expect "scaled" 0 "$halftone" quantize $model -t awq_q4_0 -o "$work/scaled" --calibration default --ctx 64 --chunks 30 --quiet --json --threads 2
tail -n 1 "$work/out" >"$work/report"
holds "never worse where it is judged" python3 - "$work/report" <<'PY'
import json, sys
edges = json.load(open(sys.argv[1]))["scales"]
assert len(edges) > 8 and sum(e["alpha"] > 0 for e in edges) > 3, edges
for e in edges:
    assert e["held_out_error"] < e["held_out_error_without"] if e["alpha"] > 0 else e["held_out_error"] == e["held_out_error_without"], e
PY
expect "scaled, one thread" 0 "$halftone" quantize $model -t awq_q4_0 -o "$work/one" --calibration default --ctx 64 --chunks 30 --quiet --threads 1 --cpu scalar
holds "the same bytes" cmp "$work/one/model-awq_Q4_0.gguf" "$work/scaled/model-awq_Q4_0.gguf"
expect "scaled floats" 0 "$halftone" quantize $model -t awq_f32 -o "$work/scaled" --calibration default --ctx 64 --chunks 30 --quiet
expect "compute the same" 0 "$halftone" compare "$work/scaled/model-awq_F32.gguf" --against $model --text default --ctx 64 --chunks 8 --json
tail -n 1 "$work/out" >"$work/compared"
holds "to the last digits" python3 -c "import json; assert json.load(open('$work/compared'))['models'][0]['kld']['mean'] < 1e-6"
# SmoothQuant's, of a model with a few large channels
expect "large channels" 0 python3 tests/lib/outliers.py $model "$work/outliers"
expect "smooth" 0 "$halftone" quantize "$work/outliers" -t w8a8@smooth -o "$work/smooth" --calibration default --ctx 64 --chunks 30 --quiet --json --threads 2
tail -n 1 "$work/out" >"$work/report"
holds "large channels are mended" python3 - "$work/report" <<'PY'
import json, sys
edges = json.load(open(sys.argv[1]))["scales"]
norms = [e for e in edges if e["from"] in ("attn_norm", "ffn_norm")]
assert len(norms) == 16 and sum(e["alpha"] > 0 and e["held_out_error"] < e["held_out_error_without"] / 2 for e in norms) > 12, norms
PY
expect "smooth, one thread" 0 "$halftone" quantize "$work/outliers" -t w8a8@smooth -o "$work/one" --calibration default --ctx 64 --chunks 30 --quiet --threads 1 --cpu scalar
holds "the same bytes" cmp "$work"/one/*w8a8*smooth/model.safetensors "$work"/smooth/*w8a8*smooth/model.safetensors
expect "smooth weights alone" 2 "$halftone" quantize $model -t gptq@smooth -o "$work/never" --calibration default
expect "scales without a text" 2 "$halftone" quantize $model -t awq_q4_0 -o "$work/never"
expect "scales beside another" 2 "$halftone" quantize $model -t awq_q4_0,Q8_0 -o "$work/never" --calibration default
expect "no such type with scales" 2 "$halftone" quantize $model -t awq_q2_k -o "$work/never" --calibration default

# killed between layers, continued: both kinds of outputs. Layers are written in less than a second each.
killed_at 40 "$work/killed/model-Q2_K_S.gguf.journal" "$work/killed" "$halftone" "${best[@]}" -t Q2_K_S,gptq:bits=3 -o "$work/killed" --checkpoint-seconds 1
lacks "nothing half-made is visible" "$work/killed/model-Q2_K_S.gguf"
cp -r "$work/killed" "$work/other"
expect "continued" 0 "$halftone" "${best[@]}" -t Q2_K_S,gptq:bits=3 -o "$work/killed" --resume
holds "the same bytes after a kill" cmp "$work/killed/model-Q2_K_S.gguf" "$work/best/model-Q2_K_S.gguf"
holds "the same folder after a kill" cmp "$work/killed/model-gptq-bits3/model.safetensors" "$work/folders/model-gptq-bits3/model.safetensors"
expect "not by another effort" 2 "$halftone" quantize $model -t Q2_K_S,gptq:bits=3 -o "$work/other" --calibration default --ctx 64 --chunks 30 --quiet --resume

# without a text: the same form, better scales
expect "without a text" 0 "$halftone" quantize $model -t Q4_K_S,Q8_0 --effort best -o "$work/scales" --quiet
expect "without a text, fast" 0 "$halftone" quantize $model -t Q4_K_S,Q8_0 -o "$work/rounded" --quiet
expect "scales compared" 0 "$halftone" compare "$work"/scales/*.gguf "$work"/rounded/*.gguf --against $model --text default --ctx 64 --chunks 28 --json
tail -n 1 "$work/out" >"$work/compared"
holds "less divergence at the same size" python3 - "$work/compared" <<'PY'
import json, os, sys
kld = {tuple(m["model"].split("/")[-2:]): (m["kld"]["mean"], os.path.getsize(m["model"])) for m in json.load(open(sys.argv[1]))["models"]}
for type in "Q4_K_S", "Q8_0":
    better, plain = kld["scales", f"model-{type}.gguf"], kld["rounded", f"model-{type}.gguf"]
    assert better[0] < .97 * plain[0] and better[1] == plain[1], (type, kld)
PY

expect "another effort" 2 "$halftone" quantize $model -t Q4_K_M --effort most --calibration default -o "$work/never"
expect "a short text" 2 "$halftone" "${best[@]}" -t Q4_K_M --chunks 1 -o "$work/never"
holds "it says so" grep -q "held out" "$work/err"
expect "little memory" 4 "$halftone" "${best[@]}" -t Q2_K_S --memory 20M -o "$work/never"
# the least that works: passes are repeated where what they saw cannot be kept, with the same bytes
for turn in 1 2 3; do
    least=$(grep -o 'works is --memory [0-9]*M' "$work/err" | grep -o '[0-9]*M')
    "$halftone" "${best[@]}" -t Q2_K_S --memory "$least" -o "$work/least" >"$work/out" 2>"$work/err" && break
done
holds "the least memory is told, and works" test -s "$work/least/model-Q2_K_S.gguf"
holds "the same bytes in little memory" cmp "$work/least/model-Q2_K_S.gguf" "$work/best/model-Q2_K_S.gguf"
expect "an estimate says the memory" 0 "$halftone" estimate $model -t Q4_K_M --effort best --calibration default --json
nothing_left "refused" "$work/never"
finish
