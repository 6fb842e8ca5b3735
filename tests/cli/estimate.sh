#!/usr/bin/env bash
# Estimates: sizes are those of the files, what cannot fit is told, and refused when it is run.
#   tests/cli/estimate.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh

field() { # KEY: its first value in the last answer
    grep -oE "\"$1\": (\[[^]]*\]|[^,}]*)" "$work/out" | head -n 1 | sed -E 's/^"[^"]*": //'
}
expect "an estimate" 0 "$halftone" estimate $model -t Q4_K_M --json
size=$(field size_bytes) weights=$(field weights_bytes) cache=$(field kv_cache_bytes) overhead=$(field overhead_bytes)
total=$(field total_bytes)
expect "the file" 0 "$halftone" quantize $model -t Q4_K_M -o "$work/made" --quiet
holds "its size" test "$size" = "$(stat -c %s "$work/made/model-Q4_K_M.gguf")"
expect "an estimate with everything" 0 "$halftone" estimate $model -t Q4_K_M,Q8_0 --json
for key in download_bytes temporary_bytes disk_bytes disk_free_bytes memory_bytes seconds; do
    holds "$key is a number" grep -qE "^[0-9.e-]+$" <(field $key)
done
holds "nothing to download" test "$(field download_bytes)" = 0
holds "it fits" test "$(field fits)" = true -a "$(field reasons)" = "[]"
# the example: 8 layers, 2 heads of 64 for keys and values, trained on 1024 tokens; see tests/unit/test_fit.c
holds "the sum" test "$total" = $((weights + cache + overhead))
expect "a shorter context" 0 "$halftone" estimate $model -t Q4_K_M --ctx 256 --json
holds "has a smaller cache" test "$(field kv_cache_bytes)" = $((cache / 4))
expect "a smaller cache" 0 "$halftone" estimate $model -t Q4_K_M --cache-type q8_0 --json
holds "by 34 to 64" test "$(field kv_cache_bytes)" = $((cache / 64 * 34))
expect "for people" 0 "$halftone" estimate $model -t Q4_K_M
holds "with the memory to run it" grep -q "cache of 1024 tokens" "$work/out"

# the model's own running: none, then in proportion to the tokens; --ctx is the cache's here, chunks keep their length
at_least() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a + 0 >= b + 0) }'; }
expect "neither collecting nor measuring" 0 "$halftone" estimate $model -t Q4_K_M --json
holds "nothing is run" test "$(field engine_seconds)" = 0
expect "collecting on little" 0 "$halftone" estimate $model -t Q4_K_M --calibration default --chunks 2 --json
little=$(field engine_seconds)
expect "collecting on all" 0 "$halftone" estimate $model -t Q4_K_M --calibration default --ctx 256 --json
all=$(field engine_seconds)
holds "20 times as many tokens take longer: $little s, $all s" at_least "$all" "$(awk "BEGIN { print 4 * $little }")"
holds "a little is more than nothing" at_least "$little" 0.001
holds "and it is within the whole" at_least "$(field seconds)" "$all"
expect "measuring one on little" 0 "$halftone" estimate $model -t Q4_K_M --measure --chunks 1 --json
little=$(field engine_seconds)
expect "measuring six on all" 0 "$halftone" estimate $model -t Q8_0,Q6_K,Q5_K_M,Q5_K_S,Q4_K_M,Q4_K_S --measure --json
holds "takes longer: $little s, $(field engine_seconds) s" at_least "$(field engine_seconds)" "$(awk "BEGIN { print 3 * $little }")"
expect "a text that is not there" 3 "$halftone" estimate $model -t Q4_K_M --measure --text "$work/no.txt"

# what cannot fit
expect "too little memory is an answer" 0 "$halftone" estimate $model -t Q8_0 --memory 1M --json
holds "no" test "$(field fits)" = false
holds "with the reason" grep -q "1M\|MB are allowed" <(field reasons)
expect "and a refusal" 4 "$halftone" quantize $model -t Q8_0 --memory 1M -o "$work/never"
holds "before anything is there" test ! -e "$work/never"
mkdir "$work/small"
if mount -t tmpfs -o size=4m tmpfs "$work/small" 2>/dev/null; then
    clean_up() { umount "$work/small"; rm -rf "$work"; }
    expect "too small a disk is an answer" 0 "$halftone" estimate $model -t Q8_0 -o "$work/small/new/folder" --json
    holds "no, for the folder that will be made" test "$(field fits)" = false
    holds "with the reason" grep -q "is free" <(field reasons)
    expect "and a refusal" 4 "$halftone" quantize $model -t Q8_0 -o "$work/small/out"
    holds "that leaves no file" test -z "$(find "$work/small" -type f)"
    expect "a refusal with calibration" 4 "$halftone" quantize $model -t Q8_0 --calibration default -o "$work/small/out" --json
    holds "before importance is collected" sh -c '! grep -q "\"calibrate\"" "$0"' "$work/out"
else
    echo "SKIPPED a small disk: no right to mount one"
fi

# bad options
for bad in ctx=0 ctx=x ctx=-1 ctx=99999999999 cache-type=q4_k cache-type=; do
    expect "refused: $bad" 2 "$halftone" estimate $model -t Q8_0 "--$bad"
done
"$halftone" estimate $model -t Q8_0 --json | grep -q '"verb": "estimate"' || { echo "FAILED estimate calls itself something else"; failed=1; }
"$halftone" quantize $model -t Q8_0 --dry-run --json | grep -q '"verb": "quantize"' || { echo "FAILED a dry run calls itself something else"; failed=1; }

# Types that `types` says need importance are refused without, the others are not
while IFS=: read -r mix needs; do
    "$halftone" quantize $model -t "$mix" --dry-run >"$work/out" 2>"$work/err"
    got=$?
    if [ "$needs" = true ] && { [ $got -eq 0 ] || ! grep -q importance "$work/err"; }; then echo "FAILED $mix needs importance, and is made without"; failed=1; fi
    if [ "$needs" = false ] && grep -q importance "$work/err"; then echo "FAILED $mix is refused without importance: $(cat "$work/err")"; failed=1; fi
done < <("$halftone" types --json | grep -o '"name":"[A-Z0-9_]*","file_type[^}]*' | sed 's|"name":"\([^"]*\)".*"needs_importance":\([a-z]*\)|\1:\2|')
finish
