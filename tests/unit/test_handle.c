/* One handle for a model, as a program uses it: tensors, rows, text and logits, of folders, GGUF files and what another
 * program packed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "halftone/halftone.h"
#include "lib/folder.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define COMMIT "0123456789abcdef0123456789abcdef01234567"

static struct folder folder;
static char source[4096], f32[700], q8[700], nf4[700];

static void fine(enum ht_err err, const struct ht_diag *diag)
{
    if (err) fail_msg("%s: %s", diag->where, diag->message);
}

static struct ht_model *opened(const char *path)
{
    struct ht_model *model;
    struct ht_diag diag;
    const struct ht_model_options options = {.size = sizeof options, .n_threads = 1};
    fine(ht_model_open_with(path, &options, &model, &diag), &diag);
    return model;
}

static struct ht_tensor_info tensor_at(const struct ht_model *model, enum ht_view view, size_t index)
{
    struct ht_tensor_info info = {.size = sizeof info};
    assert_true(ht_model_tensor_at(model, view, index, &info));
    return info;
}

static size_t find(const struct ht_model *model, enum ht_view view, const char *name)
{
    size_t index = 0;
    if (!ht_model_tensor_find(model, view, name, &index)) fail_msg("there is no %s", name);
    return index;
}

/* All rows; the caller's. */
static float *rows_of(const struct ht_model *model, enum ht_view view, size_t index)
{
    struct ht_tensor_info info = tensor_at(model, view, index);
    struct ht_diag diag;
    float *x = malloc((size_t)(info.n_rows * info.row_len) * sizeof *x + 1);
    assert_non_null(x);
    fine(ht_model_read_rows(model, view, index, 0, info.n_rows, x, &diag), &diag);
    return x;
}

static float *named_rows(const struct ht_model *model, enum ht_view view, const char *name, int64_t *n)
{
    size_t index = find(model, view, name);
    struct ht_tensor_info info = tensor_at(model, view, index);
    *n = info.n_rows * info.row_len;
    return rows_of(model, view, index);
}

/* ---- what there is ---- */

static void test_native(void **state)
{
    (void)state;
    struct ht_model *model = opened(source);
    struct ht_model_info info = {.size = sizeof info};
    assert_true(ht_model_info(model, &info));
    assert_string_equal(info.architecture, "llama");
    assert_int_equal(info.n_layers, 8);
    assert_int_equal(info.n_ctx_train, 1024);
    assert_int_equal(info.vocabulary, ht_model_vocabulary(model));
    assert_false(info.is_gguf);
    assert_null(info.packed_as);
    struct ht_tensor_info t =
        tensor_at(model, HT_VIEW_NATIVE, find(model, HT_VIEW_NATIVE, "model.layers.3.self_attn.k_proj.weight"));
    assert_string_equal(t.dtype, "bf16");
    assert_string_equal(t.role, "attn_k");
    assert_string_equal(t.scheme, "");
    assert_int_equal(t.layer, 3);
    assert_int_equal(t.expert, -1);
    assert_int_equal(t.n_dims, 2);
    assert_int_equal(t.shape[0], 64);
    assert_int_equal(t.shape[1], 256);
    assert_int_equal(t.n_rows, 64);
    assert_int_equal(t.row_len, 256);
    assert_true(t.linear);
    assert_false(t.bias);
    t = tensor_at(model, HT_VIEW_NATIVE, find(model, HT_VIEW_NATIVE, "model.norm.weight"));
    assert_string_equal(t.role, "output_norm");
    assert_int_equal(t.layer, -1);
    assert_int_equal(t.n_dims, 1);
    assert_false(t.linear);
    ht_model_close(&model);
    assert_null(model);
}

/* Against the file's bytes. */
static void test_rows_of_the_file(void **state)
{
    (void)state;
    static const char name[] = "model.layers.7.mlp.down_proj.weight";
    struct ht_model *model = opened(source);
    char path[4200], *header, *at;
    uint64_t head, begin, end;
    int64_t n;
    snprintf(path, sizeof path, "%s/model.safetensors", source);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(&head, sizeof head, 1, f), 1);
    assert_non_null(header = calloc(1, head + 1));
    assert_int_equal(fread(header, 1, head, f), head);
    assert_non_null(at = strstr(header, name));
    assert_non_null(at = strstr(at, "data_offsets"));
    begin = strtoull(strchr(at, '[') + 1, &at, 10);
    end = strtoull(at + 1, NULL, 10);
    uint16_t *stored = malloc(end - begin);
    assert_non_null(stored);
    fseek(f, (long)(8 + head + begin), SEEK_SET);
    assert_int_equal(fread(stored, 1, end - begin, f), end - begin);
    float *x = named_rows(model, HT_VIEW_NATIVE, name, &n);
    assert_int_equal(n, (end - begin) / 2);
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)stored[i] << 16;
        assert_memory_equal(&x[i], &bits, sizeof bits);
    }
    free(x);
    free(stored);
    free(header);
    fclose(f);
    ht_model_close(&model);
}

/* The GGUF view of the folder is what converting it wrote, number by number. */
static void test_views(void **state)
{
    (void)state;
    struct ht_model *from_folder = opened(source), *from_file = opened(f32);
    size_t n = ht_model_tensor_count(from_folder, HT_VIEW_GGUF);
    assert_int_equal(n, ht_model_tensor_count(from_file, HT_VIEW_GGUF));
    assert_int_equal(n, ht_model_tensor_count(from_file, HT_VIEW_NATIVE));
    for (size_t i = 0; i < n; i++) {
        struct ht_tensor_info a = tensor_at(from_folder, HT_VIEW_GGUF, i);
        size_t at = find(from_file, HT_VIEW_NATIVE, a.name);
        struct ht_tensor_info b = tensor_at(from_file, HT_VIEW_NATIVE, at);
        assert_string_equal(b.dtype, "f32");
        assert_string_equal(a.role, b.role);
        assert_int_equal(a.layer, b.layer);
        assert_int_equal(a.n_dims, b.n_dims);
        assert_memory_equal(a.shape, b.shape, sizeof a.shape);
        float *x = rows_of(from_folder, HT_VIEW_GGUF, i), *y = rows_of(from_file, HT_VIEW_NATIVE, at);
        assert_memory_equal(x, y, (size_t)(a.n_rows * a.row_len) * sizeof *x);
        free(x);
        free(y);
    }
    ht_model_close(&from_folder);
    ht_model_close(&from_file);
}

/* ---- what is stored otherwise ---- */

static void test_quantized(void **state)
{
    (void)state;
    struct ht_model *plain = opened(f32), *quantized = opened(q8);
    int64_t n, m;
    float *x = named_rows(plain, HT_VIEW_GGUF, "blk.2.ffn_up.weight", &n);
    float *y = named_rows(quantized, HT_VIEW_GGUF, "blk.2.ffn_up.weight", &m), *again = malloc((size_t)n * sizeof *x);
    struct ht_rows rows = {.size = sizeof rows, .type = "q8_0", .n_rows = n / 256, .row_len = 256};
    void *blocks = malloc(ht_row_size("q8_0", 256) * (size_t)rows.n_rows);
    assert_int_equal(n, m);
    assert_int_equal(ht_rows_encode(&rows, x, blocks, NULL), HT_OK);
    assert_int_equal(ht_rows_decode(&rows, blocks, again, NULL), HT_OK);
    assert_memory_equal(y, again, (size_t)n * sizeof *x);
    free(x);
    free(y);
    free(again);
    free(blocks);
    ht_model_close(&plain);
    ht_model_close(&quantized);
}

/* A folder in the form of bitsandbytes: floats as its own dequantization gives them. */
static void test_packed(void **state)
{
    (void)state;
    static const char name[] = "model.layers.0.mlp.up_proj.weight";
    struct ht_model *plain = opened(source), *packed = opened(nf4);
    struct ht_model_info info = {.size = sizeof info};
    struct ht_tensor_info t = tensor_at(packed, HT_VIEW_NATIVE, find(packed, HT_VIEW_NATIVE, name));
    struct ht_matrix m = {.size = sizeof m, .n_out = t.shape[0], .n_in = t.shape[1], .dtype = "bf16"};
    struct ht_part parts[HT_MATRIX_PARTS] = {{.size = sizeof parts[0]}};
    size_t n_parts = HT_MATRIX_PARTS;
    int64_t n;
    assert_true(ht_model_info(packed, &info));
    assert_non_null(strstr(info.packed_as, "bitsandbytes"));
    assert_memory_equal(t.scheme, "nf4", 3);
    assert_string_equal(t.dtype, "bf16");
    assert_int_equal(t.n_dims, 2);
    float *x = named_rows(plain, HT_VIEW_NATIVE, name, &n), *want = malloc((size_t)n * sizeof *x);
    assert_int_equal(ht_matrix_parts("nf4", &m, parts, &n_parts, NULL), HT_OK);
    for (size_t i = 0; i < n_parts; i++)
        parts[i].data = malloc(parts[i].n_bytes);
    assert_int_equal(ht_matrix_quantize("nf4", &m, x, parts, n_parts, NULL), HT_OK);
    assert_int_equal(ht_matrix_dequantize("nf4", &m, parts, n_parts, want, NULL), HT_OK);
    float *y = named_rows(packed, HT_VIEW_NATIVE, name, &n);
    assert_memory_equal(y, want, (size_t)n * sizeof *y);
    for (size_t i = 0; i < n_parts; i++)
        free(parts[i].data);
    free(x);
    free(y);
    free(want);
    ht_model_close(&plain);
    ht_model_close(&packed);
}

/* ---- by parts, by several threads ---- */

static void check_parts(const struct ht_model *model, enum ht_view view, size_t index)
{
    struct ht_tensor_info t = tensor_at(model, view, index);
    float *whole = rows_of(model, view, index), *part = malloc((size_t)(t.n_rows * t.row_len) * sizeof *part);
    struct ht_diag diag;
    const int64_t from[] = {0, t.n_rows / 3, t.n_rows - 1}, n[] = {1, t.n_rows / 3, 1};
    for (int i = 0; i < 3; i++) {
        fine(ht_model_read_rows(model, view, index, from[i], n[i], part, &diag), &diag);
        assert_memory_equal(part, whole + from[i] * t.row_len, (size_t)(n[i] * t.row_len) * sizeof *part);
    }
    fine(ht_model_read_rows(model, view, index, t.n_rows, 0, NULL, &diag), &diag);
    free(whole);
    free(part);
}

static void test_parts(void **state)
{
    (void)state;
    const char *const paths[] = {source, q8, nf4};
    for (int i = 0; i < 3; i++) {
        struct ht_model *model = opened(paths[i]);
        for (int view = HT_VIEW_NATIVE; view <= HT_VIEW_GGUF; view++)
            for (size_t t = 0; t < 20; t++)
                check_parts(model, (enum ht_view)view, t);
        ht_model_close(&model);
    }
}

static void *read_all(void *arg)
{
    double *sum = calloc(1, sizeof *sum);
    const struct ht_model *model = arg;
    for (size_t i = 0; i < ht_model_tensor_count(model, HT_VIEW_NATIVE); i++) {
        struct ht_tensor_info t = {.size = sizeof t};
        ht_model_tensor_at(model, HT_VIEW_NATIVE, i, &t);
        float *x = malloc((size_t)(t.n_rows * t.row_len) * sizeof *x);
        if (ht_model_read_rows(model, HT_VIEW_NATIVE, i, 0, t.n_rows, x, NULL) != HT_OK) *sum = NAN;
        for (int64_t k = 0; k < t.n_rows * t.row_len; k++)
            *sum += (double)x[k] * (double)(k % 7 + 1);
        free(x);
    }
    return sum;
}

static void test_threads(void **state)
{
    (void)state;
    struct ht_model *model = opened(nf4);
    pthread_t threads[3];
    double *first = read_all(model);
    assert_true(isfinite(*first));
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_all, model), 0);
    for (int i = 0; i < 3; i++) {
        void *sum;
        assert_int_equal(pthread_join(threads[i], &sum), 0);
        assert_memory_equal(sum, first, sizeof *first);
        free(sum);
    }
    free(first);
    ht_model_close(&model);
}

/* ---- text and logits ---- */

static void collect(struct ht_generator *g, char *out, size_t size)
{
    struct ht_diag diag;
    const char *text;
    size_t len, at = 0;
    fine(ht_generator_set(g, "max-tokens", "12", &diag), &diag);
    fine(ht_generator_set(g, "threads", "1", &diag), &diag);
    fine(ht_generator_prompt(g, "The machine", 11, &diag), &diag);
    do {
        fine(ht_generator_next(g, &text, &len, &diag), &diag);
        assert_true(at + len < size);
        memcpy(out + at, text, len);
        at += len;
    } while (len > 0);
    out[at] = '\0';
}

/* Logits, two generators and the tokenizer of one handle give what handles of their own give. */
static void test_text(void **state)
{
    (void)state;
    enum { TOKENS = 5 };
    const int32_t tokens[TOKENS] = {1, 40, 7, 300, 12};
    struct ht_model *model = opened(source), *alone;
    struct ht_generator *g, *second, *own;
    const struct ht_tokenizer *text, *same;
    struct ht_diag diag;
    char made[400], again[400], by_own[400];
    int n_vocab = ht_model_vocabulary(model);
    assert_true(n_vocab > 1000);
    float *logits = malloc((size_t)n_vocab * sizeof *logits), *want = malloc((size_t)n_vocab * sizeof *want);
    fine(ht_model_open(source, 0, 1, 0, 0, &alone, &diag), &diag);
    assert_int_equal(ht_model_vocabulary(alone), n_vocab);
    fine(ht_model_logits(model, tokens, TOKENS, 0, 1, logits, &diag), &diag);
    fine(ht_model_logits(alone, tokens, TOKENS, 0, 1, want, &diag), &diag);
    assert_memory_equal(logits, want, (size_t)n_vocab * sizeof *want);
    fine(ht_model_generator(model, &g, &diag), &diag);
    fine(ht_model_generator(model, &second, &diag), &diag);
    fine(ht_generator_open(source, &own, &diag), &diag);
    collect(g, made, sizeof made);
    collect(second, again, sizeof again);
    collect(own, by_own, sizeof by_own);
    assert_true(strlen(made) > 5);
    assert_string_equal(made, again);
    assert_string_equal(made, by_own);
    fine(ht_model_tokenizer(model, &text, &diag), &diag);
    fine(ht_model_tokenizer(model, &same, &diag), &diag);
    assert_ptr_equal(text, same);
    assert_true(ht_tokenizer_size(text) > 1000);
    ht_generator_close(&g);
    ht_generator_close(&second);
    ht_generator_close(&own);
    ht_model_close(&alone);
    ht_model_close(&model);
    free(logits);
    free(want);
}

/* The conversation as the template writes it. */
static void conversation_is(struct ht_generator *g, const char *want)
{
    struct ht_diag diag;
    char *text;
    size_t len;
    fine(ht_generator_conversation(g, &text, &len, &diag), &diag);
    assert_string_equal(text, want);
    ht_free(text);
}

static void answered(struct ht_generator *g, const char *question, char *answer, size_t size)
{
    struct ht_diag diag;
    const char *text;
    size_t len, at = 0;
    fine(ht_generator_say(g, "user", question, strlen(question), &diag), &diag);
    do {
        fine(ht_generator_next(g, &text, &len, &diag), &diag);
        assert_true(at + len < size);
        memcpy(answer + at, text, len);
        at += len;
    } while (len > 0);
    answer[at] = '\0';
}

/* The system message changes, the context grows, and the conversation goes on; until it is forgotten. */
static void test_conversation(void **state)
{
    (void)state;
    struct ht_model *model = opened(source);
    struct ht_generator *g;
    struct ht_generator_stats stats;
    struct ht_diag diag;
    const char *text;
    size_t len;
    char answer[200], again[200], want[600];
    fine(ht_model_generator(model, &g, &diag), &diag);
    fine(ht_generator_set(g, "max-tokens", "8", &diag), &diag);
    fine(ht_generator_set(g, "ctx", "64", &diag), &diag);
    fine(ht_generator_system(g, "Be kind.", 8, &diag), &diag);
    answered(g, "Hello", answer, sizeof answer);
    ht_generator_stats(g, &stats);
    assert_int_equal(stats.context, 64);
    fine(ht_generator_system(g, "Be brief.", 9, &diag), &diag);
    snprintf(want, sizeof want, "system: Be brief.\nuser: Hello\nassistant: %s\nassistant:", answer);
    conversation_is(g, want);
    fine(ht_generator_system(g, "", 0, &diag), &diag);
    fine(ht_generator_system(g, NULL, 0, &diag), &diag);
    conversation_is(g, want + 18);
    assert_int_equal(ht_generator_set(g, "ctx", "none", &diag), HT_ERR_USAGE);
    fine(ht_generator_set(g, "ctx", "96", &diag), &diag);
    assert_int_equal(ht_generator_next(g, &text, &len, &diag), HT_ERR_USAGE);
    conversation_is(g, want + 18);
    answered(g, "More", again, sizeof again);
    ht_generator_stats(g, &stats);
    assert_int_equal(stats.context, 96);
    assert_int_equal(stats.read_tokens, stats.prompt_tokens);
    ht_generator_clear(g);
    conversation_is(g, "assistant:");
    fine(ht_generator_system(g, "Be kind.", 8, &diag), &diag);
    answered(g, "Hello", again, sizeof again);
    assert_string_equal(again, answer);
    ht_generator_clear(NULL);
    assert_int_equal(ht_generator_system(NULL, "x", 1, &diag), HT_ERR_USAGE);
    assert_int_equal(ht_generator_system(g, NULL, 1, &diag), HT_ERR_USAGE);
    ht_generator_close(&g);
    ht_model_close(&model);
}

static void test_chat(void **state)
{
    (void)state;
    struct ht_model *model = opened(source);
    const struct ht_message messages[] = {{sizeof messages[0], "system", "Be brief.", 9},
                                          {sizeof messages[0], "user", "What is <|im_end|>?", 19}};
    struct ht_message wrong = {sizeof wrong, "robot", "x", 1};
    struct ht_diag diag;
    char *text;
    size_t len;
    assert_non_null(ht_model_chat_template(model));
    fine(ht_model_chat(model, messages, 2, &text, &len, &diag), &diag);
    assert_int_equal(strlen(text), len);
    assert_non_null(strstr(text, "Be brief."));
    assert_non_null(strstr(text, "What is <|im_end|>?"));
    ht_free(text);
    assert_int_equal(ht_model_chat(model, &wrong, 1, &text, &len, &diag), HT_ERR_USAGE);
    assert_non_null(strstr(diag.message, "message 0"));
    wrong = (struct ht_message){.size = 0};
    assert_int_equal(ht_model_chat(model, &wrong, 1, &text, &len, &diag), HT_ERR_USAGE);
    ht_model_close(&model);
}

/* ---- what is refused, what is stopped ---- */

static void test_refused(void **state)
{
    (void)state;
    struct ht_model *model = opened(source), *none;
    struct ht_model_options options = {.size = 0};
    struct ht_tensor_info t = {.size = offsetof(struct ht_tensor_info, shape)};
    struct ht_diag diag;
    float x[256];
    size_t n = ht_model_tensor_count(model, HT_VIEW_NATIVE), index;
    assert_int_equal(ht_model_open_with(source, &options, &none, &diag), HT_ERR_USAGE);
    options = (struct ht_model_options){.size = sizeof options, .flags = 64};
    assert_int_equal(ht_model_open_with(source, &options, &none, &diag), HT_ERR_USAGE);
    options = (struct ht_model_options){.size = sizeof options, .hub = (const char *const[]){"memory", "1G", NULL}};
    assert_int_equal(ht_model_open_with(source, &options, &none, &diag), HT_ERR_USAGE);
    assert_string_equal(diag.where, "memory");
    assert_int_equal(ht_model_open_with("/nowhere/at all", NULL, &none, &diag), HT_ERR_NOT_FOUND);
    assert_null(none);
    t.shape[0] = 77; /* a program that does not know of shapes */
    assert_true(ht_model_tensor_at(model, HT_VIEW_NATIVE, 0, &t));
    assert_int_equal(t.shape[0], 77);
    assert_false(ht_model_tensor_at(model, HT_VIEW_NATIVE, n, &t));
    assert_false(ht_model_tensor_at(model, (enum ht_view)9, 0, &t));
    assert_false(ht_model_tensor_find(model, HT_VIEW_NATIVE, "blk.0.attn_q.weight", &index));
    assert_int_equal(ht_model_read_rows(model, HT_VIEW_NATIVE, n, 0, 1, x, &diag), HT_ERR_USAGE);
    index = find(model, HT_VIEW_NATIVE, "model.norm.weight");
    const int64_t bad[][2] = {{-1, 1}, {0, 2}, {1, 1}, {0, -1}, {INT64_MAX, INT64_MAX}, {2, 0}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(ht_model_read_rows(model, HT_VIEW_NATIVE, index, bad[i][0], bad[i][1], x, &diag),
                         HT_ERR_USAGE);
        assert_string_equal(diag.where, "model.norm.weight");
    }
    assert_int_equal(ht_model_read_rows(model, HT_VIEW_NATIVE, index, 0, 1, NULL, &diag), HT_ERR_USAGE);
    assert_int_equal(ht_model_vocabulary(NULL), 0);
    assert_false(ht_model_info(NULL, NULL));
    ht_model_close(NULL);
    ht_model_close(&model);
}

static void test_cancelled(void **state)
{
    (void)state;
    const int32_t token = 5;
    struct ht_model *model = opened(source);
    struct ht_diag diag;
    float x[256], *logits = malloc((size_t)ht_model_vocabulary(model) * sizeof *logits);
    ht_model_cancel(model, true);
    assert_int_equal(ht_model_read_rows(model, HT_VIEW_NATIVE, 0, 0, 1, x, &diag), HT_ERR_CANCELLED);
    assert_int_equal(diag.code, HT_ERR_CANCELLED);
    assert_int_equal(ht_model_logits(model, &token, 1, 0, 1, logits, &diag), HT_ERR_CANCELLED);
    ht_model_cancel(model, false);
    fine(ht_model_read_rows(model, HT_VIEW_NATIVE, 0, 0, 1, x, &diag), &diag);
    fine(ht_model_logits(model, &token, 1, 0, 1, logits, &diag), &diag);
    free(logits);
    ht_model_close(&model);
}

/* The file becomes shorter, or other bytes, after it was opened. */
static void test_file_changes(void **state)
{
    (void)state;
    char copy[700];
    struct ht_diag diag;
    snprintf(copy, sizeof copy, "%s/copy.gguf", folder.path);
    FILE *in = fopen(q8, "rb"), *out = fopen(copy, "wb");
    static char block[1 << 16];
    for (size_t n; (n = fread(block, 1, sizeof block, in)) > 0;)
        assert_int_equal(fwrite(block, 1, n, out), n);
    fclose(in);
    fclose(out);
    struct ht_model *model = opened(copy);
    size_t last = ht_model_tensor_count(model, HT_VIEW_GGUF) - 1;
    struct ht_tensor_info t = tensor_at(model, HT_VIEW_GGUF, last);
    float *x = malloc((size_t)(t.n_rows * t.row_len) * sizeof *x);
    assert_int_equal(truncate(copy, 1 << 20), 0);
    assert_int_equal(ht_model_read_rows(model, HT_VIEW_GGUF, last, 0, t.n_rows, x, &diag), HT_ERR_IO);
    assert_non_null(strstr(diag.where, "copy.gguf"));
    free(x);
    ht_model_close(&model);
    assert_int_not_equal(ht_model_open_with(copy, NULL, &model, &diag), HT_OK);
    assert_null(model);
    unlink(copy);
}

/* ---- a hub's name ---- */

static void test_hub(void **state)
{
    (void)state;
    static const char *const files[] = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"};
    char cache[700], from[4200], to[1500];
    const char *const hub[] = {"hub-cache", cache, "offline", "true", NULL};
    const struct ht_model_options options = {.size = sizeof options, .hub = hub};
    struct ht_model *model;
    struct ht_diag diag;
    snprintf(cache, sizeof cache, "%s/hub", folder.path);
    const char *const folders[] = {"", "/models--org--tiny", "/models--org--tiny/refs", "/models--org--tiny/snapshots",
                                   ("/models--org--tiny/snapshots/" COMMIT)};
    for (size_t i = 0; i < sizeof folders / sizeof folders[0]; i++) {
        snprintf(to, sizeof to, "%s%s", cache, folders[i]);
        assert_int_equal(mkdir(to, 0777), 0);
    }
    folder_puts(&folder, "hub/models--org--tiny/refs/main", COMMIT);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        snprintf(from, sizeof from, "%s/%s", source, files[i]);
        snprintf(to, sizeof to, "%s/models--org--tiny/snapshots/" COMMIT "/%s", cache, files[i]);
        assert_int_equal(symlink(from, to), 0);
    }
    fine(ht_model_open_with("org/tiny", &options, &model, &diag), &diag);
    struct ht_model_info info = {.size = sizeof info};
    assert_true(ht_model_info(model, &info));
    assert_non_null(strstr(info.path, "models--org--tiny"));
    free(rows_of(model, HT_VIEW_NATIVE, 0));
    ht_model_close(&model);
    assert_int_equal(ht_model_open_with("org/other", &options, &model, &diag), HT_ERR_NOT_FOUND);
    assert_int_equal(ht_model_open_with("org/tiny", NULL, &model, &diag), HT_ERR_NOT_FOUND);
}

/* ---- the models ---- */

static void make(const char *type, const char *verb)
{
    struct ht_job *job;
    struct ht_diag diag;
    assert_int_equal(ht_job_open(&job), HT_OK);
    fine(ht_job_set(job, "source", source, &diag), &diag);
    if (verb) fine(ht_job_set(job, "verb", verb, &diag), &diag);
    fine(ht_job_set(job, "type", type, &diag), &diag);
    fine(ht_job_set(job, "output", folder.path, &diag), &diag);
    fine(ht_job_set(job, "name", "m", &diag), &diag);
    fine(ht_job_run(job, NULL, &diag), &diag);
    ht_job_close(&job);
}

static int begin(void **state)
{
    (void)state;
    const char *root = getenv("HT_SOURCE_ROOT");
    folder = folder_make();
    snprintf(f32, sizeof f32, "%s/examples/model", root ? root : ".");
    assert_non_null(realpath(f32, source)); /* links will point there */
    snprintf(f32, sizeof f32, "%s/m-F32.gguf", folder.path);
    snprintf(q8, sizeof q8, "%s/m-Q8_0.gguf", folder.path);
    snprintf(nf4, sizeof nf4, "%s/m-nf4", folder.path);
    make("Q8_0,nf4", NULL);
    make("F32", "convert");
    return 0;
}

static int end(void **state)
{
    (void)state;
    folder_remove(&folder);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_native),       cmocka_unit_test(test_rows_of_the_file),
        cmocka_unit_test(test_views),        cmocka_unit_test(test_quantized),
        cmocka_unit_test(test_packed),       cmocka_unit_test(test_parts),
        cmocka_unit_test(test_threads),      cmocka_unit_test(test_text),
        cmocka_unit_test(test_chat),         cmocka_unit_test(test_conversation),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_cancelled),
        cmocka_unit_test(test_file_changes), cmocka_unit_test(test_hub),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
