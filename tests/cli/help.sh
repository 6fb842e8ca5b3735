#!/usr/bin/env bash
# Help, manual pages, completion, and what is said about mistakes.
#   tests/cli/help.sh PROGRAM
set -uo pipefail
cd "$(dirname "$0")/../.."
. tests/lib/cli.sh
export LC_ALL=C.UTF-8
say() { echo "FAILED $*"; failed=1; }
wide() { # name, width: lines of the standard input that are wider, by characters
    sed 's/[^ -~]/x/g' | awk -v name="$1" -v most="$2" 'length($0) > most { print "FAILED " name ", a line of " length($0) ": " $0; bad = 1 } END { exit bad }' || failed=1
}

# Every option of every command is in its help once, aligned, in a group, and within 100 columns; the same on man pages
for verb in $(tools/commands.sh); do
    "$halftone" "$verb" --help >"$work/help" || say "$verb --help"
    "$halftone" help "$verb" | diff - "$work/help" || say "help $verb differs"
    "$halftone" "$verb" -h | diff - "$work/help" || say "$verb -h differs"
    wide "$verb --help" 100 <"$work/help"
    grep -q "^usage: halftone $verb" "$work/help" || say "$verb: no usage"
    grep -q "^  -h, --help  *show this help" "$work/help" || say "$verb: --help is not in it"
    # a left side of up to 28 columns has its text in column 32
    sed 's/[^ -~]/x/g' "$work/help" | grep -E "^  -" | grep -vE "^  -.{0,27} [^ ]" | grep -vE "^  -.{28}" | grep -q . && say "$verb: misaligned"
    "$halftone" man "$verb" >"$work/page" || say "man $verb"
    wide "man $verb" 100 <"$work/page"
    grep -q 'Mdocdate' "$work/page" && say "man $verb: a raw date"
    grep -qP '[^\x00-\x7f]' "$work/page" && say "man $verb: a character that roff does not know"
    grep -oE '^  (-[a-z], )?--[a-z-]+' "$work/help" | sed 's/.*--//' | sort >"$work/in_help"
    uniq -d "$work/in_help" | grep . && say "$verb: an option is there twice"
    grep -oE '^\.It .*Fl \\-[a-z-]+' "$work/page" | sed 's/.*\\-//' | sort | diff - "$work/in_help" || say "man $verb has other options"
    if command -v groff >/dev/null; then
        groff -mdoc -Tascii -rLL=100n -P-cbou "$work/page" 2>/dev/null | wide "the page of $verb" 100
    fi
done
"$halftone" man quantize >"$work/page"
"$halftone" quantize --help >"$work/help"
for letter in "Fl t , Fl" "Fl o , Fl"; do grep -q "$letter" "$work/page" || say "man quantize: no $letter"; done
grep -q -- --dry-run "$work/help" || say "quantize: --dry-run is not told"
for group in Types Output Importance Measuring "Memory and processor" "Model hub" General; do
    grep -q "^$group:$" "$work/help" || say "quantize: no group $group"
done
[ "$("$halftone" -V)" = "$("$halftone" --version)" ] || say "-V"
"$halftone" help >"$work/list"
"$halftone" --help | diff - "$work/list" || say "--help and help"
wide "the list of commands" 100 <"$work/list"

# Mistakes: one line says what, with the nearest name, and one where help is; nothing scrolls it away
mistake() { # status, text, command…
    local want=$1 text=$2 got
    shift 2
    "$halftone" "$@" >"$work/out" 2>"$work/err"
    got=$?
    [ "$got" -eq "$want" ] || say "$*: exit status $got, not $want"
    grep -qF -- "$text" "$work/err" || { say "$*: not \"$text\""; cat "$work/err"; }
    [ "$(wc -l <"$work/err")" -le 2 ] || say "$*: more than two lines"
    [ -s "$work/out" ] && say "$*: something on the standard output"
}
mistake 2 'there is no command "quantise"; did you mean quantize?' quantise
mistake 2 'there is no command "xyzzy"' xyzzy
mistake 2 'did you mean generate?' help genrate
mistake 2 'did you mean --tensor-type?' quantize $model --tensor-tpye x
mistake 2 'did you mean --tensor-type?' quantize $model --tensor_type=x
mistake 2 'did you mean --temperature?' generate $model --temprature 1
mistake 2 'did you mean --tensors?' inspect $model --tensor
mistake 2 'did you mean --decode?' tokenize $model --decoed
mistake 2 'did you mean --json?' types --jsn
mistake 2 'did you mean --port?' serve --prot 1
mistake 2 'did you mean submit?' jobs sumbit
mistake 2 'did you mean search?' hub serch x
mistake 2 'did you mean Q4_K_M?' quantize $model -t Q4KM --dry-run
mistake 2 'did you mean IQ4_NL?' estimate $model -t iq4-ln
mistake 2 'did you mean NVIDIA GeForce RTX 3090?' recommend $model --gpu 'RTX 309O'
mistake 2 '--type needs a value' quantize $model --type
mistake 2 'which model?' inspect
mistake 2 'which model?' quantize -t Q8_0
mistake 2 'expected one model, got "a.gguf" and "b.gguf"' tokenize a.gguf b.gguf
mistake 2 'usage: halftone jobs show ID' jobs show
mistake 3 'no such file or folder; models of a hub are named ORG/NAME' quantize nothing -t Q8_0
for verb in estimate recommend eval compare inspect tokenize generate imatrix; do
    # shellcheck disable=SC2086 # a verb with its option
    mistake 3 'no such file or folder; did you mean ./examples/model/config.json?' $verb ./examples/model/cofnig.json $([ $verb = generate ] && echo -p x)
done
printf '\033]0;title\a' >"$work/name"
mistake 3 'no such file or folder' inspect "/nowhere/$(cat "$work/name")"
grep -q "$(printf '\033')" "$work/err" && say "an escape of a name reaches the terminal"
expect "help wins over what is wrong" 0 "$halftone" quantize --help --nothing
expect "an option's value is no question for help" 3 "$halftone" generate /nothing -p --help

# Completion
"$halftone" completion bash >"$work/bash"
complete() { # word, words before it…
    local word=$1
    shift
    bash -c 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _halftone; printf "%s " "${COMPREPLY[@]}"' - "$work/bash" halftone "$@" "$word" 2>/dev/null
}
completes() { # expected, word, words before it…
    local want=$1 got
    shift
    got=$(complete "$@")
    [[ $got == *"$want "* ]] || say "bash completes \"$*\" to \"$got\", without $want"
}
completes quantize quan
completes --tensor-type --tensor-t quantize
completes Q4_K_M Q4_K_M quantize m -t
completes Q8_0,Q4_K_S Q8_0,Q4_K_ quantize m -t
completes Q8_0,F16,IQ2_XXS Q8_0,F16,IQ2_XX quantize m --type
completes submit sub jobs
completes --tensor-type --tensor-t jobs submit m
completes --watch --wa jobs submit m
completes --models --mod serve
completes debug deb serve --log-level
completes 'NVIDIA\ GeForce\ RTX\ 3060' 3060 recommend m --gpu
completes estimate esti man
completes fish f completion
for shell in zsh fish; do
    "$halftone" completion $shell >"$work/$shell"
    command -v $shell >/dev/null && { $shell -n "$work/$shell" || say "$shell does not take its completion"; }
done
finish
