/*
 * Encoding, side by side with libggml-base, one thread each, in one run:
 *     bench_encode [--json FILE] FOLDER_OF_LIBGGML_BASE [type …]
 * For each type, with and without importance, and each CPU level that this machine has: million weights a
 * second of both (best of several alternating tries), their ratio, and whether the bytes are the same.
 */
#include "kernels/codec.h"
#include "clock.h"
#include "common/report.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS = 128, LEN = 2048, N = ROWS * LEN };

typedef size_t quantize_fn(int type, const float *src, void *dst, int64_t start, int64_t n_rows, int64_t n_per_row,
                           const float *importance);

static float uniform(unsigned *s)
{
    *s = *s * 1664525u + 1013904223u;
    return (float)(*s >> 8) / 16777216.0f;
}

/* Heavy-tailed, as weights are. */
static void fill(float *x, float *importance)
{
    unsigned s = 1;
    for (int i = 0; i < N; i++) {
        float u = 0;
        for (int k = 0; k < 6; k++)
            u += uniform(&s) - 0.5f;
        x[i] = u * 0.03f * (uniform(&s) < 0.02f ? 4.0f : 1.0f);
    }
    for (int i = 0; i < LEN; i++)
        importance[i] = 0.01f + 4 * uniform(&s) * uniform(&s);
}

/* Rows are cut so that one try of a slow reference takes a twentieth of a second. */
static double time_reference(quantize_fn *quantize, const struct ht__codec *c, const float *x, const float *importance,
                             int rows, void *out)
{
    double start = thread_seconds();
    quantize((int)c->ggml_id, x, out, 0, rows, LEN, importance);
    return (thread_seconds() - start) / rows;
}

static double time_ours(ht__encode_fn *encode, const float *x, const float *importance, int rows, void *out)
{
    double start = thread_seconds();
    encode(x, rows, LEN, importance, out);
    return (thread_seconds() - start) / rows;
}

static void bench(quantize_fn *quantize, const struct ht__codec *c, enum ht__cpu_level level, const float *x,
                  const float *importance)
{
    static unsigned char ours[N * 4], reference[N * 4];
    ht__encode_fn *encode = ht__encoder(c, level);
    double best_ours = 1e9, best_reference = 1e9, once;
    once = time_reference(quantize, c, x, importance, 2, reference);
    int rows = once * ROWS > 0.05 ? (int)(0.05 / once) : ROWS;
    if (rows < 4) rows = 4;
    for (int i = 0; i < 12; i++) {
        double r = time_reference(quantize, c, x, importance, rows, reference);
        for (int k = 0; k < 3; k++) {
            double o = time_ours(encode, x, importance, rows, ours);
            if (o < best_ours) best_ours = o;
        }
        if (r < best_reference) best_reference = r;
    }
    size_t bytes = ht__codec_bytes(c, (uint64_t)rows * LEN);
    printf("%-8s %-10s %-7s %9.1f %9.1f %7.2fx  %s\n", c->name, importance ? "importance" : "plain",
           ht__cpu_level_name(level), LEN / best_ours / 1e6, LEN / best_reference / 1e6, best_reference / best_ours,
           memcmp(ours, reference, bytes) == 0 ? "same bytes" : "BYTES DIFFER");
    fflush(stdout);
    BENCH_ROW({"type", .text = c->name}, {"weights", .text = importance ? "importance" : "plain"},
              {"level", .text = ht__cpu_level_name(level)}, {"ours_mws", .number = LEN / best_ours / 1e6},
              {"reference_mws", .number = LEN / best_reference / 1e6}, {"ratio", .number = best_reference / best_ours},
              {"bytes", .text = memcmp(ours, reference, bytes) == 0 ? "same" : "differ"});
}

static int wanted(const char *name, int argc, char **argv)
{
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], name) == 0) return 1;
    return argc <= 2;
}

int main(int argc, char **argv)
{
    static float x[N], importance[LEN];
    char path[4096];
    bench_begin("bench_encode", &argc, argv);
    if (argc < 2) {
        fprintf(stderr, "usage: bench_encode [--json FILE] FOLDER_OF_LIBGGML_BASE [type …]\n");
        return 2;
    }
    snprintf(path, sizeof path, "%s/libggml-base.so", argv[1]);
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    quantize_fn *quantize = NULL;
    void *symbol = library ? dlsym(library, "ggml_quantize_chunk") : NULL;
    memcpy(&quantize, &symbol, sizeof quantize);
    if (!quantize) {
        fprintf(stderr, "%s: %s\n", path, dlerror());
        return 1;
    }
    fill(x, importance);
    printf("%-8s %-10s %-7s %9s %9s %8s\n", "type", "weights", "level", "ours Mw/s", "ref. Mw/s", "ratio");
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        if (c->flags & HT__CODEC_SOURCE_ONLY || !wanted(c->name, argc, argv)) continue;
        for (int level = 0; level < HT__CPU_N_LEVELS; level++)
            for (int weighted = 0; weighted < 2; weighted++) {
                if (!ht__cpu_has((enum ht__cpu_level)level)) continue;
                if (level > 0 &&
                    ht__encoder(c, (enum ht__cpu_level)level) == ht__encoder(c, (enum ht__cpu_level)(level - 1)))
                    continue;
                if (weighted ? !(c->flags & HT__CODEC_USES_IMPORTANCE) : (c->flags & HT__CODEC_NEEDS_IMPORTANCE) != 0)
                    continue;
                bench(quantize, c, (enum ht__cpu_level)level, x, weighted ? importance : NULL);
            }
    }
    return bench_end();
}
