/*
 * Tokenizers' speed, in megabytes of text a second on one core, of vocabularies in GGUF files:
 *
 *     bench_text TEXT VOCAB.gguf...
 *
 * Cold is the first time, with nothing remembered; warm the best of the next ones. Decoding is of
 * all ids at once.
 */
#include "base/file.h"
#include "formats/checkpoint.h"
#include "model/tokenizer/tokenizer.h"
#include "clock.h"
#include "common/report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROUNDS = 5 };

static char *read_all(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    char *text = NULL;
    if (!f || fseek(f, 0, SEEK_END)) return NULL;
    *n = (size_t)ftell(f);
    rewind(f);
    text = malloc(*n + 1);
    if (text) *n = fread(text, 1, *n, f);
    fclose(f);
    return text;
}

static int bench(const char *path, const char *text, size_t n)
{
    struct ht__checkpoint *checkpoint;
    struct ht__tokenizer *t;
    struct ht__tokens ids;
    struct ht__buf out;
    struct ht_diag diag = {0};
    double mb = (double)n / 1e6, best = 1e9, cold = 0, start;
    if (ht__checkpoint_open(path, NULL, &checkpoint, &diag)) return fprintf(stderr, "%s\n", diag.message), 1;
    start = thread_seconds();
    if (ht__tokenizer_open(checkpoint->kvs, path, NULL, &t, &diag)) return fprintf(stderr, "%s\n", diag.message), 1;
    double opened = thread_seconds() - start;
    ht__tokens_init(&ids, NULL);
    ht__buf_init(&out, NULL);
    for (int i = 0; i < ROUNDS; i++) {
        ids.n = 0;
        start = thread_seconds();
        if (ht__tokenizer_encode(t, text, n, 0, &ids, &diag)) return fprintf(stderr, "%s\n", diag.message), 1;
        double seconds = thread_seconds() - start;
        if (i == 0)
            cold = seconds;
        else if (seconds < best)
            best = seconds;
    }
    start = thread_seconds();
    if (ht__tokenizer_decode(t, ids.ids, ids.n, 0, &out)) return 1;
    const char *name = strrchr(path, '/');
    double decode = (double)out.len / 1e6 / (thread_seconds() - start);
    printf("%-36s open %4.0f ms  cold %6.1f MB/s  warm %6.1f MB/s  decode %6.1f MB/s  %zu tokens\n",
           name ? name + 1 : path, 1e3 * opened, mb / cold, mb / best, decode, ids.n);
    BENCH_ROW({"vocabulary", .text = name ? name + 1 : path}, {"open_ms", .number = 1e3 * opened},
              {"cold_mbs", .number = mb / cold}, {"warm_mbs", .number = mb / best}, {"decode_mbs", .number = decode},
              {"tokens", .number = (double)ids.n});
    ht__buf_close(&out);
    ht__tokens_close(&ids);
    ht__tokenizer_close(&t);
    ht__checkpoint_close(&checkpoint);
    return 0;
}

int main(int argc, char **argv)
{
    size_t n = 0;
    bench_begin("bench_text", &argc, argv);
    char *text = argc > 2 ? read_all(argv[1], &n) : NULL;
    int bad = text ? 0 : 2;
    if (!text) fprintf(stderr, "usage: bench_text [--json FILE] TEXT VOCAB.gguf...\n");
    for (int i = 2; i < argc && text; i++)
        bad |= bench(argv[i], text, n);
    free(text);
    return bench_end() != 0 ? 1 : bad;
}
