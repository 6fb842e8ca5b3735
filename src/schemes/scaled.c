/* Small floats with scales: see scaled.h. */
#include "schemes/scaled.h"

#include "kernels/small_float.h"
#include "kernels/weights/weights.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum part { WEIGHT, SCALE, GLOBAL };

struct ht__scaled ht__scaled_form(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    const struct ht__scaled_scheme *scheme = p->scheme->family_data;
    struct ht__scaled form = {.element = HT__E4M3};
    scheme->form(p, m, &form);
    return form;
}

static float largest_of(const struct ht__scaled *form)
{
    return form->element == HT__E4M3 ? 448.0f : 6.0f;
}

/* ---- shapes ---- */

static int64_t columns_of(const struct ht__scaled *form, const struct ht__matrix *m)
{
    return form->block_columns ? form->block_columns : m->n_in;
}

static int64_t blocks(int64_t n, int64_t block)
{
    return block ? (n + block - 1) / block : 1;
}

static void expert_shapes(const struct ht__scaled *form, const struct ht__matrix *m, struct ht__part *weight,
                          struct ht__part *scale)
{
    int64_t rows = m->n_out / m->n_experts, columns = m->n_in / form->block_columns;
    int64_t row = form->element == HT__E4M3 ? m->n_in : m->n_in / 2;
    weight->n_dims = scale->n_dims = 3;
    weight->shape[0] = scale->shape[0] = m->n_experts;
    weight->shape[1] = rows;
    weight->shape[2] = row;
    scale->shape[1] = rows / form->block_rows;
    scale->shape[2] = columns;
    if (form->experts == HT__EXPERT_ROWS) return;
    weight->n_dims = 4;
    weight->shape[2] = columns;
    weight->shape[3] = row / columns;
}

static void scale_shape(const struct ht__scaled *form, const struct ht__matrix *m, struct ht__part *part)
{
    int64_t rows = blocks(m->n_out, form->block_rows), columns = blocks(m->n_in, form->block_columns);
    part->n_dims = form->scale_dims;
    for (int i = 0; i < HT__PART_DIMS; i++)
        part->shape[i] = 1;
    part->shape[0] = form->scale_dims == 1 ? rows * columns : rows;
    if (form->scale_dims == 2) part->shape[1] = columns;
    if (form->scale_dims == 4) part->shape[2] = columns;
    part->place = form->block_rows ? HT__PART_ROWS : HT__PART_WHOLE;
    part->rows = form->block_rows;
    part->bytes = (uint64_t)columns * form->scale_dtype->block_size;
}

/* The shape of the scales holds one for each block; options of what is read may say anything. */
static bool is_coherent(const struct ht__scaled *form, const struct ht__matrix *m)
{
    struct ht__part part = {.dtype = form->scale_dtype};
    int64_t rows = blocks(m->n_out, form->block_rows), columns = blocks(m->n_in, form->block_columns);
    if (form->element == HT__E2M1 && m->n_in % 2) return false;
    if (form->experts)
        return form->block_rows && form->block_columns && m->n_out % m->n_experts == 0 &&
               m->n_out / m->n_experts % form->block_rows == 0 && m->n_in % form->block_columns == 0;
    scale_shape(form, m, &part);
    return ht__part_bytes(&part) == (uint64_t)rows * (uint64_t)columns * form->scale_dtype->block_size;
}

const char *ht__scaled_unsuited(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    struct ht__scaled form = ht__scaled_form(p, m);
    if (form.unsuited) return form.unsuited;
    if (form.experts && m->n_experts < 1) return "only experts that share one tensor are stored so";
    if (!form.experts && m->n_experts > 0) return "experts that share one tensor are not stored so";
    if (form.whole_blocks && form.block_rows > 1 && (m->n_out % form.block_rows || m->n_in % form.block_columns))
        return "its numbers of rows and columns are not multiples of 128";
    if (!form.whole_blocks || m->n_in % columns_of(&form, m) == 0)
        return is_coherent(&form, m) ? NULL : "its shape does not fit these blocks";
    return form.block_columns == 16 ? "the length of its rows is not a multiple of 16"
                                    : "the length of its rows is not a multiple of 32";
}

int ht__scaled_parts(const struct ht__scheme_params *p, const struct ht__matrix *m, struct ht__part out[])
{
    struct ht__scaled form = ht__scaled_form(p, m);
    int64_t row = form.element == HT__E4M3 ? m->n_in : m->n_in / 2;
    out[WEIGHT] = (struct ht__part){.suffix = form.weight,
                                    .dtype = form.element == HT__E4M3 ? &ht__codec_f8_e4m3 : &ht__codec_u8,
                                    .n_dims = 2,
                                    .shape = {m->n_out, row},
                                    .rows = 1,
                                    .bytes = (uint64_t)row};
    out[SCALE] = (struct ht__part){.suffix = form.scale, .dtype = form.scale_dtype};
    scale_shape(&form, m, &out[SCALE]);
    if (form.experts) expert_shapes(&form, m, &out[WEIGHT], &out[SCALE]);
    if (!form.global) return 2;
    out[GLOBAL] = (struct ht__part){.suffix = form.global,
                                    .dtype = &ht__codec_f32,
                                    .n_dims = form.global_dims,
                                    .shape = {1},
                                    .place = HT__PART_WHOLE};
    return 3;
}

int64_t ht__scaled_rows(const struct ht__scheme_params *p, const struct ht__matrix *m)
{
    struct ht__scaled form = ht__scaled_form(p, m);
    return form.block_rows ? form.block_rows : 1;
}

int64_t ht__scaled_groups(const struct ht__scheme_params *p, const struct ht__matrix *m, int64_t n_rows)
{
    struct ht__scaled form = ht__scaled_form(p, m);
    return blocks(n_rows, form.block_rows) * blocks(m->n_in, form.block_columns);
}

/* ---- scales ---- */

static float round_as(const struct ht__codec *dtype, float x)
{
    return dtype == &ht__codec_bf16 ? ht__round_bf16(x) : dtype == &ht__codec_f16 ? ht__round_f16(x) : x;
}

static bool is_power(const struct ht__scaled *form)
{
    return form->scale_dtype == &ht__codec_u8 || form->scale_dtype == &ht__codec_f8_e8m0;
}

/* The scale of the whole matrix, as it is stored; 1 where there are no weights but zeros. */
static float global_of(const struct ht__scaled *form, const struct ht__matrix *m)
{
    float range = 448.0f * largest_of(form), global = form->global_divides ? range / m->amax : m->amax / range;
    return m->amax > 0 && global > 0 && isfinite(global) ? global : 1;
}

/* What is stored for a scale, as a number of its dtype, and back. */
static float in_units(const struct ht__scaled *form, float stored, float global)
{
    return !form->global ? stored : form->global_divides ? stored / global : stored * global;
}

/*
 * The power of two below amax / largest, by the rule of MX in compressed-tensors: of 1.75 and more times a power the
 * next one is taken; or the one above, so that nothing is clamped.
 */
static float power_scale(const struct ht__scaled *form, float amax)
{
    int32_t bits = (int32_t)ht__f32_bits(amax), exponent;
    if (form->scale_covers) {
        bits = (int32_t)ht__f32_bits(amax / largest_of(form));
        exponent = (bits + 0x7fffff) >> 23;
    } else
        exponent = ((bits + 0x200000) >> 23) - (form->element == HT__E4M3 ? 8 : 2);
    return ht__e8m0_to_f32((uint8_t)(exponent < 0 ? 0 : exponent > 254 ? 254 : exponent));
}

static float nvfp4_scale(const struct ht__scaled *form, float amax, float global)
{
    float wanted = amax / largest_of(form);
    uint8_t code = ht__f32_to_e4m3(form->global_divides ? wanted * global : wanted / global);
    return ht__e4m3_to_f32(code ? code : 1); /* the smallest there is, where it would be zero */
}

/* The scale of a block whose largest magnitude is amax: the number that is read back. */
static float scale_of(const struct ht__scaled *form, const struct ht__matrix *m, float amax)
{
    float global = form->global ? global_of(form, m) : 1, stored = 0;
    if (amax > 0)
        stored = is_power(form) ? power_scale(form, amax)
                 : form->global ? nvfp4_scale(form, amax, global)
                                : round_as(form->scale_dtype, amax / largest_of(form));
    return in_units(form, stored > 0 ? stored : form->empty, global);
}

/* Of rows [row, row + n_rows) of these, in n columns from `from` on. */
static float block_amax(const struct ht__matrix *m, const float *x, int64_t row, int64_t n_rows, int64_t from,
                        int64_t n)
{
    const struct ht__weight_ops *ops = ht__weight_ops(ht__cpu_best());
    float most = 0;
    for (int64_t r = row; r < row + n_rows; r++) {
        float largest = ops->largest(x + r * m->n_in + from, n);
        most = largest > most ? largest : most;
    }
    return most;
}

void ht__scaled_fit(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x,
                    const float *importance, struct ht__codes *c)
{
    struct ht__scaled form = ht__scaled_form(p, m);
    int64_t columns = columns_of(&form, m), g = 0;
    if (!form.block_rows) c->scale[0] = scale_of(&form, m, m->amax);
    for (int64_t row = 0; form.block_rows && row < c->n_rows; row += form.block_rows) {
        int64_t n_rows = c->n_rows - row < form.block_rows ? c->n_rows - row : form.block_rows;
        for (int64_t from = 0; from < m->n_in; from += columns) {
            int64_t n = m->n_in - from < columns ? m->n_in - from : columns;
            c->scale[g++] = scale_of(&form, m, block_amax(m, x, row, n_rows, from, n));
        }
    }
}

/* ---- codes and values of a run of weights under one scale ---- */

static enum ht__small_float small(const struct ht__scaled *form)
{
    return form->element == HT__E4M3 ? HT__SMALL_E4M3 : HT__SMALL_E2M1;
}

/* The scales of a row, in the groups of these rows. */
static const float *scales_of_row(const struct ht__scaled *form, const struct ht__codes *c, int64_t row,
                                  int64_t per_row)
{
    return c->scale + (form->block_rows ? row / form->block_rows * per_row : 0);
}

void ht__scaled_nearest(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x,
                        struct ht__codes *c)
{
    struct ht__scaled form = ht__scaled_form(p, m);
    const struct ht__weight_ops *ops = ht__weight_ops(ht__cpu_best());
    int64_t columns = columns_of(&form, m), per_row = blocks(m->n_in, columns);
    for (int64_t row = 0; row < c->n_rows; row++) {
        const float *scale = scales_of_row(&form, c, row, per_row);
        for (int64_t from = 0; from < m->n_in; from += columns) {
            int64_t n = m->n_in - from < columns ? m->n_in - from : columns;
            ops->small_nearest[small(&form)][ht__rounding_of(form.quotient)](x + row * m->n_in + from, n, *scale++,
                                                                             c->q + row * m->n_in + from);
        }
    }
}

void ht__scaled_value(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c,
                      float *dst)
{
    struct ht__scaled form = ht__scaled_form(p, m);
    const struct ht__weight_ops *ops = ht__weight_ops(ht__cpu_best());
    int64_t columns = columns_of(&form, m), per_row = blocks(m->n_in, columns);
    for (int64_t row = 0; row < c->n_rows; row++) {
        const float *scale = scales_of_row(&form, c, row, per_row);
        for (int64_t from = 0; from < m->n_in; from += columns) {
            int64_t n = m->n_in - from < columns ? m->n_in - from : columns;
            ops->small_value[small(&form)][ht__rounding_of(form.value)](c->q + row * m->n_in + from, n, *scale++,
                                                                        dst + row * m->n_in + from);
        }
    }
}

/* ---- parts ---- */

/* A code fits the scale that fit() gave or unpack() read: dividing by the global scale, or multiplying, is off by less
 * than half a step of E4M3. */
static void store_scales(const struct ht__scaled *form, const struct ht__matrix *m, const float *scale, int64_t n,
                         void *dst)
{
    uint8_t *bytes = dst;
    float global = form->global ? global_of(form, m) : 1;
    for (int64_t i = 0; is_power(form) && i < n; i++)
        bytes[i] = (uint8_t)(ht__f32_bits(scale[i]) >> 23);
    for (int64_t i = 0; form->global && i < n; i++)
        bytes[i] = ht__f32_to_e4m3(form->global_divides ? scale[i] * global : scale[i] / global);
    if (!is_power(form) && !form->global) form->scale_dtype->encode(scale, 1, n, NULL, dst);
}

static void load_scales(const struct ht__scaled *form, const void *src, int64_t n, float global, float *scale)
{
    const uint8_t *bytes = src;
    if (form->scale_dtype == &ht__codec_u8)
        for (int64_t i = 0; i < n; i++)
            scale[i] = ht__e8m0_to_f32(bytes[i]);
    else
        form->scale_dtype->decode(src, n, scale);
    for (int64_t i = 0; form->global && i < n; i++)
        scale[i] = in_units(form, scale[i], global);
}

void ht__scaled_pack(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__codes *c,
                     void *const dst[])
{
    struct ht__scaled form = ht__scaled_form(p, m);
    int64_t n = c->n_rows * m->n_in;
    uint8_t *to = dst[WEIGHT];
    if (form.element == HT__E4M3)
        memcpy(to, c->q, (size_t)n);
    else
        ht__weight_ops(ht__cpu_best())->join_nibbles(c->q, n / 2, false, to);
    if (form.block_rows) store_scales(&form, m, c->scale, ht__scaled_groups(p, m, c->n_rows), dst[SCALE]);
}

void ht__scaled_finish(const struct ht__scheme_params *p, const struct ht__matrix *m, void *const whole[])
{
    struct ht__scaled form = ht__scaled_form(p, m);
    float scale = form.block_rows ? 0 : scale_of(&form, m, m->amax), global = form.global ? global_of(&form, m) : 1;
    if (!form.block_rows) store_scales(&form, m, &scale, 1, whole[SCALE]);
    if (form.global) memcpy(whole[GLOBAL], &global, sizeof global);
}

void ht__scaled_unpack(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[],
                       struct ht__codes *c)
{
    struct ht__scaled form = ht__scaled_form(p, m);
    int64_t n = c->n_rows * m->n_in;
    const uint8_t *from = src[WEIGHT];
    float global = 1;
    if (form.element == HT__E4M3)
        memcpy(c->q, from, (size_t)n);
    else
        ht__weight_ops(ht__cpu_best())->part_nibbles(from, n / 2, false, c->q);
    if (form.global) memcpy(&global, src[GLOBAL], sizeof global);
    load_scales(&form, src[SCALE], ht__scaled_groups(p, m, c->n_rows), global, c->scale);
}

const char *ht__scaled_complaint(const struct ht__scheme_params *p, const struct ht__matrix *m, const void *const src[],
                                 int *part)
{
    struct ht__scaled form = ht__scaled_form(p, m);
    float scale = 1;
    *part = SCALE;
    if (!form.block_rows) load_scales(&form, src[SCALE], 1, 1, &scale);
    if (!isfinite(scale)) return "the scale is not a finite number";
    *part = GLOBAL;
    if (form.global) memcpy(&scale, src[GLOBAL], sizeof scale);
    if (!isfinite(scale)) return "the scale is not a finite number";
    return form.global && scale == 0 && form.global_divides ? "scales cannot be divided by zero" : NULL;
}
