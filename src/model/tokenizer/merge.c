#include "model/tokenizer/merge.h"

#include <string.h>

/* Up to here, the next pair is found by looking at all of them. */
enum { SMALL_WORD = 40 };

static const uint32_t no_rank = UINT32_MAX;

bool ht__pairs_open(struct ht__pairs *pairs, size_t n, const struct ht__alloc *alloc)
{
    size_t cap = 64;
    while (cap < 2 * n)
        cap *= 2;
    pairs->alloc = alloc;
    pairs->n = 0;
    pairs->mask = cap - 1;
    pairs->slots = ht__new_array(alloc, cap, sizeof *pairs->slots);
    if (!pairs->slots) return false;
    for (size_t i = 0; i < cap; i++)
        pairs->slots[i].left = -1;
    return true;
}

void ht__pairs_close(struct ht__pairs *pairs)
{
    ht__free(pairs->alloc, pairs->slots);
    pairs->slots = NULL;
}

static bool grow(struct ht__pairs *pairs)
{
    struct ht__pairs more;
    if (!ht__pairs_open(&more, 2 * (pairs->n + 1), pairs->alloc)) return false;
    for (size_t i = 0; i <= pairs->mask; i++) {
        const struct ht__pair *p = &pairs->slots[i];
        if (p->left >= 0 && !ht__pairs_put(&more, p->left, p->right, p->rank, p->product)) {
            ht__pairs_close(&more);
            return false;
        }
    }
    ht__pairs_close(pairs);
    *pairs = more;
    return true;
}

bool ht__pairs_put(struct ht__pairs *pairs, int32_t left, int32_t right, uint32_t rank, int32_t product)
{
    if (2 * pairs->n > pairs->mask && !grow(pairs)) return false;
    size_t i = ht__pairs_hash(left, right) & pairs->mask;
    for (; pairs->slots[i].left >= 0; i = (i + 1) & pairs->mask)
        if (pairs->slots[i].left == left && pairs->slots[i].right == right) return true;
    pairs->slots[i] = (struct ht__pair){left, right, rank, product};
    pairs->n++;
    return true;
}

void ht__merger_init(struct ht__merger *m, const struct ht__alloc *alloc)
{
    m->alloc = alloc;
    m->cache = NULL;
    ht__buf_init(&m->symbols, alloc);
    ht__buf_init(&m->links, alloc);
    ht__buf_init(&m->heap, alloc);
}

void ht__merger_close(struct ht__merger *m)
{
    ht__free(m->alloc, m->cache);
    ht__buf_close(&m->symbols);
    ht__buf_close(&m->links);
    ht__buf_close(&m->heap);
}

static uint64_t hash_word(const char *word, size_t n)
{
    uint64_t h = n, v = 0;
    for (; n >= 8; n -= 8, word += 8) {
        memcpy(&v, word, 8);
        h = (h ^ v) * 0x9e3779b97f4a7c15u;
        h ^= h >> 29;
    }
    v = 0;
    memcpy(&v, word, n);
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

struct ht__cached *ht__merger_slot(struct ht__merger *m, const char *word, size_t n)
{
    if (n == 0 || n > HT__CACHE_TEXT) return NULL;
    if (!m->cache && !(m->cache = ht__new_array(m->alloc, HT__CACHE_SLOTS, sizeof *m->cache))) return NULL;
    return &m->cache[hash_word(word, n) & (HT__CACHE_SLOTS - 1)];
}

void ht__cached_set(struct ht__cached *slot, const char *word, size_t n, const int32_t *ids, size_t n_ids)
{
    if (n_ids > HT__CACHE_IDS) return;
    slot->len = (uint8_t)n;
    slot->n = (uint8_t)n_ids;
    memcpy(slot->text, word, n);
    if (n_ids) memcpy(slot->ids, ids, n_ids * sizeof *ids);
}

static size_t merge_small(const struct ht__pairs *pairs, struct ht__symbol *s, size_t n)
{
    const struct ht__pair *found[SMALL_WORD]; /* of symbols i and i + 1 */
    for (size_t i = 0; i + 1 < n; i++)
        found[i] = ht__pairs_get(pairs, s[i].id, s[i + 1].id);
    while (n > 1) {
        size_t best = 0;
        uint32_t rank = no_rank;
        for (size_t i = 0; i + 1 < n; i++)
            if (found[i] && found[i]->rank < rank) rank = found[i]->rank, best = i;
        if (rank == no_rank) break;
        s[best].id = found[best]->product;
        n--;
        memmove(s + best + 1, s + best + 2, (n - best - 1) * sizeof *s);
        if (best + 2 < n + 1) memmove(found + best, found + best + 1, (n - best - 1) * sizeof *found);
        if (best + 1 < n) found[best] = ht__pairs_get(pairs, s[best].id, s[best + 1].id);
        if (best > 0) found[best - 1] = ht__pairs_get(pairs, s[best - 1].id, s[best].id);
    }
    return n;
}

/* A pair that may be merged; it has lapsed when one of its symbols is another by now. */
struct choice {
    uint32_t rank, at;
    int32_t left, right;
};
struct link {
    uint32_t before, after; /* UINT32_MAX: none */
};

static bool precedes(const struct choice *a, const struct choice *b)
{
    return a->rank < b->rank || (a->rank == b->rank && a->at < b->at);
}

static void push(struct choice *heap, size_t *n, struct choice c)
{
    size_t i = (*n)++;
    for (; i > 0 && precedes(&c, &heap[(i - 1) / 2]); i = (i - 1) / 2)
        heap[i] = heap[(i - 1) / 2];
    heap[i] = c;
}

static struct choice pop(struct choice *heap, size_t *n)
{
    struct choice top = heap[0], c = heap[--*n];
    size_t i = 0;
    for (size_t next; (next = 2 * i + 1) < *n; i = next) {
        if (next + 1 < *n && precedes(&heap[next + 1], &heap[next])) next++;
        if (!precedes(&heap[next], &c)) break;
        heap[i] = heap[next];
    }
    heap[i] = c;
    return top;
}

static void offer(const struct ht__pairs *pairs, const struct ht__symbol *s, const struct link *links, uint32_t at,
                  struct choice *heap, size_t *n_heap)
{
    uint32_t next = links[at].after;
    if (next == UINT32_MAX) return;
    const struct ht__pair *pair = ht__pairs_get(pairs, s[at].id, s[next].id);
    if (pair) push(heap, n_heap, (struct choice){pair->rank, at, pair->left, pair->right});
}

/* Symbols that were taken into the one before them are left with an id of -2 until the end. */
enum { TAKEN = -2 };

static size_t gather(struct ht__symbol *s, size_t n)
{
    size_t left = 0;
    for (size_t i = 0; i < n; i++)
        if (s[i].id != TAKEN) s[left++] = s[i];
    return left;
}

/* Each merge takes a symbol away and offers at most two pairs: 3n choices are never exceeded. */
static size_t merge_large(struct ht__merger *m, const struct ht__pairs *pairs, struct ht__symbol *s, size_t n)
{
    m->links.len = m->heap.len = 0;
    if (n > SIZE_MAX / (3 * sizeof(struct choice))) return 0;
    struct link *links = ht__buf_grow(&m->links, n * sizeof *links);
    struct choice *heap = ht__buf_grow(&m->heap, 3 * n * sizeof *heap);
    size_t n_heap = 0;
    if (!links || !heap) return 0;
    for (uint32_t i = 0; i < n; i++)
        links[i] = (struct link){i ? i - 1 : UINT32_MAX, i + 1 < n ? i + 1 : UINT32_MAX};
    for (uint32_t i = 0; i < n; i++)
        offer(pairs, s, links, i, heap, &n_heap);
    while (n_heap) {
        struct choice c = pop(heap, &n_heap);
        uint32_t next = links[c.at].after;
        if (s[c.at].id != c.left || next == UINT32_MAX || s[next].id != c.right) continue;
        s[c.at].id = ht__pairs_get(pairs, c.left, c.right)->product;
        s[next].id = TAKEN;
        links[c.at].after = links[next].after;
        if (links[next].after != UINT32_MAX) links[links[next].after].before = c.at;
        if (links[c.at].before != UINT32_MAX) offer(pairs, s, links, links[c.at].before, heap, &n_heap);
        offer(pairs, s, links, c.at, heap, &n_heap);
    }
    return gather(s, n);
}

size_t ht__merge(struct ht__merger *m, const struct ht__pairs *pairs, struct ht__symbol *symbols, size_t n)
{
    return n <= SMALL_WORD ? merge_small(pairs, symbols, n) : merge_large(m, pairs, symbols, n);
}
