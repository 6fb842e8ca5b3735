/* Names, metadata and layout of one output's files. */
#include "job/layout.h"
#include "job/hub.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static bool ends_in(const char *text, size_t len, const char *suffix)
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
        if (ends_in(name, len, mix->name) && len > n + 1 && strchr("-.", name[len - n - 1])) return len - n - 1;
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
    const char *source = plan->job->options.source;
    const char *named = ht__hub_named(plan->job);
    const char *base = named ? named : realpath(source, real) ? name_in_cache(source, real) : ht__path_base(source);
    size_t len = strlen(base);
    if (!plan->checkpoint->is_folder) {
        static const char *const extensions[] = {".gguf", ".safetensors", ".bin", ".pt", ".pth"};
        for (size_t i = 0; i < sizeof extensions / sizeof extensions[0]; i++)
            if (ends_in(base, len, extensions[i])) {
                len -= strlen(extensions[i]);
                break;
            }
        len = without_split(base, len);
        len = without_type(base, len);
    }
    return ht__arena_copy(&plan->arena, len ? base : "model", len ? len : 5);
}

/* The path of an output without ".gguf" and shard number. */
static enum ht_err prefix_of(struct ht__plan *plan, const struct ht__plan_output *out,
                             const char **prefix, struct ht_diag *diag)
{
    const struct ht__options *o = &plan->job->options;
    const char *dir = o->output ? o->output : ".";
    size_t len = strlen(dir);
    if (ends_in(dir, len, ".gguf")) {
        if (plan->n_outputs > 1)
            return ht__fail(diag, HT_ERR_USAGE, "output", -1,
                            "one file cannot hold %zu outputs; name a folder", plan->n_outputs);
        *prefix = ht__arena_copy(&plan->arena, dir, len - 5);
        return *prefix ? HT_OK : ht__fail_memory(diag, "plan");
    }
    const char *name = o->name ? o->name : default_name(plan);
    if (!name) return ht__fail_memory(diag, "plan");
    if (strchr(name, '/'))
        return ht__fail(diag, HT_ERR_USAGE, "name", -1, "\"%s\": a name, not a path, is wanted", name);
    *prefix = ht__arena_printf(&plan->arena, "%s%s%s-%s", dir, dir[len - 1] == '/' ? "" : "/", name,
                               out->mix->name);
    return *prefix ? HT_OK : ht__fail_memory(diag, "plan");
}

/* KEY=TYPE:VALUE */
static enum ht_err override(struct ht__kvs *kvs, const char *text, struct ht_diag *diag)
{
    char key[256];
    const char *equals = strchr(text, '='), *colon = equals ? strchr(equals, ':') : NULL;
    size_t len = equals ? (size_t)(equals - text) : 0;
    if (!colon || len == 0 || len >= sizeof key)
        return ht__fail(diag, HT_ERR_USAGE, "override-kv", -1, "\"%s\": KEY=TYPE:VALUE is wanted", text);
    memcpy(key, text, len);
    key[len] = '\0';
    const char *value = colon + 1;
    size_t type_len = (size_t)(colon - equals - 1);
    char *end = NULL;
    errno = 0;
    if (strncmp(equals + 1, "int", type_len) == 0 && type_len == 3) {
        long long v = strtoll(value, &end, 10);
        if (v >= 0 && v <= UINT32_MAX)
            ht__kv_u32(kvs, key, (uint32_t)v);
        else if (v < 0 && v >= INT32_MIN)
            ht__kv_i32(kvs, key, (int32_t)v);
        else
            errno = ERANGE;
    } else if (strncmp(equals + 1, "float", type_len) == 0 && type_len == 5) {
        ht__kv_f32(kvs, key, strtof(value, &end));
    } else if (strncmp(equals + 1, "bool", type_len) == 0 && type_len == 4) {
        bool yes = strcmp(value, "true") == 0;
        ht__kv_bool(kvs, key, yes);
        end = yes || strcmp(value, "false") == 0 ? (char *)(uintptr_t)"" : NULL;
    } else if (strncmp(equals + 1, "str", type_len) == 0 && type_len == 3) {
        ht__kv_str(kvs, key, value);
        end = (char *)(uintptr_t)"";
    }
    if (!end || *end || end == value || errno)
        return ht__fail(diag, HT_ERR_USAGE, "override-kv", -1,
                        "\"%s\": TYPE is int, float, bool or str, and VALUE must be one", text);
    return HT_OK;
}

static void put_importance_keys(const struct ht__plan *plan, struct ht__kvs *kvs)
{
    const struct ht__imatrix *im = plan->imatrix;
    const struct ht__options *o = &plan->job->options;
    ht__kv_str(kvs, "quantize.imatrix.file", o->imatrix ? o->imatrix : "(collected by halftone)");
    if (im->n_datasets) ht__kv_str(kvs, "quantize.imatrix.dataset", im->datasets[0]);
    ht__kv_u32(kvs, "quantize.imatrix.entries_count", (uint32_t)im->n_entries);
    if (im->chunk_count) ht__kv_u32(kvs, "quantize.imatrix.chunks_count", im->chunk_count);
}

static enum ht_err metadata(struct ht__plan *plan, const struct ht__plan_output *out,
                            struct ht__kvs *kvs, struct ht_diag *diag)
{
    const struct ht__list *overrides = &plan->job->options.override_kv;
    ht__kvs_init(kvs, &plan->arena);
    for (size_t i = 0; i < plan->model->kvs.n; i++) {
        const char *key = plan->model->kvs.items[i].key;
        if (strncmp(key, "split.", 6) != 0 && strcmp(key, "general.alignment") != 0)
            ht__kv_put(kvs, &plan->model->kvs.items[i]);
    }
    ht__kv_u32(kvs, "general.quantization_version", 2);
    ht__kv_u32(kvs, "general.file_type", out->mix->ftype);
    for (size_t i = 0; i < overrides->n; i++)
        HT_TRY(override(kvs, overrides->items[i], diag));
    if (plan->imatrix) put_importance_keys(plan, kvs);
    return kvs->failed ? ht__fail_memory(diag, "metadata") : HT_OK;
}

/* Which shard each tensor goes to, in order of processing; returns the number of shards. */
static enum ht_err assign_files(struct ht__plan *plan, struct ht__plan_output *out,
                                struct ht_diag *diag)
{
    const struct ht__options *o = &plan->job->options;
    uint64_t max_size = UINT64_MAX, max_tensors = UINT64_MAX, size = 0, n = 0;
    if (o->split_max_size) HT_TRY(ht__parse_size("split-max-size", o->split_max_size, &max_size, diag));
    if (o->split_max_tensors)
        HT_TRY(ht__parse_count("split-max-tensors", o->split_max_tensors, 1, UINT32_MAX, &max_tensors,
                               diag));
    uint32_t file = 0;
    for (size_t i = 0; i < plan->model->n_weights; i++) {
        const struct ht__weight *w = &plan->model->weights[plan->order[i]];
        const struct ht__codec *type = out->choices[plan->order[i]].type;
        uint64_t bytes = (uint64_t)w->rows->n_rows * ht__codec_bytes(type, (uint64_t)w->ne[0]);
        if (o->keep_split) {
            file = w->split;
        } else if (n > 0 && (n == max_tensors || bytes > max_size - (size < max_size ? size : max_size))) {
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

static void put_entry(struct ht__plan_file *file, const struct ht__weight *w,
                      const struct ht__codec *type)
{
    struct ht__gguf_entry *e = &file->entries[file->n_entries++];
    *e = (struct ht__gguf_entry){.name = w->name, .type = type};
    memcpy(e->ne, w->ne, sizeof e->ne);
}

static enum ht_err gather_entries(struct ht__plan *plan, struct ht__plan_output *out,
                                  struct ht_diag *diag)
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
        put_entry(file, &plan->model->weights[w], out->choices[w].type);
    }
    return HT_OK;
}

static enum ht_err lay_out_file(struct ht__plan *plan, struct ht__plan_output *out,
                                const char *prefix, uint32_t f, struct ht__kvs *all,
                                struct ht_diag *diag)
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
    return ht__gguf_layout(kvs, file->entries, file->n_entries, &file->head, &file->size, diag);
}

enum ht_err ht__plan_layout(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag)
{
    const char *prefix;
    struct ht__kvs kvs;
    HT_TRY(prefix_of(plan, out, &prefix, diag));
    HT_TRY(metadata(plan, out, &kvs, diag));
    out->places = ht__arena_array(&plan->arena, plan->model->n_weights, sizeof *out->places);
    if (!out->places) return ht__fail_memory(diag, "plan");
    HT_TRY(assign_files(plan, out, diag));
    uint32_t n_files = out->n_files;
    out->n_files = 0;
    out->files = ht__arena_array(&plan->arena, n_files, sizeof *out->files);
    if (!out->files) return ht__fail_memory(diag, "plan");
    for (uint32_t f = 0; f < n_files; f++) {
        out->files[f].out.fd = -1;
        ht__buf_init(&out->files[f].head, plan->job->alloc);
    }
    out->n_files = n_files;
    HT_TRY(gather_entries(plan, out, diag));
    for (uint32_t f = 0; f < n_files; f++) {
        HT_TRY(lay_out_file(plan, out, prefix, f, &kvs, diag));
        out->size += out->files[f].size;
    }
    return HT_OK;
}
