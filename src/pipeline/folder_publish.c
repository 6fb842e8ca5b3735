#include "pipeline/folder_publish.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* What --overwrite may take away: a model's folder that has nothing but files. */
static enum ht_err check_replaceable(const char *folder, struct ht_diag *diag)
{
    bool config = false, other = false;
    DIR *dir = opendir(folder);
    if (!dir) return ht__fail_errno(diag, errno, folder, "cannot list the folder");
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        config |= strcmp(e->d_name, "config.json") == 0;
        other |= fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode);
    }
    closedir(dir);
    if (config && !other) return HT_OK;
    return ht__fail(diag, HT_ERR_EXISTS, folder, -1,
                    "the folder exists and is more than a model's files: --overwrite does not replace it");
}

enum ht_err ht__folder_begin(const struct ht__plan *plan, const struct ht__plan_output *out, struct ht_diag *diag)
{
    if (ht__path_exists(out->folder)) {
        if (!plan->settings->publish.overwrite)
            return ht__fail(diag, HT_ERR_EXISTS, out->folder, -1, "the folder exists; --overwrite replaces it");
        if (!ht__path_is_dir(out->folder))
            return ht__fail(diag, HT_ERR_EXISTS, out->folder, -1, "a file is in the folder's place");
        HT_TRY(check_replaceable(out->folder, diag));
    }
    return ht__make_dirs(out->made, diag);
}

/* The folder's entry in its parent. */
static enum ht_err sync_parent(const char *path, struct ht_diag *diag)
{
    char parent[4096];
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (slash) *(slash == parent ? slash + 1 : slash) = '\0';
    int fd = open(slash ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return ht__fail_errno(diag, errno, parent, "cannot open the folder");
    int failed = fsync(fd) != 0 && errno != EINVAL ? errno : 0;
    close(fd);
    return failed ? ht__fail_errno(diag, failed, parent, "cannot sync") : HT_OK;
}

/* check_replaceable() looked at it when the run began. */
static void remove_folder(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir) return;
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    rmdir(path);
}

enum ht_err ht__folder_publish(struct ht__plan_output *out, struct ht_diag *diag)
{
    out->replaced = ht__path_exists(out->folder);
    unsigned how = out->replaced ? RENAME_EXCHANGE : RENAME_NOREPLACE;
    if (renameat2(AT_FDCWD, out->made, AT_FDCWD, out->folder, how) != 0)
        return ht__fail_errno(diag, errno, out->folder, "cannot rename into place");
    out->published = true;
    if (out->replaced) remove_folder(out->made);
    return sync_parent(out->folder, diag);
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
