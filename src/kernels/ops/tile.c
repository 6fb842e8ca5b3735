/* Activations in the order of tiles: see ops.h. */
#include "kernels/ops/ops_list.h"

#include <string.h>

#if defined(__x86_64__) && !defined(HT_SCALAR_ALONE)
static void put_token(const struct ht__activations *x, int64_t token, int64_t at, int row,
                      struct ht__activation_tile *out)
{
    int64_t n = x->n_in - at < 256 ? x->n_in - at : 256;
    float scales[8] = {0};
    int32_t sums[16] = {0};
    for (int s = 0; s < 8; s++) {
        if (32 * s < n)
            memcpy(out->codes[s][row], x->codes + token * x->n_in + at + 32 * s, 32);
        else
            memset(out->codes[s][row], 0, 32);
    }
    memcpy(scales, x->scales + (token * x->n_in + at) / 32, (size_t)(n / 32) * sizeof *scales);
    memcpy(sums, x->sums + (token * x->n_in + at) / 16, (size_t)(n / 16) * sizeof *sums);
    for (int s = 0; s < 8; s++) {
        out->scales[s][row] = scales[s];
        out->sums_32[s][row] = scales[s] * (float)(sums[2 * s] + sums[2 * s + 1]);
        out->sums_16[2 * s][row] = scales[s] * (float)sums[2 * s];
        out->sums_16[2 * s + 1][row] = scales[s] * (float)sums[2 * s + 1];
    }
}

void ht__tile_activations(struct ht__activations *x, int64_t token)
{
    int64_t n = ht__tiles_of(x->n_in);
    struct ht__activation_tile *out = x->tiles + token / 16;
    for (int64_t i = 0; i < n; i++)
        for (int row = 0; row < 16; row++)
            put_token(x, token + row, i * 256, row, &out[i * x->sixteens]);
}
#endif
