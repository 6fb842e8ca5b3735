/* Planning: source and options in, every file's exact content list out. */
#include "job/source.h"
#include "job/collect.h"
#include "job/hub.h"
#include "job/layout.h"
#include "job/space.h"
#include "recipe/quality.h"

#include <string.h>
#include <unistd.h>

static enum ht_err parse_rules(struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__list *list = &plan->job->options.tensor_type;
    plan->rules = ht__arena_array(&plan->arena, list->n, sizeof *plan->rules);
    if (!plan->rules) return ht__fail_memory(diag, "tensor-type");
    for (size_t i = 0; i < list->n; i++) {
        const char *equals = strrchr(list->items[i], '=');
        if (!equals || equals == list->items[i])
            return ht__fail(diag, HT_ERR_USAGE, "tensor-type", -1, "\"%s\": RE=TYPE is wanted",
                            list->items[i]);
        char *pattern =
            ht__arena_copy(&plan->arena, list->items[i], (size_t)(equals - list->items[i]));
        if (!pattern) return ht__fail_memory(diag, "tensor-type");
        HT_TRY(ht__type_rule_init(&plan->rules[i], pattern, equals + 1, diag));
        plan->n_rules++;
    }
    return HT_OK;
}

static enum ht_err parse_type(const char *option, const char *text, const struct ht__codec **type,
                              struct ht_diag *diag)
{
    if (!text) return HT_OK;
    *type = ht__codec_by_name(text);
    if (*type && !((*type)->flags & HT__CODEC_SOURCE_ONLY)) return HT_OK;
    return ht__fail(diag, HT_ERR_USAGE, option, -1,
                    "no type is called \"%s\"; `halftone types` lists them", text);
}

static enum ht_err parse_mixes(struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__options *o = &plan->job->options;
    plan->outputs = ht__arena_array(&plan->arena, o->type.n, sizeof *plan->outputs);
    if (!plan->outputs) return ht__fail_memory(diag, "plan");
    for (size_t i = 0; i < o->type.n; i++) {
        const struct ht__mix *mix = ht__mix_by_name(o->type.items[i]);
        if (!mix)
            return ht__fail(diag, HT_ERR_USAGE, "type", -1,
                            "no mix is called \"%s\"; `halftone types` lists them", o->type.items[i]);
        const struct ht__codec *type = ht__codec_by_name(mix->default_type);
        if (o->convert && !(type && type->flags & HT__CODEC_PLAIN))
            return ht__fail(diag, HT_ERR_USAGE, "type", -1,
                            "convert writes F32, F16 or BF16; use quantize for %s", mix->name);
        for (size_t j = 0; j < i; j++)
            if (plan->outputs[j].mix == mix)
                return ht__fail(diag, HT_ERR_USAGE, "type", -1, "%s is given twice", mix->name);
        plan->outputs[i].mix = mix;
        plan->n_outputs++;
    }
    return HT_OK;
}

/* Conversion without a type loses nothing: the float type of the first matrix. */
static enum ht_err default_mix(struct ht__plan *plan, struct ht_diag *diag)
{
    if (plan->n_outputs > 0) return HT_OK;
    if (!plan->job->options.convert)
        return ht__fail(diag, HT_ERR_USAGE, "type", -1,
                        "no type was given: -t Q4_K_M, or several with commas");
    const char *name = "F32";
    for (size_t i = 0; i < plan->model->n_weights; i++) {
        const struct ht__weight *w = &plan->model->weights[i];
        if (w->n_dims < 2) continue;
        bool half = strcmp(w->source->name, "f16") == 0 || strcmp(w->source->name, "bf16") == 0;
        name = half ? w->source->label : "F32";
        break;
    }
    plan->outputs = ht__arena_array(&plan->arena, 1, sizeof *plan->outputs);
    if (!plan->outputs) return ht__fail_memory(diag, "plan");
    plan->outputs[plan->n_outputs++].mix = ht__mix_by_name(name);
    return HT_OK;
}

static bool contains_any(const char *name, const struct ht__list *list)
{
    for (size_t i = 0; i < list->n; i++)
        if (strstr(name, list->items[i])) return true;
    return false;
}

/* The weight's own name, or the one it had before layers were pruned. */
static enum ht_err find_importance(struct ht__plan *plan, size_t i, struct ht_diag *diag)
{
    const struct ht__options *o = &plan->job->options;
    const struct ht__weight *w = &plan->model->weights[i];
    const char *name = plan->imatrix_names[i];
    if ((o->include_weights.n && !contains_any(name, &o->include_weights)) ||
        contains_any(name, &o->exclude_weights))
        return HT_OK;
    const struct ht__imatrix_entry *e = ht__imatrix_find(plan->imatrix, name);
    if (!e) return HT_OK;
    uint64_t want = (uint64_t)w->ne[0] * (uint64_t)w->ne[2];
    if (e->n_cols * e->n_mat == want) {
        plan->importance[i] = e->values;
        return HT_OK;
    }
    if (strcmp(w->name, "token_embd.weight") == 0) return HT_OK; /* collected for a tied output */
    return ht__fail(diag, HT_ERR_FORMAT, o->imatrix ? o->imatrix : "calibration", -1,
                    "%s: importance of %llu columns, but the tensor has %llu: was it collected from "
                    "another model?",
                    name, (unsigned long long)(e->n_cols * e->n_mat), (unsigned long long)want);
}

static enum ht_err load_importance(struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__options *o = &plan->job->options;
    if (o->include_weights.n && o->exclude_weights.n)
        return ht__fail(diag, HT_ERR_USAGE, "include-weights", -1,
                        "include-weights and exclude-weights cannot be used together");
    plan->importance = ht__arena_array(&plan->arena, plan->model->n_weights, sizeof(float *));
    if (!plan->importance) return ht__fail_memory(diag, "plan");
    if (o->imatrix && o->calibration)
        return ht__fail(diag, HT_ERR_USAGE, "calibration", -1, "a text to collect importance on or a file of it, not both");
    if (!o->imatrix && !o->calibration) return HT_OK;
    HT_TRY(o->imatrix ? ht__imatrix_open(o->imatrix, plan->job->alloc, &plan->imatrix, diag)
                      : ht__collect_importance(plan->job, plan->checkpoint, &plan->imatrix, diag));
    size_t used = 0;
    for (size_t i = 0; i < plan->model->n_weights; i++) {
        HT_TRY(find_importance(plan, i, diag));
        used += plan->importance[i] != NULL;
    }
    if (used == 0)
        return ht__fail(diag, HT_ERR_FORMAT, o->imatrix ? o->imatrix : "calibration", -1,
                        "none of its entries is for a tensor of this model");
    ht__log_printf(&plan->job->log, HT__LOG_INFO, "importance for %zu of %zu tensors from %s", used,
                   plan->model->n_weights, o->imatrix ? o->imatrix : plan->imatrix->datasets[0]);
    return HT_OK;
}

/* In a survey every matrix of a layer has importance, as collecting it would give. */
static bool has_importance(const struct ht__plan *plan, const struct ht__plan_output *out, size_t i)
{
    const struct ht__weight *w = &plan->model->weights[i];
    if (plan->job->survey && out->with_importance) return strncmp(w->name, "blk.", 4) == 0 && w->ne[1] > 1;
    return plan->importance[i] != NULL;
}

static enum ht_err check_needs(const struct ht__plan *plan, const struct ht__plan_output *out,
                               struct ht_diag *diag)
{
    for (size_t i = 0; i < plan->model->n_weights; i++) {
        const struct ht__weight *w = &plan->model->weights[i];
        const struct ht__codec *type = out->choices[i].type;
        if (out->choices[i].kept || has_importance(plan, out, i) || w->rows->raw_type == type) continue;
        if (ht__needs_importance(out->mix, type, w->name) || type->flags & HT__CODEC_NEEDS_IMPORTANCE)
            return ht__fail(diag, HT_ERR_USAGE, w->name, -1,
                            "%s in %s cannot be made without importance for this tensor; %s",
                            type->label, out->mix->name,
                            plan->imatrix ? "the importance file has none"
                                          : "give an importance file with --imatrix, or a text with --calibration");
    }
    return HT_OK;
}

static enum ht_err choose_types(struct ht__plan *plan, struct ht__plan_output *out,
                                struct ht_diag *diag)
{
    const struct ht__options *o = &plan->job->options;
    struct ht__recipe recipe = {
        .mix = out->mix,
        .convert = o->convert,
        .pure = o->pure,
        .leave_output = o->leave_output_tensor,
        .has_importance = out->with_importance,
        .allow_requantize = o->allow_requantize,
        .n_rules = plan->n_rules,
        .rules = plan->rules,
    };
    HT_TRY(parse_type("output-tensor-type", o->output_tensor_type, &recipe.output_type, diag));
    HT_TRY(parse_type("token-embedding-type", o->token_embedding_type, &recipe.embedding_type, diag));
    out->choices = ht__arena_array(&plan->arena, plan->model->n_weights, sizeof *out->choices);
    if (!out->choices) return ht__fail_memory(diag, "plan");
    HT_TRY(ht__recipe_choose(&recipe, plan->model, plan->order, out->choices, diag));
    for (size_t i = 0; i < plan->model->n_weights; i++)
        if (out->choices[i].fallback)
            ht__log_printf(&plan->job->log, HT__LOG_WARNING,
                           "%s: %s instead, as rows of %lld do not divide into the type's blocks",
                           plan->model->weights[i].name, out->choices[i].type->label,
                           (long long)plan->model->weights[i].ne[0]);
    return check_needs(plan, out, diag);
}

/* One mix of a survey, with importance where it was measured so or cannot be made without. Only sizes are kept. */
static enum ht_err survey_output(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    struct ht_diag why = {0};
    const struct ht__quality *quality = ht__quality_of(out->mix);
    out->with_importance = quality && quality->importance;
    enum ht_err err = choose_types(plan, out, &why);
    if (err != HT_OK && err != HT_ERR_MEMORY && !out->with_importance) {
        ht__diag_clear(&why);
        out->with_importance = true;
        err = choose_types(plan, out, &why);
    }
    if (err == HT_OK) err = ht__plan_layout(plan, out, &why);
    for (uint32_t f = 0; f < out->n_files; f++)
        ht__buf_close(&out->files[f].head);
    if (err == HT_OK) return HT_OK;
    if (err == HT_ERR_MEMORY) return ht__fail_memory(diag, "survey");
    out->refused = ht__arena_printf(&plan->arena, "%s%s%s", why.where, why.where[0] ? ": " : "", why.message);
    return out->refused ? HT_OK : ht__fail_memory(diag, "survey");
}

static enum ht_err plan_output(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    if (plan->job->survey) return survey_output(plan, out, diag);
    out->with_importance = plan->imatrix != NULL;
    HT_TRY(choose_types(plan, out, diag));
    return ht__plan_layout(plan, out, diag);
}

int64_t ht__plan_chunk_rows(const struct ht__weight *weight)
{
    int64_t wanted = weight->rows->chunk_weights ? weight->rows->chunk_weights : HT__CHUNK_WEIGHTS;
    int64_t rows = wanted / (weight->ne[0] ? weight->ne[0] : 1);
    return rows < 1 ? 1 : rows > weight->ne[1] ? weight->ne[1] : rows;
}

/*
 * A worker holds a chunk as floats, as read, decoded again, and encoded, and row sources may need as much
 * once more for a transform: five times the chunk's floats bounds it.
 */
static uint64_t worker_bytes(const struct ht__plan *plan)
{
    uint64_t most = 0;
    for (size_t i = 0; i < plan->model->n_weights; i++) {
        const struct ht__weight *w = &plan->model->weights[i];
        uint64_t n = (uint64_t)ht__plan_chunk_rows(w) * (uint64_t)w->ne[0];
        if (n > most) most = n;
    }
    return most * sizeof(float) * 5 + (1 << 20);
}

static enum ht_err plan_resources(struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__options *o = &plan->job->options;
    uint64_t threads = 0, limit = 512u << 20;
    if (o->threads) HT_TRY(ht__parse_count("threads", o->threads, 1, 1024, &threads, diag));
    if (o->memory) HT_TRY(ht__parse_size("memory", o->memory, &limit, diag));
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (threads == 0) threads = cores > 0 ? (uint64_t)cores : 1;
    uint64_t fixed = (8u << 20) + plan->arena.total + ht__checkpoint_memory(plan->checkpoint) +
                     plan->model->arena.total + ht__imatrix_memory(plan->imatrix) + ht__hub_memory(plan->job);
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++)
            fixed += plan->outputs[i].files[f].head.cap;
    uint64_t worker = worker_bytes(plan);
    while (threads > 1 && fixed + threads * worker > limit)
        threads--;
    plan->memory = fixed + threads * worker;
    plan->memory_limit = limit;
    plan->n_threads = (int)threads;
    struct ht__space space;
    if (plan->job->estimating) return HT_OK;
    HT_TRY(ht__space_ask(plan, &space, diag));
    return ht__space_check_memory(plan, &space, diag);
}

static enum ht_err choose_level(struct ht__plan *plan, struct ht_diag *diag)
{
    const char *name = plan->job->options.cpu;
    plan->level = ht__cpu_best();
    if (!name) return HT_OK;
    for (int level = 0; level < HT__CPU_N_LEVELS; level++)
        if (strcmp(name, ht__cpu_level_name((enum ht__cpu_level)level)) == 0) {
            plan->level = (enum ht__cpu_level)level;
            if (ht__cpu_has(plan->level)) return HT_OK;
            return ht__fail(diag, HT_ERR_USAGE, "cpu", -1, "this machine cannot run %s", name);
        }
    return ht__fail(diag, HT_ERR_USAGE, "cpu", -1, "no CPU level is called \"%s\"", name);
}

/* Each weight's name before pruning renames layers. */
static enum ht_err keep_names(struct ht__plan *plan, struct ht_diag *diag)
{
    plan->imatrix_names = ht__arena_array(&plan->arena, plan->model->n_weights, sizeof(char *));
    if (!plan->imatrix_names) return ht__fail_memory(diag, "plan");
    for (size_t i = 0; i < plan->model->n_weights; i++)
        plan->imatrix_names[i] = plan->model->weights[i].name;
    return HT_OK;
}

static enum ht_err prune(struct ht__plan *plan, struct ht_diag *diag)
{
    const char *list = plan->job->options.prune_layers;
    return list ? ht__prune_layers(plan->model, plan->imatrix_names, list, diag) : HT_OK;
}

static enum ht_err open_source(struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__options *o = &plan->job->options;
    if (!o->source) return ht__fail(diag, HT_ERR_USAGE, "model", -1, "no model was named");
    HT_TRY(o->vocab_only ? ht__checkpoint_open_empty(o->source, plan->job->alloc, &plan->checkpoint, diag)
                         : ht__checkpoint_open_in(ht__hub_remote(plan->job), o->source, plan->job->alloc,
                                                  &plan->checkpoint, diag));
    HT_TRY(ht__model_open(plan->checkpoint, plan->job->alloc, &plan->job->log, &plan->model, diag));
    if (o->keep_split && !plan->checkpoint->split_of)
        return ht__fail(diag, HT_ERR_USAGE, "keep-split", -1, "the source is not a split GGUF");
    HT_TRY(keep_names(plan, diag));
    return prune(plan, diag);
}

static enum ht_err make(struct ht__plan *plan, struct ht_diag *diag)
{
    HT_TRY(choose_level(plan, diag));
    HT_TRY(parse_mixes(plan, diag));
    HT_TRY(parse_rules(plan, diag));
    HT_TRY(open_source(plan, diag));
    HT_TRY(default_mix(plan, diag));
    const struct ht__model *model = plan->model;
    plan->order = ht__arena_array(&plan->arena, model->n_weights, sizeof *plan->order);
    if (!plan->order) return ht__fail_memory(diag, "plan");
    ht__weight_order(model, plan->job->options.keep_split || plan->job->options.convert, plan->order);
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct ht__weight *w = &model->weights[i];
        plan->n_weights += (uint64_t)w->rows->n_rows * (uint64_t)w->rows->row_len;
    }
    HT_TRY(load_importance(plan, diag));
    HT_TRY(ht__sources_list(plan, diag));
    for (size_t i = 0; i < plan->n_outputs; i++) {
        HT_TRY(plan_output(plan, &plan->outputs[i], diag));
        plan->out_bytes += plan->outputs[i].size;
    }
    return plan->job->survey ? HT_OK : plan_resources(plan, diag);
}

enum ht_err ht__plan_open(struct ht_job *job, struct ht__plan **out, struct ht_diag *diag)
{
    *out = NULL;
    struct ht__plan *plan = ht__new(job->alloc, sizeof *plan);
    if (!plan) return ht__fail_memory(diag, "plan");
    plan->job = job;
    ht__arena_init(&plan->arena, job->alloc);
    enum ht_err err = make(plan, diag);
    if (err != HT_OK)
        ht__plan_close(&plan);
    else
        *out = plan;
    return err;
}

void ht__plan_close(struct ht__plan **p)
{
    struct ht__plan *plan = *p;
    if (!plan) return;
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++) {
            ht__output_close(&plan->outputs[i].files[f].out);
            ht__buf_close(&plan->outputs[i].files[f].head);
        }
    for (size_t i = 0; i < plan->n_rules; i++)
        ht__type_rule_close(&plan->rules[i]);
    ht__imatrix_close(&plan->imatrix);
    ht__model_close(&plan->model);
    ht__checkpoint_close(&plan->checkpoint);
    const struct ht__alloc *alloc = plan->job->alloc;
    ht__arena_close(&plan->arena);
    ht__free(alloc, plan);
    *p = NULL;
}
