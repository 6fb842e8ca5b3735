/* The list of methods. */
#include "methods/method.h"

#include <string.h>
#include <strings.h>

static const struct ht__method *const methods[] = {
#define HT_METHOD(id) &ht__method_##id,
#include "methods/methods.def"
#undef HT_METHOD
};
enum { N_METHODS = sizeof methods / sizeof methods[0] };
static const struct ht__method *registered;

void ht__method_register(const struct ht__method *method)
{
    registered = method;
}

const struct ht__method *ht__method_at(size_t index)
{
    return index < N_METHODS ? methods[index] : index == N_METHODS ? registered : NULL;
}

const struct ht__method *ht__method_by_name(const char *name, size_t len)
{
    const struct ht__method *method;
    for (size_t i = 0; (method = ht__method_at(i)) != NULL; i++)
        if (strlen(method->name) == len && strncasecmp(name, method->name, len) == 0) return method;
    return NULL;
}

enum ht_err ht__method_parse(const char *text, struct ht__method_params *params, struct ht_diag *diag)
{
    size_t len = strcspn(text, ":");
    const struct ht__method *method = ht__method_by_name(text, len);
    if (!method) return HT_ERR_NOT_FOUND;
    *params = (struct ht__method_params){.method = method};
    ht__options_defaults(method->options, params->option);
    return ht__options_parse(method->name, method->options, text + len, false, params->option, diag);
}

double ht__method_get(const struct ht__method_params *params, const char *option)
{
    int i = ht__options_find(params->method->options, option, strlen(option));
    return i < 0 ? 0 : params->option[i];
}
