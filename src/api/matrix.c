/* Matrices by scheme, from a program. */
#include "api/sized.h"
#include "base/arena.h"
#include "recipe/ladder.h"
#include "recipe/quality.h"
#include "methods/method.h"
#include "schemes/scheme.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct ht_part *part_at(const struct ht_part *parts, size_t i)
{
    return ht__sized_at(parts, i);
}

/* ---- lists ---- */

size_t ht_scheme_count(void)
{
    size_t n = 0;
    while (ht__scheme_at(n))
        n++;
    return n;
}

bool ht_scheme_at(size_t index, struct ht_scheme_info *info)
{
    const struct ht__scheme *s = ht__scheme_at(index);
    struct ht__scheme_params params;
    if (!s) return false;
    ht__scheme_defaults(s, &params);
    const struct ht__quality *q = ht__quality_of_scheme(&params);
    struct ht_scheme_info full = {
        .name = s->name,
        .label = s->label,
        .family = s->family,
        .about = s->about,
        .loaders = s->loaders,
        .can_write = !(s->flags & HT__SCHEME_READ_ONLY),
        .shares_amax = s->flags & HT__SCHEME_SHARED,
        .divergence = q ? q->divergence : 0,
        .same_top_token = q ? q->same : 0,
    };
    return ht__sized_give(info, &full, sizeof full);
}

bool ht_ladder_at(size_t index, struct ht_ladder_info *info)
{
    const struct ht__preset *p = ht__preset_at(index);
    if (!p) return false;
    struct ht_ladder_info full = {.name = p->name, .levels = p->levels, .about = p->about};
    snprintf(full.first, sizeof full.first, "%.*s", (int)strcspn(p->levels, ">"), p->levels);
    return ht__sized_give(info, &full, sizeof full);
}

static bool give_option(const struct ht__scheme_option *o, size_t index, struct ht_scheme_option_info *info)
{
    for (size_t i = 0; o && o->name && i < index; i++)
        o++;
    if (!o || !o->name) return false;
    struct ht_scheme_option_info full = {.name = o->name,
                                         .about = o->about,
                                         .choices = o->choices,
                                         .least = o->least,
                                         .most = o->most,
                                         .reading = o->reading};
    ht__option_text(o, o->otherwise, full.otherwise, sizeof full.otherwise);
    return ht__sized_give(info, &full, sizeof full);
}

bool ht_scheme_option_at(const char *scheme, size_t index, struct ht_scheme_option_info *info)
{
    const struct ht__scheme *s = scheme ? ht__scheme_by_name(scheme, strlen(scheme)) : NULL;
    return s && give_option(s->options, index, info);
}

bool ht_method_option_at(const char *method, size_t index, struct ht_scheme_option_info *info)
{
    const struct ht__method *m = method ? ht__method_by_name(method, strlen(method)) : NULL;
    return m && give_option(m->options, index, info);
}

/* ---- matrices ---- */

/* A call's arguments in the library's terms. */
struct request {
    struct ht_matrix given;
    struct ht__scheme_params params;
    struct ht__matrix matrix;
    struct ht__part parts[HT__SCHEME_PARTS]; /* those that are WORK too */
    int n_parts;
    struct ht__alloc alloc;
    struct ht__scheme_run run;
};

static enum ht_err fail_usage(struct ht_diag *diag, const char *message)
{
    return ht__fail(diag, HT_ERR_USAGE, "matrix", -1, "%s", message);
}

static enum ht_err read_scheme(struct request *r, const char *scheme, bool reading, struct ht_diag *diag)
{
    if (!scheme) return fail_usage(diag, "no scheme is named");
    enum ht_err err = (reading ? ht__scheme_parse_reading : ht__scheme_parse)(scheme, &r->params, diag);
    if (err != HT_ERR_NOT_FOUND) return err;
    return ht__fail(diag, HT_ERR_USAGE, scheme, -1, "there is no scheme of this name; ht_scheme_at lists them");
}

static bool is_float(const struct ht__codec *type)
{
    return type == &ht__codec_f32 || type == &ht__codec_f16 || type == &ht__codec_bf16;
}

static enum ht_err read_matrix(struct request *r, const struct ht_matrix *matrix, struct ht_diag *diag)
{
    enum { MOST_ROWS = INT32_MAX };
    const int64_t most_weights = (int64_t)1 << 48;
    struct ht_matrix *g = &r->given;
    if (!ht__sized_take(g, matrix, sizeof *g)) return fail_usage(diag, "no matrix, or its size member is not set");
    if (g->n_out < 1 || g->n_in < 1 || g->n_out > MOST_ROWS || g->n_in > MOST_ROWS || g->n_out > most_weights / g->n_in)
        return fail_usage(diag, "n_out and n_in are not those of a matrix");
    const struct ht__codec *dtype = g->dtype ? ht__codec_by_name(g->dtype) : NULL;
    if (!is_float(dtype)) return fail_usage(diag, "dtype is one of f32, f16 and bf16");
    for (int64_t i = 0; g->importance && i < g->n_in; i++)
        if (!isfinite(g->importance[i]) || g->importance[i] < 0)
            return ht__fail(diag, HT_ERR_NONFINITE, "importance", -1, "number %lld is negative or not finite",
                            (long long)i);
    if (!isfinite(g->amax) || g->amax < 0) return fail_usage(diag, "amax is negative or not finite");
    if (g->n_experts < 0 || (g->n_experts > 0 && g->n_out % g->n_experts != 0))
        return fail_usage(diag, "n_out is not a multiple of n_experts");
    r->matrix = (struct ht__matrix){
        .n_out = g->n_out, .n_in = g->n_in, .dtype = dtype, .amax = g->amax, .n_experts = g->n_experts};
    return HT_OK;
}

static enum ht_err read_run(struct request *r, struct ht_diag *diag)
{
    const struct ht__codec *from = r->given.x_dtype ? ht__codec_by_name(r->given.x_dtype) : &ht__codec_f32;
    if (!is_float(from)) return fail_usage(diag, "x_dtype is one of f32, f16 and bf16");
    r->run = (struct ht__scheme_run){.importance = r->given.importance,
                                     .n_threads = r->given.n_threads,
                                     .from = from == &ht__codec_f32 ? NULL : from,
                                     .progress = r->given.progress,
                                     .ctx = r->given.ctx};
    return ht__allocator_take(r->given.allocator, &r->alloc, &r->run.alloc, diag);
}

static enum ht_err read_request(struct request *r, const char *scheme, const struct ht_matrix *matrix, bool reading,
                                struct ht_diag *diag)
{
    memset(r, 0, sizeof *r);
    ht__diag_clear(diag);
    HT_TRY(read_scheme(r, scheme, reading, diag));
    HT_TRY(read_matrix(r, matrix, diag));
    HT_TRY(read_run(r, diag));
    const char *why = r->params.scheme->unsuited(&r->params, &r->matrix);
    if (why) return ht__fail(diag, HT_ERR_UNSUPPORTED, scheme, -1, "%s", why);
    r->n_parts = r->params.scheme->parts(&r->params, &r->matrix, r->parts);
    return HT_OK;
}

static struct ht_part shown(const struct ht__part *part)
{
    struct ht_part full = {
        .suffix = part->suffix, .dtype = part->dtype->name, .n_dims = part->n_dims, .n_bytes = ht__part_bytes(part)};
    for (int i = 0; i < part->n_dims && i < HT_PART_DIMS; i++)
        full.shape[i] = part->shape[i];
    return full;
}

enum ht_err ht_matrix_parts(const char *scheme, const struct ht_matrix *matrix, struct ht_part *parts, size_t *n_parts,
                            struct ht_diag *diag)
{
    struct request r;
    size_t n = 0, room = n_parts ? *n_parts : 0;
    HT_TRY(read_request(&r, scheme, matrix, true, diag));
    if (!n_parts) return fail_usage(diag, "no place for the number of parts");
    if (parts && room && parts[0].size <= sizeof(size_t)) return fail_usage(diag, "parts[0].size is not set");
    for (int i = 0; i < r.n_parts; i++) {
        if (r.parts[i].place == HT__PART_WORK) continue;
        struct ht_part full = shown(&r.parts[i]);
        if (parts && n < room) {
            part_at(parts, n)->size = parts[0].size;
            ht__sized_give(part_at(parts, n), &full, sizeof full);
        }
        n++;
    }
    *n_parts = n;
    return parts && n > room ? fail_usage(diag, "there are more parts than the array has room for") : HT_OK;
}

static struct ht_part *find_part(const struct ht_part *parts, size_t n, const char *suffix)
{
    for (size_t i = 0; i < n; i++)
        if (part_at(parts, i)->suffix && strcmp(part_at(parts, i)->suffix, suffix) == 0) return part_at(parts, i);
    return NULL;
}

static enum ht_err check_parts(const struct ht_part *parts, size_t n_parts, struct ht_diag *diag)
{
    /* `data` is the last member of the first version */
    if (!parts || !n_parts || parts[0].size < offsetof(struct ht_part, data) + sizeof(void *))
        return fail_usage(diag, "no parts, or parts[0].size is not set");
    return HT_OK;
}

/* ---- quantizing ---- */

static enum ht_err places(struct request *r, const struct ht_part *parts, size_t n_parts, struct ht__arena *arena,
                          void *data[], struct ht_diag *diag)
{
    HT_TRY(check_parts(parts, n_parts, diag));
    for (int i = 0; i < r->n_parts; i++) {
        const struct ht__part *part = &r->parts[i];
        if (part->place == HT__PART_WORK) {
            if (!(data[i] = ht__arena_raw(arena, ht__part_bytes(part)))) return ht__fail_memory(diag, "matrix");
            continue;
        }
        const struct ht_part *to = find_part(parts, n_parts, part->suffix);
        if (!to || !to->data || to->n_bytes < ht__part_bytes(part))
            return ht__fail(diag, HT_ERR_USAGE, part->suffix, -1, "no room of %llu bytes for this part",
                            (unsigned long long)ht__part_bytes(part));
        data[i] = to->data;
    }
    return HT_OK;
}

static void find_amax(struct ht__matrix *m, const struct ht__codec *type, const char *x)
{
    enum { AT_ONCE = 1024 };
    float floats[AT_ONCE];
    for (int64_t at = 0, all = m->n_out * m->n_in; at < all; at += AT_ONCE) {
        int64_t n = all - at < AT_ONCE ? all - at : AT_ONCE;
        ht__decoder(type, ht__cpu_best())(x + ht__codec_bytes(type, (uint64_t)at), n, floats);
        for (int64_t i = 0; i < n; i++)
            m->amax = fabsf(floats[i]) > m->amax ? fabsf(floats[i]) : m->amax;
    }
}

/* Text without the blanks that made room for the longest. */
static void tell_lengths(struct request *r, struct ht_part *parts, size_t n_parts)
{
    for (int i = 0; i < r->n_parts; i++) {
        if (!r->parts[i].text) continue;
        struct ht_part *to = find_part(parts, n_parts, r->parts[i].suffix);
        const char *text = to->data;
        uint64_t n = ht__part_bytes(&r->parts[i]);
        while (n > 0 && text[n - 1] == ' ')
            n--;
        to->n_bytes = n;
        to->shape[0] = (int64_t)n;
    }
}

enum ht_err ht_matrix_quantize(const char *scheme, const struct ht_matrix *matrix, const void *x, struct ht_part *parts,
                               size_t n_parts, struct ht_diag *diag)
{
    struct request r;
    struct ht__arena arena;
    void *data[HT__SCHEME_PARTS] = {NULL};
    HT_TRY(read_request(&r, scheme, matrix, false, diag));
    if (!x) return fail_usage(diag, "there are no weights");
    if (ht__scheme_flags(&r.params) & HT__SCHEME_NEEDS_AMAX && r.matrix.amax == 0)
        find_amax(&r.matrix, r.run.from ? r.run.from : &ht__codec_f32, x);
    ht__arena_init(&arena, r.run.alloc);
    enum ht_err err = places(&r, parts, n_parts, &arena, data, diag);
    if (!err) err = ht__matrix_quantize(&r.params, &r.matrix, x, data, &r.run, diag);
    ht__arena_close(&arena);
    if (!err) tell_lengths(&r, parts, n_parts);
    return err;
}

/* ---- dequantizing ---- */

static enum ht_err check_part(const struct ht__part *part, const struct ht_part *given, struct ht_diag *diag)
{
    if (!given || !given->data) return ht__fail(diag, HT_ERR_FORMAT, part->suffix, -1, "this part is missing");
    bool same = given->dtype && ht__codec_by_name(given->dtype) == part->dtype && given->n_dims == part->n_dims;
    for (int i = 0; same && i < part->n_dims; i++)
        same = part->text || given->shape[i] == part->shape[i];
    if (!same) return ht__fail(diag, HT_ERR_FORMAT, part->suffix, -1, "the part has another dtype or shape");
    if (!part->text && given->n_bytes < ht__part_bytes(part))
        return ht__fail(diag, HT_ERR_FORMAT, part->suffix, -1, "expected %llu bytes, got %llu",
                        (unsigned long long)ht__part_bytes(part), (unsigned long long)given->n_bytes);
    return HT_OK;
}

/* Text as long as the longest: blanks follow it. */
static enum ht_err widen(const struct ht__part *part, const struct ht_part *given, struct ht__arena *arena,
                         const void **data, struct ht_diag *diag)
{
    uint64_t room = ht__part_bytes(part);
    if (given->n_bytes > room)
        return ht__fail(diag, HT_ERR_FORMAT, part->suffix, -1, "expected at most %llu bytes, got %llu",
                        (unsigned long long)room, (unsigned long long)given->n_bytes);
    char *text = ht__arena_raw(arena, room);
    if (!text) return ht__fail_memory(diag, "matrix");
    memset(text, ' ', room);
    memcpy(text, given->data, given->n_bytes);
    *data = text;
    return HT_OK;
}

static enum ht_err complain(struct request *r, const void *const data[], struct ht_diag *diag)
{
    const struct ht__scheme *s = r->params.scheme;
    const void *whole[HT__SCHEME_PARTS] = {NULL};
    int part = 0;
    if (!s->complaint) return HT_OK;
    for (int i = 0; i < r->n_parts; i++)
        if (r->parts[i].place == HT__PART_WHOLE) whole[i] = data[i];
    const char *why = s->complaint(&r->params, &r->matrix, whole, &part);
    return why ? ht__fail(diag, HT_ERR_FORMAT, r->parts[part].suffix, -1, "%s", why) : HT_OK;
}

static enum ht_err sources(struct request *r, const struct ht_part *parts, size_t n_parts, struct ht__arena *arena,
                           const void *data[HT__SCHEME_PARTS], struct ht_diag *diag)
{
    HT_TRY(check_parts(parts, n_parts, diag));
    for (int i = 0; i < r->n_parts; i++) {
        if (r->parts[i].place == HT__PART_WORK) continue;
        const struct ht_part *given = find_part(parts, n_parts, r->parts[i].suffix);
        HT_TRY(check_part(&r->parts[i], given, diag));
        data[i] = given->data;
        if (r->parts[i].text) HT_TRY(widen(&r->parts[i], given, arena, &data[i], diag));
    }
    return complain(r, data, diag);
}

enum ht_err ht_matrix_dequantize(const char *scheme, const struct ht_matrix *matrix, const struct ht_part *parts,
                                 size_t n_parts, float *x, struct ht_diag *diag)
{
    struct request r;
    struct ht__arena arena;
    const void *data[HT__SCHEME_PARTS] = {NULL};
    HT_TRY(read_request(&r, scheme, matrix, true, diag));
    if (!x) return fail_usage(diag, "there is no room for the weights");
    ht__arena_init(&arena, r.run.alloc);
    enum ht_err err = sources(&r, parts, n_parts, &arena, data, diag);
    if (!err) err = ht__matrix_dequantize(&r.params, &r.matrix, data, x, &r.run, diag);
    ht__arena_close(&arena);
    return err;
}
