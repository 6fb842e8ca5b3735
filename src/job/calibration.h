/* The tokens that importance is collected on, and collecting it as a step of a job. */
#ifndef HT_JOB_CALIBRATION_H
#define HT_JOB_CALIBRATION_H

#include "calibrate/importance.h"
#include "engine/weights.h"
#include "job/job.h"

/* What is run: chunks of n_ctx tokens. */
struct ht__calibration {
    const struct ht__alloc *alloc;
    const char *dataset; /* name of the text, as the importance file says it; the options' own, or constant */
    int32_t *tokens;     /* from the first chunk that is run */
    size_t n_tokens, n_chunks;
    struct ht__weights_stats layers; /* of the run, after it */
    int n_ctx, n_seqs;
    int32_t bos; /* -1: chunks keep their first token */
};

/* Values of options, NULL where they were not given. */
struct ht__calibration_request {
    const char *text;   /* a file; NULL or "default": the text that the program brings, and random tokens */
    const char *tokens; /* a file of token ids instead */
    const char *ctx, *chunks, *from_chunk;
};

/* Close it on failure too. */
HT_MUST_CHECK enum ht_err ht__calibration_open(struct ht__calibration *cal, struct ht_job *job,
                                               const struct ht__model *model,
                                               const struct ht__calibration_request *request, struct ht_diag *diag);
void ht__calibration_close(struct ht__calibration *cal);

/* What a run is, for --resume: the model's files as they stand on the disk, the tokens, how they are cut. */
HT_MUST_CHECK enum ht_err ht__calibration_identity(const struct ht__calibration *cal, const struct ht__model *model,
                                                   bool process_output, char hex[65], struct ht_diag *diag);

/* Called after each pass; NULL: never. */
struct ht__calibration_watch {
    ht__collect_pass_fn *pass;
    void *ctx;
};

/*
 * Opens an engine and collects, from `state` on; with the job's threads, memory, progress (step "calibrate") and
 * cancellation. state is then where the sums stand: after HT_ERR_CANCELLED one can go on from there.
 */
HT_MUST_CHECK enum ht_err ht__calibration_run(struct ht__calibration *cal, struct ht_job *job,
                                              const struct ht__model *model, struct ht__importance *imp,
                                              struct ht__sums_state *state, const struct ht__calibration_watch *watch,
                                              struct ht_diag *diag);

/* The option threads; 0: every core. */
HT_MUST_CHECK enum ht_err ht__calibration_threads(const struct ht_job *job, int *n, struct ht_diag *diag);

/* Warns of experts that no token reached, by name. */
void ht__calibration_warn(struct ht_job *job, const struct ht__importance *imp);

#endif
