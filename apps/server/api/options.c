/* A request's config and options: known, of their kind, and with no path that leaves the allowed folders. */
#include "server/api/job_request.h"
#include "server/api/roots.h"

#include <halftone/halftone.h>

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool contains_word(const char *words, const char *word)
{
    size_t n = strlen(word);
    for (const char *p = words; (p = strstr(p, word)) != NULL; p += n)
        if ((p == words || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0')) return true;
    return false;
}

static bool find_option(const char *name, struct ht_option_info *o)
{
    for (size_t i = 0; ht_option_at(i, o); i++)
        if (strcmp(o->name, name) == 0 && contains_word(o->verbs, "quantize")) return true;
    return false;
}

/* Options that say what the service itself decides: what is written, and where. */
static const char *refusal(const struct ht_option_info *o)
{
    if (strcmp(o->name, "type") == 0) return "types belong into gguf_quant_types";
    if (contains_word("output report html overwrite resume", o->name))
        return "the service decides where and how files are written";
    bool path = strstr(o->metavar, "FILE") || strstr(o->metavar, "DIR") || strstr(o->metavar, "MODEL");
    if (path && !contains_word("imatrix calibration text", o->name))
        return "this option names a place that the service does not give";
    return NULL;
}

static bool printable(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f) return false;
    return true;
}

/* A text or a file for importance: "default", or a path, which becomes absolute in its object. */
static void read_path(struct server *server, json_t *object, const char *name, const char *pointer,
                      struct faults *faults)
{
    char real[PATH_MAX];
    struct stat info;
    const char *text = json_string_value(json_object_get(object, name));
    if (!text || (strcmp(text, "default") == 0 && strcmp(name, "imatrix") != 0)) return;
    if (roots_resolve(server->roots, text, real, NULL, &info) != ROOTS_OK || !S_ISREG(info.st_mode))
        faults_add(faults, pointer, "there is no such file under the allowed folders%s",
                   strcmp(name, "imatrix") == 0 ? "" : "; \"default\" is the text that the program brings");
    else
        json_object_set_new(object, name, json_string(real));
}

static void check_text(const char *name, const char *text, const char *pointer, struct faults *faults)
{
    if (strlen(text) > 4096 || !printable(text))
        faults_add(faults, pointer, "a line of at most 4096 bytes is wanted");
    /* what file names begin with: it must not become another folder, or an option */
    if (strcmp(name, "name") == 0)
        for (const char *p = text; *p || p == text; p++)
            if (!isalnum((unsigned char)*p) && (p == text || !strchr("._-+ ", *p))) {
                faults_add(faults, pointer, "letters, digits, blanks and \"._-+\" are wanted");
                return;
            }
}

static void check_kind(const struct ht_option_info *o, const json_t *value, const char *pointer,
                       struct faults *faults)
{
    const json_t *item;
    size_t i;
    if (o->kind == HT_OPTION_FLAG) {
        if (!json_is_boolean(value)) faults_add(faults, pointer, "true or false is wanted");
    } else if (json_is_string(value)) {
        check_text(o->name, json_string_value(value), pointer, faults);
    } else if (json_is_array(value) && o->kind == HT_OPTION_LIST && json_array_size(value) <= 256) {
        json_array_foreach(value, i, item) if (!json_is_string(item))
            faults_add(faults, pointer, "a list of texts is wanted");
        else check_text(o->name, json_string_value(item), pointer, faults);
    } else if (!json_is_number(value)) {
        faults_add(faults, pointer,
                   o->kind == HT_OPTION_LIST ? "a text or a list of at most 256 texts is wanted"
                                             : "a text is wanted");
    }
}

void options_read(struct server *server, json_t *options, struct faults *faults)
{
    static const char *const paths[] = {"imatrix", "calibration", "text"};
    const char *name;
    json_t *value;
    json_object_foreach(options, name, value)
    {
        struct ht_option_info o;
        char pointer[256];
        faults_pointer(pointer, sizeof pointer, "/options", name);
        if (!find_option(name, &o))
            faults_add(faults, pointer, "`halftone quantize` has no option \"%.60s\"", name);
        else if (refusal(&o))
            faults_add(faults, pointer, "%s", refusal(&o));
        else
            check_kind(&o, value, pointer, faults);
    }
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char pointer[64];
        snprintf(pointer, sizeof pointer, "/options/%s", paths[i]);
        read_path(server, options, paths[i], pointer, faults);
    }
}

void config_read(struct server *server, json_t *config, struct faults *faults)
{
    static const struct field fields[] = {{"use_imatrix", FIELD_FLAG, 0, 0},
                                          {"imatrix_dataset", FIELD_TEXT, 1, 1024},
                                          {"calibration_dataset", FIELD_TEXT, 1, 1024},
                                          {"calibration_samples", FIELD_INTEGER, 1, 100000},
                                          {"group_size", FIELD_INTEGER, -1, 65536},
                                          {"desc_act", FIELD_FLAG, 0, 0},
                                          {"damp_percent", FIELD_NUMBER, 0, 1},
                                          {"threads", FIELD_INTEGER, 1, 1024},
                                          {"verify_output", FIELD_FLAG, 0, 0},
                                          {"measure", FIELD_FLAG, 0, 0},
                                          {NULL, FIELD_FLAG, 0, 0}};
    fields_check(config, fields, "/config", faults);
    read_path(server, config, "imatrix_dataset", "/config/imatrix_dataset", faults);
    read_path(server, config, "calibration_dataset", "/config/calibration_dataset", faults);
}

const char *mix_named(const char *name, bool *needs_importance)
{
    struct ht_mix_info m;
    struct ht_type_info t;
    for (size_t i = 0; ht_mix_at(i, &m); i++) {
        if (strcasecmp(m.name, name) != 0) continue;
        /* a mix may want what its type does not: the list says so in words */
        *needs_importance = strstr(m.about, "needs importance") != NULL;
        for (size_t k = 0; ht_type_at(k, &t); k++)
            if (strcmp(t.name, m.default_type) == 0 && t.needs_importance) *needs_importance = true;
        return m.name;
    }
    return NULL;
}
