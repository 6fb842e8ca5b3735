/* Rows of floats: what may not be in them, and how far they are from others. */
#ifndef HT_PIPELINE_FLOATS_H
#define HT_PIPELINE_FLOATS_H

#include "model/model.h"

bool ht__floats_finite(const float *x, int64_t n);
/* Rows [row, row + n_rows) of the weight hold one that is not: names it. */
enum ht_err ht__floats_refuse(const struct ht__weight *weight, int64_t row, int64_t n_rows, const float *x,
                              struct ht_diag *diag);
/* The sum of squares of x, or of x less y, in double, by 16 lanes so that it vectorises and does not depend on the
 * machine. */
double ht__floats_squares(const float *x, const float *y, int64_t n);

#endif
