#include "pipeline/exact.h"

#include <string.h>

/* Encoded and decoded again: the same bits. The rows are in `x`; `scratch` takes the rest. */
static bool survives(const struct ht__plan *plan, const struct ht__codec *type, const float *x, int64_t n, void *codes,
                     float *again)
{
    enum ht__cpu_level level = plan->settings->level;
    ht__encoder(type, level)(x, 1, n, NULL, codes);
    ht__decoder(type, level)(codes, n, again);
    return memcmp(x, again, (size_t)n * sizeof *x) == 0;
}

enum ht_err ht__is_exact(const struct ht__plan *plan, const struct ht__weight *w, const struct ht__codec *type,
                         bool *exact, struct ht_diag *diag)
{
    int64_t row_len = w->rows->row_len, step = HT__CHUNK_WEIGHTS / row_len;
    struct ht__arena scratch;
    enum ht_err err = HT_OK;
    if (step < 1) step = 1;
    *exact = true;
    ht__arena_init(&scratch, plan->run.alloc);
    for (int64_t row = 0; *exact && err == HT_OK && row < w->rows->n_rows; row += step) {
        int64_t n = w->rows->n_rows - row < step ? w->rows->n_rows - row : step;
        size_t bytes = (size_t)(n * row_len) * sizeof(float);
        float *x = ht__arena_raw(&scratch, bytes), *again = ht__arena_raw(&scratch, bytes);
        void *codes = ht__arena_raw(&scratch, bytes);
        err = x && again && codes ? w->rows->read(w->rows, row, n, x, &scratch, diag) : ht__fail_memory(diag, w->name);
        if (err == HT_OK) *exact = survives(plan, type, x, n * row_len, codes, again);
        ht__arena_reset(&scratch);
    }
    ht__arena_close(&scratch);
    return err;
}
