#include "engine/made.h"

#include <string.h>

void ht__made_init(struct ht__made *m, const struct ht__alloc *alloc)
{
    *m = (struct ht__made){.released = 0};
    ht__buf_init(&m->text, alloc);
    ht__buf_init(&m->stop_texts, alloc);
}

void ht__made_close(struct ht__made *m)
{
    ht__buf_close(&m->text);
    ht__buf_close(&m->stop_texts);
}

enum ht_err ht__made_stops(struct ht__made *m, const char *const *stops, size_t n, struct ht_diag *diag)
{
    m->stop_texts.len = 0;
    m->longest_stop = 0;
    for (size_t i = 0; i < n; i++) {
        size_t len = strlen(stops[i]);
        if (len == 0) return ht__fail(diag, HT_ERR_USAGE, "stop", -1, "a stop text must not be empty");
        ht__buf_put(&m->stop_texts, stops[i], len + 1);
        if (len > m->longest_stop) m->longest_stop = len;
    }
    return m->stop_texts.failed ? ht__fail_memory(diag, "stop") : HT_OK;
}

void ht__made_begin(struct ht__made *m, const struct ht__tokenizer *text, const int32_t *ids, size_t n, unsigned flags)
{
    bool only_bos = n == 1 && ids[0] == ht__tokenizer_bos(text);
    ht__tokenizer_stream_begin(&m->stream, text, flags & HT__GENERATE_CONTROL ? 0 : HT__TOKENIZER_SKIP_SPECIAL);
    m->stream.begun = !only_bos && !(flags & HT__GENERATE_FRESH);
    m->text.len = m->released = 0;
    m->stopped = false;
}

/* Where the first stop text begins in what is held back; or the length. */
static size_t find_stop(const struct ht__made *m)
{
    size_t first = m->text.len;
    for (size_t at = 0; at < m->stop_texts.len;) {
        const char *stop = (const char *)m->stop_texts.data + at;
        size_t len = strlen(stop);
        const char *found = memmem(m->text.data + m->released, m->text.len - m->released, stop, len);
        size_t where = found ? (size_t)(found - (const char *)m->text.data) : first;
        if (where < first) first = where;
        at += len + 1;
    }
    return first;
}

enum ht_err ht__made_put(struct ht__made *m, int32_t id, struct ht_diag *diag)
{
    if (ht__tokenizer_stream_put(&m->stream, id, &m->text) != HT_OK) return ht__fail_memory(diag, "text");
    size_t stop = m->text.len > m->released ? find_stop(m) : m->text.len;
    if (stop < m->text.len) {
        m->text.len = stop;
        m->stopped = true;
    }
    return HT_OK;
}

/* Does what is made from `at` on begin a stop text? */
static bool may_stop(const struct ht__made *m, size_t at)
{
    size_t n = m->text.len - at;
    for (size_t i = 0; i < m->stop_texts.len;) {
        const char *stop = (const char *)m->stop_texts.data + i;
        size_t len = strlen(stop);
        if (n < len && memcmp(m->text.data + at, stop, n) == 0) return true;
        i += len + 1;
    }
    return false;
}

static struct ht__str hand_out(struct ht__made *m, size_t to)
{
    struct ht__str piece = {(const char *)m->text.data + m->released, to - m->released};
    m->released = to;
    return piece;
}

struct ht__str ht__made_take(struct ht__made *m)
{
    size_t n = m->text.len, low = n > m->longest_stop ? n - m->longest_stop : 0;
    size_t at = low < m->released ? m->released : low;
    if (!m->stopped)
        for (; at < n; at++)
            if (may_stop(m, at)) return hand_out(m, at);
    return hand_out(m, n);
}

struct ht__str ht__made_rest(struct ht__made *m)
{
    if (!m->stopped) ht__tokenizer_stream_end(&m->stream, &m->text);
    return hand_out(m, m->text.len);
}
