/*
 * The configuration of the compressed-tensors family: schemes that differ in their numbers share one "config_groups"
 * object. Each of them points family_data at a struct ht__ct_scheme and takes ht__ct_config as its config.
 */
#ifndef HT_SCHEMES_COMPRESSED_TENSORS_H
#define HT_SCHEMES_COMPRESSED_TENSORS_H

#include "base/json_write.h"
#include "schemes/scheme.h"

/* How one tensor is quantized: "weights" or "input_activations". Only these keys are written: programs refuse those that
 * their version does not know. */
struct ht__ct_args {
    int num_bits;            /* 0: not quantized */
    const char *type;        /* "int", "float" */
    const char *strategy;    /* "tensor", "channel", "group", "block", "token", "tensor_group" */
    const char *dynamic;     /* JSON: "true", "false", "\"local\"" */
    const char *scale_dtype; /* "torch.uint8"; NULL: none is written */
    bool asymmetric;
    int group_size; /* 0: none */
    int block[2];   /* rows and columns; 0: none */
};

struct ht__ct_group {
    const char *format; /* "pack-quantized" */
    struct ht__ct_args weights, inputs;
};

struct ht__ct_scheme {
    /* Leaves format NULL where the options ask for the form of another program. */
    void (*describe)(const struct ht__scheme_params *, struct ht__ct_group *);
    /* The configuration of that form, as struct ht__scheme's config; NULL where there is none. */
    void (*other)(const struct ht__scheme_package *, struct ht__jw *);
};

/*
 * For struct ht__scheme's config: quant_method, format, config_groups and ignore. Modules with the package's own
 * parameters are targeted by their class, others by their full names; what stays as it is is listed by its full name.
 * Modules of schemes outside the family are listed so too.
 */
void ht__ct_config(const struct ht__scheme_package *package, struct ht__jw *w);
/* For struct ht__scheme's apart: all schemes of the family can be in one folder. */
const char *ht__ct_apart(const struct ht__scheme_params *params, const struct ht__scheme_params *other);
/* Is it stored in a compressed-tensors folder, with these options? */
bool ht__ct_holds(const struct ht__scheme_params *params);
/* One member: an object, or null for what is not quantized. */
void ht__ct_args(struct ht__jw *w, const char *key, const struct ht__ct_args *args);

#endif
