/* Options become typed values, once, before anything is done; what cannot be read is refused by name, and only by the
 * verbs that use it. */
#include "job/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct ht_job *job_with(const char *const (*options)[2], size_t n)
{
    struct ht_job *job;
    struct ht_diag diag = {0};
    assert_int_equal(ht__job_open(NULL, &job), HT_OK);
    for (size_t i = 0; i < n; i++)
        if (ht__options_set(job, options[i][0], options[i][1], &diag) != HT_OK)
            fail_msg("%s: %s", options[i][0], diag.message);
    return job;
}

static void values(void **state)
{
    (void)state;
    static const char *const options[][2] = {
        {"source", "a.gguf"},
        {"type", "Q8_0,Q4_K_M"},
        {"memory", "1.5Gi"},
        {"threads", "3"},
        {"prune-layers", "3,1"},
        {"split-max-size", "300M"},
        {"pure", NULL},
        {"tensor-type", "v$=f16"},
        {"override-kv", "a=int:7"},
        {"override-kv", "a=bool:true"},
        {"override-kv", "b=str:"},
        {"fail-if", "kld>0.5"},
        {"ctx", "64"},
        {"chunks", "2"},
        {"no-source-hash", NULL},
        {"calibration", "default"},
    };
    struct ht_job *job = job_with(options, sizeof options / sizeof options[0]);
    struct ht__settings s;
    struct ht_diag diag = {0};
    if (ht__settings_parse(&s, job, HT__VERB_QUANTIZE, &diag) != HT_OK) fail_msg("%s", diag.message);
    const struct ht__pipeline_settings *p = &s.pipeline;
    assert_int_equal(s.run.memory, 3u << 29);
    assert_int_equal(s.run.n_threads, 3);
    assert_int_equal(p->n_targets, 2);
    assert_string_equal(p->targets[1].mix->name, "Q4_K_M");
    assert_true(p->recipe.pure && p->recipe.n_rules == 1 && !p->recipe.convert);
    assert_string_equal(p->recipe.rules[0].pattern, "v$");
    assert_true(p->prune.n == 2 && p->prune.layers[0] == 3 && p->prune.layers[1] == 1);
    assert_true(p->split.max_size == 300000000 && p->split.max_tensors == UINT64_MAX);
    assert_int_equal(p->overrides.n, 2); /* the last value of a key counts */
    assert_true(ht__kv_get(&p->overrides, "a")->type == HT__KV_BOOL);
    assert_true(p->measure.wanted && p->measure.n_limits == 1 && p->measure.eval.n_ctx == 64);
    assert_true(p->measure.eval.n_chunks == 2 && strcmp(p->measure.eval.text, "default") == 0);
    assert_true(p->importance.collect && p->importance.calibration.n_ctx == 64 && p->importance.calibration.within);
    assert_true(!p->source.hash && strcmp(p->publish.output, ".") == 0 && p->publish.checkpoint_seconds == 10);
    assert_string_equal(p->asked.verb, "quantize");
    ht__settings_close(&s);

    /* To an estimate ctx is the context to run with. */
    if (ht__settings_parse(&s, job, HT__VERB_ESTIMATE, &diag) != HT_OK) fail_msg("%s", diag.message);
    assert_true(s.advice.ctx == 64 && s.pipeline.measure.eval.n_ctx == 512);
    assert_int_equal(s.pipeline.importance.calibration.n_ctx, 0);
    assert_string_equal(s.pipeline.asked.verb, "estimate");
    ht__settings_close(&s);
    ht__job_close(&job);
}

static void refused(void **state)
{
    (void)state;
    static const struct {
        enum ht__verb verb;
        const char *name, *value, *where, *message;
    } bad[] = {
        {HT__VERB_QUANTIZE, "type", "Q4_K_N", "type", "there is no type \"Q4_K_N\""},
        {HT__VERB_QUANTIZE, "type", "Q8_0,q8_0", "type", "given twice"},
        {HT__VERB_QUANTIZE, "threads", "0", "threads", "expected a number from 1 to 1024"},
        {HT__VERB_QUANTIZE, "memory", "much", "memory", "is not a size"},
        {HT__VERB_QUANTIZE, "cpu", "mmx", "cpu", "no CPU level"},
        {HT__VERB_QUANTIZE, "tensor-type", "q8_0", "tensor-type", "expected RE=TYPE"},
        {HT__VERB_QUANTIZE, "tensor-type", "(=q8_0", "tensor-type", "bad regular expression"},
        {HT__VERB_QUANTIZE, "output-tensor-type", "q9", "output-tensor-type", "no type is called"},
        {HT__VERB_QUANTIZE, "prune-layers", "1,,2", "prune-layers", "expected layer numbers"},
        {HT__VERB_QUANTIZE, "prune-layers", "-1", "prune-layers", "expected layer numbers"},
        {HT__VERB_QUANTIZE, "override-kv", "a", "override-kv", "expected KEY=TYPE:VALUE"},
        {HT__VERB_QUANTIZE, "override-kv", "a=int:x", "override-kv", "VALUE must be one"},
        {HT__VERB_QUANTIZE, "override-kv", "a=int:4294967296", "override-kv", "VALUE must be one"},
        {HT__VERB_QUANTIZE, "override-kv", "a=bool:maybe", "override-kv", "VALUE must be one"},
        {HT__VERB_QUANTIZE, "split-max-size", "-1", "split-max-size", "is not a size"},
        {HT__VERB_QUANTIZE, "split-max-tensors", "0", "split-max-tensors", "expected a number"},
        {HT__VERB_QUANTIZE, "checkpoint-seconds", "x", "checkpoint-seconds", "expected a number"},
        {HT__VERB_QUANTIZE, "fail-if", "kld=1", "fail-if", "is not a limit"},
        {HT__VERB_ESTIMATE, "cache-type", "q9", "cache-type", "expected f16, q8_0, q4_0 or f32"},
        {HT__VERB_ESTIMATE, "ctx", "0", "ctx", "expected a number"},
        {HT__VERB_RECOMMEND, "memory", "0", "memory", "0 bytes"},
        {HT__VERB_RECOMMEND, "gpu-count", "2", "gpu-count", "needs --gpu"},
        {HT__VERB_EVAL, "ctx", "7", "ctx", "expected a number from 8"},
        {HT__VERB_EVAL, "retention", "0", "retention", "expected a number"},
        {HT__VERB_IMATRIX, "text", "a.txt", "model", "no input"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *const one[][2] = {{bad[i].name, bad[i].value}};
        struct ht_job *job = job_with(one, 1);
        struct ht__settings s;
        struct ht_diag diag = {0};
        if (ht__settings_parse(&s, job, bad[i].verb, &diag) != HT_ERR_USAGE)
            fail_msg("%s \"%s\" is taken", bad[i].name, bad[i].value);
        if (strcmp(diag.where, bad[i].where) != 0 || !strstr(diag.message, bad[i].message))
            fail_msg("%s \"%s\": %s: %s", bad[i].name, bad[i].value, diag.where, diag.message);
        ht__settings_close(&s);
        ht__job_close(&job);
    }
}

/* What a verb does not use is none of its concern. */
static void not_used(void **state)
{
    (void)state;
    static const char *const options[][2] = {
        {"ctx", "1"}, {"retention", "0"}, {"save-every", "x"}, {"gpu-count", "none"}};
    struct ht_job *job = job_with(options, 4);
    struct ht__settings s;
    struct ht_diag diag = {0};
    if (ht__settings_parse(&s, job, HT__VERB_QUANTIZE, &diag) != HT_OK) fail_msg("%s", diag.message);
    assert_true(!s.pipeline.measure.wanted && !s.pipeline.importance.collect);
    ht__settings_close(&s);
    ht__job_close(&job);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values),
        cmocka_unit_test(refused),
        cmocka_unit_test(not_used),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
