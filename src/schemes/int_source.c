/* Integer codes of other programs: see int_source.h. */
#include "schemes/int_source.h"

#include "schemes/bits.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- configurations ---- */

struct reader {
    const char *where;
    struct ht_diag *diag;
    struct ht__int_config *out;
};

static enum ht_err refuse(const struct reader *r, enum ht_err code, const char *key, const char *text)
{
    return ht__fail(r->diag, code, r->where, -1,
                    "%s is \"%.60s\", which cannot be read; start from the model as it was before", key, text);
}

/* A whole number that is given, or `otherwise`. */
static enum ht_err read_number(const struct reader *r, const struct ht__jnode *object, const char *key,
                               int64_t otherwise, int64_t least, int64_t most, int64_t *out)
{
    const struct ht__jnode *n = ht__jget(object, key);
    *out = otherwise;
    if (!n) return HT_OK;
    *out = n->is_int ? n->integer : INT64_MIN;
    if (*out >= least && *out <= most) return HT_OK;
    return ht__fail(r->diag, HT_ERR_FORMAT, r->where, -1, "%s is not a whole number from %lld to %lld", key,
                    (long long)least, (long long)most);
}

static enum ht_err read_group(const struct reader *r, const struct ht__jnode *object)
{
    HT_TRY(read_number(r, object, "group_size", -1, -1, 1 << 24, &r->out->group));
    if (r->out->group != 0) return HT_OK;
    return ht__fail(r->diag, HT_ERR_FORMAT, r->where, -1, "group_size is 0");
}

static enum ht_err read_bits(const struct reader *r, const struct ht__jnode *object, const char *key)
{
    int64_t bits;
    HT_TRY(read_number(r, object, key, 4, 1, 8, &bits));
    r->out->bits = (int)bits;
    return HT_OK;
}

static enum ht_err read_gptq(const struct reader *r, const struct ht__jnode *q)
{
    const char *format = ht__jstr(q, "checkpoint_format", ht__jstr(q, "format", "gptq"));
    if (ht__jbool(q, "is_marlin_format", false)) return refuse(r, HT_ERR_UNSUPPORTED, "is_marlin_format", "true");
    if (strcasecmp(format, "gptq") != 0 && strcasecmp(format, "gptq_v2") != 0)
        return refuse(r, HT_ERR_UNSUPPORTED, "checkpoint_format", format);
    HT_TRY(read_bits(r, q, "bits"));
    HT_TRY(read_group(r, q));
    r->out->v1 = strcasecmp(format, "gptq") == 0;
    r->out->method = HT__INT_GPTQ;
    return HT_OK;
}

static enum ht_err read_awq(const struct reader *r, const struct ht__jnode *q)
{
    const char *version = ht__jstr(q, "version", ht__jstr(q, "format", "gemm")), *backend = ht__jstr(q, "backend", "");
    bool gemv = strcasecmp(version, "gemv") == 0;
    if (!gemv && strcasecmp(version, "gemm") != 0) return refuse(r, HT_ERR_UNSUPPORTED, "version", version);
    if (strcasecmp(backend, "llm-awq") == 0) return refuse(r, HT_ERR_UNSUPPORTED, "backend", backend);
    HT_TRY(read_bits(r, q, "bits"));
    HT_TRY(read_group(r, q));
    if (r->out->bits != 4)
        return ht__fail(r->diag, HT_ERR_UNSUPPORTED, r->where, -1, "AWQ has 4 bits, not %d (bits)", r->out->bits);
    r->out->method = gemv ? HT__INT_AWQ_GEMV : HT__INT_AWQ;
    return HT_OK;
}

/* Its own names for layouts; "auto_round" alone stores zero points as they are. */
static enum ht_err read_auto_round(const struct reader *r, const struct ht__jnode *q)
{
    const char *packing = ht__jstr(q, "packing_format", "auto_round:auto_gptq");
    HT_TRY(read_bits(r, q, "bits"));
    HT_TRY(read_group(r, q));
    if (strcasecmp(ht__jstr(q, "data_type", "int"), "int") != 0)
        return refuse(r, HT_ERR_UNSUPPORTED, "data_type", ht__jstr(q, "data_type", ""));
    if (strcasecmp(packing, "auto_round:auto_awq") == 0 || strcasecmp(packing, "auto_round:awq") == 0) {
        r->out->method = HT__INT_AWQ;
        return HT_OK;
    }
    r->out->v1 = strcasecmp(packing, "auto_round:auto_gptq") == 0 || strcasecmp(packing, "auto_round:gptq") == 0;
    r->out->method = HT__INT_GPTQ;
    if (r->out->v1 || strcasecmp(packing, "auto_round") == 0 || strcasecmp(packing, "auto_round:exllamav2") == 0)
        return HT_OK;
    return refuse(r, HT_ERR_UNSUPPORTED, "packing_format", packing);
}

static enum ht_err read_ct_group(const struct reader *r, const struct ht__jnode *group)
{
    const struct ht__jnode *weights = ht__jget(group, "weights");
    int64_t bits;
    if (!weights || strcmp(ht__jstr(weights, "type", "int"), "int") != 0) return HT_OK; /* small floats */
    HT_TRY(read_number(r, weights, "num_bits", 8, 2, 8, &bits));
    r->out->bits_set |= 1u << bits;
    r->out->method = HT__INT_COMPRESSED_TENSORS;
    return HT_OK;
}

static enum ht_err read_compressed_tensors(const struct reader *r, const struct ht__jnode *q)
{
    const struct ht__jnode *groups = ht__jget(q, "config_groups");
    const char *sparsity = ht__jstr(ht__jget(q, "sparsity_config"), "format", "dense");
    if (groups && groups->type != HT__JSON_OBJECT)
        return ht__fail(r->diag, HT_ERR_FORMAT, r->where, -1, "config_groups is not an object");
    if (strcmp(sparsity, "dense") != 0) return refuse(r, HT_ERR_UNSUPPORTED, "sparsity_config", sparsity);
    for (size_t i = 0; groups && i < groups->n; i++)
        HT_TRY(read_ct_group(r, &groups->children[i]));
    return HT_OK;
}

static enum ht_err read_hqq(const struct reader *r, const struct ht__jnode *q)
{
    const struct ht__jnode *all = ht__jget(q, "quant_config"), *weights = ht__jget(all, "weight_quant_params");
    int64_t axis;
    if (!weights)
        return ht__fail(r->diag, HT_ERR_UNSUPPORTED, r->where, -1,
                        "quant_config has no weight_quant_params for all modules alike");
    if (ht__jget(all, "scale_quant_params")) return refuse(r, HT_ERR_UNSUPPORTED, "scale_quant_params", "set");
    if (ht__jget(all, "zero_quant_params")) return refuse(r, HT_ERR_UNSUPPORTED, "zero_quant_params", "set");
    if (ht__jbool(weights, "view_as_float", false)) return refuse(r, HT_ERR_UNSUPPORTED, "view_as_float", "true");
    HT_TRY(read_bits(r, weights, "nbits"));
    HT_TRY(read_group(r, weights));
    HT_TRY(read_number(r, weights, "axis", 1, 0, 1, &axis));
    if (r->out->bits == 7) return refuse(r, HT_ERR_UNSUPPORTED, "nbits", "7");
    r->out->axis = (int)axis;
    r->out->method = HT__INT_HQQ;
    return HT_OK;
}

enum ht_err ht__int_config(const struct ht__jnode *quantization, const struct ht__codec *dtype, const char *where,
                           struct ht__int_config *out, struct ht_diag *diag)
{
    static const struct {
        const char *method;
        enum ht_err (*read)(const struct reader *, const struct ht__jnode *);
    } methods[] = {
        {"gptq", read_gptq},
        {"awq", read_awq},
        {"auto-round", read_auto_round},
        {"intel/auto-round", read_auto_round},
        {"compressed-tensors", read_compressed_tensors},
        {"hqq", read_hqq},
    };
    const char *method = ht__jstr(quantization, "quant_method", "");
    struct reader r = {where, diag, out};
    *out = (struct ht__int_config){.dtype = dtype, .group = -1};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++)
        if (strcasecmp(methods[i].method, method) == 0) return methods[i].read(&r, quantization);
    return HT_OK;
}

/* ---- weights ---- */

struct finder {
    const struct ht__int_config *config;
    const struct ht__checkpoint *ck;
    const char *name;
    struct ht__packed_source *out;
    struct ht_diag *diag;
};

static const struct ht__tensor *find(const struct finder *f, const char *suffix)
{
    char name[512];
    int n = snprintf(name, sizeof name, "%s%s", f->name, suffix);
    return n < (int)sizeof name ? ht__checkpoint_find(f->ck, name) : NULL;
}

static enum ht_err wrong(const struct finder *f, const struct ht__tensor *t, const char *expected)
{
    char shape[100] = "";
    size_t used = 0;
    for (int i = 0; i < t->n_dims && used < sizeof shape - 24; i++)
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%lld", i ? " x " : "", (long long)t->shape[i]);
    return ht__fail(f->diag, HT_ERR_FORMAT, t->name, -1, "expected %s, got %s%s%s", expected, t->dtype->label,
                    used ? " " : " of one number", shape);
}

/* A tensor that must be there, with two sides of 1 … 2^31 - 1. */
static enum ht_err need(const struct finder *f, const char *suffix, const struct ht__tensor **out)
{
    *out = find(f, suffix);
    if (!*out) return ht__fail(f->diag, HT_ERR_FORMAT, f->name, -1, "its tensor %.200s%s is missing", f->name, suffix);
    bool fits = (*out)->n_dims == 2;
    for (int i = 0; fits && i < 2; i++)
        fits = (*out)->shape[i] >= 1 && (*out)->shape[i] <= INT32_MAX;
    return fits ? HT_OK : wrong(f, *out, "a matrix that is not empty");
}

static void use(struct finder *f, const struct ht__scheme *scheme, int64_t n_out, int64_t n_in)
{
    ht__scheme_defaults(scheme, &f->out->params);
    f->out->matrix = (struct ht__matrix){.n_out = n_out, .n_in = n_in, .dtype = f->config->dtype};
}

static void set(struct finder *f, const char *option, double value)
{
    ht__scheme_set(&f->out->params, option, value);
}

/* The place of the dtype among those that scales have; -1: another one. */
static int float_place(const struct ht__tensor *t)
{
    const struct ht__codec *const all[] = {&ht__codec_f16, &ht__codec_bf16, &ht__codec_f32};
    for (int i = 0; i < 3; i++)
        if (t->dtype == all[i]) return i;
    return -1;
}

static enum ht_err check_part(const struct finder *f, const struct ht__part *part, const struct ht__tensor **out)
{
    char expected[100];
    size_t used = (size_t)snprintf(expected, sizeof expected, "%s", part->dtype->label);
    const struct ht__tensor *t = *out = find(f, part->suffix);
    if (!t)
        return ht__fail(f->diag, HT_ERR_FORMAT, f->name, -1, "its tensor %.200s%s is missing", f->name, part->suffix);
    bool same = t->dtype == part->dtype && t->n_dims == part->n_dims && !t->strides;
    for (int i = 0; i < part->n_dims; i++) {
        same = same && t->shape[i] == part->shape[i];
        used += (size_t)snprintf(expected + used, sizeof expected - used, "%s%lld", i ? " x " : " ",
                                 (long long)part->shape[i]);
    }
    return same ? HT_OK : wrong(f, t, expected);
}

/* The tensors must be the parts of the matrix that was derived from some of them. */
static enum ht_err finish(struct finder *f, const struct ht__tensor *packed, const struct ht__tensor *scales)
{
    const struct ht__scheme_params *p = &f->out->params;
    struct ht__part parts[HT__SCHEME_PARTS];
    const char *why = p->scheme->unsuited(p, &f->out->matrix);
    if (why)
        return ht__fail(f->diag, HT_ERR_FORMAT, packed->name, -1, "%lld x %lld weights cannot be packed this way: %s",
                        (long long)f->out->matrix.n_out, (long long)f->out->matrix.n_in, why);
    int n = p->scheme->parts(p, &f->out->matrix, parts);
    for (int i = 0; i < n; i++)
        HT_TRY(check_part(f, &parts[i], &f->out->tensors[i]));
    f->out->value = scales->dtype; /* in which programs compute weights */
    return HT_OK;
}

/* Groups down the first side of the scales. */
static enum ht_err read_scales(struct finder *f, const struct ht__tensor **scales, int64_t n_in, int64_t groups)
{
    if (float_place(*scales) < 0) return wrong(f, *scales, "F16, BF16 or F32");
    if (n_in % groups) return wrong(f, *scales, "a number of groups that divides the length of rows");
    return HT_OK;
}

static enum ht_err read_gptq_module(struct finder *f)
{
    const struct ht__tensor *codes, *zeros, *scales;
    HT_TRY(need(f, ".qweight", &codes));
    HT_TRY(need(f, ".scales", &scales));
    HT_TRY(need(f, ".qzeros", &zeros));
    int64_t n_out = codes->shape[1], bits = zeros->shape[1] * 32 / n_out;
    if (zeros->shape[1] * 32 % n_out || (bits != 2 && bits != 3 && bits != 4 && bits != 8))
        return wrong(f, zeros, "zero points of 2, 3, 4 or 8 bits for each output");
    if (codes->shape[0] * 32 % bits) return wrong(f, codes, "words that codes fill");
    int64_t n_in = codes->shape[0] * 32 / bits;
    HT_TRY(read_scales(f, &scales, n_in, scales->shape[0]));
    use(f, &ht__scheme_gptq, n_out, n_in);
    set(f, "bits", (double)bits);
    set(f, "group", (double)(n_in / scales->shape[0]));
    set(f, "sym", 0); /* whatever its zero points are, they are read */
    set(f, "version", f->config->v1 ? 0 : 1);
    set(f, "g_idx", find(f, ".g_idx") != NULL);
    set(f, "scales", float_place(scales));
    return finish(f, codes, scales);
}

static enum ht_err read_awq_module(struct finder *f)
{
    const struct ht__tensor *codes, *scales;
    HT_TRY(need(f, ".qweight", &codes));
    HT_TRY(need(f, ".scales", &scales));
    int64_t n_in = codes->shape[0], n_out = codes->shape[1] * 8;
    HT_TRY(read_scales(f, &scales, n_in, scales->shape[0]));
    use(f, &ht__scheme_awq, n_out, n_in);
    set(f, "group", (double)(n_in / scales->shape[0]));
    set(f, "scales", float_place(scales));
    return finish(f, codes, scales);
}

static enum ht_err read_gemv_module(struct finder *f)
{
    const struct ht__tensor *codes, *scales;
    HT_TRY(need(f, ".qweight", &codes));
    HT_TRY(need(f, ".scales", &scales));
    use(f, &ht__scheme_awq_gemv, codes->shape[0], codes->shape[1] * 8);
    set(f, "group", (double)f->config->group);
    return finish(f, codes, scales);
}

/* Two whole numbers in a tensor: rows and columns. */
static enum ht_err read_shape(struct finder *f, const char *suffix, int64_t shape[2])
{
    const struct ht__tensor *t = find(f, suffix);
    int64_t numbers[2];
    if (!t) return ht__fail(f->diag, HT_ERR_FORMAT, f->name, -1, "its tensor %.200s%s is missing", f->name, suffix);
    f->out->extra[0] = t;
    if (t->n_dims != 1 || t->n_weights != 2 || t->strides || (t->dtype != &ht__codec_i64 && t->dtype != &ht__codec_i32))
        return wrong(f, t, "two numbers in I64");
    HT_TRY(ht__tensor_read_raw(f->ck, t, 0, 2, numbers, f->diag));
    for (int i = 0; i < 2; i++) {
        int32_t narrow;
        memcpy(&narrow, (char *)numbers + 4 * i, 4);
        shape[i] = t->dtype == &ht__codec_i64 ? numbers[i] : narrow;
        if (shape[i] < 1 || shape[i] > INT32_MAX)
            return ht__fail(f->diag, HT_ERR_FORMAT, t->name, -1, "it says %lld rows or columns", (long long)shape[i]);
    }
    return HT_OK;
}

static enum ht_err read_packed_module(struct finder *f)
{
    const struct ht__tensor *codes, *scales;
    int64_t shape[2], bits = 0;
    HT_TRY(need(f, ".weight_packed", &codes));
    HT_TRY(need(f, ".weight_scale", &scales));
    HT_TRY(read_shape(f, ".weight_shape", shape));
    for (int b = 2; b <= 8; b++)
        if (f->config->bits_set >> b & 1 && ht__bits_bytes(shape[1], b) / 4 == codes->shape[1]) bits = b;
    if (!bits) return wrong(f, codes, "as many words as weight_shape and num_bits need");
    HT_TRY(read_scales(f, &scales, shape[1], scales->shape[1]));
    use(f, bits == 8 ? &ht__scheme_w8a16 : &ht__scheme_w4a16, shape[0], shape[1]);
    set(f, "bits", (double)bits);
    set(f, "group", (double)(shape[1] / scales->shape[1]));
    set(f, "sym", find(f, ".weight_zero_point") == NULL);
    set(f, "g_idx", find(f, ".weight_g_idx") != NULL);
    set(f, "scales", float_place(scales) + 1);
    return finish(f, codes, scales);
}

static enum ht_err read_plain_module(struct finder *f)
{
    const struct ht__tensor *codes, *scales, *zeros = find(f, ".weight_zero_point");
    HT_TRY(need(f, ".weight", &codes));
    HT_TRY(need(f, ".weight_scale", &scales));
    if (zeros)
        return ht__fail(f->diag, HT_ERR_UNSUPPORTED, zeros->name, -1,
                        "zero points beside codes of 8 bits cannot be read");
    if (float_place(scales) < 0) return wrong(f, scales, "F16, BF16 or F32");
    use(f, &ht__scheme_w8a8, codes->shape[0], codes->shape[1]);
    set(f, "scales", float_place(scales) + 1);
    return finish(f, codes, scales);
}

static enum ht_err read_hqq_module(struct finder *f)
{
    const struct ht__tensor *codes, *scales;
    int64_t shape[2];
    HT_TRY(need(f, ".W_q", &codes));
    HT_TRY(need(f, ".scale", &scales));
    HT_TRY(read_shape(f, ".shape", shape));
    if (float_place(scales) < 0) return wrong(f, scales, "F16, BF16 or F32");
    use(f, &ht__scheme_hqq, shape[0], shape[1]);
    set(f, "bits", f->config->bits);
    set(f, "group", (double)f->config->group);
    set(f, "axis", f->config->axis);
    set(f, "dtype", float_place(scales));
    return finish(f, codes, scales);
}

enum ht_err ht__int_source(const struct ht__int_config *config, const struct ht__checkpoint *ck, const char *name,
                           struct ht__packed_source *out, bool *found, struct ht_diag *diag)
{
    struct finder f = {config, ck, name, out, diag};
    bool compressed = config->method == HT__INT_COMPRESSED_TENSORS;
    const struct ht__tensor *packed = find(&f, ".weight_packed"), *plain = find(&f, ".weight");
    memset(out, 0, sizeof *out);
    *found = true;
    if (compressed && packed && packed->dtype == &ht__codec_i32) return read_packed_module(&f);
    if (compressed && plain && plain->dtype == &ht__codec_i8) return read_plain_module(&f);
    if (config->method == HT__INT_HQQ && find(&f, ".W_q")) return read_hqq_module(&f);
    bool words = find(&f, ".qweight") != NULL;
    if (words && config->method == HT__INT_GPTQ) return read_gptq_module(&f);
    if (words && config->method == HT__INT_AWQ) return read_awq_module(&f);
    if (words && config->method == HT__INT_AWQ_GEMV) return read_gemv_module(&f);
    *found = false;
    return HT_OK;
}
