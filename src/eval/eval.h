/* Measuring models on a text: what eval, compare and quantize --measure share. */
#ifndef HT_EVAL_EVAL_H
#define HT_EVAL_EVAL_H

#include "base/file.h"
#include "base/run.h"
#include "eval/limit.h"
#include "eval/settings.h"

#include "base/buf.h"

struct ht__eval;

/* A model: where it lies, and what it is called. */
struct ht__eval_subject {
    char path[4600];
    const char *name;
};
/* What to measure. `default_largest`: without a reference the largest model is it. */
struct ht__eval_request {
    const struct ht__eval_subject *subjects;
    size_t n;
    const char *against, *against_name;     /* or NULL; its name, where that is another */
    const struct ht__remote_folder *remote; /* files that are not on the disk; NULL: none */
    bool default_largest;
    bool within; /* `memory` says what matrices may take together (0: as they need), not the run's */
    uint64_t memory;
};

struct ht__model;
/* Chunks of n_ctx tokens, scored; and tokens of continuations. */
struct ht__eval_size {
    int n_ctx;
    size_t n_chunks;
    int continued;
};
/* Can this model be measured as the settings say? Known before any work: the engine runs its
 * architecture, it has a tokenizer, and the text has a chunk at least. size, if not NULL:
 * how much will be measured. */
HT_MUST_CHECK enum ht_err ht__eval_check(const struct ht__eval_settings *settings, const struct ht__run *run,
                                         struct ht__model *model, const char *path, struct ht__eval_size *size,
                                         struct ht_diag *diag);

struct ht__engine_use;
/* Fills in how engines will be open, use->n_models of them: tokens, sequences, cache, memory for comparing logits. */
HT_MUST_CHECK enum ht_err ht__eval_use(const struct ht__eval_settings *settings, const struct ht__run *run,
                                       const struct ht__model *model, const char *path, struct ht__engine_use *use,
                                       struct ht_diag *diag);

/* Opens models, text and reference, measures everything that the settings ask for. On failure
 * nothing is left open. The settings must outlive it. Close with ht__eval_close. */
HT_MUST_CHECK enum ht_err ht__eval_run(const struct ht__eval_settings *settings, const struct ht__run *run,
                                       const struct ht__eval_request *request, struct ht__eval **out,
                                       struct ht_diag *diag);
void ht__eval_close(struct ht__eval **eval);

/* A figure of the index-th model; NaN where it was not measured. */
double ht__eval_figure(const struct ht__eval *eval, size_t index, enum ht__figure figure);
/* The index-th model as a JSON object. */
void ht__eval_put_quality(const struct ht__eval *eval, size_t index, struct ht__buf *out);
/* A model card's table, Markdown. */
void ht__eval_card(const struct ht__eval *eval, struct ht__buf *out);
/* The whole run as a JSON object. */
void ht__eval_json(const struct ht__eval *eval, const char *verb, struct ht__buf *out);

/* What the caller adds to a page, behind the plots. */
struct ht__html_more {
    void (*put)(const void *ctx, struct ht__buf *out); /* or NULL */
    const void *ctx;
};
/* A page with plots, by itself. */
HT_MUST_CHECK enum ht_err ht__eval_html(const struct ht__eval *eval, const struct ht__html_more *more,
                                        struct ht__buf *out, struct ht_diag *diag);

#endif
