# Sourced by dist.sh and wheel.sh.
#   static_link BUILD_FOLDER TARGET FILE     links TARGET of the build again, as FILE, with small libraries inside
# libcurl and libcrypto, which want security updates, are not among them.
static_link() {
    local build=$1 target=$2 file=$3 static='yaml|pcre2-8|utf8proc|jansson|sqlite3|z' link archive
    # The build's own command, with archives in the place of shared libraries
    link=$(ninja -C "$build" -t commands "$target" | tail -n 1)
    case $link in *fsanitize*) echo "a sanitizer's build is not for release" >&2; exit 77 ;; esac
    link=$(sed -E "s#(/[^ ]*/lib($static))\.so#\1.a#g; s#-o $target( |\$)#-o $file #" <<<"$link")
    for archive in $(grep -oE "/[^ ]*/lib($static)\.a" <<<"$link" | sort -u); do
        [ -e "$archive" ] || { echo "$archive is missing: it comes with the library's development package" >&2; exit 1; }
    done
    # Their names stay inside: another library of the process may have its own
    (cd "$build" && bash -c "$link -Wl,--exclude-libs,libyaml.a:libpcre2-8.a:libutf8proc.a:libz.a")
}
