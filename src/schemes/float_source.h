/*
 * Small floats that another program wrote: what a checkpoint's configuration says of them, and which tensors a weight lies
 * in. The forms of compressed-tensors (float-quantized, nvfp4, mxfp4, mxfp8), transformers' fp8 and mxfp8, fbgemm_fp8,
 * gpt-oss' mxfp4 and ModelOpt. What a weight is follows from its tensors; lists of skipped modules are not needed, as they
 * are read differently by every program.
 */
#ifndef HT_SCHEMES_FLOAT_SOURCE_H
#define HT_SCHEMES_FLOAT_SOURCE_H

#include "schemes/packing.h"

/* The options of the scheme "small-float". */
enum ht__float_option {
    HT__FLOAT_ELEMENT,
    HT__FLOAT_ROWS,    /* of a block; 0: all */
    HT__FLOAT_COLUMNS, /* likewise */
    HT__FLOAT_WEIGHT,
    HT__FLOAT_SCALE,
    HT__FLOAT_SCALE_DTYPE,
    HT__FLOAT_SCALE_DIMS,
    HT__FLOAT_GLOBAL,
    HT__FLOAT_GLOBAL_DIMS,
    HT__FLOAT_VALUE, /* what programs that load it compute with: f32, bf16, f16 */
    HT__FLOAT_EXPERTS,
};

enum ht__float_method {
    HT__FLOAT_NONE, /* the configuration is of another family */
    HT__FLOAT_COMPRESSED_TENSORS,
    HT__FLOAT_FP8, /* and mxfp8 */
    HT__FLOAT_FBGEMM,
    HT__FLOAT_MXFP4,
    HT__FLOAT_MODELOPT,
};

struct ht__float_config {
    enum ht__float_method method;
    int64_t block[2];              /* rows and columns of a block, where it says so; otherwise 0 */
    const struct ht__codec *dtype; /* of the model: bf16, f16 or f32 */
    bool assumed; /* there is no configuration: weights that have scales beside them are taken for transformers' fp8 */
};

/* quantization: config.json's member, or hf_quant_config.json as a whole; NULL: none, and
 * out->assumed. `where` is the file's name. */
HT_MUST_CHECK enum ht_err ht__float_config(const struct ht__jnode *quantization, const struct ht__codec *dtype,
                                           const char *where, struct ht__float_config *out, struct ht_diag *diag);

/*
 * name: a module ("model.layers.0.mlp.up_proj"), or a parameter of several experts ("model.layers.0.mlp.experts.down_proj").
 * *found: its weights are small floats; then all is checked but the numbers in the tensors.
 */
HT_MUST_CHECK enum ht_err ht__float_source(const struct ht__float_config *config, const struct ht__checkpoint *ck,
                                           const char *name, struct ht__packed_source *out, bool *found,
                                           struct ht_diag *diag);
#endif
