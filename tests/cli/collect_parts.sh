#!/usr/bin/env bash
# Importance of a text that several runs collect, and what they quantize with it, in parts: the bytes are those of one run.
#   tests/cli/collect_parts.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
says() { holds "$1: says $2" grep -qF -- "$2" "$work/err"; }
run() { "$halftone" quantize $model -t Q4_K_M,IQ2_XS,nf4 --calibration default --ctx 32 --chunks "${chunks:-37}" "$@"; }
same() { holds "$1: the bytes" diff -r "$work/whole" "$2"; }

expect "the whole" 0 run -o "$work/whole" --report "$work/whole.json"
for n in 2 3; do
    for i in $(seq $n); do
        expect "collecting, part $i of $n" 0 run --collect-part "$i/$n" -o "$work/c$n.$i" --report "$work/c.json" --threads $i
        holds "collecting, part $i of $n: nothing but sums" test -z "$(ls "$work/c$n.$i" | grep -v '^importance-')"
    done
done
holds "a part says what it is" grep -q '"part": {"number": 3, "of": 3, "collects": true, "tensors": 0, "cut": 0}, "outputs": \[\]' "$work/c.json"
expect "taken together" 0 run -o "$work/all" --take-from "$work/c3.1" --take-from "$work/c3.2" --take-from "$work/c3.3" --report "$work/all.json"
says "taken together" 'importance of 16 of 16 groups of chunks is taken'
same "taken together" "$work/all"
expect "some is missing, some is there twice" 0 run -o "$work/some" --take-from "$work/c3.1" --take-from "$work/c2.1"
says "some is missing" 'importance of 8 of 16 groups'
same "some is missing" "$work/some"
takes=(--take-from "$work/c2.1" --take-from "$work/c2.2")
for i in 1 2; do
    expect "quantizing, part $i" 0 run --part $i/2 -o "$work/q$i" "${takes[@]}"
    says "quantizing, part $i" 'importance of 16 of 16 groups'
done
expect "all of it" 0 run -o "$work/end" "${takes[@]}" --take-from "$work/q1" --take-from "$work/q2" --report "$work/end.json"
same "all of it" "$work/end"
holds "all of it: nothing is made anew" grep -q '"bytes_read": 0,' "$work/end.json"
expect "importance collected by each part" 0 run --part 1/1 -o "$work/alone"
expect "of which the whole is made" 0 run -o "$work/alone2" --take-from "$work/alone"
same "importance collected by each part" "$work/alone2"

# more parts than there are groups
for i in 1 2 3; do chunks=2 expect "two chunks, part $i of 3" 0 run --collect-part $i/3 -o "$work/two$i"; done
chunks=2 expect "two chunks" 0 run -o "$work/two" --take-from "$work/two1" --take-from "$work/two2" --take-from "$work/two3"
says "two chunks" 'importance of 2 of 2 groups'
chunks=2 expect "two chunks at once" 0 run -o "$work/two.whole"
holds "two chunks: the bytes" diff -r "$work/two" "$work/two.whole"

# what does not belong is not taken, nor what is damaged
chunks=36 expect "another text" 0 run -o "$work/other" --take-from "$work/c3.1"
holds "another text: nothing is taken" sh -c '! grep -q "groups of chunks is taken" "$0"' "$work/err"
for file in "$work"/c3.2/importance-*-07.gguf; do printf 'x' | dd of="$file" bs=1 seek=100000 conv=notrunc status=none; done
for file in "$work"/c3.2/importance-*-08.gguf.sha256; do rm "$file"; done
expect "damaged" 0 run -o "$work/damaged" --take-from "$work/c3.1" --take-from "$work/c3.2" --take-from "$work/c3.3"
says "damaged" 'is not as it was written; it is not taken'
says "damaged" 'importance of 14 of 16 groups'
same "damaged" "$work/damaged"

# a run that is killed keeps the groups that it finished
"$halftone" quantize $model -t Q4_K_M --calibration default --ctx 32 --chunks 300 --collect-part 1/1 -o "$work/cut" --quiet 2>/dev/null & pid=$!
until ls "$work"/cut/importance-*-02.gguf.sha256 >/dev/null 2>&1 || ! kill -0 $pid 2>/dev/null; do sleep 0.01; done
kill -KILL $pid 2>/dev/null
wait $pid 2>/dev/null
expect "continued" 0 "$halftone" quantize $model -t Q4_K_M --calibration default --ctx 32 --chunks 300 --collect-part 1/1 -o "$work/cut" --resume
says "continued" 'groups of chunks is taken from other runs'

# usage, and what can be divided
expect "no text" 2 "$halftone" quantize $model -t Q4_K_M --collect-part 1/2 -o "$work/x"
expect "both at once" 2 run --collect-part 1/2 --part 1/2 -o "$work/x"
expect "layers in turn" 3 run --effort best --collect-part 1/2 -o "$work/x"
lacks "refused" "$work/x"
expect "estimate" 0 "$halftone" estimate $model -t Q4_K_M --calibration default --json
holds "estimate: divisible" grep -q '"divisible": true, "collects_in_parts": true' "$work/out"
expect "estimate without a text" 0 "$halftone" estimate $model -t Q4_K_M --json
holds "estimate without a text" grep -q '"divisible": true, "collects_in_parts": false' "$work/out"
expect "estimate, layers in turn" 0 "$halftone" estimate $model -t Q4_K_M --calibration default --effort best --json
holds "estimate, layers in turn" grep -q '"divisible": false, "collects_in_parts": false' "$work/out"
finish
