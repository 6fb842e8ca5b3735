/*
 * The workers. Each takes the next chunk of rows, reads, encodes and writes it by itself: with one more
 * worker than cores, reading and writing overlap computing without a queue between them. The bytes do
 * not depend on which worker took what.
 */
#include "job/stream.h"
#include "base/check.h"
#include "model/rows.h"

#include <math.h>
#include <string.h>

enum { SYNC_SECONDS = 10 };

struct stream {
    struct ht__plan *plan;
    struct ht__journal *journal;
    struct ht__stream_result *result;
    pthread_mutex_t lock; /* for all that follows */
    pthread_cond_t ended; /* a worker ended */
    int n_working;
    size_t next;      /* position in plan->order */
    int64_t next_row; /* of that weight */
    int64_t *rows_left; /* by weight */
    uint64_t done;      /* weights */
    const char *tensor;
    uint32_t *fresh; /* finished tensors that are not in the journal */
    size_t n_fresh;
    enum ht_err err;
    struct ht_diag diag; /* of err */
};

struct worker {
    struct stream *stream;
    struct ht__arena arena;  /* the chunk's buffers */
    struct ht__arena scratch; /* the row sources' */
    struct ht_diag diag;
    pthread_t thread;
};

struct chunk {
    uint32_t weight;
    int64_t row, n_rows;
};

/* Does every output hold this weight as it is stored? Then bytes are copied. */
static bool is_raw(const struct ht__plan *plan, uint32_t weight, size_t output)
{
    const struct ht__rows *rows = plan->model->weights[weight].rows;
    return rows->raw_type && rows->raw_type == plan->outputs[output].choices[weight].type;
}

/* The weights after this one. Beginnings alone: what reads a tensor announces the rest of it. */
static void announce_next(const struct stream *s)
{
    enum { WEIGHTS = 4 };
    const struct ht__plan *plan = s->plan;
    for (size_t i = s->next + 1, n = 0; i < plan->model->n_weights && n < WEIGHTS; i++) {
        if (s->journal->finished[plan->order[i]]) continue;
        ht__rows_announce(plan->model->weights[plan->order[i]].rows);
        n++;
    }
}

static bool take(struct stream *s, struct chunk *chunk)
{
    const struct ht__plan *plan = s->plan;
    bool got = false;
    pthread_mutex_lock(&s->lock);
    while (s->err == HT_OK && s->next < plan->model->n_weights) {
        uint32_t i = plan->order[s->next];
        const struct ht__weight *w = &plan->model->weights[i];
        if (s->journal->finished[i] || s->next_row >= w->rows->n_rows) {
            s->next++;
            s->next_row = 0;
            continue;
        }
        /* a chunk lies within one matrix: importance changes with the expert */
        if (s->next_row == 0) announce_next(s);
        int64_t rows = ht__plan_chunk_rows(w), in_matrix = w->ne[1] - s->next_row % w->ne[1];
        *chunk = (struct chunk){i, s->next_row, rows < in_matrix ? rows : in_matrix};
        s->next_row += chunk->n_rows;
        s->tensor = w->name;
        got = true;
        break;
    }
    pthread_mutex_unlock(&s->lock);
    return got;
}

static enum ht_err refuse_nonfinite(const struct ht__weight *w, const struct chunk *c, const float *x,
                                    struct ht_diag *diag)
{
    int64_t n = c->n_rows * w->ne[0], i = 0;
    while (i < n && isfinite(x[i]))
        i++;
    return ht__fail(diag, HT_ERR_NONFINITE, w->name, -1, "row %lld, column %lld holds %s",
                    (long long)(c->row + i / w->ne[0]), (long long)(i % w->ne[0]),
                    isnan(x[i]) ? "NaN" : "infinity");
}

/* An exponent of all ones; integer work, so that the compiler makes vectors of it. */
static bool all_finite(const float *x, int64_t n)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bad |= (uint32_t)((bits & 0x7f800000u) == 0x7f800000u);
    }
    return bad == 0;
}

/* Sums of squares in double, by 16 lanes so that it vectorises and does not depend on the machine. */
static double sum_squares(const float *x, const float *y, int64_t n)
{
    double lanes[16] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) {
            double d = y ? (double)x[i + j] - (double)y[i + j] : (double)x[i + j];
            lanes[j] += d * d;
        }
    for (int j = 0; j < 16; j++)
        sum += lanes[j];
    for (; i < n; i++) {
        double d = y ? (double)x[i] - (double)y[i] : (double)x[i];
        sum += d * d;
    }
    return sum;
}

static enum ht_err write_rows(struct worker *k, size_t output, const struct chunk *c,
                              const void *data, uint64_t n_bytes)
{
    struct ht__plan_output *out = &k->stream->plan->outputs[output];
    struct ht__place place = out->places[c->weight];
    const struct ht__gguf_entry *e = &out->files[place.file].entries[place.entry];
    uint64_t row_bytes = ht__codec_bytes(e->type, (uint64_t)e->ne[0]);
    return ht__output_write(&out->files[place.file].out, e->offset + (uint64_t)c->row * row_bytes, data,
                            n_bytes, &k->diag);
}

/* Rows that are stored in the wanted type already: checked as blocks, not as floats. */
static enum ht_err copy_raw(struct worker *k, const struct chunk *c, uint64_t *bytes)
{
    struct stream *s = k->stream;
    const struct ht__weight *w = &s->plan->model->weights[c->weight];
    const struct ht__codec *type = w->rows->raw_type;
    if (!type) return HT_OK;
    uint64_t n = ht__codec_bytes(type, (uint64_t)(c->n_rows * w->ne[0]));
    void *data = NULL;
    for (size_t o = 0; o < s->plan->n_outputs; o++) {
        if (!is_raw(s->plan, c->weight, o)) continue;
        if (!data) {
            if (!(data = ht__arena_raw(&k->arena, n))) return ht__fail_memory(&k->diag, w->name);
            HT_TRY(w->rows->read_raw(w->rows, c->row, c->n_rows, data, &k->scratch, &k->diag));
            ht__check_fn *check = ht__checker(type, s->plan->level);
            int64_t bad = check ? check(data, (int64_t)(n / type->block_size)) : -1;
            if (bad >= 0)
                return ht__fail(&k->diag, HT_ERR_NONFINITE, w->name, -1,
                                "row %lld holds a block of %s that is not sound",
                                (long long)(c->row + bad * type->block_len / w->ne[0]), type->label);
        }
        HT_TRY(write_rows(k, o, c, data, n));
        *bytes += n;
    }
    return HT_OK;
}

static bool encoded_before(const struct ht__plan *plan, uint32_t weight, size_t output, size_t *same)
{
    for (*same = 0; *same < output; ++*same)
        if (!is_raw(plan, weight, *same) &&
            plan->outputs[*same].choices[weight].type == plan->outputs[output].choices[weight].type)
            return true;
    return false;
}

static const float *importance_of(const struct ht__plan *plan, const struct chunk *c)
{
    const struct ht__weight *w = &plan->model->weights[c->weight];
    const float *values = plan->importance[c->weight];
    return values ? values + c->row / w->ne[1] % w->ne[2] * w->ne[0] : NULL;
}

struct sums {
    double squares;
    double errors[]; /* by output */
};

/* Encodes for one output, decodes what it wrote, and says how far it is from the source. */
static enum ht_err encode(struct worker *k, const struct chunk *c, const float *x, size_t output,
                          void *encoded, float *again, double *error)
{
    const struct ht__plan *plan = k->stream->plan;
    const struct ht__weight *w = &plan->model->weights[c->weight];
    const struct ht__codec *type = plan->outputs[output].choices[c->weight].type;
    int64_t n = c->n_rows * w->ne[0];
    const float *importance = type->flags & HT__CODEC_USES_IMPORTANCE ? importance_of(plan, c) : NULL;
    ht__encoder(type, plan->level)(x, c->n_rows, w->ne[0], importance, encoded);
    if (strcmp(type->name, "f32") != 0) {
        ht__decoder(type, plan->level)(encoded, n, again);
        if (!all_finite(again, n))
            return ht__fail(&k->diag, HT_ERR_NONFINITE, w->name, -1,
                            "rows %lld to %lld hold weights too large for %s", (long long)c->row,
                            (long long)(c->row + c->n_rows - 1), type->label);
        *error = sum_squares(x, again, n);
    }
    return HT_OK;
}

static enum ht_err encode_all(struct worker *k, const struct chunk *c, struct sums *sums,
                              uint64_t *bytes)
{
    const struct ht__plan *plan = k->stream->plan;
    const struct ht__weight *w = &plan->model->weights[c->weight];
    size_t n = (size_t)(c->n_rows * w->ne[0]);
    float *x = ht__arena_raw(&k->arena, n * sizeof *x);
    float *again = ht__arena_raw(&k->arena, n * sizeof *again);
    void *encoded = ht__arena_raw(&k->arena, n * sizeof *x);
    if (!x || !again || !encoded) return ht__fail_memory(&k->diag, w->name);
    HT_TRY(w->rows->read(w->rows, c->row, c->n_rows, x, &k->scratch, &k->diag));
    if (!all_finite(x, (int64_t)n)) return refuse_nonfinite(w, c, x, &k->diag);
    sums->squares = sum_squares(x, NULL, (int64_t)n);
    for (size_t o = 0; o < plan->n_outputs; o++) {
        size_t same;
        if (is_raw(plan, c->weight, o) || encoded_before(plan, c->weight, o, &same)) continue;
        HT_TRY(encode(k, c, x, o, encoded, again, &sums->errors[o]));
        const struct ht__codec *type = plan->outputs[o].choices[c->weight].type;
        uint64_t size = ht__codec_bytes(type, n);
        for (size_t later = o; later < plan->n_outputs; later++) {
            if (is_raw(plan, c->weight, later) || plan->outputs[later].choices[c->weight].type != type)
                continue;
            sums->errors[later] = sums->errors[o];
            HT_TRY(write_rows(k, later, c, encoded, size));
            *bytes += size;
        }
    }
    return HT_OK;
}

static void finish(struct stream *s, const struct chunk *c, const struct sums *sums, uint64_t bytes)
{
    const struct ht__plan *plan = s->plan;
    const struct ht__weight *w = &plan->model->weights[c->weight];
    uint64_t n = (uint64_t)c->n_rows * (uint64_t)w->ne[0];
    struct ht__tensor_stats *stats = &s->result->stats[c->weight];
    pthread_mutex_lock(&s->lock);
    stats->sum_squares += sums->squares;
    for (size_t o = 0; o < plan->n_outputs; o++)
        stats->errors[o] += sums->errors[o];
    s->done += n;
    s->result->bytes_read += ht__codec_bytes(w->source, n);
    s->result->bytes_written += bytes;
    if ((s->rows_left[c->weight] -= c->n_rows) == 0) s->fresh[s->n_fresh++] = c->weight;
    pthread_mutex_unlock(&s->lock);
}

static enum ht_err do_chunk(struct worker *k, const struct chunk *c, struct sums *sums)
{
    const struct ht__plan *plan = k->stream->plan;
    uint64_t bytes = 0;
    bool all_raw = true;
    memset(sums, 0, sizeof *sums + plan->n_outputs * sizeof sums->errors[0]);
    for (size_t o = 0; o < plan->n_outputs; o++)
        all_raw &= is_raw(plan, c->weight, o);
    HT_TRY(copy_raw(k, c, &bytes));
    if (!all_raw) HT_TRY(encode_all(k, c, sums, &bytes));
    finish(k->stream, c, sums, bytes);
    return HT_OK;
}

static void *work(void *arg)
{
    struct worker *k = arg;
    struct stream *s = k->stream;
    struct chunk chunk;
    enum ht_err err = HT_OK;
    struct sums *sums = ht__new(s->plan->job->alloc,
                                sizeof *sums + s->plan->n_outputs * sizeof sums->errors[0]);
    if (!sums) err = ht__fail_memory(&k->diag, "worker");
    while (err == HT_OK && !ht__job_cancelled(s->plan->job) && take(s, &chunk)) {
        err = do_chunk(k, &chunk, sums);
        ht__arena_reset(&k->arena);
        ht__arena_reset(&k->scratch);
    }
    ht__free(s->plan->job->alloc, sums);
    pthread_mutex_lock(&s->lock);
    if (err != HT_OK && s->err == HT_OK) {
        s->err = err;
        s->diag = k->diag;
    }
    s->n_working--;
    pthread_cond_signal(&s->ended);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* Puts finished tensors on the disk, then into the journal. */
static enum ht_err checkpoint(struct stream *s, struct ht_diag *diag)
{
    struct ht__plan *plan = s->plan;
    pthread_mutex_lock(&s->lock);
    size_t n = s->n_fresh;
    pthread_mutex_unlock(&s->lock);
    if (n == 0) return HT_OK;
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++)
            HT_TRY(ht__output_sync(&plan->outputs[i].files[f].out, diag));
    HT_TRY(ht__journal_add(s->journal, plan, s->result->stats, s->fresh, n, diag));
    pthread_mutex_lock(&s->lock);
    memmove(s->fresh, s->fresh + n, (s->n_fresh - n) * sizeof *s->fresh);
    s->n_fresh -= n;
    pthread_mutex_unlock(&s->lock);
    return HT_OK;
}

static void wait_a_little(struct stream *s)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100000000;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    if (s->n_working > 0) pthread_cond_timedwait(&s->ended, &s->lock, &until);
}

/* The calling thread: progress ten times a second, the journal now and then. */
static enum ht_err supervise(struct stream *s, struct ht_diag *diag)
{
    struct ht__meter meter;
    ht__meter_begin(&meter, s->plan->job, "quantize", "weights", s->plan->n_weights);
    double synced = ht__seconds();
    enum ht_err err = HT_OK;
    for (bool working = true; working;) {
        pthread_mutex_lock(&s->lock);
        wait_a_little(s);
        working = s->n_working > 0;
        uint64_t done = s->done;
        const char *tensor = s->tensor;
        meter.now.bytes_read = s->result->bytes_read;
        meter.now.bytes_written = s->result->bytes_written;
        pthread_mutex_unlock(&s->lock);
        if (ht__meter_tell(&meter, done, tensor)) ht_job_cancel(s->plan->job);
        if (err == HT_OK && working && ht__seconds() - synced > SYNC_SECONDS) {
            err = checkpoint(s, diag);
            if (err != HT_OK) ht_job_cancel(s->plan->job); /* the workers stop; err says why */
            synced = ht__seconds();
        }
    }
    return err;
}

static enum ht_err start_and_wait(struct stream *s, struct worker *workers, int n_workers,
                                  struct ht_diag *diag)
{
    int started = 0;
    s->n_working = 0;
    for (; started < n_workers; started++) {
        struct worker *k = &workers[started];
        k->stream = s;
        ht__arena_init(&k->arena, s->plan->job->alloc);
        ht__arena_init(&k->scratch, s->plan->job->alloc);
        pthread_mutex_lock(&s->lock);
        s->n_working++;
        pthread_mutex_unlock(&s->lock);
        if (pthread_create(&k->thread, NULL, work, k) != 0) {
            pthread_mutex_lock(&s->lock);
            s->n_working--;
            pthread_mutex_unlock(&s->lock);
            break;
        }
    }
    enum ht_err err = started ? supervise(s, diag)
                              : ht__fail(diag, HT_ERR_MEMORY, "threads", -1, "no thread could be started");
    for (int i = 0; i < started; i++) {
        pthread_join(workers[i].thread, NULL);
        ht__arena_close(&workers[i].arena);
        ht__arena_close(&workers[i].scratch);
    }
    return err;
}

static enum ht_err prepare(struct stream *s, struct ht_diag *diag)
{
    struct ht__plan *plan = s->plan;
    size_t n = plan->model->n_weights;
    s->rows_left = ht__arena_array(&plan->arena, n, sizeof *s->rows_left);
    s->fresh = ht__arena_array(&plan->arena, n, sizeof *s->fresh);
    if (!s->rows_left || !s->fresh) return ht__fail_memory(diag, "plan");
    for (size_t i = 0; i < n; i++) {
        const struct ht__rows *rows = plan->model->weights[i].rows;
        s->rows_left[i] = rows->n_rows;
        if (s->journal->finished[i]) s->done += (uint64_t)rows->n_rows * (uint64_t)rows->row_len;
    }
    s->result->weights_resumed = s->done;
    return HT_OK;
}

enum ht_err ht__stream_run(struct ht__plan *plan, struct ht__journal *journal,
                           struct ht__stream_result *result, struct ht_diag *diag)
{
    struct stream s = {.plan = plan, .journal = journal, .result = result, .tensor = ""};
    int n_workers = plan->n_threads + (plan->n_threads > 1);
    struct worker *workers = ht__arena_array(&plan->arena, (size_t)n_workers, sizeof *workers);
    double start = ht__seconds();
    HT_TRY(prepare(&s, diag));
    if (!workers) return ht__fail_memory(diag, "workers");
    pthread_mutex_init(&s.lock, NULL);
    pthread_cond_init(&s.ended, NULL);
    enum ht_err err = start_and_wait(&s, workers, n_workers, diag);
    if (err == HT_OK && s.err != HT_OK) {
        err = s.err;
        if (diag && diag->code == HT_OK) *diag = s.diag;
    }
    if (err == HT_OK && ht__job_cancelled(plan->job))
        err = ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
    pthread_cond_destroy(&s.ended);
    pthread_mutex_destroy(&s.lock);
    result->seconds = ht__seconds() - start;
    return err;
}
