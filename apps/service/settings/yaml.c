/* The configuration file: one mapping of settings to texts or lists of texts, in a small subset of YAML. */
#include "service/settings/settings.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

enum place { AT_START, IN_DOCUMENT, AT_KEY, AT_VALUE, IN_LIST, AT_END };

struct reading {
    struct settings *settings;
    const char *file;
    enum place place;
    char key[64];
    char seen[64][64]; /* keys that came, for the second of a name */
    size_t n_seen;
    char *why;
    size_t size;
};

static bool wrong(struct reading *r, size_t line, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool wrong(struct reading *r, size_t line, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    snprintf(r->why, r->size, "%s, line %zu: %s", r->file, line + 1, text);
    return false;
}

static bool take_key(struct reading *r, const char *text, size_t line)
{
    if (strlen(text) >= sizeof r->key) return wrong(r, line, "there is no setting \"%.60s…\"", text);
    for (size_t i = 0; i < r->n_seen; i++)
        if (strcmp(r->seen[i], text) == 0) return wrong(r, line, "%s is there twice", text);
    if (r->n_seen == sizeof r->seen / sizeof *r->seen) return wrong(r, line, "there are too many settings");
    snprintf(r->key, sizeof r->key, "%s", text);
    snprintf(r->seen[r->n_seen++], sizeof *r->seen, "%s", text);
    r->place = AT_VALUE;
    return true;
}

static bool take_scalar(struct reading *r, const yaml_event_t *e)
{
    const char *text = (const char *)e->data.scalar.value;
    size_t line = e->start_mark.line;
    char why[300];
    if (e->data.scalar.anchor || e->data.scalar.tag) return wrong(r, line, "anchors and tags are not taken");
    if (strlen(text) != e->data.scalar.length) return wrong(r, line, "a text holds a NUL");
    if (r->place == AT_KEY) return take_key(r, text, line);
    if (r->place != AT_VALUE && r->place != IN_LIST) return wrong(r, line, "expected a mapping of settings");
    if (!settings_set(r->settings, r->key, text, why, sizeof why)) return wrong(r, line, "%s", why);
    if (r->place == AT_VALUE) r->place = AT_KEY;
    return true;
}

static bool take_mapping(struct reading *r, const yaml_event_t *e)
{
    if (r->place != IN_DOCUMENT)
        return wrong(r, e->start_mark.line, "%s: expected a text or a list", r->place == AT_KEY ? "key" : r->key);
    if (e->data.mapping_start.anchor || e->data.mapping_start.tag)
        return wrong(r, e->start_mark.line, "anchors and tags are not taken");
    r->place = AT_KEY;
    return true;
}

static bool take_list(struct reading *r, const yaml_event_t *e)
{
    if (r->place != AT_VALUE) return wrong(r, e->start_mark.line, "a list is not allowed here");
    if (e->data.sequence_start.anchor || e->data.sequence_start.tag)
        return wrong(r, e->start_mark.line, "anchors and tags are not taken");
    if (!settings_is_list(r->key)) return wrong(r, e->start_mark.line, "%.60s is one value, not a list", r->key);
    r->place = IN_LIST;
    return true;
}

static bool take_event(struct reading *r, const yaml_event_t *e)
{
    size_t line = e->start_mark.line;
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT:
        if (r->place != AT_START) return wrong(r, line, "a second document");
        r->place = IN_DOCUMENT;
        return true;
    case YAML_SCALAR_EVENT: /* an empty document is one empty scalar: nothing is set */
        if (r->place == IN_DOCUMENT && !e->data.scalar.length && e->data.scalar.plain_implicit)
            return r->place = AT_END, true;
        return take_scalar(r, e);
    case YAML_MAPPING_START_EVENT: return take_mapping(r, e);
    case YAML_MAPPING_END_EVENT: return r->place = AT_END, true;
    case YAML_SEQUENCE_START_EVENT: return take_list(r, e);
    case YAML_SEQUENCE_END_EVENT: return r->place = AT_KEY, true;
    case YAML_ALIAS_EVENT: return wrong(r, line, "aliases are not taken");
    default: return true;
    }
}

bool settings_config(struct settings *settings, const char *name, const unsigned char *text, size_t len, char *why,
                     size_t size)
{
    struct reading r = {.settings = settings, .file = name, .why = why, .size = size};
    yaml_parser_t parser;
    bool ok = true, more = true;
    if (!yaml_parser_initialize(&parser)) return snprintf(why, size, "not enough memory"), false;
    yaml_parser_set_input_string(&parser, text, len);
    while (ok && more) {
        yaml_event_t e;
        if (!yaml_parser_parse(&parser, &e)) {
            ok = wrong(&r, parser.problem_mark.line, "%s", parser.problem ? parser.problem : "no YAML");
            break;
        }
        more = e.type != YAML_STREAM_END_EVENT;
        ok = take_event(&r, &e);
        yaml_event_delete(&e);
    }
    yaml_parser_delete(&parser);
    return ok;
}
