/* The run report and the estimate: one JSON object. */
#include "base/json.h"
#include "job/hub.h"
#include "job/run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static void put_str(struct ht__buf *out, const char *key, const char *text, const char *after)
{
    ht__buf_printf(out, "\"%s\": ", key);
    ht__json_quote(out, text, strlen(text));
    ht__buf_str(out, after);
}

static void put_list(struct ht__buf *out, const char *key, const struct ht__list *list)
{
    ht__buf_printf(out, "\"%s\": [", key);
    for (size_t i = 0; i < list->n; i++) {
        if (i) ht__buf_str(out, ", ");
        ht__json_quote(out, list->items[i], strlen(list->items[i]));
    }
    ht__buf_str(out, "], ");
}

/* A hash, and where it comes from when the file was not read for it. */
static void put_hash(struct ht__buf *out, const char *prefix, const struct ht__source_file *file)
{
    if (!file->sha256[0]) return;
    ht__buf_printf(out, "\"%ssha256\": \"%s\", ", prefix, file->sha256);
    if (file->from_cache) ht__buf_printf(out, "\"%ssha256_from\": \"name in the hub's cache\", ", prefix);
    if (file->remote) ht__buf_printf(out, "\"%ssha256_from\": \"the hub\", ", prefix);
}

static void put_recipe(struct ht__buf *out, const struct ht__plan *plan)
{
    const struct ht__options *o = &plan->job->options;
    ht__buf_str(out, "\"recipe\": {");
    put_list(out, "tensor_type", &o->tensor_type);
    put_list(out, "override_kv", &o->override_kv);
    put_list(out, "include_weights", &o->include_weights);
    put_list(out, "exclude_weights", &o->exclude_weights);
    if (o->imatrix) put_str(out, "imatrix", o->imatrix, ", ");
    if (o->calibration) {
        put_str(out, "calibration", o->calibration, ", ");
        ht__buf_printf(out, "\"calibration_chunks\": %u, \"calibration_ctx\": %u, ", plan->imatrix->chunk_count,
                       plan->imatrix->chunk_size);
    }
    for (size_t i = 0; i < plan->n_sources; i++)
        if (plan->sources[i].role == HT__SOURCE_IMPORTANCE) put_hash(out, o->imatrix ? "imatrix_" : "calibration_", &plan->sources[i]);
    if (o->output_tensor_type) put_str(out, "output_tensor_type", o->output_tensor_type, ", ");
    if (o->token_embedding_type) put_str(out, "token_embedding_type", o->token_embedding_type, ", ");
    if (o->prune_layers) put_str(out, "prune_layers", o->prune_layers, ", ");
    ht__buf_printf(out, "\"pure\": %s, \"leave_output_tensor\": %s, \"allow_requantize\": %s}, ",
                   o->pure ? "true" : "false", o->leave_output_tensor ? "true" : "false",
                   o->allow_requantize ? "true" : "false");
}

static void put_source(struct ht__buf *out, const struct ht__plan *plan)
{
    static const char *const kinds[] = {"safetensors", "pytorch", "gguf"};
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < plan->checkpoint->n_files; i++)
        bytes += plan->checkpoint->files[i].size;
    ht__buf_str(out, "\"source\": {");
    put_str(out, "path", plan->job->options.source, ", ");
    ht__hub_report(plan->job, out);
    put_str(out, "kind", kinds[plan->checkpoint->kind], ", ");
    put_str(out, "architecture", plan->model->arch, ", ");
    ht__buf_printf(out, "\"parameters\": %llu, \"tensors\": %zu, \"bytes\": %llu, \"files\": [",
                   (unsigned long long)plan->n_weights, plan->model->n_weights,
                   (unsigned long long)bytes);
    for (size_t i = 0, n = 0; i < plan->n_sources; i++) {
        const struct ht__source_file *file = &plan->sources[i];
        if (file->role == HT__SOURCE_IMPORTANCE) continue; /* it stands in the recipe */
        ht__buf_str(out, n++ ? ", {" : "{");
        put_str(out, "path", file->path, ", ");
        put_hash(out, "", file);
        ht__buf_printf(out, "\"bytes\": %llu}", (unsigned long long)file->size);
    }
    ht__buf_str(out, "]}, ");
}

/* Relative RMSE: sqrt(sum of squared differences / sum of squares). */
static double relative(double error, double squares)
{
    return squares > 0 ? sqrt(error / squares) : 0;
}

static void put_tensors(struct ht__buf *out, const struct ht__plan *plan, size_t output,
                        const struct ht__stream_result *result)
{
    const struct ht__plan_output *o = &plan->outputs[output];
    ht__buf_str(out, "\"tensors\": [");
    for (size_t i = 0; i < plan->model->n_weights; i++) {
        uint32_t w = plan->order[i];
        const struct ht__weight *weight = &plan->model->weights[w];
        ht__buf_str(out, i ? ", {" : "{");
        put_str(out, "name", weight->name, ", ");
        put_str(out, "type", o->choices[w].type->name, ", ");
        put_str(out, "source_type", weight->source->name, ", ");
        ht__buf_printf(out, "\"shape\": [%lld, %lld, %lld, %lld], \"bytes\": %llu",
                       (long long)weight->ne[0], (long long)weight->ne[1], (long long)weight->ne[2],
                       (long long)weight->ne[3],
                       (unsigned long long)o->files[o->places[w].file].entries[o->places[w].entry].n_bytes);
        if (result)
            ht__buf_printf(out, ", \"relative_rmse\": %.6g",
                           relative(result->stats[w].errors[output], result->stats[w].sum_squares));
        ht__buf_str(out, "}");
    }
    ht__buf_str(out, "]");
}

/* Bits of all files over all weights, as the field counts it. */
static double bits_per_weight(const struct ht__plan *plan, const struct ht__plan_output *o)
{
    uint64_t bytes = 0;
    for (uint32_t f = 0; f < o->n_files; f++)
        for (uint32_t i = 0; i < o->files[f].n_entries; i++)
            bytes += o->files[f].entries[i].n_bytes;
    return plan->n_weights ? (double)bytes * 8 / (double)plan->n_weights : 0;
}

static void put_files(struct ht__buf *out, const struct ht__plan_output *o)
{
    ht__buf_str(out, "\"files\": [");
    for (uint32_t f = 0; f < o->n_files; f++) {
        ht__buf_str(out, f ? ", {" : "{");
        put_str(out, "path", o->files[f].path, ", ");
        if (o->files[f].sha256[0]) put_str(out, "sha256", o->files[f].sha256, ", ");
        ht__buf_printf(out, "\"size_bytes\": %llu, \"tensors\": %u}",
                       (unsigned long long)o->files[f].size, o->files[f].n_entries);
    }
    ht__buf_str(out, "], ");
}

static void put_output(struct ht__buf *out, const struct ht__plan *plan, size_t output,
                       const struct ht__stream_result *result, const struct ht__estimate *estimate)
{
    const struct ht__plan_output *o = &plan->outputs[output];
    double error = 0, squares = 0;
    for (size_t i = 0; result && i < plan->model->n_weights; i++) {
        error += result->stats[i].errors[output];
        squares += result->stats[i].sum_squares;
    }
    ht__buf_str(out, "{");
    put_str(out, "path", o->files[0].path, ", ");
    put_str(out, "type", o->mix->name, ", ");
    if (o->files[0].sha256[0]) put_str(out, "sha256", o->files[0].sha256, ", ");
    ht__buf_printf(out, "\"size_bytes\": %llu, \"bpw\": %.4f, \"bits_per_weight\": %.4f, ",
                   (unsigned long long)o->size, bits_per_weight(plan, o), bits_per_weight(plan, o));
    if (estimate) ht__estimate_put_output(out, estimate, o);
    if (result) ht__buf_printf(out, "\"relative_rmse\": %.6g, ", relative(error, squares));
    if (o->quality) ht__buf_printf(out, "\"quality\": {%s}, ", o->quality);
    put_files(out, o);
    put_tensors(out, plan, output, result);
    ht__buf_str(out, "}");
}

static void put_run(struct ht__buf *out, const struct ht__plan *plan,
                    const struct ht__stream_result *r)
{
    struct rusage usage;
    char when[40];
    time_t now = time(NULL);
    struct tm utc;
    getrusage(RUSAGE_SELF, &usage);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    ht__buf_printf(out,
                   "\"finished_at\": \"%s\", \"seconds\": %.3f, \"weights_per_second\": %.0f, "
                   "\"bytes_read\": %llu, \"bytes_written\": %llu, \"weights_resumed\": %llu, "
                   "\"peak_rss_bytes\": %llu, ",
                   when, r->seconds,
                   r->seconds > 0 ? (double)(plan->n_weights - r->weights_resumed) / r->seconds : 0,
                   (unsigned long long)r->bytes_read, (unsigned long long)r->bytes_written,
                   (unsigned long long)r->weights_resumed, (unsigned long long)usage.ru_maxrss * 1024);
}

enum ht_err ht__report(const struct ht__plan *plan, const struct ht__stream_result *result,
                       const struct ht__estimate *estimate, struct ht__buf *out, struct ht_diag *diag)
{
    ht__buf_printf(out, "{\"halftone\": \"%s\", ", HT_VERSION);
    put_str(out, "verb", plan->job->options.convert ? "convert" : "quantize", ", ");
    put_source(out, plan);
    put_recipe(out, plan);
    ht__buf_printf(out, "\"threads\": %d, \"cpu\": \"%s\", \"disk_bytes\": %llu, \"memory_bytes\": %llu, ",
                   plan->n_threads, ht__cpu_level_name(plan->level),
                   (unsigned long long)plan->out_bytes, (unsigned long long)plan->memory);
    if (result) put_run(out, plan, result);
    if (estimate) ht__estimate_put(out, estimate);
    ht__buf_str(out, "\"outputs\": [");
    for (size_t i = 0; i < plan->n_outputs; i++) {
        if (i) ht__buf_str(out, ", ");
        put_output(out, plan, i, result, estimate);
    }
    ht__buf_str(out, "]}");
    return out->failed ? ht__fail_memory(diag, "report") : HT_OK;
}
