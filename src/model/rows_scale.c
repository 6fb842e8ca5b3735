/* Sources that give other numbers than their file: scaled by rows and columns, or given. */
#include "model/rows.h"

#include <string.h>

struct scaled {
    struct ht__rows was;
    struct ht__rows_scales by;
};

static void apply(const struct ht__rows *rows, int64_t row, int64_t n, int64_t column, int64_t n_columns, float *x)
{
    const struct scaled *s = rows->ctx;
    for (int64_t r = 0; r < n; r++, x += n_columns)
        for (int64_t c = 0; c < n_columns; c++) {
            if (s->by.values) x[c] = s->by.values[(row + r) * rows->row_len + column + c];
            if (s->by.rows) x[c] *= s->by.rows[row + r];
            if (s->by.columns) x[c] *= s->by.columns[column + c];
        }
}

static enum ht_err read_scaled(const struct ht__rows *rows, int64_t row, int64_t n, float *dst,
                               struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct scaled *s = rows->ctx;
    if (ht__rows_overlaid(rows, row, n, 0, rows->row_len, dst)) return HT_OK;
    HT_TRY(s->was.read(&s->was, row, n, dst, scratch, diag));
    apply(rows, row, n, 0, rows->row_len, dst);
    return HT_OK;
}

static enum ht_err read_scaled_part(const struct ht__rows *rows, int64_t row, int64_t n, int64_t column,
                                    int64_t n_columns, float *dst, struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct scaled *s = rows->ctx;
    if (ht__rows_overlaid(rows, row, n, column, n_columns, dst)) return HT_OK;
    HT_TRY(s->was.read_part(&s->was, row, n, column, n_columns, dst, scratch, diag));
    apply(rows, row, n, column, n_columns, dst);
    return HT_OK;
}

/* In the type that the file has: what was made on top of the source may ask for it still. */
static enum ht_err read_scaled_raw(const struct ht__rows *rows, int64_t row, int64_t n, void *dst,
                                   struct ht__arena *scratch, struct ht_diag *diag)
{
    const struct scaled *s = rows->ctx;
    float *x = ht__arena_raw(scratch, (size_t)(n * rows->row_len) * sizeof *x);
    if (!x) return ht__fail_memory(diag, "scales");
    HT_TRY(read_scaled(rows, row, n, x, scratch, diag));
    ht__encoder(s->was.stored, ht__cpu_best())(x, n, rows->row_len, NULL, dst);
    return HT_OK;
}

static void prefetch_scaled(const struct ht__rows *rows)
{
    const struct scaled *s = rows->ctx;
    ht__rows_prefetch(&s->was);
}

bool ht__rows_scalable(const struct ht__rows *rows)
{
    const struct ht__codec *type = rows->stored;
    return ht__rows_is_tensor(rows) && type && type->flags & HT__CODEC_PLAIN && type->encode;
}

bool ht__rows_scale(struct ht__arena *arena, struct ht__rows *rows, const struct ht__rows_scales *by)
{
    struct scaled *s = ht__arena_new(arena, sizeof *s);
    if (!s) return false;
    *s = (struct scaled){*rows, *by};
    rows->read = read_scaled;
    rows->ctx = s;
    if (rows->read_part) rows->read_part = read_scaled_part;
    if (rows->read_raw) rows->read_raw = read_scaled_raw;
    if (rows->prefetch) rows->prefetch = prefetch_scaled;
    return true;
}
