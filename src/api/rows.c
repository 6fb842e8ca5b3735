/* Rows: usable from a foreign-function interface with no set-up. */
#include "api/sized.h"
#include "base/check.h"
#include "kernels/codec.h"

#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

size_t ht_row_size(const char *type, int64_t row_len)
{
    const struct ht__codec *c = ht__codec_by_name(type);
    uint64_t bytes;
    if (!c || row_len < 1 || row_len % c->block_len != 0 ||
        !ht__mul_ok((uint64_t)row_len / c->block_len, c->block_size, &bytes) || bytes > SIZE_MAX / 2)
        return 0;
    return (size_t)bytes;
}

struct rows_job {
    struct ht_rows given;
    const struct ht__codec *codec;
    const float *src; /* NULL: they are decoded */
    unsigned char *packed;
    float *dst;
    int64_t step;
    size_t row_size;
    atomic_int_fast64_t next, done;
    atomic_bool stopped;
};

/* Takes the next run of rows; false: none is left. */
static bool work_once(struct rows_job *j, enum ht__cpu_level level)
{
    int64_t row_len = j->given.row_len, row = atomic_fetch_add(&j->next, j->step), n = j->step;
    if (row >= j->given.n_rows || atomic_load_explicit(&j->stopped, memory_order_relaxed)) return false;
    if (n > j->given.n_rows - row) n = j->given.n_rows - row;
    unsigned char *packed = j->packed + (size_t)row * j->row_size;
    if (j->src)
        ht__encoder(j->codec, level)(j->src + row * row_len, n, row_len, j->given.importance, packed);
    else
        ht__decoder(j->codec, level)(packed, n * row_len, j->dst + row * row_len);
    atomic_fetch_add(&j->done, n);
    return true;
}

static void *work(void *arg)
{
    enum ht__cpu_level level = ht__cpu_best();
    while (work_once(arg, level))
        ;
    return NULL;
}

/* This thread takes its share, and all where no other could be started, and tells of everybody's. */
static void work_and_tell(struct rows_job *j)
{
    enum ht__cpu_level level = ht__cpu_best();
    while (work_once(j, level))
        if (j->given.progress && !j->given.progress(j->given.ctx, atomic_load(&j->done), j->given.n_rows))
            atomic_store(&j->stopped, true);
}

static enum ht_err run(struct rows_job *j, struct ht_diag *diag)
{
    enum { MAX_THREADS = 64, STEP_WEIGHTS = 64 << 10 };
    pthread_t threads[MAX_THREADS];
    int started = 0, n_threads = j->given.n_threads;
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (n_threads <= 0) n_threads = cores > 0 ? (int)cores : 1;
    if (n_threads > MAX_THREADS) n_threads = MAX_THREADS;
    j->step = STEP_WEIGHTS / j->given.row_len > 0 ? STEP_WEIGHTS / j->given.row_len : 1;
    while (started < n_threads - 1 && started * j->step < j->given.n_rows &&
           pthread_create(&threads[started], NULL, work, j) == 0)
        started++;
    work_and_tell(j);
    for (int i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    return atomic_load(&j->stopped) ? ht__fail(diag, HT_ERR_CANCELLED, "rows", -1, "cancelled") : HT_OK;
}

/* ---- arguments ---------------------------------------------------------------------------------- */

/* Products that a caller could make overflow. */
static bool sizes_ok(size_t row_size, int64_t n_rows, int64_t row_len)
{
    uint64_t n;
    return row_size > 0 && n_rows >= 0 && ht__mul_ok((uint64_t)n_rows, (uint64_t)row_len, &n) &&
           n <= INT64_MAX / sizeof(float) && ht__mul_ok((uint64_t)n_rows, row_size, &n) && n <= INT64_MAX;
}

static enum ht_err read_rows(struct rows_job *j, const struct ht_rows *rows, struct ht_diag *diag)
{
    memset(j, 0, sizeof *j);
    ht__diag_clear(diag);
    struct ht_rows *g = &j->given;
    if (!ht__sized_take(g, rows, sizeof *g))
        return ht__fail(diag, HT_ERR_USAGE, "rows", -1, "no rows, or their size member is not set");
    j->codec = ht__codec_by_name(g->type);
    if (!j->codec)
        return ht__fail(diag, HT_ERR_USAGE, "type", -1, "there is no numeric format \"%.60s\"; ht_type_at lists them",
                        g->type ? g->type : "");
    j->row_size = ht_row_size(g->type, g->row_len);
    if (j->row_size == 0)
        return ht__fail(diag, HT_ERR_USAGE, j->codec->name, -1,
                        "rows of %lld: expected a multiple of the block's %u weights", (long long)g->row_len,
                        (unsigned)j->codec->block_len);
    if (!sizes_ok(j->row_size, g->n_rows, g->row_len))
        return ht__fail(diag, HT_ERR_USAGE, "rows", -1, "%lld rows of %lld cannot be in memory", (long long)g->n_rows,
                        (long long)g->row_len);
    return HT_OK;
}

static enum ht_err check_importance(const struct ht_rows *g, struct ht_diag *diag)
{
    for (int64_t i = 0; g->importance && i < g->row_len; i++)
        if (!isfinite(g->importance[i]) || g->importance[i] < 0)
            return ht__fail(diag, HT_ERR_NONFINITE, "importance", -1, "number %lld is negative or not finite",
                            (long long)i);
    return HT_OK;
}

static enum ht_err check_finite(const struct ht_rows *g, const float *x, struct ht_diag *diag)
{
    for (int64_t i = 0; i < g->n_rows * g->row_len; i++)
        if (!isfinite(x[i]))
            return ht__fail(diag, HT_ERR_NONFINITE, "rows", -1, "NaN or infinity in row %lld, column %lld",
                            (long long)(i / g->row_len), (long long)(i % g->row_len));
    return HT_OK;
}

/* ---- calls -------------------------------------------------------------------------------------- */

enum ht_err ht_rows_encode(const struct ht_rows *rows, const float *src, void *dst, struct ht_diag *diag)
{
    struct rows_job j;
    HT_TRY(read_rows(&j, rows, diag));
    if (j.given.n_rows > 0 && (!src || !dst)) return ht__fail(diag, HT_ERR_USAGE, "rows", -1, "no floats or no room");
    if (j.codec->flags & HT__CODEC_SOURCE_ONLY)
        return ht__fail(diag, HT_ERR_USAGE, j.codec->name, -1, "this format is only read");
    if (j.codec->flags & HT__CODEC_NEEDS_IMPORTANCE && !j.given.importance)
        return ht__fail(diag, HT_ERR_USAGE, j.codec->name, -1, "this format needs importance");
    HT_TRY(check_finite(&j.given, src, diag));
    HT_TRY(check_importance(&j.given, diag));
    if (!(j.codec->flags & HT__CODEC_USES_IMPORTANCE)) j.given.importance = NULL;
    j.src = src;
    j.packed = dst;
    return j.given.n_rows > 0 ? run(&j, diag) : HT_OK;
}

enum ht_err ht_rows_decode(const struct ht_rows *rows, const void *src, float *dst, struct ht_diag *diag)
{
    struct rows_job j;
    HT_TRY(read_rows(&j, rows, diag));
    if (j.given.n_rows > 0 && (!src || !dst)) return ht__fail(diag, HT_ERR_USAGE, "rows", -1, "no bytes or no room");
    j.packed = (unsigned char *)(uintptr_t)src;
    j.dst = dst;
    return j.given.n_rows > 0 ? run(&j, diag) : HT_OK;
}

enum ht_err ht_encode_rows(const char *type, const float *src, int64_t n_rows, int64_t row_len, const float *importance,
                           int n_threads, void *dst)
{
    const struct ht_rows rows = {.size = sizeof rows,
                                 .type = type,
                                 .n_rows = n_rows,
                                 .row_len = row_len,
                                 .importance = importance,
                                 .n_threads = n_threads};
    return ht_rows_encode(&rows, src, dst, NULL);
}

enum ht_err ht_decode_rows(const char *type, const void *src, int64_t n_rows, int64_t row_len, int n_threads,
                           float *dst)
{
    const struct ht_rows rows = {
        .size = sizeof rows, .type = type, .n_rows = n_rows, .row_len = row_len, .n_threads = n_threads};
    return ht_rows_decode(&rows, src, dst, NULL);
}
