/*
 * Metadata that lie about a model never crash the engine: it refuses them with a reason, or runs.
 * For a tiny model of every architecture each number of its metadata in turn is removed, made zero,
 * small, odd or huge, and the model is opened and run for three tokens. Weights are zeros.
 */
#include "engine/engine.h"
#include "lib/effort.h"
#include "lib/models.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct folder folder;
static struct model tiny;
static int n_cases, n_ran, n_refused;

static void ignore_line(void *ctx, enum ht__log_level level, const char *line)
{
    (void)ctx, (void)level, (void)line;
}

static enum ht_err run(const struct ht__model *model, uint64_t memory, struct ht_diag *diag)
{
    const int32_t tokens[4] = {1, 2, 3, 4};
    struct ht__engine *e;
    struct ht__engine_params params = {
        .n_threads = 1, .n_ctx = 8, .cache = true, .fast = memory == 0, .memory = memory};
    float *logits = NULL;
    *diag = (struct ht_diag){0};
    enum ht_err err = ht__engine_open(model, &params, NULL, &e, diag);
    if (err) return err;
    err = ht__engine_pass(e, tokens, 1, 3, 0, diag);
    if (!err) err = ht__engine_pass(e, tokens, 1, 1, 3, diag);
    if (!err) {
        logits = malloc((size_t)ht__engine_hparams(e)->n_vocab * sizeof *logits);
        assert_non_null(logits);
        err = ht__engine_logits(e, 0, 0, 1, logits, diag);
    }
    free(logits);
    ht__engine_close(&e);
    return err;
}

static void try_one(const struct ht__model *model, const char *key)
{
    struct ht_diag diag;
    enum ht_err err = run(model, 0, &diag);
    n_cases++;
    n_ran += err == HT_OK;
    n_refused += err != HT_OK;
    if (err != HT_OK && diag.message[0] == '\0') fail_msg("%s, %s: refused without a reason", tiny.name, key);
}

static void set(struct ht__kv *kv, uint64_t whole, double real)
{
    if (kv->type == HT__KV_F32 || kv->type == HT__KV_F64)
        kv->f = real;
    else
        kv->u = whole;
}

/* Every number under the architecture's name. */
static void damage(struct ht__model *model)
{
    static const uint64_t wholes[] = {0, 1, 3, 17, 65536, 2147483647, UINT64_MAX};
    static const double reals[] = {0, -1, 1e-38, 1e38, NAN, INFINITY, -INFINITY};
    for (size_t i = 0; i < model->kvs.n; i++) {
        struct ht__kv *kv = &model->kvs.items[i], saved = *kv;
        if (strncmp(kv->key, model->arch, strlen(model->arch)) != 0) continue;
        if (kv->type == HT__KV_STR || kv->type == HT__KV_ARR) continue;
        size_t every = (size_t)effort(3, 1, 1); /* otherwise every third, another one for each number */
        for (size_t v = i % every; v < sizeof wholes / sizeof wholes[0]; v += every) {
            set(kv, wholes[v], reals[v]);
            try_one(model, saved.key);
            *kv = saved;
        }
        kv->type = HT__KV_STR; /* of the wrong type, and as good as missing */
        kv->str = (struct ht__str){"x", 1};
        try_one(model, saved.key);
        *kv = saved;
    }
}

static void one_model(bool damaged)
{
    struct ht__log log = {ignore_line, NULL};
    struct ht__checkpoint *ck;
    struct ht__model *model;
    struct ht_diag diag = {0};
    folder = folder_make();
    folder_puts(&folder, "config.json", tiny.config);
    models_write(&tiny, &folder);
    if (ht__checkpoint_open(folder.path, NULL, &ck, &diag) || ht__model_open(ck, NULL, &log, &model, &diag))
        fail_msg("%s: %s", tiny.name, diag.message);
    if (!damaged) {
        if (run(model, 0, &diag)) fail_msg("%s: %s", tiny.name, diag.message);
        if (run(model, (uint64_t)1 << 40, &diag)) fail_msg("%s: %s", tiny.name, diag.message);
        assert_int_equal(run(model, 4096, &diag), HT_ERR_NO_MEMORY_BUDGET);
    } else {
        damage(model);
    }
    ht__model_close(&model);
    ht__checkpoint_close(&ck);
    folder_remove(&folder);
}

static void test_sound(void **state)
{
    (void)state;
    FILE *list = models_open();
    assert_non_null(list);
    while (models_next(list, &tiny))
        one_model(false);
    fclose(list);
}

static void test_damaged(void **state)
{
    (void)state;
    FILE *list = models_open();
    assert_non_null(list);
    for (char family[5] = ""; models_next(list, &tiny);) {
        if (strncmp(family, tiny.name, 4) == 0) continue; /* one of each */
        snprintf(family, sizeof family, "%.4s", tiny.name);
        one_model(true);
    }
    fclose(list);
    print_message("%d cases: %d ran, %d refused\n", n_cases, n_ran, n_refused);
    assert_true(n_cases > effort(300, 1000, 1000));
    assert_true(n_refused > n_cases / 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sound), cmocka_unit_test(test_damaged)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
