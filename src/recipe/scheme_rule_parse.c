/* Rules from texts. */
#include "base/text.h"
#include "recipe/pattern.h"
#include "recipe/scheme_rules.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(HT__N_ROLES <= 64, "a rule has a bit for each role");

/* ---- where ---- */

#define CLASS(name) (1u << HT__CLASS_##name)
static const struct {
    const char *word;
    unsigned classes;
} parts[] = {
    {"attention", CLASS(ATTENTION)},
    {"attn", CLASS(ATTENTION)},
    {"feed-forward", CLASS(FEED_FORWARD) | CLASS(EXPERTS) | CLASS(SHARED)},
    {"ffn", CLASS(FEED_FORWARD) | CLASS(EXPERTS) | CLASS(SHARED)},
    {"mlp", CLASS(FEED_FORWARD) | CLASS(EXPERTS) | CLASS(SHARED)},
    {"experts", CLASS(EXPERTS)},
    {"shared-experts", CLASS(SHARED)},
    {"router", CLASS(ROUTER)},
    {"embeddings", CLASS(EMBEDDINGS)},
    {"output", CLASS(OUTPUT)},
    {"lm_head", CLASS(OUTPUT)},
};
#undef CLASS

static bool is_word(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && memcmp(text, word, len) == 0;
}

/* A bit for each role that the word means; 0: none. */
static uint64_t roles_of(const char *text, size_t len)
{
    unsigned classes = 0;
    uint64_t roles = 0;
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (is_word(text, len, parts[i].word)) classes = parts[i].classes;
    for (int r = HT__ROLE_OTHER + 1; r < HT__N_ROLES; r++) {
        const struct ht__role_info *role = ht__role_at((enum ht__role)r);
        bool named = role->matrix && is_word(text, len, role->name);
        if (role->class != HT__CLASS_NONE && (named || classes >> role->class & 1)) roles |= (uint64_t)1 << r;
    }
    return roles;
}

static bool starts(const char *text, size_t len, const char *start)
{
    return len > strlen(start) && memcmp(text, start, strlen(start)) == 0;
}

/* "first:2", "last:2", "layers:3-5", "layer:3". */
static bool parse_layers(const char *text, size_t len, struct ht__rule_term *term)
{
    enum { MOST = 100000 };
    bool first = starts(text, len, "first:"), last = starts(text, len, "last:");
    const char *colon = memchr(text, ':', len), *end = text + len;
    char *after;
    if (!first && !last && !starts(text, len, "layers:") && !starts(text, len, "layer:")) return false;
    if (colon[1] < '0' || colon[1] > '9') return false;
    long from = strtol(colon + 1, &after, 10), to = from;
    if (!first && !last && after < end && *after == '-' && after[1] >= '0' && after[1] <= '9')
        to = strtol(after + 1, &after, 10);
    if (after != end || from > MOST || to > MOST || from > to) return false;
    term->kind = last ? HT__TERM_LAST : HT__TERM_LAYERS;
    term->from = first ? 0 : (int32_t)from;
    term->to = first ? (int32_t)from - 1 : (int32_t)to;
    return true;
}

static enum ht_err parse_pattern(const char *option, struct ht__rule_term *term, const char *text, size_t len,
                                 struct ht__arena *arena, struct ht_diag *diag)
{
    char *pattern = ht__arena_copy(arena, text, len);
    if (!pattern) return ht__fail_memory(diag, option);
    term->kind = HT__TERM_PATTERN;
    return ht__pattern_open(option, pattern, true, &term->pattern, diag);
}

static enum ht_err parse_term(struct ht__scheme_rule *rule, const char *text, size_t len, struct ht__arena *arena,
                              struct ht_diag *diag)
{
    if (rule->n_terms == HT__RULE_TERMS)
        return ht__fail(diag, HT_ERR_USAGE, "rule", -1, "\"%s\": more than %d conditions", rule->text, HT__RULE_TERMS);
    struct ht__rule_term *term = &rule->terms[rule->n_terms];
    if (starts(text, len, "re:")) {
        rule->n_terms++;
        return parse_pattern("rule", term, text + 3, len - 3, arena, diag);
    }
    term->roles = roles_of(text, len);
    if (!parse_layers(text, len, term) && !term->roles)
        return ht__fail(
            diag, HT_ERR_USAGE, "rule", -1,
            "expected attention, feed-forward, experts, shared-experts, output, first:N, last:N, layers:A-B, "
            "re:PATTERN or a role such as attn_v or ffn_down, got \"%.*s\"",
            (int)(len < 60 ? len : 60), text);
    rule->n_terms++;
    return HT_OK;
}

/* Conditions are joined by `+`; a pattern, which may hold that itself, is the last one. */
static enum ht_err parse_where(struct ht__scheme_rule *rule, const char *text, size_t len, struct ht__arena *arena,
                               struct ht_diag *diag)
{
    while (true) {
        const char *plus = starts(text, len, "re:") ? NULL : memchr(text, '+', len);
        size_t n = plus ? (size_t)(plus - text) : len;
        HT_TRY(parse_term(rule, text, n, arena, diag));
        if (!plus) return HT_OK;
        text += n + 1;
        len -= n + 1;
    }
}

/* ---- what ---- */

static bool is_scheme(const char *text, const char *ends)
{
    size_t len = strcspn(text, ends);
    return ht__scheme_by_name(text, len) || (is_word(text, len, "none") && text[len] == '\0');
}

static enum ht_err parse_scheme(const char *text, const struct ht__scheme_params **scheme, struct ht__arena *arena,
                                struct ht_diag *diag)
{
    struct ht__scheme_params *params;
    if (strcmp(text, "none") == 0) return HT_OK;
    *scheme = params = ht__arena_new(arena, sizeof *params);
    if (!params) return ht__fail_memory(diag, "rule");
    enum ht_err err = ht__scheme_parse(text, params, diag);
    if (err != HT_ERR_NOT_FOUND) return err;
    const char *nearest = ht__scheme_nearest(text);
    return ht__fail(diag, HT_ERR_USAGE, "rule", -1, "there is no scheme \"%.80s\"%s%s%s (`halftone types` lists them)",
                    text, nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
}

/* "TYPE/" in front, a scheme or a preset: no word of WHERE is the name of one. */
static enum ht_err take_only(struct ht__scheme_rule *rule, const char **text, struct ht__arena *arena,
                             struct ht_diag *diag)
{
    const char *slash = strchr(*text, '/');
    char *type = slash ? ht__arena_copy(arena, *text, (size_t)(slash - *text)) : NULL;
    if (!slash) return HT_OK;
    if (!type) return ht__fail_memory(diag, "rule");
    rule->preset = ht__preset_by_name(type);
    if (!rule->preset && !is_scheme(type, ":")) return HT_OK;
    *text = slash + 1;
    return rule->preset ? HT_OK : parse_scheme(type, &rule->only, arena, diag);
}

/* Only Linears that programs look for in such a folder. */
static enum ht_err check_classes(const struct ht__scheme_rule *rule, struct ht_diag *diag)
{
    for (size_t i = 0; rule->scheme && i < rule->n_terms; i++)
        for (int r = 0; r < HT__N_ROLES; r++) {
            enum ht__role_class class = ht__role_at((enum ht__role)r)->class;
            if (rule->terms[i].kind != HT__TERM_ROLES || !(rule->terms[i].roles >> r & 1)) continue;
            if (class == HT__CLASS_EMBEDDINGS || class == HT__CLASS_ROUTER)
                return ht__fail(diag, HT_ERR_UNSUPPORTED, "rule", -1,
                                "\"%s\": %s stay as they are; programs load only Linears from schemes", rule->text,
                                class == HT__CLASS_EMBEDDINGS ? "embeddings" : "routers");
        }
    return HT_OK;
}

enum ht_err ht__scheme_rule_parse(struct ht__scheme_rule *rule, const char *text, struct ht__arena *arena,
                                  struct ht_diag *diag)
{
    *rule = (struct ht__scheme_rule){.text = text};
    HT_TRY(take_only(rule, &text, arena, diag));
    const char *equals = strchr(text, '=');
    /* a pattern may hold an equals sign itself */
    for (const char *next = equals; next && !is_scheme(equals + 1, ":"); next = strchr(next + 1, '='))
        if (is_scheme(next + 1, ":")) equals = next;
    if (!equals || equals == text || !equals[1])
        return ht__fail(diag, HT_ERR_USAGE, "rule", -1, "expected WHERE=SCHEME or WHERE=none, got \"%s\"", rule->text);
    HT_TRY(parse_where(rule, text, (size_t)(equals - text), arena, diag));
    HT_TRY(parse_scheme(equals + 1, &rule->scheme, arena, diag));
    return check_classes(rule, diag);
}

enum ht_err ht__scheme_rule_skip(struct ht__scheme_rule *rule, const char *name, struct ht__arena *arena,
                                 struct ht_diag *diag)
{
    struct ht__rule_term *term = &rule->terms[0];
    *rule = (struct ht__scheme_rule){.text = name, .n_terms = 1};
    if (strncmp(name, "+:", 2) == 0)
        return ht__fail(diag, HT_ERR_USAGE, "skip-modules", -1,
                        "\"%s\" gives modules other settings rather than leaving them out: use --rule "
                        "'re:%.100s=gptq:bits=8'",
                        name, name + 2);
    if (strncmp(name, "re:", 3) == 0 || strncmp(name, "-:", 2) == 0) {
        const char *pattern = strchr(name, ':') + 1;
        return parse_pattern("skip-modules", term, pattern, strlen(pattern), arena, diag);
    }
    /* as transformers looks for it: up to a dot, or to the end */
    char *pattern = ht__arena_printf(arena, "(?:%s)(?:(?<=\\.)|(?=\\.|$))", name);
    if (!pattern) return ht__fail_memory(diag, "skip-modules");
    HT_TRY(parse_pattern("skip-modules", term, pattern, strlen(pattern), arena, diag));
    term->kind = HT__TERM_SKIP;
    term->name = name;
    return HT_OK;
}

void ht__scheme_rule_close(struct ht__scheme_rule *rule)
{
    for (size_t i = 0; i < rule->n_terms; i++)
        ht__pattern_close(&rule->terms[i].pattern);
}

bool ht__scheme_rule_is_for(const struct ht__scheme_rule *rule, const struct ht__scheme_params *base, const char *type)
{
    if (rule->preset) return strcmp(rule->preset->name, type) == 0;
    if (!rule->only) return true;
    struct ht__scheme_params plain;
    ht__scheme_defaults(rule->only->scheme, &plain);
    if (ht__preset_by_name(type)) return false;
    if (ht__scheme_same(rule->only, &plain)) return base->scheme == rule->only->scheme;
    return ht__scheme_same(rule->only, base);
}
