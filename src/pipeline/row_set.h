/* Rows of a tensor: spans in ascending order that neither touch nor overlap. */
#ifndef HT_PIPELINE_ROW_SET_H
#define HT_PIPELINE_ROW_SET_H

#include "base/buf.h"

/* from <= row < to */
struct ht__row_span {
    int64_t from, to;
};

struct ht__row_set {
    struct ht__buf spans; /* struct ht__row_span; a failure is the buffer's */
};

void ht__row_set_init(struct ht__row_set *set, const struct ht__alloc *alloc);
void ht__row_set_close(struct ht__row_set *set);
void ht__row_set_clear(struct ht__row_set *set);

size_t ht__row_set_size(const struct ht__row_set *set); /* spans */
struct ht__row_span ht__row_set_at(const struct ht__row_set *set, size_t i);
void ht__row_set_add(struct ht__row_set *set, struct ht__row_span rows);

/* How many of these rows are in the set. */
int64_t ht__row_set_count(const struct ht__row_set *set, struct ht__row_span rows);
/* Narrows *rows to the first of them that are not in the set; false: all of them are. */
bool ht__row_set_gap(const struct ht__row_set *set, struct ht__row_span *rows);
/* Are all rows of b in a; is any? */
bool ht__row_set_holds(const struct ht__row_set *a, const struct ht__row_set *b);
bool ht__row_set_meets(const struct ht__row_set *a, const struct ht__row_set *b);

#endif
