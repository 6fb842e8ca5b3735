#!/usr/bin/env bash
# A source that changes while it is read, or before a run is continued: nothing is published, and the file is named.
#   tests/cli/source_changes.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh

source=$work/model
weights=$source/model.safetensors
fresh() { # the source as it was, and no outputs
    rm -rf "$source" "$work/made"
    cp -rp $model "$source"
}
start() { # N OPTION…: a run that is stopped when N tensors are finished
    local n=$1 lines
    shift
    "$halftone" quantize "$source" -t Q4_K_M --cpu scalar --threads 1 --checkpoint-seconds 0 --quiet -o "$work/made" "$@" \
        >/dev/null 2>"$work/err" &
    pid=$!
    while kill -0 $pid 2>/dev/null; do
        lines=()
        { mapfile -t lines <"$work/made/model-Q4_K_M.gguf.journal"; } 2>/dev/null
        [ ${#lines[@]} -ge $((n + 5)) ] && break
    done
    kill -STOP $pid
}
goes_on() { # name, expected status, words
    kill -CONT $pid
    wait $pid
    local status=$?
    holds "$1: status $status, not $2" test $status = "$2"
    [ -z "$3" ] || holds "$1: $3" grep -q "$3" "$work/err"
    [ "$2" = 0 ] || nothing_left "$1" "$work/made"
}
put_bytes() { # FILE OFFSET
    printf '\x12\x3c\x34\x3c' | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}
put_bytes_quietly() { # the same, with the file's time as before
    touch -r "$1" "$work/time"
    put_bytes "$1" "$2"
    touch -r "$work/time" "$1"
}
wanted=$("$halftone" quantize $model -t Q4_K_M -o "$work/right" --quiet >/dev/null; sha256sum "$work/right/model-Q4_K_M.gguf" | cut -d' ' -f1)

fresh; start 5
goes_on "nothing changes" 0 ""
holds "the bytes" test "$wanted" = "$(sha256sum "$work/made/model-Q4_K_M.gguf" | cut -d' ' -f1)"
for hash in "" --no-source-hash; do
    fresh; start 5 $hash; put_bytes "$weights" 9000000
    goes_on "written in place $hash" 1 "model.safetensors: .*\(written to while it was read\|the file changed\)"
    fresh; start 5 $hash; put_bytes_quietly "$weights" 9000000
    goes_on "written in place, with its time kept $hash" 1 "model.safetensors: .*\(touched while it was read\|the file changed\)"
    fresh; start 5 $hash; cp "$weights" "$work/new"; put_bytes "$work/new" 9000000; mv "$work/new" "$weights"
    goes_on "replaced $hash" 1 "model.safetensors: another file took its place while it was read"
    fresh; start 5 $hash; rm "$weights"
    goes_on "removed $hash" 1 "model.safetensors: the file was removed while it was read"
    [ -z "$hash" ] || continue
    fresh; start 5 $hash; truncate -s -4 "$weights"
    goes_on "shorter $hash" 1 "model.safetensors: .*\(bytes and now has\|shorter\|truncated\)"
    fresh; start 5 $hash; printf ' ' >>"$weights"
    goes_on "longer $hash" 1 "model.safetensors: the file changed while it was read: it had"
    fresh; start 5 $hash; printf ' ' >>"$source/tokenizer.json"
    goes_on "another tokenizer $hash" 1 "tokenizer.json: the file changed while it was read"
done
fresh
expect "an importance file" 0 "$halftone" imatrix "$source" -o "$work/imatrix.gguf" --chunks 2 --ctx 64 --quiet
start 5 --imatrix "$work/imatrix.gguf"; touch "$work/imatrix.gguf"
goes_on "an importance file that is written to" 1 "imatrix.gguf: the file was written to while it was read"

# before a run is continued
killed() { start "$@"; kill -KILL $pid; wait $pid 2>/dev/null; }
continued() { # name, expected status, words, option…
    local name=$1 status=$2 words=$3
    shift 3
    expect "$name" "$status" "$halftone" quantize "$source" -t Q4_K_M -o "$work/made" --resume "$@"
    holds "$name: $words" grep -q "$words" "$work/err"
    lacks "$name: nothing is published" "$work/made/model-Q4_K_M.gguf"
}
fresh; killed 30; touch "$weights"
continued "a later time" 2 "of another source, or the source has changed since"
fresh; killed 30; touch -r "$weights" "$work/time"; head -c "$(stat -c %s "$weights")" /dev/zero >"$work/new"
dd if="$weights" of="$work/new" bs=65536 count=1 conv=notrunc 2>/dev/null; mv "$work/new" "$weights"; touch -r "$work/time" "$weights"
continued "another file of the same size and time" 2 "of another source, or the source has changed since"
fresh; killed 30; sed -i '2s/ /\t/' "$source/config.json"; touch -r $model/config.json "$source/config.json"
continued "another configuration of the same time" 2 "of another source, or the source has changed since"
# four bytes between the samples, in a tensor that was finished: what was quantized is not what is hashed now
finished=$(sed -n 's/^done [0-9]* .* 1 \([0-9a-f]*\) \([0-9a-f]*\) [0-9a-f]* [0-9a-f]* [0-9a-f]* [0-9a-f]*$/\1/p' "$work"/made/*.journal | head -n 1)
holds "a tensor is finished ($finished)" test -n "$finished"
changed=0
for place in 700000 3000000; do
    fresh; killed 48; put_bytes_quietly "$weights" $place
    "$halftone" quantize "$source" -t Q4_K_M -o "$work/made" --resume >"$work/out" 2>"$work/err"
    status=$?
    grep -q "what was quantized is not what was hashed afterwards; run without --resume" "$work/err" && changed=$((changed + 1))
    # the place may be of a tensor that was made after the change: then all is of the new file
    if [ $status = 0 ]; then
        expect "the new file" 0 "$halftone" quantize "$source" -t Q4_K_M -o "$work/again" --overwrite --quiet
        holds "all of the new file ($place)" cmp "$work/made/model-Q4_K_M.gguf" "$work/again/model-Q4_K_M.gguf"
    fi
done
holds "found by the sums" test $changed -ge 1
finish
