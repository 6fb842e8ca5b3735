#include "calibrate/statistics.h"
#include "model/slot.h"

#include <math.h>
#include <string.h>

static double count_of(const struct ht__sums *s, uint64_t column)
{
    return s->counts[s->n_counts == 1 ? 0 : column / s->n_cols];
}

static double mean_square(const struct ht__sums *s, uint64_t column)
{
    double count = count_of(s, column);
    return count > 0 ? s->sums[column] / count : 1;
}

/* The same tensor in the list, or NULL. */
static const struct ht__sums *one_layer_before(const struct ht__sums_file *file, const struct ht__sums *s)
{
    char name[256];
    int32_t layer = ht__slot_of_name(s->name).layer;
    if (layer < 1 || !ht__name_in_layer(s->name, layer - 1, name, sizeof name)) return NULL;
    size_t low = 0, high = file->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int order = strcmp(file->items[mid].name, name);
        if (order == 0) return &file->items[mid];
        if (order < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return NULL;
}

static double cosine(const struct ht__sums *a, const struct ht__sums *b, uint64_t n)
{
    double ab = 0, aa = 0, bb = 0;
    if (!b || b->n_cols * b->n_mat != n) return NAN;
    for (uint64_t i = 0; i < n; i++) {
        ab += a->sums[i] * b->sums[i];
        aa += a->sums[i] * a->sums[i];
        bb += b->sums[i] * b->sums[i];
    }
    return aa > 0 && bb > 0 ? ab / (sqrt(aa) * sqrt(bb)) : 0;
}

/* The largest first; equal ones in the order of the columns. */
static void keep_top(struct ht__statistics *out, const struct ht__sums *s, uint64_t column)
{
    double value = mean_square(s, column);
    int at = out->n_top;
    if (at == HT__TOP_COLUMNS) {
        if (value <= mean_square(s, out->top[at - 1])) return;
        at--;
    } else {
        out->n_top++;
    }
    for (; at > 0 && value > mean_square(s, out->top[at - 1]); at--)
        out->top[at] = out->top[at - 1];
    out->top[at] = column;
}

void ht__statistics_of(const struct ht__sums_file *file, size_t item, struct ht__statistics *out)
{
    const struct ht__sums *s = &file->items[item];
    uint64_t n = s->n_cols * s->n_mat;
    double squares = 0;
    *out = (struct ht__statistics){.n = n, .min = INFINITY};
    for (uint64_t i = 0; i < n; i++) {
        double a = mean_square(s, i);
        out->sum += a;
        out->min = fmin(out->min, a);
        out->max = fmax(out->max, a);
        out->active += a > 1e-5;
        keep_top(out, s, i);
    }
    out->mean = out->sum / (double)n;
    for (uint64_t i = 0; i < n; i++) {
        double a = mean_square(s, i), d = a - out->mean, p = out->sum > 0 ? a / out->sum : 0;
        squares += d * d;
        if (p > 0) out->entropy -= p * log2(p);
    }
    out->deviation = sqrt(squares / (double)n);
    for (uint64_t i = 0; i < n && out->deviation > 0; i++)
        out->z_share += (mean_square(s, i) - out->mean) / out->deviation > 1;
    out->z_share /= (double)n;
    out->active /= (double)n;
    out->similarity = cosine(s, one_layer_before(file, s), n);
    for (uint64_t i = 0; i < s->n_counts; i++)
        out->n_without_data += s->n_counts > 1 && !(s->counts[i] > 0);
}
