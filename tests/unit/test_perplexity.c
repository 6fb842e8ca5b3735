/*
 * The statistics of quality: figures worked out by hand, percentiles, and on the example model that
 * chunks may be grouped into passes in any way and that a model against itself loses nothing at
 * all.
 */
#include "eval/logit_lens.h"
#include "eval/perplexity.h"
#include "halftone/halftone.h"
#include "lib/folder.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void near(double value, double wanted)
{
    if (!(fabs(value - wanted) <= 1e-12 + 1e-12 * fabs(wanted))) fail_msg("%.17g, not %.17g", value, wanted);
}

static void add(struct ht__divergence *t, double nll, double base, double kld, double dp, bool same)
{
    struct ht__token_score s = {nll, base, kld, dp, same};
    assert_int_equal(ht__divergence_add(t, &s, NULL), HT_OK);
}

/* Four tokens; q = nll of the model, p = of the reference:
 *     q  1 2 3 6   mean 3    E[q^2] = 50/4    var = 12.5 - 9 = 3.5      error = sqrt(3.5 / 3)
 *     p  1 1 3 5   mean 2.5  E[p^2] = 36/4    var = 9 - 6.25 = 2.75     error = sqrt(2.75 / 3)
 *     E[qp] = (1 + 2 + 9 + 30) / 4 = 10.5     covariance = (10.5 - 7.5) / 3 = 1
 *     ln ratio = .5, its variance = 3.5/3 + 2.75/3 - 2 = .25/3 */
static void by_hand(void **state)
{
    (void)state;
    struct ht__divergence t;
    struct ht__divergence_result r;
    ht__divergence_init(&t, true, NULL);
    add(&t, 1, 1, 0, 0, true);
    add(&t, 2, 1, .1, -.3, true);
    add(&t, 3, 3, .2, .1, true);
    add(&t, 6, 5, .5, -.2, false);
    ht__divergence_result(&t, &r);
    assert_int_equal(r.n, 4);
    near(r.perplexity.value, exp(3));
    near(r.perplexity.error, exp(3) * sqrt(3.5 / 3));
    near(r.base_perplexity.value, exp(2.5));
    near(r.base_perplexity.error, exp(2.5) * sqrt(2.75 / 3));
    near(r.ln_ratio.value, .5);
    near(r.ln_ratio.error, sqrt(.25 / 3));
    near(r.ratio.value, exp(.5));
    near(r.ratio.error, exp(.5) * sqrt(.25 / 3));
    near(r.difference.value, exp(3) - exp(2.5));
    near(r.difference.error, sqrt(exp(6) * 3.5 / 3 + exp(5) * 2.75 / 3 - 2 * exp(5.5)));
    near(r.correlation, 1 / sqrt(3.5 / 3 * 2.75 / 3));
    near(r.kld.value, .2); /* E[k^2] = .3/4, var = .075 - .04 */
    near(r.kld.error, sqrt(.035 / 3));
    near(r.dp.value, -.1); /* E[d^2] = .14/4 */
    near(r.dp.error, sqrt((.035 - .01) / 3));
    near(r.dp_rms.value, sqrt(.035)); /* E[d^4] = (.0081 + .0001 + .0016) / 4 = .00245 */
    near(r.dp_rms.error, .5 / sqrt(.035) * sqrt((.00245 - .035 * .035) / 3));
    near(r.same.value, .75);
    near(r.same.error, sqrt(.75 * .25 / 3));
    ht__divergence_close(&t);
}

static void one_token_has_no_error(void **state)
{
    (void)state;
    struct ht__divergence t;
    struct ht__divergence_result r;
    ht__divergence_init(&t, true, NULL);
    add(&t, 2, 2, 0, 0, true);
    ht__divergence_sort(&t);
    ht__divergence_result(&t, &r);
    near(r.perplexity.value, exp(2));
    near(r.ratio.value, 1);
    assert_true(r.perplexity.error == 0 && r.ratio.error == 0 && r.kld.error == 0 && r.same.error == 0 &&
                r.dp_rms.error == 0);
    ht__divergence_close(&t);
}

static void percentiles(void **state)
{
    (void)state;
    const float sorted[] = {1, 2, 4, 8, 16};
    near(ht__percentile(sorted, 5, 0), 1);
    near(ht__percentile(sorted, 5, .5), 4);
    near(ht__percentile(sorted, 5, .25), 2);
    near(ht__percentile(sorted, 5, .9), 8 * .4 + 16 * .6); /* at .9 * 4 = 3.6 */
    near(ht__percentile(sorted, 5, 1), 16);
    near(ht__percentile(sorted, 1, .5), 1);
    near(ht__percentile(sorted, 0, .5), 0);
    struct ht__divergence t;
    ht__divergence_init(&t, true, NULL);
    for (int i = 0; i < 10000; i++) /* 7919 is prime: every value of 0 … 9999 once, out of order */
        add(&t, 0, 0, i * 7919 % 10000, -(double)(i * 7919 % 10000), false);
    ht__divergence_sort(&t);
    near(ht__percentile(t.kld, t.n, .5), 4999.5);
    near(ht__percentile(t.dp, t.n, .001), -9989.001);
    ht__divergence_close(&t);
}

static void log_probabilities(void **state)
{
    (void)state;
    float x[4] = {0, logf(2), logf(4), logf(1)};
    double shift;
    int64_t best;
    assert_true(ht__log_shift(x, 4, &shift, &best)); /* 1 + 2 + 4 + 1 = 8 */
    assert_int_equal(best, 2);
    assert_true(fabs(shift - log(8)) < 1e-6);
    float first_of_equals[3] = {5, 7, 7}, huge[2] = {3e38f, -3e38f}, hidden[2] = {-INFINITY, 1};
    assert_true(ht__log_shift(first_of_equals, 3, &shift, &best));
    assert_int_equal(best, 1);
    assert_true(ht__log_shift(huge, 2, &shift, &best) && best == 0);
    assert_true(ht__log_shift(hidden, 2, &shift, &best) && best == 1 && shift == 1);
    float nan[3] = {1, NAN, 0}, nan_first[3] = {NAN, 1, 0}, inf[2] = {INFINITY, 0}, none[2] = {-INFINITY, -INFINITY};
    assert_false(ht__log_shift(nan, 3, &shift, &best));
    assert_false(ht__log_shift(nan_first, 3, &shift, &best));
    assert_false(ht__log_shift(inf, 2, &shift, &best));
    assert_false(ht__log_shift(none, 2, &shift, &best));
}

/* ---- on the example model --------------------------------------------------------------------- */

enum { CTX = 32, CHUNKS = 5 };

struct subject {
    struct ht__checkpoint *checkpoint;
    struct ht__model *model;
    struct ht__scored scored;
};

static char path[4096];

static void find_example(void)
{
    const char *root = getenv("HT_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/examples/model", root ? root : ".");
}

static void open_subject(struct subject *s, int n_seqs, uint64_t memory)
{
    struct ht_diag diag = {0};
    *s = (struct subject){0};
    struct ht__engine_params params = {
        .n_threads = 2, .memory = memory, .n_ctx = CTX, .n_seqs = n_seqs, .n_batch = CTX * n_seqs};
    if (ht__checkpoint_open(path, NULL, &s->checkpoint, &diag) ||
        ht__model_open(s->checkpoint, NULL, NULL, &s->model, &diag) ||
        ht__engine_open(s->model, &params, NULL, &s->scored.engine, &diag))
        fail_msg("%s: %s", diag.where, diag.message);
}

static void close_subject(struct subject *s)
{
    ht__scored_close(&s->scored, NULL);
    ht__engine_close(&s->scored.engine);
    ht__model_close(&s->model);
    ht__checkpoint_close(&s->checkpoint);
}

static uint64_t told;
static bool tell(void *ctx, uint64_t tokens)
{
    assert_true(tokens >= told);
    told = tokens;
    return ctx && tokens >= *(const uint64_t *)ctx;
}

static enum ht_err run(struct subject *a, struct subject *b, int n_seqs, uint64_t *stop_at,
                       struct ht__divergence_result *r, struct ht_diag *diag)
{
    int32_t tokens[CTX * CHUNKS];
    for (int i = 0; i < CTX * CHUNKS; i++)
        tokens[i] = 300 + i * i % 997;
    struct ht__perplexity_params params = {.tokens = tokens,
                                           .n_chunks = CHUNKS,
                                           .n_ctx = CTX,
                                           .n_seqs = n_seqs,
                                           .bos = 1,
                                           .n_threads = 2,
                                           .tell = tell,
                                           .tell_ctx = stop_at};
    struct ht__scored *all[] = {&a->scored, b ? &b->scored : NULL};
    told = 0;
    HT_TRY(ht__perplexity_run(all, b ? 2 : 1, b ? &b->scored : NULL, &params, diag));
    ht__divergence_result(&a->scored.divergence, r);
    return HT_OK;
}

static void grouping_changes_nothing(void **state)
{
    (void)state;
    struct ht__divergence_result first = {0}, r;
    for (int n_seqs = 1; n_seqs <= CHUNKS; n_seqs += 2) {
        struct subject s;
        struct ht_diag diag = {0};
        open_subject(&s, n_seqs, n_seqs == 3 ? 8000000 : 0); /* once with layers read as they are needed */
        if (run(&s, NULL, n_seqs, NULL, &r, &diag)) fail_msg("%s", diag.message);
        assert_int_equal(r.n, CHUNKS * (CTX / 2 - 1));
        assert_int_equal(told, CHUNKS * CTX);
        assert_true(r.perplexity.value > 1 && r.perplexity.error > 0);
        if (n_seqs == 1) first = r;
        assert_memory_equal(&r, &first, sizeof r);
        close_subject(&s);
    }
}

static void itself_loses_nothing(void **state)
{
    (void)state;
    struct subject a, b;
    struct ht_diag diag = {0};
    struct ht__divergence_result r;
    open_subject(&a, 2, 0);
    open_subject(&b, 2, 0);
    if (run(&a, &b, 2, NULL, &r, &diag)) fail_msg("%s", diag.message);
    assert_true(r.kld.value == 0 && r.kld.error == 0 && r.dp_rms.value == 0 && r.same.value == 1);
    assert_true(r.ratio.value == 1 && r.perplexity.value == r.base_perplexity.value);
    ht__divergence_sort(&a.scored.divergence);
    assert_true(ht__percentile(a.scored.divergence.kld, r.n, 0) == 0 &&
                ht__percentile(a.scored.divergence.kld, r.n, 1) == 0);
    for (int i = 0; i < a.scored.n_layers; i++)
        assert_true(a.scored.layer_error[i] == 0 && a.scored.layer_kld[i] == 0);
    assert_null(b.scored.layer_error);
    assert_null(b.scored.layer_kld);
    /* three passes: two of two chunks, one of one, whose fifteen scored tokens are all there are */
    assert_int_equal(a.scored.lens_positions, 16 + 16 + CTX / 2 - 1);
    close_subject(&a);
    close_subject(&b);
}

/* With a chunk a pass every scored token is looked at: behind the last layer, the final norm and the output matrix give
 * the divergence that was measured. */
static void the_last_layer_has_the_divergence_of_the_whole(void **state)
{
    (void)state;
    struct subject a, b;
    struct ht_diag diag = {0};
    struct ht__divergence_result r;
    struct folder folder = folder_make();
    find_example();
    if (ht_quantize(path, "Q4_0", folder.path, &diag)) fail_msg("%s: %s", diag.where, diag.message);
    open_subject(&b, 1, 0);
    snprintf(path, sizeof path, "%s/model-Q4_0.gguf", folder.path);
    open_subject(&a, 1, 0);
    if (run(&a, &b, 1, NULL, &r, &diag)) fail_msg("%s", diag.message);
    assert_int_equal(a.scored.lens_positions, CHUNKS * (CTX / 2 - 1));
    assert_int_equal(r.n, a.scored.lens_positions);
    int last = a.scored.n_layers - 1;
    assert_true(r.kld.value > 1e-4);
    if (!(fabs(a.scored.layer_kld[last] - r.kld.value) < 1e-9 * r.kld.value))
        fail_msg("%.12g after the last layer, %.12g measured", a.scored.layer_kld[last], r.kld.value);
    for (int i = 0; i < last; i++)
        assert_true(a.scored.layer_kld[i] > 0 && a.scored.layer_kld[i] != r.kld.value);
    close_subject(&a);
    close_subject(&b);
    find_example();
    folder_remove(&folder);
}

/* Long runs are looked at eight times, from the start on, a part of the run apart. */
static void positions_are_few_and_spread(void **state)
{
    (void)state;
    struct ht__logit_lens_model models[2];
    for (size_t n_passes = 1; n_passes <= 100; n_passes++) {
        struct ht__logit_lens lens = {.models = models, .n_models = 2};
        size_t chosen = 0, last = 0;
        for (size_t pass = 0; pass < n_passes; pass++) {
            ht__logit_lens_plan(&lens, pass, n_passes, 3, 64);
            if (!lens.n) continue;
            assert_int_equal(lens.n, HT__LOGIT_LENS_ROWS);
            assert_true(pass == 0 || pass - last <= n_passes / HT__LOGIT_LENS_PASSES + 1);
            last = pass;
            chosen++;
            for (int i = 0; i < lens.n; i++) {
                assert_true(lens.at[i] % 64 >= 32 && lens.at[i] % 64 < 63 && lens.at[i] < 3 * 64);
                assert_true(i == 0 || lens.at[i] > lens.at[i - 1]);
            }
        }
        assert_int_equal(chosen, n_passes < HT__LOGIT_LENS_PASSES ? n_passes : HT__LOGIT_LENS_PASSES);
        assert_int_equal(lens.n_positions, (int)chosen * HT__LOGIT_LENS_ROWS);
    }
}

static void stops_when_asked(void **state)
{
    (void)state;
    struct subject s;
    struct ht_diag diag = {0};
    struct ht__divergence_result r;
    uint64_t at = CTX;
    open_subject(&s, 1, 0);
    assert_int_equal(run(&s, NULL, 1, &at, &r, &diag), HT_ERR_CANCELLED);
    assert_true(told < 2 * CTX);
    close_subject(&s);
}

int main(void)
{
    find_example();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(by_hand),
        cmocka_unit_test(one_token_has_no_error),
        cmocka_unit_test(percentiles),
        cmocka_unit_test(log_probabilities),
        cmocka_unit_test(grouping_changes_nothing),
        cmocka_unit_test(itself_loses_nothing),
        cmocka_unit_test(the_last_layer_has_the_divergence_of_the_whole),
        cmocka_unit_test(positions_are_few_and_spread),
        cmocka_unit_test(stops_when_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
