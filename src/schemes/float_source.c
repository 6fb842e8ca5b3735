/* Small floats of other programs: see float_source.h. */
#include "schemes/float_source.h"

#include "schemes/scaled.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- configurations ---- */

struct reader {
    const char *where;
    struct ht_diag *diag;
    struct ht__float_config *out;
};

static enum ht_err refuse(const struct reader *r, enum ht_err code, const char *key, const char *text)
{
    return ht__fail(r->diag, code, r->where, -1,
                    "%s is \"%.60s\", which cannot be read; start from the model as it was before", key, text);
}

/* [128, 128]: two whole numbers from 1 on. */
static enum ht_err read_block(const struct reader *r, const struct ht__jnode *object, const char *key)
{
    enum { MOST = 1 << 16 };
    const struct ht__jnode *block = ht__jget(object, key);
    if (!block) return HT_OK;
    bool pair = block->type == HT__JSON_ARRAY && block->n == 2;
    for (size_t i = 0; pair && i < 2; i++) {
        const struct ht__jnode *n = &block->children[i];
        pair = n->is_int && n->integer >= 1 && n->integer <= MOST;
        r->out->block[i] = n->integer;
    }
    if (pair) return HT_OK;
    return ht__fail(r->diag, HT_ERR_FORMAT, r->where, -1, "%s is not two whole numbers from 1 to %d", key, MOST);
}

static enum ht_err read_fp8(const struct reader *r, const struct ht__jnode *q)
{
    const char *format = ht__jstr(q, "fmt", "e4m3"), *activation = ht__jstr(q, "activation_scheme", "dynamic");
    if (strcasecmp(format, "e4m3") != 0) return refuse(r, HT_ERR_UNSUPPORTED, "fmt", format);
    if (strcasecmp(activation, "dynamic") != 0 && strcasecmp(activation, "static") != 0)
        return refuse(r, HT_ERR_FORMAT, "activation_scheme", activation);
    r->out->method = HT__FLOAT_FP8;
    return read_block(r, q, "weight_block_size");
}

/* Algorithms whose weights are plain small floats under their scales. */
static bool is_known_algorithm(const char *name)
{
    static const char *const known[] = {"FP8",       "FP8_PER_CHANNEL_PER_TOKEN",
                                        "FP8_PB_WO", "FP8_PB_REAL",
                                        "NVFP4",     "W4A16_NVFP4",
                                        "MXFP8",     "MIXED_PRECISION"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcasecmp(known[i], name) == 0) return true;
    return false;
}

static enum ht_err read_modelopt(const struct reader *r, const struct ht__jnode *q)
{
    const struct ht__jnode *inner = ht__jget(q, "quantization");
    if (inner) q = inner;
    const char *algorithm = ht__jstr(q, "quant_algo", NULL);
    const struct ht__jnode *layers = ht__jget(q, "quantized_layers");
    if (!algorithm) return ht__fail(r->diag, HT_ERR_FORMAT, r->where, -1, "quant_algo is missing");
    if (!is_known_algorithm(algorithm)) return refuse(r, HT_ERR_UNSUPPORTED, "quant_algo", algorithm);
    for (size_t i = 0; layers && layers->type == HT__JSON_OBJECT && i < layers->n; i++) {
        algorithm = ht__jstr(&layers->children[i], "quant_algo", "");
        if (!is_known_algorithm(algorithm)) return refuse(r, HT_ERR_UNSUPPORTED, "quant_algo", algorithm);
    }
    r->out->method = HT__FLOAT_MODELOPT;
    return HT_OK;
}

static enum ht_err read_group(const struct reader *r, const struct ht__jnode *group)
{
    const struct ht__jnode *weights = ht__jget(group, "weights");
    const char *type = ht__jstr(weights, "type", "int");
    int64_t bits = ht__jint(weights, "num_bits", 8);
    if (!weights || strcmp(type, "int") == 0) return HT_OK; /* of activations alone, or another unit's */
    if (strcmp(type, "float") != 0) return refuse(r, HT_ERR_FORMAT, "type", type);
    if (bits != 4 && bits != 8)
        return ht__fail(r->diag, HT_ERR_UNSUPPORTED, r->where, -1, "floats of %lld bits (num_bits) cannot be read",
                        (long long)bits);
    if (!ht__jbool(weights, "symmetric", true))
        return ht__fail(r->diag, HT_ERR_UNSUPPORTED, r->where, -1,
                        "floats with zero points (symmetric) cannot be read");
    r->out->method = HT__FLOAT_COMPRESSED_TENSORS;
    return read_block(r, weights, "block_structure");
}

static enum ht_err read_compressed_tensors(const struct reader *r, const struct ht__jnode *q)
{
    const struct ht__jnode *groups = ht__jget(q, "config_groups");
    if (groups && groups->type != HT__JSON_OBJECT)
        return ht__fail(r->diag, HT_ERR_FORMAT, r->where, -1, "config_groups is not an object");
    for (size_t i = 0; groups && i < groups->n; i++)
        HT_TRY(read_group(r, &groups->children[i]));
    return HT_OK;
}

enum ht_err ht__float_config(const struct ht__jnode *quantization, const struct ht__codec *dtype, const char *where,
                             struct ht__float_config *out, struct ht_diag *diag)
{
    const char *producer = ht__jstr(ht__jget(quantization, "producer"), "name", "");
    const char *method = ht__jstr(quantization, "quant_method", producer);
    struct reader r = {where, diag, out};
    *out = (struct ht__float_config){.dtype = dtype};
    if (!quantization) {
        *out = (struct ht__float_config){HT__FLOAT_FP8, {128, 128}, dtype, .assumed = true};
        return HT_OK;
    }
    if (strcasecmp(method, "fp8") == 0 || strcasecmp(method, "mxfp8") == 0) return read_fp8(&r, quantization);
    if (strncasecmp(method, "modelopt", 8) == 0) return read_modelopt(&r, quantization);
    if (strcasecmp(method, "compressed-tensors") == 0) return read_compressed_tensors(&r, quantization);
    if (strcasecmp(method, "fbgemm_fp8") == 0) out->method = HT__FLOAT_FBGEMM;
    if (strcasecmp(method, "mxfp4") == 0) out->method = HT__FLOAT_MXFP4;
    return HT_OK;
}

/* ---- weights ---- */

struct finder {
    const struct ht__float_config *config;
    const struct ht__checkpoint *ck;
    const char *name;
    struct ht__packed_source *out;
    struct ht_diag *diag;
    const struct ht__tensor *weight, *scale, *global;
};

static const struct ht__tensor *find(const struct finder *f, const char *suffix)
{
    char name[512];
    int n = snprintf(name, sizeof name, "%s%s", f->name, suffix);
    return n < (int)sizeof name ? ht__checkpoint_find(f->ck, name) : NULL;
}

static enum ht_err missing(const struct finder *f, const char *suffix)
{
    return ht__fail(f->diag, HT_ERR_FORMAT, f->weight->name, -1, "its scales, %.200s%s, are missing", f->name, suffix);
}

static enum ht_err misfit(const struct finder *f, const struct ht__tensor *t, const char *expected)
{
    char shape[100] = "";
    size_t used = 0;
    for (int i = 0; i < t->n_dims && used < sizeof shape - 24; i++)
        used += (size_t)snprintf(shape + used, sizeof shape - used, "%s%lld", i ? " x " : "", (long long)t->shape[i]);
    return ht__fail(f->diag, HT_ERR_FORMAT, t->name, -1, "expected %s for %s, got %s%s%s", expected, f->weight->name,
                    t->dtype->label, used ? " " : " of one number", shape);
}

static void set(struct finder *f, enum ht__float_option option, int64_t value)
{
    f->out->params.option[option] = (double)value;
}

static bool is(const struct ht__tensor *t, const struct ht__codec *dtype)
{
    return t && t->dtype == dtype;
}

static bool is_float(const struct ht__tensor *t)
{
    return is(t, &ht__codec_f32) || is(t, &ht__codec_bf16) || is(t, &ht__codec_f16);
}

static int place_of(const struct ht__codec *dtype)
{
    const struct ht__codec *const all[] = {&ht__codec_f32,     &ht__codec_bf16, &ht__codec_f16,
                                           &ht__codec_f8_e4m3, &ht__codec_u8,   &ht__codec_f8_e8m0};
    for (int i = 0; i < 6; i++)
        if (all[i] == dtype) return i;
    return 0;
}

/* What other tensors of the module would change its weights. */
static enum ht_err check_companions(const struct finder *f)
{
    static const char *const wrong[] = {".pre_quant_scale", ".weight_zero_point", ".weight_g_idx"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const struct ht__tensor *t = find(f, wrong[i]);
        if (t)
            return ht__fail(f->diag, HT_ERR_UNSUPPORTED, t->name, -1,
                            "it changes the weights of %.200s in a way that cannot be read", f->name);
    }
    if (find(f, ".weight_scale") && find(f, ".weight_scale_inv"))
        return ht__fail(f->diag, HT_ERR_FORMAT, f->weight->name, -1,
                        "it has two sets of scales, weight_scale and weight_scale_inv");
    return HT_OK;
}

/* Rows and columns of the matrix from the shape of its tensor; `pairs`: two weights a byte. */
static enum ht_err read_shape(struct finder *f, bool pairs)
{
    const struct ht__tensor *t = f->weight;
    struct ht__matrix *m = &f->out->matrix;
    if (t->n_dims != 2 && !(t->n_dims == 3 && !pairs)) return misfit(f, t, "a matrix");
    for (int i = 0; i < t->n_dims; i++)
        if (t->shape[i] < 1 || t->shape[i] > INT32_MAX) return misfit(f, t, "a matrix that is not empty");
    m->n_in = t->shape[t->n_dims - 1] * (pairs ? 2 : 1);
    m->n_out = t->shape[t->n_dims - 2];
    if (t->n_dims == 2) return HT_OK;
    m->n_experts = t->shape[0];
    m->n_out *= t->shape[0];
    set(f, HT__FLOAT_EXPERTS, HT__EXPERT_ROWS);
    return HT_OK;
}

/* ---- grids of scales ---- */

/*
 * Weights of a block along one side: as the configuration says, and then the last block may be smaller; where it says
 * nothing, the grid divides the side evenly. 0: they do not fit.
 */
static int64_t block_of(int64_t side, int64_t grid, int64_t told)
{
    if (grid < 1) return 0;
    if (told) return (side + told - 1) / told == grid ? told : 0;
    return side % grid == 0 ? side / grid : 0;
}

/* One number for the matrix, one a row, or a grid of them. */
static enum ht_err read_grid(struct finder *f)
{
    const struct ht__tensor *s = f->scale, *w = f->weight;
    const struct ht__matrix *m = &f->out->matrix;
    int64_t rows = w->shape[w->n_dims - 2];
    set(f, HT__FLOAT_SCALE_DIMS, s->n_dims);
    if (m->n_experts) {
        int64_t down =
            s->n_dims == 3 && s->shape[0] == m->n_experts ? block_of(rows, s->shape[1], f->config->block[0]) : 0;
        int64_t across = down ? block_of(m->n_in, s->shape[2], f->config->block[1]) : 0;
        if (!across || rows % down || m->n_in % across) return misfit(f, s, "a grid of scales for each expert");
        set(f, HT__FLOAT_ROWS, down);
        set(f, HT__FLOAT_COLUMNS, across);
        return HT_OK;
    }
    if (s->n_weights == 1 && s->n_dims <= 2) return HT_OK;
    if (s->shape[0] == rows && (s->n_dims == 1 || (s->n_dims == 2 && s->shape[1] == 1))) {
        set(f, HT__FLOAT_ROWS, 1);
        return HT_OK;
    }
    bool grid = s->n_dims == 2 || (s->n_dims == 4 && s->shape[1] == 1 && s->shape[3] == 1);
    int64_t down = grid ? block_of(rows, s->shape[0], f->config->block[0]) : 0;
    int64_t across = down ? block_of(m->n_in, s->shape[s->n_dims == 4 ? 2 : 1], f->config->block[1]) : 0;
    if (!across) return misfit(f, s, "a scale for the matrix, for each row or for each block");
    set(f, HT__FLOAT_ROWS, down);
    set(f, HT__FLOAT_COLUMNS, across);
    return HT_OK;
}

/* What programs compute with: compressed-tensors in the dtype of the scales, transformers in the model's, others wider. */
static const struct ht__codec *value_dtype(const struct finder *f)
{
    bool small = f->scale->dtype->block_size == 1;
    switch (f->config->method) {
    case HT__FLOAT_COMPRESSED_TENSORS: return small ? &ht__codec_bf16 : f->scale->dtype;
    case HT__FLOAT_FBGEMM: return &ht__codec_f32;
    case HT__FLOAT_MODELOPT: return f->global ? f->config->dtype : &ht__codec_f32;
    default: return f->config->dtype;
    }
}

/* ---- forms ---- */

static const char *form_of(const struct finder *f)
{
    const double *option = f->out->params.option;
    if (option[HT__FLOAT_ELEMENT] == HT__E2M1) return f->global ? "nvfp4" : "mxfp4";
    return f->scale->dtype->block_size == 1 && option[HT__FLOAT_COLUMNS] == 32 ? "mxfp8" : "fp8";
}

static enum ht_err finish(struct finder *f)
{
    const struct ht__tensor **tensors = f->out->tensors;
    tensors[0] = f->weight;
    tensors[1] = f->scale;
    tensors[2] = f->global;
    for (int i = 0; i < 3; i++)
        if (tensors[i] && tensors[i]->strides)
            return ht__fail(f->diag, HT_ERR_UNSUPPORTED, tensors[i]->name, -1,
                            "parts of packed weights that are views of other tensors cannot be read");
    set(f, HT__FLOAT_SCALE_DTYPE, place_of(f->scale->dtype));
    set(f, HT__FLOAT_VALUE, place_of(value_dtype(f)));
    f->out->matrix.dtype = f->config->dtype;
    f->out->value = value_dtype(f);
    f->out->form = form_of(f);
    return HT_OK;
}

static enum ht_err read_fp8_weight(struct finder *f)
{
    static const char *const suffixes[] = {".weight_scale", ".weight_scale_inv", "_scale_inv"};
    int which = 0;
    for (int i = 0; i < 3 && !f->scale; i++) {
        f->scale = find(f, suffixes[i]);
        which = i;
    }
    if (!f->scale) return missing(f, f->config->method == HT__FLOAT_FP8 ? suffixes[1] : suffixes[0]);
    if (!is_float(f->scale) && !is(f->scale, &ht__codec_u8) && !is(f->scale, &ht__codec_f8_e8m0))
        return misfit(f, f->scale, "scales in F32, F16, BF16, U8 or F8_E8M0");
    HT_TRY(read_shape(f, false));
    set(f, HT__FLOAT_WEIGHT, which == 2 ? 2 : 0);
    if (which == 2) f->out->suffix = "";
    set(f, HT__FLOAT_SCALE, which);
    HT_TRY(read_grid(f));
    return finish(f);
}

static enum ht_err read_global(struct finder *f, int which, const char *suffix)
{
    f->global = find(f, suffix);
    if (!f->global) return missing(f, suffix);
    if (!is(f->global, &ht__codec_f32) || f->global->n_dims > 1 || f->global->n_weights != 1)
        return misfit(f, f->global, "one number in F32");
    set(f, HT__FLOAT_GLOBAL, which);
    set(f, HT__FLOAT_GLOBAL_DIMS, f->global->n_dims);
    return HT_OK;
}

/* Two to a byte: NVFP4, whose scales are E4M3, or MXFP4. */
static enum ht_err read_fp4_weight(struct finder *f, int which)
{
    f->scale = find(f, ".weight_scale");
    if (!f->scale) return missing(f, ".weight_scale");
    bool nvfp4 = is(f->scale, &ht__codec_f8_e4m3);
    int64_t group = nvfp4 ? 16 : 32;
    if (!nvfp4 && !is(f->scale, &ht__codec_u8) && !is(f->scale, &ht__codec_f8_e8m0))
        return misfit(f, f->scale, "scales in F8_E4M3 or U8");
    HT_TRY(read_shape(f, true));
    const struct ht__matrix *m = &f->out->matrix;
    const struct ht__tensor *s = f->scale;
    if (s->n_dims != 2 || s->shape[0] != m->n_out || m->n_in % group || s->shape[1] != m->n_in / group)
        return misfit(f, s, nvfp4 ? "a scale for each 16 weights" : "a scale for each 32 weights");
    if (nvfp4) HT_TRY(read_global(f, which ? 1 : 2, which ? ".weight_global_scale" : ".weight_scale_2"));
    set(f, HT__FLOAT_ELEMENT, HT__E2M1);
    set(f, HT__FLOAT_ROWS, 1);
    set(f, HT__FLOAT_COLUMNS, group);
    set(f, HT__FLOAT_WEIGHT, which);
    set(f, HT__FLOAT_SCALE_DIMS, 2);
    return finish(f);
}

/* gpt-oss: [experts, rows, blocks, 16] and [experts, rows, blocks]. */
static enum ht_err read_expert_blocks(struct finder *f)
{
    const struct ht__tensor *w = f->weight, *s = f->scale = find(f, "_scales");
    struct ht__matrix *m = &f->out->matrix;
    if (!s) return missing(f, "_scales");
    if (!is(w, &ht__codec_u8) || w->n_dims != 4 || w->shape[3] != 16 || w->n_weights == 0)
        return misfit(f, w, "U8 of experts x rows x blocks x 16");
    bool fits = is(s, &ht__codec_u8) && s->n_dims == 3;
    for (int i = 0; fits && i < 3; i++)
        fits = w->shape[i] == s->shape[i] && w->shape[i] <= INT32_MAX / 32;
    if (!fits || w->shape[0] > INT32_MAX / w->shape[1]) return misfit(f, s, "U8 of experts x rows x blocks");
    *m = (struct ht__matrix){.n_out = w->shape[0] * w->shape[1], .n_in = w->shape[2] * 32, .n_experts = w->shape[0]};
    set(f, HT__FLOAT_ELEMENT, HT__E2M1);
    set(f, HT__FLOAT_ROWS, 1);
    set(f, HT__FLOAT_COLUMNS, 32);
    set(f, HT__FLOAT_WEIGHT, 3);
    set(f, HT__FLOAT_SCALE, 3);
    set(f, HT__FLOAT_EXPERTS, HT__EXPERT_BLOCKS);
    f->out->suffix = "";
    f->out->transposed = true;
    return finish(f);
}

static const struct ht__tensor *find_of(const struct finder *f, const char *suffix, const struct ht__codec *dtype)
{
    const struct ht__tensor *t = find(f, suffix);
    return is(t, dtype) ? t : NULL;
}

enum ht_err ht__float_source(const struct ht__float_config *config, const struct ht__checkpoint *ck, const char *name,
                             struct ht__packed_source *out, bool *found, struct ht_diag *diag)
{
    struct finder f = {.config = config, .ck = ck, .name = name, .out = out, .diag = diag};
    memset(out, 0, sizeof *out);
    ht__scheme_defaults(&ht__scheme_small_float, &out->params);
    *found = true;
    if ((f.weight = find(&f, "_blocks")) && config->method == HT__FLOAT_MXFP4) return read_expert_blocks(&f);
    bool packed = (f.weight = find_of(&f, ".weight_packed", &ht__codec_u8)) != NULL;
    bool bytes =
        !packed && (f.weight = find_of(&f, ".weight", &ht__codec_u8)) != NULL && config->method == HT__FLOAT_MODELOPT;
    if (packed || bytes) {
        HT_TRY(check_companions(&f));
        return read_fp4_weight(&f, packed);
    }
    f.weight = find_of(&f, ".weight", &ht__codec_f8_e4m3);
    if (!f.weight) f.weight = find_of(&f, "", &ht__codec_f8_e4m3);
    bool scaled = find(&f, ".weight_scale") || find(&f, ".weight_scale_inv") || find(&f, "_scale_inv");
    if (f.weight && (scaled || !config->assumed)) {
        HT_TRY(check_companions(&f));
        return read_fp8_weight(&f);
    }
    *found = false;
    return HT_OK;
}
