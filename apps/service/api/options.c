/* A request's config and options: known, of their kind, and with no path that leaves the allowed folders. */
#include "service/api/job_request.h"
#include "service/child/roots.h"

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
    if (contains_word("output report html overwrite resume part collect-part take-from", o->name))
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

static bool resolve(struct server *server, const char *path, char real[PATH_MAX])
{
    struct stat info;
    return roots_resolve(server->roots, path, real, NULL, &info) == ROOTS_OK && S_ISREG(info.st_mode);
}

/* FILE[:WEIGHT] or default[:WEIGHT], appended with the file's absolute path. A path with a comma would come apart again
 * in the program that is started, and lead elsewhere. */
static bool resolve_part(struct server *server, const char *part, size_t len, char *out, size_t room)
{
    char path[PATH_MAX], real[PATH_MAX];
    const char *colon = memrchr(part, ':', len), *weight = part + len;
    if (colon && colon + 1 < weight && strspn(colon + 1, "0123456789.") >= (size_t)(weight - colon - 1)) weight = colon;
    size_t n = (size_t)(weight - part), used = strlen(out);
    if (n == 0 || n >= sizeof path) return false;
    memcpy(path, part, n);
    path[n] = '\0';
    if (strcmp(path, "default") == 0)
        strcpy(real, path);
    else if (!resolve(server, path, real) || strchr(real, ','))
        return false;
    n = (size_t)snprintf(out + used, room - used, "%s%s%.*s", used ? "," : "", real, (int)(part + len - weight),
                         weight);
    return n < room - used;
}

static bool resolve_texts(struct server *server, const char *text, char *out, size_t room)
{
    *out = '\0';
    for (const char *p = text;; p++) {
        size_t len = strcspn(p, ",");
        if (!resolve_part(server, p, len, out, room)) return false;
        p += len;
        if (*p == '\0') return true;
    }
}

/* A file for importance, or texts to calibrate on, mixed by weight: "default", and paths, which become absolute in
 * their object. */
static void read_path(struct server *server, json_t *object, const char *name, const char *pointer,
                      struct faults *faults)
{
    char real[4 * PATH_MAX] = "";
    const char *text = json_string_value(json_object_get(object, name));
    bool one = strcmp(name, "imatrix") == 0, texts = !one && strcmp(name, "text") != 0;
    if (!text || (strcmp(text, "default") == 0 && !one)) return;
    if (!(texts ? resolve_texts(server, text, real, sizeof real) : resolve(server, text, real)))
        faults_add(faults, pointer, "there is no such file under the allowed folders%s",
                   one ? "" : "; \"default\" is the text that the program brings");
    else
        json_object_set_new(object, name, json_string(real));
}

static void check_text(const char *name, const char *text, const char *pointer, struct faults *faults)
{
    if (strlen(text) > 4096 || !printable(text)) faults_add(faults, pointer, "expected a line of at most 4096 bytes");
    /* what file names begin with: it must not become another folder, or an option */
    if (strcmp(name, "name") == 0)
        for (const char *p = text; *p || p == text; p++)
            if (!isalnum((unsigned char)*p) && (p == text || !strchr("._-+ ", *p))) {
                faults_add(faults, pointer, "expected letters, digits, blanks and \"._-+\"");
                return;
            }
}

static void check_kind(const struct ht_option_info *o, const json_t *value, const char *pointer, struct faults *faults)
{
    const json_t *item;
    size_t i;
    if (o->kind == HT_OPTION_FLAG) {
        if (!json_is_boolean(value)) faults_add(faults, pointer, "expected true or false");
    } else if (json_is_string(value)) {
        check_text(o->name, json_string_value(value), pointer, faults);
    } else if (json_is_array(value) && o->kind == HT_OPTION_LIST && json_array_size(value) <= 256) {
        json_array_foreach(value, i, item)
            if (!json_is_string(item))
                faults_add(faults, pointer, "expected a list of texts");
            else
                check_text(o->name, json_string_value(item), pointer, faults);
    } else if (!json_is_number(value)) {
        faults_add(faults, pointer,
                   o->kind == HT_OPTION_LIST ? "expected a text or a list of at most 256 texts" : "expected a text");
    }
}

void options_read(struct server *server, json_t *options, struct faults *faults)
{
    static const char *const paths[] = {"imatrix", "calibration", "text"};
    const char *name;
    json_t *value;
    json_object_foreach(options, name, value) {
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
                                          {"calibration_length", FIELD_INTEGER, 16, 1 << 20},
                                          {"calibration_seed", FIELD_INTEGER, 1, UINT32_MAX},
                                          {"effort", FIELD_TEXT, 1, 16},
                                          {"fit", FIELD_TEXT, 1, 32},
                                          {"bpw", FIELD_NUMBER, .01, 32},
                                          {"ctx", FIELD_INTEGER, 1, 1 << 26},
                                          {"gpu", FIELD_TEXT, 1, 64},
                                          {"budget_time", FIELD_TEXT, 1, 16},
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
