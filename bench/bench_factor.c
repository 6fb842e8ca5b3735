/*
 * What calibrated methods compute with a Gram matrix, one thread, the thread's own time:
 *     bench_factor [--json FILE] [columns]
 * The matrix from activations, its factor, solutions of triangular systems, error feedback and a sweep of descent: Gop/s (a
 * multiplication and an addition being two), beside the float products of the same matrix, and in the line above them what the
 * core can do at most. Matrix, factor and solutions are held against sums in double at places all over them: beyond its bound
 * an error fails the benchmark.
 */
#include "calibrate/site.h"
#include "clock.h"
#include "common/report.h"
#include "methods/feedback.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOKENS = 512, ROWS = 64, TRIES = 15 };

struct bench {
    int64_t n;
    const struct ht__ops *ops;
    struct ht__pool *pool;
    struct ht__gram gram;
    struct ht__factor factor;
    float *x, *y, *scratch, *placed;
    struct ht__site_stats site;
    struct ht__coder coder;
    struct ht__feedback_buffers buffers;
    void *coded;
};

static float noise(uint32_t *seed)
{
    *seed = *seed * 1664525u + 1013904223u;
    return (float)(*seed >> 8) * 0x1p-23f - 1;
}

static void put(const char *what, double ops, double seconds)
{
    printf("%-34s %9.1f Gop/s %9.4f s\n", what, ops / seconds / 1e9, seconds);
    fflush(stdout);
    BENCH_ROW({"what", .text = what}, {"gops", .number = ops / seconds / 1e9}, {"seconds", .number = seconds});
}

static void *room(size_t n, size_t size)
{
    void *memory = aligned_alloc(64, (n * size + 63) / 64 * 64);
    if (!memory) fprintf(stderr, "bench_factor: out of memory\n"), exit(1);
    return memory;
}

/* The least time of a few. */
static double time_of(void (*run)(struct bench *), struct bench *b)
{
    double least = 1e9;
    for (int i = 0; i < TRIES; i++) {
        double start = thread_seconds();
        run(b);
        double seconds = thread_seconds() - start;
        least = seconds < least ? seconds : least;
    }
    return least;
}

static void products(struct bench *b)
{
    ht__ops_product(b->ops, b->gram.at, b->n, b->n, b->n, b->x, b->n, TOKENS, b->y, b->n, b->scratch);
}

/* Half of the matrix, and all of that with the other activations. */
static void add_to_gram(struct bench *b)
{
    struct ht_diag diag;
    if (ht__site_add(&b->site, b->x, b->x, NULL, TOKENS, b->ops, b->pool, &diag) != HT_OK) exit(1);
}

static void make_factor(struct bench *b)
{
    struct ht_diag diag;
    ht__factor_close(&b->factor);
    if (ht__factor_open(&b->factor, &b->gram, 0.01, b->pool, &diag) != HT_OK) exit(1);
}

static void solve(struct bench *b)
{
    memcpy(b->y, b->x, (size_t)(b->n * ROWS) * sizeof(float));
    ht__factor_solve(&b->factor, b->ops, b->y, ROWS, b->scratch);
}

static void feed(struct bench *b)
{
    b->coder.encode(&b->coder, b->x, 0, ROWS, NULL, NULL, b->coded);
    ht__feedback_codes(&b->factor, b->ops, &b->coder, b->placed, 0, ROWS, &b->buffers, 0, b->coded);
}

static void feed_and_sweep(struct bench *b)
{
    b->coder.encode(&b->coder, b->x, 0, ROWS, NULL, NULL, b->coded);
    ht__feedback_codes(&b->factor, b->ops, &b->coder, b->placed, 0, ROWS, &b->buffers, 1, b->coded);
}

/* ---- errors ---- */

enum { SAMPLES = 24 };

static int64_t sample(const struct bench *b, int i)
{
    return (b->n - 1) * i / (SAMPLES - 1);
}

static double larger(double a, double b)
{
    return b > a || b != b ? b : a;
}

/* Of an element of the Gram matrix, in sizes of what it is the sum of. */
static double gram_error(const struct bench *b)
{
    double worst = 0;
    for (int a = 0; a < SAMPLES; a++)
        for (int c = 0; c < SAMPLES; c++) {
            int64_t i = sample(b, a), j = sample(b, c);
            double sum = 0, size = 0;
            for (int64_t t = 0; t < TOKENS; t++) {
                double product = (double)b->x[t * b->n + i] * b->x[t * b->n + j];
                sum += product;
                size += fabs(product);
            }
            worst = larger(worst, fabs(b->site.gram[ht__lower_at(i, j)] * TOKENS - sum) / size);
        }
    return worst;
}

/* The damped matrix. */
static double damped(const struct bench *b, int64_t i, int64_t j)
{
    return (double)b->gram.at[i * b->n + j] + (i == j ? b->factor.damping : 0);
}

/* Of an element of L L', in the matrix's largest. */
static double factor_error(const struct bench *b)
{
    double worst = 0, top = 0;
    for (int64_t i = 0; i < b->n; i++)
        top = larger(top, damped(b, i, i));
    for (int a = 0; a < SAMPLES; a++)
        for (int c = 0; c <= a; c++) {
            int64_t i = sample(b, a), j = sample(b, c);
            double sum = 0;
            for (int64_t k = 0; k <= j; k++)
                sum += (double)b->factor.root[i * b->n + k] * b->factor.root[j * b->n + k];
            worst = larger(worst, fabs(sum - damped(b, i, j)) / top);
        }
    return worst;
}

/* Of a row times the matrix, which is the row that was given, in sizes of what it is the sum of. */
static double solution_error(const struct bench *b)
{
    double worst = 0;
    for (int64_t r = 0; r < ROWS; r += ROWS / 4)
        for (int a = 0; a < SAMPLES; a++) {
            int64_t j = sample(b, a);
            double sum = 0, size = 0;
            for (int64_t i = 0; i < b->n; i++) {
                double product = (double)b->y[r * b->n + i] * damped(b, i, j);
                sum += product;
                size += fabs(product);
            }
            worst = larger(worst, fabs(sum - b->x[r * b->n + j]) / size);
        }
    return worst;
}

static bool put_error(const char *what, double error, double bound)
{
    bool good = error <= bound;
    printf("    %-30s %9.1e, at most %.0e%s\n", "error against double", error, bound, good ? "" : "   ABOVE");
    BENCH_ROW({"error_of", .text = what}, {"error", .number = error}, {"bound", .number = bound});
    return good;
}

static void make_rooms(struct bench *b, struct ht__arena *arena)
{
    struct ht_diag diag;
    size_t n = (size_t)b->n;
    uint32_t seed = 1;
    b->x = room(n * TOKENS, sizeof(float));
    b->y = room(n * TOKENS, sizeof(float));
    b->scratch = room(HT__MATMUL_SCRATCH, sizeof(float));
    if (ht__site_open(&b->site, b->n, 0, 0, NULL, &diag) != HT_OK) exit(1);
    b->placed = room(n * ROWS, sizeof(float));
    for (size_t i = 0; i < n * TOKENS; i++)
        b->x[i] = noise(&seed) + (i % n ? 0.5f * b->x[i - 1] : 0);
    if (ht__coder_of_type(&b->coder, &ht__codec_q4_0, ht__cpu_best(), ROWS, b->n, arena, &diag) != HT_OK) exit(1);
    b->coded = room(b->coder.size, 1);
    if (!ht__feedback_open(&b->buffers, &b->coder, arena)) exit(1);
}

int main(int argc, char **argv)
{
    bench_begin("bench_factor", &argc, argv);
    struct bench b = {.n = argc > 1 ? atoi(argv[1]) : 2048, .ops = ht__ops(ht__cpu_best())};
    struct ht__arena arena;
    double n = (double)b.n;
    if (b.n < 256 || b.n > 16384 || b.n % 32) {
        fprintf(stderr, "usage: bench_factor [columns, a multiple of 32 from 256 to 16384]\n");
        return 2;
    }
    ht__arena_init(&arena, NULL);
    make_rooms(&b, &arena);
    if (ht__pool_open(1, NULL, &b.pool, NULL) != HT_OK) return 1;
    printf("%d columns at %s\n", (int)b.n, ht__cpu_level_name(ht__cpu_best()));
    put("activations to a Gram matrix", 3 * n * n * TOKENS, time_of(add_to_gram, &b));
    ht__site_finish(&b.site);
    bool good = put_error("gram", gram_error(&b), 1e-5);
    struct ht_diag diag;
    if (ht__gram_open(&b.gram, b.site.gram, b.n, (struct ht__order){HT__ORDER_ACT, 0}, NULL, &diag) != HT_OK) return 1;
    put("its factor", n * n * n / 3, time_of(make_factor, &b));
    good &= put_error("factor", factor_error(&b), (n + 1) * 0x1p-23);
    put("products with it, 512 rows", 2 * n * n * TOKENS, time_of(products, &b));
    put("solutions, 64 rows", 2 * n * n * ROWS, time_of(solve, &b));
    good &= put_error("solutions", solution_error(&b), 4 * (2 * n + 4) * 0x1p-24);
    ht__feedback_place(&b.factor, b.x, ROWS, b.placed);
    put("error feedback, 64 rows", n * n * ROWS, time_of(feed, &b));
    put("and a sweep of descent", n * n * ROWS, time_of(feed_and_sweep, &b));
    ht__factor_close(&b.factor);
    ht__gram_close(&b.gram);
    ht__site_close(&b.site);
    ht__pool_close(&b.pool);
    ht__arena_close(&arena);
    free(b.x), free(b.y), free(b.scratch), free(b.placed), free(b.coded);
    return bench_end() != 0 || !good;
}
