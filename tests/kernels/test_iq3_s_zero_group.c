/* A group of zeros anywhere in a super-block leaves the others' error as it is (doc/formats/iq3_s.md). */
#include "kernels/codec.h"
#include "lib/rows.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static double error_of(const float *x)
{
    unsigned char block[128];
    float y[256];
    double error = 0, sum = 0;
    ht__encoder(&ht__codec_iq3_s, ht__cpu_best())(x, 1, 256, NULL, block);
    ht__decoder(&ht__codec_iq3_s, ht__cpu_best())(block, 256, y);
    for (int i = 0; i < 256; i++) {
        error += ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        sum += (double)x[i] * (double)x[i];
    }
    return sqrt(error / sum);
}

static void zero_groups(void **state)
{
    (void)state;
    float x[256];
    for (int group = 0; group < 8; group++) {
        rows_fill(ROWS_GAUSSIAN, 9, 256, x);
        assert_true(error_of(x) < 0.22);
        memset(x + 32 * group, 0, 32 * sizeof *x);
        if (!(error_of(x) < 0.22)) fail_msg("group %d of zeros: error %.3f", group, error_of(x));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(zero_groups)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
