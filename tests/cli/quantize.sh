#!/usr/bin/env bash
# The command line on the example model: outputs, exit statuses, interruption, resumption, full disks.
#   tests/cli/quantize.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
clean_up() { mountpoint -q "$work/small" && umount "$work/small"; rm -rf "$work"; }

# several outputs in one pass are the same as one by one, at every CPU level and number of threads
levels="scalar avx2 avx512" others=neon
[ "$(uname -m)" = aarch64 ] && levels=scalar others=avx2
grep -q asimddp /proc/cpuinfo && levels="scalar neon"
expect "a level of other processors" 2 "$halftone" quantize $model -t Q8_0 --cpu $others -o "$work/other"
holds "is refused by name" grep -q "this machine cannot run $others" "$work/err"
expect "three types" 0 "$halftone" quantize $model -t Q4_K_M,Q5_K_M,Q8_0 -o "$work/three"
for type in Q4_K_M Q5_K_M Q8_0; do
    for level in $levels; do
        [ $level = avx512 ] && ! grep -q avx512_vbmi2 /proc/cpuinfo && continue
        expect "$type at $level" 0 "$halftone" quantize $model -t $type --cpu $level --threads 1 -o "$work/one" --overwrite
        holds "$type at $level has the same bytes" cmp "$work/one/model-$type.gguf" "$work/three/model-$type.gguf"
    done
    expect "verify $type" 0 "$halftone" inspect --verify "$work/three/model-$type.gguf"
done
# the report's hashes: of the output, of every source file, and those that a hub's cache knows by name
hash_after() { # text that stands before it: the first hash after it in the report
    sed "s|.*$1||" "$work/report" | grep -o '"sha256": "[0-9a-f]*"' | head -n 1 | cut -d'"' -f4
}
hash_of() { sha256sum "$1" | cut -d' ' -f1; }
expect "a report" 0 "$halftone" quantize $model -t Q8_0 -o "$work/sha" --report "$work/report"
holds "the output's hash" test "$(hash_after '"outputs":')" = "$(hash_of "$work/sha/model-Q8_0.gguf")"
for file in model.safetensors config.json tokenizer.json; do
    holds "the hash of $file" test "$(hash_after "$model/$file\"")" = "$(hash_of $model/$file)"
done
blob=$(hash_of $model/model.safetensors)
hub=$work/hub/models--some-org--Tiny-Llama-8M-Chat
mkdir -p "$hub/blobs" "$hub/snapshots/0123456789"
cp $model/*.json $model/*.jinja "$hub/snapshots/0123456789"
cp $model/model.safetensors "$hub/blobs/$blob"
ln -s "../../blobs/$blob" "$hub/snapshots/0123456789/model.safetensors"
expect "from a hub's cache" 0 "$halftone" quantize "$hub/snapshots/0123456789" -t Q8_0 -o "$work/fromhub" --report "$work/report"
holds "the blob's name is its hash" test "$(hash_after '/model.safetensors"')" = "$blob"
holds "and the report says so" grep -q "\"$blob\", \"sha256_from\"" "$work/report"
"$halftone" inspect "$work"/fromhub/*.gguf >"$work/out"
for said in 'name *"Tiny Llama 8M Chat"' 'organization *"Some Org"' 'basename *"Tiny-Llama"' 'finetune *"Chat"' 'size_label *"8M"'; do
    holds "the repository's name says: $said" grep -q "general.$said" "$work/out"
done
# a model card that is no YAML is left out, with a warning; a model's type stands for a missing class
cp -r $model "$work/odd" && sed -i '/"architectures"/,/]/d' "$work/odd/config.json"
printf -- '---\nlicense: {mit\nname: a\n---\n' >"$work/odd/README.md"
expect "a type and no class" 0 "$halftone" convert "$work/odd" -t F16 -o "$work/odd.gguf"
holds "a warning about the card" grep -q 'README.md is left out of the metadata: line' "$work/err"
{ printf -- '---\ndatasets:\n'; seq -f '- set/n%.0f' 30000; printf -- '---\n'; } >"$work/odd/README.md"
expect "a card of 30,000 data sets" 0 "$halftone" convert "$work/odd" -t F16 -o "$work/odd.gguf" --overwrite
holds "and what is kept of it" grep -q 'names 30000 under datasets: the first 1024 are kept' "$work/err"
sed -i 's/"model_type": "llama"/"model_type": "alpaca"/' "$work/odd/config.json"
expect "an unknown type" 3 "$halftone" convert "$work/odd" -t F16 -o "$work/odd2.gguf"
expect "without hashes" 0 "$halftone" quantize $model -t Q8_0 -o "$work/nohash" --no-source-hash --report "$work/report"
expect "only the output's" 1 grep -q '"source": {[^]]*sha256' "$work/report"
holds "the output's is there" test "$(hash_after '"outputs":')" = "$(hash_of "$work/sha/model-Q8_0.gguf")"
# hashing many gigabytes is interrupted at once
cp -r $model "$work/large" && truncate -s 64G "$work/large/vocab.txt"
timeout --foreground -s INT -k 60 1.5 "$halftone" quantize "$work/large" -t Q8_0 -o "$work/cut-short" 2>/dev/null
holds "interrupted while hashing: status $?" test $? -eq 124 # 137: it had to be killed
nothing_left "interrupted hashing" "$work/cut-short"
rm -rf "$work/large"

# estimates are exact
want=$("$halftone" estimate $model -t Q4_K_M --json | grep -o '"size_bytes": [0-9]*' | head -n 1 | cut -d' ' -f2)
holds "the estimate" test "$want" = "$(stat -c %s "$work/three/model-Q4_K_M.gguf")"

# splits merge back: the same tensors
expect "split" 0 "$halftone" quantize $model -t Q8_0 --split-max-size 3M -o "$work/split"
expect "a split source" 0 "$halftone" quantize "$work/split/model-Q8_0-00001-of-00004.gguf" -t Q8_0 -o "$work/merged"
# What comes from a GGUF file has general.file_type at its end, as llama-quantize writes it: the same file only then.
expect "a whole source" 0 "$halftone" quantize "$work/three/model-Q8_0.gguf" -t Q8_0 -o "$work/whole"
holds "merged" cmp "$work/merged/model-Q8_0.gguf" "$work/whole/model-Q8_0.gguf"
tensors() { # the last 8 MB of the file: weights alone
    tail -c 8000000 "$1" | sha256sum
}
holds "merged weights" test "$(tensors "$work/merged/model-Q8_0.gguf")" = "$(tensors "$work/three/model-Q8_0.gguf")"

# a recipe file says the same as options
printf 'model: %s\ntype: [Q4_K_M]\noutput: %s\ntensor-type:\n  ffn_down: q8_0\n' $model "$work/yaml" >"$work/recipe.yaml"
expect "recipe" 0 "$halftone" quantize --config "$work/recipe.yaml"
expect "options" 0 "$halftone" quantize $model -t Q4_K_M --tensor-type ffn_down=q8_0 -o "$work/options"
holds "recipe and options agree" cmp "$work/yaml/model-Q4_K_M.gguf" "$work/options/model-Q4_K_M.gguf"
printf 'a: &x [1]\nb: *x\n' >"$work/alias.yaml"
expect "aliases in a recipe" 2 "$halftone" quantize --config "$work/alias.yaml"

# pruned layers
expect "prune" 0 "$halftone" quantize $model -t Q8_0 --prune-layers 1,3 -o "$work/pruned"
"$halftone" inspect "$work/pruned/model-Q8_0.gguf" --tensors >"$work/out"
holds "six layers are left" grep -q 'block_count *6$' "$work/out"
holds "numbered anew" grep -q 'blk.5.attn_q.weight' "$work/out"
expect "no seventh" 1 grep -q 'blk.6.' "$work/out"

# usage and input errors
expect "no model" 2 "$halftone" quantize -t Q8_0 -o "$work/x"
expect "no type" 2 "$halftone" quantize $model -o "$work/x"
expect "unknown type" 2 "$halftone" quantize $model -t Q9 -o "$work/x"
expect "unknown option" 2 "$halftone" quantize $model -t Q8_0 --no-such-option
expect "twice the same" 2 "$halftone" quantize $model -t Q8_0,q8_0 -o "$work/x"
expect "an output that exists" 2 "$halftone" quantize $model -t Q8_0 -o "$work/three"
expect "no such folder" 3 "$halftone" quantize "$work/nowhere" -t Q8_0 -o "$work/x"
expect "already quantized" 3 "$halftone" quantize "$work/three/model-Q8_0.gguf" -t Q4_K_M -o "$work/x"
expect "all the same" 0 "$halftone" quantize "$work/three/model-Q8_0.gguf" -t Q4_K_M --allow-requantize -o "$work/again"
expect "too little memory" 4 "$halftone" quantize $model -t Q8_0 --memory 1M -o "$work/x"
cp -r $model "$work/cut" && truncate -s -1000 "$work/cut/model.safetensors"
expect "a truncated source" 3 "$halftone" quantize "$work/cut" -t Q8_0 -o "$work/x"
cp -r $model "$work/nan" && printf '\xff\xff' | dd of="$work/nan/model.safetensors" bs=1 seek=9000001 conv=notrunc 2>/dev/null
expect "a NaN in the source" 3 "$halftone" quantize "$work/nan" -t Q8_0 -o "$work/x"
nothing_left "errors" "$work/x"

# interruption: nothing is left; killed: the rest is done by --resume, with the same bytes
# --foreground: otherwise timeout signals the program and then its group, and the second one ends it at once
timeout --foreground -s INT 0.2 "$halftone" quantize $model -t Q4_K_M,Q6_K --cpu scalar --threads 1 -o "$work/int" 2>/dev/null
holds "interrupted with 130 or done" test -d "$work/int"
[ -e "$work/int/model-Q6_K.gguf" ] || nothing_left "interruption" "$work/int"
for delay in 0.1 0.2 0.3 0.5; do
    rm -rf "$work/kill"
    timeout -s KILL $delay "$halftone" quantize $model -t Q4_K_M,Q6_K --cpu scalar --threads 1 -o "$work/kill" 2>/dev/null
    expect "resume after $delay s" 0 "$halftone" quantize $model -t Q4_K_M,Q6_K -o "$work/kill" --resume --overwrite
    holds "resumed after $delay s: the same bytes" cmp "$work/kill/model-Q4_K_M.gguf" "$work/three/model-Q4_K_M.gguf"
    holds "no journal after $delay s" test ! -e "$work/kill/model-Q4_K_M.gguf.journal"
    holds "no part after $delay s" test ! -e "$work/kill/model-Q4_K_M.gguf.part"
done

# a limit on file sizes is an error like others
expect "a file size limit" 1 bash -c "ulimit -f 4000; exec '$halftone' quantize $model -t Q8_0 -o '$work/limited'"
holds "the limit is named" grep -q 'model-Q8_0.gguf.*File too large' "$work/err"
nothing_left "a file size limit" "$work/limited"

# a full disk is met before the work, and leaves nothing
mkdir "$work/small"
if mount -t tmpfs -o size=4m tmpfs "$work/small" 2>/dev/null; then
    mkdir "$work/small/out"
    expect "a full disk" 4 "$halftone" quantize $model -t Q8_0 -o "$work/small/out"
    nothing_left "a full disk" "$work/small/out"
else
    echo "SKIPPED a full disk: no file system can be mounted here"
fi

for shell in bash zsh fish; do expect "completion $shell" 0 "$halftone" completion $shell; done
for page in quantize convert estimate inspect; do expect "man $page" 0 "$halftone" man $page; done
finish
