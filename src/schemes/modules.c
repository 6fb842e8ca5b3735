/* Names of modules: see modules.h. */
#include "schemes/modules.h"

#include <string.h>

struct ht__module_place ht__module_place(const char *name)
{
    struct ht__module_place place = {.block = -1};
    for (const char *dot = strchr(name, '.'); dot; dot = strchr(dot + 1, '.')) {
        size_t digits = strspn(dot + 1, "0123456789");
        if (digits == 0 || digits > 9 || dot[1 + digits] != '.') continue;
        place.list_len = (size_t)(dot - name);
        place.block = 0;
        for (size_t i = 1; i <= digits; i++)
            place.block = place.block * 10 + (dot[i] - '0');
        place.local = dot + 2 + digits;
        return place;
    }
    return place;
}

void ht__modules_unlike(const struct ht__scheme_package *package, const char *key, struct ht__jw *w)
{
    ht__jw_array(w, key);
    for (size_t i = 0; i < package->n_modules; i++)
        if (!ht__scheme_same(package->modules[i].params, package->params))
            ht__jw_str(w, NULL, package->modules[i].name);
    ht__jw_end(w);
}
