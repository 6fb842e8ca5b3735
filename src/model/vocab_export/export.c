/* tokenizer.json. */
#include "model/vocab_export/export.h"
#include "base/utf8.h"
#include "model/vocab_export/parts.h"

#include <stdio.h>
#include <string.h>

#define KEY(name) "tokenizer.ggml." name

int64_t ht__export_id(const struct ht__export *e, const char *name, int otherwise)
{
    char key[80];
    uint64_t id;
    snprintf(key, sizeof key, KEY("%s"), name);
    if (ht__kv_get_u64(e->kvs, key, &id) && id <= INT32_MAX) return (int64_t)id;
    return otherwise;
}

bool ht__export_switch(const struct ht__export *e, const char *name, bool otherwise)
{
    char key[80];
    snprintf(key, sizeof key, KEY("%s"), name);
    const struct ht__kv *kv = ht__kv_get(e->kvs, key);
    return kv && kv->type == HT__KV_BOOL ? kv->u != 0 : otherwise;
}

void ht__export_without(struct ht__export *e, const char *why)
{
    snprintf(e->out->missing, sizeof e->out->missing, "%s", why);
}

struct ht__buf *ht__export_file(struct ht__export *e, const char *name)
{
    e->out->files[e->out->n].name = name;
    return &e->out->files[e->out->n++].data;
}

/* ---- the token list ---- */

static const struct ht__kv *array_of(const struct ht__export *e, const char *key, enum ht__kv_type elem)
{
    const struct ht__kv *kv = ht__kv_get(e->kvs, key);
    return kv && kv->type == HT__KV_ARR && kv->elem == elem ? kv : NULL;
}

/* "[PAD7]" at 7: a row of the embedding that no token belongs to, as conversion fills them. */
static bool is_filler(const struct ht__export *e, uint32_t id)
{
    char text[24];
    int n = snprintf(text, sizeof text, "[PAD%u]", id);
    return ht__export_type(e, id) == HT__TOKEN_UNUSED && e->tokens[id].len == (size_t)n &&
           memcmp(e->tokens[id].text, text, (size_t)n) == 0;
}

/* Texts must be those of a JSON object: text, and each once. */
static enum ht_err index_tokens(struct ht__export *e)
{
    for (uint32_t id = 0; id < e->n; id++) {
        struct ht__str t = e->tokens[id];
        if (is_filler(e, id)) continue;
        if (ht__utf8_valid(t.text, t.len) != t.len || memchr(t.text, '\0', t.len)) {
            ht__export_without(e, "one of its tokens is no text");
            return HT_OK;
        }
        enum ht__map_put put = ht__map_put(&e->ids, t.text, t.len, id);
        if (put == HT__MAP_NO_MEMORY) return ht__fail_memory(e->diag, "tokenizer");
        if (put == HT__MAP_PRESENT) ht__export_without(e, "two of its tokens have the same text");
    }
    return HT_OK;
}

static void read_lists(struct ht__export *e)
{
    const struct ht__kv *tokens = array_of(e, KEY("tokens"), HT__KV_STR);
    const struct ht__kv *types = array_of(e, KEY("token_type"), HT__KV_I32);
    const struct ht__kv *scores = array_of(e, KEY("scores"), HT__KV_F32);
    const struct ht__kv *merges = array_of(e, KEY("merges"), HT__KV_STR);
    if (!tokens || tokens->n < 1 || tokens->n > HT__VOCAB_MAX_TOKENS) {
        ht__export_without(e, "the file has no tokens, or too many");
        return;
    }
    e->n = (uint32_t)tokens->n;
    e->tokens = tokens->strs;
    if (types && types->n == e->n) e->types = types->data;
    if (scores && scores->n == e->n) e->scores = scores->data;
    if (merges) e->merges = merges->strs, e->n_merges = merges->n;
    if (e->byte_level && !merges) ht__export_without(e, "the file lacks its merges");
    if (!e->byte_level && !e->scores) ht__export_without(e, "the file lacks the scores of its pieces");
}

/* ---- parts of tokenizer.json ---- */

static void put_added(struct ht__jw *w, const struct ht__export *e)
{
    ht__jw_array(w, "added_tokens");
    for (uint32_t id = 0; id < e->n; id++) {
        if (!ht__export_is_added(e, id)) continue;
        ht__jw_object(w, NULL);
        ht__jw_uint(w, "id", id);
        ht__jw_text(w, "content", e->tokens[id].text, e->tokens[id].len);
        ht__jw_bool(w, "single_word", false);
        ht__jw_bool(w, "lstrip", false);
        ht__jw_bool(w, "rstrip", false);
        ht__jw_bool(w, "normalized", false);
        ht__jw_bool(w, "special", ht__export_type(e, id) != HT__TOKEN_USER);
        ht__jw_end(w);
    }
    ht__jw_end(w);
}

static enum ht_err put_vocab(struct ht__jw *w, struct ht__export *e)
{
    struct ht__buf text;
    ht__buf_init(&text, w->out->alloc);
    ht__jw_object(w, "vocab");
    for (uint32_t id = 0; id < e->n; id++) {
        if (is_filler(e, id)) continue;
        text.len = 0;
        ht__buf_put(&text, e->tokens[id].text, e->tokens[id].len);
        ht__jw_uint(w, ht__buf_text(&text), id);
    }
    ht__jw_end(w);
    bool failed = text.failed;
    ht__buf_close(&text);
    return failed ? ht__fail_memory(e->diag, "tokenizer.json") : HT_OK;
}

static void put_typed(struct ht__jw *w, const char *key, const char *type)
{
    ht__jw_object(w, key);
    ht__jw_str(w, "type", type);
}

static void put_replace(struct ht__jw *w, const char *from, const char *to)
{
    put_typed(w, NULL, "Replace");
    ht__jw_object(w, "pattern");
    ht__jw_str(w, "String", from);
    ht__jw_end(w);
    ht__jw_str(w, "content", to);
    ht__jw_end(w);
}

#define LOW_LINE "\xe2\x96\x81" /* U+2581, a space in pieces */

/* Spaces become U+2581, one of them before the text, unless the file says otherwise. */
static void put_piece_normalizer(struct ht__jw *w, bool prefix)
{
    put_typed(w, "normalizer", "Sequence");
    ht__jw_array(w, "normalizers");
    if (prefix) {
        put_typed(w, NULL, "Prepend");
        ht__jw_str(w, "prepend", LOW_LINE);
        ht__jw_end(w);
    }
    put_replace(w, " ", LOW_LINE);
    ht__jw_end(w);
    ht__jw_end(w);
}

static void put_piece_decoder(struct ht__jw *w, bool prefix)
{
    put_typed(w, "decoder", "Sequence");
    ht__jw_array(w, "decoders");
    put_replace(w, LOW_LINE, " ");
    put_typed(w, NULL, "ByteFallback");
    ht__jw_end(w);
    put_typed(w, NULL, "Fuse");
    ht__jw_end(w);
    if (prefix) {
        put_typed(w, NULL, "Strip");
        ht__jw_str(w, "content", " ");
        ht__jw_int(w, "start", 1);
        ht__jw_int(w, "stop", 0);
        ht__jw_end(w);
    }
    ht__jw_end(w);
    ht__jw_end(w);
}

static void put_template_token(struct ht__jw *w, const struct ht__export *e, int64_t id)
{
    ht__jw_object(w, NULL);
    ht__jw_object(w, "SpecialToken");
    ht__jw_text(w, "id", e->tokens[id].text, e->tokens[id].len);
    ht__jw_int(w, "type_id", 0);
    ht__jw_end(w);
    ht__jw_end(w);
}

static void put_sequence(struct ht__jw *w, const char *id)
{
    ht__jw_object(w, NULL);
    ht__jw_object(w, "Sequence");
    ht__jw_str(w, "id", id);
    ht__jw_int(w, "type_id", 0);
    ht__jw_end(w);
    ht__jw_end(w);
}

static void put_template_tokens(struct ht__jw *w, const struct ht__export *e, const int64_t ids[2])
{
    ht__jw_object(w, "special_tokens");
    for (int i = 0; i < 2; i++) {
        struct ht__str text = ids[i] < 0 ? (struct ht__str){0} : e->tokens[ids[i]];
        char *name = ids[i] < 0 || (i && ids[0] == ids[1]) ? NULL : ht__arena_copy(e->arena, text.text, text.len);
        if (!name) continue;
        ht__jw_object(w, name);
        ht__jw_str(w, "id", name);
        ht__jw_array(w, "ids");
        ht__jw_int(w, NULL, ids[i]);
        ht__jw_end(w);
        ht__jw_array(w, "tokens");
        ht__jw_str(w, NULL, name);
        ht__jw_end(w);
        ht__jw_end(w);
    }
    ht__jw_end(w);
}

/* bos, the text, eos; of a pair each text so. -1: nothing there. */
static void put_template(struct ht__jw *w, const struct ht__export *e, int64_t bos, int64_t eos)
{
    static const char *const lists[2] = {"single", "pair"}, *const parts[2] = {"A", "B"};
    put_typed(w, "post_processor", "TemplateProcessing");
    for (int i = 0; i < 2; i++) {
        ht__jw_array(w, lists[i]);
        for (int k = 0; k <= i; k++) {
            if (bos >= 0) put_template_token(w, e, bos);
            put_sequence(w, parts[k]);
            if (eos >= 0) put_template_token(w, e, eos);
        }
        ht__jw_end(w);
    }
    const int64_t ids[2] = {bos, eos};
    put_template_tokens(w, e, ids);
    ht__jw_end(w);
}

static void put_byte_level(struct ht__jw *w, const char *key)
{
    put_typed(w, key, "ByteLevel");
    ht__jw_bool(w, "add_prefix_space", false);
    ht__jw_bool(w, "trim_offsets", true);
    ht__jw_bool(w, "use_regex", true);
    ht__jw_end(w);
}

/* What goes around a text. */
struct around {
    bool bos, eos;
    int64_t bos_id, eos_id;
};

static void put_around(struct ht__jw *w, const struct ht__export *e, const struct around *a)
{
    int64_t bos = a->bos ? a->bos_id : -1, eos = a->eos ? a->eos_id : -1;
    if (bos >= 0 || eos >= 0)
        put_template(w, e, bos, eos);
    else if (e->byte_level)
        put_byte_level(w, "post_processor");
    else
        ht__jw_null(w, "post_processor");
}

static void put_bpe(struct ht__jw *w, const struct ht__export *e, bool ignores_merges)
{
    int64_t unknown = ht__export_id(e, "unknown_token_id", 0);
    put_typed(w, "model", "BPE");
    ht__jw_null(w, "dropout");
    if (e->byte_level || unknown < 0 || unknown >= (int64_t)e->n)
        ht__jw_null(w, "unk_token");
    else
        ht__jw_text(w, "unk_token", e->tokens[unknown].text, e->tokens[unknown].len);
    ht__jw_null(w, "continuing_subword_prefix");
    ht__jw_null(w, "end_of_word_suffix");
    ht__jw_bool(w, "fuse_unk", !e->byte_level);
    ht__jw_bool(w, "byte_fallback", !e->byte_level);
    ht__jw_bool(w, "ignore_merges", ignores_merges);
}

/* Both parts, and what they make, must be tokens, or no program loads the file. */
static bool are_tokens(const struct ht__export *e, const char *text, size_t left, size_t right, struct ht__buf *both)
{
    both->len = 0;
    ht__buf_put(both, text, left);
    ht__buf_put(both, text + left + 1, right);
    return !both->failed && ht__map_get(&e->ids, text, left) && ht__map_get(&e->ids, text + left + 1, right) &&
           ht__map_get(&e->ids, (const char *)both->data, left + right);
}

/* "left right" in the file. */
static enum ht_err put_merges(struct ht__jw *w, struct ht__export *e)
{
    struct ht__buf both;
    ht__buf_init(&both, w->out->alloc);
    ht__jw_array(w, "merges");
    for (uint64_t i = 0; i < e->n_merges; i++) {
        struct ht__str m = e->merges[i];
        const char *space = m.len ? memchr(m.text + 1, ' ', m.len - 1) : NULL;
        size_t left = space ? (size_t)(space - m.text) : 0, right = space ? m.len - left - 1 : 0;
        bool known = space && are_tokens(e, m.text, left, right, &both);
        if (both.failed) break;
        if (!known) {
            ht__export_without(e, "one of its merges joins what are no tokens, or makes none");
            break;
        }
        ht__jw_array(w, NULL);
        ht__jw_text(w, NULL, m.text, left);
        ht__jw_text(w, NULL, space + 1, right);
        ht__jw_end(w);
    }
    ht__jw_end(w);
    bool failed = both.failed;
    ht__buf_close(&both);
    return failed ? ht__fail_memory(e->diag, "tokenizer.json") : HT_OK;
}

/* ---- the two kinds ---- */

static enum ht_err put_byte_bpe(struct ht__jw *w, struct ht__export *e, const struct ht__pre_facts *pre,
                                const struct around *around)
{
    put_added(w, e);
    if (pre->nfc) {
        put_typed(w, "normalizer", "NFC");
        ht__jw_end(w);
    } else {
        ht__jw_null(w, "normalizer");
    }
    ht__export_put_splits(w, "pre_tokenizer", pre->steps);
    put_around(w, e, around);
    put_byte_level(w, "decoder");
    put_bpe(w, e, pre->ignores_merges);
    HT_TRY(put_vocab(w, e));
    HT_TRY(put_merges(w, e));
    ht__jw_end(w);
    return HT_OK;
}

static enum ht_err put_pieces(struct ht__jw *w, struct ht__export *e, const struct around *around)
{
    bool prefix = ht__export_switch(e, "add_space_prefix", true);
    put_added(w, e);
    put_piece_normalizer(w, prefix);
    ht__jw_null(w, "pre_tokenizer");
    put_around(w, e, around);
    put_piece_decoder(w, prefix);
    put_bpe(w, e, false);
    HT_TRY(put_vocab(w, e));
    HT_TRY(ht__export_scored_merges(e, w));
    ht__jw_end(w);
    return HT_OK;
}

static enum ht_err put_tokenizer(struct ht__export *e, const struct ht__pre_facts *pre, const struct around *around)
{
    struct ht__buf *file = ht__export_file(e, "tokenizer.json");
    struct ht__jw w = ht__jw_indented(file);
    ht__jw_object(&w, NULL);
    ht__jw_str(&w, "version", "1.0");
    ht__jw_null(&w, "truncation");
    ht__jw_null(&w, "padding");
    enum ht_err err = e->byte_level ? put_byte_bpe(&w, e, pre, around) : put_pieces(&w, e, around);
    ht__jw_end(&w);
    ht__buf_str(file, "\n");
    if (err == HT_OK && (!ht__jw_done(&w) || file->failed)) err = ht__fail_memory(e->diag, "tokenizer.json");
    return err;
}

static bool is_token(const struct ht__export *e, int64_t id)
{
    return id >= 0 && id < (int64_t)e->n;
}

static enum ht_err export_known(struct ht__export *e, const struct ht__pre_facts *pre)
{
    struct around around = {.bos = ht__export_switch(e, "add_bos_token", e->byte_level ? pre->adds_bos : true),
                            .eos = ht__export_switch(e, "add_eos_token", false),
                            .bos_id = ht__export_id(e, "bos_token_id", e->byte_level ? -1 : 1),
                            .eos_id = ht__export_id(e, "eos_token_id", e->byte_level ? -1 : 2)};
    read_lists(e);
    if (!e->out->missing[0]) HT_TRY(index_tokens(e));
    if (e->out->missing[0]) return HT_OK;
    around.bos = around.bos && is_token(e, around.bos_id);
    around.eos = around.eos && is_token(e, around.eos_id);
    HT_TRY(put_tokenizer(e, pre, &around));
    if (!e->out->missing[0]) return ht__export_settings(e, around.bos, around.eos);
    ht__buf_close(&e->out->files[--e->out->n].data);
    return HT_OK;
}

static enum ht_err export_kind(struct ht__export *e)
{
    struct ht__str kind, pre;
    struct ht__pre_facts facts = {0};
    char text[160];
    if (!ht__kv_get_str(e->kvs, KEY("model"), &kind) || (kind.len == 8 && memcmp(kind.text, "no_vocab", 8) == 0)) {
        ht__export_without(e, "the GGUF file has none");
        return HT_OK;
    }
    e->byte_level = kind.len == 4 && memcmp(kind.text, "gpt2", 4) == 0;
    if (!e->byte_level && !(kind.len == 5 && memcmp(kind.text, "llama", 5) == 0)) {
        snprintf(text, sizeof text, "its kind, \"%.*s\", cannot be written", (int)(kind.len < 40 ? kind.len : 40),
                 kind.text);
        ht__export_without(e, text);
        return HT_OK;
    }
    if (!ht__kv_get_str(e->kvs, KEY("pre"), &pre)) pre = (struct ht__str){"default", 7};
    snprintf(text, sizeof text, "%.*s", (int)(pre.len < 60 ? pre.len : 60), pre.text);
    if (e->byte_level && !ht__export_pre(text, &facts)) {
        snprintf(e->out->missing, sizeof e->out->missing, "its pre-tokenizer, \"%.60s\", cannot be written", text);
        return HT_OK;
    }
    return export_known(e, &facts);
}

enum ht_err ht__vocab_export(const struct ht__kvs *kvs, const char *arch, const struct ht__alloc *alloc,
                             struct ht__vocab_export *out, struct ht_diag *diag)
{
    struct ht__arena arena;
    struct ht__export e = {.kvs = kvs, .arch = arch, .arena = &arena, .diag = diag, .out = out};
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < HT__EXPORT_FILES; i++)
        ht__buf_init(&out->files[i].data, alloc);
    ht__arena_init(&arena, alloc);
    ht__map_init(&e.ids, alloc);
    enum ht_err err = export_kind(&e);
    if (err == HT_OK) err = ht__export_generation(&e);
    ht__map_close(&e.ids);
    ht__arena_close(&arena);
    return err;
}

void ht__vocab_export_close(struct ht__vocab_export *out)
{
    for (size_t i = 0; i < HT__EXPORT_FILES; i++)
        ht__buf_close(&out->files[i].data);
}
