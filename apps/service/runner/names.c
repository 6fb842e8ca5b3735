#include "service/runner/names.h"

#include "service/artifacts/dir.h"
#include "service/store/claims.h"

#include <stdio.h>
#include <string.h>

void name_place(const json_t *request, const struct store_claim *claim, bool far, char *name, size_t size)
{
    char slug[80];
    const char *source = json_string_value(json_object_get(request, "source_model"));
    const char *slash = source ? strrchr(source, '/') : NULL;
    dir_slug(slash && slash[1] ? slash + 1 : source ? source : "", slug, sizeof slug);
    if (far)
        snprintf(name, size, "objects/%s-%s.e%lld", slug, claim->id, (long long)claim->epoch);
    else
        snprintf(name, size, "models/%s-%s", slug, claim->id);
}

bool name_id(const char *name, char id[STORE_ID_SIZE])
{
    size_t n = strspn(name, "0123456789abcdef"), length = strlen(name);
    const char *at = n >= STORE_ID_SIZE - 1 && name[STORE_ID_SIZE - 1] == '.' ? name : NULL; /* ID.e7 */
    const char *epoch = at ? NULL : strrchr(name, '.');
    if (epoch && epoch[1] == 'e' && epoch[2] && strspn(epoch + 2, "0123456789") == strlen(epoch + 2))
        length = (size_t)(epoch - name); /* SLUG-ID.e7 */
    if (!at && length >= STORE_ID_SIZE - 1) at = name + length - (STORE_ID_SIZE - 1);
    if (!at || strspn(at, "0123456789abcdef") < STORE_ID_SIZE - 1 || (at != name && at[-1] != '-')) return false;
    snprintf(id, STORE_ID_SIZE, "%s", at);
    return true;
}

bool name_folder(const char *name, char folder[300], char id[STORE_ID_SIZE])
{
    const char *first = strchr(name, '/'), *second = first ? strchr(first + 1, '/') : NULL;
    if (!second || second - name >= 300) return false;
    snprintf(folder, 300, "%.*s", (int)(second - name), name);
    return name_id(folder + (first + 1 - name), id);
}
