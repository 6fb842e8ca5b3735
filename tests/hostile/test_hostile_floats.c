/* Small floats that other programs wrote: what is right is found with its shape, and what is not is refused by the name of
 * the file, the tensor or the key. */
#include "base/json.h"
#include "lib/folder.h"
#include "schemes/float_source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- a checkpoint of tensors of zeros ---- */

static struct folder folder;
static struct ht__buf header;
static uint64_t n_bytes;

static void begin(void)
{
    folder = folder_make();
    folder_puts(&folder, "config.json", "{}");
    ht__buf_init(&header, NULL);
    n_bytes = 0;
}

/* shape: "128,64", or "" of one number */
static void add(const char *name, const char *dtype, const char *shape)
{
    static const char *const dtypes[] = {"F32", "BF16",    "F16",     "I32",     "I8",
                                         "U8",  "F8_E4M3", "F8_E5M2", "F8_E8M0", "I64"};
    static const int sizes[] = {4, 2, 2, 4, 1, 1, 1, 1, 1, 8};
    uint64_t n = 1;
    for (const char *p = shape; *p; p += strcspn(p, ",") + (p[strcspn(p, ",")] == ','))
        n *= strtoull(p, NULL, 10);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (strcmp(dtype, dtypes[i]) == 0) n *= (uint64_t)sizes[i];
    ht__buf_printf(&header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%llu,%llu]}",
                   header.len ? "," : "{", name, dtype, shape, (unsigned long long)n_bytes,
                   (unsigned long long)(n_bytes + n));
    n_bytes += n;
}

static struct ht__checkpoint *finish(void)
{
    struct ht__checkpoint *ck;
    struct ht_diag diag = {0};
    struct ht__buf file;
    ht__buf_str(&header, "}");
    ht__buf_init(&file, NULL);
    ht__buf_u64(&file, header.len);
    ht__buf_put(&file, header.data, header.len);
    ht__buf_zeros(&file, n_bytes);
    folder_put(&folder, "model.safetensors", file.data, file.len);
    if (ht__checkpoint_open(folder.path, NULL, &ck, &diag) != HT_OK) fail_msg("%s: %s", diag.where, diag.message);
    ht__buf_close(&file);
    ht__buf_close(&header);
    return ck;
}

/* ---- configurations ---- */

static enum ht_err configure(const char *json, struct ht__float_config *config, struct ht_diag *diag)
{
    struct ht__arena arena;
    struct ht__jnode *root;
    ht__arena_init(&arena, NULL);
    assert_int_equal(ht__json_parse(&arena, json, strlen(json), "config.json", &root, diag), HT_OK);
    enum ht_err err = ht__float_config(root, &ht__codec_bf16, "config.json", config, diag);
    ht__arena_close(&arena);
    return err;
}

static void check_config(const char *json, enum ht_err code, const char *words)
{
    struct ht__float_config config;
    struct ht_diag diag = {0};
    enum ht_err err = configure(json, &config, &diag);
    if (err != code) fail_msg("%s: %s (%s), not %s", json, ht_err_name(err), diag.message, ht_err_name(code));
    if (words && (!strstr(diag.message, words) || strcmp(diag.where, "config.json") != 0))
        fail_msg("%s: %s: \"%s\" does not say \"%s\"", json, diag.where, diag.message, words);
}

static void check_method(const char *json, enum ht__float_method method)
{
    struct ht__float_config config;
    struct ht_diag diag = {0};
    assert_int_equal(configure(json, &config, &diag), HT_OK);
    if (config.method != method) fail_msg("%s: method %d, not %d", json, (int)config.method, (int)method);
}

#define GROUP(weights)                                                                                                 \
    "{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"group_0\":{\"weights\":" weights "}}}"

static void test_configs(void **state)
{
    check_method("{\"quant_method\":\"fp8\"}", HT__FLOAT_FP8);
    check_method("{\"quant_method\":\"mxfp8\",\"weight_block_size\":[1,32]}", HT__FLOAT_FP8);
    check_method("{\"quant_method\":\"fp8\",\"weight_block_size\":null,\"activation_scheme\":\"static\"}",
                 HT__FLOAT_FP8);
    check_method("{\"quant_method\":\"fbgemm_fp8\"}", HT__FLOAT_FBGEMM);
    check_method("{\"quant_method\":\"mxfp4\"}", HT__FLOAT_MXFP4);
    check_method("{\"quant_method\":\"modelopt\",\"quant_algo\":\"FP8\"}", HT__FLOAT_MODELOPT);
    check_method("{\"quant_method\":\"modelopt_fp4\",\"quant_algo\":\"nvfp4\"}", HT__FLOAT_MODELOPT);
    check_method("{\"producer\":{\"name\":\"modelopt\"},\"quantization\":{\"quant_algo\":\"NVFP4\"}}",
                 HT__FLOAT_MODELOPT);
    check_method("{\"quant_method\":\"gptq\"}", HT__FLOAT_NONE);
    check_method("{}", HT__FLOAT_NONE);
    check_method(GROUP("{\"type\":\"int\",\"num_bits\":4}"), HT__FLOAT_NONE);
    check_method(GROUP("{\"type\":\"float\",\"num_bits\":8}"), HT__FLOAT_COMPRESSED_TENSORS);
    check_method(GROUP("null"), HT__FLOAT_NONE);
}

static void test_hostile_configs(void **state)
{
    check_config("{\"quant_method\":\"fp8\",\"fmt\":\"e5m2\"}", HT_ERR_UNSUPPORTED, "fmt");
    check_config("{\"quant_method\":\"fp8\",\"activation_scheme\":\"none\"}", HT_ERR_FORMAT, "activation_scheme");
    check_config("{\"quant_method\":\"fp8\",\"weight_block_size\":128}", HT_ERR_FORMAT, "weight_block_size");
    check_config("{\"quant_method\":\"fp8\",\"weight_block_size\":[128]}", HT_ERR_FORMAT, "weight_block_size");
    check_config("{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128,1]}", HT_ERR_FORMAT, "weight_block_size");
    check_config("{\"quant_method\":\"fp8\",\"weight_block_size\":[0,128]}", HT_ERR_FORMAT, "weight_block_size");
    check_config("{\"quant_method\":\"fp8\",\"weight_block_size\":[128,-1]}", HT_ERR_FORMAT, "weight_block_size");
    check_config("{\"quant_method\":\"fp8\",\"weight_block_size\":[128,1e30]}", HT_ERR_FORMAT, "weight_block_size");
    check_config("{\"quant_method\":\"fp8\",\"weight_block_size\":[128,9223372036854775807]}", HT_ERR_FORMAT,
                 "weight_block_size");
    check_config("{\"quant_method\":\"fp8\",\"weight_block_size\":[1.5,128]}", HT_ERR_FORMAT, "weight_block_size");
    check_config("{\"quant_method\":\"fp8\",\"weight_block_size\":[\"128\",128]}", HT_ERR_FORMAT, "weight_block_size");
    check_config("{\"quant_method\":\"fp8\",\"weight_block_size\":[]}", HT_ERR_FORMAT, "weight_block_size");
    check_config("{\"quant_method\":\"fp8\",\"weight_block_size\":{}}", HT_ERR_FORMAT, "weight_block_size");
    check_config("{\"quant_method\":\"modelopt\"}", HT_ERR_FORMAT, "quant_algo");
    check_config("{\"quant_method\":\"modelopt\",\"quant_algo\":7}", HT_ERR_FORMAT, "quant_algo");
    check_config("{\"quant_method\":\"modelopt\",\"quant_algo\":\"W4A8_AWQ\"}", HT_ERR_UNSUPPORTED, "W4A8_AWQ");
    check_config("{\"quant_method\":\"modelopt\",\"quant_algo\":\"NVFP4_SVD\"}", HT_ERR_UNSUPPORTED, "NVFP4_SVD");
    check_config("{\"quant_method\":\"modelopt\",\"quant_algo\":\"NVFP4_AWQ\"}", HT_ERR_UNSUPPORTED, "NVFP4_AWQ");
    check_config("{\"quant_method\":\"modelopt\",\"quant_algo\":\"\"}", HT_ERR_UNSUPPORTED, "quant_algo");
    check_config("{\"producer\":{\"name\":\"modelopt\"},\"quantization\":{}}", HT_ERR_FORMAT, "quant_algo");
    check_config("{\"producer\":{\"name\":\"modelopt\"},\"quantization\":{\"quant_algo\":\"INT4_AWQ\"}}",
                 HT_ERR_UNSUPPORTED, "INT4_AWQ");
    check_config("{\"quant_method\":\"modelopt\",\"quant_algo\":\"MIXED_PRECISION\",\"quantized_layers\":{\"a\":"
                 "{\"quant_algo\":\"W4A8_AWQ\"}}}",
                 HT_ERR_UNSUPPORTED, "W4A8_AWQ");
    check_config("{\"quant_method\":\"modelopt\",\"quant_algo\":\"MIXED_PRECISION\",\"quantized_layers\":{\"a\":1}}",
                 HT_ERR_UNSUPPORTED, "quant_algo");
    check_config(GROUP("{\"type\":\"float\",\"num_bits\":6}"), HT_ERR_UNSUPPORTED, "num_bits");
    check_config(GROUP("{\"type\":\"float\",\"num_bits\":-8}"), HT_ERR_UNSUPPORTED, "num_bits");
    check_config(GROUP("{\"type\":\"complex\"}"), HT_ERR_FORMAT, "complex");
    check_config(GROUP("{\"type\":\"float\",\"symmetric\":false}"), HT_ERR_UNSUPPORTED, "symmetric");
    check_config(GROUP("{\"type\":\"float\",\"block_structure\":[128]}"), HT_ERR_FORMAT, "block_structure");
    check_config(GROUP("{\"type\":\"float\",\"block_structure\":[128,0]}"), HT_ERR_FORMAT, "block_structure");
    check_config(GROUP("{\"type\":\"float\",\"block_structure\":\"128x128\"}"), HT_ERR_FORMAT, "block_structure");
    check_config("{\"quant_method\":\"compressed-tensors\",\"config_groups\":[1]}", HT_ERR_FORMAT, "config_groups");
    check_config("{\"quant_method\":\"compressed-tensors\",\"config_groups\":\"a\"}", HT_ERR_FORMAT, "config_groups");
    check_config("{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"a\":1}}", HT_OK, NULL);
}

/* ---- tensors ---- */

#define FP8 "{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128]}"
#define FP8_TENSOR "{\"quant_method\":\"fp8\",\"weight_block_size\":null}"
#define CT GROUP("{\"type\":\"float\"}")
#define CT_BLOCK GROUP("{\"type\":\"float\",\"block_structure\":[128,128]}")
#define MODELOPT "{\"quant_method\":\"modelopt\",\"quant_algo\":\"MIXED_PRECISION\"}"
#define MXFP4 "{\"quant_method\":\"mxfp4\"}"
#define FBGEMM "{\"quant_method\":\"fbgemm_fp8\"}"
#define ADD3(a, b, c, d, e, f, g, h, i) add(a, b, c), add(d, e, f), add(g, h, i)

static enum ht_err source(const char *config_json, struct ht__packed_source *out, bool *found, struct ht_diag *diag,
                          struct ht__checkpoint **ck)
{
    struct ht__float_config config;
    assert_int_equal(configure(config_json, &config, diag), HT_OK);
    *ck = finish();
    return ht__float_source(&config, *ck, "m", out, found, diag);
}

/* It is found: the parts are the tensors, with their dtypes and shapes, and every byte of them is decoded. */
static void accept(const char *config, int64_t n_out, int64_t n_in, const char *value)
{
    struct ht__packed_source s;
    struct ht__part parts[HT__SCHEME_PARTS];
    struct ht__arena arena;
    struct ht_diag diag = {0};
    struct ht__checkpoint *ck;
    const void *data[HT__SCHEME_PARTS];
    bool found;
    enum ht_err err = source(config, &s, &found, &diag, &ck);
    if (err || !found) fail_msg("%s (%s: %s)", err ? ht_err_name(err) : "not found", diag.where, diag.message);
    assert_int_equal(s.matrix.n_out, n_out);
    assert_int_equal(s.matrix.n_in, n_in);
    const struct ht__scheme_option *o = &s.params.scheme->options[HT__FLOAT_VALUE];
    char text[20];
    assert_string_equal(ht__option_text(o, s.params.option[HT__FLOAT_VALUE], text, sizeof text), value);
    assert_null(s.params.scheme->unsuited(&s.params, &s.matrix));
    ht__arena_init(&arena, NULL);
    int n = s.params.scheme->parts(&s.params, &s.matrix, parts);
    for (int i = 0; i < n; i++) {
        const struct ht__tensor *t = s.tensors[i];
        assert_non_null(t);
        assert_string_equal(t->name + 1, parts[i].suffix);
        assert_ptr_equal(t->dtype, parts[i].dtype);
        assert_int_equal(t->n_dims, parts[i].n_dims);
        assert_memory_equal(t->shape, parts[i].shape, (size_t)t->n_dims * sizeof t->shape[0]);
        void *bytes = malloc(ht__part_bytes(&parts[i]));
        memset(bytes, 1, ht__part_bytes(&parts[i]));
        data[i] = bytes;
    }
    float *x = malloc((size_t)(n_out * n_in) * sizeof *x);
    assert_int_equal(ht__scheme_dequantize(&s.params, &s.matrix, data, x, &arena, NULL), HT_OK);
    free(x);
    for (int i = 0; i < n; i++)
        free((void *)(uintptr_t)data[i]);
    ht__arena_close(&arena);
    ht__checkpoint_close(&ck);
    folder_remove(&folder);
    begin();
}

static void refuse(const char *config, enum ht_err code, const char *where, const char *words)
{
    struct ht__packed_source s;
    struct ht_diag diag = {0};
    struct ht__checkpoint *ck;
    bool found;
    enum ht_err err = source(config, &s, &found, &diag, &ck);
    if (err != code) fail_msg("%s: %s, not %s", where, ht_err_name(err), ht_err_name(code));
    if (strcmp(diag.where, where) != 0 || !strstr(diag.message, words))
        fail_msg("%s: \"%s\" is not of %s, or does not say \"%s\"", diag.where, diag.message, where, words);
    ht__checkpoint_close(&ck);
    folder_remove(&folder);
    begin();
}

static void test_accepted(void **state)
{
    begin();
    add("m.weight", "F8_E4M3", "256,384"), add("m.weight_scale_inv", "F32", "2,3");
    accept(FP8, 256, 384, "bf16");
    add("m.weight", "F8_E4M3", "200,300"), add("m.weight_scale_inv", "F32", "2,3"); /* smaller blocks at the ends */
    accept(FP8, 200, 300, "bf16");
    add("m.weight", "F8_E4M3", "96,64"), add("m.weight_scale_inv", "BF16", "3,2"); /* no size of blocks is told */
    accept(FP8_TENSOR, 96, 64, "bf16");
    add("m.weight", "F8_E4M3", "128,128"), add("m.weight_scale_inv", "F8_E8M0", "1,1");
    accept(FP8, 128, 128, "bf16");
    add("m.weight", "F8_E4M3", "8,64"), add("m.weight_scale_inv", "U8", "8,2");
    accept("{\"quant_method\":\"mxfp8\",\"weight_block_size\":[1,32]}", 8, 64, "bf16");
    add("m.weight", "F8_E4M3", "8,64"), add("m.weight_scale_inv", "F32", ""), add("m.activation_scale", "F32", "");
    accept(FP8_TENSOR, 8, 64, "bf16");
    add("m.weight", "F8_E4M3", "8,64"), add("m.weight_scale", "F32", "1"), add("m.input_scale", "F32", "1");
    accept(FP8_TENSOR, 8, 64, "bf16");
    add("m.weight", "F8_E4M3", "8,64"), add("m.weight_scale", "F32", "8,1");
    accept(FBGEMM, 8, 64, "f32");
    add("m.weight", "F8_E4M3", "8,64"), add("m.weight_scale", "BF16", "8,1");
    accept(CT, 8, 64, "bf16");
    add("m.weight", "F8_E4M3", "8,64"), add("m.weight_scale", "F16", "1");
    accept(CT, 8, 64, "f16");
    add("m.weight", "F8_E4M3", "200,300"), add("m.weight_scale", "F32", "2,3");
    accept(CT_BLOCK, 200, 300, "f32");
    add("m.weight", "F8_E4M3", "2,300"), add("m.weight_scale", "F32", "2,1"); /* by rows, whatever the blocks */
    accept(CT_BLOCK, 2, 300, "f32");
    add("m.weight", "F8_E4M3", "8,64"), add("m.weight_scale", "U8", "8,2");
    accept(CT, 8, 64, "bf16");
    ADD3("m.weight_packed", "U8", "8,16", "m.weight_scale", "F8_E4M3", "8,2", "m.weight_global_scale", "F32", "1");
    accept(CT, 8, 32, "bf16");
    add("m.weight_packed", "U8", "8,32"), add("m.weight_scale", "U8", "8,2");
    accept(CT, 8, 64, "bf16");
    ADD3("m.weight", "U8", "8,16", "m.weight_scale", "F8_E4M3", "8,2", "m.weight_scale_2", "F32", "");
    accept(MODELOPT, 8, 32, "bf16");
    ADD3("m.weight", "U8", "8,16", "m.weight_scale", "F8_E4M3", "8,2", "m.weight_scale_2", "F32", "1");
    accept(MODELOPT, 8, 32, "bf16");
    add("m.weight", "F8_E4M3", "8,64"), add("m.weight_scale", "F32", "");
    accept(MODELOPT, 8, 64, "f32");
    add("m.weight", "F8_E4M3", "8,64"), add("m.weight_scale", "F32", "8");
    accept(MODELOPT, 8, 64, "f32");
    add("m.weight", "F8_E4M3", "256,128"), add("m.weight_scale", "F32", "2,1,1,1");
    accept(MODELOPT, 256, 128, "f32");
    add("m_blocks", "U8", "3,4,2,16"), add("m_scales", "U8", "3,4,2");
    accept(MXFP4, 12, 64, "bf16");
    add("m", "F8_E4M3", "2,256,128"), add("m_scale_inv", "F32", "2,2,1");
    accept(FP8, 512, 128, "bf16");
    folder_remove(&folder);
    ht__buf_close(&header);
}

static void expect_none(const char *config)
{
    struct ht__packed_source s;
    struct ht_diag diag = {0};
    struct ht__checkpoint *ck;
    bool found;
    assert_int_equal(source(config, &s, &found, &diag, &ck), HT_OK);
    assert_false(found);
    ht__checkpoint_close(&ck);
    folder_remove(&folder);
    begin();
}

/* Weights that are floats, or another unit's. */
static void test_not_found(void **state)
{
    begin();
    add("m.weight", "BF16", "8,64");
    expect_none(FP8);
    add("m.weight_packed", "I32", "8,8"), add("m.weight_scale", "BF16", "8,1");
    expect_none(CT);
    add("m.weight", "I8", "8,64"), add("m.weight_scale", "BF16", "8,1");
    expect_none(CT);
    add("m.weight", "U8", "8,64"); /* bitsandbytes' */
    expect_none(CT);
    add("other.weight", "F8_E4M3", "8,64");
    expect_none(FP8);
    folder_remove(&folder);
    ht__buf_close(&header);
}

static void test_hostile_fp8(void **state)
{
    static const char *const grids[] = {"3,3",     "2,4", "2,3,1", "6",   "0,3",  "512,3",
                                        "2,1,3,2", "7",   "1,7",   "3,2", "256,0"};
    begin();
    add("m.weight", "F8_E4M3", "256,384");
    refuse(FP8, HT_ERR_FORMAT, "m.weight", "m.weight_scale_inv, are missing");
    add("m.weight", "F8_E4M3", "256,384");
    refuse(CT, HT_ERR_FORMAT, "m.weight", "m.weight_scale, are missing");
    for (size_t i = 0; i < sizeof grids / sizeof grids[0]; i++) {
        add("m.weight", "F8_E4M3", "250,381"), add("m.weight_scale_inv", "F32", grids[i]);
        refuse(FP8, HT_ERR_FORMAT, "m.weight_scale_inv", "a scale for the matrix, for each row or for each block");
    }
    add("m.weight", "F8_E4M3", "256,384"), add("m.weight_scale_inv", "I32", "2,3");
    refuse(FP8, HT_ERR_FORMAT, "m.weight_scale_inv", "scales in F32");
    add("m.weight", "F8_E4M3", "256,384"), add("m.weight_scale_inv", "I64", "2,3");
    refuse(FP8, HT_ERR_FORMAT, "m.weight_scale_inv", "scales in F32");
    add("m.weight", "F8_E4M3", "256,384"), add("m.weight_scale_inv", "F8_E4M3", "2,3");
    refuse(FP8, HT_ERR_FORMAT, "m.weight_scale_inv", "scales in F32");
    add("m.weight", "F8_E4M3", "256"), add("m.weight_scale_inv", "F32", "2");
    refuse(FP8, HT_ERR_FORMAT, "m.weight", "a matrix");
    add("m.weight", "F8_E4M3", "2,2,2,2"), add("m.weight_scale_inv", "F32", "2,3");
    refuse(FP8, HT_ERR_FORMAT, "m.weight", "a matrix");
    add("m.weight", "F8_E4M3", ""), add("m.weight_scale_inv", "F32", "");
    refuse(FP8, HT_ERR_FORMAT, "m.weight", "a matrix");
    add("m.weight", "F8_E4M3", "0,128"), add("m.weight_scale_inv", "F32", "0,1");
    refuse(FP8, HT_ERR_FORMAT, "m.weight", "not empty");
    ADD3("m.weight", "F8_E4M3", "128,128", "m.weight_scale", "F32", "1", "m.weight_scale_inv", "F32", "1,1");
    refuse(FP8, HT_ERR_FORMAT, "m.weight", "two sets of scales");
    ADD3("m.weight", "F8_E4M3", "8,8", "m.weight_scale", "BF16", "8,1", "m.weight_zero_point", "F8_E4M3", "8,1");
    refuse(CT, HT_ERR_UNSUPPORTED, "m.weight_zero_point", "changes the weights");
    ADD3("m.weight", "F8_E4M3", "8,8", "m.weight_scale", "BF16", "8,1", "m.weight_g_idx", "I32", "8");
    refuse(CT, HT_ERR_UNSUPPORTED, "m.weight_g_idx", "changes the weights");
    folder_remove(&folder);
    ht__buf_close(&header);
}

static void test_hostile_experts(void **state)
{
    begin();
    add("m", "F8_E4M3", "2,256,128");
    refuse(FP8, HT_ERR_FORMAT, "m", "missing");
    add("m", "F8_E4M3", "2,256,128"), add("m_scale_inv", "F32", "3,2,1");
    refuse(FP8, HT_ERR_FORMAT, "m_scale_inv", "a grid of scales for each expert");
    add("m", "F8_E4M3", "2,256,128"), add("m_scale_inv", "F32", "4,1");
    refuse(FP8, HT_ERR_FORMAT, "m_scale_inv", "a grid of scales for each expert");
    add("m", "F8_E4M3", "2,200,128"), add("m_scale_inv", "F32", "2,2,1"); /* a block would hold two experts' rows */
    refuse(FP8, HT_ERR_FORMAT, "m_scale_inv", "a grid of scales for each expert");
    add("m_blocks", "U8", "3,4,2,16");
    refuse(MXFP4, HT_ERR_FORMAT, "m_blocks", "m_scales, are missing");
    add("m_blocks", "U8", "3,4,2,8"), add("m_scales", "U8", "3,4,2");
    refuse(MXFP4, HT_ERR_FORMAT, "m_blocks", "blocks x 16");
    add("m_blocks", "U8", "3,4,32"), add("m_scales", "U8", "3,4,2");
    refuse(MXFP4, HT_ERR_FORMAT, "m_blocks", "blocks x 16");
    add("m_blocks", "I8", "3,4,2,16"), add("m_scales", "U8", "3,4,2");
    refuse(MXFP4, HT_ERR_FORMAT, "m_blocks", "U8");
    add("m_blocks", "U8", "0,4,2,16"), add("m_scales", "U8", "0,4,2");
    refuse(MXFP4, HT_ERR_FORMAT, "m_blocks", "U8");
    add("m_blocks", "U8", "3,4,2,16"), add("m_scales", "U8", "3,4,1");
    refuse(MXFP4, HT_ERR_FORMAT, "m_scales", "experts x rows x blocks");
    add("m_blocks", "U8", "3,4,2,16"), add("m_scales", "U8", "4,3,2");
    refuse(MXFP4, HT_ERR_FORMAT, "m_scales", "experts x rows x blocks");
    add("m_blocks", "U8", "3,4,2,16"), add("m_scales", "F32", "3,4,2");
    refuse(MXFP4, HT_ERR_FORMAT, "m_scales", "U8");
    add("m_blocks", "U8", "3,4,2,16"), add("m_scales", "U8", "3,4,2,1");
    refuse(MXFP4, HT_ERR_FORMAT, "m_scales", "experts x rows x blocks");
    folder_remove(&folder);
    ht__buf_close(&header);
}

static void test_hostile_fp4(void **state)
{
    begin();
    add("m.weight_packed", "U8", "8,16");
    refuse(CT, HT_ERR_FORMAT, "m.weight_packed", "m.weight_scale, are missing");
    add("m.weight_packed", "U8", "8,16"), add("m.weight_scale", "F8_E4M3", "8,2");
    refuse(CT, HT_ERR_FORMAT, "m.weight_packed", "m.weight_global_scale, are missing");
    add("m.weight_packed", "U8", "8,16"), add("m.weight_scale", "BF16", "8,2");
    refuse(CT, HT_ERR_FORMAT, "m.weight_scale", "F8_E4M3 or U8");
    add("m.weight_packed", "U8", "8,16"), add("m.weight_scale", "F8_E5M2", "8,2");
    refuse(CT, HT_ERR_FORMAT, "m.weight_scale", "F8_E4M3 or U8");
    add("m.weight_packed", "U8", "8,16"), add("m.weight_scale", "F8_E4M3", "8,1");
    refuse(CT, HT_ERR_FORMAT, "m.weight_scale", "each 16");
    add("m.weight_packed", "U8", "8,16"), add("m.weight_scale", "F8_E4M3", "16");
    refuse(CT, HT_ERR_FORMAT, "m.weight_scale", "each 16");
    add("m.weight_packed", "U8", "8,16"), add("m.weight_scale", "F8_E4M3", "2,8");
    refuse(CT, HT_ERR_FORMAT, "m.weight_scale", "each 16");
    add("m.weight_packed", "U8", "8,12"), add("m.weight_scale", "F8_E4M3", "8,1");
    refuse(CT, HT_ERR_FORMAT, "m.weight_scale", "each 16");
    add("m.weight_packed", "U8", "8,16"), add("m.weight_scale", "U8", "8,2");
    refuse(CT, HT_ERR_FORMAT, "m.weight_scale", "each 32");
    add("m.weight_packed", "U8", "128"), add("m.weight_scale", "U8", "8,1");
    refuse(CT, HT_ERR_FORMAT, "m.weight_packed", "a matrix");
    add("m.weight_packed", "U8", "2,8,16"), add("m.weight_scale", "U8", "2,8,1");
    refuse(CT, HT_ERR_FORMAT, "m.weight_packed", "a matrix");
    add("m.weight_packed", "U8", "8,0"), add("m.weight_scale", "U8", "8,0");
    refuse(CT, HT_ERR_FORMAT, "m.weight_packed", "not empty");
    ADD3("m.weight_packed", "U8", "8,16", "m.weight_scale", "F8_E4M3", "8,2", "m.weight_global_scale", "F32", "2");
    refuse(CT, HT_ERR_FORMAT, "m.weight_global_scale", "one number");
    ADD3("m.weight_packed", "U8", "8,16", "m.weight_scale", "F8_E4M3", "8,2", "m.weight_global_scale", "BF16", "1");
    refuse(CT, HT_ERR_FORMAT, "m.weight_global_scale", "F32");
    ADD3("m.weight_packed", "U8", "8,16", "m.weight_scale", "F8_E4M3", "8,2", "m.weight_global_scale", "F32", "1,1");
    refuse(CT, HT_ERR_FORMAT, "m.weight_global_scale", "one number");
    ADD3("m.weight_packed", "U8", "8,16", "m.weight_scale", "F8_E4M3", "8,2", "m.weight_global_scale", "F32", "0");
    refuse(CT, HT_ERR_FORMAT, "m.weight_global_scale", "one number");
    add("m.weight", "U8", "8,16"), add("m.weight_scale", "F8_E4M3", "8,2");
    refuse(MODELOPT, HT_ERR_FORMAT, "m.weight", "m.weight_scale_2, are missing");
    add("m.weight", "U8", "8,16"), add("m.weight_scale_2", "F32", "");
    refuse(MODELOPT, HT_ERR_FORMAT, "m.weight", "m.weight_scale, are missing");
    ADD3("m.weight", "U8", "8,16", "m.weight_scale", "F8_E4M3", "8,2", "m.pre_quant_scale", "F32", "32");
    refuse(MODELOPT, HT_ERR_UNSUPPORTED, "m.pre_quant_scale", "changes the weights");
    folder_remove(&folder);
    ht__buf_close(&header);
}

/* Options of what is read come from a program's text too: shapes that contradict each other are refused. */
static void test_incoherent_options(void **state)
{
    static const char *const texts[] = {"small-float:dims=3,columns=4", "small-float:rows=1,dims=0",
                                        "small-float:rows=1,columns=1,dims=4,element=e2m1", "small-float:experts=rows",
                                        "small-float:experts=blocks,rows=1"};
    struct ht__scheme_params p;
    struct ht__matrix m = {.n_out = 6, .n_in = 15, .dtype = &ht__codec_bf16};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_int_equal(ht__scheme_parse_reading(texts[i], &p, NULL), HT_OK);
        m.n_experts = 0;
        if (!p.scheme->unsuited(&p, &m)) fail_msg("%s suits a matrix", texts[i]);
        m.n_experts = 4;
        if (!p.scheme->unsuited(&p, &m)) fail_msg("%s suits experts", texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_configs),     cmocka_unit_test(test_hostile_configs),
        cmocka_unit_test(test_accepted),    cmocka_unit_test(test_not_found),
        cmocka_unit_test(test_hostile_fp8), cmocka_unit_test(test_hostile_experts),
        cmocka_unit_test(test_hostile_fp4), cmocka_unit_test(test_incoherent_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
