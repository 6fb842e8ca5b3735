/* What the inputs of a tensor's columns are like, as llama-imatrix --show-statistics shows it. */
#ifndef HT_CALIBRATE_STATISTICS_H
#define HT_CALIBRATE_STATISTICS_H

#include "formats/imatrix_sums.h"

enum { HT__TOP_COLUMNS = 5 };

/*
 * Of the mean squares a = sum / count of all columns (of all experts, those without data as 1).
 * active: share of columns above 1e-5. entropy: of a / sum of all a, in bits. z_share: share of columns more than
 * one deviation above the mean. similarity: cosine of the sums with those of the same tensor one layer before.
 */
struct ht__statistics {
    uint64_t n;
    double sum, min, max, mean, deviation, active, entropy, z_share;
    double similarity; /* NAN: there is no such tensor before */
    uint64_t top[HT__TOP_COLUMNS];
    int n_top;
    uint64_t n_without_data; /* experts */
};

/* file: the list that the tensor before is looked up in; sorted by name. */
void ht__statistics_of(const struct ht__sums_file *file, size_t item, struct ht__statistics *out);

#endif
