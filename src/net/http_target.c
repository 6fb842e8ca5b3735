/* Paths and queries, decoded once. */
#include "net/http_parts.h"

#include "base/utf8.h"

#include <string.h>

static int hex(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool ht__http_decode(const char *text, size_t len, bool plus, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '%') {
            if (len - i < 3 || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0) return false;
            c = (unsigned char)(hex(text[i + 1]) << 4 | hex(text[i + 2]));
            i += 2;
            /* a form's text may have lines; nothing else that steers a terminal, a log or a C
             * string may come in */
            bool line = plus && (c == '\n' || c == '\r' || c == '\t');
            if ((c < 0x20 && !line) || c == 0x7f) return false;
        } else if (c <= 0x20 || c >= 0x7f) {
            return false; /* what a target has to escape */
        } else if (c == '+' && plus) {
            c = ' ';
        }
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return ht__utf8_valid(out, n) == n;
}

/* The path is decoded: an escaped '/' or '.' counts like any other. */
static bool segments_are_plain(const char *path)
{
    for (const char *p = path; *p == '/';) {
        const char *segment = ++p;
        p += strcspn(p, "/");
        size_t n = (size_t)(p - segment);
        if (n == 0 && *p == '/') return false;
        if (n == 1 && segment[0] == '.') return false;
        if (n == 2 && segment[0] == '.' && segment[1] == '.') return false;
    }
    return true;
}

bool ht__http_path_decode(const char *text, size_t len, char *out)
{
    if (len == 0 || text[0] != '/') return false;
    return ht__http_decode(text, len, false, out) && segments_are_plain(out);
}

int ht__http_query_split(const char *text, size_t len, char *out, struct ht__http_pair *pairs, int max)
{
    int n = 0;
    for (size_t i = 0; i < len;) {
        const char *piece = text + i;
        const char *amp = memchr(piece, '&', len - i);
        size_t piece_len = amp ? (size_t)(amp - piece) : len - i;
        i += piece_len + 1;
        if (piece_len == 0) continue;
        if (n == max) return -2;
        const char *eq = memchr(piece, '=', piece_len);
        size_t name_len = eq ? (size_t)(eq - piece) : piece_len;
        if (!ht__http_decode(piece, name_len, true, out)) return -1;
        pairs[n].name = out;
        out += strlen(out); /* decoding gives no NUL within */
        if (!eq) {          /* the name's own end is the empty value */
            pairs[n++].value = out++;
            continue;
        }
        out++;
        if (!ht__http_decode(eq + 1, piece_len - name_len - 1, true, out)) return -1;
        pairs[n++].value = out;
        out += strlen(out) + 1;
    }
    return n;
}
