/*
 * What a folder says of its tokenizer that metadata have no words for: whether text is composed,
 * where exactly a space is put, which added tokens take the white space beside them, how long a
 * word may be.
 */
#include "base/file.h"
#include "base/json.h"
#include "model/model.h"
#include "model/tokenizer/parts.h"
#include "model/vocab_import/sentencepiece.h"

#include <stdio.h>
#include <string.h>

/* The limits of reading the same files for conversion. */
enum { MAX_FILE = 1 << 28 };

/* The first component of the type, in sequences too; the parser limits the depth. */
static const struct ht__jnode *find(const struct ht__jnode *node, const char *type)
{
    static const char *const lists[] = {"normalizers", "pretokenizers"};
    const struct ht__jnode *found = NULL;
    if (!node) return NULL;
    if (strcmp(ht__jstr(node, "type", ""), type) == 0) return node;
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
        const struct ht__jnode *list = ht__jget(node, lists[k]);
        for (size_t i = 0; list && list->type == HT__JSON_ARRAY && i < list->n && !found; i++)
            found = find(&list->children[i], type);
    }
    return found;
}

static void read_metaspace(struct ht__tokenizer *t, const struct ht__jnode *metaspace)
{
    const char *scheme = ht__jstr(metaspace, "prepend_scheme", NULL);
    if (!metaspace) return;
    if (!scheme) scheme = ht__jbool(metaspace, "add_prefix_space", true) ? "always" : "never";
    t->add_prefix = strcmp(scheme, "never") != 0;
    t->prefix_once = strcmp(scheme, "first") == 0;
    t->prefix_spares = true;
}

static void read_added(struct ht__tokenizer *t, const struct ht__jnode *list)
{
    for (size_t i = 0; list && list->type == HT__JSON_ARRAY && i < list->n; i++) {
        const struct ht__jnode *token = &list->children[i];
        int64_t id = ht__jint(token, "id", -1);
        for (uint32_t k = 0; k < t->n_specials; k++) {
            if (t->specials[k].id != id) continue;
            t->specials[k].lstrip = ht__jbool(token, "lstrip", false);
            t->specials[k].rstrip = ht__jbool(token, "rstrip", false);
            t->specials[k].single_word = ht__jbool(token, "single_word", false);
            /* the library finds these in any text; only special ones can be told not to */
            break;
        }
    }
}

static void read_json(struct ht__tokenizer *t, const struct ht__jnode *root)
{
    const struct ht__jnode *normalizer = ht__jget(root, "normalizer"), *pre = ht__jget(root, "pre_tokenizer");
    const struct ht__jnode *model = ht__jget(root, "model");
    if (t->kind == HT__TOKENIZER_BYTES) {
        t->nfc = find(normalizer, "NFC") != NULL;
        t->ignore_merges = ht__jbool(model, "ignore_merges", false);
        t->add_prefix = ht__jbool(find(pre, "ByteLevel"), "add_prefix_space", false);
        t->prefix_spares = true;
    }
    if (t->kind == HT__TOKENIZER_SPM || t->kind == HT__TOKENIZER_UNIGRAM) read_metaspace(t, find(pre, "Metaspace"));
    if (t->kind == HT__TOKENIZER_WORDPIECE) {
        int64_t most = ht__jint(model, "max_input_chars_per_word", HT__WORDPIECE_MAX);
        t->max_word = most > 0 && most < INT32_MAX ? (uint32_t)most : HT__WORDPIECE_MAX;
    }
    read_added(t, ht__jget(root, "added_tokens"));
}

/* SentencePiece's BPE may normalize too. */
static enum ht_err read_model(struct ht__tokenizer *t, const char *path, struct ht_diag *diag)
{
    struct ht__sentencepiece model;
    struct ht__arena arena;
    struct ht__vocab vocab;
    struct ht__buf data;
    ht__buf_init(&data, t->alloc);
    ht__arena_init(&arena, t->alloc);
    ht__vocab_init(&vocab, &arena, t->alloc);
    vocab.where = path;
    enum ht_err err = ht__file_load(path, MAX_FILE, &data, diag);
    if (err == HT_OK) err = ht__sentencepiece_parse(data.data, data.len, &vocab, &model, diag);
    if (err == HT_OK) {
        t->remove_extra = model.remove_extra_whitespaces;
        t->add_prefix = model.add_dummy_prefix;
        err = ht__tokenizer_charsmap_open(t, model.charsmap, diag);
    }
    ht__vocab_close(&vocab);
    ht__arena_close(&arena);
    ht__buf_close(&data);
    return err;
}

static bool exists(const char *path)
{
    FILE *f = fopen(path, "rb");
    if (f) fclose(f);
    return f != NULL;
}

enum ht_err ht__tokenizer_adopt_folder(struct ht__tokenizer *t, const char *dir, struct ht_diag *diag)
{
    char path[4096];
    struct ht__arena arena;
    struct ht__jnode *root;
    HT_TRY(ht__path_join(path, sizeof path, dir, "tokenizer.json", diag));
    if (exists(path)) {
        ht__arena_init(&arena, t->alloc);
        enum ht_err err = ht__json_load(&arena, path, MAX_FILE, &root, diag);
        if (err == HT_OK) read_json(t, root);
        ht__arena_close(&arena);
        return err;
    }
    HT_TRY(ht__path_join(path, sizeof path, dir, "tokenizer.model", diag));
    return t->kind == HT__TOKENIZER_SPM && exists(path) ? read_model(t, path, diag) : HT_OK;
}

enum ht_err ht__tokenizer_open_model(const struct ht__model *model, const char *where, const struct ht__alloc *alloc,
                                     struct ht__tokenizer **out, struct ht_diag *diag)
{
    HT_TRY(ht__tokenizer_open(&model->kvs, where, alloc, out, diag));
    if (model->from_gguf) return HT_OK;
    enum ht_err err = ht__tokenizer_adopt_folder(*out, model->checkpoint->dir, diag);
    if (err != HT_OK) ht__tokenizer_close(out);
    return err;
}
