/*
 * The opcodes that data in checkpoints is made of. A global that is not on the list is refused, and
 * those on it are only names: nothing is imported or called.
 */
#include "formats/pickle.h"

#include "base/cursor.h"

#include <string.h>

enum { MOST_STACK = 1 << 22 };

struct machine {
    struct ht__cursor c;
    struct ht__arena *arena;
    struct ht__pickle stack, memo; /* as growing lists */
    const char *where;
    struct ht_diag *diag;
};

static enum ht_err fault(struct machine *m, const char *what)
{
    return ht__fail(m->diag, HT_ERR_FORMAT, m->where, (int64_t)m->c.pos, "pickle: %s", what);
}

static enum ht_err append(struct machine *m, struct ht__pickle *list, struct ht__pickle *v)
{
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 8;
        if (cap > MOST_STACK)
            return ht__fail(m->diag, HT_ERR_LIMIT, m->where, -1, "pickle: too many values");
        struct ht__pickle **items = ht__arena_array(m->arena, cap, sizeof *items);
        if (!items) return ht__fail_memory(m->diag, m->where);
        if (list->n) memcpy(items, list->items, list->n * sizeof *items);
        list->items = items;
        list->cap = cap;
    }
    list->items[list->n++] = v;
    return HT_OK;
}

static enum ht_err push(struct machine *m, enum ht__pickle_type type, int64_t integer,
                        const void *text, size_t len)
{
    struct ht__pickle *v = ht__arena_new(m->arena, sizeof *v);
    if (!v) return ht__fail_memory(m->diag, m->where);
    v->type = type;
    v->integer = integer;
    v->len = len;
    if (text && !(v->text = ht__arena_copy(m->arena, text, len)))
        return ht__fail_memory(m->diag, m->where);
    return append(m, &m->stack, v);
}

static enum ht_err push_text(struct machine *m, uint64_t len)
{
    const uint8_t *p = ht__cursor_take(&m->c, len);
    return p ? push(m, HT__PICKLE_STRING, 0, p, (size_t)len) : fault(m, "a string past the end");
}

static struct ht__pickle *top(struct machine *m)
{
    struct ht__pickle *v = m->stack.n ? m->stack.items[m->stack.n - 1] : NULL;
    return v && v->type != HT__PICKLE_MARK ? v : NULL;
}

/* Where the values above the topmost mark begin. */
static bool find_mark(const struct machine *m, size_t *first)
{
    for (size_t i = m->stack.n; i-- > 0;)
        if (m->stack.items[i]->type == HT__PICKLE_MARK) return *first = i + 1, true;
    return false;
}

/* Moves stack values from `first` on to the list; `keep` is the new height of the stack. */
static enum ht_err move(struct machine *m, struct ht__pickle *to, size_t first, size_t keep)
{
    for (size_t i = first; i < m->stack.n; i++) {
        if (m->stack.items[i]->type == HT__PICKLE_MARK) return fault(m, "the stack runs dry");
        HT_TRY(append(m, to, m->stack.items[i]));
    }
    m->stack.n = keep;
    return HT_OK;
}

static enum ht_err tuple(struct machine *m, size_t first, size_t keep)
{
    struct ht__pickle *v = ht__arena_new(m->arena, sizeof *v);
    if (!v) return ht__fail_memory(m->diag, m->where);
    v->type = HT__PICKLE_TUPLE;
    HT_TRY(move(m, v, first, keep));
    return append(m, &m->stack, v);
}

/* APPEND(S) and SETITEM(S): `first` values lie above the container. */
static enum ht_err extend(struct machine *m, size_t first, size_t keep, enum ht__pickle_type type)
{
    if (keep == 0) return fault(m, "the stack runs dry");
    struct ht__pickle *to = m->stack.items[keep - 1];
    if (to->type != type || (type == HT__PICKLE_DICT && (m->stack.n - first) % 2))
        return fault(m, "items for something that holds none");
    return move(m, to, first, keep);
}

static enum ht_err global(struct machine *m)
{
    static const char *const allowed[] = {
        "collections OrderedDict",
        "torch._utils _rebuild_tensor",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_tensor_v3",
        "torch._utils _rebuild_parameter",
        "torch Size",
        "torch.storage UntypedStorage",
        "torch.nn.parameter Parameter",
        "torch device",
    };
    char text[128];
    size_t n = 0;
    for (int lines = 0; lines < 2;) {
        uint8_t b = ht__cursor_u8(&m->c);
        if (m->c.bad || n + 1 >= sizeof text) return fault(m, "a bad global");
        if (b == '\n') lines++;
        text[n++] = b == '\n' ? ' ' : (char)b;
    }
    text[--n] = '\0';
    bool ok = strncmp(text, "torch ", 6) == 0 && !strpbrk(text + 6, " .") && n > 6 &&
              ((n > 13 && strcmp(text + n - 7, "Storage") == 0) ||
               (text[6] >= 'a' && text[6] <= 'u' && strpbrk(text + 6, "0123456789")));
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        ok = ok || strcmp(text, allowed[i]) == 0;
    if (!ok)
        return ht__fail(m->diag, HT_ERR_UNSUPPORTED, m->where, (int64_t)m->c.pos,
                        "pickle: it calls for \"%s\", which is not data", text);
    return push(m, HT__PICKLE_GLOBAL, 0, text, n);
}

static enum ht_err reduce(struct machine *m)
{
    if (m->stack.n < 2 || m->stack.items[m->stack.n - 2]->type != HT__PICKLE_GLOBAL || !top(m))
        return fault(m, "a call of something that is no global");
    const struct ht__pickle *f = m->stack.items[m->stack.n - 2];
    struct ht__pickle *v = ht__arena_new(m->arena, sizeof *v);
    if (!v) return ht__fail_memory(m->diag, m->where);
    v->type = strcmp(f->text, "collections OrderedDict") == 0 ? HT__PICKLE_DICT : HT__PICKLE_CALL;
    v->text = f->text;
    if (v->type == HT__PICKLE_CALL) HT_TRY(append(m, v, top(m)));
    m->stack.n -= 2;
    return append(m, &m->stack, v);
}

static enum ht_err put(struct machine *m, uint32_t at)
{
    if (!top(m) || at > m->memo.n) return fault(m, "a bad memo number");
    if (at == m->memo.n) return append(m, &m->memo, top(m));
    m->memo.items[at] = top(m);
    return HT_OK;
}

static enum ht_err get(struct machine *m, uint32_t at)
{
    if (at >= m->memo.n) return fault(m, "a memo number that was not given");
    return append(m, &m->stack, m->memo.items[at]);
}

static enum ht_err persid(struct machine *m)
{
    struct ht__pickle *v = ht__arena_new(m->arena, sizeof *v), *id = top(m);
    if (!id) return fault(m, "the stack runs dry");
    if (!v) return ht__fail_memory(m->diag, m->where);
    v->type = HT__PICKLE_PERSID;
    HT_TRY(append(m, v, id));
    m->stack.n--;
    return append(m, &m->stack, v);
}

static enum ht_err long1(struct machine *m)
{
    uint8_t n = ht__cursor_u8(&m->c);
    const uint8_t *p = ht__cursor_take(&m->c, n);
    if (!p || n > 8) return fault(m, "an integer of more than 64 bits");
    int64_t v = n && (p[n - 1] & 0x80) ? -1 : 0;
    memcpy(&v, p, n);
    return push(m, HT__PICKLE_INT, v, NULL, 0);
}

static enum ht_err marked(struct machine *m, uint8_t op)
{
    size_t first;
    if (!find_mark(m, &first)) return fault(m, "no mark on the stack");
    if (op == 't') return tuple(m, first, first - 1);
    return extend(m, first, first - 1, op == 'e' ? HT__PICKLE_TUPLE : HT__PICKLE_DICT);
}

static enum ht_err step(struct machine *m, uint8_t op)
{
    struct ht__cursor *c = &m->c;
    size_t n = m->stack.n;
    switch (op) {
    case 0x80: return ht__cursor_u8(c) > 5 ? fault(m, "an unknown protocol") : HT_OK;
    case 0x95: ht__cursor_u64(c); return HT_OK;
    case '(': return push(m, HT__PICKLE_MARK, 0, NULL, 0);
    case '}': return push(m, HT__PICKLE_DICT, 0, NULL, 0);
    case ']':
    case ')': return push(m, HT__PICKLE_TUPLE, 0, NULL, 0);
    case 'X': return push_text(m, ht__cursor_u32(c));
    case 'U':
    case 0x8c: return push_text(m, ht__cursor_u8(c));
    case 'J': return push(m, HT__PICKLE_INT, ht__cursor_i32(c), NULL, 0);
    case 'K': return push(m, HT__PICKLE_INT, ht__cursor_u8(c), NULL, 0);
    case 'M': return push(m, HT__PICKLE_INT, ht__cursor_u16(c), NULL, 0);
    case 0x8a: return long1(m);
    case 'G': ht__cursor_u64(c); return push(m, HT__PICKLE_NONE, 0, NULL, 0);
    case 'N': return push(m, HT__PICKLE_NONE, 0, NULL, 0);
    case 0x88:
    case 0x89: return push(m, HT__PICKLE_INT, op == 0x88, NULL, 0);
    case 0x85:
    case 0x86:
    case 0x87:
        if (n < op - 0x84u) return fault(m, "the stack runs dry");
        return tuple(m, n - (op - 0x84u), n - (op - 0x84u));
    case 't':
    case 'e':
    case 'u': return marked(m, op);
    case 'a':
        return n < 2 ? fault(m, "the stack runs dry") : extend(m, n - 1, n - 1, HT__PICKLE_TUPLE);
    case 's':
        return n < 3 ? fault(m, "the stack runs dry") : extend(m, n - 2, n - 2, HT__PICKLE_DICT);
    case 'c': return global(m);
    case 'R': return reduce(m);
    case 'b': /* attributes, such as a state dict's _metadata, are no weights */
        if (n < 2 || !top(m)) return fault(m, "the stack runs dry");
        m->stack.n--;
        return HT_OK;
    case 'Q': return persid(m);
    case 'q': return put(m, ht__cursor_u8(c));
    case 'r': return put(m, ht__cursor_u32(c));
    case 0x94: return put(m, (uint32_t)m->memo.n);
    case 'h': return get(m, ht__cursor_u8(c));
    case 'j': return get(m, ht__cursor_u32(c));
    default:
        return ht__fail(m->diag, HT_ERR_UNSUPPORTED, m->where, (int64_t)c->pos - 1,
                        "pickle: opcode 0x%02x is not for data", op);
    }
}

enum ht_err ht__pickle_read(struct ht__arena *arena, const void *data, size_t size,
                            const char *where, struct ht__pickle **root, struct ht_diag *diag)
{
    struct machine m = {
        .c = ht__cursor_of(data, size), .arena = arena, .where = where, .diag = diag};
    for (;;) {
        uint8_t op = ht__cursor_u8(&m.c);
        if (m.c.bad) return fault(&m, "it ends without a STOP");
        if (op == '.') break;
        HT_TRY(step(&m, op));
        if (m.c.bad) return fault(&m, "it ends inside an opcode");
    }
    if (m.stack.n != 1 || !(*root = top(&m))) return fault(&m, "it leaves not one value");
    return HT_OK;
}
