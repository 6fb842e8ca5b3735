/* What the tables of names demand: tensors that must be there, in the shapes that the configuration implies. */
#include "model/arch/check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WEIGHT = 1, BIAS = 2 };

/* ---- conditions ---- */

static bool lists(const struct ht__jnode *list, int64_t value)
{
    for (size_t i = 0; list && list->type == HT__JSON_ARRAY && i < list->n; i++)
        if (list->children[i].type == HT__JSON_NUMBER && list->children[i].integer == value) return true;
    return false;
}

/* DeepSeek begins with dense layers; Qwen lists some, or has experts in every n-th layer. */
static bool has_experts(const struct ht__arch_build *b, int64_t layer)
{
    int64_t step = (int64_t)ht__arch_num(b, "decoder_sparse_step", 1);
    return b->n_experts > 0 && (double)layer >= ht__arch_num(b, "first_k_dense_replace", 0) &&
           !lists(ht__jget(b->config, "mlp_only_layers"), layer) && (step < 1 || (layer + 1) % step == 0);
}

static bool is_true(const struct ht__jnode *v)
{
    return v && ((v->type == HT__JSON_BOOL && v->boolean) || (v->type == HT__JSON_NUMBER && v->number > 0));
}

static bool word_holds(const struct ht__arch_build *b, const char *word, int64_t layer)
{
    if (strcmp(word, "always") == 0) return true;
    if (strcmp(word, "experts") == 0) return has_experts(b, layer);
    if (strcmp(word, "dense") == 0) return !has_experts(b, layer);
    if (strcmp(word, "untied") == 0) { /* said, not assumed: older configurations say nothing */
        const struct ht__jnode *tied = ht__jget(b->config, "tie_word_embeddings");
        return tied && tied->type == HT__JSON_BOOL && !tied->boolean && !b->bare;
    }
    const char *equals = strchr(word, '=');
    if (equals) {
        char key[64];
        snprintf(key, sizeof key, "%.*s", (int)(equals - word), word);
        const struct ht__jnode *v = ht__arch_get(b, key);
        return v && v->type == HT__JSON_STRING && strcmp(v->text, equals + 1) == 0;
    }
    return is_true(ht__arch_get(b, word));
}

/* All of the blank-separated words, `!` before one denying it. */
static bool holds(const struct ht__arch_build *b, const char *words, int64_t layer)
{
    char word[64];
    for (const char *p = words; p && *p;) {
        size_t n = strcspn(p, " ");
        bool denied = *p == '!';
        snprintf(word, sizeof word, "%.*s", (int)(n - denied), p + denied);
        if (word_holds(b, word, layer) == denied) return false;
        p += n + (p[n] == ' ');
    }
    return true;
}

bool ht__arch_holds(const struct ht__arch_build *b, const struct ht__name_rule *rule, int64_t layer)
{
    return holds(b, rule->when, layer);
}

/* ---- shapes ---- */

static enum ht_err fill_sizes(struct ht__arch_build *b)
{
    static const struct {
        char letter;
        const char *names;
        int64_t otherwise;
    } sizes[] = {
        {'s', "shared_expert_intermediate_size shared_intermediate_size", 0},
        {'N', "n_shared_experts", 0},
        {'P', "n_positions", 1024},
        {'n', "qk_nope_head_dim", 128},
        {'r', "qk_rope_head_dim", 64},
        {'v', "v_head_dim", 128},
        {'q', "q_lora_rank", 0},
        {'k', "kv_lora_rank", 512},
    };
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        HT_TRY(ht__arch_int(b, sizes[i].names, sizes[i].otherwise, &b->sizes[(unsigned char)sizes[i].letter]));
    HT_TRY(ht__arch_int(b, "moe_intermediate_size", b->n_ff, &b->sizes['f']));
    b->sizes['D'] = b->n_embd;
    b->sizes['V'] = b->vocab_size;
    b->sizes['F'] = b->n_ff;
    b->sizes['H'] = b->n_heads;
    b->sizes['K'] = b->n_kv_heads;
    b->sizes['h'] = b->head_dim;
    b->sizes['E'] = b->n_experts;
    return HT_OK;
}

/* One dimension, "Hh+2Kh" or "F/32"; *p stops at the comma or the end. Every size is at most 2^30 and a
 * product has two of them and a digit, so nothing overflows. */
static int64_t dimension(const struct ht__arch_build *b, const char **p)
{
    int64_t sum = 0, product = 1;
    for (;;) {
        char c = **p;
        if (c >= '0' && c <= '9') {
            product *= strtol(*p, (char **)p, 10);
        } else if (c == '/') {
            ++*p;
            product /= strtol(*p, (char **)p, 10);
        } else if (c == '+') {
            ++*p;
            sum += product;
            product = 1;
        } else if (c == ',' || c == '\0') {
            return sum + product;
        } else {
            product *= b->sizes[(unsigned char)c & 127];
            ++*p;
        }
    }
}

struct ht__shape ht__arch_shape(const struct ht__arch_build *b, const struct ht__name_rule *rule, bool bias)
{
    struct ht__shape shape = {.at_least = rule->shape[0] == '>'};
    for (const char *p = rule->shape + shape.at_least; *p && shape.n < HT__MAX_DIMS; p += *p == ',')
        shape.dims[shape.n++] = dimension(b, &p);
    if (bias) { /* one number for each output */
        shape.dims[0] = shape.dims[rule->map == ht__arch_transpose ? shape.n - 1 : 0];
        shape.n = 1;
    }
    return shape;
}

enum ht_err ht__arch_check_shape(struct ht__arch_build *b, const struct ht__name_rule *rule, const struct ht__found *f)
{
    if (!rule->shape) return HT_OK;
    const struct ht__tensor *t = f->tensor;
    struct ht__shape want = ht__arch_shape(b, rule, strcmp(f->suffix, "bias") == 0);
    bool fits = t->n_dims == want.n;
    for (int i = 0; i < want.n && fits; i++)
        fits = t->shape[i] == want.dims[i] || (i == 0 && want.at_least && t->shape[i] > want.dims[i]);
    if (fits) return HT_OK;
    char text[200] = "";
    size_t used = 0;
    for (int i = 0; i < want.n && used < sizeof text - 32; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%lld", i ? ", " : "", (long long)want.dims[i]);
    return ht__arch_shape_error(b, f, ht__arena_printf(b->tmp, "%s[%s]", want.at_least ? "at least " : "", text));
}

/* ---- names ---- */

const char *ht__arch_source_name(struct ht__arch_build *b, const struct ht__name_rule *rule, int64_t layer,
                                 int64_t expert, const char *suffix)
{
    char name[256];
    size_t n = 0;
    const int64_t numbers[2] = {layer, expert};
    int k = 0;
    const char *from = rule->from + (rule->from[0] == '!');
    if (b->bare && strncmp(from, "model.", 6) == 0) from += 6;
    for (const char *p = from; *p && n < sizeof name - 32; p++) {
        if (*p == '#')
            n += (size_t)snprintf(name + n, sizeof name - n, "%lld", (long long)numbers[k++ & 1]);
        else if (*p == '*')
            n += (size_t)snprintf(name + n, sizeof name - n, "%s", suffix);
        else
            name[n++] = *p;
    }
    return ht__arena_copy(b->tmp, name, n);
}

static uint8_t *seen_at(const struct ht__arch_build *b, const struct ht__name_rule *rule, int64_t layer)
{
    return &b->seen[(rule - b->arch->rules) * b->n_layers + (layer < 0 ? 0 : layer)];
}

static bool ever_seen(const struct ht__arch_build *b, const struct ht__name_rule *rule, int what)
{
    for (int64_t layer = 0; layer < b->n_layers; layer++)
        if (*seen_at(b, rule, layer) & what) return true;
    return false;
}

enum ht_err ht__arch_check_begin(struct ht__arch_build *b)
{
    size_t n = 0;
    while (b->arch->rules[n].from)
        n++;
    b->seen = ht__arena_array(b->tmp, n * (size_t)b->n_layers, 1);
    return b->seen ? fill_sizes(b) : ht__fail_memory(b->diag, "model");
}

void ht__arch_check_seen(struct ht__arch_build *b, const struct ht__name_rule *rule, const struct ht__found *f)
{
    *seen_at(b, rule, f->layer) |= strcmp(f->suffix, "bias") == 0 ? BIAS : WEIGHT;
}

/* Where a tensor has several forms, the one that this checkpoint uses elsewhere is the one it lacks here. */
static enum ht_err lacks(struct ht__arch_build *b, const struct ht__name_rule *rule, int64_t layer, int what,
                         const char *made)
{
    const struct ht__name_rule *used = rule;
    for (const struct ht__name_rule *r = b->arch->rules; r->from; r++)
        if (r->to && strcmp(r->to, rule->to) == 0 && ever_seen(b, r, what) && !ever_seen(b, used, what)) used = r;
    const char *name = ht__arch_source_name(b, used, layer, 0, what == BIAS ? "bias" : "weight");
    if (!name) return ht__fail_memory(b->diag, "model");
    return ht__fail(b->diag, HT_ERR_FORMAT, b->ck->dir, -1, "the checkpoint lacks \"%s\" (for %s)", name, made);
}

/* Needed by its row, or because another layer has it. */
static enum ht_err check_rule(struct ht__arch_build *b, const struct ht__map *names, const struct ht__name_rule *rule,
                              int what)
{
    bool needed = what == WEIGHT ? rule->from[0] == '!' : rule->bias && holds(b, rule->bias, 0);
    if (!needed && !ever_seen(b, rule, what)) return HT_OK;
    int64_t times = strchr(rule->from, '#') ? b->n_layers : 1;
    for (int64_t layer = 0; layer < times; layer++) {
        if ((*seen_at(b, rule, layer) & what) || !holds(b, rule->when, layer)) continue;
        const char *made = ht__arch_gguf_name(b, rule->to, layer, what == BIAS ? "bias" : "weight");
        if (!made) return ht__fail_memory(b->diag, "model");
        if (!ht__map_get(names, made, strlen(made))) return lacks(b, rule, layer, what, made);
    }
    return HT_OK;
}

/* Every name of the model once; two tensors of a checkpoint must not become one. */
static enum ht_err gather_names(struct ht__arch_build *b, struct ht__map *names)
{
    for (size_t i = 0; i < b->model->n_weights; i++) {
        const char *name = b->model->weights[i].name;
        enum ht__map_put put = ht__map_put(names, name, strlen(name), 0);
        if (put == HT__MAP_NO_MEMORY) return ht__fail_memory(b->diag, name);
        if (put == HT__MAP_PRESENT)
            return ht__fail(b->diag, HT_ERR_FORMAT, name, -1, "two tensors of the checkpoint become this one");
    }
    return HT_OK;
}

static enum ht_err check_all(struct ht__arch_build *b, struct ht__map *names)
{
    HT_TRY(gather_names(b, names));
    for (const struct ht__name_rule *rule = b->arch->rules; rule->from; rule++) {
        if (!rule->to) continue;
        HT_TRY(check_rule(b, names, rule, WEIGHT));
        if (strchr(rule->from, '*')) HT_TRY(check_rule(b, names, rule, BIAS));
    }
    return HT_OK;
}

enum ht_err ht__arch_check_end(struct ht__arch_build *b)
{
    struct ht__map names;
    ht__map_init(&names, b->arena->alloc);
    enum ht_err err = check_all(b, &names);
    ht__map_close(&names);
    return err;
}
