/*
 * The pre-tokenizer. GGUF names it; tokenizer.json says what it does. So what it does is brought
 * into one canonical form and looked up in pretok.def.
 */
#include "model/tokenizer/tok.h"

#include <string.h>

static const struct rule {
    const char *steps, *arch, *name;
} rules[] = {
#define HT_PRE(steps, arch, name) {steps, arch, name},
#include "model/tokenizer/pretok.def"
#undef HT_PRE
};

/* Spellings of one thing. A possessive quantifier changes nothing in the expressions of the table,
 * where what follows never matches what was taken. */
static const struct {
    const char *from, *to;
} spellings[] = {
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)", "@C"},
    {"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])", "@C"},
    {"'(?i:[sdmt]|ll|ve|re)", "@C"},
    {"(?i:'[sdmt]|'ll|'ve|'re)", "@C"},
    {"\\p{N}{1}", "\\p{N}"},
    {"?+", "?"},
    {"++", "+"},
    {"*+", "*"},
    {"\r", "\\r"},
    {"\n", "\\n"},
    {"\t", "\\t"},
};

/* As ByteLevel applies it; without its last branch the gaps are pieces all the same. */
static const char gpt2[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
                           "|\\s+(?!\\S)|\\s+";
static const char gpt2_short[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+"
                                 "|\\s+(?!\\S)";

/* Bytes taken from the text at p for one character of the pattern, and what they become. Inside a
 * character class only control characters are respelled: "++" is two plus signs there. */
static size_t respell(const char *p, bool in_class, struct ht__buf *out)
{
    for (size_t i = 0; i < sizeof spellings / sizeof *spellings; i++) {
        size_t n = strlen(spellings[i].from);
        if (strncmp(p, spellings[i].from, n) != 0 || (in_class && (unsigned char)*p >= 0x20))
            continue;
        ht__buf_str(out, spellings[i].to);
        return n;
    }
    size_t n = p[0] == '\\' && p[1] ? 2 : 1;
    ht__buf_put(out, p, n);
    return n;
}

static void canonical_regex(const char *regex, struct ht__buf *out)
{
    bool in_class = false;
    for (const char *p = regex; *p;) {
        bool open = *p == '[', close = *p == ']';
        p += respell(p, in_class, out);
        if (open) in_class = true;
        if (close) in_class = false;
    }
}

static void put_split(const struct ht__jnode *node, struct ht__buf *out)
{
    const struct ht__jnode *pattern = ht__jget(node, "pattern");
    const char *behavior = ht__jstr(node, "behavior", "Isolated");
    const char *regex = ht__jstr(pattern, "Regex", NULL);
    const char *string = ht__jstr(pattern, "String", NULL);
    bool invert = ht__jbool(node, "invert", false);
    /* "Removed" inverted removes what does not match: where all is matched, nothing. */
    bool kept = (strcmp(behavior, "Isolated") == 0 && !invert) ||
                (strcmp(behavior, "Removed") == 0 && invert);
    if (!kept) {
        ht__buf_printf(out, "S(%s%s):", behavior, invert ? ",invert" : "");
    } else if (regex) {
        struct ht__buf text;
        ht__buf_init(&text, out->alloc);
        canonical_regex(regex, &text);
        const char *canonical = ht__buf_text(&text);
        if (strcmp(canonical, gpt2) == 0 || strcmp(canonical, gpt2_short) == 0)
            ht__buf_str(out, "B");
        else if (strcmp(canonical, "\\p{N}") == 0)
            ht__buf_str(out, "D1");
        else
            ht__buf_printf(out, "S:%s", canonical);
        out->failed |= text.failed;
        ht__buf_close(&text);
        return;
    } else {
        ht__buf_str(out, "S:");
    }
    ht__buf_str(out, regex ? regex : string ? string : "?");
}

static void put_step(const struct ht__jnode *node, struct ht__buf *out)
{
    const char *type = ht__jstr(node, "type", "?");
    size_t before = out->len;
    if (strcmp(type, "Sequence") == 0) {
        const struct ht__jnode *list = ht__jget(node, "pretokenizers");
        for (size_t i = 0; list && i < list->n; i++)
            put_step(&list->children[i], out);
        return;
    }
    if (strcmp(type, "ByteLevel") == 0) {
        if (ht__jbool(node, "use_regex", true)) ht__buf_str(out, "B");
    } else if (strcmp(type, "Split") == 0) {
        put_split(node, out);
    } else if (strcmp(type, "Digits") == 0) {
        ht__buf_str(out, ht__jbool(node, "individual_digits", false) ? "D1" : "D");
    } else if (strcmp(type, "Punctuation") == 0) {
        const char *behavior = ht__jstr(node, "behavior", "Isolated");
        ht__buf_str(out, strcmp(behavior, "Contiguous") == 0 ? "Pc" : "P");
    } else {
        ht__buf_printf(out, "%s", type);
    }
    if (out->len > before) ht__buf_str(out, ";");
}

/* Does the pattern, in which "@*" stands for any text, match the whole? */
static bool match(const char *pattern, const char *text)
{
    const char *star = strstr(pattern, "@*");
    if (!star) return strcmp(pattern, text) == 0;
    size_t head = (size_t)(star - pattern);
    return strncmp(pattern, text, head) == 0; /* "@*" only ends a pattern */
}

static const char *look_up(const char *steps, bool ignore_merges, const char *arch)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const char *pattern = rules[i].steps;
        bool needs = strncmp(pattern, "@+", 2) == 0;
        if (needs && !ignore_merges) continue;
        if (rules[i].arch[0] && strcmp(rules[i].arch, arch) != 0) continue;
        if (match(pattern + (needs ? 2 : 0), steps)) return rules[i].name;
    }
    return NULL;
}

/* The nearest thing: how digits and words are taken matters most. */
static const char *guess(const char *steps, bool ignore_merges)
{
    if (strstr(steps, "\\p{Ll}")) return strstr(steps, "{1,3}") ? "gpt-4o" : "tekken";
    if (strstr(steps, "{1,3}")) return ignore_merges ? "llama-bpe" : "dbrx";
    if (strstr(steps, "\\p{L}")) return "qwen2";
    return strstr(steps, "D1") ? "starcoder" : "gpt-2";
}

const char *ht__tok_pre_of_json(struct ht__tok *tok)
{
    struct ht__buf steps;
    ht__buf_init(&steps, tok->vocab.alloc);
    if (tok->json.pre_tokenizer) put_step(tok->json.pre_tokenizer, &steps);
    if (steps.len) steps.len--; /* the last ';' */
    const char *text = ht__buf_text(&steps);
    const char *name = look_up(text, tok->json.ignore_merges, tok->job->arch);
    if (!name) {
        name = guess(text, tok->json.ignore_merges);
        ht__log_printf(tok->job->log, HT__LOG_WARNING,
                       "tokenizer: %s: the pre-tokenizer is not known; \"%s\" was chosen, so "
                       "token ids may differ in runtimes. It does: %.300s",
                       tok->vocab.where, name, text[0] ? text : "nothing");
    }
    ht__buf_close(&steps);
    return name;
}

/* Without tokenizer.json: by the class that Python would load, or by the architecture. */
const char *ht__tok_pre_of_class(struct ht__tok *tok)
{
    static const struct {
        const char *arch, *class, *name;
    } known[] = {
        {"starcoder2", "", "starcoder"},
        {"starcoder", "", "starcoder"},
        {"granite", "", "refact"},
        {"phi2", "", "phi-2"},
        {"", "Qwen2Tokenizer", "qwen2"},
        {"", "Qwen2TokenizerFast", "qwen2"},
        {"", "GPT2Tokenizer", "gpt-2"},
        {"", "GPT2TokenizerFast", "gpt-2"},
        {"", "CodeGenTokenizer", "gpt-2"},
        {"", "CodeGenTokenizerFast", "gpt-2"},
        {"", "GPTNeoXTokenizer", "olmo"},
        {"", "GPTNeoXTokenizerFast", "olmo"},
        {"gpt2", "", "gpt-2"},
        {"gptneox", "", "olmo"},
        {"qwen2", "", "qwen2"},
        {"qwen2moe", "", "qwen2"},
        {"qwen3", "", "qwen2"},
        {"qwen3moe", "", "qwen2"},
    };
    const char *class = ht__jstr(tok->settings, "tokenizer_class", "");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if ((!known[i].arch[0] || strcmp(known[i].arch, tok->job->arch) == 0) &&
            (!known[i].class[0] || strcmp(known[i].class, class) == 0))
            return known[i].name;
    ht__log_printf(tok->job->log, HT__LOG_WARNING,
                   "tokenizer: there is no tokenizer.json, and the class \"%s\" does not tell the "
                   "pre-tokenizer; \"gpt-2\" was chosen, so token ids may differ in runtimes",
                   class);
    return "gpt-2";
}
