/* Planning: source and settings in, every file's exact content list out. */
#include "pipeline/source.h"
#include "pipeline/attach.h"
#include "pipeline/budget.h"
#include "pipeline/folder.h"
#include "pipeline/folder_publish.h"
#include "pipeline/items.h"
#include "pipeline/layers_driver.h"
#include "pipeline/layout.h"
#include "pipeline/measure.h"
#include "pipeline/pack.h"
#include "pipeline/part.h"
#include "pipeline/scales.h"
#include "pipeline/sensitivity.h"
#include "pipeline/space.h"
#include "recipe/quality.h"

#include <string.h>
#include <unistd.h>

static enum ht_err open_outputs(struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__pipeline_settings *s = plan->settings;
    plan->outputs = ht__arena_array(&plan->arena, s->n_targets, sizeof *plan->outputs);
    if (!plan->outputs) return ht__fail_memory(diag, "plan");
    for (; plan->n_outputs < s->n_targets; plan->n_outputs++) {
        plan->outputs[plan->n_outputs].target = &s->targets[plan->n_outputs];
        plan->outputs[plan->n_outputs].mix = s->targets[plan->n_outputs].mix;
    }
    return HT_OK;
}

/* Conversion without a type loses nothing: the float type of the first matrix. */
static enum ht_err default_mix(struct ht__plan *plan, struct ht_diag *diag)
{
    if (plan->n_outputs > 0) return HT_OK;
    if (!plan->settings->recipe.convert)
        return ht__fail(diag, HT_ERR_USAGE, "type", -1, "no type was given: -t Q4_K_M, or several with commas");
    const char *name = "F32";
    for (size_t i = 0; i < plan->model->n_weights; i++) {
        const struct ht__weight *w = &plan->model->weights[i];
        if (w->n_dims < 2) continue;
        bool half = strcmp(w->source->name, "f16") == 0 || strcmp(w->source->name, "bf16") == 0;
        name = half ? w->source->label : "F32";
        break;
    }
    plan->outputs = ht__arena_array(&plan->arena, 1, sizeof *plan->outputs);
    struct ht__target *target = ht__arena_new(&plan->arena, sizeof *target);
    if (!plan->outputs || !target) return ht__fail_memory(diag, "plan");
    const struct ht__container *container = plan->settings->container;
    *target = (struct ht__target){
        .container = container ? container : &ht__container_gguf, .mix = ht__mix_by_name(name), .type = name};
    plan->outputs[plan->n_outputs++] = (struct ht__plan_output){.target = target, .mix = target->mix};
    return HT_OK;
}

/* In a survey every matrix of a layer has importance, as collecting it would give. */
static bool has_importance(const struct ht__plan *plan, const struct ht__plan_output *out, size_t i)
{
    const struct ht__weight *w = &plan->model->weights[i];
    if (plan->purpose == HT__SURVEY && out->with_importance) return w->slot.layer >= 0 && w->ne[1] > 1;
    return plan->importance[i] != NULL;
}

static enum ht_err check_needs(const struct ht__plan *plan, const struct ht__plan_output *out, struct ht_diag *diag)
{
    for (size_t i = 0; i < plan->model->n_weights; i++) {
        const struct ht__weight *w = &plan->model->weights[i];
        const struct ht__codec *type = out->choices[i].type;
        if (out->choices[i].kept || has_importance(plan, out, i) || w->rows->raw_type == type) continue;
        if (ht__needs_importance(out->mix, type, w) || type->flags & HT__CODEC_NEEDS_IMPORTANCE)
            return ht__fail(diag, HT_ERR_USAGE, w->name, -1,
                            "%s in %s cannot be made without importance for this tensor; %s", type->label,
                            out->mix->name,
                            plan->imatrix ? "the importance file has none"
                                          : "give an importance file with --imatrix, or a text with --calibration");
    }
    return HT_OK;
}

enum ht_err ht__plan_types(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    struct ht__recipe recipe = plan->settings->recipe;
    recipe.mix = out->mix;
    recipe.has_importance = out->with_importance;
    if (plan->budget) recipe.types = plan->budget->types;
    out->choices = ht__arena_array(&plan->arena, plan->n_items, sizeof *out->choices);
    if (!out->choices) return ht__fail_memory(diag, "plan");
    HT_TRY(ht__recipe_choose(&recipe, plan->model, plan->order, out->choices, diag));
    for (size_t i = 0; i < plan->model->n_weights; i++)
        if (out->choices[i].fallback)
            ht__log_printf(
                plan->run.log, HT__LOG_WARNING, "%s: %s instead, as rows of %lld do not divide into the type's blocks",
                plan->model->weights[i].name, out->choices[i].type->label, (long long)plan->model->weights[i].ne[0]);
    return check_needs(plan, out, diag);
}

void ht__plan_file_init(struct ht__plan_file *file, const struct ht__alloc *alloc)
{
    file->out.fd = -1;
    ht__buf_init(&file->head, alloc);
    ht__rest_init(&file->rest, alloc);
}

void ht__plan_file_close(struct ht__plan_file *file)
{
    ht__buf_close(&file->head);
    ht__rest_close(&file->rest);
}

/* With importance where it was measured so or cannot be made without. */
static enum ht_err survey_file(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *why)
{
    const struct ht__quality *quality = ht__quality_of(out->mix);
    out->with_importance = quality && quality->importance;
    enum ht_err err = ht__plan_types(plan, out, why);
    if (err != HT_OK && err != HT_ERR_MEMORY && !out->with_importance) {
        ht__diag_clear(why);
        out->with_importance = true;
        err = ht__plan_types(plan, out, why);
    }
    return err == HT_OK ? ht__plan_layout(plan, out, why) : err;
}

/* One output of a survey. Only sizes are kept. */
static enum ht_err survey_output(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    struct ht_diag why = {0};
    bool folder = out->target->container->dialect == HT__DIALECT_NATIVE;
    enum ht_err err = folder ? ht__plan_folder(plan, out, &why) : survey_file(plan, out, &why);
    for (uint32_t f = 0; f < out->n_files; f++)
        ht__plan_file_close(&out->files[f]);
    if (err == HT_OK) return HT_OK;
    if (err == HT_ERR_MEMORY) return ht__fail_memory(diag, "survey");
    out->refused = ht__arena_printf(&plan->arena, "%s%s%s", why.where, why.where[0] ? ": " : "", why.message);
    return out->refused ? HT_OK : ht__fail_memory(diag, "survey");
}

static enum ht_err plan_output(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    if (plan->purpose == HT__SURVEY) return survey_output(plan, out, diag);
    if (out->target->container->dialect == HT__DIALECT_NATIVE) return ht__plan_folder(plan, out, diag);
    out->with_importance = plan->imatrix != NULL;
    HT_TRY(ht__plan_types(plan, out, diag));
    return ht__plan_layout(plan, out, diag);
}

static int64_t common_multiple(int64_t a, int64_t b)
{
    int64_t x = a, y = b;
    while (y) {
        int64_t rest = x % y;
        x = y;
        y = rest;
    }
    return a / x * b;
}

/* Schemes take rows in multiples. */
int64_t ht__plan_strip_rows(const struct ht__plan *plan, uint32_t item)
{
    const struct ht__weight *weight = ht__item_any(plan, item);
    int64_t wanted = weight->rows->chunk_weights ? weight->rows->chunk_weights : HT__CHUNK_WEIGHTS, multiple = 1;
    for (size_t o = 0; o < plan->n_outputs; o++)
        if (plan->outputs[o].packed && plan->outputs[o].packed[item])
            multiple = common_multiple(multiple, plan->outputs[o].packed[item]->rows);
    int64_t rows = wanted / (weight->ne[0] ? weight->ne[0] : 1) / multiple * multiple;
    if (rows < multiple) rows = multiple;
    return rows > weight->ne[1] ? weight->ne[1] : rows;
}

static bool is_packed(const struct ht__plan *plan, uint32_t item, bool by_columns)
{
    for (size_t o = 0; o < plan->n_outputs; o++) {
        const struct ht__packed *packed = plan->outputs[o].packed ? plan->outputs[o].packed[item] : NULL;
        if (packed && (packed->columns || !by_columns)) return true;
    }
    return false;
}

/* Of a part that is written line by line, a piece has a few bytes a row: many rows make the pieces long. */
int64_t ht__plan_chunk_rows(const struct ht__plan *plan, uint32_t item)
{
    enum { COLUMN_ROWS = 2048, COLUMN_WEIGHTS = 8 << 20 };
    const struct ht__weight *weight = ht__item_any(plan, item);
    int64_t strip = ht__plan_strip_rows(plan, item), rows = COLUMN_WEIGHTS / (weight->ne[0] ? weight->ne[0] : 1);
    if (!is_packed(plan, item, true)) return strip;
    if (rows > COLUMN_ROWS) rows = COLUMN_ROWS;
    rows = rows > strip ? rows / strip * strip : strip;
    return rows > weight->ne[1] ? weight->ne[1] : rows;
}

int64_t ht__plan_chunk_begin(const struct ht__plan *plan, uint32_t item, int64_t row)
{
    int64_t matrix = ht__item_any(plan, item)->ne[1];
    return row - row % matrix % ht__plan_chunk_rows(plan, item);
}

int64_t ht__plan_chunk_end(const struct ht__plan *plan, uint32_t item, int64_t row)
{
    int64_t n_rows = plan->items[item].rows->n_rows, matrix = ht__item_any(plan, item)->ne[1];
    int64_t end = ht__plan_chunk_begin(plan, item, row) + ht__plan_chunk_rows(plan, item);
    int64_t matrix_end = (row / matrix + 1) * matrix;
    if (end > matrix_end) end = matrix_end;
    return end < n_rows ? end : n_rows;
}

bool ht__plan_item_divisible(const struct ht__plan *plan, uint32_t item)
{
    for (size_t o = 0; o < plan->n_outputs; o++) {
        const struct ht__packed *p = plan->outputs[o].packed ? plan->outputs[o].packed[item] : NULL;
        if (p && p->flags & (HT__SCHEME_NEEDS_AMAX | HT__SCHEME_SHARED)) return false;
        if (ht__layers_whole(plan, &plan->outputs[o], item)) return false;
        for (int i = 0; p && i < p->n_parts; i++)
            if (p->parts[i].place != HT__PART_ROWS) return false;
    }
    return true;
}

/*
 * A worker holds a strip as floats, as read, decoded again, and encoded, and row sources may need as much once more
 * for a transform: five times its floats bounds it. Of a whole chunk it has each scheme's codes, and their parts, which
 * take less than twice as much.
 */
static uint64_t worker_bytes(const struct ht__plan *plan)
{
    uint64_t most = 0;
    for (size_t i = 0; i < plan->n_work; i++) {
        uint32_t item = plan->work[i];
        uint64_t row = (uint64_t)plan->items[item].rows->row_len, strip = (uint64_t)ht__plan_strip_rows(plan, item);
        uint64_t bytes = row * strip * sizeof(float) * 5;
        if (is_packed(plan, item, false))
            bytes += row * (uint64_t)ht__plan_chunk_rows(plan, item) * 3 * plan->n_outputs;
        if (bytes > most) most = bytes;
    }
    return most + (1 << 20);
}

/* Parts that are kept in memory until their matrix is done: of the largest ones that workers may have at a time. */
static uint64_t kept_bytes(const struct ht__plan *plan)
{
    uint64_t sum = 0;
    for (size_t o = 0; o < plan->n_outputs; o++) {
        uint64_t most = 0;
        for (size_t i = 0; plan->outputs[o].packed && i < plan->n_items; i++) {
            const struct ht__packed *packed = plan->outputs[o].packed[i];
            uint64_t bytes = 0;
            for (int k = 0; packed && k < packed->n_parts; k++)
                if (packed->parts[k].place == HT__PART_WHOLE || packed->parts[k].place == HT__PART_WORK)
                    bytes += ht__part_bytes(&packed->parts[k]);
            if (bytes > most) most = bytes;
        }
        sum += 2 * most;
    }
    return sum;
}

/* Running the model comes before or after the workers, so the larger of the two counts. Without --memory there is a default,
 * which is raised to the least that running the model works with. */
static enum ht_err engine_resources(struct ht__plan *plan, uint64_t fixed, struct ht_diag *diag)
{
    uint64_t measuring = 0, layers = 0, budget = 0;
    HT_TRY(ht__layers_memory(plan, &layers, diag));
    if (plan->budget) HT_TRY(ht__sense_memory(plan, &budget, diag));
    if (plan->settings->measure.wanted) HT_TRY(ht__measure_memory(plan, fixed, &measuring, diag));
    if (layers > measuring) measuring = layers;
    if (budget > measuring) measuring = budget;
    plan->engine_memory = measuring > plan->collect_memory ? measuring : plan->collect_memory;
    if (plan->engine_memory > plan->memory) plan->memory = plan->engine_memory;
    if (!plan->run.memory && plan->engine_memory > plan->memory_limit) plan->memory_limit = plan->engine_memory;
    return HT_OK;
}

enum {
    PROGRAM = 14 << 20, /* the program and its libraries */
    TENSOR = 512,       /* what is kept of a tensor while it is read and written */
};

static uint64_t file_memory(const struct ht__plan_file *file)
{
    return file->head.cap + file->rest.bytes.cap + file->rest.pieces.cap;
}

static enum ht_err plan_resources(struct ht__plan *plan, struct ht_diag *diag)
{
    uint64_t threads = (uint64_t)plan->run.n_threads, limit = ht__memory_limit(&plan->run);
    long cores = sysconf(_SC_NPROCESSORS_ONLN);
    if (threads == 0) threads = cores > 0 ? (uint64_t)cores : 1;
    uint64_t fixed = PROGRAM + plan->n_items * TENSOR + plan->arena.total + kept_bytes(plan) +
                     ht__checkpoint_memory(plan->checkpoint) + plan->model->arena.total + plan->model->undone.total +
                     ht__imatrix_memory(plan->imatrix) + plan->settings->source.reading_memory;
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++)
            fixed += file_memory(&plan->outputs[i].files[f]);
    uint64_t worker = worker_bytes(plan);
    while (threads > 1 && fixed + threads * worker > limit)
        threads--;
    plan->memory = fixed + threads * worker;
    plan->memory_limit = limit;
    plan->n_threads = (int)threads;
    HT_TRY(engine_resources(plan, fixed, diag));
    struct ht__space space;
    if (plan->purpose == HT__ESTIMATE) return HT_OK;
    HT_TRY(ht__space_ask(plan, &space, diag));
    return ht__space_check_memory(plan, &space, diag);
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
    const struct ht__prune_settings *s = &plan->settings->prune;
    if (!s->text) return HT_OK;
    HT_TRY(ht__prune_layers(plan->model, plan->imatrix_names, s, &plan->pruned, diag));
    for (size_t i = 0; i < plan->n_outputs; i++)
        if (plan->outputs[i].target->container->dialect == HT__DIALECT_NATIVE)
            return ht__prune_native(plan->model, &plan->pruned, diag);
    return HT_OK;
}

static enum ht_err open_source(struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__source *s = &plan->settings->source;
    const struct ht__alloc *alloc = plan->run.alloc;
    if (!s->path) return ht__fail(diag, HT_ERR_USAGE, "model", -1, "which model? Give a file, a folder or ORG/NAME");
    HT_TRY(s->vocab_only ? ht__checkpoint_open_empty(s->path, alloc, &plan->checkpoint, diag)
                         : ht__checkpoint_open_in(s->remote, s->path, alloc, &plan->checkpoint, diag));
    HT_TRY(ht__sources_list(plan, diag));
    HT_TRY(ht__model_open(plan->checkpoint, alloc, plan->run.log, &plan->model, diag));
    if (plan->settings->split.as_source && !plan->checkpoint->split_of)
        return ht__fail(diag, HT_ERR_USAGE, "keep-split", -1, "the source is not a split GGUF");
    HT_TRY(keep_names(plan, diag));
    return prune(plan, diag);
}

/* Folders need the checkpoint's own tensors, which a GGUF file has in another form. */
static enum ht_err undo_conversion(struct ht__plan *plan, struct ht_diag *diag)
{
    bool native = false;
    for (size_t i = 0; i < plan->n_outputs; i++)
        native |= plan->outputs[i].target->container->dialect == HT__DIALECT_NATIVE;
    if (!native || !plan->model->from_gguf) return HT_OK;
    if (plan->settings->prune.text)
        return ht__fail(
            diag, HT_ERR_UNSUPPORTED, "prune-layers", -1,
            "layers are not left out of a folder that is made of a GGUF file: leave them out of a GGUF file "
            "first, and make the folder of that");
    return ht__model_undo(plan->model, plan->run.log, diag);
}

static enum ht_err make(struct ht__plan *plan, struct ht_diag *diag)
{
    HT_TRY(ht__part_check(plan->settings, diag));
    HT_TRY(open_outputs(plan, diag));
    HT_TRY(open_source(plan, diag));
    HT_TRY(default_mix(plan, diag));
    HT_TRY(undo_conversion(plan, diag));
    if (ht__scales_wanted(plan->settings)) HT_TRY(ht__scales_find(plan, diag));
    HT_TRY(ht__plan_items(plan, diag));
    const struct ht__model *model = plan->model;
    plan->order = ht__arena_array(&plan->arena, model->n_weights, sizeof *plan->order);
    if (!plan->order) return ht__fail_memory(diag, "plan");
    ht__weight_order(model, plan->settings->split.as_source || plan->settings->recipe.convert, plan->order);
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct ht__weight *w = &model->weights[i];
        plan->n_weights += (uint64_t)w->rows->n_rows * (uint64_t)w->rows->row_len;
    }
    HT_TRY(ht__plan_importance(plan, diag));
    if (plan->settings->budget.kind) HT_TRY(ht__budget_choose(plan, diag));
    for (size_t i = 0; i < plan->n_outputs; i++) {
        HT_TRY(plan_output(plan, &plan->outputs[i], diag));
        plan->out_bytes += plan->outputs[i].size;
    }
    HT_TRY(ht__plan_work(plan, diag));
    return plan->purpose == HT__SURVEY ? HT_OK : plan_resources(plan, diag);
}

enum ht_err ht__plan_open(const struct ht__pipeline_settings *settings, enum ht__purpose purpose,
                          const struct ht__run *run, struct ht__plan **out, struct ht_diag *diag)
{
    *out = NULL;
    struct ht__plan *plan = ht__new(run->alloc, sizeof *plan);
    if (!plan) return ht__fail_memory(diag, "plan");
    plan->run = *run;
    plan->settings = settings;
    plan->purpose = purpose;
    ht__arena_init(&plan->arena, run->alloc);
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
    ht__budget_close(plan->budget);
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++) {
            ht__output_close(&plan->outputs[i].files[f].out);
            ht__plan_file_close(&plan->outputs[i].files[f]);
        }
    for (size_t i = 0; i < plan->n_outputs; i++) {
        for (size_t k = 0; plan->outputs[i].packed && k < plan->n_items; k++)
            if (plan->outputs[i].packed[k]) ht__pack_close(plan->outputs[i].packed[k], plan->run.alloc);
        if (plan->purpose == HT__RUN) ht__folder_abandon(&plan->outputs[i]);
    }
    ht__imatrix_close(&plan->imatrix);
    ht__model_close(&plan->model);
    ht__sources_close(plan);
    ht__checkpoint_close(&plan->checkpoint);
    const struct ht__alloc *alloc = plan->run.alloc;
    ht__arena_close(&plan->arena);
    ht__free(alloc, plan);
    *p = NULL;
}
