/* The integer formats of compressed-tensors: words as its compressor makes them, and the configuration of mixtures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json_write.h"
#include "schemes/scheme.h"

#include <string.h>

static struct ht__scheme_params params_of(const char *type)
{
    struct ht__scheme_params p;
    assert_int_equal(ht__scheme_parse(type, &p, NULL), HT_OK);
    return p;
}

/* As the client counts: from -2^(bits - 1). */
static void test_words(void **state)
{
    static const int four[8] = {-8, -7, -1, 0, 1, 2, 6, 7}, eight[4] = {-128, -1, 0, 127};
    struct ht__scheme_params p = params_of("w4a16:group=-1"), b = params_of("w8a16"), c = params_of("w8a8");
    struct ht__matrix m = {.n_out = 1, .n_in = 8, .dtype = &ht__codec_bf16},
                      n = {.n_out = 1, .n_in = 4, .dtype = &ht__codec_bf16};
    uint8_t q[8];
    int8_t bytes[4];
    float one = 1, zero = 8;
    uint32_t word = 0;
    uint16_t scale;
    int64_t shape[2];
    void *parts[] = {&word, &scale, shape, NULL}, *plain[] = {bytes, &scale};
    struct ht__codes codes = {.n_rows = 1, .q = q, .scale = &one, .zero = &zero};
    for (int i = 0; i < 8; i++)
        q[i] = (uint8_t)(four[i] + 8);
    p.scheme->pack(&p, &m, &codes, parts);
    assert_int_equal(word, 0xFEA98710);
    p.scheme->finish(&p, &m, parts);
    assert_true(shape[0] == 1 && shape[1] == 8);
    for (int i = 0; i < 4; i++)
        q[i] = (uint8_t)(eight[i] + 128);
    b.scheme->pack(&b, &n, &codes, parts);
    assert_int_equal(word, 0xFF807F00);
    c.scheme->pack(&c, &n, &codes, plain);
    for (int i = 0; i < 4; i++)
        assert_int_equal(bytes[i], eight[i]);
}

/* Zero points of 13 rows in 5 groups: two words a group, the second filled up with zeros. */
static void test_zero_points(void **state)
{
    enum { ROWS = 13, GROUPS = 5, N_IN = 160 };
    struct ht__scheme_params p = params_of("w4a16:group=32,sym=off");
    struct ht__matrix m = {.n_out = ROWS, .n_in = N_IN, .dtype = &ht__codec_f16};
    struct ht__part layout[HT__SCHEME_PARTS];
    static uint8_t q[ROWS * N_IN], again[ROWS * N_IN];
    float scale[ROWS * GROUPS], zero[ROWS * GROUPS], zero_again[ROWS * GROUPS];
    static uint32_t packed[ROWS * N_IN / 8];
    uint32_t zeros[2 * GROUPS];
    uint16_t scales[ROWS * GROUPS];
    int64_t shape[2] = {ROWS, N_IN};
    void *parts[] = {packed, scales, shape, zeros};
    struct ht__codes codes = {.n_rows = ROWS, .q = q, .scale = scale, .zero = zero};
    int part;
    assert_int_equal(p.scheme->parts(&p, &m, layout), 4);
    assert_int_equal(layout[3].shape[0], 2);
    for (int i = 0; i < ROWS * GROUPS; i++) {
        scale[i] = 1;
        zero[i] = (float)((i * 7 + i / 5) % 16);
    }
    p.scheme->pack(&p, &m, &codes, parts);
    for (int row = 0; row < 16; row++)
        for (int g = 0; g < GROUPS; g++)
            assert_int_equal(zeros[row / 8 * GROUPS + g] >> row % 8 * 4 & 15,
                             row < ROWS ? (int)zero[row * GROUPS + g] : 0);
    codes.q = again;
    codes.zero = zero_again;
    p.scheme->unpack(&p, &m, (const void *const *)parts, &codes);
    assert_memory_equal(zero, zero_again, sizeof zero);
    assert_null(p.scheme->complaint(&p, &m, (const void *const *)parts, &part));
    shape[1] = 161;
    assert_non_null(p.scheme->complaint(&p, &m, (const void *const *)parts, &part));
    assert_int_equal(part, 2);
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

#define WEIGHTS(bits, rest)                                                                                            \
    "\"weights\": {\"num_bits\": " #bits ", \"type\": \"int\", \"symmetric\": " rest ", \"dynamic\": false}, "
#define NO_INPUTS "\"input_activations\": null, \"output_activations\": null"
#define HEAD(format)                                                                                                   \
    "{\"quant_method\": \"compressed-tensors\", \"format\": \"" format "\", \"quantization_status\": \"compressed\", " \
    "\"config_groups\": {\"group_0\": {\"targets\": [\"Linear\"], "

static void test_config(void **state)
{
    struct ht__scheme_params p = params_of("w4a16"), channel = params_of("w8a16:sym=off"), tokens = params_of("w8a8");
    struct ht__scheme_module all[] = {{"a.0.q", &p}, {"a.0.k", &p}, {"a.1.q", &p}, {"lm_head", NULL}};
    struct ht__scheme_package package = {&p, all, 4, &ht__codec_bf16};
    check_config(&package, HEAD("pack-quantized") WEIGHTS(4, "true, \"strategy\": \"group\", \"group_size\": 128")
                               NO_INPUTS "}}, \"ignore\": [\"lm_head\"]}");
    all[1].params = &channel;
    check_config(&package,
                 HEAD("pack-quantized") WEIGHTS(4, "true, \"strategy\": \"group\", \"group_size\": 128") NO_INPUTS
                 "}, \"group_1\": {\"targets\": [\"a.0.k\"], " WEIGHTS(8, "false, \"strategy\": \"channel\"") NO_INPUTS
                 "}}, \"ignore\": [\"lm_head\"]}");
    package.params = &tokens;
    all[0].params = all[1].params = &tokens;
    all[2].params = NULL;
    check_config(
        &package,
        HEAD("int-quantized") WEIGHTS(
            8,
            "true, \"strategy\": \"channel\"") "\"input_activations\": {\"num_bits\": 8, \"type\": \"int\", \"symmetric\": true, \"strategy\": "
                                               "\"token\", \"dynamic\": true}, \"output_activations\": null}}, \"ignore\": [\"a.1.q\", \"lm_head\"]}");
    all[2].params = &p;
    check_config(
        &package,
        HEAD("mixed-precision") WEIGHTS(
            8,
            "true, \"strategy\": \"channel\"") "\"input_activations\": {\"num_bits\": 8, \"type\": \"int\", \"symmetric\": true, \"strategy\": "
                                               "\"token\", \"dynamic\": true}, \"output_activations\": null, \"format\": \"int-quantized\"}, "
                                               "\"group_1\": {\"targets\": [\"a.1.q\"], " WEIGHTS(
                                                   4, "true, \"strategy\": \"group\", \"group_size\": 128") NO_INPUTS
        ", \"format\": \"pack-quantized\"}}, \"ignore\": [\"lm_head\"]}");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_words), cmocka_unit_test(test_zero_points),
                                       cmocka_unit_test(test_config)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
