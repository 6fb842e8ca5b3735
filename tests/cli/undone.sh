#!/usr/bin/env bash
# GGUF files as sources of folders: every family goes round; dtypes, blocks, tokenizer, refusals.
#   tests/cli/undone.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
common=(--threads 2 --quiet)
holds_told() { # name, command…: its output is shown where it fails
    local name=$1
    shift
    "$@" >"$work/told" 2>&1 || { echo "FAILED $name"; cat "$work/told"; failed=1; }
}
holds_told "every family goes round" python3 tests/cli/undone.py "$halftone" tests/golden/models.txt "$work/families"

# the example, by way of BF16: the same weights, and text becomes the same tokens
expect "to GGUF" 0 "$halftone" convert $model -t BF16 -o "$work/a.gguf" "${common[@]}"
expect "and back" 0 "$halftone" convert "$work/a.gguf" --format safetensors -o "$work/back" --report "$work/report.json" "${common[@]}"
folder=$work/back/a-BF16
for file in config.json generation_config.json tokenizer.json tokenizer_config.json README.md model.safetensors; do
    holds "$file is there" test -s "$folder/$file"
done
holds "the same tensors" python3 - $model/model.safetensors "$folder/model.safetensors" <<'PY'
import json, sys
def tensors(path):
    data = open(path, "rb").read()
    n = int.from_bytes(data[:8], "little")
    return {k: (v["dtype"], v["shape"], data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]])
            for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"}
a, b = map(tensors, sys.argv[1:])
assert a == b and len(a) > 50
PY
printf "It's 12345 camelCase\n\n  two\t日本語 🚀" >"$work/text"
expect "tokens of the source" 0 "$halftone" tokenize $model --text "$work/text"
cp "$work/out" "$work/tokens"
expect "tokens of what came back" 0 "$halftone" tokenize "$folder" --text "$work/text"
holds "the same tokens" cmp "$work/out" "$work/tokens"
holds "the card names its source" grep -q 'a\.gguf' "$folder/README.md"

# a dry run tells what is then written
expect "a dry run" 0 "$halftone" convert "$work/a.gguf" --format safetensors -o "$work/none" --dry-run --json
lacks "which makes nothing" "$work/none"
size=$(cat "$folder"/* | wc -c)
holds "its size" grep -q "\"size_bytes\": $size" "$work/out"
expect "PyTorch files" 0 "$halftone" convert "$work/a.gguf" --format pytorch -o "$work/pt" "${common[@]}"
holds "are there" test -s "$work/pt/a-BF16-pytorch/pytorch_model.bin"

# blocks: decoded, but not quantized once more without leave
expect "blocks" 0 "$halftone" quantize $model -t Q8_0 -o "$work/q8.gguf" "${common[@]}"
expect "are decoded" 0 "$halftone" convert "$work/q8.gguf" --format safetensors -o "$work/q8" "${common[@]}"
holds "to floats" grep -q '"float32"' "$work/q8/q8-F32/config.json"
expect "a scheme of floats" 0 "$halftone" quantize "$work/a.gguf" -t nf4 -o "$work/nf4" "${common[@]}"
holds "says so" grep -q quantization_config "$work/nf4/a-nf4/config.json"
expect "a scheme of blocks" 3 "$halftone" quantize "$work/q8.gguf" -t nf4 -o "$work/never" "${common[@]}"
holds "is refused" grep -q allow-requantize "$work/err"
expect "but with leave" 0 "$halftone" quantize "$work/q8.gguf" -t nf4 --allow-requantize -o "$work/nf4" "${common[@]}"

# what a folder cannot say
expect "a key of its own" 0 "$halftone" convert $model -t BF16 -o "$work/k.gguf" --override-kv llama.swin_norm=bool:true "${common[@]}"
expect "is refused" 3 "$halftone" convert "$work/k.gguf" --format safetensors -o "$work/never" "${common[@]}"
holds "by its name" grep -q 'llama.swin_norm' "$work/err"
expect "another architecture" 0 "$halftone" convert $model -t BF16 -o "$work/o.gguf" --override-kv general.architecture=str:mamba "${common[@]}"
expect "is refused" 3 "$halftone" convert "$work/o.gguf" --format safetensors -o "$work/never" "${common[@]}"
holds "by its name" grep -q 'mamba' "$work/err"
expect "another value" 0 "$halftone" convert $model -t BF16 -o "$work/v.gguf" --override-kv llama.attention.head_count_kv=int:4 "${common[@]}"
expect "is refused" 3 "$halftone" convert "$work/v.gguf" --format safetensors -o "$work/never" "${common[@]}"
holds "by the tensor" grep -q 'attn_k' "$work/err"
expect "fewer layers" 3 "$halftone" convert "$work/a.gguf" --format safetensors --prune-layers 1 -o "$work/never" "${common[@]}"
holds "go by way of a GGUF file" grep -q 'GGUF file' "$work/err"
lacks "nothing is made" "$work/never"
finish
