/* Products in eight bits with AVX-512's dot-product instruction: four bytes by four at once, added to a sum. */
#include "kernels/x86/rows_avx512.h"

#define LEVEL avx512
#define ROWS8_OF ht__rows8_avx512
#include "kernels/x86/matmul8_panel.h"

enum { TILE = 6, GROUPS = 2 }; /* tokens: 12 sums of integers, 12 of floats, two panels' codes and the activations */

/* What makes code differ: weights a scale, and minima. */
struct kind {
    int sub;
    bool mins;
};
#define KINDS KIND(32, 32, false) KIND(32_mins, 32, true) KIND(16, 16, false) KIND(16_mins, 16, true)

VEC vf v_fma(vf a, vf b, vf c)
{
    return _mm512_fmadd_ps(a, b, c);
}
VEC vf v_fnma(vf a, vf b, vf c)
{
    return _mm512_fnmadd_ps(a, b, c);
}

/* acc[t] += the products of sub-block s with the codes of token t */
VEC void dots(const struct kind f, int n, const struct panel *p, int s, const int8_t *x, int64_t ldx, vi acc[][GROUPS])
{
    for (int j = 0; j < f.sub / 4; j++)
        for (int t = 0; t < n; t++) {
            int32_t four;
            memcpy(&four, x + t * ldx + 4 * j, sizeof four);
            vi activations = _mm512_set1_epi32(four);
            for (int g = 0; g < GROUPS; g++)
                acc[t][g] = _mm512_dpbusd_epi32(acc[t][g], p[g].codes[s * (f.sub / 4) + j], activations);
        }
}

/* What is taken off the codes that dots sees. */
VEC int offset_of(const struct form *f)
{
    return f->offset;
}

VEC bool kind_serves(const struct kind k, const struct form *f)
{
    return k.sub == f->sub && k.mins == f->mins;
}

#include "kernels/x86/matmul8_tmpl.h"
