/*
 * A method: how the codes of a matrix are chosen. It knows schemes only by what they offer (scales that fit, the nearest
 * code, the value of a code), so every method serves every scheme. Each is one unit in this folder and one row in
 * methods.def.
 */
#ifndef HT_METHODS_METHOD_H
#define HT_METHODS_METHOD_H

#include "schemes/scheme.h"

struct ht__method {
    const char *name; /* as behind an @: "nf4@round" */
    const char *about;
    /* Codes and scales of some rows: x has codes->n_rows x n_in floats; importance has n_in, or is NULL. Pure, like the
     * functions of schemes; the codes do not depend on how rows are grouped into calls. */
    void (*rows)(const struct ht__scheme_params *params, const struct ht__matrix *matrix, const float *x,
                 const float *importance, struct ht__codes *codes);
};

/* By index, in the order of methods.def; NULL past the end. */
const struct ht__method *ht__method_at(size_t index);
/* By name, whatever the case; or NULL. */
const struct ht__method *ht__method_by_name(const char *name);
/* For tests: one more at the end of the list, for the life of the process. */
void ht__method_register(const struct ht__method *method);

#define HT_METHOD(id) extern const struct ht__method ht__method_##id;
#include "methods/methods.def"
#undef HT_METHOD

#endif
