/* What reports and cards say of codes that `--effort best` chose. */
#ifndef HT_PIPELINE_METHOD_CARD_H
#define HT_PIPELINE_METHOD_CARD_H

#include "pipeline/plan.h"

/* Of the text that comes with the program: its parts one after the other. */
HT_MUST_CHECK enum ht_err ht__builtin_text_sha256(const struct ht__alloc *alloc, char hex[65], struct ht_diag *diag);
/* A section of Markdown: the text by its hash, and for each output and role the errors on held-out tokens. Nothing where no
 * codes were chosen. */
HT_MUST_CHECK enum ht_err ht__method_card(const struct ht__plan *plan, struct ht__buf *out, struct ht_diag *diag);

#endif
