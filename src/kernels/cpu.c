/* Which SIMD levels this machine and its operating system can run. */
#include "kernels/codec.h"

#if defined(__x86_64__) && !defined(HT_SCALAR_ALONE)
#include <cpuid.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>
#elif defined(__aarch64__) && defined(__linux__) && !defined(HT_SCALAR_ALONE)
#include <sys/auxv.h>
#endif

static const char *const names[HT__CPU_N_LEVELS] = {
#define HT__CPU_NAME(name) #name,
    HT__CPU_LEVELS(HT__CPU_NAME)
#undef HT__CPU_NAME
};

const char *ht__cpu_level_name(enum ht__cpu_level level)
{
    return level < HT__CPU_N_LEVELS ? names[level] : "unknown";
}

#if defined(__x86_64__) && !defined(HT_SCALAR_ALONE)
/* The processor's words, and XCR0: the system saves the tiles' shapes (bit 17) and what is in them (18). */
static bool machine_has_tiles(void)
{
    const unsigned osxsave = 1u << 27, bf16 = 1u << 22, tile = 1u << 24, int8 = 1u << 25, saved = 3u << 17;
    unsigned a, b, c, d, low, high;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & osxsave)) return false;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || (d & (bf16 | tile | int8)) != (bf16 | tile | int8)) return false;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & saved) == saved;
}

/* Linux wants to be asked, once a process: threads need larger frames for signals then, and it may say no. */
static bool tiles_granted(void)
{
#if defined(__linux__) && defined(SYS_arch_prctl)
    enum { ASK = 0x1023, TILE_DATA = 18 }; /* ARCH_REQ_XCOMP_PERM, XFEATURE_XTILE_DATA */
    return syscall(SYS_arch_prctl, ASK, TILE_DATA) == 0;
#else
    return false;
#endif
}

static bool has_tiles(void)
{
    enum { UNKNOWN, YES, NO };
    static atomic_int known = UNKNOWN; /* asking again gives the same answer */
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (answer == UNKNOWN) {
        answer = machine_has_tiles() && tiles_granted() ? YES : NO;
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == YES;
}
#endif

#if defined(__aarch64__) && !defined(HT_SCALAR_ALONE)
/* What the kernel says, as the registers that tell it are its own. */
static bool has_dot_products(void)
{
#if defined(__linux__)
    const unsigned long simd = 1ul << 1, dots = 1ul << 20; /* HWCAP_ASIMD, HWCAP_ASIMDDP */
    return (getauxval(AT_HWCAP) & (simd | dots)) == (simd | dots);
#else
    return false;
#endif
}
#endif

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
    case HT__CPU_avx512bf16: return ht__cpu_has(HT__CPU_avx512) && __builtin_cpu_supports("avx512bf16");
    case HT__CPU_amx: return ht__cpu_has(HT__CPU_avx512bf16) && has_tiles();
#elif defined(__aarch64__) && !defined(HT_SCALAR_ALONE)
    case HT__CPU_neon: return has_dot_products();
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

/* Intel's prefetchers stop at the end of a page of 4 KB, whatever the page that it lies in; AMD's do better without being told. */
size_t ht__cpu_row_ahead(void)
{
#if defined(__x86_64__) && !defined(HT_SCALAR_ALONE)
    return __builtin_cpu_is("intel") ? 4096 : 0;
#else
    return 0;
#endif
}
