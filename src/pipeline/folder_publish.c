#include "pipeline/folder_publish.h"
#include "base/made_folder.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

enum ht_err ht__folder_begin(const struct ht__plan *plan, const struct ht__plan_output *out, struct ht_diag *diag)
{
    bool overwrite = plan->settings->publish.overwrite;
    HT_TRY(ht__made_folder_check(out->folder, overwrite, "config.json", "a model's", diag));
    return ht__make_dirs(out->made, diag);
}

enum ht_err ht__folder_publish(struct ht__plan_output *out, struct ht_diag *diag)
{
    enum ht_err err = ht__made_folder_publish(out->made, out->folder, &out->replaced, diag);
    out->published = !ht__path_exists(out->made); /* even where syncing failed */
    return err;
}

void ht__folder_retract(struct ht__plan_output *out)
{
    if (!out->published || out->replaced) return;
    if (renameat2(AT_FDCWD, out->folder, AT_FDCWD, out->made, RENAME_NOREPLACE) == 0) out->published = false;
}

void ht__folder_abandon(const struct ht__plan_output *out)
{
    if (out->made && !out->published) rmdir(out->made);
}
