/*
 * What comes over the wire: a head with a body in chunks behind it. However the bytes are cut into pieces, the parsers
 * must come to the same end; what they take must be what they promise.
 */
#include "net/http_parts.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    enum ht__http_step step;
    size_t at;
    int status;
    uint64_t sum, n; /* of the body's bytes */
};

static void check(bool truth)
{
    if (!truth) abort();
}

static bool same(const struct outcome *a, const struct outcome *b)
{
    return a->step == b->step && a->at == b->at && a->status == b->status && a->sum == b->sum && a->n == b->n;
}

/* An allocation that ends where the text does. */
static char *copy(const char *data, size_t size)
{
    char *text = malloc(size ? size : 1);
    check(text != NULL);
    if (size > 0) memcpy(text, data, size);
    return text;
}

/* The head, of which `piece` bytes more are there each time. */
static struct outcome scan(const char *data, size_t size, size_t piece)
{
    struct ht__http_scan s = {0};
    struct outcome o = {.step = HT__HTTP_MORE};
    for (size_t len = 0; o.step == HT__HTTP_MORE && len < size;) {
        len = size - len < piece ? size : len + piece;
        char *text = copy(data, len);
        o.step = ht__http_scan(&s, text, len);
        check(s.at <= len && s.line <= s.at);
        free(text);
    }
    o.at = o.step == HT__HTTP_END ? s.at : 0;
    o.status = s.status;
    check((o.step == HT__HTTP_BAD) == (s.status >= 400 && s.reason != NULL));
    return o;
}

static void cut(const char *data, size_t len)
{
    struct ht__http_pair headers[HT__HTTP_MAX_HEADERS + 1];
    struct ht__http_head head;
    const char *reason = NULL;
    char *text = copy(data, len);
    check(len >= 2 && text[len - 1] == '\n' && len <= HT__HTTP_MAX_HEAD);
    int status = ht__http_cut(text, len, headers, &head, &reason);
    check(status == 0 || (status >= 400 && reason));
    check(head.n_headers <= HT__HTTP_MAX_HEADERS + 1);
    for (int i = 0; i < head.n_headers; i++) {
        const char *value = headers[i].value;
        check(headers[i].name >= text && value > headers[i].name && value + strlen(value) < text + len);
        check(value[0] != ' ' && value[0] != '\t' && ht__http_is_value(value));
    }
    if (status == 0) {
        struct ht__http_verdict v = ht__http_guard(&head);
        check(v.status != 0 || (head.n_headers <= HT__HTTP_MAX_HEADERS && ht__http_is_token(head.method)));
    }
    free(text);
}

static struct outcome chunks(const char *data, size_t size, size_t piece)
{
    struct ht__http_chunks c = {.max = 1000};
    struct outcome o = {.step = HT__HTTP_MORE};
    while (o.at < size && (o.step == HT__HTTP_MORE || o.step == HT__HTTP_DATA)) {
        const char *bytes = NULL;
        size_t used, n = 0, len = size - o.at < piece ? size - o.at : piece;
        char *text = copy(data + o.at, len);
        o.step = ht__http_chunks(&c, text, len, &used, &bytes, &n);
        check(used <= len && (used > 0 || o.step == HT__HTTP_MORE));
        if (o.step == HT__HTTP_MORE) check(used == len);
        if (o.step == HT__HTTP_DATA) check(n > 0 && bytes >= text && bytes + n <= text + len);
        for (size_t i = 0; o.step == HT__HTTP_DATA && i < n; i++)
            o.sum = o.sum * 31 + (unsigned char)bytes[i];
        o.n += o.step == HT__HTTP_DATA ? n : 0;
        o.at += used;
        free(text);
    }
    if (o.step == HT__HTTP_DATA) o.step = HT__HTTP_MORE;
    check(o.n <= c.total && c.total <= c.max);
    check(o.step != HT__HTTP_END || o.n == c.total);
    check((o.step == HT__HTTP_BAD) == (c.status >= 400 && c.reason != NULL));
    o.status = c.status;
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    const char *data = (const char *)input;
    size_t blank = ht__http_blank_lines(data, size);
    check(blank <= size && blank % 2 == 0);
    if (size - blank > 8192) return 0; /* byte by byte takes its square */
    struct outcome whole = scan(data + blank, size - blank, size), apart = scan(data + blank, size - blank, 1),
                   cut_up = scan(data + blank, size - blank, 7);
    check(same(&whole, &apart) && same(&whole, &cut_up));
    if (whole.step == HT__HTTP_END) cut(data + blank, whole.at);

    size_t body = whole.step == HT__HTTP_END ? blank + whole.at : 0;
    whole = chunks(data + body, size - body, size);
    apart = chunks(data + body, size - body, 1);
    cut_up = chunks(data + body, size - body, 3);
    check(same(&whole, &apart) && same(&whole, &cut_up));
    return 0;
}
