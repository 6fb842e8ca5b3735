/* What a core can do at most: multiply-adds of registers alone, a multiplication and an addition being two, in Gop/s of the
 * thread's own time. */
#ifndef HT_BENCH_LIMITS_H
#define HT_BENCH_LIMITS_H

#include "clock.h"

#if defined(__x86_64__)
#include <immintrin.h>

/* Independent sums: more than any core has in flight. */
#define LIMIT(name, features, type, zero, step, per_step)                                                              \
    __attribute__((target(features))) static inline double name(int tries)                                             \
    {                                                                                                                  \
        enum { STEPS = 1 << 20 };                                                                                      \
        double best = 0;                                                                                               \
        for (int try = 0; try < tries; try++) {                                                                        \
            type s[10], one = zero();                                                                                  \
            __asm__ volatile("" : "+v"(one));                                                                          \
            for (int i = 0; i < 10; i++)                                                                               \
                s[i] = zero();                                                                                         \
            double start = thread_seconds();                                                                           \
            for (int k = 0; k < STEPS; k++) {                                                                          \
                for (int i = 0; i < 10; i++) {                                                                         \
                    s[i] = step;                                                                                       \
                    __asm__ volatile("" : "+v"(s[i]));                                                                 \
                }                                                                                                      \
            }                                                                                                          \
            double rate = 10.0 * STEPS * (per_step) / (thread_seconds() - start) / 1e9;                                \
            best = rate > best ? rate : best;                                                                          \
        }                                                                                                              \
        return best;                                                                                                   \
    }
LIMIT(floats_avx2, "avx2,fma", __m256, _mm256_setzero_ps, _mm256_fmadd_ps(one, one, s[i]), 16)
LIMIT(floats_avx512, "avx512f", __m512, _mm512_setzero_ps, _mm512_fmadd_ps(one, one, s[i]), 32)
LIMIT(bytes_avx2, "avx2", __m256i, _mm256_setzero_si256, _mm256_add_epi16(s[i], _mm256_maddubs_epi16(one, s[i])), 64)
LIMIT(bytes_avx512, "avx512f,avx512vnni", __m512i, _mm512_setzero_si512, _mm512_dpbusd_epi32(s[i], one, one), 128)
#undef LIMIT
#endif

#endif
