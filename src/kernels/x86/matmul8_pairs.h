/*
 * Products in eight bits with AVX2's multiplications of bytes that add pairs in 16 bits: as many of them as cannot
 * overflow are added before they are widened.
 */
#include "kernels/x86/rows_avx2.h"

#define LEVEL avx2
#define ROWS8_OF(codec) NULL
#include "kernels/x86/matmul8_panel.h"

enum { TILE = 6, GROUPS = 1 }; /* tokens: 6 sums of 16 bits, 6 of 32, the codes, the activations, ones, a product */

/* What makes code differ: weights a scale, minima, and how many products add up in 16 bits; 0:
 * codes up to 255. */
struct kind {
    int sub;
    bool mins;
    int steps;
};
#define KINDS                                                                                                          \
    KIND(32_8, 32, false, 8)                                                                                           \
    KIND(32_4, 32, false, 4)                                                                                           \
    KIND(32_1, 32, false, 1)                                                                                           \
    KIND(32_wide, 32, false, 0)                                                                                        \
    KIND(32_mins_8, 32, true, 8)                                                                                       \
    KIND(32_mins_4, 32, true, 4)                                                                                       \
    KIND(16_4, 16, false, 4)                                                                                           \
    KIND(16_2, 16, false, 2)                                                                                           \
    KIND(16_1, 16, false, 1)                                                                                           \
    KIND(16_mins_4, 16, true, 4)

/* Two products of a code with an activation, 127 at most, a step; codes beyond are those with the
 * offset 128. */
VEC bool kind_serves(const struct kind k, const struct form *f)
{
    bool fits = k.steps ? f->most * 2 * 127 * k.steps <= INT16_MAX : f->offset == 128;
    return k.sub == f->sub && k.mins == f->mins && fits;
}

VEC vf v_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}

VEC vf v_fnma(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

VEC vi four_of(const int8_t *x)
{
    int32_t four;
    memcpy(&four, x, sizeof four);
    return _mm256_set1_epi32(four);
}

/* Sums as they are written: gcc would make trees of them, whose leaves do not fit the registers. */
#define IN_ORDER(v) __asm__("" : "+x"(v))

/* Codes up to 255 in halves of four bits, whose products cannot overflow: the high halves count sixteen times. */
VEC void dots_wide(const struct kind f, int n, const vi *c, const int8_t *x, int64_t ldx, vi acc[][GROUPS])
{
    vi low[TILE], high[TILE];
#pragma GCC unroll 8
    for (int j = 0; j < f.sub / 4; j++) {
        vi low_codes = low_nibbles(c[j]), high_codes = high_nibbles(c[j]);
#pragma GCC unroll 8
        for (int t = 0; t < n; t++) {
            vi four = four_of(x + t * ldx + 4 * j);
            vi l = _mm256_maddubs_epi16(low_codes, four), h = _mm256_maddubs_epi16(high_codes, four);
            low[t] = j == 0 ? l : _mm256_add_epi16(low[t], l);
            high[t] = j == 0 ? h : _mm256_add_epi16(high[t], h);
            IN_ORDER(low[t]);
            IN_ORDER(high[t]);
        }
    }
    for (int t = 0; t < n; t++) {
        vi sum = _mm256_add_epi32(_mm256_madd_epi16(low[t], _mm256_set1_epi16(1)),
                                  _mm256_madd_epi16(high[t], _mm256_set1_epi16(16)));
        acc[t][0] = _mm256_add_epi32(acc[t][0], sum);
    }
}

/* acc[t] += the products of sub-block s with the codes of token t */
VEC void dots(const struct kind f, int n, const struct panel *p, int s, const int8_t *x, int64_t ldx, vi acc[][GROUPS])
{
    const vi ones = _mm256_set1_epi16(1), *c = p->codes + s * (f.sub / 4);
    if (!f.steps) {
        dots_wide(f, n, c, x, ldx, acc);
        return;
    }
#pragma GCC unroll 8
    for (int j = 0; j < f.sub / 4; j += f.steps) {
        vi pairs[TILE];
#pragma GCC unroll 8
        for (int i = 0; i < f.steps; i++)
#pragma GCC unroll 8
            for (int t = 0; t < n; t++) {
                vi more = _mm256_maddubs_epi16(c[j + i], four_of(x + t * ldx + 4 * (j + i)));
                pairs[t] = i == 0 ? more : _mm256_add_epi16(pairs[t], more);
                IN_ORDER(pairs[t]);
            }
        for (int t = 0; t < n; t++)
            acc[t][0] = _mm256_add_epi32(acc[t][0], _mm256_madd_epi16(pairs[t], ones));
    }
}

/* What is taken off the codes that dots sees. */
VEC int offset_of(const struct form *f)
{
    return f->offset;
}

#include "kernels/x86/matmul8_tmpl.h"
