/*
 * The engine's products, one thread, the thread's own time:
 *     bench_ops [type …]
 * For each type and each CPU level that this machine has: a strip of rows with 512 tokens in eight
 * bits and in floats (Gop/s, a multiplication and an addition being two), and a matrix beyond the
 * caches with one token (GB/s of weights). Above them the limits of the same core: multiply-adds of
 * registers alone, and reading memory alone.
 */
#include "kernels/ops/ops.h"
#include "clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

enum { N_IN = 4096, TOKENS = 512, ROWS = 128, TRIES = 60, BIG = 192 << 20 };

static float x[TOKENS * N_IN], y[TOKENS * ROWS];
static int8_t codes[TOKENS * N_IN];
static float scales[TOKENS * N_IN / 32];
static int32_t sums[TOKENS * N_IN / 16];
static struct ht__activations activations = {codes, scales, sums, N_IN, false};

/* ---- limits ---- */

#if defined(__x86_64__)
/* Twenty independent sums: more than any core has in flight. */
#define LIMIT(name, features, type, zero, step, per_step)                                                              \
    __attribute__((target(features))) static double name(void)                                                         \
    {                                                                                                                  \
        enum { STEPS = 1 << 20 };                                                                                      \
        double best = 0;                                                                                               \
        for (int try = 0; try < TRIES; try++) {                                                                        \
            type s[10], one = zero();                                                                                  \
            __asm__ volatile("" : "+v"(one));                                                                          \
            for (int i = 0; i < 10; i++)                                                                               \
                s[i] = zero();                                                                                         \
            double start = thread_seconds();                                                                           \
            for (int k = 0; k < STEPS; k++) {                                                                          \
                for (int i = 0; i < 10; i++) {                                                                         \
                    s[i] = step;                                                                                       \
                    __asm__ volatile("" : "+v"(s[i]));                                                                 \
                }                                                                                                      \
            }                                                                                                          \
            double rate = 10.0 * STEPS * (per_step) / (thread_seconds() - start) / 1e9;                                \
            best = rate > best ? rate : best;                                                                          \
        }                                                                                                              \
        return best;                                                                                                   \
    }
LIMIT(floats_avx2, "avx2,fma", __m256, _mm256_setzero_ps, _mm256_fmadd_ps(one, one, s[i]), 16)
LIMIT(floats_avx512, "avx512f", __m512, _mm512_setzero_ps, _mm512_fmadd_ps(one, one, s[i]), 32)
LIMIT(bytes_avx2, "avx2", __m256i, _mm256_setzero_si256, _mm256_add_epi16(s[i], _mm256_maddubs_epi16(one, s[i])), 64)
LIMIT(bytes_avx512, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512, _mm512_dpbusd_epi32(s[i], one, one), 128)
#undef LIMIT
#endif

static double reading(const uint8_t *big)
{
    double best = 0;
    for (int try = 0; try < 3; try++) {
        uint64_t sum[8] = {0};
        double start = thread_seconds();
        for (size_t i = 0; i < BIG; i += 64) {
            uint64_t line[8];
            memcpy(line, big + i, sizeof line);
            for (int j = 0; j < 8; j++)
                sum[j] += line[j];
        }
        double rate = (double)BIG / (thread_seconds() - start) / 1e9;
        __asm__ volatile("" ::"r"(sum) : "memory");
        best = rate > best ? rate : best;
    }
    return best;
}

static void print_limits(const uint8_t *big)
{
#if defined(__x86_64__)
    if (ht__cpu_has(HT__CPU_avx2))
        printf("limits    avx2    %8.1f Gop/s in eight bits, %8.1f in floats\n", bytes_avx2(), floats_avx2());
    if (ht__cpu_has(HT__CPU_avx512))
        printf("limits    avx512  %8.1f Gop/s in eight bits, %8.1f in floats\n", bytes_avx512(), floats_avx512());
#endif
    printf("limits    reading %8.1f GB/s\n\n", reading(big));
}

/* ---- products ---- */

struct product {
    const struct ht__ops *ops;
    struct ht__matmul_weights w;
    ht__matmul8_fn *matmul8;
    ht__vector_fn *vector;
};

static double seconds(const struct product *p, const uint8_t *rows, int64_t n_rows, int64_t n)
{
    static _Alignas(64) float scratch[HT__MATMUL_SCRATCH];
    struct ht__matmul_weights w = p->w;
    double start = thread_seconds();
    for (int64_t row = 0; row < n_rows; row += HT__MATMUL_ROWS) {
        float *out = y + row % ROWS;
        w.rows = rows + (size_t)row * w.row_bytes;
        if (p->matmul8)
            p->matmul8(&w, &activations, n, out, ROWS);
        else if (p->vector && n == 1)
            p->vector(&w, x, out);
        else
            p->ops->matmul(&w, x, N_IN, n, out, ROWS, scratch);
    }
    return thread_seconds() - start;
}

static void bench(const struct ht__codec *c, enum ht__cpu_level level, const uint8_t *big)
{
    struct product p = {.ops = ht__ops(level)};
    p.w = (struct ht__matmul_weights){.decode = ht__decoder(c, level),
                                      .row_bytes = ht__codec_bytes(c, N_IN),
                                      .n_in = N_IN,
                                      .block_len = c->block_len,
                                      .block_size = c->block_size,
                                      .n_rows = HT__MATMUL_ROWS};
    int64_t n_rows = (int64_t)(BIG / p.w.row_bytes) / ROWS * ROWS;
    double floats = 1e9, many = 1e9, one = 1e9;
    for (int try = 0; try < TRIES; try++) {
        double s = seconds(&p, big, ROWS, TOKENS / 4) * 4;
        floats = s < floats ? s : floats;
    }
    p.matmul8 = p.ops->matmul8(c);
    p.vector = p.ops->vector(c);
    for (int try = 0; try < TRIES && p.matmul8; try++) {
        double s = seconds(&p, big, ROWS, TOKENS);
        many = s < many ? s : many;
    }
    for (int try = 0; try < 3; try++) {
        double s = seconds(&p, big, n_rows, 1);
        one = s < one ? s : one;
    }
    double ops = 2.0 * ROWS * TOKENS * N_IN / 1e9;
    printf("%-9s %-7s", c->name, ht__cpu_level_name(level));
    p.matmul8 ? printf(" %9.1f", ops / many) : printf(" %9s", "-");
    printf(" %9.1f %10.2f %9.2f%s\n", ops / floats, (double)n_rows * (double)p.w.row_bytes / one / 1e9,
           (double)n_rows * N_IN / one / 1e9, p.matmul8 || p.vector ? "" : "  (floats)");
    fflush(stdout);
}

static void fill(const struct ht__codec *c, uint8_t *big)
{
    static float importance[N_IN];
    size_t strip = ht__codec_bytes(c, N_IN) * ROWS;
    for (int i = 0; i < N_IN; i++)
        importance[i] = 1;
    ht__encoder(c, ht__cpu_best())(x, ROWS, N_IN, importance, big);
    for (size_t at = strip; at + strip <= BIG; at += strip)
        memcpy(big + at, big, strip);
}

static int wanted(const char *name, int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], name) == 0) return 1;
    return argc <= 1;
}

int main(int argc, char **argv)
{
    uint8_t *big = aligned_alloc(64, BIG);
    if (!big) return 1;
    memset(big, 1, BIG);
    for (int i = 0; i < TOKENS * N_IN; i++)
        x[i] = (float)((uint32_t)i * 2654435761u >> 8) * 0x1p-23f - 1;
    ht__ops(ht__cpu_best())->activations(x, N_IN, TOKENS, &activations);
    print_limits(big);
    printf("%-9s %-7s %9s %9s %10s %9s\n", "", "", "512, 8 b", "512, f32", "one token", "");
    printf("%-9s %-7s %9s %9s %10s %9s\n", "type", "level", "Gop/s", "Gop/s", "GB/s", "Gw/s");
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        if (c->flags & HT__CODEC_SOURCE_ONLY || !wanted(c->name, argc, argv)) continue;
        fill(c, big);
        for (int level = 1; level < HT__CPU_N_LEVELS; level++)
            if (ht__cpu_has((enum ht__cpu_level)level)) bench(c, (enum ht__cpu_level)level, big);
    }
    free(big);
    return 0;
}
