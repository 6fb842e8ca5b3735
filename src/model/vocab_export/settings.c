/* tokenizer_config.json and generation_config.json: which tokens are special, the chat template, how text is generated. */
#include "base/utf8.h"
#include "model/vocab_export/parts.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put_token(struct ht__jw *w, const struct ht__export *e, const char *name, int64_t id)
{
    if (id >= 0 && id < (int64_t)e->n) ht__jw_text(w, name, e->tokens[id].text, e->tokens[id].len);
}

static void put_special(struct ht__jw *w, const struct ht__export *e)
{
    bool spm = !e->byte_level;
    put_token(w, e, "bos_token", ht__export_id(e, "bos_token_id", spm ? 1 : -1));
    put_token(w, e, "eos_token", ht__export_id(e, "eos_token_id", spm ? 2 : -1));
    put_token(w, e, "unk_token", ht__export_id(e, "unknown_token_id", spm ? 0 : -1));
    put_token(w, e, "pad_token", ht__export_id(e, "padding_token_id", -1));
    put_token(w, e, "mask_token", ht__export_id(e, "mask_token_id", -1));
}

static void put_decoder(struct ht__jw *w, const struct ht__export *e)
{
    ht__jw_object(w, "added_tokens_decoder");
    for (uint32_t id = 0; id < e->n; id++) {
        char key[16];
        if (!ht__export_is_added(e, id)) continue;
        snprintf(key, sizeof key, "%u", id);
        ht__jw_object(w, key);
        ht__jw_text(w, "content", e->tokens[id].text, e->tokens[id].len);
        ht__jw_bool(w, "lstrip", false);
        ht__jw_bool(w, "normalized", false);
        ht__jw_bool(w, "rstrip", false);
        ht__jw_bool(w, "single_word", false);
        ht__jw_bool(w, "special", ht__export_type(e, id) != HT__TOKEN_USER);
        ht__jw_end(w);
    }
    ht__jw_end(w);
}

static bool template_of(const struct ht__export *e, const char *key, struct ht__str *text)
{
    return ht__kv_get_str(e->kvs, key, text) && ht__utf8_valid(text->text, text->len) == text->len;
}

static void put_named(struct ht__jw *w, const char *name, size_t len, const struct ht__str *text)
{
    ht__jw_object(w, NULL);
    ht__jw_text(w, "name", name, len);
    ht__jw_text(w, "template", text->text, text->len);
    ht__jw_end(w);
}

/* One template, or a list of named ones. */
static void put_templates(struct ht__jw *w, const struct ht__export *e)
{
    struct ht__str main, text;
    bool has_main = template_of(e, "tokenizer.chat_template", &main);
    const struct ht__kv *names = ht__kv_get(e->kvs, "tokenizer.chat_templates");
    bool several = names && names->type == HT__KV_ARR && names->elem == HT__KV_STR && names->n > 0 && names->n <= 64;
    if (!several) {
        if (has_main) ht__jw_text(w, "chat_template", main.text, main.len);
        return;
    }
    ht__jw_array(w, "chat_template");
    if (has_main) put_named(w, "default", strlen("default"), &main);
    for (uint64_t i = 0; i < names->n; i++) {
        const struct ht__str *name = &names->strs[i];
        char key[128];
        if (name->len > 64) continue;
        snprintf(key, sizeof key, "tokenizer.chat_template.%.*s", (int)name->len, name->text);
        if (ht__utf8_valid(name->text, name->len) == name->len && template_of(e, key, &text))
            put_named(w, name->text, name->len, &text);
    }
    ht__jw_end(w);
}

static uint64_t context_length(const struct ht__export *e)
{
    char key[160];
    uint64_t n = 0;
    snprintf(key, sizeof key, "%.100s.context_length", e->arch);
    return ht__kv_get_u64(e->kvs, key, &n) ? n : 0;
}

static enum ht_err finish(struct ht__export *e, struct ht__jw *w, struct ht__buf *file, const char *name)
{
    ht__jw_end(w);
    ht__buf_str(file, "\n");
    return ht__jw_done(w) && !file->failed ? HT_OK : ht__fail_memory(e->diag, name);
}

enum ht_err ht__export_settings(struct ht__export *e, bool add_bos, bool add_eos)
{
    struct ht__buf *file = ht__export_file(e, "tokenizer_config.json");
    struct ht__jw w = ht__jw_indented(file);
    uint64_t context = context_length(e);
    ht__jw_object(&w, NULL);
    ht__jw_bool(&w, "add_bos_token", add_bos);
    ht__jw_bool(&w, "add_eos_token", add_eos);
    put_decoder(&w, e);
    put_special(&w, e);
    ht__jw_bool(&w, "clean_up_tokenization_spaces", false);
    if (context) ht__jw_uint(&w, "model_max_length", context);
    /* newer transformers cut text at its beginning by this class, whatever tokenizer.json says */
    bool llama = !e->byte_level && ht__export_switch(e, "add_space_prefix", true);
    ht__jw_str(&w, "tokenizer_class", llama ? "LlamaTokenizer" : "PreTrainedTokenizerFast");
    put_templates(&w, e);
    return finish(e, &w, file, "tokenizer_config.json");
}

/* ---- generation ---- */

/* All tokens that end what is generated, each once. */
static void put_ends(struct ht__jw *w, const struct ht__export *e)
{
    static const char *const names[] = {"eos_token_id", "eot_token_id", "eom_token_id"};
    int64_t ids[3];
    size_t n = 0;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        int64_t id = ht__export_id(e, names[i], -1);
        bool new = id >= 0;
        for (size_t k = 0; k < n; k++)
            new = new &&ids[k] != id;
        if (new) ids[n++] = id;
    }
    if (n == 1) ht__jw_int(w, "eos_token_id", ids[0]);
    if (n < 2) return;
    ht__jw_array(w, "eos_token_id");
    for (size_t i = 0; i < n; i++)
        ht__jw_int(w, NULL, ids[i]);
    ht__jw_end(w);
}

/* What general.sampling.* say of how the model is sampled. */
static void put_sampling(struct ht__jw *w, const struct ht__export *e)
{
    static const char *const names[][2] = {{"general.sampling.temp", "temperature"},
                                           {"general.sampling.top_k", "top_k"},
                                           {"general.sampling.top_p", "top_p"},
                                           {"general.sampling.min_p", "min_p"}};
    bool any = false;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct ht__kv *kv = ht__kv_get(e->kvs, names[i][0]);
        uint64_t whole;
        if (kv && kv->type == HT__KV_F32 && isfinite(kv->f)) {
            char text[40];
            snprintf(text, sizeof text, "%.7g", kv->f);
            ht__jw_double(w, names[i][1], strtod(text, NULL));
        } else if (ht__kv_get_u64(e->kvs, names[i][0], &whole)) {
            ht__jw_uint(w, names[i][1], whole);
        } else {
            continue;
        }
        any = true;
    }
    if (any) ht__jw_bool(w, "do_sample", true);
}

enum ht_err ht__export_generation(struct ht__export *e)
{
    struct ht__buf *file = ht__export_file(e, "generation_config.json");
    struct ht__jw w = ht__jw_indented(file);
    int64_t bos = ht__export_id(e, "bos_token_id", -1), pad = ht__export_id(e, "padding_token_id", -1);
    ht__jw_object(&w, NULL);
    ht__jw_bool(&w, "_from_model_config", true);
    if (bos >= 0) ht__jw_int(&w, "bos_token_id", bos);
    put_ends(&w, e);
    if (pad >= 0) ht__jw_int(&w, "pad_token_id", pad);
    put_sampling(&w, e);
    return finish(e, &w, file, "generation_config.json");
}
