/* GPTQ's layout: words as the programs that read it expect them, both versions of zero points, act-order, and the
 * configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json_write.h"
#include "schemes/gptq.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { N_OUT = 64, N_IN = 128, PARTS = 4 };

struct made {
    struct ht__scheme_params params;
    struct ht__matrix matrix;
    uint32_t qweight[N_IN / 4 * N_OUT], qzeros[N_IN / 32 * N_OUT];
    uint16_t scales[N_IN / 32 * N_OUT];
    int32_t g_idx[N_IN];
    float x[N_OUT * N_IN], y[N_OUT * N_IN];
};

static void fill(struct made *made, float least)
{
    uint32_t seed = 17;
    for (int i = 0; i < N_OUT * N_IN; i++) {
        seed = seed * 1664525u + 1013904223u;
        made->x[i] = least + (float)(seed >> 8) / 16777216.0f * 0.1f;
    }
}

static void dequantize(struct made *made)
{
    struct ht__arena scratch;
    const void *parts[PARTS] = {made->qweight, made->qzeros, made->scales, made->g_idx};
    ht__arena_init(&scratch, NULL);
    assert_int_equal(ht__scheme_dequantize(&made->params, &made->matrix, parts, made->y, &scratch, NULL), HT_OK);
    ht__arena_close(&scratch);
}

static void quantize(struct made *made, const char *type)
{
    struct ht__arena scratch;
    void *parts[PARTS] = {made->qweight, made->qzeros, made->scales, made->g_idx};
    made->matrix = (struct ht__matrix){.n_out = N_OUT, .n_in = N_IN, .dtype = &ht__codec_bf16};
    assert_int_equal(ht__scheme_parse(type, &made->params, NULL), HT_OK);
    ht__arena_init(&scratch, NULL);
    assert_int_equal(ht__scheme_quantize(&made->params, &made->matrix, made->x, parts, &scratch, NULL), HT_OK);
    ht__arena_close(&scratch);
    dequantize(made);
}

/* One zero point everywhere, in each version: the words that AutoGPTQ and GPTQModel write. */
static void test_symmetric_zeros(void **state)
{
    static const struct {
        const char *type;
        uint32_t words[3];
    } cases[] = {
        {"gptq:bits=2,group=32", {0x55555555, 0x55555555, 0x55555555}},
        {"gptq:bits=3,group=32", {0xdb6db6db, 0xb6db6db6, 0x6db6db6d}},
        {"gptq:bits=4,group=32", {0x77777777, 0x77777777, 0x77777777}},
        {"gptq:bits=8,group=32", {0x7f7f7f7f, 0x7f7f7f7f, 0x7f7f7f7f}},
        {"gptq:bits=2,group=32,version=v2", {0xaaaaaaaa, 0xaaaaaaaa, 0xaaaaaaaa}},
        {"gptq:bits=3,group=32,version=v2", {0x24924924, 0x49249249, 0x92492492}},
        {"gptq:bits=4,group=32,version=v2", {0x88888888, 0x88888888, 0x88888888}},
        {"gptq:bits=8,group=32,version=v2", {0x80808080, 0x80808080, 0x80808080}},
    };
    static struct made made;
    fill(&made, -0.05f);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        quantize(&made, cases[i].type);
        int words = N_IN / 32 * N_OUT * (int)ht__scheme_get(&made.params, "bits") / 32;
        for (int w = 0; w < words; w++)
            assert_int_equal(made.qzeros[w], cases[i].words[w % 3]);
        for (int k = 0; k < N_IN; k++)
            assert_int_equal(made.g_idx[k], k / 32);
    }
}

/* Weights that are all above 0 have a zero point of 0, for which version 1 has no code. */
static void test_no_zero_in_v1(void **state)
{
    static struct made made;
    for (int v = 1; v <= 2; v++)
        for (int search = 0; search < 2; search++) {
            char type[80];
            snprintf(type, sizeof type, "gptq:sym=off,group=32,version=v%d,range=%s", v, search ? "mse" : "absmax");
            fill(&made, 0.01f);
            quantize(&made, type);
            for (int w = 0; w < N_IN / 32 * N_OUT / 8 && !search; w++)
                assert_int_equal(made.qzeros[w], 0);
            for (int i = 0; i < N_OUT * N_IN; i++)
                assert_true(fabsf(made.x[i] - made.y[i]) < 0.11f / (v == 1 ? 14 : 15) * (search ? 1.5f : 0.52f));
        }
}

/* GPTQModel stores 0 by borrowing from the next field, and adds to whole words when it reads. */
static void test_borrowed_zeros(void **state)
{
    static struct made made;
    float expected[N_OUT * N_IN];
    fill(&made, -0.05f);
    quantize(&made, "gptq:sym=off,group=32,version=v2");
    made.qzeros[0] = 0x80500070;
    dequantize(&made);
    memcpy(expected, made.y, sizeof expected);
    ht__scheme_set(&made.params, "version", HT__GPTQ_V1);
    for (int w = 0; w < N_IN / 32 * N_OUT / 8; w++)
        made.qzeros[w] -= 0x11111111;
    dequantize(&made);
    assert_memory_equal(made.y, expected, sizeof expected);
}

/* With the columns' groups listed in another order, each takes its own group's scale. */
static void test_act_order(void **state)
{
    static struct made made, ordered;
    int part;
    const void *parts[PARTS] = {NULL, NULL, NULL, ordered.g_idx};
    fill(&made, -0.05f);
    quantize(&made, "gptq:sym=off,group=32");
    ordered = made;
    for (int k = 0; k < N_IN; k++)
        ordered.g_idx[k] = (k * 37 + 5) % N_IN / 32;
    dequantize(&ordered);
    for (int n = 0; n < N_OUT; n++)
        for (int k = 0; k < N_IN; k++) {
            int g = ordered.g_idx[k], q = made.qweight[k / 8 * N_OUT + n] >> k % 8 * 4 & 15;
            int z = (made.qzeros[g * N_OUT / 8 + n / 8] >> n % 8 * 4 & 15) + 1;
            float scale, w;
            ht__codec_f16.decode(&made.scales[g * N_OUT + n], 1, &scale);
            w = ht__round_to(&ht__codec_f16, (float)(q - z) * scale);
            assert_true(ordered.y[n * N_IN + k] == w);
        }
    const struct ht__scheme *s = made.params.scheme;
    assert_null(s->complaint(&made.params, &made.matrix, parts, &part));
    ordered.g_idx[3] = 4;
    assert_non_null(s->complaint(&made.params, &made.matrix, parts, &part));
    ordered.g_idx[3] = -1;
    assert_non_null(s->complaint(&made.params, &made.matrix, parts, &part));
    for (int k = 0; k < N_IN; k++)
        ordered.g_idx[k] = 0;
    assert_non_null(s->complaint(&made.params, &made.matrix, parts, &part));
    assert_int_equal(part, 3);
}

static void check_config(const struct ht__scheme_package *package, const char *expected)
{
    struct ht__buf out;
    ht__buf_init(&out, NULL);
    struct ht__jw w = ht__jw_line(&out);
    ht__jw_object(&w, NULL);
    package->params->scheme->config(package, &w);
    ht__jw_end(&w);
    assert_true(ht__jw_done(&w));
    assert_string_equal(ht__buf_text(&out), expected);
    ht__buf_close(&out);
}

static void test_config(void **state)
{
    struct ht__scheme_params p, other;
    struct ht__scheme_module all[] = {{"model.layers.0.self_attn.q_proj", &p},
                                      {"model.layers.0.mlp.down_proj", &p},
                                      {"model.layers.1.self_attn.q_proj", &p},
                                      {"model.layers.1.mlp.down_proj", &p},
                                      {"lm_head", NULL}};
    struct ht__scheme_package package = {&p, all, 5, &ht__codec_bf16};
    assert_int_equal(ht__scheme_parse("gptq", &p, NULL), HT_OK);
    assert_int_equal(ht__scheme_parse("gptq:bits=8,group=-1", &other, NULL), HT_OK);
    check_config(&package,
                 "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 128, \"sym\": true, \"desc_act\": "
                 "false, \"lm_head\": false, \"checkpoint_format\": \"gptq\", \"format\": \"gptq\", "
                 "\"pack_dtype\": \"int32\", \"meta\": {\"quantizer\": [\"halftone:" HT_VERSION "\"]}}");
    all[0].params = NULL;
    all[3].params = &other;
    check_config(
        &package,
        "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 128, \"sym\": true, \"desc_act\": false, "
        "\"lm_head\": false, \"checkpoint_format\": \"gptq\", \"format\": \"gptq\", \"pack_dtype\": \"int32\", "
        "\"dynamic\": {\"-:^model\\\\.layers\\\\.0\\\\.self_attn\\\\.q_proj$\": {}, "
        "\"-:^model\\\\.layers\\\\.0\\\\.self_attn\\\\.qkv_proj$\": {}, "
        "\"+:^model\\\\.layers\\\\.1\\\\.mlp\\\\.down_proj$\": {\"bits\": 8, \"group_size\": -1, \"sym\": true, "
        "\"desc_act\": false}}, \"modules_in_block_to_quantize\": [[\"model.layers.0.mlp.down_proj\", "
        "\"model.layers.1.self_attn.q_proj\", \"model.layers.1.mlp.down_proj\"]], \"meta\": {\"quantizer\": "
        "[\"halftone:" HT_VERSION "\"]}}");
    all[2].params = NULL;
    all[3].params = &p;
    ht__scheme_set(&p, "version", HT__GPTQ_V2);
    check_config(
        &package,
        "{\"quant_method\": \"gptq\", \"bits\": 4, \"group_size\": 128, \"sym\": true, \"desc_act\": false, "
        "\"lm_head\": false, \"checkpoint_format\": \"gptq_v2\", \"format\": \"gptq_v2\", \"pack_dtype\": "
        "\"int32\", \"dynamic\": {\"-:^model\\\\.layers\\\\.0\\\\.self_attn\\\\.q_proj$\": {}, "
        "\"-:^model\\\\.layers\\\\.0\\\\.self_attn\\\\.qkv_proj$\": {}, "
        "\"-:^model\\\\.layers\\\\.1\\\\.self_attn\\\\.q_proj$\": {}, "
        "\"-:^model\\\\.layers\\\\.1\\\\.self_attn\\\\.qkv_proj$\": {}}, "
        "\"modules_in_block_to_quantize\": [[\"mlp.down_proj\"]], \"meta\": {\"quantizer\": [\"halftone:" HT_VERSION
        "\"]}}");
    ht__scheme_set(&p, "config", HT__GPTQ_CONFIG_AUTO_ROUND);
    ht__scheme_set(&p, "version", HT__GPTQ_V1);
    all[1].params = &other;
    check_config(&package,
                 "{\"quant_method\": \"auto-round\", \"packing_format\": \"auto_round:auto_gptq\", \"bits\": 4, "
                 "\"group_size\": 128, \"sym\": true, \"data_type\": \"int\", \"block_name_to_quantize\": "
                 "\"model.layers\", \"extra_config\": {\"model.layers.0.self_attn.q_proj\": {\"bits\": 16}, "
                 "\"model.layers.0.mlp.down_proj\": {\"bits\": 8, \"group_size\": -1, \"sym\": true}, "
                 "\"model.layers.1.self_attn.q_proj\": {\"bits\": 16}, \"lm_head\": {\"bits\": 16}}}");
}

static void test_unsuited(void **state)
{
    struct ht__scheme_params p;
    struct ht__matrix m = {.n_out = 64, .n_in = 96, .dtype = &ht__codec_f16};
    assert_int_equal(ht__scheme_parse("gptq:group=64", &p, NULL), HT_OK);
    assert_non_null(p.scheme->unsuited(&p, &m));
    m.n_in = 128;
    assert_null(p.scheme->unsuited(&p, &m));
    m.n_out = 72;
    assert_non_null(p.scheme->unsuited(&p, &m));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_symmetric_zeros), cmocka_unit_test(test_no_zero_in_v1),
        cmocka_unit_test(test_borrowed_zeros),  cmocka_unit_test(test_act_order),
        cmocka_unit_test(test_config),          cmocka_unit_test(test_unsuited),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
