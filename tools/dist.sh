#!/usr/bin/env bash
# The release archive: the program with its manual pages and completions, to be unpacked anywhere and run.
#   tools/dist.sh BUILD_FOLDER [FOLDER]     makes FOLDER/halftone-VERSION-linux-MACHINE.tar.gz (default: dist) and tells its name
# Small libraries are linked into the program; libcurl and libcrypto, which want security updates, stay the system's.
set -euo pipefail
cd "$(dirname "$0")/.."
build=${1:-build} to=${2:-dist}
[ -x "$build/halftone" ] || { echo "$build/halftone is missing: make dist builds it first" >&2; exit 1; }
version=$("$build/halftone" --version | cut -d' ' -f2)
name=halftone-$version-linux-$(uname -m)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
top=$work/$name
mkdir -p "$top"/{bin,share/man/man1,share/bash-completion/completions,share/zsh/site-functions,share/fish/vendor_completions.d,share/doc,lib/systemd/system} "$to"

. tools/static_link.sh
static_link "$build" halftone "$top/bin/halftone"
strip "$top/bin/halftone"

"$top/bin/halftone" man >"$top/share/man/man1/halftone.1"
for command in $(tools/commands.sh); do "$top/bin/halftone" man "$command" >"$top/share/man/man1/halftone-$command.1"; done
"$top/bin/halftone" completion bash >"$top/share/bash-completion/completions/halftone"
"$top/bin/halftone" completion zsh >"$top/share/zsh/site-functions/_halftone"
"$top/bin/halftone" completion fish >"$top/share/fish/vendor_completions.d/halftone.fish"
sed 's#@bindir@#/usr/local/bin#g' packaging/systemd/halftone.service.in >"$top/lib/systemd/system/halftone.service"
cp README.md LICENSE CHANGELOG.md "$top"
cp -r doc/. "$top/share/doc"
cat >"$top/INSTALL" <<TEXT
Run bin/halftone from here, or copy bin, lib and share into /usr/local.

It runs on Debian 12 and on systems with glibc $(objdump -T "$top/bin/halftone" | grep -oE 'GLIBC_[0-9.]+' | sed 's/GLIBC_//' | sort -V | tail -n 1) or newer, on $(uname -m). It needs these shared libraries:
$(objdump -p "$top/bin/halftone" | sed -n 's/^ *NEEDED */  /p')
On Debian: apt-get install libcurl4 libssl3
TEXT
# The same bytes for the same program
tar -C "$work" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}" -cf - "$name" |
    gzip -9n >"$to/$name.tar.gz"
echo "$to/$name.tar.gz"
