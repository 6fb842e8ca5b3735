#!/usr/bin/env bash
# An output has one writer: of runs that start together with one output, one makes it and the other says who has it.
#   tests/cli/locks.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh

# two models that give the same file's name, so that a mixture or the other's hash would be seen
source=() output=()
mkdir "$work/one" "$work/two" "$work/place"
cp $model/* "$work/one"
cp $model/* "$work/two"
dd if=$model/model.safetensors of="$work/two/model.safetensors" bs=4096 skip=1000 seek=1200 count=500 conv=notrunc 2>/dev/null
hash_of() { sha256sum "$1" | cut -d' ' -f1; }
for m in one two; do
    expect "$m alone" 0 "$halftone" quantize "$work/$m" -t Q8_0 -o "$work/$m.gguf" --quiet
    source[${#source[@]}]=$(hash_of "$work/$m/model.safetensors")
    output[${#output[@]}]=$(hash_of "$work/$m.gguf")
done
holds "the models differ" test "${output[0]}" != "${output[1]}"

ln -s place "$work/link"
refusals=0
for i in $(seq 25); do
    rm -f "$work"/place/*
    run() { # FOLDER of the output, number of the model, option…: its status goes to a file
        "$halftone" quantize "$work/$([ "$2" = 0 ] && echo one || echo two)" -t Q8_0 -o "$work/$1/model.gguf" --threads 1 --cpu scalar \
            --report "$work/report.$2" "${@:3}" >/dev/null 2>"$work/err.$2"
        echo $? >"$work/status.$2"
    }
    case $((i % 5)) in
    0) run place 0 & run place 1 & ;;
    1) run place 0 --overwrite & run place 1 --overwrite & ;;
    2) run place 0 --resume & run place 1 --resume & ;;
    3) run place 0 & run link 1 & ;;
    4) run place 0 --overwrite & run ../"$(basename "$work")"/place/. 1 --resume & ;;
    esac
    wait
    published=$(hash_of "$work/place/model.gguf")
    winners=0
    for m in 0 1; do
        if [ "$(cat "$work/status.$m")" = 0 ]; then
            winners=$((winners + 1))
            holds "pair $i: $m tells its own source's hash" grep -q "${source[m]}" "$work/report.$m"
            holds "pair $i: $m tells its own output's hash" grep -q "${output[m]}" "$work/report.$m"
        else
            refusals=$((refusals + 1))
            holds "pair $i: $m is refused with 2" test "$(cat "$work/status.$m")" = 2
            holds "pair $i: $m says why" grep -qE 'another run is writing this file: process [0-9]+ on .*, since 2|the file exists|the earlier run' "$work/err.$m"
        fi
    done
    holds "pair $i: somebody made it" test $winners -ge 1
    holds "pair $i: it is whole" test "$published" = "${output[0]}" -o "$published" = "${output[1]}"
    holds "pair $i: nothing else is left" test "$(ls -A "$work/place")" = model.gguf
done
holds "runs met: $refusals refusals" test $refusals -ge 5

# while one runs, for certain: it is stopped, so that the others come in the middle
"$halftone" quantize $model -t Q4_K_M,Q8_0 -o "$work/held" --threads 1 --cpu scalar --checkpoint-seconds 0 --quiet >/dev/null &
pid=$!
until [ -s "$work/held/model-Q4_K_M.gguf.journal" ] || ! kill -0 $pid 2>/dev/null; do :; done
kill -STOP $pid
journal=$(sha256sum "$work"/held/*.journal)
for option in "" --overwrite --resume; do
    for types in Q8_0 Q4_K_M Q6_K,Q8_0 Q8_0,Q4_K_M; do
        expect "$types $option beside it" 2 "$halftone" quantize $model -t $types -o "$work/held" $option
        holds "$types $option: who it is" grep -q "another run is writing this file: process $pid on $(hostname), since 2" "$work/err"
    done
done
holds "its files are untouched" test "$(ls "$work/held" | wc -l)" = 3 -a "$journal" = "$(sha256sum "$work"/held/*.journal)"
expect "a report that another run writes" 0 "$halftone" quantize $model -t Q8_0 -o "$work/else" --report "$work/else.json"
kill -CONT $pid
wait $pid
holds "it ends well" test $? = 0
expect "what it made" 0 "$halftone" inspect --verify "$work/held/model-Q4_K_M.gguf"
finish
