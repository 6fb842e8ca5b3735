/*
 * Texts and conversations as the tokens that a model would read them as.
 *
 * Lines of JSON are {"text": "…"} or {"messages": [{"role": "user", "content": "…"}, …]}, other members ignored. A
 * conversation is rendered with the model's chat template: where the template refuses it (some know no system message,
 * or no tool), with users and assistants alone; where that is refused too, or there is no template, as "User: …" and so
 * on. What looks like a control token within a text is text.
 */
#ifndef HT_CALIBRATE_DOCUMENTS_H
#define HT_CALIBRATE_DOCUMENTS_H

#include "base/log.h"
#include "model/tokenizer/tokenizer.h"

struct ht__documents {
    const struct ht__tokenizer *tokenizer;
    const struct ht__alloc *alloc;
    const struct ht__log *log;
    const char *where; /* names the text in diagnoses */
};

/* Appends the ids of one text. */
HT_MUST_CHECK enum ht_err ht__documents_text(const struct ht__documents *d, const char *text, size_t len,
                                             struct ht__tokens *out, struct ht_diag *diag);
/* Appends the ids of all lines. */
HT_MUST_CHECK enum ht_err ht__documents_lines(const struct ht__documents *d, const char *text, size_t len,
                                              struct ht__tokens *out, struct ht_diag *diag);

/* Is a file of that name lines of JSON? */
bool ht__documents_are_lines(const char *path);

#endif
