#include "api/export.h"
#include "job/inspect.h"

#include <string.h>

HT_EXPORT enum ht_err ht_inspect(const char *path, unsigned flags, char **json, struct ht_diag *diag)
{
    struct ht__buf buf;
    ht__diag_clear(diag);
    if (!path || !json) return ht__fail(diag, HT_ERR_USAGE, NULL, -1, "no path or no place for the result");
    *json = NULL;
    ht__buf_init(&buf, NULL);
    enum ht_err err = ht__inspect(path, flags, &buf, diag);
    if (err == HT_OK && !(*json = strdup(ht__buf_text(&buf)))) err = ht__fail_memory(diag, path);
    ht__buf_close(&buf);
    return err;
}
