/*
 * The same loops with half as many rows in lanes, for machines without AVX-512. What is left of the tokens multiplies codes
 * one by one: AVX2's own way takes another offset off.
 */
#define WAVE_GROUPS 1
#include "kernels/emulated.h"
#include "kernels/tiles_emulated.h"
#include "kernels/x86/rows_avx2.h"

#define LEVEL avx2
#define ROWS8_OF(codec) NULL
#include "kernels/x86/matmul8_panel.h"

enum { TILE = 6, GROUPS = WAVE_GROUPS };

struct kind {
    int sub;
    bool mins;
};
#define KINDS KIND(32, 32, false) KIND(32_mins, 32, true) KIND(16, 16, false) KIND(16_mins, 16, true)

VEC vf v_fma(vf a, vf b, vf c)
{
    return _mm256_fmadd_ps(a, b, c);
}
VEC vf v_fnma(vf a, vf b, vf c)
{
    return _mm256_fnmadd_ps(a, b, c);
}

VEC void dots(const struct kind f, int n, const struct panel *p, int s, const int8_t *x, int64_t ldx, vi acc[][GROUPS])
{
    const uint8_t *codes = (const uint8_t *)(p->codes + s * (f.sub / 4));
    for (int t = 0; t < n; t++) {
        int32_t sums[VL];
        memcpy(sums, &acc[t][0], sizeof sums);
        for (int k = 0; k < f.sub; k++)
            for (int r = 0; r < VL; r++)
                sums[r] += codes[k / 4 * 4 * VL + 4 * r + k % 4] * x[t * ldx + k];
        memcpy(&acc[t][0], sums, sizeof sums);
    }
}

VEC int offset_of(const struct form *f)
{
    return f->offset;
}

VEC bool kind_serves(const struct kind k, const struct form *f)
{
    return k.sub == f->sub && k.mins == f->mins;
}

#include "kernels/x86/matmul8_tmpl.h"

#define SPLIT_PARTS 2
#include "kernels/x86/matmul16_tmpl.h"

ht__matmul8_fn *emulated_matmul8_avx2(const struct ht__codec *codec)
{
    return matmul8_of(codec);
}

void emulated_shapes_avx2(struct tile_shapes *now, const struct tile_shapes *next)
{
    TILES_KEEP(now);
    TILES_RESTORE(next);
}

ht__matmul16_fn *emulated_matmul16_avx2(const struct ht__codec *codec)
{
    return matmul16_of(codec);
}

void emulated_split_avx2(const float *x, int64_t ldx, int n, struct ht__split *out, int64_t i)
{
    split(x, ldx, n, out, i);
}
