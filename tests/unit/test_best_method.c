/* The parts of the method best, against plain computations in double. */
#include "base/arena.h"
#include "calibrate/experts.h"
#include "methods/best.h"
#include "methods/feedback.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N = 256, OUT = 40, MOST_OUT = 128, ROWS = 700, HELD = 90, STREAM = OUT };

static float f[(ROWS + HELD) * N], q[(ROWS + HELD) * N], r[(ROWS + HELD) * STREAM], w[MOST_OUT * N];
static struct ht__pool *pool;
static const struct ht__ops *ops;
static const struct ht__order act = {HT__ORDER_ACT, 0};

static float noise(uint64_t *state)
{
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        *state = *state * 6364136223846793005u + 1442695040888963407u;
        sum += (double)(*state >> 40) / (1 << 24) - .5;
    }
    return (float)sum;
}

/* Activations that go together, as real ones do: few directions, and columns of different sizes. */
static int fill(void **state)
{
    enum { DIRECTIONS = 60 };
    static float base[DIRECTIONS * N];
    uint64_t seed = 7;
    (void)state;
    for (int i = 0; i < DIRECTIONS * N; i++)
        base[i] = noise(&seed) * expf(noise(&seed));
    for (int t = 0; t < ROWS + HELD; t++) {
        float *row = f + t * N;
        for (int d = 0; d < DIRECTIONS; d++) {
            float much = noise(&seed) / (1 + (float)d / 8);
            for (int i = 0; i < N; i++)
                row[i] += much * base[d * N + i];
        }
        for (int i = 0; i < N; i++) {
            row[i] += .05f * noise(&seed);
            q[t * N + i] = row[i] + .05f * noise(&seed);
        }
        for (int i = 0; i < STREAM; i++)
            r[t * STREAM + i] = .1f * noise(&seed) + .05f * row[i];
    }
    for (int i = 0; i < MOST_OUT * N; i++)
        w[i] = noise(&seed) * .1f;
    ops = ht__ops(ht__cpu_best());
    return ht__pool_open(2, NULL, &pool, NULL) == HT_OK ? 0 : -1;
}

static int close_pool(void **state)
{
    (void)state;
    ht__pool_close(&pool);
    return 0;
}

/* In two calls, as passes come. */
static void open_site(struct ht__site_stats *s, const float *other, int n_stream, struct ht__pool *with)
{
    struct ht_diag diag = {0};
    int half = ROWS / 2 + 3;
    assert_int_equal(ht__site_open(s, N, n_stream, HELD - 1, NULL, &diag), HT_OK);
    assert_int_equal(ht__site_add(s, f, other, r, half, ops, with, &diag), HT_OK);
    assert_int_equal(ht__site_add(s, f + half * N, other + half * N, r + half * STREAM, ROWS - half, ops, with, &diag),
                     HT_OK);
    ht__site_hold(s, f + ROWS * N, other + ROWS * N, r + ROWS * STREAM, HELD);
    assert_int_equal(s->n_held, HELD - 1); /* as many as there is room for */
    ht__site_finish(s);
}

/* The lower half is all that is kept. */
static double gram_at(const struct ht__site_stats *s, int i, int j)
{
    return s->gram[ht__lower_at(i, j)];
}

static void near(double got, double want, double scale, double bound)
{
    if (fabs(got - want) > bound * scale) fail_msg("%g, not %g (of %g)", got, want, scale);
}

static void products_are_those_of_all_rows(void **state)
{
    struct ht__site_stats s, alone;
    struct ht__pool *one;
    (void)state;
    open_site(&s, q, STREAM, pool);
    for (int i = 0; i < N; i += 5)
        for (int j = 0; j < N; j++) {
            double gram = 0, cross = 0, stream = 0, size = 0;
            for (int t = 0; t < ROWS; t++) {
                gram += (double)q[t * N + i] * q[t * N + j];
                cross += (double)q[t * N + i] * f[t * N + j];
                stream += j < STREAM ? (double)q[t * N + i] * r[t * STREAM + j] : 0;
                size += fabs((double)q[t * N + i] * q[t * N + j]) + .1;
            }
            near(gram_at(&s, i, j) * ROWS, gram, size, 1e-5);
            near(s.cross[i * N + j] * ROWS, cross, size, 1e-5);
            if (j < STREAM) near(s.stream[i * STREAM + j] * ROWS, stream, size, 1e-5);
        }
    assert_int_equal(ht__pool_open(1, NULL, &one, NULL), HT_OK);
    open_site(&alone, q, STREAM, one);
    assert_memory_equal(s.gram, alone.gram, (size_t)ht__lower_size(N) * sizeof *s.gram);
    assert_memory_equal(s.cross, alone.cross, N * N * sizeof *s.cross);
    ht__site_close(&alone);
    ht__site_close(&s);
    ht__pool_close(&one);
}

static enum ht_err open_factor(struct ht__factor *factor, struct ht__gram *gram, const double *products, int n,
                               double damping, struct ht__order by)
{
    *factor = (struct ht__factor){.root = NULL};
    enum ht_err err = ht__gram_open(gram, products, n, by, NULL, NULL);
    return err == HT_OK ? ht__factor_open(factor, gram, damping, pool, NULL) : err;
}

/* Of a matrix with all of its numbers. */
static double *half_of(const double *whole, int n)
{
    double *half = calloc((size_t)ht__lower_size(n), sizeof *half);
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++)
            half[ht__lower_at(i, j)] = whole[i * n + j];
    return half;
}

/* H + damping, by places. */
static double damped(const struct ht__factor *factor, int i, int j)
{
    return (double)factor->gram->at[i * factor->gram->n + j] + (i == j ? factor->damping : 0);
}

static void factor_solves(void **state)
{
    struct ht__site_stats s;
    struct ht__gram gram;
    struct ht__factor factor;
    static _Alignas(64) float scratch[HT__MATMUL_SCRATCH];
    static float rows[OUT * N];
    (void)state;
    open_site(&s, q, 0, pool);
    assert_int_equal(open_factor(&factor, &gram, s.gram, N, .05, act), HT_OK);
    bool seen[N] = {false};
    for (int i = 0; i < N; i++) {
        int32_t c = factor.gram->column[i];
        assert_false(seen[c]);
        seen[c] = true;
        if (i) assert_true(gram_at(&s, c, c) >= gram_at(&s, factor.gram->column[i - 1], factor.gram->column[i - 1]));
        for (int j = 0; j < N; j++) {
            double sum = 0, want = gram_at(&s, c, factor.gram->column[j]) + (i == j ? factor.damping : 0);
            for (int k = 0; k <= i && k <= j; k++)
                sum += (double)factor.root[i * N + k] * factor.root[j * N + k];
            near(sum, want, gram_at(&s, factor.gram->column[N - 1], factor.gram->column[N - 1]), 1e-5);
            near(factor.gram->at[i * N + j], want - (i == j ? factor.damping : 0), fabs(want), 1e-6);
            assert_true(factor.root[i * N + j] == factor.root[j * N + i]);
        }
    }
    memcpy(rows, w, sizeof rows);
    ht__factor_solve(&factor, ops, rows, OUT, scratch);
    for (int k = 0; k < OUT; k++)
        for (int j = 0; j < N; j++) {
            double sum = 0, size = 0;
            for (int i = 0; i < N; i++) {
                sum += (double)rows[k * N + i] * damped(&factor, i, j);
                size += fabs((double)rows[k * N + i] * damped(&factor, i, j));
            }
            near(sum, w[k * N + j], size + 1e-6, 2e-4);
        }
    ht__factor_close(&factor), ht__gram_close(&gram);
    ht__site_close(&s);
}

/* Sizes that end within a panel of columns, a task's rows, a block of places and the rows that stand beside each other. The
 * factor's numbers are floats, and so are the sums of up to 256 products; solutions have a rounding for each of two n steps,
 * of sizes that are less than four times those of the matrix. */
static void sizes_that_end_within_blocks(void **state)
{
    static const int sizes[][2] = {{1, 1}, {31, 3}, {65, 64}, {200, 65}, {333, 130}};
    static _Alignas(64) float scratch[HT__MATMUL_SCRATCH];
    (void)state;
    for (size_t t = 0; t < sizeof sizes / sizeof sizes[0]; t++) {
        int n = sizes[t][0], n_rows = sizes[t][1];
        double *h = calloc((size_t)(n * n), sizeof *h);
        float *rows = malloc((size_t)(n * n_rows) * sizeof *rows);
        struct ht__gram gram;
        struct ht__factor factor;
        for (int i = 0; i < n; i++)
            for (int j = 0; j < n; j++)
                h[i * n + j] = exp(-.1 * abs(i - j)) + (i == j) * (1 + .01 * i);
        for (int i = 0; i < n * n_rows; i++)
            rows[i] = w[i % (MOST_OUT * N)];
        double *half = half_of(h, n);
        assert_int_equal(open_factor(&factor, &gram, half, n, .01, act), HT_OK);
        free(half);
        double top = sqrt(h[n * n - 1] + factor.damping);
        for (int i = 0; i < n; i++)
            for (int j = 0; j <= i; j++) {
                double sum = 0;
                for (int k = 0; k <= j; k++)
                    sum += (double)factor.root[i * n + k] * factor.root[j * n + k];
                double want = h[factor.gram->column[i] * n + factor.gram->column[j]] + (i == j ? factor.damping : 0);
                near(sum, want, top * top, 2 * 0x1p-24 * (j + 2));
            }
        ht__factor_solve(&factor, ops, rows, n_rows, scratch);
        for (int k = 0; k < n_rows; k++)
            for (int j = 0; j < n; j++) {
                double sum = 0, size = 0;
                for (int i = 0; i < n; i++) {
                    sum += (double)rows[k * n + i] * damped(&factor, i, j);
                    size += fabs((double)rows[k * n + i] * damped(&factor, i, j));
                }
                near(sum, w[(k * n + j) % (MOST_OUT * N)], size, 4 * (2 * n + 4) * 0x1p-24);
            }
        ht__factor_close(&factor), ht__gram_close(&gram);
        free(h), free(rows);
    }
}

static void what_cannot_be_factored_is_damped_more(void **state)
{
    size_t n_numbers = (size_t)ht__lower_size(N);
    double *singular = calloc(n_numbers, sizeof *singular);
    struct ht__gram gram;
    struct ht__factor factor;
    (void)state;
    for (size_t i = 0; i < n_numbers; i++)
        singular[i] = -1; /* not even positive */
    for (int i = 0; i < N; i++)
        singular[ht__lower_at(i, i)] = 1;
    assert_int_equal(open_factor(&factor, &gram, singular, N, .05, act), HT_OK);
    assert_true(factor.damping > 100);
    ht__factor_close(&factor), ht__gram_close(&gram);
    memset(singular, 0, n_numbers * sizeof *singular); /* columns that nothing ever reached */
    assert_int_equal(open_factor(&factor, &gram, singular, N, .05, act), HT_OK);
    ht__factor_close(&factor), ht__gram_close(&gram);
    singular[ht__lower_at(0, 3)] = NAN;
    singular[0] = NAN;
    assert_int_equal(open_factor(&factor, &gram, singular, N, .05, act), HT_ERR_NONFINITE);
    ht__factor_close(&factor), ht__gram_close(&gram);
    free(singular);
}

/* (w - w^) (H + damping) (w - w^)', of all rows, w^ decoded. */
static double loss(const struct ht__factor *factor, const float *decoded)
{
    double sum = 0;
    for (int k = 0; k < OUT; k++)
        for (int i = 0; i < N; i++)
            for (int j = 0; j < N; j++) {
                int32_t a = factor->gram->column[i], b = factor->gram->column[j];
                sum += ((double)w[k * N + a] - decoded[k * N + a]) * damped(factor, i, j) *
                       ((double)w[k * N + b] - decoded[k * N + b]);
            }
    return sum;
}

/* Codes by feedback over the grid of rows that are encoded already. */
static void feed(const struct ht__codec *type, const struct ht__factor *factor, uint8_t *rows, int sweeps)
{
    static float placed[OUT * N];
    struct ht__feedback_buffers buffers;
    struct ht__coder coder;
    struct ht__arena arena;
    ht__arena_init(&arena, NULL);
    assert_int_equal(ht__coder_of_type(&coder, type, HT__CPU_scalar, OUT, N, &arena, NULL), HT_OK);
    assert_true(ht__feedback_open(&buffers, &coder, &arena));
    ht__feedback_place(factor, w, OUT, placed);
    ht__feedback_codes(factor, ops, &coder, placed, 0, OUT, &buffers, sweeps, rows);
    ht__arena_close(&arena);
}

static void feedback_and_sweeps_lower_the_loss(void **state)
{
    struct ht__site_stats s;
    struct ht__gram gram;
    struct ht__factor factor;
    static float decoded[OUT * N];
    static uint8_t plain[OUT * N * 4], rows[OUT * N * 4];
    (void)state;
    open_site(&s, q, 0, pool);
    assert_int_equal(open_factor(&factor, &gram, s.gram, N, .05, act), HT_OK);
    for (size_t t = 0; t < ht__codec_count(); t++) {
        const struct ht__codec *type = ht__codec_at(t);
        if (!type->grid || type->flags & HT__CODEC_NEEDS_IMPORTANCE) continue;
        type->encode(w, OUT, N, NULL, plain);
        type->decode(plain, OUT * N, decoded);
        double before = loss(&factor, decoded), last = before;
        for (int sweeps = 0; sweeps < 3; sweeps++) {
            memcpy(rows, plain, sizeof rows);
            feed(type, &factor, rows, sweeps);
            type->decode(rows, OUT * N, decoded);
            double after = loss(&factor, decoded);
            if (after > (sweeps ? last * 1.0001 : .9 * before))
                fail_msg("%s: %g after %d sweeps, %g before", type->name, after, sweeps, last);
            last = after;
        }
    }
    ht__factor_close(&factor), ht__gram_close(&gram);
    ht__site_close(&s);
}

static double held_error(const float *decoded, int n_out, const float *other, double share)
{
    double sum = 0, energy = 0;
    for (int t = ROWS; t < ROWS + HELD - 1; t++)
        for (int k = 0; k < n_out; k++) {
            double y = share != 0 ? (double)r[t * STREAM + k] / share : 0, got = 0;
            for (int i = 0; i < N; i++) {
                y += (double)f[t * N + i] * w[k * N + i];
                got += (double)other[t * N + i] * decoded[k * N + i];
            }
            sum += (y - got) * (y - got);
            energy += y * y;
        }
    return sum / energy;
}

/* A type, or a scheme with a colon behind its name: some types are called alike. */
static struct ht__scheme_params params;
static void open_coder(struct ht__coder *coder, const char *name, int n_out, struct ht__arena *arena)
{
    const struct ht__codec *type = ht__codec_by_name(name);
    char text[80];
    struct ht__matrix matrix = {.n_out = n_out, .n_in = N, .dtype = &ht__codec_bf16, .amax = .3f};
    if (type) {
        assert_int_equal(ht__coder_of_type(coder, type, ht__cpu_best(), n_out, N, arena, NULL), HT_OK);
        return;
    }
    snprintf(text, sizeof text, "%.*s", (int)(strlen(name) - (name[strlen(name) - 1] == ':')), name);
    assert_int_equal(ht__scheme_parse(text, &params, NULL), HT_OK);
    assert_null(params.scheme->unsuited(&params, &matrix));
    static int32_t list[N]; /* no two neighbours in a group */
    for (int i = 0; i < N; i++)
        list[i] = (int32_t)(i % params.scheme->groups(&params, &matrix, 1));
    if (ht__scheme_flags(&params) & HT__SCHEME_LISTED) matrix.column_group = list;
    assert_true(ht__coder_takes(&params, &matrix));
    assert_int_equal(ht__coder_of_scheme(coder, &params, &matrix, arena, NULL), HT_OK);
}

/* Are codes chosen one by one? */
static bool make_as(int how, const char *name, int n_out, struct ht__site_stats *s, double share,
                    struct ht__best_matrix *m)
{
    struct ht__best *best;
    struct ht__coder coder;
    struct ht__arena arena;
    static _Alignas(16) uint8_t coded[MOST_OUT * N * 9];
    static float decoded[MOST_OUT * N];
    ht__arena_init(&arena, NULL);
    open_coder(&coder, name, n_out, &arena);
    assert_true(coder.size <= sizeof coded);
    *m = (struct ht__best_matrix){.coder = &coder, .w = w, .share = share, .coded = coded, .decoded = decoded};
    assert_int_equal(ht__best_open(s, how, act, ops, pool, NULL, &best, NULL), HT_OK);
    assert_int_equal(ht__best_matrix(best, m, NULL), HT_OK);
    ht__best_close(&best);
    ht__arena_close(&arena);
    return coder.n_codes > 0;
}

static bool make(const char *name, int n_out, struct ht__site_stats *s, double share, struct ht__best_matrix *m)
{
    return make_as(0, name, n_out, s, share, m);
}

/* Every column has one place; those that come first are the last places. */
static void columns_have_an_order(void **state)
{
    enum { GROUP = 32 };
    struct ht__site_stats s;
    (void)state;
    open_site(&s, q, 0, pool);
    for (int kind = HT__ORDER_ACT; kind <= HT__ORDER_NATURAL; kind++) {
        struct ht__gram gram;
        struct ht__factor factor;
        struct ht__order order = {(enum ht__order_kind)kind, GROUP};
        assert_int_equal(open_factor(&factor, &gram, s.gram, N, .05, order), HT_OK);
        for (int i = 0; i < N; i++) {
            int before = factor.gram->column[i], here = i + 1 < N ? factor.gram->column[i + 1] : before;
            double a = gram_at(&s, before, before), b = gram_at(&s, here, here);
            assert_int_equal(factor.gram->place[before], i);
            if (kind == HT__ORDER_NATURAL) assert_int_equal(before, N - 1 - i);
            if (kind == HT__ORDER_ACT || (kind == HT__ORDER_GROUP && (i + 1) % GROUP)) assert_true(a <= b);
            if (kind == HT__ORDER_GROUP)
                assert_int_equal(before / GROUP, factor.gram->column[i / GROUP * GROUP] / GROUP);
        }
        ht__factor_close(&factor), ht__gram_close(&gram);
    }
    ht__site_close(&s);
}

/* What the residual stream says of the products is as good as the products with f: one target, one error. */
static void what_is_wanted_may_be_known(void **state)
{
    static float y[(ROWS + HELD) * OUT];
    struct ht__site_stats s, wanted;
    struct ht__best_matrix m, k;
    struct ht_diag diag = {0};
    const float share = .5f;
    (void)state;
    for (int t = 0; t < ROWS + HELD; t++)
        for (int o = 0; o < OUT; o++) {
            double sum = 0;
            for (int i = 0; i < N; i++)
                sum += (double)w[o * N + i] * f[t * N + i];
            y[t * OUT + o] = r[t * STREAM + o] + share * (float)sum;
        }
    open_site(&s, q, STREAM, pool);
    assert_int_equal(ht__site_open_wanted(&wanted, N, OUT, HELD - 1, NULL, &diag), HT_OK);
    assert_int_equal(ht__site_add(&wanted, NULL, q, y, ROWS, ops, pool, &diag), HT_OK);
    ht__site_hold(&wanted, NULL, q + ROWS * N, y + ROWS * OUT, HELD);
    ht__site_finish(&wanted);
    assert_null(wanted.cross);
    assert_null(wanted.held_f);
    make("q6_k", OUT, &s, (double)share, &m);
    double before = m.before, after = m.after;
    make("q6_k", OUT, &wanted, (double)share, &k);
    near(k.before, before, before, 1e-3);
    near(k.after, after, after, 2e-2);
    near(k.after, held_error(k.decoded, OUT, q, (double)share), k.after, 1e-3);
    ht__site_close(&wanted);
    ht__site_close(&s);
}

static void open_expert(struct ht__expert_stats *e, int n, int held)
{
    struct ht_diag diag = {0};
    assert_int_equal(ht__expert_open(e, N, HELD, NULL, &diag), HT_OK);
    for (int t = 0; t < n; t++)
        assert_int_equal(ht__expert_add(e, f + t * N, q + t * N, false, ops, pool, &diag), HT_OK);
    for (int t = ROWS; t < ROWS + held; t++)
        assert_int_equal(ht__expert_add(e, f + t * N, q + t * N, true, ops, pool, &diag), HT_OK);
    assert_int_equal(ht__expert_finish(e, ops, pool, &diag), HT_OK);
    assert_int_equal(e->site.n_rows, n);
    assert_int_equal(e->site.n_held, held);
}

/* As if a quarter of the columns' number of tokens more had been seen; their held-out tokens where it has few. */
static void few_tokens_are_drawn_to_all(void **state)
{
    struct ht__expert_stats all, few, none, alone;
    (void)state;
    open_expert(&all, ROWS, HELD);
    open_expert(&few, 64, 3);
    open_expert(&none, 0, 0);
    double own = gram_at(&few.site, 5, 7), other = few.site.cross[9 * N + 2];
    ht__expert_shrink(&few, &all);
    near(gram_at(&few.site, 5, 7), (own + gram_at(&all.site, 5, 7)) / 2, fabs(own), 1e-9); /* 64 of its own, 64 more */
    near(few.site.cross[9 * N + 2], (other + all.site.cross[9 * N + 2]) / 2, fabs(other), 1e-9);
    assert_int_equal(few.site.n_held, HELD);
    assert_memory_equal(few.site.held_q, all.site.held_q, HELD * N * sizeof(float));
    ht__expert_shrink(&none, &all);
    for (int i = 0; i < N; i++)
        assert_memory_equal(none.site.gram + ht__lower_row(i), all.site.gram + ht__lower_row(i),
                            (size_t)(i + 1) * sizeof *none.site.gram);
    ht__expert_close(&none);

    open_expert(&alone, 192, HELD); /* 192 of its own, 64 without any relation between columns */
    double beside = gram_at(&alone.site, 3, 4), itself = gram_at(&alone.site, 3, 3);
    ht__expert_shrink(&alone, NULL);
    near(gram_at(&alone.site, 3, 4), .75 * beside, fabs(beside), 1e-9);
    near(gram_at(&alone.site, 3, 3), itself, itself, 1e-12);
    open_expert(&none, 0, 0);
    ht__expert_shrink(&none, NULL);
    assert_true(gram_at(&none.site, 3, 3) == 1 && gram_at(&none.site, 3, 4) == 0);
    ht__expert_close(&all), ht__expert_close(&few), ht__expert_close(&none), ht__expert_close(&alone);
}

/* Groups that are listed are of columns about as large: none of a later group is larger than one of an earlier. */
static void groups_are_of_columns_alike(void **state)
{
    enum { GROUP = 64 };
    struct ht__site_stats s;
    struct ht__best *best;
    int32_t list[N];
    int members[N / GROUP] = {0};
    (void)state;
    open_site(&s, q, 0, pool);
    assert_int_equal(ht__best_open(&s, 0, act, ops, pool, NULL, &best, NULL), HT_OK);
    ht__best_group(best, GROUP, list);
    for (int i = 0; i < N; i++) {
        members[list[i]]++;
        for (int j = 0; j < N; j++)
            if (list[i] < list[j]) assert_true((float)gram_at(&s, i, i) >= (float)gram_at(&s, j, j));
    }
    for (int g = 0; g < N / GROUP; g++)
        assert_int_equal(members[g], GROUP);
    ht__best_close(&best);
    ht__site_close(&s);
}

/* What is told of the held-out tokens is true, and better than rounding; corrections of the stream are made. */
static void the_best_candidate_is_taken(void **state)
{
    static const char *const types[] = {"q4_k", "q2_k", "q4_0", "iq4_nl", "mxfp4", "iq2_s"};
    static const double shares[] = {0, 1, .5};
    struct ht__site_stats s;
    struct ht__best_matrix m;
    (void)state;
    open_site(&s, q, STREAM, pool);
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        for (size_t k = 0; k < sizeof shares / sizeof shares[0]; k++) {
            bool codes = make(types[i], OUT, &s, shares[k], &m);
            near(m.after, held_error(m.decoded, OUT, q, shares[k]), m.after, 1e-3);
            if (m.after > (codes ? .95 : 1) * m.before)
                fail_msg("%s: %g after, %g before", types[i], m.after, m.before);
            if (codes) assert_string_not_equal(m.taken, "round");
        }
    ht__site_close(&s);
}

/* One factor at a time gives the same codes; the stream as floats those that are as good. Rows may be read when they are needed. */
static enum ht_err read_rows(const void *ctx, int64_t row, int64_t n, float *dst, struct ht_diag *diag)
{
    const int *most = ctx;
    if (row + n > *most) return ht__fail(diag, HT_ERR_IO, "file", -1, "it ends here");
    memcpy(dst, w + row * N, (size_t)(n * N) * sizeof *dst);
    return HT_OK;
}

static void memory_can_be_spared(void **state)
{
    static const double shares[] = {0, .5};
    static uint8_t coded[OUT * N];
    struct ht__site_stats s, spent;
    struct ht__best_matrix m, lean;
    (void)state;
    open_site(&s, q, STREAM, pool);
    for (size_t k = 0; k < sizeof shares / sizeof shares[0]; k++) {
        make("q4_k", OUT, &s, shares[k], &m);
        double before = m.before, after = m.after;
        memcpy(coded, m.coded, m.coder->size);
        open_site(&spent, q, STREAM, pool);
        make_as(HT__BEST_LEAN | HT__BEST_SPEND, "q4_k", OUT, &spent, shares[k], &lean);
        assert_null(spent.gram);
        assert_null(spent.cross);
        assert_null(spent.stream);
        assert_true(lean.before == before);
        if (shares[k] == 0) assert_memory_equal(lean.coded, coded, lean.coder->size);
        near(lean.after, after, after, shares[k] == 0 ? 0 : 5e-3); /* which way codes fall */
        near(lean.after, held_error(lean.decoded, OUT, q, shares[k]), lean.after, 1e-3);
        ht__site_close(&spent);
    }
    ht__site_close(&s);
}

static void rows_are_read_when_they_are_needed(void **state)
{
    static uint8_t whole[OUT * N], coded[OUT * N];
    int most = OUT;
    struct ht__site_stats s;
    struct ht__best *best;
    struct ht__coder coder;
    struct ht__arena arena;
    struct ht_diag diag = {0};
    struct ht__best_matrix m = {.coder = &coder, .w = w, .coded = whole}, read = m;
    (void)state;
    read.w = NULL;
    read.read = read_rows;
    read.ctx = &most;
    read.coded = coded;
    ht__arena_init(&arena, NULL);
    open_coder(&coder, "q4_k", OUT, &arena);
    open_site(&s, q, 0, pool);
    assert_int_equal(ht__best_open(&s, 0, act, ops, pool, NULL, &best, NULL), HT_OK);
    assert_int_equal(ht__best_matrix(best, &m, NULL), HT_OK);
    assert_int_equal(ht__best_matrix(best, &read, NULL), HT_OK);
    assert_memory_equal(whole, coded, coder.size);
    most = OUT - 1;
    assert_int_equal(ht__best_matrix(best, &read, &diag), HT_ERR_IO);
    assert_string_equal(diag.message, "it ends here");
    ht__best_close(&best);
    ht__site_close(&s);
    ht__arena_close(&arena);
}

static const char *const schemes[] = {
    "nf4:",
    "nf4:block=32",
    "nf4:nested=on",
    "fp4:",
    "int8:",
    "gptq:",
    "gptq:bits=2,group=32",
    "gptq:bits=3,sym=off",
    "gptq:bits=8,group=-1",
    "awq:",
    "w4a16:",
    "w4a16:group=32",
    "w8a16:",
    "w8a8:",
    "fp8:",
    "fp8:scale=tensor",
    "fp8-block:",
    "nvfp4:",
    "mxfp4:",
    "mxfp8:",
    "gptq:act_order=on,group=32",
    "gptq:bits=3,act_order=on,sym=off",
};

/* What the coder says of a scheme's numbers gives the values that the scheme gives. */
static void schemes_are_understood(void **state)
{
    enum { OUTS = 128 };
    static float scale[OUTS * N], offset[OUTS * N], decoded[OUTS * N];
    static uint8_t codes[OUTS * N];
    static float sorted[(OUTS + 1) * N];
    static _Alignas(16) uint8_t coded[OUTS * N * 9];
    (void)state;
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        struct ht__coder c;
        struct ht__arena arena;
        ht__arena_init(&arena, NULL);
        open_coder(&c, schemes[i], OUTS, &arena);
        for (int64_t row = 0; row < OUTS; row += c.rows)
            c.encode(&c, w + row * N, row, c.rows, NULL, sorted, coded);
        for (int64_t row = 0, groups = N / c.group; row < OUTS; row += 16)
            c.read(&c, coded, row, 16, codes + row * N, scale + row * groups, offset + row * groups);
        c.write(&c, codes, 0, OUTS, coded);
        c.decode(&c, coded, 0, OUTS, decoded);
        for (int k = 0; k < OUTS * N; k++) {
            int64_t group = k / N * (N / c.group) + ht__coder_group(&c, k % N);
            float v = scale[group] * c.level[codes[k]] + offset[group];
            if (fabsf(v - decoded[k]) > .006f * fabsf(decoded[k]) + 1e-7f)
                fail_msg("%s: weight %d is %g, by its code %g", schemes[i], k, (double)decoded[k], (double)v);
        }
        ht__arena_close(&arena);
    }
}

/* What is laid out is read back as the coder decodes it; but for scales that are quantized themselves when all are known. */
static void what_is_stored_is_what_was_chosen(void **state)
{
    enum { OUTS = 128 };
    static float decoded[OUTS * N], again[OUTS * N];
    static uint8_t bytes[HT__SCHEME_PARTS][OUTS * N * 4];
    static float sorted[(OUTS + 1) * N];
    static _Alignas(16) uint8_t coded[OUTS * N * 9];
    (void)state;
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        struct ht__coder c;
        struct ht__part parts[HT__SCHEME_PARTS];
        void *all[HT__SCHEME_PARTS], *rows[HT__SCHEME_PARTS] = {NULL}, *whole[HT__SCHEME_PARTS] = {NULL};
        struct ht__arena arena;
        ht__arena_init(&arena, NULL);
        open_coder(&c, schemes[i], OUTS, &arena);
        for (int64_t row = 0; row < OUTS; row += c.rows)
            c.encode(&c, w + row * N, row, c.rows, NULL, sorted, coded);
        c.decode(&c, coded, 0, OUTS, decoded);
        int n = params.scheme->parts(&params, &c.matrix, parts);
        for (int k = 0; k < n; k++) {
            all[k] = bytes[k];
            bool later = parts[k].place == HT__PART_WHOLE || parts[k].place == HT__PART_WORK;
            if (parts[k].place != HT__PART_WHOLE) rows[k] = bytes[k];
            if (later) whole[k] = bytes[k];
        }
        struct ht__codes codes = ht__coded_rows(&params, &c.matrix, coded, 0, OUTS);
        params.scheme->pack(&params, &c.matrix, &codes, rows);
        if (params.scheme->finish) params.scheme->finish(&params, &c.matrix, whole);
        assert_int_equal(ht__scheme_dequantize(&params, &c.matrix, (const void *const *)all, again, &arena, NULL),
                         HT_OK);
        bool nested = strstr(schemes[i], "nested") != NULL;
        for (int k = 0; k < OUTS * N; k++)
            if (nested ? fabsf(again[k] - decoded[k]) > .02f * fabsf(decoded[k]) : again[k] != decoded[k])
                fail_msg("%s: weight %d is %g, stored as %g", schemes[i], k, (double)decoded[k], (double)again[k]);
        ht__arena_close(&arena);
    }
}

static void schemes_lose_less_than_rounding(void **state)
{
    struct ht__site_stats s;
    struct ht__best_matrix m;
    (void)state;
    open_site(&s, q, 0, pool);
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        make(schemes[i], MOST_OUT, &s, 0, &m);
        near(m.after, held_error(m.decoded, MOST_OUT, q, 0), m.after, 1e-3);
        if (m.after > .95 * m.before) fail_msg("%s: %g after, %g before", schemes[i], m.after, m.before);
        assert_string_not_equal(m.taken, "round");
    }
    ht__site_close(&s);
}

/* Where both models show the same and nothing is to be corrected, the target is the weights themselves. */
static void without_errors_the_target_is_the_weights(void **state)
{
    struct ht__site_stats s;
    struct ht__best_matrix m;
    double sum = 0, squares = 0;
    (void)state;
    open_site(&s, f, 0, pool);
    make("q8_0", OUT, &s, 0, &m);
    for (int i = 0; i < OUT * N; i++) {
        double d = (double)m.decoded[i] - w[i];
        sum += d * d;
        squares += (double)w[i] * w[i];
    }
    assert_true(sqrt(sum / squares) < .02);
    assert_true(m.after < 1e-4);
    ht__site_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(products_are_those_of_all_rows),
        cmocka_unit_test(factor_solves),
        cmocka_unit_test(sizes_that_end_within_blocks),
        cmocka_unit_test(what_cannot_be_factored_is_damped_more),
        cmocka_unit_test(feedback_and_sweeps_lower_the_loss),
        cmocka_unit_test(columns_have_an_order),
        cmocka_unit_test(what_is_wanted_may_be_known),
        cmocka_unit_test(few_tokens_are_drawn_to_all),
        cmocka_unit_test(groups_are_of_columns_alike),
        cmocka_unit_test(the_best_candidate_is_taken),
        cmocka_unit_test(memory_can_be_spared),
        cmocka_unit_test(rows_are_read_when_they_are_needed),
        cmocka_unit_test(schemes_are_understood),
        cmocka_unit_test(what_is_stored_is_what_was_chosen),
        cmocka_unit_test(schemes_lose_less_than_rounding),
        cmocka_unit_test(without_errors_the_target_is_the_weights),
    };
    return cmocka_run_group_tests(tests, fill, close_pool);
}
