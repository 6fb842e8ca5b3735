/*
 * tokenizer.json, read by the pull parser: the vocabulary and the merges go straight to where they
 * are kept; the small parts (normalizer, pre-tokenizer, post-processor, decoder) become trees.
 */
#include "model/vocab_import/tokenizer_json.h"

#include <math.h>
#include <string.h>

/* The small parts are a few kilobytes; a normalization table of 300 KB is the largest that is
 * known. */
enum { MAX_PART = 8 << 20, MAX_MERGES = 1 << 24 };

struct reader {
    struct ht__json json;
    struct ht__arena *scratch;
    struct ht__vocab *vocab;
    struct ht__tokenizer_json *out;
    bool with_model, has_vocab, is_unigram, has_merges, has_wordpiece_key;
    const char *type;
};

static bool is(const char *key, size_t len, const char *name)
{
    return len == strlen(name) && memcmp(key, name, len) == 0;
}

static enum ht_err memory(struct ht__json *json)
{
    return json->err = ht__fail_memory(json->diag, json->where);
}

enum ht_err ht__vocab_read_json(struct ht__json *json, struct ht__vocab *vocab)
{
    const char *key;
    size_t len;
    char show[64];
    struct ht__json_value v;
    while (ht__json_member(json, &key, &len, &v)) {
        if (v.type != HT__JSON_NUMBER || !v.is_int || v.integer < 0)
            return ht__json_fail(json, "the id of token \"%s\" is not a whole number from 0",
                                 ht__token_show(show, key, len));
        HT_TRY(ht__vocab_put(vocab, (uint64_t)v.integer, key, len, 0, HT__TOKEN_NORMAL, json->diag));
    }
    return json->err;
}

/* [["piece", score], ...] */
static enum ht_err read_unigram(struct ht__json *json, struct ht__vocab *vocab)
{
    struct ht__json_value pair, v = {0};
    while ((pair = ht__json_next(json)).type != HT__JSON_END) {
        size_t id = ht__vocab_count(vocab);
        if (pair.type == HT__JSON_ARRAY) v = ht__json_next(json);
        if (json->err) return json->err;
        if (pair.type != HT__JSON_ARRAY || v.type != HT__JSON_STRING)
            return ht__json_fail(json, "token %zu is not a pair of text and score", id);
        HT_TRY(ht__vocab_put(vocab, id, v.text, v.len, 0, HT__TOKEN_NORMAL, json->diag));
        v = ht__json_next(json);
        float score = v.type == HT__JSON_NUMBER ? (float)v.number : NAN;
        ht__vocab_at(vocab, id)->score = score;
        if (!json->err && (!isfinite(score) || ht__json_next(json).type != HT__JSON_END))
            return ht__json_fail(json, "token %zu is not a pair of text and score", id);
        if (json->err) return json->err;
    }
    return json->err;
}

enum ht_err ht__merges_put(struct ht__merges *merges, struct ht__vocab *vocab, const char *left, size_t left_len,
                           const char *right, size_t right_len, struct ht_diag *diag)
{
    size_t n = ht__merges_count(merges);
    if (n >= MAX_MERGES) return ht__fail(diag, HT_ERR_LIMIT, vocab->where, -1, "more than %d merges", MAX_MERGES);
    if (left_len == 0 || right_len == 0)
        return ht__fail(diag, HT_ERR_FORMAT, vocab->where, -1, "merge %zu has an empty part", n);
    if (left_len > HT__VOCAB_MAX_TEXT || right_len > HT__VOCAB_MAX_TEXT)
        return ht__fail(diag, HT_ERR_LIMIT, vocab->where, -1, "merge %zu is too long", n);
    char both[2 * HT__VOCAB_MAX_TEXT];
    memcpy(both, left, left_len);
    memcpy(both + left_len, right, right_len);
    struct ht__str text = ht__vocab_text(vocab, both, left_len + right_len);
    struct ht__merge merge = {text.text, (uint32_t)left_len, (uint32_t)right_len};
    if (text.text) ht__buf_put(&merges->items, &merge, sizeof merge);
    return text.text && !merges->items.failed ? HT_OK : ht__fail_memory(diag, vocab->where);
}

/* "left right": the older form, one space between. */
static enum ht_err put_joined(struct reader *r, const char *text, size_t len)
{
    const char *space = memchr(text, ' ', len);
    if (!space || memchr(space + 1, ' ', len - (size_t)(space + 1 - text)))
        return ht__json_fail(&r->json, "merge %zu is not two parts with one space between",
                             ht__merges_count(&r->out->merges));
    size_t left = (size_t)(space - text);
    return ht__merges_put(&r->out->merges, r->vocab, text, left, space + 1, len - left - 1, r->json.diag);
}

/* ["left", "right"], entered. The parser's text lasts until the next call: the left part is copied. */
static enum ht_err put_pair(struct reader *r, struct ht__buf *left)
{
    struct ht__json *json = &r->json;
    struct ht__json_value v = ht__json_next(json);
    if (json->err) return json->err;
    left->len = 0;
    if (v.type == HT__JSON_STRING) ht__buf_put(left, v.text, v.len);
    if (left->failed) return memory(json);
    if (v.type == HT__JSON_STRING) v = ht__json_next(json);
    if (json->err) return json->err;
    if (v.type != HT__JSON_STRING)
        return ht__json_fail(json, "merge %zu is not a pair of texts", ht__merges_count(&r->out->merges));
    HT_TRY(ht__merges_put(&r->out->merges, r->vocab, (const char *)left->data, left->len, v.text, v.len, json->diag));
    if (ht__json_next(json).type == HT__JSON_END) return json->err;
    return ht__json_fail(json, "merge %zu has more than two parts", ht__merges_count(&r->out->merges) - 1);
}

static enum ht_err read_merges(struct reader *r)
{
    struct ht__buf left;
    struct ht__json_value v;
    enum ht_err err = HT_OK;
    ht__buf_init(&left, r->vocab->alloc);
    while (err == HT_OK && (v = ht__json_next(&r->json)).type != HT__JSON_END) {
        if (v.type == HT__JSON_STRING)
            err = put_joined(r, v.text, v.len);
        else if (v.type == HT__JSON_ARRAY)
            err = put_pair(r, &left);
        else
            err = ht__json_fail(&r->json, "merge %zu is neither a text nor a pair", ht__merges_count(&r->out->merges));
    }
    ht__buf_close(&left);
    return err == HT_OK ? r->json.err : err;
}

/* A part that is kept as a tree: its text is what the parser skips. */
static enum ht_err read_part(struct reader *r, const struct ht__json_value *v, const char *name,
                             const struct ht__jnode **out)
{
    struct ht__json *json = &r->json;
    if (*out) return ht__json_fail(json, "\"%s\" occurs twice", name);
    if (v->type == HT__JSON_NULL) return HT_OK;
    if (v->type != HT__JSON_OBJECT) return ht__json_fail(json, "\"%s\" is not an object", name);
    size_t start = json->pos - 1;
    ht__json_skip(json, v);
    if (json->err) return json->err;
    if (json->pos - start > MAX_PART)
        return json->err = ht__fail(json->diag, HT_ERR_LIMIT, json->where, (int64_t)start,
                                    "\"%s\" has more than %d bytes", name, MAX_PART);
    struct ht__jnode *node;
    HT_TRY(ht__json_parse(r->scratch, json->text + start, json->pos - start, json->where, &node, json->diag));
    *out = node;
    return HT_OK;
}

static enum ht_err read_string(struct reader *r, const struct ht__json_value *v, const char *name, const char **out)
{
    if (v->type == HT__JSON_NULL) return HT_OK;
    if (v->type != HT__JSON_STRING) return ht__json_fail(&r->json, "\"%s\" is not a text", name);
    *out = ht__arena_copy(r->scratch, v->text, v->len);
    return *out ? HT_OK : memory(&r->json);
}

static enum ht_err read_vocab(struct reader *r, const struct ht__json_value *v)
{
    if (r->has_vocab) return ht__json_fail(&r->json, "\"vocab\" occurs twice");
    r->has_vocab = true;
    r->is_unigram = v->type == HT__JSON_ARRAY;
    if (v->type == HT__JSON_OBJECT) return ht__vocab_read_json(&r->json, r->vocab);
    if (v->type == HT__JSON_ARRAY) return read_unigram(&r->json, r->vocab);
    return ht__json_fail(&r->json, "\"vocab\" is neither an object nor an array");
}

static enum ht_err model_member(struct reader *r, const char *key, size_t len, const struct ht__json_value *v)
{
    struct ht__tokenizer_json *out = r->out;
    if (is(key, len, "vocab")) return read_vocab(r, v);
    if (is(key, len, "merges")) {
        if (r->has_merges) return ht__json_fail(&r->json, "\"merges\" occurs twice");
        if (v->type != HT__JSON_ARRAY) return ht__json_fail(&r->json, "\"merges\" is not an array");
        r->has_merges = true;
        return read_merges(r);
    }
    if (is(key, len, "type")) return read_string(r, v, "type", &r->type);
    if (is(key, len, "unk_token")) return read_string(r, v, "unk_token", &out->unk_token);
    if (is(key, len, "continuing_subword_prefix")) return read_string(r, v, "continuing_subword_prefix", &out->prefix);
    if (is(key, len, "end_of_word_suffix")) return read_string(r, v, "end_of_word_suffix", &out->suffix);
    if (is(key, len, "byte_fallback")) out->byte_fallback = v->boolean;
    if (is(key, len, "ignore_merges")) out->ignore_merges = v->boolean;
    if (is(key, len, "max_input_chars_per_word")) r->has_wordpiece_key = true;
    if (is(key, len, "unk_id") && v->type == HT__JSON_NUMBER && v->is_int && v->integer >= 0) out->unk_id = v->integer;
    ht__json_skip(&r->json, v);
    return r->json.err;
}

static enum ht_err read_model(struct reader *r, const struct ht__json_value *v)
{
    const char *key;
    size_t len;
    struct ht__json_value member;
    if (r->out->model != HT__MODEL_UNKNOWN || r->has_vocab) return ht__json_fail(&r->json, "\"model\" occurs twice");
    if (v->type != HT__JSON_OBJECT) return ht__json_fail(&r->json, "\"model\" is not an object");
    while (ht__json_member(&r->json, &key, &len, &member))
        HT_TRY(model_member(r, key, len, &member));
    if (r->json.err) return r->json.err;
    if (!r->has_vocab) return ht__json_fail(&r->json, "the model has no vocabulary");
    return HT_OK;
}

struct added {
    bool has_id, has_text, special;
    uint64_t id;
};

static enum ht_err added_member(struct reader *r, const char *key, size_t len, const struct ht__json_value *v,
                                struct added *added, struct ht__buf *text)
{
    if (is(key, len, "id") && v->type == HT__JSON_NUMBER && v->is_int && v->integer >= 0) {
        added->has_id = true;
        added->id = (uint64_t)v->integer;
    }
    if (is(key, len, "content") && v->type == HT__JSON_STRING) {
        added->has_text = true;
        text->len = 0;
        ht__buf_put(text, v->text, v->len);
        if (text->failed) return memory(&r->json);
    }
    if (is(key, len, "special")) added->special = v->boolean;
    ht__json_skip(&r->json, v);
    return r->json.err;
}

static enum ht_err read_one_added(struct reader *r, struct ht__buf *text)
{
    const char *key;
    size_t len;
    struct ht__json_value v;
    struct added added = {0};
    while (ht__json_member(&r->json, &key, &len, &v))
        HT_TRY(added_member(r, key, len, &v, &added, text));
    if (r->json.err) return r->json.err;
    if (!added.has_id || !added.has_text)
        return ht__json_fail(&r->json, "added token %zu has no whole \"id\" or no \"content\"",
                             ht__vocab_added_count(r->vocab));
    return ht__vocab_add(r->vocab, added.id, (const char *)text->data, text->len, added.special, HT__ADDED_JSON,
                         r->json.diag);
}

static enum ht_err read_added(struct reader *r, const struct ht__json_value *list)
{
    struct ht__json_value v;
    struct ht__buf text;
    enum ht_err err = HT_OK;
    if (list->type == HT__JSON_NULL) return HT_OK;
    if (list->type != HT__JSON_ARRAY) return ht__json_fail(&r->json, "\"added_tokens\" is not an array");
    ht__buf_init(&text, r->vocab->alloc);
    while (err == HT_OK && (v = ht__json_next(&r->json)).type != HT__JSON_END) {
        if (v.type == HT__JSON_OBJECT)
            err = read_one_added(r, &text);
        else
            err = ht__json_fail(&r->json, "added token %zu is not an object", ht__vocab_added_count(r->vocab));
    }
    ht__buf_close(&text);
    return err == HT_OK ? r->json.err : err;
}

static enum ht_err top_member(struct reader *r, const char *key, size_t len, const struct ht__json_value *v)
{
    struct ht__tokenizer_json *out = r->out;
    if (is(key, len, "model") && r->with_model) return read_model(r, v);
    if (is(key, len, "added_tokens")) return read_added(r, v);
    if (is(key, len, "normalizer")) return read_part(r, v, "normalizer", &out->normalizer);
    if (is(key, len, "pre_tokenizer")) return read_part(r, v, "pre_tokenizer", &out->pre_tokenizer);
    if (is(key, len, "post_processor")) return read_part(r, v, "post_processor", &out->post_processor);
    if (is(key, len, "decoder")) return read_part(r, v, "decoder", &out->decoder);
    ht__json_skip(&r->json, v);
    return r->json.err;
}

/* Older files do not say their type: it shows in what they have. */
static enum ht_err decide_type(struct reader *r)
{
    static const struct {
        const char *name;
        enum ht__json_model model;
    } types[] = {{"BPE", HT__MODEL_BPE},
                 {"WordPiece", HT__MODEL_WORDPIECE},
                 {"Unigram", HT__MODEL_UNIGRAM},
                 {"WordLevel", HT__MODEL_WORDLEVEL}};
    enum ht__json_model *model = &r->out->model;
    for (size_t i = 0; r->type && i < sizeof types / sizeof *types; i++)
        if (strcmp(r->type, types[i].name) == 0) *model = types[i].model;
    if (!r->type)
        *model = r->is_unigram          ? HT__MODEL_UNIGRAM
                 : r->has_merges        ? HT__MODEL_BPE
                 : r->has_wordpiece_key ? HT__MODEL_WORDPIECE
                                        : HT__MODEL_WORDLEVEL;
    if (!r->has_vocab) return ht__json_fail(&r->json, "there is no \"model\"");
    if (*model == HT__MODEL_UNKNOWN)
        return ht__fail(r->json.diag, HT_ERR_UNSUPPORTED, r->json.where, -1,
                        "the tokenizer model \"%s\" is not known; known are BPE, WordPiece, "
                        "Unigram",
                        r->type);
    if (r->is_unigram != (*model == HT__MODEL_UNIGRAM))
        return ht__json_fail(&r->json, "the vocabulary does not have the form of the model's type");
    return HT_OK;
}

static enum ht_err read_all(struct reader *r)
{
    const char *key;
    size_t len;
    struct ht__json_value v = ht__json_next(&r->json);
    if (r->json.err) return r->json.err;
    if (v.type != HT__JSON_OBJECT) return ht__json_fail(&r->json, "not an object");
    while (ht__json_member(&r->json, &key, &len, &v))
        HT_TRY(top_member(r, key, len, &v));
    if (r->json.err || ht__json_next(&r->json).type != HT__JSON_END) return r->json.err;
    return r->with_model ? decide_type(r) : HT_OK;
}

enum ht_err ht__tokenizer_json_parse(const char *text, size_t size, bool with_model, struct ht__arena *scratch,
                                     struct ht__vocab *vocab, struct ht__tokenizer_json *out, struct ht_diag *diag)
{
    struct reader r = {.scratch = scratch, .vocab = vocab, .out = out, .with_model = with_model};
    memset(out, 0, sizeof *out);
    out->unk_id = -1;
    ht__buf_init(&out->merges.items, vocab->alloc);
    ht__json_init(&r.json, text, size, vocab->where, vocab->alloc, diag);
    enum ht_err err = read_all(&r);
    ht__json_close(&r.json);
    return err;
}

void ht__tokenizer_json_close(struct ht__tokenizer_json *json)
{
    ht__buf_close(&json->merges.items);
}
