#include "service/settings/settings.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { TEXT, COUNT, SIZE, LIST };

static const struct setting {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *preset;
} table[] = {
#define SETTING(field, kind, name, metavar, preset, help) {name, kind, offsetof(struct settings, field), preset},
#include "service/settings/settings.def"
#undef SETTING
};
enum { N_SETTINGS = sizeof table / sizeof *table };

static bool wrong(char *why, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool wrong(char *why, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, size, format, args);
    va_end(args);
    return false;
}

int64_t settings_size(const char *text)
{
    char *end;
    if (!isdigit((unsigned char)text[0])) return -1;
    double number = strtod(text, &end);
    if (*end) {
        const char *letters = "KMGT", *at = strchr(letters, toupper((unsigned char)*end));
        double base = end[1] == 'i' ? 1024 : 1000;
        for (int i = 0; at && i <= at - letters; i++)
            number *= base;
        end += at ? 1 + (end[1] == 'i') : 0;
        if (toupper((unsigned char)*end) == 'B') end++;
    }
    return *end || !(number >= 0 && number < 9e18) ? -1 : (int64_t)number;
}

static int64_t count_of(const char *text)
{
    char *end;
    long long n = isdigit((unsigned char)text[0]) ? strtoll(text, &end, 10) : -1;
    return n < 0 || *end || n > 1000000000 ? -1 : n;
}

static const struct setting *find(const char *name, size_t len)
{
    for (int i = 0; i < N_SETTINGS; i++)
        if (strlen(table[i].name) == len && strncmp(table[i].name, name, len) == 0) return &table[i];
    return NULL;
}

static bool set_text(char **field, const char *value, char *why, size_t size)
{
    char *copy = strdup(value);
    if (!copy) return wrong(why, size, "not enough memory");
    free(*field);
    *field = copy;
    return true;
}

static bool add(struct settings_list *list, const char *value, char *why, size_t size)
{
    char **items = realloc(list->items, (list->n + 1) * sizeof *items);
    if (!items) return wrong(why, size, "not enough memory");
    list->items = items;
    items[list->n] = strdup(value);
    if (!items[list->n]) return wrong(why, size, "not enough memory");
    list->n++;
    return true;
}

static bool set(struct settings *settings, const struct setting *s, const char *value, char *why, size_t size)
{
    void *field = (char *)settings + s->offset;
    if (s->kind == TEXT) return set_text(field, value, why, size);
    if (s->kind == LIST)
        return *value ? add(field, value, why, size) : wrong(why, size, "%s: the value is empty", s->name);
    int64_t n = s->kind == SIZE ? settings_size(value) : count_of(value);
    if (n < 0)
        return wrong(why, size, "%s: \"%.100s\" is no %s", s->name, value,
                     s->kind == SIZE ? "size; write 300M, 4G or 1.5Gi" : "number");
    *(int64_t *)field = n;
    return true;
}

bool settings_set(struct settings *settings, const char *name, const char *value, char *why, size_t size)
{
    const struct setting *s = find(name, strlen(name));
    return s ? set(settings, s, value, why, size) : wrong(why, size, "there is no setting \"%.60s\"", name);
}

bool settings_is_list(const char *name)
{
    const struct setting *s = find(name, strlen(name));
    return s && s->kind == LIST;
}

/* Names by which other programs of this kind know a setting; HALFTONE_… wins. What is written lies in the data folder. */
static const char *other_name(const char *name)
{
    if (strcmp(name, "models") == 0) return getenv("MODELS_DIR");
    if (strcmp(name, "redis") == 0) return getenv("REDIS_URL");
    return strcmp(name, "data") == 0 ? getenv("QUANTIZATION_OUTPUT_DIR") : NULL;
}

/* HALFTONE_RATE_LIMIT for "rate-limit". A list's values are separated as PATH's are. */
static bool from_environment(struct settings *settings, char *why, size_t size)
{
    bool ok = true;
    for (int i = 0; i < N_SETTINGS && ok; i++) {
        char name[64] = "HALFTONE_", reason[256], *rest = NULL;
        for (size_t k = 0; k <= strlen(table[i].name); k++)
            name[9 + k] = (char)(table[i].name[k] == '-' ? '_' : toupper((unsigned char)table[i].name[k]));
        const char *value = getenv(name), *separators = table[i].kind == LIST ? ":" : "";
        if (!value) value = other_name(table[i].name);
        if (table[i].offset == offsetof(struct settings, trusted_proxy)) separators = ", "; /* IPv6 has colons */
        char *copy = strdup(value ? value : "");
        if (!copy) return wrong(why, size, "not enough memory");
        for (char *item = strtok_r(copy, separators, &rest); item && ok; item = strtok_r(NULL, separators, &rest))
            ok = set(settings, &table[i], item, reason, sizeof reason) || wrong(why, size, "%s: %s", name, reason);
        free(copy);
    }
    const char *config = getenv("HALFTONE_CONFIG");
    return ok && (!config || !*config || set_text(&settings->config, config, why, size));
}

static const struct {
    const char *name;
    size_t offset;
} asked_once[] = {{"config", offsetof(struct settings, config)},
                  {"new-token", offsetof(struct settings, new_token)},
                  {"remove-token", offsetof(struct settings, remove_token)},
                  {"scope", offsetof(struct settings, scope)}};
enum { N_ASKED_ONCE = sizeof asked_once / sizeof *asked_once };

/* An argument, with its value in it or behind it. How many were taken; 0: wrong. */
static int take(struct settings *settings, char **argv, char *why, size_t size)
{
    const char *arg = argv[0];
    if (strcmp(arg, "--help") == 0 || strcmp(arg, "-h") == 0) return settings->help = true, 1;
    if (strcmp(arg, "--list-tokens") == 0) return settings->list_tokens = true, 1;
    if (strncmp(arg, "--", 2) != 0) return wrong(why, size, "unexpected argument \"%.100s\"", arg), 0;
    const char *name = arg + 2;
    size_t len = strcspn(name, "=");
    const char *value = name[len] == '=' ? name + len + 1 : argv[1];
    int used = name[len] == '=' ? 1 : 2;
    if (!value) return wrong(why, size, "%s needs a value", arg), 0;
    for (size_t i = 0; i < N_ASKED_ONCE; i++)
        if (strlen(asked_once[i].name) == len && strncmp(asked_once[i].name, name, len) == 0)
            return set_text((char **)((char *)settings + asked_once[i].offset), value, why, size) ? used : 0;
    const struct setting *s = find(name, len);
    if (!s) return wrong(why, size, "there is no option --%.*s", (int)len, name), 0;
    return set(settings, s, value, why, size) ? used : 0;
}

/* The file is read whole before anything of it is taken. */
static bool from_file(struct settings *settings, const char *path, char *why, size_t size)
{
    enum { LARGEST = 1 << 20 };
    FILE *f = fopen(path, "re");
    unsigned char *text = f ? malloc(LARGEST + 1) : NULL;
    size_t len = text ? fread(text, 1, LARGEST + 1, f) : 0;
    bool ok = text && !ferror(f);
    if (f) fclose(f);
    if (!ok) wrong(why, size, "%s cannot be read", path);
    if (ok && len > LARGEST) ok = wrong(why, size, "%s: larger than 1 MiB", path);
    ok = ok && settings_config(settings, path, text, len, why, size);
    free(text);
    return ok;
}

static void unset(struct settings *settings)
{
    memset(settings, 0, sizeof *settings);
    for (int i = 0; i < N_SETTINGS; i++)
        if (table[i].kind == COUNT || table[i].kind == SIZE)
            *(int64_t *)((char *)settings + table[i].offset) = SETTINGS_UNSET;
}

static bool is_set(const struct setting *s, const void *field)
{
    if (s->kind == TEXT) return *(char *const *)field != NULL;
    if (s->kind == LIST) return ((const struct settings_list *)field)->n > 0;
    return *(const int64_t *)field != SETTINGS_UNSET;
}

static void swap(void *a, void *b, size_t size)
{
    char c[sizeof(struct settings_list)];
    memcpy(c, a, size), memcpy(a, b, size), memcpy(b, c, size);
}

/* What `over` has takes the place of what settings had; both are then to be freed as before. */
static void overlay(struct settings *settings, struct settings *over)
{
    static const size_t sizes[] = {[TEXT] = sizeof(char *),
                                   [COUNT] = sizeof(int64_t),
                                   [SIZE] = sizeof(int64_t),
                                   [LIST] = sizeof(struct settings_list)};
    for (int i = 0; i < N_SETTINGS; i++) {
        void *from = (char *)over + table[i].offset;
        if (is_set(&table[i], from)) swap((char *)settings + table[i].offset, from, sizes[table[i].kind]);
    }
    for (size_t i = 0; i < N_ASKED_ONCE; i++) {
        char **from = (char **)((char *)over + asked_once[i].offset);
        if (*from) swap((char *)settings + asked_once[i].offset, from, sizeof *from);
    }
    settings->help |= over->help;
    settings->list_tokens |= over->list_tokens;
}

bool settings_read(int argc, char **argv, struct settings *settings, char *why, size_t size)
{
    struct settings file, environment, arguments;
    unset(settings), unset(&file), unset(&environment), unset(&arguments);
    bool ok = true;
    for (int i = 0; i < N_SETTINGS && ok; i++)
        ok = !*table[i].preset || set(settings, &table[i], table[i].preset, why, size);
    for (int i = 1, n; i < argc && ok; i += n)
        ok = (n = take(&arguments, argv + i, why, size)) > 0;
    ok = ok && from_environment(&environment, why, size);
    const char *config = arguments.config ? arguments.config : environment.config;
    if (ok && config) ok = from_file(&file, config, why, size);
    if (ok) overlay(settings, &file), overlay(settings, &environment), overlay(settings, &arguments);
    settings_free(&file), settings_free(&environment), settings_free(&arguments);
    return ok;
}

void settings_free(struct settings *settings)
{
    for (int i = 0; i < N_SETTINGS; i++) {
        void *field = (char *)settings + table[i].offset;
        if (table[i].kind == TEXT) free(*(char **)field);
        if (table[i].kind != LIST) continue;
        struct settings_list *list = field;
        for (size_t k = 0; k < list->n; k++)
            free(list->items[k]);
        free(list->items);
    }
    free(settings->config);
    free(settings->new_token);
    free(settings->remove_token);
    free(settings->scope);
    unset(settings);
}

bool settings_data(const struct settings *settings, char *path, size_t size)
{
    const char *data = settings->data, *xdg = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    int n = -1;
    if (data && *data)
        n = snprintf(path, size, "%s", data);
    else if (xdg && xdg[0] == '/')
        n = snprintf(path, size, "%s/halftone", xdg);
    else if (home && home[0] == '/')
        n = snprintf(path, size, "%s/.local/share/halftone", home);
    return n > 0 && n < (int)size;
}
