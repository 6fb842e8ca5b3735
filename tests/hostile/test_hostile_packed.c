/* Checkpoints that other programs packed, with one thing wrong each: refused, with the name of the tensor or the key. */
#include "lib/folder.h"
#include "model/model.h"
#include "model/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CONFIG                                                                                                         \
    "\"architectures\":[\"LlamaForCausalLM\"],\"hidden_size\":64,\"num_hidden_layers\":1,\"intermediate_size\":64,"    \
    "\"num_attention_heads\":2,\"num_key_value_heads\":2,\"vocab_size\":64,\"torch_dtype\":\"bfloat16\","              \
    "\"rms_norm_eps\":1e-5,\"max_position_embeddings\":64,\"tie_word_embeddings\":true"
#define Q "model.layers.0.self_attn.q_proj"
#define STATE4(type, block, dtype, shape)                                                                              \
    "{\"quant_type\": \"" type "\", \"blocksize\": " block ", \"dtype\": \"" dtype "\", \"shape\": " shape
#define NESTED(block, dtype, offset)                                                                                   \
    ", \"nested_blocksize\": " block ", \"nested_dtype\": \"" dtype "\", \"nested_offset\": " offset "}"
#define GOOD_STATE STATE4("nf4", "64", "bfloat16", "[64, 64]") "}"
#define FOUR "{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true,\"bnb_4bit_quant_type\":\"nf4\"}"
#define EIGHT "{\"quant_method\":\"bitsandbytes\",\"load_in_8bit\":true}"

/* A tensor to be written: bytes are those of `data`, repeated; NULL: zeros. */
struct tensor {
    const char *name, *dtype, *shape;
    const void *data;
    size_t size;
};

static const float nf4[16] = {-1.0f,        -0.69619280f, -0.52507305f, -0.39491748f, -0.28444138f, -0.18477343f,
                              -0.09105003f, 0.0f,         0.07958029f,  0.16093020f,  0.24611230f,  0.33791524f,
                              0.44070982f,  0.56261700f,  0.72295683f,  1.0f};
static const float bad_map[16] = {0.5f}, nan_one[1] = {__builtin_nanf("")}, inf_one[1] = {__builtin_inff()},
                   one[1] = {1};

static void write_folder(const struct folder *folder, const char *quantization, const struct tensor *tensors, size_t n)
{
    struct ht__buf header, data, file;
    ht__buf_init(&header, NULL);
    ht__buf_init(&data, NULL);
    ht__buf_init(&file, NULL);
    for (size_t i = 0; i < n; i++) {
        static const char *const dtypes[] = {"F32", "BF16", "F16", "I8", "U8", "I32", "I64", "F8_E4M3"};
        static const size_t sizes[] = {4, 2, 2, 1, 1, 4, 8, 1};
        size_t bytes = 1, from = data.len;
        for (const char *p = tensors[i].shape; *p; p += strcspn(p, ",") + (p[strcspn(p, ",")] == ','))
            bytes *= strtoull(p, NULL, 10);
        for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++)
            if (strcmp(tensors[i].dtype, dtypes[k]) == 0) bytes *= sizes[k];
        while (tensors[i].size && data.len - from + tensors[i].size <= bytes)
            ht__buf_put(&data, tensors[i].data, tensors[i].size);
        ht__buf_zeros(&data, bytes - (data.len - from));
        ht__buf_printf(&header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}", i ? "," : "{",
                       tensors[i].name, tensors[i].dtype, tensors[i].shape, from, data.len);
    }
    ht__buf_str(&header, "}");
    ht__buf_u64(&file, header.len);
    ht__buf_put(&file, header.data, header.len);
    ht__buf_put(&file, data.data, data.len);
    folder_put(folder, "model.safetensors", file.data, file.len);
    char config[2048];
    snprintf(config, sizeof config, "{" CONFIG ",\"quantization_config\":%s}", quantization);
    folder_puts(folder, "config.json", config);
    ht__buf_close(&header);
    ht__buf_close(&data);
    ht__buf_close(&file);
}

/* Opens the folder as a model and reads all rows of all of its weights. */
static enum ht_err read_all(const char *path, struct ht_diag *diag)
{
    struct ht__checkpoint *ck = NULL;
    struct ht__model *model = NULL;
    struct ht__arena scratch;
    ht__arena_init(&scratch, NULL);
    enum ht_err err = ht__checkpoint_open(path, NULL, &ck, diag);
    if (!err) err = ht__model_open(ck, NULL, NULL, &model, diag);
    for (size_t i = 0; !err && i < model->n_weights; i++) {
        const struct ht__rows *rows = model->weights[i].rows;
        float *x = malloc((size_t)(rows->n_rows * rows->row_len) * sizeof *x);
        err = rows->read(rows, 0, rows->n_rows, x, &scratch, diag);
        free(x);
    }
    if (model) ht__model_close(&model);
    if (ck) ht__checkpoint_close(&ck);
    ht__arena_close(&scratch);
    return err;
}

enum { MOST = 24 };
struct checkpoint {
    const char *quantization;
    struct tensor tensors[MOST];
    size_t n;
};

static void put(struct checkpoint *c, const char *name, const char *dtype, const char *shape, const void *data,
                size_t size)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->tensors[i].name, name) == 0) {
            c->tensors[i] = (struct tensor){name, dtype, shape, data, size};
            return;
        }
    c->tensors[c->n++] = (struct tensor){name, dtype, shape, data, size};
}

static void drop(struct checkpoint *c, const char *name)
{
    for (size_t i = 0; i < c->n; i++)
        if (strcmp(c->tensors[i].name, name) == 0) {
            memmove(&c->tensors[i], &c->tensors[i + 1], (c->n - i - 1) * sizeof *c->tensors);
            c->n--;
            return;
        }
    fail_msg("there is no %s", name);
}

static void put_state(struct checkpoint *c, const char *name, const char *text)
{
    static char shapes[8][24];
    static int next;
    char *shape = shapes[next++ % 8];
    snprintf(shape, sizeof shapes[0], "%zu", strlen(text));
    put(c, name, "U8", shape, text, strlen(text));
}

/* A Llama of one layer whose q_proj is packed and whose other weights are not. */
static struct checkpoint base(const char *quantization)
{
    struct checkpoint c = {.quantization = quantization};
    put(&c, "model.embed_tokens.weight", "BF16", "64,64", NULL, 0);
    put(&c, "model.norm.weight", "BF16", "64", NULL, 0);
    put(&c, "model.layers.0.input_layernorm.weight", "BF16", "64", NULL, 0);
    put(&c, "model.layers.0.post_attention_layernorm.weight", "BF16", "64", NULL, 0);
    put(&c, "model.layers.0.self_attn.k_proj.weight", "BF16", "64,64", NULL, 0);
    put(&c, "model.layers.0.self_attn.v_proj.weight", "BF16", "64,64", NULL, 0);
    put(&c, "model.layers.0.self_attn.o_proj.weight", "BF16", "64,64", NULL, 0);
    put(&c, "model.layers.0.mlp.gate_proj.weight", "BF16", "64,64", NULL, 0);
    put(&c, "model.layers.0.mlp.up_proj.weight", "BF16", "64,64", NULL, 0);
    put(&c, "model.layers.0.mlp.down_proj.weight", "BF16", "64,64", NULL, 0);
    return c;
}

static struct checkpoint four(void)
{
    struct checkpoint c = base(FOUR);
    put(&c, Q ".weight", "U8", "2048,1", NULL, 0);
    put(&c, Q ".weight.absmax", "F32", "64", one, 4);
    put(&c, Q ".weight.quant_map", "F32", "16", nf4, sizeof nf4);
    put_state(&c, Q ".weight.quant_state.bitsandbytes__nf4", GOOD_STATE);
    return c;
}

static struct checkpoint nested(void)
{
    struct checkpoint c = four();
    put(&c, Q ".weight.absmax", "U8", "64", NULL, 0);
    put(&c, Q ".weight.nested_absmax", "F32", "1", one, 4);
    put(&c, Q ".weight.nested_quant_map", "F32", "256", NULL, 0);
    put_state(&c, Q ".weight.quant_state.bitsandbytes__nf4",
              STATE4("nf4", "64", "bfloat16", "[64, 64]") NESTED("256", "float32", "0.5"));
    return c;
}

static struct checkpoint eight(void)
{
    struct checkpoint c = base(EIGHT);
    put(&c, Q ".weight", "I8", "64,64", NULL, 0);
    put(&c, Q ".SCB", "F32", "64", one, 4);
    put(&c, Q ".weight_format", "U8", "", NULL, 0);
    return c;
}

/* words: in the diagnosis, where and message together; NULL: it is right. */
static void check(const char *what, const struct checkpoint *c, const char *words)
{
    struct folder folder = folder_make();
    struct ht_diag diag = {0};
    char told[1024];
    write_folder(&folder, c->quantization, c->tensors, c->n);
    enum ht_err err = read_all(folder.path, &diag);
    snprintf(told, sizeof told, "%s: %s", diag.where, diag.message);
    if (words ? err == HT_OK || !strstr(told, words) : err != HT_OK) fail_msg("%s: %d %s", what, (int)err, told);
    if (words && err == HT_ERR_INTERNAL) fail_msg("%s: an internal error", what);
    folder_remove(&folder);
}

static void test_right(void **state)
{
    struct checkpoint c = four();
    check("4 bits", &c, NULL);
    c = nested();
    check("nested", &c, NULL);
    c = eight();
    check("8 bits", &c, NULL);
    c = four();
    put(&c, Q ".weight", "BF16", "1024,1", NULL, 0);
    check("stored as BF16", &c, NULL);
    put(&c, Q ".weight", "F32", "512,1", NULL, 0);
    check("stored as F32", &c, NULL);
    put_state(&c, Q ".weight.quant_state.bitsandbytes__nf4", GOOD_STATE "   ");
    check("blanks behind the state", &c, NULL);
}

static void test_configuration(void **state)
{
    static const struct {
        const char *name, *json, *words;
    } cases[] = {
        {"unknown method", "{\"quant_method\":\"squeeze\"}", "squeeze"},
        {"a method that is a number", "{\"quant_method\":4}", "quant_method"},
        {"not an object", "[1]", "quantization_config"},
        {"neither width", "{\"quant_method\":\"bitsandbytes\"}", "load_in_4bit"},
        {"both widths", "{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true,\"load_in_8bit\":true}",
         "load_in_8bit"},
        {"a width that is text", "{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":\"yes\"}", "true or false"},
        {"a width that is a number", "{\"quant_method\":\"bitsandbytes\",\"load_in_8bit\":1}", "true or false"},
        {"an unknown type", "{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true,\"bnb_4bit_quant_type\":\"nf5\"}",
         "bnb_4bit_quant_type"},
        {"a type that is a number",
         "{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true,\"bnb_4bit_quant_type\":4}", "bnb_4bit_quant_type"},
        {"8 bits for tensors of 4", EIGHT, "the configuration says 8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct checkpoint c = four();
        c.quantization = cases[i].json;
        check(cases[i].name, &c, cases[i].words);
    }
    struct checkpoint c = eight();
    c.quantization = FOUR;
    check("4 bits for tensors of 8", &c, "the configuration says 4");
}

static void test_missing(void **state)
{
    static const char *const of_four[] = {".weight", ".weight.absmax", ".weight.quant_map",
                                          ".weight.quant_state.bitsandbytes__nf4"};
    static const char *const of_nested[] = {".weight.nested_absmax", ".weight.nested_quant_map"};
    static const char *const of_eight[] = {".weight", ".SCB", ".weight_format"};
    char name[100];
    for (size_t i = 0; i < 4 + 2 + 3; i++) {
        struct checkpoint c = i < 4 ? four() : i < 6 ? nested() : eight();
        snprintf(name, sizeof name, Q "%s", i < 4 ? of_four[i] : i < 6 ? of_nested[i - 4] : of_eight[i - 6]);
        drop(&c, name);
        check(name, &c, "q_proj");
    }
}

static void test_extra(void **state)
{
    static const char *const strays[] = {"model.layers.0.mlp.up_proj.weight.quant_map",
                                         "model.layers.0.mlp.up_proj.weight.nested_absmax",
                                         "model.layers.0.mlp.up_proj.weight.absmax",
                                         "model.layers.0.mlp.up_proj.weight.nested_quant_map",
                                         "model.layers.0.mlp.up_proj.SCB",
                                         "model.layers.0.mlp.up_proj.weight_format",
                                         "model.layers.9.mlp.up_proj.weight.quant_map",
                                         Q ".weight.nested_absmax",
                                         Q ".weight.nested_quant_map"};
    for (size_t i = 0; i < sizeof strays / sizeof strays[0]; i++) {
        struct checkpoint c = four();
        put(&c, strays[i], "F32", "16", one, 4);
        check(strays[i], &c, strstr(strays[i], "q_proj") ? "q_proj" : "up_proj");
    }
    struct checkpoint c = four();
    put_state(&c, Q ".weight.quant_state.bitsandbytes__fp4", STATE4("fp4", "64", "bfloat16", "[64, 64]") "}");
    check("two states", &c, "both nf4 and fp4");
}

static void test_shapes(void **state)
{
    static const struct {
        const char *name, *suffix, *dtype, *shape;
        int base;
    } cases[] = {
        {"packed bytes too few", ".weight", "U8", "2047,1", 4},
        {"packed bytes too many", ".weight", "U8", "2049,1", 4},
        {"packed bytes in a row", ".weight", "U8", "1,2048", 4},
        {"packed bytes of one dimension", ".weight", "U8", "2048", 4},
        {"packed bytes as integers", ".weight", "I32", "512,1", 4},
        {"packed as BF16, but as many as bytes", ".weight", "BF16", "2048,1", 4},
        {"no packed bytes", ".weight", "U8", "0,1", 4},
        {"scales too few", ".weight.absmax", "F32", "63", 4},
        {"scales too many", ".weight.absmax", "F32", "65", 4},
        {"scales in two dimensions", ".weight.absmax", "F32", "64,1", 4},
        {"scales as codes without nesting", ".weight.absmax", "U8", "64", 4},
        {"scales in half", ".weight.absmax", "F16", "64", 4},
        {"a short table", ".weight.quant_map", "F32", "15", 4},
        {"a table of half", ".weight.quant_map", "F16", "16", 4},
        {"codes of scales too few", ".weight.absmax", "U8", "63", 5},
        {"scales as floats where nested", ".weight.absmax", "F32", "64", 5},
        {"nested scales too many", ".weight.nested_absmax", "F32", "2", 5},
        {"a short nested table", ".weight.nested_quant_map", "F32", "255", 5},
        {"row scales too few", ".SCB", "F32", "63", 8},
        {"row scales in half", ".SCB", "F16", "64", 8},
        {"a column too many", ".weight", "I8", "64,65", 8},
        {"8 bits in three dimensions", ".weight", "I8", "64,8,8", 8},
        {"no rows", ".weight", "I8", "0,64", 8},
        {"a format of several numbers", ".weight_format", "U8", "2", 8},
        {"a format that is a float", ".weight_format", "F32", "", 8},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct checkpoint c = cases[i].base == 4 ? four() : cases[i].base == 5 ? nested() : eight();
        char *name = malloc(100);
        snprintf(name, 100, Q "%s", cases[i].suffix);
        put(&c, name, cases[i].dtype, cases[i].shape, NULL, 0);
        check(cases[i].name, &c, "q_proj");
        free(name);
    }
}

static void test_states(void **state)
{
    static const struct {
        const char *name, *text, *words;
    } cases[] = {
        {"empty", "", "q_proj"},
        {"no JSON", "nf4", "q_proj"},
        {"an array", "[1]", "JSON object"},
        {"cut off", "{\"quant_type\": \"nf4\", \"block", "q_proj"},
        {"another type", STATE4("fp4", "64", "bfloat16", "[64, 64]") "}", "quant_type"},
        {"no type", "{\"blocksize\": 64, \"dtype\": \"bfloat16\", \"shape\": [64, 64]}", "quant_type"},
        {"a block of 48", STATE4("nf4", "48", "bfloat16", "[64, 64]") "}", "blocksize"},
        {"a block of 0", STATE4("nf4", "0", "bfloat16", "[64, 64]") "}", "blocksize"},
        {"a negative block", STATE4("nf4", "-64", "bfloat16", "[64, 64]") "}", "blocksize"},
        {"a block as text", STATE4("nf4", "\"64\"", "bfloat16", "[64, 64]") "}", "blocksize"},
        {"another block", STATE4("nf4", "128", "bfloat16", "[64, 64]") "}", "absmax"},
        {"an integer dtype", STATE4("nf4", "64", "int8", "[64, 64]") "}", "dtype"},
        {"no dtype", "{\"quant_type\": \"nf4\", \"blocksize\": 64, \"shape\": [64, 64]}", "dtype"},
        {"shape of one", STATE4("nf4", "64", "bfloat16", "[4096]") "}", "shape"},
        {"shape of three", STATE4("nf4", "64", "bfloat16", "[4, 16, 64]") "}", "shape"},
        {"shape of fractions", STATE4("nf4", "64", "bfloat16", "[64.5, 64]") "}", "shape"},
        {"shape of nothing", STATE4("nf4", "64", "bfloat16", "[0, 64]") "}", "shape"},
        {"negative shape", STATE4("nf4", "64", "bfloat16", "[-64, -64]") "}", "shape"},
        {"a huge shape", STATE4("nf4", "64", "bfloat16", "[2147483647, 2147483647]") "}", "shape"},
        {"a large shape", STATE4("nf4", "64", "bfloat16", "[1000000, 1000000]") "}", "q_proj"},
        {"a row more", STATE4("nf4", "64", "bfloat16", "[65, 64]") "}", "q_proj"},
        {"another shape of as many", STATE4("nf4", "64", "bfloat16", "[128, 32]") "}", "q_proj"},
        {"no shape", STATE4("nf4", "64", "bfloat16", "null") "}", "shape"},
        {"nested that is not", STATE4("nf4", "64", "bfloat16", "[64, 64]") NESTED("256", "float32", "0.5"), "absmax"},
    };
    static const struct {
        const char *name, *text, *words;
    } of_nested[] = {
        {"no mean", GOOD_STATE, "absmax"},
        {"a mean as text", STATE4("nf4", "64", "bfloat16", "[64, 64]") NESTED("256", "float32", "\"1\""),
         "nested_offset"},
        {"an infinite mean", STATE4("nf4", "64", "bfloat16", "[64, 64]") NESTED("256", "float32", "1e300"),
         "nested_offset"},
        {"nested blocks of 64", STATE4("nf4", "64", "bfloat16", "[64, 64]") NESTED("64", "float32", "1"),
         "nested_blocksize"},
        {"nested in half", STATE4("nf4", "64", "bfloat16", "[64, 64]") NESTED("256", "float16", "1"), "nested_dtype"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct checkpoint c = four();
        put_state(&c, Q ".weight.quant_state.bitsandbytes__nf4", cases[i].text);
        check(cases[i].name, &c, cases[i].words);
    }
    for (size_t i = 0; i < sizeof of_nested / sizeof of_nested[0]; i++) {
        struct checkpoint c = nested();
        put_state(&c, Q ".weight.quant_state.bitsandbytes__nf4", of_nested[i].text);
        check(of_nested[i].name, &c, of_nested[i].words);
    }
}

static void test_numbers(void **state)
{
    struct checkpoint c = four();
    put(&c, Q ".weight.absmax", "F32", "64", nan_one, 4);
    check("scales that are no numbers", &c, "not a finite number");
    put(&c, Q ".weight.absmax", "F32", "64", inf_one, 4);
    check("infinite scales", &c, "not a finite number");
    c = four();
    put(&c, Q ".weight.quant_map", "F32", "16", bad_map, sizeof bad_map);
    check("another table", &c, "table");
    put(&c, Q ".weight.quant_map", "F32", "16", nan_one, 4);
    check("a table of no numbers", &c, "table");
    c = nested();
    put(&c, Q ".weight.nested_absmax", "F32", "1", inf_one, 4);
    check("an infinite nested scale", &c, "not finite");
    c = nested();
    put(&c, Q ".weight.nested_quant_map", "F32", "256", nan_one, 4);
    check("a nested table of no numbers", &c, "not finite");
    c = eight();
    put(&c, Q ".SCB", "F32", "64", nan_one, 4);
    check("row scales that are no numbers", &c, "not a finite number");
    put(&c, Q ".SCB", "F32", "64", inf_one, 4);
    check("infinite row scales", &c, "not a finite number");
    c = eight();
    put(&c, Q ".weight_format", "U8", "", "\1", 1);
    check("8 bits by columns", &c, "weight_format");
}

/* ---- integer codes ---- */

#define UP "model.layers.0.mlp.up_proj"
#define GPTQ_CONFIG "{\"quant_method\":\"gptq\",\"bits\":4,\"group_size\":32,\"desc_act\":true}"
#define AWQ_CONFIG "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":32,\"version\":\"gemm\",\"zero_point\":true}"
#define GEMV_CONFIG "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":32,\"version\":\"gemv\",\"zero_point\":true}"
#define ROUND_CONFIG "{\"quant_method\":\"auto-round\",\"bits\":4,\"packing_format\":\"auto_round:auto_gptq\"}"
#define CT_GROUP(name, type, bits) "\"" name "\":{\"weights\":{\"type\":\"" type "\",\"num_bits\":" bits "}}"
#define CT_CONFIG(groups) "{\"quant_method\":\"compressed-tensors\",\"config_groups\":{" groups "}}"
#define HQQ_CONFIG                                                                                                     \
    "{\"quant_method\":\"hqq\",\"quant_config\":{\"weight_quant_params\":{\"nbits\":4,\"group_size\":64,\"axis\":1}}}"

static const uint16_t half_nan[1] = {0x7e00}, half_inf[1] = {0x7c00}, bf16_nan[1] = {0x7fc0};
static const int64_t side[1] = {64}, other_side[1] = {32};
static int32_t in_order[64], out_of_range[64], negative[64], uneven[64];

static void fill_indices(void)
{
    for (int i = 0; i < 64; i++) {
        in_order[i] = out_of_range[i] = negative[i] = uneven[i] = (i * 7) % 64 / 32;
    }
    out_of_range[63] = 2;
    negative[5] = -1;
    uneven[0] = 1;
}

static struct checkpoint gptq(void)
{
    struct checkpoint c = base(GPTQ_CONFIG);
    put(&c, Q ".qweight", "I32", "8,64", NULL, 0);
    put(&c, Q ".qzeros", "I32", "2,8", NULL, 0);
    put(&c, Q ".scales", "F16", "2,64", NULL, 0);
    put(&c, Q ".g_idx", "I32", "64", in_order, sizeof in_order);
    return c;
}

static struct checkpoint awq(void)
{
    struct checkpoint c = base(AWQ_CONFIG);
    put(&c, Q ".qweight", "I32", "64,8", NULL, 0);
    put(&c, Q ".qzeros", "I32", "2,8", NULL, 0);
    put(&c, Q ".scales", "F16", "2,64", NULL, 0);
    return c;
}

static struct checkpoint gemv(void)
{
    struct checkpoint c = base(GEMV_CONFIG);
    put(&c, Q ".qweight", "I32", "64,8", NULL, 0);
    put(&c, Q ".qzeros", "I32", "64,4", NULL, 0);
    put(&c, Q ".scales", "F16", "64,32", NULL, 0);
    return c;
}

static struct checkpoint hqq(void)
{
    struct checkpoint c = base(HQQ_CONFIG);
    put(&c, Q ".W_q", "U8", "32,64", NULL, 0);
    put(&c, Q ".scale", "BF16", "64,1", NULL, 0);
    put(&c, Q ".zero", "BF16", "64,1", NULL, 0);
    put(&c, Q ".shape", "I64", "2", side, sizeof side);
    put(&c, Q ".nbits", "I64", "", NULL, 0);
    put(&c, Q ".packing", "U8", "9", NULL, 0);
    return c;
}

static struct checkpoint words(void)
{
    struct checkpoint c = base(CT_CONFIG(CT_GROUP("a", "int", "4")));
    put(&c, Q ".weight_packed", "I32", "64,8", NULL, 0);
    put(&c, Q ".weight_scale", "BF16", "64,2", NULL, 0);
    put(&c, Q ".weight_shape", "I64", "2", side, sizeof side);
    put(&c, Q ".weight_g_idx", "I32", "64", in_order, sizeof in_order);
    return c;
}

static struct checkpoint mixed(void)
{
    struct checkpoint c = words();
    c.quantization = CT_CONFIG(CT_GROUP("a", "int", "4") "," CT_GROUP("b", "float", "8") "," CT_GROUP("c", "int", "8"));
    drop(&c, UP ".weight");
    put(&c, UP ".weight", "F8_E4M3", "64,64", NULL, 0);
    put(&c, UP ".weight_scale", "BF16", "64,1", NULL, 0);
    put(&c, "model.layers.0.mlp.down_proj.weight", "I8", "64,64", NULL, 0);
    put(&c, "model.layers.0.mlp.down_proj.weight_scale", "BF16", "64,1", NULL, 0);
    put(&c, "model.layers.0.mlp.down_proj.input_scale", "BF16", "1", NULL, 0);
    put(&c, "model.layers.0.self_attn.k_scale", "BF16", "1", NULL, 0);
    return c;
}

typedef struct checkpoint make_fn(void);

static void test_integers(void **state)
{
    static const struct {
        const char *name;
        make_fn *make;
        const char *config; /* NULL: its own */
    } right[] = {{"GPTQ", gptq, NULL}, {"AutoRound", gptq, ROUND_CONFIG}, {"AWQ", awq, NULL},    {"gemv", gemv, NULL},
                 {"HQQ", hqq, NULL},   {"pack-quantized", words, NULL},   {"mixed", mixed, NULL}};
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        struct checkpoint c = right[i].make();
        if (right[i].config) c.quantization = right[i].config;
        check(right[i].name, &c, NULL);
    }
}

static void test_integer_configs(void **state)
{
    static const struct {
        make_fn *make;
        const char *json, *words;
    } cases[] = {
        {gptq, "{\"quant_method\":\"gptq\",\"bits\":4,\"checkpoint_format\":\"marlin\"}", "marlin"},
        {gptq, "{\"quant_method\":\"gptq\",\"bits\":\"4\"}", "bits"},
        {gptq, "{\"quant_method\":\"gptq\",\"group_size\":0}", "group_size"},
        {awq, "{\"quant_method\":\"awq\",\"version\":\"exllama\"}", "exllama"},
        {awq, "{\"quant_method\":\"awq\",\"bits\":3}", "bits"},
        {gptq, "{\"quant_method\":\"auto-round\",\"packing_format\":\"auto_round:tritonv9\"}", "tritonv9"},
        {gptq, AWQ_CONFIG, "q_proj"},
        {awq, GPTQ_CONFIG, "q_proj"},
        {awq, GEMV_CONFIG, "q_proj"},
        {gemv, AWQ_CONFIG, "q_proj"},
        {hqq, "{\"quant_method\":\"hqq\",\"quant_config\":{}}", "weight_quant_params"},
        {hqq, GPTQ_CONFIG, "q_proj"},
        {words, "{\"quant_method\":\"compressed-tensors\"}", "config_groups"},
        {words, CT_CONFIG("\"a\":{\"targets\":[\"Linear\"]}"), "config_groups"},
        {words, CT_CONFIG(CT_GROUP("a", "int", "3")), "weight_packed"},
        {words, CT_CONFIG(CT_GROUP("a", "int", "99")), "num_bits"},
        {words, CT_CONFIG(CT_GROUP("a", "float", "8")), "q_proj"},
        {mixed, CT_CONFIG(CT_GROUP("a", "int", "4")), "up_proj"},
        {mixed, CT_CONFIG(CT_GROUP("b", "float", "8")), "they have no weights in I8"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct checkpoint c = cases[i].make();
        c.quantization = cases[i].json;
        check(cases[i].json, &c, cases[i].words);
    }
}

static void test_integer_parts(void **state)
{
    static const struct {
        make_fn *make;
        const char *missing; /* after the module's name */
    } cases[] = {{gptq, ".qweight"},       {gptq, ".qzeros"},       {gptq, ".scales"}, {awq, ".qweight"},
                 {awq, ".qzeros"},         {awq, ".scales"},        {gemv, ".scales"}, {hqq, ".W_q"},
                 {hqq, ".scale"},          {hqq, ".zero"},          {hqq, ".shape"},   {words, ".weight_packed"},
                 {words, ".weight_scale"}, {words, ".weight_shape"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct checkpoint c = cases[i].make();
        char name[100];
        snprintf(name, sizeof name, Q "%s", cases[i].missing);
        drop(&c, name);
        check(name, &c, "q_proj");
    }
    static const struct {
        make_fn *make;
        const char *name;
    } strays[] = {{gptq, UP ".qzeros"},        {gptq, UP ".scales"},
                  {gptq, UP ".g_idx"},         {awq, UP ".qzeros"},
                  {awq, UP ".scales"},         {hqq, UP ".scale"},
                  {hqq, UP ".zero"},           {words, UP ".weight_g_idx"},
                  {awq, Q ".g_idx"},           {words, UP ".weight_zero_point"},
                  {words, UP ".weight_scale"}, {mixed, UP ".weight_zero_point"}};
    for (size_t i = 0; i < sizeof strays / sizeof strays[0]; i++) {
        struct checkpoint c = strays[i].make();
        put(&c, strays[i].name, "I32", "64", NULL, 0);
        check(strays[i].name, &c, strstr(strays[i].name, "q_proj") ? "q_proj" : "up_proj");
    }
}

static void test_integer_numbers(void **state)
{
    static const struct {
        make_fn *make;
        const char *name, *dtype, *shape;
        const void *data;
        size_t size;
        const char *words;
    } cases[] = {
        {gptq, Q ".g_idx", "I32", "64", out_of_range, sizeof out_of_range, "a group that is not there"},
        {gptq, Q ".g_idx", "I32", "64", negative, sizeof negative, "a group that is not there"},
        {gptq, Q ".g_idx", "I32", "64", uneven, sizeof uneven, "as many inputs"},
        {gptq, Q ".g_idx", "I32", "63", NULL, 0, "g_idx"},
        {gptq, Q ".scales", "F16", "2,64", half_nan, 2, "not a finite number"},
        {gptq, Q ".scales", "F16", "2,64", half_inf, 2, "not a finite number"},
        {gptq, Q ".scales", "F16", "3,64", NULL, 0, "scales"},
        {awq, Q ".scales", "F16", "2,64", half_nan, 2, "not a finite number"},
        {awq, Q ".scales", "F16", "2,64", half_inf, 2, "not a finite number"},
        {gemv, Q ".scales", "F16", "64,32", half_nan, 2, "not a finite number"},
        {hqq, Q ".scale", "BF16", "64,1", bf16_nan, 2, "not a finite number"},
        {hqq, Q ".zero", "BF16", "64,1", bf16_nan, 2, "not a finite number"},
        {hqq, Q ".shape", "I64", "2", other_side, sizeof other_side, "q_proj"},
        {words, Q ".weight_g_idx", "I32", "64", out_of_range, sizeof out_of_range, "a group that is not there"},
        {words, Q ".weight_g_idx", "I32", "64", negative, sizeof negative, "a group that is not there"},
        {words, Q ".weight_scale", "BF16", "64,2", bf16_nan, 2, "not a finite number"},
        {words, Q ".weight_shape", "I64", "2", other_side, sizeof other_side, "q_proj"},
        {mixed, "model.layers.0.mlp.down_proj.weight_scale", "BF16", "64,1", bf16_nan, 2, "not a finite number"},
        {mixed, UP ".weight_scale", "BF16", "64,1", bf16_nan, 2, "not a finite number"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct checkpoint c = cases[i].make();
        put(&c, cases[i].name, cases[i].dtype, cases[i].shape, cases[i].data, cases[i].size);
        check(cases[i].name, &c, cases[i].words);
    }
}

int main(void)
{
    fill_indices();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right),           cmocka_unit_test(test_configuration),
        cmocka_unit_test(test_missing),         cmocka_unit_test(test_extra),
        cmocka_unit_test(test_shapes),          cmocka_unit_test(test_states),
        cmocka_unit_test(test_numbers),         cmocka_unit_test(test_integers),
        cmocka_unit_test(test_integer_configs), cmocka_unit_test(test_integer_parts),
        cmocka_unit_test(test_integer_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
