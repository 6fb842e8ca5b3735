/* Integer codes that other programs wrote: what is right is found with its scheme and shape, and what is not is refused by
 * the name of the file, the tensor or the key. */
#include "base/json.h"
#include "lib/folder.h"
#include "schemes/int_source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- configurations ---- */

static enum ht_err configure(const char *json, struct ht__int_config *config, struct ht_diag *diag)
{
    struct ht__arena arena;
    struct ht__jnode *root;
    ht__arena_init(&arena, NULL);
    assert_int_equal(ht__json_parse(&arena, json, strlen(json), "config.json", &root, diag), HT_OK);
    enum ht_err err = ht__int_config(root, &ht__codec_bf16, "config.json", config, diag);
    ht__arena_close(&arena);
    return err;
}

#define GPTQ "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32}"
#define GPTQ_V2 "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32,\"checkpoint_format\":\"gptq_v2\"}"
#define AWQ "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":32,\"version\":\"GEMM\"}"
#define GEMV "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":32,\"version\":\"gemv\"}"
#define ROUND(packing)                                                                                                 \
    "{\"quant_method\":\"auto-round\",\"bits\":4,\"group_size\":32,\"packing_format\":\"" packing "\"}"
#define GROUPS(groups) "{\"quant_method\":\"compressed-tensors\",\"config_groups\":{" groups "}}"
#define GROUP(weights) "\"g\":{\"targets\":[\"Linear\"],\"weights\":" weights "}"
#define CT GROUPS(GROUP("{\"type\":\"int\",\"num_bits\":4}"))
#define CT8 GROUPS(GROUP("{\"type\":\"int\",\"num_bits\":8}"))
#define CT_BOTH                                                                                                        \
    GROUPS("\"h\":{\"weights\":{\"type\":\"int\",\"num_bits\":8}}," GROUP("{\"type\":\"int\",\"num_bits\":4}"))
#define HQQ(weights, rest) "{\"quant_method\":\"hqq\",\"quant_config\":{\"weight_quant_params\":{" weights "}" rest "}}"
#define HQQ4 HQQ("\"nbits\":4,\"group_size\":16,\"axis\":1", "")

static void test_methods(void **state)
{
    static const struct {
        const char *json;
        enum ht__int_method method;
        bool v1;
    } cases[] = {
        {GPTQ, HT__INT_GPTQ, true},
        {GPTQ_V2, HT__INT_GPTQ, false},
        {AWQ, HT__INT_AWQ, false},
        {GEMV, HT__INT_AWQ_GEMV, false},
        {ROUND("auto_round:auto_gptq"), HT__INT_GPTQ, true},
        {ROUND("auto_round"), HT__INT_GPTQ, false},
        {ROUND("auto_round:exllamav2"), HT__INT_GPTQ, false},
        {ROUND("auto_round:auto_awq"), HT__INT_AWQ, false},
        {CT, HT__INT_COMPRESSED_TENSORS, false},
        {GROUPS(GROUP("{\"type\":\"float\",\"num_bits\":8}")), HT__INT_NONE, false},
        {HQQ4, HT__INT_HQQ, false},
        {"{\"quant_method\":\"bitsandbytes\"}", HT__INT_NONE, false},
        {"{}", HT__INT_NONE, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ht__int_config config;
        struct ht_diag diag = {0};
        if (configure(cases[i].json, &config, &diag) != HT_OK) fail_msg("%s: %s", cases[i].json, diag.message);
        assert_int_equal(config.method, cases[i].method);
        assert_int_equal(config.v1, cases[i].v1);
    }
}

static void test_hostile_configs(void **state)
{
    static const struct {
        const char *json, *words;
    } cases[] = {
        {"{\"quant_method\":\"gptq\",\"checkpoint_format\":\"marlin\"}", "marlin"},
        {"{\"quant_method\":\"gptq\",\"format\":\"gptq_p\"}", "gptq_p"},
        {"{\"quant_method\":\"gptq\",\"checkpoint_format\":\"gptq_v3\"}", "gptq_v3"},
        {"{\"quant_method\":\"gptq\",\"checkpoint_format\":\"\"}", "checkpoint_format"},
        {"{\"quant_method\":\"gptq\",\"is_marlin_format\":true}", "is_marlin_format"},
        {"{\"quant_method\":\"gptq\",\"bits\":0}", "bits"},
        {"{\"quant_method\":\"gptq\",\"bits\":9}", "bits"},
        {"{\"quant_method\":\"gptq\",\"bits\":-4}", "bits"},
        {"{\"quant_method\":\"gptq\",\"bits\":4.5}", "bits"},
        {"{\"quant_method\":\"gptq\",\"bits\":\"4\"}", "bits"},
        {"{\"quant_method\":\"gptq\",\"bits\":[4]}", "bits"},
        {"{\"quant_method\":\"gptq\",\"group_size\":0}", "group_size"},
        {"{\"quant_method\":\"gptq\",\"group_size\":-2}", "group_size"},
        {"{\"quant_method\":\"gptq\",\"group_size\":1e30}", "group_size"},
        {"{\"quant_method\":\"gptq\",\"group_size\":9223372036854775807}", "group_size"},
        {"{\"quant_method\":\"gptq\",\"group_size\":{}}", "group_size"},
        {"{\"quant_method\":\"awq\",\"version\":\"gemv_fast\"}", "gemv_fast"},
        {"{\"quant_method\":\"awq\",\"version\":\"marlin\"}", "marlin"},
        {"{\"quant_method\":\"awq\",\"version\":\"\"}", "version"},
        {"{\"quant_method\":\"awq\",\"backend\":\"llm-awq\"}", "llm-awq"},
        {"{\"quant_method\":\"awq\",\"bits\":8}", "bits"},
        {"{\"quant_method\":\"awq\",\"bits\":3}", "bits"},
        {"{\"quant_method\":\"awq\",\"group_size\":0}", "group_size"},
        {"{\"quant_method\":\"awq\",\"group_size\":true}", "group_size"},
        {ROUND("auto_round:marlin"), "auto_round:marlin"},
        {ROUND("auto_round:llm_compressor"), "llm_compressor"},
        {ROUND(""), "packing_format"},
        {"{\"quant_method\":\"auto-round\",\"data_type\":\"mx_fp\"}", "mx_fp"},
        {"{\"quant_method\":\"auto-round\",\"bits\":16}", "bits"},
        {"{\"quant_method\":\"intel/auto-round\",\"group_size\":0}", "group_size"},
        {"{\"quant_method\":\"compressed-tensors\",\"config_groups\":[1]}", "config_groups"},
        {"{\"quant_method\":\"compressed-tensors\",\"config_groups\":\"a\"}", "config_groups"},
        {"{\"quant_method\":\"compressed-tensors\",\"sparsity_config\":{\"format\":\"sparse-24-bitmask\"}}",
         "sparse-24"},
        {GROUPS(GROUP("{\"num_bits\":1}")), "num_bits"},
        {GROUPS(GROUP("{\"num_bits\":16}")), "num_bits"},
        {GROUPS(GROUP("{\"num_bits\":\"4\"}")), "num_bits"},
        {GROUPS(GROUP("{\"num_bits\":4.0001}")), "num_bits"},
        {"{\"quant_method\":\"hqq\"}", "weight_quant_params"},
        {"{\"quant_method\":\"hqq\",\"quant_config\":{\"self_attn.q_proj\":{}}}", "weight_quant_params"},
        {HQQ("\"nbits\":7", ""), "nbits"},
        {HQQ("\"nbits\":0", ""), "nbits"},
        {HQQ("\"axis\":2", ""), "axis"},
        {HQQ("\"axis\":-1", ""), "axis"},
        {HQQ("\"group_size\":0", ""), "group_size"},
        {HQQ("\"view_as_float\":true", ""), "view_as_float"},
        {HQQ("\"nbits\":4", ",\"scale_quant_params\":{\"nbits\":8}"), "scale_quant_params"},
        {HQQ("\"nbits\":4", ",\"zero_quant_params\":{\"nbits\":8}"), "zero_quant_params"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ht__int_config config;
        struct ht_diag diag = {0};
        enum ht_err err = configure(cases[i].json, &config, &diag);
        if (err != HT_ERR_FORMAT && err != HT_ERR_UNSUPPORTED) fail_msg("%s: %s", cases[i].json, ht_err_name(err));
        if (!strstr(diag.message, cases[i].words) || strcmp(diag.where, "config.json") != 0)
            fail_msg("%s: %s: \"%s\" does not say \"%s\"", cases[i].json, diag.where, diag.message, cases[i].words);
    }
}

/* ---- tensors ---- */

/* "qweight I32 16,64; scales F16 4,64": a folder with these tensors of the module m, all zeros but `shape`s, whose two
 * numbers are given as "=64,128". */
static struct folder make(const char *text)
{
    static const struct {
        const char *name;
        int size;
    } dtypes[] = {{"F32", 4}, {"BF16", 2}, {"F16", 2}, {"I32", 4}, {"I8", 1}, {"U8", 1}, {"I64", 8}};
    struct folder folder = folder_make();
    struct ht__buf header, data, file;
    char list[600], *rest = list, *item;
    ht__buf_init(&header, NULL), ht__buf_init(&data, NULL), ht__buf_init(&file, NULL);
    snprintf(list, sizeof list, "%s", text);
    while ((item = strsep(&rest, ";")) != NULL) {
        char name[40], dtype[8], shape[40] = "";
        size_t at = data.len;
        uint64_t n = 1;
        assert_true(sscanf(item, " %39s %7s %39s", name, dtype, shape) >= 2);
        if (shape[0] == '=') {
            int64_t numbers[2] = {strtoll(shape + 1, NULL, 10), strtoll(strchr(shape, ',') + 1, NULL, 10)};
            ht__buf_put(&data, numbers, sizeof numbers);
            strcpy(shape, "2");
        } else {
            for (char *p = shape; *p; p += strspn(p, ","))
                n *= strtoull(p, &p, 10);
            for (size_t i = 0; i < sizeof dtypes / sizeof dtypes[0]; i++)
                if (strcmp(dtypes[i].name, dtype) == 0) n *= (uint64_t)dtypes[i].size;
            ht__buf_zeros(&data, n);
        }
        ht__buf_printf(&header, "%s\"m.%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                       header.len ? "," : "{", name, dtype, shape, at, data.len);
    }
    ht__buf_str(&header, "}");
    ht__buf_u64(&file, header.len);
    ht__buf_put(&file, header.data, header.len);
    ht__buf_put(&file, data.data, data.len);
    folder_puts(&folder, "config.json", "{}");
    folder_put(&folder, "model.safetensors", file.data, file.len);
    ht__buf_close(&header), ht__buf_close(&data), ht__buf_close(&file);
    return folder;
}

static enum ht_err source(const char *json, const char *tensors, struct ht__packed_source *out, bool *found,
                          struct ht_diag *diag, char type[100])
{
    struct ht__int_config config;
    struct ht__checkpoint *ck;
    assert_int_equal(configure(json, &config, diag), HT_OK);
    struct folder folder = make(tensors);
    if (ht__checkpoint_open(folder.path, NULL, &ck, diag) != HT_OK) fail_msg("%s: %s", tensors, diag->message);
    enum ht_err err = ht__int_source(&config, ck, "m", out, found, diag);
    if (!err && *found) ht__scheme_text(&out->params, type, 100);
    ht__checkpoint_close(&ck);
    folder_remove(&folder);
    return err;
}

static void test_found(void **state)
{
    static const struct {
        const char *json, *tensors, *type;
        int64_t n_out, n_in;
    } cases[] = {
        {GPTQ, "qweight I32 16,64;qzeros I32 4,8;scales F16 4,64;g_idx I32 128", "gptq:group=32,sym=off", 64, 128},
        {GPTQ, "qweight I32 12,64;qzeros I32 1,6;scales F16 1,64", "gptq:bits=3,sym=off", 64, 128},
        {GPTQ_V2, "qweight I32 32,32;qzeros I32 2,8;scales BF16 2,32", "gptq:bits=8,group=64,sym=off,version=v2", 32,
         128},
        {ROUND("auto_round"), "qweight I32 8,32;qzeros I32 2,2;scales F16 2,32",
         "gptq:bits=2,group=64,sym=off,version=v2", 32, 128},
        {AWQ, "qweight I32 128,8;qzeros I32 4,8;scales F16 4,64", "awq:group=32", 64, 128},
        {GEMV, "qweight I32 24,16;qzeros I32 24,4;scales F16 24,32", "awq-gemv", 24, 128},
        {CT, "weight_packed I32 24,16;weight_scale BF16 24,4;weight_shape I64 =24,128", "w4a16:group=32", 24, 128},
        {CT, "weight_packed I32 24,16;weight_scale BF16 24,1;weight_shape I64 =24,128;weight_zero_point I32 3,1",
         "w4a16:sym=off", 24, 128},
        {CT_BOTH, "weight_packed I32 24,32;weight_scale F16 24,2;weight_shape I64 =24,128", "w8a16:group=64", 24, 128},
        {CT8, "weight I8 24,40;weight_scale F32 24,1", "w8a8", 24, 40},
        {HQQ4, "W_q U8 64,16;scale F16 128,1;zero F16 128,1;shape I64 =32,64", "hqq", 32, 64},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ht__packed_source s;
        struct ht_diag diag = {0};
        char type[100];
        bool found;
        enum ht_err err = source(cases[i].json, cases[i].tensors, &s, &found, &diag, type);
        if (err || !found) fail_msg("%s: %s: %s", cases[i].tensors, diag.where, diag.message);
        assert_string_equal(type, cases[i].type);
        assert_int_equal(s.matrix.n_out, cases[i].n_out);
        assert_int_equal(s.matrix.n_in, cases[i].n_in);
        for (int k = 0; k < 2; k++)
            assert_non_null(s.tensors[k]);
    }
}

static void test_hostile_tensors(void **state)
{
    static const struct {
        const char *json, *tensors, *where;
    } cases[] = {
        {GPTQ, "qweight I32 16,64;qzeros I32 4,8", "m"},
        {GPTQ, "qweight I32 16,64;scales F16 4,64", "m"},
        {GPTQ, "qweight F32 16,64;qzeros I32 4,8;scales F16 4,64", "m.qweight"},
        {GPTQ, "qweight I32 16,64,1;qzeros I32 4,8;scales F16 4,64", "m.qweight"},
        {GPTQ, "qweight I32 1024;qzeros I32 4,8;scales F16 4,64", "m.qweight"},
        {GPTQ, "qweight I32 0,64;qzeros I32 4,8;scales F16 4,64", "m.qweight"},
        {GPTQ, "qweight I32 16,60;qzeros I32 4,8;scales F16 4,64", "m.qzeros"},
        {GPTQ, "qweight I32 16,64;qzeros I32 4,9;scales F16 4,64", "m.qzeros"},
        {GPTQ, "qweight I32 16,64;qzeros I32 4,10;scales F16 4,64", "m.qzeros"},
        {GPTQ, "qweight I32 16,64;qzeros I32 4,1;scales F16 4,64", "m.qzeros"},
        {GPTQ, "qweight I32 16,64;qzeros I32 3,8;scales F16 4,64", "m.qzeros"},
        {GPTQ, "qweight I32 16,64;qzeros F16 4,8;scales F16 4,64", "m.qzeros"},
        {GPTQ, "qweight I32 16,64;qzeros I32 4,8;scales I32 4,64", "m.scales"},
        {GPTQ, "qweight I32 16,64;qzeros I32 4,8;scales F16 3,64", "m.scales"},
        {GPTQ, "qweight I32 16,64;qzeros I32 4,8;scales F16 4,63", "m.scales"},
        {GPTQ, "qweight I32 16,64;qzeros I32 4,8;scales F16 256", "m.scales"},
        {GPTQ, "qweight I32 16,64;qzeros I32 4,8;scales F16 4,0", "m.scales"},
        {GPTQ, "qweight I32 16,64;qzeros I32 4,8;scales F16 4,64;g_idx I32 127", "m.g_idx"},
        {GPTQ, "qweight I32 16,64;qzeros I32 4,8;scales F16 4,64;g_idx I64 128", "m.g_idx"},
        {GPTQ, "qweight I32 16,64;qzeros I32 4,8;scales F16 4,64;g_idx I32 128,1", "m.g_idx"},
        {GPTQ, "qweight I32 13,64;qzeros I32 1,6;scales F16 1,64", "m.qweight"},
        {GPTQ, "qweight I32 15,64;qzeros I32 1,8;scales F16 1,64", "m.qweight"},
        {GPTQ, "qweight I32 16,48;qzeros I32 1,6;scales F16 1,48", "m.qweight"},
        {AWQ, "qweight I32 128,8;scales F16 4,64", "m"},
        {AWQ, "qweight I32 128,8;qzeros I32 4,8", "m"},
        {AWQ, "qweight I32 128,8;qzeros I32 4,7;scales F16 4,64", "m.qzeros"},
        {AWQ, "qweight I32 128,8;qzeros I32 5,8;scales F16 4,64", "m.qzeros"},
        {AWQ, "qweight I32 128,8;qzeros I32 4,8;scales F16 5,64", "m.scales"},
        {AWQ, "qweight I32 128,8;qzeros I32 4,8;scales F16 4,65", "m.scales"},
        {AWQ, "qweight I8 128,8;qzeros I32 4,8;scales F16 4,64", "m.qweight"},
        {AWQ, "qweight I32 16,64;qzeros I32 4,8;scales F16 4,64", "m.qzeros"},
        {GEMV, "qweight I32 24,16;qzeros I32 24,1;scales F16 24,8", "m.qzeros"},
        {GEMV, "qweight I32 24,16;qzeros I32 24,4;scales F16 24,4", "m.scales"},
        {GEMV, "qweight I32 24,16;qzeros I32 24,4;scales BF16 24,32", "m.scales"},
        {GEMV, "qweight I32 24,15;qzeros I32 24,4;scales F16 24,32", "m.qweight"},
        {CT, "weight_packed I32 24,16;weight_shape I64 =24,128", "m"},
        {CT, "weight_packed I32 24,16;weight_scale BF16 24,4", "m"},
        {CT, "weight_packed I32 24,16;weight_scale BF16 24,4;weight_shape I64 =24,120", "m.weight_packed"},
        {CT, "weight_packed I32 24,16;weight_scale BF16 24,4;weight_shape I64 =25,128", "m.weight_packed"},
        {CT, "weight_packed I32 24,16;weight_scale BF16 24,4;weight_shape I64 =0,128", "m.weight_shape"},
        {CT, "weight_packed I32 24,16;weight_scale BF16 24,4;weight_shape I64 =24,-128", "m.weight_shape"},
        {CT, "weight_packed I32 24,16;weight_scale BF16 24,4;weight_shape I64 =24,9223372036854775807",
         "m.weight_shape"},
        {CT, "weight_packed I32 24,16;weight_scale BF16 24,4;weight_shape I64 3", "m.weight_shape"},
        {CT, "weight_packed I32 24,16;weight_scale BF16 24,4;weight_shape F32 2", "m.weight_shape"},
        {CT, "weight_packed I32 24,16;weight_scale BF16 24,3;weight_shape I64 =24,128", "m.weight_scale"},
        {CT, "weight_packed I32 24,16;weight_scale BF16 23,4;weight_shape I64 =24,128", "m.weight_scale"},
        {CT, "weight_packed I32 24,16;weight_scale I8 24,4;weight_shape I64 =24,128", "m.weight_scale"},
        {CT, "weight_packed I32 24,32;weight_scale BF16 24,4;weight_shape I64 =24,128", "m.weight_packed"},
        {CT, "weight_packed I32 24,16;weight_scale BF16 24,4;weight_shape I64 =24,128;weight_zero_point I32 4,4",
         "m.weight_zero_point"},
        {CT, "weight_packed I32 24,16;weight_scale BF16 24,4;weight_shape I64 =24,128;weight_zero_point I8 3,4",
         "m.weight_zero_point"},
        {CT, "weight_packed I32 24,16;weight_scale BF16 24,4;weight_shape I64 =24,128;weight_g_idx I32 64",
         "m.weight_g_idx"},
        {CT8, "weight I8 24,40", "m"},
        {CT8, "weight I8 24,40;weight_scale F32 24,2", "m.weight_scale"},
        {CT8, "weight I8 24,40;weight_scale F32 23,1", "m.weight_scale"},
        {CT8, "weight I8 24,40;weight_scale I8 24,1", "m.weight_scale"},
        {CT8, "weight I8 24,40;weight_scale F32 24,1;weight_zero_point I8 24,1", "m.weight_zero_point"},
        {HQQ4, "W_q U8 64,16;zero F16 128,1;shape I64 =32,64", "m"},
        {HQQ4, "W_q U8 64,16;scale F16 128,1;shape I64 =32,64", "m"},
        {HQQ4, "W_q U8 64,16;scale F16 128,1;zero F16 128,1", "m"},
        {HQQ4, "W_q U8 64,16;scale F16 128,1;zero F16 127,1;shape I64 =32,64", "m.zero"},
        {HQQ4, "W_q U8 64,16;scale F16 1,128;zero F16 128,1;shape I64 =32,64", "m.scale"},
        {HQQ4, "W_q U8 64,16;scale F16 128,1;zero BF16 128,1;shape I64 =32,64", "m.zero"},
        {HQQ4, "W_q I32 64,16;scale F16 128,1;zero F16 128,1;shape I64 =32,64", "m.W_q"},
        {HQQ4, "W_q U8 64,16;scale F16 128,1;zero F16 128,1;shape I64 =33,64", "m.W_q"},
        {HQQ4, "W_q U8 64,16;scale F16 128,1;zero F16 128,1;shape I64 =2147483647,2147483647", "m.W_q"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ht__packed_source s;
        struct ht_diag diag = {0};
        char type[100];
        bool found;
        enum ht_err err = source(cases[i].json, cases[i].tensors, &s, &found, &diag, type);
        if (err != HT_ERR_FORMAT && err != HT_ERR_UNSUPPORTED) fail_msg("%s: %s", cases[i].tensors, ht_err_name(err));
        if (strcmp(diag.where, cases[i].where) != 0) fail_msg("%s: %s: %s", cases[i].tensors, diag.where, diag.message);
    }
}

/* Weights that are floats, or another unit's. */
static void test_not_found(void **state)
{
    static const struct {
        const char *json, *tensors;
    } cases[] = {
        {GPTQ, "weight BF16 8,64"}, {AWQ, "weight F16 8,64"},
        {CT, "weight BF16 8,64"},   {CT, "weight_packed U8 8,64;weight_scale U8 8,4"},
        {HQQ4, "weight BF16 8,64"}, {"{\"quant_method\":\"bitsandbytes\"}", "weight I8 8,64;SCB F32 8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ht__packed_source s;
        struct ht_diag diag = {0};
        char type[100];
        bool found = true;
        assert_int_equal(source(cases[i].json, cases[i].tensors, &s, &found, &diag, type), HT_OK);
        assert_false(found);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_methods),         cmocka_unit_test(test_hostile_configs), cmocka_unit_test(test_found),
        cmocka_unit_test(test_hostile_tensors), cmocka_unit_test(test_not_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
