#include "base/nearest.h"

#include <ctype.h>
#include <string.h>

enum { MOST = 64 };

/* Letters and digits in lower case. Returns their number; 0 for a name that is too long. */
static size_t fold(const char *name, char out[MOST])
{
    size_t n = 0;
    for (const char *p = name; *p; p++) {
        if (*p == ' ' || *p == '-' || *p == '_') continue;
        if (n == MOST) return 0;
        out[n++] = (char)tolower((unsigned char)*p);
    }
    return n;
}

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Edits between two words, three rows of the table at a time. */
static size_t distance(const char *a, size_t n, const char *b, size_t m)
{
    size_t rows[3][MOST + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    for (size_t j = 0; j <= m; j++)
        last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            row[j] = least(least(last[j], row[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], before[j - 2] + 1);
        }
        size_t *free_row = before;
        before = last;
        last = row;
        row = free_row;
    }
    return last[m];
}

const char *ht__nearest(const char *word, ht__name_fn *name, void *ctx)
{
    char want[MOST], have[MOST];
    size_t n = fold(word, want), best = (n + 2) / 3 + 1;
    const char *found = NULL, *each;
    for (size_t i = 0; n > 1 && (each = name(ctx, i)) != NULL; i++) {
        size_t m = fold(each, have), d = m ? distance(want, n, have, m) : MOST;
        if (d >= best || d >= least(n, m)) continue;
        best = d;
        found = each;
    }
    return found;
}
