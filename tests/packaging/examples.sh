#!/usr/bin/env bash
# The programs of examples/, built against the shared library as anybody's are.
#   tests/packaging/examples.sh QUANTIZE MODEL SOURCE_FOLDER
set -uo pipefail
quantize=$1 model=$2 source=$3/examples/model
work=$(mktemp -d) failed=0
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED: $*"; failed=1; }

"$quantize" "$source" Q8_0 "$work" || fail "quantize"
"$quantize" "$work/nowhere" Q8_0 "$work" 2>"$work/error" && fail "quantize makes something of nothing"
grep -q "nowhere: " "$work/error" || fail "the error does not name the folder: $(cat "$work/error")"

"$model" "$source" "The machine" >"$work/folder" || fail "model, of a folder"
"$model" "$work"/*Q8_0.gguf "The machine" >"$work/file" || fail "model, of a GGUF file"
tensors=$(python3 -c 'import json, struct, sys
file = open(sys.argv[1] + "/model.safetensors", "rb")
print(len(json.loads(file.read(struct.unpack("<Q", file.read(8))[0])).keys() - {"__metadata__"}))' "$source")
[ "$(grep -c '\] [a-z_]' "$work/folder")" = "$tensors" ] || fail "expected a line for each of $tensors tensors, got $(wc -l <"$work/folder")"
grep -qE '^model\.layers\.3\.self_attn\.k_proj\.weight bf16 \[64, 256\] attn_k( -?[0-9.e-]+){3}$' "$work/folder" || fail "the line of a matrix"
grep -qE '^blk\.3\.attn_k\.weight q8_0 \[64, 256\] attn_k( -?[0-9.e-]+){3}$' "$work/file" || fail "the line of a quantized matrix"
for of in folder file; do
    [ "$(tail -n 1 "$work/$of" | wc -w)" -gt 5 ] || fail "no text from the $of: $(tail -n 1 "$work/$of")"
done
"$model" "$work/nowhere" x >/dev/null 2>"$work/error" && fail "model opens nothing"
grep -q "nowhere: " "$work/error" || fail "the error does not name the model: $(cat "$work/error")"
[ "$failed" -eq 0 ] && echo "every case passed"
exit "$failed"
