/* Every backend of backends.def multiplies as its numbers say: against sums in double of the decoded rows. */
#include "engine/backends/backend.h"
#include "kernels/ops/ops.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { IN = 256, OUT = 37, ROWS = 21, LDX = IN + 8, LDY = OUT + 3, TOUCHED = 12345 };

struct fixture {
    float w[OUT][IN], x[ROWS * LDX], y[ROWS * LDY], bias[OUT];
    uint8_t rows[OUT * IN * 4];
    struct ht__product p;
};

static float noise(uint32_t *state)
{
    *state = *state * 1664525u + 1013904223u;
    return (float)(*state >> 8) / (1 << 23) - 1;
}

static struct fixture *make(const char *type)
{
    struct fixture *f = calloc(1, sizeof *f);
    uint32_t state = 7;
    assert_non_null(f);
    const struct ht__codec *codec = ht__codec_by_name(type);
    size_t row_bytes = ht__codec_bytes(codec, IN);
    for (int r = 0; r < OUT; r++) {
        for (int i = 0; i < IN; i++)
            f->w[r][i] = noise(&state);
        f->bias[r] = noise(&state);
        ht__encoder(codec, ht__cpu_best())(f->w[r], 1, IN, NULL, f->rows + (size_t)r * row_bytes);
        ht__decoder(codec, ht__cpu_best())(f->rows + (size_t)r * row_bytes, IN, f->w[r]);
    }
    for (int i = 0; i < ROWS * LDX; i++)
        f->x[i] = noise(&state);
    f->p = (struct ht__product){.type = codec,
                                .rows = f->rows,
                                .row_bytes = row_bytes,
                                .n_in = IN,
                                .n_out = OUT,
                                .bias = f->bias,
                                .x = f->x,
                                .ldx = LDX,
                                .n = ROWS,
                                .y = f->y,
                                .ldy = LDY};
    return f;
}

/* The error, against the largest that a sum could be; what lies between the rows is not touched. */
static void check(struct fixture *f, struct ht__device *device, double most, const char *what)
{
    for (int i = 0; i < ROWS * LDY; i++)
        f->y[i] = TOUCHED;
    device->backend->matmul(device, &f->p);
    for (int64_t t = 0; t < f->p.n; t++) {
        for (int r = 0; r < OUT; r++) {
            double sum = f->p.bias ? f->bias[r] : 0, size = 1e-30;
            for (int i = 0; i < IN; i++) {
                sum += (double)f->x[t * LDX + i] * f->w[r][i];
                size += fabs((double)f->x[t * LDX + i] * f->w[r][i]);
            }
            if (!(fabs(f->y[t * LDY + r] - sum) <= most * size))
                fail_msg("%s, %s: row %d of token %d is %g, not %g", what, f->p.type->name, r, (int)t,
                         (double)f->y[t * LDY + r], sum);
        }
        for (int r = OUT; r < LDY; r++)
            assert_true(f->y[t * LDY + r] == TOUCHED);
    }
}

static void products(const struct ht__backend *backend, const char *type, bool fast)
{
    struct fixture *f = make(type);
    struct ht__pool *pool;
    struct ht__device *device;
    struct ht_diag diag = {0};
    atomic_bool cancelled = false;
    assert_int_equal(ht__pool_open(2, NULL, &pool, &diag), HT_OK);
    float *scratch = ht__new_aligned(NULL, 2 * HT__MATMUL_SCRATCH * sizeof *scratch);
    struct ht__device_params params = {
        .pool = pool, .scratch = scratch, .most_rows = ROWS, .most_in = IN, .fast = fast, .cancelled = &cancelled};
    if (ht__device_open(backend, &params, &device, &diag) != HT_OK) fail_msg("%s: %s", backend->name, diag.message);
    double most = fast ? .01 : 1e-6;
    check(f, device, most, backend->name);
    f->p.same_x = true; /* what was kept of x serves again */
    f->p.bias = NULL;
    check(f, device, most, "same x");
    f->p.same_x = false; /* and is not taken for another's */
    for (int i = 0; i < ROWS * LDX; i++)
        f->x[i] = -2 * f->x[i];
    check(f, device, most, "another x");
    f->p.n = 1;
    check(f, device, most, "one row");
    cancelled = true;
    f->p.whole = true;
    check(f, device, most, "cancelled, but whole");
    ht__device_close(&device);
    assert_null(device);
    ht__device_close(&device);
    ht__pool_close(&pool);
    ht__free_aligned(NULL, scratch);
    free(f);
}

static void all_multiply(void **state)
{
    (void)state;
    static const char *const types[] = {"f32", "f16", "bf16", "q8_0", "q4_k"};
    assert_string_equal(ht__backend_at(0)->name, "cpu");
    for (size_t b = 0; ht__backend_at(b); b++)
        for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
            for (int fast = 0; fast < 2; fast++)
                products(ht__backend_at(b), types[i], fast);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_multiply)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
