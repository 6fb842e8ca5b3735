/* Texts in the order in which they were given. */
#ifndef HT_BASE_LIST_H
#define HT_BASE_LIST_H

#include <stddef.h>

struct ht__list {
    const char **items;
    size_t n, cap;
};

#endif
