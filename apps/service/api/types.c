#include "service/api/types.h"

#include "service/api/json.h"

#include <halftone/halftone.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

bool format_at(size_t i, struct format *format)
{
    struct ht_container_info c = {.size = sizeof c};
    for (size_t k = 0, n = 0; ht_container_at(k, &c); k++)
        if (c.can_write && n++ == i) {
            *format = (struct format){c.name, c.title, c.about, c.is_folder};
            return true;
        }
    return false;
}

bool format_named(const char *name, struct format *format)
{
    for (size_t i = 0; format_at(i, format); i++)
        if (strcasecmp(format->name, name) == 0) return true;
    return false;
}

bool format_same(const struct format *a, const struct format *b)
{
    return strcmp(a->name, b->name) == 0;
}

/* -- Types. -- */

/* Floats: what folders may hold of the mixes. */
static bool is_float(const struct ht_mix_info *mix)
{
    struct ht_type_info t;
    for (size_t i = 0; ht_type_at(i, &t); i++)
        if (strcmp(t.name, mix->default_type) == 0) return t.block_weights == 1;
    return false;
}

/* The i-th type of files: mixes. */
static bool file_type_at(size_t i, struct type *type)
{
    struct ht_mix_info mix;
    if (!ht_mix_at(i, &mix)) return false;
    *type = (struct type){.name = mix.name, .needs_importance = mix.needs_importance};
    return true;
}

/* Of folders: schemes that can be written, ladders of them, and floats. */
static bool folder_type_at(size_t i, struct type *type)
{
    struct ht_mix_info mix;
    struct ht_scheme_info scheme = {.size = sizeof scheme};
    struct ht_ladder_info ladder = {.size = sizeof ladder};
    size_t n = 0;
    for (size_t k = 0; ht_scheme_at(k, &scheme); k++)
        if (scheme.can_write && n++ == i) {
            *type = (struct type){.name = scheme.name, .scheme = true};
            return true;
        }
    for (size_t k = 0; ht_ladder_at(k, &ladder); k++)
        if (n++ == i) {
            *type = (struct type){.name = ladder.name, .ladder = true};
            return true;
        }
    for (size_t k = 0; ht_mix_at(k, &mix); k++)
        if (is_float(&mix) && n++ == i) {
            *type = (struct type){.name = mix.name};
            return true;
        }
    return false;
}

static bool type_of_at(const struct format *format, size_t i, struct type *type)
{
    bool there = format->folder ? folder_type_at(i, type) : file_type_at(i, type);
    if (there) type->format = *format;
    return there;
}

bool type_named(const char *name, const struct format *format, struct type *type)
{
    struct format f;
    for (size_t k = 0; format_at(k, &f); k++) {
        if (format && !format_same(&f, format)) continue;
        for (size_t i = 0; type_of_at(&f, i, type); i++)
            if (strcasecmp(type->name, name) == 0) return true;
    }
    return false;
}

const char *type_hint(const char *text)
{
    struct ht_mix_info mix;
    struct ht_scheme_info scheme = {.size = sizeof scheme};
    struct ht_ladder_info ladder = {.size = sizeof ladder};
    const char *slash = strchr(text, '/');
    if (slash) text = slash + 1;
    size_t n = strcspn(text, ":");
    for (size_t i = 0; ht_mix_at(i, &mix); i++)
        if (strcmp(mix.name, text) == 0) return mix.about;
    for (size_t i = 0; ht_scheme_at(i, &scheme); i++)
        if (strncmp(scheme.name, text, n) == 0 && scheme.name[n] == '\0') return scheme.about;
    for (size_t i = 0; ht_ladder_at(i, &ladder); i++)
        if (strcmp(ladder.name, text) == 0) return ladder.about;
    return "";
}

/* -- Names that are near. -- */

static const char *type_name_at(void *ctx, size_t i)
{
    const struct format *format = ctx;
    struct format f;
    struct type type;
    size_t n = 0;
    for (size_t k = 0; format_at(k, &f); k++)
        for (size_t t = 0; (!format || format_same(&f, format)) && type_of_at(&f, t, &type); t++)
            if (n++ == i) return type.name;
    return NULL;
}

/* Types follow the formats. */
static const char *format_name_at(void *ctx, size_t i)
{
    struct format format;
    size_t n = 0;
    if (format_at(i, &format)) return format.name;
    while (format_at(n, &format))
        n++;
    return type_name_at(ctx, i - n);
}

static void did_you_mean(const char *nearest, char *text, size_t size)
{
    snprintf(text, size, "%s%s%s", nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
}

void type_nearest(const char *name, const struct format *format, char *text, size_t size)
{
    did_you_mean(ht_text_nearest(name, type_name_at, (void *)(size_t)format), text, size);
}

void format_nearest(const char *name, char *text, size_t size)
{
    did_you_mean(ht_text_nearest(name, format_name_at, NULL), text, size);
}

/* -- Options. -- */

/* The i-th that can be given; those that only readers know are left out. */
static bool option_at(const char *type, size_t i, struct ht_scheme_option_info *option)
{
    option->size = sizeof *option;
    for (size_t k = 0, n = 0; ht_scheme_option_at(type, k, option); k++)
        if (!option->reading && n++ == i) return true;
    return false;
}

static bool find_option(const char *type, const char *name, struct ht_scheme_option_info *option)
{
    for (size_t i = 0; option_at(type, i, option); i++)
        if (strcmp(option->name, name) == 0) return true;
    return false;
}

bool type_has_option(const char *type, const char *option)
{
    struct ht_scheme_option_info info;
    return find_option(type, option, &info);
}

static const char *option_name_at(void *ctx, size_t i)
{
    struct ht_scheme_option_info option;
    return option_at(ctx, i, &option) ? option.name : NULL;
}

static void unknown_option(const char *type, const char *name, const char *pointer, struct faults *faults)
{
    char near[80], known[400] = "";
    struct ht_scheme_option_info option;
    for (size_t i = 0; option_at(type, i, &option); i++) {
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", i ? ", " : ": it has ", option.name);
    }
    did_you_mean(ht_text_nearest(name, option_name_at, (void *)(size_t)type), near, sizeof near);
    faults_add(faults, pointer, "%s has no option \"%.60s\"%s", type, name, *near ? near : known);
}

/* A value as the library spells it; false: it cannot be one. */
static bool value_text(const json_t *value, char *text, size_t size)
{
    if (json_is_string(value)) return snprintf(text, size, "%s", json_string_value(value)) < (int)size;
    if (json_is_integer(value)) return snprintf(text, size, "%lld", (long long)json_integer_value(value)) < (int)size;
    if (json_is_real(value)) return snprintf(text, size, "%.15g", json_real_value(value)) < (int)size;
    if (json_is_boolean(value)) return snprintf(text, size, "%s", json_is_true(value) ? "true" : "false") < (int)size;
    return false;
}

static bool number_of(const char *text, double *value)
{
    char *end;
    *value = strtod(text, &end);
    return *text && *end == '\0';
}

/* The choice that is meant, as it is spelled: 3 may be written 3.0, and true stands for on, false for off. */
static bool choose(const struct ht_scheme_option_info *o, const char *text, char *word, size_t size)
{
    double wanted, have;
    bool is_number = number_of(text, &wanted);
    if (strcmp(text, "true") == 0) text = "on";
    if (strcmp(text, "false") == 0) text = "off";
    for (const char *p = o->choices; *p; p += strspn(p, " ")) {
        size_t n = strcspn(p, " ");
        snprintf(word, size, "%.*s", (int)n, p);
        p += n;
        if (strcasecmp(word, text) == 0 || (is_number && number_of(word, &have) && have == wanted)) return true;
    }
    return false;
}

/* "expected 2, 3, 4 or 8", "expected a number from 32 to 4096" */
static void expected(const struct ht_scheme_option_info *o, char *text, size_t size)
{
    size_t n = 0;
    if (!o->choices) {
        snprintf(text, size, "a number from %.15g to %.15g", o->least, o->most);
        return;
    }
    for (const char *p = o->choices; *p && n < size;) {
        size_t len = strcspn(p, " ");
        const char *rest = p + len + strspn(p + len, " ");
        const char *before = p == o->choices ? "" : *rest ? ", " : " or ";
        n += (size_t)snprintf(text + n, size - n, "%s%.*s", before, (int)len, p);
        p = rest;
    }
}

static void add_option(const char *type, const char *name, const char *value, const char *pointer, json_t *to,
                       struct faults *faults)
{
    struct ht_scheme_option_info o;
    char word[64], wanted[300];
    double number = 0;
    if (!find_option(type, name, &o)) {
        unknown_option(type, name, pointer, faults);
        return;
    }
    bool right = o.choices ? choose(&o, value, word, sizeof word)
                           : number_of(value, &number) && number >= o.least && number <= o.most;
    if (!right) {
        expected(&o, wanted, sizeof wanted);
        faults_add(faults, pointer, "%s of %s: expected %s, got %.60s", name, type, wanted, value);
        return;
    }
    if (o.choices && !number_of(word, &number))
        json_object_set_new(to, name, json_string(word));
    else if (number == (double)(json_int_t)number)
        json_object_set_new(to, name, json_integer((json_int_t)number));
    else
        json_object_set_new(to, name, json_real(number));
}

/* "bits=3,group=64" */
static void read_text(const char *type, const char *text, const char *pointer, json_t *to, struct faults *faults)
{
    while (*text) {
        char name[64], value[64];
        size_t n = strcspn(text, ","), len = strcspn(text, "=,");
        snprintf(name, sizeof name, "%.*s", (int)len, text);
        snprintf(value, sizeof value, "%.*s", (int)(len < n ? n - len - 1 : 0), text + len + (len < n));
        if (len == n)
            faults_add(faults, pointer, "expected NAME=VALUE behind the colon, got \"%.60s\"", name);
        else if (json_object_get(to, name))
            faults_add(faults, pointer, "%.60s is there twice", name);
        else
            add_option(type, name, value, pointer, to, faults);
        text += n + (text[n] == ',');
    }
}

/* Of what was given, what differs from what is so without it, in the type's order. */
static json_t *in_order(const char *type, const json_t *given)
{
    struct ht_scheme_option_info o;
    json_t *list = json_object();
    for (size_t i = 0; option_at(type, i, &o); i++) {
        char text[64];
        double value, otherwise;
        json_t *option = json_object_get(given, o.name);
        if (!option || !value_text(option, text, sizeof text)) continue;
        bool same = strcmp(text, o.otherwise) == 0 ||
                    (number_of(text, &value) && number_of(o.otherwise, &otherwise) && value == otherwise);
        if (!same) json_object_set(list, o.name, option);
    }
    return list;
}

json_t *type_options(const struct type *type, const json_t *given, const char *text, const char *pointer,
                     struct faults *faults)
{
    struct ht_scheme_option_info first;
    struct faults own = {0};
    const char *name;
    json_t *value, *all = json_object();
    size_t i;
    if (!option_at(type->name, 0, &first) && (text || json_object_size(given) > 0)) {
        faults_add(&own, pointer, "%s has no options", type->name);
    } else {
        if (text) read_text(type->name, text, pointer, all, &own);
        json_object_foreach((json_t *)given, name, value) {
            char at[300], word[64];
            faults_pointer(at, sizeof at, pointer, name);
            if (!value_text(value, word, sizeof word))
                faults_add(&own, at, "expected a number, a text, true or false");
            else if (json_object_get(all, name))
                faults_add(&own, at, "%.60s is in the type already", name);
            else
                add_option(type->name, name, word, at, all, &own);
        }
    }
    json_t *list = own.list ? NULL : in_order(type->name, all);
    json_array_foreach(own.list, i, value)
        faults_add(faults, json_string_value(json_object_get(value, "pointer")), "%s",
                   json_string_value(json_object_get(value, "detail")));
    json_decref(own.list);
    json_decref(all);
    return list;
}

void type_text(const struct type *type, const json_t *options, char *text, size_t size)
{
    const char *option;
    json_t *value;
    struct type usual;
    bool other = type_named(type->name, NULL, &usual) && !format_same(&usual.format, &type->format);
    size_t n = (size_t)snprintf(text, size, "%s%s%s", other ? type->format.name : "", other ? "/" : "", type->name);
    char before = ':';
    json_object_foreach((json_t *)options, option, value) {
        char word[64];
        if (n >= size || !value_text(value, word, sizeof word)) continue;
        n += (size_t)snprintf(text + n, size - n, "%c%s=%s", before, option, word);
        before = ',';
    }
}

/* -- Lists. -- */

static double bits_of(const char *type)
{
    struct ht_type_info t;
    for (size_t i = 0; ht_type_at(i, &t); i++)
        if (strcmp(t.name, type) == 0) return 8.0 * t.block_bytes / t.block_weights;
    return 0;
}

/* One for little memory, one for a little more, one without a loss that is seen. */
static bool recommended(const char *name)
{
    static const char *const names[] = {"Q4_K_M", "Q5_K_M", "Q8_0", "nf4", "fp8"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

/* What the mix lost on the example model; null: it was not measured. */
static json_t *measured(const struct ht_mix_info *m)
{
    if (!(m->divergence > 0)) return json_null();
    return json_pack("{s:f, s:f, s:b}", "divergence", m->divergence, "same_top_token", m->same_top_token,
                     "with_importance", m->measured_with_importance);
}

static json_t *measured_scheme(const struct ht_scheme_info *s)
{
    if (!(s->divergence > 0)) return json_null();
    return json_pack("{s:f, s:f, s:b}", "divergence", s->divergence, "same_top_token", s->same_top_token,
                     "with_importance", false);
}

static json_t *type_row(const char *name, const char *label, const char *family, double bits, const char *hint,
                        const char *loaders, const char *levels, json_t *loss, json_t *options, bool needs_importance)
{
    return json_pack("{s:s, s:s, s:s, s:f, s:b, s:s, s:s, s:s?, s:b, s:o, s:o}", "name", name, "label", label, "family",
                     family, "bits_per_weight", bits, "needs_importance", needs_importance, "hint", hint, "loaders",
                     loaders, "levels", levels, "recommended", recommended(name), "measured", loss, "options", options);
}

static json_t *options_of(const char *type)
{
    struct ht_scheme_option_info o;
    json_t *list = json_array();
    for (size_t i = 0; option_at(type, i, &o); i++) {
        json_t *choices = o.choices ? json_array() : json_null();
        for (const char *p = o.choices; p && *p; p += strspn(p, " ")) {
            size_t n = strcspn(p, " ");
            json_array_append_new(choices, json_stringn(p, n));
            p += n;
        }
        json_array_append_new(list, json_pack("{s:s, s:s, s:o, s:s, s:o, s:o}", "name", o.name, "hint", o.about,
                                              "choices", choices, "default", o.otherwise, "least",
                                              o.choices ? json_null() : json_real(o.least), "most",
                                              o.choices ? json_null() : json_real(o.most)));
    }
    return list;
}

/* Of a matrix as large models have them, with everything that is stored beside the codes. */
static double scheme_bits(const char *name)
{
    struct ht_matrix m = {.size = sizeof m, .n_out = 4096, .n_in = 4096, .dtype = "bf16"};
    struct ht_part parts[HT_MATRIX_PARTS] = {{.size = sizeof parts[0]}};
    size_t n = HT_MATRIX_PARTS;
    double bytes = 0;
    if (ht_matrix_parts(name, &m, parts, &n, NULL) != HT_OK) return 0;
    for (size_t i = 0; i < n; i++)
        bytes += (double)parts[i].n_bytes;
    return 8 * bytes / ((double)m.n_out * (double)m.n_in);
}

/* Family and programs are those of the first level; so are the bits, of which a ladder has at least as many. */
static json_t *ladder_row(const struct ht_ladder_info *l)
{
    struct ht_scheme_info s = {.size = sizeof s};
    size_t n = strcspn(l->first, ":");
    for (size_t i = 0; ht_scheme_at(i, &s); i++)
        if (strlen(s.name) == n && strncmp(s.name, l->first, n) == 0) break;
    return type_row(l->name, l->name, s.family, scheme_bits(l->first), l->about, s.loaders, l->levels, json_null(),
                    json_array(), false);
}

json_t *types_of(const struct format *format)
{
    struct ht_ladder_info l = {.size = sizeof l};
    struct ht_mix_info m;
    struct ht_scheme_info s = {.size = sizeof s};
    json_t *list = json_array();
    for (size_t i = 0; !format->folder && ht_mix_at(i, &m); i++)
        json_array_append_new(list, type_row(m.name, m.name, "GGUF", bits_of(m.default_type), m.about,
                                             "llama.cpp, Ollama, LM Studio", NULL, measured(&m), json_array(),
                                             m.needs_importance));
    for (size_t i = 0; format->folder && ht_scheme_at(i, &s); i++)
        if (s.can_write)
            json_array_append_new(list, type_row(s.name, s.label, s.family, scheme_bits(s.name), s.about, s.loaders,
                                                 NULL, measured_scheme(&s), options_of(s.name), false));
    for (size_t i = 0; format->folder && ht_ladder_at(i, &l); i++)
        json_array_append_new(list, ladder_row(&l));
    for (size_t i = 0; format->folder && ht_mix_at(i, &m); i++)
        if (is_float(&m))
            json_array_append_new(list, type_row(m.name, m.name, "floats", bits_of(m.default_type), m.about,
                                                 "transformers, vLLM, SGLang", NULL, json_null(), json_array(), false));
    return list;
}
