/* Texts of a JSON Schema: tokens that do not fit the text so far are never picked. */
#ifndef HT_ENGINE_JSON_MASK_H
#define HT_ENGINE_JSON_MASK_H

#include "engine/mask.h"
#include "model/tokenizer/tokenizer.h"

/* The bytes of every token: made once for a vocabulary, and shared. */
struct ht__token_bytes;

HT_MUST_CHECK enum ht_err ht__token_bytes_open(const struct ht__tokenizer *text, const struct ht__alloc *alloc,
                                               struct ht__token_bytes **out, struct ht_diag *diag);
/* NULL-safe. */
void ht__token_bytes_close(struct ht__token_bytes **tokens);

/* schema: JSON; "": any object. The tokens outlive the mask. */
HT_MUST_CHECK enum ht_err ht__json_mask_open(const struct ht__token_bytes *tokens, const char *schema,
                                             const struct ht__alloc *alloc, struct ht__mask **out,
                                             struct ht_diag *diag);

#endif
