/* Statistics of several runs of one model, added. */
#ifndef HT_CALIBRATE_MERGE_H
#define HT_CALIBRATE_MERGE_H

#include "calibrate/kept.h"

/* All of one model, and either of whole texts or, together, all groups of one? HT_ERR_USAGE names the one that is not, or what is
 * missing. */
HT_MUST_CHECK enum ht_err ht__merge_check(const struct ht__kept *all, size_t n, struct ht_diag *diag);
/* How many layers there are of all of them. */
size_t ht__merge_layers(const struct ht__kept *all, size_t n);
/* A layer of all of them, in memory of the arena's. Of rows held out HT__KEPT_HELD are kept at most, evenly of all. */
HT_MUST_CHECK enum ht_err ht__merge_layer(const struct ht__kept *all, size_t n, size_t layer, struct ht__arena *arena,
                                          struct ht__kept_layer *out, struct ht_diag *diag);

/* A site of the whole text, without anything, that is to get what its groups have, with room for so many rows held out; its
 * arrays are the arena's. */
HT_MUST_CHECK enum ht_err ht__merge_begin(const struct ht__kept_site *group, uint64_t most_held,
                                          struct ht__arena *arena, struct ht__kept_site *whole, struct ht_diag *diag);
/* In the order of the groups. */
void ht__merge_group(struct ht__kept_site *whole, const struct ht__kept_site *group, uint64_t most_held);

#endif
