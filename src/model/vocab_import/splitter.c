/*
 * Steps of a pre-tokenizer on a text, by PCRE2. The expressions may come from a stranger: how much
 * they may match, nest and allocate is limited, and what exceeds that is simply not recognised.
 */
#include "model/vocab_import/splitter.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdint.h>
#include <string.h>

enum { MAX_REGEX = 4096, MAX_STEPS = 16, MATCH_LIMIT = 10000, DEPTH_LIMIT = 1000 };

const char ht__split_probe[] =
    "Hello World, it's WE'LL I'm they'RE don'T he'd x'y 'tis O'Neil's\n"
    "camelCaseHTTPServer XMLHttp iPhone3G éÉcoleÉTÉ ǅungla Straße ΑθΉνα ПриветМир\n"
    " 1 12 123 1234 12345 3.14 1,000 x86_64 2nd 0x1F ٣٤٥ Ⅻ ½ ²³ １２３\n"
    "  two   three\tTab\t\ttabs \t mixed\r\ncrlf\n\n\n  indented\n\t\n \n trailing  \n"
    "a       b         \n      c     d             e  12   7 x\n"
    "foo(bar)[baz]{qux}<a href=\"x\">&amp; a+b=c*d/e\\f|g ~`^@#$% ... !!! ?! --- __init__ //c\n"
    "我想在apple工作1314天～ 日本語テキスト、カタカナ。한국어 텍스트 ไทย ကမ្ពុ नमस्ते मु́ עִבְרִית العَرَبِيَّة\n"
    "🚀🚀 😶‍🌫️ €5 £6 ©® “quote” ‘it’s’ — – … «x» § ¶ "
    "a\xcc\x81"
    "b n\xcc\x83o e.g. U.S.A /path/to/file\n/ "
    " /x !/y a!b a !\n!\n\nend ";

static bool is_piece_end(const struct ht__pieces *p, size_t i, size_t n)
{
    return i == n || p->starts[i];
}

struct matcher {
    pcre2_code *code;
    pcre2_match_data *data;
    pcre2_match_context *context;
};

static bool open_matcher(struct matcher *m, const char *regex, size_t len, bool *no_memory)
{
    int error = 0;
    PCRE2_SIZE where;
    *m = (struct matcher){0};
    if (len > MAX_REGEX) return false;
    m->code = pcre2_compile((PCRE2_SPTR)regex, len, PCRE2_UTF | PCRE2_UCP, &error, &where, NULL);
    if (m->code) m->data = pcre2_match_data_create_from_pattern(m->code, NULL);
    if (m->data) m->context = pcre2_match_context_create(NULL);
    if (!m->context) {
        *no_memory = m->code || error == PCRE2_ERROR_HEAP_FAILED;
        return false;
    }
    pcre2_set_match_limit(m->context, MATCH_LIMIT);
    pcre2_set_depth_limit(m->context, DEPTH_LIMIT);
    return true;
}

static void close_matcher(struct matcher *m)
{
    pcre2_match_context_free(m->context);
    pcre2_match_data_free(m->data);
    pcre2_code_free(m->code);
}

/* One piece, text[from, to): begins at every match's start and end. Nothing outside the piece is
 * seen by the expression. */
static bool split_piece(const struct matcher *m, const char *text, size_t from, size_t to, bool contiguous,
                        bool drop_gaps, struct ht__pieces *out)
{
    size_t at = 0, len = to - from, covered = 0;
    while (at < len) {
        int got = pcre2_match(m->code, (PCRE2_SPTR)text + from, len, at, PCRE2_NOTEMPTY, m->data, m->context);
        if (got == PCRE2_ERROR_NOMATCH) break;
        if (got < 0) {
            out->no_memory = got == PCRE2_ERROR_NOMEMORY;
            return false;
        }
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(m->data);
        if (span[0] < at || span[1] <= span[0] || span[1] > len) return false; /* \K plays tricks */
        if (!(contiguous && span[0] == covered && covered > 0)) out->starts[from + span[0]] = true;
        if (contiguous && span[0] == covered && covered > 0) out->starts[from + covered] = false;
        if (span[1] < len) out->starts[from + span[1]] = true;
        for (size_t i = covered; drop_gaps && i < span[0]; i++)
            out->gone[from + i] = true;
        at = covered = span[1];
    }
    for (size_t i = covered; drop_gaps && i < len; i++)
        out->gone[from + i] = true;
    return true;
}

static bool split_all(const char *regex, size_t regex_len, bool contiguous, bool drop_gaps, const char *text, size_t n,
                      struct ht__pieces *pieces)
{
    struct matcher m;
    struct ht__pieces before = *pieces;
    bool good = open_matcher(&m, regex, regex_len, &pieces->no_memory);
    for (size_t from = 0, to; good && from < n; from = to) {
        for (to = from + 1; !is_piece_end(&before, to, n);)
            to++;
        if (!before.gone[from]) good = split_piece(&m, text, from, to, contiguous, drop_gaps, pieces);
    }
    close_matcher(&m);
    return good;
}

/* Kinds of steps that are no expressions of their own. */
static const struct {
    const char *name, *regex;
    bool contiguous;
} kinds[] = {
    {"B", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+", false},
    {"D1", "\\p{N}", false},
    {"D", "\\p{N}+", false},
    {"Pc", "[\\p{P}!-/:-@\\[-`{-~]", true},
    {"P", "[\\p{P}!-/:-@\\[-`{-~]", false},
};

/* Is there a step of this name, up to the end or a ';'? Returns its length. */
static size_t named(const char *p, const char *name)
{
    size_t n = strlen(name);
    return strncmp(p, name, n) == 0 && (p[n] == '\0' || p[n] == ';') ? n : 0;
}

static bool step_begins(const char *p)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (named(p, kinds[i].name)) return true;
    return strncmp(p, "S:", 2) == 0 || strncmp(p, "R:", 2) == 0;
}

/* A ';' ends an expression where another step follows it: in the others it is a semicolon. */
static size_t regex_length(const char *p)
{
    size_t n = 0;
    while (p[n] && !(p[n] == ';' && step_begins(p + n + 1)))
        n++;
    return n;
}

/* "@C" written out. Returns the length, or more than MAX_REGEX when it does not fit. */
static size_t spell_out(const char *from, size_t n, char to[MAX_REGEX + 1])
{
    static const char contractions[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    size_t used = 0;
    for (size_t i = 0; i < n;) {
        bool mark = from[i] == '@' && i + 1 < n && from[i + 1] == 'C';
        size_t add = mark ? sizeof contractions - 1 : 1;
        if (used + add > MAX_REGEX) return MAX_REGEX + 1;
        memcpy(to + used, mark ? contractions : from + i, add);
        used += add;
        i += mark ? 2 : 1;
    }
    return used;
}

static size_t run_step(const char *p, const char *text, size_t n, struct ht__pieces *pieces)
{
    char regex[MAX_REGEX + 1];
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        size_t len = named(p, kinds[i].name);
        if (len)
            return split_all(kinds[i].regex, strlen(kinds[i].regex), kinds[i].contiguous, false, text, n, pieces) ? len
                                                                                                                  : 0;
    }
    if (strncmp(p, "S:", 2) != 0 && strncmp(p, "R:", 2) != 0) return 0;
    size_t len = regex_length(p + 2), spelled = spell_out(p + 2, len, regex);
    return split_all(regex, spelled, false, p[0] == 'R', text, n, pieces) ? len + 2 : 0;
}

bool ht__split(const char *steps, const char *text, struct ht__pieces *out)
{
    size_t n = strlen(text);
    memset(out, 0, sizeof *out);
    if (n > HT__PROBE_MAX) return false;
    out->starts[0] = true;
    const char *p = steps;
    for (int i = 0; *p; i++) {
        size_t len = i < MAX_STEPS ? run_step(p, text, n, out) : 0;
        if (len == 0) return false;
        p += len;
        if (*p == ';') p++;
    }
    return true;
}
