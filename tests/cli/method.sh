#!/usr/bin/env bash
# One-command quantization: --method and --config in its form, the kind of file by the output's name, what takes a method's
# place, the summary, and the recipes in examples/production/.
#   tests/cli/method.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
says() { grep -qF -- "$2" "$work/out" "$work/err" || { echo "FAILED $1: not \"$2\" in"; cat "$work/out" "$work/err"; failed=1; }; }
says_not() { ! grep -qF -- "$2" "$work/out" "$work/err" || { echo "FAILED $1: \"$2\""; failed=1; }; }
quantize() { # name, status, arguments…
    expect "$1" "$2" "$halftone" quantize "${@:3}"
}

best=(--chunks 12 --ctx 64) # --effort best needs some to judge by

# The word stands for a type, and for a calibration where it says so: the same bytes as by the options.
quantize "awq_q4_0" 0 --method awq_q4_0 --model $model --output "$work/a.gguf" "${best[@]}"
says "summary" "Output saved to: $work/a.gguf"
says "summary" "Original size: 16.3 MB"
says "summary" "Output size: 5.00 MB"
says "summary" "Compression ratio: 3.25x"
says "what was done" "awq_q4_0: Q4_0, with AWQ's scales of a calibration text"
quantize "by options" 0 $model -t awq_q4_0 --calibration default "${best[@]}" -o "$work/b.gguf"
says_not "no method, no summary" "Output saved to"
holds "the same file" cmp "$work/a.gguf" "$work/b.gguf"
quantize "rounded" 0 -m q4_0 $model -o "$work/c.gguf"
holds "calibration changes codes" test "$(cmp "$work/a.gguf" "$work/c.gguf" >/dev/null; echo $?)" -eq 1
for row in "awq_q4_1 awq_Q4_1" "q4_1 Q4_1" "q8_0 Q8_0" "awq_f16 awq_F16" "f16 F16" "IQ4_XS IQ4_XS"; do
    read -r method type <<<"$row"
    quantize "$method" 0 -m "$method" $model -o "$work/$method.gguf" "${best[@]}" --json
    holds "$method is $type" grep -q "\"type\": *\"$type\"" "$work/out"
done
quantize "awq_q8_0" 0 -m awq_q8_0 $model -o "$work/awq_q8_0.gguf" "${best[@]}"
holds "AWQ's scales are another model's" test "$(cmp "$work/awq_f16.gguf" "$work/f16.gguf" >/dev/null; echo $?)" -eq 1
holds "best codes" test "$(cmp "$work/awq_q8_0.gguf" "$work/q8_0.gguf" >/dev/null; echo $?)" -eq 1

# The kind of file by the output's name; a folder is the output itself.
quantize "pytorch" 0 -m bnb_4bit $model -o "$work/model.pytorch"
holds "a folder of PyTorch's files" test -f "$work/model.pytorch/pytorch_model.bin" -a -f "$work/model.pytorch/config.json"
quantize "safetensors" 0 -m bnb_8bit $model -o "$work/model.safetensors"
holds "a folder of safetensors" test -f "$work/model.safetensors/model.safetensors"
quantize "AWQ's folder" 0 -m awq_q4_0 --awq-group-size 64 $model -o "$work/awq.safetensors" "${best[@]}" --json
holds "its group size" grep -q '"group_size": *64' "$work/awq.safetensors/config.json"
holds "the report" grep -q '"method": *"awq_q4_0", *"notes": *\["awq_q4_0: awq:group=64' "$work/out"
holds "its card" grep -q "awq_q4_0: awq:group=64, codes chosen by the activations" "$work/awq.safetensors/README.md"
quantize "the type's own folder" 0 $model -t nf4 -o "$work/own.safetensors"
holds "is the output itself" test -f "$work/own.safetensors/config.json"

# What a method cannot do: something real takes its place, aloud, or --strict refuses.
quantize "no GGUF file" 0 -m bnb_4bit $model -o "$work/d.gguf"
says "said" "warning: bnb_4bit cannot be stored in a GGUF file: a folder is written, $work/d.safetensors"
lacks "no file" "$work/d.gguf"
holds "but a folder, whose card says so" grep -q "bnb_4bit cannot be stored" "$work/d.safetensors/README.md"
quantize "strict" 3 -m bnb_4bit --strict $model -o "$work/e.gguf"
quantize "AWQ has no 8 bits" 0 -m awq_q8_0 $model -o "$work/f.safetensors"
says "said" "int8 takes its place"
quantize "strict" 3 -m awq_q8_0 --strict $model -o "$work/g.safetensors"
cp -r $model "$work/mute"
rm "$work"/mute/tokenizer*
quantize "no tokenizer, no calibration" 0 -m awq_q4_0 "$work/mute" -o "$work/mute.gguf" --report "$work/report"
says "said" "warning: awq_q4_0 cannot be done (the model has no tokenizer"
holds "reported" grep -q "Q4_0 takes its place" "$work/report"
quantize "strict" 3 -m awq_q4_0 --strict "$work/mute" -o "$work/strict.gguf"
lacks "nothing" "$work/strict.gguf"
quantize "nothing can take its place" 3 -m awq_q4_0 "$work/mute/config.json" -o "$work/h.gguf"

# Mistakes
mistake() { # what is said, arguments…
    quantize "$1" 2 "${@:2}"
    says "$*" "$1"
}
mistake 'there is no method "awq_q4"; did you mean awq_q4_0?' -m awq_q4 $model -o "$work/x.gguf"
mistake 'leave the other one out' -m q4_0 -t Q8_0 $model -o "$work/x.gguf"
mistake 'a budget chooses the types itself' -m q4_0 --bpw 4 --calibration default $model -o "$work/x.gguf"
mistake 'q4_0 makes GGUF files, and no folders of pytorch files' -m q4_0 $model -o "$work/x.pytorch"
mistake 'its name ends in .gguf, but the format is pytorch' -m bnb_4bit --format pytorch $model -o "$work/x.gguf"
mistake 'expected a number from 8' -m awq_q4_0 --awq-group-size 3 $model -o "$work/x.safetensors"
mistake 'it is for --method' -t Q4_0 --awq-group-size 64 $model -o "$work/x.gguf"
mistake 'expected one model' -m q4_0 --model $model $model -o "$work/x.gguf"

# Recipe files
recipe() { printf '%s\n' "$@" >"$work/recipe.yaml"; }
recipe "model:" "  model_name: $model" "  tokenizer_name: $model" 'method: "awq_q4_0"' "output_path: $work/r.gguf" 'output_format: "gguf"' \
    "awq_group_size: 128" "calibration_samples: 12" "batch_size: 4" "cleanup_temp: true" "verbose: true" "ctx: 64"
quantize "a recipe" 0 --config "$work/recipe.yaml"
holds "the same file" cmp "$work/a.gguf" "$work/r.gguf"
says "told" "awq-group-size changes nothing: Q4_0 has groups of its own"
says "told" "batch_size changes nothing"
quantize "once more" 2 --config "$work/recipe.yaml"
says "exists" "--overwrite"
for row in "output_pth: x|line 1: output_pth: no such option; did you mean output_path?" "calibration_sample: 4|did you mean calibration_samples?" \
    "model: {modelname: x}|expected model_name or tokenizer_name" "model: {model_name: a, model_name: b}|given before" \
    "model: {model_name: [a]}|expected a plain value" "model: {[a]: b}|expected a name"; do
    recipe "${row%%|*}"
    mistake "${row#*|}" --config "$work/recipe.yaml"
done
recipe "output_path: a.gguf" "output: b.gguf"
mistake "given before" --config "$work/recipe.yaml"
for row in "batch_size: 0" "batch_size: many" "cleanup_temp: perhaps" "verbose: 2"; do
    recipe "model: $model" "method: q4_0" "output_path: $work/x.gguf" "$row"
    quantize "$row" 2 --config "$work/recipe.yaml"
done
recipe "model: $model" "method: awq_q4_0" "output_path: $work/x.gguf" "calibration_samples: -1"
quantize "samples" 2 --config "$work/recipe.yaml"
recipe "model: {model_name: $model, tokenizer_name: other}" "method: q4_0" "output_path: $work/x.gguf"
quantize "another tokenizer" 3 --config "$work/recipe.yaml"
lacks "nothing" "$work/x.gguf"

# The recipes that come along
for name in high_quality balanced edge gpu_optimized; do
    output=$work/$name.$([ $name = gpu_optimized ] && echo safetensors || echo gguf)
    quantize "$name" 0 --config examples/production/$name.yaml --model $model --output "$output" "${best[@]}"
    says "$name" "Output saved to: $output"
    holds "$name is sound" "$halftone" inspect --verify "$output"
done
[ "$(ls examples/production | wc -l)" -eq 4 ] || { echo "FAILED a recipe that is not run here"; failed=1; }

finish
