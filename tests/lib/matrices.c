#include "lib/matrices.h"

#include "kernels/half.h"
#include "lib/levels.h"
#include "lib/rows.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void any_bytes(uint8_t *bytes, size_t size, uint32_t seed)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)((seed = seed * 1664525u + 1013904223u) >> 24);
}

/* Blocks that are not sound, or beyond what sums of floats hold, become zero. */
static void only_sound_blocks(struct matrix *m)
{
    const struct ht__codec *c = m->codec;
    uint8_t *block = m->packed.data;
    float w[256];
    for (size_t at = 0; at < m->packed.size; at += c->block_size, block += c->block_size) {
        bool sound = !c->check || c->check(block, 1) < 0;
        if (sound) c->decode(block, c->block_len, w);
        for (uint32_t i = 0; sound && i < c->block_len; i++)
            sound = fabsf(w[i]) < 1e20f && (w[i] == 0 || fabsf(w[i]) > 1e-20f);
        if (!sound) memset(block, 0, c->block_size);
    }
}

struct matrix make_matrix(const struct ht__codec *c, int n_rows, int64_t n_in, bool any, bool after)
{
    int64_t n = n_rows * n_in;
    struct matrix m = {.codec = c, .n_rows = n_rows, .n_in = n_in};
    m.row_bytes = ht__codec_bytes(c, (uint64_t)n_in);
    m.packed = (after ? guard_after : guard_before)(m.row_bytes * (size_t)n_rows);
    m.decoded = malloc((size_t)n * sizeof(float));
    if (any || !c->encode) {
        any_bytes(m.packed.data, m.packed.size, (uint32_t)(n + c->block_size));
    } else {
        float *importance = malloc((size_t)n_in * sizeof(float));
        rows_fill(ROWS_GAUSSIAN, (uint64_t)n, n, m.decoded);
        rows_importance((uint64_t)n_rows, n_in, importance);
        ht__encoder(c, ht__cpu_best())(m.decoded, n_rows, n_in, importance, m.packed.data);
        free(importance);
    }
    only_sound_blocks(&m);
    c->decode(m.packed.data, n, m.decoded);
    return m;
}

void free_matrix(struct matrix *m)
{
    guard_free(&m->packed);
    free(m->decoded);
}

struct ht__matmul_weights part_of(const struct matrix *m, int level, int row, int count)
{
    return (struct ht__matmul_weights){
        .decode = ht__decoder(m->codec, base_of(level)),
        .rows = (uint8_t *)m->packed.data + (size_t)row * m->row_bytes,
        .row_bytes = m->row_bytes,
        .block_len = m->codec->block_len,
        .block_size = m->codec->block_size,
        .n_in = m->n_in,
        .n_rows = count,
    };
}

struct tokens make_tokens(int64_t n, int64_t len, int64_t gap, bool after)
{
    struct tokens t = {.n = n, .ld = len + gap};
    size_t count = (size_t)((n - 1) * t.ld + len);
    t.memory = (after ? guard_after : guard_before)(count * sizeof(float));
    t.x = t.memory.data;
    rows_fill(ROWS_GAUSSIAN, (uint64_t)(n * 77 + len), (int64_t)count, t.x);
    return t;
}

void check_gaps(const struct tokens *y, int64_t n_rows)
{
    for (int64_t t = 0; t + 1 < y->n; t++)
        for (int64_t i = n_rows; i < y->ld; i++)
            if (ht__f32_bits(y->x[t * y->ld + i]) != 0xA5A5A5A5u) fail_msg("written beyond the rows");
}

struct tokens make_results(int64_t n, int64_t n_rows, bool after)
{
    struct tokens y = {.n = n, .ld = n_rows + 3};
    y.memory = (after ? guard_after : guard_before)((size_t)((n - 1) * y.ld + n_rows) * sizeof(float));
    y.x = y.memory.data;
    return y;
}

void near_the_sums(const struct matrix *m, const struct tokens *x, const struct tokens *y, double share, int roundings,
                   const char *where)
{
    double allowed = share + roundings * (double)m->n_in * HALF_ULP;
    for (int64_t t = 0; t < x->n; t++)
        for (int r = 0; r < m->n_rows; r++) {
            double sum = 0, size = 0;
            for (int64_t k = 0; k < m->n_in; k++) {
                double p = (double)x->x[t * x->ld + k] * (double)m->decoded[r * m->n_in + k];
                sum += p;
                size += fabs(p);
            }
            double error = fabs(sum - (double)y->x[t * y->ld + r]);
            if (!(error <= allowed * size + (share > 0 ? (double)m->n_in : 1) * (double)FLT_MIN))
                fail_msg("%s at %s: token %d, row %d of %d x %d: off by %g of %g", m->codec->name, where, (int)t, r,
                         m->n_rows, (int)m->n_in, error, size);
        }
}
