#include "base/made_folder.h"
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static enum ht_err check_replaceable(const char *folder, const char *marker, const char *what, struct ht_diag *diag)
{
    bool marked = false, other = false;
    DIR *dir = opendir(folder);
    if (!dir) return ht__fail_errno(diag, errno, folder, "cannot list the folder");
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        marked |= strcmp(e->d_name, marker) == 0;
        other |= fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 || !S_ISREG(st.st_mode);
    }
    closedir(dir);
    if (marked && !other) return HT_OK;
    return ht__fail(diag, HT_ERR_EXISTS, folder, -1,
                    "the folder exists and is more than %s files: --overwrite does not replace it", what);
}

enum ht_err ht__made_folder_check(const char *path, bool overwrite, const char *marker, const char *what,
                                  struct ht_diag *diag)
{
    if (!ht__path_exists(path)) return HT_OK;
    if (!overwrite) return ht__fail(diag, HT_ERR_EXISTS, path, -1, "the folder exists; --overwrite replaces it");
    if (!ht__path_is_dir(path)) return ht__fail(diag, HT_ERR_EXISTS, path, -1, "a file is in the folder's place");
    return check_replaceable(path, marker, what, diag);
}

void ht__made_folder_remove(const char *path)
{
    DIR *dir = opendir(path);
    if (!dir) return;
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    rmdir(path);
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

enum ht_err ht__made_folder_publish(const char *made, const char *path, bool *replaced, struct ht_diag *diag)
{
    *replaced = ht__path_exists(path);
    if (renameat2(AT_FDCWD, made, AT_FDCWD, path, *replaced ? RENAME_EXCHANGE : RENAME_NOREPLACE) != 0)
        return ht__fail_errno(diag, errno, path, "cannot rename into place");
    if (*replaced) ht__made_folder_remove(made); /* it was looked at before the work */
    return sync_parent(path, diag);
}
