#include "pipeline/row_set.h"

static struct ht__row_span *all(const struct ht__row_set *set)
{
    return (struct ht__row_span *)(void *)set->spans.data;
}

void ht__row_set_init(struct ht__row_set *set, const struct ht__alloc *alloc)
{
    ht__buf_init(&set->spans, alloc);
}

void ht__row_set_close(struct ht__row_set *set)
{
    ht__buf_close(&set->spans);
}

void ht__row_set_clear(struct ht__row_set *set)
{
    set->spans.len = 0;
}

size_t ht__row_set_size(const struct ht__row_set *set)
{
    return set->spans.len / sizeof(struct ht__row_span);
}

struct ht__row_span ht__row_set_at(const struct ht__row_set *set, size_t i)
{
    return all(set)[i];
}

/* Spans that touch or overlap become one. */
static void join(struct ht__row_set *set)
{
    struct ht__row_span *spans = all(set);
    size_t last = 0;
    for (size_t i = 1; i < ht__row_set_size(set); i++) {
        if (spans[i].from > spans[last].to)
            spans[++last] = spans[i];
        else if (spans[i].to > spans[last].to)
            spans[last].to = spans[i].to;
    }
    set->spans.len = (last + 1) * sizeof *spans;
}

void ht__row_set_add(struct ht__row_set *set, struct ht__row_span rows)
{
    if (rows.from >= rows.to) return;
    ht__buf_put(&set->spans, &rows, sizeof rows);
    if (set->spans.failed) return;
    struct ht__row_span *spans = all(set);
    size_t i = ht__row_set_size(set) - 1;
    for (; i > 0 && spans[i - 1].from > rows.from; i--)
        spans[i] = spans[i - 1];
    spans[i] = rows;
    join(set);
}

static struct ht__row_span both(struct ht__row_span a, struct ht__row_span b)
{
    return (struct ht__row_span){a.from > b.from ? a.from : b.from, a.to < b.to ? a.to : b.to};
}

int64_t ht__row_set_count(const struct ht__row_set *set, struct ht__row_span rows)
{
    int64_t n = 0;
    for (size_t i = 0; i < ht__row_set_size(set); i++) {
        struct ht__row_span common = both(all(set)[i], rows);
        if (common.from < common.to) n += common.to - common.from;
    }
    return n;
}

bool ht__row_set_gap(const struct ht__row_set *set, struct ht__row_span *rows)
{
    for (size_t i = 0; i < ht__row_set_size(set); i++) {
        struct ht__row_span span = all(set)[i];
        if (span.to <= rows->from) continue;
        if (span.from > rows->from) {
            if (span.from < rows->to) rows->to = span.from;
            break;
        }
        rows->from = span.to;
    }
    return rows->from < rows->to;
}

bool ht__row_set_holds(const struct ht__row_set *a, const struct ht__row_set *b)
{
    for (size_t i = 0; i < ht__row_set_size(b); i++) {
        struct ht__row_span rows = all(b)[i];
        if (ht__row_set_count(a, rows) < rows.to - rows.from) return false;
    }
    return true;
}

bool ht__row_set_meets(const struct ht__row_set *a, const struct ht__row_set *b)
{
    for (size_t i = 0; i < ht__row_set_size(b); i++)
        if (ht__row_set_count(a, all(b)[i]) > 0) return true;
    return false;
}
