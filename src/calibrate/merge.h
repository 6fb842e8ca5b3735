/* Statistics of several runs of one model, added. */
#ifndef HT_CALIBRATE_MERGE_H
#define HT_CALIBRATE_MERGE_H

#include "calibrate/kept.h"

/* All of one model? HT_ERR_USAGE names the one that is not. */
HT_MUST_CHECK enum ht_err ht__merge_check(const struct ht__kept *all, size_t n, struct ht_diag *diag);
/* A layer of all of them, in memory of the arena's. Of rows held out HT__KEPT_HELD are kept at most, evenly of all. */
HT_MUST_CHECK enum ht_err ht__merge_layer(const struct ht__kept *all, size_t n, size_t layer, struct ht__arena *arena,
                                          struct ht__kept_layer *out, struct ht_diag *diag);

#endif
