#!/usr/bin/env bash
# Statistics that are kept: collected, merged, shown, used by quantize, and refused where they are not the model's.
#   tests/cli/calibrate.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
says() { holds "$1: says $2" grep -qF -- "$2" "$work/err"; }
few=(--ctx 64 --chunks 24 --quiet)
same() { diff -r "$1" "$2"; } # folders, byte by byte

expect "statistics" 0 "$halftone" calibrate $model "${few[@]}" -o "$work/stats" --report "$work/report.json"
holds "statistics.json says whose" grep -q '"model_sha256": "[0-9a-f]\{64\}"' "$work/stats/statistics.json"
holds "and on what" grep -q '"text": "halftone default calibration text' "$work/stats/statistics.json"
holds "a file for each layer, and one for the output" test "$(ls "$work/stats" | tr '\n' ' ')" = \
    "$(for i in 0 1 2 3 4 5 6 7; do printf 'layer-000%d.safetensors ' $i; done)output.safetensors statistics.json "
nothing_left "no folder in the making" "$work/stats.part"
expect "the same on one thread" 0 "$halftone" calibrate $model "${few[@]}" --threads 1 -o "$work/one"
holds "the same bytes on any number of threads" same "$work/stats" "$work/one"
expect "layers read as they are needed" 0 "$halftone" calibrate $model "${few[@]}" --memory 8M -o "$work/little"
holds "the same bytes in little memory" same "$work/stats" "$work/little"
expect "JSON" 0 "$halftone" calibrate $model --ctx 64 --chunks 8 --json -o "$work/json"
holds "progress in tokens" grep -q '"event":"progress","step":"calibrate".*"unit":"tokens"' "$work/out"
expect "it exists" 2 "$halftone" calibrate $model "${few[@]}" -o "$work/stats"
expect "it is replaced" 0 "$halftone" calibrate $model --ctx 64 --chunks 8 --quiet --overwrite -o "$work/json"
mkdir "$work/other" && echo x >"$work/other/x"
expect "a folder of something else is not" 2 "$halftone" calibrate $model "${few[@]}" --overwrite -o "$work/other"
holds "and stays" test -f "$work/other/x"

# shown
expect "shown" 0 "$halftone" calibrate --in-stats "$work/stats"
holds "a row for every site" test "$(grep -cE ' (attention|feed_forward)(_out)? ' "$work/out")" -eq 32
holds "and the output's" grep -q ' output ' "$work/out"

# the text: weights, seeds, lengths
printf 'Words of a first text, over and over. %.0s' {1..400} >"$work/a.txt"
for i in {1..300}; do echo "{\"text\": \"A line number $i of another text, longer than the others are.\"}"; done >"$work/b.jsonl"
expect "two texts" 0 "$halftone" calibrate $model --calibration "$work/a.txt:2,$work/b.jsonl" --calibration-seed 3 --ctx 32 --chunks 30 --quiet -o "$work/two"
holds "seed, chunks and length are within" grep -q '"seed": 3, "chunks": 30, "ctx": 32' "$work/two/statistics.json"
expect "another seed" 0 "$halftone" calibrate $model --calibration "$work/a.txt:2,$work/b.jsonl" --calibration-seed 4 --ctx 32 --chunks 30 --quiet -o "$work/seed"
holds "other tokens" test "$(cmp -s "$work/two/layer-0000.safetensors" "$work/seed/layer-0000.safetensors"; echo $?)" = 1
expect "a text too short" 2 "$halftone" calibrate $model --calibration "$work/b.jsonl" --ctx 1000 --from-chunk 5000 --quiet -o "$work/none"
lacks "a text too short" "$work/none"

# merged: the two halves are the whole, as far as doubles go
expect "the first half" 0 "$halftone" calibrate $model --calibration "$work/a.txt" --ctx 32 --chunks 20 --quiet -o "$work/h1"
expect "the second" 0 "$halftone" calibrate $model --calibration "$work/a.txt" --ctx 32 --chunks 20 --from-chunk 20 --quiet -o "$work/h2"
expect "the whole" 0 "$halftone" calibrate $model --calibration "$work/a.txt" --ctx 32 --chunks 40 --quiet -o "$work/whole"
expect "merged" 0 "$halftone" calibrate --in-stats "$work/h1" --in-stats "$work/h2" -o "$work/both" --json
holds "both texts are named" test "$(grep -o '"chunks": 20' "$work/out" | wc -l)" = 2
if command -v python3 >/dev/null; then
    expect "the halves are the whole" 0 python3 - "$work/both" "$work/whole" <<'PYTHON'
import json, pathlib, struct, sys
def load(path):
    data = path.read_bytes()
    n = struct.unpack("<Q", data[:8])[0]
    head = json.loads(data[8:8 + n])
    for name, t in head.items():
        part = data[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]]
        yield name, struct.unpack(f"<{len(part) // 8}d", part) if t["dtype"] == "F64" else None
both, whole = (pathlib.Path(a) for a in sys.argv[1:])
for i in (0, 7):
    for (name, a), (same, b) in zip(load(both / f"layer-{i:04d}.safetensors"), load(whole / f"layer-{i:04d}.safetensors")):
        assert name == same
        if a is None:
            continue
        scale = max(map(abs, b))
        # which chunks are held out depends on how many there are: then a gram is of others
        assert name.endswith(".gram") or all(abs(x - y) <= 1e-9 * scale for x, y in zip(a, b)), name
PYTHON
fi
expect "merged twice" 0 "$halftone" calibrate --in-stats "$work/h1" --in-stats "$work/h1" -o "$work/twice"
says "merged twice" 'counts twice'

# used: importance, and codes chosen by the products
types=Q4_K_M,gptq:bits=4,group=64
expect "importance" 0 "$halftone" quantize $model -t Q4_K_M,IQ2_S,nf4 --calibration-stats "$work/stats" -o "$work/q" --quiet --report "$work/q.json"
holds "the report names it" grep -q '"calibration_stats": "'"$work"'/stats", "calibration_stats_sha256": "[0-9a-f]\{64\}"' "$work/q.json"
expect "codes" 0 "$halftone" quantize $model -t "$types" --calibration-stats "$work/stats" --effort best -o "$work/best" --quiet --report "$work/best.json"
expect "codes on one thread" 0 "$halftone" quantize $model -t "$types" --calibration-stats "$work/stats" --effort best --threads 1 -o "$work/best1" --quiet
holds "the same bytes" cmp "$work/best/model-Q4_K_M.gguf" "$work/best1/model-Q4_K_M.gguf"
holds "the same weights" cmp "$work/best/model-gptq-group64/model.safetensors" "$work/best1/model-gptq-group64/model.safetensors"
holds "the candidate is named" grep -q '"taken": "feedback"' "$work/best.json"
expect "estimate" 0 "$halftone" estimate $model -t Q4_K_M --calibration-stats "$work/stats"
expect "what was lost" 0 "$halftone" compare "$work/q/model-Q4_K_M.gguf" "$work/best/model-Q4_K_M.gguf" --text default --ctx 128 --chunks 12 \
    --against $model --quiet --report "$work/compare.json"
if command -v python3 >/dev/null; then
    holds "feedback loses less than rounding" python3 -c '
import json, sys
a, b = (m["kld"]["mean"] for m in json.load(open(sys.argv[1]))["models"])
sys.exit(not b < 0.9 * a)' "$work/compare.json"
fi

# killed in the middle, and continued to the same bytes
killed_at 20 "$work/cut/model-Q4_K_M.gguf.journal" "$work/cut" "$halftone" quantize $model -t Q4_K_M --calibration-stats "$work/stats" --effort best \
    --checkpoint-seconds 0 -o "$work/cut" --quiet
expect "resumed" 0 "$halftone" quantize $model -t Q4_K_M --calibration-stats "$work/stats" --effort best -o "$work/cut" --resume --quiet
holds "the bytes of an uninterrupted run" cmp "$work/cut/model-Q4_K_M.gguf" "$work/best/model-Q4_K_M.gguf"

# the same model in another container is the same; another model is not
expect "as GGUF" 0 "$halftone" convert $model -o "$work/model.gguf" --quiet
expect "the same numbers in a GGUF file" 0 "$halftone" quantize "$work/model.gguf" -t Q4_K_M --calibration-stats "$work/stats" --effort best -o "$work/g.gguf" --quiet
cp -r $model "$work/changed"
if command -v python3 >/dev/null; then
    # another model: the last row of a tensor; and one whose activations overflow, in a layer of its own
    python3 - "$work/changed" <<'PYTHON'
import json, pathlib, shutil, struct, sys
folder = pathlib.Path(sys.argv[1])
data = bytearray((folder / "model.safetensors").read_bytes())
n = struct.unpack("<Q", data[:8])[0]
head = json.loads(data[8:8 + n])
def offsets(name):
    a, b = head[name]["data_offsets"]
    return 8 + n + a, 8 + n + b
a, b = offsets("model.layers.3.mlp.down_proj.weight")
data[b - 1] ^= 0x80
(folder / "model.safetensors").write_bytes(data)
data[b - 1] ^= 0x80
large = {"F32": struct.pack("<f", 3e38), "BF16": b"\x61\x7f", "F16": None}[head["model.layers.3.mlp.up_proj.weight"]["dtype"]]
a, b = offsets("model.layers.3.mlp.up_proj.weight")
data[a:b] = large * ((b - a) // len(large))
shutil.copytree(folder, folder.parent / "large")
(folder.parent / "large/model.safetensors").write_bytes(data)
PYTHON
    expect "another model" 2 "$halftone" quantize "$work/changed" -t Q4_K_M --calibration-stats "$work/stats" -o "$work/refused"
    says "another model" 'the statistics are of another model'
    lacks "another model" "$work/refused/model-Q4_K_M.gguf"
    expect "statistics of two models" 0 "$halftone" calibrate "$work/changed" "${few[@]}" -o "$work/foreign"
    expect "are not merged" 2 "$halftone" calibrate --in-stats "$work/stats" --in-stats "$work/foreign" -o "$work/mixed"
    says "are not merged" 'another model than those of'
    lacks "are not merged" "$work/mixed"
    expect "activations that are no numbers" 3 "$halftone" calibrate "$work/large" "${few[@]}" -o "$work/inf"
    says "activations that are no numbers" 'layer 3: what blk.3.ffn_down.weight takes is not finite'
    lacks "activations that are no numbers" "$work/inf"
    lacks "activations that are no numbers" "$work/inf.part"
fi

# damaged
cp -r "$work/stats" "$work/bad"
printf 'x' | dd of="$work/bad/layer-0003.safetensors" bs=1 seek=400000 conv=notrunc status=none
expect "changed bytes" 1 "$halftone" quantize $model -t Q4_K_M --calibration-stats "$work/bad" --effort best -o "$work/refused" --quiet
says "changed bytes" 'layer-0003.safetensors: it was changed after it was written'
truncate -s -8 "$work/bad/layer-0003.safetensors"
expect "a shorter file" 3 "$halftone" quantize $model -t Q4_K_M --calibration-stats "$work/bad" -o "$work/refused"
rm "$work/bad/layer-0003.safetensors"
expect "a missing file" 3 "$halftone" quantize $model -t Q4_K_M --calibration-stats "$work/bad" -o "$work/refused"
expect "no statistics" 3 "$halftone" quantize $model -t Q4_K_M --calibration-stats $model -o "$work/refused"
says "no statistics" 'there are no statistics'
lacks "refused" "$work/refused/model-Q4_K_M.gguf"

# usage
expect "no folder" 2 "$halftone" calibrate $model
expect "no model" 2 "$halftone" calibrate -o "$work/x"
expect "a model and statistics" 2 "$halftone" calibrate $model --in-stats "$work/stats" -o "$work/x"
expect "two sources of importance" 2 "$halftone" quantize $model -t Q4_K_M --calibration default --calibration-stats "$work/stats" -o "$work/x"
expect "pruned layers" 2 "$halftone" quantize $model -t Q4_K_M --calibration-stats "$work/stats" --effort best --prune-layers 2 -o "$work/x"
expect "pruned layers, importance alone" 0 "$halftone" quantize $model -t Q4_K_M --calibration-stats "$work/stats" --prune-layers 2 -o "$work/pruned" --quiet

# a disk that is full, and an interruption: nothing is left
expect "files of one megabyte at most" 1 bash -c "ulimit -f 1024; '$halftone' calibrate $model ${few[*]} -o '$work/full'"
lacks "a full disk" "$work/full"
lacks "a full disk" "$work/full.part"
"$halftone" calibrate $model --chunks 200 -o "$work/cut2" --quiet 2>/dev/null & pid=$!
until [ -e "$work/cut2.part/layer-0000.safetensors" ] || ! kill -0 $pid 2>/dev/null; do sleep 0.01; done
kill -INT $pid
wait $pid
holds "interrupted: 130" test $? -eq 130
lacks "interrupted" "$work/cut2"
lacks "interrupted" "$work/cut2.part"
finish
