/*
 * The expressions of GPT-2 and those that grew out of it. At a place in the text, the first of
 * these that matches is a piece; together they match anything:
 *
 *     's 't 're 've 'm 'll 'd           in small letters, in any, or only behind a word
 *     prefix? letters+                  prefix is a space, or any mark or white space on the line
 *     digits                            one, up to three, or all with a space before them
 *     ' '? marks+ tail*                 marks are what is neither letter, digit nor white space
 *     white space up to its last line end       \s*[\r\n]+
 *     white space but for its last character, which goes with the next word      \s+(?!\S)
 *     white space
 */
#include "model/tokenizer/pre.h"

static const unsigned upper_like = HT__UNI_UPPER | HT__UNI_CASELESS | HT__UNI_MARK;
static const unsigned lower_like = HT__UNI_LOWER | HT__UNI_CASELESS | HT__UNI_MARK;

/* The flags of the character at p, and its length. */
static inline unsigned flags_at(const struct ht__uni *uni, const unsigned char *p, size_t n, int *len)
{
    uint32_t code;
    if (HT_LIKELY(*p < 0x80)) {
        *len = 1;
        return uni->flags[(size_t)uni->block[0] << 8 | *p];
    }
    *len = ht__uni_get(p, n, &code);
    return ht__uni_of(uni, code);
}

/* The end of the run of characters with any of the flags. */
static inline size_t run_of(const struct ht__uni *uni, const unsigned char *p, size_t n, size_t at, unsigned flags)
{
    const uint16_t *ascii = uni->flags + ((size_t)uni->block[0] << 8);
    int len;
    while (at < n) {
        if (p[at] < 0x80) {
            if (!(ascii[p[at]] & flags)) break;
            at++;
        } else {
            if (!(flags_at(uni, p + at, n - at, &len) & flags)) break;
            at += (size_t)len;
        }
    }
    return at;
}

static size_t run_without(const struct ht__uni *uni, const unsigned char *p, size_t n, size_t at, unsigned flags,
                          bool no_lines)
{
    int len;
    while (at < n && !(flags_at(uni, p + at, n - at, &len) & flags)) {
        if (no_lines && (p[at] == '\r' || p[at] == '\n')) break;
        at += (size_t)len;
    }
    return at;
}

/* Bytes of "s", "re" ... behind the apostrophe, or 0. U+017F, the long s, is an s when case is
 * ignored. */
static size_t contraction(const unsigned char *p, size_t n, bool any_case)
{
    unsigned fold = any_case ? 0x20 : 0;
    unsigned a = n > 0 ? p[0] | fold : 0, b = n > 1 ? p[1] | fold : 0;
    if (a == 's' || a == 't' || a == 'm' || a == 'd') return 1;
    if (any_case && n > 1 && p[0] == 0xc5 && p[1] == 0xbf) return 2;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return 2;
    return 0;
}

static bool is_line_end(unsigned char c)
{
    return c == '\r' || c == '\n';
}

/* [upper-like]*[lower-like]+ from `at`, or `at` itself. */
static size_t cased_with_lower(const struct ht__uni *uni, const unsigned char *p, size_t n, size_t at)
{
    size_t i = at, last = SIZE_MAX; /* the end of the last character that may be either */
    int len;
    for (unsigned flags; i < n && (flags = flags_at(uni, p + i, n - i, &len)) & upper_like; i += (size_t)len)
        if (flags & lower_like) last = i + (size_t)len;
    size_t end = run_of(uni, p, n, i, lower_like);
    if (end > i) return end;
    return last != SIZE_MAX ? last : at;
}

/* [upper-like]+[lower-like]* from `at`, or `at` itself. */
static size_t cased_with_upper(const struct ht__uni *uni, const unsigned char *p, size_t n, size_t at)
{
    size_t i = run_of(uni, p, n, at, upper_like);
    return i > at ? run_of(uni, p, n, i, lower_like) : at;
}

/* As the expression has it: the form with small letters first, each with the prefix first. */
static size_t cased_end(const struct ht__uni *uni, const unsigned char *p, size_t n, size_t at, size_t behind)
{
    size_t end;
    if (behind > at && (end = cased_with_lower(uni, p, n, behind)) > behind) return end;
    if ((end = cased_with_lower(uni, p, n, at)) > at) return end;
    if (behind > at && (end = cased_with_upper(uni, p, n, behind)) > behind) return end;
    return cased_with_upper(uni, p, n, at);
}

/* prefix? letters+ (and a contraction, where they end words), or `at`. */
static size_t word_end(const struct ht__words *w, const struct ht__uni *uni, const unsigned char *p, size_t n,
                       size_t at, unsigned flags, int len)
{
    unsigned letters = w->with_marks || w->cased ? HT__UNI_LETTER | HT__UNI_MARK : HT__UNI_LETTER;
    size_t behind = at + (size_t)len, end;
    bool prefix = w->any_prefix ? !(flags & (HT__UNI_LETTER | HT__UNI_NUMBER)) && !is_line_end(p[at]) : p[at] == ' ';
    if (!w->cased) {
        if (flags & letters) return run_of(uni, p, n, behind, letters);
        if (!prefix) return at;
        end = run_of(uni, p, n, behind, letters);
        return end > behind ? end : at;
    }
    end = cased_end(uni, p, n, at, prefix ? behind : at);
    if (end > at && w->contractions == HT__CONTRACTION_ENDS && end < n && p[end] == '\'') {
        size_t more = contraction(p + end + 1, n - end - 1, true);
        if (more) end += 1 + more;
    }
    return end;
}

static size_t digits_end(const struct ht__words *w, const struct ht__uni *uni, const unsigned char *p, size_t n,
                         size_t at)
{
    if (w->most == 0) {
        size_t from = p[at] == ' ' ? at + 1 : at, end = run_of(uni, p, n, from, HT__UNI_NUMBER);
        return end > from ? end : at;
    }
    int len;
    for (unsigned i = 0; i < w->most && at < n && flags_at(uni, p + at, n - at, &len) & HT__UNI_NUMBER; i++)
        at += (size_t)len;
    return at;
}

static size_t marks_end(const struct ht__words *w, const struct ht__uni *uni, const unsigned char *p, size_t n,
                        size_t at)
{
    unsigned others = HT__UNI_LETTER | HT__UNI_NUMBER | HT__UNI_SPACE | (w->with_marks ? HT__UNI_MARK : 0);
    size_t from = p[at] == ' ' ? at + 1 : at, end = run_without(uni, p, n, from, others, w->marks_no_lines);
    if (end == from) return at;
    while (w->tail && end < n && (is_line_end(p[end]) || (w->tail == '/' && p[end] == '/')))
        end++;
    return end;
}

static size_t space_end(const struct ht__words *w, const struct ht__uni *uni, const unsigned char *p, size_t n,
                        size_t at)
{
    size_t end = at, last = at, line = at;
    int len;
    while (end < n && flags_at(uni, p + end, n - end, &len) & HT__UNI_SPACE) {
        last = end;
        end += (size_t)len;
        if (is_line_end(p[last])) line = end;
    }
    if (w->lines && line > at) return line;
    return end == n || last == at ? end : last;
}

size_t ht__words_end(const struct ht__words *w, const struct ht__uni *uni, const unsigned char *p, size_t n, size_t at)
{
    int len;
    unsigned flags = flags_at(uni, p + at, n - at, &len);
    size_t end;
    if (p[at] == '\'' && w->contractions != HT__NO_CONTRACTIONS && w->contractions != HT__CONTRACTION_ENDS) {
        size_t more = contraction(p + at + 1, n - at - 1, w->contractions == HT__ANY_CONTRACTIONS);
        if (more) return at + 1 + more;
    }
    if ((end = word_end(w, uni, p, n, at, flags, len)) > at) return end;
    if ((end = digits_end(w, uni, p, n, at)) > at) return end;
    if ((end = marks_end(w, uni, p, n, at)) > at) return end;
    if ((end = space_end(w, uni, p, n, at)) > at) return end;
    return at + (size_t)len;
}
