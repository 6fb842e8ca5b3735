/*
 * Importance of a calibration text that several runs collect, each on some groups of its chunks (calibrate/groups.h): a run with
 * --collect-part leaves the sums of each group in its folder, importance-IDENTITY-NN.gguf and the file's SHA-256 beside it; a
 * run with --take-from finds them, and collects what is missing. The identity is of the model's numbers, the text and how it is cut.
 */
#ifndef HT_PIPELINE_COLLECTED_H
#define HT_PIPELINE_COLLECTED_H

#include "calibrate/calibration.h"
#include "pipeline/plan.h"

struct ht__collected {
    const struct ht__plan *plan;
    const struct ht__model *model;
    const struct ht__calibration *cal;
    char identity[65];
    size_t n_taken;
};

/* Fills in what collecting is to be watched with: which groups, and where they are taken from and kept. */
HT_MUST_CHECK enum ht_err ht__collected_open(struct ht__collected *collected, const struct ht__plan *plan,
                                             const struct ht__model *model, const struct ht__calibration *cal,
                                             struct ht__calibration_watch *watch, struct ht_diag *diag);

#endif
