/* The tensors of a checkpoint out of those of a GGUF file. */
#include "model/arch/undo.h"
#include "base/check.h"
#include "model/arch/check.h"

#include <stdlib.h>
#include <string.h>

/* ---- the file ---- */

const struct ht__weight *ht__undo_find(const struct ht__undo *u, const char *name)
{
    const uint32_t *at = ht__map_get(&u->by_name, name, strlen(name));
    return at ? &u->gguf->weights[*at] : NULL;
}

static void take(struct ht__undo *u, const struct ht__weight *w)
{
    u->taken[w - u->gguf->weights] = true;
}

enum ht_err ht__undo_take(struct ht__undo *u, const char *rest, const struct ht__weight **out)
{
    const char *name = ht__arch_name(u->b, u->layer, rest);
    if (!name) return ht__fail_memory(u->b->diag, rest);
    *out = ht__undo_find(u, name);
    if (!*out) return ht__undo_refuse(u, name, "the file lacks it");
    take(u, *out);
    return HT_OK;
}

enum ht_err ht__undo_refuse(const struct ht__undo *u, const char *where, const char *why)
{
    return ht__fail(u->b->diag, HT_ERR_UNSUPPORTED, where, -1,
                    "this %s model cannot be written as a folder: %s; GGUF files of it can be made", u->b->arch->name,
                    why);
}

enum ht_err ht__undo_floats(const struct ht__undo *u, const struct ht__weight *w, int64_t most, float **out)
{
    int64_t n = w->rows->n_rows * w->rows->row_len; /* as many are in the file */
    if (n < 1 || n > most) return ht__undo_refuse(u, w->name, "it has more numbers than a head's rotation");
    *out = ht__arena_array(u->b->tmp, (size_t)n, sizeof **out);
    if (!*out) return ht__fail_memory(u->b->diag, w->name);
    return w->rows->read(w->rows, 0, w->rows->n_rows, *out, u->b->tmp, u->b->diag);
}

/* ---- transforms ---- */

enum ht_err ht__undo_same(struct ht__undo *u, const struct ht__weight *w, const struct ht__rows **out)
{
    (void)u;
    *out = w->rows;
    return HT_OK;
}

/* One of a stack. */
enum ht_err ht__undo_part(struct ht__undo *u, const struct ht__weight *w, const struct ht__rows **out)
{
    int64_t each = w->rows->n_rows / u->n_experts;
    *out = ht__rows_slice(u->b->arena, w->rows, u->expert * each, 1, each);
    return *out ? HT_OK : ht__fail_memory(u->b->diag, w->name);
}

const struct ht__rows *ht__undo_permute(const struct ht__undo *u, const struct ht__weight *w, ht__row_map_fn *map,
                                        const int64_t params[4])
{
    if (u->n_dims > 1) return ht__rows_permute(u->b->arena, w->rows, map, params);
    return ht__rows_pick(u->b->arena, w->rows, w->rows->row_len, map, params);
}

static enum ht_err permuted(struct ht__undo *u, const struct ht__weight *w, int64_t heads, const struct ht__rows **out)
{
    int64_t n = u->dims[0];
    if (heads < 1 || n % heads != 0 || n / heads % 2 != 0)
        return ht__undo_refuse(u, w->name, "its rows are not an even number for each head");
    const int64_t params[4] = {n / heads};
    *out = ht__undo_permute(u, w, ht__map_rope_back, params);
    return *out ? HT_OK : ht__fail_memory(u->b->diag, w->name);
}

static enum ht_err permuted_q(struct ht__undo *u, const struct ht__weight *w, const struct ht__rows **out)
{
    return permuted(u, w, u->b->n_heads, out);
}

static enum ht_err permuted_k(struct ht__undo *u, const struct ht__weight *w, const struct ht__rows **out)
{
    return permuted(u, w, u->b->n_kv_heads, out);
}

static enum ht_err transposed(struct ht__undo *u, const struct ht__weight *w, const struct ht__rows **out)
{
    *out = u->n_dims == 1 ? w->rows : ht__rows_transpose(u->b->arena, w->rows, w->rows->n_rows);
    return *out ? HT_OK : ht__fail_memory(u->b->diag, w->name);
}

static enum ht_err minus_one(struct ht__undo *u, const struct ht__weight *w, const struct ht__rows **out)
{
    *out = ht__rows_affine(u->b->arena, w->rows, 1, -1);
    return *out ? HT_OK : ht__fail_memory(u->b->diag, w->name);
}

/* Of each expert the rows of the gate, then those of up. */
static enum ht_err gate_and_up(struct ht__undo *u, const struct ht__weight *gate, const struct ht__rows **out)
{
    const struct ht__weight *up;
    int64_t n = u->b->n_experts;
    HT_TRY(ht__undo_take(u, "ffn_up_exps.weight", &up));
    if (n < 1 || memcmp(gate->ne, up->ne, sizeof up->ne) != 0 || gate->rows->n_rows % n != 0)
        return ht__undo_refuse(u, up->name, "it has not the shape of ffn_gate_exps, experts by experts");
    int64_t each = gate->rows->n_rows / n;
    const struct ht__rows **parts = ht__arena_array(u->b->tmp, (size_t)(2 * n), sizeof *parts);
    for (int64_t i = 0; parts && i < 2 * n; i++)
        parts[i] = ht__rows_slice(u->b->arena, i % 2 ? up->rows : gate->rows, i / 2 * each, 1, each);
    *out = parts ? ht__rows_concat(u->b->arena, parts, 2 * n) : NULL;
    return *out ? HT_OK : ht__fail_memory(u->b->diag, gate->name);
}

/* The ways back of the maps that architectures share. */
static const struct {
    ht__arch_map_fn *map;
    ht__arch_undo_fn *undo;
} shared[] = {
    {ht__arch_permute_q, permuted_q},      {ht__arch_permute_k, permuted_k},  {ht__arch_transpose, transposed},
    {ht__arch_plus_one, minus_one},        {ht__arch_experts, ht__undo_same}, {ht__arch_output, ht__undo_same},
    {ht__arch_fused_gate_up, gate_and_up},
};

static ht__arch_undo_fn *way_back(const struct ht__name_rule *rule, bool of_stack)
{
    if (rule->undo) return rule->undo;
    if (!rule->map) return of_stack ? ht__undo_part : ht__undo_same;
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++)
        if (shared[i].map == rule->map) return shared[i].undo;
    return NULL;
}

/* ---- tensors ---- */

static struct ht__undone *new_undone(struct ht__undo *u)
{
    if (u->n_made == u->cap_made) {
        size_t cap = u->cap_made ? u->cap_made * 2 : 256;
        struct ht__undone *grown = ht__arena_array(u->b->arena, cap, sizeof *grown);
        if (!grown) return NULL;
        if (u->n_made) memcpy(grown, u->made, u->n_made * sizeof *grown);
        u->made = grown;
        u->cap_made = cap;
    }
    return &u->made[u->n_made++];
}

static bool is_float(const struct ht__codec *type)
{
    return type == &ht__codec_f32 || type == &ht__codec_f16 || type == &ht__codec_bf16;
}

/* Blocks become the BF16 that models are made in, where nothing else is asked for. */
static enum ht_err add(struct ht__undo *u, const struct ht__weight *w, const struct ht__rows *rows)
{
    const char *name = ht__arch_source_name(u->b, u->rule, u->layer, u->expert, u->suffix);
    struct ht__undone *made = new_undone(u);
    if (!made || !name || !(name = ht__arena_str(u->b->arena, name))) return ht__fail_memory(u->b->diag, w->name);
    *made = (struct ht__undone){.rows = rows, .blocks = is_float(w->source) ? NULL : w->source};
    struct ht__tensor *t = &made->tensor;
    *t = (struct ht__tensor){.name = name, .n_dims = u->n_dims, .dtype = made->blocks ? &ht__codec_bf16 : w->source};
    memcpy(t->shape, u->dims, (size_t)u->n_dims * sizeof t->shape[0]);
    t->n_weights = (uint64_t)(rows->n_rows * rows->row_len);
    return HT_OK;
}

static bool fits(const struct ht__undo *u, const struct ht__rows *rows)
{
    uint64_t n = 1;
    for (int i = 0; i < u->n_dims - 1; i++)
        if (!ht__mul_ok(n, (uint64_t)u->dims[i], &n)) return false;
    return n == (uint64_t)rows->n_rows && u->dims[u->n_dims - 1] == rows->row_len;
}

static enum ht_err make(struct ht__undo *u, const struct ht__weight *w, bool of_stack)
{
    const struct ht__rows *rows = NULL;
    ht__arch_undo_fn *undo = way_back(u->rule, of_stack);
    if (!undo) return ht__undo_refuse(u, w->name, "what was made of it in the conversion is not undone");
    HT_TRY(undo(u, w, &rows));
    if (!rows) return HT_OK; /* another rule's */
    take(u, w);
    if (!fits(u, rows)) return ht__undo_refuse(u, w->name, "its shape is not what the metadata imply");
    return add(u, w, rows);
}

static enum ht_err set_shape(struct ht__undo *u, const struct ht__weight *w)
{
    struct ht__shape shape = ht__arch_shape(u->b, u->rule, strcmp(u->suffix, "bias") == 0);
    memcpy(u->dims, shape.dims, sizeof u->dims);
    u->n_dims = shape.n;
    if (shape.at_least) u->dims[0] = w->rows->n_rows;
    if (shape.n >= 1) return HT_OK;
    return ht__undo_refuse(u, w->name, "its shape is not known");
}

/* How many the file's tensor holds, where the checkpoint has one for each expert, or head. */
static enum ht_err count_parts(struct ht__undo *u, const struct ht__weight *w)
{
    enum { MOST = 4096 };
    int64_t each = u->n_dims > 1 ? u->dims[0] : 1;
    u->n_experts = each > 0 ? w->rows->n_rows / each : 0;
    if (u->n_experts >= 1 && u->n_experts <= MOST && w->rows->n_rows % each == 0) return HT_OK;
    return ht__undo_refuse(u, w->name, "its rows do not divide into experts or heads");
}

/* The tensors that the rule and the suffix mean in one layer. */
static enum ht_err undo_rule(struct ht__undo *u, int64_t layer, const char *suffix)
{
    const struct ht__name_rule *rule = u->rule;
    const char *number = strchr(rule->from, '#');
    bool of_stack = number && strchr(number + 1, '#');
    const char *name = ht__arch_gguf_name(u->b, rule->to, layer, suffix);
    if (!name) return ht__fail_memory(u->b->diag, rule->to);
    const struct ht__weight *w = ht__undo_find(u, name);
    if (!w || u->taken[w - u->gguf->weights]) return HT_OK;
    u->layer = layer;
    u->suffix = suffix;
    u->expert = -1;
    HT_TRY(set_shape(u, w));
    if (!of_stack) return make(u, w, false);
    HT_TRY(count_parts(u, w));
    for (u->expert = 0; u->expert < u->n_experts; u->expert++)
        HT_TRY(make(u, w, true));
    return HT_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct ht__undone *)a)->tensor.name, ((const struct ht__undone *)b)->tensor.name);
}

enum ht_err ht__undo_tensors(struct ht__undo *u)
{
    for (u->rule = u->b->arch->rules; u->rule->from; u->rule++) {
        int64_t times = strchr(u->rule->from, '#') ? u->b->n_layers : 1;
        bool both = strchr(u->rule->from, '*') != NULL;
        for (int64_t layer = 0; u->rule->to && layer < times; layer++) {
            if (!ht__arch_holds(u->b, u->rule, layer)) continue;
            HT_TRY(undo_rule(u, layer, both ? "weight" : ""));
            if (both) HT_TRY(undo_rule(u, layer, "bias"));
        }
    }
    if (u->n_made) qsort(u->made, u->n_made, sizeof *u->made, by_name);
    return HT_OK;
}
