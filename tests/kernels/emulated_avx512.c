/* As src/kernels/x86/matmul8_amx.c, but for the tiles. */
#define WAVE_GROUPS 2
#include "kernels/emulated.h"
#include "kernels/tiles_emulated.h"

#include "kernels/x86/matmul8_vnni.h"

ht__matmul8_fn *emulated_matmul8_avx512(const struct ht__codec *codec)
{
    return matmul8_of(codec);
}
