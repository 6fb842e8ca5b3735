#include "pipeline/folder.h"
#include "base/json_write.h"
#include "base/text.h"
#include "pipeline/exact.h"
#include "pipeline/layout.h"
#include "pipeline/levels.h"

#include <stdio.h>
#include <string.h>

enum { DEFAULT_SHARD = 5 }; /* GB, as transformers cuts */

static bool is_float(const struct ht__codec *type)
{
    return type == &ht__codec_f32 || type == &ht__codec_f16 || type == &ht__codec_bf16;
}

const struct ht__codec *ht__folder_dtype(const struct ht__plan *plan)
{
    const struct ht__model *model = plan->model;
    for (size_t i = 0; i < model->n_native; i++)
        if (model->native[i].linear && is_float(model->native[i].source)) return model->native[i].source;
    return &ht__codec_bf16;
}

/* ---- how each tensor is stored ---- */

static enum ht_err note_unquantized(struct ht__plan *plan, struct ht__plan_output *out, const struct ht__weight *w,
                                    const char *why, struct ht_diag *diag)
{
    if (plan->settings->strict)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, w->name, -1, "%s cannot hold it: %s", out->target->type, why);
    const char *line = ht__arena_printf(&plan->arena, "%s: %s", w->name, why);
    if (!line) return ht__fail_memory(diag, "plan");
    out->unquantized[out->n_unquantized++] = line;
    return HT_OK;
}

/* By the rules; what they say is settled before anything is laid out. */
static enum ht_err choose_schemes(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    const struct ht__target *target = out->target;
    const struct ht__model *model = plan->model;
    const struct ht__codec *dtype = ht__folder_dtype(plan);
    struct ht__scheme_recipe recipe = {.base = target->scheme, .rules = target->rules, .n_rules = target->n_rules};
    out->linears = ht__arena_array(&plan->arena, model->n_native + 1, sizeof *out->linears);
    if (!out->linears) return ht__fail_memory(diag, "plan");
    if (!target->scheme) return HT_OK;
    HT_TRY(ht__scheme_rules_apply(&recipe, model, &plan->arena, plan->run.log, out->linears, diag));
    if (target->ladder) HT_TRY(ht__levels_choose(plan, out, diag));
    return ht__scheme_rules_settle(model, dtype, out->linears, &plan->arena, diag);
}

static struct ht__packed *new_packed(struct ht__plan *plan, const struct ht__scheme_params *params,
                                     const struct ht__matrix *matrix)
{
    struct ht__packed *p = ht__arena_new(&plan->arena, sizeof *p);
    uint64_t base = 0;
    if (!p) return NULL;
    p->params = params;
    p->matrix = *matrix;
    p->flags = ht__scheme_flags(params);
    p->n_parts = params->scheme->parts(params, matrix, p->parts);
    p->rows = ht__scheme_rows(params, matrix);
    for (int i = 0; i < p->n_parts; i++) {
        p->base[i] = base;
        p->entry[i] = UINT32_MAX;
        p->columns |= p->parts[i].place == HT__PART_COLUMNS;
        if (p->parts[i].place != HT__PART_WORK) base += ht__part_bytes(&p->parts[i]);
    }
    return p;
}

static enum ht_err take_scheme(struct ht__plan *plan, struct ht__plan_output *out, size_t item, struct ht_diag *diag)
{
    const struct ht__weight *w = ht__item_in(plan, out, item);
    const struct ht__scheme_choice *linear = &out->linears[w->native];
    if (linear->unsuited) return note_unquantized(plan, out, w, linear->unsuited, diag);
    if (!linear->scheme) return HT_OK;
    struct ht__matrix m = ht__native_matrix(&plan->model->native[w->native], ht__folder_dtype(plan));
    if ((w->packed || w->blocks) && !plan->settings->recipe.allow_requantize)
        return ht__fail(
            diag, HT_ERR_UNSUPPORTED, w->name, -1,
            "it is already quantized to %s; making %s of it loses more than starting from the original; add "
            "--allow-requantize to do it all the same",
            w->blocks ? w->blocks->label : plan->model->packed_as, linear->scheme->scheme->name);
    if (ht__scheme_flags(linear->scheme) & HT__SCHEME_LISTED && !out->target->method.method->by_layer)
        return ht__fail(diag, HT_ERR_USAGE, "type", -1,
                        "%s: its groups are chosen by activations: add --calibration and --effort best",
                        out->target->type);
    out->choices[item].scheme = linear->scheme;
    out->packed[item] = new_packed(plan, linear->scheme, &m);
    if (!out->packed[item]) return ht__fail_memory(diag, "plan");
    out->packed[item]->method = &out->target->method;
    return HT_OK;
}

static bool is_number(const struct ht__codec *type)
{
    return is_float(type) || type == &ht__codec_f64 || strncmp(type->name, "f8_", 3) == 0;
}

/*
 * A GGUF file holds norms and the like as floats of 32 bits, whatever the model's dtype. Unless a type was asked for, they
 * go back to it where it holds them exactly.
 */
static enum ht_err choose_narrow(const struct ht__plan *plan, const struct ht__plan_output *out,
                                 const struct ht__weight *w, struct ht__choice *choice, struct ht_diag *diag)
{
    const struct ht__codec *narrow = out->mix ? choice->type : ht__folder_dtype(plan);
    bool asked = out->mix && plan->settings->n_targets > 0, exact;
    if (!plan->model->from_gguf || asked || choice->scheme || w->source != &ht__codec_f32) return HT_OK;
    HT_TRY(ht__is_exact(plan, w, narrow, &exact, diag));
    choice->type = exact ? narrow : &ht__codec_f32;
    return HT_OK;
}

static enum ht_err choose(struct ht__plan *plan, struct ht__plan_output *out, size_t item, struct ht_diag *diag)
{
    const struct ht__weight *w = ht__item_in(plan, out, item);
    const struct ht__codec *plain = out->mix ? ht__codec_by_name(out->mix->default_type) : NULL;
    struct ht__choice *choice = &out->choices[item];
    choice->kept = true;
    choice->type = plain && is_number(w->source) ? plain : w->source;
    HT_TRY(take_scheme(plan, out, item, diag));
    HT_TRY(choose_narrow(plan, out, w, choice, diag));
    if (choice->scheme || choice->type == w->rows->stored || choice->type->encode) return HT_OK;
    return ht__fail(diag, HT_ERR_UNSUPPORTED, w->name, -1,
                    "its %s numbers lie in strides or in big-endian order: they can only be written as floats",
                    choice->type->label);
}

static enum ht_err choose_all(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    out->choices = ht__arena_array(&plan->arena, plan->n_items, sizeof *out->choices);
    out->packed = ht__arena_array(&plan->arena, plan->n_items, sizeof *out->packed);
    out->unquantized = ht__arena_array(&plan->arena, plan->model->n_native, sizeof *out->unquantized);
    if (!out->choices || !out->packed || !out->unquantized) return ht__fail_memory(diag, "plan");
    HT_TRY(choose_schemes(plan, out, diag));
    size_t quantized = 0;
    for (size_t i = 0; i < plan->n_items; i++) {
        if (!ht__item_in(plan, out, i)) continue;
        HT_TRY(choose(plan, out, i, diag));
        quantized += out->choices[i].scheme != NULL;
    }
    if (out->target->scheme && quantized == 0)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, plan->settings->source.path, -1, "%s suits none of its matrices%s%s",
                        out->target->type, out->n_unquantized ? "; the first is " : "",
                        out->n_unquantized ? out->unquantized[0] : "");
    return HT_OK;
}

/* ---- files ---- */

static uint64_t stored_bytes(const struct ht__plan *plan, const struct ht__plan_output *out, size_t item)
{
    const struct ht__packed *p = out->packed[item];
    const struct ht__item *it = &plan->items[item];
    uint64_t bytes = 0;
    if (!p) return (uint64_t)it->rows->n_rows * ht__item_row_bytes(out->choices[item].type, it);
    for (int i = 0; i < p->n_parts; i++)
        if (p->parts[i].place != HT__PART_WORK) bytes += ht__part_bytes(&p->parts[i]);
    return bytes;
}

/* The items of native weights, in the checkpoint's order. */
struct walk {
    uint32_t *items; /* by place in the native view */
    size_t n;
};

static enum ht_err walk_native(struct ht__plan *plan, const struct ht__plan_output *out, struct walk *walk,
                               struct ht_diag *diag)
{
    const struct ht__model *model = plan->model;
    walk->n = model->n_native;
    walk->items = ht__arena_array(&plan->arena, walk->n, sizeof *walk->items);
    if (!walk->items) return ht__fail_memory(diag, "plan");
    for (size_t i = 0; i < plan->n_items; i++) {
        const struct ht__weight *w = ht__item_in(plan, out, i);
        if (w) walk->items[w->native] = (uint32_t)i;
    }
    return HT_OK;
}

/* The parts of one Linear stay together, as some readers want them. */
static uint32_t assign(const struct ht__plan *plan, struct ht__plan_output *out, const struct walk *walk)
{
    const struct ht__split_settings *s = &plan->settings->split;
    uint64_t max = s->max_size == UINT64_MAX ? DEFAULT_SHARD * 1000000000ull : s->max_size, size = 0, n = 0;
    uint32_t file = 0;
    for (size_t i = 0; i < walk->n; i++) {
        uint64_t bytes = stored_bytes(plan, out, walk->items[i]);
        if (n > 0 && (n == s->max_tensors || bytes > max - (size < max ? size : max))) {
            file++;
            size = n = 0;
        }
        size += bytes;
        n++;
        out->places[walk->items[i]].file = file;
    }
    return file + 1;
}

static void put_tensor(struct ht__plan_file *file, const struct ht__weight *w, const struct ht__codec *type)
{
    struct ht__extent *e = &file->entries[file->n_entries++];
    *e = (struct ht__extent){.name = w->name, .type = type, .n_dims = w->tensor->n_dims};
    memcpy(e->shape, w->tensor->shape, (size_t)w->tensor->n_dims * sizeof e->shape[0]);
}

static enum ht_err put_parts(struct ht__plan *plan, struct ht__plan_file *file, const struct ht__weight *w,
                             struct ht__packed *p, struct ht_diag *diag)
{
    size_t len = strlen(w->name);
    int module = (int)(ht__ends_with(w->name, ".weight") ? len - strlen(".weight") : len);
    for (int i = 0; i < p->n_parts; i++) {
        const struct ht__part *part = &p->parts[i];
        if (part->place == HT__PART_WORK) continue;
        p->entry[i] = file->n_entries;
        struct ht__extent *e = &file->entries[file->n_entries++];
        *e = (struct ht__extent){.type = part->dtype, .n_dims = part->n_dims};
        memcpy(e->shape, part->shape, (size_t)part->n_dims * sizeof e->shape[0]);
        e->name = ht__arena_printf(&plan->arena, "%.*s%s", module, w->name, part->suffix);
        if (!e->name) return ht__fail_memory(diag, "plan");
    }
    return HT_OK;
}

static enum ht_err gather(struct ht__plan *plan, struct ht__plan_output *out, const struct walk *walk,
                          struct ht_diag *diag)
{
    for (size_t i = 0; i < walk->n; i++) {
        const struct ht__packed *p = out->packed[walk->items[i]];
        out->files[out->places[walk->items[i]].file].n_entries += p ? (uint32_t)p->n_parts : 1;
    }
    for (uint32_t f = 0; f < out->n_files; f++) {
        struct ht__plan_file *file = &out->files[f];
        file->entries = ht__arena_array(&plan->arena, file->n_entries, sizeof *file->entries);
        if (!file->entries) return ht__fail_memory(diag, "plan");
        file->n_entries = 0;
    }
    for (size_t i = 0; i < walk->n; i++) {
        uint32_t item = walk->items[i];
        struct ht__plan_file *file = &out->files[out->places[item].file];
        const struct ht__weight *w = ht__item_in(plan, out, item);
        out->places[item].entry = file->n_entries;
        if (out->packed[item])
            HT_TRY(put_parts(plan, file, w, out->packed[item], diag));
        else
            put_tensor(file, w, out->choices[item].type);
    }
    return out->target->container->shares ? ht__folder_share(plan, out, diag) : HT_OK;
}

enum ht_err ht__folder_add_file(struct ht__plan *plan, struct ht__plan_output *out, const char *name,
                                struct ht__plan_file **file, struct ht_diag *diag)
{
    *file = &out->files[out->n_files];
    ht__plan_file_init(*file, plan->run.alloc);
    (*file)->path = ht__arena_printf(&plan->arena, "%s/%s", out->folder, name);
    (*file)->made = ht__arena_printf(&plan->arena, "%s/%s", out->made, name);
    out->n_files++;
    return (*file)->path && (*file)->made ? HT_OK : ht__fail_memory(diag, "plan");
}

static enum ht_err lay_out_shards(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    const struct ht__container *container = out->target->container;
    for (uint32_t f = 0; f < out->n_files; f++) {
        struct ht__plan_file *file = &out->files[f];
        struct ht__layout layout = {
            .extents = file->entries, .n = file->n_entries, .head = &file->head, .rest = &file->rest};
        if (!container->lay_out)
            return ht__fail(diag, HT_ERR_UNSUPPORTED, "format", -1, "%s files can be read, but not be written",
                            container->name);
        HT_TRY(container->lay_out(&layout, diag));
        file->size = layout.size;
    }
    return HT_OK;
}

/* Which file holds which tensor. */
static enum ht_err add_index(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    const struct ht__container *c = out->target->container;
    uint32_t n_shards = out->n_files;
    uint64_t total = 0;
    struct ht__plan_file *index;
    char name[80];
    if (n_shards == 1) return HT_OK;
    for (uint32_t f = 0; f < n_shards; f++)
        for (uint32_t i = 0; i < out->files[f].n_entries; i++)
            total += out->files[f].entries[i].shares ? 0 : out->files[f].entries[i].n_bytes;
    snprintf(name, sizeof name, "%s%s.index.json", c->stem, c->suffix);
    HT_TRY(ht__folder_add_file(plan, out, name, &index, diag));
    struct ht__jw w = ht__jw_indented(&index->head);
    ht__jw_object(&w, NULL);
    ht__jw_object(&w, "metadata");
    ht__jw_uint(&w, "total_size", total);
    ht__jw_end(&w);
    ht__jw_object(&w, "weight_map");
    for (uint32_t f = 0; f < n_shards; f++)
        for (uint32_t i = 0; i < out->files[f].n_entries; i++)
            ht__jw_str(&w, out->files[f].entries[i].name, ht__path_base(out->files[f].path));
    ht__jw_end(&w);
    ht__jw_end(&w);
    ht__buf_str(&index->head, "\n");
    return ht__jw_done(&w) && !index->head.failed ? HT_OK : ht__fail_memory(diag, "plan");
}

static enum ht_err name_folder(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    HT_TRY(ht__plan_prefix(plan, out, &out->folder, diag));
    out->made = ht__arena_printf(&plan->arena, "%s.part", out->folder);
    return out->made ? HT_OK : ht__fail_memory(diag, "plan");
}

static enum ht_err open_shards(struct ht__plan *plan, struct ht__plan_output *out, uint32_t n, struct ht_diag *diag)
{
    const struct ht__container *c = out->target->container;
    struct ht__plan_file *file;
    char name[80];
    out->files = ht__arena_array(&plan->arena, n + 1 + ht__folder_most_files(plan), sizeof *out->files);
    if (!out->files) return ht__fail_memory(diag, "plan");
    for (uint32_t f = 0; f < n; f++) {
        if (n == 1)
            snprintf(name, sizeof name, "%s%s", c->stem, c->suffix);
        else
            snprintf(name, sizeof name, "%s-%05u-of-%05u%s", c->stem, f + 1, n, c->suffix);
        HT_TRY(ht__folder_add_file(plan, out, name, &file, diag));
    }
    return HT_OK;
}

static enum ht_err check_source(const struct ht__plan *plan, const struct ht__plan_output *out, struct ht_diag *diag)
{
    const char *path = plan->settings->source.path;
    if (plan->model->n_native > 0) return HT_OK;
    return ht__fail(diag, HT_ERR_UNSUPPORTED, path, -1, "a folder of %s holds tensors, and this source has none",
                    out->target->container->name);
}

enum ht_err ht__plan_folder(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    struct walk walk;
    HT_TRY(check_source(plan, out, diag));
    HT_TRY(choose_all(plan, out, diag));
    HT_TRY(name_folder(plan, out, diag));
    HT_TRY(walk_native(plan, out, &walk, diag));
    out->places = ht__arena_array(&plan->arena, plan->n_items, sizeof *out->places);
    if (!out->places) return ht__fail_memory(diag, "plan");
    HT_TRY(open_shards(plan, out, assign(plan, out, &walk), diag));
    HT_TRY(gather(plan, out, &walk, diag));
    HT_TRY(lay_out_shards(plan, out, diag));
    HT_TRY(add_index(plan, out, diag));
    HT_TRY(ht__folder_add_files(plan, out, diag));
    for (uint32_t f = 0; f < out->n_files; f++) {
        if (!out->files[f].entries) out->files[f].size = out->files[f].head.len;
        out->size += out->files[f].size;
    }
    return HT_OK;
}
