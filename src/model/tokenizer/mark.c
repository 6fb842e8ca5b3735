/* Marks before what a stranger's text has in common with control tokens. */
#include "base/utf8.h"
#include "model/tokenizer/parts.h"

#include <string.h>

/* Characters as they are; bytes that are none as U+FFFD: no 0xff is left. */
static void put_valid(const char *text, size_t len, struct ht__buf *out)
{
    for (size_t at = 0; at < len;) {
        size_t good = ht__utf8_valid(text + at, len - at);
        ht__buf_put(out, text + at, good);
        at += good;
        if (at < len) ht__buf_put(out, "\xef\xbf\xbd", 3), at++;
    }
}

void ht__tokenizer_mark(const struct ht__tokenizer *t, const char *text, size_t len, struct ht__buf *out)
{
    size_t at = 0, look = 0, from, to;
    const struct ht__special *s;
    while ((s = ht__tokenizer_special_next(t, text, len, look, true, &from, &to))) {
        look = to;
        if (!s->control) continue;
        size_t start = from; /* white space that the token would take is no part of its spelling */
        while (start < to && text[start] != t->pieces[s->id].text[0])
            start++;
        put_valid(text + at, start - at, out);
        ht__buf_put(out, "\xff", 1);
        /* one that begins within this one must not be found either */
        at = start;
        look = start + 1;
    }
    put_valid(text + at, len - at, out);
}

bool ht__tokenizer_take_marks(const struct ht__tokenizer *t, const char *text, size_t len, struct ht__buf *plain,
                              struct ht__marks *marks)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        n += (unsigned char)text[i] == 0xff;
    marks->at = ht__new_array(t->alloc, n ? n : 1, sizeof *marks->at);
    if (!marks->at) return false;
    for (size_t at = 0; at < len;) {
        const char *mark = memchr(text + at, 0xff, len - at);
        size_t end = mark ? (size_t)(mark - text) : len;
        ht__buf_put(plain, text + at, end - at);
        if (mark) marks->at[marks->n++] = plain->len;
        at = end + (mark ? 1 : 0);
    }
    return !plain->failed;
}
