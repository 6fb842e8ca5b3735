/* Products in eight bits at this level: tiles for sixteen tokens, AVX-512 for what is left (matmul8_wave.h). */
#include "kernels/x86/tiles_amx.h"
#include "kernels/x86/matmul8_vnni.h"

ht__matmul8_fn *ht__matmul8_amx(const struct ht__codec *codec)
{
    return matmul8_of(codec);
}
