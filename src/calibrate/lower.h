/*
 * A symmetric matrix, of which what lies on and below the diagonal is kept: in strips of HT__LOWER rows, whose rows have the
 * columns up to the end of the strip's last row.
 */
#ifndef HT_CALIBRATE_LOWER_H
#define HT_CALIBRATE_LOWER_H

#include <stdint.h>

enum { HT__LOWER = 32 };

/* Numbers in a row, and those before it. */
static inline int64_t ht__lower_columns(int64_t row)
{
    return (row / HT__LOWER + 1) * HT__LOWER;
}
static inline int64_t ht__lower_row(int64_t row)
{
    int64_t strip = row / HT__LOWER;
    return HT__LOWER * HT__LOWER * (strip * (strip + 1) / 2) + row % HT__LOWER * ht__lower_columns(row);
}
/* Numbers of n rows. */
static inline int64_t ht__lower_size(int64_t n)
{
    return ht__lower_row((n + HT__LOWER - 1) / HT__LOWER * HT__LOWER);
}
/* Where the number of a row and a column is. */
static inline int64_t ht__lower_at(int64_t i, int64_t j)
{
    return i < j ? ht__lower_row(j) + i : ht__lower_row(i) + j;
}

#endif
