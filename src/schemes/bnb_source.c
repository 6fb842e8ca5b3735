/*
 * Checkpoints of bitsandbytes. A weight of 4 bits is found by its quant_state, whose JSON tells type, block size, dtype and
 * shape; one of 8 bits by its dtype and its SCB.
 */
#include "schemes/bnb.h"
#include "schemes/packing.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct config {
    bool eight_bits;
};

static enum ht_err fail_config(const struct ht__packing_source *s, const char *message, struct ht_diag *diag)
{
    return ht__fail(diag, HT_ERR_FORMAT, s->config_path, -1, "quantization_config: %s", message);
}

static bool is_flag(const struct ht__jnode *q, const char *key)
{
    const struct ht__jnode *v = ht__jget(q, key);
    return !v || v->type == HT__JSON_BOOL;
}

static enum ht_err open(struct ht__packing_source *s, const struct ht__jnode *q, struct ht_diag *diag)
{
    struct config *config = s->config = ht__arena_new(s->arena, sizeof *config);
    if (!config) return ht__fail_memory(diag, s->config_path);
    const struct ht__jnode *type = ht__jget(q, "bnb_4bit_quant_type");
    if (!is_flag(q, "load_in_4bit") || !is_flag(q, "load_in_8bit") || !is_flag(q, "_load_in_4bit") ||
        !is_flag(q, "_load_in_8bit"))
        return fail_config(s, "load_in_4bit and load_in_8bit must be true or false", diag);
    bool four = ht__jbool(q, "load_in_4bit", ht__jbool(q, "_load_in_4bit", false));
    config->eight_bits = ht__jbool(q, "load_in_8bit", ht__jbool(q, "_load_in_8bit", false));
    if (four == config->eight_bits)
        return fail_config(s, "expected one of load_in_4bit and load_in_8bit to be true", diag);
    if (four && type &&
        (type->type != HT__JSON_STRING || (strcmp(type->text, "nf4") != 0 && strcmp(type->text, "fp4") != 0)))
        return fail_config(s, "bnb_4bit_quant_type is neither \"nf4\" nor \"fp4\"", diag);
    return HT_OK;
}

/* ---- 8 bits ---- */

static enum ht_err find_8bit(struct ht__packing_source *s, const struct ht__tensor *head, const char *module,
                             struct ht__packed_source *out, bool *found, struct ht_diag *diag)
{
    *found = head->dtype == &ht__codec_i8;
    if (!*found) return HT_OK;
    if (head->n_dims != 2 || head->shape[0] < 1 || head->shape[1] < 1)
        return ht__fail(diag, HT_ERR_FORMAT, head->name, -1, "expected a matrix that is not empty");
    ht__scheme_defaults(&ht__scheme_int8, &out->params);
    out->matrix = (struct ht__matrix){
        .n_out = head->shape[0], .n_in = head->shape[1], .dtype = &ht__codec_f32 /* as bitsandbytes dequantizes it */};
    out->tensors[0] = head;
    out->tensors[1] = ht__packing_find(s, module, ".SCB");
    out->tensors[2] = ht__packing_find(s, module, ".weight_format");
    return HT_OK;
}

/* ---- 4 bits ---- */

struct state {
    struct ht__packing_source *source;
    const struct ht__tensor *tensor; /* the JSON */
    const char *type;
    struct ht_diag *diag;
};

static enum ht_err fail_state(const struct state *s, const char *key, const char *message)
{
    return ht__fail(s->diag, HT_ERR_FORMAT, s->tensor->name, -1, "%s %s", key, message);
}

static const struct ht__codec *float_dtype(const char *name)
{
    const struct ht__codec *const all[] = {&ht__codec_f32, &ht__codec_f16, &ht__codec_bf16};
    for (size_t i = 0; name && i < 3; i++)
        if (strcmp(ht__torch_dtype(all[i]), name) == 0) return all[i];
    return NULL;
}

/* The value of an option as people would give it; false: it is none of the choices. */
static bool set_choice(struct ht__scheme_params *params, const char *option, int64_t value)
{
    char text[64];
    struct ht__scheme_params parsed;
    snprintf(text, sizeof text, "%s:%s=%lld", params->scheme->name, option, (long long)value);
    if (ht__scheme_parse(text, &parsed, NULL) != HT_OK) return false;
    ht__scheme_set(params, option, (double)value);
    return true;
}

static enum ht_err read_matrix(const struct state *s, const struct ht__jnode *root, struct ht__packed_source *out)
{
    const struct ht__jnode *shape = ht__jget(root, "shape");
    bool pair = shape && shape->type == HT__JSON_ARRAY && shape->n == 2;
    for (size_t i = 0; pair && i < 2; i++)
        pair = shape->children[i].is_int && shape->children[i].integer >= 1 && shape->children[i].integer <= INT32_MAX;
    if (!pair) return fail_state(s, "shape", "is not that of a matrix");
    out->matrix = (struct ht__matrix){.n_out = shape->children[0].integer,
                                      .n_in = shape->children[1].integer,
                                      .dtype = float_dtype(ht__jstr(root, "dtype", NULL))};
    if (out->matrix.n_out > ((int64_t)1 << 46) / out->matrix.n_in) return fail_state(s, "shape", "is too large");
    return out->matrix.dtype ? HT_OK : fail_state(s, "dtype", "is none of float32, float16 and bfloat16");
}

static enum ht_err read_nested(const struct state *s, const struct ht__jnode *root, struct ht__packed_source *out)
{
    const struct ht__jnode *offset = ht__jget(root, "nested_offset");
    if (!offset && !ht__jget(root, "nested_blocksize") && !ht__jget(root, "nested_dtype")) return HT_OK;
    if (!offset || offset->type != HT__JSON_NUMBER || !isfinite((float)offset->number))
        return fail_state(s, "nested_offset", "is not a finite number");
    if (ht__jint(root, "nested_blocksize", -1) != 256) return fail_state(s, "nested_blocksize", "is not 256");
    if (strcmp(ht__jstr(root, "nested_dtype", ""), "float32") != 0)
        return fail_state(s, "nested_dtype", "is not \"float32\"");
    ht__scheme_set(&out->params, "nested", 1);
    ht__scheme_set(&out->params, "offset", offset->number);
    return HT_OK;
}

static enum ht_err read_state(const struct state *s, struct ht__packed_source *out)
{
    enum { LONGEST = 4096 };
    const struct ht__tensor *t = s->tensor;
    struct ht__jnode *root;
    if (t->dtype != &ht__codec_u8 || t->n_dims != 1 || t->strides || t->n_bytes > LONGEST)
        return ht__fail(s->diag, HT_ERR_FORMAT, t->name, -1, "expected JSON as at most %d numbers of U8", LONGEST);
    char *text = ht__arena_raw(s->source->tmp, LONGEST);
    if (!text) return ht__fail_memory(s->diag, t->name);
    HT_TRY(ht__tensor_read_raw(s->source->ck, t, 0, t->n_weights, text, s->diag));
    HT_TRY(ht__json_parse(s->source->tmp, text, t->n_bytes, t->name, &root, s->diag));
    if (root->type != HT__JSON_OBJECT) return ht__fail(s->diag, HT_ERR_FORMAT, t->name, -1, "not a JSON object");
    if (strcmp(ht__jstr(root, "quant_type", ""), s->type) != 0)
        return fail_state(s, "quant_type", "is not the type that its name says");
    if (!set_choice(&out->params, "block", ht__jint(root, "blocksize", -1)))
        return fail_state(s, "blocksize", "is not a power of two from 32 to 4096");
    HT_TRY(read_matrix(s, root, out));
    return read_nested(s, root, out);
}

static bool set_storage(struct ht__scheme_params *params, const struct ht__codec *dtype)
{
    const struct ht__codec *const all[] = {&ht__codec_u8, &ht__codec_bf16, &ht__codec_f16, &ht__codec_f32};
    for (int i = 0; i < 4; i++)
        if (all[i] == dtype) {
            ht__scheme_set(params, "storage", i);
            return true;
        }
    return false;
}

/* Parts by their suffixes. */
static void find_parts(struct ht__packing_source *s, const char *module, struct ht__packed_source *out)
{
    struct ht__part parts[HT__SCHEME_PARTS];
    int n = out->params.scheme->parts(&out->params, &out->matrix, parts);
    for (int i = 0; i < n; i++)
        out->tensors[i] = ht__packing_find(s, module, parts[i].suffix);
}

static enum ht_err find_4bit(struct ht__packing_source *s, const struct ht__tensor *head, const char *module,
                             struct ht__packed_source *out, bool *found, struct ht_diag *diag)
{
    const struct ht__tensor *nf4 = ht__packing_find(s, module, ".weight.quant_state.bitsandbytes__nf4");
    const struct ht__tensor *fp4 = ht__packing_find(s, module, ".weight.quant_state.bitsandbytes__fp4");
    *found = nf4 || fp4;
    if (nf4 && fp4) return ht__fail(diag, HT_ERR_FORMAT, head->name, -1, "it has states of both nf4 and fp4");
    if (!*found && (head->dtype == &ht__codec_u8 || ht__packing_find(s, module, ".weight.absmax")))
        return ht__fail(diag, HT_ERR_FORMAT, head->name, -1,
                        "it is packed, but its state, %.200s.weight.quant_state.bitsandbytes__nf4, is missing", module);
    if (!*found) return HT_OK;
    struct state state = {s, nf4 ? nf4 : fp4, nf4 ? "nf4" : "fp4", diag};
    ht__scheme_defaults(nf4 ? &ht__scheme_nf4 : &ht__scheme_fp4, &out->params);
    ht__scheme_set(&out->params, "source", 1);
    HT_TRY(read_state(&state, out));
    if (!set_storage(&out->params, head->dtype))
        return ht__fail(diag, HT_ERR_FORMAT, head->name, -1, "%s is not a dtype that packed bytes are stored as",
                        head->dtype->label);
    out->extra[0] = state.tensor;
    find_parts(s, module, out);
    return HT_OK;
}

static enum ht_err find(struct ht__packing_source *s, const struct ht__tensor *head, const char *module,
                        struct ht__packed_source *out, bool *found, struct ht_diag *diag)
{
    const struct config *config = s->config;
    bool eight = head->dtype == &ht__codec_i8, four = ht__packing_find(s, module, ".weight.absmax") != NULL;
    if (eight != config->eight_bits && (eight || four))
        return ht__fail(diag, HT_ERR_FORMAT, head->name, -1, "it has %d bits, but the configuration says %d",
                        eight ? 8 : 4, config->eight_bits ? 8 : 4);
    return config->eight_bits ? find_8bit(s, head, module, out, found, diag)
                              : find_4bit(s, head, module, out, found, diag);
}

const struct ht__packing ht__packing_bitsandbytes = {
    .name = "bitsandbytes",
    .methods = "bitsandbytes bitsandbytes_4bit bitsandbytes_8bit",
    .heads = ".weight",
    .others = ".absmax .quant_map .nested_absmax .nested_quant_map .quant_state.bitsandbytes__nf4 "
              ".quant_state.bitsandbytes__fp4 .SCB .weight_format",
    .open = open,
    .find = find,
};
