/* From a checkpoint to a model: the configuration, the architecture, tensors, metadata, tokenizer. */
#include "model/model.h"
#include "base/text.h"
#include "formats/container.h"
#include "model/arch/arch.h"
#include "model/card.h"
#include "model/vocab_import/import.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST_CONFIG = 16 << 20 };

static const struct ht__arch *const archs[] = {
#define HT_ARCH(id) &ht__arch_##id,
#include "model/arch/archs.def"
#undef HT_ARCH
};

const char *ht__arch_at(size_t index, const char **classes)
{
    if (index >= sizeof archs / sizeof archs[0]) return NULL;
    *classes = archs[index]->classes;
    return archs[index]->name;
}

const struct ht__arch_compute *ht__arch_compute_of(const char *arch)
{
    const struct ht__arch *found = ht__arch_by_name(arch);
    return found ? found->compute : NULL;
}

const struct ht__arch *ht__arch_by_name(const char *name)
{
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++)
        if (strcmp(archs[i]->name, name) == 0) return archs[i];
    return NULL;
}

static bool has_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = words; (p = strstr(p, word)) != NULL; p += n)
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0')) return true;
    return false;
}

static enum ht_err refuse_class(const char *path, const char *class, struct ht_diag *diag)
{
    char known[400] = "";
    size_t used = 0;
    for (size_t i = 0; i < sizeof archs / sizeof archs[0] && used < sizeof known - 40; i++)
        if (i == 0 || strcmp(archs[i]->name, archs[i - 1]->name) != 0)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", archs[i]->name);
    return ht__fail(diag, HT_ERR_UNSUPPORTED, path, -1,
                    "architecture \"%.60s\" is not known, but a GGUF file of it can be quantized; known are %s", class,
                    known);
}

/* Older folders name no class, but a type: "qwen2_moe" is that of Qwen2MoeForCausalLM. */
static bool is_of_type(const char *class, size_t len, const char *type)
{
    size_t i = 0;
    for (; *type && strcmp(type, "_text") != 0; type++) {
        if (*type == '_' || *type == '-') continue;
        if (i == len || tolower((unsigned char)class[i++]) != tolower((unsigned char)*type)) return false;
    }
    static const char *const rests[] = {"ForCausalLM", "LMHeadModel"};
    for (size_t k = 0; k < sizeof rests / sizeof rests[0]; k++)
        if (len - i == strlen(rests[k]) && memcmp(class + i, rests[k], len - i) == 0) return true;
    return false;
}

static bool has_type(const char *classes, const char *type)
{
    for (const char *p = classes; *p;) {
        size_t len = strcspn(p, " ");
        if (is_of_type(p, len, type)) return true;
        p += len + (p[len] == ' ');
    }
    return false;
}

static const char *class_name(const struct ht__arch_build *b)
{
    const struct ht__jnode *list = ht__jget(b->config, "architectures");
    bool named = list && list->type == HT__JSON_ARRAY && list->n > 0 && list->children[0].type == HT__JSON_STRING;
    return named ? list->children[0].text : NULL;
}

/* "LlamaModel": the decoder without its output, whose names lack the "model." in front. */
static bool is_bare(const char *class)
{
    return class && ht__ends_with(class, "Model") && !ht__ends_with(class, "LMHeadModel");
}

static enum ht_err find_arch(struct ht__arch_build *b)
{
    const char *class = class_name(b), *type = ht__jstr(b->config, "model_type", NULL);
    if (!class && !type)
        return ht__fail(b->diag, HT_ERR_FORMAT, b->config_path, -1,
                        "neither \"architectures\" nor \"model_type\" names the model's class");
    for (size_t i = 0; i < sizeof archs / sizeof archs[0]; i++)
        if (class ? has_word(archs[i]->classes, class) : has_type(archs[i]->classes, type)) b->arch = archs[i];
    b->bare = is_bare(class);
    return b->arch ? HT_OK : refuse_class(b->config_path, class ? class : type, b->diag);
}

/* The dtype of the model's floats, which "dtype" says, or "torch_dtype" of older files. */
static const struct ht__codec *model_dtype(const struct ht__arch_build *b)
{
    const char *name = ht__jstr(b->config, "dtype", ht__jstr(b->config, "torch_dtype", ""));
    if (ht__ends_with(name, "float32")) return &ht__codec_f32;
    return ht__ends_with(name, "bfloat16") || !ht__ends_with(name, "float16") ? &ht__codec_bf16 : &ht__codec_f16;
}

/* ModelOpt's own file, where config.json says nothing. */
static enum ht_err modelopt_file(const struct ht__arch_build *b, const char **where, const struct ht__jnode **out)
{
    char path[4096];
    struct ht__jnode *root;
    HT_TRY(ht__path_join(path, sizeof path, b->ck->dir, "hf_quant_config.json", b->diag));
    if (!ht__path_exists(path)) return HT_OK;
    if (!(*where = ht__arena_printf(b->tmp, "%s", path))) return ht__fail_memory(b->diag, path);
    HT_TRY(ht__json_load(b->tmp, *where, LARGEST_CONFIG, &root, b->diag));
    *out = root;
    return HT_OK;
}

static enum ht_err refuse_method(const struct ht__arch_build *b, const char *method)
{
    char known[200] = "";
    size_t used = 0;
    const struct ht__packing *packing;
    for (size_t i = 0; (packing = ht__packing_at(i)) != NULL && used < sizeof known - 40; i++)
        used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", i ? ", " : "", packing->name);
    return ht__fail(b->diag, HT_ERR_UNSUPPORTED, b->config_path, -1,
                    "the weights are quantized by \"%.60s\" (quant_method), which cannot be read, where %s can; start "
                    "from the model as it was before, or from a GGUF file of it",
                    method, known);
}

/* What quantized it; older configurations of bitsandbytes do not say. NULL: `where` is refused. */
static const char *quant_method(const struct ht__jnode *q)
{
    const char *method = ht__jstr(q, "quant_method", ht__jstr(ht__jget(q, "producer"), "name", NULL));
    if (method) return method;
    return ht__jget(q, "load_in_4bit") || ht__jget(q, "load_in_8bit") ? "bitsandbytes" : NULL;
}

/* Families of packings.def. */
static enum ht_err find_packing(struct ht__arch_build *b, const struct ht__jnode *q, const char *where)
{
    const char *method = q ? quant_method(q) : NULL;
    const struct ht__packing *packing = q ? NULL : ht__packing_assumed();
    if (q && !method)
        return ht__fail(b->diag, HT_ERR_FORMAT, where, -1, "quantization_config does not say its quant_method");
    if (q) packing = ht__packing_by_method(method);
    if (!packing) return refuse_method(b, method);
    b->packing = (struct ht__packing_source){.packing = packing,
                                             .ck = b->ck,
                                             .arena = b->arena,
                                             .tmp = b->tmp,
                                             .dtype = model_dtype(b),
                                             .config_path = where};
    return packing->open(&b->packing, q, b->diag);
}

/* How weights are packed; what cannot be read is refused before names are looked at. */
static enum ht_err read_quantized(struct ht__arch_build *b)
{
    const struct ht__jnode *q = ht__jget(b->config, "quantization_config");
    const char *where = b->config_path;
    const struct ht__jnode *method = ht__jget(q, "quant_method");
    if (b->ck->no_weights) return HT_OK;
    if (q && q->type != HT__JSON_OBJECT)
        return ht__fail(b->diag, HT_ERR_FORMAT, where, -1, "quantization_config is not an object");
    if (method && method->type != HT__JSON_STRING)
        return ht__fail(b->diag, HT_ERR_FORMAT, where, -1, "quantization_config: quant_method is not a text");
    if (!q) HT_TRY(modelopt_file(b, &where, &q));
    return find_packing(b, q, where);
}

/* A multimodal model keeps its language model's numbers in text_config: they come first. */
static enum ht_err merge_text_config(struct ht__arch_build *b, struct ht__jnode *root)
{
    const struct ht__jnode *text = ht__jget(root, "text_config");
    b->config = root;
    if (!text || text->type != HT__JSON_OBJECT) return HT_OK;
    struct ht__jnode *merged = ht__arena_new(b->tmp, sizeof *merged);
    size_t n = text->n + root->n;
    if (merged) {
        *merged = (struct ht__jnode){.type = HT__JSON_OBJECT};
        merged->keys = ht__arena_array(b->tmp, n, sizeof *merged->keys);
        merged->children = ht__arena_array(b->tmp, n, sizeof *merged->children);
    }
    if (!merged || !merged->keys || !merged->children) return ht__fail_memory(b->diag, b->config_path);
    for (size_t i = 0; i < n; i++) {
        const struct ht__jnode *from = i < text->n ? text : root;
        size_t at = i < text->n ? i : i - text->n;
        bool shadowed = from == root && ht__jget(text, root->keys[at]);
        bool class = from == text && strcmp(text->keys[at], "architectures") == 0;
        if (shadowed && strcmp(root->keys[at], "architectures") != 0) continue;
        if (class) continue; /* the whole model's class decides */
        merged->keys[merged->n] = from->keys[at];
        merged->children[merged->n++] = from->children[at];
    }
    b->config = merged;
    return HT_OK;
}

static enum ht_err class_defaults(struct ht__arch_build *b)
{
    struct ht__jnode *root;
    const char *text = b->arch->defaults;
    if (!text) return HT_OK;
    HT_TRY(ht__json_parse(b->tmp, text, strlen(text), b->arch->name, &root, b->diag));
    b->defaults = root;
    const char *class = class_name(b), *type = ht__jstr(b->config, "model_type", "");
    for (size_t i = 0; i < root->n; i++)
        if (root->children[i].type == HT__JSON_OBJECT &&
            (class ? strcmp(root->keys[i], class) == 0 : is_of_type(root->keys[i], strlen(root->keys[i]), type)))
            b->class_defaults = &root->children[i];
    return HT_OK;
}

/* Rotation's base: at the top, or where newer configurations keep it. */
static double rope_theta(const struct ht__arch_build *b)
{
    const struct ht__jnode *p = ht__jget(b->config, "rope_parameters");
    double base = ht__arch_num(b, "rope_theta rotary_emb_base", 10000);
    if (!ht__jget(b->config, "rope_theta") && !ht__jget(b->config, "rotary_emb_base"))
        base = ht__jnum(p, "rope_theta", base);
    const struct ht__jnode *full = ht__jget(p, "full_attention");
    return full ? ht__jnum(full, "rope_theta", base) : base;
}

/* The numbers that nearly every architecture has, under the names that they go by. */
static enum ht_err read_numbers(struct ht__arch_build *b)
{
    HT_TRY(ht__arch_int(b, "num_hidden_layers n_layer num_layers n_layers", -1, &b->n_layers));
    HT_TRY(ht__arch_int(b, "hidden_size n_embd dim", -1, &b->n_embd));
    HT_TRY(ht__arch_int(b, "intermediate_size n_inner ffn_hidden_size", 4 * b->n_embd, &b->n_ff));
    HT_TRY(ht__arch_int(b, "num_attention_heads n_head", -1, &b->n_heads));
    HT_TRY(ht__arch_int(b, "num_key_value_heads", b->n_heads, &b->n_kv_heads));
    HT_TRY(ht__arch_int(b, "max_position_embeddings n_ctx n_positions max_length", 2048, &b->n_ctx));
    HT_TRY(ht__arch_int(b, "vocab_size", -1, &b->vocab_size));
    HT_TRY(ht__arch_int(b, "num_local_experts num_experts n_routed_experts", 0, &b->n_experts));
    HT_TRY(ht__arch_int(b, "num_experts_per_tok num_experts_per_token", 0, &b->n_experts_used));
    if (b->n_layers < 1 || b->n_layers > 512 || b->n_heads < 1 || b->n_kv_heads < 1 || b->n_embd < 1 ||
        b->n_experts > 1024)
        return ht__fail(b->diag, HT_ERR_FORMAT, b->config_path, -1,
                        "%lld layers, %lld heads, %lld key-value heads, hidden size %lld, %lld experts: "
                        "not a model",
                        (long long)b->n_layers, (long long)b->n_heads, (long long)b->n_kv_heads, (long long)b->n_embd,
                        (long long)b->n_experts);
    HT_TRY(ht__arch_int(b, "head_dim", b->n_embd / b->n_heads, &b->head_dim));
    if (b->head_dim < 1 || b->n_heads % b->n_kv_heads != 0)
        return ht__fail(b->diag, HT_ERR_FORMAT, b->config_path, -1, "%lld heads cannot share %lld key-value heads",
                        (long long)b->n_heads, (long long)b->n_kv_heads);
    b->rope_theta = rope_theta(b);
    b->tied = ht__jbool(b->config, "tie_word_embeddings", false);
    return b->arch->numbers ? b->arch->numbers(b) : HT_OK;
}

enum ht_err ht__arch_configure(struct ht__arch_build *b)
{
    HT_TRY(class_defaults(b));
    return read_numbers(b);
}

const struct ht__weight *ht__model_find(const struct ht__model *model, enum ht__role role)
{
    for (size_t i = 0; i < model->n_weights; i++)
        if (ht__slot_is(model->weights[i].slot, role)) return &model->weights[i];
    return NULL;
}

static int64_t embedding_rows(const struct ht__model *model)
{
    const struct ht__weight *embedding = ht__model_find(model, HT__ROLE_EMBEDDING);
    return embedding ? embedding->ne[1] : 0;
}

static enum ht_err tokenizer_keys(struct ht__arch_build *b)
{
    int64_t rows = b->ck->no_weights ? b->vocab_size : embedding_rows(b->model);
    struct ht__vocab_import_job job = {
        .dir = b->ck->dir, .arch = b->arch->name, .config = b->config, .vocab_size = (uint64_t)rows, .log = b->log};
    struct ht_diag diag = {0};
    enum ht_err err = ht__vocab_import_metadata(&job, &b->model->kvs, &diag);
    if (err == HT_ERR_NOT_FOUND) {
        ht__log_printf(b->log, HT__LOG_WARNING, "%s has no tokenizer: files made from it will have none either",
                       b->ck->dir);
        ht__kv_str(&b->model->kvs, "tokenizer.ggml.model", "no_vocab");
        return HT_OK;
    }
    if (err != HT_OK && b->diag && b->diag->code == HT_OK) *b->diag = diag;
    return err;
}

static enum ht_err convert(struct ht__arch_build *b, const struct ht__jnode *root)
{
    struct ht__kvs *kvs = &b->model->kvs;
    b->model->arch = b->arch->name;
    ht__kv_str(kvs, "general.architecture", b->arch->name);
    if (!b->ck->no_weights) HT_TRY(ht__arch_map_all(b, NULL));
    ht__kv_str(kvs, "general.type", "model");
    HT_TRY(ht__card_keys(
        &(struct ht__card_job){.dir = b->ck->dir, .config = root, .model = b->model, .tmp = b->tmp, .log = b->log},
        b->diag));
    HT_TRY(b->arch->metadata(b));
    b->model->version_at = kvs->n;
    HT_TRY(tokenizer_keys(b));
    b->model->n_layers = (uint32_t)b->n_layers;
    b->model->n_heads = (uint32_t)b->n_heads;
    b->model->n_kv_heads = (uint32_t)b->n_kv_heads;
    b->model->n_experts = (uint32_t)b->n_experts;
    return kvs->failed ? ht__fail_memory(b->diag, "metadata") : HT_OK;
}

static enum ht_err from_folder(struct ht__model *model, struct ht__arena *tmp, const struct ht__log *log,
                               struct ht_diag *diag)
{
    char path[4096];
    struct ht__jnode *root;
    struct ht__arch_build b = {
        .ck = model->checkpoint, .model = model, .arena = &model->arena, .tmp = tmp, .log = log, .diag = diag};
    HT_TRY(ht__path_join(path, sizeof path, b.ck->dir, "config.json", diag));
    if (!ht__path_exists(path))
        return ht__fail(diag, HT_ERR_NOT_FOUND, path, -1,
                        "the weights alone do not say what model they are: config.json must lie beside "
                        "them");
    b.config_path = path;
    HT_TRY(ht__json_load(tmp, path, LARGEST_CONFIG, &root, diag));
    if (root->type != HT__JSON_OBJECT) return ht__fail(diag, HT_ERR_FORMAT, path, -1, "not an object");
    HT_TRY(merge_text_config(&b, root));
    HT_TRY(find_arch(&b));
    HT_TRY(read_quantized(&b));
    HT_TRY(ht__arch_configure(&b));
    ht__map_init(&b.stack_by_name, model->arena.alloc);
    enum ht_err err = convert(&b, root);
    ht__map_close(&b.stack_by_name);
    return err;
}

/* ---- GGUF: names, metadata and order are there already ---- */

static uint32_t arch_number(const struct ht__model *model, const char *suffix, uint32_t otherwise)
{
    char key[256];
    snprintf(key, sizeof key, "%s.%s", model->arch, suffix);
    const struct ht__kv *kv = ht__kv_get(&model->kvs, key);
    uint64_t v;
    if (kv && kv->type == HT__KV_ARR && kv->n > 0 && ht__kv_type_size(kv->elem) == 4)
        return ((const uint32_t *)kv->data)[0]; /* one a layer: layer 0's */
    return ht__kv_get_u64(&model->kvs, key, &v) && v <= UINT32_MAX ? (uint32_t)v : otherwise;
}

static enum ht_err copy_weights(struct ht__model *model, struct ht_diag *diag)
{
    const struct ht__checkpoint *ck = model->checkpoint;
    model->weights = ht__arena_array(&model->arena, ck->n_tensors, sizeof *model->weights);
    if (!model->weights) return ht__fail_memory(diag, "model");
    for (uint32_t i = 0; i < ck->n_tensors; i++) {
        const struct ht__tensor *t = &ck->tensors[i];
        struct ht__weight *w = &model->weights[i];
        *w = (struct ht__weight){.name = t->name,
                                 .slot = ht__slot_of_name(t->name),
                                 .n_dims = t->n_dims,
                                 .source = t->dtype,
                                 .ne = {1, 1, 1, 1},
                                 .split = ck->split_of ? ck->split_of[i] : 0};
        for (int d = 0; d < t->n_dims; d++)
            w->ne[d] = t->shape[t->n_dims - 1 - d];
        w->rows = ht__rows_tensor(&model->arena, ck, t, w->ne[0]);
        if (!w->rows) return ht__fail_memory(diag, "model");
    }
    model->n_weights = model->n_weights_cap = ck->n_tensors;
    return HT_OK;
}

static enum ht_err from_gguf(struct ht__model *model, struct ht_diag *diag)
{
    const struct ht__kvs *kvs = model->checkpoint->kvs;
    struct ht__str arch;
    for (size_t i = 0; i < kvs->n; i++)
        if (strncmp(kvs->items[i].key, "split.", 6) != 0) ht__kv_put(&model->kvs, &kvs->items[i]);
    if (!ht__kv_get_str(kvs, "general.architecture", &arch) || arch.len == 0 || arch.len > 64)
        return ht__fail(diag, HT_ERR_FORMAT, model->checkpoint->files[0].path, -1,
                        "general.architecture is missing: not a model");
    model->arch = ht__arena_copy(&model->arena, arch.text, arch.len);
    if (!model->arch || model->kvs.failed) return ht__fail_memory(diag, "model");
    model->from_gguf = true;
    model->n_layers = arch_number(model, "block_count", 0);
    model->n_heads = arch_number(model, "attention.head_count", 0);
    model->n_kv_heads = arch_number(model, "attention.head_count_kv", model->n_heads);
    model->n_experts = arch_number(model, "expert_count", 0);
    return copy_weights(model, diag);
}

enum ht_err ht__model_open(const struct ht__checkpoint *checkpoint, const struct ht__alloc *alloc,
                           const struct ht__log *log, struct ht__model **out, struct ht_diag *diag)
{
    *out = NULL;
    struct ht__model *model = ht__new(alloc, sizeof *model);
    if (!model) return ht__fail_memory(diag, "model");
    ht__arena_init(&model->arena, alloc);
    ht__arena_init(&model->undone, alloc);
    ht__kvs_init(&model->kvs, &model->arena);
    model->checkpoint = checkpoint;
    model->file_type_at = model->version_at = SIZE_MAX;
    bool gguf = checkpoint->container == &ht__container_gguf;
    model->kvs.in_place = !gguf;
    enum ht_err err;
    if (gguf) {
        err = from_gguf(model, diag);
    } else {
        struct ht__arena tmp;
        ht__arena_init(&tmp, alloc);
        err = from_folder(model, &tmp, log, diag);
        ht__arena_close(&tmp);
    }
    if (err != HT_OK)
        ht__model_close(&model);
    else
        *out = model;
    return err;
}

void ht__model_close(struct ht__model **p)
{
    struct ht__model *model = *p;
    if (!model) return;
    const struct ht__alloc *alloc = model->arena.alloc;
    ht__arena_close(&model->undone);
    ht__arena_close(&model->arena);
    ht__free(alloc, model);
    *p = NULL;
}
