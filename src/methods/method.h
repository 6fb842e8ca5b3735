/*
 * A method: how the codes of a matrix are chosen. It knows schemes only by what they offer (scales that fit, the nearest
 * code, the value of a code), so every method serves every scheme that it suits. Each is one unit in this folder and one
 * row in methods.def. Its options stand behind its name: "gptq@best:order=group".
 */
#ifndef HT_METHODS_METHOD_H
#define HT_METHODS_METHOD_H

#include "schemes/scheme.h"

struct ht__method;

enum { HT__METHOD_OPTIONS = 8 };

/* A method with its options' values, by their places in method->options. */
struct ht__method_params {
    const struct ht__method *method;
    double option[HT__METHOD_OPTIONS];
};

struct ht__method {
    const char *name; /* as behind an @: "nf4@round" */
    const char *about;
    const struct ht__scheme_option *options; /* ends with name == NULL; NULL: none */
    /* It chooses from the activations of a calibration text, layer by layer (pipeline/layers_driver.h); rows() serves what
     * no stage of a layer chooses. */
    bool by_layer;
    /* Why it is not for this scheme, or NULL: it is. NULL: it is for all. */
    const char *(*unsuited)(const struct ht__scheme_params *params);
    /* Codes and scales of some rows: x has codes->n_rows x n_in floats; importance has n_in, or is NULL. The codes do not
     * depend on how rows are grouped into calls. False: memory is out. */
    bool (*rows)(const struct ht__method_params *method, const struct ht__scheme_params *params,
                 const struct ht__matrix *matrix, const float *x, const float *importance, struct ht__codes *codes);
};

/* By index, in the order of methods.def; NULL past the end. */
const struct ht__method *ht__method_at(size_t index);
/* By name, whatever the case; or NULL. */
const struct ht__method *ht__method_by_name(const char *name, size_t len);
/* "best:order=group". HT_ERR_NOT_FOUND, without a diagnosis: there is no such method. */
HT_MUST_CHECK enum ht_err ht__method_parse(const char *text, struct ht__method_params *params, struct ht_diag *diag);
/* The option with this name; it must exist. */
double ht__method_get(const struct ht__method_params *params, const char *option);
/* For tests: one more at the end of the list, for the life of the process. */
void ht__method_register(const struct ht__method *method);

#define HT_METHOD(id) extern const struct ht__method ht__method_##id;
#include "methods/methods.def"
#undef HT_METHOD

#endif
