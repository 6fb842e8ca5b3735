#include "model/model_name.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <utf8proc.h>

enum { BASENAME = 1, SIZE = 2, FINETUNE = 4, VERSION = 8, TYPE = 16 };
enum { LONGEST_ID = 1024 }; /* more is no name; it is taken as it is */

struct part {
    char *text;
    unsigned what; /* any of the above */
};

static bool digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *digits(const char *p)
{
    while (digit(*p))
        p++;
    return p;
}

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + 32 : c);
}

static char upper(char c)
{
    return (char)(c >= 'a' && c <= 'z' ? c - 32 : c);
}

static bool word_char(char c)
{
    return digit(c) || (lower(c) >= 'a' && lower(c) <= 'z') || c == '_';
}

static bool letter_at(const char *p)
{
    utf8proc_int32_t code;
    if (utf8proc_iterate((const utf8proc_uint8_t *)p, -1, &code) <= 0) return false;
    utf8proc_category_t c = utf8proc_category(code);
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT ||
           c == UTF8PROC_CATEGORY_LM || c == UTF8PROC_CATEGORY_LO;
}

/* 3, v0.1, iter2.5 */
static bool is_version(const char *p)
{
    if (strncasecmp(p, "iter", 4) == 0)
        p += 4;
    else if (lower(*p) == 'v')
        p++;
    for (;; p++) {
        const char *end = digits(p);
        if (end == p) return false;
        if (*end == '\0') return true;
        if (*end != '.') return false;
        p = end;
    }
}

/* q4_K_M, iq2_s, bf16, fp32: numeric formats */
static bool is_type(const char *p)
{
    const char *q = p + (lower(*p) == 'i');
    if (lower(*q) == 'q' && digit(q[1])) {
        for (q += 2; *q == '_' && (word_char(q[1])); q += 2) {
        }
        return *q == '\0';
    }
    p += lower(*p) == 'b';
    if (lower(*p) != 'f') return false;
    p += 1 + (lower(p[1]) == 'p');
    return strcmp(p, "16") == 0 || strcmp(p, "32") == 0;
}

/* 7b, 1.5B, 8x22B, A3B, 7b1 (7.1 B), and the words */
static bool is_size(const char *p)
{
    static const char *const words[] = {"small", "mini", "medium", "large", "xl", "xxl"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strcasecmp(p, words[i]) == 0) return true;
    const char *end = digits(p);
    if (lower(*p) == 'a')
        p++;
    else if (end > p && lower(*end) == 'x')
        p = end + 1;
    end = digits(p);
    if (end == p) return false;
    if ((*end == '.' || *end == '_') && digit(end[1])) end = digits(end + 1);
    if (*end == '\0' || !strchr("kmbt", lower(*end))) return false;
    end++;
    return *end == '\0' || (digit(*end) && end[1] == '\0');
}

/* The weights that "1.5B" stands for; negative when its number is not a plain one ("8x7B"). */
static double weights_of(const char *label)
{
    double v = 0, unit = 1;
    const char *p = label, *at;
    for (; digit(*p); p++)
        v = v * 10 + (*p - '0');
    if (*p == '.')
        for (p++; digit(*p); p++, unit *= 10)
            v = v * 10 + (*p - '0');
    if (p == label || !(at = strchr("KMBT", *p)) || *p == '\0' || p[1]) return -1;
    return v / unit * pow(1000, (double)(at - "KMBT") + 1);
}

/* A size is written 7.1B, whether it was 7b1 or 7_1b; one that is far from the model's own is something
 * else, a context length most likely, and gets a small letter. The part has room for one more byte. */
static void take_size(struct part *part, uint64_t n_weights)
{
    char *t = part->text;
    for (char *p = t; *p; p++)
        if (*p == '_') *p = '.';
    size_t n = strlen(t);
    if (digit(t[n - 1])) {
        char unit = t[n - 2];
        t[n - 2] = '.';
        t[n] = unit; /* "7b1" is "7.1b" */
        t[++n] = '\0';
    }
    if (n > 1 && digit(t[n - 2])) t[n - 1] = upper(t[n - 1]);
    double weights = weights_of(t);
    part->what = SIZE;
    if (n_weights && weights >= 0 && fabs(weights - (double)n_weights) > (double)(7 * n_weights / 8)) {
        part->what = FINETUNE;
        t[n - 1] = lower(t[n - 1]);
    }
}

static bool is_finetune(const char *p)
{
    return strcasecmp(p, "chat") == 0 || strcasecmp(p, "instruct") == 0 || strcasecmp(p, "vision") == 0 ||
           strcasecmp(p, "lora") == 0;
}

static void classify(struct part *part, bool first, uint64_t n_weights)
{
    if (is_version(part->text)) {
        part->what = VERSION;
    } else if (is_type(part->text)) {
        part->what = TYPE;
        for (char *p = part->text; *p; p++)
            *p = upper(*p);
    } else if (!first && is_size(part->text)) {
        take_size(part, n_weights);
    } else if (!first && is_finetune(part->text)) {
        part->what = FINETUNE;
    }
}

/* "medium" beside "7B" is no size. */
static void drop_word_sizes(struct part *parts, size_t n)
{
    bool number = false;
    for (size_t i = 0; i < n; i++)
        if (parts[i].what & SIZE && strpbrk(parts[i].text, "0123456789")) number = true;
    for (size_t i = 0; number && i < n; i++)
        if (parts[i].what & SIZE && !strpbrk(parts[i].text, "0123456789")) parts[i].what &= ~(unsigned)SIZE;
}

/* The basename is what the name begins with, versions within it included; the rest that is nothing else is
 * a finetune. */
static void find_basename(struct part *parts, size_t n)
{
    bool at_start = true;
    for (size_t i = 0; i < n; i++) {
        if (at_start && ((!parts[i].what && letter_at(parts[i].text)) || parts[i].what & VERSION)) {
            parts[i].what |= BASENAME;
            continue;
        }
        at_start = false;
        if (!parts[i].what) parts[i].what = FINETUNE;
    }
    for (size_t i = n; i-- > 0 && parts[i].what & BASENAME && parts[i].what != BASENAME;)
        parts[i].what &= ~(unsigned)BASENAME;
}

static bool seen_before(const struct part *parts, size_t i)
{
    for (size_t j = 0; j < i; j++)
        if (parts[j].what & SIZE && strcmp(parts[j].text, parts[i].text) == 0) return true;
    return false;
}

/* Those parts again with dashes between; NULL when there are none. `failed` when memory is out. */
static const char *join(struct ht__arena *arena, const struct part *parts, size_t n, unsigned what, unsigned without,
                        bool *failed)
{
    size_t len = 0, used = 0;
    for (size_t i = 0; i < n; i++)
        len += strlen(parts[i].text) + 1;
    char *text = ht__arena_new(arena, len + 1);
    *failed |= !text;
    for (size_t i = 0; text && i < n; i++) {
        if (!(parts[i].what & what) || parts[i].what & without) continue;
        if (what == SIZE && seen_before(parts, i)) continue;
        used += (size_t)snprintf(text + used, len + 1 - used, "%s%s", used ? "-" : "", parts[i].text);
    }
    return used ? text : NULL;
}

static bool split(struct ht__arena *arena, const char *name, struct part *parts, size_t *n)
{
    for (const char *p = name; *p;) {
        size_t len = strcspn(p, "-");
        if (len) {
            char *text = ht__arena_new(arena, len + 2); /* a byte to spare: "7b1" grows */
            if (!text) return false;
            memcpy(text, p, len);
            parts[(*n)++].text = text;
        }
        p += len + (p[len] == '-');
    }
    return true;
}

bool ht__model_name_parse(struct ht__arena *arena, const char *id, uint64_t n_weights, struct ht__model_name *out)
{
    bool failed = false;
    size_t n = 0, len = strlen(id);
    *out = (struct ht__model_name){.name = id};
    if (len > LONGEST_ID || strchr(id, ' ')) return true; /* a sentence */
    const char *slash = strchr(id, '/');
    if (slash) {
        out->name = slash + 1;
        if (id[0] != '.' && !(out->organization = ht__arena_copy(arena, id, (size_t)(slash - id)))) return false;
    }
    struct part *parts = ht__arena_array(arena, len / 2 + 1, sizeof *parts);
    if (!parts || !split(arena, out->name, parts, &n)) return false;
    for (size_t i = 0; i < n; i++)
        classify(&parts[i], i == 0, n_weights);
    drop_word_sizes(parts, n);
    find_basename(parts, n);
    out->size_label = join(arena, parts, n, SIZE, 0, &failed);
    out->finetune = join(arena, parts, n, FINETUNE, 0, &failed);
    out->version = join(arena, parts, n, VERSION, BASENAME, &failed);
    if (out->size_label || out->finetune || out->version) out->basename = join(arena, parts, n, BASENAME, 0, &failed);
    return !failed;
}

static bool is_cased(utf8proc_int32_t code)
{
    utf8proc_category_t c = utf8proc_category(code);
    return c == UTF8PROC_CATEGORY_LU || c == UTF8PROC_CATEGORY_LL || c == UTF8PROC_CATEGORY_LT;
}

/* Has it letters, all of them small? */
static bool all_lower(const utf8proc_uint8_t *word, size_t len)
{
    bool any = false;
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t code;
        utf8proc_ssize_t n = utf8proc_iterate(word + i, (utf8proc_ssize_t)(len - i), &code);
        if (n <= 0) return false;
        if (is_cased(code) && utf8proc_category(code) != UTF8PROC_CATEGORY_LL) return false;
        any |= is_cased(code);
        i += (size_t)n;
    }
    return any;
}

static bool keeps_its_letters(const char *word, size_t len)
{
    if (digit(word[0]) || !all_lower((const utf8proc_uint8_t *)word, len)) return true;
    char copy[64];
    if (word[0] != 'v' || len >= sizeof copy) return false;
    memcpy(copy, word, len);
    copy[len] = '\0';
    return is_version(copy);
}

/* A capital wherever a letter follows none. */
static size_t put_title(char *out, const char *word, size_t len)
{
    size_t used = 0;
    bool inside = false;
    for (size_t i = 0; i < len;) {
        utf8proc_int32_t code;
        i += (size_t)utf8proc_iterate((const utf8proc_uint8_t *)word + i, (utf8proc_ssize_t)(len - i), &code);
        bool cased = is_cased(code);
        if (cased && !inside) code = utf8proc_totitle(code);
        inside = cased;
        used += (size_t)utf8proc_encode_char(code, (utf8proc_uint8_t *)out + used);
    }
    return used;
}

const char *ht__model_title(struct ht__arena *arena, const char *name)
{
    static const char between[] = "- \t\n\r\v\f";
    size_t len = strlen(name), used = 0;
    char *out = len < SIZE_MAX / 4 ? ht__arena_new(arena, len * 2 + 1) : NULL; /* capitals may be longer */
    if (!out) return NULL;
    for (const char *p = name;;) {
        p += strspn(p, between);
        size_t n = strcspn(p, between);
        if (n == 0) break;
        if (used) out[used++] = ' ';
        if (keeps_its_letters(p, n)) {
            memcpy(out + used, p, n);
            used += n;
        } else {
            used += put_title(out + used, p, n);
        }
        p += n;
    }
    out[used] = '\0';
    return out;
}

/* The fewest decimals that make two digits: 7.2, 13, 0.35. */
void ht__size_label(uint64_t one, uint64_t n_experts, char out[48])
{
    double n = (double)one;
    double v = n > 1e12 ? n * 1e-12 : n > 1e9 ? n * 1e-9 : n > 1e6 ? n * 1e-6 : n * 1e-3;
    char unit = n > 1e12 ? 'T' : n > 1e9 ? 'B' : n > 1e6 ? 'M' : 'K';
    double whole = rint(v);
    int decimals = whole >= 10 ? 0 : whole >= 1 ? 1 : 2;
    if (n_experts)
        snprintf(out, 48, "%llux%.*f%c", (unsigned long long)n_experts, decimals, v, unit);
    else
        snprintf(out, 48, "%.*f%c", decimals, v, unit);
}
