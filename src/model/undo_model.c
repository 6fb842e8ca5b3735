/*
 * The native view of a GGUF file's model. The folder is made on paper: its configuration from the metadata, its tensors
 * by the table of names. Then it is converted on paper, and what comes out must be the file: whatever the way back has
 * lost or not understood shows there, tensor by tensor and key by key.
 */
#include "model/arch/undo.h"
#include "model/arch/check.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* ---- the proof ---- */

static enum ht_err same_weights(const struct ht__undo *u, const struct ht__model *again)
{
    for (size_t i = 0; i < u->gguf->n_weights; i++)
        if (!u->taken[i])
            return ht__undo_refuse(u, u->gguf->weights[i].name, "no tensor of such a folder becomes this one");
    if (again->n_weights != u->gguf->n_weights)
        return ht__undo_refuse(u, u->b->config_path, "the folder's tensors would not give the file's");
    for (size_t i = 0; i < again->n_weights; i++) {
        const struct ht__weight *a = &again->weights[i], *w = ht__undo_find(u, a->name);
        if (!w) return ht__undo_refuse(u, a->name, "the file lacks it");
        if (memcmp(a->ne, w->ne, sizeof a->ne) != 0)
            return ht__undo_refuse(u, a->name, "its shape is not what the metadata imply");
    }
    return HT_OK;
}

static double number(const struct ht__kv *kv)
{
    switch (kv->type) {
    case HT__KV_F32:
    case HT__KV_F64: return kv->f;
    case HT__KV_I8:
    case HT__KV_I16:
    case HT__KV_I32:
    case HT__KV_I64: return (double)kv->i;
    default: return (double)kv->u;
    }
}

/* Numbers that went through a division may differ in the last digit of a float. */
static bool same_number(double a, double b)
{
    return a == b || fabs(a - b) <= 1e-6 * fabs(b);
}

static bool same_array(const struct ht__kv *a, const struct ht__kv *b)
{
    size_t size = ht__kv_type_size(a->elem);
    if (b->type == HT__KV_ARR)
        return a->elem == b->elem && a->n == b->n && size > 0 && memcmp(a->data, b->data, size * a->n) == 0;
    for (uint64_t i = 0; i < a->n; i++) { /* one value a layer: all are the folder's one */
        uint32_t v;
        if (size != sizeof v || a->elem == HT__KV_F32) return false;
        memcpy(&v, (const char *)a->data + i * size, sizeof v);
        if (v != number(b)) return false;
    }
    return a->n > 0;
}

static bool same_value(const struct ht__kv *a, const struct ht__kv *b)
{
    if (a->type == HT__KV_ARR) return same_array(a, b);
    if (b->type == HT__KV_ARR) return false;
    if ((a->type == HT__KV_STR) != (b->type == HT__KV_STR)) return false;
    if (a->type == HT__KV_STR) return a->str.len == b->str.len && memcmp(a->str.text, b->str.text, a->str.len) == 0;
    return same_number(number(a), number(b));
}

/* Keys that say what is known without them, and that some converters write. */
static bool says_nothing(const struct ht__undo *u, const char *suffix, const struct ht__kv *kv)
{
    const struct ht__arch_build *b = u->b;
    const struct {
        const char *suffix;
        double value;
    } known[] = {
        {"vocab_size", (double)b->vocab_size},
        {"rope.dimension_count", (double)b->head_dim},
        {"attention.key_length", (double)b->head_dim},
        {"attention.value_length", (double)b->head_dim},
        {"attention.head_count_kv", (double)b->n_kv_heads},
        {"rope.freq_base", b->rope_theta},
        {"expert_count", (double)b->n_experts},
        {"expert_used_count", (double)b->n_experts_used},
    };
    if (strcmp(suffix, "rope.scaling.finetuned") == 0) return true;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(suffix, known[i].suffix) == 0 && kv->type < HT__KV_BOOL)
            return same_number(number(kv), known[i].value);
    return false;
}

static enum ht_err same_keys(const struct ht__undo *u, const struct ht__model *again)
{
    size_t n = strlen(u->gguf->arch);
    for (size_t i = 0; i < u->gguf->kvs.n; i++) {
        const struct ht__kv *kv = &u->gguf->kvs.items[i];
        if (strncmp(kv->key, u->gguf->arch, n) != 0 || kv->key[n] != '.') continue;
        const struct ht__kv *other = ht__kv_get(&again->kvs, kv->key);
        if (other ? same_value(kv, other) : says_nothing(u, kv->key + n + 1, kv)) continue;
        return ht__undo_refuse(u, kv->key,
                               other ? "its configuration cannot say this key's value"
                                     : "its configuration cannot say what this key says");
    }
    return HT_OK;
}

/* ---- on paper ---- */

static enum ht_err write_config(struct ht__undo *u, struct ht__model *model)
{
    struct ht__buf text;
    struct ht__jnode *root = NULL;
    struct ht__arch_build *b = u->b;
    ht__buf_init(&text, b->tmp->alloc);
    struct ht__jw w = ht__jw_indented(&text);
    u->config = &w;
    ht__jw_object(&w, NULL);
    enum ht_err err = ht__undo_config(u);
    ht__jw_end(&w);
    if (err == HT_OK && (!ht__jw_done(&w) || !(model->config = ht__arena_copy(b->arena, (char *)text.data, text.len))))
        err = ht__fail_memory(b->diag, "config.json");
    if (err == HT_OK) err = ht__json_parse(b->tmp, model->config, text.len, "config.json", &root, b->diag);
    ht__buf_close(&text);
    b->config = root;
    return err;
}

static enum ht_err index_names(struct ht__undo *u)
{
    for (size_t i = 0; i < u->gguf->n_weights; i++) {
        const char *name = u->gguf->weights[i].name;
        if (ht__map_put(&u->by_name, name, strlen(name), (uint32_t)i) == HT__MAP_NO_MEMORY)
            return ht__fail_memory(u->b->diag, name);
    }
    u->taken = ht__arena_array(u->b->tmp, u->gguf->n_weights, sizeof *u->taken);
    return u->taken ? HT_OK : ht__fail_memory(u->b->diag, "model");
}

/* Tensors that the conversion makes from the configuration. */
static void take_generated(struct ht__undo *u)
{
    for (size_t i = 0; i < u->gguf->n_weights; i++) {
        enum ht__role role = u->gguf->weights[i].slot.role;
        u->taken[i] |= role == HT__ROLE_ROPE_FREQS || role == HT__ROLE_ROPE_LONG || role == HT__ROLE_ROPE_SHORT;
    }
}

/* The folder as a checkpoint without files, through the conversion. */
static enum ht_err convert_again(struct ht__undo *u, struct ht__model *again)
{
    struct ht__arch_build *b = u->b;
    struct ht__checkpoint ck = {.dir = u->gguf->checkpoint->files[0].path, .n_tensors = (uint32_t)u->n_made};
    struct ht__tensor *tensors = ht__arena_array(b->arena, u->n_made, sizeof *tensors);
    const struct ht__rows **rows = ht__arena_array(b->tmp, u->n_made, sizeof *rows);
    if (!tensors || !rows) return ht__fail_memory(b->diag, "model");
    for (size_t i = 0; i < u->n_made; i++) {
        tensors[i] = u->made[i].tensor;
        rows[i] = u->made[i].rows;
    }
    ck.tensors = tensors;
    b->ck = &ck;
    b->model = again;
    ht__map_init(&b->stack_by_name, b->tmp->alloc);
    enum ht_err err = ht__arch_map_all(b, rows);
    if (err == HT_OK) err = b->arch->metadata(b);
    ht__map_close(&b->stack_by_name);
    if (err == HT_OK && again->kvs.failed) err = ht__fail_memory(b->diag, "metadata");
    for (size_t i = 0; err == HT_OK && i < again->n_native; i++)
        again->native[i].blocks = u->made[again->native[i].tensor - tensors].blocks;
    return err;
}

static enum ht_err undo(struct ht__undo *u, struct ht__model *model, struct ht__model *again)
{
    struct ht__arch_build *b = u->b;
    HT_TRY(index_names(u));
    HT_TRY(write_config(u, model));
    HT_TRY(ht__arch_configure(b));
    HT_TRY(ht__arch_check_begin(b));
    HT_TRY(ht__undo_tensors(u));
    take_generated(u);
    HT_TRY(convert_again(u, again));
    HT_TRY(same_weights(u, again));
    HT_TRY(same_keys(u, again));
    for (size_t i = again->n_native; i-- > 0;)
        if (again->native[i].blocks) model->packed_as = again->native[i].blocks->label;
    model->native = again->native;
    model->n_native = again->n_native;
    return HT_OK;
}

static enum ht_err known_arch(const struct ht__model *model, const struct ht__arch **arch, struct ht_diag *diag)
{
    *arch = ht__arch_by_name(model->arch);
    if (*arch && (*arch)->folder) return HT_OK;
    return ht__fail(
        diag, HT_ERR_UNSUPPORTED, model->checkpoint->files[0].path, -1,
        "how a folder of architecture \"%.60s\" is laid out is not known, so none can be made of this file; "
        "GGUF files of it can",
        model->arch);
}

enum ht_err ht__model_undo(struct ht__model *model, const struct ht__log *log, struct ht_diag *diag)
{
    struct ht__arena tmp;
    const struct ht__arch *arch;
    HT_TRY(known_arch(model, &arch, diag));
    ht__arena_init(&tmp, model->arena.alloc);
    struct ht__model again = {.arch = arch->name, .checkpoint = model->checkpoint};
    ht__arena_init(&again.arena, model->arena.alloc);
    ht__kvs_init(&again.kvs, &tmp);
    struct ht__arch_build b = {.arch = arch,
                               .ck = model->checkpoint,
                               .model = &again,
                               .arena = &model->arena,
                               .tmp = &tmp,
                               .config_path = model->checkpoint->files[0].path,
                               .log = log,
                               .diag = diag};
    struct ht__undo u = {.b = &b, .gguf = model};
    ht__map_init(&u.by_name, model->arena.alloc);
    enum ht_err err = undo(&u, model, &again);
    ht__map_close(&u.by_name);
    ht__arena_close(&tmp);
    if (err == HT_OK)
        model->undone = again.arena; /* the views' weights live there */
    else
        ht__arena_close(&again.arena);
    return err;
}
