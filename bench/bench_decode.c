/*
 * Decoding, side by side with libggml-base, one thread each, in one run:
 *     bench_decode FOLDER_OF_LIBGGML_BASE [type …]
 * For each type that is written and each CPU level that this machine has: million weights a second of both (best
 * of several alternating tries), their ratio, and whether the floats are the same.
 */
#include "kernels/codec.h"
#include "clock.h"
#include "common/report.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { N = 128 * 2048 };

/* As the library's header declares what its function of the traits returns. */
struct traits {
    const char *name;
    int64_t block_len, interleave;
    size_t block_size;
    bool quantized;
    void (*to_float)(const void *src, float *dst, int64_t n);
};
typedef const struct traits *traits_fn(int type);

static void bench(const struct traits *reference, const struct ht__codec *c, enum ht__cpu_level level,
                  const void *packed)
{
    static float ours[N], theirs[N];
    ht__decode_fn *decode = ht__decoder(c, level);
    double best_ours = 1e9, best_reference = 1e9;
    for (int i = 0; i < 40; i++) {
        double start = thread_seconds();
        reference->to_float(packed, theirs, N);
        double middle = thread_seconds();
        decode(packed, N, ours);
        double end = thread_seconds();
        if (middle - start < best_reference) best_reference = middle - start;
        if (end - middle < best_ours) best_ours = end - middle;
    }
    printf("%-8s %-7s %9.1f %9.1f %7.2fx  %s\n", c->name, ht__cpu_level_name(level), N / best_ours / 1e6,
           N / best_reference / 1e6, best_reference / best_ours,
           memcmp(ours, theirs, sizeof ours) == 0 ? "same floats" : "FLOATS DIFFER");
    fflush(stdout);
    BENCH_ROW({"type", .text = c->name}, {"level", .text = ht__cpu_level_name(level)},
              {"ours_mws", .number = N / best_ours / 1e6}, {"reference_mws", .number = N / best_reference / 1e6},
              {"ratio", .number = best_reference / best_ours},
              {"floats", .text = memcmp(ours, theirs, sizeof ours) == 0 ? "same" : "differ"});
}

static int wanted(const char *name, int argc, char **argv)
{
    for (int i = 2; i < argc; i++)
        if (strcmp(argv[i], name) == 0) return 1;
    return argc <= 2;
}

static traits_fn *open_reference(const char *folder)
{
    char path[4096];
    traits_fn *find = NULL;
    snprintf(path, sizeof path, "%s/libggml-base.so", folder);
    void *library = dlopen(path, RTLD_NOW | RTLD_GLOBAL);
    void *symbol = library ? dlsym(library, "ggml_get_type_traits") : NULL;
    memcpy(&find, &symbol, sizeof find);
    if (!find) fprintf(stderr, "%s: %s\n", path, dlerror());
    return find;
}

int main(int argc, char **argv)
{
    static float x[N], importance[N];
    static unsigned char packed[N * 4];
    bench_begin("bench_decode", &argc, argv);
    traits_fn *find = argc < 2 ? NULL : open_reference(argv[1]);
    if (argc < 2) fprintf(stderr, "usage: bench_decode [--json FILE] FOLDER_OF_LIBGGML_BASE [type …]\n");
    if (!find) return 2;
    for (int i = 0; i < N; i++) {
        x[i] = (float)((i * 2654435761u >> 8) % 65536) / 1e6f - 0.0327f;
        importance[i] = 1;
    }
    printf("%-8s %-7s %9s %9s %8s\n", "type", "level", "ours Mw/s", "ref. Mw/s", "ratio");
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        if (c->flags & HT__CODEC_SOURCE_ONLY || !wanted(c->name, argc, argv)) continue;
        const struct traits *reference = find((int)c->ggml_id);
        if (!reference->to_float) continue;
        ht__encoder(c, ht__cpu_best())(x, 16, N / 16, importance, packed);
        for (int level = 0; level < HT__CPU_N_LEVELS; level++)
            if (ht__cpu_has((enum ht__cpu_level)level) &&
                (level == 0 ||
                 ht__decoder(c, (enum ht__cpu_level)level) != ht__decoder(c, (enum ht__cpu_level)(level - 1))))
                bench(reference, c, (enum ht__cpu_level)level, packed);
    }
    return bench_end();
}
