/* From ids to text. */
#include "model/tokenizer/parts.h"

#include <string.h>

/* Appends the piece with U+2581 as spaces; the first of them is left out at the start of a text
 * that had one put before it. */
static void put_marked(struct ht__str piece, bool drop_first, struct ht__buf *out)
{
    for (size_t at = 0; at < piece.len;) {
        const char *mark = memmem(piece.text + at, piece.len - at, "\xe2\x96\x81", 3);
        size_t end = mark ? (size_t)(mark - piece.text) : piece.len;
        ht__buf_put(out, piece.text + at, end - at);
        if (mark && !(drop_first && end == 0)) ht__buf_put(out, " ", 1);
        at = end + (mark ? 3 : 0);
    }
}

/* A word's first token has a space before it, but for punctuation and the ends of contractions. */
static void put_wordpiece(struct ht__str piece, bool first, struct ht__buf *out)
{
    static const char *const close[] = {".", "?", "!", ",", "n't", "'m", "'s", "'ve", "'re"};
    bool mark = piece.len >= 3 && memcmp(piece.text, "\xe2\x96\x81", 3) == 0, space = mark && !first;
    if (mark) piece.text += 3, piece.len -= 3;
    for (size_t i = 0; i < sizeof close / sizeof *close && space; i++)
        space = piece.len < strlen(close[i]) || memcmp(piece.text, close[i], strlen(close[i])) != 0;
    if (space) ht__buf_put(out, " ", 1);
    ht__buf_put(out, piece.text, piece.len);
}

static void put_token(const struct ht__tokenizer *t, uint32_t id, bool first, struct ht__buf *out)
{
    struct ht__str text = t->texts[id];
    int byte = t->types[id] == HT__TOKEN_BYTE ? ht__token_byte(text.text, text.len) : -1;
    if (byte >= 0) {
        unsigned char c = (unsigned char)byte;
        ht__buf_put(out, &c, 1);
    } else if (t->kind == HT__TOKENIZER_WORDPIECE) {
        if (!first && t->types[id] != HT__TOKEN_NORMAL) ht__buf_put(out, " ", 1);
        put_wordpiece(text, first, out);
    } else if (t->kind == HT__TOKENIZER_BYTES || t->types[id] != HT__TOKEN_NORMAL) {
        ht__buf_put(out, text.text, text.len);
    } else {
        put_marked(text, first && t->add_prefix, out);
    }
}

/* Appends one token's text; *begun: there was one before. */
static enum ht_err put_next(const struct ht__tokenizer *t, int32_t id, unsigned flags, bool *begun, struct ht__buf *out)
{
    if (id < 0 || (uint32_t)id >= t->n) return HT_ERR_USAGE;
    bool control = ht__tokenizer_is_control(t, id);
    if (control && flags & HT__TOKENIZER_SKIP_SPECIAL) return HT_OK;
    put_token(t, (uint32_t)id, !*begun, out);
    /* tokens that the model itself puts before a text do not count as text: the text's space is still to come */
    if (!(control && id == t->bos)) *begun = true;
    return out->failed ? HT_ERR_MEMORY : HT_OK;
}

enum ht_err ht__tokenizer_decode(const struct ht__tokenizer *t, const int32_t *ids, size_t n, unsigned flags,
                                 struct ht__buf *out)
{
    bool begun = flags & HT__TOKENIZER_WITHIN;
    for (size_t i = 0; i < n; i++)
        HT_TRY(put_next(t, ids[i], flags, &begun, out));
    return HT_OK;
}

void ht__tokenizer_stream_begin(struct ht__tokenizer_stream *stream, const struct ht__tokenizer *t, unsigned flags)
{
    *stream = (struct ht__tokenizer_stream){.text = t, .flags = flags};
}

/* Bytes at the end that begin a character which is not complete: 0 to 3. */
static unsigned begun_bytes(const unsigned char *p, size_t n)
{
    for (unsigned back = 1; back <= 3 && back <= n; back++) {
        unsigned char c = p[n - back];
        if (c >= 0xc2 && c <= 0xf4) {
            unsigned need = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
            return need > back ? back : 0;
        }
        if ((c & 0xc0) != 0x80) return 0;
    }
    return 0;
}

enum ht_err ht__tokenizer_stream_put(struct ht__tokenizer_stream *stream, int32_t id, struct ht__buf *out)
{
    ht__buf_put(out, stream->held, stream->n_held);
    stream->n_held = 0;
    HT_TRY(put_next(stream->text, id, stream->flags, &stream->begun, out));
    unsigned n = begun_bytes(out->data, out->len);
    if (n == 0) return HT_OK;
    memcpy(stream->held, out->data + out->len - n, n);
    stream->n_held = n;
    out->len -= n;
    return HT_OK;
}

void ht__tokenizer_stream_end(struct ht__tokenizer_stream *stream, struct ht__buf *out)
{
    ht__buf_put(out, stream->held, stream->n_held);
    stream->n_held = 0;
}
