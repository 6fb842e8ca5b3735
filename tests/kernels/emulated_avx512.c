/* As src/kernels/x86/matmul8_amx.c, but for the tiles. */
#define WAVE_GROUPS 2
#include "kernels/emulated.h"
#include "kernels/tiles_emulated.h"

#include "kernels/x86/matmul8_vnni.h"

#define SPLIT_PARTS 2
#include "kernels/x86/matmul16_tmpl.h"

ht__matmul8_fn *emulated_matmul8_avx512(const struct ht__codec *codec)
{
    return matmul8_of(codec);
}

void emulated_shapes_avx512(struct tile_shapes *now, const struct tile_shapes *next)
{
    TILES_KEEP(now);
    TILES_RESTORE(next);
}

ht__matmul16_fn *emulated_matmul16_avx512(const struct ht__codec *codec)
{
    return matmul16_of(codec);
}

void emulated_split_avx512(const float *x, int64_t ldx, int n, struct ht__split *out, int64_t i)
{
    split(x, ldx, n, out, i);
}
