/*
 * The grids of the block formats: scale * value + offset is what decode gives, for encoded rows of every kind and for
 * codes put in their place.
 */
#include "kernels/codec.h"
#include "lib/rows.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LEN = 1024, ROWS = 4, N = LEN * ROWS, MAX_BLOCK = 256 };

static float value(const struct ht__grid *g, int code)
{
    return g->values ? (float)g->values[code] : (float)code;
}

/* The same bits, but that zeros may differ in sign. */
static bool same(float a, float b)
{
    return memcmp(&a, &b, sizeof a) == 0 || (a == 0 && b == 0);
}

static void expect_decoded(const struct ht__codec *c, const void *block, const uint8_t *codes, const float *scale,
                           const float *offset)
{
    float decoded[MAX_BLOCK];
    c->decode(block, c->block_len, decoded);
    for (int i = 0; i < (int)c->block_len; i++) {
        int s = i / c->grid->group;
        float got = scale[s] * value(c->grid, codes[i]) + offset[s];
        if (!same(got, decoded[i]))
            fail_msg("%s: weight %d is %a, decoded %a", c->name, i, (double)got, (double)decoded[i]);
    }
}

static void check_block(const struct ht__codec *c, unsigned char *block, uint32_t *state)
{
    unsigned char copy[MAX_BLOCK];
    uint8_t codes[MAX_BLOCK], again[MAX_BLOCK];
    float scale[MAX_BLOCK], offset[MAX_BLOCK];
    c->grid->read(block, codes, scale, offset);
    for (int i = 0; i < (int)c->block_len; i++)
        assert_in_range(codes[i], 0, c->grid->n_codes - 1);
    expect_decoded(c, block, codes, scale, offset);
    memcpy(copy, block, c->block_size);
    c->grid->write(copy, codes);
    assert_memory_equal(copy, block, c->block_size);
    for (int i = 0; i < (int)c->block_len; i++) {
        *state = *state * 1664525u + 1013904223u;
        codes[i] = (uint8_t)((*state >> 16) % (uint32_t)c->grid->n_codes);
    }
    c->grid->write(copy, codes);
    expect_decoded(c, copy, codes, scale, offset);
    c->grid->read(copy, again, scale, offset);
    assert_memory_equal(again, codes, c->block_len);
}

static void grids_give_what_is_decoded(void **state)
{
    (void)state;
    static float x[N], w[LEN];
    static unsigned char out[N * 4];
    uint32_t random = 1;
    rows_importance(7, LEN, w);
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        if (!c->grid) continue;
        int sound = 0;
        for (int kind = 0; kind < ROWS_N_KINDS; kind++) {
            rows_fill((enum row_kind)kind, 11, N, x);
            c->encode(x, ROWS, LEN, kind % 2 ? w : NULL, out);
            for (int b = 0; b < N / (int)c->block_len; b++) {
                unsigned char *block = out + b * (int)c->block_size;
                if (c->check && c->check(block, 1) >= 0) continue; /* scales that a half does not hold */
                check_block(c, block, &random);
                sound++;
            }
        }
        if (sound < 8 * N / (int)c->block_len) fail_msg("%s: only %d blocks were sound", c->name, sound);
    }
}

static void values_ascend_and_groups_divide_blocks(void **state)
{
    (void)state;
    int grids = 0;
    for (size_t i = 0; i < ht__codec_count(); i++) {
        const struct ht__codec *c = ht__codec_at(i);
        const struct ht__grid *g = c->grid;
        /* the lattice types, and types whose weights have no scales, have none */
        bool none = strncmp(c->name, "iq1", 3) == 0 || strncmp(c->name, "iq2", 3) == 0 ||
                    strncmp(c->name, "iq3", 3) == 0 || c->block_len == 1;
        if (!g != none) fail_msg("%s has %s grid", c->name, g ? "a" : "no");
        if (!g) continue;
        grids++;
        assert_int_equal(c->block_len % (uint32_t)g->group, 0);
        assert_in_range(c->block_len, 1, MAX_BLOCK);
        assert_in_range(g->n_codes, 2, 256);
        for (int k = 1; k < g->n_codes; k++)
            if (value(g, k) < value(g, k - 1) || (value(g, k) == value(g, k - 1) && value(g, k) != 0))
                fail_msg("%s: value %d is not above value %d", c->name, k, k - 1);
    }
    assert_int_equal(grids, 18);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grids_give_what_is_decoded),
        cmocka_unit_test(values_ascend_and_groups_divide_blocks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
