/* The tokens that importance is collected on, and collecting it as a step of a job. */
#ifndef HT_CALIBRATE_CALIBRATION_H
#define HT_CALIBRATE_CALIBRATION_H

#include "base/run.h"
#include "calibrate/importance.h"
#include "calibrate/settings.h"
#include "calibrate/windows.h"
#include "engine/weights.h"

/* What is run: chunks of n_ctx tokens, each of one domain of the text. */
struct ht__calibration {
    const struct ht__alloc *alloc;
    const struct ht__calibration_settings *settings;
    const char *dataset;        /* name of the text, as the importance file says it; the options' own, or constant */
    struct ht__windows windows; /* the chunks, from the first that is run */
    struct ht__weights_stats layers; /* of the run, after it */
    int n_ctx, n_seqs;
    int n_vocab;    /* of the model */
    int32_t bos;    /* -1: chunks keep their first token */
    bool one_layer; /* where memory is short, the engine holds one layer at a time: others have more to hold */
};

/* The settings must outlive it. Close it on failure too. */
HT_MUST_CHECK enum ht_err ht__calibration_open(struct ht__calibration *cal,
                                               const struct ht__calibration_settings *settings,
                                               const struct ht__run *run, const struct ht__model *model,
                                               struct ht_diag *diag);
void ht__calibration_close(struct ht__calibration *cal);

/* What a run is, for --resume: the model's files as they are on the disk, the tokens, how they are cut. */
HT_MUST_CHECK enum ht_err ht__calibration_identity(const struct ht__calibration *cal, const struct ht__model *model,
                                                   char hex[65], struct ht_diag *diag);

/* Called where they are not NULL. Groups are those of groups.h. */
struct ht__calibration_watch {
    /* After each group: how many are done. All sums are whole. */
    enum ht_err (*done)(void *ctx, size_t groups, struct ht_diag *diag);
    /* Fills in the sums of a group that are known: *known, and it is not run. */
    enum ht_err (*take)(void *ctx, size_t group, struct ht__importance *sums, bool *known, struct ht_diag *diag);
    /* A group was run. */
    enum ht_err (*keep)(void *ctx, size_t group, struct ht__importance *sums, struct ht_diag *diag);
    void *ctx;
    size_t from, to; /* the groups that are wanted; to 0: all */
};

/* What the text's groups of chunks are of, wherever the model lies: its numbers, the tokens, how they are cut. */
HT_MUST_CHECK enum ht_err ht__calibration_text_identity(const struct ht__calibration *cal,
                                                        const struct ht__model *model, char hex[65],
                                                        struct ht_diag *diag);

/*
 * Opens an engine and collects, group after group, from `state` on; progress is told as step "calibrate". state->passes is then how
 * many groups the sums are of: after HT_ERR_CANCELLED one can go on from there.
 */
HT_MUST_CHECK enum ht_err ht__calibration_run(struct ht__calibration *cal, const struct ht__run *run,
                                              const struct ht__model *model, struct ht__importance *imp,
                                              struct ht__sums_state *state, const struct ht__calibration_watch *watch,
                                              struct ht_diag *diag);

/* The engine that it is run through. */
HT_MUST_CHECK enum ht_err ht__calibration_engine(const struct ht__calibration *cal, const struct ht__run *run,
                                                 const struct ht__model *model, struct ht__engine **engine,
                                                 struct ht_diag *diag);

/* What running it takes in quantize, and how much of it is for matrices (0: no cap is needed). *total may be more than
 * the run's memory. */
HT_MUST_CHECK enum ht_err ht__calibration_memory(const struct ht__calibration *cal, const struct ht__run *run,
                                                 const struct ht__model *model, uint64_t *total, uint64_t *matrices,
                                                 struct ht_diag *diag);

/* Warns of experts that no token reached, by name. */
void ht__calibration_warn(const struct ht__log *log, const struct ht__importance *imp);

#endif
