#!/usr/bin/env bash
# halftone imatrix on the example model: interruption and resumption, merging, statistics, exit statuses, and
# quantize --calibration.
#   tests/cli/imatrix.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
halftone=$(realpath "${1:-build/halftone}")
model=examples/model
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failed=0

expect() { # name, expected status, command…
    local name=$1 want=$2 got
    shift 2
    "$@" >"$work/out" 2>"$work/err"
    got=$?
    if [ "$got" -ne "$want" ]; then
        echo "FAILED $name: exit status $got, not $want"
        cat "$work/err"
        failed=1
    fi
}
holds() { # name, command…
    local name=$1
    shift
    "$@" >/dev/null 2>&1 || { echo "FAILED $name"; failed=1; }
}
lacks() { # name, path
    [ ! -e "$2" ] || { echo "FAILED $1: $2 is there"; failed=1; }
}

run() { "$halftone" imatrix $model --ctx 64 --chunks 100 "$@"; } # of the text that the program brings

expect "the whole text" 0 run -o "$work/whole.gguf" --statistics --report "$work/report.json"
holds "statistics have a head" grep -q '^tensor .*similar' "$work/out"
holds "and a row for every tensor" test "$(grep -c '^blk\.' "$work/out")" -eq "$(grep -o '"tensor": "blk' "$work/report.json" | wc -l)"
holds "our own reader takes it" "$halftone" inspect "$work/whole.gguf"
expect "an output that exists" 2 run -o "$work/whole.gguf" --chunks 1
expect "JSON" 0 run -o "$work/json.gguf" --chunks 20 --json
holds "progress in tokens" grep -q '"event":"progress","step":"calibrate".*"unit":"tokens"' "$work/out"
holds "the result is the last line" sh -c 'tail -n 1 "$0" | grep -q "\"verb\": \"imatrix\".*\"chunks\": 20"' "$work/out"

# interrupted at several moments: gone within a second, nothing that looks finished, and resumed to the same bytes
for delay in 0.2 0.7; do
    rm -f "$work"/cut.gguf*
    run -o "$work/cut.gguf" --save-every 32 --threads 1 >"$work/out" 2>"$work/err" &
    pid=$!
    sleep $delay
    kill -INT $pid 2>/dev/null
    start=$(date +%s%N)
    wait $pid
    status=$?
    took=$((($(date +%s%N) - start) / 1000000))
    [ $status -eq 0 ] && continue # a fast machine was done
    [ $status -eq 130 ] || { echo "FAILED interrupted after $delay s: exit status $status"; failed=1; }
    [ $took -le 3000 ] || { echo "FAILED interrupted after $delay s: took $took ms"; failed=1; } # a second, on an idle machine
    lacks "interrupted after $delay s" "$work/cut.gguf"
    [ ! -e "$work/cut.gguf.partial" ] || holds "what is left can be read" "$halftone" imatrix --in-file "$work/cut.gguf.partial" --statistics
    expect "resumed after $delay s" 0 run -o "$work/cut.gguf" --resume
    holds "the bytes of an uninterrupted run ($delay s)" cmp "$work/whole.gguf" "$work/cut.gguf"
    lacks "resumed after $delay s" "$work/cut.gguf.partial"
done

# killed: what was saved is gone on from; other parameters are refused. A stop right after the first saving makes
# sure that the kill meets a run that is not done, however fast the machine.
rm -f "$work"/cut.gguf*
run -o "$work/cut.gguf" --save-every 1 --threads 1 >/dev/null 2>&1 &
pid=$!
for _ in $(seq 5000); do
    [ -e "$work/cut.gguf.partial" ] && break
    sleep 0.002
done
kill -STOP $pid 2>/dev/null
killed_early=$([ -e "$work/cut.gguf.partial" ] && [ ! -e "$work/cut.gguf" ] && echo yes)
kill -KILL $pid 2>/dev/null
wait $pid 2>/dev/null
if [ -z "$killed_early" ]; then
    echo "FAILED the kill came too late: nothing of resuming was tested"
    failed=1
else
    expect "another cutting into chunks" 2 run -o "$work/cut.gguf" --resume --from-chunk 1
    expect "resumed after a kill" 0 run -o "$work/cut.gguf" --resume
    holds "the bytes of an uninterrupted run (killed)" cmp "$work/whole.gguf" "$work/cut.gguf"
fi

# parts make the whole
expect "the first half" 0 run -o "$work/a.gguf" --chunks 40
expect "the rest, added to it" 0 run -o "$work/b.gguf" --chunks 60 --from-chunk 40 --in-file "$work/a.gguf"
expect "merging alone" 0 "$halftone" imatrix --in-file "$work/a.gguf" --in-file "$work/b.gguf" -o "$work/both.gguf" --json
chunks() { grep -o '"chunks": [0-9]*' "$1" | cut -d' ' -f2; }
holds "chunks add up" test "$(chunks "$work/out")" -eq 140
expect "nothing to do" 2 "$halftone" imatrix -o "$work/none.gguf"
expect "a file that is none" 3 "$halftone" imatrix --in-file $model/config.json -o "$work/none.gguf"
expect "a text that is not there" 3 "$halftone" imatrix $model --text "$work/no.txt" -o "$work/none.gguf"
expect "a vocabulary that is exceeded" 3 "$halftone" imatrix $model --tokens $model/tokenizer.json -o "$work/none.gguf" --chunks 1
lacks "after errors" "$work/none.gguf"

# quantizing with what is collected in the same run
expect "quantize --calibration" 0 "$halftone" quantize $model -t IQ2_S --calibration default -o "$work/q" --report "$work/q.json"
holds "the report says on what" grep -q '"calibration": "default", "calibration_chunks": ' "$work/q.json"
holds "and so do the metadata" sh -c '"$0" inspect "$1" --json | grep -q "quantize.imatrix.dataset.*halftone default"' "$halftone" "$work/q/model-IQ2_S.gguf"
expect "an estimate runs nothing" 0 timeout 20 "$halftone" estimate $model -t IQ2_S --calibration default
holds "and is exact" grep -q "$(stat -c %s "$work/q/model-IQ2_S.gguf") bytes" "$work/out"

[ $failed -eq 0 ] && echo "every case passed"
exit $failed
