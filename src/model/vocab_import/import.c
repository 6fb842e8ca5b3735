/* From the files of a folder to metadata: which kind of tokenizer it is, and in which order the
 * keys are written. */
#include "model/vocab_import/tok.h"

#include <string.h>

enum { MAX_JSON = 128 << 20, MAX_MODEL = 64 << 20, MAX_SETTINGS = 16 << 20 };

struct files {
    char model[4096], json[4096], vocab[4096], merges[4096], words[4096];
};

static enum ht_err find_files(const struct ht__tok *tok, struct files *files)
{
    const struct {
        char *path;
        const char *name;
    } wanted[] = {{files->model, "tokenizer.model"},
                  {files->json, "tokenizer.json"},
                  {files->vocab, "vocab.json"},
                  {files->merges, "merges.txt"},
                  {files->words, "vocab.txt"}};
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        HT_TRY(ht__path_join(wanted[i].path, sizeof files->model, tok->job->dir, wanted[i].name, tok->diag));
        if (!ht__path_exists(wanted[i].path)) wanted[i].path[0] = '\0';
    }
    return HT_OK;
}

static enum ht_err load_settings(struct ht__tok *tok, const char *name, const struct ht__jnode **out)
{
    char path[4096];
    struct ht__jnode *root;
    HT_TRY(ht__path_join(path, sizeof path, tok->job->dir, name, tok->diag));
    if (!ht__path_exists(path)) return HT_OK;
    HT_TRY(ht__json_load(&tok->scratch, path, MAX_SETTINGS, &root, tok->diag));
    if (root->type != HT__JSON_OBJECT) return ht__fail(tok->diag, HT_ERR_FORMAT, path, -1, "not an object");
    *out = root;
    return HT_OK;
}

/* A clone without its large files has small texts in their place. */
static enum ht_err check_pointer(const struct ht__tok *tok, const char *path, const struct ht__buf *data)
{
    static const char start[] = "version https://git-lfs.github.com/";
    size_t n = sizeof start - 1;
    if (data->len < n || memcmp(data->data, start, n) != 0) return HT_OK;
    return ht__fail(tok->diag, HT_ERR_FORMAT, path, 0,
                    "this is a Git LFS pointer, not the file: \"git lfs pull\" fetches it");
}

static enum ht_err load_json(struct ht__tok *tok, const char *path, struct ht__vocab *vocab)
{
    struct ht__buf text;
    ht__buf_init(&text, vocab->alloc);
    vocab->where = path;
    enum ht_err err = ht__file_load(path, MAX_JSON, &text, tok->diag);
    if (err == HT_OK) err = check_pointer(tok, path, &text);
    if (err == HT_OK)
        err = ht__tokenizer_json_parse((const char *)text.data, text.len, vocab == &tok->vocab, &tok->scratch, vocab,
                                       &tok->json, tok->diag);
    ht__buf_close(&text);
    tok->has_json = err == HT_OK;
    tok->json_vocab = vocab;
    tok->n_json_added = ht__vocab_added_count(vocab);
    return err;
}

/* Some folders carry a table of another tokenizer under this name: lines of base64 and a rank. */
static bool is_sentencepiece(const struct ht__buf *data)
{
    return data->len == 0 || data->data[0] < 0x20;
}

static enum ht_err copy_json_added(struct ht__tok *tok)
{
    for (size_t i = 0; i < tok->n_json_added; i++) {
        const struct ht__added *a = ht__vocab_added_at(&tok->beside, i);
        HT_TRY(ht__vocab_add(&tok->vocab, a->id, a->text.text, a->text.len, a->special, HT__ADDED_JSON, tok->diag));
    }
    return HT_OK;
}

static enum ht_err from_sentencepiece(struct ht__tok *tok, const struct files *files)
{
    tok->vocab.where = files->model;
    HT_TRY(ht__sentencepiece_parse(tok->data.data, tok->data.len, &tok->vocab, &tok->model, tok->diag));
    if (files->json[0]) HT_TRY(load_json(tok, files->json, &tok->beside));
    HT_TRY(ht__tok_gather_added(tok));
    HT_TRY(copy_json_added(tok));
    tok->add_prefix = tok->model.add_dummy_prefix;
    tok->remove_extra = tok->model.remove_extra_whitespaces;
    tok->charsmap = tok->model.charsmap;
    switch (tok->model.kind) {
    case HT__SENTENCEPIECE_BPE: tok->kind = "llama"; return ht__tok_write_spm(tok);
    case HT__SENTENCEPIECE_UNIGRAM: tok->kind = "t5"; return ht__tok_write_unigram(tok);
    default:
        return ht__fail(tok->diag, HT_ERR_UNSUPPORTED, files->model, -1,
                        "a SentencePiece model of kind %d (words or characters) has no "
                        "counterpart in GGUF",
                        tok->model.kind);
    }
}

static enum ht_err write_bpe_of_json(struct ht__tok *tok)
{
    if (ht__tok_falls_back_to_bytes(&tok->json)) {
        tok->kind = "llama";
        return ht__tok_write_byte_fallback(tok);
    }
    if (!ht__tok_is_byte_level(&tok->json))
        return ht__fail(tok->diag, HT_ERR_UNSUPPORTED, tok->vocab.where, -1,
                        "a BPE that neither works on bytes nor falls back to them has no "
                        "counterpart in GGUF");
    tok->kind = "gpt2";
    HT_TRY(ht__tok_pre_of_json(tok));
    ht__tok_warn_of_changes(tok);
    return ht__tok_write_bpe(tok);
}

static enum ht_err from_json(struct ht__tok *tok, const struct files *files)
{
    HT_TRY(load_json(tok, files->json, &tok->vocab));
    HT_TRY(ht__tok_gather_added(tok));
    HT_TRY(ht__tok_read_normalizer(tok));
    switch (tok->json.model) {
    case HT__MODEL_BPE: return write_bpe_of_json(tok);
    case HT__MODEL_UNIGRAM: tok->kind = "t5"; return ht__tok_write_unigram(tok);
    case HT__MODEL_WORDPIECE: tok->kind = "bert"; return ht__tok_write_wordpiece(tok);
    default:
        return ht__fail(tok->diag, HT_ERR_UNSUPPORTED, files->json, -1,
                        "a tokenizer of whole words (WordLevel) has no counterpart in GGUF");
    }
}

static enum ht_err from_vocab_merges(struct ht__tok *tok, const struct files *files)
{
    static const char end[] = "<|endoftext|>";
    tok->vocab.where = files->vocab;
    HT_TRY(ht__tok_load_vocab_json(tok, files->vocab, files->merges));
    HT_TRY(ht__tok_gather_added(tok));
    /* the class adds it, whether or not a file says so */
    int64_t id = ht__vocab_find(&tok->vocab, end, strlen(end));
    if (id >= 0 && !ht__vocab_has_added(&tok->vocab, (uint64_t)id))
        HT_TRY(ht__vocab_add(&tok->vocab, (uint64_t)id, end, strlen(end), true, HT__ADDED_NAME, tok->diag));
    tok->kind = "gpt2";
    ht__tok_pre_of_class(tok);
    return ht__tok_write_bpe(tok);
}

static enum ht_err from_words(struct ht__tok *tok, const struct files *files)
{
    tok->vocab.where = files->words;
    HT_TRY(ht__tok_load_vocab_txt(tok, files->words));
    HT_TRY(ht__tok_gather_added(tok));
    tok->kind = "bert";
    return ht__tok_write_wordpiece(tok);
}

static enum ht_err write_vocab(struct ht__tok *tok, const struct files *files)
{
    if (files->model[0]) {
        HT_TRY(ht__file_load(files->model, MAX_MODEL, &tok->data, tok->diag));
        HT_TRY(check_pointer(tok, files->model, &tok->data));
        if (is_sentencepiece(&tok->data)) return from_sentencepiece(tok, files);
        if (!files->json[0])
            return ht__fail(tok->diag, HT_ERR_UNSUPPORTED, files->model, -1,
                            "not a SentencePiece model, and there is no tokenizer.json");
        ht__log_printf(tok->job->log, HT__LOG_INFO,
                       "tokenizer: %s is not a SentencePiece model; tokenizer.json is taken", files->model);
    }
    if (files->json[0]) return from_json(tok, files);
    if (files->vocab[0] && files->merges[0]) return from_vocab_merges(tok, files);
    if (files->words[0]) return from_words(tok, files);
    return ht__fail(tok->diag, HT_ERR_NOT_FOUND, tok->job->dir, -1,
                    "no tokenizer here: neither tokenizer.model nor tokenizer.json, nor vocab.json "
                    "with merges.txt, nor vocab.txt");
}

enum ht_err ht__tok_place(struct ht__tok *tok)
{
    HT_TRY(ht__vocab_place(&tok->vocab, tok->job->vocab_size, tok->diag));
    if (tok->vocab.n_beyond)
        ht__log_printf(tok->job->log, HT__LOG_WARNING,
                       "tokenizer: %s: %u tokens are beyond the embedding's %u rows and are left out", tok->vocab.where,
                       tok->vocab.n_beyond, tok->vocab.n);
    return HT_OK;
}

static bool is_one_of(const char *word, const char *const *words, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(word, words[i]) == 0) return true;
    return false;
}

bool ht__tok_is_of_llama(const struct ht__tok *tok)
{
    static const char *const archs[] = {"llama", "smollm3", "granite", "granitemoe"};
    return is_one_of(tok->job->arch, archs, sizeof archs / sizeof *archs);
}

/* What tokenizer_config.json says comes before the vocabulary. */
static void write_said_prefix(struct ht__tok *tok)
{
    const struct ht__jnode *said = ht__jget(tok->settings, "add_prefix_space");
    if (said && said->type == HT__JSON_BOOL && ht__tok_is_of_llama(tok))
        ht__kv_bool(tok->kvs, HT__TOK_KEY("add_space_prefix"), said->boolean);
}

/* A space before the text is what runtimes do for "llama" unless told otherwise. */
static void write_prefix(struct ht__tok *tok)
{
    static const char *const gemmas[] = {"gemma", "gemma2", "gemma3"};
    const struct ht__jnode *said = ht__jget(tok->settings, "add_prefix_space");
    bool of_json = tok->has_json && tok->json_vocab == &tok->vocab;
    if (strcmp(tok->kind, "llama") != 0) return;
    bool prefix = said && said->type == HT__JSON_BOOL && !of_json ? said->boolean : tok->add_prefix;
    if (!of_json && is_one_of(tok->job->arch, gemmas, sizeof gemmas / sizeof *gemmas)) prefix = false;
    const struct ht__kv *written = ht__kv_get(tok->kvs, HT__TOK_KEY("add_space_prefix"));
    if (written ? (bool)written->u != prefix : !prefix) ht__kv_bool(tok->kvs, HT__TOK_KEY("add_space_prefix"), prefix);
}

static enum ht_err write_all(struct ht__tok *tok)
{
    struct files files;
    HT_TRY(find_files(tok, &files));
    HT_TRY(load_settings(tok, "tokenizer_config.json", &tok->settings));
    HT_TRY(load_settings(tok, "special_tokens_map.json", &tok->special_map));
    write_said_prefix(tok);
    HT_TRY(write_vocab(tok, &files));
    HT_TRY(ht__tok_write_special(tok));
    HT_TRY(ht__tok_write_chat_template(tok));
    write_prefix(tok);
    return tok->kvs->failed ? ht__fail_memory(tok->diag, tok->job->dir) : HT_OK;
}

enum ht_err ht__vocab_import_metadata(const struct ht__vocab_import_job *job, struct ht__kvs *kvs, struct ht_diag *diag)
{
    const struct ht__alloc *alloc = kvs->arena->alloc;
    struct ht__tok tok = {.job = job, .kvs = kvs, .diag = diag};
    ht__arena_init(&tok.scratch, alloc);
    ht__vocab_init(&tok.vocab, kvs->arena, alloc);
    ht__vocab_init(&tok.beside, &tok.scratch, alloc);
    ht__buf_init(&tok.data, alloc);
    ht__buf_init(&tok.json.merges.items, alloc);
    enum ht_err err = write_all(&tok);
    ht__tokenizer_json_close(&tok.json);
    ht__buf_close(&tok.data);
    ht__vocab_close(&tok.beside);
    ht__vocab_close(&tok.vocab);
    ht__arena_close(&tok.scratch);
    return err;
}
