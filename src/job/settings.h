/* A job's options, parsed: all of them at once, after the last was set and before anything is done. */
#ifndef HT_JOB_SETTINGS_H
#define HT_JOB_SETTINGS_H

#include "advise/settings.h"
#include "job/job.h"
#include "pipeline/settings.h"

enum ht__verb {
    HT__VERB_QUANTIZE,
    HT__VERB_ESTIMATE,
    HT__VERB_RECOMMEND,
    HT__VERB_EVAL,
    HT__VERB_IMATRIX,
    HT__VERB_CALIBRATE
};

/* eval and compare */
struct ht__eval_job_settings {
    struct ht__eval_settings eval;
    const char *const *models;
    size_t n_models;
    const char *against;       /* a reference model, or NULL */
    const char *report, *html; /* files, or NULL */
};

struct ht__imatrix_settings {
    const char *source; /* a model to run; NULL: files are merged */
    struct ht__calibration_settings calibration;
    struct ht__list in_files;    /* that are added */
    const char *output, *report; /* files, or NULL */
    uint64_t save_every;         /* chunks; 0: only when cancelled */
    bool overwrite, resume, statistics;
};

struct ht__calibrate_settings {
    const char *source; /* a model to run; NULL: folders are merged or looked at */
    struct ht__calibration_settings calibration;
    struct ht__list in_stats;
    const char *output, *report; /* a folder, a file; or NULL */
    bool overwrite;
    uint32_t part, parts; /* only a share of the text: 1 <= part <= parts; parts 0: all of it */
};

/* --fit with a context or a card: what the weights must leave room for. */
struct ht__room {
    uint64_t memory, ctx; /* ctx 0: as advise/fit.h says */
};

/* Only what the verb uses is parsed; the rest is zero. */
struct ht__settings {
    struct ht__arena arena;
    struct ht__run run;
    struct ht__pipeline_settings pipeline; /* quantize, estimate, recommend */
    struct ht__advice_settings advice;     /* estimate, recommend */
    struct ht__eval_job_settings eval;
    struct ht__imatrix_settings imatrix;
    struct ht__calibrate_settings calibrate;
    struct ht__room room; /* quantize */
};

/* Close it on failure too. The values' texts are the job's own. */
HT_MUST_CHECK enum ht_err ht__settings_parse(struct ht__settings *settings, struct ht_job *job, enum ht__verb verb,
                                             struct ht_diag *diag);
void ht__settings_close(struct ht__settings *settings);

#endif
