#!/usr/bin/env bash
# Killed at many checkpoints and continued: the bytes and the hashes of a run that was not interrupted; and what must
# not be continued.
#   tests/cli/resume.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh

done_lines() { # JOURNAL: how many tensors it has as finished
    grep -c '^done .* [0-9a-f]*$' "$1" 2>/dev/null || true
}
slow=("$halftone" quantize $model --cpu scalar --threads 1 --checkpoint-seconds 0 --quiet)
# Starts a run, and signals it when N tensors are in its journal; $status is its. Without a process for each look, as a
# run of Q8_0 takes a tenth of a second.
signal_after() { # SIGNAL N FOLDER TYPES OPTION…
    local signal=$1 n=$2 folder=$3 types=$4 journal parts lines pid
    shift 4
    journal=$folder/model-${types%%,*}.gguf.journal
    parts=${types//[^,]/}
    "${slow[@]}" -o "$folder" -t "$types" "$@" 2>"$work/err" &
    pid=$!
    while kill -0 $pid 2>/dev/null; do
        lines=()
        { mapfile -t lines <"$journal"; } 2>/dev/null
        if [ ${#lines[@]} -ge $((n + 5 + ${#parts})) ]; then # behind four lines and one for each file
            kill -$signal $pid
            break
        fi
    done
    wait $pid 2>/dev/null
    status=$?
}
kill_after() { # N FOLDER TYPES OPTION…: true if it was killed
    signal_after KILL "$@"
    [ $status = 137 ]
}
must_kill() { # the same where a run that was too quick to be killed tells nothing: once more then
    for _ in 1 2 3 4 5 6 7 8; do
        kill_after "$@" && return
        rm -f "$2/model-${3%%,*}.gguf"
    done
    echo "FAILED no run of $3 was killed in time"
    failed=1
}
errors_in() { grep -o '"relative_rmse": [^,}]*' "$1"; }
sha_in_report() { grep -o '"sha256": "[0-9a-f]*"' "$1"; }

expect "the whole" 0 "$halftone" quantize $model -t Q4_K_M,Q6_K -o "$work/whole" --report "$work/whole.json" --quiet

# at many checkpoints
resumed=0
for n in 1 5 14 30 50; do
    rm -rf "$work/kill"
    kill_after $n "$work/kill" Q4_K_M,Q6_K && resumed=$((resumed + 1))
    was=$(done_lines "$work/kill/model-Q4_K_M.gguf.journal")
    expect "resumed at $n" 0 "$halftone" quantize $model -t Q4_K_M,Q6_K -o "$work/kill" --resume --overwrite --report "$work/again.json"
    holds "at $n: it continued ($was)" grep -q "continuing an earlier run: $was of " "$work/err"
    for type in Q4_K_M Q6_K; do holds "at $n: the bytes of $type" cmp "$work/kill/model-$type.gguf" "$work/whole/model-$type.gguf"; done
    holds "at $n: the hashes" cmp <(sha_in_report "$work/whole.json") <(sha_in_report "$work/again.json")
    holds "at $n: the errors" cmp <(errors_in "$work/whole.json") <(errors_in "$work/again.json")
    holds "at $n: two files are left" test "$(ls -A "$work/kill" | wc -l)" = 2
done
[ $resumed -ge 3 ] || { echo "FAILED only $resumed runs were killed in time"; failed=1; }

# killed again and again: what is finished grows, and ends with the same bytes
rm -rf "$work/kill"
for n in 5 14 27; do kill_after $n "$work/kill" Q4_K_M,Q6_K --resume; done
expect "the fourth attempt" 0 "$halftone" quantize $model -t Q4_K_M,Q6_K -o "$work/kill" --resume
holds "its bytes" cmp "$work/kill/model-Q4_K_M.gguf" "$work/whole/model-Q4_K_M.gguf"

# another run into the same folder, killed too: its .part is not the first one's
expect "IQ3_S and Q8_0" 0 "$halftone" quantize $model -t IQ3_S,Q8_0 -o "$work/two" --quiet
must_kill 20 "$work/a" IQ3_S,Q8_0
must_kill 5 "$work/a" Q8_0
expect "the first one is resumed" 0 "$halftone" quantize $model -t IQ3_S,Q8_0 -o "$work/a" --resume
holds "it says what is made anew" grep -q "model-Q8_0.gguf.part is of another run .* every tensor is made anew" "$work/err"
for type in IQ3_S Q8_0; do holds "right bytes of $type" cmp "$work/a/model-$type.gguf" "$work/two/model-$type.gguf"; done
must_kill 20 "$work/b" IQ3_S,Q8_0
expect "another one ends there" 0 "$halftone" quantize $model -t Q8_0 -o "$work/b" --quiet
expect "the first one is resumed beside it" 0 "$halftone" quantize $model -t IQ3_S,Q8_0 -o "$work/b" --resume --overwrite
for type in IQ3_S Q8_0; do holds "right bytes of $type beside it" cmp "$work/b/model-$type.gguf" "$work/two/model-$type.gguf"; done

# bytes of a .part that changed, and a .part that another one took the place of
must_kill 30 "$work/c" Q8_0
printf 'not these bytes' | dd of="$work/c/model-Q8_0.gguf.part" bs=1 seek=6000000 conv=notrunc 2>/dev/null
expect "a changed .part" 0 "$halftone" quantize $model -t Q8_0 -o "$work/c" --resume
holds "right bytes all the same" cmp "$work/c/model-Q8_0.gguf" "$work/two/model-Q8_0.gguf"
must_kill 30 "$work/d" Q8_0
cp "$work/d/model-Q8_0.gguf.part" "$work/d/copy" && dd if=/dev/urandom of="$work/d/copy" bs=1000 seek=20 count=3000 conv=notrunc 2>/dev/null
mv "$work/d/copy" "$work/d/model-Q8_0.gguf.part"
expect "another file in its place" 0 "$halftone" quantize $model -t Q8_0 -o "$work/d" --resume
holds "all is made anew" grep -q "every tensor is made anew" "$work/err"
holds "right bytes after that" cmp "$work/d/model-Q8_0.gguf" "$work/two/model-Q8_0.gguf"
must_kill 30 "$work/e" Q8_0
sed -i '$s/^\(done [0-9]* 0x1\.\)/\11/' "$work/e/model-Q8_0.gguf.journal"
expect "a changed line of the journal" 0 "$halftone" quantize $model -t Q8_0 -o "$work/e" --resume --report "$work/again.json"
expect "the same without it" 0 "$halftone" quantize $model -t Q8_0 -o "$work/e2" --report "$work/plain.json"
holds "is not believed" cmp <(errors_in "$work/plain.json") <(errors_in "$work/again.json")

# what a journal is not of is refused, and stays
must_kill 10 "$work/f" Q8_0
before=$(sha256sum "$work"/f/*)
refused() { # name, words, option…
    local name=$1 words=$2
    shift 2
    expect "$name" 2 "$halftone" quantize "$@" -o "$work/f" --resume
    holds "$name: the reason" grep -q "$words" "$work/err"
    holds "$name: all is as it was" test "$before" = "$(sha256sum "$work"/f/*)"
}
cp -r $model "$work/model"
refused "another model" "of another source" "$work/model" -t Q8_0 --name model
refused "other types" "other types" $model -t Q8_0 --tensor-type ffn_down=q6_k
sed -i 's/^program .*/program 0.0.9/' "$work/f/model-Q8_0.gguf.journal"
before=$(sha256sum "$work"/f/*)
refused "another version" "another version" $model -t Q8_0
echo "halftone journal 1 $(printf '%064d' 0)" >"$work/f/model-Q8_0.gguf.journal"
before=$(sha256sum "$work"/f/*)
refused "a journal of old" "another version" $model -t Q8_0
expect "without --resume" 0 "$halftone" quantize $model -t Q8_0 -o "$work/f"
holds "its bytes are right" cmp "$work/f/model-Q8_0.gguf" "$work/two/model-Q8_0.gguf"

# signals leave nothing, as Ctrl-C does; with --resume they leave what can be continued
for signal in INT TERM HUP; do
    signal_after $signal 3 "$work/$signal" IQ3_S
    holds "SIG$signal: status $status" test $status = 130
    nothing_left "SIG$signal" "$work/$signal"
    signal_after $signal 3 "$work/$signal" IQ3_S --resume
    holds "SIG$signal and --resume: status $status" test $status = 130
    expect "SIG$signal: resumed" 0 "$halftone" quantize $model -t IQ3_S -o "$work/$signal" --resume
    holds "SIG$signal: it continued" grep -q "continuing an earlier run" "$work/err"
    holds "SIG$signal: the same bytes" cmp "$work/$signal/model-IQ3_S.gguf" "$work/two/model-IQ3_S.gguf"
done
"$halftone" quantize $model -t IQ3_S,Q4_K_M --cpu scalar --threads 1 -o "$work/pipe" --json 2>"$work/err" | head -n 1 >/dev/null
[ -e "$work/pipe/model-IQ3_S.gguf" ] || nothing_left "a reader that goes away" "$work/pipe"

for bad in x -1 99999999 ''; do expect "checkpoints every '$bad' seconds" 2 "$halftone" quantize $model -t Q8_0 -o "$work/bad" --checkpoint-seconds "$bad"; done
nothing_left "bad intervals" "$work/bad"
finish
