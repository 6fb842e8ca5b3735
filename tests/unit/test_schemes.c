/* Every scheme of the list: parts that fit together, bytes that do not depend on how rows are grouped, and codes that
 * come back as they were packed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "schemes/scheme.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { N_SHAPES = 4 };
static const int64_t shapes[N_SHAPES][2] = {{128, 128}, {256, 384}, {384, 1024}, {72, 40}};
static const char *const dtypes[] = {"bf16", "f16", "f32", "bf16"};

struct made {
    struct ht__part parts[HT__SCHEME_PARTS];
    int n_parts;
    void *data[HT__SCHEME_PARTS];
};

/* Weights as models have them: near normal, rows of different sizes, a few large ones; held by the dtype. */
static float *weights(const struct ht__matrix *m, uint32_t seed)
{
    int64_t n = m->n_out * m->n_in;
    float *x = malloc((size_t)n * sizeof *x);
    char *held = malloc(ht__codec_bytes(m->dtype, (uint64_t)n));
    uint32_t state = seed;
    assert_non_null(x);
    assert_non_null(held);
    for (int64_t i = 0; i < n; i++) {
        float sum = 0;
        for (int k = 0; k < 6; k++) {
            state = state * 1664525u + 1013904223u;
            sum += (float)(state >> 8) / 16777216.0f - 0.5f;
        }
        x[i] = sum * 0.05f * (float)(1 + i / m->n_in % 5) * (state % 997 == 0 ? 8 : 1);
    }
    m->dtype->encode(x, m->n_out, m->n_in, NULL, held);
    m->dtype->decode(held, n, x);
    free(held);
    return x;
}

static void find_amax(struct ht__matrix *m, const float *x)
{
    m->amax = 0;
    for (int64_t i = 0; i < m->n_out * m->n_in; i++)
        m->amax = fabsf(x[i]) > m->amax ? fabsf(x[i]) : m->amax;
}

static struct made quantize(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x)
{
    struct made made = {.n_parts = 0};
    struct ht__arena scratch;
    ht__arena_init(&scratch, NULL);
    made.n_parts = p->scheme->parts(p, m, made.parts);
    assert_in_range(made.n_parts, 1, HT__SCHEME_PARTS);
    for (int i = 0; i < made.n_parts; i++) {
        made.data[i] = malloc(ht__part_bytes(&made.parts[i]));
        assert_non_null(made.data[i]);
        memset(made.data[i], 0xa5, ht__part_bytes(&made.parts[i]));
    }
    assert_int_equal(ht__scheme_quantize(p, m, x, made.data, &scratch, NULL), HT_OK);
    ht__arena_close(&scratch);
    return made;
}

static void free_made(struct made *made)
{
    for (int i = 0; i < made->n_parts; i++)
        free(made->data[i]);
}

/* The rows of a part tile it: pieces follow each other, in every line, whatever the steps. */
static void check_pieces(const struct ht__scheme_params *p, const struct ht__matrix *m, const struct ht__part *part)
{
    int64_t step = ht__scheme_rows(p, m);
    uint64_t total = 0;
    struct ht__part_piece piece;
    assert_true(step >= 1);
    if (part->place == HT__PART_WHOLE) return;
    for (int64_t row = 0; row < m->n_out; row += step) {
        int64_t n = m->n_out - row < step ? m->n_out - row : step;
        uint64_t here = 0;
        for (uint64_t i = 0; ht__part_piece(part, m, row, n, i, &piece); i++) {
            assert_true(piece.offset + piece.n_bytes <= ht__part_bytes(part));
            assert_int_equal(piece.packed, here);
            here += piece.n_bytes;
        }
        assert_int_equal(here, ht__part_rows_bytes(part, m, row, n));
        total += here;
    }
    assert_int_equal(total, ht__part_bytes(part));
}

/* By the smallest steps: the same bytes as ht__scheme_quantize() gave, and the same codes back. */
static void check_steps(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x,
                        const struct made *made)
{
    const struct ht__scheme *s = p->scheme;
    int64_t step = ht__scheme_rows(p, m);
    struct ht__arena arena;
    ht__arena_init(&arena, NULL);
    for (int64_t row = 0; row < m->n_out; row += step) {
        int64_t n = m->n_out - row < step ? m->n_out - row : step;
        struct ht__codes codes, again;
        struct ht__part_piece piece;
        void *packed[HT__SCHEME_PARTS] = {NULL};
        const void *src[HT__SCHEME_PARTS] = {NULL};
        assert_true(ht__codes_new(&codes, p, m, row, n, &arena));
        assert_true(ht__codes_new(&again, p, m, row, n, &arena));
        s->fit(p, m, x + row * m->n_in, NULL, &codes);
        s->nearest(p, m, x + row * m->n_in, &codes);
        for (int i = 0; i < made->n_parts; i++) {
            bool whole = made->parts[i].place == HT__PART_WHOLE;
            if (!whole) packed[i] = ht__arena_raw(&arena, ht__part_rows_bytes(&made->parts[i], m, row, n) + 1);
            src[i] = whole ? made->data[i] : packed[i];
        }
        s->pack(p, m, &codes, packed);
        for (int i = 0; i < made->n_parts; i++)
            for (uint64_t k = 0; ht__part_piece(&made->parts[i], m, row, n, k, &piece); k++)
                assert_memory_equal((char *)packed[i] + piece.packed, (char *)made->data[i] + piece.offset,
                                    piece.n_bytes);
        s->unpack(p, m, src, &again);
        assert_memory_equal(codes.q, again.q, (size_t)(n * m->n_in));
        ht__arena_reset(&arena);
    }
    ht__arena_close(&arena);
}

/* What comes back is near what went in: within a few steps of a uniform grid of so many codes. */
static void check_values(const struct ht__scheme_params *p, const struct ht__matrix *m, const float *x,
                         const struct made *made)
{
    int64_t n = m->n_out * m->n_in;
    float *again = malloc((size_t)n * sizeof *again);
    double error = 0, squares = 0, bytes = 0;
    struct ht__arena scratch;
    assert_non_null(again);
    ht__arena_init(&scratch, NULL);
    assert_int_equal(ht__scheme_dequantize(p, m, (const void *const *)made->data, again, &scratch, NULL), HT_OK);
    for (int64_t i = 0; i < n; i++) {
        assert_true(isfinite(again[i]));
        error += (x[i] - again[i]) * (x[i] - again[i]);
        squares += x[i] * x[i];
    }
    for (int i = 0; i < made->n_parts; i++)
        if (made->parts[i].place == HT__PART_ROWS || made->parts[i].place == HT__PART_COLUMNS)
            bytes += (double)ht__part_bytes(&made->parts[i]);
    double bits = bytes * 8 / (double)n, relative = sqrt(error / squares);
    double bound = fmax(8 * exp2(-bits), 0.03); /* small floats have four significant bits, and not more */
    if (relative > bound) print_message("%s: %.3f bits, error %.4f\n", p->scheme->name, bits, relative);
    assert_true(relative < bound);
    ht__arena_close(&scratch);
    free(again);
}

static void check(const struct ht__scheme_params *p, struct ht__matrix *m, uint32_t seed)
{
    float *x = weights(m, seed);
    find_amax(m, x);
    if (!p->scheme->unsuited(p, m)) {
        struct made made = quantize(p, m, x);
        for (int i = 0; i < made.n_parts; i++)
            check_pieces(p, m, &made.parts[i]);
        check_steps(p, m, x, &made);
        check_values(p, m, x, &made);
        free_made(&made);
    }
    free(x);
}

/* Every choice of each option, the others at their defaults. */
static void every_choice(const struct ht__scheme *scheme, struct ht__matrix *m)
{
    struct ht__scheme_params p;
    ht__scheme_defaults(scheme, &p);
    check(&p, m, 7);
    for (int i = 0; scheme->options && scheme->options[i].name; i++) {
        char list[200], *rest = list, *word;
        if (!scheme->options[i].choices || scheme->options[i].reading) continue;
        snprintf(list, sizeof list, "%s", scheme->options[i].choices);
        while ((word = strsep(&rest, " ")) != NULL) {
            char text[120];
            snprintf(text, sizeof text, "%s:%s=%s", scheme->name, scheme->options[i].name, word);
            assert_int_equal(ht__scheme_parse(text, &p, NULL), HT_OK);
            check(&p, m, 11);
        }
    }
}

static void test_every_scheme(void **state)
{
    const struct ht__scheme *scheme;
    for (size_t i = 0; (scheme = ht__scheme_at(i)) != NULL; i++) {
        if (scheme->flags & HT__SCHEME_READ_ONLY) continue;
        for (size_t k = 0; k < N_SHAPES; k++) {
            struct ht__matrix m = {.n_out = shapes[k][0], .n_in = shapes[k][1], .dtype = ht__codec_by_name(dtypes[k])};
            every_choice(scheme, &m);
        }
    }
}

static void test_options(void **state)
{
    struct ht__scheme_params p;
    struct ht_diag diag = {0};
    char text[100];
    assert_int_equal(ht__scheme_parse("NF4:block=128", &p, &diag), HT_OK);
    assert_true(ht__scheme_get(&p, "block") == 128);
    assert_string_equal(ht__scheme_text(&p, text, sizeof text), "nf4:block=128");
    assert_int_equal(ht__scheme_parse("nf4:block=64", &p, &diag), HT_OK);
    assert_string_equal(ht__scheme_text(&p, text, sizeof text), "nf4");
    assert_int_equal(ht__scheme_parse("nf4:", &p, &diag), HT_ERR_USAGE);
    assert_int_equal(ht__scheme_parse("nf4:block", &p, &diag), HT_ERR_USAGE);
    assert_int_equal(ht__scheme_parse("nf4:block=65", &p, &diag), HT_ERR_USAGE);
    assert_int_equal(ht__scheme_parse("nf4:blocks=64", &p, &diag), HT_ERR_USAGE);
    assert_int_equal(ht__scheme_parse("nf4:block=64,", &p, &diag), HT_ERR_USAGE);
    assert_int_equal(ht__scheme_parse("nf5", &p, &diag), HT_ERR_NOT_FOUND);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_scheme),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
