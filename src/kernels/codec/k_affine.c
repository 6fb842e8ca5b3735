#include "kernels/codec/k_affine.h"
#include "kernels/codec/k_block.h"
#include "kernels/half.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

enum { SUBS = 8, LEN = 32, TOP = 63 };

/* Without importance: each value as a 63rd of the largest. */
static uint16_t code_plain(const float *values, uint8_t *codes)
{
    float max = 0;
    for (int j = 0; j < SUBS; j++)
        if (values[j] > max) max = values[j];
    float inverse = max > 0 ? (float)TOP / max : 0;
    for (int j = 0; j < SUBS; j++) {
        uint8_t l = (uint8_t)ht__round_even(inverse * values[j]);
        codes[j] = l < TOP ? l : TOP;
    }
    return ht__f32_to_f16(max / (float)TOP);
}

/* Without importance large weights count more, but none counts nothing. */
static void plain_weights(const float *x, float *w)
{
    float rms = sqrtf(ht__sum_squares(LEN, x) / LEN);
    for (int i = 0; i < LEN; i++)
        w[i] = rms + fabsf(x[i]);
}

void ht__k_affine_encode(const struct ht__affine_params *params, const float *x, const float *importance, uint16_t *d,
                         uint16_t *dmin, uint8_t packed[12], uint8_t codes[256])
{
    float scales[SUBS], mins[SUBS], sums[SUBS], w[LEN];
    uint8_t s[SUBS], m[SUBS];
    float sigma2 = importance ? 2 * ht__sum_squares(HT__K, x) / HT__K : 0;
    for (int j = 0; j < SUBS; j++) {
        const float *sub = x + LEN * j;
        if (importance)
            ht__search_weights(LEN, sub, importance + LEN * j, sigma2, w);
        else
            plain_weights(sub, w);
        sums[j] = 0;
        for (int i = 0; i < LEN; i++)
            sums[j] += w[i];
        scales[j] = ht__search_affine(params, LEN, sub, w, codes + LEN * j, &mins[j]);
    }
    *d = importance ? ht__f32_to_f16(ht__search_positive(TOP, SUBS, scales, sums, s)) : code_plain(scales, s);
    *dmin = importance ? ht__f32_to_f16(ht__search_positive(TOP, SUBS, mins, sums, m)) : code_plain(mins, m);
    ht__k_pack_scales(s, m, packed);
    ht__k_affine_scales(*d, *dmin, packed, scales, mins);
    for (int j = 0; j < SUBS; j++) {
        if (scales[j] == 0) continue; /* the codes of the search stay */
        for (int i = LEN * j; i < LEN * (j + 1); i++) {
            int q = ht__round_even((x[i] + mins[j]) / scales[j]);
            codes[i] = (uint8_t)(q < 0 ? 0 : q > params->levels ? params->levels : q);
        }
    }
}

void ht__k_affine_scales(uint16_t d, uint16_t dmin, const uint8_t packed[12], float scales[8], float mins[8])
{
    uint8_t s[SUBS], m[SUBS];
    float fd = ht__f16_to_f32(d), fmin = ht__f16_to_f32(dmin);
    ht__k_unpack_scales(packed, s, m);
    for (int j = 0; j < SUBS; j++) {
        scales[j] = fd * (float)s[j];
        mins[j] = fmin * (float)m[j];
    }
}

/* The beginning of Q4_K's block and of Q5_K's. */
struct head {
    uint16_t d, dmin;
    uint8_t scales[12];
};
static_assert(offsetof(struct ht__q4_k_block, scales) == offsetof(struct head, scales), "q4_k");
static_assert(offsetof(struct ht__q5_k_block, scales) == offsetof(struct head, scales), "q5_k");

void ht__k_affine_get(const void *block, float *d, float *dmin, int *s, int *m)
{
    struct head head;
    uint8_t scales[SUBS], mins[SUBS];
    memcpy(&head, block, sizeof head);
    *d = ht__f16_to_f32(head.d);
    *dmin = ht__f16_to_f32(head.dmin);
    ht__k_unpack_scales(head.scales, scales, mins);
    for (int j = 0; j < SUBS; j++) {
        s[j] = scales[j];
        m[j] = mins[j];
    }
}

void ht__k_affine_put(void *block, float d, float dmin, const int *s, const int *m)
{
    struct head head = {.d = ht__f32_to_f16(d), .dmin = ht__f32_to_f16(dmin)};
    uint8_t scales[SUBS], mins[SUBS];
    for (int j = 0; j < SUBS; j++) {
        scales[j] = (uint8_t)s[j];
        mins[j] = (uint8_t)m[j];
    }
    ht__k_pack_scales(scales, mins, head.scales);
    memcpy(block, &head, sizeof head);
}
