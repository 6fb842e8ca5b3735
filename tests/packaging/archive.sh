#!/usr/bin/env bash
# The release archive, unpacked elsewhere: the program runs without the tree that it comes from, needs no libraries but
# those that INSTALL names, and quantizes to the same bytes.
#   tests/packaging/archive.sh BUILD_FOLDER SOURCE_FOLDER
set -uo pipefail
build=$(realpath "$1") source=$(realpath "$2") failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED $*"; failed=1; }

# Other tests run the program meanwhile: making the archive builds nothing in its folder.
mkdir "$work/bin"
cat >"$work/bin/ninja" <<SCRIPT
#!/bin/sh
case " \$* " in *" -t "*) exec $(command -v ninja) "\$@" ;; esac
echo "ninja \$*: the archive builds what others are running" >&2
exit 1
SCRIPT
chmod +x "$work/bin/ninja"
PATH=$work/bin:$PATH "$source/tools/dist.sh" "$build" "$work/dist" >"$work/name" 2>"$work/err"
status=$?
[ $status -eq 77 ] && { cat "$work/err"; exit 77; }
[ $status -eq 0 ] || { cat "$work/err"; fail "there is no archive"; exit 1; }
mkdir "$work/elsewhere with blanks"
cd "$work/elsewhere with blanks" || exit 1
tar -xzf "$(cat "$work/name")" || fail "it cannot be unpacked"
[ "$(tar -tzf "$(cat "$work/name")" | cut -d/ -f1 | sort -u | wc -l)" -eq 1 ] || fail "more than one folder at the top"
cd halftone-* || exit 1
for path in bin/halftone README.md LICENSE CHANGELOG.md INSTALL share/man/man1/halftone.1 share/man/man1/halftone-quantize.1 \
    share/bash-completion/completions/halftone share/zsh/site-functions/_halftone share/fish/vendor_completions.d/halftone.fish; do
    [ -s "$path" ] || fail "$path is missing"
done
grep -q "$build\|$source" <(strings bin/halftone) && fail "the program names the folder it was built in"
objdump -p bin/halftone | sed -n 's/^ *NEEDED *//p' >"$work/needed"
while read -r library; do
    case $library in
    libc.so.6 | libm.so.6 | ld-linux*.so.* | libcurl.so.4 | libcrypto.so.3 | libgcc_s.so.1 | libmvec.so.1) ;;
    *) fail "it needs $library" ;;
    esac
    grep -q "^  $library$" INSTALL || fail "INSTALL does not name $library"
done <"$work/needed"
objdump -p bin/halftone | grep -qE 'RPATH|RUNPATH' && fail "it looks for libraries in a folder of its own"
run() { env -i HOME="$work" PATH=/usr/bin:/bin "$@"; }
run bin/halftone quantize "$source/examples/model" -t Q4_K_M,Q8_0 -o "$work/out" >"$work/log" 2>&1 || { fail "quantize"; cat "$work/log"; }
"$build/halftone" quantize "$source/examples/model" -t Q4_K_M,Q8_0 -o "$work/own" >/dev/null 2>&1
for type in Q4_K_M Q8_0; do cmp "$work/out/model-$type.gguf" "$work/own/model-$type.gguf" || fail "$type differs"; done
run bin/halftone generate "$work/out/model-Q4_K_M.gguf" -p Once -n 4 >"$work/text" 2>&1 || fail "generate"
run bin/halftone serve --data "$work/data" --list-tokens >/dev/null 2>&1 || fail "the service's database"
[ "$failed" -eq 0 ] && echo "every case passed"
exit "$failed"
