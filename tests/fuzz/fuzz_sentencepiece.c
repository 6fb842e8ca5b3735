/* tokenizer.model: any bytes. */
#include "model/vocab_import/sentencepiece.h"
#include "lib/pieces.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ht__arena arena;
    struct ht__vocab vocab;
    struct ht__sentencepiece model;
    struct ht_diag diag;
    ht__diag_clear(&diag);
    ht__arena_init(&arena, &pieces);
    ht__vocab_init(&vocab, &arena, &pieces);
    enum ht_err err = ht__sentencepiece_parse(data, size, &vocab, &model, &diag);
    if (err == HT_OK) err = ht__vocab_place(&vocab, 0, &diag);
    if (err == HT_OK) err = ht__vocab_finish(&vocab, 0, &diag);
    if (err != HT_OK && diag.message[0] == '\0') __builtin_trap(); /* an error without a reason */
    ht__vocab_close(&vocab);
    ht__arena_close(&arena);
    return 0;
}
