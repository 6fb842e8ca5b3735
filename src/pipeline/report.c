/* The run report and the estimate: one JSON object. */
#include "base/json_write.h"
#include "pipeline/budget.h"
#include "pipeline/method_card.h"
#include "pipeline/report.h"
#include "pipeline/part.h"
#include "pipeline/scales.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

static void put_list(struct ht__jw *w, const char *key, const struct ht__list *list)
{
    ht__jw_array(w, key);
    for (size_t i = 0; i < list->n; i++)
        ht__jw_str(w, NULL, list->items[i]);
    ht__jw_end(w);
}

static void put_given(struct ht__jw *w, const char *key, const char *text)
{
    if (text) ht__jw_str(w, key, text);
}

/* A hash, and where it comes from when the file was not read for it. */
static void put_hash(struct ht__jw *w, const char *prefix, const struct ht__source_file *file)
{
    char key[32], from[32];
    if (!file->sha256[0]) return;
    snprintf(key, sizeof key, "%ssha256", prefix);
    snprintf(from, sizeof from, "%ssha256_from", prefix);
    ht__jw_str(w, key, file->sha256);
    if (file->from_cache || file->remote) ht__jw_str(w, from, file->from_cache ? "name in the hub's cache" : "the hub");
}

static void put_source_file(struct ht__jw *w, const struct ht__source_file *file)
{
    ht__jw_object(w, NULL);
    ht__jw_str(w, "path", file->path);
    put_hash(w, "", file);
    ht__jw_uint(w, "bytes", file->size);
    ht__jw_end(w);
}

/* Of the built-in text, where it is one of those that were looked at. */
static void put_builtin(struct ht__jw *w, const struct ht__plan *plan)
{
    const struct ht__calibration_settings *s = &plan->settings->importance.calibration;
    char hex[65];
    bool looked_at = false;
    for (size_t i = 0; i < s->n_parts; i++)
        looked_at |= s->parts[i].path == NULL;
    if (looked_at && ht__builtin_text_sha256(plan->run.alloc, hex, NULL) == HT_OK)
        ht__jw_str(w, "calibration_builtin_sha256", hex);
}

/* The importance file or the text by its hash; several texts as a list. */
static void put_importance_files(struct ht__jw *w, const struct ht__plan *plan)
{
    const struct ht__importance_settings *im = &plan->settings->importance;
    bool several = im->collect && im->calibration.n_parts > 1;
    if (plan->settings->best) ht__jw_str(w, "effort", "best");
    if (im->collect) {
        ht__jw_str(w, "calibration", im->calibration.text);
        if (im->calibration.seed) ht__jw_uint(w, "calibration_seed", im->calibration.seed);
        ht__jw_uint(w, "calibration_chunks", plan->imatrix->chunk_count);
        ht__jw_uint(w, "calibration_ctx", plan->imatrix->chunk_size);
        put_builtin(w, plan);
    }
    if (several) ht__jw_array(w, "calibration_files");
    for (size_t i = 0; i < plan->n_sources; i++) {
        const struct ht__source_file *file = &plan->sources[i];
        if (file->role != HT__SOURCE_IMPORTANCE) continue;
        if (several)
            put_source_file(w, file);
        else
            put_hash(w, im->imatrix ? "imatrix_" : im->stats ? "calibration_stats_" : "calibration_", file);
    }
    if (several) ht__jw_end(w);
}

static void put_recipe(struct ht__jw *w, const struct ht__plan *plan)
{
    const struct ht__pipeline_settings *s = plan->settings;
    const struct ht__importance_settings *im = &s->importance;
    ht__jw_object(w, "recipe");
    put_list(w, "tensor_type", &s->asked.tensor_type);
    put_list(w, "rule", &s->asked.rule);
    put_list(w, "skip_modules", &s->asked.skip_modules);
    put_list(w, "override_kv", &s->asked.override_kv);
    put_list(w, "include_weights", &im->include);
    put_list(w, "exclude_weights", &im->exclude);
    put_given(w, "imatrix", im->imatrix);
    put_given(w, "calibration_stats", im->stats);
    put_importance_files(w, plan);
    put_given(w, "output_tensor_type", s->asked.output_tensor_type);
    put_given(w, "token_embedding_type", s->asked.token_embedding_type);
    put_given(w, "max_error", s->asked.max_error);
    put_given(w, "method", s->asked.method);
    if (s->asked.notes.n) put_list(w, "notes", &s->asked.notes);
    put_given(w, "prune_layers", s->prune.text);
    ht__jw_bool(w, "pure", s->recipe.pure);
    ht__jw_bool(w, "leave_output_tensor", s->recipe.leave_output);
    ht__jw_bool(w, "allow_requantize", s->recipe.allow_requantize);
    ht__jw_end(w);
}

static void put_source_files(struct ht__jw *w, const struct ht__plan *plan)
{
    ht__jw_array(w, "files");
    for (size_t i = 0; i < plan->n_sources; i++)
        if (plan->sources[i].role != HT__SOURCE_IMPORTANCE) /* it is in the recipe */
            put_source_file(w, &plan->sources[i]);
    ht__jw_end(w);
}

static void put_source(struct ht__jw *w, const struct ht__plan *plan)
{
    const struct ht__source *source = &plan->settings->source;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < plan->checkpoint->n_files; i++)
        bytes += plan->checkpoint->files[i].size;
    ht__jw_object(w, "source");
    ht__jw_str(w, "path", source->path);
    if (source->report) source->report(source->ctx, w);
    ht__jw_str(w, "kind", plan->checkpoint->container ? plan->checkpoint->container->name : "safetensors");
    ht__jw_str(w, "architecture", plan->model->arch);
    ht__jw_uint(w, "parameters", plan->n_weights);
    ht__jw_uint(w, "tensors", plan->model->n_weights);
    ht__jw_uint(w, "bytes", bytes);
    put_source_files(w, plan);
    ht__jw_end(w);
}

/* Relative RMSE: sqrt(sum of squared differences / sum of squares). */
static double relative(double error, double squares)
{
    return squares > 0 ? sqrt(error / squares) : 0;
}

enum { DIGITS = 6 }; /* of errors */

/* Bytes of the item in the output's files. */
static uint64_t stored_bytes(const struct ht__plan_output *o, uint32_t item)
{
    const struct ht__plan_file *file = &o->files[o->places[item].file];
    const struct ht__packed *p = o->packed ? o->packed[item] : NULL;
    uint64_t bytes = 0;
    if (!p) return file->entries[o->places[item].entry].n_bytes;
    for (int i = 0; i < p->n_parts; i++)
        if (p->entry[i] != UINT32_MAX) bytes += file->entries[p->entry[i]].n_bytes;
    return bytes;
}

/* Innermost first, as in a GGUF file; of a native tensor with more than four dimensions, its rows and their length. */
static void put_shape(struct ht__jw *w, const struct ht__weight *weight)
{
    const struct ht__tensor *t = weight->tensor;
    ht__jw_array(w, "shape");
    for (int i = 0; i < HT__GGUF_DIMS; i++)
        ht__jw_int(w, NULL,
                   !t || t->n_dims > HT__GGUF_DIMS ? weight->ne[i]
                   : i < t->n_dims                 ? t->shape[t->n_dims - 1 - i]
                                                   : 1);
    ht__jw_end(w);
}

/* What a Linear is stored by, and what made it so where it is not the folder's own scheme. */
static void put_choice(struct ht__jw *w, const struct ht__scheme_choice *choice)
{
    char text[200];
    if (choice->scheme) ht__jw_str(w, "scheme", ht__scheme_text(choice->scheme, text, sizeof text));
    if (choice->unsuited)
        ht__jw_str(w, "because", choice->unsuited);
    else if (choice->level)
        ht__jw_str(w, "because", choice->level);
    if (choice->unsuited || !choice->rule) return;
    ht__jw_str(w, "because", choice->rule->text);
    if (choice->partner) ht__jw_str(w, "fused_with", choice->partner->name);
}

/* How the codes were chosen, and what that gained on tokens that were held out. */
static void put_chosen(struct ht__jw *w, const struct ht__chosen *chosen)
{
    ht__jw_object(w, "method");
    ht__jw_str(w, "taken", chosen->taken);
    ht__jw_digits(w, chosen->by_divergence ? "held_out_divergence" : "held_out_error", chosen->after, DIGITS);
    ht__jw_digits(w, chosen->by_divergence ? "held_out_divergence_rounded" : "held_out_error_rounded", chosen->before,
                  DIGITS);
    if (chosen->before > 0) ht__jw_digits(w, "held_out_ratio", chosen->after / chosen->before, DIGITS);
    if (chosen->n_experts) {
        ht__jw_uint(w, "experts", chosen->n_experts);
        ht__jw_uint(w, "experts_with_few_tokens", chosen->n_few);
        ht__jw_uint(w, "experts_without_tokens", chosen->n_without);
    }
    ht__jw_end(w);
}

static void put_tensor(struct ht__jw *w, const struct ht__plan *plan, size_t output, uint32_t item,
                       const struct ht__stream_result *result)
{
    const struct ht__plan_output *o = &plan->outputs[output];
    const struct ht__weight *weight = ht__item_in(plan, o, item);
    const struct ht__choice *choice = &o->choices[item];
    if (!weight) return;
    ht__jw_object(w, NULL);
    ht__jw_str(w, "name", weight->name);
    ht__jw_str(w, "type", choice->scheme ? choice->scheme->scheme->name : choice->type->name);
    if (o->target->scheme) put_choice(w, &o->linears[weight->native]);
    ht__jw_str(w, "source_type", weight->source->name);
    put_shape(w, weight);
    ht__jw_uint(w, "bytes", stored_bytes(o, item));
    if (result)
        ht__jw_digits(w, "relative_rmse", relative(result->stats[item].errors[output], result->stats[item].sum_squares),
                      DIGITS);
    if (o->chosen && o->chosen[item].taken) put_chosen(w, &o->chosen[item]);
    ht__jw_end(w);
}

/* Bits of all files over all weights, as llama.cpp counts them. */
static double bits_per_weight(const struct ht__plan *plan, const struct ht__plan_output *o)
{
    uint64_t bytes = 0;
    for (uint32_t f = 0; f < o->n_files; f++)
        for (uint32_t i = 0; i < o->files[f].n_entries; i++)
            bytes += o->files[f].entries[i].n_bytes;
    return plan->n_weights ? (double)bytes * 8 / (double)plan->n_weights : 0;
}

static void put_files(struct ht__jw *w, const struct ht__plan_output *o)
{
    ht__jw_array(w, "files");
    for (uint32_t f = 0; f < o->n_files; f++) {
        ht__jw_object(w, NULL);
        ht__jw_str(w, "path", o->files[f].path);
        if (o->files[f].sha256[0]) ht__jw_str(w, "sha256", o->files[f].sha256);
        ht__jw_uint(w, "size_bytes", o->files[f].size);
        ht__jw_uint(w, "tensors", o->files[f].n_entries);
        ht__jw_end(w);
    }
    ht__jw_end(w);
}

/* Of the whole output. */
static void put_error(struct ht__jw *w, const struct ht__plan *plan, size_t output,
                      const struct ht__stream_result *result)
{
    double error = 0, squares = 0;
    for (size_t i = 0; i < plan->n_items; i++) {
        if (!ht__item_in(plan, &plan->outputs[output], i)) continue;
        error += result->stats[i].errors[output];
        squares += result->stats[i].sum_squares;
    }
    ht__jw_digits(w, "relative_rmse", relative(error, squares), DIGITS);
}

/* What a folder's Linears are stored by, and which are not. */
static void put_scheme(struct ht__jw *w, const struct ht__plan_output *o)
{
    ht__jw_str(w, "scheme", o->target->scheme->scheme->name);
    ht__jw_array(w, "unquantized");
    for (size_t i = 0; i < o->n_unquantized; i++)
        ht__jw_str(w, NULL, o->unquantized[i]);
    ht__jw_end(w);
}

/* Packed by another program, and quantized once more here. */
static bool is_requantized(const struct ht__plan *plan, const struct ht__plan_output *o)
{
    if (!plan->model->packed_as || o->target->scheme) return plan->model->packed_as;
    for (size_t i = 0; o->choices && i < plan->n_items; i++) {
        const struct ht__weight *w = ht__item_in(plan, o, i);
        if (w && w->packed && o->choices[i].type != w->rows->raw_type && !(o->choices[i].type->flags & HT__CODEC_PLAIN))
            return true;
    }
    return false;
}

static void put_output(struct ht__jw *w, const struct ht__plan *plan, size_t output,
                       const struct ht__stream_result *result, const struct ht__report_more *more)
{
    const struct ht__plan_output *o = &plan->outputs[output];
    ht__jw_object(w, NULL);
    ht__jw_str(w, "path", o->folder ? o->folder : o->files[0].path);
    ht__jw_str(w, "format", o->target->container->name);
    ht__jw_str(w, "type", o->target->type);
    if (is_requantized(plan, o)) ht__jw_str(w, "requantized_from", plan->model->packed_as);
    if (o->target->scheme) put_scheme(w, o);
    if (!o->folder && o->files[0].sha256[0]) ht__jw_str(w, "sha256", o->files[0].sha256);
    ht__jw_uint(w, "size_bytes", o->size);
    ht__jw_fixed(w, "bpw", bits_per_weight(plan, o), 4);
    ht__jw_fixed(w, "bits_per_weight", bits_per_weight(plan, o), 4);
    if (more) more->put_output(more->ctx, o, w);
    if (result) put_error(w, plan, output, result);
    if (o->quality) ht__jw_raw(w, "quality", o->quality, strlen(o->quality));
    put_files(w, o);
    ht__jw_array(w, "tensors");
    for (size_t i = 0; i < plan->n_work; i++)
        put_tensor(w, plan, output, plan->work[i], result);
    ht__jw_end(w);
    ht__jw_end(w);
}

static void put_run(struct ht__jw *w, const struct ht__plan *plan, const struct ht__stream_result *r)
{
    struct rusage usage;
    char when[40];
    time_t now = time(NULL);
    struct tm utc;
    uint64_t fresh = plan->n_weights > r->weights_resumed ? plan->n_weights - r->weights_resumed : 0;
    getrusage(RUSAGE_SELF, &usage);
    strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    ht__jw_str(w, "finished_at", when);
    ht__jw_fixed(w, "seconds", r->seconds, 3);
    ht__jw_fixed(w, "weights_per_second", r->seconds > 0 ? (double)fresh / r->seconds : 0, 0);
    ht__jw_uint(w, "bytes_read", r->bytes_read);
    ht__jw_uint(w, "bytes_written", r->bytes_written);
    ht__jw_uint(w, "weights_resumed", r->weights_resumed);
    ht__jw_uint(w, "peak_rss_bytes", (uint64_t)usage.ru_maxrss * 1024);
}

/* Nothing is published by it. */
static void put_part(struct ht__jw *w, const struct ht__plan *plan)
{
    const struct ht__importance_settings *im = &plan->settings->importance;
    uint64_t cut = 0;
    for (size_t i = 0; i < plan->n_work; i++) {
        struct ht__row_span rows = ht__item_range(plan, plan->work[i]);
        cut += rows.to - rows.from < plan->items[plan->work[i]].rows->n_rows;
    }
    ht__jw_object(w, "part");
    ht__jw_uint(w, "number", im->parts ? im->part : plan->settings->publish.part);
    ht__jw_uint(w, "of", im->parts ? im->parts : plan->settings->publish.parts);
    if (im->parts) ht__jw_bool(w, "collects", true);
    ht__jw_uint(w, "tensors", plan->n_work);
    ht__jw_uint(w, "cut", cut);
    ht__jw_end(w);
}

enum ht_err ht__report(const struct ht__plan *plan, const struct ht__stream_result *result,
                       const struct ht__report_more *more, struct ht__buf *out, struct ht_diag *diag)
{
    struct ht__jw w = ht__jw_line(out);
    ht__jw_report(&w, plan->settings->asked.verb);
    put_source(&w, plan);
    put_recipe(&w, plan);
    ht__jw_int(&w, "threads", plan->n_threads);
    ht__jw_str(&w, "cpu", ht__cpu_level_name(plan->settings->level));
    ht__jw_uint(&w, "disk_bytes", plan->out_bytes);
    ht__jw_uint(&w, "memory_bytes", plan->memory);
    ht__jw_uint(&w, "engine_memory_bytes", plan->engine_memory);
    if (result) put_run(&w, plan, result);
    ht__budget_put(&w, plan);
    ht__scales_put(&w, plan);
    if (more) more->put(more->ctx, &w);
    if (!result) ht__jw_bool(&w, "divisible", ht__part_possible(plan));
    if (!result) ht__jw_bool(&w, "collects_in_parts", ht__part_collects(plan));
    bool part = result && (plan->settings->publish.parts || plan->settings->importance.parts);
    if (part) put_part(&w, plan);
    ht__jw_array(&w, "outputs");
    for (size_t i = 0; i < plan->n_outputs && !part; i++)
        put_output(&w, plan, i, result, more);
    ht__jw_end(&w);
    ht__jw_end(&w);
    return ht__jw_done(&w) ? HT_OK : ht__fail_memory(diag, "report");
}
