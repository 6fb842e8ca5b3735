/* tokenizer.json: any bytes, through the parser and all that decides by its parts. */
#include "model/vocab_import/tok.h"
#include "lib/pieces.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum ht_err write_kind(struct ht__tok *tok)
{
    HT_TRY(ht__tok_gather_added(tok));
    HT_TRY(ht__tok_read_normalizer(tok));
    tok->kind = "gpt2";
    HT_TRY(ht__tok_pre_of_json(tok));
    switch (tok->json.model) {
    case HT__MODEL_UNIGRAM: tok->kind = "t5"; return ht__tok_write_unigram(tok);
    case HT__MODEL_WORDPIECE: tok->kind = "bert"; return ht__tok_write_wordpiece(tok);
    default: break;
    }
    if (!ht__tok_falls_back_to_bytes(&tok->json)) return ht__tok_write_bpe(tok);
    tok->kind = "llama";
    return ht__tok_write_byte_fallback(tok);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ht__arena arena;
    struct ht__kvs kvs;
    struct ht_diag diag;
    struct ht__vocab_import_job job = {.dir = "/nonexistent", .arch = "llama"};
    struct ht__tok tok = {.job = &job, .kvs = &kvs, .diag = &diag, .has_json = true};
    ht__diag_clear(&diag);
    ht__arena_init(&arena, &pieces);
    ht__kvs_init(&kvs, &arena);
    ht__arena_init(&tok.scratch, &pieces);
    ht__vocab_init(&tok.vocab, &arena, &pieces);
    enum ht_err err =
        ht__tokenizer_json_parse((const char *)data, size, true, &tok.scratch, &tok.vocab, &tok.json, &diag);
    tok.json_vocab = &tok.vocab;
    tok.n_json_added = ht__vocab_added_count(&tok.vocab);
    if (err == HT_OK) err = write_kind(&tok);
    if (err == HT_OK) err = ht__tok_write_special(&tok);
    if (err != HT_OK && diag.message[0] == '\0') __builtin_trap(); /* an error without a reason */
    ht__tokenizer_json_close(&tok.json);
    ht__vocab_close(&tok.vocab);
    ht__arena_close(&tok.scratch);
    ht__arena_close(&arena);
    return 0;
}
