#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

void ht__buf_init(struct ht__buf *buf, const struct ht__alloc *alloc)
{
    memset(buf, 0, sizeof *buf);
    buf->alloc = alloc;
}

void ht__buf_close(struct ht__buf *buf)
{
    ht__free(buf->alloc, buf->data);
    ht__buf_init(buf, buf->alloc);
}

static bool reserve(struct ht__buf *buf, size_t n)
{
    if (buf->failed) return false;
    if (buf->data && n <= buf->cap - buf->len) return true;
    size_t need, cap = buf->cap < 256 ? 256 : buf->cap;
    if (__builtin_add_overflow(buf->len, n, &need) || need > SIZE_MAX / 2) return !(buf->failed = true);
    while (cap < need)
        cap += cap / 2;
    void *data = ht__resize(buf->alloc, buf->data, cap);
    if (!data) return !(buf->failed = true);
    buf->data = data;
    buf->cap = cap;
    return true;
}

void *ht__buf_grow(struct ht__buf *buf, size_t n)
{
    if (!reserve(buf, n)) return NULL;
    void *p = buf->data + buf->len;
    buf->len += n;
    return p;
}

void ht__buf_put(struct ht__buf *buf, const void *data, size_t n)
{
    if (n == 0) return;
    void *p = ht__buf_grow(buf, n);
    if (p) memcpy(p, data, n);
}

void ht__buf_zeros(struct ht__buf *buf, size_t n)
{
    void *p = n ? ht__buf_grow(buf, n) : NULL;
    if (p) memset(p, 0, n);
}

void ht__buf_str(struct ht__buf *buf, const char *text)
{
    ht__buf_put(buf, text, strlen(text));
}

void ht__buf_printf(struct ht__buf *buf, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    int len = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (len < 0 || !reserve(buf, (size_t)len + 1)) {
        buf->failed = true;
        return;
    }
    va_start(args, fmt);
    vsnprintf((char *)buf->data + buf->len, (size_t)len + 1, fmt, args);
    va_end(args);
    buf->len += (size_t)len;
}

const char *ht__buf_text(struct ht__buf *buf)
{
    if (!reserve(buf, 1)) return "";
    buf->data[buf->len] = '\0';
    return (const char *)buf->data;
}

enum ht_err ht__buf_hand_out(struct ht__buf *buf, const char *where, char **text, struct ht_diag *diag)
{
    const char *whole = ht__buf_text(buf);
    *text = buf->failed ? NULL : strdup(whole);
    return *text ? HT_OK : ht__fail_memory(diag, where);
}
