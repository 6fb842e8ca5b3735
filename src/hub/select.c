#include "hub/select.h"
#include "base/json.h"
#include "base/map.h"
#include "base/text.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

/* At the top of the repository. The last ones are read by others alone, and small: a snapshot that lacks them
 * would not do for those who share the cache. */
static const char *const companions[] = {
    "config.json",        "generation_config.json",
    "tokenizer.json",     "tokenizer_config.json",
    "tokenizer.model",    "vocab.json",
    "merges.txt",         "vocab.txt",
    "added_tokens.json",  "special_tokens_map.json",
    "chat_template.json", "chat_template.jinja",
    "README.md",          "preprocessor_config.json",
};

static const char *const numbered[] = {"model-%5u-of-%5u%n", "pytorch_model-%5u-of-%5u%n"};
static const char *const numbered_end[] = {".safetensors", ".bin"};

/* What is told when there is nothing that can be read. */
static const struct {
    const char *end, *reason;
} others[] = {
    {".onnx", "ONNX holds programs, not a model's weights by name"},
    {".h5", "TensorFlow weights are not read"},
    {".msgpack", "Flax weights are not read"},
    {".pth", "the original's own layout is not read"},
    {".nemo", "NeMo archives are not read"},
    {".bin", "no name of a whole model's weights"},
    {".safetensors", "no name of a whole model's weights: an adapter or a part of one?"},
};

/* Room for all files of the repository: made once. */
static enum ht_err add(struct ht__repo *repo, struct ht__selection *out, const struct ht__repo_file *file,
                       struct ht_diag *diag)
{
    if (!out->files) out->files = ht__arena_array(&repo->arena, repo->n, sizeof *out->files);
    if (!out->files) return ht__fail_memory(diag, repo->name.id);
    struct ht__repo_file *f = &repo->files[file - repo->files];
    for (size_t i = 0; i < out->n; i++)
        if (out->files[i] == f) return HT_OK;
    out->files[out->n++] = f;
    return HT_OK;
}

enum ht_err ht__select_companions(struct ht__repo *repo, struct ht__selection *out, struct ht_diag *diag)
{
    for (size_t i = 0; i < sizeof companions / sizeof companions[0]; i++) {
        const struct ht__repo_file *f = ht__repo_find(repo, companions[i]);
        if (f) HT_TRY(add(repo, out, f, diag));
    }
    return HT_OK;
}

const char *ht__select_lacking(const struct ht__repo *repo, size_t *at)
{
    while (*at < sizeof companions / sizeof companions[0]) {
        const char *name = companions[(*at)++];
        if (!ht__repo_find(repo, name)) return name;
    }
    return NULL;
}

/* ---- weights ---- */

/* All files of a numbered set, which must be whole. */
static enum ht_err add_numbered(struct ht__repo *repo, int set, struct ht__selection *out, struct ht_diag *diag)
{
    unsigned total = 0, found = 0;
    for (size_t i = 0; i < repo->n; i++) {
        unsigned number, of;
        int end = 0;
        const char *name = repo->files[i].name;
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        bool is = sscanf(name, numbered[set], &number, &of, &end) == 2 && end > 0 &&
                  strcmp(name + end, numbered_end[set]) == 0;
#pragma GCC diagnostic pop
        if (!is) continue;
        if (total && of != total)
            return ht__fail(diag, HT_ERR_FORMAT, repo->name.id, -1,
                            "the numbered files belong to two models, and no index says which to take");
        total = of;
        found++;
        HT_TRY(add(repo, out, &repo->files[i], diag));
    }
    if (found == total) return HT_OK;
    return ht__fail(diag, HT_ERR_NOT_FOUND, repo->name.id, -1, "it has %u of the model's %u files", found, total);
}

/* "…-00001-of-00003.gguf": the length of what comes before the number, or 0. */
static size_t split_stem(const char *name, unsigned *number, unsigned *total)
{
    size_t n = strlen(name);
    if (n < 21 || sscanf(name + n - 20, "-%5u-of-%5u.gguf", number, total) != 2 || !ht__ends_with(name, ".gguf"))
        return 0;
    return *total > 1 && *number >= 1 && *number <= *total ? n - 20 : 0;
}

/* A model in one file, or the first part of one in several. */
static bool is_gguf(const char *name)
{
    unsigned number, total;
    return ht__ends_with(name, ".gguf") && (!split_stem(name, &number, &total) || number == 1);
}

static enum ht_err only_gguf(struct ht__repo *repo, struct ht__selection *out, struct ht_diag *diag)
{
    const struct ht__repo_file *only = NULL;
    char names[256] = "";
    unsigned n = 0;
    for (size_t i = 0; i < repo->n; i++) {
        const char *name = repo->files[i].name;
        if (!is_gguf(name)) continue;
        only = &repo->files[i];
        if (n++ < 3) snprintf(names + strlen(names), sizeof names - strlen(names), "%s%.60s", n > 1 ? ", " : "", name);
    }
    if (n == 1) return ht__select_file(repo, only->name, out, diag);
    if (n == 0) return HT_OK;
    return ht__fail(diag, HT_ERR_USAGE, repo->name.id, -1, "it has %u GGUF files (%s%s): say which, as %s:FILE.gguf", n,
                    names, n > 3 ? ", …" : "", repo->name.id);
}

static enum ht_err nothing(const struct ht__repo *repo, struct ht_diag *diag)
{
    for (size_t k = 0; k < sizeof others / sizeof others[0]; k++)
        for (size_t i = 0; i < repo->n; i++)
            if (ht__ends_with(repo->files[i].name, others[k].end))
                return ht__fail(diag, HT_ERR_UNSUPPORTED, repo->name.id, -1, "its only weights are \"%.200s\": %s",
                                repo->files[i].name, others[k].reason);
    return ht__fail(diag, HT_ERR_NOT_FOUND, repo->name.id, -1, "the repository holds no weights");
}

enum ht_err ht__select_weights(struct ht__repo *repo, struct ht__selection *out, const struct ht__repo_file **index,
                               struct ht_diag *diag)
{
    static const char *const whole[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                        "pytorch_model.bin.index.json"};
    *index = NULL;
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++) {
        const struct ht__repo_file *f = ht__repo_find(repo, whole[i]);
        if (!f) continue;
        if (ht__ends_with(whole[i], ".json")) *index = f;
        return add(repo, out, f, diag);
    }
    for (int set = 0; set < 2 && out->n == 0; set++)
        HT_TRY(add_numbered(repo, set, out, diag));
    if (out->n == 0) HT_TRY(only_gguf(repo, out, diag));
    return out->n ? HT_OK : nothing(repo, diag);
}

static enum ht_err add_indexed(struct ht__repo *repo, const char *index, const struct ht__jnode *map,
                               struct ht__selection *out, struct ht_diag *diag)
{
    struct ht__map seen;
    ht__map_init(&seen, repo->arena.alloc);
    enum ht_err err = HT_OK;
    for (size_t i = 0; i < map->n && err == HT_OK; i++) {
        const struct ht__jnode *v = &map->children[i];
        const struct ht__repo_file *f = v->type == HT__JSON_STRING ? ht__repo_find(repo, v->text) : NULL;
        if (v->type != HT__JSON_STRING || strchr(v->text, '/'))
            err = ht__fail(diag, HT_ERR_FORMAT, index, -1, "\"%.80s\" must be the name of a file in the same folder",
                           map->keys[i]);
        else if (!f)
            err = ht__fail(diag, HT_ERR_NOT_FOUND, repo->name.id, -1, "the repository lacks %.200s, which %s names",
                           v->text, index);
        else if (ht__map_put(&seen, v->text, v->len, 0) == HT__MAP_NEW)
            err = add(repo, out, f, diag);
    }
    ht__map_close(&seen);
    return err;
}

enum ht_err ht__select_indexed(struct ht__repo *repo, const char *index, const char *text, size_t size,
                               struct ht__selection *out, struct ht_diag *diag)
{
    struct ht__arena tree;
    struct ht__jnode *root;
    ht__arena_init(&tree, repo->arena.alloc);
    enum ht_err err = ht__json_parse(&tree, text, size, index, &root, diag);
    const struct ht__jnode *map = err == HT_OK ? ht__jget(root, "weight_map") : NULL;
    if (err == HT_OK && (!map || map->type != HT__JSON_OBJECT || map->n == 0))
        err = ht__fail(diag, HT_ERR_FORMAT, index, -1, "it has no \"weight_map\"");
    if (err == HT_OK) err = add_indexed(repo, index, map, out, diag);
    ht__arena_close(&tree);
    return err;
}

/* ---- by name ---- */

enum ht_err ht__select_file(struct ht__repo *repo, const char *name, struct ht__selection *out, struct ht_diag *diag)
{
    unsigned number, total = 1;
    size_t stem = split_stem(name, &number, &total);
    for (unsigned i = 1; i <= (stem ? total : 1); i++) {
        char part[HT__HUB_MAX_FILE + 32];
        if (stem)
            snprintf(part, sizeof part, "%.*s-%05u-of-%05u.gguf", (int)stem, name, i, total);
        else
            snprintf(part, sizeof part, "%s", name);
        const struct ht__repo_file *f = ht__repo_find(repo, part);
        if (!f) return ht__fail(diag, HT_ERR_NOT_FOUND, repo->name.id, -1, "the model has no file \"%.200s\"", part);
        HT_TRY(add(repo, out, f, diag));
    }
    return HT_OK;
}

enum ht_err ht__select_matching(struct ht__repo *repo, const char *const *globs, size_t n, struct ht__selection *out,
                                struct ht_diag *diag)
{
    for (size_t i = 0; i < repo->n; i++)
        for (size_t k = 0; k < n; k++)
            if (fnmatch(globs[k], repo->files[i].name, 0) == 0) {
                HT_TRY(add(repo, out, &repo->files[i], diag));
                break;
            }
    if (out->n) return HT_OK;
    return ht__fail(diag, HT_ERR_NOT_FOUND, repo->name.id, -1, "none of its %zu files is matched by \"%.100s\"",
                    repo->n, n ? globs[0] : "");
}
