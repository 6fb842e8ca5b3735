/*
 * Ids of special tokens, and whether a runtime puts them around the text.
 *
 * Ids, first found wins: the text that tokenizer_config.json gives, looked up among the added
 * tokens of tokenizer.json; config.json's <type>_token_id; the same text (or that of
 * special_tokens_map.json) in the vocabulary; an id that belongs to a model family. Switches: what the
 * post-processor does, and where it says nothing, add_<type>_token.
 */
#include "model/vocab_import/tok.h"

#include <string.h>

enum type { BOS, EOS, UNK, SEP, PAD, CLS, MASK, EOT, N_TYPES };

static const struct {
    const char *name, *id_key, *add_key;
    int llama, gpt2, t5, bert; /* what runtimes take without the key; -1: nothing */
} types[N_TYPES] = {
    [BOS] = {"bos", HT__TOK_KEY("bos_token_id"), HT__TOK_KEY("add_bos_token"), 1, 11, -1, 101},
    [EOS] = {"eos", HT__TOK_KEY("eos_token_id"), HT__TOK_KEY("add_eos_token"), 2, 11, 1, -1},
    [UNK] = {"unk", HT__TOK_KEY("unknown_token_id"), NULL, 0, -1, 2, 100},
    [SEP] = {"sep", HT__TOK_KEY("seperator_token_id"), HT__TOK_KEY("add_sep_token"), -1, -1, -1, 102},
    [PAD] = {"pad", HT__TOK_KEY("padding_token_id"), NULL, -1, -1, 0, 0},
    [CLS] = {"cls", NULL, NULL, -1, -1, -1, -1}, /* llama.cpp has no key for it */
    [MASK] = {"mask", HT__TOK_KEY("mask_token_id"), NULL, -1, -1, -1, 103},
    [EOT] = {"eot", HT__TOK_KEY("eot_token_id"), NULL, -1, -1, -1, -1},
};

struct special {
    struct ht__tok *tok;
    const char *text[N_TYPES]; /* as the settings name them, or NULL */
    int64_t id[N_TYPES];       /* -1: not known */
    enum type order[N_TYPES];  /* in which ids were found: that of the metadata */
    int n;
    int add[N_TYPES]; /* -1: nothing said; else the switch */
    enum type add_order[N_TYPES];
    int n_add;
    bool has_template; /* the post-processor says what goes around a text, be it nothing */
};

static void set_add(struct special *s, enum type type, bool on)
{
    if (s->add[type] < 0) s->add_order[s->n_add++] = type;
    s->add[type] = on;
}

static void set_add_if_open(struct special *s, enum type type, bool on)
{
    if (s->add[type] < 0) set_add(s, type, on);
}

static void set_id(struct special *s, enum type type, int64_t id, const char *source)
{
    if (id < 0 || s->id[type] >= 0) return;
    if (id >= (int64_t)s->tok->vocab.n) {
        ht__log_printf(s->tok->job->log, HT__LOG_WARNING,
                       "tokenizer: %s: the %s token's id %lld is beyond the %u tokens and is "
                       "left out",
                       source, types[type].name, (long long)id, s->tok->vocab.n);
        return;
    }
    s->id[type] = id;
    s->order[s->n++] = type;
}

static int default_of(const struct special *s, enum type type)
{
    const char *kind = s->tok->kind;
    return strcmp(kind, "llama") == 0  ? types[type].llama
           : strcmp(kind, "gpt2") == 0 ? types[type].gpt2
           : strcmp(kind, "t5") == 0   ? types[type].t5
                                       : types[type].bert;
}

static bool same(const char *a, const char *b)
{
    return a && b && strcmp(a, b) == 0;
}

/* The special token of a template's step, or NULL. */
static const char *special_of(const struct ht__jnode *list, size_t i)
{
    return list && i < list->n ? ht__jstr(ht__jget(&list->children[i], "SpecialToken"), "id", NULL) : NULL;
}

static bool is_sequence(const struct ht__jnode *list, size_t i, const char *id)
{
    return same(ht__jstr(ht__jget(&list->children[i], "Sequence"), "id", NULL), id);
}

/* What stands between A and B in the template of a pair: is it a separator? */
static void read_pair(struct special *s, const struct ht__jnode *pair, const char *first, const char *last)
{
    if (!pair || pair->type != HT__JSON_ARRAY || pair->n == 0) return;
    size_t begin = first && same(special_of(pair, 0), first) ? 1 : 0;
    size_t end = pair->n - (last && same(special_of(pair, pair->n - 1), last) ? 1 : 0);
    if (end <= begin + 2 || !is_sequence(pair, begin, "A") || !is_sequence(pair, end - 1, "B")) return;
    bool add = false;
    for (size_t i = begin + 1; i < end - 1 && i < begin + 3; i++) {
        const char *entry = special_of(pair, i);
        bool separates = same(entry, s->text[SEP]) || same(entry, s->text[EOS]);
        if (separates && (i > begin + 1 ? end - begin == 4 : !last)) add = true;
    }
    set_add(s, SEP, add);
    if (add && !s->text[SEP]) s->text[SEP] = s->text[EOS];
}

static void read_template(struct special *s, const struct ht__jnode *node)
{
    const struct ht__jnode *single = ht__jget(node, "single");
    const char *first = NULL, *last = NULL;
    s->has_template = true;
    if (single && single->type == HT__JSON_ARRAY && single->n > 1) {
        first = special_of(single, 0);
        last = special_of(single, single->n - 1);
    }
    if (first) {
        if (!s->tok->settings || !s->text[BOS]) s->text[BOS] = first;
        if (!s->text[CLS]) s->text[CLS] = first;
        set_add(s, BOS, same(first, s->text[BOS]) || same(first, s->text[CLS]));
    }
    if (last) {
        /* What really ends a text is the end token; the one so named ends a turn. */
        if (s->tok->settings && !same(last, s->text[EOS])) s->text[EOT] = s->text[EOS];
        s->text[EOS] = last;
        set_add(s, EOS, true);
    }
    read_pair(s, ht__jget(node, "pair"), first, last);
}

/* ["<s>", 0] */
static const char *first_text(const struct ht__jnode *node, const char *key, const char *otherwise)
{
    const struct ht__jnode *pair = ht__jget(node, key);
    if (!pair || pair->type != HT__JSON_ARRAY || pair->n == 0) return otherwise;
    return pair->children[0].type == HT__JSON_STRING ? pair->children[0].text : otherwise;
}

static void read_processor(struct special *s, const struct ht__jnode *node)
{
    const char *type = ht__jstr(node, "type", "");
    const struct ht__jnode *list = ht__jget(node, "processors");
    for (size_t i = 0; list && list->type == HT__JSON_ARRAY && i < list->n; i++)
        read_processor(s, &list->children[i]);
    if (strcmp(type, "TemplateProcessing") == 0) read_template(s, node);
    if (strcmp(type, "ByteLevel") == 0) { /* it adds nothing */
        set_add_if_open(s, BOS, false);
        set_add_if_open(s, EOS, false);
    }
    if (strcmp(type, "RobertaProcessing") != 0) return;
    set_add(s, BOS, true);
    set_add(s, EOS, true);
    set_add(s, SEP, true);
    if (!s->text[CLS]) s->text[CLS] = first_text(node, "cls", s->text[BOS]);
    if (!s->text[SEP]) s->text[SEP] = first_text(node, "sep", s->text[EOS]);
}

static int64_t added_id(const struct ht__tok *tok, const char *text)
{
    for (size_t i = 0; tok->has_json && i < tok->n_json_added; i++) {
        const struct ht__added *added = ht__vocab_added_at(tok->json_vocab, i);
        if (added->text.len == strlen(text) && memcmp(added->text.text, text, added->text.len) == 0) return added->id;
    }
    return -1;
}

/* In the vocabulary or among all added tokens. */
static int64_t any_id(const struct ht__vocab *vocab, const char *text)
{
    int64_t id = ht__vocab_find(vocab, text, strlen(text));
    for (size_t i = 0; id < 0 && i < ht__vocab_added_count(vocab); i++) {
        const struct ht__added *added = ht__vocab_added_at(vocab, i);
        if (added->text.len == strlen(text) && memcmp(added->text.text, text, added->text.len) == 0) id = added->id;
    }
    return id;
}

static void from_settings(struct special *s)
{
    const struct ht__jnode *settings = s->tok->settings;
    for (int t = 0; t < N_TYPES; t++) {
        char key[32] = "add_";
        strcat(strcat(key, types[t].name), "_token");
        const struct ht__jnode *add = ht__jget(settings, key);
        if (t != EOT && add && add->type == HT__JSON_BOOL) set_add_if_open(s, (enum type)t, add->boolean);
        if (settings && s->text[t]) set_id(s, (enum type)t, added_id(s->tok, s->text[t]), "tokenizer_config.json");
    }
}

static void from_config(struct special *s)
{
    const struct ht__jnode *config = s->tok->job->config;
    for (int t = 0; t < N_TYPES; t++) {
        char key[32] = "";
        if (t == EOT && !s->text[EOT]) continue;
        strcat(strcat(key, types[t].name), "_token_id");
        const struct ht__jnode *v = ht__jget(config, key);
        if (!v) v = ht__jget(ht__jget(config, "text_config"), key);
        if (v && v->type == HT__JSON_NUMBER && v->is_int) set_id(s, (enum type)t, v->integer, "config.json");
    }
}

/* The text of a special token that tokenizer_config.json does not give. */
static const char *text_elsewhere(const struct special *s, enum type type)
{
    static const char *const bert[N_TYPES] = {
        [BOS] = "[CLS]", [EOS] = "[SEP]", [UNK] = "[UNK]",   [SEP] = "[SEP]",
        [PAD] = "[PAD]", [CLS] = "[CLS]", [MASK] = "[MASK]",
    };
    const char *text = ht__tok_special_text(s->tok, types[type].name);
    if (!text && type == UNK && s->tok->has_json) text = s->tok->json.unk_token;
    if (!text && strcmp(s->tok->kind, "bert") == 0) text = bert[type]; /* the class's own */
    return text;
}

/* Whatever is still missing and would not be what runtimes take anyway. */
static void from_vocabulary(struct special *s)
{
    for (int t = 0; t < N_TYPES; t++) {
        const char *text = s->text[t] ? s->text[t] : text_elsewhere(s, (enum type)t);
        int64_t id = text ? any_id(&s->tok->vocab, text) : -1;
        if (id != default_of(s, (enum type)t)) set_id(s, (enum type)t, id, "special tokens");
    }
}

/* What tokenizer.model itself says, and the unknown token of a unigram in tokenizer.json. */
static void from_model(struct special *s)
{
    const struct ht__tok *tok = s->tok;
    const struct ht__sentencepiece *model = &tok->model;
    bool of_json = tok->has_json && tok->json_vocab == &tok->vocab;
    bool of_model = !of_json && (strcmp(tok->kind, "llama") == 0 || strcmp(tok->kind, "t5") == 0);
    int64_t ids[N_TYPES] = {-1, -1, -1, -1, -1, -1, -1, -1};
    if (of_json) ids[UNK] = tok->json.unk_id;
    if (of_model) {
        ids[BOS] = model->bos_id;
        ids[EOS] = model->eos_id;
        ids[UNK] = model->unk_id;
        ids[PAD] = model->pad_id;
    }
    for (int t = 0; t < N_TYPES; t++)
        if (ids[t] != default_of(s, (enum type)t)) set_id(s, (enum type)t, ids[t], tok->vocab.where);
}

/* The beginning token that GPT-2's class has without any file saying so. */
static void from_class(struct special *s)
{
    if (strcmp(s->tok->kind, "gpt2") != 0 || s->tok->has_json) return;
    int64_t id = any_id(&s->tok->vocab, "<|endoftext|>");
    if (!s->tok->settings) set_id(s, BOS, id, "vocab.json");
    set_id(s, EOS, id, "vocab.json");
}

/* What no file says: CodeLlama and Gemma end a turn with a token of their own, and models with the 49,152 tokens of
 * SmolLM and Granite's small models do not begin with one. */
static void from_family(struct special *s)
{
    enum { CODE_LLAMA_VOCAB = 32016, CODE_LLAMA_EOT = 32010, SMOL_VOCAB = 49152, GEMMA_EOT = 107 };
    const struct ht__tok *tok = s->tok;
    int64_t size = ht__jint(tok->job->config, "vocab_size", 0);
    if (strcmp(tok->job->arch, "gemma") == 0 && tok->vocab.n > GEMMA_EOT) set_id(s, EOT, GEMMA_EOT, "Gemma");
    if (!ht__tok_is_of_llama(tok)) return;
    if (size == CODE_LLAMA_VOCAB) set_id(s, EOT, CODE_LLAMA_EOT, "CodeLlama");
    if (size == SMOL_VOCAB) set_add(s, BOS, false);
}

/* Runtimes add tokens by default for some kinds, and fail when one that is to be added is unknown. */
static void settle_switches(struct special *s)
{
    const struct ht__tok *tok = s->tok;
    bool spm = strcmp(tok->kind, "llama") == 0;
    bool adding = tok->pre && (strcmp(tok->pre, "llama-bpe") == 0 || strcmp(tok->pre, "tekken") == 0);
    bool no_bos = spm && !tok->has_json && tok->model.bos_id < 0 && s->id[BOS] < 0;
    if (s->add[BOS] < 0 && (adding || no_bos || (spm && s->has_template))) set_add(s, BOS, false);
    if (strcmp(tok->kind, "t5") == 0 && strcmp(tok->job->arch, "t5") != 0 && s->add[EOS] < 0) set_add(s, EOS, false);
    static const enum type around[] = {BOS, EOS, SEP};
    for (size_t i = 0; i < sizeof around / sizeof *around; i++) {
        enum type t = around[i];
        if (s->add[t] != 1 || s->id[t] >= 0 || default_of(s, t) >= 0) continue;
        ht__log_printf(tok->job->log, HT__LOG_WARNING,
                       "tokenizer: add_%s_token is set, but there is no %s token; it is unset", types[t].name,
                       types[t].name);
        s->add[t] = 0;
    }
}

/* Without a key runtimes take a fixed id: it must at least be a token. */
static enum ht_err check_defaults(const struct special *s)
{
    for (int t = 0; t < N_TYPES; t++) {
        int id = default_of(s, (enum type)t);
        if (s->id[t] < 0 && id >= (int)s->tok->vocab.n)
            return ht__fail(s->tok->diag, HT_ERR_UNSUPPORTED, s->tok->vocab.where, -1,
                            "there is no %s token, and the id %d that runtimes use instead is beyond "
                            "the %u tokens",
                            types[t].name, id, s->tok->vocab.n);
    }
    if (strcmp(s->tok->kind, "gpt2") == 0 && s->id[EOS] < 0)
        ht__log_printf(s->tok->job->log, HT__LOG_WARNING,
                       "tokenizer: no file names the token that ends a text; runtimes will use "
                       "token 11");
    return HT_OK;
}

enum ht_err ht__tok_write_special(struct ht__tok *tok)
{
    struct special s = {.tok = tok};
    for (int t = 0; t < N_TYPES; t++) {
        s.id[t] = s.add[t] = -1;
        const struct ht__jnode *v = NULL;
        char key[32] = "";
        strcat(strcat(key, types[t].name), "_token");
        if (t != EOT) v = ht__jget(tok->settings, key);
        s.text[t] = v && v->type == HT__JSON_STRING ? v->text : ht__jstr(v, "content", NULL);
    }
    if (tok->has_json && !s.text[BOS]) s.text[BOS] = s.text[CLS];
    if (tok->has_json && !s.text[EOS]) s.text[EOS] = s.text[SEP];
    if (tok->has_json && tok->json.post_processor) read_processor(&s, tok->json.post_processor);
    from_settings(&s);
    from_config(&s);
    from_vocabulary(&s);
    from_model(&s);
    from_class(&s);
    from_family(&s);
    settle_switches(&s);
    HT_TRY(check_defaults(&s));
    for (int i = 0; i < s.n; i++)
        if (types[s.order[i]].id_key) ht__kv_u32(tok->kvs, types[s.order[i]].id_key, (uint32_t)s.id[s.order[i]]);
    for (int i = 0; i < s.n_add; i++)
        if (types[s.add_order[i]].add_key)
            ht__kv_bool(tok->kvs, types[s.add_order[i]].add_key, s.add[s.add_order[i]] == 1);
    return HT_OK;
}
