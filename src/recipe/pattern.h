/* Regular expressions that people give: searched in names of tensors and modules, in a bounded number of steps. */
#ifndef HT_RECIPE_PATTERN_H
#define HT_RECIPE_PATTERN_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

/* `option` is named in the error. anchored: a match begins where the name begins. */
HT_MUST_CHECK enum ht_err ht__pattern_open(const char *option, const char *text, bool anchored, void **pattern,
                                           struct ht_diag *diag);
/* A name that needs too many steps does not match. */
HT_MUST_CHECK enum ht_err ht__pattern_match(const void *pattern, const char *option, const char *name, size_t len,
                                            bool *yes, struct ht_diag *diag);
void ht__pattern_close(void **pattern);

#endif
