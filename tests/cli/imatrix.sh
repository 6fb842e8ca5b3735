#!/usr/bin/env bash
# halftone imatrix on the example model: interruption and resumption, merging, statistics, exit statuses, and
# quantize --calibration.
#   tests/cli/imatrix.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh

imatrix=(imatrix $model --ctx 32 --chunks 100) # of the text that the program brings
run() { "$halftone" "${imatrix[@]}" "$@"; } # in the background not by this: a signal would meet the shell around it

expect "the whole text" 0 run -o "$work/whole.gguf" --statistics --report "$work/report.json"
holds "statistics have a head" grep -q '^tensor .*similar' "$work/out"
holds "and a row for every tensor" test "$(grep -c '^blk\.' "$work/out")" -eq "$(grep -o '"tensor": "blk' "$work/report.json" | wc -l)"
holds "our own reader takes it" "$halftone" inspect "$work/whole.gguf"
expect "an output that exists" 2 run -o "$work/whole.gguf" --chunks 1
expect "JSON" 0 run -o "$work/json.gguf" --chunks 20 --json
holds "progress in tokens" grep -q '"event":"progress","step":"calibrate".*"unit":"tokens"' "$work/out"
holds "the result is the last line" sh -c 'tail -n 1 "$0" | grep -q "\"verb\": \"imatrix\".*\"chunks\": 20"' "$work/out"

# A run in the background that is stopped once it has saved something: $pid is held before it can be done, however
# fast the machine. Without that nothing of what follows would be tested.
start_and_hold() { # chunks between savings
    rm -f "$work"/cut.gguf*
    "$halftone" "${imatrix[@]}" -o "$work/cut.gguf" --save-every "$1" --threads 1 >"$work/out" 2>"$work/err" &
    pid=$!
    while [ ! -e "$work/cut.gguf.partial" ] && kill -0 $pid 2>/dev/null; do sleep 0.002; done
    kill -STOP $pid
    holds "held in the middle" test -e "$work/cut.gguf.partial" -a ! -e "$work/cut.gguf"
}

# interrupted at two moments: gone soon, nothing that looks finished, and resumed to the same bytes
for chunks in 1 32; do
    start_and_hold $chunks
    kill -INT $pid
    kill -CONT $pid
    wait $pid
    status=$?
    holds "interrupted: exit status $status" test $status -eq 130
    lacks "interrupted" "$work/cut.gguf"
    holds "what is left can be read" "$halftone" imatrix --in-file "$work/cut.gguf.partial" --statistics
    expect "resumed after an interruption" 0 run -o "$work/cut.gguf" --resume
    holds "the bytes of an uninterrupted run" cmp "$work/whole.gguf" "$work/cut.gguf"
    lacks "resumed" "$work/cut.gguf.partial"
done

# killed: what was saved is gone on from; other parameters are refused
start_and_hold 1
kill -KILL $pid
wait $pid 2>/dev/null
expect "another cutting into chunks" 2 run -o "$work/cut.gguf" --resume --from-chunk 1
expect "resumed after a kill" 0 run -o "$work/cut.gguf" --resume
holds "the bytes of an uninterrupted run (killed)" cmp "$work/whole.gguf" "$work/cut.gguf"

# parts make the whole
expect "the first half" 0 run -o "$work/a.gguf" --chunks 40
expect "the rest, added to it" 0 run -o "$work/b.gguf" --chunks 60 --from-chunk 40 --in-file "$work/a.gguf"
expect "merging alone" 0 "$halftone" imatrix --in-file "$work/a.gguf" --in-file "$work/b.gguf" -o "$work/both.gguf" --json
chunks() { grep -o '"chunks": [0-9]*' "$1" | cut -d' ' -f2; }
holds "chunks add up" test "$(chunks "$work/out")" -eq 140
expect "nothing to do" 2 "$halftone" imatrix -o "$work/none.gguf"
expect "a file that is none" 3 "$halftone" imatrix --in-file $model/config.json -o "$work/none.gguf"
expect "a text that is not there" 3 "$halftone" imatrix $model --text "$work/no.txt" -o "$work/none.gguf"
echo short >"$work/short"
expect "a short text" 2 "$halftone" imatrix $model --text "$work/short" -o "$work/none.gguf"
holds "says so" grep -q '[0-9]* tokens; at least one chunk of 512 is needed (--ctx makes chunks shorter)' "$work/err"
# several texts, by weight
head -c 20000 README.md >"$work/a,b:2" && head -c 20000 CHANGELOG.md >"$work/c.txt"
expect "a name with a comma" 0 "$halftone" imatrix $model --text "$work/a,b:2" --ctx 32 --chunks 2 -o "$work/comma.gguf"
for i in $(seq 40); do echo "{\"messages\": [{\"role\": \"user\", \"content\": \"Is $i even?\"}, {\"role\": \"assistant\", \"content\": \"$((i % 2))\"}]}"; done >"$work/chat.jsonl"
expect "texts by weight" 0 "$halftone" imatrix $model --text "$work/c.txt:2,$work/chat.jsonl" --ctx 32 --chunks 6 -o "$work/mix.gguf"
expect "the same again" 0 "$halftone" imatrix $model --text "$work/c.txt:2,$work/chat.jsonl" --ctx 32 --chunks 6 -o "$work/mix2.gguf"
holds "to the same bytes" cmp "$work/mix.gguf" "$work/mix2.gguf"
expect "another seed" 0 "$halftone" imatrix $model --text "$work/c.txt:2,$work/chat.jsonl" --ctx 32 --chunks 6 --calibration-seed 7 -o "$work/mix3.gguf"
holds "takes others" sh -c '! cmp -s "$0" "$1"' "$work/mix.gguf" "$work/mix3.gguf"
expect "one that is too short" 2 "$halftone" imatrix $model --text "$work/c.txt,$work/short" -o "$work/none.gguf"
holds "is named" grep -q 'short: [0-9]* tokens; at least one chunk of 512 is needed' "$work/err"
expect "one that is not there" 3 "$halftone" imatrix $model --text "$work/c.txt,$work/no.txt:2" -o "$work/none.gguf"
expect "no weight" 2 "$halftone" imatrix $model --text "$work/c.txt:0" -o "$work/none.gguf"
holds "says what one is" grep -q '"0" is not a weight: expected a number from 0.001 to 1000' "$work/err"
expect "one text twice" 2 "$halftone" quantize $model -t Q4_K_S --calibration "default,default:2" -o "$work/bad"
expect "no seed" 2 "$halftone" quantize $model -t Q4_K_S --calibration default --calibration-seed 0 -o "$work/bad"
echo '{"messages": "hello"}' >"$work/bad.jsonl"
expect "lines that are no conversations" 3 "$halftone" imatrix $model --text "$work/bad.jsonl" -o "$work/none.gguf"
holds "by their number" grep -q 'bad.jsonl: line 1: "messages" is not a list of messages' "$work/err"
expect "too long a context" 0 "$halftone" imatrix $model --ctx 2048 --chunks 1 -o "$work/long.gguf"
holds "is warned of" grep -q 'warning: .* was trained with contexts of 1024 tokens; chunks have 2048' "$work/err"
mkdir "$work/mute"
cp $model/config.json $model/model.safetensors "$work/mute"
expect "no tokenizer" 3 "$halftone" imatrix "$work/mute" -o "$work/none.gguf"
holds "is why" grep -q 'the model has no tokenizer, so it cannot tokenize text' "$work/err"
expect "a vocabulary that is exceeded" 3 "$halftone" imatrix $model --tokens $model/tokenizer.json -o "$work/none.gguf" --chunks 1
lacks "after errors" "$work/none.gguf"

# quantizing with what is collected in the same run
expect "quantize --calibration" 0 "$halftone" quantize $model -t Q4_K_S --calibration default -o "$work/q" --report "$work/q.json"
holds "the report says on what" grep -q '"calibration": "default", "calibration_chunks": ' "$work/q.json"
holds "and so do the metadata" sh -c '"$0" inspect "$1" --json | grep -q "quantize.imatrix.dataset.*halftone default"' "$halftone" "$work/q/model-Q4_K_S.gguf"
expect "on a part of it" 0 "$halftone" quantize $model -t Q4_K_S --calibration default --ctx 128 --chunks 3 -o "$work/part" --report "$work/part.json"
holds "as the report says" grep -q '"calibration_chunks": 3, "calibration_ctx": 128' "$work/part.json"
expect "the same in two steps" 0 "$halftone" imatrix $model --ctx 128 --chunks 3 -o "$work/part.gguf"
expect "the second" 0 "$halftone" quantize $model -t Q4_K_S --imatrix "$work/part.gguf" -o "$work/steps"
last() { tail -c 3000000 "$1" | sha256sum; } # weights alone: metadata name the importance file
holds "to the same weights" test "$(last "$work/part/model-Q4_K_S.gguf")" = "$(last "$work/steps/model-Q4_K_S.gguf")"
holds "which those of the whole text are not" test "$(last "$work/part/model-Q4_K_S.gguf")" != "$(last "$work/q/model-Q4_K_S.gguf")"
expect "a context that is no number" 2 "$halftone" quantize $model -t Q4_K_S --calibration default --ctx many -o "$work/bad"
expect "more is asked for than there is" 0 "$halftone" quantize $model -t Q4_K_S --calibration default --ctx 1024 --chunks 4000 -o "$work/long" --dry-run
expect "an estimate" 0 "$halftone" estimate $model -t Q4_K_S --calibration default --json
holds "runs nothing" sh -c '! grep -q "\"event\"" "$0"' "$work/out"
holds "and is exact" grep -q "\"size_bytes\": $(stat -c %s "$work/q/model-Q4_K_S.gguf")," "$work/out"

finish
