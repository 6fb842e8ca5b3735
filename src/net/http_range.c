/* Range headers: "bytes=" then first-last, first- or -length. */
#include "net/http.h"

#include <strings.h>

/* Digits at *p into *value, held at the largest number when they are more than it takes. False: not
 * one digit. */
static bool number(const char **p, uint64_t *value)
{
    const char *start = *p;
    *value = 0;
    for (; **p >= '0' && **p <= '9'; ++*p) {
        uint64_t digit = (uint64_t)(**p - '0');
        *value = *value > (UINT64_MAX - digit) / 10 ? UINT64_MAX : *value * 10 + digit;
    }
    return *p > start;
}

struct spec {
    bool suffix;          /* the last `last` bytes */
    bool to_end;          /* from `first` on */
    uint64_t first, last; /* both included */
};

static bool one_spec(const char **p, struct spec *spec)
{
    *spec = (struct spec){0};
    if (**p == '-') {
        ++*p;
        spec->suffix = true;
        return number(p, &spec->last);
    }
    if (!number(p, &spec->first) || **p != '-') return false;
    ++*p;
    if (!number(p, &spec->last)) {
        spec->to_end = true;
        return true;
    }
    return spec->last >= spec->first;
}

/* White space and the commas of empty list elements. Returns the number of commas. */
static int skip_separators(const char **p)
{
    int n = 0;
    for (; **p == ' ' || **p == '\t' || **p == ','; ++*p)
        n += **p == ',';
    return n;
}

enum ht__range ht__http_range(const char *header, uint64_t size, uint64_t *first, uint64_t *len)
{
    struct spec spec;
    if (!header || strncasecmp(header, "bytes=", 6) != 0) return HT__RANGE_NONE;
    const char *p = header + 6;
    skip_separators(&p);
    if (!one_spec(&p, &spec)) return HT__RANGE_NONE;
    skip_separators(&p);
    if (*p != '\0') return HT__RANGE_NONE; /* another range, or nonsense */

    if (spec.suffix) {
        if (spec.last == 0) return HT__RANGE_UNSATISFIABLE;
        if (size == 0) return HT__RANGE_NONE; /* the whole of nothing: no Content-Range can say so */
        *len = spec.last < size ? spec.last : size;
        *first = size - *len;
        return HT__RANGE_ONE;
    }
    if (spec.first >= size) return HT__RANGE_UNSATISFIABLE;
    uint64_t last = spec.to_end || spec.last >= size ? size - 1 : spec.last;
    *first = spec.first;
    *len = last - spec.first + 1;
    return HT__RANGE_ONE;
}
