/* Names, metadata and layout of one output's files. */
#include "pipeline/layout.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool ends_in_any_case(const char *text, size_t len, const char *suffix)
{
    size_t n = strlen(suffix);
    return len > n && strncasecmp(text + len - n, suffix, n) == 0;
}

/* "-00001-of-00003" at the end of the name. */
static size_t without_split(const char *name, size_t len)
{
    static const char shape[] = "-#####-of-#####";
    size_t n = sizeof shape - 1;
    if (len <= n) return len;
    const char *p = name + len - n;
    for (size_t i = 0; i < n; i++)
        if (shape[i] == '#' ? !isdigit((unsigned char)p[i]) : p[i] != shape[i]) return len;
    return len - n;
}

/* "-Q8_0" or ".F16" at the end, whatever the case. */
static size_t without_type(const char *name, size_t len)
{
    const struct ht__mix *mix;
    for (size_t i = 0; (mix = ht__mix_at(i)) != NULL; i++) {
        size_t n = strlen(mix->name);
        if (ends_in_any_case(name, len, mix->name) && len > n + 1 && strchr("-.", name[len - n - 1]))
            return len - n - 1;
    }
    return len;
}

/* In a hub's cache the last name of a path is a commit or a hash: models--ORG--NAME says what it is. */
static const char *name_in_cache(const char *source, char *real)
{
    char *snapshot = strstr(real, "/snapshots/"), *blob = strstr(real, "/blobs/");
    if (blob && strstr(real, "/models--")) return ht__path_base(source);
    if (!snapshot || strchr(snapshot + 11, '/')) return ht__path_base(real);
    *snapshot = '\0';
    const char *folder = ht__path_base(real);
    const char *dashes = strncmp(folder, "models--", 8) == 0 ? strstr(folder + 8, "--") : NULL;
    if (dashes && dashes[2]) return dashes + 2;
    *snapshot = '/';
    return ht__path_base(real);
}

/* The source's own name, without its extension, shard number and type. */
static const char *default_name(struct ht__plan *plan)
{
    char real[4096];
    const char *source = plan->settings->source.path, *named = plan->settings->source.name;
    const char *base = named ? named : realpath(source, real) ? name_in_cache(source, real) : ht__path_base(source);
    size_t len = strlen(base);
    if (!plan->checkpoint->is_folder) {
        static const char *const extensions[] = {".gguf", ".safetensors", ".bin", ".pt", ".pth"};
        for (size_t i = 0; i < sizeof extensions / sizeof extensions[0]; i++)
            if (ends_in_any_case(base, len, extensions[i])) {
                len -= strlen(extensions[i]);
                break;
            }
        len = without_split(base, len);
        len = without_type(base, len);
    }
    return ht__arena_copy(&plan->arena, len ? base : "model", len ? len : 5);
}

/* A target's type as a part of a file's name: "gptq:bits=3,group=64" is gptq-bits3-group64; with rules it is "mixed" too,
 * with a budget that follows.
 * Folders of another container than the usual one say which. */
static const char *type_in_path(struct ht__plan *plan, const struct ht__target *target)
{
    const struct ht__container *c = target->container;
    bool usual = c->dialect == HT__DIALECT_GGUF || c == &ht__container_safetensors;
    bool budget = target->scheme && plan->settings->budget.kind;
    char *name = ht__arena_printf(&plan->arena, "%s%s%s%s%s", target->type,
                                  budget            ? "-"
                                  : target->n_rules ? "-mixed"
                                                    : "",
                                  budget ? plan->settings->budget.text : "", usual ? "" : "-", usual ? "" : c->name);
    char *to = name;
    for (const char *p = name; p && *p; p++)
        if (*p != '=') *to++ = strchr(":,@>", *p) ? '-' : *p;
    if (to) *to = '\0';
    return name;
}

enum ht_err ht__plan_prefix(struct ht__plan *plan, const struct ht__plan_output *out, const char **prefix,
                            struct ht_diag *diag)
{
    const struct ht__publish_settings *s = &plan->settings->publish;
    const char *dir = s->output;
    size_t len = strlen(dir);
    if (ends_in_any_case(dir, len, ".gguf") && out->target->container == &ht__container_gguf) {
        if (plan->n_outputs > 1)
            return ht__fail(diag, HT_ERR_USAGE, "output", -1, "one file cannot hold %zu outputs; name a folder",
                            plan->n_outputs);
        *prefix = ht__arena_copy(&plan->arena, dir, len - 5);
        return *prefix ? HT_OK : ht__fail_memory(diag, "plan");
    }
    bool folder = out->target->container->dialect == HT__DIALECT_NATIVE;
    if (folder && plan->n_outputs == 1 &&
        (ends_in_any_case(dir, len, ".safetensors") || ends_in_any_case(dir, len, ".pytorch"))) {
        *prefix = dir;
        return HT_OK;
    }
    const char *name = s->name ? s->name : default_name(plan);
    if (!name) return ht__fail_memory(diag, "plan");
    if (strchr(name, '/'))
        return ht__fail(diag, HT_ERR_USAGE, "name", -1, "expected a name, got the path \"%s\"", name);
    const char *type = type_in_path(plan, out->target);
    *prefix =
        type ? ht__arena_printf(&plan->arena, "%s%s%s-%s", dir, dir[len - 1] == '/' ? "" : "/", name, type) : NULL;
    return *prefix ? HT_OK : ht__fail_memory(diag, "plan");
}

static void put_importance_keys(const struct ht__plan *plan, struct ht__kvs *kvs)
{
    const struct ht__imatrix *im = plan->imatrix;
    const struct ht__importance_settings *s = &plan->settings->importance;
    const char *file = s->imatrix ? s->imatrix : s->stats;
    ht__kv_str(kvs, "quantize.imatrix.file", file ? file : "(collected by halftone)");
    if (im->n_datasets) ht__kv_str(kvs, "quantize.imatrix.dataset", im->datasets[0]);
    ht__kv_u32(kvs, "quantize.imatrix.entries_count", (uint32_t)im->n_entries);
    if (im->chunk_count) ht__kv_u32(kvs, "quantize.imatrix.chunks_count", im->chunk_count);
}

static enum ht_err metadata(struct ht__plan *plan, const struct ht__plan_output *out, struct ht__kvs *kvs,
                            struct ht_diag *diag)
{
    const struct ht__kvs *overrides = &plan->settings->overrides;
    const struct ht__model *model = plan->model;
    ht__kvs_init(kvs, &plan->arena);
    for (size_t i = 0; i < model->kvs.n; i++) {
        const char *key = model->kvs.items[i].key;
        if (i == model->file_type_at) ht__kv_u32(kvs, "general.file_type", out->mix->ftype);
        if (i == model->version_at) ht__kv_u32(kvs, "general.quantization_version", 2);
        if (strncmp(key, "split.", 6) != 0 && strcmp(key, "general.alignment") != 0)
            ht__kv_put(kvs, &model->kvs.items[i]);
    }
    if (model->version_at >= model->kvs.n) ht__kv_u32(kvs, "general.quantization_version", 2);
    if (model->file_type_at >= model->kvs.n) ht__kv_u32(kvs, "general.file_type", out->mix->ftype);
    for (size_t i = 0; i < overrides->n; i++)
        ht__kv_put(kvs, &overrides->items[i]);
    if (plan->imatrix) put_importance_keys(plan, kvs);
    return kvs->failed ? ht__fail_memory(diag, "metadata") : HT_OK;
}

/* Which shard each tensor goes to, in order of processing; returns the number of shards. */
static enum ht_err assign_files(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    const struct ht__split_settings *split = &plan->settings->split;
    uint64_t size = 0, n = 0;
    uint32_t file = 0;
    for (size_t i = 0; i < plan->model->n_weights; i++) {
        const struct ht__weight *w = &plan->model->weights[plan->order[i]];
        const struct ht__codec *type = out->choices[plan->order[i]].type;
        uint64_t bytes = (uint64_t)w->rows->n_rows * ht__codec_bytes(type, (uint64_t)w->ne[0]);
        if (split->as_source) {
            file = w->split;
        } else if (n > 0 && (n == split->max_tensors ||
                             bytes > split->max_size - (size < split->max_size ? size : split->max_size))) {
            file++;
            size = n = 0;
        }
        size += bytes;
        n++;
        out->places[plan->order[i]].file = file;
    }
    out->n_files = file + 1;
    if (out->n_files <= UINT16_MAX) return HT_OK;
    out->n_files = 0; /* there are no files to close */
    return ht__fail(diag, HT_ERR_LIMIT, "split-max-size", -1, "%u files would be needed", file + 1);
}

/* Converted tensors keep the dimensions that they have in the checkpoint; llama.cpp's quantizer drops the last ones of
 * 1, and so does this program with those of a GGUF file. */
static void put_entry(const struct ht__model *model, struct ht__plan_file *file, const struct ht__weight *w,
                      const struct ht__codec *type)
{
    struct ht__extent *e = &file->entries[file->n_entries++];
    *e = (struct ht__extent){.name = w->name, .type = type, .n_dims = HT__GGUF_DIMS};
    int least = model->from_gguf || w->n_dims < 1 ? 1 : w->n_dims;
    while (e->n_dims > least && w->ne[e->n_dims - 1] == 1)
        e->n_dims--;
    for (int i = 0; i < e->n_dims; i++)
        e->shape[i] = w->ne[e->n_dims - 1 - i];
}

static enum ht_err gather_entries(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    for (size_t i = 0; i < plan->model->n_weights; i++)
        out->files[out->places[i].file].n_entries++;
    for (uint32_t f = 0; f < out->n_files; f++) {
        struct ht__plan_file *file = &out->files[f];
        file->entries = ht__arena_array(&plan->arena, file->n_entries, sizeof *file->entries);
        if (!file->entries) return ht__fail_memory(diag, "plan");
        file->n_entries = 0;
    }
    for (size_t i = 0; i < plan->model->n_weights; i++) {
        uint32_t w = plan->order[i];
        struct ht__plan_file *file = &out->files[out->places[w].file];
        out->places[w].entry = file->n_entries;
        put_entry(plan->model, file, &plan->model->weights[w], out->choices[w].type);
    }
    return HT_OK;
}

static enum ht_err lay_out_file(struct ht__plan *plan, struct ht__plan_output *out, const char *prefix, uint32_t f,
                                struct ht__kvs *all, struct ht_diag *diag)
{
    struct ht__plan_file *file = &out->files[f];
    struct ht__kvs own;
    ht__kvs_init(&own, &plan->arena);
    struct ht__kvs *kvs = f == 0 ? all : &own;
    if (out->n_files > 1) {
        ht__kv_u16(kvs, "split.no", (uint16_t)f);
        ht__kv_u16(kvs, "split.count", (uint16_t)out->n_files);
        ht__kv_i32(kvs, "split.tensors.count", (int32_t)plan->model->n_weights);
        file->path = ht__arena_printf(&plan->arena, "%s-%05u-of-%05u.gguf", prefix, f + 1, out->n_files);
    } else {
        file->path = ht__arena_printf(&plan->arena, "%s.gguf", prefix);
    }
    if (!file->path) return ht__fail_memory(diag, "plan");
    file->made = file->path;
    struct ht__layout layout = {.extents = file->entries, .n = file->n_entries, .kvs = kvs, .head = &file->head};
    HT_TRY(ht__container_gguf.lay_out(&layout, diag));
    file->size = layout.size;
    return HT_OK;
}

enum ht_err ht__plan_layout(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    const char *prefix;
    struct ht__kvs kvs;
    HT_TRY(ht__plan_prefix(plan, out, &prefix, diag));
    HT_TRY(metadata(plan, out, &kvs, diag));
    out->places = ht__arena_array(&plan->arena, plan->n_items, sizeof *out->places);
    if (!out->places) return ht__fail_memory(diag, "plan");
    HT_TRY(assign_files(plan, out, diag));
    uint32_t n_files = out->n_files;
    out->n_files = 0;
    out->files = ht__arena_array(&plan->arena, n_files, sizeof *out->files);
    if (!out->files) return ht__fail_memory(diag, "plan");
    for (uint32_t f = 0; f < n_files; f++)
        ht__plan_file_init(&out->files[f], plan->run.alloc);
    out->n_files = n_files;
    HT_TRY(gather_entries(plan, out, diag));
    for (uint32_t f = 0; f < n_files; f++) {
        HT_TRY(lay_out_file(plan, out, prefix, f, &kvs, diag));
        out->size += out->files[f].size;
    }
    return HT_OK;
}
