/* One half as the scale of a block: many scales of both signs, each fitted to its codes, then the halves around. */
#include "kernels/best/best.h"
#include "kernels/half.h"

void ht__best_single(const struct ht__best *type, const float *x, const float *w, void *block)
{
    enum { NEAR = 3, N = 3 * (2 * NEAR + 1) + 3 };
    static const float zero[N];
    struct ht__best_scale fit;
    float scale[N], error[N];
    ht__best_fit_scale(type, x, w, &fit);
    const float around[3] = {ht__f16_to_f32(ht__load_u16(block)), ht__best_half(fit.scale), ht__best_half(fit.other)};
    for (int i = 0; i < N; i++)
        scale[i] = 0;
    for (int a = 0, at = 0; a < 3; a++)
        for (int k = -NEAR; k <= NEAR; k++)
            scale[at++] = ht__best_half_step(around[a], k);
    ht__best_ops()->errors(type->values, type->len, x, w, N, scale, zero, error);
    ht__store_u16(block, ht__f32_to_f16(scale[ht__best_least(N, error)]));
}
