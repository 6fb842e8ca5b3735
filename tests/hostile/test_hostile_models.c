/*
 * A checkpoint that does not fit its configuration is refused by us, with the tensor's name, and not left to the
 * runtime. For a tiny model of every architecture, as tests/golden/models.txt has it, each tensor in turn is left
 * out, each of its dimensions in turn is changed, and a dimension of one is added. Weights are holes in the file.
 */
#include "formats/checkpoint.h"
#include "lib/models.h"
#include "model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct folder folder;
static struct model model;
static int n_cases, n_wrong;

static void ignore_line(void *ctx, enum ht__log_level level, const char *line)
{
    (void)ctx, (void)level, (void)line;
}

static enum ht_err try_open(struct ht_diag *diag)
{
    struct ht__log log = {ignore_line, NULL};
    struct ht__checkpoint *ck;
    struct ht__model *opened;
    *diag = (struct ht_diag){0};
    n_cases++;
    models_write(&model, &folder);
    enum ht_err err = ht__checkpoint_open(folder.path, NULL, &ck, diag);
    if (err != HT_OK) fail_msg("%s: not even a checkpoint: %s", model.name, diag->message);
    err = ht__model_open(ck, NULL, &log, &opened, diag);
    if (err == HT_OK) ht__model_close(&opened);
    ht__checkpoint_close(&ck);
    return err;
}

/* The prefix of a language model among others is cut, and so may be missing from the message. */
static void must_be_refused(const struct tensor *t, const char *what)
{
    struct ht_diag diag;
    enum ht_err err = try_open(&diag);
    const char *name = t->name;
    if (strncmp(name, "language_model.", 15) == 0) name += 15;
    bool named = strstr(diag.message, name) || strstr(diag.where, name);
    if (err == HT_ERR_FORMAT && named) return;
    print_message("%s: %s %s: %s, %s: \"%s\"\n", model.name, t->name, what, ht_err_name(err), diag.where, diag.message);
    n_wrong++;
}

static bool is_text(const char *name)
{
    return !strstr(name, "vision_tower.") && !strstr(name, "multi_modal_projector.");
}

static void damage(struct tensor *t)
{
    char what[64];
    t->left_out = true;
    must_be_refused(t, "left out");
    t->left_out = false;
    for (int d = 0; d < t->n_dims; d++) {
        int64_t was = t->shape[d];
        snprintf(what, sizeof what, "with %lld in dimension %d", (long long)(was > 1 ? was - 1 : 2), d);
        t->shape[d] = was > 1 ? was - 1 : 2;
        must_be_refused(t, what);
        t->shape[d] = was;
    }
    t->shape[t->n_dims++] = 1;
    must_be_refused(t, "with a dimension more");
    t->n_dims--;
}

/* All that are wrong are shown. */
static void every_tensor(void **state)
{
    (void)state;
    FILE *list = models_open();
    int n_models = 0;
    for (; models_next(list, &model); n_models++) {
        struct ht_diag diag;
        folder_puts(&folder, "config.json", model.config);
        if (try_open(&diag) != HT_OK) fail_msg("%s: refused: %s: %s", model.name, diag.where, diag.message);
        for (int i = 0; i < model.n; i++)
            if (is_text(model.tensors[i].name)) damage(&model.tensors[i]);
    }
    fclose(list);
    print_message("%d models, %d checkpoints\n", n_models, n_cases);
    assert_int_equal(n_wrong, 0);
    assert_true(n_models >= 30 && n_cases > 3000);
}

static float metadata(const char *key)
{
    struct ht__log log = {ignore_line, NULL};
    struct ht_diag diag = {0};
    struct ht__checkpoint *ck;
    struct ht__model *opened;
    float value = -1;
    assert_int_equal(ht__checkpoint_open(folder.path, NULL, &ck, &diag), HT_OK);
    if (ht__model_open(ck, NULL, &log, &opened, &diag) != HT_OK) fail_msg("%s: %s", diag.where, diag.message);
    const struct ht__kv *kv = ht__kv_get(&opened->kvs, key);
    if (kv && kv->type == HT__KV_F32) value = (float)kv->f;
    ht__model_close(&opened);
    ht__checkpoint_close(&ck);
    return value;
}

/* Sizes alone: the rest is what Mixtral's class supplies, not Llama's. null is a value, and no class changes it. */
static void silent_configuration(void **state)
{
    (void)state;
#define SIZES                                                                                                          \
    "\"vocab_size\":4096,\"hidden_size\":64,\"intermediate_size\":96,\"num_hidden_layers\":2,"                         \
    "\"num_attention_heads\":4,\"num_local_experts\":4,\"num_key_value_heads\":"
    FILE *list = models_open();
    while (models_next(list, &model) && strcmp(model.name, "mixtral") != 0)
        continue;
    fclose(list);
    assert_string_equal(model.name, "mixtral");
    models_write(&model, &folder);
    folder_puts(&folder, "config.json", "{\"architectures\":[\"MixtralForCausalLM\"]," SIZES "2}");
    assert_true(metadata("llama.rope.freq_base") == 1e6f);
    assert_true(metadata("llama.attention.layer_norm_rms_epsilon") == 1e-5f);
    folder_puts(&folder, "config.json", "{\"model_type\":\"mixtral\"," SIZES "2}");
    assert_true(metadata("llama.rope.freq_base") == 1e6f);
    for (int i = 0; i < model.n; i++) /* as many key-value heads as heads */
        if (strstr(model.tensors[i].name, "k_proj") || strstr(model.tensors[i].name, "v_proj"))
            model.tensors[i].shape[0] = 64;
    models_write(&model, &folder);
    folder_puts(&folder, "config.json", "{\"architectures\":[\"MixtralForCausalLM\"]," SIZES "null}");
    assert_true(metadata("llama.rope.freq_base") == 1e6f);
}

static int setup(void **state)
{
    (void)state;
    folder = folder_make();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_tensor), cmocka_unit_test(silent_configuration)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
