/* HQQ's and AWQ gemv's layouts, which are only read. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "schemes/scheme.h"

#include <stdio.h>
#include <string.h>

static void dequantize(const char *type, const struct ht__matrix *m, const void *const parts[], float *x)
{
    struct ht__scheme_params p;
    struct ht__arena scratch;
    assert_int_equal(ht__scheme_parse(type, &p, NULL), HT_ERR_NOT_FOUND); /* nothing is written so */
    assert_int_equal(ht__scheme_parse_reading(type, &p, NULL), HT_OK);
    assert_null(p.scheme->unsuited(&p, m));
    ht__arena_init(&scratch, NULL);
    assert_int_equal(ht__scheme_dequantize(&p, m, parts, x, &scratch, NULL), HT_OK);
    ht__arena_close(&scratch);
}

/* The column 1 … 8 in four bytes: the first half is in the upper bits. */
static void test_halves(void **state)
{
    static const uint8_t packed[4] = {0x15, 0x26, 0x37, 0x48};
    float scale[8], zero[8], x[8];
    struct ht__matrix m = {.n_out = 8, .n_in = 1, .dtype = &ht__codec_f32};
    for (int i = 0; i < 8; i++) {
        scale[i] = 2;
        zero[i] = 0.25f * (float)i;
    }
    dequantize("hqq:group=1,axis=1,dtype=f32", &m, (const void *const[]){packed, scale, zero}, x);
    for (int i = 0; i < 8; i++)
        assert_true(x[i] == ((float)(i + 1) - zero[i]) * 2);
    m = (struct ht__matrix){
        .n_out = 4, .n_in = 2, .dtype = &ht__codec_f32}; /* the same weights in rows of two, a group down a column */
    dequantize("hqq:group=8,axis=0,dtype=f32", &m, (const void *const[]){packed, scale + 1, zero + 1}, x);
    for (int i = 0; i < 8; i++)
        assert_true(x[i] == ((float)(i + 1) - 0.25f) * 2);
}

/* Ten lines in a word; the last lines of 12 are filled up. */
static void test_three_bits(void **state)
{
    uint32_t packed[2] = {0};
    float one[12], zero[12] = {0}, x[12];
    struct ht__matrix m = {.n_out = 12, .n_in = 1, .dtype = &ht__codec_f32};
    for (int i = 0; i < 12; i++) {
        one[i] = 1;
        packed[i % 2] |= (uint32_t)(i % 8) << (27 - i / 2 * 3);
    }
    dequantize("hqq:bits=3,group=1,axis=1,dtype=f32", &m, (const void *const[]){packed, one, zero}, x);
    for (int i = 0; i < 12; i++)
        assert_true(x[i] == (float)(i % 8));
}

/* The code of weight i of the matrix of lines, as the layout is described. */
static unsigned code_at(const uint8_t *packed, int bits, int64_t lines, int64_t length, int64_t i)
{
    int fold = bits == 3 ? 10 : bits > 4 ? 1 : 8 / bits;
    int64_t step = (lines + fold - 1) / fold, line = i / length, at = line % step * length + i % length;
    uint32_t word;
    if (fold < 10) return packed[at] >> (8 / fold * (fold - 1 - line / step)) & ((1u << (8 / fold)) - 1);
    memcpy(&word, packed + 4 * at, 4);
    return word >> (27 - 3 * (line / step)) & 7;
}

struct grid {
    int bits, axis;
    int64_t group, n_out, n_in;
};

/* The pieces of some rows, as they are read of a file: each byte of a part at most as often as it is shared. */
static void take_rows(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__part *parts,
                      const void *const whole[], int64_t row, int64_t n, float *x)
{
    struct ht__arena arena;
    struct ht__codes codes;
    struct ht__part_piece piece;
    const void *src[HT__SCHEME_PARTS];
    ht__arena_init(&arena, NULL);
    for (int i = 0; i < 3; i++) {
        uint64_t bytes = ht__part_rows_bytes(&parts[i], m, row, n), sum = 0;
        char *rows = ht__arena_raw(&arena, bytes + 64);
        for (uint64_t k = 0; ht__part_piece(&parts[i], m, row, n, k, &piece); k++) {
            assert_int_equal(piece.packed, sum);
            assert_true(piece.offset + piece.n_bytes <= ht__part_bytes(&parts[i]));
            memcpy(rows + piece.packed, (const char *)whole[i] + piece.offset, piece.n_bytes);
            sum += piece.n_bytes;
        }
        assert_int_equal(sum, bytes);
        assert_true(bytes <= (uint64_t)(n * m->n_in * 4)); /* never the whole part */
        src[i] = rows;
    }
    assert_true(ht__codes_new(&codes, p, m, row, n, &arena));
    p->scheme->unpack(p, m, src, &codes);
    p->scheme->value(p, m, &codes, x);
    ht__arena_close(&arena);
}

/* Some rows alone are what they are in the whole matrix, wherever folds and groups end. */
static void check_windows(const struct grid *g)
{
    enum { MOST = 4096 };
    uint8_t packed[4 * MOST];
    float scale[MOST], zero[MOST], x[MOST];
    char type[80];
    struct ht__scheme_params p;
    struct ht__part parts[HT__SCHEME_PARTS];
    struct ht__matrix m = {.n_out = g->n_out, .n_in = g->n_in, .dtype = &ht__codec_f32};
    snprintf(type, sizeof type, "hqq:bits=%d,group=%d,axis=%d,dtype=f32", g->bits, (int)g->group, g->axis);
    assert_int_equal(ht__scheme_parse_reading(type, &p, NULL), HT_OK);
    assert_null(p.scheme->unsuited(&p, &m));
    assert_int_equal(p.scheme->parts(&p, &m, parts), 3);
    int64_t n = g->n_out * g->n_in, lines = g->axis ? n / g->group : g->group, length = n / lines;
    for (size_t i = 0; i < sizeof packed; i++)
        packed[i] = (uint8_t)(i * 167 + i / 256);
    for (int i = 0; i < MOST; i++) {
        scale[i] = (float)(i + 1);
        zero[i] = (float)(i % 5);
    }
    int64_t multiple = ht__scheme_rows(&p, &m);
    for (int64_t row = 0; row < g->n_out; row += multiple)
        for (int64_t rows = multiple; row + rows <= g->n_out || rows == multiple; rows += multiple) {
            if (rows > g->n_out - row) rows = g->n_out - row;
            take_rows(&p, &m, parts, (const void *const[]){packed, scale, zero}, row, rows, x);
            for (int64_t i = 0, at = row * g->n_in; i < rows * g->n_in; i++, at++) {
                int64_t of = g->axis ? at / length : at % length;
                float expected = ((float)code_at(packed, g->bits, lines, length, at) - zero[of]) * scale[of];
                if (x[i] != expected) fail_msg("%s: row %d, weight %d", type, (int)row, (int)i);
            }
            if (rows % multiple) break;
        }
}

static void test_windows(void **state)
{
    static const struct grid grids[] = {
        {4, 1, 8, 12, 16},  {4, 1, 24, 12, 16}, {4, 0, 8, 12, 16},  {4, 0, 48, 12, 16}, {2, 1, 16, 9, 64},
        {2, 0, 64, 16, 20}, {1, 1, 8, 8, 24},   {1, 0, 16, 10, 24}, {3, 1, 16, 21, 16}, {3, 1, 32, 6, 48},
        {3, 0, 12, 21, 16}, {8, 1, 8, 5, 24},   {8, 0, 10, 5, 24},  {4, 1, 64, 8, 96},  {5, 1, 8, 5, 24},
    };
    for (size_t i = 0; i < sizeof grids / sizeof grids[0]; i++)
        check_windows(&grids[i]);
}

static void test_gemv(void **state)
{
    enum { N_OUT = 3, N_IN = 64, WIDTH = 4 };
    uint32_t qweight[N_OUT * N_IN / 8], qzeros[N_OUT * WIDTH] = {0};
    uint16_t scales[N_OUT * WIDTH * 8] = {0};
    float x[N_OUT * N_IN];
    struct ht__matrix m = {.n_out = N_OUT, .n_in = N_IN, .dtype = &ht__codec_f16};
    for (int i = 0; i < N_OUT * N_IN / 8; i++)
        qweight[i] = 0x76543210;
    for (int row = 0; row < N_OUT; row++) {
        qzeros[row * WIDTH] = 0x53;           /* of two groups; the rest is padding */
        scales[row * WIDTH * 8] = 0x3c00;     /* 1 */
        scales[row * WIDTH * 8 + 1] = 0xc000; /* -2 */
    }
    dequantize("awq-gemv:group=32", &m, (const void *const[]){qweight, qzeros, scales}, x);
    for (int i = 0; i < N_OUT * N_IN; i++)
        assert_true(x[i] == (i % N_IN < 32 ? (float)(i % 8 - 3) : (float)(i % 8 - 5) * -2));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_halves), cmocka_unit_test(test_three_bits),
                                       cmocka_unit_test(test_windows), cmocka_unit_test(test_gemv)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
