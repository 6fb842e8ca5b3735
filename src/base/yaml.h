/*
 * YAML to the tree that JSON gives: for model cards, which people write by hand. Scalars stay the text that
 * was written (a version "1.10" is no number, a language "no" no boolean) but for plain nulls. Keys may repeat.
 * An alias shares the anchored value's children; what all aliases together would amount to if they were copied is
 * limited, so that a small text is neither a large tree nor one that takes long to walk.
 */
#ifndef HT_BASE_YAML_H
#define HT_BASE_YAML_H

#include "base/json.h"

/* The first document of the text; NULL root when there is none. */
HT_MUST_CHECK enum ht_err ht__yaml_parse(struct ht__arena *arena, const char *text, size_t size, const char *where,
                                         struct ht__jnode **root, struct ht_diag *diag);

#endif
