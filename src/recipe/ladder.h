/*
 * A ladder: schemes in order of what they lose, "w4a16>w8a16>none". Each matrix, with those that programs fuse with it,
 * has the first level that can hold it and whose relative error is small enough; the last one takes what is left.
 */
#ifndef HT_RECIPE_LADDER_H
#define HT_RECIPE_LADDER_H

#include "schemes/scheme.h"

enum { HT__MOST_LEVELS = 8 };

struct ht__ladder {
    size_t n;                                                /* 0: no ladder */
    const struct ht__scheme_params *levels[HT__MOST_LEVELS]; /* NULL, the last one alone: as in the source */
};

struct ht__preset {
    const char *name, *levels, *about;
};
/* By index; NULL past the end. */
const struct ht__preset *ht__preset_at(size_t index);
/* By name, whatever the case; or NULL. */
const struct ht__preset *ht__preset_by_name(const char *name);

/* "A>B>none". HT_ERR_NOT_FOUND, without a diagnosis: it is no ladder. */
HT_MUST_CHECK enum ht_err ht__ladder_parse(const char *text, struct ht__ladder *ladder, struct ht__arena *arena,
                                           struct ht_diag *diag);

#endif
