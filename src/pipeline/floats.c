#include "pipeline/floats.h"
#include "kernels/weights/weights.h"

#include <math.h>

enum ht_err ht__floats_refuse(const struct ht__weight *w, int64_t row, int64_t n_rows, const float *x,
                              struct ht_diag *diag)
{
    int64_t n = n_rows * w->ne[0], i = 0;
    while (i < n && isfinite(x[i]))
        i++;
    return ht__fail(diag, HT_ERR_NONFINITE, w->name, -1, "row %lld, column %lld holds %s",
                    (long long)(row + i / w->ne[0]), (long long)(i % w->ne[0]), isnan(x[i]) ? "NaN" : "infinity");
}

bool ht__floats_finite(const float *x, int64_t n)
{
    return ht__weight_ops(ht__cpu_best())->finite(x, n);
}

double ht__floats_squares(const float *x, const float *y, int64_t n)
{
    return ht__weight_ops(ht__cpu_best())->squares(x, y, n);
}
