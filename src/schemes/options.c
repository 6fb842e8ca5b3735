/* Options of schemes and methods as text. */
#include "schemes/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

int ht__options_find(const struct ht__scheme_option *options, const char *name, size_t len)
{
    for (int i = 0; options && options[i].name; i++)
        if (strlen(options[i].name) == len && strncasecmp(options[i].name, name, len) == 0) return i;
    return -1;
}

void ht__options_defaults(const struct ht__scheme_option *options, double *values)
{
    for (int i = 0; options && options[i].name; i++)
        values[i] = options[i].otherwise;
}

/* Word i of the list; its length, 0 past the last. */
static size_t word_at(const char *list, int i, const char **word)
{
    for (;; i--) {
        list += strspn(list, " ");
        size_t len = strcspn(list, " ");
        *word = list;
        if (i == 0 || len == 0) return len;
        list += len;
    }
}

static bool is_number(const char *text, size_t len, double *value)
{
    char buffer[32], *end;
    if (len == 0 || len >= sizeof buffer) return false;
    memcpy(buffer, text, len);
    buffer[len] = '\0';
    *value = strtod(buffer, &end);
    return *end == '\0' && end != buffer && *value == *value && *value - *value == 0;
}

static bool parse_value(const struct ht__scheme_option *o, const char *text, size_t len, double *value)
{
    const char *word;
    size_t n;
    double number;
    if (!o->choices) return is_number(text, len, value) && *value >= o->least && *value <= o->most;
    for (int i = 0; (n = word_at(o->choices, i, &word)) > 0; i++) {
        if (n != len || strncasecmp(word, text, len) != 0) continue;
        *value = is_number(word, n, &number) ? number : i;
        return true;
    }
    return false;
}

static enum ht_err refuse_option(const char *owner, const struct ht__scheme_option *options, const char *text,
                                 size_t len, struct ht_diag *diag)
{
    char known[200] = "";
    size_t used = 0;
    for (int i = 0; options && options[i].name && used < sizeof known - 32; i++)
        if (!options[i].reading)
            used += (size_t)snprintf(known + used, sizeof known - used, "%s%s", used ? ", " : "", options[i].name);
    return ht__fail(diag, HT_ERR_USAGE, "type", -1, "%s has no option \"%.*s\"%s%s", owner, (int)(len < 40 ? len : 40),
                    text, used ? "; it has " : ", nor any other", known);
}

static enum ht_err refuse_value(const char *owner, const struct ht__scheme_option *o, const char *text, size_t len,
                                struct ht_diag *diag)
{
    int shown = (int)(len < 40 ? len : 40);
    if (o->choices)
        return ht__fail(diag, HT_ERR_USAGE, "type", -1, "%s: %s is one of %s, not \"%.*s\"", owner, o->name, o->choices,
                        shown, text);
    return ht__fail(diag, HT_ERR_USAGE, "type", -1, "%s: %s is a number from %g to %g, not \"%.*s\"", owner, o->name,
                    o->least, o->most, shown, text);
}

enum ht_err ht__options_parse(const char *owner, const struct ht__scheme_option *options, const char *text,
                              bool reading, double *values, struct ht_diag *diag)
{
    for (const char *p = text; *p; p += strcspn(p, ",")) {
        p++; /* the colon, or a comma */
        size_t all = strcspn(p, ","), key = strcspn(p, "=,");
        int i = ht__options_find(options, p, key);
        if (i < 0 || (options[i].reading && !reading)) return refuse_option(owner, options, p, key, diag);
        const struct ht__scheme_option *o = &options[i];
        const char *value = p + key + (key < all);
        size_t n = all - (size_t)(value - p);
        if (!parse_value(o, value, n, &values[i])) return refuse_value(owner, o, value, n, diag);
    }
    return HT_OK;
}

const char *ht__option_text(const struct ht__scheme_option *o, double value, char *buffer, size_t size)
{
    const char *word;
    double number;
    size_t n = o->choices ? word_at(o->choices, 0, &word) : 0;
    if (n && !is_number(word, n, &number) && (n = word_at(o->choices, (int)value, &word)) > 0)
        snprintf(buffer, size, "%.*s", (int)n, word);
    else
        snprintf(buffer, size, "%g", value);
    return buffer;
}

const char *ht__options_text(const char *owner, const struct ht__scheme_option *options, const double *values,
                             char *buffer, size_t size)
{
    size_t used = (size_t)snprintf(buffer, size, "%s", owner);
    char value[40], between = ':';
    for (int i = 0; options && options[i].name && used < size; i++) {
        if (options[i].reading || values[i] == options[i].otherwise) continue;
        ht__option_text(&options[i], values[i], value, sizeof value);
        used += (size_t)snprintf(buffer + used, size - used, "%c%s=%s", between, options[i].name, value);
        between = ',';
    }
    return buffer;
}
