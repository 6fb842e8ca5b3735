#!/usr/bin/env bash
# What runs on several threads, under ThreadSanitizer: the HTTP server, the store, the queue and the runner, the engine,
# quantization to files and folders, measuring, and the service over real sockets. A report of a race fails its test,
# whatever the test said.
#   tests/tsan/run.sh [NAME…]
# Status 77: this machine runs no such program.
set -uo pipefail
cd "$(dirname "$0")/../.."
build=build-tsan
jobs=${JOBS:-2}

# The sanitizer wants its part of the address space free: where a kernel's randomization takes it, go on without.
probe=$(mktemp)
trap 'rm -rf "$probe"' EXIT
works() { echo 'int main(void) { return 0; }' | ${CC:-cc} -fsanitize=thread -x c - -o "$probe" 2>/dev/null && "$probe" 2>/dev/null; }
if ! works; then
    if [ -z "${HT_TSAN_FIXED:-}" ] && setarch -R true 2>/dev/null; then
        HT_TSAN_FIXED=1 exec setarch -R "$0" "$@"
    fi
    echo "skipped: ${CC:-cc} -fsanitize=thread makes no program that runs here"
    exit 77
fi
# The sanitizer must see what is there to be seen: two threads that count without a lock.
${CC:-cc} -fsanitize=thread -x c - -o "$probe" <<'END' || exit 1
#include <pthread.h>
static int n;
static void *count(void *unused) { for (int i = 0; i < 100000; i++) n++; return unused; }
int main(void)
{
    pthread_t t[2];
    for (int i = 0; i < 2; i++) pthread_create(&t[i], NULL, count, NULL);
    for (int i = 0; i < 2; i++) pthread_join(t[i], NULL);
    return 0;
}
END
TSAN_OPTIONS=exitcode=66 "$probe" >/dev/null 2>&1
[ $? -eq 66 ] || { echo "the sanitizer does not see a race"; exit 1; }

unit=(test_hash_files test_store test_store_queue test_store_claims test_store_memory test_events test_child test_lend test_service_parts test_http_parts
    test_engine test_engine_memory test_eval_memory test_hostile_engine test_perplexity test_imatrix test_importance test_options
    test_matrix test_toys)
if [ -f $build/build.ninja ]; then
    meson setup --reconfigure $build >/dev/null # tests are found by folder
else
    meson setup $build -Ddebug=true -Doptimization=1 -Db_sanitize=thread -Db_lundef=false >/dev/null
fi || exit 1
ninja -C $build -j"$jobs" halftone tests/http_echo tests/worker "${unit[@]/#/tests/}" >$build/build.log 2>&1 || { tail -n 40 $build/build.log; exit 1; }

reports=$PWD/$build/reports
rm -rf "$reports" && mkdir -p "$reports"
wanted=" $* " known=" " passed=0 failed=0
check() { # name, command
    local name=$1 status log=$reports/$1.log start=$SECONDS
    shift
    known+="$name "
    [ "$wanted" = "  " ] || [[ $wanted == *" $name "* ]] || return 0
    TSAN_OPTIONS="log_path=$reports/$name.race exitcode=66 second_deadlock_stack=1 history_size=4" \
        HALFTONE=$PWD/$build/halftone HT_EFFORT=0 timeout 3600 "$@" >"$log" 2>&1
    status=$?
    if [ $status -eq 0 ] && ! compgen -G "$reports/$name.race.*" >/dev/null; then
        passed=$((passed + 1)) && echo "ok    $name ($((SECONDS - start)) s)"
        return
    fi
    failed=$((failed + 1))
    echo "FAIL  $name (status $status, $((SECONDS - start)) s)"
    tail -n 30 "$log"
    cat "$reports/$name".race.* 2>/dev/null | head -n 150
}

model=examples/model out=$build/out
rm -rf $out && mkdir -p $out
for name in "${unit[@]}"; do
    check "$name" env HT_SOURCE_ROOT="$PWD" HT_BUILD_ROOT="$PWD/$build" "$build/tests/$name"
done
check http_conformance python3 tests/server/http_conformance.py $build/tests/http_echo --patient
check http_limits python3 tests/server/http_limits.py $build/tests/http_echo
check http_stress python3 tests/server/http_stress.py $build/tests/http_echo
check http_service python3 tests/server/http_conformance.py --serve $build/halftone
check quantize $build/halftone quantize $model -t Q4_K_M,Q8_0,IQ3_S -o $out/types --threads 4
check folders $build/halftone quantize $model -t Q8_0,nf4,gptq,fp8 -o $out/folders --threads 4
check packed sh -c "$build/halftone quantize $model -t gptq -o $out/packed --quiet &&
    $build/halftone quantize $out/packed/model-gptq -t Q4_K_M,nf4 -o $out/again --threads 4 --allow-requantize"
check scalar $build/halftone quantize $model -t Q4_K_M,Q8_0 -o $out/scalar --threads 4 --cpu scalar
check measure $build/halftone quantize $model -t Q4_K_M -o $out/measured --threads 4 --cpu scalar --measure --chunks 1 --ctx 128
# Not resume: it quantizes ten types with scalar code, in one thread and for longer than all others; stop goes on too.
for name in complete measured cancel stop parallel; do
    check "runner_$name" python3 tests/server/test_runner.py $build/tests/worker $build/halftone $model "$name"
done
for name in api guards; do
    check "server_$name" python3 -W ignore "tests/server/test_$name.py"
done
for name in "$@"; do
    [[ $known == *" $name "* ]] || { failed=$((failed + 1)) && echo "there is no check $name; the checks:$known"; }
done
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
