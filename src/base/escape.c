#include "base/escape.h"
#include "base/utf8.h"

#include <stdio.h>
#include <string.h>

bool ht__is_unprintable(uint32_t code)
{
    return code < 0x20 || (code >= 0x7f && code < 0xa0) || code == 0x061c || code == 0x200e || code == 0x200f ||
           (code >= 0x2028 && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

/* One character of the text as it is shown; returns how many of its bytes were taken. */
static size_t next(const char *text, size_t len, char shown[8], size_t *n)
{
    uint32_t code = 0;
    int taken = ht__utf8_get(text, len, &code);
    if (taken == 0)
        *n = (size_t)snprintf(shown, 8, "\\x%02x", (unsigned char)text[0]);
    else if (code == '\n' || code == '\t')
        *n = (size_t)snprintf(shown, 8, "\\%c", code == '\n' ? 'n' : 't');
    else if (ht__is_unprintable(code))
        *n = (size_t)snprintf(shown, 8, code < 0x80 ? "\\x%02x" : "\\u%04x", code);
    else
        memcpy(shown, text, *n = (size_t)taken);
    return taken ? (size_t)taken : 1;
}

size_t ht__escape(const char *text, size_t len, char *out, size_t size)
{
    size_t total = 0, used = 0;
    for (size_t i = 0; i < len;) {
        char shown[8];
        size_t n;
        i += next(text + i, len - i, shown, &n);
        if (used == total && total + n < size) {
            memcpy(out + used, shown, n);
            used += n;
        }
        total += n;
    }
    if (size) out[used] = '\0';
    return total;
}
