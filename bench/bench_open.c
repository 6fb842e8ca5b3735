/*
 * How long opening takes: `bench_open [FOLDER]` builds checkpoints with large headers in a folder (by default a
 * new one under TMPDIR, removed afterwards) and times ht_inspect on each, the best and the median of five. Weights
 * are holes in sparse files: only headers count.
 */
#include "base/clock.h"
#include "common/report.h"

#include <halftone/halftone.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { RUNS = 5 };

static char folder[3000];

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static FILE *create(const char *name, char path[4096])
{
    snprintf(path, 4096, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb+");
    if (!f) die(path);
    return f;
}

/* The header's length stands before it, and is only known after it. */
static void end_header(FILE *f, uint64_t data)
{
    fputc('}', f);
    uint64_t size = (uint64_t)ftello(f), length = size - 8;
    if (fseeko(f, 0, SEEK_SET) || fwrite(&length, sizeof length, 1, f) != 1 || fflush(f) ||
        ftruncate(fileno(f), (off_t)(size + data)) || fclose(f))
        die(folder);
}

/* Tensor `name`, the i-th of its file. */
static void put_tensor(FILE *f, uint64_t name, uint64_t i, const char *before)
{
    fprintf(f,
            "%s\"model.layers.%llu.mlp.experts.%llu.down_proj.weight\":{\"dtype\":\"BF16\",\"shape\":[1,2],"
            "\"data_offsets\":[%llu,%llu]}",
            before, (unsigned long long)(name / 256), (unsigned long long)(name % 256), (unsigned long long)(i * 4),
            (unsigned long long)(i * 4 + 4));
}

static void tensors(const char *name, uint64_t first, uint64_t n)
{
    char path[4096];
    FILE *f = create(name, path);
    fwrite("\0\0\0\0\0\0\0\0{", 9, 1, f);
    for (uint64_t i = 0; i < n; i++)
        put_tensor(f, first + i, i, i ? "," : "");
    end_header(f, n * 4);
}

/* One tensor; the rest of the header is the text of __metadata__. */
static void long_metadata(const char *name, size_t bytes)
{
    char path[4096];
    FILE *f = create(name, path);
    fwrite("\0\0\0\0\0\0\0\0", 8, 1, f);
    fputs("{\"__metadata__\":{\"notes\":\"", f);
    for (size_t i = 0; i < bytes; i += 40)
        fputs("forty characters of text and an \\u00e9\\n", f);
    fputs("\"}", f);
    put_tensor(f, 0, 0, ",");
    end_header(f, 4);
}

static void index_of_shards(int shards, int each)
{
    char path[4096], name[64];
    for (int s = 0; s < shards; s++) {
        snprintf(name, sizeof name, "model-%05d-of-%05d.safetensors", s + 1, shards);
        tensors(name, (uint64_t)s * (uint64_t)each, (uint64_t)each);
    }
    FILE *f = create("model.safetensors.index.json", path);
    fputs("{\"metadata\":{},\"weight_map\":{", f);
    for (int i = 0; i < shards * each; i++)
        fprintf(f, "%s\"model.layers.%d.mlp.experts.%d.down_proj.weight\":\"model-%05d-of-%05d.safetensors\"",
                i ? "," : "", i / 256, i % 256, i / each + 1, shards);
    fputs("}}", f);
    if (fclose(f)) die(path);
}

static int by_time(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void time_opening(const char *what, const char *path)
{
    double times[RUNS];
    struct stat st;
    for (int i = 0; i < RUNS; i++) {
        struct ht_diag diag;
        char *json;
        double start = ht__seconds();
        if (ht_inspect(path, 0, &json, &diag) != HT_OK) {
            fprintf(stderr, "%s: %s: %s\n", what, diag.where, diag.message);
            exit(1);
        }
        times[i] = ht__seconds() - start;
        ht_free(json);
    }
    qsort(times, RUNS, sizeof times[0], by_time);
    double size = stat(path, &st) == 0 && S_ISREG(st.st_mode) ? (double)st.st_size / 1e6 : 0;
    printf("%-44s %9.1f MB  best %7.1f ms  median %7.1f ms\n", what, size, times[0] * 1e3, times[RUNS / 2] * 1e3);
    BENCH_ROW({"what", .text = what}, {"mb", .number = size}, {"best_ms", .number = times[0] * 1e3},
              {"median_ms", .number = times[RUNS / 2] * 1e3});
}

int main(int argc, char **argv)
{
    char path[4096], command[4096];
    const char *tmp = getenv("TMPDIR");
    bench_begin("bench_open", &argc, argv);
    if (argc > 1)
        snprintf(folder, sizeof folder, "%s", argv[1]);
    else if (snprintf(folder, sizeof folder, "%s/bench_open.XXXXXX", tmp ? tmp : "/tmp"), !mkdtemp(folder))
        die(folder);
    tensors("many.safetensors", 0, 860000); /* 99.9 MB of header; 100 MB is the format's limit */
    tensors("some.safetensors", 0, 10000);
    long_metadata("text.safetensors", 99 * 1000 * 1000);
    index_of_shards(200, 100);
    snprintf(path, sizeof path, "%s/many.safetensors", folder);
    time_opening("100 MB of header: 860,000 tensors", path);
    snprintf(path, sizeof path, "%s/text.safetensors", folder);
    time_opening("99 MB of header: one text in __metadata__", path);
    snprintf(path, sizeof path, "%s/some.safetensors", folder);
    time_opening("10,000 tensors in one file", path);
    time_opening("20,000 tensors in 200 shards, with an index", folder);
    if (argc > 1) return bench_end();
    snprintf(command, sizeof command, "rm -r '%s'", folder);
    return system(command) != 0 || bench_end() != 0;
}
