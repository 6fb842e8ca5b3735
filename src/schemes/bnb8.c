/*
 * bitsandbytes, 8 bits (LLM.int8): a scale a row. Weights are rounded to half first, whatever the model's dtype; a weight
 * that half cannot hold counts as the largest that it can.
 *
 *   .weight         I8 [n_out, n_in]   round(w * (1 / SCB * 127))
 *   .SCB            F32 [n_out]        largest magnitude of each row; the weight is code * SCB / 127
 *   .weight_format  U8 []              0: by rows
 *
 * Programs that load it multiply activations of 8 bits with it, but for columns with an activation above `threshold`,
 * which only the configuration tells.
 */
#include "schemes/bnb.h"

#include "kernels/half.h"
#include "kernels/weights/weights.h"

#include <math.h>
#include <string.h>

enum option { THRESHOLD };
enum part { WEIGHT, SCB, FORMAT };

static const char *unsuited(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    if (m->n_experts > 0) return "experts that share one tensor are not stored so";
    return NULL;
}

static int parts(const struct ht__scheme_params *p, const struct ht__matrix *m, struct ht__part out[HT__SCHEME_PARTS])
{
    out[WEIGHT] = (struct ht__part){.suffix = ".weight",
                                    .dtype = &ht__codec_i8,
                                    .n_dims = 2,
                                    .shape = {m->n_out, m->n_in},
                                    .rows = 1,
                                    .bytes = (uint64_t)m->n_in};
    out[SCB] = (struct ht__part){
        .suffix = ".SCB", .dtype = &ht__codec_f32, .n_dims = 1, .shape = {m->n_out}, .rows = 1, .bytes = 4};
    out[FORMAT] = (struct ht__part){.suffix = ".weight_format", .dtype = &ht__codec_u8, .place = HT__PART_WHOLE};
    return 3;
}

static int64_t groups(const struct ht__scheme_params *p, const struct ht__matrix *m, int64_t n_rows)
{
    return n_rows;
}

/* As half holds it, but never infinite. */
static float held(float x)
{
    x = ht__round_f16(x);
    return x > 65504 ? 65504 : x < -65504 ? -65504 : x;
}

static void fit(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x, const float *importance,
                struct ht__codes *c)
{
    const struct ht__weight_ops *ops = ht__weight_ops(ht__cpu_best());
    for (int64_t row = 0; row < c->n_rows; row++, x += m->n_in)
        c->scale[row] = held(ops->largest(x, m->n_in));
}

static void nearest(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x, struct ht__codes *c)
{
    const struct ht__weight_ops *ops = ht__weight_ops(ht__cpu_best());
    uint8_t *q = c->q;
    for (int64_t row = 0; row < c->n_rows; row++, x += m->n_in, q += m->n_in) {
        float by = c->scale[row] > 0 ? 1 / c->scale[row] * 127 : 0; /* as PyTorch divides a number */
        ops->signed_nearest(x, m->n_in, by, q);
    }
}

static void pack(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c,
                 void *const dst[])
{
    memcpy(dst[WEIGHT], c->q, (size_t)(c->n_rows * m->n_in));
    memcpy(dst[SCB], c->scale, (size_t)c->n_rows * 4);
}

static void finish(const struct ht__scheme_params *p, const struct ht__matrix *m, void *const whole[])
{
    memset(whole[FORMAT], 0, 1);
}

static void unpack(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[],
                   struct ht__codes *c)
{
    memcpy(c->q, src[WEIGHT], (size_t)(c->n_rows * m->n_in));
    memcpy(c->scale, src[SCB], (size_t)c->n_rows * 4);
}

static void value(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c, float *dst)
{
    const struct ht__weight_ops *ops = ht__weight_ops(ht__cpu_best());
    const uint8_t *q = c->q;
    for (int64_t row = 0; row < c->n_rows; row++, q += m->n_in, dst += m->n_in)
        ops->signed_value(q, m->n_in, c->scale[row], 7.874015718698502e-3f, dst); /* 1 / 127, as bitsandbytes has it */
}

static const char *complaint(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[],
                             int *part)
{
    *part = FORMAT;
    return *(const uint8_t *)src[FORMAT] == 0 ? NULL : "the weight is not stored by rows (weight_format 0)";
}

static void config(const struct ht__scheme_package *package, struct ht__jw *w)
{
    struct ht__bnb_config c = {.eight_bits = true,
                               .quant_type = "fp4", /* the default, as transformers writes it for 8 bits */
                               .storage = "uint8",
                               .threshold = package->params->option[THRESHOLD]};
    ht__bnb_config(package, &c, w);
}

static const struct ht__scheme_option options[] = {
    {"threshold", "activations above it are multiplied in half precision; 0: none are", .otherwise = 6, .most = 1e6},
    {.name = NULL},
};

const struct ht__scheme ht__scheme_int8 = {
    .name = "int8",
    .label = "INT8",
    .family = "bitsandbytes",
    .about = "8 bits with a scale a row, multiplied in 8 bits (LLM.int8)",
    .loaders = "transformers with bitsandbytes, vLLM",
    .loaded_by = HT__LOADED_BY_TRANSFORMERS | HT__LOADED_BY_VLLM,
    .flags = HT__SCHEME_NO_EXPERTS | HT__SCHEME_CONV1D,
    .options = options,
    .unsuited = unsuited,
    .parts = parts,
    .groups = groups,
    .fit = fit,
    .nearest = nearest,
    .value = value,
    .pack = pack,
    .finish = finish,
    .unpack = unpack,
    .complaint = complaint,
    .config = config,
};
