/*
 * Every family of packed weights, with one thing wrong: refused, with the file, the tensor and what is wrong of it. The
 * checkpoints that are right are the fuzzer's stored inputs (tests/fuzz/corpus/packed); a case changes one of their lines.
 */
#include "base/json.h"
#include "lib/folder.h"
#include "lib/tensor_lines.h"
#include "model/rows.h"
#include "schemes/packing.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LONGEST = 8192 };

/* ---- a checkpoint of lines ---- */

/* A file of the fuzzer's corpus, or, with "", the corpus. */
static void corpus_path(const char *name, char path[4200])
{
    const char *root = getenv("HT_SOURCE_ROOT");
    snprintf(path, 4200, "%s/tests/fuzz/corpus/packed/%s", root ? root : ".", name);
}

static void load(const char *name, char text[LONGEST])
{
    char path[4200];
    corpus_path(name, path);
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s cannot be read", path);
    size_t n = fread(text, 1, LONGEST - 1, f);
    fclose(f);
    text[n] = '\0';
}

/* The line that begins with `word` and a blank, or NULL. */
static char *line_of(char *text, const char *word)
{
    size_t n = strlen(word);
    for (char *p = strchr(text, '\n') + 1; *p; p += strcspn(p, "\n") + 1)
        if (strncmp(p, word, n) == 0 && p[n] == ' ') return p;
    return NULL;
}

static void cut(char *line)
{
    char *next = line + strcspn(line, "\n") + 1;
    memmove(line, next, strlen(next) + 1);
}

/*
 * "{…": another configuration. "-NAME": without the tensor. "NAME DTYPE SHAPE …": this tensor, instead of the one of that
 * name or as well.
 */
static void change(char text[LONGEST], const char *how)
{
    char name[120], *line;
    if (*how == '{') {
        line = strchr(text, '\n');
        memmove(text + strlen(how), line, strlen(line) + 1);
        memcpy(text, how, strlen(how));
        return;
    }
    sscanf(how + (*how == '-'), "%119s", name);
    if ((line = line_of(text, name)) != NULL)
        cut(line);
    else if (*how == '-')
        fail_msg("there is no %s", name);
    if (*how != '-') sprintf(text + strlen(text), "%s\n", how);
}

/* Every weight of the checkpoint, all of its rows. */
static enum ht_err read_weights(struct ht__packing_source *source, struct ht_diag *diag, int *n_weights)
{
    const struct ht__checkpoint *ck = source->ck;
    bool *taken = calloc(ck->n_tensors + 1, sizeof *taken);
    enum ht_err err = HT_OK;
    for (uint32_t i = 0; i < ck->n_tensors && !err; i++) {
        struct ht__packed_weight *w = NULL;
        if (!taken[i]) err = ht__packing_weight(source, &ck->tensors[i], taken, &w, diag);
        if (err || !w) continue;
        const struct ht__packed_source *p = w->packed;
        struct ht__rows *rows = ht__rows_packed(source->arena, ck, &p->params, &p->matrix, p->tensors, w->whole);
        float *x = malloc((size_t)(rows->n_rows * rows->row_len) * sizeof *x);
        err = rows->read(rows, 0, rows->n_rows, x, source->tmp, diag);
        free(x);
        *n_weights += 1;
    }
    for (uint32_t i = 0; i < ck->n_tensors && !err; i++)
        if (!taken[i]) err = ht__packing_stray(source, &ck->tensors[i], diag);
    free(taken);
    return err;
}

/* text: its first line is the configuration. */
static enum ht_err read_folder(const struct folder *folder, const char *text, struct ht_diag *diag, int *n_weights)
{
    struct ht__arena arena;
    struct ht__jnode *root;
    struct ht__checkpoint *ck = NULL;
    ht__arena_init(&arena, NULL);
    struct ht__packing_source source = {
        .arena = &arena, .tmp = &arena, .dtype = &ht__codec_bf16, .config_path = "config.json"};
    enum ht_err err = ht__json_parse(&arena, text, strcspn(text, "\n"), "config.json", &root, diag);
    if (!err) err = ht__checkpoint_open(folder->path, NULL, &ck, diag);
    if (!err) {
        source.packing = ht__packing_by_method(ht__jstr(root, "quant_method", ""));
        source.ck = ck;
        if (!source.packing) fail_msg("no such family: %.80s", text);
        err = source.packing->open(&source, root, diag);
    }
    if (!err) err = read_weights(&source, diag, n_weights);
    ht__checkpoint_close(&ck);
    ht__arena_close(&arena);
    return err;
}

static enum ht_err read_lines(const char *text, struct ht_diag *diag, int *n_weights)
{
    const char *lines = strchr(text, '\n') + 1;
    struct folder folder = folder_make();
    struct ht__buf file;
    ht__buf_init(&file, NULL);
    lines_file(lines, strlen(lines), &file);
    folder_put(&folder, "model.safetensors", file.data, file.len);
    folder_puts(&folder, "config.json", "{}");
    ht__buf_close(&file);
    enum ht_err err = read_folder(&folder, text, diag, n_weights);
    folder_remove(&folder);
    return err;
}

/* ---- what is right ---- */

static void each_seed(void (*check)(const char *name, char text[LONGEST]))
{
    static char text[LONGEST];
    char path[4200];
    corpus_path("", path);
    DIR *dir = opendir(path);
    int n = 0;
    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        load(e->d_name, text);
        check(e->d_name, text);
        n++;
    }
    closedir(dir);
    assert_true(n >= 40);
}

static void check_right(const char *name, char text[LONGEST])
{
    struct ht_diag diag = {0};
    int n = 0;
    enum ht_err err = read_lines(text, &diag, &n);
    if (err || n < 1) fail_msg("%s: %s: %s: %s", name, ht_err_name(err), diag.where, diag.message);
}

static void test_right(void **state)
{
    (void)state;
    each_seed(check_right);
}

/* ---- each tensor of each family missing, of another dtype, of another shape ---- */

static int n_swept;

/* Refused by a name that stands in the file, or read as something else: never an internal error, never half of it. */
static void sweep(const char *name, const char *text, const char *how)
{
    char module = how[*how == '-'];
    static char changed[LONGEST];
    struct ht_diag diag = {0};
    int n = 0;
    strcpy(changed, text);
    change(changed, how);
    enum ht_err err = read_lines(changed, &diag, &n);
    n_swept++;
    if (err == HT_OK) fail_msg("%s, %s: it is read", name, how);
    if (err != HT_ERR_FORMAT && err != HT_ERR_UNSUPPORTED) fail_msg("%s, %s: %s", name, how, ht_err_name(err));
    if (strncmp(diag.where, "model.safetensors: ", 19) != 0 || diag.where[19] != module || !diag.message[0])
        fail_msg("%s, %s: the diagnosis is of \"%s\": %s", name, how, diag.where, diag.message);
}

/* Tensors that may be missing or of any shape, as nothing reads them; those that make another form when they are missing. */
static bool is_free(const char *tensor)
{
    static const char *const words[] = {"input_scale", "activation_scale", ".nbits",
                                        ".packing",    "a.weight",         "n.weight"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strstr(tensor, words[i])) return strcmp(tensor, "n.weight_scale") != 0;
    return false;
}

static bool is_optional(const char *tensor)
{
    return strstr(tensor, "g_idx") || strstr(tensor, "weight_zero_point");
}

static void check_sweep(const char *name, char text[LONGEST])
{
    static char lines[LONGEST];
    strcpy(lines, text);
    for (char *line = strchr(lines, '\n') + 1, *next; *line; line = next) {
        char tensor[120], dtype[12], shape[60], how[300];
        next = line + strcspn(line, "\n") + 1;
        if (sscanf(line, "%119s %11s %59s", tensor, dtype, shape) != 3 || is_free(tensor)) continue;
        snprintf(how, sizeof how, "-%s", tensor);
        if (!is_optional(tensor)) sweep(name, text, how);
        snprintf(how, sizeof how, "%s BOOL %s", tensor, shape);
        sweep(name, text, how);
        snprintf(how, sizeof how, "%s %s 1,1,1,1,%s", tensor, dtype, strcmp(shape, "-") == 0 ? "1" : shape);
        sweep(name, text, how);
    }
}

static void test_sweep(void **state)
{
    (void)state;
    each_seed(check_sweep);
    if (n_swept < 350) fail_msg("%d cases", n_swept);
}

/* ---- one by one ---- */

/* where: all of the diagnosis' name; words: in its message. */
struct one {
    const char *seed, *change, *where, *words;
};

static const struct one group_counts[] = {
    {"gptq_4", "m.scales F16 3,32 #003c", "model.safetensors: m.scales",
     "expected a number of groups that divides the length of rows, got F16 3 x 32"},
    {"gptq_4", "m.scales F16 128,32 #003c", "model.safetensors: m.scales",
     "expected a number of groups that divides the length of rows, got F16 128 x 32"},
    {"gptq_4", "m.qzeros I32 1,4", "model.safetensors: m.qzeros", "expected I32 2 x 4, got I32 1 x 4"},
    {"gptq_3", "m.qzeros I32 2,6", "model.safetensors: m.qzeros",
     "expected zero points of 2, 3, 4 or 8 bits for each output, got I32 2 x 6"},
    {"gptq_2", "m.scales F16 2,64 #003c", "model.safetensors: m.scales", "expected F16 2 x 32, got F16 2 x 64"},
    {"gptq_order", "m.scales BF16 4,32 #803f", "model.safetensors: m.qzeros", "expected I32 4 x 4, got I32 2 x 4"},
    {"awq_gemm", "m.scales F16 3,32 #003c", "model.safetensors: m.scales",
     "expected a number of groups that divides the length of rows, got F16 3 x 32"},
    {"awq_gemm", "m.qzeros I32 4,4", "model.safetensors: m.qzeros", "expected I32 2 x 4, got I32 4 x 4"},
    {"awq_gemm", "m.scales F16 2,31 #003c", "model.safetensors: m.scales", "expected F16 2 x 32, got F16 2 x 31"},
    {"awq_gemv", "m.scales F16 16,2 #003c", "model.safetensors: m.scales", "expected F16 16 x 32, got F16 16 x 2"},
    {"awq_gemv", "m.qzeros I32 16,1", "model.safetensors: m.qzeros", "expected I32 16 x 4, got I32 16 x 1"},
    {"awq_gemv", "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":48,\"version\":\"gemv\"}",
     "model.safetensors: m.qweight",
     "16 x 128 weights cannot be packed this way: its rows do not divide into groups of that size"},
    {"awq_gemv", "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":128,\"version\":\"gemv\"}",
     "model.safetensors: m.qzeros", "expected I32 16 x 1, got I32 16 x 4"},
    {"auto_round_gptq", "m.scales F16 5,32 #003c", "model.safetensors: m.scales",
     "expected a number of groups that divides the length of rows, got F16 5 x 32"},
    {"auto_round_own", "m.qzeros I32 4,2", "model.safetensors: m.qzeros", "expected I32 2 x 2, got I32 4 x 2"},
    {"auto_round_awq", "m.scales F16 4,32 #003c", "model.safetensors: m.qzeros", "expected I32 4 x 4, got I32 2 x 4"},
    {"ct_w4a16", "m.weight_scale BF16 16,3 #803f", "model.safetensors: m.weight_scale",
     "expected a number of groups that divides the length of rows, got BF16 16 x 3"},
    {"ct_w4a16", "m.weight_scale BF16 16,128 #803f", "model.safetensors: m.weight_scale",
     "expected a number of groups that divides the length of rows, got BF16 16 x 128"},
    {"ct_w4a16_zero", "m.weight_zero_point I32 2,4", "model.safetensors: m.weight_zero_point",
     "expected I32 2 x 2, got I32 2 x 4"},
    {"ct_w4a16_zero", "m.weight_zero_point I32 16,2", "model.safetensors: m.weight_zero_point",
     "expected I32 2 x 2, got I32 16 x 2"},
    {"ct_w8a16", "m.weight_scale F32 16,5 #0000803f", "model.safetensors: m.weight_scale",
     "expected a number of groups that divides the length of rows, got F32 16 x 5"},
    {"ct_w8a8", "m.weight_scale BF16 16,2 #803f", "model.safetensors: m.weight_scale",
     "expected BF16 16 x 1, got BF16 16 x 2"},
    {"ct_nvfp4", "m.weight_scale F8_E4M3 8,3 #38", "model.safetensors: m.weight_scale",
     "expected a scale for each 16 weights for m.weight_packed, got F8_E4M3 8 x 3"},
    {"ct_nvfp4", "m.weight_scale F8_E4M3 8,2 #38", "model.safetensors: m.weight_scale",
     "expected a scale for each 16 weights for m.weight_packed, got F8_E4M3 8 x 2"},
    {"ct_mxfp4", "m.weight_scale U8 8,4 #7f", "model.safetensors: m.weight_scale",
     "expected a scale for each 32 weights for m.weight_packed, got U8 8 x 4"},
    {"ct_fp8_block", "m.weight_scale F32 2,3 #0000803f", "model.safetensors: m.weight_scale",
     "expected a scale for the matrix, for each row or for each block for m.weight, got F32 2 x 3"},
    {"ct_fp8_block", "m.weight_scale F32 3,2 #0000803f", "model.safetensors: m.weight_scale",
     "expected a scale for the matrix, for each row or for each block for m.weight, got F32 3 x 2"},
    {"hqq_4", "m.scale F16 8,1 #003c", "model.safetensors: m.scale", "expected F16 16 x 1, got F16 8 x 1"},
    {"hqq_4", "m.zero F16 32,1 #003c", "model.safetensors: m.zero", "expected F16 16 x 1, got F16 32 x 1"},
    {"hqq_2_columns", "m.scale F32 32,1 #0000803f", "model.safetensors: m.scale",
     "expected F32 1 x 32, got F32 32 x 1"},
    {"hqq_4",
     "{\"quant_method\":\"hqq\",\"quant_config\":{\"weight_quant_params\":{\"nbits\":4,\"group_size\":48,\"axis\":1}}}",
     "model.safetensors: m.W_q",
     "16 x 64 weights cannot be packed this way: its weights do not divide into groups of that size"},
    {"hqq_4",
     "{\"quant_method\":\"hqq\",\"quant_config\":{\"weight_quant_params\":{\"nbits\":4,\"group_size\":32,\"axis\":1}}}",
     "model.safetensors: m.W_q", "expected U8 16 x 32, got U8 8 x 64"},
    {"hqq_3",
     "{\"quant_method\":\"hqq\",\"quant_config\":{\"weight_quant_params\":{\"nbits\":4,\"group_size\":64,\"axis\":1}}}",
     "model.safetensors: m.W_q", "expected U8 8 x 64, got I32 2 x 64"},
    {"fp8_block", "m.weight_scale_inv F32 1,2 #0000803f", "model.safetensors: m.weight_scale_inv",
     "expected a scale for the matrix, for each row or for each block for m.weight, got F32 1 x 2"},
    {"fp8_block", "{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128]}", "model.safetensors: m.weight_scale_inv",
     "expected a scale for the matrix, for each row or for each block for m.weight, got F32 2 x 2"},
    {"fp8_experts", "m_scale_inv F32 2,2,2 #0000803f", "model.safetensors: m_scale_inv",
     "expected a grid of scales for each expert for m, got F32 2 x 2 x 2"},
    {"fp8_experts", "m_scale_inv F32 1,2,1 #0000803f", "model.safetensors: m_scale_inv",
     "expected a grid of scales for each expert for m, got F32 1 x 2 x 1"},
    {"mxfp8", "m.weight_scale_inv U8 8,3 #7f", "model.safetensors: m.weight_scale_inv",
     "expected a scale for the matrix, for each row or for each block for m.weight, got U8 8 x 3"},
    {"fbgemm", "m.weight_scale F32 7,1 #0000803f", "model.safetensors: m.weight_scale",
     "expected a scale for the matrix, for each row or for each block for m.weight, got F32 7 x 1"},
    {"gpt_oss", "m_scales U8 2,4,1 #7f", "model.safetensors: m_scales",
     "expected U8 of experts x rows x blocks for m_blocks, got U8 2 x 4 x 1"},
    {"modelopt_blocks", "m.weight_scale F32 3,1,2,1 #0000803f", "model.safetensors: m.weight_scale",
     "expected a scale for the matrix, for each row or for each block for m.weight, got F32 3 x 1 x 2 x 1"},
    {"modelopt_nvfp4", "m.weight_scale F8_E4M3 8,8 #38", "model.safetensors: m.weight_scale",
     "expected a scale for each 16 weights for m.weight, got F8_E4M3 8 x 8"},
    {"modelopt_fp8", "m.weight_scale F32 7 #0000803f", "model.safetensors: m.weight_scale",
     "expected a scale for the matrix, for each row or for each block for m.weight, got F32 7"},
    {"bnb_nf4", "m.weight.absmax F32 7 #0000803f", "model.safetensors: m.weight.absmax",
     "expected F32 [8], got F32 [7]"},
    {"bnb_nested", "m.weight.nested_absmax F32 2 #0000803f", "model.safetensors: m.weight.nested_absmax",
     "expected F32 [1], got F32 [2]"},
    {"bnb_int8", "m.SCB F32 9 #0000803f", "model.safetensors: m.SCB", "expected F32 [8], got F32 [9]"},
};
static const struct one shapes_that_disagree[] = {
    {"gptq_4", "m.qweight I32 7,32", "model.safetensors: m.qweight",
     "32 x 56 weights cannot be packed this way: both of its sides must be multiples of 32"},
    {"gptq_3", "m.qweight I32 7,32", "model.safetensors: m.qweight", "expected words that codes fill, got I32 7 x 32"},
    {"gptq_8", "m.qweight I32 16,33", "model.safetensors: m.qzeros",
     "expected zero points of 2, 3, 4 or 8 bits for each output, got I32 2 x 8"},
    {"awq_gemm", "m.qweight I32 64,5", "model.safetensors: m.qzeros", "expected I32 2 x 5, got I32 2 x 4"},
    {"awq_gemv", "m.qweight I32 15,16", "model.safetensors: m.qzeros", "expected I32 15 x 4, got I32 16 x 4"},
    {"auto_round_gptq", "m.qweight I32 8,64", "model.safetensors: m.scales", "expected F16 2 x 64, got F16 2 x 32"},
    {"auto_round_awq", "m.qweight I32 63,4", "model.safetensors: m.scales",
     "expected a number of groups that divides the length of rows, got F16 2 x 32"},
    {"ct_w4a16", "m.weight_packed I32 16,7", "model.safetensors: m.weight_packed",
     "expected as many words as weight_shape and num_bits need, got I32 16 x 7"},
    {"ct_w4a16", "m.weight_packed I32 15,8", "model.safetensors: m.weight_packed",
     "expected I32 16 x 8, got I32 15 x 8"},
    {"ct_w4a16", "m.weight_shape I64 2 #10000000000000004100000000000000", "model.safetensors: m.weight_packed",
     "expected as many words as weight_shape and num_bits need, got I32 16 x 8"},
    {"ct_w4a16", "m.weight_shape I64 3", "model.safetensors: m.weight_shape", "expected two numbers in I64, got I64 3"},
    {"ct_w4a16", "m.weight_shape I64 2 #ffffffffffffffff4000000000000000", "model.safetensors: m.weight_shape",
     "it says -1 rows or columns"},
    {"ct_w4a16_order", "m.weight_g_idx I32 63", "model.safetensors: m.weight_g_idx", "expected I32 64, got I32 63"},
    {"ct_w8a8", "m.weight I8 16,0", "model.safetensors: m.weight",
     "expected a matrix that is not empty, got I8 16 x 0"},
    {"ct_fp8_channel", "m.weight F8_E4M3 9,64 #38", "model.safetensors: m.weight_scale",
     "expected a scale for the matrix, for each row or for each block for m.weight, got BF16 8 x 1"},
    {"hqq_4", "m.W_q U8 8,63", "model.safetensors: m.W_q", "expected U8 8 x 64, got U8 8 x 63"},
    {"hqq_4", "m.shape I64 2 #11000000000000004000000000000000", "model.safetensors: m.W_q",
     "17 x 64 weights cannot be packed this way: its groups do not fill whole bytes"},
    {"hqq_1", "m.W_q U8 3,64", "model.safetensors: m.W_q", "expected U8 2 x 64, got U8 3 x 64"},
    {"hqq_3", "m.W_q I32 1,64", "model.safetensors: m.W_q", "expected I32 2 x 64, got I32 1 x 64"},
    {"fp8_tensor", "m.weight F8_E4M3 512 #38", "model.safetensors: m.weight",
     "expected a matrix for m.weight, got F8_E4M3 512"},
    {"fbgemm", "m.weight F8_E4M3 9,64 #38", "model.safetensors: m.weight_scale",
     "expected a scale for the matrix, for each row or for each block for m.weight, got F32 8 x 1"},
    {"gpt_oss", "m_blocks U8 2,4,2,15", "model.safetensors: m_blocks",
     "expected U8 of experts x rows x blocks x 16 for m_blocks, got U8 2 x 4 x 2 x 15"},
    {"gpt_oss", "m_blocks U8 3,4,2,16", "model.safetensors: m_scales",
     "expected U8 of experts x rows x blocks for m_blocks, got U8 2 x 4 x 2"},
    {"modelopt_nvfp4", "m.weight U8 8,31", "model.safetensors: m.weight_scale",
     "expected a scale for each 16 weights for m.weight, got F8_E4M3 8 x 4"},
    {"mxfp8", "m.weight F8_E4M3 9,64 #38", "model.safetensors: m.weight_scale_inv",
     "expected a scale for the matrix, for each row or for each block for m.weight, got U8 8 x 2"},
    {"bnb_nf4", "m.weight U8 255,1", "model.safetensors: m.weight", "expected U8 [256, 1], got U8 [255, 1]"},
    {"bnb_fp4_storage", "m.weight BF16 256,1", "model.safetensors: m.weight",
     "expected BF16 [128, 1], got BF16 [256, 1]"},
    {"bnb_nf4", "m.weight.quant_map F32 15", "model.safetensors: m.weight.quant_map",
     "expected F32 [16], got F32 [15]"},
    {"bnb_int8", "m.weight I8 8", "model.safetensors: m.weight", "expected a matrix that is not empty"},
};
static const struct one parts_that_do_not_belong[] = {
    {"gptq_4", "n.qzeros I32 2,4", "model.safetensors: n.qzeros",
     "it is a part of a packed weight, but n.qweight is missing or not packed"},
    {"gptq_4", "n.g_idx I32 64", "model.safetensors: n.g_idx",
     "it is a part of a packed weight, but n.qweight is missing or not packed"},
    {"awq_gemm", "n.scales F16 2,32 #003c", "model.safetensors: n.scales",
     "it is a part of a packed weight, but n.qweight is missing or not packed"},
    {"awq_gemv", "n.qzeros I32 16,4", "model.safetensors: n.qzeros",
     "it is a part of a packed weight, but n.qweight is missing or not packed"},
    {"auto_round_own", "n.scales F16 2,32 #003c", "model.safetensors: n.scales",
     "it is a part of a packed weight, but n.qweight is missing or not packed"},
    {"ct_w4a16", "n.weight_zero_point I32 2,2", "model.safetensors: n.weight_zero_point",
     "it is a part of a packed weight, but n.weight_packed is missing or not packed"},
    {"ct_w4a16", "n.weight_scale BF16 16,2 #803f", "model.safetensors: n.weight_scale",
     "it is a part of a packed weight, but n.weight_packed is missing or not packed"},
    {"ct_nvfp4", "n.weight_global_scale F32 1 #0000803f", "model.safetensors: n.weight_global_scale",
     "it is a part of a packed weight, but n.weight_packed is missing or not packed"},
    {"ct_fp8_channel", "m.weight_zero_point F8_E4M3 8,1", "model.safetensors: m.weight_zero_point",
     "it changes the weights of m in a way that cannot be read"},
    {"ct_fp8_channel", "m.weight_g_idx I32 64", "model.safetensors: m.weight_g_idx",
     "it changes the weights of m in a way that cannot be read"},
    {"ct_w8a8", "m.weight_zero_point I8 16,1", "model.safetensors: m.weight_zero_point",
     "zero points beside codes of 8 bits cannot be read"},
    {"hqq_4", "n.zero F16 16,1 #003c", "model.safetensors: n.zero",
     "it is a part of a packed weight, but n.W_q is missing or not packed"},
    {"hqq_4", "n.scale F16 16,1 #003c", "model.safetensors: n.scale",
     "it is a part of a packed weight, but n.W_q is missing or not packed"},
    {"fp8_block", "n.weight_scale_inv F32 1,1 #0000803f", "model.safetensors: n.weight_scale_inv",
     "it is a part of a packed weight, but n.weight is missing or not packed"},
    {"fp8_block", "m.weight_scale F32 1,1 #0000803f", "model.safetensors: m.weight",
     "it has two sets of scales, weight_scale and weight_scale_inv"},
    {"fp8_experts", "n_scale_inv F32 2,2,1 #0000803f", "model.safetensors: n_scale_inv",
     "it is a part of a packed weight, but n.weight is missing or not packed"},
    {"fbgemm", "n.weight_scale F32 8,1 #0000803f", "model.safetensors: n.weight_scale",
     "it is a part of a packed weight, but n.weight is missing or not packed"},
    {"gpt_oss", "n_scales U8 2,4,2", "model.safetensors: n_scales",
     "it is a part of a packed weight, but n_blocks is missing or not packed"},
    {"modelopt_fp8", "n.weight_scale F32 - #0000803f", "model.safetensors: n.weight_scale",
     "it is a part of a packed weight, but n.weight is missing or not packed"},
    {"modelopt_nvfp4", "n.weight_scale_2 F32 - #0000803f", "model.safetensors: n.weight_scale_2",
     "it is a part of a packed weight, but n.weight is missing or not packed"},
    {"modelopt_nvfp4", "m.pre_quant_scale BF16 64 #803f", "model.safetensors: m.pre_quant_scale",
     "it changes the weights of m in a way that cannot be read"},
    {"bnb_nf4", "n.weight.absmax F32 8 #0000803f", "model.safetensors: n.weight.absmax",
     "it is a part of a packed weight, but n.weight is missing or not packed"},
    {"bnb_nf4", "n.weight.quant_map F32 16 #0000803f", "model.safetensors: n.weight.quant_map",
     "it is a part of a packed weight, but n.weight is missing or not packed"},
    {"bnb_nf4", "m.weight.quant_state.bitsandbytes__fp4 U8 2 ={}", "model.safetensors: m.weight",
     "it has states of both nf4 and fp4"},
    {"bnb_int8", "n.SCB F32 8 #0000803f", "model.safetensors: n.SCB",
     "it is a part of a packed weight, but n.weight is missing or not packed"},
    {"bnb_int8", "n.weight_format U8 - #00", "model.safetensors: n.weight_format",
     "it is a part of a packed weight, but n.weight is missing or not packed"},
};
static const struct one a_weight_twice_packed_and_as_it_is[] = {
    {"gptq_4", "m.weight BF16 32,64 #803f", "model.safetensors: m.weight",
     "the same weight is packed as well, as m.qweight in model.safetensors"},
    {"awq_gemm", "m.weight F16 32,64 #003c", "model.safetensors: m.weight",
     "the same weight is packed as well, as m.qweight in model.safetensors"},
    {"awq_gemv", "m.weight F16 16,128 #003c", "model.safetensors: m.weight",
     "the same weight is packed as well, as m.qweight in model.safetensors"},
    {"auto_round_gptq", "m.weight BF16 32,64 #803f", "model.safetensors: m.weight",
     "the same weight is packed as well, as m.qweight in model.safetensors"},
    {"ct_w4a16", "m.weight BF16 16,64 #803f", "model.safetensors: m.weight",
     "the same weight is packed as well, as m.weight_packed in model.safetensors"},
    {"ct_nvfp4", "m.weight BF16 8,64 #803f", "model.safetensors: m.weight",
     "the same weight is packed as well, as m.weight_packed in model.safetensors"},
    {"hqq_4", "m.weight BF16 16,64 #803f", "model.safetensors: m.weight",
     "the same weight is packed as well, as m.W_q in model.safetensors"},
    {"gpt_oss", "m BF16 2,64,4 #803f", "model.safetensors: m",
     "the same weight is packed as well, as m_blocks in model.safetensors"},
};
static const struct one indices[] = {
    {"gptq_order", "m.g_idx I32 64 #00000000ffffffff", "model.safetensors: m.g_idx",
     "it names a group that is not there"},
    {"gptq_order", "m.g_idx I32 64 #0000000002000000", "model.safetensors: m.g_idx",
     "it names a group that is not there"},
    {"gptq_order", "m.g_idx I32 64 #00000000000000000000000001000000", "model.safetensors: m.g_idx",
     "its groups do not have as many inputs as group_size says"},
    {"gptq_order", "m.g_idx I32 64 #00000000", "model.safetensors: m.g_idx",
     "its groups do not have as many inputs as group_size says"},
    {"gptq_order", "m.g_idx I32 64 #ffffff7f00000080", "model.safetensors: m.g_idx",
     "it names a group that is not there"},
    {"gptq_order", "m.g_idx I64 64", "model.safetensors: m.g_idx", "expected I32 64, got I64 64"},
    {"ct_w4a16_order", "m.weight_g_idx I32 64 #00000000ffffffff", "model.safetensors: m.weight_g_idx",
     "it names a group that is not there"},
    {"ct_w4a16_order", "m.weight_g_idx I32 64 #0000000002000000", "model.safetensors: m.weight_g_idx",
     "it names a group that is not there"},
    {"ct_w4a16_order", "m.weight_g_idx I32 64 #00000000", "model.safetensors: m.weight_g_idx",
     "its groups do not have as many inputs as group_size says"},
    {"ct_w4a16_order", "m.weight_g_idx F32 64 #00000000", "model.safetensors: m.weight_g_idx",
     "expected I32 64, got F32 64"},
};
static const struct one numbers_that_are_none[] = {
    {"gptq_4", "m.scales F16 2,32 #007e", "model.safetensors: m.scales",
     "a scale of rows 0 to 31 is not a finite number"},
    {"gptq_2", "m.scales F16 2,32 #007c", "model.safetensors: m.scales",
     "a scale of rows 0 to 31 is not a finite number"},
    {"gptq_order", "m.scales BF16 2,32 #c07f", "model.safetensors: m.scales",
     "a scale of rows 0 to 31 is not a finite number"},
    {"awq_gemm", "m.scales F16 2,32 #007e", "model.safetensors: m.scales",
     "a scale of rows 0 to 31 is not a finite number"},
    {"awq_gemv", "m.scales F16 16,32 #00fc", "model.safetensors: m.scales",
     "a scale of rows 0 to 15 is not a finite number"},
    {"auto_round_gptq", "m.scales F16 2,32 #007e", "model.safetensors: m.scales",
     "a scale of rows 0 to 31 is not a finite number"},
    {"ct_w4a16", "m.weight_scale BF16 16,2 #c07f", "model.safetensors: m.weight_scale",
     "a scale of rows 0 to 15 is not a finite number"},
    {"ct_w8a16", "m.weight_scale F32 16,1 #0000c07f", "model.safetensors: m.weight_scale",
     "a scale of rows 0 to 15 is not a finite number"},
    {"ct_w8a8", "m.weight_scale BF16 16,1 #807f", "model.safetensors: m.weight_scale",
     "a scale of rows 0 to 15 is not a finite number"},
    {"ct_fp8_channel", "m.weight_scale BF16 8,1 #c07f", "model.safetensors: m.weight_scale",
     "a scale of rows 0 to 7 is not a finite number"},
    {"ct_fp8_block", "m.weight_scale F32 2,2 #0000807f", "model.safetensors: m.weight_scale",
     "a scale of rows 0 to 7 is not a finite number"},
    {"ct_nvfp4", "m.weight_scale F8_E4M3 8,4 #7f", "model.safetensors: m.weight_scale",
     "a scale of rows 0 to 7 is not a finite number"},
    {"ct_nvfp4", "m.weight_global_scale F32 1 #0000c07f", "model.safetensors: m.weight_global_scale",
     "the scale is not a finite number"},
    {"ct_nvfp4", "m.weight_global_scale F32 1 #00000000", "model.safetensors: m.weight_global_scale",
     "scales cannot be divided by zero"},
    {"ct_mxfp4", "m.weight_scale U8 8,2 #ff", "model.safetensors: m.weight_scale",
     "a scale of rows 0 to 7 is not a finite number"},
    {"hqq_4", "m.scale F16 16,1 #007e", "model.safetensors: m.scale", "a scale of rows 0 to 15 is not a finite number"},
    {"hqq_4", "m.zero F16 16,1 #007e", "model.safetensors: m.zero",
     "a zero point of rows 0 to 15 is not a finite number"},
    {"hqq_3", "m.zero BF16 16,1 #807f", "model.safetensors: m.zero",
     "a zero point of rows 0 to 15 is not a finite number"},
    {"hqq_2_columns", "m.zero F32 1,32 #0000c0ff", "model.safetensors: m.zero",
     "a zero point of rows 0 to 15 is not a finite number"},
    {"fp8_block", "m.weight_scale_inv F32 2,2 #0000c07f", "model.safetensors: m.weight_scale_inv",
     "a scale of rows 0 to 5 is not a finite number"},
    {"fp8_tensor", "m.weight_scale_inv F32 - #0000807f", "model.safetensors: m.weight_scale_inv",
     "the scale is not a finite number"},
    {"fp8_experts", "m_scale_inv F32 2,2,1 #0000c07f", "model.safetensors: m_scale_inv",
     "a scale of rows 0 to 31 is not a finite number"},
    {"mxfp8", "m.weight_scale_inv U8 8,2 #ff", "model.safetensors: m.weight_scale_inv",
     "a scale of rows 0 to 7 is not a finite number"},
    {"fbgemm", "m.weight_scale F32 8,1 #0000807f", "model.safetensors: m.weight_scale",
     "a scale of rows 0 to 7 is not a finite number"},
    {"gpt_oss", "m_scales U8 2,4,2 #ff", "model.safetensors: m_scales",
     "a scale of rows 0 to 7 is not a finite number"},
    {"modelopt_fp8", "m.weight_scale F32 - #0000c07f", "model.safetensors: m.weight_scale",
     "the scale is not a finite number"},
    {"modelopt_nvfp4", "m.weight_scale_2 F32 - #0000807f", "model.safetensors: m.weight_scale_2",
     "the scale is not a finite number"},
    {"modelopt_nvfp4", "m.weight_scale F8_E4M3 8,4 #ff", "model.safetensors: m.weight_scale",
     "a scale of rows 0 to 7 is not a finite number"},
    {"bnb_nf4", "m.weight.absmax F32 8 #0000c07f", "model.safetensors: m.weight.absmax",
     "a scale of rows 0 to 7 is not a finite number"},
    {"bnb_nested", "m.weight.nested_absmax F32 1 #0000807f", "model.safetensors: m.weight.nested_absmax",
     "a scale is not finite"},
    {"bnb_nested", "m.weight.nested_quant_map F32 256 #0000c07f", "model.safetensors: m.weight.nested_quant_map",
     "a number of the table is not finite"},
    {"bnb_int8", "m.SCB F32 8 #0000c07f", "model.safetensors: m.SCB", "a scale of rows 0 to 7 is not a finite number"},
};
static const struct one the_configuration[] = {
    {"gptq_4", "{\"quant_method\":\"gptq\",\"bits\":4,\"checkpoint_format\":\"gptq_v9\"}", "config.json",
     "checkpoint_format is \"gptq_v9\", which cannot be read; start from the model as it was before"},
    {"gptq_4", "{\"quant_method\":\"gptq\",\"bits\":5.5}", "config.json", "bits is not a whole number from 1 to 8"},
    {"gptq_4", "{\"quant_method\":\"gptq\",\"group_size\":\"32\"}", "config.json",
     "group_size is not a whole number from -1 to 16777216"},
    {"gptq_4", "{\"quant_method\":\"gptq\",\"is_marlin_format\":true}", "config.json",
     "is_marlin_format is \"true\", which cannot be read; start from the model as it was before"},
    {"gptq_4", "{\"quant_method\":\"awq\",\"bits\":4,\"group_size\":32}", "model.safetensors: m.qzeros",
     "expected I32 2 x 32, got I32 2 x 4"},
    {"awq_gemm", "{\"quant_method\":\"awq\",\"version\":\"gemv_fast\"}", "config.json",
     "version is \"gemv_fast\", which cannot be read; start from the model as it was before"},
    {"awq_gemm", "{\"quant_method\":\"awq\",\"bits\":8}", "config.json", "AWQ has 4 bits, not 8 (bits)"},
    {"awq_gemm", "{\"quant_method\":\"gptq\",\"bits\":4}", "model.safetensors: m.qzeros",
     "expected zero points of 2, 3, 4 or 8 bits for each output, got I32 2 x 4"},
    {"auto_round_gptq", "{\"quant_method\":\"auto-round\",\"packing_format\":\"auto_round:fp8\"}", "config.json",
     "packing_format is \"auto_round:fp8\", which cannot be read; start from the model as it was before"},
    {"auto_round_gptq", "{\"quant_method\":\"auto-round\",\"data_type\":\"nv_fp\"}", "config.json",
     "data_type is \"nv_fp\", which cannot be read; start from the model as it was before"},
    {"auto_round_own", "{\"quant_method\":\"auto-round\",\"packing_format\":\"auto_round:auto_awq\"}",
     "model.safetensors: m.qzeros", "expected I32 2 x 32, got I32 2 x 2"},
    {"ct_w4a16", "{\"quant_method\":\"compressed-tensors\"}", "config.json",
     "quantization_config: no group of config_groups has weights; start from the model as it was before"},
    {"ct_w4a16", "{\"quant_method\":\"compressed-tensors\",\"config_groups\":3}", "config.json",
     "config_groups is not an object"},
    {"ct_w4a16",
     "{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":{\"weights\":{\"type\":\"int\",\"num_bits\":8}}}}",
     "model.safetensors: m.weight_packed", "expected as many words as weight_shape and num_bits need, got I32 16 x 8"},
    {"ct_w8a8",
     "{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":{\"weights\":{\"type\":\"float\",\"num_bits\":8}}}}",
     "model.safetensors: m.weight", "no group of config_groups says how it is quantized: they have no weights in I8"},
    {"ct_fp8_channel",
     "{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":{\"weights\":{\"type\":\"int\",\"num_bits\":8}}}}",
     "model.safetensors: m.weight",
     "no group of config_groups says how it is quantized: they have no weights in F8_E4M3"},
    {"ct_nvfp4",
     "{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":{\"weights\":{\"type\":\"int\",\"num_bits\":4}}}}",
     "model.safetensors: m.weight_packed",
     "no group of config_groups says how it is quantized: they have no weights in U8"},
    {"ct_mxfp4",
     "{\"quant_method\":\"compressed-tensors\",\"config_groups\":{\"g\":{\"weights\":{\"type\":\"float\",\"num_bits\":6}}}}",
     "config.json", "floats of 6 bits (num_bits) cannot be read"},
    {"ct_w4a16",
     "{\"quant_method\":\"compressed-tensors\",\"sparsity_config\":{\"format\":\"sparse-24-bitmask\"},\"config_groups\":{\"g\":{\"weights\":{\"type\":\"int\",\"num_bits\":4}}}}",
     "config.json",
     "sparsity_config is \"sparse-24-bitmask\", which cannot be read; start from the model as it was before"},
    {"hqq_4", "{\"quant_method\":\"hqq\"}", "config.json",
     "quant_config has no weight_quant_params for all modules alike"},
    {"hqq_4",
     "{\"quant_method\":\"hqq\",\"quant_config\":{\"weight_quant_params\":{\"nbits\":4,\"group_size\":0,\"axis\":1}}}",
     "config.json", "group_size is 0"},
    {"hqq_4",
     "{\"quant_method\":\"hqq\",\"quant_config\":{\"weight_quant_params\":{\"nbits\":4,\"group_size\":64,\"axis\":0}}}",
     "model.safetensors: m.W_q", "expected U8 32 x 16, got U8 8 x 64"},
    {"hqq_4",
     "{\"quant_method\":\"hqq\",\"quant_config\":{\"weight_quant_params\":{\"nbits\":2,\"group_size\":64,\"axis\":1}}}",
     "model.safetensors: m.W_q", "expected U8 4 x 64, got U8 8 x 64"},
    {"fp8_block", "{\"quant_method\":\"fp8\",\"fmt\":\"e5m2\"}", "config.json",
     "fmt is \"e5m2\", which cannot be read; start from the model as it was before"},
    {"fp8_block", "{\"quant_method\":\"fp8\",\"weight_block_size\":[4]}", "config.json",
     "weight_block_size is not two whole numbers from 1 to 65536"},
    {"fp8_block", "{\"quant_method\":\"fp8\",\"activation_scheme\":\"sometimes\"}", "config.json",
     "activation_scheme is \"sometimes\", which cannot be read; start from the model as it was before"},
    {"mxfp8", "{\"quant_method\":\"mxfp8\",\"weight_block_size\":[1,16]}", "model.safetensors: m.weight_scale_inv",
     "expected a scale for the matrix, for each row or for each block for m.weight, got U8 8 x 2"},
    {"modelopt_nvfp4", "{\"quant_method\":\"modelopt\"}", "config.json", "quant_algo is missing"},
    {"modelopt_nvfp4", "{\"quant_method\":\"modelopt\",\"quant_algo\":\"NVFP4_AWQ\"}", "config.json",
     "quant_algo is \"NVFP4_AWQ\", which cannot be read; start from the model as it was before"},
    {"modelopt_nvfp4",
     "{\"quant_method\":\"modelopt\",\"quant_algo\":\"MIXED_PRECISION\",\"quantized_layers\":{\"m\":{\"quant_algo\":\"W4A8_AWQ\"}}}",
     "config.json", "quant_algo is \"W4A8_AWQ\", which cannot be read; start from the model as it was before"},
    {"bnb_nf4", "{\"quant_method\":\"bitsandbytes\"}", "config.json",
     "quantization_config: expected one of load_in_4bit and load_in_8bit to be true"},
    {"bnb_nf4", "{\"quant_method\":\"bitsandbytes\",\"load_in_8bit\":true}", "model.safetensors: m.weight",
     "it has 4 bits, but the configuration says 8"},
    {"bnb_int8", "{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true}", "model.safetensors: m.weight",
     "it has 8 bits, but the configuration says 4"},
    {"bnb_nf4", "{\"quant_method\":\"bitsandbytes\",\"load_in_4bit\":true,\"bnb_4bit_quant_type\":\"nf3\"}",
     "config.json", "quantization_config: bnb_4bit_quant_type is neither \"nf4\" nor \"fp4\""},
};
static const struct one states_of_bitsandbytes[] = {
    {"bnb_nf4", "m.weight.quant_state.bitsandbytes__nf4 U8 2 ={}",
     "model.safetensors: m.weight.quant_state.bitsandbytes__nf4", "quant_type is not the type that its name says"},
    {"bnb_nf4", "m.weight.quant_state.bitsandbytes__nf4 U8 3 =nf4",
     "model.safetensors: m.weight.quant_state.bitsandbytes__nf4", "JSON: unexpected character"},
    {"bnb_nf4", "m.weight.quant_state.bitsandbytes__nf4 F32 20",
     "model.safetensors: m.weight.quant_state.bitsandbytes__nf4", "expected JSON as at most 4096 numbers of U8"},
};

static void check_ones(const struct one *ones, size_t n)
{
    static char text[LONGEST];
    for (size_t i = 0; i < n; i++) {
        const struct one *o = &ones[i];
        struct ht_diag diag = {0};
        int weights = 0;
        load(o->seed, text);
        change(text, o->change);
        enum ht_err err = read_lines(text, &diag, &weights);
        if (err != HT_ERR_FORMAT && err != HT_ERR_UNSUPPORTED && err != HT_ERR_NONFINITE)
            fail_msg("%s with %s: %s", o->seed, o->change, ht_err_name(err));
        if (strcmp(diag.where, o->where) != 0 || !strstr(diag.message, o->words))
            fail_msg("%s with %s: \"%s: %s\" is not \"%s: … %s\"", o->seed, o->change, diag.where, diag.message,
                     o->where, o->words);
    }
}

/* ---- shards ---- */

/* Lines of a seed in two shards: those from the one of `second` on are in the second. index: the members of its
 * weight_map, or NULL: there is none. */
struct shards {
    const char *seed, *change, *second, *index, *where, *words;
};
#define SHARD_1 "model-00001-of-00002.safetensors"
#define SHARD_2 "model-00002-of-00002.safetensors"
#define IN_1(name) "\"" name "\":\"" SHARD_1 "\""
#define IN_2(name) "\"" name "\":\"" SHARD_2 "\""

static const struct shards shards[] = {
    {"gptq_4", NULL, "m.scales", NULL, NULL, NULL},
    {"gptq_4", NULL, "m.scales", IN_1("m.qweight") "," IN_1("m.qzeros") "," IN_2("m.scales"), NULL, NULL},
    {"bnb_nested", NULL, "m.weight.nested_absmax", NULL, NULL, NULL},
    {"awq_gemm", NULL, "m.qzeros", NULL, NULL, NULL},
    {"ct_nvfp4", NULL, "m.weight_scale", NULL, NULL, NULL},
    {"hqq_4", NULL, "m.zero", NULL, NULL, NULL},
    {"fp8_block", NULL, "m.weight_scale_inv", NULL, NULL, NULL},
    {"gpt_oss", NULL, "m_scales", NULL, NULL, NULL},
    {"gptq_4", "m.weight BF16 32,64 #803f", "m.weight", NULL, SHARD_2 ": m.weight",
     "the same weight is packed as well, as m.qweight in " SHARD_1},
    {"ct_w4a16", "m.weight BF16 16,64 #803f", "m.weight", NULL, SHARD_2 ": m.weight",
     "the same weight is packed as well, as m.weight_packed in " SHARD_1},
    {"hqq_4", "m.weight BF16 16,64 #803f", "m.weight", NULL, SHARD_2 ": m.weight",
     "the same weight is packed as well, as m.W_q in " SHARD_1},
    {"gptq_4", "+m.scales F16 2,32 #003c", "+m.scales", NULL, SHARD_2 ": m.scales", "two tensors have this name"},
    {"fp8_block", "+m.weight BF16 6,60 #803f", "+m.weight", NULL, SHARD_2 ": m.weight", "two tensors have this name"},
    {"bnb_nf4", "+m.weight BF16 8,64 #803f", "+m.weight", NULL, SHARD_2 ": m.weight", "two tensors have this name"},
    {"gptq_4", NULL, "m.scales", IN_1("m.qweight") "," IN_2("m.qzeros") "," IN_2("m.scales"),
     "model.safetensors.index.json", "m.qzeros is not in " SHARD_2},
    {"gptq_4", NULL, "m.scales", IN_1("m.qweight") "," IN_2("m.scales"), "model.safetensors.index.json",
     "the index names 2 tensors, but the files hold 3"},
    {"gptq_4", NULL, "m.scales", IN_1("m.qweight") "," IN_1("m.qzeros") "," IN_2("m.scales") "," IN_2("m.g_idx"),
     "model.safetensors.index.json", "m.g_idx is not in " SHARD_2},
    {"gptq_4", NULL, "m.scales", IN_1("m.qweight") "," IN_1("m.qzeros"), SHARD_1 ": m", "m.scales is missing"},
    {"mxfp8", NULL, "m.weight_scale_inv", IN_1("m.weight"), SHARD_1 ": m.weight", "m.weight_scale_inv, are missing"},
};

static void put_shards(const struct folder *folder, const char *first, const char *second, const char *index)
{
    struct ht__buf file;
    char text[1000];
    for (int i = 0; i < 2; i++) {
        const char *from = i ? second : first;
        ht__buf_init(&file, NULL);
        lines_file(from, i ? strlen(from) : (size_t)(second - first), &file);
        folder_put(folder, i ? SHARD_2 : SHARD_1, file.data, file.len);
        ht__buf_close(&file);
    }
    snprintf(text, sizeof text, "{\"weight_map\":{%s}}", index ? index : "");
    if (index) folder_puts(folder, "model.safetensors.index.json", text);
    folder_puts(folder, "config.json", "{}");
}

static void check_shards(const struct shards *s)
{
    static char text[LONGEST];
    struct folder folder = folder_make();
    struct ht_diag diag = {0};
    int n = 0;
    load(s->seed, text);
    bool again = s->change && *s->change == '+'; /* a second tensor of this name */
    if (again)
        sprintf(text + strlen(text), "%s\n", s->change + 1);
    else if (s->change)
        change(text, s->change);
    char *second = again ? strstr(text, s->change + 1) : line_of(text, s->second);
    assert_non_null(second);
    if (again) second = text + strlen(text) - strlen(s->change);
    put_shards(&folder, strchr(text, '\n') + 1, second, s->index);
    enum ht_err err = read_folder(&folder, text, &diag, &n);
    folder_remove(&folder);
    const char *base = strrchr(diag.where, '/'), *where = base ? base + 1 : diag.where;
    if (!s->where && (err || n != 1)) fail_msg("%s in two shards: %s: %s", s->seed, diag.where, diag.message);
    if (s->where && (!err || strcmp(where, s->where) != 0 || !strstr(diag.message, s->words)))
        fail_msg("%s in two shards: \"%s: %s\" is not \"%s: %s\"", s->seed, diag.where, diag.message, s->where,
                 s->words);
}

static void test_shards(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof shards / sizeof shards[0]; i++)
        check_shards(&shards[i]);
}

#define ONES(name)                                                                                                     \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        check_ones(name, sizeof name / sizeof name[0]);                                                                \
    }
ONES(group_counts)
ONES(shapes_that_disagree)
ONES(parts_that_do_not_belong)
ONES(a_weight_twice_packed_and_as_it_is)
ONES(indices)
ONES(numbers_that_are_none)
ONES(the_configuration)
ONES(states_of_bitsandbytes)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_right),
        cmocka_unit_test(test_sweep),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_group_counts),
        cmocka_unit_test(test_shapes_that_disagree),
        cmocka_unit_test(test_parts_that_do_not_belong),
        cmocka_unit_test(test_a_weight_twice_packed_and_as_it_is),
        cmocka_unit_test(test_indices),
        cmocka_unit_test(test_numbers_that_are_none),
        cmocka_unit_test(test_the_configuration),
        cmocka_unit_test(test_states_of_bitsandbytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
