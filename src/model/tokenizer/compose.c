/*
 * Normalization form C. Most text is in form already, so only the stretches that may change are
 * taken apart: from the character before the first that moves to the last of them. Marks are put in
 * order by sorting, for a stranger's text may be nothing but marks, and utf8proc's own ordering
 * takes the square of their number.
 */
#include "model/tokenizer/parts.h"

#include <string.h>
#include <utf8proc.h>

struct stretch {
    struct ht__buf codes, copy; /* int32_t: code points, bad bytes as uni.h has them */
};

static bool moves(const struct ht__tokenizer *t, uint32_t code)
{
    return code >= 0xc0 && ht__uni_of(&t->uni, code) & HT__UNI_MOVES;
}

static int class_of(int32_t code)
{
    return code < HT__UNI_BAD ? utf8proc_get_property(code)->combining_class : 0;
}

/* A stable sort by combining class, of n marks. */
static bool sort_marks(struct stretch *s, int32_t *codes, size_t n)
{
    size_t first[257] = {0};
    s->copy.len = 0;
    int32_t *copy = ht__buf_grow(&s->copy, n * sizeof *copy);
    if (!copy) return false;
    memcpy(copy, codes, n * sizeof *copy);
    for (size_t i = 0; i < n; i++)
        first[class_of(copy[i]) + 1]++;
    for (int c = 0; c < 256; c++)
        first[c + 1] += first[c];
    for (size_t i = 0; i < n; i++)
        codes[first[class_of(copy[i])]++] = copy[i];
    return true;
}

static bool order(struct stretch *s, int32_t *codes, size_t n)
{
    for (size_t i = 0, end; i < n; i = end) {
        bool sorted = true;
        int last = class_of(codes[i]);
        end = i + 1;
        if (last == 0) continue;
        for (int c; end < n && (c = class_of(codes[end])) != 0; end++, last = c)
            sorted &= c >= last;
        if (!sorted && !sort_marks(s, codes + i, end - i)) return false;
    }
    return true;
}

static bool take_apart(struct stretch *s, const char *text, size_t n)
{
    s->codes.len = 0;
    for (size_t i = 0; i < n;) {
        uint32_t code;
        int32_t parts[32]; /* the longest has 4 */
        int last = 0;
        utf8proc_ssize_t k = 1;
        i += (size_t)ht__uni_get((const unsigned char *)text + i, n - i, &code);
        if (code < HT__UNI_BAD)
            k = utf8proc_decompose_char((utf8proc_int32_t)code, parts, 32, UTF8PROC_DECOMPOSE | UTF8PROC_STABLE, &last);
        if (k < 1 || k > 32 || code >= HT__UNI_BAD) k = 1, parts[0] = (int32_t)code;
        ht__buf_put(&s->codes, parts, (size_t)k * sizeof *parts);
    }
    return !s->codes.failed;
}

static bool compose(struct stretch *s, const char *text, size_t n, struct ht__buf *out)
{
    if (!take_apart(s, text, n)) return false;
    int32_t *codes = (int32_t *)(void *)s->codes.data;
    utf8proc_ssize_t count = (utf8proc_ssize_t)(s->codes.len / sizeof *codes);
    if (!order(s, codes, (size_t)count)) return false;
    count = utf8proc_normalize_utf32(codes, count, UTF8PROC_STABLE | UTF8PROC_COMPOSE);
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        char c[4];
        ht__buf_put(out, c, (size_t)ht__uni_put((uint32_t)codes[i], c));
    }
    return true;
}

/* The next stretch at or after `at`: false when nothing more moves. */
static bool next_stretch(const struct ht__tokenizer *t, const char *text, size_t n, size_t at, size_t *from, size_t *to)
{
    const unsigned char *p = (const unsigned char *)text;
    size_t before = at, i = at;
    uint32_t code;
    while (i < n) {
        size_t len = (size_t)ht__uni_get(p + i, n - i, &code);
        if (moves(t, code)) break;
        before = i;
        i += len;
    }
    if (i >= n) return false;
    *from = before;
    while (i < n) {
        size_t len = (size_t)ht__uni_get(p + i, n - i, &code);
        if (!moves(t, code)) break;
        i += len;
    }
    *to = i;
    return true;
}

enum ht_err ht__tokenizer_nfc(const struct ht__tokenizer *t, const char **text, size_t *n, struct ht__buf *buf,
                              struct ht_diag *diag)
{
    struct stretch s;
    size_t done = 0, from = 0, to = 0;
    if (!next_stretch(t, *text, *n, 0, &from, &to)) return HT_OK;
    ht__buf_init(&s.codes, t->alloc);
    ht__buf_init(&s.copy, t->alloc);
    buf->len = 0;
    bool good = true;
    do {
        ht__buf_put(buf, *text + done, from - done);
        good = compose(&s, *text + from, to - from, buf);
        done = to;
    } while (good && next_stretch(t, *text, *n, done, &from, &to));
    ht__buf_put(buf, *text + done, *n - done);
    ht__buf_close(&s.codes);
    ht__buf_close(&s.copy);
    if (!good || buf->failed) return ht__fail_memory(diag, t->where);
    *text = (const char *)buf->data;
    *n = buf->len;
    return HT_OK;
}
