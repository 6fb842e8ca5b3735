#!/usr/bin/env bash
# What `meson install` puts where: the program, the library that others build against, a manual page for each command,
# completions that the shells take, and a unit that systemd takes.
#   tests/packaging/install.sh BUILD_FOLDER SOURCE_FOLDER
set -uo pipefail
build=$1 source=$2 failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "FAILED $*"; failed=1; }

DESTDIR=$work/root meson install -C "$build" --no-rebuild >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }
prefix=$(find "$work/root" -path '*/bin/halftone' | sed 's|/bin/halftone$||')
[ -n "$prefix" ] || { fail "no program"; exit 1; }
for path in include/halftone/halftone.h include/halftone/err.h include/halftone/matrix.h include/halftone/base.h include/halftone/model.h include/halftone/batch.h share/man/man1/halftone.1 lib/systemd/system/halftone.service \
    share/bash-completion/completions/halftone share/zsh/site-functions/_halftone share/fish/vendor_completions.d/halftone.fish; do
    [ -s "$prefix/$path" ] || fail "$path is missing"
done

# every command of the program, and no other, has its page
"$prefix/bin/halftone" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p' | sort >"$work/commands"
find "$prefix/share/man/man1" -name 'halftone-*.1' | sed 's|.*/halftone-||; s|\.1$||' | sort >"$work/pages"
diff "$work/commands" "$work/pages" || fail "commands and manual pages differ"
"$source/tools/commands.sh" | sort | diff - "$work/commands" || fail "tools/commands.sh and the program differ"
if command -v groff >/dev/null; then
    for page in "$prefix"/share/man/man1/*; do
        groff -mdoc -Tutf8 -ww "$page" >"$work/page" 2>"$work/err" && grep -q "^HALFTONE" "$work/page" || { fail "$page"; cat "$work/err"; }
    done
    groff -mdoc -Tutf8 -P-cbou "$prefix/share/man/man1/halftone-jobs.1" | grep -q "halftone jobs.* \[COMMAND\]" || fail "a synopsis without its command"
else
    echo "SKIPPED how the pages look: there is no groff"
fi

# completions are taken by their shells
bash -n "$prefix/share/bash-completion/completions/halftone" || fail "bash completion"
words=$(bash -c 'source "$1"; COMP_WORDS=(halftone quantize --tensor-); COMP_CWORD=2; _halftone; echo "${COMPREPLY[@]}"' - \
    "$prefix/share/bash-completion/completions/halftone")
[ "$words" = --tensor-type ] || fail "bash completes --tensor- to \"$words\""
for shell in zsh fish; do
    file=$prefix/share/zsh/site-functions/_halftone
    [ $shell = fish ] && file=$prefix/share/fish/vendor_completions.d/halftone.fish
    command -v $shell >/dev/null || { echo "SKIPPED $shell: it is not here"; continue; }
    $shell -n "$file" || fail "$shell completion"
done

# the library, as others use it
cat >"$work/use.c" <<'C'
#include <halftone/halftone.h>
#include <stdio.h>
int main(void) { struct ht_gpu_info g; return puts(ht_version()) < 0 || !ht_gpu_at(0, &g); }
C
pc=$(find "$prefix" -name halftone.pc)
where=$(PKG_CONFIG_PATH=$(dirname "$pc") pkg-config --variable=prefix halftone)
flags=$(PKG_CONFIG_PATH=$(dirname "$pc") pkg-config --cflags --libs halftone | sed "s|$where|$prefix|g")
library=$(dirname "$(dirname "$pc")")
if grep -q __asan_init "$library/libhalftone.so"; then
    echo "SKIPPED linking with the library: it is a sanitizer's"
else
    # shellcheck disable=SC2086 # several flags
    for example in "$source"/examples/*.c; do
        cc "$example" -o "$work/example" $flags || fail "$example does not compile with what is installed"
    done
    cc "$work/use.c" -o "$work/use" $flags || fail "the library does not link"
    [ "$(LD_LIBRARY_PATH=$library "$work/use")" = "$("$prefix/bin/halftone" --version | cut -d' ' -f2)" ] || fail "the library's version"
fi

# the unit: systemd knows every line of it, and it leaves little open
unit=$prefix/lib/systemd/system/halftone.service
if command -v systemd-analyze >/dev/null; then
    # its program lies under $work and its manual pages are not installed here: that is no fault of the unit
    systemd-analyze verify "$unit" 2>&1 | grep -vE "is not executable|Command 'man " | grep halftone.service && fail "the unit"
    systemd-analyze security --offline=true --threshold=20 "$unit" >"$work/security" || { fail "the unit's exposure"; tail -n 1 "$work/security"; }
else
    echo "SKIPPED the unit: there is no systemd-analyze"
fi
[ "$failed" -eq 0 ] && echo "every case passed"
exit "$failed"
