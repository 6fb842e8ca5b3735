/* AWQ's layout: words as AutoAWQ makes them, and the configuration. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json_write.h"
#include "schemes/scheme.h"

#include <string.h>

enum { N_OUT = 16, N_IN = 64 };

static struct ht__scheme_params params_of(const char *type)
{
    struct ht__scheme_params p;
    assert_int_equal(ht__scheme_parse(type, &p, NULL), HT_OK);
    return p;
}

static void test_words(void **state)
{
    static const uint8_t eight[8] = {15, 0, 3, 12, 7, 8, 1, 14};
    struct ht__scheme_params p = params_of("awq:group=32");
    struct ht__matrix m = {.n_out = N_OUT, .n_in = N_IN, .dtype = &ht__codec_f16};
    uint8_t q[N_OUT * N_IN], again[N_OUT * N_IN];
    float scale[N_OUT * 2], zero[N_OUT * 2], zero_again[N_OUT * 2];
    uint32_t qweight[N_IN * 2], qzeros[4];
    uint16_t scales[N_OUT * 2];
    void *parts[] = {qweight, qzeros, scales, NULL};
    struct ht__codes codes = {.n_rows = N_OUT, .q = q, .scale = scale, .zero = zero};
    for (int i = 0; i < N_OUT * N_IN; i++) /* the same in every column */
        q[i] = i / N_IN < 8 ? (uint8_t)(i / N_IN) : eight[i / N_IN - 8];
    for (int i = 0; i < N_OUT * 2; i++) {
        scale[i] = 0.5f + (float)i;
        zero[i] = i % 2 ? 8 : (float)(i / 2 % 8);
    }
    p.scheme->pack(&p, &m, &codes, parts);
    for (int k = 0; k < N_IN; k++) {
        assert_int_equal(qweight[2 * k], 0x75316420);
        assert_int_equal(qweight[2 * k + 1], 0xE8C0173F);
    }
    assert_int_equal(qzeros[0], 0x75316420);
    assert_int_equal(qzeros[2], 0x88888888);
    codes.q = again;
    codes.zero = zero_again;
    p.scheme->unpack(&p, &m, (const void *const *)parts, &codes);
    assert_memory_equal(q, again, sizeof q);
    assert_memory_equal(zero, zero_again, sizeof zero);
}

static const char *config_of(const struct ht__scheme_package *package, struct ht__buf *out)
{
    ht__buf_init(out, NULL);
    struct ht__jw w = ht__jw_line(out);
    ht__jw_object(&w, NULL);
    package->params->scheme->config(package, &w);
    ht__jw_end(&w);
    assert_true(ht__jw_done(&w));
    return ht__buf_text(out);
}

static void test_config(void **state)
{
    struct ht__buf out;
    struct ht__scheme_params p = params_of("awq");
    struct ht__scheme_module all[] = {
        {"model.layers.0.mlp.gate_proj", &p}, {"model.layers.0.mlp.gate", NULL}, {"lm_head", NULL}};
    struct ht__scheme_package package = {&p, all, 3, &ht__codec_bf16};
    assert_string_equal(
        config_of(&package, &out),
        "{\"quant_method\": \"awq\", \"version\": \"gemm\", \"bits\": 4, \"group_size\": 128, "
        "\"zero_point\": true, \"modules_to_not_convert\": [\"model.layers.0.mlp.gate\", \"lm_head\"]}");
    ht__buf_close(&out);
    p = params_of("awq:config=auto-round,group=32");
    assert_string_equal(
        config_of(&package, &out),
        "{\"quant_method\": \"auto-round\", \"packing_format\": \"auto_round:auto_awq\", \"bits\": 4, "
        "\"group_size\": 32, \"sym\": false, \"data_type\": \"int\", \"block_name_to_quantize\": "
        "\"model.layers\", \"extra_config\": {\"model.layers.0.mlp.gate\": {\"bits\": 16}, \"lm_head\": "
        "{\"bits\": 16}}}");
    ht__buf_close(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_words), cmocka_unit_test(test_config)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
