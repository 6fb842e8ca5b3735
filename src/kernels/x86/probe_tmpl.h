/*
 * Sums of a search of integer grids, several probes side by side, so that additions do not wait for each other. Included
 * after vec_<level>.h with v_eights, which puts eight floats of each of PROBES probes into a vector.
 */
#include "kernels/weights/weights.h"

#include <string.h>

enum { PROBES = VL / 8, SIDE = 4 };

struct beside {
    const float *x[SIDE][PROBES], *importance[SIDE][PROBES];
    vf inverse[SIDE], least[SIDE], most[SIDE], xq[SIDE], qq[SIDE];
};

VEC vf v_round(vf y)
{
    return v_sub(v_add(y, v_set(12582912.0f)), v_set(12582912.0f));
}

VEC void add_eights(struct beside *b, int64_t at, bool weighted)
{
    for (int k = 0; k < SIDE; k++) {
        const float *const *x = b->x[k], *const *w = b->importance[k];
        vf v = v_eights(x, at), y = v_min(b->most[k], v_max(b->least[k], v_mul(v, b->inverse[k])));
        vf q = v_round(y), wq = weighted ? v_mul(v_eights(w, at), q) : q;
        b->xq[k] = v_add(b->xq[k], v_mul(v, wq));
        b->qq[k] = v_add(b->qq[k], v_mul(q, wq));
    }
}

/* Past the last probe, the last one again. */
VEC void set_beside(struct beside *b, const struct ht__probe *probes, int n)
{
    float inverse[VL], least[VL], most[VL];
    for (int k = 0; k < SIDE; k++) {
        for (int j = 0; j < VL; j++) {
            int i = k * PROBES + j / 8;
            const struct ht__probe *p = &probes[i < n ? i : n - 1];
            b->x[k][j / 8] = p->x;
            b->importance[k][j / 8] = p->importance;
            inverse[j] = p->inverse;
            least[j] = p->least;
            most[j] = p->most;
        }
        b->inverse[k] = v_load(inverse);
        b->least[k] = v_load(least);
        b->most[k] = v_load(most);
        b->xq[k] = b->qq[k] = v_zero();
    }
}

/* The last weights, fewer than eight, in front of zeros, which add nothing. */
VEC void add_rest(struct beside *b, int64_t at, int64_t n, bool weighted)
{
    float x[SIDE][PROBES][8] = {{{0}}}, w[SIDE][PROBES][8] = {{{0}}};
    for (int k = 0; k < SIDE; k++)
        for (int j = 0; j < PROBES; j++) {
            memcpy(x[k][j], b->x[k][j] + at, (size_t)n * sizeof(float));
            if (weighted) memcpy(w[k][j], b->importance[k][j] + at, (size_t)n * sizeof(float));
            b->x[k][j] = x[k][j];
            b->importance[k][j] = w[k][j];
        }
    add_eights(b, 0, weighted);
}

VEC void put_sums(const vf sums[SIDE], int n, float *out)
{
    float a[SIDE * VL];
    for (int k = 0; k < SIDE; k++)
        v_store(a + k * VL, sums[k]);
    for (int i = 0; i < n; i++) {
        const float *s = a + 8 * i;
        out[i] = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
    }
}

VEC void probe_beside(const struct ht__probe *probes, int n_probes, int64_t n, bool weighted, float *xq, float *qq)
{
    struct beside b;
    int64_t i = 0;
    set_beside(&b, probes, n_probes);
    for (; i + 8 <= n; i += 8)
        add_eights(&b, i, weighted);
    if (i < n) add_rest(&b, i, n - i, weighted);
    put_sums(b.xq, n_probes, xq);
    put_sums(b.qq, n_probes, qq);
}

static void probe(const struct ht__probe *probes, int n_probes, int64_t n, float *xq, float *qq)
{
    for (int at = 0; at < n_probes; at += SIDE * PROBES) {
        int count = n_probes - at < SIDE * PROBES ? n_probes - at : SIDE * PROBES;
        if (probes[0].importance)
            probe_beside(probes + at, count, n, true, xq + at, qq + at);
        else
            probe_beside(probes + at, count, n, false, xq + at, qq + at);
    }
}
