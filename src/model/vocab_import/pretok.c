/*
 * The pre-tokenizer. GGUF names it; tokenizer.json says what it does. So what it does is brought
 * into one canonical form and looked up in pretok.def.
 */
#include "model/vocab_import/splitter.h"
#include "model/vocab_import/tok.h"

#include <string.h>

static const struct rule {
    const char *steps, *arch, *name;
} rules[] = {
#define HT_PRE(steps, arch, name) {steps, arch, name},
#include "model/vocab_import/pretok.def"
#undef HT_PRE
};

/* llama.cpp's converter tells some vocabularies apart whose pre-tokenizers do the same as GPT-2's: by the ids of a few
 * tokens, whatever the architecture. */
static const struct {
    const char *name;
    struct {
        const char *text;
        uint32_t id;
    } tokens[3];
} vocabularies[] = {
    /* GPT-NeoX's, which OLMo and MPT have too */
    {"olmo", {{"\xc4\xa0the", 253}, {"\xc4\xa0work", 789}, {"apple", 19934}}},
    /* CodeGen's: GPT-2's, and runs of white space after it */
    {"phi-2", {{"\xc4\xa0the", 262}, {"\xc4\xa0work", 670}, {"                               ", 50257}}},
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
    {"[^(\\s|[.,!?…。，、।۔،])]", "[^(\\s|.,!?…。，、।۔،)]"}, /* a class in a class: their union */
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
        if (strncmp(p, spellings[i].from, n) != 0 || (in_class && (unsigned char)*p >= 0x20)) continue;
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
        char first = *p;
        size_t used = respell(p, in_class, out);
        if (used == 1 && first == '[') in_class = true;
        if (used == 1 && first == ']') in_class = false;
        p += used;
    }
}

/* How much of a step's own wording is kept. */
enum wording {
    CANONICAL, /* as pretok.def has it, to be looked up */
    OWN,       /* its expressions as they are, to be carried out */
};

static void put_regex(const char *regex, bool drops_gaps, enum wording wording, struct ht__buf *out)
{
    struct ht__buf text;
    if (wording == OWN) {
        ht__buf_printf(out, "%s%s", drops_gaps ? "R:" : "S:", regex);
        return;
    }
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
}

static void put_split(const struct ht__jnode *node, enum wording wording, struct ht__buf *out)
{
    const struct ht__jnode *pattern = ht__jget(node, "pattern");
    const char *behavior = ht__jstr(node, "behavior", "Isolated");
    const char *regex = ht__jstr(pattern, "Regex", NULL);
    bool invert = ht__jbool(node, "invert", false);
    /* "Removed" inverted removes what does not match: where all is matched, nothing. */
    bool drops_gaps = strcmp(behavior, "Removed") == 0 && invert;
    if (regex && ((strcmp(behavior, "Isolated") == 0 && !invert) || drops_gaps))
        put_regex(regex, drops_gaps, wording, out);
    else
        ht__buf_printf(out, "Split(%s%s):%s", behavior, invert ? ",invert" : "",
                       regex ? regex : ht__jstr(pattern, "String", "?"));
}

static void put_step(const struct ht__jnode *node, enum wording wording, struct ht__buf *out)
{
    const char *type = ht__jstr(node, "type", "?");
    const struct ht__jnode *list = ht__jget(node, "pretokenizers");
    size_t before = out->len;
    if (strcmp(type, "Sequence") == 0) {
        for (size_t i = 0; list && i < list->n; i++)
            put_step(&list->children[i], wording, out);
        return;
    }
    if (strcmp(type, "ByteLevel") == 0) {
        if (ht__jbool(node, "use_regex", true)) ht__buf_str(out, "B");
    } else if (strcmp(type, "Split") == 0) {
        put_split(node, wording, out);
    } else if (strcmp(type, "Digits") == 0) {
        ht__buf_str(out, ht__jbool(node, "individual_digits", false) ? "D1" : "D");
    } else if (strcmp(type, "Punctuation") == 0) {
        const char *behavior = ht__jstr(node, "behavior", "Isolated");
        ht__buf_str(out, strcmp(behavior, "Isolated") == 0     ? "P"
                         : strcmp(behavior, "Contiguous") == 0 ? "Pc"
                                                               : "Punctuation");
    } else {
        ht__buf_str(out, type);
    }
    if (out->len > before) ht__buf_str(out, ";");
}

/* The steps as text, or NULL when memory is out. */
static const char *write_steps(const struct ht__tok *tok, enum wording wording, struct ht__buf *out)
{
    ht__buf_init(out, tok->vocab.alloc);
    if (tok->json.pre_tokenizer) put_step(tok->json.pre_tokenizer, wording, out);
    if (out->len) out->len--; /* the last ';' */
    const char *text = ht__buf_text(out);
    return out->failed ? NULL : text;
}

/* "@*", which only ends a pattern, stands for any text. */
static bool match(const char *pattern, const char *text)
{
    const char *star = strstr(pattern, "@*");
    return star ? strncmp(pattern, text, (size_t)(star - pattern)) == 0 : strcmp(pattern, text) == 0;
}

static bool applies(const struct rule *rule, const struct ht__tok *tok, const char **pattern)
{
    bool needs_ignore = strncmp(rule->steps, "@+", 2) == 0;
    *pattern = rule->steps + (needs_ignore ? 2 : 0);
    return (!needs_ignore || tok->json.ignore_merges) && (!rule->arch[0] || strcmp(rule->arch, tok->job->arch) == 0);
}

static const char *look_up(const struct ht__tok *tok, const char *steps)
{
    const char *pattern;
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (applies(&rules[i], tok, &pattern) && match(pattern, steps)) return rules[i].name;
    return NULL;
}

/* Another wording may do the same: both are carried out on a text that tells the known ones apart. */
static const char *look_up_by_deed(const struct ht__tok *tok, const char *own_steps, bool *no_memory)
{
    static const size_t n = sizeof rules / sizeof *rules;
    struct ht__pieces own, known;
    const char *pattern, *name = NULL;
    bool done = ht__split(own_steps, ht__split_probe, &own);
    *no_memory = own.no_memory;
    if (!done) return NULL;
    for (size_t i = 0; i < n && !name && !*no_memory; i++) {
        if (!applies(&rules[i], tok, &pattern) || strstr(pattern, "@*")) continue;
        done = ht__split(pattern, ht__split_probe, &known);
        *no_memory = known.no_memory;
        if (done && memcmp(&own, &known, sizeof own) == 0) name = rules[i].name;
    }
    if (name)
        ht__log_printf(tok->job->log, HT__LOG_INFO, "tokenizer: %s: the pre-tokenizer cuts text as \"%s\" does",
                       tok->vocab.where, name);
    return name;
}

static bool has_token(const struct ht__vocab *vocab, const char *text, uint32_t id)
{
    size_t len = strlen(text);
    if (ht__vocab_find(vocab, text, len) == (int64_t)id) return true;
    for (size_t i = 0; i < ht__vocab_added_count(vocab); i++) {
        const struct ht__added *added = ht__vocab_added_at(vocab, i);
        if (added->id == id && added->text.len == len && memcmp(added->text.text, text, len) == 0) return true;
    }
    return false;
}

static const char *name_of_vocabulary(const struct ht__tok *tok)
{
    enum { MARKS = sizeof vocabularies[0].tokens / sizeof vocabularies[0].tokens[0] };
    for (size_t i = 0; i < sizeof vocabularies / sizeof *vocabularies; i++) {
        int n = 0;
        while (n < MARKS && has_token(&tok->vocab, vocabularies[i].tokens[n].text, vocabularies[i].tokens[n].id))
            n++;
        if (n == MARKS) return vocabularies[i].name;
    }
    return "gpt-2";
}

/* The nearest thing: how digits and words are taken matters most. */
static const char *guess(const struct ht__tok *tok, const char *steps)
{
    if (strstr(steps, "\\p{Ll}")) return strstr(steps, "{1,3}") ? "gpt-4o" : "tekken";
    if (strstr(steps, "{1,3}")) return tok->json.ignore_merges ? "llama-bpe" : "dbrx";
    if (strstr(steps, "\\p{L}")) return "qwen2";
    return strstr(steps, "D1") ? "starcoder" : "gpt-2";
}

enum ht_err ht__tok_pre_of_json(struct ht__tok *tok)
{
    struct ht__buf canonical, own;
    const char *steps = write_steps(tok, CANONICAL, &canonical);
    const char *own_steps = write_steps(tok, OWN, &own);
    if (steps && own_steps) {
        bool no_memory = false;
        tok->pre = look_up(tok, steps);
        if (!tok->pre) tok->pre = look_up_by_deed(tok, own_steps, &no_memory);
        if (!tok->pre && !no_memory) {
            tok->pre = guess(tok, steps);
            ht__log_printf(tok->job->log, HT__LOG_WARNING,
                           "tokenizer: %s: the pre-tokenizer is not known; \"%s\" was chosen, so "
                           "token ids may differ in runtimes. It does: %.300s",
                           tok->vocab.where, tok->pre, steps[0] ? steps : "nothing");
        }
        if (tok->pre && strcmp(tok->pre, "gpt-2") == 0) tok->pre = name_of_vocabulary(tok);
    }
    ht__buf_close(&canonical);
    ht__buf_close(&own);
    return tok->pre ? HT_OK : ht__fail_memory(tok->diag, tok->vocab.where);
}

/* Without tokenizer.json: by the class that Python would load, or by the architecture. */
void ht__tok_pre_of_class(struct ht__tok *tok)
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
            (!known[i].class[0] || strcmp(known[i].class, class) == 0)) {
            tok->pre = known[i].name;
            return;
        }
    ht__log_printf(tok->job->log, HT__LOG_WARNING,
                   "tokenizer: there is no tokenizer.json, and the class \"%s\" does not name the "
                   "pre-tokenizer; \"gpt-2\" was chosen, so token ids may differ in runtimes",
                   class);
    tok->pre = "gpt-2";
}
