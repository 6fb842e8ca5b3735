/*
 * The mixes' rules: how many tensors of each type two well-known shapes get (dense with 32 layers and grouped
 * heads; the same with 8 experts), as llama-quantize counts them.
 */
#include "model/model.h"
#include "recipe/recipe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LAYERS = 32, MAX = 600 };

struct shape {
    struct ht__model model;
    struct ht__weight weights[MAX];
    struct ht__rows rows[MAX];
    char names[MAX][64];
};

static void add(struct shape *s, const char *name, int64_t ne0, int64_t ne1, int64_t ne2)
{
    size_t i = s->model.n_weights++;
    snprintf(s->names[i], sizeof s->names[i], "%s", name);
    s->rows[i] = (struct ht__rows){.n_rows = ne1 * ne2, .row_len = ne0};
    s->weights[i] = (struct ht__weight){.name = s->names[i],
                                        .slot = ht__slot_of_name(name),
                                        .n_dims = ne2 > 1   ? 3
                                                  : ne1 > 1 ? 2
                                                            : 1,
                                        .ne = {ne0, ne1, ne2, 1},
                                        .source = ht__codec_by_name("bf16"),
                                        .rows = &s->rows[i],
                                        .keep_f32 = ne1 == 1};
}

static struct shape *make(int experts, int64_t width)
{
    static const struct {
        const char *name;
        int64_t in, out;
    } dense[] = {{"attn_q", 4096, 4096}, {"attn_k", 4096, 1024}, {"attn_v", 4096, 1024}, {"attn_output", 4096, 4096}};
    struct shape *s = calloc(1, sizeof *s);
    char name[64];
    s->model = (struct ht__model){.arch = "llama",
                                  .weights = s->weights,
                                  .n_layers = LAYERS,
                                  .n_heads = 32,
                                  .n_kv_heads = 8,
                                  .n_experts = (uint32_t)experts};
    add(s, "token_embd.weight", width, 128256, 1);
    add(s, "output.weight", width, 128256, 1);
    add(s, "output_norm.weight", width, 1, 1);
    for (int i = 0; i < LAYERS; i++) {
        for (int k = 0; k < 4; k++) {
            snprintf(name, sizeof name, "blk.%d.%s.weight", i, dense[k].name);
            add(s, name, dense[k].in == 4096 ? width : dense[k].in, dense[k].out, 1);
        }
        for (int k = 0; k < 3; k++) {
            static const char *const ffn[] = {"ffn_gate", "ffn_up", "ffn_down"};
            snprintf(name, sizeof name, "blk.%d.%s%s.weight", i, ffn[k], experts ? "_exps" : "");
            add(s, name, k == 2 ? 14336 : width, k == 2 ? 4096 : 14336, experts ? experts : 1);
        }
        snprintf(name, sizeof name, "blk.%d.attn_norm.weight", i);
        add(s, name, width, 1, 1);
        if (experts) {
            snprintf(name, sizeof name, "blk.%d.ffn_gate_inp.weight", i);
            add(s, name, width, experts, 1);
        }
    }
    return s;
}

/* "q3_k:64 q2_k:129 …", the types that were chosen, in the order of types.def. */
static void count(struct shape *s, const char *mix, bool importance, char *out, size_t size)
{
    struct ht__choice choices[MAX];
    uint32_t order[MAX];
    struct ht__recipe recipe = {.mix = ht__mix_by_name(mix), .has_importance = importance};
    struct ht_diag diag = {0};
    assert_non_null(recipe.mix);
    ht__weight_order(&s->model, false, order);
    if (ht__recipe_choose(&recipe, &s->model, order, choices, &diag) != HT_OK) fail_msg("%s: %s", mix, diag.message);
    out[0] = '\0';
    for (size_t c = 0; c < ht__codec_count(); c++) {
        int n = 0;
        for (size_t i = 0; i < s->model.n_weights; i++)
            n += !choices[i].kept && choices[i].type == ht__codec_at(c);
        size_t used = strlen(out);
        if (n) snprintf(out + used, size - used, "%s%s:%d", used ? " " : "", ht__codec_at(c)->name, n);
    }
}

static void counts(void **state)
{
    (void)state;
    static const struct {
        const char *mix;
        bool importance;
        const char *dense, *experts;
    } table[] = {
        {"Q2_K", false, "q6_k:1 q4_k:32 q3_k:64 q2_k:129", "q8_0:64 q6_k:1 q5_k:32 q3_k:32 q2_k:97"},
        {"Q2_K_S", true, "q6_k:1 q4_k:36 q2_k:189", "q8_0:64 q6_k:1 q4_k:4 q2_k:157"},
        {"Q3_K_S", false, "q6_k:1 q3_k:225", "q8_0:64 q6_k:1 q5_k:32 q3_k:129"},
        {"Q3_K_M", false, "q6_k:1 q5_k:4 q4_k:92 q3_k:129", "q8_0:64 q6_k:1 q5_k:34 q4_k:30 q3_k:97"},
        {"Q3_K_L", false, "q6_k:1 q5_k:96 q3_k:129", "q8_0:64 q6_k:1 q5_k:32 q3_k:129"},
        {"Q4_0", false, "q4_0:225 q6_k:1", "q8_0:64 q4_0:161 q6_k:1"},
        {"Q4_K_S", false, "q6_k:1 q5_k:8 q4_k:217", "q8_0:64 q6_k:1 q5_k:36 q4_k:125"},
        {"Q4_K_M", false, "q6_k:33 q4_k:193", "q8_0:64 q6_k:17 q5_k:32 q4_k:113"},
        {"Q5_K_M", false, "q6_k:33 q5_k:193", "q8_0:64 q6_k:17 q5_k:145"},
        {"Q6_K", false, "q6_k:226", "q8_0:64 q6_k:162"},
        {"IQ4_XS", true, "q6_k:1 q5_k:32 iq4_xs:193", "q8_0:64 q6_k:1 q5_k:32 iq4_xs:129"},
        {"MXFP4_MOE", false, "q8_0:226", "q8_0:130 mxfp4:96"},
    };
    for (int experts = 0; experts <= 8; experts += 8) {
        struct shape *s = make(experts, 4096);
        for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
            char got[256];
            count(s, table[i].mix, table[i].importance, got, sizeof got);
            if (strcmp(got, experts ? table[i].experts : table[i].dense) != 0)
                fail_msg("%s with %d experts: %s, not %s", table[i].mix, experts, got,
                         experts ? table[i].experts : table[i].dense);
        }
        free(s);
    }
}

static void rows_that_do_not_divide(void **state)
{
    (void)state;
    struct shape *s = make(0, 4096 + 32); /* a multiple of 32, not of 256 */
    char got[256];
    count(s, "Q4_K_S", false, got, sizeof got);
    assert_non_null(strstr(got, "q5_0:")); /* in Q4_K's place */
    assert_null(strstr(got, "q6_k:1 "));
    free(s);
}

static void names(void **state)
{
    (void)state;
    assert_string_equal(ht__mix_by_name("q4_k")->name, "Q4_K_M");
    assert_string_equal(ht__mix_by_name("15")->name, "Q4_K_M");
    assert_null(ht__mix_by_name("Q9"));
    assert_null(ht__mix_by_name("NVFP4")); /* a format, not a mix */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts),
        cmocka_unit_test(rows_that_do_not_divide),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
