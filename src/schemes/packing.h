/*
 * Packed checkpoints: what another program's "quantization_config" says, and which tensors of the checkpoint stand for a
 * weight. A family of formats is one unit in this folder and one row in packings.def; all that reads a model then sees
 * the weight ("model.layers.0.mlp.up_proj.weight", [n_out, n_in]) and never its parts.
 */
#ifndef HT_SCHEMES_PACKING_H
#define HT_SCHEMES_PACKING_H

#include "base/json.h"
#include "formats/checkpoint.h"
#include "schemes/scheme.h"

enum { HT__PACKED_EXTRA = 4 };

/* A weight that is stored as several tensors. */
struct ht__packed_source {
    struct ht__scheme_params params;
    struct ht__matrix matrix;
    const struct ht__tensor *tensors[HT__SCHEME_PARTS]; /* by the scheme's parts */
    const struct ht__tensor *extra[HT__PACKED_EXTRA]; /* others that belong to it and are read by now; NULL ends them */
    const struct ht__codec *value; /* the narrowest dtype that holds every weight as it is read; NULL: matrix.dtype */
    const char *form;              /* "nvfp4": what people call it; NULL: the scheme's name */
    const char *suffix;            /* the end of the weight's name, after the module; NULL: ".weight" */
    bool transposed;               /* the model's code keeps each expert's matrix as [n_in, n_out] */
};

struct ht__packing_source;

struct ht__packing {
    const char *name;    /* "bitsandbytes" */
    const char *methods; /* values of "quant_method", separated by blanks */
    /* The ends of names at which a weight is found: ".weight", ".qweight" …; separated by blanks. "*": at any name, which
     * is then the module. */
    const char *heads;
    /* The ends of names of other parts: such a tensor must belong to a weight. */
    const char *others;
    /* The ends of names of tensors that say nothing new, beside those of activations; NULL: none. */
    const char *unused;
    /* What is wrong with the configuration; fills source->config from source->arena. quantization: NULL for the family
     * that is assumed where there is no configuration. */
    enum ht_err (*open)(struct ht__packing_source *source, const struct ht__jnode *quantization, struct ht_diag *diag);
    /*
     * The weight of the module ("model.layers.0.mlp.up_proj") that `head` begins. *found = false: the tensor is stored as
     * it is. Tensors that are missing may be left NULL: the caller tells of them.
     */
    enum ht_err (*find)(struct ht__packing_source *source, const struct ht__tensor *head, const char *module,
                        struct ht__packed_source *out, bool *found, struct ht_diag *diag);
};

/* An open checkpoint and the family that its configuration names. */
struct ht__packing_source {
    const struct ht__packing *packing;
    const struct ht__checkpoint *ck;
    struct ht__arena *arena;       /* for what lives as long as the model */
    struct ht__arena *tmp;         /* for names */
    const struct ht__codec *dtype; /* of the model's floats, where parts do not say it */
    const char *config_path;
    void *config; /* the family's own */
};

/* The family of a quant_method, whatever the case; NULL: none is known. */
const struct ht__packing *ht__packing_by_method(const char *method);
/* The family of weights that have scales beside them where no configuration says anything. */
const struct ht__packing *ht__packing_assumed(void);
const struct ht__packing *ht__packing_at(size_t index);

/* A weight as the model sees it, and where its parts lie. */
struct ht__packed_weight {
    const struct ht__tensor *tensor; /* NAME.weight [n_out, n_in], in no file */
    const struct ht__packed_source *packed;
    const void *whole[HT__SCHEME_PARTS]; /* parts that are WHOLE, read to be checked; others are NULL */
};
/*
 * The weight that the tensor begins, checked: every part is there with its dtype and shape, and its numbers make sense.
 * *weight = NULL: the tensor is stored as it is. Marks the tensors that belong to the weight in `taken`, by their place in
 * the checkpoint.
 */
HT_MUST_CHECK enum ht_err ht__packing_weight(struct ht__packing_source *source, const struct ht__tensor *tensor,
                                             bool *taken, struct ht__packed_weight **weight, struct ht_diag *diag);
/* Puts the file before the tensor that a diagnosis names; where it names none, the file of `tensor`. Gives err. */
enum ht_err ht__packing_in_file(const struct ht__checkpoint *ck, const struct ht__tensor *tensor, enum ht_err err,
                                struct ht_diag *diag);
/* A tensor that no weight has taken, but which is a part by its name. */
HT_MUST_CHECK enum ht_err ht__packing_stray(const struct ht__packing_source *source, const struct ht__tensor *tensor,
                                            struct ht_diag *diag);
/* A tensor that nothing needs, by its name. */
bool ht__packing_unused(const struct ht__packing_source *source, const struct ht__tensor *tensor);
/* MODULE + suffix in the checkpoint, or NULL. */
const struct ht__tensor *ht__packing_find(const struct ht__packing_source *source, const char *module,
                                          const char *suffix);

#define HT_PACKING(id) extern const struct ht__packing ht__packing_##id;
#include "schemes/packings.def"
#undef HT_PACKING

#endif
