/*
 * Time: every weight is read and, once for each type that it gets, encoded and decoded again, on all threads, while
 * the disk reads and writes beside them: the slower of the two counts. Then each output is read back for its hash and
 * the check of its blocks by one thread; the sources are hashed at the same time on another. Collecting importance
 * comes before, measuring the outputs behind: engine_time.h.
 */
#include "job/estimate.h"

#include "base/json.h"
#include "job/engine_time.h"
#include "job/hub.h"
#include "job/measure.h"
#include "job/rate.h"
#include "recipe/quality.h"

#include <string.h>

/* Encodings wanted, by codec and by whether importance is at hand: how many weights. */
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
    if (plan->model->weights[w].rows->raw_type == type) return false;
    for (size_t before = 0; before < o; before++)
        if (plan->outputs[before].choices[w].type == type) return false;
    return true;
}

static void count_work(const struct ht__plan *plan, struct amounts *a)
{
    for (size_t w = 0; w < plan->model->n_weights; w++) {
        const struct ht__weight *weight = &plan->model->weights[w];
        uint64_t n = (uint64_t)weight->rows->n_rows * (uint64_t)weight->rows->row_len;
        bool read = false;
        for (size_t o = 0; o < plan->n_outputs; o++) {
            if (!encodes(plan, w, o)) continue;
            const struct ht__codec *type = plan->outputs[o].choices[w].type;
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
            double rate = n ? ht__rate_codec(c, plan->level, k < 2, k == 1, budget, plan->job->alloc) : 0;
            if (rate == HT__RATE_NO_MEMORY) return rate;
            seconds += (double)n * rate;
        }
    }
    return seconds;
}

static uint64_t bytes_to_hash(const struct ht__plan *plan)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < plan->n_sources && !plan->job->options.no_source_hash; i++)
        if (!plan->sources[i].sha256[0]) bytes += plan->sources[i].size;
    return bytes;
}

/* Seconds for that many bytes; a rate of 0 could not be measured and is left out. */
static double at_rate(uint64_t bytes, double rate)
{
    return rate > 0 ? (double)bytes / rate : 0;
}

static double time_of(const struct ht__plan *plan, const char *folder)
{
    double budget = plan->job->measured_seconds;
    const struct ht__alloc *alloc = plan->job->alloc;
    const struct ht__file *largest = NULL;
    uint64_t source = 0, hashed = bytes_to_hash(plan);
    for (uint32_t i = 0; i < plan->checkpoint->n_files; i++) {
        if (plan->checkpoint->files[i].backend) continue; /* how fast a network is, is not measured */
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

static enum ht_err engine_time(const struct ht__plan *plan, double *seconds, struct ht_diag *diag)
{
    const struct ht__imatrix *collected = plan->job->options.calibration ? plan->imatrix : NULL;
    struct ht__engine_task task = {.job = plan->job,
                                   .model = plan->model,
                                   .n_threads = plan->n_threads,
                                   .n_ctx = collected ? collected->chunk_size : 0,
                                   .n_chunks = collected ? collected->chunk_count : 0,
                                   .n_outputs = ht__measure_wanted(plan->job) ? plan->n_outputs : 0};
    return ht__engine_time(&task, plan->job->measured_seconds * .3, seconds, diag);
}

/* The journal: for each tensor a number and, for the source and each output, a float in hexadecimal. */
static uint64_t journal_bytes(const struct ht__plan *plan)
{
    enum { HEAD = 96, NUMBER = 11, FLOAT = 24 };
    return HEAD + plan->model->n_weights * (NUMBER + FLOAT * (1 + plan->n_outputs));
}

enum ht_err ht__estimate_make(const struct ht__plan *plan, struct ht__estimate *e, struct ht_diag *diag)
{
    const struct ht__options *o = &plan->job->options;
    *e = (struct ht__estimate){.plan = plan, .temporary = journal_bytes(plan)};
    HT_TRY(ht__fit_cache_type(o->cache_type, &e->cache_type, diag));
    if (ht__fit_shape(plan->model, &e->shape, &e->no_shape) == HT_OK) e->ctx = ht__fit_default_ctx(&e->shape);
    if (o->ctx && !o->writes) HT_TRY(ht__parse_count("ctx", o->ctx, 1, HT__FIT_MOST_CTX, &e->ctx, diag));
    HT_TRY(ht__space_ask(plan, &e->space, diag));
    e->download = o->no_cache ? 0 : ht__hub_missing(plan->job);
    HT_TRY(engine_time(plan, &e->engine_seconds, diag));
    e->seconds = time_of(plan, e->space.folder);
    if (e->seconds == HT__RATE_NO_MEMORY) return ht__fail_memory(diag, "estimate");
    e->seconds += e->engine_seconds;
    return HT_OK;
}

static void put_reason(struct ht__buf *out, const struct ht_diag *why, bool first)
{
    if (!first) ht__buf_str(out, ", ");
    ht__json_quote(out, why->message, strlen(why->message));
}

void ht__estimate_put(struct ht__buf *out, const struct ht__estimate *e)
{
    struct ht_diag disk = {0}, memory = {0};
    bool disk_fits = ht__space_check_disk(e->plan, &e->space, &disk) == HT_OK;
    bool memory_fits = ht__space_check_memory(e->plan, &e->space, &memory) == HT_OK;
    ht__buf_printf(out,
                   "\"download_bytes\": %llu, \"temporary_bytes\": %llu, \"disk_free_bytes\": %llu, \"seconds\": %.3g, "
                   "\"engine_seconds\": %.3g, "
                   "\"fits\": %s, \"reasons\": [",
                   (unsigned long long)e->download, (unsigned long long)e->temporary,
                   (unsigned long long)e->space.disk_free, e->seconds, e->engine_seconds, disk_fits && memory_fits ? "true" : "false");
    if (!disk_fits) put_reason(out, &disk, true);
    if (!memory_fits) put_reason(out, &memory, disk_fits);
    ht__buf_str(out, "], ");
}

static uint64_t weights_bytes(const struct ht__plan_output *o)
{
    uint64_t bytes = 0;
    for (uint32_t f = 0; f < o->n_files; f++)
        for (uint32_t i = 0; i < o->files[f].n_entries; i++)
            bytes += o->files[f].entries[i].n_bytes;
    return bytes;
}

static void put_need(struct ht__buf *out, const struct ht__estimate *e, uint64_t weights)
{
    struct ht__fit_need n = ht__fit_need(&e->shape, weights, e->ctx, e->cache_type);
    ht__buf_printf(out,
                   "\"run_memory\": {\"ctx\": %llu, \"cache_type\": \"%s\", \"weights_bytes\": %llu, "
                   "\"kv_cache_bytes\": %llu, \"overhead_bytes\": %llu, \"total_bytes\": %llu, \"with_margin_bytes\": %llu}, ",
                   (unsigned long long)n.ctx, e->cache_type->name, (unsigned long long)n.weights, (unsigned long long)n.cache,
                   (unsigned long long)n.overhead, (unsigned long long)n.total, (unsigned long long)n.with_margin);
}

void ht__estimate_put_output(struct ht__buf *out, const struct ht__estimate *e, const struct ht__plan_output *o)
{
    const struct ht__quality *q = ht__quality_of(o->mix);
    const char *hint = ht__quality_hint(o->mix);
    ht__buf_str(out, "\"format\": \"gguf\", \"hint\": ");
    ht__json_quote(out, hint, strlen(hint));
    if (q) ht__buf_printf(out, ", \"measured\": {\"divergence\": %g, \"same_top_token\": %g}", q->divergence, q->same);
    ht__buf_str(out, ", ");
    if (e->no_shape.code == HT_OK) {
        put_need(out, e, weights_bytes(o));
        return;
    }
    ht__buf_str(out, "\"run_memory\": null, \"run_memory_unknown\": ");
    ht__json_quote(out, e->no_shape.message, strlen(e->no_shape.message));
    ht__buf_str(out, ", ");
}
