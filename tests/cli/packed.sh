#!/usr/bin/env bash
# Every form in which other programs pack weights, through every command: what is computed on the packed folder is what is
# computed on the floats it is converted to, and quantizing it once more takes a flag and is told.
#   tests/cli/packed.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
python3 tests/cli/packed_sources.py $model "$work/sources" >"$work/list" || { echo "FAILED making the sources"; exit 1; }
common=(--threads 2 --quiet)
few=(--text default --ctx 64 --chunks 1)

while read -r form told; do
    source=$work/sources/$form out=$work/made/$form
    floats=$out/$form-F32.gguf
    expect "$form: inspect" 0 "$halftone" inspect "$source" --json
    expect "$form: convert" 0 "$halftone" convert "$source" -t F32 -o "$out" "${common[@]}"
    expect "$form: compare" 0 "$halftone" compare "$source" "$floats" --against "$floats" "${few[@]}" "${common[@]}" --json
    holds "$form: the same predictions" python3 - "$work/out" <<'PY'
import json, sys
models = json.loads(open(sys.argv[1]).read().splitlines()[-1])["models"]
assert len(models) == 2 and all(m.get("kld", {"max": 0})["max"] == 0 for m in models), models
PY
    expect "$form: eval" 0 "$halftone" eval "$source" "${few[@]}" --memory 2M "${common[@]}"
    expect "$form: imatrix" 0 "$halftone" imatrix "$source" "${few[@]}" -o "$out/imatrix.gguf" "${common[@]}"
    expect "$form: generate" 0 "$halftone" generate "$source" -p "The" -n 8 --exact "${common[@]}"
    cp "$work/out" "$work/told"
    expect "$form: generate from floats" 0 "$halftone" generate "$floats" -p "The" -n 8 --exact "${common[@]}"
    holds "$form: the same words" cmp "$work/out" "$work/told"
    [ "$form" != gpt-oss ] || continue
    for type in Q8_0 nf4; do
        expect "$form: $type is refused" 3 "$halftone" quantize "$source" -t $type -o "$out" "${common[@]}"
        holds "$form: it says what to add" grep -q "already quantized to $told; .*; add --allow-requantize to do it" "$work/err"
    done
    expect "$form: twice" 0 "$halftone" quantize "$source" -t Q8_0,nf4 -o "$out" --allow-requantize "${common[@]}" --json
    holds "$form: reports say so" python3 - "$work/out" "$told" <<'PY'
import json, sys
outputs = json.loads(open(sys.argv[1]).read().splitlines()[-1])["outputs"]
assert [o["requantized_from"] for o in outputs] == [sys.argv[2]] * 2, outputs
PY
    holds "$form: its card says so" grep -q "quantized twice, from $told" "$out/$form-nf4/README.md"
    expect "$form: floats" 0 "$halftone" convert "$source" --format safetensors -t BF16 -o "$out" "${common[@]}"
    holds "$form: no packing is mentioned" test -s "$out/$form-BF16/model.safetensors" -a -z \
        "$(grep -l quantization_config "$out/$form-BF16/config.json")"
done <"$work/list"

# experts of gpt-oss: blocks are copied, which is not quantizing; anything else is
source=$work/sources/gpt-oss out=$work/made/gpt-oss
expect "gpt-oss: Q4_0 is refused" 3 "$halftone" quantize "$source" -t Q4_0 -o "$out" "${common[@]}"
holds "gpt-oss: it says what to add" grep -q "already quantized to mxfp4; .*; add --allow-requantize to do it" "$work/err"
expect "gpt-oss: blocks as they are" 0 "$halftone" quantize "$source" -t MXFP4_MOE -o "$out" "${common[@]}" --json
holds "gpt-oss: that is not twice" test -z "$(grep -o requantized_from "$work/out")"
expect "gpt-oss: twice" 0 "$halftone" quantize "$source" -t Q4_0 -o "$out" --allow-requantize "${common[@]}" --json
holds "gpt-oss: the report says so" grep -q '"requantized_from": "mxfp4"' "$work/out"
expect "gpt-oss: floats" 0 "$halftone" convert "$source" --format safetensors -t F32 -o "$out" "${common[@]}"
expect "gpt-oss: floats again" 0 "$halftone" compare "$out/gpt-oss-F32" "$out/gpt-oss-F32.gguf" --against "$out/gpt-oss-F32.gguf" \
    "${few[@]}" "${common[@]}" --json
holds "gpt-oss: as the model's code has them" grep -q '"kld": {"mean": 0, "mean_error": 0, "max": 0' "$work/out"
finish
