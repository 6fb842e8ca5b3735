/*
 * One word for type, kind of file and calibration: the option "method", as one-command quantization takes it (awq_q4_0,
 * bnb_4bit …; named.def lists them). Any other type is a method too.
 */
#ifndef HT_JOB_NAMED_H
#define HT_JOB_NAMED_H

#include "job/job.h"

/*
 * Turns the option "method", where it is set, into those that it stands for. instead: as the method was meant cannot be
 * done with the model; what takes its place is set, and `why` is told. What was chosen is told in job->options.notes.
 */
HT_MUST_CHECK enum ht_err ht__named_apply(struct ht_job *job, bool instead, const char *why, struct ht_diag *diag);
/* Is there anything that may take the method's place? Of the options after ht__named_apply. */
bool ht__named_has_instead(const struct ht_job *job);

/* By index; NULL past the end. */
const char *ht__named_at(size_t index);

#endif
