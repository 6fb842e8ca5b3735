#!/usr/bin/env bash
# The parsers that need no external library, built in another way and run over the stored corpora and thousands of damaged
# copies of each input.
#   tests/bare/run.sh 32bit|msan [DAMAGED_COPIES]
# 32bit: as programs of 32 bits, with UBSan. msan: with clang's MemorySanitizer, which would take what a library that was
# built without it has written for unwritten. Status 77: this machine lacks the compiler.
set -euo pipefail
cd "$(dirname "$0")/../.."
kind=${1:?32bit or msan} copies=${2:-2000}
link=(-no-pie -Wl,--unresolved-symbols=ignore-all) # a program that can be moved gets entries of no kind for them
case $kind in
32bit)
    compiler=(gcc -m32 -msse2 -mfpmath=sse -Wno-maybe-uninitialized -Wno-psabi -fsanitize=undefined -fno-sanitize-recover=all)
    lacks="make nightly-packages installs gcc-multilib"
    ;;
msan)
    compiler=("$(command -v clang || command -v clang-14 || echo clang)" -DHT_SCALAR_ALONE -fsanitize=memory
        -fsanitize-memory-track-origins -fno-sanitize-recover=all -fno-omit-frame-pointer)
    link+=(tests/bare/known_stat.c -Wl,--wrap=stat64,--wrap=lstat64,--wrap=fstat64)
    lacks="make nightly-packages installs clang"
    ;;
*) echo "$kind: expected 32bit or msan" && exit 2 ;;
esac
if ! echo 'int main(void) { return 0; }' | "${compiler[@]}" -x c - -o /dev/null 2>/dev/null; then
    echo "skipped: ${compiler[*]} builds no program here ($lacks)"
    exit 77
fi
if [ "$kind" = msan ]; then # the sanitizer must see what is there to be seen: a number that nobody wrote
    probe=$(mktemp)
    echo 'int main(int c, char **v) { int n[2]; n[c > 9] = 1; return n[1] > 3; }' | "${compiler[@]}" -O0 -x c - -o "$probe"
    "$probe" >/dev/null 2>&1 && { echo "the sanitizer does not see unwritten memory" && exit 1; }
    rm -f "$probe"
fi
build=${BUILD:-build}
out=build-bare-$kind
flags=(-std=gnu11 -O1 -g -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DHT_VERSION='"bare"' -ffp-contract=off -fno-math-errno
    -fno-trapping-math -Wall -Wextra -Wno-unused-parameter -Werror -Iinclude -Isrc -Itests "-I$build/src/kernels/search")
ninja -C "$build" >/dev/null # generates the tables
# hash.c is OpenSSL's. What else needs a library is not called here: its symbols stay unresolved, and a call of one crashes.
sources=$(find src/base src/formats src/kernels src/model src/net src/schemes -name '*.c' ! -path '*/x86/*' ! -path '*/arm/*' \
    ! -name hash.c; ls "$build"/src/kernels/search/*.c 2>/dev/null || true)
list=$(mktemp)
trap 'rm -f "$list"' EXIT
objects=()
newest=$(ls -t tests/bare/run.sh $(find src include tests "$build/src/kernels/search" -name '*.h') | sed -n 1p)
for source in $sources; do
    object=$out/$source.o
    objects+=("$object")
    mkdir -p "$(dirname "$object")"
    [ "$object" -nt "$source" ] && [ "$object" -nt "$newest" ] || { rm -f "$object" && echo "$source"; }
done >"$list"
compile() { $(command -v ccache) "${compiler[@]}" "${flags[@]}" -c "$1" -o "$out/$1.o"; }
while read -r source; do # two at a time
    compile "$source" &
    [ "$(jobs -rp | wc -l)" -lt 2 ] || wait -n
done <"$list"
wait
rm -f "$out/parsers.a"
ar qc "$out/parsers.a" "${objects[@]}"
for name in checkpoint json imatrix sentencepiece chat http http_wire packed; do # the others need PCRE2, libyaml or OpenSSL
    "${compiler[@]}" "${flags[@]}" "tests/fuzz/fuzz_$name.c" tests/fuzz/replay.c "$out/parsers.a" "${link[@]}" -lm -lpthread -o "$out/$name"
    said=$("$out/$name" --damaged "$copies" "tests/fuzz/corpus/$name") # fails here, which an echo of it would not
    echo "$name: $said"
done
