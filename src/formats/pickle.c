/* The machine: a stack, marks, a memo. Caps on all three and on all memory; texts are bounded by the bytes left. */
#include "formats/pickle.h"
#include "base/cursor.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_STACK = 1 << 20, MAX_MEMO = 1 << 22, MAX_MARKS = 1 << 12, SMALL_INTS = 256 };
#define FREE_MEMORY ((uint64_t)16 << 20) /* what a tree may take beyond what its file's length gives it */
enum { MEMORY_A_BYTE = 8 };

typedef struct ht__pickle_value value;

struct machine {
    struct ht__cursor in;
    struct ht__arena *arena;
    const char *where;
    struct ht_diag *diag;
    value **stack;
    size_t n_stack, cap_stack;
    value **memo;
    size_t n_memo, cap_memo;
    size_t marks[MAX_MARKS];
    size_t n_marks;
    value none, booleans[2], small[SMALL_INTS]; /* never changed: one of each serves all */
};

/* Everything that a checkpoint of tensors needs. Storage and dtype names begin with "torch ". */
/* clang-format off */
static const char *const allowed[] = {
    "collections OrderedDict", "collections Counter", "torch._utils _rebuild_tensor", "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_tensor_v3", "torch._utils _rebuild_parameter", "torch._utils _rebuild_parameter_with_state",
    "torch.storage UntypedStorage", "torch.storage TypedStorage", "torch.nn.parameter Parameter",
    "torch._tensor _rebuild_from_type_v2", "torch Size", "torch device", "torch UntypedStorage", "torch FloatStorage",
    "torch DoubleStorage", "torch HalfStorage", "torch BFloat16Storage", "torch LongStorage", "torch IntStorage",
    "torch ShortStorage", "torch CharStorage", "torch ByteStorage", "torch BoolStorage", "torch float32", "torch float64",
    "torch float16", "torch bfloat16", "torch int64", "torch int32", "torch int16", "torch int8", "torch uint8",
    "torch uint16", "torch uint32", "torch uint64", "torch bool", "torch float8_e4m3fn", "torch float8_e5m2",
    "torch float8_e4m3fnuz", "torch float8_e5m2fnuz", "torch float8_e8m0fnu",
};
/* clang-format on */

static enum ht_err fault(struct machine *m, const char *message)
{
    return ht__fail(m->diag, HT_ERR_FORMAT, m->where, (int64_t)m->in.pos, "pickle: %s", message);
}

static bool grow(struct ht__arena *arena, void *list, size_t n, size_t *cap)
{
    if (n < *cap) return true;
    size_t wider = *cap ? *cap * 2 : 16;
    value **items = ht__arena_array(arena, wider, sizeof *items), ***old = list;
    if (!items) return false;
    if (n) memcpy(items, *old, n * sizeof *items);
    *old = items;
    *cap = wider;
    return true;
}

static enum ht_err push(struct machine *m, value *v)
{
    if (m->n_stack >= MAX_STACK) return fault(m, "the stack is too deep");
    if (!v || !grow(m->arena, &m->stack, m->n_stack, &m->cap_stack)) return ht__fail_memory(m->diag, m->where);
    m->stack[m->n_stack++] = v;
    return HT_OK;
}

static value *new_value(struct machine *m, enum ht__pickle_type type)
{
    value *v = ht__arena_new(m->arena, sizeof *v);
    if (v) v->type = type;
    return v;
}

/* Items are stored twice as many at a time: the capacity follows from their number. */
static bool add_item(struct machine *m, value *v, value *item)
{
    if (v->type == HT__PICKLE_LIST && v->n >= HT__PICKLE_LIST_KEPT) return v->n++ < UINT32_MAX;
    if ((v->n & (v->n - 1)) == 0) { /* 0, 1, 2, 4, 8 …: full */
        value **items = ht__arena_array(m->arena, v->n ? 2 * (size_t)v->n : 1, sizeof *items);
        if (!items) return false;
        if (v->n) memcpy(items, v->items, v->n * sizeof *items);
        v->items = items;
    }
    v->items[v->n++] = item;
    return true;
}

/* A value with these items, as many as there are. */
static value *new_with(struct machine *m, enum ht__pickle_type type, value *const *items, size_t n)
{
    value *v = new_value(m, type);
    for (size_t i = 0; v && i < n; i++)
        if (!add_item(m, v, items[i])) return NULL;
    return v;
}

static enum ht_err push_new(struct machine *m, enum ht__pickle_type type)
{
    return push(m, new_value(m, type));
}

static enum ht_err push_int(struct machine *m, enum ht__pickle_type type, int64_t i)
{
    if (type == HT__PICKLE_BOOL) return push(m, &m->booleans[i != 0]);
    if (i >= 0 && i < SMALL_INTS) return push(m, &m->small[i]);
    value *v = new_value(m, type);
    if (v) v->integer = i;
    return push(m, v);
}

/* The bottom of what may be popped: the last mark. */
static value *pop(struct machine *m)
{
    size_t floor = m->n_marks ? m->marks[m->n_marks - 1] : 0;
    return m->n_stack > floor ? m->stack[--m->n_stack] : NULL;
}

static value *top(struct machine *m)
{
    return m->n_stack ? m->stack[m->n_stack - 1] : NULL;
}

static enum ht_err push_text(struct machine *m, uint64_t len)
{
    const uint8_t *p = ht__cursor_take(&m->in, len);
    if (!p) return fault(m, "a text goes past the end");
    value *v = new_value(m, HT__PICKLE_STR);
    if (!v || !(v->text = len ? ht__arena_copy(m->arena, (const char *)p, (size_t)len) : ""))
        return ht__fail_memory(m->diag, m->where);
    v->n = (uint32_t)len;
    return push(m, v);
}

/* Little-endian two's complement of up to 8 bytes. */
static enum ht_err push_long(struct machine *m, uint64_t n)
{
    const uint8_t *p = n <= 8 ? ht__cursor_take(&m->in, n) : NULL;
    uint64_t u = 0;
    if (!p) return fault(m, "a number of more than 64 bits");
    for (uint64_t i = 0; i < n; i++)
        u |= (uint64_t)p[i] << 8 * i;
    if (n > 0 && n < 8 && p[n - 1] & 0x80) u |= ~(uint64_t)0 << 8 * n;
    return push_int(m, HT__PICKLE_INT, (int64_t)u);
}

static enum ht_err push_float(struct machine *m)
{
    uint64_t big = ht__cursor_u64(&m->in), bits = __builtin_bswap64(big);
    value *v = new_value(m, HT__PICKLE_FLOAT);
    if (v) memcpy(&v->number, &bits, sizeof v->number);
    return push(m, v);
}

static enum ht_err push_global(struct machine *m, const char *module, size_t module_len, const char *name,
                               size_t name_len)
{
    value *v = new_value(m, HT__PICKLE_GLOBAL);
    if (!v || !(v->text = ht__arena_printf(m->arena, "%.*s %.*s", (int)module_len, module, (int)name_len, name)))
        return ht__fail_memory(m->diag, m->where);
    for (size_t i = 0; i < sizeof allowed / sizeof allowed[0]; i++)
        if (strcmp(v->text, allowed[i]) == 0) return push(m, v);
    return ht__fail(m->diag, HT_ERR_UNSUPPORTED, m->where, (int64_t)m->in.pos,
                    "pickle: refused, because it asks for \"%.100s\", which no checkpoint of tensors needs", v->text);
}

static enum ht_err read_global(struct machine *m)
{
    const char *start = (const char *)m->in.data + m->in.pos;
    size_t left = ht__cursor_left(&m->in);
    const char *first = left ? memchr(start, '\n', left) : NULL;
    const char *second = first ? memchr(first + 1, '\n', left - (size_t)(first + 1 - start)) : NULL;
    if (!second || second - start > 400) return fault(m, "a global's name does not end");
    ht__cursor_take(&m->in, (uint64_t)(second + 1 - start));
    return push_global(m, start, (size_t)(first - start), first + 1, (size_t)(second - first - 1));
}

static enum ht_err stack_global(struct machine *m)
{
    value *name = pop(m), *module = name ? pop(m) : NULL;
    if (!module || name->type != HT__PICKLE_STR || module->type != HT__PICKLE_STR || name->n > 200 || module->n > 200)
        return fault(m, "a global without a name");
    return push_global(m, module->text, module->n, name->text, name->n);
}

static enum ht_err mark(struct machine *m)
{
    if (m->n_marks >= MAX_MARKS) return fault(m, "too many marks");
    m->marks[m->n_marks++] = m->n_stack;
    return HT_OK;
}

/* The items above the last mark, which goes; they stay where they are until something is pushed. */
static enum ht_err unmark(struct machine *m, value ***items, size_t *n)
{
    if (m->n_marks == 0) return fault(m, "a mark is missing");
    size_t from = m->marks[--m->n_marks];
    *items = m->stack + from;
    *n = m->n_stack - from;
    m->n_stack = from;
    return HT_OK;
}

static enum ht_err push_gathered(struct machine *m, enum ht__pickle_type type)
{
    value **items = NULL;
    size_t n = 0;
    HT_TRY(unmark(m, &items, &n));
    return push(m, new_with(m, type, items, n));
}

static enum ht_err tuple(struct machine *m, int n)
{
    value *parts[3];
    for (int i = n - 1; i >= 0; i--)
        if (!(parts[i] = pop(m))) return fault(m, "a tuple lacks its items");
    return push(m, new_with(m, HT__PICKLE_LIST, parts, (size_t)n));
}

static enum ht_err call(struct machine *m)
{
    value *parts[2];
    parts[1] = pop(m);
    parts[0] = parts[1] ? pop(m) : NULL;
    if (!parts[0] || parts[0]->type != HT__PICKLE_GLOBAL) return fault(m, "a call of something that is not a name");
    if (strcmp(parts[0]->text, "collections OrderedDict") == 0) return push_new(m, HT__PICKLE_DICT);
    return push(m, new_with(m, HT__PICKLE_CALL, parts, 2));
}

static enum ht_err persistent(struct machine *m)
{
    value *id = pop(m);
    if (!id) return fault(m, "a persistent id is missing");
    return push(m, new_with(m, HT__PICKLE_PERSID, &id, 1));
}

/* n items from above the mark (or the two or one on top) go to the container below them. */
static enum ht_err extend(struct machine *m, enum ht__pickle_type type, bool marked, int n)
{
    value *parts[2], **items = parts, *target;
    size_t count = (size_t)n;
    if (marked) HT_TRY(unmark(m, &items, &count));
    for (int i = n - 1; !marked && i >= 0; i--)
        if (!(parts[i] = pop(m))) return fault(m, "an item is missing");
    target = top(m);
    if (!target || target->type != type || (type == HT__PICKLE_DICT && count % 2))
        return fault(m, "items for something that holds none");
    for (size_t i = 0; i < count; i++)
        if (!add_item(m, target, items[i])) return ht__fail_memory(m->diag, m->where);
    return HT_OK;
}

static enum ht_err put(struct machine *m, uint64_t index)
{
    if (!top(m)) return fault(m, "nothing to remember");
    if (index >= MAX_MEMO || index > m->n_memo + (1 << 16)) return fault(m, "a memo index is too large");
    while (m->n_memo <= index) {
        if (!grow(m->arena, &m->memo, m->n_memo, &m->cap_memo)) return ht__fail_memory(m->diag, m->where);
        m->memo[m->n_memo++] = NULL;
    }
    m->memo[index] = top(m);
    return HT_OK;
}

static enum ht_err get(struct machine *m, uint64_t index)
{
    if (index >= m->n_memo || !m->memo[index]) return fault(m, "an unknown memo index");
    return push(m, m->memo[index]);
}

static enum ht_err drop(struct machine *m)
{
    return pop(m) ? HT_OK : fault(m, "the stack is empty");
}

/* BUILD sets attributes such as _metadata: of no interest. */
static enum ht_err build(struct machine *m)
{
    HT_TRY(drop(m));
    return top(m) ? HT_OK : fault(m, "the stack is empty");
}

static enum ht_err step(struct machine *m, uint8_t op, bool *stop)
{
    struct ht__cursor *in = &m->in;
    switch (op) {
    case 0x80: ht__cursor_u8(in); return HT_OK;  /* PROTO */
    case 0x95: ht__cursor_u64(in); return HT_OK; /* FRAME */
    case '(': return mark(m);
    case '.': *stop = true; return HT_OK;
    case '}': return push_new(m, HT__PICKLE_DICT);
    case ']':
    case ')':
    case 0x8f: return push_new(m, HT__PICKLE_LIST);
    case 'X':
    case 'T':
    case 'B': return push_text(m, ht__cursor_u32(in));
    case 'U':
    case 0x8c:
    case 'C': return push_text(m, ht__cursor_u8(in));
    case 0x8d: return push_text(m, ht__cursor_u64(in));
    case 'J': return push_int(m, HT__PICKLE_INT, ht__cursor_i32(in));
    case 'K': return push_int(m, HT__PICKLE_INT, ht__cursor_u8(in));
    case 'M': return push_int(m, HT__PICKLE_INT, ht__cursor_u16(in));
    case 0x8a: return push_long(m, ht__cursor_u8(in));
    case 'G': return push_float(m);
    case 'N': return push(m, &m->none);
    case 0x88: return push_int(m, HT__PICKLE_BOOL, 1);
    case 0x89: return push_int(m, HT__PICKLE_BOOL, 0);
    case 't': return push_gathered(m, HT__PICKLE_LIST);
    case 'l': return push_gathered(m, HT__PICKLE_LIST);
    case 'd': return push_gathered(m, HT__PICKLE_DICT);
    case 0x85: return tuple(m, 1);
    case 0x86: return tuple(m, 2);
    case 0x87: return tuple(m, 3);
    case 'c': return read_global(m);
    case 0x93: return stack_global(m);
    case 'R':
    case 0x81: return call(m);
    case 'b': return build(m);
    case 'Q': return persistent(m);
    case 'a': return extend(m, HT__PICKLE_LIST, false, 1);
    case 'e': return extend(m, HT__PICKLE_LIST, true, 0);
    case 0x90: return extend(m, HT__PICKLE_LIST, true, 0);
    case 's': return extend(m, HT__PICKLE_DICT, false, 2);
    case 'u': return extend(m, HT__PICKLE_DICT, true, 0);
    case 'q': return put(m, ht__cursor_u8(in));
    case 'r': return put(m, ht__cursor_u32(in));
    case 0x94: return put(m, m->n_memo);
    case 'h': return get(m, ht__cursor_u8(in));
    case 'j': return get(m, ht__cursor_u32(in));
    case '0': return drop(m);
    default:
        return ht__fail(m->diag, HT_ERR_UNSUPPORTED, m->where, (int64_t)in->pos - 1,
                        "pickle: operation 0x%02x is not one of data", op);
    }
}

enum ht_err ht__pickle_read(const void *data, size_t size, const char *where, struct ht__arena *arena,
                            struct ht__pickle_value **root, struct ht_diag *diag)
{
    struct machine *m = ht__arena_new(arena, sizeof *m);
    if (!m) return ht__fail_memory(diag, where);
    m->in = ht__cursor_of(data, size);
    m->arena = arena;
    m->where = where;
    m->diag = diag;
    for (int i = 0; i < SMALL_INTS; i++)
        m->small[i] = (value){.type = HT__PICKLE_INT, .integer = i};
    for (int i = 0; i < 2; i++)
        m->booleans[i] = (value){.type = HT__PICKLE_BOOL, .integer = i};
    uint64_t most = FREE_MEMORY + (uint64_t)size * MEMORY_A_BYTE;
    for (bool stop = false; !stop;) {
        if (arena->total > most)
            return ht__fail(diag, HT_ERR_LIMIT, where, (int64_t)m->in.pos,
                            "pickle: its values take more than %llu bytes, which is too much for a file of %zu bytes: "
                            "not a checkpoint of tensors",
                            (unsigned long long)most, size);
        uint8_t op = ht__cursor_u8(&m->in);
        if (m->in.bad) return fault(m, "it ends too early");
        HT_TRY(step(m, op, &stop));
        if (m->in.bad) return fault(m, "it ends too early");
    }
    if (m->n_stack != 1 || m->n_marks != 0) return fault(m, "it does not leave one value");
    *root = m->stack[0];
    return HT_OK;
}
