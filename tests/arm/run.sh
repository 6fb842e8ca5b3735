#!/usr/bin/env bash
# The program and its unit tests built for 64-bit ARM, and run by qemu where this machine is another.
#   tests/arm/run.sh [TEST…]
# Without names every unit test runs that asks nothing of the machine itself, and the program's own runs on the example model.
# Status 77: this machine lacks the emulator, or the compiler and the libraries cannot be fetched.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD/build-aarch64-root build=build-aarch64
command -v qemu-aarch64 >/dev/null || { echo "skipped: no qemu-aarch64 (make nightly-packages installs qemu-user)" && exit 77; }
tools/arm_sysroot.sh "$root"
for libraries in "$root"/cross/usr/lib/*-linux-gnu; do export LD_LIBRARY_PATH=$libraries; done # the assembler's and the linker's
cache="[]"
command -v ccache >/dev/null && cache="['ccache']"
printf "[constants]\nroot = '%s'\ncache = %s\n" "$root" "$cache" >"$root/here.ini"
[ -e "$build/build.ninja" ] && rebuilt=--reconfigure || rebuilt=
meson setup $rebuilt "$build" --cross-file "$root/here.ini" --cross-file packaging/cross/aarch64.ini \
    -Dpage=plain -Dpostgresql=disabled -Dredis=disabled >/dev/null
kernels=(test_codecs test_ops test_matmul test_matmul8 test_matmul16 test_best test_weights test_grid test_iq1_ties
    test_iq3_s_zero_group)
units=(test_schemes test_methods test_best_method test_engine test_backends test_small_float test_int_grid test_sum test_nearest
    test_matrix test_scaled test_gguf_read test_safetensors test_pytorch)
wanted=("$@")
[ $# -gt 0 ] || wanted=("${kernels[@]}" "${units[@]}")
ninja -C "$build" -j"${JOBS:-2}" halftone "${wanted[@]/#/tests/}" >"$build/build.log" 2>&1 || { tail -n 40 "$build/build.log"; exit 1; }
meson test -C "$build" --no-rebuild --print-errorlogs -t 10 --num-processes "${JOBS:-2}" "${wanted[@]}"
[ $# -eq 0 ] || exit 0
# A processor without products of matrices of bytes: what the tests above used where there are some.
HT_SOURCE_ROOT=$PWD HT_BUILD_ROOT=$PWD/$build qemu-aarch64 -cpu cortex-a76 -L "$root" "$build/tests/test_matmul8"

# The program: the same bytes as this machine's own, at every level; a processor that lacks a level refuses it.
here=${BUILD:-build}/halftone out=$build/out model=examples/model
arm() { qemu-aarch64 -cpu "$1" -L "$root" "$build/halftone" "${@:2}"; }
rm -rf "$out" && mkdir -p "$out"
types=Q4_K_M,Q3_K_M,Q2_K,Q8_0,Q4_0,F16,BF16
"$here" quantize $model -t $types -o "$out/here" --quiet
for level in scalar neon; do
    arm max quantize $model -t $types -o "$out/$level" --cpu $level --quiet
    for file in "$out"/here/*.gguf; do
        cmp "$file" "$out/$level/${file##*/}" || { echo "${file##*/} is not the same at $level" && exit 1; }
    done
done
arm cortex-a76 quantize $model -t Q8_0 -o "$out/a76" --report "$out/report" --quiet # the least that has dot products
grep -q '"cpu": "neon"' "$out/report" || { echo "a Cortex-A76 does not run neon" && exit 1; }
if arm cortex-a53 quantize $model -t Q8_0 -o "$out/a53" --cpu neon --quiet 2>"$out/said"; then
    echo "a Cortex-A53 has no dot products, and --cpu neon was taken" && exit 1
fi
grep -q 'this machine cannot run neon' "$out/said" || { cat "$out/said" && exit 1; }
echo "the program's files are the same, byte for byte"
