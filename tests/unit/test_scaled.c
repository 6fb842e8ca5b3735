/* FP8, NVFP4, MXFP4 and MXFP8: known vectors, scales of extreme blocks, and the configuration of each form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/json_write.h"
#include "kernels/half.h"
#include "schemes/scaled.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- a matrix as its parts ---- */

struct made {
    struct ht__scheme_params params;
    struct ht__matrix matrix;
    struct ht__part parts[HT__SCHEME_PARTS];
    void *data[HT__SCHEME_PARTS];
    int n;
};

static struct made make(const char *type, const char *dtype, int64_t n_out, int64_t n_in, const float *x)
{
    struct made made = {.matrix = {.n_out = n_out, .n_in = n_in, .dtype = ht__codec_by_name(dtype)}};
    struct ht__arena scratch;
    ht__arena_init(&scratch, NULL);
    assert_int_equal(ht__scheme_parse(type, &made.params, NULL), HT_OK);
    for (int64_t i = 0; i < n_out * n_in; i++)
        made.matrix.amax = fmaxf(made.matrix.amax, fabsf(x[i]));
    assert_null(made.params.scheme->unsuited(&made.params, &made.matrix));
    made.n = made.params.scheme->parts(&made.params, &made.matrix, made.parts);
    for (int i = 0; i < made.n; i++)
        made.data[i] = malloc(ht__part_bytes(&made.parts[i]) + 1);
    assert_int_equal(ht__scheme_quantize(&made.params, &made.matrix, x, made.data, &scratch, NULL), HT_OK);
    ht__arena_close(&scratch);
    return made;
}

static void values(const struct made *made, float *x)
{
    struct ht__arena scratch;
    ht__arena_init(&scratch, NULL);
    assert_int_equal(
        ht__scheme_dequantize(&made->params, &made->matrix, (const void *const *)made->data, x, &scratch, NULL), HT_OK);
    ht__arena_close(&scratch);
}

static void free_made(struct made *made)
{
    for (int i = 0; i < made->n; i++)
        free(made->data[i]);
}

static float float_at(const void *data, int i)
{
    float x;
    memcpy(&x, (const char *)data + 4 * i, sizeof x);
    return x;
}

static void check_part(const struct made *made, int i, const char *suffix, const char *dtype, int n_dims, int64_t first,
                       int64_t last)
{
    assert_string_equal(made->parts[i].suffix, suffix);
    assert_string_equal(made->parts[i].dtype->name, dtype);
    assert_int_equal(made->parts[i].n_dims, n_dims);
    if (n_dims > 0) assert_int_equal(made->parts[i].shape[0], first);
    if (n_dims > 1) assert_int_equal(made->parts[i].shape[n_dims - 1], last);
}

/* ---- NVFP4 ---- */

/* -0.07, -0.06 … 0.08 and a block whose largest is 0.5: a global scale of 5376, and 71.68 for the block, which is 72. */
static void test_nvfp4(void **state)
{
    static const uint8_t expected[8] = {0xef, 0xde, 0xbc, 0x09, 0x31, 0x54, 0x66, 0x77};
    float x[32] = {[16] = 0.5f}, y[32];
    for (int i = 0; i < 16; i++)
        x[i] = 0.01f * (float)(i - 7);
    struct made made = make("nvfp4", "bf16", 1, 32, x);
    assert_int_equal(made.n, 3);
    check_part(&made, 0, ".weight_packed", "u8", 2, 1, 16);
    check_part(&made, 1, ".weight_scale", "f8_e4m3", 2, 1, 2);
    check_part(&made, 2, ".weight_global_scale", "f32", 1, 1, 1);
    assert_memory_equal(made.data[0], expected, 8);
    assert_true(float_at(made.data[2], 0) == 5376);
    assert_int_equal(((uint8_t *)made.data[1])[0], 0x69);
    assert_int_equal(((uint8_t *)made.data[1])[1], 0x7e);
    values(&made, y);
    assert_true(y[0] == ht__round_bf16(72 / 5376.0f * -6));
    assert_true(y[16] == 0.5f && y[17] == 0);
    free_made(&made);

    made = make("nvfp4:config=modelopt", "bf16", 1, 32, x);
    check_part(&made, 0, ".weight", "u8", 2, 1, 16);
    check_part(&made, 2, ".weight_scale_2", "f32", 0, 0, 0);
    assert_memory_equal(made.data[0], expected, 8);
    assert_true(float_at(made.data[2], 0) == 0.5f / 2688);
    free_made(&made);
}

/* Blocks of zeros, of numbers too small for a scale of their own, and a matrix of zeros. */
static void test_nvfp4_extremes(void **state)
{
    float x[48] = {[0] = 100, [20] = 1e-6f}, y[48];
    struct made made = make("nvfp4", "f32", 1, 48, x);
    assert_int_equal(((uint8_t *)made.data[1])[1], 1);
    assert_int_equal(((uint8_t *)made.data[1])[2], 0x20); /* 0.125 */
    values(&made, y);
    assert_true(y[0] == 100 && y[20] == 0 && y[40] == 0);
    free_made(&made);
    memset(x, 0, sizeof x);
    made = make("nvfp4", "f32", 1, 48, x);
    assert_true(float_at(made.data[2], 0) == 1);
    values(&made, y);
    for (int i = 0; i < 48; i++)
        assert_true(y[i] == 0);
    free_made(&made);
}

/* ---- powers of two ---- */

static void check_power(const char *type, float amax, int expected, int of_zeros)
{
    float x[64] = {[5] = -amax};
    struct made made = make(type, "f32", 2, 32, x);
    assert_int_equal(((uint8_t *)made.data[1])[0], expected);
    assert_int_equal(((uint8_t *)made.data[1])[1], of_zeros);
    free_made(&made);
}

static void test_mx_scales(void **state)
{
    check_power("mxfp4", 6, 127, 0);
    check_power("mxfp4", 6.99f, 127, 0);
    check_power("mxfp4", 7, 128, 0);
    check_power("mxfp4", 3.5f, 127, 0);
    check_power("mxfp4", 0.07f, 121, 0);
    check_power("mxfp4", 0x1p-140f, 0, 0);
    check_power("mxfp8", 448, 127, 127);
    check_power("mxfp8", 449, 128, 127);
    check_power("mxfp8", 1, 119, 127);
    check_power("mxfp8:config=compressed-tensors", 448, 128, 0);
    check_power("mxfp8:config=compressed-tensors", 447, 127, 0);
}

static void test_mxfp4_layout(void **state)
{
    float x[32], y[32];
    for (int i = 0; i < 32; i++)
        x[i] = (i % 2 ? -0.125f : 0.125f) * (float)(i % 7);
    struct made made = make("mxfp4", "f16", 1, 32, x);
    check_part(&made, 0, ".weight_packed", "u8", 2, 1, 16);
    check_part(&made, 1, ".weight_scale", "u8", 2, 1, 1);
    assert_int_equal(((uint8_t *)made.data[1])[0], 124);  /* 0.75: 6 x 2^-3 */
    assert_int_equal(((uint8_t *)made.data[0])[0], 0xa0); /* 0, -1 */
    values(&made, y);
    assert_true(y[1] == -0.125f && y[6] == 0.75f && y[5] == -0.5f);
    free_made(&made);
}

/* Two experts of two rows: the number of experts in front, a dimension for the bytes of a block. */
static void test_experts(void **state)
{
    struct ht__scheme_params p;
    struct ht__matrix m = {.n_out = 4, .n_in = 64, .dtype = ht__codec_by_name("bf16"), .amax = 1, .n_experts = 2};
    struct ht__part parts[HT__SCHEME_PARTS];
    static const int64_t blocks[4] = {2, 2, 2, 16}, scales[3] = {2, 2, 2};
    assert_int_equal(ht__scheme_parse("mxfp4:config=gpt-oss", &p, NULL), HT_OK);
    assert_null(p.scheme->unsuited(&p, &m));
    assert_int_equal(p.scheme->parts(&p, &m, parts), 2);
    assert_string_equal(parts[0].suffix, "_blocks");
    assert_string_equal(parts[1].suffix, "_scales");
    assert_int_equal(parts[0].n_dims, 4);
    assert_int_equal(parts[1].n_dims, 3);
    assert_memory_equal(parts[0].shape, blocks, sizeof blocks);
    assert_memory_equal(parts[1].shape, scales, sizeof scales);
    m.n_experts = 0;
    assert_non_null(p.scheme->unsuited(&p, &m));
    m.n_experts = 2;
    assert_int_equal(ht__scheme_parse("mxfp4", &p, NULL), HT_OK);
    assert_non_null(p.scheme->unsuited(&p, &m));
}

/* ---- FP8 ---- */

static void test_fp8(void **state)
{
    float x[8] = {1, -0.5f, 0.25f, 1e-5f, 0, 0, 0, 0}, y[8];
    struct made made = make("fp8", "bf16", 2, 4, x);
    check_part(&made, 0, ".weight", "f8_e4m3", 2, 2, 4);
    check_part(&made, 1, ".weight_scale", "bf16", 2, 2, 1);
    const uint8_t *q = made.data[0];
    float scale = ht__bf16_to_f32(ht__load_u16(made.data[1]));
    assert_true(scale == ht__round_bf16(1 / 448.0f));
    assert_int_equal(q[0], 0x7e);
    assert_int_equal(q[1], 0xf6);
    assert_true(ht__bf16_to_f32(ht__load_u16((char *)made.data[1] + 2)) == 0x1p-7f); /* zeros: as compressed-tensors */
    values(&made, y);
    assert_true(y[1] == ht__round_bf16(-224 * scale) && y[4] == 0);
    free_made(&made);

    made = make("fp8:scale=tensor", "f32", 2, 4, x);
    check_part(&made, 1, ".weight_scale", "f32", 1, 1, 1);
    assert_true(float_at(made.data[1], 0) == 1 / 448.0f);
    free_made(&made);
    made = make("fp8:config=modelopt", "bf16", 2, 4, x);
    check_part(&made, 1, ".weight_scale", "f32", 1, 2, 2);
    free_made(&made);
}

static void test_fp8_block(void **state)
{
    enum { OUT = 256, IN = 128 };
    static float x[OUT * IN], y[OUT * IN];
    for (int i = 0; i < OUT * IN; i++)
        x[i] = (float)(i % 97 - 48) * (i < 128 * IN ? 0.01f : 1);
    struct made made = make("fp8-block", "f32", OUT, IN, x);
    check_part(&made, 1, ".weight_scale_inv", "f32", 2, 2, 1);
    assert_true(float_at(made.data[1], 0) == 0.48f / 448 && float_at(made.data[1], 1) == 48 / 448.0f);
    values(&made, y);
    for (int i = 0; i < OUT * IN; i++)
        assert_true(fabsf(x[i] - y[i]) <= fabsf(x[i]) / 16 + 1e-6f);
    free_made(&made);
    made = make("fp8-block:scales=ue8m0", "f32", OUT, IN, x);
    check_part(&made, 1, ".weight_scale_inv", "f8_e8m0", 2, 2, 1);
    assert_int_equal(((uint8_t *)made.data[1])[0], 127 - 9); /* 0.48 / 448 lies between 2^-10 and 2^-9 */
    assert_int_equal(((uint8_t *)made.data[1])[1], 127 - 3);
    free_made(&made);
    made = make("fp8-block:config=modelopt", "f32", OUT, IN, x);
    check_part(&made, 1, ".weight_scale", "f32", 4, 2, 1);
    free_made(&made);
    made = make("fp8-block:config=compressed-tensors", "bf16", 200, 100, x); /* smaller blocks at the ends */
    check_part(&made, 1, ".weight_scale", "bf16", 2, 2, 1);
    values(&made, y);
    for (int i = 0; i < 200 * 100; i++)
        assert_true(fabsf(x[i] - y[i]) <= fabsf(x[i]) / 12 + 1e-3f);
    free_made(&made);
}

static void check_unsuited(const char *type, int64_t n_out, int64_t n_in, const char *why)
{
    struct ht__scheme_params p;
    struct ht__matrix m = {.n_out = n_out, .n_in = n_in, .dtype = ht__codec_by_name("bf16"), .amax = 1};
    assert_int_equal(ht__scheme_parse(type, &p, NULL), HT_OK);
    const char *got = p.scheme->unsuited(&p, &m);
    if (!why) assert_null(got);
    if (why) assert_non_null(got);
    if (why && !strstr(got, why)) fail_msg("%s: \"%s\" does not say \"%s\"", type, got, why);
}

static void test_unsuited(void **state)
{
    check_unsuited("fp8", 3, 5, NULL);
    check_unsuited("fp8:scale=tensor", 3, 5, NULL);
    check_unsuited("fp8:scale=tensor,config=modelopt", 128, 128, "scale=channel");
    check_unsuited("fp8-block", 128, 192, "multiples of 128");
    check_unsuited("fp8-block", 192, 128, "multiples of 128");
    check_unsuited("fp8-block:config=modelopt", 192, 128, "multiples of 128");
    check_unsuited("fp8-block:config=compressed-tensors", 192, 100, NULL);
    check_unsuited("fp8-block:config=compressed-tensors,scales=ue8m0", 128, 128, "config=transformers");
    check_unsuited("nvfp4", 1, 24, "multiple of 16");
    check_unsuited("mxfp4", 1, 48, "multiple of 32");
    check_unsuited("mxfp8", 1, 48, "multiple of 32");
    check_unsuited("mxfp8", 1, 64, NULL);
}

static void test_flags(void **state)
{
    struct ht__scheme_params p;
    assert_int_equal(ht__scheme_parse("fp8", &p, NULL), HT_OK);
    assert_int_equal(ht__scheme_flags(&p), 0);
    assert_int_equal(ht__scheme_parse("fp8:scale=tensor", &p, NULL), HT_OK);
    assert_int_equal(ht__scheme_flags(&p), HT__SCHEME_NEEDS_AMAX | HT__SCHEME_SHARED);
    assert_int_equal(ht__scheme_parse("nvfp4", &p, NULL), HT_OK);
    assert_int_equal(ht__scheme_flags(&p), HT__SCHEME_NEEDS_AMAX | HT__SCHEME_SHARED);
}

/* Scales of a whole matrix that no program could compute with. */
static void test_complaints(void **state)
{
    struct ht__scheme_params p;
    struct ht__matrix m = {.n_out = 32, .n_in = 32, .dtype = ht__codec_by_name("f32"), .amax = 1};
    float scale = NAN;
    const void *src[3] = {NULL, &scale, NULL}, *global[3] = {NULL, NULL, &scale};
    int part = -1;
    assert_int_equal(ht__scheme_parse("fp8:scale=tensor", &p, NULL), HT_OK);
    assert_non_null(p.scheme->complaint(&p, &m, src, &part));
    assert_int_equal(part, 1);
    scale = 0.5f;
    assert_null(p.scheme->complaint(&p, &m, src, &part));
    assert_int_equal(ht__scheme_parse("nvfp4", &p, NULL), HT_OK);
    assert_null(p.scheme->complaint(&p, &m, global, &part));
    scale = 0;
    assert_non_null(p.scheme->complaint(&p, &m, global, &part));
    assert_int_equal(part, 2);
    scale = INFINITY;
    assert_non_null(p.scheme->complaint(&p, &m, global, &part));
}

/* ---- into GGUF's blocks ---- */

/* The same codes and scales: what GGUF's type decodes, times the scale, is the code times its scales. */
static void check_gguf(const char *type, const char *gguf)
{
    enum { OUT = 3, IN = 128 };
    static float x[OUT * IN], y[OUT * IN], raw[OUT * IN];
    static char bytes[OUT * IN];
    for (int i = 0; i < OUT * IN; i++)
        x[i] = (float)((i * 37) % 101 - 50) * (1 + (float)(i / 16 % 5));
    struct made made = make(type, "f32", OUT, IN, x);
    const struct ht__codec *codec = ht__scaled_gguf(&made.params, &made.matrix);
    assert_non_null(codec);
    assert_string_equal(codec->name, gguf);
    ht__scaled_gguf_rows(&made.params, &made.matrix, (const void *const *)made.data, OUT, bytes);
    float scale = ht__scaled_gguf_scale(&made.params, &made.matrix, (const void *const *)made.data);
    codec->decode(bytes, OUT * IN, raw);
    values(&made, y);
    for (int i = 0; i < OUT * IN; i++)
        if (!(fabsf(raw[i] * scale - y[i]) <= fabsf(y[i]) / 256)) fail_msg("%s: %g for %g", type, raw[i] * scale, y[i]);
    for (int i = 0; made.n == 2 && i < OUT * IN; i++) /* powers of two round nothing */
        assert_true(raw[i] == y[i]);
    free_made(&made);
}

static void test_gguf(void **state)
{
    struct ht__scheme_params p;
    struct ht__matrix m = {.n_out = 1, .n_in = 48, .dtype = ht__codec_by_name("f32"), .amax = 1};
    check_gguf("mxfp4", "mxfp4");
    check_gguf("nvfp4", "nvfp4");
    check_gguf("nvfp4:config=modelopt", "nvfp4");
    assert_int_equal(ht__scheme_parse("nvfp4", &p, NULL), HT_OK);
    assert_null(ht__scaled_gguf(&p, &m)); /* its rows end within a block */
    assert_int_equal(ht__scheme_parse("fp8", &p, NULL), HT_OK);
    assert_null(ht__scaled_gguf(&p, &m));
}

/* ---- configurations ---- */

static void check_json(const char *type, const char *config, const char *side)
{
    struct ht__scheme_params p;
    assert_int_equal(ht__scheme_parse(type, &p, NULL), HT_OK);
    const struct ht__scheme_module modules[] = {{"model.layers.0.mlp.up_proj", &p}, {"lm_head", NULL}};
    const struct ht__scheme_package package = {&p, modules, 2, ht__codec_by_name("bf16")};
    struct ht__buf buf;
    ht__buf_init(&buf, NULL);
    struct ht__jw w = ht__jw_line(&buf);
    ht__jw_object(&w, NULL);
    p.scheme->config(&package, &w);
    ht__jw_end(&w);
    assert_true(ht__jw_done(&w));
    assert_string_equal(ht__buf_text(&buf), config);
    ht__buf_close(&buf);
    ht__buf_init(&buf, NULL);
    w = ht__jw_line(&buf);
    ht__jw_object(&w, NULL);
    if (p.scheme->side) p.scheme->side(&package, &w);
    ht__jw_end(&w);
    assert_string_equal(ht__buf_text(&buf), side);
    ht__buf_close(&buf);
}

#define CT(format, weights, inputs)                                                                                    \
    "{\"quant_method\": \"compressed-tensors\", \"format\": \"" format "\", \"quantization_status\": \"compressed\", " \
    "\"config_groups\": {\"group_0\": {\"targets\": [\"Linear\"], \"weights\": " weights                               \
    ", \"input_activations\": " inputs ", \"output_activations\": null}}, \"ignore\": [\"lm_head\"]}"
#define FP8_ARGS(strategy, rest)                                                                                       \
    "{\"num_bits\": 8, \"type\": \"float\", \"symmetric\": true, \"strategy\": \"" strategy "\", " rest "}"
#define FP4_ARGS(strategy, rest)                                                                                       \
    "{\"num_bits\": 4, \"type\": \"float\", \"symmetric\": true, \"strategy\": \"" strategy "\", " rest "}"
#define TOKEN FP8_ARGS("token", "\"dynamic\": true")
#define BLOCK_128 "\"block_structure\": [128, 128], \"dynamic\": false"
#define MX "\"group_size\": 32, \"dynamic\": false, \"scale_dtype\": \"torch.uint8\""
#define MX_INPUT "\"group_size\": 32, \"dynamic\": true, \"scale_dtype\": \"torch.uint8\""
#define GROUP_128 FP8_ARGS("group", "\"group_size\": 128, \"dynamic\": true")
#define PRODUCER "\"producer\": {\"name\": \"halftone\", \"version\": \"" HT_VERSION "\"}"
#define MODELOPT(algorithm, weights, inputs)                                                                           \
    "{\"quant_method\": \"modelopt\", \"quant_algo\": \"" algorithm "\", \"config_groups\": {\"group_0\": "            \
    "{\"weights\": " weights ", \"input_activations\": " inputs ", \"targets\": [\"Linear\"]}}, "                      \
    "\"ignore\": [\"lm_head\"], " PRODUCER "}"
#define MODELOPT_SIDE(algorithm, group)                                                                                \
    "{" PRODUCER ", \"quantization\": {\"quant_algo\": \"" algorithm                                                   \
    "\", \"kv_cache_quant_algo\": null, \"group_size\": " group ", \"exclude_modules\": [\"lm_head\"]}}"
#define SKIPPED "\"modules_to_not_convert\": [\"lm_head\"], \"ignored_layers\": [\"lm_head\"]"
#define HF(method, block, format)                                                                                      \
    "{\"quant_method\": \"" method "\", \"activation_scheme\": \"dynamic\", \"fmt\": \"e4m3\", "                       \
    "\"weight_block_size\": " block ", " format SKIPPED "}"
#define UE8M0 "\"scale_fmt\": \"ue8m0\", "

static void test_configs(void **state)
{
    check_json("fp8", CT("float-quantized", FP8_ARGS("channel", "\"dynamic\": false"), TOKEN), "{}");
    check_json("fp8:scale=tensor", CT("float-quantized", FP8_ARGS("tensor", "\"dynamic\": false"), TOKEN), "{}");
    check_json("fp8:config=modelopt",
               MODELOPT("FP8_PER_CHANNEL_PER_TOKEN", FP8_ARGS("channel", "\"dynamic\": false"), TOKEN),
               MODELOPT_SIDE("FP8_PER_CHANNEL_PER_TOKEN", "null"));
    check_json("fp8-block", HF("fp8", "[128, 128]", ""), "{}");
    check_json("fp8-block:scales=ue8m0", HF("fp8", "[128, 128]", UE8M0), "{}");
    check_json("fp8-block:config=compressed-tensors", CT("float-quantized", FP8_ARGS("block", BLOCK_128), GROUP_128),
               "{}");
    check_json("fp8-block:config=modelopt", MODELOPT("FP8_PB_WO", FP8_ARGS("block", BLOCK_128), GROUP_128),
               MODELOPT_SIDE("FP8_PB_WO", "null"));
    check_json("nvfp4",
               CT("nvfp4-pack-quantized", FP4_ARGS("tensor_group", "\"group_size\": 16, \"dynamic\": false"), "null"),
               "{}");
    check_json("nvfp4:config=modelopt",
               MODELOPT("W4A16_NVFP4", FP4_ARGS("tensor_group", "\"group_size\": 16, \"dynamic\": false"), "null"),
               MODELOPT_SIDE("W4A16_NVFP4", "16"));
    check_json("mxfp4", CT("mxfp4-pack-quantized", FP4_ARGS("group", MX), "null"), "{}");
    check_json("mxfp4:config=gpt-oss", "{\"quant_method\": \"mxfp4\", \"modules_to_not_convert\": [\"lm_head\"]}",
               "{}");
    check_json("mxfp8", HF("mxfp8", "[1, 32]", UE8M0), "{}");
    check_json("mxfp8:config=compressed-tensors",
               CT("mxfp8-quantized", FP8_ARGS("group", MX), FP8_ARGS("group", MX_INPUT)), "{}");
    check_json("mxfp8:config=modelopt", MODELOPT("MXFP8", FP8_ARGS("group", MX), FP8_ARGS("group", MX_INPUT)),
               MODELOPT_SIDE("MXFP8", "32"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nvfp4),        cmocka_unit_test(test_nvfp4_extremes), cmocka_unit_test(test_mx_scales),
        cmocka_unit_test(test_mxfp4_layout), cmocka_unit_test(test_experts),        cmocka_unit_test(test_fp8),
        cmocka_unit_test(test_fp8_block),    cmocka_unit_test(test_unsuited),       cmocka_unit_test(test_flags),
        cmocka_unit_test(test_complaints),   cmocka_unit_test(test_gguf),           cmocka_unit_test(test_configs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
