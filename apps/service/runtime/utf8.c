#include "service/runtime/utf8.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of the character at the start; 0: it is none (cut off, overlong, a surrogate or beyond U+10FFFF), or a NUL, which
 * readers of JSON refuse. */
static size_t character(const unsigned char *s, size_t n)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = s[0] == 0 ? 0 : s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 0;
    if (len < 2 || len > n || s[0] > 0xf4) return len == 1 ? 1 : 0;
    uint32_t code = s[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        code = code << 6 | (s[i] & 0x3fu);
    }
    return code < least[len] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000) ? 0 : len;
}

json_t *utf8_json(const char *text, size_t len)
{
    json_t *whole = memchr(text, 0, len) ? NULL : json_stringn(text, len);
    char *out = whole ? NULL : malloc(3 * len + 1);
    size_t n = 0;
    if (!out) return whole;
    for (size_t i = 0; i < len;) {
        size_t good = character((const unsigned char *)text + i, len - i);
        memcpy(out + n, good ? text + i : "\xef\xbf\xbd", good ? good : 3);
        n += good ? good : 3;
        i += good ? good : 1;
    }
    json_t *value = json_stringn(out, n);
    free(out);
    return value;
}
