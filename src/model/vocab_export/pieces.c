/*
 * Merges for pieces with scores. Runtimes of GGUF files join the two neighbours that make the piece of the best score;
 * tokenizer.json joins those of the first merge of a list. So every way to cut a piece in two that are pieces themselves
 * is a merge, and the list goes from the best score to the worst.
 */
#include "base/utf8.h"
#include "model/vocab_export/parts.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 512 }; /* bytes; every cut of a piece is looked up, and real ones are shorter than 100 */

struct merge {
    float score;
    uint32_t id, cut; /* of the piece that it makes, and where that is cut, in bytes */
    uint32_t left, right;
};

static bool joins(const struct ht__export *e, uint32_t id)
{
    return ht__export_type(e, id) == HT__TOKEN_NORMAL;
}

/* As transformers orders them: by score, then the longer left and right parts, the rest as they were found. */
static int by_rank(const void *a, const void *b)
{
    const struct merge *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    if (x->id != y->id) return x->id < y->id ? -1 : 1;
    if (x->cut != y->cut) return x->cut < y->cut ? 1 : -1;
    return 0;
}

static bool find_piece(const struct ht__export *e, const char *text, size_t len, uint32_t *id)
{
    const uint32_t *at = ht__map_get(&e->ids, text, len);
    if (!at || !joins(e, *at)) return false;
    *id = *at;
    return true;
}

static void cut_piece(const struct ht__export *e, uint32_t id, struct ht__buf *merges)
{
    struct ht__str text = e->tokens[id];
    for (size_t at = 1; at < text.len; at++) {
        float score = e->scores[id] == e->scores[id] ? e->scores[id] : -INFINITY; /* NaN has no order */
        struct merge m = {.score = score, .id = id, .cut = (uint32_t)at};
        if (((unsigned char)text.text[at] & 0xc0) == 0x80) continue; /* inside a character */
        if (!find_piece(e, text.text, at, &m.left) || !find_piece(e, text.text + at, text.len - at, &m.right)) continue;
        ht__buf_put(merges, &m, sizeof m);
    }
}

static void put(struct ht__jw *w, const struct ht__export *e, const struct merge *m)
{
    struct ht__str text = e->tokens[m->id];
    ht__jw_array(w, NULL);
    ht__jw_text(w, NULL, text.text, m->cut);
    ht__jw_text(w, NULL, text.text + m->cut, text.len - m->cut);
    ht__jw_end(w);
}

enum ht_err ht__export_scored_merges(struct ht__export *e, struct ht__jw *w)
{
    struct ht__buf merges;
    ht__buf_init(&merges, w->out->alloc);
    for (uint32_t id = 0; id < e->n; id++) {
        if (!joins(e, id)) continue;
        if (e->tokens[id].len > LONGEST)
            ht__export_without(e, "one of its pieces is longer than 512 bytes");
        else
            cut_piece(e, id, &merges);
    }
    struct merge *list = (struct merge *)(void *)merges.data;
    size_t n = merges.len / sizeof *list;
    if (n && !merges.failed) qsort(list, n, sizeof *list, by_rank);
    ht__jw_array(w, "merges");
    for (size_t i = 0; i < n && !merges.failed; i++)
        put(w, e, &list[i]);
    ht__jw_end(w);
    bool failed = merges.failed;
    ht__buf_close(&merges);
    return failed ? ht__fail_memory(e->diag, "tokenizer.json") : HT_OK;
}
