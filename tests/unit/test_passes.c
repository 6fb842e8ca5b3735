/* What passes over a text have shown, kept in a file: it is read again as it was, and a damaged one is refused, whatever byte is
 * wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "eval/passes.h"
#include "lib/folder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct folder folder;
enum { MODELS = 2, LAYERS = 3, MOST = 4, PASSES = 3 };

static const char *at(const char *name)
{
    static char paths[8][300];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder.path, name);
    return path;
}

static void fine(enum ht_err err, const struct ht_diag *diag)
{
    if (err != HT_OK) fail_msg("%s: %s", diag->where, diag->message);
}

static void open_passes(struct ht__passes *p, char of)
{
    struct ht_diag diag = {0};
    *p = (struct ht__passes){.n = PASSES, .n_models = MODELS, .n_layers = LAYERS, .most = MOST};
    memset(p->identity, of, 64);
    fine(ht__passes_open(p, NULL, &diag), &diag);
}

static void make(struct ht__passes *p, size_t index, size_t n)
{
    struct ht_diag diag = {0};
    struct ht__pass *pass = &p->at[index];
    fine(ht__pass_begin(p, pass, &diag), &diag);
    for (size_t i = 0; i < n; i++) {
        double x = (double)(100 * index + i);
        const struct ht__token_score scores[MODELS] = {{.nll = x}, {x + .1, x, x + .2, -x, i % 2 == 0}};
        ht__pass_add(p, pass, scores);
    }
    for (int i = 0; i < HT__PASS_SUMS * MODELS * LAYERS; i++)
        pass->sums[i] = (double)i / 7;
}

static void test_read_again(void **state)
{
    (void)state;
    struct ht__passes a, b;
    struct ht_diag diag = {0};
    open_passes(&a, 'a');
    make(&a, 0, MOST);
    make(&a, 2, 1);
    fine(ht__passes_write(&a, at("a"), &diag), &diag);
    open_passes(&b, 'a');
    make(&b, 2, 2); /* known already: it stays */
    fine(ht__passes_read(&b, at("a"), &diag), &diag);
    assert_int_equal(b.at[0].n, MOST);
    assert_int_equal(b.at[1].n, 0);
    assert_int_equal(b.at[2].n, 2);
    for (int i = 0; i < MOST * MODELS; i++) {
        const struct ht__token_score *x = &a.at[0].scores[i], *y = &b.at[0].scores[i];
        assert_true(x->nll == y->nll && x->base_nll == y->base_nll && x->kld == y->kld && x->dp == y->dp &&
                    x->same == y->same);
    }
    assert_memory_equal(a.at[0].sums, b.at[0].sums, sizeof(double) * HT__PASS_SUMS * MODELS * LAYERS);
    ht__passes_close(&b);
    open_passes(&b, 'b');
    assert_int_equal(ht__passes_read(&b, at("a"), &diag), HT_ERR_USAGE);
    assert_int_equal(ht__passes_read(&b, at("none"), &diag), HT_ERR_NOT_FOUND);
    ht__passes_close(&b);
    ht__passes_close(&a);
}

static bool taken(const struct ht__buf *bytes, size_t n)
{
    struct ht__passes p;
    struct ht_diag diag = {0};
    fine(ht__file_publish(at("d"), bytes->data, n, &diag), &diag);
    open_passes(&p, 'a');
    bool good = ht__passes_read(&p, at("d"), &diag) == HT_OK;
    assert_true(good || diag.message[0]);
    ht__passes_close(&p);
    return good;
}

static void test_damaged(void **state)
{
    (void)state;
    struct ht__passes p;
    struct ht__buf whole;
    struct ht_diag diag = {0};
    open_passes(&p, 'a');
    make(&p, 1, 1);
    fine(ht__passes_write(&p, at("w"), &diag), &diag);
    ht__passes_close(&p);
    ht__buf_init(&whole, NULL);
    fine(ht__file_load(at("w"), 1 << 20, &whole, &diag), &diag);
    assert_true(taken(&whole, whole.len));
    for (size_t i = 0; i < whole.len; i++) {
        assert_false(taken(&whole, i));
        whole.data[i] ^= 4;
        assert_false(taken(&whole, whole.len));
        whole.data[i] ^= 4;
    }
    ht__buf_close(&whole);
}

/* Files whose hash is right, and which are of more or fewer tokens, models and layers than this run. */
static void test_lies(void **state)
{
    (void)state;
    struct ht_diag diag = {0};
    for (int i = 0; i < 4; i++) {
        struct ht__passes a, b;
        a = (struct ht__passes){
            .n = PASSES + (i == 0), .n_models = MODELS + (i == 1), .n_layers = LAYERS + (i == 2), .most = MOST + 1};
        memset(a.identity, 'a', 64);
        fine(ht__passes_open(&a, NULL, &diag), &diag);
        fine(ht__pass_begin(&a, &a.at[0], &diag), &diag);
        const struct ht__token_score scores[MODELS + 1] = {{.nll = 1}};
        for (int t = 0; t < (i == 3 ? MOST + 1 : 1); t++)
            ht__pass_add(&a, &a.at[0], scores);
        fine(ht__passes_write(&a, at("l"), &diag), &diag);
        open_passes(&b, 'a');
        assert_int_equal(ht__passes_read(&b, at("l"), &diag), HT_ERR_FORMAT);
        ht__passes_close(&b);
        ht__passes_close(&a);
    }
}

static int begin(void **state)
{
    (void)state;
    folder = folder_make();
    return 0;
}

static int end(void **state)
{
    (void)state;
    folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_read_again), cmocka_unit_test(test_damaged),
                                       cmocka_unit_test(test_lies)};
    return cmocka_run_group_tests(tests, begin, end);
}
