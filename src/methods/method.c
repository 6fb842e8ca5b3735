/* The list of methods. */
#include "methods/method.h"

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

const struct ht__method *ht__method_by_name(const char *name)
{
    const struct ht__method *method;
    for (size_t i = 0; (method = ht__method_at(i)) != NULL; i++)
        if (strcasecmp(name, method->name) == 0) return method;
    return NULL;
}
