/*
 * Integer codes that another program wrote: what a checkpoint's configuration says of them, and which tensors a weight
 * lies in. GPTQ (version 1 and 2, act-order), AWQ (gemm and gemv), AutoRound's layouts, the integer formats of
 * compressed-tensors, and HQQ. Bits, groups and options of each module follow from the shapes of its tensors, so that rules
 * for single modules ("dynamic", "extra_config", targets) need not be read, nor lists of skipped ones.
 */
#ifndef HT_SCHEMES_INT_SOURCE_H
#define HT_SCHEMES_INT_SOURCE_H

#include "schemes/packing.h"

enum ht__int_method {
    HT__INT_NONE, /* the configuration is of another family */
    HT__INT_GPTQ,
    HT__INT_AWQ,
    HT__INT_AWQ_GEMV,
    HT__INT_COMPRESSED_TENSORS,
    HT__INT_HQQ,
};

struct ht__int_config {
    enum ht__int_method method;
    bool v1;                       /* GPTQ: zero points are stored less one */
    int64_t group;                 /* AWQ gemv, HQQ: what group_size says; -1: whole rows */
    int bits, axis;                /* HQQ */
    unsigned bits_set;             /* compressed-tensors: bit b is set where some group of modules has b bits */
    const struct ht__codec *dtype; /* of the model: bf16, f16 or f32 */
};

/* quantization: config.json's member; NULL: none. `where` is the file's name. */
HT_MUST_CHECK enum ht_err ht__int_config(const struct ht__jnode *quantization, const struct ht__codec *dtype,
                                         const char *where, struct ht__int_config *out, struct ht_diag *diag);

/*
 * name: a module ("model.layers.0.mlp.up_proj"). *found: its weights are integer codes; then all is checked but the numbers
 * in the tensors, of which those that are read whole have the scheme's complaint().
 */
HT_MUST_CHECK enum ht_err ht__int_source(const struct ht__int_config *config, const struct ht__checkpoint *ck,
                                         const char *name, struct ht__packed_source *out, bool *found,
                                         struct ht_diag *diag);

#endif
