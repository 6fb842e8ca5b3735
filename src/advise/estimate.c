/*
 * Time: every weight is read and, once for each type that it gets, encoded and decoded again, on all threads, while
 * the disk reads and writes beside them: the slower of the two counts. Then each output is read back for its hash and
 * the check of its blocks by one thread; the sources are hashed at the same time on another. Collecting importance
 * comes before, measuring the outputs behind: engine_time.h.
 */
#include "advise/estimate.h"

#include "advise/engine_time.h"
#include "advise/fit.h"
#include "advise/rate.h"
#include "pipeline/report.h"
#include "pipeline/space.h"
#include "recipe/quality.h"

#include <string.h>

struct ht__estimate {
    const struct ht__plan *plan;
    const struct ht__advice_settings *settings;
    struct ht__fit_shape shape;
    struct ht_diag no_shape; /* why the memory to run it is unknown; HT_OK: it is known */
    uint64_t ctx;
    struct ht__space space;
    uint64_t download;              /* bytes to fetch first; 0 where the source lies on this machine, or is not kept */
    uint64_t temporary;             /* bytes on the disk beside the outputs, while it runs */
    double seconds, engine_seconds; /* the latter: of them, for collecting importance and measuring */
};

/* How many weights are to be encoded, by codec and by whether importance is available. */
enum { MOST_CODECS = 96 };
struct amounts {
    uint64_t encoded[MOST_CODECS][2], decoded[MOST_CODECS];
    size_t n; /* different ones */
};

static void want(struct amounts *a, uint64_t *amount, uint64_t n)
{
    if (!*amount && n) a->n++;
    *amount += n;
}

static size_t codec_index(const struct ht__codec *codec)
{
    size_t i = 0;
    while (ht__codec_at(i) != codec && i + 1 < ht__codec_count())
        i++;
    return i;
}

/* Is output `o` the first that holds this weight in its type, newly encoded? */
static bool encodes(const struct ht__plan *plan, size_t w, size_t o)
{
    const struct ht__codec *type = plan->outputs[o].choices[w].type;
    const struct ht__rows *rows = plan->items[w].rows;
    if (!ht__item_in(plan, &plan->outputs[o], w)) return false;
    if (plan->outputs[o].choices[w].scheme) return true;
    if (type == rows->raw_type || type == rows->stored) return false;
    for (size_t before = 0; before < o; before++)
        if (ht__item_in(plan, &plan->outputs[before], w) && plan->outputs[before].choices[w].type == type) return false;
    return true;
}

static void count_work(const struct ht__plan *plan, struct amounts *a)
{
    for (size_t w = 0; w < plan->n_items; w++) {
        const struct ht__weight *weight = ht__item_any(plan, w);
        uint64_t n = (uint64_t)weight->rows->n_rows * (uint64_t)weight->rows->row_len;
        bool read = false;
        for (size_t o = 0; o < plan->n_outputs; o++) {
            if (!encodes(plan, w, o)) continue;
            const struct ht__codec *type = plan->outputs[o].choices[w].type;
            /* packing and reading back takes about as long as Q8_0 does */
            if (plan->outputs[o].choices[w].scheme) type = &ht__codec_q8_0;
            bool importance = plan->importance[w] && type->flags & HT__CODEC_USES_IMPORTANCE;
            want(a, &a->encoded[codec_index(type)][importance], n);
            read = true;
        }
        if (read) want(a, &a->decoded[codec_index(weight->source)], n);
    }
}

/* Seconds of one core, or HT__RATE_NO_MEMORY. */
static double computing(const struct ht__plan *plan, double budget)
{
    struct amounts a = {.n = 0};
    double seconds = 0;
    count_work(plan, &a);
    if (a.n == 0) return 0;
    budget /= (double)a.n;
    for (size_t i = 0; i < ht__codec_count() && i < MOST_CODECS; i++) {
        const struct ht__codec *c = ht__codec_at(i);
        for (int k = 0; k < 3; k++) { /* encoding without and with importance; decoding */
            uint64_t n = k < 2 ? a.encoded[i][k] : a.decoded[i];
            double rate = n ? ht__rate_codec(c, plan->settings->level, k < 2, k == 1, budget, plan->run.alloc) : 0;
            if (rate == HT__RATE_NO_MEMORY) return rate;
            seconds += (double)n * rate;
        }
    }
    return seconds;
}

static uint64_t bytes_to_hash(const struct ht__plan *plan)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < plan->n_sources && plan->settings->source.hash; i++)
        if (!plan->sources[i].sha256[0]) bytes += plan->sources[i].size;
    return bytes;
}

/* Seconds for that many bytes; a rate of 0 could not be measured and is left out. */
static double at_rate(uint64_t bytes, double rate)
{
    return rate > 0 ? (double)bytes / rate : 0;
}

static double time_of(const struct ht__plan *plan, double budget, const char *folder)
{
    const struct ht__alloc *alloc = plan->run.alloc;
    const struct ht__file *largest = NULL;
    uint64_t source = 0, hashed = bytes_to_hash(plan);
    for (uint32_t i = 0; i < plan->checkpoint->n_files; i++) {
        if (plan->checkpoint->files[i].backend) continue; /* the network's speed is not measured */
        source += plan->checkpoint->files[i].size;
        if (!largest || plan->checkpoint->files[i].size > largest->size) largest = &plan->checkpoint->files[i];
    }
    double compute = computing(plan, budget * .6), encode = compute / plan->n_threads;
    double read_rate = largest ? ht__rate_read(largest, budget * .1, alloc) : 0;
    double write_rate = ht__rate_write(folder, budget * .2, alloc), hash = ht__rate_sha256(budget * .1, alloc);
    if (compute < 0 || read_rate < 0 || write_rate < 0 || hash < 0) return HT__RATE_NO_MEMORY;
    double read = at_rate(source, read_rate), write = at_rate(plan->out_bytes, write_rate);
    double verify = at_rate(plan->out_bytes > hashed ? plan->out_bytes : hashed, hash);
    if (plan->n_threads == 1) verify = at_rate(plan->out_bytes + hashed, hash);
    return (encode > read + write ? encode : read + write) + verify;
}

static enum ht_err engine_time(const struct ht__plan *plan, double budget, double *seconds, struct ht_diag *diag)
{
    const struct ht__imatrix *collected = plan->settings->importance.collect ? plan->imatrix : NULL;
    struct ht__engine_task task = {.run = &plan->run,
                                   .eval = &plan->settings->measure.eval,
                                   .source = plan->settings->source.path,
                                   .model = plan->model,
                                   .n_threads = plan->n_threads,
                                   .n_ctx = collected ? collected->chunk_size : 0,
                                   .n_chunks = collected ? collected->chunk_count : 0,
                                   .n_outputs = plan->settings->measure.wanted ? plan->n_outputs : 0};
    return ht__engine_time(&task, budget * .3, seconds, diag);
}

/* The journal: for each tensor a number and, for the source and each output, a float in hexadecimal. */
static uint64_t journal_bytes(const struct ht__plan *plan)
{
    enum { HEAD = 96, NUMBER = 11, FLOAT = 24 };
    return HEAD + plan->n_items * (NUMBER + FLOAT * (1 + plan->n_outputs));
}

static enum ht_err make(const struct ht__plan *plan, const struct ht__advice_settings *settings, struct ht__estimate *e,
                        struct ht_diag *diag)
{
    *e = (struct ht__estimate){.plan = plan, .settings = settings, .temporary = journal_bytes(plan)};
    if (ht__fit_shape(plan->model, &e->shape, &e->no_shape) == HT_OK) e->ctx = ht__fit_default_ctx(&e->shape);
    if (settings->ctx) e->ctx = settings->ctx;
    HT_TRY(ht__space_ask(plan, &e->space, diag));
    e->download = plan->settings->source.missing_bytes;
    HT_TRY(engine_time(plan, settings->measured_seconds, &e->engine_seconds, diag));
    e->seconds = time_of(plan, settings->measured_seconds, e->space.folder);
    if (e->seconds == HT__RATE_NO_MEMORY) return ht__fail_memory(diag, "estimate");
    e->seconds += e->engine_seconds;
    return HT_OK;
}

enum { DIGITS = 3 }; /* of seconds that are estimated */

static void put(const void *ctx, struct ht__jw *w)
{
    const struct ht__estimate *e = ctx;
    struct ht_diag disk = {0}, memory = {0};
    bool disk_fits = ht__space_check_disk(e->plan, &e->space, &disk) == HT_OK;
    bool memory_fits = ht__space_check_memory(e->plan, &e->space, &memory) == HT_OK;
    ht__jw_uint(w, "download_bytes", e->download);
    ht__jw_uint(w, "temporary_bytes", e->temporary);
    ht__jw_uint(w, "disk_free_bytes", e->space.disk_free);
    ht__jw_digits(w, "seconds", e->seconds, DIGITS);
    ht__jw_digits(w, "engine_seconds", e->engine_seconds, DIGITS);
    ht__jw_bool(w, "fits", disk_fits && memory_fits);
    ht__jw_array(w, "reasons");
    if (!disk_fits) ht__jw_str(w, NULL, disk.message);
    if (!memory_fits) ht__jw_str(w, NULL, memory.message);
    ht__jw_end(w);
}

static uint64_t weights_bytes(const struct ht__plan_output *o)
{
    uint64_t bytes = 0;
    for (uint32_t f = 0; f < o->n_files; f++)
        for (uint32_t i = 0; i < o->files[f].n_entries; i++)
            bytes += o->files[f].entries[i].n_bytes;
    return bytes;
}

static void put_output(const void *ctx, const struct ht__plan_output *o, struct ht__jw *w)
{
    const struct ht__estimate *e = ctx;
    const struct ht__codec *cache_type = e->settings->cache_type;
    const struct ht__quality *q = o->mix ? ht__quality_of(o->mix) : NULL;
    ht__jw_str(w, "hint", o->mix ? ht__quality_hint(o->mix) : o->target->scheme->scheme->about);
    if (q) ht__quality_put(w, q);
    if (e->no_shape.code == HT_OK) {
        struct ht__fit_need need = ht__fit_need(&e->shape, weights_bytes(o), e->ctx, cache_type);
        ht__fit_put_need(w, &need, cache_type);
        return;
    }
    ht__jw_null(w, "run_memory");
    ht__jw_str(w, "run_memory_unknown", e->no_shape.message);
}

enum ht_err ht__estimate(const struct ht__plan *plan, const struct ht__advice_settings *settings, struct ht__buf *out,
                         struct ht_diag *diag)
{
    struct ht__estimate *e = ht__new(plan->run.alloc, sizeof *e);
    if (!e) return ht__fail_memory(diag, "estimate");
    struct ht__report_more more = {put, put_output, e};
    enum ht_err err = make(plan, settings, e, diag);
    if (err == HT_OK) err = ht__report(plan, NULL, &more, out, diag);
    ht__free(plan->run.alloc, e);
    return err;
}
