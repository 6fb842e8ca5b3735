#include "pipeline/floats.h"

#include <math.h>
#include <string.h>

enum ht_err ht__floats_refuse(const struct ht__weight *w, int64_t row, int64_t n_rows, const float *x,
                              struct ht_diag *diag)
{
    int64_t n = n_rows * w->ne[0], i = 0;
    while (i < n && isfinite(x[i]))
        i++;
    return ht__fail(diag, HT_ERR_NONFINITE, w->name, -1, "row %lld, column %lld holds %s",
                    (long long)(row + i / w->ne[0]), (long long)(i % w->ne[0]), isnan(x[i]) ? "NaN" : "infinity");
}

/* An exponent of all ones; integer work, so that the compiler makes vectors of it. */
bool ht__floats_finite(const float *x, int64_t n)
{
    uint32_t bad = 0;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, x + i, sizeof bits);
        bad |= (uint32_t)((bits & 0x7f800000u) == 0x7f800000u);
    }
    return bad == 0;
}

double ht__floats_squares(const float *x, const float *y, int64_t n)
{
    double lanes[16] = {0}, sum = 0;
    int64_t i = 0;
    for (; i + 16 <= n; i += 16)
        for (int j = 0; j < 16; j++) {
            double d = y ? (double)x[i + j] - (double)y[i + j] : (double)x[i + j];
            lanes[j] += d * d;
        }
    for (int j = 0; j < 16; j++)
        sum += lanes[j];
    for (; i < n; i++) {
        double d = y ? (double)x[i] - (double)y[i] : (double)x[i];
        sum += d * d;
    }
    return sum;
}
