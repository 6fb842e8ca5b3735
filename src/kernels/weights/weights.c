/* The scalar level of the loops over weights, and the choice of a level. */
#include "kernels/weights/weights.h"

enum { PROBE_LANES = 8 };
#define ROUNDER 12582912.0f /* 1.5 * 2^23: adding it rounds to a whole number, half to even */

static float add_lanes(const float a[PROBE_LANES])
{
    return ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]));
}

static inline void add_code(const struct ht__probe *p, int64_t i, float *xq, float *qq)
{
    float y = p->x[i] * p->inverse;
    y = y < p->least ? p->least : y;
    y = y > p->most ? p->most : y;
    float q = (y + ROUNDER) - ROUNDER, wq = p->importance ? p->importance[i] * q : q;
    *xq += p->x[i] * wq;
    *qq += q * wq;
}

static void probe(const struct ht__probe *probes, int n_probes, int64_t n, float *xq, float *qq)
{
    for (int k = 0; k < n_probes; k++) {
        float lanes_xq[PROBE_LANES] = {0}, lanes_qq[PROBE_LANES] = {0};
        for (int64_t i = 0; i < n; i++)
            add_code(&probes[k], i, &lanes_xq[i % PROBE_LANES], &lanes_qq[i % PROBE_LANES]);
        xq[k] = add_lanes(lanes_xq);
        qq[k] = add_lanes(lanes_qq);
    }
}

static void look_up(const float value[16], const uint8_t *q, int64_t n, float *x)
{
    for (int64_t i = 0; i < n; i++)
        x[i] = value[q[i] & 15];
}

static void replace(const uint8_t code[16], uint8_t *q, int n)
{
    for (int i = 0; i < n; i++)
        q[i] = code[q[i] & 15];
}

#define WEIGHTS_BYTES 16
#define WEIGHTS_NAME ht__weight_ops_scalar
#include "kernels/weights/weights_tmpl.h"

const struct ht__weight_ops *ht__weight_ops(enum ht__cpu_level level)
{
#if defined(__x86_64__) && !defined(HT_SCALAR_ALONE)
    if (level >= HT__CPU_avx512 && ht__cpu_has(HT__CPU_avx512)) return &ht__weight_ops_avx512;
    if (level >= HT__CPU_avx2 && ht__cpu_has(HT__CPU_avx2)) return &ht__weight_ops_avx2;
#endif
    (void)level;
    return &ht__weight_ops_scalar;
}

enum ht__rounding ht__rounding_of(const struct ht__codec *dtype)
{
    return dtype == &ht__codec_bf16 ? HT__TO_BF16 : dtype == &ht__codec_f16 ? HT__TO_F16 : HT__TO_F32;
}
