/*
 * IQ1: rows on which many splits score the same (equal weights, zeros, importance of zero, whole
 * blocks of it). Which of them wins is a matter of the last bit of the sums, and of leaving a block
 * alone where no weight counts. The hashes are those of llama.cpp's bytes.
 */
#include "kernels/codec.h"
#include "lib/rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { ROWS = 4, LEN = 1024 };

static const struct {
    enum row_kind kind;
    uint64_t iq1_s, iq1_m, iq1_m_plain;
} golden[] = {
    {ROWS_HALVES, 0x48d22566f8b5fee6, 0xc372f7085517eb61, 0x733a44bdf0c61201},
    {ROWS_PATCHES, 0x7fe6175288cf748b, 0xc82754f522de61cb, 0x7d80b133fb68a55a},
    {ROWS_LEVELS, 0x88e84e950f8e8bdf, 0x3932033913c8357f, 0x5b9ffca85188fdd7},
    {ROWS_SPIKES, 0x892e30deeef70fdd, 0x2019b3b8b7dcdfed, 0x43a2dbdd0e405424},
    {ROWS_BELOW, 0x093bad535304272e, 0xa480d4ba76ee8881, 0x38cbd9f19354bcea},
    {ROWS_FADING, 0xe5adb6ebda65bd49, 0xc73cf41d75ee7561, 0xb038793ec223ca0b},
    {ROWS_HUGE, 0xaa54cff0810d6b2f, 0x596f60bcf85cf993, 0xa3f5c325eebf1cf6},
    {ROWS_TIES, 0x9362e8dd509c357f, 0x5b9e99a12f3188de, 0x567735771b64b299},
    {ROWS_SIGNED_ZEROS, 0xbecf391ee268291d, 0x79a2a0e8c47e31a5, 0x1af33a4eb5924987},
};

static float x[ROWS * LEN], importance[LEN];

static int differs(const struct ht__codec *c, const float *w, uint64_t want, size_t row)
{
    static unsigned char out[ROWS * LEN];
    int wrong = 0;
    for (int level = 0; level < HT__CPU_N_LEVELS; level++) {
        if (!ht__cpu_has((enum ht__cpu_level)level)) continue;
        memset(out, 0x5A, sizeof out);
        ht__encoder(c, (enum ht__cpu_level)level)(x, ROWS, LEN, w, out);
        uint64_t got = rows_hash(out, ht__codec_bytes(c, ROWS * LEN));
        if (got == want) continue;
        print_error("%s %s at %s, golden row %zu: 0x%016llx\n", c->name, w ? "weighted" : "plain",
                    ht__cpu_level_name((enum ht__cpu_level)level), row, (unsigned long long)got);
        wrong++;
    }
    return wrong;
}

static void ties(void **state)
{
    (void)state;
    int wrong = 0;
    rows_importance(5, LEN, importance);
    for (size_t i = 0; i < sizeof golden / sizeof golden[0]; i++) {
        rows_fill(golden[i].kind, 11, ROWS * LEN, x);
        wrong += differs(&ht__codec_iq1_s, importance, golden[i].iq1_s, i);
        wrong += differs(&ht__codec_iq1_m, importance, golden[i].iq1_m, i);
        wrong += differs(&ht__codec_iq1_m, NULL, golden[i].iq1_m_plain, i);
    }
    assert_int_equal(wrong, 0);
}

/* Every scale is zero, and the lattice points are written all the same. */
static void no_weight_counts(void **state)
{
    (void)state;
    rows_importance(5, LEN, importance);
    rows_fill(ROWS_GAUSSIAN, 11, ROWS * LEN, x);
    for (int i = 0; i < ROWS * LEN; i++)
        if (importance[i % LEN] > 0) x[i] = 0;
    assert_int_equal(differs(&ht__codec_iq1_s, importance, 0xd6835f746ce7ead5, 0), 0);
    assert_int_equal(differs(&ht__codec_iq1_m, importance, 0xd8c34959d0833745, 0), 0);
}

/* Weights that cancel sum to zero and count all the same. Public functions refuse importance below zero, but the
 * levels are one function, and a total of zero must not be taken for a block in which no weight counts. */
static void weights_cancel(void **state)
{
    (void)state;
    rows_fill(ROWS_GAUSSIAN, 11, ROWS * LEN, x);
    for (int i = 0; i < ROWS * LEN; i++)
        x[i] = x[i] < 0 ? -1 : 1;
    for (int i = 0; i < LEN; i++)
        importance[i] = i % 2 ? -1 : 1;
    assert_int_equal(differs(&ht__codec_iq1_s, importance, 0xb9b32c50f7dc2616, 0), 0);
    assert_int_equal(differs(&ht__codec_iq1_m, importance, 0x16d3b1fecad0628b, 0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(ties), cmocka_unit_test(no_weight_counts),
                                       cmocka_unit_test(weights_cancel)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
