/*
 * SentencePiece models. A message is a row of fields, each behind a key:
 *
 *     key      varint: field number << 3 | wire type
 *     payload  wire type 0: varint; 1: 8 bytes; 2: varint length, then so many bytes; 5: 4 bytes
 *
 *     ModelProto  1 piece (repeated)   2 trainer_spec            3 normalizer_spec
 *     piece       1 text               2 score (float)           3 type (varint, default normal)
 *     trainer     3 model_type         24 whitespace as suffix   40-43 unk, bos, eos, pad ids
 *     normalizer  2 charsmap           3 add_dummy_prefix        4 remove_extra_whitespaces
 *                 5 escape_whitespaces
 *
 * Fields that are not known are skipped, as the format wants it.
 */
#include "model/vocab_import/sentencepiece.h"
#include "base/cursor.h"

#include <math.h>

struct field {
    uint32_t number;
    int wire;
    uint64_t value;         /* wire types 0, 1 and 5 */
    struct ht__cursor body; /* wire type 2 */
    size_t offset;          /* of the key, in the message */
};

enum { WIRE_VARINT = 0, WIRE_8 = 1, WIRE_BYTES = 2, WIRE_4 = 5 };

/* At most ten bytes, and nothing above the 64th bit. */
static uint64_t varint(struct ht__cursor *c)
{
    uint64_t v = 0;
    for (int shift = 0; shift < 70; shift += 7) {
        uint8_t byte = ht__cursor_u8(c);
        if (shift == 63 && byte > 1) break;
        v |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) return v;
    }
    c->bad = true;
    return 0;
}

/* The next field; false at the end or when the message is malformed (c->bad). */
static bool next_field(struct ht__cursor *c, struct field *f)
{
    *f = (struct field){.offset = c->pos};
    if (ht__cursor_left(c) == 0) return false;
    uint64_t key = varint(c);
    f->wire = (int)(key & 7);
    f->number = (uint32_t)(key >> 3);
    if (key >> 3 == 0 || key >> 3 > 0x1fffffff) c->bad = true;
    switch (f->wire) {
    case WIRE_VARINT: f->value = varint(c); break;
    case WIRE_8: f->value = ht__cursor_u64(c); break;
    case WIRE_4: f->value = ht__cursor_u32(c); break;
    case WIRE_BYTES: {
        uint64_t n = varint(c);
        const uint8_t *p = ht__cursor_take(c, n);
        if (p) f->body = ht__cursor_of(p, (size_t)n);
        break;
    }
    default: c->bad = true; /* groups are long gone */
    }
    return !c->bad;
}

static float as_float(uint64_t bits)
{
    uint32_t low = (uint32_t)bits;
    float v;
    memcpy(&v, &low, sizeof v);
    return v;
}

struct piece {
    struct ht__str text;
    bool has_text;
    float score;
    uint64_t type;
};

static bool read_piece(struct ht__cursor c, struct piece *piece)
{
    struct field f;
    *piece = (struct piece){.text = {"", 0}, .type = HT__TOKEN_NORMAL};
    while (next_field(&c, &f)) {
        if (f.number == 1 && f.wire == WIRE_BYTES) {
            piece->text = (struct ht__str){(const char *)f.body.data, f.body.size};
            piece->has_text = true;
        }
        if (f.number == 2 && f.wire == WIRE_4) piece->score = as_float(f.value);
        if (f.number == 3 && f.wire == WIRE_VARINT) piece->type = f.value;
    }
    return !c.bad;
}

static enum ht_err put_piece(const struct field *f, struct ht__vocab *vocab, struct ht__sentencepiece *model,
                             struct ht_diag *diag)
{
    struct piece piece;
    char show[64];
    int64_t at = (int64_t)f->offset;
    size_t id = ht__vocab_count(vocab);
    if (!read_piece(f->body, &piece))
        return ht__fail(diag, HT_ERR_FORMAT, vocab->where, at, "piece %zu is malformed", id);
    ht__token_show(show, piece.text.text, piece.text.len);
    if (!piece.has_text || piece.text.len == 0)
        return ht__fail(diag, HT_ERR_FORMAT, vocab->where, at, "piece %zu has no text", id);
    if (piece.type < HT__TOKEN_NORMAL || piece.type > HT__TOKEN_BYTE)
        return ht__fail(diag, HT_ERR_FORMAT, vocab->where, at, "piece %zu (\"%s\") has the unknown type %llu", id, show,
                        (unsigned long long)piece.type);
    if (!isfinite(piece.score))
        return ht__fail(diag, HT_ERR_FORMAT, vocab->where, at, "piece %zu (\"%s\") has a score that is not finite", id,
                        show);
    if (piece.type == HT__TOKEN_BYTE) {
        if (ht__token_byte(piece.text.text, piece.text.len) < 0)
            return ht__fail(diag, HT_ERR_FORMAT, vocab->where, at,
                            "piece %zu is a byte, but \"%s\" is not of the form <0xNN>", id, show);
        model->n_bytes++;
    }
    return ht__vocab_put(vocab, id, piece.text.text, piece.text.len, piece.score, (enum ht__token_type)piece.type,
                         diag);
}

static bool read_trainer(struct ht__cursor c, struct ht__sentencepiece *model)
{
    struct field f;
    while (next_field(&c, &f)) {
        if (f.wire != WIRE_VARINT) continue;
        int64_t id = (int64_t)f.value < INT32_MIN || (int64_t)f.value > INT32_MAX ? -1 : (int64_t)f.value;
        switch (f.number) {
        case 3: model->kind = f.value <= INT32_MAX ? (int)f.value : 0; break;
        case 24: model->whitespace_as_suffix = f.value != 0; break;
        case 40: model->unk_id = id; break;
        case 41: model->bos_id = id; break;
        case 42: model->eos_id = id; break;
        case 43: model->pad_id = id; break;
        default: break;
        }
    }
    return !c.bad;
}

static bool read_normalizer(struct ht__cursor c, struct ht__sentencepiece *model)
{
    struct field f;
    while (next_field(&c, &f)) {
        if (f.number == 2 && f.wire == WIRE_BYTES)
            model->charsmap = (struct ht__str){(const char *)f.body.data, f.body.size};
        if (f.wire != WIRE_VARINT) continue;
        if (f.number == 3) model->add_dummy_prefix = f.value != 0;
        if (f.number == 4) model->remove_extra_whitespaces = f.value != 0;
        if (f.number == 5) model->escape_whitespaces = f.value != 0;
    }
    return !c.bad;
}

enum ht_err ht__sentencepiece_parse(const void *data, size_t size, struct ht__vocab *vocab,
                                    struct ht__sentencepiece *model, struct ht_diag *diag)
{
    struct ht__cursor c = ht__cursor_of(data, size);
    struct field f;
    *model = (struct ht__sentencepiece){.kind = HT__SENTENCEPIECE_UNIGRAM,
                                        .add_dummy_prefix = true,
                                        .remove_extra_whitespaces = true,
                                        .escape_whitespaces = true,
                                        .unk_id = 0,
                                        .bos_id = 1,
                                        .eos_id = 2,
                                        .pad_id = -1};
    while (next_field(&c, &f)) {
        const char *part = NULL;
        if (f.wire != WIRE_BYTES) continue;
        if (f.number == 1) HT_TRY(put_piece(&f, vocab, model, diag));
        if (f.number == 2 && !read_trainer(f.body, model)) part = "trainer_spec";
        if (f.number == 3 && !read_normalizer(f.body, model)) part = "normalizer_spec";
        if (part) return ht__fail(diag, HT_ERR_FORMAT, vocab->where, (int64_t)f.offset, "the %s is malformed", part);
    }
    if (c.bad)
        return ht__fail(diag, HT_ERR_FORMAT, vocab->where, (int64_t)f.offset,
                        "not a SentencePiece model, or cut short: a field does not end");
    if (ht__vocab_count(vocab) == 0)
        return ht__fail(diag, HT_ERR_FORMAT, vocab->where, -1, "not a SentencePiece model: there is no piece in it");
    return model->charsmap.len ? ht__charsmap_check(model->charsmap, vocab->where, diag) : HT_OK;
}

/*
 *     0   u32   n, bytes of the trie
 *     4   u32[] the trie, n bytes
 *     4+n       replacement strings, each ended by a NUL
 *
 * Runtimes index the trie by its own words and read replacements up to their NUL.
 */
enum ht_err ht__charsmap_check(struct ht__str map, const char *where, struct ht_diag *diag)
{
    struct ht__cursor c = ht__cursor_of(map.text, map.len);
    uint64_t n = ht__cursor_u32(&c);
    if (c.bad || n == 0 || n % 4 != 0 || n >= ht__cursor_left(&c))
        return ht__fail(diag, HT_ERR_FORMAT, where, -1,
                        "the normalization table (precompiled_charsmap) of %zu bytes claims a "
                        "trie of %llu bytes",
                        map.len, (unsigned long long)n);
    if (map.text[map.len - 1] != '\0')
        return ht__fail(diag, HT_ERR_FORMAT, where, -1, "the normalization table's last replacement does not end");
    return HT_OK;
}
