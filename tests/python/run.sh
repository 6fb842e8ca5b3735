#!/usr/bin/env bash
# The Python package from its wheel, in fresh virtual environments: without other packages, with NumPy and tqdm, and with
# PyTorch where the parity environment is set up. Types are checked by mypy --strict, and the notebook of examples/python is executed.
#   tests/python/run.sh BUILD_FOLDER [asan]      asan: with the library of BUILD_FOLDER-asan in the wheel's place
# What the tests themselves need is installed once, into BUILD_FOLDER/python-tests.
set -uo pipefail
cd "$(dirname "$0")/../.."
build=$(realpath "${1:-build}") failed=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
tools=$build/python-tests
needs=(pytest==8.4.2 mypy==1.19.1)
notebook=(numpy==2.2.6 matplotlib==3.11.2 nbclient==0.11.0 nbformat==5.11.1 ipykernel==7.4.0)
if ! cmp -s tests/python/run.sh "$tools/done"; then
    rm -rf "$tools"
    python3 -m pip install -q --target "$tools/bare" "${needs[@]}" >&2 &&
        python3 -m pip install -q --target "$tools/numpy" numpy==2.2.6 tqdm==4.67.1 types-tqdm safetensors==0.6.2 >&2 &&
        python3 -m pip install -q --target "$tools/notebook" "${notebook[@]}" >&2 &&
        cp tests/python/run.sh "$tools/done" || { echo "SKIPPED tests/python: pytest, mypy, NumPy or matplotlib cannot be installed"; exit 77; }
fi
[ "${2:-}" != asan ] || [ -e "$build-asan/libhalftone.so" ] || { echo "there is no $build-asan/libhalftone.so"; exit 77; }
wheel=$(tools/wheel.sh "$build" "$work/dist") || { echo "FAILED: there is no wheel"; exit 1; }

# A virtual environment with the wheel and nothing else, which sees the folders of packages that are named.
environment() { # name, folder…
    local name=$1 packages folder
    shift
    python3 -m venv "$work/$name" >/dev/null && "$work/$name/bin/python" -m pip install -q --no-index --no-deps "$wheel" || exit 1
    packages=$("$work/$name/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
    for folder; do echo "$folder" >>"$packages/tests.pth"; done
}
run() { # name, arguments of pytest…
    local name=$1
    shift
    echo "== $name"
    # from another folder, so that the package is the wheel's
    (mkdir -p "$work/elsewhere" && cd "$work/elsewhere" && HT_SOURCE="$OLDPWD" HT_HALFTONE="$build/halftone" HT_WITH="$name" HT_SHARED="${HT_SHARED:-$OLDPWD/../shared}" "$work/$name/bin/python" -m pytest -q -p no:cacheprovider \
        "$@" "$OLDPWD/tests/python") || failed=1
}

environment bare "$tools/bare"
environment numpy "$tools/bare" "$tools/numpy"
if [ "${2:-}" = asan ]; then
    export HALFTONE_LIBRARY=$build-asan/libhalftone.so ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1
    sanitizers=$(gcc -print-file-name=libasan.so):$(gcc -print-file-name=libubsan.so)
    LD_PRELOAD=$sanitizers run numpy
    if [ -n "${HT_PARITY_PYTHON:-}" ]; then
        environment torch "$tools/bare" "$("$HT_PARITY_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
        LD_PRELOAD=$sanitizers run torch
    fi
    exit $failed
fi
run bare
run numpy
"$work/numpy/bin/python" -m mypy --strict --config-file python/pyproject.toml -p halftone || failed=1
"$work/numpy/bin/python" -m mypy --strict --config-file python/pyproject.toml tests/python/typed.py || failed=1
echo "== the notebook"
environment notebook "$tools/notebook"
(cd "$work/elsewhere" && HT_MODEL="$OLDPWD/examples/model" JUPYTER_PATH="$tools/notebook/share/jupyter" "$work/notebook/bin/python" -W ignore \
    "$OLDPWD/tests/python/notebook.py" "$OLDPWD/examples/python/size_against_loss.ipynb") || failed=1
if [ -n "${HT_PARITY_PYTHON:-}" ]; then
    environment torch "$tools/bare" "$("$HT_PARITY_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')"
    run torch
else
    echo "SKIPPED tests/python with PyTorch: it is that of tests/parity/setup.sh"
fi
exit $failed
