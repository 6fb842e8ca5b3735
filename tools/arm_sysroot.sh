#!/usr/bin/env bash
# What a build for 64-bit ARM needs on another machine, unpacked into a folder: libraries, and in its folder `cross` a compiler.
#   tools/arm_sysroot.sh FOLDER
# The machine's own packages are not touched: Debian's cross compilers and its compiler for 32 bits exclude each other. The
# packages are those that the machine's own sources list (Debian's do). Status 77: they could not be fetched.
set -euo pipefail
root=${1:?a folder}
tools=(binutils-aarch64-linux-gnu cpp-12-aarch64-linux-gnu gcc-12-aarch64-linux-gnu gcc-12-aarch64-linux-gnu-base gcc-12-cross-base
    libgcc-12-dev-arm64-cross)
packages=(libc6-dev libgcc-12-dev libssl-dev libyaml-dev libpcre2-dev libutf8proc-dev libjansson-dev zlib1g-dev
    libcurl4-openssl-dev libsqlite3-dev libcmocka-dev)
wanted=$(printf '%s\n' "${packages[@]}" "${tools[@]}" | cksum)
[ "$(cat "$root/.packages" 2>/dev/null)" != "$wanted" ] || exit 0
command -v apt-get >/dev/null || { echo "skipped: no apt-get, which fetches the libraries for arm64" && exit 77; }
mkdir -p "$root"
root=$(cd "$root" && pwd)
rm -f "$root/.packages"
mkdir -p "$root/.apt/lists/partial" "$root/.apt/archives/partial"
: >"$root/.apt/status" # nothing is installed there
apt=(apt-get -qq -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o "Dir::State=$root/.apt"
    -o "Dir::State::status=$root/.apt/status" -o "Dir::Cache=$root/.apt" -o Debug::NoLocking=1 -o APT::Sandbox::User=root)
if ! { "${apt[@]}" update && "${apt[@]}" install --yes --download-only --no-install-recommends "${packages[@]}"; } >"$root/.log" 2>&1; then
    echo "skipped: the libraries for arm64 cannot be fetched: $(grep '^E:' "$root/.log" | tail -n 1)"
    exit 77
fi
if ! (mkdir -p "$root/.apt/cross" && cd "$root/.apt/cross" && apt-get -qq download "${tools[@]}") >"$root/.log" 2>&1; then
    echo "skipped: a compiler for arm64 cannot be fetched: $(grep '^E:' "$root/.log" | tail -n 1)"
    exit 77
fi
for package in "$root"/.apt/archives/*.deb; do
    dpkg -x "$package" "$root"
done
mkdir -p "$root/cross"
for package in "$root"/.apt/cross/*.deb; do
    dpkg -x "$package" "$root/cross"
done
# Links from the root lead out of the folder otherwise.
find "$root/usr" "$root/lib" -xtype l -lname '/*' -print0 | while IFS= read -r -d '' link; do
    ln -sf "$root$(readlink "$link")" "$link"
done
rm -rf "$root/.apt"
echo "$wanted" >"$root/.packages"
