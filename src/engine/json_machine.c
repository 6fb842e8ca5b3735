#include "engine/json_machine.h"

#include <string.h>

enum { MOST_SPACES = 24, MOST_DIGITS = 17 };

enum state {
    START, /* of a value */
    OPEN,  /* behind { or [ */
    COMMA, /* behind a comma: a member or element has to come */
    KEY,   /* of a property: a is which, b how far */
    FREE_KEY,
    COLON,
    NEXT, /* behind a member or element */
    TEXT, /* a is which, b how far */
    STRING,
    ESCAPE,
    HEX,
    MINUS,
    ZERO,
    DIGITS,
    POINT,
    FRACTION,
    EXPONENT,
    EXPONENT_SIGN,
    EXPONENT_DIGITS,
};

struct step {
    const struct ht__schema *schema;
    unsigned char byte;
    struct ht__json_ways *to;
};

static struct ht__json_frame *top(struct ht__json_way *w)
{
    return &w->frames[w->depth - 1];
}

/* More ways than there is room for are left out: fewer texts then, never a wrong one. */
static void keep(struct step *s, const struct ht__json_way *w)
{
    if (s->to->n == HT__JSON_WAYS) return;
    struct ht__json_way *to = &s->to->ways[s->to->n++];
    to->depth = w->depth;
    to->spaces = w->spaces;
    memcpy(to->frames, w->frames, (size_t)w->depth * sizeof *w->frames);
}

static void keep_in(struct step *s, struct ht__json_way *w, enum state state)
{
    top(w)->state = (uint8_t)state;
    w->spaces = 0;
    keep(s, w);
}

static bool push(struct ht__json_way *w, int node)
{
    if (w->depth == HT__JSON_FRAMES) return false;
    w->frames[w->depth++] = (struct ht__json_frame){.node = (int16_t)node, .state = START};
    return true;
}

static void go(struct step *s, struct ht__json_way *w);

/* The value was whole before this byte, which is for what it stands in. */
static void leave(struct step *s, struct ht__json_way *w)
{
    w->depth--;
    if (w->depth > 0) go(s, w);
}

/* The value is whole with this byte. */
static void close_value(struct step *s, struct ht__json_way *w)
{
    w->depth--;
    w->spaces = 0;
    keep(s, w);
}

/* ---- strings ------------------------------------------------------------------------------------ */

/* The first byte of a character of several; false: it is none. */
static bool begin_character(struct ht__json_frame *f, unsigned char c)
{
    f->low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    f->high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    f->left = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
    return c >= 0xc2 && c <= 0xf4;
}

static int64_t most_of(const struct step *s, const struct ht__json_frame *f)
{
    const struct ht__schema_node *node = &s->schema->nodes[f->node];
    return node->kind == HT__SCHEMA_STRING && f->state != FREE_KEY ? node->most : -1;
}

/* A character begins; false: there are as many as there may be. */
static bool count(const struct step *s, struct ht__json_frame *f)
{
    int64_t most = most_of(s, f);
    if (most >= 0 && f->b >= most) return false;
    if (f->b < INT32_MAX) f->b++;
    return true;
}

static void in_string(struct step *s, struct ht__json_way *w)
{
    struct ht__json_frame *f = top(w);
    const struct ht__schema_node *node = &s->schema->nodes[f->node];
    unsigned char c = s->byte;
    if (f->left > 0) {
        if (c < f->low || c > f->high) return;
        f->low = 0x80;
        f->high = 0xbf;
        f->left--;
        return keep(s, w);
    }
    if (c == '"') {
        if (f->state == FREE_KEY) return keep_in(s, w, COLON);
        if (node->kind == HT__SCHEMA_STRING && f->b < node->least) return;
        return close_value(s, w);
    }
    if (c < 0x20 || !count(s, f)) return;
    if (c == '\\') {
        f->low = f->state; /* where it goes on */
        return keep_in(s, w, ESCAPE);
    }
    if (c >= 0x80 && !begin_character(f, c)) return;
    keep(s, w);
}

static void in_escape(struct step *s, struct ht__json_way *w)
{
    struct ht__json_frame *f = top(w);
    enum state back = (enum state)f->low;
    if (s->byte == 'u') {
        f->left = 4;
        f->high = 0;
        return keep_in(s, w, HEX);
    }
    if (s->byte && strchr("\"\\/bfnrt", s->byte)) keep_in(s, w, back);
}

/* Four digits; halves of pairs (d800 to dfff) are left out. */
static void in_hex(struct step *s, struct ht__json_way *w)
{
    struct ht__json_frame *f = top(w);
    unsigned char c = s->byte, low = c | 0x20;
    bool digit = (c >= '0' && c <= '9') || (low >= 'a' && low <= 'f');
    if (!digit || (f->left == 3 && f->high && !(c >= '0' && c <= '7'))) return;
    if (f->left == 4) f->high = low == 'd';
    f->left--;
    if (f->left) return keep(s, w);
    keep_in(s, w, (enum state)f->low);
}

/* ---- numbers ------------------------------------------------------------------------------------ */

static void in_number(struct step *s, struct ht__json_way *w)
{
    struct ht__json_frame *f = top(w);
    enum state state = (enum state)f->state;
    unsigned char c = s->byte;
    bool digit = c >= '0' && c <= '9', whole = s->schema->nodes[f->node].kind == HT__SCHEMA_INTEGER;
    bool ends = state == ZERO || state == DIGITS || state == FRACTION || state == EXPONENT_DIGITS;
    if (digit && state != ZERO) {
        if (++f->a > MOST_DIGITS) return; /* or a model might never end one */
        return keep_in(s, w,
                       state == MINUS                                ? c == '0' ? ZERO : DIGITS
                       : state == POINT                              ? FRACTION
                       : state == EXPONENT || state == EXPONENT_SIGN ? EXPONENT_DIGITS
                                                                     : state);
    }
    if (c == '.' && !whole && (state == ZERO || state == DIGITS)) return f->a = 0, keep_in(s, w, POINT);
    if ((c | 0x20) == 'e' && !whole && ends && state != EXPONENT_DIGITS) {
        f->a = MOST_DIGITS - 2; /* two digits: no number becomes infinite */
        return keep_in(s, w, EXPONENT);
    }
    if ((c == '-' || c == '+') && state == EXPONENT) return keep_in(s, w, EXPONENT_SIGN);
    if (ends && !digit) leave(s, w);
}

static void begin_number(struct step *s, struct ht__json_way *w)
{
    struct ht__json_frame *f = top(w);
    f->a = s->byte != '-';
    if (s->byte == '-') return keep_in(s, w, MINUS);
    if (s->byte >= '0' && s->byte <= '9') keep_in(s, w, s->byte == '0' ? ZERO : DIGITS);
}

/* ---- texts -------------------------------------------------------------------------------------- */

static void begin_texts(struct step *s, struct ht__json_way *w)
{
    const struct ht__schema_node *node = &s->schema->nodes[top(w)->node];
    struct ht__json_frame saved = *top(w);
    int depth = w->depth;
    for (int i = 0; i < node->n; i++) {
        if ((unsigned char)node->texts[i].text[0] != s->byte) continue;
        w->depth = depth;
        *top(w) = saved;
        top(w)->a = i;
        top(w)->b = 1;
        if (node->texts[i].len == 1)
            close_value(s, w);
        else
            keep_in(s, w, TEXT);
    }
}

static void in_text(struct step *s, struct ht__json_way *w)
{
    struct ht__json_frame *f = top(w);
    const struct ht__schema_text *t = &s->schema->nodes[f->node].texts[f->a];
    if ((unsigned char)t->text[f->b] != s->byte) return;
    if ((size_t)++f->b == t->len) return close_value(s, w);
    keep(s, w);
}

/* "true", "false" and "null" of a value that may be anything: a is which. */
static const char *const words[] = {"true", "false", "null"};

static void in_word(struct step *s, struct ht__json_way *w)
{
    struct ht__json_frame *f = top(w);
    if ((unsigned char)words[f->a][f->b] != s->byte) return;
    if (!words[f->a][++f->b]) return close_value(s, w);
    keep(s, w);
}

/* ---- values ------------------------------------------------------------------------------------- */

static bool is_space(unsigned char c)
{
    return c == ' ' || c == '\n' || c == '\t' || c == '\r';
}

static void begin_anything(struct step *s, struct ht__json_way *w)
{
    unsigned char c = s->byte;
    if (c == '{' || c == '[') return top(w)->a = c == '[', keep_in(s, w, OPEN);
    if (c == '"') return top(w)->b = 0, keep_in(s, w, STRING);
    for (int i = 0; i < 3; i++)
        if ((unsigned char)words[i][0] == c) {
            top(w)->a = i;
            top(w)->b = 1;
            return keep_in(s, w, TEXT);
        }
    begin_number(s, w);
}

static void begin_value(struct step *s, struct ht__json_way *w)
{
    const struct ht__schema_node *node = &s->schema->nodes[top(w)->node];
    struct ht__json_way other;
    switch (node->kind) {
    case HT__SCHEMA_ANY: begin_anything(s, w); return;
    case HT__SCHEMA_OBJECT:
        if (s->byte == '{') keep_in(s, w, OPEN);
        return;
    case HT__SCHEMA_ARRAY:
        if (s->byte == '[') keep_in(s, w, OPEN);
        return;
    case HT__SCHEMA_STRING:
        if (s->byte == '"') keep_in(s, w, STRING);
        return;
    case HT__SCHEMA_TEXTS: begin_texts(s, w); return;
    case HT__SCHEMA_ONE_OF:
        for (int i = 0; i < node->n; i++) {
            other.depth = w->depth;
            other.spaces = w->spaces;
            memcpy(other.frames, w->frames, (size_t)w->depth * sizeof *w->frames);
            *top(&other) = (struct ht__json_frame){.node = (int16_t)node->nodes[i], .state = START};
            begin_value(s, &other);
        }
        return;
    default: begin_number(s, w); return;
    }
}

static bool is_array(const struct ht__schema_node *node, const struct ht__json_frame *f)
{
    return node->kind == HT__SCHEMA_ARRAY || (node->kind == HT__SCHEMA_ANY && f->a == 1);
}

/* An element begins: its number is counted, and the byte is its first. */
static void begin_element(struct step *s, struct ht__json_way *w, const struct ht__schema_node *node)
{
    struct ht__json_frame *f = top(w);
    if (node->most >= 0 && f->b >= node->most) return;
    if (f->b < INT32_MAX) f->b++;
    f->state = NEXT;
    if (push(w, node->other)) begin_value(s, w);
}

/* A quote begins the key of any property that may come now: no required one is passed over. a: the first that may. */
static void begin_key(struct step *s, struct ht__json_way *w, const struct ht__schema_node *node)
{
    struct ht__json_frame *f = top(w);
    int first = f->a;
    if (s->byte != '"') return;
    if (node->n_properties == 0) {
        f->b = 0;
        if (node->other >= 0) keep_in(s, w, FREE_KEY);
        return;
    }
    for (int i = first; i < node->n_properties; i++) {
        f->a = i;
        f->b = 1;
        keep_in(s, w, KEY);
        if (node->properties[i].required) return;
    }
}

static bool may_close(const struct ht__schema_node *node, const struct ht__json_frame *f)
{
    for (int i = f->a; i < node->n_properties; i++)
        if (node->properties[i].required) return false;
    return true;
}

static void in_container(struct step *s, struct ht__json_way *w, bool first, bool after_comma)
{
    struct ht__json_frame *f = top(w);
    const struct ht__schema_node *node = &s->schema->nodes[f->node];
    bool list = is_array(node, f);
    if (!after_comma && s->byte == (list ? ']' : '}')) {
        if (list ? node->kind == HT__SCHEMA_ANY || f->b >= node->least
                 : node->kind == HT__SCHEMA_ANY || may_close(node, f))
            close_value(s, w);
        return;
    }
    if (!first && !after_comma) {
        bool more = list ? node->most < 0 || f->b < node->most : node->n_properties == 0 || f->a < node->n_properties;
        if (s->byte == ',' && more) keep_in(s, w, COMMA);
        return;
    }
    if (list)
        begin_element(s, w, node);
    else
        begin_key(s, w, node);
}

static void in_key(struct step *s, struct ht__json_way *w)
{
    struct ht__json_frame *f = top(w);
    const struct ht__schema_text *key = &s->schema->nodes[f->node].properties[f->a].key;
    if ((unsigned char)key->text[f->b] != s->byte) return;
    if ((size_t)++f->b == key->len) return keep_in(s, w, COLON);
    keep(s, w);
}

static void after_key(struct step *s, struct ht__json_way *w)
{
    struct ht__json_frame *f = top(w);
    const struct ht__schema_node *node = &s->schema->nodes[f->node];
    if (s->byte != ':') return;
    bool named = node->n_properties > 0;
    int value = named ? node->properties[f->a].node : node->other;
    f->a += named;
    f->state = NEXT;
    w->spaces = 0;
    if (push(w, value)) keep(s, w);
}

static void go(struct step *s, struct ht__json_way *w)
{
    enum state state = (enum state)top(w)->state;
    bool between = state == START || state == OPEN || state == COMMA || state == COLON || state == NEXT;
    if (between && is_space(s->byte)) {
        if (w->spaces++ < MOST_SPACES) keep(s, w);
        return;
    }
    switch (state) {
    case START: begin_value(s, w); return;
    case OPEN: in_container(s, w, true, false); return;
    case COMMA: in_container(s, w, true, true); return;
    case NEXT: in_container(s, w, false, false); return;
    case KEY: in_key(s, w); return;
    case COLON: after_key(s, w); return;
    case TEXT:
        if (s->schema->nodes[top(w)->node].kind == HT__SCHEMA_TEXTS)
            in_text(s, w);
        else
            in_word(s, w);
        return;
    case FREE_KEY:
    case STRING: in_string(s, w); return;
    case ESCAPE: in_escape(s, w); return;
    case HEX: in_hex(s, w); return;
    default: in_number(s, w); return;
    }
}

/* ---- for the mask ------------------------------------------------------------------------------- */

void ht__json_begin(struct ht__json_ways *ways)
{
    ways->n = 1;
    ways->ways[0].depth = ways->ways[0].spaces = 0;
    push(&ways->ways[0], 0);
}

bool ht__json_step(const struct ht__schema *schema, const struct ht__json_ways *from, unsigned char byte,
                   struct ht__json_ways *to)
{
    struct step s = {schema, byte, to};
    to->n = 0;
    for (int i = 0; i < from->n; i++) {
        struct ht__json_way w;
        if (from->ways[i].depth == 0) continue;
        w.depth = from->ways[i].depth;
        w.spaces = from->ways[i].spaces;
        memcpy(w.frames, from->ways[i].frames, (size_t)w.depth * sizeof *w.frames);
        go(&s, &w);
    }
    return to->n > 0;
}

/* A number has no end of its own: it may be whole at the end of the text. */
static bool is_whole(const struct ht__json_way *w)
{
    if (w->depth == 0) return true;
    int state = w->frames[0].state;
    return w->depth == 1 && (state == ZERO || state == DIGITS || state == FRACTION || state == EXPONENT_DIGITS);
}

bool ht__json_may_end(const struct ht__json_ways *ways)
{
    for (int i = 0; i < ways->n; i++)
        if (is_whole(&ways->ways[i])) return true;
    return false;
}

bool ht__json_must_end(const struct ht__json_ways *ways)
{
    for (int i = 0; i < ways->n; i++)
        if (ways->ways[i].depth > 0) return false;
    return true;
}

bool ht__json_in_string(const struct ht__schema *schema, const struct ht__json_ways *ways)
{
    const struct ht__json_way *w = &ways->ways[0];
    if (ways->n != 1 || w->depth == 0) return false;
    const struct ht__json_frame *f = &w->frames[w->depth - 1];
    const struct ht__schema_node *node = &schema->nodes[f->node];
    return f->left == 0 &&
           (f->state == FREE_KEY || (f->state == STRING && (node->kind != HT__SCHEMA_STRING || node->most < 0)));
}
