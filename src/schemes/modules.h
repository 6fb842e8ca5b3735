/* The names of a package's modules, as configurations need them. */
#ifndef HT_SCHEMES_MODULES_H
#define HT_SCHEMES_MODULES_H

#include "base/json_write.h"
#include "schemes/scheme.h"

/* "model.layers.3.mlp.gate": the list's name ends at `.3`, the place in the block begins at `mlp`. */
struct ht__module_place {
    size_t list_len;   /* "model.layers" */
    int64_t block;     /* 3; -1: not in a block */
    const char *local; /* "mlp.gate" */
};
struct ht__module_place ht__module_place(const char *name);

/* A member with the full names of all modules that do not have the package's own parameters. */
void ht__modules_unlike(const struct ht__scheme_package *package, const char *key, struct ht__jw *w);

#endif
