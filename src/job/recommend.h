/*
 * Which mix to make of a model for a given memory: the one that lost least in our own measurements among those that
 * fit with a fifth to spare. On a card the token embedding lies in the machine's memory where it is apart from the
 * output matrix; where not all fits, the layers that do are counted.
 */
#ifndef HT_JOB_RECOMMEND_H
#define HT_JOB_RECOMMEND_H

#include "job/job.h"

/* *json is malloc's. */
HT_MUST_CHECK enum ht_err ht__job_recommend(struct ht_job *job, char **json, struct ht_diag *diag);

#endif
