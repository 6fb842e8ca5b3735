/* Pre-tokenizers by name, as tokenizer.json says what they do: pretok.def from right to left. */
#include "model/tokenizer/pre.h"
#include "model/vocab_export/parts.h"

#include <string.h>

static const struct rule {
    const char *steps, *arch, *name;
} rules[] = {
#define HT_PRE(steps, arch, name) {steps, arch, name},
#include "model/vocab_import/pretok.def"
#undef HT_PRE
    /* where the table names only the beginning, which tells it apart */
    {"S:[\\r\\n];S:\\s?[\\p{Lu}\\p{Ll}\\p{Lt}]+;S:\\s?[!-/:-~！-／：-～‘-‟　-。]+;S:\\s+$;S:[一-龥ࠀ-一가-퟿]+;D",
     "", "deepseek-llm"},
};

/* "@*" leaves out how a pattern goes on: nothing where a step ends before it, as in deepseek-coder's. */
static const char *own_steps(const char *name)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const char *steps = rules[i].steps, *star = strstr(steps, "@*");
        if (strcmp(rules[i].name, name) == 0 && (!star || star[-1] == '1')) return steps;
    }
    return NULL;
}

bool ht__export_pre(const char *name, struct ht__pre_facts *facts)
{
    struct ht__pre pre;
    struct ht_diag none = {0};
    size_t len = strlen(name);
    if (ht__pre_open(&pre, name, len, "tokenizer", &none) != HT_OK) return false;
    *facts = (struct ht__pre_facts){own_steps(name), pre.nfc, pre.ignores_merges, pre.adds_bos};
    ht__pre_close(&pre);
    for (size_t i = 0; !facts->steps && i < sizeof rules / sizeof *rules; i++) /* another name for the same */
        if (ht__pre_same(name, rules[i].name)) facts->steps = own_steps(rules[i].name);
    if (!facts->steps && strcmp(name, "default") == 0) facts->steps = own_steps("falcon");
    if (facts->steps && strncmp(facts->steps, "@+", 2) == 0) facts->steps += 2;
    return facts->steps != NULL;
}

/* ---- one step ---- */

static const struct {
    const char *name, *type, *member;
} kinds[] = {
    {"B", "ByteLevel", NULL},
    {"D1", "Digits", "individual"},
    {"D", "Digits", NULL},
    {"Pc", "Punctuation", "Contiguous"},
    {"P", "Punctuation", "Isolated"},
};

/* Up to the end, a ';' or the "@*" that ends a pattern. */
static size_t named(const char *p, const char *name)
{
    size_t n = strlen(name);
    if (strncmp(p, name, n) != 0) return 0;
    return p[n] == '\0' || p[n] == ';' || strcmp(p + n, "@*") == 0 ? n : 0;
}

static bool begins(const char *p)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (named(p, kinds[i].name)) return true;
    return strncmp(p, "S:", 2) == 0;
}

static size_t length(const char *p)
{
    size_t n = 0;
    while (p[n] && strcmp(p + n, "@*") != 0 && !(p[n] == ';' && begins(p + n + 1)))
        n++;
    return n;
}

static void put_byte_level(struct ht__jw *w, bool use_regex)
{
    ht__jw_object(w, NULL);
    ht__jw_str(w, "type", "ByteLevel");
    ht__jw_bool(w, "add_prefix_space", false);
    ht__jw_bool(w, "trim_offsets", true);
    ht__jw_bool(w, "use_regex", use_regex);
    ht__jw_end(w);
}

static void put_split(struct ht__jw *w, const char *regex, size_t len)
{
    static const char contractions[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
    struct ht__buf text;
    ht__buf_init(&text, w->out->alloc);
    for (size_t i = 0; i < len; i++) {
        if (regex[i] == '@' && i + 1 < len && regex[i + 1] == 'C')
            ht__buf_str(&text, contractions), i++;
        else
            ht__buf_put(&text, regex + i, 1);
    }
    w->out->failed |= text.failed;
    ht__jw_object(w, NULL);
    ht__jw_str(w, "type", "Split");
    ht__jw_object(w, "pattern");
    ht__jw_text(w, "Regex", (const char *)text.data, text.len);
    ht__jw_end(w);
    ht__jw_str(w, "behavior", "Isolated");
    ht__jw_bool(w, "invert", false);
    ht__jw_end(w);
    ht__buf_close(&text);
}

static void put_step(struct ht__jw *w, const char *p, size_t len)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (named(p, kinds[i].name) != len) continue;
        if (strcmp(kinds[i].name, "B") == 0) {
            put_byte_level(w, true);
            return;
        }
        ht__jw_object(w, NULL);
        ht__jw_str(w, "type", kinds[i].type);
        if (p[0] == 'P')
            ht__jw_str(w, "behavior", kinds[i].member);
        else
            ht__jw_bool(w, "individual_digits", kinds[i].member != NULL);
        ht__jw_end(w);
        return;
    }
    put_split(w, p + 2, len - 2);
}

/* Whatever the steps, the text becomes bytes in the end: by the step that is GPT-2's expression, or one of its own. */
void ht__export_put_splits(struct ht__jw *w, const char *key, const char *steps)
{
    bool bytes = false;
    ht__jw_object(w, key);
    ht__jw_str(w, "type", "Sequence");
    ht__jw_array(w, "pretokenizers");
    for (const char *p = steps; *p && strcmp(p, "@*") != 0;) {
        size_t len = length(p);
        bytes |= named(p, "B") == 1 && len == 1;
        put_step(w, p, len);
        p += len + (p[len] == ';');
    }
    if (!bytes) put_byte_level(w, false);
    ht__jw_end(w);
    ht__jw_end(w);
}
