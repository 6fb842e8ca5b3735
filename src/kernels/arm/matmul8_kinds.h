/* What products in eight bits have in common here, whichever instruction adds them: included after rows_neon.h and LEVEL. */
#ifndef HT_KERNELS_MATMUL8_KINDS_H
#define HT_KERNELS_MATMUL8_KINDS_H

#include "kernels/x86/matmul8_panel.h"

enum {
    TILE = 4
}; /* tokens: 16 sums of integers, four panels' codes and four tokens' activations of the 32 registers */

/* What makes code differ: weights a scale, minima, and whether codes go beyond 127, which are those with the offset 128. */
struct kind {
    int sub;
    bool mins, wide;
};
#define KINDS                                                                                                          \
    KIND(32, 32, false, false)                                                                                         \
    KIND(32_wide, 32, false, true)                                                                                     \
    KIND(32_mins, 32, true, false)                                                                                     \
    KIND(16, 16, false, false)                                                                                         \
    KIND(16_mins, 16, true, false)

VEC bool kind_serves(const struct kind k, const struct form *f)
{
    bool fits = k.wide ? f->offset == 128 : f->most <= 127;
    return k.sub == f->sub && k.mins == f->mins && fits;
}

/* The instructions take signed bytes: wide codes lose their offset first. */
VEC int8x16_t codes_of(const struct kind f, vi codes)
{
    return vreinterpretq_s8_u32(f.wide ? i_xor(codes, i_set8(0x80)) : codes);
}

/* What is taken off the codes that dots sees. */
VEC int offset_of(const struct form *f)
{
    return f->offset == 128 ? 0 : f->offset;
}

#define DOTS(t, lane)                                                                                                  \
    for (int g = 0; g < GROUPS; g++)                                                                                   \
        acc[t][g] = vreinterpretq_u32_s32(                                                                             \
            vdotq_laneq_s32(vreinterpretq_s32_u32(acc[t][g]), codes_of(f, p[g].codes[at + lane]), four[t], lane));

/* acc[t] += the products of sub-block s with the codes of token t, by dot products of four bytes. */
VEC void four_byte_dots(const struct kind f, int n, const struct panel *p, int s, const int8_t *x, int64_t ldx,
                        vi acc[][GROUPS])
{
    for (int j = 0; j < f.sub / 4; j += 4) { /* sixteen activations of each token */
        const int at = s * (f.sub / 4) + j;
        int8x16_t four[TILE];
        for (int t = 0; t < n; t++)
            four[t] = vld1q_s8(x + t * ldx + 4 * j);
        for (int t = 0; t < n; t++)
            DOTS(t, 0)
        for (int t = 0; t < n; t++)
            DOTS(t, 1)
        for (int t = 0; t < n; t++)
            DOTS(t, 2)
        for (int t = 0; t < n; t++)
            DOTS(t, 3)
    }
}

#endif
