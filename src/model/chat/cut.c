/*
 * A template's text into tokens. Around tags, as Jinja with trim_blocks and lstrip_blocks:
 *
 *     "  {% if x %}\n"   blanks before a tag that begins its line go, and the newline behind it
 *     "{%- -%}"          all white space on that side goes
 *     "{%+ +%}"          nothing goes
 *     "{{ }}"            unchanged, unless there is a "-"
 */
#include "base/utf8.h"
#include "model/chat/syntax.h"

#include <string.h>

struct cutter {
    struct ht__chat_run *r;
    const char *text;
    size_t len, at;
    int line;
    struct ht__chat_token *tokens;
    size_t n, cap;
    struct ht__chat_token nowhere; /* where tokens go after a failure */
};

static struct ht__chat_token *put(struct cutter *c, enum ht__chat_word word)
{
    if (c->n == c->cap) {
        size_t cap = c->cap ? 2 * c->cap : 256;
        struct ht__chat_token *tokens = ht__chat_new(c->r, cap, sizeof *tokens);
        if (!tokens) return &c->nowhere;
        if (c->n) memcpy(tokens, c->tokens, c->n * sizeof *tokens);
        c->tokens = tokens;
        c->cap = cap;
    }
    c->tokens[c->n] = (struct ht__chat_token){.word = word, .line = c->line};
    return &c->tokens[c->n++];
}

static bool is_blank(char ch)
{
    return ch == ' ' || (ch >= 9 && ch <= 13);
}

static bool is_word(char ch, bool first)
{
    return ch == '_' || (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (!first && ch >= '0' && ch <= '9');
}

static void step_to(struct cutter *c, size_t to)
{
    for (; c->at < to; c->at++)
        c->line += c->text[c->at] == '\n';
}

/* Text up to the next tag, or the end; `sign` is the character after the tag's opening. */
static void cut_text(struct cutter *c)
{
    size_t start = c->at, end = start;
    while (end < c->len && !(c->text[end] == '{' && end + 1 < c->len && strchr("{%#", c->text[end + 1])))
        end++;
    size_t stop = end;
    char tag = end < c->len ? c->text[end + 1] : 0, sign = end + 2 < c->len ? c->text[end + 2] : 0;
    if (tag && sign == '-') {
        while (stop > start && is_blank(c->text[stop - 1]))
            stop--;
    } else if (tag && tag != '{' && sign != '+') {
        size_t line = stop;
        while (line > start && is_blank(c->text[line - 1]) && c->text[line - 1] != '\n')
            line--;
        /* the text's own line, or the one that the last tag left */
        if (line == 0 || c->text[line - 1] == '\n') stop = line;
    }
    if (stop > start) put(c, HT__CHAT_W_TEXT)->text = (struct ht__str){c->text + start, stop - start};
    step_to(c, end);
}

/* Behind a tag's end. */
static void after_tag(struct cutter *c, char sign, bool takes_newline)
{
    size_t to = c->at;
    if (sign == '-')
        while (to < c->len && is_blank(c->text[to]))
            to++;
    else if (takes_newline && sign != '+' && to < c->len && c->text[to] == '\n')
        to++;
    step_to(c, to);
}

static void cut_comment(struct cutter *c)
{
    const char *end = memmem(c->text + c->at + 2, c->len - c->at - 2, "#}", 2);
    if (!end) return ht__chat_fail(c->r, HT_ERR_FORMAT, "a comment has no end");
    size_t to = (size_t)(end - c->text);
    char sign = to > c->at + 2 ? end[-1] : 0;
    step_to(c, to + 2);
    after_tag(c, sign == '-' || sign == '+' ? sign : 0, true);
}

static int hex(const char *p, int n)
{
    int value = 0;
    for (int i = 0; i < n; i++) {
        char ch = p[i];
        int digit = ch >= '0' && ch <= '9'                 ? ch - '0'
                    : (ch | 32) >= 'a' && (ch | 32) <= 'f' ? (ch | 32) - 'a' + 10
                                                           : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

/* An escape at p, of which n bytes are left: written to out, which has room. Returns the bytes taken. */
static size_t cut_escape(const char *p, size_t n, char *out, size_t *used)
{
    static const char letters[] = "n\nt\tr\rb\bf\fv\va\a\\\\''\"\"";
    for (size_t i = 0; n > 1 && i + 1 < sizeof letters; i += 2)
        if (p[1] == letters[i]) return out[(*used)++] = letters[i + 1], 2;
    int digits = n > 1 && p[1] == 'u' ? 4 : n > 1 && p[1] == 'x' ? 2 : 0;
    int code = digits && n >= (size_t)digits + 2 ? hex(p + 2, digits) : -1, len = 0;
    if (code >= 0) len = ht__utf8_put((uint32_t)code, out + *used);
    if (len > 0) return *used += (size_t)len, (size_t)digits + 2;
    if (n > 1 && p[1] == '\n') return 2; /* a line that goes on */
    out[(*used)++] = '\\';               /* Python leaves what it does not know */
    return 1;
}

static void cut_string(struct cutter *c)
{
    char quote = c->text[c->at];
    size_t end = c->at + 1, used = 0;
    while (end < c->len && c->text[end] != quote)
        end += c->text[end] == '\\' ? 2 : 1;
    if (end >= c->len) return ht__chat_fail(c->r, HT_ERR_FORMAT, "a string has no end");
    char *out = ht__chat_new(c->r, end - c->at, 1);
    if (!out) return;
    for (size_t i = c->at + 1; i < end;) {
        if (c->text[i] == '\\')
            i += cut_escape(c->text + i, end - i, out, &used);
        else
            out[used++] = c->text[i++];
    }
    put(c, HT__CHAT_W_STR)->value = ht__chat_str(out, used);
    step_to(c, end + 1);
}

static void cut_number(struct cutter *c)
{
    int64_t whole = 0;
    double number = 0, unit = 1;
    bool fraction = false, large = false;
    while (c->at < c->len) {
        char ch = c->text[c->at];
        bool digit = ch >= '0' && ch <= '9';
        if (ch == '_' ||
            (ch == '.' && !fraction && c->at + 1 < c->len && c->text[c->at + 1] >= '0' && c->text[c->at + 1] <= '9')) {
            fraction |= ch == '.';
        } else if (!digit) {
            break;
        } else {
            number = number * 10 + (ch - '0');
            if (fraction) unit *= 10;
            large |= __builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, ch - '0', &whole);
        }
        c->at++;
    }
    if (large && !fraction) return ht__chat_fail(c->r, HT_ERR_LIMIT, "a number is too large");
    put(c, HT__CHAT_W_NUMBER)->value =
        fraction ? (struct ht__chat_value){.type = HT__CHAT_FLOAT, .number = number / unit} : ht__chat_int(whole);
}

static void cut_operator(struct cutter *c)
{
    static const char two[] = "==!=<=>=//**";
    char a = c->text[c->at], b = c->at + 1 < c->len ? c->text[c->at + 1] : 0;
    if (!strchr("+-*/%~=<>!()[]{},.:|", a)) {
        ht__chat_fail(c->r, HT_ERR_FORMAT, "unexpected character \"%c\"", a >= 32 && a < 127 ? a : '?');
        return;
    }
    int op = a;
    for (size_t i = 0; b && i + 1 < sizeof two; i += 2)
        if (a == two[i] && b == two[i + 1]) op = HT__CHAT_OP(a, b);
    put(c, HT__CHAT_W_OP)->op = op;
    c->at += op == a ? 1 : 2;
}

/* Is the tag's end here? Its length, with the sign. */
static size_t tag_end(const struct cutter *c, char closing, char *sign)
{
    size_t left = c->len - c->at;
    const char *p = c->text + c->at;
    *sign = left > 2 && (p[0] == '-' || p[0] == '+') ? p[0] : 0;
    size_t skip = *sign ? 1 : 0;
    return left >= skip + 2 && p[skip] == closing && p[skip + 1] == '}' ? skip + 2 : 0;
}

/* What is between {{ and }} or {% and %}. */
static void cut_tag(struct cutter *c, bool out)
{
    char closing = out ? '}' : '%', sign;
    int braces = 0;
    put(c, out ? HT__CHAT_W_OUT : HT__CHAT_W_TAG);
    c->at += 2;
    if (c->at < c->len && (c->text[c->at] == '-' || c->text[c->at] == '+')) c->at++;
    while (!c->r->err) {
        while (c->at < c->len && is_blank(c->text[c->at]))
            step_to(c, c->at + 1);
        c->r->line = c->line;
        if (c->at >= c->len) return ht__chat_fail(c->r, HT_ERR_FORMAT, "a tag has no end");
        size_t end = braces == 0 ? tag_end(c, closing, &sign) : 0;
        char ch = c->text[c->at];
        if (end) {
            put(c, out ? HT__CHAT_W_OUT_END : HT__CHAT_W_TAG_END);
            c->at += end;
            return after_tag(c, sign, !out);
        }
        if (ch == '"' || ch == '\'') {
            cut_string(c);
        } else if (ch >= '0' && ch <= '9') {
            cut_number(c);
        } else if (is_word(ch, true)) {
            size_t start = c->at;
            while (c->at < c->len && is_word(c->text[c->at], false))
                c->at++;
            put(c, HT__CHAT_W_NAME)->text = (struct ht__str){c->text + start, c->at - start};
        } else {
            braces += (ch == '{' || ch == '[' || ch == '(') - (ch == '}' || ch == ']' || ch == ')');
            if (braces < 0) return ht__chat_fail(c->r, HT_ERR_FORMAT, "a bracket was not opened");
            cut_operator(c);
        }
    }
}

/* Newlines are \n, and one at the end goes. */
static bool normalize(struct cutter *c, const char *text, size_t len)
{
    char *plain = ht__chat_new(c->r, len + 1, 1);
    if (!plain) return false;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\r' && i + 1 < len && text[i + 1] == '\n') continue;
        plain[c->len++] = text[i] == '\r' ? '\n' : text[i];
    }
    if (c->len && plain[c->len - 1] == '\n') c->len--;
    c->text = plain;
    return true;
}

struct ht__chat_token *ht__chat_cut(struct ht__chat_run *r, const char *text, size_t len)
{
    struct cutter c = {.r = r, .line = 1};
    if (!normalize(&c, text, len)) return NULL;
    while (c.at < c.len && !r->err) {
        cut_text(&c);
        r->line = c.line;
        if (c.at >= c.len) break;
        if (c.text[c.at + 1] == '#')
            cut_comment(&c);
        else
            cut_tag(&c, c.text[c.at + 1] == '{');
    }
    put(&c, HT__CHAT_W_END);
    return r->err ? NULL : c.tokens;
}
