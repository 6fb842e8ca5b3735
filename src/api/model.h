/* What an open model is to the calls of this folder. */
#ifndef HT_API_MODEL_H
#define HT_API_MODEL_H

#include "api/sized.h"
#include "engine/engine.h"
#include "job/job.h"

struct ht_tokenizer {
    const struct ht__alloc *alloc;
    struct ht__tokenizer *text;
};

struct ht_model {
    struct ht__alloc room;         /* the caller's allocator */
    const struct ht__alloc *alloc; /* of all below: NULL, or &room */
    struct ht_job *job;            /* which reached the hub, and reads from it; NULL: it was a path */
    struct ht__checkpoint *checkpoint;
    struct ht__model *model;
    struct ht__engine_params params;
    struct ht__engine *engine; /* NULL until logits are asked for */
    struct ht_tokenizer text;  /* .text is NULL until it is needed */
    atomic_bool cancelled;
};

/* The file that the model lies in, for errors. */
const char *ht__handle_name(const struct ht_model *model);
/* The tokenizer, made when it is not yet. */
HT_MUST_CHECK enum ht_err ht__handle_text(struct ht_model *model, const struct ht__tokenizer **text,
                                          struct ht_diag *diag);
/* *hparams is the caller's, for ht__free. */
HT_MUST_CHECK enum ht_err ht__handle_hparams(const struct ht_model *model, struct ht__hparams **hparams,
                                             struct ht_diag *diag);

#endif
