#include "schemes/inputs.h"

#include <math.h>

void ht__int8_inputs(const float *x, const float *s, int64_t n, float *out)
{
    float most = 0;
    for (int64_t i = 0; i < n; i++) {
        out[i] = s ? x[i] / s[i] : x[i];
        most = fmaxf(most, fabsf(out[i]));
    }
    float scale = most / 127.5f;
    for (int64_t i = 0; i < n; i++) {
        float q = scale > 0 ? rintf(out[i] / scale) : 0;
        q = q < -128 ? -128 : q > 127 ? 127 : q;
        out[i] = q * scale * (s ? s[i] : 1);
    }
}
