/*
 * What names in GGUF files say; that every tensor which an architecture makes has a role; who shares an input; that the
 * roles say of the mixes what llama.cpp's rules by names say; slots of a model's weights, pruned or not.
 */
#include "pipeline/plan.h"
#include "model/arch/arch.h"
#include "recipe/foreign.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const struct {
    const char *name;
    enum ht__role role;
    int32_t layer;
    bool bias;
} known[] = {
    {"token_embd.weight", HT__ROLE_EMBEDDING, -1, false},
    {"output.weight", HT__ROLE_OUTPUT, -1, false},
    {"output.bias", HT__ROLE_OUTPUT, -1, true},
    {"output_norm.weight", HT__ROLE_OUTPUT_NORM, -1, false},
    {"rope_freqs.weight", HT__ROLE_ROPE_FREQS, -1, false},
    {"blk.0.attn_q.weight", HT__ROLE_ATTN_Q, 0, false},
    {"blk.17.attn_q.bias", HT__ROLE_ATTN_Q, 17, true},
    {"blk.511.ffn_down_exps.weight", HT__ROLE_EXPERTS_DOWN, 511, false},
    {"blk.3.exp_probs_b.bias", HT__ROLE_ROUTER_SHIFT, 3, true},
    {"blk.007.attn_kv_a_mqa.weight", HT__ROLE_ATTN_KV_A, 7, false},
    /* no role, but perhaps a layer */
    {"", HT__ROLE_OTHER, -1, false},
    {".", HT__ROLE_OTHER, -1, false},
    {".weight", HT__ROLE_OTHER, -1, false},
    {"output", HT__ROLE_OTHER, -1, false},
    {"output.scale", HT__ROLE_OTHER, -1, false},
    {"attn_q.weight", HT__ROLE_OTHER, -1, false},
    {"blk.2.output.weight", HT__ROLE_OTHER, 2, false},
    {"blk.2.attn_q", HT__ROLE_OTHER, 2, false},
    {"blk.2.attn_q.scale", HT__ROLE_OTHER, 2, false},
    {"blk.2.attn_q.weight.weight", HT__ROLE_OTHER, 2, false},
    {"blk.2.ssm_a", HT__ROLE_OTHER, 2, false},
    {"blk.2", HT__ROLE_OTHER, 2, false},
    {"blk.2.weight", HT__ROLE_OTHER, 2, false},
    {"blk.2.bias", HT__ROLE_OTHER, 2, true},
    {"blk.2x.attn_q.weight", HT__ROLE_OTHER, 2, false},
    {"blk.", HT__ROLE_OTHER, -1, false},
    {"blk.-1.attn_q.weight", HT__ROLE_OTHER, -1, false},
    {"blk.x.attn_q.weight", HT__ROLE_OTHER, -1, false},
    {"enc.blk.1.attn_q.weight", HT__ROLE_OTHER, -1, false},
    {"blk.2147483647.attn_q.weight", HT__ROLE_ATTN_Q, INT32_MAX, false},
    {"blk.99999999999999999999999.attn_q.weight", HT__ROLE_ATTN_Q, INT32_MAX, false},
};

static void names(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        struct ht__slot slot = ht__slot_of_name(known[i].name);
        if (slot.role != known[i].role || slot.layer != known[i].layer || slot.bias != known[i].bias ||
            slot.expert != -1)
            fail_msg("\"%s\": role %s, layer %d, expert %d%s", known[i].name, ht__role_at(slot.role)->name,
                     (int)slot.layer, (int)slot.expert, slot.bias ? ", a bias" : "");
    }
}

static void every_role_by_its_name(void **state)
{
    char name[80];
    (void)state;
    for (int i = HT__ROLE_OTHER + 1; i < HT__N_ROLES; i++) {
        const struct ht__role_info *role = ht__role_at((enum ht__role)i);
        snprintf(name, sizeof name, "%s%s.weight", role->in_layer ? "blk.12." : "", role->name);
        struct ht__slot slot = ht__slot_of_name(name);
        assert_int_equal(slot.role, i);
        assert_int_equal(slot.layer, role->in_layer ? 12 : -1);
        assert_true(ht__slot_is(slot, (enum ht__role)i));
        assert_int_equal(ht__slot_site(slot).kind, role->site);
        if (!role->matrix) assert_int_equal(role->site, HT__SITE_NONE);
        slot.bias = true;
        assert_false(ht__slot_is(slot, (enum ht__role)i));
        assert_int_equal(ht__slot_site(slot).kind, HT__SITE_NONE);
    }
}

/* "blk.#.attn_q.*" with a layer and a suffix. */
static void fill_in(char *out, const char *pattern)
{
    for (; *pattern; pattern++) {
        if (*pattern == '#')
            *out++ = '3';
        else if (*pattern == '*')
            out = stpcpy(out, "weight");
        else
            *out++ = *pattern;
    }
    *out = '\0';
}

static void what_architectures_make(void **state)
{
    static const struct ht__arch *const archs[] = {
#define HT_ARCH(id) &ht__arch_##id,
#include "model/arch/archs.def"
#undef HT_ARCH
    };
    size_t n = 0;
    char name[256];
    (void)state;
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++)
        for (const struct ht__name_rule *rule = archs[i]->rules; rule->from; rule++) {
            if (!rule->to) continue;
            fill_in(name, rule->to);
            struct ht__slot slot = ht__slot_of_name(name);
            if (slot.role == HT__ROLE_OTHER) fail_msg("%s: %s has no role", archs[i]->name, name);
            assert_int_equal(slot.layer, strchr(rule->to, '#') ? 3 : -1);
            n++;
        }
    assert_true(n > 300);
}

static struct ht__site site(const char *name)
{
    return ht__slot_site(ht__slot_of_name(name));
}

static bool shared(const char *a, const char *b)
{
    struct ht__site x = site(a), y = site(b);
    return memcmp(&x, &y, sizeof x) == 0;
}

static void inputs(void **state)
{
    (void)state;
    assert_true(shared("blk.1.attn_q.weight", "blk.1.attn_k.weight"));
    assert_true(shared("blk.1.attn_q.weight", "blk.1.attn_v.weight"));
    assert_true(shared("blk.1.attn_q.weight", "blk.1.attn_kv_a_mqa.weight"));
    assert_false(shared("blk.1.attn_q.weight", "blk.2.attn_q.weight"));
    assert_false(shared("blk.1.attn_q.weight", "blk.1.attn_output.weight"));
    assert_true(shared("blk.1.ffn_gate.weight", "blk.1.ffn_up.weight"));
    assert_true(shared("blk.1.ffn_gate_inp.weight", "blk.1.ffn_up_shexp.weight"));
    assert_false(shared("blk.1.ffn_up_exps.weight", "blk.1.ffn_up_shexp.weight"));
    assert_true(shared("blk.1.ffn_up_exps.weight", "blk.1.ffn_gate_exps.weight"));
    assert_false(shared("blk.1.ffn_down_exps.weight", "blk.1.ffn_down_shexp.weight"));
    assert_false(shared("blk.1.ffn_down.weight", "blk.1.ffn_up.weight"));
    assert_int_equal(site("output.weight").kind, HT__SITE_OUTPUT);
    assert_int_equal(site("token_embd.weight").kind, HT__SITE_NONE);
    assert_int_equal(site("blk.1.attn_norm.weight").kind, HT__SITE_NONE);
    assert_int_equal(site("blk.1.ssm_in.weight").kind, HT__SITE_NONE);
    struct ht__slot one = ht__slot_of_name("blk.1.ffn_up_exps.weight");
    one.expert = 5;
    assert_int_equal(ht__slot_site(one).expert, 5);
}

/* roles.def against the parts of names that llama-quantize looks for. */
static void mixes_by_role_and_by_name(void **state)
{
    char name[80];
    (void)state;
    for (int i = HT__ROLE_OTHER + 1; i < HT__N_ROLES; i++) {
        const struct ht__role_info *role = ht__role_at((enum ht__role)i);
        snprintf(name, sizeof name, "%s%s.weight", role->in_layer ? "blk.12." : "", role->name);
        if (role->mix != ht__foreign_class(name)) fail_msg("%s is of another class in the mixes", name);
        bool never = role->flags & HT__ROLE_NEVER;
        if (never != ht__foreign_never(name)) fail_msg("%s is %s by its name", name, never ? "quantized" : "not");
    }
    assert_int_equal(ht__foreign_class("dec.blk.3.cross_attn_q.weight"), HT__MIX_Q);
    assert_int_equal(ht__foreign_class("blk.3.ssm_in.weight"), HT__MIX_OTHER);
    assert_true(ht__foreign_never("blk.3.ssm_conv1d.weight"));
}

static size_t check_slots(const struct ht__model *model)
{
    size_t in_layers = 0;
    for (size_t i = 0; i < model->n_weights; i++) {
        struct ht__slot slot = ht__slot_of_name(model->weights[i].name);
        assert_memory_equal(&model->weights[i].slot, &slot, offsetof(struct ht__slot, bias) + 1);
        assert_true(slot.role != HT__ROLE_OTHER && slot.layer < (int32_t)model->n_layers);
        in_layers += slot.layer >= 0;
    }
    return in_layers;
}

static void slots_of_a_model(void **state)
{
    struct ht__checkpoint *checkpoint;
    struct ht__model *model = NULL;
    const char *names[200];
    struct ht_diag diag = {0};
    char path[1000];
    (void)state;
    snprintf(path, sizeof path, "%s/examples/model", getenv("HT_SOURCE_ROOT") ? getenv("HT_SOURCE_ROOT") : ".");
    if (ht__checkpoint_open(path, NULL, &checkpoint, &diag) || ht__model_open(checkpoint, NULL, NULL, &model, &diag))
        fail_msg("%s: %s", diag.where, diag.message);
    assert_true(model->n_weights > 0 && model->n_weights <= 200);
    for (size_t i = 0; i < model->n_weights; i++)
        names[i] = model->weights[i].name;
    uint32_t n_layers = model->n_layers;
    size_t each = check_slots(model) / n_layers;
    static const uint32_t layers[] = {0, 2};
    const struct ht__prune_settings prune = {layers, 2, "0,2"};
    struct ht__pruned pruned;
    size_t native = model->n_native, first = 0;
    assert_int_equal(ht__prune_layers(model, names, &prune, &pruned, &diag), HT_OK);
    assert_int_equal(ht__prune_native(model, &pruned, &diag), HT_OK);
    assert_int_equal(native - model->n_native, 2 * each);
    for (size_t i = 0; i < model->n_native; i++) {
        assert_int_equal(model->native[i].native, i);
        first += strcmp(model->native[i].name, "model.layers.1.self_attn.q_proj.weight") == 0 &&
                 model->native[i].slot.layer == 1 && strstr(model->native[i].tensor->name, "layers.3.") != NULL;
    }
    assert_int_equal(first, 1);
    assert_int_equal(check_slots(model), each * (n_layers - 2));
    for (size_t i = 0; i < model->n_weights; i++)
        if (strcmp(model->weights[i].name, "blk.1.attn_q.weight") == 0)
            assert_string_equal(names[i], "blk.3.attn_q.weight");
    const struct ht__weight *embedding = ht__model_find(model, HT__ROLE_EMBEDDING);
    assert_string_equal(embedding->name, "token_embd.weight");
    assert_null(ht__model_find(model, HT__ROLE_POSITIONS));
    ht__model_close(&model);
    ht__checkpoint_close(&checkpoint);
}

static void another_layer(void **state)
{
    char name[20];
    (void)state;
    assert_true(ht__name_in_layer("blk.12.attn_q.weight", 3, name, sizeof name));
    assert_string_equal(name, "blk.3.attn_q.weight");
    assert_false(ht__name_in_layer("blk.12.attn_q.weight", 12, name, sizeof name)); /* 20 bytes and the last */
    assert_true(ht__name_in_layer("blk.012", 0, name, sizeof name));
    assert_string_equal(name, "blk.0");
    assert_false(ht__name_in_layer("output.weight", 3, name, sizeof name));
    assert_false(ht__name_in_layer("blk.x.weight", 3, name, sizeof name));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),
        cmocka_unit_test(every_role_by_its_name),
        cmocka_unit_test(what_architectures_make),
        cmocka_unit_test(inputs),
        cmocka_unit_test(another_layer),
        cmocka_unit_test(mixes_by_role_and_by_name),
        cmocka_unit_test(slots_of_a_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
