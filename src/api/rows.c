/* Rows: usable from a foreign-function interface with no set-up. */
#include "api/export.h"
#include "base/check.h"
#include "kernels/codec.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

HT_EXPORT size_t ht_row_size(const char *type, int64_t row_len)
{
    const struct ht__codec *c = ht__codec_by_name(type);
    uint64_t bytes;
    if (!c || row_len < 1 || row_len % c->block_len != 0 ||
        !ht__mul_ok((uint64_t)row_len / c->block_len, c->block_size, &bytes) || bytes > SIZE_MAX / 2)
        return 0;
    return (size_t)bytes;
}

struct rows_job {
    const struct ht__codec *codec;
    const float *src, *importance;
    unsigned char *packed;
    float *dst;
    int64_t n_rows, row_len, step;
    size_t row_size;
    atomic_int_fast64_t next;
};

/* Threads take runs of rows until none is left. */
static void *work(void *arg)
{
    struct rows_job *j = arg;
    enum ht__cpu_level level = ht__cpu_best();
    for (;;) {
        int64_t row = atomic_fetch_add(&j->next, j->step), n = j->step;
        if (row >= j->n_rows) return NULL;
        if (n > j->n_rows - row) n = j->n_rows - row;
        unsigned char *packed = j->packed + (size_t)row * j->row_size;
        if (j->src)
            ht__encoder(j->codec, level)(j->src + row * j->row_len, n, j->row_len, j->importance, packed);
        else
            ht__decoder(j->codec, level)(packed, n * j->row_len, j->dst + row * j->row_len);
    }
}

static void run(struct rows_job *j, int n_threads)
{
    enum { MAX_THREADS = 64, STEP_WEIGHTS = 64 << 10 };
    pthread_t threads[MAX_THREADS];
    int started = 0;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (n_threads <= 0) n_threads = cores > 0 ? (int)cores : 1;
    if (n_threads > MAX_THREADS) n_threads = MAX_THREADS;
    j->step = STEP_WEIGHTS / j->row_len > 0 ? STEP_WEIGHTS / j->row_len : 1;
    atomic_init(&j->next, 0);
    while (started < n_threads - 1 && started * j->step < j->n_rows &&
           pthread_create(&threads[started], NULL, work, j) == 0)
        started++;
    work(j); /* this thread takes its share, and all where none could be started */
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
}

static bool all_finite(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return false;
    return true;
}

/* Products that a caller could make overflow. */
static bool sizes_ok(size_t row_size, int64_t n_rows, int64_t row_len)
{
    uint64_t n;
    return row_size > 0 && n_rows >= 0 && ht__mul_ok((uint64_t)n_rows, (uint64_t)row_len, &n) &&
           n <= INT64_MAX / sizeof(float) && ht__mul_ok((uint64_t)n_rows, row_size, &n) && n <= INT64_MAX;
}

HT_EXPORT enum ht_err ht_encode_rows(const char *type, const float *src, int64_t n_rows,
                                     int64_t row_len, const float *importance, int n_threads, void *dst)
{
    const struct ht__codec *c = ht__codec_by_name(type);
    size_t row_size = ht_row_size(type, row_len);
    if (!sizes_ok(row_size, n_rows, row_len) || (n_rows > 0 && (!src || !dst)) ||
        c->flags & HT__CODEC_SOURCE_ONLY || (c->flags & HT__CODEC_NEEDS_IMPORTANCE && !importance))
        return HT_ERR_USAGE;
    if (!all_finite(src, n_rows * row_len)) return HT_ERR_NONFINITE;
    for (int64_t i = 0; importance && i < row_len; i++)
        if (!isfinite(importance[i]) || importance[i] < 0) return HT_ERR_NONFINITE;
    if (!(c->flags & HT__CODEC_USES_IMPORTANCE)) importance = NULL;
    struct rows_job j = {.codec = c, .src = src, .importance = importance, .packed = dst,
                         .n_rows = n_rows, .row_len = row_len, .row_size = row_size};
    if (n_rows > 0) run(&j, n_threads);
    return HT_OK;
}

HT_EXPORT enum ht_err ht_decode_rows(const char *type, const void *src, int64_t n_rows,
                                     int64_t row_len, int n_threads, float *dst)
{
    size_t row_size = ht_row_size(type, row_len);
    if (!sizes_ok(row_size, n_rows, row_len) || (n_rows > 0 && (!src || !dst))) return HT_ERR_USAGE;
    struct rows_job j = {.codec = ht__codec_by_name(type), .packed = (unsigned char *)(uintptr_t)src,
                         .dst = dst, .n_rows = n_rows, .row_len = row_len, .row_size = row_size};
    if (n_rows > 0) run(&j, n_threads);
    return HT_OK;
}
