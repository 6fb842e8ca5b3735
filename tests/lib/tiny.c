#include "tiny.h"

#include "halftone/halftone.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char *const tiny_names[TINY_N_KINDS] = {"safetensors", "pytorch", "gguf", "undone"};

enum { VOCAB = 264, ONE = 0, FULL = -1, HALF = -2 };

static const struct shape {
    const char *name;
    int rows; /* ONE: a vector; FULL and HALF of the width; else as it is. There are `width` columns */
} shapes[] = {
    {"model.embed_tokens.weight", VOCAB},
    {"model.layers.0.input_layernorm.weight", ONE},
    {"model.layers.0.self_attn.q_proj.weight", FULL},
    {"model.layers.0.self_attn.k_proj.weight", HALF},
    {"model.layers.0.self_attn.v_proj.weight", HALF},
    {"model.layers.0.self_attn.o_proj.weight", FULL},
    {"model.layers.0.post_attention_layernorm.weight", ONE},
    {"model.layers.0.mlp.gate_proj.weight", FULL},
    {"model.layers.0.mlp.up_proj.weight", FULL},
    {"model.layers.0.mlp.down_proj.weight", FULL},
    {"model.norm.weight", ONE},
    {"lm_head.weight", VOCAB},
};
enum { N_SHAPES = sizeof shapes / sizeof shapes[0], FIRST_SHARD = 7 };

static uint32_t rows_of(const struct tiny *tiny, size_t index)
{
    int rows = shapes[index].rows;
    return (uint32_t)(rows == FULL ? tiny->width : rows == HALF ? tiny->width / 2 : rows);
}

static size_t count(const struct tiny *tiny, size_t index)
{
    uint32_t rows = rows_of(tiny, index);
    return (size_t)(rows ? rows : 1) * (size_t)tiny->width;
}

/* Weights in (-1, 1) that differ from tensor to tensor. */
static void put_weights(const struct tiny *tiny, struct ht__buf *out, size_t index)
{
    uint32_t state = 12345 + (uint32_t)index;
    for (size_t i = 0; i < count(tiny, index); i++) {
        state = state * 1664525u + 1013904223u;
        float x = (float)(int32_t)state / 2147483648.0f;
        ht__buf_put(out, &x, sizeof x);
    }
}

static void put_file(const struct tiny *tiny, const char *name, struct ht__buf *data)
{
    if (data->failed) abort();
    folder_put(&tiny->in, name, data->data, data->len);
    ht__buf_close(data);
}

static void put_config(const struct tiny *tiny)
{
    struct ht__buf json;
    ht__buf_init(&json, NULL);
    ht__buf_printf(&json, "{\"hidden_size\": %d, \"intermediate_size\": %d, \"vocab_size\": %d, ", tiny->width,
                   tiny->width, VOCAB);
    ht__buf_str(&json, "\"architectures\": [\"LlamaForCausalLM\"], \"num_attention_heads\": 4, "
                       "\"num_key_value_heads\": 2, \"num_hidden_layers\": 1, \"rms_norm_eps\": 1e-5, "
                       "\"max_position_embeddings\": 128, \"rope_theta\": 10000.0, \"rope_scaling\": "
                       "{\"rope_type\": \"llama3\", \"factor\": 8.0, \"low_freq_factor\": 1.0, "
                       "\"high_freq_factor\": 4.0, \"original_max_position_embeddings\": 64}, \"bos_token_id\": 0}");
    put_file(tiny, "config.json", &json);
    folder_puts(&tiny->in, "tokenizer_config.json",
                "{\"bos_token\": \"<s>\", \"chat_template\": \"{% for m in messages %}{{ m.content }}"
                "{% endfor %}\"}");
    folder_puts(&tiny->in, "README.md",
                "---\nlicense: apache-2.0\nlanguage: [en, de]\nbase_model: someone/Tiny-1B\ntags:\n- text\n"
                "datasets:\n- someone/texts\n---\n# Tiny\n");
    folder_puts(&tiny->in, "generation_config.json", "{\"temperature\": 0.5, \"top_k\": 10}");
}

/* The pre-tokenizer is that of GPT-2 with its branches in another order of letters: known by deed only. */
static void put_tokenizer_json(const struct tiny *tiny)
{
    struct ht__buf json;
    ht__buf_init(&json, NULL);
    ht__buf_str(&json, "{\"added_tokens\": [{\"id\": 263, \"content\": \"<s>\", \"special\": true}], "
                       "\"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": [{\"type\": "
                       "\"Split\", \"pattern\": {\"Regex\": \"'t|'s|'re|'ve|'m|'ll|'d| ?\\\\p{L}+| "
                       "?\\\\p{N}+| ?[^\\\\s\\\\p{L}\\\\p{N}]+|\\\\s+(?!\\\\S)|\\\\s+\"}, \"behavior\": "
                       "\"Isolated\", \"invert\": false}, {\"type\": \"ByteLevel\", \"use_regex\": "
                       "false}]}, \"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\", "
                       "\"vocab\": {\"a\": 0, \"b\": 1, \"ab\": 2");
    for (int i = 3; i < VOCAB - 1; i++)
        ht__buf_printf(&json, ", \"t%d\": %d", i, i);
    ht__buf_str(&json, "}, \"merges\": [\"a b\"]}}");
    put_file(tiny, "tokenizer.json", &json);
}

static void put_shard(const struct tiny *tiny, const char *name, size_t from, size_t to)
{
    struct ht__buf head, file;
    ht__buf_init(&head, NULL);
    ht__buf_init(&file, NULL);
    size_t at = 0;
    ht__buf_str(&head, "{");
    for (size_t i = from; i < to; i++) {
        size_t bytes = count(tiny, i) * sizeof(float);
        ht__buf_printf(&head, "%s\"%s\": {\"dtype\": \"F32\", \"shape\": [", i > from ? ", " : "", shapes[i].name);
        if (rows_of(tiny, i)) ht__buf_printf(&head, "%u, ", rows_of(tiny, i));
        ht__buf_printf(&head, "%d], \"data_offsets\": [%zu, %zu]}", tiny->width, at, at + bytes);
        at += bytes;
    }
    ht__buf_str(&head, "}");
    uint64_t n = head.len;
    ht__buf_put(&file, &n, sizeof n);
    ht__buf_put(&file, head.data, head.len);
    for (size_t i = from; i < to; i++)
        put_weights(tiny, &file, i);
    ht__buf_close(&head);
    put_file(tiny, name, &file);
}

static void put_safetensors(const struct tiny *tiny)
{
    static const char *const names[] = {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"};
    struct ht__buf index;
    ht__buf_init(&index, NULL);
    ht__buf_str(&index, "{\"weight_map\": {");
    for (size_t i = 0; i < N_SHAPES; i++)
        ht__buf_printf(&index, "%s\"%s\": \"%s\"", i ? ", " : "", shapes[i].name, names[i >= FIRST_SHARD]);
    ht__buf_str(&index, "}}");
    put_file(tiny, "model.safetensors.index.json", &index);
    put_shard(tiny, names[0], 0, FIRST_SHARD);
    put_shard(tiny, names[1], FIRST_SHARD, N_SHAPES);
}

/* ---- PyTorch ---- */

static void put16(struct ht__buf *out, uint16_t v)
{
    ht__buf_put(out, &v, 2);
}
static void put32(struct ht__buf *out, uint32_t v)
{
    ht__buf_put(out, &v, 4);
}

static void pickle_text(struct ht__buf *out, const char *text)
{
    ht__buf_str(out, "X");
    put32(out, (uint32_t)strlen(text));
    ht__buf_str(out, text);
}

static void pickle_int(struct ht__buf *out, uint32_t v)
{
    ht__buf_str(out, "J");
    put32(out, v);
}

/* _rebuild_tensor_v2(storage, 0, shape, strides, False, OrderedDict()) */
static void pickle_tensor(const struct tiny *tiny, struct ht__buf *out, size_t index)
{
    uint32_t rows = rows_of(tiny, index), cols = (uint32_t)tiny->width;
    char key[16];
    snprintf(key, sizeof key, "%zu", index);
    pickle_text(out, shapes[index].name);
    ht__buf_str(out, "ctorch._utils\n_rebuild_tensor_v2\n((");
    pickle_text(out, "storage");
    ht__buf_str(out, "ctorch\nFloatStorage\n");
    pickle_text(out, key);
    pickle_text(out, "cpu");
    pickle_int(out, (uint32_t)count(tiny, index));
    ht__buf_str(out, "tQ");
    pickle_int(out, 0);
    ht__buf_str(out, "(");
    if (rows) pickle_int(out, rows);
    pickle_int(out, cols);
    ht__buf_str(out, "t(");
    if (rows) pickle_int(out, cols);
    pickle_int(out, 1);
    ht__buf_str(out, "t\x89"
                     "ccollections\nOrderedDict\n)RtR");
}

/* A record of a zip file, stored as it is, and its line in the directory. */
static void zip_record(struct ht__buf *zip, struct ht__buf *dir, const char *name, struct ht__buf *data)
{
    uint32_t at = (uint32_t)zip->len, size = (uint32_t)data->len;
    uint16_t len = (uint16_t)strlen(name);
    ht__buf_put(zip, "PK\3\4", 4);
    ht__buf_zeros(zip, 14);
    put32(zip, size), put32(zip, size), put16(zip, len), put16(zip, 0);
    ht__buf_str(zip, name);
    ht__buf_put(zip, data->data, data->len);
    ht__buf_put(dir, "PK\1\2", 4);
    ht__buf_zeros(dir, 16);
    put32(dir, size), put32(dir, size), put16(dir, len);
    ht__buf_zeros(dir, 12);
    put32(dir, at);
    ht__buf_str(dir, name);
    ht__buf_close(data);
}

static void put_pytorch(const struct tiny *tiny)
{
    struct ht__buf zip, dir, data;
    ht__buf_init(&zip, NULL);
    ht__buf_init(&dir, NULL);
    ht__buf_init(&data, NULL);
    ht__buf_str(&data, "\x80\x02}(");
    for (size_t i = 0; i < N_SHAPES; i++)
        pickle_tensor(tiny, &data, i);
    ht__buf_str(&data, "u.");
    zip_record(&zip, &dir, "a/data.pkl", &data);
    for (size_t i = 0; i < N_SHAPES; i++) {
        char name[32];
        snprintf(name, sizeof name, "a/data/%zu", i);
        put_weights(tiny, &data, i);
        zip_record(&zip, &dir, name, &data);
    }
    uint32_t at = (uint32_t)zip.len, size = (uint32_t)dir.len;
    ht__buf_put(&zip, dir.data, dir.len);
    ht__buf_put(&zip, "PK\5\6", 4);
    put32(&zip, 0), put16(&zip, N_SHAPES + 1), put16(&zip, N_SHAPES + 1);
    put32(&zip, size), put32(&zip, at), put16(&zip, 0);
    ht__buf_close(&dir);
    put_file(tiny, "pytorch_model.bin", &zip);
}

static void put_sentencepiece(const struct tiny *tiny)
{
    struct ht__buf model;
    ht__buf_init(&model, NULL);
    spm_base(&model);
    for (int i = 0; i < VOCAB - 259; i++)
        spm_piece(&model, (const char *[]){"a", "b", "ab", "ba", "aba"}[i], (float)-i, 1);
    spm_specs(&model, 2, true, false, NULL, 0);
    put_file(tiny, "tokenizer.model", &model);
}

/* ---- GGUF: converted from safetensors ---- */

static void must(enum ht_err err, const struct ht_diag *diag)
{
    if (err == HT_OK) return;
    fprintf(stderr, "%s: %s: %s\n", ht_err_name(err), diag->where, diag->message);
    abort();
}

static void put_imatrix(struct tiny *tiny)
{
    static const char *const names[] = {"attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"};
    enum { N = sizeof names / sizeof names[0] };
    struct ht__buf file;
    ht__buf_init(&file, NULL);
    put32(&file, N);
    for (int i = 0; i < N; i++) {
        char name[64];
        put32(&file, (uint32_t)snprintf(name, sizeof name, "blk.0.%s.weight", names[i]));
        ht__buf_str(&file, name);
        put32(&file, 1), put32(&file, (uint32_t)tiny->width);
        for (int j = 0; j < tiny->width; j++)
            ht__buf_put(&file, &(float){1.0f + (float)((i + 3) * j % 17)}, 4);
    }
    put32(&file, 7), put32(&file, 4);
    ht__buf_str(&file, "text");
    put_file(tiny, "imatrix.dat", &file);
    snprintf(tiny->imatrix, sizeof tiny->imatrix, "%s/imatrix.dat", tiny->in.path);
}

static void put_gguf(struct tiny *tiny)
{
    struct tiny from;
    struct ht_job *job;
    struct ht_diag diag = {0};
    tiny_make(&from, TINY_SAFETENSORS, tiny->width);
    snprintf(tiny->source, sizeof tiny->source, "%s/model.gguf", tiny->in.path);
    must(ht_job_open(&job), &diag);
    must(ht_job_set(job, "verb", "convert", &diag), &diag);
    must(ht_job_set(job, "source", from.in.path, &diag), &diag);
    must(ht_job_set(job, "output", tiny->source, &diag), &diag);
    must(ht_job_run(job, NULL, &diag), &diag);
    ht_job_close(&job);
    tiny_remove(&from);
}

void tiny_make(struct tiny *tiny, enum tiny_kind kind, int width)
{
    memset(tiny, 0, sizeof *tiny);
    tiny->kind = kind;
    tiny->width = width;
    tiny->types = "Q8_0,Q4_0";
    tiny->in = folder_make();
    tiny->out = folder_make();
    snprintf(tiny->source, sizeof tiny->source, "%s", tiny->in.path);
    if (kind == TINY_GGUF || kind == TINY_UNDONE) {
        put_gguf(tiny);
        if (kind == TINY_GGUF) put_imatrix(tiny);
        if (kind == TINY_UNDONE) tiny->types = "nf4";
        return;
    }
    put_config(tiny);
    if (kind == TINY_SAFETENSORS) {
        put_safetensors(tiny);
        put_tokenizer_json(tiny);
    } else {
        put_pytorch(tiny);
        put_sentencepiece(tiny);
        folder_puts(&tiny->in, "recipe.yaml",
                    "# as set_options has it\ntensor-type:\n  ffn_(down|gate): q5_0\n"
                    "override-kv: [\"general.author=str:nobody\"]\nsplit-max-size: 40K\n");
        snprintf(tiny->recipe, sizeof tiny->recipe, "%s/recipe.yaml", tiny->in.path);
    }
}

void tiny_remove(struct tiny *tiny)
{
    folder_remove(&tiny->in);
    folder_remove(&tiny->out);
}

static enum ht_err set_options(struct ht_job *job, const struct tiny *tiny, struct ht_diag *diag)
{
    char report[512];
    snprintf(report, sizeof report, "%s/report.json", tiny->out.path);
    HT_TRY(ht_job_set(job, "source", tiny->source, diag));
    HT_TRY(ht_job_set(job, "output", tiny->out.path, diag));
    HT_TRY(ht_job_set(job, "name", "tiny", diag));
    HT_TRY(ht_job_set(job, "type", tiny->types, diag));
    if (tiny->recipe[0]) {
        HT_TRY(ht_job_config(job, tiny->recipe, diag));
    } else {
        if (tiny->kind != TINY_UNDONE) {
            HT_TRY(ht_job_set(job, "tensor-type", "ffn_(down|gate)=q5_0", diag));
            HT_TRY(ht_job_set(job, "override-kv", "general.author=str:nobody", diag));
        }
        HT_TRY(ht_job_set(job, "split-max-size", "40K", diag));
    }
    HT_TRY(ht_job_set(job, "report", report, diag));
    HT_TRY(ht_job_set(job, "threads", "1", diag));
    if (tiny->overwrite) HT_TRY(ht_job_set(job, "overwrite", NULL, diag));
    if (tiny->imatrix[0]) HT_TRY(ht_job_set(job, "imatrix", tiny->imatrix, diag));
    return HT_OK;
}

enum ht_err tiny_run(const struct tiny *tiny, const struct ht__alloc *alloc, char **json, struct ht_diag *diag)
{
    struct ht_job *job;
    *json = NULL;
    memset(diag, 0, sizeof *diag);
    enum ht_err err = ht__job_open(alloc, &job);
    if (err != HT_OK) return ht__fail(diag, err, "job", -1, "no job");
    err = set_options(job, tiny, diag);
    if (err == HT_OK) err = ht_job_run(job, json, diag);
    ht_job_close(&job);
    return err;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void take_all(const char *folder, struct ht__buf *bytes);

static void take(const char *folder, const char *name, struct ht__buf *bytes)
{
    char path[1024];
    struct stat st;
    struct ht_diag diag = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (strcmp(name, "report.json") != 0) ht__buf_printf(bytes, "%s\n", name);
    if (stat(path, &st) != 0) abort();
    if (S_ISDIR(st.st_mode))
        take_all(path, bytes);
    else if (strcmp(name, "report.json") != 0)
        must(ht__file_load(path, 1 << 30, bytes, &diag), &diag);
    remove(path);
}

static void take_all(const char *folder, struct ht__buf *bytes)
{
    char *names[64];
    size_t n = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir)) && n < 64;)
        if (e->d_name[0] != '.') names[n++] = strdup(e->d_name);
    if (!dir) abort();
    closedir(dir);
    qsort(names, n, sizeof *names, by_name);
    for (size_t i = 0; i < n; i++) {
        take(folder, names[i], bytes);
        free(names[i]);
    }
}

void tiny_collect(const struct tiny *tiny, struct ht__buf *bytes)
{
    take_all(tiny->out.path, bytes);
}

const char *tiny_left(const struct tiny *tiny)
{
    static char names[1024];
    size_t used = 0;
    DIR *dir = opendir(tiny->out.path);
    names[0] = '\0';
    for (struct dirent *e; dir && (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && used < sizeof names)
            used += (size_t)snprintf(names + used, sizeof names - used, "%s ", e->d_name);
    if (dir) closedir(dir);
    return names;
}
