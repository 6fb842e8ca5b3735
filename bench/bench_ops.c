/*
 * The engine's products, one thread, the thread's own time:
 *     bench_ops [--json FILE] [type …]
 * For each type and each CPU level that this machine has: a strip of rows with 512 tokens in eight
 * bits, in BF16 and in floats (Gop/s, a multiplication and an addition being two), and a matrix beyond the
 * caches with one token and with a few (GB/s of weights), in huge pages where the kernel gives them. The
 * line above them says what the same core can do at most: multiply-adds of registers alone, and reading alone.
 */
#include "kernels/ops/ops.h"
#include "common/reading.h"
#include "common/report.h"
#include "clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { N_IN = 4096, TOKENS = 512, ROWS = 128, TRIES = 60, BIG = 768 << 20, N_FEW = 4 };
static const int few[N_FEW] = {1, 2, 4, 8}; /* texts that are made at once */

static float x[TOKENS * N_IN], y[TOKENS * ROWS];
static int8_t codes[TOKENS * N_IN];
static float scales[TOKENS * N_IN / 32];
static int32_t sums[TOKENS * N_IN / 16];
static struct ht__activation_tile tiles[TOKENS / 16 * (N_IN / 256)];
static struct ht__activations activations = {
    .codes = codes, .scales = scales, .sums = sums, .n_in = N_IN, .tiles = tiles, .sixteens = TOKENS / 16};
static struct ht__bf16_tile parts[TOKENS / 16 * (N_IN / 256) * 2];
static struct ht__split split = {.tiles = parts, .sixteens = TOKENS / 16, .n_in = N_IN};

/* ---- products ---- */

struct product {
    const struct ht__ops *ops;
    struct ht__matmul_weights w;
    ht__matmul8_fn *matmul8;
    ht__matmul16_fn *matmul16;
    ht__vector_fn *vector;
};

static double seconds(const struct product *p, const uint8_t *rows, int64_t n_rows, int64_t n)
{
    static _Alignas(64) float scratch[HT__MATMUL_SCRATCH];
    struct ht__matmul_weights w = p->w;
    double start = thread_seconds();
    w.n_rows = p->matmul16 && n > 1 ? HT__MATMUL16_ROWS : HT__MATMUL_ROWS;
    for (int64_t row = 0; row < n_rows; row += w.n_rows) {
        float *out = y + row % ROWS;
        w.rows = rows + (size_t)row * w.row_bytes;
        if (p->matmul16 && n > 1)
            p->matmul16(&w, &split, n, out, ROWS, scratch);
        else if (p->matmul8)
            p->matmul8(&w, &activations, n, out, ROWS);
        else if (p->vector && n == 1)
            p->vector(&w, x, out);
        else
            p->ops->matmul(&w, x, N_IN, n, out, ROWS, scratch);
    }
    return thread_seconds() - start;
}

/* Of weights a second, the best of three. */
static double gigabytes(const struct product *p, const uint8_t *big, int64_t n_rows, int n)
{
    double least = 1e9;
    for (int try = 0; try < 3; try++) {
        double s = seconds(p, big, n_rows, n);
        least = s < least ? s : least;
    }
    return (double)n_rows * (double)p->w.row_bytes / least / 1e9;
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
    double floats = 1e9, halves = 1e9, many = 1e9, rate[N_FEW];
    for (int try = 0; try < TRIES; try++) {
        double s = seconds(&p, big, ROWS, TOKENS / 4) * 4;
        floats = s < floats ? s : floats;
    }
    p.matmul16 = p.ops->matmul16 ? p.ops->matmul16(c) : NULL;
    for (int64_t i = 0; i < TOKENS / 16 && p.matmul16; i++)
        p.ops->split(x + 16 * i * N_IN, N_IN, 16, &split, i);
    for (int try = 0; try < TRIES && p.matmul16; try++) {
        double s = seconds(&p, big, ROWS, TOKENS);
        halves = s < halves ? s : halves;
    }
    p.matmul8 = p.ops->matmul8(c);
    p.vector = p.ops->vector(c);
    for (int try = 0; try < TRIES && p.matmul8; try++) {
        double s = seconds(&p, big, ROWS, TOKENS);
        many = s < many ? s : many;
    }
    for (int i = 0; i < N_FEW; i++)
        rate[i] = gigabytes(&p, big, n_rows, few[i]);
    double ops = 2.0 * ROWS * TOKENS * N_IN / 1e9;
    printf("%-9s %-10s", c->name, ht__cpu_level_name(level));
    p.matmul8 ? printf(" %9.1f", ops / many) : printf(" %9s", "-");
    p.matmul16 ? printf(" %9.1f", ops / halves) : printf(" %9s", "-");
    printf(" %9.1f", ops / floats);
    for (int i = 0; i < N_FEW; i++)
        printf(" %8.2f", rate[i]);
    printf("%s\n", p.matmul8 || p.vector ? "" : "  (floats)");
    fflush(stdout);
    BENCH_ROW({"type", .text = c->name}, {"level", .text = ht__cpu_level_name(level)},
              {"eight_bit_gops", .number = p.matmul8 ? ops / many : NAN},
              {"bf16_gops", .number = p.matmul16 ? ops / halves : NAN}, {"float_gops", .number = ops / floats},
              {"one_token_gbs", .number = rate[0]}, {"two_tokens_gbs", .number = rate[1]},
              {"four_tokens_gbs", .number = rate[2]}, {"eight_tokens_gbs", .number = rate[3]});
}

/* Operations that differ from those of the level below. */
static int has_own(const struct ht__codec *c, enum ht__cpu_level level)
{
    const struct ht__ops *own = ht__ops(level), *below = ht__ops((enum ht__cpu_level)(level - 1));
    return own->matmul8(c) != below->matmul8(c) || own->vector(c) != below->vector(c) ||
           (own->matmul16 ? own->matmul16(c) : NULL) != (below->matmul16 ? below->matmul16(c) : NULL);
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
    bench_begin("bench_ops", &argc, argv);
    uint8_t *big = reading_room(BIG, 1);
    if (!big) return 1;
    for (int i = 0; i < TOKENS * N_IN; i++)
        x[i] = (float)((uint32_t)i * 2654435761u >> 8) * 0x1p-23f - 1;
    const struct ht__ops *ops = ht__ops(ht__cpu_best());
    ops->activations(x, N_IN, TOKENS, &activations);
    for (int i = 0; ops->tile && i < TOKENS; i += 16)
        ops->tile(&activations, i);
    printf("\n");
    printf("%-20s %9s %9s %9s  GB/s of weights with tokens:\n%-9s %-10s %9s %9s %9s", "", "512, 8 b", "512, bf16",
           "512, f32", "type", "level", "Gop/s", "Gop/s", "Gop/s");
    for (int i = 0; i < N_FEW; i++)
        printf(" %8d", few[i]);
    printf("\n");
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        if (c->flags & HT__CODEC_SOURCE_ONLY || !wanted(c->name, argc, argv)) continue;
        fill(c, big);
        for (int level = 1; level < HT__CPU_N_LEVELS; level++)
            if (ht__cpu_has((enum ht__cpu_level)level) && has_own(c, (enum ht__cpu_level)level))
                bench(c, (enum ht__cpu_level)level, big);
    }
    munmap(big, BIG);
    return bench_end();
}
