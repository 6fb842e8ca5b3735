#include "lib/levels.h"

#include "kernels/emulated.h"
#include "kernels/ops/ops_list.h"

enum ht__cpu_level base_of(int level)
{
    return level == EMULATED_AVX2 || level == EMULATED_DOTS ? HT__CPU_avx2
           : level == EMULATED_AVX512                       ? HT__CPU_avx512
                                                            : (enum ht__cpu_level)level;
}

int next_level(int level)
{
    do
        level++;
    while (level < N_LEVELS && !ht__cpu_has(base_of(level)));
    return level;
}

#if defined(__x86_64__)
static void take_tiles(int level, struct ht__ops *ops)
{
    ops->tile = ht__tile_activations;
    ops->matmul8 = level == EMULATED_AVX2 ? emulated_matmul8_avx2 : emulated_matmul8_avx512;
    ops->matmul16 = level == EMULATED_AVX2 ? emulated_matmul16_avx2 : emulated_matmul16_avx512;
    ops->split = level == EMULATED_AVX2 ? emulated_split_avx2 : emulated_split_avx512;
    ops->parts = 2;
}

static void take_dots(struct ht__ops *ops)
{
    ops->matmul16 = emulated_matmul16_dots;
    ops->split = emulated_split_dots;
    ops->parts = 1;
}
#endif

const struct ht__ops *ops_of(int level)
{
#if defined(__x86_64__)
    static struct ht__ops emulated;
    if (level >= EMULATED_AVX2) {
        emulated = *ht__ops(base_of(level));
        if (level == EMULATED_DOTS)
            take_dots(&emulated);
        else
            take_tiles(level, &emulated);
        return &emulated;
    }
#endif
    return ht__ops(base_of(level));
}

const char *name_of(int level)
{
    return level == EMULATED_AVX2     ? "emulated tiles beside avx2"
           : level == EMULATED_AVX512 ? "emulated tiles beside avx512"
           : level == EMULATED_DOTS   ? "emulated products of BF16 beside avx2"
                                      : ht__cpu_level_name(base_of(level));
}
