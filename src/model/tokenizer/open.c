/* A tokenizer from a model's metadata. */
#include "model/tokenizer/parts.h"

#include <string.h>

#define KEY(name) "tokenizer.ggml." name

static const struct {
    const char *name;
    enum ht__tokenizer_kind kind;
    int32_t bos, eos, unk, pad, sep; /* where the metadata do not say */
    bool add_bos, add_eos;
} kinds[] = {
    {"gpt2", HT__TOKENIZER_BYTES, -1, -1, -1, -1, -1, false, false},
    {"llama", HT__TOKENIZER_SPM, 1, 2, 0, -1, -1, true, false},
    {"t5", HT__TOKENIZER_UNIGRAM, -1, 1, 2, 0, -1, false, true},
    {"bert", HT__TOKENIZER_WORDPIECE, 101, -1, 100, 0, 102, true, true},
};

static enum ht_err choose_kind(struct ht__tokenizer *t, const struct ht__kvs *kvs, struct ht_diag *diag)
{
    struct ht__str model;
    if (!ht__kv_get_str(kvs, KEY("model"), &model) || (model.len == 4 && memcmp(model.text, "none", 4) == 0) ||
        (model.len == 8 && memcmp(model.text, "no_vocab", 8) == 0))
        return ht__fail(diag, HT_ERR_UNSUPPORTED, t->where, -1,
                        "the model has no tokenizer, so it cannot tokenize text");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (strlen(kinds[i].name) != model.len || memcmp(kinds[i].name, model.text, model.len) != 0) continue;
        t->kind = kinds[i].kind;
        t->bos = kinds[i].bos, t->eos = kinds[i].eos, t->unk = kinds[i].unk;
        t->pad = kinds[i].pad, t->sep = kinds[i].sep, t->eot = -1;
        t->add_bos = kinds[i].add_bos, t->add_eos = kinds[i].add_eos;
        return HT_OK;
    }
    return ht__fail(diag, HT_ERR_UNSUPPORTED, t->where, -1, "tokenizers of the kind \"%.*s\" are not known",
                    (int)(model.len < 40 ? model.len : 40), model.text);
}

/* An array of n elements of the type; *data NULL where there is none. */
static enum ht_err get_array(const struct ht__tokenizer *t, const struct ht__kvs *kvs, const char *key,
                             enum ht__kv_type elem, const void **data, struct ht_diag *diag)
{
    const struct ht__kv *kv = ht__kv_get(kvs, key);
    *data = NULL;
    if (!kv) return HT_OK;
    if (kv->type != HT__KV_ARR || kv->elem != elem || kv->n < t->n)
        return ht__fail(diag, HT_ERR_FORMAT, t->where, -1, "%s is not an array of %s with an element for each token",
                        key, ht__kv_type_name(elem));
    *data = kv->data;
    return HT_OK;
}

/* All spellings in one block. */
static bool copy_pieces(struct ht__tokenizer *t, const struct ht__str *strs)
{
    size_t bytes = 0;
    for (uint32_t id = 0; id < t->n; id++)
        bytes += strs[id].len;
    char *to = ht__arena_raw(&t->arena, bytes + 1);
    t->pieces = ht__arena_array(&t->arena, t->n, sizeof *t->pieces);
    t->texts = ht__arena_array(&t->arena, t->n, sizeof *t->texts);
    t->scores = ht__arena_array(&t->arena, t->n, sizeof *t->scores);
    t->types = ht__arena_new(&t->arena, t->n);
    t->ends = ht__arena_new(&t->arena, t->n);
    if (!to || !t->pieces || !t->texts || !t->scores || !t->types || !t->ends) return false;
    for (uint32_t id = 0; id < t->n; id++) {
        if (strs[id].len) memcpy(to, strs[id].text, strs[id].len);
        t->texts[id] = t->pieces[id] = (struct ht__str){to, strs[id].len};
        to += strs[id].len;
    }
    return true;
}

static enum ht_err read_vocabulary(struct ht__tokenizer *t, const struct ht__kvs *kvs, struct ht_diag *diag)
{
    const struct ht__kv *tokens = ht__kv_get(kvs, KEY("tokens"));
    const void *scores, *types;
    if (!tokens || tokens->type != HT__KV_ARR || tokens->elem != HT__KV_STR || tokens->n == 0)
        return ht__fail(diag, HT_ERR_FORMAT, t->where, -1, "%s is missing", KEY("tokens"));
    if (tokens->n > HT__VOCAB_MAX_TOKENS)
        return ht__fail(diag, HT_ERR_LIMIT, t->where, -1, "%llu tokens are too many", (unsigned long long)tokens->n);
    t->n = (uint32_t)tokens->n;
    HT_TRY(get_array(t, kvs, KEY("scores"), HT__KV_F32, &scores, diag));
    HT_TRY(get_array(t, kvs, KEY("token_type"), HT__KV_I32, &types, diag));
    if (!copy_pieces(t, tokens->strs)) return ht__fail_memory(diag, t->where);
    if (scores) memcpy(t->scores, scores, t->n * sizeof *t->scores);
    for (uint32_t id = 0; id < t->n; id++) {
        int32_t type = HT__TOKEN_NORMAL;
        if (types) memcpy(&type, (const char *)types + 4 * (size_t)id, 4);
        t->types[id] = (uint8_t)(type > HT__TOKEN_NONE && type <= HT__TOKEN_BYTE ? type : HT__TOKEN_NORMAL);
        if (t->pieces[id].len > HT__VOCAB_MAX_TEXT)
            return ht__fail(diag, HT_ERR_LIMIT, t->where, -1, "token %u is too long", id);
        if (ht__map_put(&t->ids, t->pieces[id].text, t->pieces[id].len, id) == HT__MAP_NO_MEMORY)
            return ht__fail_memory(diag, t->where);
    }
    return HT_OK;
}

static void get_id(const struct ht__tokenizer *t, const struct ht__kvs *kvs, const char *key, int32_t *id)
{
    uint64_t v;
    if (ht__kv_get_u64(kvs, key, &v)) *id = v < t->n ? (int32_t)v : -1;
    if (*id >= (int32_t)t->n) *id = -1;
}

static void get_bool(const struct ht__kvs *kvs, const char *key, bool *v)
{
    const struct ht__kv *kv = ht__kv_get(kvs, key);
    if (kv && kv->type == HT__KV_BOOL) *v = kv->u != 0;
}

/* Spellings by which models end a turn or a text. */
static const char *const end_pieces[] = {
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<turn|>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<|end_of_text|>",
    "<EOT>",
    "_<EOT>",
    "<|return|>",
    "<|call|>",
    "<|endofturn|>",
    "<end_of_utterance>",
    "<eos>",
    "<|eot|>",
    "<|eos|>",
    "[EOT]",
    "[EOS]",
    "<｜end▁of▁sentence｜>",
    "<｜end▁of▁turn｜>",
    "<EOD>",
    "< EOT >",
};
/* Of these, the ones that are an end of turn, the most telling first. */
enum { N_TURN_PIECES = 5 };

static void find_ends(struct ht__tokenizer *t)
{
    for (size_t i = 0; i < sizeof end_pieces / sizeof *end_pieces; i++) {
        int32_t id = ht__tokenizer_find(t, end_pieces[i], strlen(end_pieces[i]));
        if (id < 0 || (t->types[id] != HT__TOKEN_CONTROL && t->types[id] != HT__TOKEN_USER)) continue;
        t->ends[id] = 1;
        if (t->eot < 0 && i < N_TURN_PIECES) t->eot = id;
    }
    if (t->eos >= 0) t->ends[t->eos] = 1;
    if (t->eot >= 0) t->ends[t->eot] = 1;
    /* gpt-oss ends with one of these; its <|end|> separates its reasoning from its answer */
    int32_t back = ht__tokenizer_find(t, "<|return|>", 10), call = ht__tokenizer_find(t, "<|call|>", 8);
    int32_t end = ht__tokenizer_find(t, "<|end|>", 7);
    if (back >= 0 && call >= 0 && end >= 0 && end != t->eos) t->ends[end] = 0;
}

static enum ht_err read_roles(struct ht__tokenizer *t, const struct ht__kvs *kvs, struct ht_diag *diag)
{
    struct ht__str chat;
    int32_t eom = -1;
    get_id(t, kvs, KEY("bos_token_id"), &t->bos);
    get_id(t, kvs, KEY("eos_token_id"), &t->eos);
    get_id(t, kvs, KEY("eot_token_id"), &t->eot);
    get_id(t, kvs, KEY("eom_token_id"), &eom);
    get_id(t, kvs, KEY("unknown_token_id"), &t->unk);
    get_id(t, kvs, KEY("padding_token_id"), &t->pad);
    get_id(t, kvs, KEY("seperator_token_id"), &t->sep); /* as the format spells it */
    if (t->pre.adds_bos) t->add_bos = true;
    get_bool(kvs, KEY("add_bos_token"), &t->add_bos);
    get_bool(kvs, KEY("add_eos_token"), &t->add_eos);
    /* what ends WordPiece's texts is its separator; the key for that tells of what stands between two */
    if (t->kind == HT__TOKENIZER_WORDPIECE && !ht__kv_get(kvs, KEY("add_eos_token")))
        get_bool(kvs, KEY("add_sep_token"), &t->add_eos);
    find_ends(t);
    if (eom >= 0) t->ends[eom] = 1;
    if (!ht__kv_get_str(kvs, "tokenizer.chat_template", &chat)) return HT_OK;
    t->chat_template = ht__arena_copy(&t->arena, chat.text, chat.len);
    return t->chat_template ? HT_OK : ht__fail_memory(diag, t->where);
}

static enum ht_err open_kind(struct ht__tokenizer *t, const struct ht__kvs *kvs, struct ht_diag *diag)
{
    switch (t->kind) {
    case HT__TOKENIZER_BYTES: return ht__tokenizer_bytes_open(t, kvs, diag);
    case HT__TOKENIZER_SPM: return ht__tokenizer_spm_open(t, diag);
    case HT__TOKENIZER_UNIGRAM: return ht__tokenizer_unigram_open(t, kvs, diag);
    case HT__TOKENIZER_WORDPIECE: return ht__tokenizer_wordpiece_open(t, diag);
    }
    return HT_OK;
}

static enum ht_err open_all(struct ht__tokenizer *t, const struct ht__kvs *kvs, struct ht_diag *diag)
{
    HT_TRY(choose_kind(t, kvs, diag));
    if (!ht__uni_open(&t->uni, t->alloc)) return ht__fail_memory(diag, t->where);
    HT_TRY(read_vocabulary(t, kvs, diag));
    t->add_prefix = t->kind == HT__TOKENIZER_SPM || t->kind == HT__TOKENIZER_UNIGRAM;
    get_bool(kvs, KEY("add_space_prefix"), &t->add_prefix);
    if (t->kind == HT__TOKENIZER_UNIGRAM) get_bool(kvs, KEY("remove_extra_whitespaces"), &t->remove_extra);
    t->lowercase = true;
    get_bool(kvs, KEY("normalizer.lowercase"), &t->lowercase);
    t->strip_accents = t->lowercase;
    get_bool(kvs, KEY("normalizer.strip_accents"), &t->strip_accents);
    HT_TRY(open_kind(t, kvs, diag));
    HT_TRY(read_roles(t, kvs, diag));
    return ht__tokenizer_specials_open(t, kvs, diag);
}

enum ht_err ht__tokenizer_open(const struct ht__kvs *kvs, const char *where, const struct ht__alloc *alloc,
                               struct ht__tokenizer **out, struct ht_diag *diag)
{
    *out = NULL;
    struct ht__tokenizer *t = ht__new(alloc, sizeof *t);
    if (!t) return ht__fail_memory(diag, where);
    t->alloc = alloc;
    ht__arena_init(&t->arena, alloc);
    ht__map_init(&t->ids, alloc);
    ht__map_init(&t->symbols, alloc);
    pthread_mutex_init(&t->lock, NULL);
    memset(t->byte_ids, 0xff, sizeof t->byte_ids); /* -1: none */
    t->where = ht__arena_str(&t->arena, where ? where : "");
    enum ht_err err = t->where ? open_all(t, kvs, diag) : ht__fail_memory(diag, where);
    if (err != HT_OK) ht__tokenizer_close(&t);
    *out = t;
    return err;
}

void ht__tokenizer_close(struct ht__tokenizer **text)
{
    struct ht__tokenizer *t = text ? *text : NULL;
    if (!t) return;
    ht__tokenizer_close_work(t);
    ht__pre_close(&t->pre);
    ht__uni_close(&t->uni, t->alloc);
    ht__pairs_close(&t->pairs);
    ht__trie_close(&t->special_trie);
    ht__trie_close(&t->words);
    ht__trie_close(&t->tails);
    ht__map_close(&t->ids);
    ht__map_close(&t->symbols);
    pthread_mutex_destroy(&t->lock);
    ht__arena_close(&t->arena);
    ht__free(t->alloc, t);
    *text = NULL;
}

int32_t ht__tokenizer_bos(const struct ht__tokenizer *t)
{
    return t->bos;
}
int32_t ht__tokenizer_eos(const struct ht__tokenizer *t)
{
    return t->eos;
}
int32_t ht__tokenizer_pad(const struct ht__tokenizer *t)
{
    return t->pad;
}
int32_t ht__tokenizer_unk(const struct ht__tokenizer *t)
{
    return t->unk;
}
bool ht__tokenizer_adds_bos(const struct ht__tokenizer *t)
{
    return t->add_bos && t->bos >= 0;
}
bool ht__tokenizer_adds_eos(const struct ht__tokenizer *t)
{
    return t->add_eos && t->eos >= 0;
}
int ht__tokenizer_size(const struct ht__tokenizer *t)
{
    return (int)t->n;
}
const char *ht__tokenizer_chat_template(const struct ht__tokenizer *t)
{
    return t->chat_template;
}

static bool is_known(const struct ht__tokenizer *t, int32_t id)
{
    return id >= 0 && (uint32_t)id < t->n;
}

bool ht__tokenizer_is_end(const struct ht__tokenizer *t, int32_t id)
{
    return is_known(t, id) && t->ends[id];
}

bool ht__tokenizer_is_control(const struct ht__tokenizer *t, int32_t id)
{
    return is_known(t, id) && (t->types[id] == HT__TOKEN_CONTROL || t->types[id] == HT__TOKEN_UNKNOWN);
}

struct ht__str ht__tokenizer_piece(const struct ht__tokenizer *t, int32_t id)
{
    return is_known(t, id) ? t->pieces[id] : (struct ht__str){NULL, 0};
}

int32_t ht__tokenizer_find(const struct ht__tokenizer *t, const char *piece, size_t len)
{
    const uint32_t *id = ht__map_get(&t->ids, piece, len);
    return id ? (int32_t)*id : -1;
}
