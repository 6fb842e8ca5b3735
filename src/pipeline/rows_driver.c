/*
 * The workers. Each takes the next chunk of rows, reads, encodes and writes it by itself: with one more
 * worker than cores, reading and writing overlap computing without a queue between them. The bytes do
 * not depend on which worker took what.
 */
#include "pipeline/rows_driver.h"
#include "base/check.h"
#include "kernels/weights/weights.h"
#include "pipeline/floats.h"
#include "pipeline/pack.h"
#include "model/rows.h"

#include <math.h>
#include <string.h>

struct ht__stream {
    struct ht__plan *plan;
    struct ht__journal *journal;
    struct ht__stream_result *result;
    const bool *now; /* items that are written in this call; NULL: all */
    struct worker *workers;
    int n_workers;
    pthread_mutex_t lock;   /* for all that follows */
    pthread_cond_t changed; /* a worker ended, or a tensor is to be put into the journal at once */
    int n_working;
    size_t next;          /* position in plan->order */
    int64_t next_row;     /* of that weight */
    int64_t *rows_left;   /* by weight */
    uint64_t done, total; /* weights */
    const char *tensor;
    uint32_t *fresh; /* finished tensors that are not in the journal */
    size_t n_fresh;
    uint64_t checkpoint_seconds; /* 0: after every tensor */
    double synced;               /* when the last checkpoint was: calls of ht__stream_items may be short */
    bool surveying;              /* nothing is written: the largest magnitudes are looked for */
    float *amax;                 /* by item; NULL: nobody needs them */
    enum ht_err err;
    struct ht_diag diag; /* of err */
};

struct worker {
    struct ht__stream *stream;
    struct ht__arena arena;   /* the chunk's buffers */
    struct ht__arena scratch; /* the row sources' */
    struct ht__buf readings;  /* of the chunk */
    struct ht_diag diag;
    pthread_t thread;
};

struct chunk {
    uint32_t item;
    int64_t row, n_rows;
};

/* What a chunk adds to its weight's stats. */
struct sums {
    double squares;
    struct output_sums {
        double error;
        struct ht__sum written;
    } outputs[];
};

void ht__reading_add(struct ht__buf *readings, uint32_t tensor, const struct ht__sum *sum)
{
    struct ht__reading *all = (struct ht__reading *)(void *)readings->data, fresh = {tensor, *sum};
    for (size_t i = readings->len / sizeof *all; i-- > 0;) { /* the last one is the likeliest */
        if (all[i].tensor != tensor) continue;
        ht__sum_merge(&all[i].sum, sum);
        return;
    }
    ht__buf_put(readings, &fresh, sizeof fresh);
}

static void on_read(void *ctx, const struct ht__checkpoint *ck, const struct ht__tensor *tensor, uint64_t at,
                    const void *data, uint64_t n)
{
    struct worker *k = ctx;
    struct ht__sum sum = {0};
    if (ck != k->stream->plan->checkpoint) return;
    ht__sum_add(&sum, at, data, n);
    ht__reading_add(&k->readings, (uint32_t)(tensor - ck->tensors), &sum);
}

static bool is_held(const struct ht__plan *plan, uint32_t item, size_t output)
{
    return ht__item_in(plan, &plan->outputs[output], item) != NULL;
}

/* Does the output hold this item as it is stored? Then bytes are copied. */
static bool is_raw(const struct ht__plan *plan, uint32_t item, size_t output)
{
    const struct ht__rows *rows = plan->items[item].rows;
    const struct ht__choice *choice = &plan->outputs[output].choices[item];
    if (choice->scheme || !rows->read_raw) return false;
    return choice->type == rows->raw_type || choice->type == rows->stored;
}

/* Is there floats' work for the output? */
static bool is_encoded(const struct ht__plan *plan, uint32_t item, size_t output)
{
    return is_held(plan, item, output) && !is_raw(plan, item, output);
}

/* The weights after this one. Beginnings alone: what reads a tensor announces the rest of it. */
static void prefetch_next(const struct ht__stream *s)
{
    enum { WEIGHTS = 4 };
    const struct ht__plan *plan = s->plan;
    for (size_t i = s->next + 1, n = 0; i < plan->n_work && n < WEIGHTS; i++) {
        uint32_t item = plan->work[i];
        bool begins = ht__item_range(plan, item).from == 0;
        if (!begins || s->rows_left[item] == 0 || (s->now && !s->now[item])) continue;
        ht__rows_prefetch(plan->items[item].rows);
        n++;
    }
}

static bool needs_amax(const struct ht__plan *plan, uint32_t item)
{
    for (size_t o = 0; o < plan->n_outputs; o++) {
        const struct ht__packed *p = plan->outputs[o].packed ? plan->outputs[o].packed[item] : NULL;
        if (p && p->flags & HT__SCHEME_NEEDS_AMAX) return true;
    }
    return false;
}

/* The item's next rows that are not finished. A chunk lies within one matrix: importance changes with the expert. */
static bool next_rows(const struct ht__stream *s, uint32_t item, struct chunk *chunk)
{
    struct ht__row_span rows = ht__item_range(s->plan, item);
    if (rows.from < s->next_row) rows.from = s->next_row;
    if (s->surveying ? rows.from >= rows.to : !ht__row_set_gap(&s->journal->done[item], &rows)) return false;
    int64_t end = ht__plan_chunk_end(s->plan, item, rows.from);
    *chunk = (struct chunk){item, rows.from, (end < rows.to ? end : rows.to) - rows.from};
    return true;
}

/* Is nothing of the item to be done in this call? */
static bool is_passed(const struct ht__stream *s, uint32_t item)
{
    if (s->surveying) return !needs_amax(s->plan, item);
    return (s->now && !s->now[item]) || (s->next_row == 0 && s->rows_left[item] == 0);
}

static bool take(struct ht__stream *s, struct chunk *chunk)
{
    const struct ht__plan *plan = s->plan;
    bool got = false;
    pthread_mutex_lock(&s->lock);
    for (; s->err == HT_OK && s->next < plan->n_work; s->next++, s->next_row = 0) {
        uint32_t i = plan->work[s->next];
        if (is_passed(s, i) || !next_rows(s, i, chunk)) continue;
        if (s->next_row == 0) prefetch_next(s);
        s->next_row = chunk->row + chunk->n_rows;
        s->tensor = ht__item_any(plan, i)->name;
        got = true;
        break;
    }
    pthread_mutex_unlock(&s->lock);
    return got;
}

static enum ht_err write_rows(struct worker *k, size_t output, const struct chunk *c, const void *data,
                              uint64_t n_bytes)
{
    const struct ht__plan *plan = k->stream->plan;
    struct ht__plan_output *out = &k->stream->plan->outputs[output];
    struct ht__place place = out->places[c->item];
    const struct ht__extent *e = &out->files[place.file].entries[place.entry];
    uint64_t at = (uint64_t)c->row * ht__item_row_bytes(e->type, &plan->items[c->item]);
    return ht__output_write(&out->files[place.file].out, e->offset + at, data, n_bytes, &k->diag);
}

/* Rows that are already stored in the requested type: checked as blocks, not as floats. */
static enum ht_err copy_raw(struct worker *k, const struct chunk *c, struct sums *sums, uint64_t *bytes)
{
    struct ht__stream *s = k->stream;
    const struct ht__weight *w = ht__item_any(s->plan, c->item);
    const struct ht__codec *type = w->rows->stored ? w->rows->stored : w->rows->raw_type;
    if (!type) return HT_OK;
    uint64_t n = ht__codec_bytes(type, (uint64_t)(c->n_rows * w->ne[0]));
    void *data = NULL;
    struct ht__sum written = {0};
    for (size_t o = 0; o < s->plan->n_outputs; o++) {
        if (!is_held(s->plan, c->item, o) || !is_raw(s->plan, c->item, o)) continue;
        if (!data) {
            if (!(data = ht__arena_raw(&k->arena, n))) return ht__fail_memory(&k->diag, w->name);
            HT_TRY(w->rows->read_raw(w->rows, c->row, c->n_rows, data, &k->scratch, &k->diag));
            ht__check_fn *check = ht__checker(type, s->plan->settings->level);
            int64_t bad = check ? check(data, (int64_t)(n / type->block_size)) : -1;
            if (bad >= 0)
                return ht__fail(&k->diag, HT_ERR_NONFINITE, w->name, -1,
                                "row %lld holds a block of %s that is not sound",
                                (long long)(c->row + bad * type->block_len / w->ne[0]), type->label);
            ht__sum_add(&written, (uint64_t)c->row * ht__item_row_bytes(type, &s->plan->items[c->item]), data, n);
        }
        HT_TRY(write_rows(k, o, c, data, n));
        sums->outputs[o].written = written;
        *bytes += n;
    }
    return HT_OK;
}

/* What the layers driver chose for this output; NULL: the rows are rounded. */
static void *chosen_rows(const struct ht__plan *plan, uint32_t item, size_t output)
{
    const struct ht__chosen *chosen = plan->outputs[output].chosen;
    return chosen ? chosen[item].coded : NULL;
}

static bool encoded_before(const struct ht__plan *plan, uint32_t weight, size_t output, size_t *same)
{
    for (*same = 0; *same < output; ++*same)
        if (is_encoded(plan, weight, *same) && !plan->outputs[*same].choices[weight].scheme &&
            !chosen_rows(plan, weight, *same) &&
            plan->outputs[*same].choices[weight].type == plan->outputs[output].choices[weight].type)
            return true;
    return false;
}

static const float *importance_of(const struct ht__plan *plan, const struct chunk *c)
{
    const struct ht__weight *w = ht__item_any(plan, c->item);
    const float *values = plan->importance[c->item];
    return values ? values + c->row / w->ne[1] % w->ne[2] * w->ne[0] : NULL;
}

/* Without a text to calibrate with, the best that can be done is a better search for scales. */
static ht__encode_fn *encoder_of(const struct ht__plan *plan, const struct ht__codec *type)
{
    bool better = plan->settings->best && !plan->settings->importance.collect && type->encode_best;
    return better ? type->encode_best : ht__encoder(type, plan->settings->level);
}

/* Encodes for one output, decodes what it wrote, and says how far it is from the source. */
static enum ht_err encode(struct worker *k, const struct chunk *c, const float *x, size_t output, void *encoded,
                          float *again, double *error)
{
    const struct ht__plan *plan = k->stream->plan;
    const struct ht__weight *w = ht__item_any(plan, c->item);
    const struct ht__codec *type = plan->outputs[output].choices[c->item].type;
    int64_t n = c->n_rows * w->ne[0];
    const float *importance = type->flags & HT__CODEC_USES_IMPORTANCE ? importance_of(plan, c) : NULL;
    const uint8_t *chosen = chosen_rows(plan, c->item, output);
    uint64_t row_bytes = ht__item_row_bytes(type, &plan->items[c->item]);
    if (chosen)
        memcpy(encoded, chosen + (uint64_t)c->row * row_bytes, (uint64_t)c->n_rows * row_bytes);
    else
        encoder_of(plan, type)(x, c->n_rows, w->ne[0], importance, encoded);
    if (strcmp(type->name, "f32") != 0) {
        ht__decoder(type, plan->settings->level)(encoded, n, again);
        if (!ht__floats_finite(again, n))
            return ht__fail(&k->diag, HT_ERR_NONFINITE, w->name, -1, "rows %lld to %lld hold weights too large for %s",
                            (long long)c->row, (long long)(c->row + c->n_rows - 1), type->label);
        *error = ht__floats_squares(x, again, n);
    }
    return HT_OK;
}

/* One output's type, for every output that holds the item in it. */
static enum ht_err encode_for_all(struct worker *k, const struct chunk *c, const float *x, size_t output, void *encoded,
                                  float *again, struct sums *sums, uint64_t *bytes)
{
    const struct ht__plan *plan = k->stream->plan;
    const struct ht__codec *type = plan->outputs[output].choices[c->item].type;
    uint64_t size = (uint64_t)c->n_rows * ht__item_row_bytes(type, &plan->items[c->item]);
    struct output_sums here = {0};
    HT_TRY(encode(k, c, x, output, encoded, again, &here.error));
    ht__sum_add(&here.written, (uint64_t)c->row * ht__item_row_bytes(type, &plan->items[c->item]), encoded, size);
    for (size_t later = output; later < plan->n_outputs; later++) {
        const struct ht__choice *choice = &plan->outputs[later].choices[c->item];
        bool own = chosen_rows(plan, c->item, later) != chosen_rows(plan, c->item, output);
        if (!is_encoded(plan, c->item, later) || choice->scheme || choice->type != type || own) continue;
        sums->outputs[later].error += here.error;
        ht__sum_merge(&sums->outputs[later].written, &here.written);
        HT_TRY(write_rows(k, later, c, encoded, size));
        *bytes += size;
    }
    return HT_OK;
}

/* The outputs whose schemes pack the item, each with this chunk's codes. */
static enum ht_err open_packings(struct worker *k, const struct chunk *c, struct ht__packing **packings)
{
    struct ht__plan *plan = k->stream->plan;
    *packings = ht__arena_array(&k->arena, plan->n_outputs, sizeof **packings);
    if (!*packings) return ht__fail_memory(&k->diag, ht__item_any(plan, c->item)->name);
    for (size_t o = 0; o < plan->n_outputs; o++) {
        struct ht__plan_output *out = &plan->outputs[o];
        if (!is_encoded(plan, c->item, o) || !out->choices[c->item].scheme) continue;
        (*packings)[o] = (struct ht__packing){
            .packed = out->packed[c->item],
            .file = &out->files[out->places[c->item].file],
            .row = c->row,
            .n_rows = c->n_rows,
            .importance = importance_of(plan, c),
            .coded = chosen_rows(plan, c->item, o),
            .lock = &k->stream->lock,
            .name = ht__item_in(plan, out, c->item)->name,
            .alloc = plan->run.alloc,
        };
        HT_TRY(ht__pack_open(&(*packings)[o], &k->arena, &k->diag));
    }
    return HT_OK;
}

static enum ht_err pack_strip(struct worker *k, const struct chunk *strip, const struct ht__packing *job, size_t output,
                              const float *x, float *again, struct sums *sums)
{
    const struct ht__plan *plan = k->stream->plan;
    int64_t n = strip->n_rows * plan->items[strip->item].rows->row_len;
    if (!ht__pack_strip(job, strip->row - job->row, strip->n_rows, x, again))
        return ht__fail_memory(&k->diag, job->name);
    if (!ht__floats_finite(again, n))
        return ht__fail(&k->diag, HT_ERR_NONFINITE, job->name, -1, "rows %lld to %lld hold weights too large for %s",
                        (long long)strip->row, (long long)(strip->row + strip->n_rows - 1),
                        plan->outputs[output].target->type);
    sums->outputs[output].error += ht__floats_squares(x, again, n);
    return HT_OK;
}

static enum ht_err read_floats(struct worker *k, const struct chunk *c, float *x)
{
    const struct ht__weight *w = ht__item_any(k->stream->plan, c->item);
    HT_TRY(w->rows->read(w->rows, c->row, c->n_rows, x, &k->scratch, &k->diag));
    bool finite = ht__floats_finite(x, c->n_rows * w->rows->row_len);
    return finite ? HT_OK : ht__floats_refuse(w, c->row, c->n_rows, x, &k->diag);
}

/* Buffers of a strip: its weights, as they will be read back, and encoded. */
struct strip_room {
    float *x, *again;
    void *encoded;
};

static enum ht_err open_room(struct worker *k, uint32_t item, int64_t n_rows, struct strip_room *room)
{
    const struct ht__plan *plan = k->stream->plan;
    size_t size = (size_t)(n_rows * plan->items[item].rows->row_len) * sizeof(float);
    room->x = ht__arena_raw(&k->arena, size);
    room->again = ht__arena_raw(&k->arena, size);
    room->encoded = ht__arena_raw(&k->arena, size);
    bool ok = room->x && room->again && room->encoded;
    return ok ? HT_OK : ht__fail_memory(&k->diag, ht__item_any(plan, item)->name);
}

static enum ht_err encode_strip(struct worker *k, const struct chunk *strip, const struct ht__packing *packings,
                                const struct strip_room *room, struct sums *sums, uint64_t *bytes)
{
    const struct ht__plan *plan = k->stream->plan;
    HT_TRY(read_floats(k, strip, room->x));
    sums->squares += ht__floats_squares(room->x, NULL, strip->n_rows * plan->items[strip->item].rows->row_len);
    for (size_t o = 0; o < plan->n_outputs; o++) {
        size_t same;
        if (!is_encoded(plan, strip->item, o)) continue;
        if (packings[o].packed)
            HT_TRY(pack_strip(k, strip, &packings[o], o, room->x, room->again, sums));
        else if (chosen_rows(plan, strip->item, o) || !encoded_before(plan, strip->item, o, &same))
            HT_TRY(encode_for_all(k, strip, room->x, o, room->encoded, room->again, sums, bytes));
    }
    return HT_OK;
}

/* A strip's floats stay in the core's cache; what schemes make of the whole chunk is written in long pieces. */
static enum ht_err encode_all(struct worker *k, const struct chunk *c, struct sums *sums, uint64_t *bytes)
{
    const struct ht__plan *plan = k->stream->plan;
    int64_t at_once = ht__plan_strip_rows(plan, c->item), end = c->row + c->n_rows;
    struct ht__packing *packings;
    struct strip_room room;
    HT_TRY(open_packings(k, c, &packings));
    HT_TRY(open_room(k, c->item, at_once < c->n_rows ? at_once : c->n_rows, &room));
    for (struct chunk strip = *c; strip.row < end; strip.row += strip.n_rows) {
        strip.n_rows = end - strip.row < at_once ? end - strip.row : at_once;
        HT_TRY(encode_strip(k, &strip, packings, &room, sums, bytes));
        ht__arena_reset(&k->scratch);
    }
    for (size_t o = 0; o < plan->n_outputs; o++)
        if (packings[o].packed)
            HT_TRY(ht__pack_write(&packings[o], &k->arena, &sums->outputs[o].written, bytes, &k->diag));
    return HT_OK;
}

/* The largest magnitude of some rows, before anything is written: some schemes must know it of the whole matrix. */
static enum ht_err survey_rows(struct worker *k, const struct chunk *c)
{
    struct ht__stream *s = k->stream;
    const struct ht__weight_ops *ops = ht__weight_ops(ht__cpu_best());
    int64_t at_once = ht__plan_strip_rows(s->plan, c->item), end = c->row + c->n_rows;
    int64_t row_len = s->plan->items[c->item].rows->row_len;
    struct strip_room room;
    float most = 0;
    HT_TRY(open_room(k, c->item, at_once < c->n_rows ? at_once : c->n_rows, &room));
    for (struct chunk strip = *c; strip.row < end; strip.row += strip.n_rows) {
        strip.n_rows = end - strip.row < at_once ? end - strip.row : at_once;
        HT_TRY(read_floats(k, &strip, room.x));
        float largest = ops->largest(room.x, strip.n_rows * row_len);
        most = largest > most ? largest : most;
        ht__arena_reset(&k->scratch);
    }
    pthread_mutex_lock(&s->lock);
    if (most > s->amax[c->item]) s->amax[c->item] = most;
    s->done += (uint64_t)(c->n_rows * row_len);
    pthread_mutex_unlock(&s->lock);
    return HT_OK;
}

/* Parts that wait for the last row, of every output that has such. */
static enum ht_err finish_parts(struct worker *k, const struct chunk *c, struct sums *sums, uint64_t *bytes)
{
    struct ht__plan *plan = k->stream->plan;
    for (size_t o = 0; o < plan->n_outputs; o++) {
        struct ht__plan_output *out = &plan->outputs[o];
        struct ht__packed *packed = out->packed ? out->packed[c->item] : NULL;
        if (packed)
            HT_TRY(ht__pack_finish(packed, &out->files[out->places[c->item].file], plan->run.alloc,
                                   &sums->outputs[o].written, bytes, &k->diag));
    }
    return HT_OK;
}

/* What a chunk adds to its item's stats; true: it was the last of them. */
static bool add_sums(struct worker *k, const struct chunk *c, const struct sums *sums, uint64_t bytes, bool *failed)
{
    struct ht__stream *s = k->stream;
    const struct ht__plan *plan = s->plan;
    const struct ht__weight *w = ht__item_any(plan, c->item);
    uint64_t n = (uint64_t)c->n_rows * (uint64_t)w->rows->row_len;
    struct ht__tensor_stats *stats = &s->result->stats[c->item];
    pthread_mutex_lock(&s->lock);
    stats->sum_squares += sums->squares;
    for (size_t o = 0; o < plan->n_outputs; o++) {
        stats->errors[o] += sums->outputs[o].error;
        ht__sum_merge(&stats->written[o], &sums->outputs[o].written);
    }
    const struct ht__reading *readings = (const struct ht__reading *)(const void *)k->readings.data;
    for (size_t i = 0; i < k->readings.len / sizeof *readings; i++)
        ht__reading_add(&stats->readings, readings[i].tensor, &readings[i].sum);
    *failed = k->readings.failed || stats->readings.failed;
    s->done += n;
    s->result->bytes_read += ht__codec_bytes(w->source, n);
    s->result->bytes_written += bytes;
    bool last = !*failed && (s->rows_left[c->item] -= c->n_rows) == 0;
    pthread_mutex_unlock(&s->lock);
    return last;
}

static enum ht_err finish(struct worker *k, const struct chunk *c, struct sums *sums, uint64_t bytes)
{
    struct ht__stream *s = k->stream;
    bool failed, last = add_sums(k, c, sums, bytes, &failed);
    if (failed) return ht__fail_memory(&k->diag, ht__item_any(s->plan, c->item)->name);
    if (!last) return HT_OK;
    bytes = 0;
    memset(sums, 0, sizeof *sums + s->plan->n_outputs * sizeof sums->outputs[0]);
    HT_TRY(finish_parts(k, c, sums, &bytes));
    pthread_mutex_lock(&s->lock);
    for (size_t o = 0; o < s->plan->n_outputs; o++)
        ht__sum_merge(&s->result->stats[c->item].written[o], &sums->outputs[o].written);
    s->result->bytes_written += bytes;
    ht__row_set_add(&s->journal->done[c->item], ht__item_range(s->plan, c->item));
    failed = s->journal->done[c->item].spans.failed;
    s->fresh[s->n_fresh++] = c->item;
    if (s->checkpoint_seconds == 0) pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return failed ? ht__fail_memory(&k->diag, ht__item_any(s->plan, c->item)->name) : HT_OK;
}

static enum ht_err do_chunk(struct worker *k, const struct chunk *c, struct sums *sums)
{
    const struct ht__plan *plan = k->stream->plan;
    uint64_t bytes = 0;
    bool encoded = false;
    if (k->stream->surveying) return survey_rows(k, c);
    memset(sums, 0, sizeof *sums + plan->n_outputs * sizeof sums->outputs[0]);
    k->readings.len = 0;
    for (size_t o = 0; o < plan->n_outputs; o++)
        encoded |= is_encoded(plan, c->item, o);
    HT_TRY(copy_raw(k, c, sums, &bytes));
    if (encoded) HT_TRY(encode_all(k, c, sums, &bytes));
    return finish(k, c, sums, bytes);
}

static void *work(void *arg)
{
    struct worker *k = arg;
    struct ht__stream *s = k->stream;
    struct chunk chunk;
    enum ht_err err = HT_OK;
    struct sums *sums = ht__new(s->plan->run.alloc, sizeof *sums + s->plan->n_outputs * sizeof sums->outputs[0]);
    const struct ht__tensor_watch watch = {on_read, k};
    if (!s->surveying) ht__tensor_watch(&watch);
    if (!sums) err = ht__fail_memory(&k->diag, "worker");
    while (err == HT_OK && !ht__cancelled(&s->plan->run) && take(s, &chunk)) {
        err = do_chunk(k, &chunk, sums);
        ht__arena_reset(&k->arena);
        ht__arena_reset(&k->scratch);
    }
    ht__tensor_watch(NULL);
    ht__free(s->plan->run.alloc, sums);
    pthread_mutex_lock(&s->lock);
    if (err != HT_OK && s->err == HT_OK) {
        s->err = err;
        s->diag = k->diag;
    }
    s->n_working--;
    pthread_cond_signal(&s->changed);
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* Puts finished tensors on the disk, then into the journal. */
static enum ht_err checkpoint(struct ht__stream *s, struct ht_diag *diag)
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

static void wait_a_little(struct ht__stream *s)
{
    bool due = s->checkpoint_seconds == 0 && s->n_fresh > 0;
    if (s->n_working > 0 && !due) ht__cond_wait_ms(&s->changed, &s->lock, 100);
}

/* The calling thread: progress ten times a second, the journal every now and then. */
static enum ht_err supervise(struct ht__stream *s, struct ht_diag *diag)
{
    struct ht__progress progress;
    ht__progress_begin(&progress, &s->plan->run, s->surveying ? "survey" : "quantize", "weights", s->total);
    enum ht_err err = HT_OK;
    for (bool working = true; working;) {
        pthread_mutex_lock(&s->lock);
        wait_a_little(s);
        working = s->n_working > 0;
        uint64_t done = s->done;
        const char *tensor = s->tensor;
        progress.now.bytes_read = s->result->bytes_read;
        progress.now.bytes_written = s->result->bytes_written;
        pthread_mutex_unlock(&s->lock);
        (void)ht__progress_tell(&progress, done, tensor); /* the workers see it when the run is cancelled */
        bool more = working || s->now;                    /* after the last tensor of all, publishing follows at once */
        if (err == HT_OK && more && ht__seconds() - s->synced >= (double)s->checkpoint_seconds) {
            err = checkpoint(s, diag);
            if (err != HT_OK) ht__cancel(&s->plan->run); /* the workers stop; err says why */
            s->synced = ht__seconds();
        }
    }
    return err;
}

static enum ht_err start_and_wait(struct ht__stream *s, struct worker *workers, int n_workers, struct ht_diag *diag)
{
    int started = 0;
    s->n_working = 0;
    s->next = 0;
    s->next_row = 0;
    for (; started < n_workers; started++) {
        struct worker *k = &workers[started];
        k->stream = s;
        ht__arena_init(&k->arena, s->plan->run.alloc);
        ht__arena_init(&k->scratch, s->plan->run.alloc);
        ht__buf_init(&k->readings, s->plan->run.alloc);
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
    enum ht_err err =
        started ? supervise(s, diag) : ht__fail(diag, HT_ERR_MEMORY, "threads", -1, "no thread could be started");
    for (int i = 0; i < started; i++) {
        pthread_join(workers[i].thread, NULL);
        ht__arena_close(&workers[i].arena);
        ht__arena_close(&workers[i].scratch);
        ht__buf_close(&workers[i].readings);
    }
    return err;
}

static uint64_t item_weights(const struct ht__plan *plan, uint32_t item)
{
    const struct ht__rows *rows = plan->items[item].rows;
    return (uint64_t)rows->n_rows * (uint64_t)rows->row_len;
}

static enum ht_err prepare(struct ht__stream *s, struct ht_diag *diag)
{
    struct ht__plan *plan = s->plan;
    s->checkpoint_seconds = plan->settings->publish.checkpoint_seconds;
    s->rows_left = ht__arena_array(&plan->arena, plan->n_items, sizeof *s->rows_left);
    s->fresh = ht__arena_array(&plan->arena, plan->n_items, sizeof *s->fresh);
    if (!s->rows_left || !s->fresh) return ht__fail_memory(diag, "plan");
    for (size_t i = 0; i < plan->n_work; i++) {
        uint32_t item = plan->work[i];
        struct ht__row_span range = ht__item_range(plan, item);
        int64_t done = ht__row_set_count(&s->journal->done[item], range), n = range.to - range.from;
        uint64_t row_len = (uint64_t)plan->items[item].rows->row_len;
        s->rows_left[item] = n - done;
        s->total += (uint64_t)n * row_len;
        s->done += (uint64_t)done * row_len;
    }
    s->result->weights_resumed = s->done;
    return HT_OK;
}

/* Of the neighbours that take the same input. They lie in one layer, which lies together. */
static float most_of_site(const struct ht__plan *plan, const struct ht__plan_output *out, size_t item,
                          const float *amax)
{
    struct ht__slot slot = ht__item_any(plan, item)->slot;
    struct ht__site site = ht__slot_site(slot);
    float most = amax[item];
    for (int step = -1; step <= 1 && site.kind != HT__SITE_NONE; step += 2)
        for (size_t k = item + (size_t)step; k < plan->n_items; k += (size_t)step) {
            struct ht__slot other = ht__item_any(plan, k)->slot;
            struct ht__site same = ht__slot_site(other);
            if (other.layer != slot.layer || other.expert != slot.expert) break;
            if (out->packed[k] && memcmp(&site, &same, sizeof site) == 0 && amax[k] > most) most = amax[k];
        }
    return most;
}

/* Matrices that a runtime fuses get the largest magnitude of all: those that take the same input. */
static void share_amax(struct ht__plan *plan, struct ht__plan_output *out, const float *amax)
{
    for (size_t i = 0; i < plan->n_items; i++) {
        struct ht__packed *p = out->packed[i];
        if (!p) continue;
        p->matrix.amax = amax[i];
        if (!(p->flags & HT__SCHEME_SHARED)) continue;
        p->matrix.amax = most_of_site(plan, out, i, amax);
    }
}

/* Before anything is written, where a scheme must know a whole matrix to round its first row. */
static enum ht_err survey(struct ht__stream *s, struct worker *workers, int n_workers, struct ht_diag *diag)
{
    struct ht__plan *plan = s->plan;
    uint64_t total = s->total, done = s->done, needed = 0;
    for (size_t i = 0; i < plan->n_work; i++)
        if (needs_amax(plan, plan->work[i])) needed += item_weights(plan, plan->work[i]);
    if (needed == 0) return HT_OK;
    s->amax = ht__arena_array(&plan->arena, plan->n_items, sizeof *s->amax);
    if (!s->amax) return ht__fail_memory(diag, "plan");
    s->surveying = true; /* what is finished too: its partners may not be */
    s->total = needed;
    s->done = 0;
    enum ht_err err = start_and_wait(s, workers, n_workers, diag);
    s->surveying = false;
    s->total = total;
    s->done = done;
    for (size_t o = 0; o < plan->n_outputs; o++)
        if (plan->outputs[o].packed) share_amax(plan, &plan->outputs[o], s->amax);
    return err;
}

/* Why the workers stopped, if not because all was done. */
static enum ht_err ended(const struct ht__stream *s, struct ht_diag *diag)
{
    if (s->err != HT_OK) {
        if (diag && diag->code == HT_OK) *diag = s->diag;
        return s->err;
    }
    return ht__cancelled(&s->plan->run) ? ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled") : HT_OK;
}

enum ht_err ht__stream_open(struct ht__plan *plan, struct ht__journal *journal, struct ht__stream_result *result,
                            struct ht__stream **out, struct ht_diag *diag)
{
    struct ht__stream *s = *out = ht__new(plan->run.alloc, sizeof *s);
    if (!s) return ht__fail_memory(diag, "plan");
    *s = (struct ht__stream){.plan = plan, .journal = journal, .result = result, .tensor = ""};
    s->n_workers = plan->n_threads + (plan->n_threads > 1);
    s->workers = ht__arena_array(&plan->arena, (size_t)s->n_workers, sizeof *s->workers);
    pthread_mutex_init(&s->lock, NULL);
    ht__cond_init(&s->changed);
    s->synced = ht__seconds();
    HT_TRY(prepare(s, diag));
    if (!s->workers) return ht__fail_memory(diag, "workers");
    enum ht_err err = survey(s, s->workers, s->n_workers, diag);
    return err == HT_OK ? ended(s, diag) : err;
}

enum ht_err ht__stream_items(struct ht__stream *s, const bool *now, struct ht_diag *diag)
{
    struct ht__plan *plan = s->plan;
    double start = ht__seconds();
    s->now = now;
    enum ht_err err = start_and_wait(s, s->workers, s->n_workers, diag);
    s->now = NULL;
    if (err == HT_OK) err = ended(s, diag);
    bool later = err == HT_ERR_CANCELLED && plan->settings->publish.resume;
    if (later || (err == HT_OK && plan->settings->publish.parts)) HT_TRY(checkpoint(s, diag));
    s->result->seconds += ht__seconds() - start;
    return err;
}

void ht__stream_close(struct ht__stream **stream)
{
    struct ht__stream *s = *stream;
    if (!s) return;
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    ht__free(s->plan->run.alloc, s);
    *stream = NULL;
}
