/* What architectures share: matching names, adding tensors, gathering experts. */
#include "model/arch/check.h"
#include "base/text.h"
#include "model/view_native.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct ht__stack {
    const char *name;
    const struct ht__name_rule *rule;
    int64_t layer;
    const struct ht__rows **parts;
    const struct ht__codec *source;
    int64_t n, found; /* parts */
    int n_dims;       /* of the whole */
    bool added;       /* to the model */
    const struct ht__packed_source *packed;
};

/* ---- adding ---- */

/* The dtype rules of conversion. */
static bool keeps_f32(struct ht__slot slot, int n_dims)
{
    return n_dims <= 1 || slot.bias || ht__role_at(slot.role)->flags & HT__ROLE_KEEP_F32;
}

static bool make_room(struct ht__model *model)
{
    if (model->n_weights < model->n_weights_cap) return true;
    size_t cap = model->n_weights_cap ? model->n_weights_cap * 2 : 256;
    struct ht__weight *grown = ht__arena_array(&model->arena, cap, sizeof *grown);
    if (!grown) return false;
    if (model->n_weights) memcpy(grown, model->weights, model->n_weights * sizeof *grown);
    model->weights = grown;
    model->n_weights_cap = cap;
    return true;
}

enum ht_err ht__arch_add(struct ht__arch_build *b, const char *name, const struct ht__rows *rows,
                         const struct ht__codec *source, int n_dims, const int64_t *ne)
{
    if (!name || !rows || !make_room(b->model)) return ht__fail_memory(b->diag, "model");
    if (strlen(name) > HT__GGUF_MAX_NAME)
        return ht__fail(b->diag, HT_ERR_LIMIT, name, -1, "the name is too long for a GGUF file");
    struct ht__slot slot = ht__slot_of_name(name);
    struct ht__weight w = {.name = name,
                           .slot = slot,
                           .n_dims = n_dims,
                           .source = source,
                           .rows = rows,
                           .packed = b->packed,
                           .ne = {1, 1, 1, 1},
                           .keep_f32 = keeps_f32(slot, n_dims)};
    for (int i = 0; i < n_dims; i++)
        w.ne[i] = ne[i];
    if (w.ne[0] != rows->row_len || w.ne[1] * w.ne[2] * w.ne[3] != rows->n_rows || w.ne[0] < 1 || rows->n_rows < 1)
        return ht__fail(b->diag, HT_ERR_FORMAT, name, -1, "it has no weights, or not as many as its shape says");
    b->model->weights[b->model->n_weights++] = w;
    return HT_OK;
}

enum ht_err ht__arch_add_found(struct ht__arch_build *b, const struct ht__found *f, const struct ht__rows *rows)
{
    int64_t ne[HT__GGUF_DIMS];
    int n = f->tensor->n_dims;
    if (n < 1 || n > HT__GGUF_DIMS) return ht__arch_shape_error(b, f, "1 to 4 dimensions");
    for (int i = 0; i < n; i++)
        ne[i] = f->tensor->shape[n - 1 - i];
    return ht__arch_add(b, f->name, rows, f->tensor->dtype, n, ne);
}

const char *ht__arch_name(struct ht__arch_build *b, int64_t layer, const char *rest)
{
    return ht__arena_printf(b->arena, "blk.%lld.%s", (long long)layer, rest);
}

enum ht_err ht__arch_shape_error(struct ht__arch_build *b, const struct ht__found *f, const char *expected)
{
    char shape[160] = "";
    size_t used = 0;
    for (int i = 0; i < f->tensor->n_dims && used < sizeof shape - 24; i++)
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%lld", i ? ", " : "",
                                 (long long)f->tensor->shape[i]);
    return ht__fail(b->diag, HT_ERR_FORMAT, f->tensor->name, -1, "shape [%s], but by the configuration it should be %s",
                    shape, expected ? expected : "another");
}

/* ---- experts ---- */

static struct ht__stack *new_stack(struct ht__arch_build *b, const struct ht__found *f, int64_t n, int n_dims)
{
    if (b->n_stacks == b->cap_stacks) {
        size_t cap = b->cap_stacks ? b->cap_stacks * 2 : 128;
        struct ht__stack *grown = ht__arena_array(b->tmp, cap, sizeof *grown);
        if (!grown) return NULL;
        if (b->n_stacks) memcpy(grown, b->stacks, b->n_stacks * sizeof *grown);
        b->stacks = grown;
        b->cap_stacks = cap;
    }
    struct ht__stack *s = &b->stacks[b->n_stacks];
    *s = (struct ht__stack){
        .name = f->name, .rule = f->rule, .layer = f->layer, .source = f->tensor->dtype, .n = n, .n_dims = n_dims};
    s->parts = ht__arena_array(b->tmp, (size_t)n, sizeof *s->parts);
    if (!s->parts || ht__map_put(&b->stack_by_name, f->name, strlen(f->name), (uint32_t)b->n_stacks) != HT__MAP_NEW)
        return NULL;
    b->n_stacks++;
    return s;
}

static enum ht_err add_stack(struct ht__arch_build *b, struct ht__stack *s)
{
    if (s->added) return HT_OK;
    const struct ht__rows *rows = ht__rows_concat(b->arena, s->parts, s->n);
    if (!rows) return ht__fail_memory(b->diag, s->name);
    int64_t ne[3] = {rows->row_len, s->n_dims == 3 ? s->parts[0]->n_rows : s->n, s->n};
    s->added = true;
    b->packed = s->packed;
    return ht__arch_add(b, s->name, rows, s->source, s->n_dims, ne);
}

/* The three stacks of a layer's experts follow the last of their parts, in the order of the projections' names: so
 * does llama.cpp's converter write them. Another stack (norms of heads) follows its own last part. */
static enum ht_err add_complete(struct ht__arch_build *b, struct ht__stack *last)
{
    enum { PROJECTIONS = 3 };
    struct ht__stack *of_layer[PROJECTIONS];
    size_t n = 0;
    if (last->found < last->n) return HT_OK;
    if (last->n_dims != 3) return add_stack(b, last);
    for (size_t i = b->n_stacks; i-- > 0 && n < PROJECTIONS;) {
        struct ht__stack *s = &b->stacks[i];
        if (s->layer != last->layer || s->n_dims != 3) continue;
        if (s->found < s->n) return HT_OK;
        size_t at = n++;
        for (; at > 0 && strcmp(s->rule->from, of_layer[at - 1]->rule->from) < 0; at--)
            of_layer[at] = of_layer[at - 1];
        of_layer[at] = s;
    }
    for (size_t i = 0; n == PROJECTIONS && i < n; i++)
        HT_TRY(add_stack(b, of_layer[i]));
    return HT_OK;
}

enum ht_err ht__arch_stack(struct ht__arch_build *b, const struct ht__found *f, int64_t n, int n_dims)
{
    if (f->expert < 0 || f->expert >= n)
        return ht__fail(b->diag, HT_ERR_FORMAT, f->tensor->name, -1,
                        "number %lld, but the configuration has %lld of them", (long long)f->expert, (long long)n);
    uint32_t *at = ht__map_get(&b->stack_by_name, f->name, strlen(f->name));
    struct ht__stack *s = at ? &b->stacks[*at] : new_stack(b, f, n, n_dims);
    if (!s) return ht__fail_memory(b->diag, "model");
    for (int64_t i = 0; i < n; i++)
        if (s->parts[i] && (s->parts[i]->row_len != f->rows->row_len || s->parts[i]->n_rows != f->rows->n_rows))
            return ht__arch_shape_error(b, f, "the same shape as its siblings");
    s->found += !s->parts[f->expert];
    s->parts[f->expert] = f->rows;
    if (b->packed) s->packed = b->packed;
    return add_complete(b, s);
}

static enum ht_err finish_stacks(struct ht__arch_build *b)
{
    for (size_t i = 0; i < b->n_stacks; i++) {
        struct ht__stack *s = &b->stacks[i];
        int64_t missing = 0;
        while (missing < s->n && s->parts[missing])
            missing++;
        if (missing < s->n) {
            const char *name = ht__arch_source_name(b, s->rule, s->layer, missing, "weight");
            if (!name) return ht__fail_memory(b->diag, s->name);
            return ht__fail(b->diag, HT_ERR_FORMAT, b->ck->dir, -1, "the checkpoint lacks \"%s\" (for %s), one of %lld",
                            name, s->name, (long long)s->n);
        }
        HT_TRY(add_stack(b, s));
    }
    return HT_OK;
}

/* ---- names ---- */

/* Matches a name with a rule's pattern; numbers[0] and [1] are what the `#` stood for. */
static bool matches(const char *pattern, const char *name, int64_t numbers[2], const char **suffix)
{
    int n = 0;
    numbers[0] = numbers[1] = -1;
    *suffix = "";
    if (*pattern == '!') pattern++;
    while (*pattern && *pattern != '*') {
        if (*pattern == '#') {
            char *end;
            if (*name < '0' || *name > '9' || n == 2) return false;
            numbers[n] = strtol(name, &end, 10);
            if (end - name > 6) return false;
            name = end;
            n++;
            pattern++;
        } else if (*pattern++ != *name++) {
            return false;
        }
    }
    if (*pattern == '\0') return *name == '\0';
    *suffix = name;
    return strcmp(name, "weight") == 0 || strcmp(name, "bias") == 0;
}

const char *ht__arch_gguf_name(struct ht__arch_build *b, const char *to, int64_t layer, const char *suffix)
{
    char name[256];
    size_t n = 0;
    for (const char *p = to; *p && n < sizeof name - 32; p++) {
        if (*p == '#')
            n += (size_t)snprintf(name + n, sizeof name - n, "%lld", (long long)layer);
        else if (*p == '*')
            n += (size_t)snprintf(name + n, sizeof name - n, "%s", suffix);
        else
            name[n++] = *p;
    }
    return ht__arena_copy(b->arena, name, n);
}

/* Multimodal checkpoints keep the language model under a prefix, which is cut; bare ones lack "model.". */
static const char *language_name(const char *name, bool bare, char *buffer, size_t size)
{
    static const char *const prefixes[][2] = {{"model.language_model.", "model."},
                                              {"language_model.model.", "model."},
                                              {"language_model.lm_head.", "lm_head."},
                                              {"language_model.", "model."}};
    for (size_t i = 0; i < sizeof prefixes / sizeof prefixes[0]; i++) {
        size_t n = strlen(prefixes[i][0]);
        if (strncmp(name, prefixes[i][0], n) == 0) {
            snprintf(buffer, size, "%s%s", prefixes[i][1], name + n);
            return buffer;
        }
    }
    if (!bare || strncmp(name, "model.", 6) == 0) return name;
    snprintf(buffer, size, "model.%s", name);
    return buffer;
}

/* Buffers and other modalities, which no converter writes. */
static bool is_skipped(const char *name)
{
    static const char *const ends[] = {".attention.masked_bias", ".attention.bias", ".attn.bias", ".attn.masked_bias",
                                       ".rotary_emb.inv_freq"};
    static const char *const parts[] = {"vision_tower.", "vision_model.", "multi_modal_projector.",
                                        "audio_tower.",  "visual.",       "vision_embed_tokens."};
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++)
        if (ht__ends_with(name, ends[i])) return true;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (strstr(name, parts[i])) return true;
    return false;
}

/* What it is for is what the first tensor that is made of it is for, if it is made now: the map may choose. A stack of experts
 * that is made now may be another one. */
static enum ht_err native_slot(struct ht__arch_build *b, const struct ht__found *f, size_t before,
                               struct ht__slot *slot)
{
    const char *name = f->name;
    if (f->rule->native) name = ht__arch_gguf_name(b, f->rule->native, f->layer, f->suffix);
    if (!name) return ht__fail_memory(b->diag, f->tensor->name);
    bool stacked = !f->rule->map && f->expert >= 0;
    bool made = !f->rule->native && !stacked && b->model->n_weights > before;
    *slot = made ? b->model->weights[before].slot : ht__slot_of_name(name);
    slot->expert = (int32_t)f->expert;
    return HT_OK;
}

static enum ht_err map_found(struct ht__arch_build *b, const struct ht__found *f)
{
    size_t before = b->model->n_weights;
    struct ht__slot slot;
    if (f->rule->map)
        HT_TRY(f->rule->map(b, f));
    else
        HT_TRY(f->expert >= 0 ? ht__arch_stack(b, f, b->n_experts, 3) : ht__arch_add_found(b, f, f->rows));
    HT_TRY(native_slot(b, f, before, &slot));
    return ht__native_add(b, f, slot);
}

/* A packed matrix is [out, in] always; where the model's code keeps it as [in, out], it is shown so. */
static enum ht_err turn_round(struct ht__arch_build *b, struct ht__found *f)
{
    struct ht__tensor *t = ht__arena_new(b->arena, sizeof *t);
    if (t) *t = *f->tensor;
    f->rows = ht__rows_transpose(b->arena, f->rows, f->tensor->shape[0]);
    if (!t || !f->rows) return ht__fail_memory(b->diag, f->tensor->name);
    t->shape[0] = f->tensor->shape[1];
    t->shape[1] = f->tensor->shape[0];
    f->tensor = t;
    return HT_OK;
}

/* rows: its weights, where they are unpacked; NULL: they are as the tensor has them. */
static enum ht_err map_tensor(struct ht__arch_build *b, const struct ht__tensor *t, const struct ht__rows *rows)
{
    char buffer[512];
    if (is_skipped(language_name(t->name, b->bare, buffer, sizeof buffer))) return ht__native_add_other(b, t, rows);
    if (!rows && !(rows = ht__rows_tensor(b->arena, b->ck, t, 0))) return ht__fail_memory(b->diag, t->name);
    const char *name = language_name(t->name, b->bare, buffer, sizeof buffer);
    for (const struct ht__name_rule *rule = b->arch->rules; rule->from; rule++) {
        int64_t numbers[2];
        struct ht__found f = {.tensor = t, .rule = rule, .rows = rows};
        if (!matches(rule->from, name, numbers, &f.suffix)) continue;
        if (!rule->to || (numbers[0] >= b->n_layers && b->arch->drops_extra_layers))
            return ht__native_add_other(b, t, rows);
        if (numbers[0] >= b->n_layers)
            return ht__fail(b->diag, HT_ERR_FORMAT, t->name, -1, "the configuration has %lld layers",
                            (long long)b->n_layers);
        f.layer = numbers[0];
        f.expert = numbers[1];
        if (b->packed && rule->map == ht__arch_transpose && t->n_dims == 2) HT_TRY(turn_round(b, &f));
        HT_TRY(ht__arch_check_shape(b, rule, &f));
        ht__arch_check_seen(b, rule, &f);
        f.name = ht__arch_gguf_name(b, rule->to, f.layer, f.suffix);
        if (!f.name) return ht__fail_memory(b->diag, t->name);
        return map_found(b, &f);
    }
    return ht__fail(b->diag, HT_ERR_UNSUPPORTED, t->name, -1, "architecture %s has no such tensor", b->arch->name);
}

/* ---- packed weights ---- */

/* A tensor of the checkpoint: a weight that begins with it, a part of another one, or neither. */
struct logical {
    struct ht__packed_weight **weights; /* by tensor; NULL: none begins there */
    bool *taken;
};

static enum ht_err find_packed(struct ht__arch_build *b, struct logical *l)
{
    size_t n = b->ck->n_tensors;
    l->weights = ht__arena_array(b->tmp, n, sizeof *l->weights);
    l->taken = ht__arena_array(b->tmp, n, sizeof *l->taken);
    if (!l->weights || !l->taken) return ht__fail_memory(b->diag, "model");
    for (size_t i = 0; i < n && b->packing.packing; i++)
        if (!l->taken[i])
            HT_TRY(ht__packing_weight(&b->packing, &b->ck->tensors[i], l->taken, &l->weights[i], b->diag));
    return HT_OK;
}

static enum ht_err map_packed(struct ht__arch_build *b, const struct ht__packed_weight *w)
{
    const struct ht__packed_source *p = w->packed;
    const struct ht__rows *rows = ht__rows_packed(b->arena, b->ck, &p->params, &p->matrix, p->tensors, w->whole);
    const char *family = b->packing.packing->name, *form = p->form ? p->form : p->params.scheme->name;
    bool told = strcasecmp(family, form) == 0 || ht__ends_with(family, form);
    const char *as = told ? family : ht__arena_printf(b->arena, "%s %s", family, form);
    if (p->transposed) rows = ht__rows_transpose(b->arena, rows, p->matrix.n_out / p->matrix.n_experts);
    if (!rows || !as) return ht__fail_memory(b->diag, w->tensor->name);
    if (!b->model->packed_as) b->model->packed_as = as;
    b->packed = w->packed;
    enum ht_err err = map_tensor(b, w->tensor, rows);
    b->packed = NULL;
    return err;
}

static enum ht_err map_logical(struct ht__arch_build *b, const struct logical *l, uint32_t i)
{
    if (l->weights[i]) return map_packed(b, l->weights[i]);
    if (l->taken[i]) return HT_OK;
    if (b->packing.packing) HT_TRY(ht__packing_stray(&b->packing, &b->ck->tensors[i], b->diag));
    if (b->packing.packing && ht__packing_unused(&b->packing, &b->ck->tensors[i])) return HT_OK;
    return map_tensor(b, &b->ck->tensors[i], NULL);
}

enum ht_err ht__arch_map_all(struct ht__arch_build *b, const struct ht__rows *const *rows)
{
    struct logical l;
    HT_TRY(ht__arch_check_begin(b));
    if (b->arch->generate) HT_TRY(b->arch->generate(b));
    HT_TRY(find_packed(b, &l));
    for (uint32_t i = 0; i < b->ck->n_tensors; i++)
        HT_TRY(rows ? map_tensor(b, &b->ck->tensors[i], rows[i]) : map_logical(b, &l, i));
    HT_TRY(finish_stacks(b));
    return ht__arch_check_end(b);
}

/* ---- shared maps ---- */

static enum ht_err permute(struct ht__arch_build *b, const struct ht__found *f, int64_t heads)
{
    int64_t n = f->tensor->n_dims ? f->tensor->shape[0] : 0;
    if (heads < 1 || n % heads != 0 || n / heads % 2 != 0)
        return ht__arch_shape_error(b, f, "rows for every head, an even number each");
    const struct ht__rows *rows = f->rows;
    const int64_t params[4] = {n / heads};
    if (f->tensor->n_dims == 1) /* a bias */
        rows = ht__rows_pick(b->arena, rows, n, ht__map_rope, params);
    else
        rows = ht__rows_permute(b->arena, rows, ht__map_rope, params);
    return ht__arch_add_found(b, f, rows);
}

enum ht_err ht__arch_permute_q(struct ht__arch_build *b, const struct ht__found *f)
{
    return permute(b, f, b->n_heads);
}

enum ht_err ht__arch_permute_k(struct ht__arch_build *b, const struct ht__found *f)
{
    return permute(b, f, b->n_kv_heads);
}

enum ht_err ht__arch_transpose(struct ht__arch_build *b, const struct ht__found *f)
{
    if (f->tensor->n_dims == 1) return ht__arch_add_found(b, f, f->rows);
    if (f->tensor->n_dims != 2) return ht__arch_shape_error(b, f, "two dimensions");
    const int64_t ne[2] = {f->tensor->shape[0], f->tensor->shape[1]};
    return ht__arch_add(b, f->name, ht__rows_transpose(b->arena, f->rows, f->tensor->shape[0]), f->tensor->dtype, 2,
                        ne);
}

enum ht_err ht__arch_plus_one(struct ht__arch_build *b, const struct ht__found *f)
{
    return ht__arch_add_found(b, f, ht__rows_affine(b->arena, f->rows, 1, 1));
}

enum ht_err ht__arch_experts(struct ht__arch_build *b, const struct ht__found *f)
{
    if (f->tensor->n_dims != 3 || f->tensor->shape[0] != b->n_experts)
        return ht__arch_shape_error(b, f, "[experts, rows, columns]");
    return ht__arch_add_found(b, f, f->rows);
}

/* Half of each expert's rows: which = 0 the first, 1 the second. */
static const struct ht__rows *half_of_experts(struct ht__arch_build *b, const struct ht__found *f, int which)
{
    int64_t half = f->tensor->shape[1] / 2;
    const struct ht__rows **parts = ht__arena_array(b->tmp, (size_t)b->n_experts, sizeof *parts);
    for (int64_t e = 0; parts && e < b->n_experts; e++)
        parts[e] = ht__rows_slice(b->arena, f->rows, (2 * e + which) * half, 1, half);
    return parts ? ht__rows_concat(b->arena, parts, b->n_experts) : NULL;
}

enum ht_err ht__arch_fused_gate_up(struct ht__arch_build *b, const struct ht__found *f)
{
    if (f->tensor->n_dims != 3 || f->tensor->shape[0] != b->n_experts || f->tensor->shape[1] % 2)
        return ht__arch_shape_error(b, f, "[experts, 2 x feed forward, columns]");
    const int64_t ne[3] = {f->tensor->shape[2], f->tensor->shape[1] / 2, b->n_experts};
    HT_TRY(ht__arch_add(b, ht__arch_name(b, f->layer, "ffn_gate_exps.weight"), half_of_experts(b, f, 0),
                        f->tensor->dtype, 3, ne));
    return ht__arch_add(b, ht__arch_name(b, f->layer, "ffn_up_exps.weight"), half_of_experts(b, f, 1), f->tensor->dtype,
                        3, ne);
}

enum ht_err ht__arch_output(struct ht__arch_build *b, const struct ht__found *f)
{
    return b->tied ? HT_OK : ht__arch_add_found(b, f, f->rows);
}
