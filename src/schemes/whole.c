/* A whole matrix in memory, by the pieces that files are written and read in. Threads take runs of rows. */
#include "schemes/scheme.h"

#include "base/pool.h"
#include "kernels/weights/weights.h"

#include <math.h>
#include <stdatomic.h>
#include <string.h>

enum { CHUNK_WEIGHTS = 256 << 10 };

/* What a thread needs: codes of some rows, and those rows of each part (NULL for WHOLE). */
struct worker {
    struct ht__codes codes;
    float *floats; /* of those rows, where they come in another type */
    void *packed[HT__SCHEME_PARTS];
};

struct whole {
    const struct ht__scheme_params *params;
    const struct ht__matrix *matrix;
    const struct ht__scheme_run *run;
    struct ht__part parts[HT__SCHEME_PARTS];
    int n_parts;
    int64_t rows; /* taken at once */
    const void *from;
    const struct ht__codec *from_type; /* NULL: floats */
    float *to;
    char *const *data;
    struct worker *workers;
    _Atomic int64_t done;      /* rows */
    _Atomic int64_t nonfinite; /* a weight that is not finite, or -1 */
    _Atomic bool cancelled;
};

bool ht__codes_new(struct ht__codes *codes, const struct ht__scheme_params *params, const struct ht__matrix *matrix,
                   int64_t row, int64_t n_rows, struct ht__arena *arena)
{
    size_t groups = (size_t)params->scheme->groups(params, matrix, n_rows);
    bool zero = ht__scheme_flags(params) & HT__SCHEME_ZERO;
    *codes = (struct ht__codes){.row = row, .n_rows = n_rows};
    codes->q = ht__arena_raw(arena, (size_t)(n_rows * matrix->n_in) + 64);
    codes->scale = ht__arena_raw(arena, (groups + 16) * sizeof *codes->scale);
    codes->zero = zero ? ht__arena_raw(arena, (groups + 16) * sizeof *codes->zero) : NULL;
    return codes->q && codes->scale && (codes->zero || !zero);
}

static bool worker_new(struct whole *w, struct worker *worker, struct ht__arena *arena)
{
    if (!ht__codes_new(&worker->codes, w->params, w->matrix, 0, w->rows, arena)) return false;
    if (w->from_type && !(worker->floats = ht__arena_array(arena, (size_t)(w->rows * w->matrix->n_in), sizeof(float))))
        return false;
    for (int i = 0; i < w->n_parts; i++) {
        if (w->parts[i].place == HT__PART_WHOLE) continue;
        uint64_t n = ht__part_rows_bytes(&w->parts[i], w->matrix, 0, w->rows);
        if (!(worker->packed[i] = ht__arena_raw(arena, n + 64))) return false;
    }
    return true;
}

/* Copies these rows of every part: out of what pack() gave, or into what unpack() takes. */
static void move(struct whole *w, struct worker *worker, bool out)
{
    struct ht__part_piece p;
    for (int i = 0; i < w->n_parts; i++) {
        if (!w->data[i]) continue; /* WORK, which is not read */
        for (uint64_t k = 0; ht__part_piece(&w->parts[i], w->matrix, worker->codes.row, worker->codes.n_rows, k, &p);
             k++) {
            char *packed = (char *)worker->packed[i] + p.packed, *whole = w->data[i] + p.offset;
            memcpy(out ? whole : packed, out ? packed : whole, p.n_bytes);
        }
    }
}

static bool all_finite(struct whole *w, const float *x, int64_t first, int64_t n)
{
    if (ht__weight_ops(ht__cpu_best())->finite(x, n)) return true;
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) {
            atomic_store(&w->nonfinite, first + i);
            return false;
        }
    return true;
}

/* The worker's rows as floats: where they are, or decoded into its own memory, which stays in the cache. */
static const float *floats(struct whole *w, struct worker *worker, int64_t first, int64_t n)
{
    if (!w->from_type) return (const float *)w->from + first;
    const char *from = (const char *)w->from + ht__codec_bytes(w->from_type, (uint64_t)first);
    ht__decoder(w->from_type, ht__cpu_best())(from, n, worker->floats);
    return worker->floats;
}

static void pack_rows(struct whole *w, struct worker *worker)
{
    const struct ht__scheme *s = w->params->scheme;
    struct ht__codes *codes = &worker->codes;
    int64_t first = codes->row * w->matrix->n_in, n = codes->n_rows * w->matrix->n_in;
    const float *x = floats(w, worker, first, n);
    if (!all_finite(w, x, first, n)) return;
    s->fit(w->params, w->matrix, x, w->run->importance, codes);
    s->nearest(w->params, w->matrix, x, codes);
    s->pack(w->params, w->matrix, codes, worker->packed);
    move(w, worker, true);
}

static void unpack_rows(struct whole *w, struct worker *worker)
{
    const void *src[HT__SCHEME_PARTS] = {NULL};
    move(w, worker, false);
    for (int i = 0; i < w->n_parts; i++)
        src[i] = w->parts[i].place == HT__PART_WHOLE ? w->data[i] : worker->packed[i];
    w->params->scheme->unpack(w->params, w->matrix, src, &worker->codes);
    w->params->scheme->value(w->params, w->matrix, &worker->codes, w->to + worker->codes.row * w->matrix->n_in);
}

static void take_rows(void *ctx, int64_t task, int thread)
{
    struct whole *w = ctx;
    struct worker *worker = &w->workers[thread];
    int64_t row = task * w->rows, left = w->matrix->n_out - row;
    if (atomic_load(&w->cancelled) || atomic_load(&w->nonfinite) >= 0) return;
    worker->codes.row = row;
    worker->codes.n_rows = left < w->rows ? left : w->rows;
    (w->from ? pack_rows : unpack_rows)(w, worker);
    int64_t done = atomic_fetch_add(&w->done, worker->codes.n_rows) + worker->codes.n_rows;
    if (thread == 0 && w->run->progress && !w->run->progress(w->run->ctx, done, w->matrix->n_out))
        atomic_store(&w->cancelled, true);
}

static int64_t rows_at_once(const struct ht__scheme_params *params, const struct ht__matrix *matrix)
{
    int64_t multiple = ht__scheme_rows(params, matrix), rows = CHUNK_WEIGHTS / matrix->n_in / multiple * multiple;
    rows = rows < multiple ? multiple : rows;
    return rows < matrix->n_out ? rows : matrix->n_out;
}

static enum ht_err result(struct whole *w, struct ht_diag *diag)
{
    int64_t bad = atomic_load(&w->nonfinite), n_in = w->matrix->n_in;
    if (bad >= 0)
        return ht__fail(diag, HT_ERR_NONFINITE, "matrix", -1, "row %lld, column %lld is not a finite number",
                        (long long)(bad / n_in), (long long)(bad % n_in));
    if (atomic_load(&w->cancelled)) return ht__fail(diag, HT_ERR_CANCELLED, "matrix", -1, "cancelled");
    return HT_OK;
}

static enum ht_err run_rows(struct whole *w, struct ht__arena *arena, struct ht_diag *diag)
{
    struct ht__pool *pool = NULL;
    int64_t tasks = (w->matrix->n_out + w->rows - 1) / w->rows;
    int threads = w->run->n_threads > 0 ? w->run->n_threads : ht__core_count();
    if (threads > tasks) threads = (int)tasks;
    HT_TRY(ht__pool_open(threads, w->run->alloc, &pool, diag));
    bool ok = (w->workers = ht__arena_array(arena, (size_t)ht__pool_threads(pool), sizeof *w->workers)) != NULL;
    for (int i = 0; i < ht__pool_threads(pool) && ok; i++)
        ok = worker_new(w, &w->workers[i], arena);
    if (ok) ht__pool_run(pool, tasks, take_rows, w);
    ht__pool_close(&pool);
    return ok ? result(w, diag) : ht__fail_memory(diag, "matrix");
}

static enum ht_err run_whole(struct whole *w, struct ht_diag *diag)
{
    struct ht__arena arena;
    w->n_parts = w->params->scheme->parts(w->params, w->matrix, w->parts);
    w->rows = rows_at_once(w->params, w->matrix);
    atomic_init(&w->done, 0);
    atomic_init(&w->nonfinite, -1);
    atomic_init(&w->cancelled, false);
    ht__arena_init(&arena, w->run->alloc);
    enum ht_err err = run_rows(w, &arena, diag);
    ht__arena_close(&arena);
    return err;
}

enum ht_err ht__matrix_quantize(const struct ht__scheme_params *params, const struct ht__matrix *matrix, const void *x,
                                void *const parts[], const struct ht__scheme_run *run, struct ht_diag *diag)
{
    struct whole w = {.params = params,
                      .matrix = matrix,
                      .run = run,
                      .from = x,
                      .from_type = run->from,
                      .data = (char *const *)parts};
    void *whole[HT__SCHEME_PARTS] = {NULL};
    HT_TRY(run_whole(&w, diag));
    for (int i = 0; i < w.n_parts; i++)
        if (w.parts[i].place == HT__PART_WHOLE || w.parts[i].place == HT__PART_WORK) whole[i] = parts[i];
    if (params->scheme->finish) params->scheme->finish(params, matrix, whole);
    return HT_OK;
}

enum ht_err ht__matrix_dequantize(const struct ht__scheme_params *params, const struct ht__matrix *matrix,
                                  const void *const parts[], float *x, const struct ht__scheme_run *run,
                                  struct ht_diag *diag)
{
    struct whole w = {.params = params, .matrix = matrix, .run = run, .to = x, .data = (char *const *)(uintptr_t)parts};
    return run_whole(&w, diag);
}

enum ht_err ht__scheme_quantize(const struct ht__scheme_params *params, const struct ht__matrix *matrix, const float *x,
                                void *const parts[], struct ht__arena *scratch, struct ht_diag *diag)
{
    struct ht__scheme_run run = {.n_threads = 1, .alloc = scratch->alloc};
    return ht__matrix_quantize(params, matrix, x, parts, &run, diag);
}

enum ht_err ht__scheme_dequantize(const struct ht__scheme_params *params, const struct ht__matrix *matrix,
                                  const void *const parts[], float *x, struct ht__arena *scratch, struct ht_diag *diag)
{
    struct ht__scheme_run run = {.n_threads = 1, .alloc = scratch->alloc};
    return ht__matrix_dequantize(params, matrix, parts, x, &run, diag);
}
