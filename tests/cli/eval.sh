#!/usr/bin/env bash
# eval, compare and quantize --measure on the example model: figures, reports, limits, bad input, interruption.
#   tests/cli/eval.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
export LC_ALL=C

says() { holds "$1 says \"$2\"" grep -q -- "$2" "$work/err"; }
answers() { holds "$1 answers $2" grep -q -- "$2" "$work/out"; }

text=$work/text
cat README.md CONTRIBUTING.md doc/formats/*.md >"$text"
for i in 1 2 3 4 5 6 7 8 9 10; do cat "$text"; done >"$work/long"
for i in 1 2 3 4 5 6 7 8 9 10; do cat "$work/long"; done >"$work/longer"
few=(--text "$text" --ctx 64 --chunks 4 --threads 2)
expect "files to measure" 0 "$halftone" quantize $model -t Q8_0,Q4_0,Q2_K -o "$work/q"
expect "a float file" 0 "$halftone" convert $model -t F32 -o "$work/f32.gguf"

# figures
expect "one model" 0 "$halftone" eval $model "${few[@]}" --json
answers "one model" '"perplexity": [0-9.]*, "perplexity_error": [0-9.]*, "tokens": 124, "tokens_per_second": [0-9]'
expect "as text" 0 "$halftone" eval $model "${few[@]}"
answers "as text" 'perplexity  *[0-9.]* ± [0-9.]* over 124 tokens'
expect "a model against itself" 0 "$halftone" eval $model "${few[@]}" --against $model --retention 4 --json
answers "a model against itself" '"kld": {"mean": 0, "mean_error": 0, "max": 0,'
answers "a model against itself" '"top1_agreement": 1, .*"perplexity_ratio": 1, .*"share": 1,'
answers "a model against itself" '"layer_kld_positions": 16, "layer_kld": \[0, 0, 0, 0, [0, ]*0\]'
expect "again, under a cap" 0 "$halftone" eval $model "${few[@]}" --against $model --memory 40M --json
answers "again, under a cap" '"kld": {"mean": 0, "mean_error": 0, "max": 0,'
expect "side by side" 0 "$halftone" compare "$work"/q/model-Q2_K.gguf "$work"/q/model-Q4_0.gguf "$work"/q/model-Q8_0.gguf \
    "${few[@]}" --against $model --html "$work/page.html" --report "$work/report.json"
holds "three rows on the front" test "$(grep -c '^\* model-Q' "$work/out")" = 3
holds "a report" grep -q '"verb": "compare"' "$work/report.json"
holds "a page with four plots" test "$(grep -o '<svg' "$work/page.html" | wc -l)" = 4
holds "one of them the divergence by layer" grep -q 'KL divergence after each layer (16 positions)' "$work/page.html"
holds "that fetches nothing" test -z "$(grep -oE 'https?:|src=|<script|@import|url\(' "$work/page.html")"
expect "the largest is the reference" 0 "$halftone" compare "$work"/q/*.gguf "${few[@]}" --json
answers "the largest is the reference" '"reference": {"model": "[^"]*model-Q8_0.gguf"'

# multiple choice
printf '%s\n' '{"context": "one two three", "choices": ["four five", "zzqx"], "answer": 0}' '' \
    '{"context": "The cat and the", "choices": ["dog", "qqzx vv"], "answer": 1}' >"$work/tasks"
expect "choices" 0 "$halftone" eval $model "${few[@]}" --choices "$work/tasks" --json
answers "choices" '"choices": {"tasks": 2, "accuracy": 0.5'
echo '{"context": "x", "choices": ["a"], "answer": 0}' >"$work/tasks"
expect "one choice only" 3 "$halftone" eval $model "${few[@]}" --choices "$work/tasks"
says "one choice only" "line 1"

# quantize measures before it publishes
expect "measured" 0 "$halftone" quantize $model -t Q8_0,Q4_0 -o "$work/m" --measure "${few[@]}" --report "$work/report.json"
holds "a card with both" test "$(grep -c '^| model-Q' "$work/m/model.quality.md")" = 2
holds "a report with quality" grep -q '"quality": {.*"kld": {"mean": 0.0' "$work/report.json"
expect "in splits" 0 "$halftone" quantize $model -t Q4_0 -o "$work/s" --measure "${few[@]}" --split-max-size 2M
holds "a card for splits" grep -q '^| model-Q4_0' "$work/s/model.quality.md"
for limit in 'kld>0.000001' 'top1<1.1' 'ppl_ratio>0.1' 'perplexity>1'; do
    expect "$limit" 1 "$halftone" quantize $model -t Q8_0,Q2_K -o "$work/none" --fail-if "$limit" "${few[@]}"
    says "$limit" "nothing is published"
    holds "$limit leaves nothing" test -z "$(ls -A "$work/none")"
done
expect "within limits" 0 "$halftone" quantize $model -t Q8_0 -o "$work/fine" --fail-if 'kld>5' --fail-if 'top1<0.1' "${few[@]}"
for limit in 'kld' 'kld>' 'kld>x' 'kld>nan' 'size>3' '>1' 'kld=1'; do
    expect "$limit" 2 "$halftone" quantize $model -t Q8_0 -o "$work/none" --fail-if "$limit" "${few[@]}"
done

expect "on the text that the program brings" 0 "$halftone" quantize $model -t Q8_0 -o "$work/own" --measure --ctx 64
holds "a card for it" grep -q 'of a text of' "$work/own/model.quality.md"
expect "with activations in eight bits" 0 "$halftone" eval "$work/q/model-Q8_0.gguf" "${few[@]}" --against $model --fast --json
answers "with activations in eight bits" '"activations": "eight bits"'
answers "with activations in eight bits" '"kld": {"mean": 0.000[0-9]*,'
expect "the same by name" 0 "$halftone" eval $model --text default --ctx 64

# under a cap on memory: what was there in time and what was read is told
expect "under a cap" 0 "$halftone" eval $model --text default --ctx 64 --memory 8M --json
answers "under a cap" '"layers": {"hits": [0-9]*, "misses": [1-9][0-9]*, "reads": [1-9][0-9]*, "cache_reads": 0, "bytes_read": [1-9][0-9]*}'
expect "as text" 0 "$halftone" eval $model --text default --ctx 64 --memory 8M
answers "as text" 'layers: [0-9]* hits, [0-9]* misses; [0-9]* read'
expect "side by side" 0 "$halftone" compare $model "$work/q/model-Q8_0.gguf" --text default --ctx 64 --memory 16M
answers "side by side" 'model-Q8_0, layers: [0-9]* hits'
expect "of what is collected on" 0 "$halftone" imatrix $model --memory 8M --chunks 2 -o "$work/capped.gguf"
answers "of what is collected on" 'layers: [0-9]* hits'

# bad input
expect "no text" 2 "$halftone" eval $model
head -c 100 "$text" >"$work/short"
expect "a short text" 2 "$halftone" eval $model --text "$work/short"
says "a short text" 'a text of [0-9]* tokens; at least one chunk of 512 is needed'
expect "a short text, before the work" 2 "$halftone" quantize $model -t Q8_0 -o "$work/none" --measure --text "$work/short"
expect "a vocabulary that is exceeded" 3 "$halftone" eval $model --tokens "$model/tokenizer.json"
says "a vocabulary that is exceeded" 'tokenizer.json: .*\(token number 0 is .* outside the vocabulary of 4096\|not a sequence\)'
expect "no such text" 3 "$halftone" eval $model --text "$work/absent"
expect "a context longer than trained" 0 "$halftone" eval $model --text "$work/long" --ctx 4096 --chunks 1
says "a context longer than trained" 'warning: .* was trained with contexts of'
sed 's/tokenizer\.ggml\.model/tokenizer.ggml.modex/' "$work/q/model-Q8_0.gguf" >"$work/mute.gguf"
expect "no tokenizer" 3 "$halftone" eval "$work/mute.gguf" "${few[@]}"
says "no tokenizer" 'no tokenizer'
# a word that stands in the file once: it is a token
grep -aoE '[a-z]{8,}' "$model/tokenizer.json" | sort | uniq -u | while read -r w; do
    [ "$(grep -aoE "$w" "$work/q/model-Q8_0.gguf" | wc -l)" = 1 ] && echo "$w" && break
done >"$work/word"
read -r word <"$work/word"
sed "s/$word/${word^^}/" "$work/q/model-Q8_0.gguf" >"$work/other.gguf"
expect "another vocabulary" 3 "$halftone" eval "$work/other.gguf" "${few[@]}" --against $model
says "another vocabulary" "token [0-9]* is \".*${word^^}\""
printf '\377\377\377\177' | dd of="$work/f32.gguf" bs=1 seek=$(($(stat -c %s "$work/f32.gguf") - 4)) conv=notrunc status=none
expect "a weight that is no number" 3 "$halftone" eval "$work/f32.gguf" "${few[@]}"
says "a weight that is no number" 'f32: NaN or infinity among the logits of position'
expect "beside a sound one" 3 "$halftone" compare "$work/q/model-Q8_0.gguf" "$work/f32.gguf" "${few[@]}" --against $model
says "beside a sound one" 'f32: NaN or infinity among the logits of position'
# behind blk.7.attn_v.weight comes the final norm alone, 256 floats
printf '\377\377\377\177' | dd of="$work/f32.gguf" bs=1 seek=$(($(stat -c %s "$work/f32.gguf") - 1024 - 4)) conv=notrunc status=none
expect "one of a layer" 3 "$halftone" eval "$work/f32.gguf" "${few[@]}"
says "one of a layer" 'f32: NaN or infinity among the activations after layer 7'

# a run can be stopped
"$halftone" eval $model --text "$work/longer" --against $model >/dev/null 2>"$work/err" &
pid=$!
sleep 1
kill -INT $pid
wait $pid
holds "an interrupted run ends as such" test $? -eq 130

finish
