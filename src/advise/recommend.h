/*
 * Which type to make of a model for a given memory and program: the one that lost least in our own measurements among
 * those that the program runs and that fit with 20 % headroom, as program.h counts. With llama.cpp the token embedding
 * lies in the machine's memory where it is apart from the output matrix; where not all fits on a card, the layers that do
 * are counted.
 */
#ifndef HT_ADVISE_RECOMMEND_H
#define HT_ADVISE_RECOMMEND_H

#include "advise/settings.h"
#include "pipeline/plan.h"

/* Of a survey's plan. Appends a JSON object. */
HT_MUST_CHECK enum ht_err ht__recommend(const struct ht__plan *plan, const struct ht__advice_settings *settings,
                                        struct ht__buf *out, struct ht_diag *diag);

#endif
