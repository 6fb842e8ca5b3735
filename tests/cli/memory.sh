#!/usr/bin/env bash
# Memory: what an estimate tells is what a run takes, measuring and calibration counted; caps hold, and one that is too
# small names the smallest that works.
#   tests/cli/memory.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
# The sanitizer keeps freed memory and a shadow of the rest, both of which count as resident.
if grep -q __asan_init "$halftone"; then
    echo "skipped: with AddressSanitizer the resident memory is not the program's own"
    exit 77
fi

# a model of 24 layers, 205 MB: most of what running it takes is its weights
big=$work/big
mkdir "$big"
cp $model/tokenizer* $model/config.json "$big"
python3 - "$big" <<'PY'
import json, os, struct, sys
folder = sys.argv[1]
with open(folder + "/config.json") as f: config = json.load(f)
embd, ff, layers, vocab = 512, 2048, 24, config["vocab_size"]
config.update(hidden_size=embd, intermediate_size=ff, num_hidden_layers=layers, num_attention_heads=8,
              num_key_value_heads=8, head_dim=64, torch_dtype="bfloat16", tie_word_embeddings=False)
with open(folder + "/config.json", "w") as f: json.dump(config, f)
shapes = {"model.embed_tokens.weight": [vocab, embd], "lm_head.weight": [vocab, embd], "model.norm.weight": [embd]}
for i in range(layers):
    for name, shape in (("input_layernorm", [embd]), ("post_attention_layernorm", [embd]), ("self_attn.q_proj", [embd, embd]),
                        ("self_attn.k_proj", [embd, embd]), ("self_attn.v_proj", [embd, embd]), ("self_attn.o_proj", [embd, embd]),
                        ("mlp.gate_proj", [ff, embd]), ("mlp.up_proj", [ff, embd]), ("mlp.down_proj", [embd, ff])):
        shapes[f"model.layers.{i}.{name}.weight"] = shape
header, at = {}, 0
for name, shape in shapes.items():
    n = 2
    for d in shape: n *= d
    header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + n]}
    at += n
text = json.dumps(header).encode()
text += b" " * (-len(text) % 8)
piece = bytearray(1 << 20)  # small finite numbers: the upper byte is 0x3c or 0xbc
piece[0::2] = os.urandom(1 << 19)
piece[1::2] = os.urandom(1 << 19).translate(bytes(0x3c | b & 0x80 for b in range(256)))
with open(folder + "/model.safetensors", "wb") as f:
    f.write(struct.pack("<Q", len(text)) + text)
    while at > 0:
        f.write(piece[:min(at, len(piece))])
        at -= len(piece)
PY

field() { grep -o "\"$1\": [0-9]*" "$2" | head -n 1 | cut -d' ' -f2; }
# An estimate is an upper bound of what is resident but for a tenth and 8 MB, and less than twice as much and 24 MB.
compare() { # name, option…
    local name=$1 told peak
    shift
    expect "$name: estimated" 0 "$halftone" estimate "$big" "$@" --json
    told=$(field memory_bytes "$work/out")
    rm -rf "$work/made"
    expect "$name: made" 0 "$halftone" quantize "$big" "$@" -o "$work/made" --report "$work/report" --quiet
    peak=$(field peak_rss_bytes "$work/report")
    echo "$name: $((told / 1000000)) MB told, $((peak / 1000000)) MB taken"
    holds "$name: no more is taken than told" test "$peak" -le $((told + told / 10 + 8000000))
    holds "$name: not much more is told than taken" test "$told" -le $((2 * peak + 24000000))
}
least() { # option…: what a cap that is too small names, in MB
    "$halftone" quantize "$big" "$@" -o "$work/never" --memory 24M 2>&1 | sed -n 's/.*the smallest that works is --memory \([0-9]*\)M.*/\1/p'
}
short=(--chunks 2 --ctx 64)
compare "quantizing" -t Q8_0
compare "measuring" -t Q8_0 --measure "${short[@]}" --memory 4G
compare "measuring three by default" -t Q8_0,Q5_0,Q4_0 --measure "${short[@]}"
compare "collecting" -t Q4_K_M --calibration default "${short[@]}" --memory 4G
compare "longer chunks" -t Q8_0 --measure --chunks 1 --ctx 512 --memory 4G
for what in --measure "--calibration default"; do
    n=$(least -t Q8_0 $what "${short[@]}")
    holds "$what: the smallest is named ($n)" test -n "$n"
    expect "$what: one less is refused" 4 "$halftone" quantize "$big" -t Q8_0 $what "${short[@]}" -o "$work/never" --memory $((n - 1))M
    lacks "$what: before anything is there" "$work/never"
    expect "$what: one less does not fit" 0 "$halftone" estimate "$big" -t Q8_0 $what "${short[@]}" --memory $((n - 1))M --json
    holds "$what: and it says so" grep -q '"fits": false, "reasons": \[".*the smallest that works is' "$work/out"
    compare "$what in the smallest" -t Q8_0 $what "${short[@]}" --memory ${n}M
    holds "$what: that is less than all" test "$n" -lt 205
done
# codes by calibration: the least is named at once, and an estimate says the same
best=(-t Q4_K_M --effort best --calibration default --chunks 12 --calibration-length 64)
n=$(least "${best[@]}")
holds "codes: the smallest is named ($n)" test -n "$n"
expect "codes: one less is refused" 4 "$halftone" quantize "$big" "${best[@]}" -o "$work/never" --memory $((n - 1))M
expect "codes: estimated in the smallest" 0 "$halftone" estimate "$big" "${best[@]}" --memory ${n}M --json
holds "codes: it fits" grep -q '"fits": true' "$work/out"
expect "codes: one less does not fit" 0 "$halftone" estimate "$big" "${best[@]}" --memory $((n - 1))M --json
holds "codes: and it says so" grep -q "the smallest that works is --memory ${n}M" "$work/out"
finish
