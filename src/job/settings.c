/* Parsing options: every text of struct ht__options becomes a value here, or an error that names the option. */
#include "job/settings_parts.h"
#include "advise/fit.h"
#include "advise/program.h"
#include "recipe/quality.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *array(struct parser *p, size_t n, size_t size)
{
    return ht__arena_array(&p->s->arena, n, size);
}

/* An absent option leaves *value as it is. */
static enum ht_err count(const struct parser *p, const char *option, const char *text, uint64_t least, uint64_t most,
                         uint64_t *value)
{
    return text ? ht__parse_count(option, text, least, most, value, p->diag) : HT_OK;
}

/* ---- the machine ------------------------------------------------------------------------------ */

static enum ht_err parse_run(struct parser *p)
{
    struct ht__run *run = &p->s->run;
    uint64_t threads = 0;
    *run = ht__job_run_context(p->job);
    HT_TRY(count(p, "threads", p->o->threads, 1, 1024, &threads));
    run->n_threads = (int)threads;
    if (!p->o->memory) return HT_OK;
    HT_TRY(ht__parse_size("memory", p->o->memory, &run->memory, p->diag));
    if (run->memory == 0) run->memory = 1; /* a limit all the same */
    return HT_OK;
}

static enum ht_err parse_level(struct parser *p)
{
    const char *name = p->o->cpu;
    enum ht__cpu_level *level = &p->s->pipeline.level;
    *level = ht__cpu_best();
    if (!name) return HT_OK;
    for (int i = 0; i < HT__CPU_N_LEVELS; i++)
        if (strcmp(name, ht__cpu_level_name((enum ht__cpu_level)i)) == 0) {
            *level = (enum ht__cpu_level)i;
            if (ht__cpu_has(*level)) return HT_OK;
            return ht__fail(p->diag, HT_ERR_USAGE, "cpu", -1, "this machine cannot run %s", name);
        }
    return ht__fail(p->diag, HT_ERR_USAGE, "cpu", -1, "no CPU level is called \"%s\"", name);
}

/* ---- types ------------------------------------------------------------------------------------ */

/* The nearest of mixes and schemes. */
static enum ht_err refuse_type(struct parser *p, const char *text)
{
    const char *nearest = ht__mix_nearest(text);
    if (!nearest) nearest = ht__scheme_nearest(text);
    return ht__fail(p->diag, HT_ERR_USAGE, "type", -1, "there is no type \"%.80s\"%s%s%s (`halftone types` lists them)",
                    text, nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
}

static enum ht_err check_mix(struct parser *p, const struct ht__target *t)
{
    const struct ht__codec *type = ht__codec_by_name(t->mix->default_type);
    bool plain = type && type->flags & HT__CODEC_PLAIN;
    if (!plain && t->container->dialect != HT__DIALECT_GGUF)
        return ht__fail(p->diag, HT_ERR_USAGE, "type", -1,
                        "%s is a type of GGUF files, which %s does not have; it takes F32, F16, BF16 and schemes "
                        "(`halftone types` lists them)",
                        t->mix->name, t->container->name);
    if (p->o->convert && !plain)
        return ht__fail(p->diag, HT_ERR_USAGE, "type", -1, "convert writes F32, F16 or BF16; use quantize for %s",
                        t->mix->name);
    return HT_OK;
}

static enum ht_err check_scheme(struct parser *p, const struct ht__target *t)
{
    if (t->container->dialect != HT__DIALECT_NATIVE)
        return ht__fail(p->diag, HT_ERR_USAGE, "type", -1, "%s cannot be stored in a %s file, but in a folder", t->type,
                        t->container->name);
    if (p->o->convert)
        return ht__fail(p->diag, HT_ERR_USAGE, "type", -1, "convert writes F32, F16 or BF16; use quantize for %s",
                        t->type);
    return HT_OK;
}

/* "CONTAINER/" in front is cut off. */
static enum ht_err take_container(struct parser *p, const char **text, struct ht__target *t)
{
    const char *slash = strchr(*text, '/');
    char name[40], names[HT__CONTAINER_NAMES];
    t->container = p->s->pipeline.container;
    if (!slash) return HT_OK;
    snprintf(name, sizeof name, "%.*s", (int)(slash - *text < 39 ? slash - *text : 39), *text);
    t->container = ht__container_by_name(name);
    *text = slash + 1;
    if (t->container && t->container->lay_out) return HT_OK;
    return ht__fail(p->diag, HT_ERR_USAGE, "type", -1, "expected %s before the slash, got \"%s\"",
                    ht__container_written(names), name);
}

/* "@METHOD" behind a scheme is cut off. */
static enum ht_err take_method(struct parser *p, char *type, struct ht__target *t)
{
    char *at = strrchr(type, '@');
    enum ht_err err = ht__method_parse(at ? at + 1 : ht__method_at(0)->name, &t->method, p->diag);
    if (at) *at = '\0';
    t->method_asked = at != NULL;
    if (err != HT_ERR_NOT_FOUND) return err;
    return ht__fail(p->diag, HT_ERR_USAGE, "type", -1, "%s: there is no method \"%.40s\"", type, at + 1);
}

/* A ladder's name, or its levels as ht__scheme_text gives each. */
static enum ht_err name_ladder(struct parser *p, const char *given, const struct ht__ladder *ladder, const char **type)
{
    const struct ht__preset *preset = ht__preset_by_name(given);
    char text[200];
    *type = preset ? preset->name : "";
    for (size_t i = 0; !preset && *type && i < ladder->n; i++)
        *type = ht__arena_printf(&p->s->arena, "%s%s%s", *type, i ? ">" : "",
                                 ladder->levels[i] ? ht__scheme_text(ladder->levels[i], text, sizeof text) : "none");
    return *type ? HT_OK : ht__fail_memory(p->diag, "type");
}

static enum ht_err take_ladder(struct parser *p, const char *text, struct ht__target *t)
{
    struct ht__ladder *ladder = ht__arena_new(&p->s->arena, sizeof *ladder);
    if (!ladder) return ht__fail_memory(p->diag, "type");
    enum ht_err err = ht__ladder_parse(text, ladder, &p->s->arena, p->diag);
    if (err != HT_OK) return err;
    t->ladder = ladder;
    t->scheme = ladder->levels[0];
    return name_ladder(p, text, ladder, &t->type);
}

/* "@METHOD" in names, where it is not the usual one. */
static enum ht_err add_method(struct parser *p, struct ht__target *t)
{
    const struct ht__method *m = t->method.method;
    const char *why = m->unsuited ? m->unsuited(t->scheme) : NULL;
    char text[200];
    if (why) return ht__fail(p->diag, HT_ERR_USAGE, "type", -1, "%s@%s: %s", t->type, m->name, why);
    if (m == ht__method_at(0)) return HT_OK;
    ht__options_text(m->name, m->options, t->method.option, text, sizeof text);
    t->type = ht__arena_printf(&p->s->arena, "%s@%s", t->type, text);
    return t->type ? HT_OK : ht__fail_memory(p->diag, "type");
}

static enum ht_err take_scheme(struct parser *p, const char *text, struct ht__target *t)
{
    struct ht__scheme_params *params = ht__arena_new(&p->s->arena, sizeof *params);
    char *type = ht__arena_str(&p->s->arena, text), full[200];
    if (!params || !type) return ht__fail_memory(p->diag, "type");
    HT_TRY(take_method(p, type, t));
    enum ht_err err = take_ladder(p, type, t);
    if (err == HT_OK) return add_method(p, t);
    if (err != HT_ERR_NOT_FOUND) return err;
    err = ht__scheme_parse(type, params, p->diag);
    if (err == HT_ERR_NOT_FOUND) return refuse_type(p, type);
    if (err != HT_OK) return err;
    ht__scheme_text(params, full, sizeof full);
    t->scheme = params;
    t->type = ht__arena_str(&p->s->arena, full);
    return t->type ? add_method(p, t) : ht__fail_memory(p->diag, "type");
}

/* "awq_" before a type of GGUF files is cut off. */
static enum ht_err take_scaled(struct parser *p, const char *text, struct ht__target *t)
{
    static const char *const types[] = {"Q4_0", "Q4_1", "Q8_0", "F16", "F32"};
    for (size_t i = 0; strncasecmp(text, "awq_", 4) == 0 && i < sizeof types / sizeof types[0]; i++) {
        if (strcasecmp(text + 4, types[i]) != 0) continue;
        t->mix = ht__mix_by_name(types[i]);
        t->scaled = true;
        t->type = ht__arena_printf(&p->s->arena, "awq_%s", types[i]);
        return t->type ? HT_OK : ht__fail_memory(p->diag, "type");
    }
    return HT_ERR_NOT_FOUND;
}

/* TYPE, CONTAINER/TYPE, SCHEME@METHOD, LADDER. */
static enum ht_err parse_target(struct parser *p, const char *text, struct ht__target *t)
{
    HT_TRY(take_container(p, &text, t));
    t->mix = ht__mix_by_name(text);
    enum ht_err err = t->mix ? HT_OK : take_scaled(p, text, t);
    if (err == HT_ERR_NOT_FOUND)
        HT_TRY(take_scheme(p, text, t));
    else if (err != HT_OK)
        return err;
    else if (!t->scaled)
        t->type = t->mix->name;
    if (!t->container) t->container = t->mix ? &ht__container_gguf : &ht__container_safetensors;
    return t->mix ? check_mix(p, t) : check_scheme(p, t);
}

static enum ht_err add_target(struct parser *p, const char *text)
{
    struct ht__pipeline_settings *s = &p->s->pipeline;
    struct ht__target *t = &s->targets[s->n_targets];
    HT_TRY(parse_target(p, text, t));
    for (size_t i = 0; i < s->n_targets; i++)
        if (s->targets[i].container == t->container && strcmp(s->targets[i].type, t->type) == 0)
            return ht__fail(p->diag, HT_ERR_USAGE, "type", -1, "%s is given twice", t->type);
    s->n_targets++;
    return HT_OK;
}

/* "group=64", but not "gptq:group=64". */
static bool is_option(const char *text)
{
    return text[strcspn(text, ":=>")] == '=';
}

/* The list was cut at commas, which also stand between the options of a scheme: "gptq:bits=3" and "group=64" belong
 * together. */
static enum ht_err parse_targets(struct parser *p)
{
    struct ht__pipeline_settings *s = &p->s->pipeline;
    const struct ht__list *types = &p->o->type;
    s->targets = array(p, types->n, sizeof *s->targets);
    if (!s->targets) return ht__fail_memory(p->diag, "type");
    for (size_t i = 0; i < types->n;) {
        const char *text = types->items[i++];
        while (i < types->n && strchr(text, ':') && is_option(types->items[i])) {
            text = ht__arena_printf(&p->s->arena, "%s,%s", text, types->items[i++]);
            if (!text) return ht__fail_memory(p->diag, "type");
        }
        HT_TRY(add_target(p, text));
    }
    return HT_OK;
}

static enum ht_err parse_container(struct parser *p)
{
    const char *name = p->o->format;
    char names[HT__CONTAINER_NAMES];
    if (!name) return HT_OK;
    p->s->pipeline.container = ht__container_by_name(name);
    if (p->s->pipeline.container && p->s->pipeline.container->lay_out) return HT_OK;
    return ht__fail(p->diag, HT_ERR_USAGE, "format", -1, "expected %s, got \"%.40s\"", ht__container_written(names),
                    name);
}

/* ---- rules of folders ---- */

/* What is skipped comes before the rules: it decides. */
static enum ht_err parse_scheme_rules(struct parser *p)
{
    struct ht__pipeline_settings *s = &p->s->pipeline;
    const struct ht__list *skip = &p->o->skip_modules, *list = &p->o->rule;
    s->rules = array(p, skip->n + list->n, sizeof *s->rules);
    if (!s->rules) return ht__fail_memory(p->diag, "rule");
    for (size_t i = 0; i < skip->n; i++)
        HT_TRY(ht__scheme_rule_skip(&s->rules[s->n_rules++], skip->items[i], &p->s->arena, p->diag));
    for (size_t i = 0; i < list->n; i++)
        HT_TRY(ht__scheme_rule_parse(&s->rules[s->n_rules++], list->items[i], &p->s->arena, p->diag));
    return HT_OK;
}

static enum ht_err refuse_mixture(struct parser *p, const struct ht__target *t, const struct ht__scheme_rule *rule,
                                  const char *why)
{
    return ht__fail(p->diag, HT_ERR_USAGE, "rule", -1,
                    "\"%s\" is not possible in a folder of %s: %s. none is possible in its place; types of "
                    "compressed-tensors (-t w4a16) can be mixed with each other",
                    rule->text, t->type, why);
}

/* A target gets the rules that are for it, which its configuration must be able to say. */
static enum ht_err give_rules(struct parser *p, struct ht__target *t, size_t *used)
{
    struct ht__pipeline_settings *s = &p->s->pipeline;
    const struct ht__scheme_rule **rules = array(p, s->n_rules, sizeof *rules);
    if (!rules) return ht__fail_memory(p->diag, "rule");
    t->rules = rules;
    for (size_t i = 0; i < s->n_rules; i++) {
        const struct ht__scheme_rule *rule = &s->rules[i];
        if (!ht__scheme_rule_is_for(rule, t->scheme, t->type)) continue;
        const char *why = rule->scheme ? ht__scheme_apart(t->scheme, rule->scheme) : NULL;
        if (why) return refuse_mixture(p, t, rule, why);
        rules[t->n_rules++] = rule;
    }
    *used += t->n_rules;
    return HT_OK;
}

static enum ht_err parse_max_error(struct parser *p)
{
    struct ht__pipeline_settings *s = &p->s->pipeline;
    const char *text = p->o->max_error;
    bool any = false;
    char *end;
    s->max_error = .1;
    for (size_t i = 0; i < s->n_targets; i++)
        any = any || s->targets[i].ladder;
    if (!text) return HT_OK;
    if (!any)
        return ht__fail(p->diag, HT_ERR_USAGE, "max-error", -1,
                        "it is for ladders of schemes, such as -t %s or -t 'w4a16>w8a16>none'", ht__preset_at(0)->name);
    s->max_error = isdigit((unsigned char)*text) || *text == '.' ? strtod(text, &end) : -1;
    if (s->max_error > 0 && s->max_error <= 1 && *end == '\0') return HT_OK;
    return ht__fail(p->diag, HT_ERR_USAGE, "max-error", -1, "expected a number above 0, at most 1, got \"%s\"", text);
}

static enum ht_err share_rules(struct parser *p)
{
    struct ht__pipeline_settings *s = &p->s->pipeline;
    bool files = s->n_targets == 0;
    size_t used = 0;
    for (size_t i = 0; i < s->n_targets; i++) {
        files = files || !s->targets[i].scheme;
        if (s->n_rules && s->targets[i].scheme) HT_TRY(give_rules(p, &s->targets[i], &used));
    }
    if (s->n_rules && !used)
        return ht__fail(p->diag, HT_ERR_USAGE, p->o->rule.n ? "rule" : "skip-modules", -1,
                        "none of the types is a scheme that takes it; for types of GGUF files there is --tensor-type "
                        "RE=TYPE");
    if (p->o->tensor_type.n && !files)
        return ht__fail(
            p->diag, HT_ERR_USAGE, "tensor-type", -1,
            "it chooses types of GGUF files, and there is none among the outputs; for schemes there is --rule "
            "WHERE=SCHEME");
    return HT_OK;
}

/* recommend looks at all that was measured and that the program runs, whatever types were asked for. */
static enum ht_err take_measured(struct parser *p)
{
    struct ht__pipeline_settings *s = &p->s->pipeline;
    const struct ht__quality *q;
    size_t n = 0;
    while (ht__quality_at(n))
        n++;
    s->targets = array(p, n, sizeof *s->targets);
    if (!s->targets) return ht__fail_memory(p->diag, "type");
    for (size_t i = 0; (q = ht__quality_at(i)) != NULL; i++)
        if (ht__program_runs(p->s->advice.program, q)) HT_TRY(add_target(p, q->type));
    return HT_OK;
}

static enum ht_err parse_rules(struct parser *p)
{
    const struct ht__list *list = &p->o->tensor_type;
    struct ht__recipe *recipe = &p->s->pipeline.recipe;
    struct ht__type_rule *rules = array(p, list->n, sizeof *rules);
    if (!rules) return ht__fail_memory(p->diag, "tensor-type");
    recipe->rules = rules;
    for (size_t i = 0; i < list->n; i++) {
        const char *equals = strrchr(list->items[i], '=');
        if (!equals || equals == list->items[i])
            return ht__fail(p->diag, HT_ERR_USAGE, "tensor-type", -1, "expected RE=TYPE, got \"%s\"", list->items[i]);
        char *pattern = ht__arena_copy(&p->s->arena, list->items[i], (size_t)(equals - list->items[i]));
        if (!pattern) return ht__fail_memory(p->diag, "tensor-type");
        HT_TRY(ht__type_rule_init(&rules[i], pattern, equals + 1, p->diag));
        recipe->n_rules++;
    }
    return HT_OK;
}

static enum ht_err parse_type(struct parser *p, const char *option, const char *text, const struct ht__codec **type)
{
    if (!text) return HT_OK;
    *type = ht__codec_by_name(text);
    if (*type && !((*type)->flags & HT__CODEC_SOURCE_ONLY)) return HT_OK;
    return ht__fail(p->diag, HT_ERR_USAGE, option, -1, "no type is called \"%s\"; `halftone types` lists them", text);
}

static enum ht_err parse_recipe(struct parser *p)
{
    struct ht__recipe *recipe = &p->s->pipeline.recipe;
    recipe->convert = p->o->convert;
    recipe->pure = p->o->pure;
    recipe->leave_output = p->o->leave_output_tensor;
    recipe->allow_requantize = p->o->allow_requantize;
    HT_TRY(parse_rules(p));
    HT_TRY(parse_type(p, "output-tensor-type", p->o->output_tensor_type, &recipe->output_type));
    return parse_type(p, "token-embedding-type", p->o->token_embedding_type, &recipe->embedding_type);
}

/* ---- what is written -------------------------------------------------------------------------- */

static enum ht_err parse_prune(struct parser *p)
{
    struct ht__prune_settings *prune = &p->s->pipeline.prune;
    prune->text = p->o->prune_layers;
    if (!prune->text) return HT_OK;
    uint32_t *layers = array(p, strlen(prune->text), sizeof *layers);
    if (!layers) return ht__fail_memory(p->diag, "prune-layers");
    prune->layers = layers;
    for (const char *at = prune->text;;) {
        char *end;
        unsigned long layer = strtoul(at, &end, 10);
        if (*at < '0' || *at > '9' || (*end != ',' && *end != '\0'))
            return ht__fail(p->diag, HT_ERR_USAGE, "prune-layers", -1,
                            "expected layer numbers, separated by commas, got \"%s\"", prune->text);
        layers[prune->n++] = layer < UINT32_MAX ? (uint32_t)layer : UINT32_MAX;
        if (*end == '\0') return HT_OK;
        at = end + 1;
    }
}

static bool is_word(const char *text, size_t len, const char *word)
{
    return strlen(word) == len && strncmp(text, word, len) == 0;
}

/* False: the value is none of that type. */
static bool put_override(struct ht__kvs *kvs, const char *key, const char *type, size_t type_len, const char *value)
{
    char *end = NULL;
    errno = 0;
    if (is_word(type, type_len, "int")) {
        long long v = strtoll(value, &end, 10);
        if (v >= 0 && v <= UINT32_MAX)
            ht__kv_u32(kvs, key, (uint32_t)v);
        else if (v < 0 && v >= INT32_MIN)
            ht__kv_i32(kvs, key, (int32_t)v);
        else
            return false;
        return end != value && *end == '\0' && errno == 0;
    }
    if (is_word(type, type_len, "float")) {
        ht__kv_f32(kvs, key, strtof(value, &end));
        return end != value && *end == '\0' && errno == 0;
    }
    if (is_word(type, type_len, "bool")) {
        bool yes = strcmp(value, "true") == 0;
        ht__kv_bool(kvs, key, yes);
        return yes || strcmp(value, "false") == 0;
    }
    if (!is_word(type, type_len, "str")) return false;
    ht__kv_str(kvs, key, value);
    return true;
}

/* KEY=TYPE:VALUE */
static enum ht_err parse_override(struct parser *p, const char *text)
{
    char key[256];
    const char *equals = strchr(text, '='), *colon = equals ? strchr(equals, ':') : NULL;
    size_t len = equals ? (size_t)(equals - text) : 0;
    if (!colon || len == 0 || len >= sizeof key)
        return ht__fail(p->diag, HT_ERR_USAGE, "override-kv", -1, "expected KEY=TYPE:VALUE, got \"%s\"", text);
    memcpy(key, text, len);
    key[len] = '\0';
    struct ht__kvs *kvs = &p->s->pipeline.overrides;
    if (put_override(kvs, key, equals + 1, (size_t)(colon - equals - 1), colon + 1)) return HT_OK;
    return ht__fail(p->diag, HT_ERR_USAGE, "override-kv", -1,
                    "\"%s\": TYPE is int, float, bool or str, and VALUE must be one", text);
}

static enum ht_err parse_overrides(struct parser *p)
{
    const struct ht__list *list = &p->o->override_kv;
    ht__kvs_init(&p->s->pipeline.overrides, &p->s->arena);
    for (size_t i = 0; i < list->n; i++)
        HT_TRY(parse_override(p, list->items[i]));
    return p->s->pipeline.overrides.failed ? ht__fail_memory(p->diag, "override-kv") : HT_OK;
}

static enum ht_err parse_split(struct parser *p)
{
    struct ht__split_settings *split = &p->s->pipeline.split;
    *split = (struct ht__split_settings){UINT64_MAX, UINT64_MAX, p->o->keep_split};
    if (p->o->split_max_size) HT_TRY(ht__parse_size("split-max-size", p->o->split_max_size, &split->max_size, p->diag));
    return count(p, "split-max-tensors", p->o->split_max_tensors, 1, UINT32_MAX, &split->max_tensors);
}

enum { MOST_PARTS = 10000 };

/* "3/8" */
static enum ht_err parse_part_of(const struct parser *p, const char *option, const char *text, uint32_t *as_part,
                                 uint32_t *of_parts)
{
    char *end = NULL;
    if (!text) return HT_OK;
    unsigned long part = *text >= '1' && *text <= '9' ? strtoul(text, &end, 10) : 0;
    unsigned long parts = end && *end == '/' && end[1] >= '1' && end[1] <= '9' ? strtoul(end + 1, &end, 10) : 0;
    if (!end || *end || part < 1 || part > parts || parts > MOST_PARTS)
        return ht__fail(p->diag, HT_ERR_USAGE, option, -1, "expected I/N, part I of N (at most %d): 3/8", MOST_PARTS);
    *as_part = (uint32_t)part;
    *of_parts = (uint32_t)parts;
    return HT_OK;
}

static enum ht_err parse_part(const struct parser *p, uint32_t *as_part, uint32_t *of_parts)
{
    return parse_part_of(p, "part", p->o->part, as_part, of_parts);
}

static enum ht_err parse_collect_part(struct parser *p)
{
    struct ht__importance_settings *s = &p->s->pipeline.importance;
    if (!p->o->collect_part) return HT_OK;
    HT_TRY(parse_part_of(p, "collect-part", p->o->collect_part, &s->part, &s->parts));
    if (!s->collect)
        return ht__fail(p->diag, HT_ERR_USAGE, "collect-part", -1,
                        "there is no text to collect importance on: add --calibration");
    if (p->o->part)
        return ht__fail(p->diag, HT_ERR_USAGE, "collect-part", -1,
                        "importance is collected first: not together with --part");
    return HT_OK;
}

static enum ht_err parse_publish(struct parser *p)
{
    const struct ht__options *o = p->o;
    struct ht__publish_settings *s = &p->s->pipeline.publish;
    *s = (struct ht__publish_settings){.output = o->output ? o->output : ".",
                                       .name = o->name,
                                       .report = o->report,
                                       .html = o->html,
                                       .overwrite = o->overwrite,
                                       .resume = o->resume,
                                       .take_from = o->take_from,
                                       .checkpoint_seconds = 10};
    HT_TRY(parse_part(p, &s->part, &s->parts));
    HT_TRY(parse_collect_part(p));
    return count(p, "checkpoint-seconds", o->checkpoint_seconds, 0, 86400, &s->checkpoint_seconds);
}

/* ---- running the model ------------------------------------------------------------------------ */

/* Tokens a chunk, as asked for. To an estimate, and with --fit, the same option is the context that models will be run
 * with. */
static const char *chunk_option(const struct parser *p)
{
    return (p->estimating && !p->o->writes) || p->o->fit || p->o->gpu ? NULL : p->o->ctx;
}

static enum ht_err parse_calibration(struct parser *p, const char *option, const char *text,
                                     struct ht__calibration_settings *s)
{
    uint64_t ctx = 0, chunks = UINT32_MAX, from = 0, seed = 0;
    HT_TRY(count(p, "ctx", chunk_option(p), 16, 1 << 20, &ctx));
    HT_TRY(count(p, "calibration-length", p->o->calibration_length, 16, 1 << 20, &ctx));
    HT_TRY(count(p, "chunks", p->o->chunks, 1, UINT32_MAX, &chunks));
    HT_TRY(count(p, "from-chunk", p->o->from_chunk, 0, UINT32_MAX, &from));
    HT_TRY(count(p, "calibration-seed", p->o->calibration_seed, 1, UINT32_MAX, &seed));
    *s = (struct ht__calibration_settings){.layer_cache = p->o->layer_cache,
                                           .seed = seed,
                                           .n_ctx = (uint32_t)ctx,
                                           .n_chunks = (uint32_t)chunks,
                                           .from_chunk = (uint32_t)from};
    return ht__calibration_parse(option, text, &p->s->arena, s, p->diag);
}

/* With a text and time, codes of schemes are chosen by "best" where no method is named. */
static enum ht_err give_method(struct parser *p, struct ht__target *t)
{
    const struct ht__pipeline_settings *s = &p->s->pipeline;
    bool text = s->importance.collect || s->importance.stats;
    if (!t->scheme) return HT_OK;
    if (s->best && text && !t->method_asked) return ht__method_parse("best", &t->method, p->diag);
    if (t->method.method->by_layer && !text)
        return ht__fail(p->diag, HT_ERR_USAGE, "type", -1, "%s chooses by the activations of a text: add --calibration",
                        t->type);
    return HT_OK;
}

/* The scales are folded into the model that all outputs are made of. */
static enum ht_err check_scaled(const struct parser *p)
{
    const struct ht__pipeline_settings *s = &p->s->pipeline;
    const struct ht__target *scaled = NULL;
    for (size_t i = 0; i < s->n_targets; i++)
        if (s->targets[i].scaled) scaled = &s->targets[i];
    if (!scaled) return HT_OK;
    if (s->n_targets > 1)
        return ht__fail(p->diag, HT_ERR_USAGE, "type", -1,
                        "%s changes the model before it is quantized: it is made alone", scaled->type);
    if (!s->importance.collect)
        return ht__fail(p->diag, HT_ERR_USAGE, "type", -1,
                        "%s has scales by the activations of a text: add --calibration", scaled->type);
    if (s->prune.text)
        return ht__fail(p->diag, HT_ERR_USAGE, "prune-layers", -1,
                        "%s is not made of a model without some of its layers", scaled->type);
    return HT_OK;
}

static enum ht_err parse_effort(struct parser *p)
{
    struct ht__pipeline_settings *s = &p->s->pipeline;
    const char *effort = p->o->effort;
    s->best = effort && strcmp(effort, "best") == 0;
    if (effort && !s->best && strcmp(effort, "fast") != 0)
        return ht__fail(p->diag, HT_ERR_USAGE, "effort", -1, "expected fast or best, got \"%.40s\"", effort);
    s->importance.calibration.for_codes = s->best;
    for (size_t i = 0; i < s->n_targets; i++) {
        HT_TRY(give_method(p, &s->targets[i]));
        const struct ht__method *m = s->targets[i].method.method;
        s->targets[i].scaled |= m == &ht__method_awq || m == &ht__method_smooth;
        s->importance.calibration.for_codes |= m && m->by_layer;
    }
    return check_scaled(p);
}

static enum ht_err parse_importance(struct parser *p)
{
    const struct ht__options *o = p->o;
    struct ht__importance_settings *s = &p->s->pipeline.importance;
    *s = (struct ht__importance_settings){.imatrix = o->imatrix,
                                          .stats = o->calibration_stats,
                                          .collect = o->calibration != NULL,
                                          .include = o->include_weights,
                                          .exclude = o->exclude_weights};
    if (s->include.n && s->exclude.n)
        return ht__fail(p->diag, HT_ERR_USAGE, "include-weights", -1,
                        "include-weights and exclude-weights cannot be used together");
    if (!!o->imatrix + !!o->calibration + !!o->calibration_stats > 1)
        return ht__fail(p->diag, HT_ERR_USAGE, o->calibration ? "calibration" : "calibration-stats", -1,
                        "give one of an importance file, a calibration text and statistics");
    if (!s->collect) return HT_OK;
    HT_TRY(parse_calibration(p, "calibration", o->calibration, &s->calibration));
    s->calibration.from_chunk = 0;
    s->calibration.within = true;
    return HT_OK;
}

static enum ht_err parse_eval(struct parser *p, struct ht__eval_settings *s)
{
    const struct ht__options *o = p->o;
    uint64_t ctx = 512, chunks = 0, retention = 0;
    HT_TRY(count(p, "ctx", chunk_option(p), 8, 1 << 20, &ctx));
    HT_TRY(count(p, "chunks", o->chunks, 1, UINT32_MAX, &chunks));
    HT_TRY(count(p, "retention", o->retention, 1, 4096, &retention));
    *s = (struct ht__eval_settings){.text = o->text,
                                    .tokens = o->tokens,
                                    .choices = o->choices,
                                    .layer_cache = o->layer_cache,
                                    .n_ctx = (int)ctx,
                                    .n_chunks = chunks ? (size_t)chunks : SIZE_MAX,
                                    .retention = (int)retention,
                                    .fast = o->fast};
    if (!s->text && !s->tokens && (o->measure || o->fail_if.n > 0)) s->text = "default";
    return HT_OK;
}

static enum ht_err parse_measure(struct parser *p)
{
    struct ht__measure_settings *s = &p->s->pipeline.measure;
    const struct ht__list *list = &p->o->fail_if;
    s->wanted = p->o->measure || list->n > 0;
    if (!s->wanted) return HT_OK;
    struct ht__limit *limits = array(p, list->n, sizeof *limits);
    if (!limits) return ht__fail_memory(p->diag, "fail-if");
    for (size_t i = 0; i < list->n; i++)
        HT_TRY(ht__limit_parse(list->items[i], &limits[i], p->diag));
    s->limits = limits;
    s->n_limits = list->n;
    return parse_eval(p, &s->eval);
}

/* ---- verbs ------------------------------------------------------------------------------------ */

static enum ht_err parse_pipeline(struct parser *p, bool survey)
{
    const struct ht__options *o = p->o;
    struct ht__pipeline_settings *s = &p->s->pipeline;
    s->source.vocab_only = o->vocab_only;
    s->source.hash = !o->no_source_hash;
    s->asked = (struct ht__asked){o->convert                    ? "convert"
                                  : p->estimating && !o->writes ? "estimate"
                                                                : "quantize",
                                  o->tensor_type,
                                  o->override_kv,
                                  o->rule,
                                  o->skip_modules,
                                  o->output_tensor_type,
                                  o->token_embedding_type,
                                  o->max_error,
                                  o->method,
                                  o->notes};
    HT_TRY(parse_level(p));
    s->strict = o->strict;
    HT_TRY(survey ? HT_OK : parse_container(p));
    if (!survey) HT_TRY(ht__settings_parse_budget(p));
    bool types = s->budget.kind && !p->o->type.n;
    HT_TRY(survey ? take_measured(p) : types ? ht__settings_take_budget(p) : parse_targets(p));
    if (s->budget.kind && !types) HT_TRY(ht__settings_check_budget(p));
    if (!survey) HT_TRY(parse_scheme_rules(p));
    if (!survey) HT_TRY(share_rules(p));
    if (!survey) HT_TRY(parse_max_error(p));
    HT_TRY(parse_recipe(p));
    HT_TRY(parse_prune(p));
    HT_TRY(parse_overrides(p));
    HT_TRY(parse_importance(p));
    HT_TRY(parse_effort(p));
    HT_TRY(parse_split(p));
    HT_TRY(parse_publish(p));
    return parse_measure(p);
}

static enum ht_err parse_advice(struct parser *p)
{
    struct ht__advice_settings *s = &p->s->advice;
    s->measured_seconds = p->job->measured_seconds;
    s->program = ht__program_at(0);
    if (p->o->program) HT_TRY(ht__program_by_name(p->o->program, &s->program, p->diag));
    HT_TRY(ht__fit_cache_type(p->o->cache_type, &s->cache_type, p->diag));
    if (s->program->loads && s->cache_type != &ht__codec_f16)
        return ht__fail(p->diag, HT_ERR_USAGE, "cache-type", -1,
                        "%s keeps keys and values in 16 bits: leave it out, or ask for llama.cpp", s->program->name);
    return p->o->writes ? HT_OK : count(p, "ctx", p->o->ctx, 1, HT__FIT_MOST_CTX, &s->ctx);
}

static enum ht_err parse_place(struct parser *p)
{
    const struct ht__options *o = p->o;
    struct ht__advice_settings *s = &p->s->advice;
    s->n_gpus = 1;
    if (o->memory) HT_TRY(ht__parse_size("memory", o->memory, &s->memory, p->diag));
    if (o->memory && !s->memory)
        return ht__fail(p->diag, HT_ERR_USAGE, "memory", -1, "no model runs in 0 bytes of memory");
    HT_TRY(count(p, "gpu-count", o->gpu_count, 1, 64, &s->n_gpus));
    if (!o->gpu && o->gpu_count)
        return ht__fail(p->diag, HT_ERR_USAGE, "gpu-count", -1, "--gpu-count needs --gpu NAME");
    if (!o->gpu) return HT_OK;
    HT_TRY(ht__gpu_by_name(o->gpu, &s->gpu, p->diag));
    if (!s->gpu->memory && !s->memory)
        return ht__fail(p->diag, HT_ERR_USAGE, "memory", -1,
                        "%s is sold with several memory sizes: give yours with --memory SIZE", s->gpu->name);
    return HT_OK;
}

static enum ht_err parse_passes(struct parser *p, struct ht__eval_settings *s)
{
    HT_TRY(parse_part(p, &s->part, &s->parts));
    s->keep = p->o->output;
    s->taken = p->o->take_from;
    if (s->parts && !s->keep)
        return ht__fail(p->diag, HT_ERR_USAGE, "output", -1, "a part is kept for another run: give -o FILE");
    if (!s->parts && s->keep)
        return ht__fail(p->diag, HT_ERR_USAGE, "output", -1, "only a part (--part) is kept; a report goes to --report");
    return HT_OK;
}

static enum ht_err parse_eval_job(struct parser *p)
{
    const struct ht__options *o = p->o;
    p->s->eval = (struct ht__eval_job_settings){.models = o->models.items,
                                                .n_models = o->models.n,
                                                .against = o->against,
                                                .report = o->report,
                                                .html = o->html};
    HT_TRY(parse_eval(p, &p->s->eval.eval));
    return parse_passes(p, &p->s->eval.eval);
}

static enum ht_err parse_imatrix(struct parser *p)
{
    const struct ht__options *o = p->o;
    struct ht__imatrix_settings *s = &p->s->imatrix;
    *s = (struct ht__imatrix_settings){.source = o->source,
                                       .in_files = o->in_file,
                                       .output = o->output,
                                       .report = o->report,
                                       .overwrite = o->overwrite,
                                       .resume = o->resume,
                                       .statistics = o->statistics};
    if (!o->source && o->in_file.n == 0)
        return ht__fail(p->diag, HT_ERR_USAGE, "model", -1,
                        "no input: give a model to run, or files to merge (--in-file)");
    if (!o->source && (o->text || o->tokens))
        return ht__fail(p->diag, HT_ERR_USAGE, "model", -1, "which model? Give a file, a folder or ORG/NAME");
    if (o->text && o->tokens) return ht__fail(p->diag, HT_ERR_USAGE, "text", -1, "give a text or token ids, not both");
    if (!o->output && !(o->statistics && !o->source))
        return ht__fail(p->diag, HT_ERR_USAGE, "output", -1, "no output file: give -o FILE.gguf");
    HT_TRY(count(p, "save-every", o->save_every, 1, UINT32_MAX, &s->save_every));
    if (o->source) HT_TRY(parse_calibration(p, "text", o->text, &s->calibration));
    s->calibration.tokens = o->tokens;
    s->calibration.process_output = o->process_output;
    return HT_OK;
}

static enum ht_err parse_calibrate(struct parser *p)
{
    const struct ht__options *o = p->o;
    struct ht__calibrate_settings *s = &p->s->calibrate;
    *s = (struct ht__calibrate_settings){.source = o->source,
                                         .in_stats = o->in_stats,
                                         .output = o->output,
                                         .report = o->report,
                                         .overwrite = o->overwrite};
    if (!o->source && o->in_stats.n == 0)
        return ht__fail(p->diag, HT_ERR_USAGE, "model", -1,
                        "no input: give a model to run, or statistics to merge (--in-stats)");
    if (o->source && o->in_stats.n)
        return ht__fail(p->diag, HT_ERR_USAGE, "in-stats", -1, "give a model to run or statistics to merge, not both");
    if (o->source && !o->output)
        return ht__fail(p->diag, HT_ERR_USAGE, "output", -1, "no folder to write to: give -o DIR");
    if (o->in_stats.n > 1 && !o->output)
        return ht__fail(p->diag, HT_ERR_USAGE, "output", -1, "several statistics are merged: give -o DIR");
    if (!o->source && o->part)
        return ht__fail(p->diag, HT_ERR_USAGE, "part", -1, "which model? A part of a text is run, not merged");
    if (!o->source && o->calibration)
        return ht__fail(p->diag, HT_ERR_USAGE, "model", -1, "which model? Give a file, a folder or ORG/NAME");
    if (!o->source) return HT_OK;
    HT_TRY(parse_calibration(p, "calibration", o->calibration, &s->calibration));
    s->calibration.for_codes = true;
    return parse_part(p, &s->part, &s->parts);
}

static enum ht_err parse(struct parser *p, enum ht__verb verb)
{
    if (verb == HT__VERB_RECOMMEND) { /* memory is that of the machine to run on */
        p->s->run = ht__job_run_context(p->job);
        HT_TRY(parse_place(p));
    } else {
        HT_TRY(parse_run(p));
    }
    switch (verb) {
    case HT__VERB_EVAL: return parse_eval_job(p);
    case HT__VERB_IMATRIX: return parse_imatrix(p);
    case HT__VERB_CALIBRATE: return parse_calibrate(p);
    case HT__VERB_QUANTIZE: return parse_pipeline(p, false);
    default: HT_TRY(parse_advice(p)); return parse_pipeline(p, verb == HT__VERB_RECOMMEND);
    }
}

enum ht_err ht__settings_parse(struct ht__settings *settings, struct ht_job *job, enum ht__verb verb,
                               struct ht_diag *diag)
{
    memset(settings, 0, sizeof *settings);
    ht__arena_init(&settings->arena, job->alloc);
    struct parser p = {.job = job,
                       .o = &job->options,
                       .s = settings,
                       .diag = diag,
                       .estimating = verb == HT__VERB_ESTIMATE || verb == HT__VERB_RECOMMEND};
    return parse(&p, verb);
}

void ht__settings_close(struct ht__settings *s)
{
    struct ht__recipe *recipe = &s->pipeline.recipe;
    for (size_t i = 0; i < recipe->n_rules; i++)
        ht__type_rule_close((struct ht__type_rule *)(uintptr_t)&recipe->rules[i]);
    recipe->n_rules = 0;
    for (size_t i = 0; i < s->pipeline.n_rules; i++)
        ht__scheme_rule_close(&s->pipeline.rules[i]);
    s->pipeline.n_rules = 0;
    ht__arena_close(&s->arena);
}
