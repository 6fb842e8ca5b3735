/* What clients write: a body, the names of hosts and sites, and a child's words with paths in them. */
#include "service/api/access.h"
#include "service/api/estimates.h"
#include "service/api/job_request.h"
#include "service/api/json.h"
#include "service/child/roots.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What a body asks for, asked for again by type and options in one, is the same. */
static void check_outputs(const json_t *body)
{
    struct faults faults = {0};
    bool known;
    json_t *outputs = outputs_read(body, true, &faults, &known), *o;
    size_t i;
    json_array_foreach(outputs, i, o) {
        struct faults none = {0};
        json_t *again = json_pack("{s:[{s:O}]}", "outputs", "type", json_object_get(o, "quant_type"));
        json_t *same = outputs_read(again, true, &none, &known);
        if (none.list || json_array_size(same) != 1 || !json_equal(json_array_get(same, 0), o)) abort();
        json_decref(same);
        json_decref(again);
    }
    if (json_array_size(faults.list) > 50) abort();
    json_decref(faults.list);
    json_decref(outputs);
}

/* An object that was taken can be written, and read again as the same. */
static void check_body(const char *text, size_t len)
{
    static const struct field fields[] = {
        {"a", FIELD_TEXT, 1, 8}, {"b", FIELD_TEXTS, 0, 2}, {"c", FIELD_NUMBER, 0, 1}, {NULL, FIELD_FLAG, 0, 0}};
    char why[40] = "";
    struct faults faults = {0};
    json_t *body = api_parse_object(text, len, why, sizeof why);
    if (!body) {
        if (!*why) abort();
        return;
    }
    fields_check(body, fields, "", &faults);
    if (json_array_size(faults.list) > 50) abort();
    check_outputs(body);
    char *again = json_dumps(body, JSON_COMPACT);
    json_t *copy = again ? json_loads(again, JSON_REJECT_DUPLICATES, NULL) : NULL;
    if (again && !json_equal(copy, body)) abort();
    json_decref(copy);
    free(again);
    json_decref(faults.list);
    json_decref(body);
}

static void check_names(const char *text)
{
    char own[] = "quant.example.org", *names[] = {own};
    const struct settings_list allowed = {names, 1};
    char name[256];
    bool known = access_host_allowed(text, "10.1.2.3", &allowed);
    if (known && !access_host_name(text, name)) abort();
    if (known && !strstr(name, "localhost") && !strstr(name, "quant.example.org") && !strpbrk(name, "0123456789:"))
        abort();
    access_same_site(text, "localhost:8700");
}

/* No word that begins with '/' has a second one, for no folder is allowed. */
static void check_paths(const struct roots *roots, const char *text)
{
    char shown[128];
    api_hide_paths(roots, text, shown, sizeof shown);
    if (strlen(shown) >= sizeof shown) abort();
    if (strncmp(shown, "/etc/", 5) == 0 || strstr(shown, " /etc/")) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct settings_list none = {NULL, 0};
    struct roots *roots;
    char why[64], *text = malloc(size + 1);
    if (!text || !roots_open(&none, &roots, why, sizeof why)) abort();
    memcpy(text, data, size);
    text[size] = '\0';
    check_body(text, size);
    check_names(text);
    check_paths(roots, text);
    roots_close(&roots);
    free(text);
    return 0;
}
