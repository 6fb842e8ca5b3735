/* Which SIMD levels this machine and its operating system can run. */
#include "kernels/codec.h"

static const char *const names[HT__CPU_N_LEVELS] = {
#define HT__CPU_NAME(name) #name,
    HT__CPU_LEVELS(HT__CPU_NAME)
#undef HT__CPU_NAME
};

const char *ht__cpu_level_name(enum ht__cpu_level level)
{
    return level < HT__CPU_N_LEVELS ? names[level] : "unknown";
}

/* __builtin_cpu_supports also asks XGETBV whether the system saves the wide registers. */
bool ht__cpu_has(enum ht__cpu_level level)
{
    switch (level) {
    case HT__CPU_scalar: return true;
#if defined(__x86_64__) && !defined(HT_SCALAR_ALONE)
    case HT__CPU_avx2:
        return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
               __builtin_cpu_supports("bmi2");
    case HT__CPU_avx512:
        return ht__cpu_has(HT__CPU_avx2) && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
               __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vbmi") &&
               __builtin_cpu_supports("avx512vbmi2") && __builtin_cpu_supports("avx512vnni") &&
               __builtin_cpu_supports("avx512bitalg") && __builtin_cpu_supports("avx512vpopcntdq");
#endif
    default: return false;
    }
}

enum ht__cpu_level ht__cpu_best(void)
{
    enum ht__cpu_level best = HT__CPU_scalar;
    for (int level = 0; level < HT__CPU_N_LEVELS; level++)
        if (ht__cpu_has((enum ht__cpu_level)level)) best = (enum ht__cpu_level)level;
    return best;
}
