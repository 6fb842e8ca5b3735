/* Packed weights: the list of families, and the checks that are the same for all. */
#include "schemes/packing.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct ht__packing *const packings[] = {
#define HT_PACKING(id) &ht__packing_##id,
#include "schemes/packings.def"
#undef HT_PACKING
};

const struct ht__packing *ht__packing_at(size_t index)
{
    return index < sizeof packings / sizeof packings[0] ? packings[index] : NULL;
}

/* Word by word: does the list have one that `is` accepts? Its length, or 0. */
static size_t word_in(const char *list, const char *text, bool (*is)(const char *text, const char *word, size_t len))
{
    for (const char *p = list; p && *p;) {
        size_t len = strcspn(p, " ");
        if (is(text, p, len)) return len;
        p += len + (p[len] == ' ');
    }
    return 0;
}

static bool equals(const char *text, const char *word, size_t len)
{
    return strlen(text) == len && strncasecmp(text, word, len) == 0;
}

static bool ends(const char *text, const char *word, size_t len)
{
    size_t n = strlen(text);
    if (len == 1 && *word == '*') return true;
    return n > len && memcmp(text + n - len, word, len) == 0;
}

const struct ht__packing *ht__packing_by_method(const char *method)
{
    const struct ht__packing *packing;
    for (size_t i = 0; (packing = ht__packing_at(i)) != NULL; i++)
        if (word_in(packing->methods, method, equals)) return packing;
    return NULL;
}

const struct ht__packing *ht__packing_assumed(void)
{
    return &ht__packing_fp8;
}

const struct ht__tensor *ht__packing_find(const struct ht__packing_source *source, const char *module,
                                          const char *suffix)
{
    char name[1024];
    int n = snprintf(name, sizeof name, "%s%s", module, suffix);
    return n >= 0 && n < (int)sizeof name ? ht__checkpoint_find(source->ck, name) : NULL;
}

/* ---- diagnoses ---- */

enum ht_err ht__packing_in_file(const struct ht__checkpoint *ck, const struct ht__tensor *tensor, enum ht_err err,
                                struct ht_diag *diag)
{
    if (err == HT_OK || !diag) return err;
    const struct ht__tensor *named = ht__checkpoint_find(ck, diag->where);
    const char *file = ht__path_base(ck->files[named ? named->file : tensor->file].path);
    char where[sizeof diag->where];
    if (strchr(diag->where, '/') || strstr(diag->where, file)) return err;
    snprintf(where, sizeof where, "%.100s: %.150s", file, diag->where);
    memcpy(diag->where, where, sizeof where);
    return err;
}

/* ---- checks ---- */

static void write_shape(const struct ht__codec *dtype, const int64_t *shape, int n_dims, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "%s [", dtype->label);
    for (int i = 0; i < n_dims && used < size - 24; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%lld", i ? ", " : "", (long long)shape[i]);
    snprintf(text + used, size - used, "]");
}

static enum ht_err check_part(const struct ht__part *part, const struct ht__tensor *t, const char *module,
                              struct ht_diag *diag)
{
    if (!t) return ht__fail(diag, HT_ERR_FORMAT, module, -1, "its part %.200s%s is missing", module, part->suffix);
    bool same = t->dtype == part->dtype && t->n_dims == part->n_dims;
    for (int i = 0; same && i < part->n_dims; i++)
        same = t->shape[i] == part->shape[i];
    if (!same) {
        char expected[120], got[200];
        write_shape(part->dtype, part->shape, part->n_dims, expected, sizeof expected);
        write_shape(t->dtype, t->shape, t->n_dims, got, sizeof got);
        return ht__fail(diag, HT_ERR_FORMAT, t->name, -1, "expected %s, got %s", expected, got);
    }
    if (t->strides || t->big_endian)
        return ht__fail(
            diag, HT_ERR_UNSUPPORTED, t->name, -1,
            "a packed tensor that is not contiguous or has the bytes of its numbers reversed cannot be read");
    return HT_OK;
}

static void take(const struct ht__packing_source *source, const struct ht__tensor *t, bool *taken)
{
    if (t) taken[t - source->ck->tensors] = true;
}

static enum ht_err read_whole(struct ht__packing_source *source, const struct ht__tensor *t, const void **data,
                              struct ht_diag *diag)
{
    void *bytes = ht__arena_raw(source->arena, t->n_bytes ? t->n_bytes : 1);
    if (!bytes) return ht__fail_memory(diag, t->name);
    *data = bytes;
    return ht__tensor_read_raw(source->ck, t, 0, t->n_weights, bytes, diag);
}

static enum ht_err check_parts(struct ht__packing_source *source, const char *module, struct ht__packed_source *packed,
                               bool *taken, const void **whole, struct ht_diag *diag)
{
    const struct ht__scheme *s = packed->params.scheme;
    struct ht__part parts[HT__SCHEME_PARTS];
    const char *why = s->unsuited(&packed->params, &packed->matrix);
    if (why) return ht__fail(diag, HT_ERR_FORMAT, module, -1, "%s: %s", s->name, why);
    int n = s->parts(&packed->params, &packed->matrix, parts), wrong = 0;
    for (int i = 0; i < n; i++) {
        if (parts[i].place == HT__PART_WORK) continue;
        HT_TRY(check_part(&parts[i], packed->tensors[i], module, diag));
        take(source, packed->tensors[i], taken);
    }
    for (int i = 0; i < HT__PACKED_EXTRA; i++)
        take(source, packed->extra[i], taken);
    if (!s->complaint) return HT_OK;
    for (int i = 0; i < n; i++)
        if (parts[i].place == HT__PART_WHOLE) HT_TRY(read_whole(source, packed->tensors[i], &whole[i], diag));
    why = s->complaint(&packed->params, &packed->matrix, whole, &wrong);
    return why ? ht__fail(diag, HT_ERR_FORMAT, packed->tensors[wrong]->name, -1, "%s", why) : HT_OK;
}

/* ---- weights ---- */

static const struct ht__tensor *stand_in(struct ht__packing_source *source, const char *module,
                                         const struct ht__packed_source *packed)
{
    const struct ht__matrix *m = &packed->matrix;
    struct ht__tensor *t = ht__arena_new(source->arena, sizeof *t);
    const char *end = packed->suffix ? packed->suffix : ".weight";
    if (!t || !(t->name = ht__arena_printf(source->arena, "%s%s", module, end))) return NULL;
    int64_t n_out = m->n_experts ? m->n_out / m->n_experts : m->n_out, *shape = t->shape;
    t->dtype = packed->value ? packed->value : m->dtype;
    t->n_dims = m->n_experts ? 3 : 2;
    if (m->n_experts) *shape++ = m->n_experts;
    shape[0] = packed->transposed ? m->n_in : n_out;
    shape[1] = packed->transposed ? n_out : m->n_in;
    t->n_weights = (uint64_t)m->n_out * (uint64_t)m->n_in;
    return t;
}

/* A weight is stored once: packed, or as it is. */
static enum ht_err check_alone(const struct ht__packing_source *source, const struct ht__packed_weight *w,
                               const bool *taken, struct ht_diag *diag)
{
    const struct ht__tensor *codes = w->packed->tensors[0];
    const struct ht__tensor *other = ht__checkpoint_find(source->ck, w->tensor->name);
    if (!other || taken[other - source->ck->tensors]) return HT_OK;
    return ht__fail(diag, HT_ERR_FORMAT, other->name, -1, "the same weight is packed as well, as %.200s in %.100s",
                    codes->name, ht__path_base(source->ck->files[codes->file].path));
}

static enum ht_err find_weight(struct ht__packing_source *source, const struct ht__tensor *tensor, bool *taken,
                               struct ht__packed_weight **weight, struct ht_diag *diag)
{
    bool found = false;
    size_t end = word_in(source->packing->heads, tensor->name, ends);
    if (!end) return HT_OK;
    if (end == 1) end = 0; /* "*" */
    const char *module = ht__arena_copy(source->tmp, tensor->name, strlen(tensor->name) - end);
    struct ht__packed_source *packed = ht__arena_new(source->arena, sizeof *packed);
    struct ht__packed_weight *w = ht__arena_new(source->arena, sizeof *w);
    if (!module || !packed || !w) return ht__fail_memory(diag, tensor->name);
    HT_TRY(source->packing->find(source, tensor, module, packed, &found, diag));
    if (!found) return HT_OK;
    HT_TRY(check_parts(source, module, packed, taken, w->whole, diag));
    w->packed = packed;
    w->tensor = stand_in(source, module, packed);
    if (!w->tensor) return ht__fail_memory(diag, tensor->name);
    *weight = w;
    return check_alone(source, w, taken, diag);
}

enum ht_err ht__packing_weight(struct ht__packing_source *source, const struct ht__tensor *tensor, bool *taken,
                               struct ht__packed_weight **weight, struct ht_diag *diag)
{
    *weight = NULL;
    return ht__packing_in_file(source->ck, tensor, find_weight(source, tensor, taken, weight, diag), diag);
}

enum ht_err ht__packing_stray(const struct ht__packing_source *source, const struct ht__tensor *tensor,
                              struct ht_diag *diag)
{
    size_t end = word_in(source->packing->others, tensor->name, ends), head = strcspn(source->packing->heads, " ");
    if (!end) return HT_OK;
    const char *module = ht__arena_copy(source->tmp, tensor->name, strlen(tensor->name) - end);
    if (!module) return ht__fail_memory(diag, tensor->name);
    if (ends(module, source->packing->heads, head)) head = 0; /* ".weight.absmax" */
    enum ht_err err = ht__fail(diag, HT_ERR_FORMAT, tensor->name, -1,
                               "it is a part of a packed weight, but %.200s%.*s is missing or not packed", module,
                               (int)head, source->packing->heads);
    return ht__packing_in_file(source->ck, tensor, err, diag);
}

bool ht__packing_unused(const struct ht__packing_source *source, const struct ht__tensor *tensor)
{
    static const char of_activations[] = ".input_scale .input_scale_ub .activation_scale .k_scale .v_scale .q_scale "
                                         ".output_scale .input_zero_point .input_global_scale";
    return word_in(of_activations, tensor->name, ends) || word_in(source->packing->unused, tensor->name, ends);
}
