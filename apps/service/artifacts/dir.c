/* Folders: made, moved and removed by name, without ever following a link out of them. */
#include "service/artifacts/dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static bool empty_folder(int fd, int depth)
{
    DIR *dir = fdopendir(fd);
    bool gone = true;
    if (!dir) {
        close(fd);
        return false;
    }
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (unlinkat(dirfd(dir), e->d_name, 0) == 0) continue;
        int inner = errno == EISDIR || errno == EPERM
                        ? openat(dirfd(dir), e->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
                        : -1;
        if (inner >= 0 && depth < 32)
            gone = empty_folder(inner, depth + 1) && gone;
        else if (inner >= 0)
            close(inner);
        if (unlinkat(dirfd(dir), e->d_name, AT_REMOVEDIR) != 0) gone = false;
    }
    closedir(dir);
    return gone;
}

bool dir_remove(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT;
    return empty_folder(fd, 0) && rmdir(path) == 0;
}

static bool describes(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, "report.json") == 0 ||
           strcmp(name, "quality.html") == 0;
}

void dir_remove_if_bare(const char *path)
{
    DIR *dir = opendir(path);
    bool bare = dir != NULL;
    for (struct dirent *e; bare && (e = readdir(dir)) != NULL;)
        bare = describes(e->d_name);
    if (dir) closedir(dir);
    if (bare) dir_remove(path);
}

bool dir_make(const char *path)
{
    return mkdir(path, 0700) == 0 || errno == EEXIST;
}

static bool sync_parent(const char *path)
{
    char parent[4200];
    snprintf(parent, sizeof parent, "%s", path);
    char *slash = strrchr(parent, '/');
    if (!slash) return false;
    *slash = '\0';
    int fd = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool done = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0) close(fd);
    return done;
}

bool dir_move(const char *from, const char *to)
{
    return rename(from, to) == 0 && sync_parent(to) && sync_parent(from);
}

bool dir_exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

double dir_bytes(const char *path)
{
    struct stat st;
    double sum = 0;
    if (lstat(path, &st) != 0) return 0;
    if (!S_ISDIR(st.st_mode)) return (double)st.st_blocks * 512;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir && fd >= 0) close(fd);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;)
        if (fstatat(dirfd(dir), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            sum += (double)st.st_blocks * 512;
    if (dir) closedir(dir);
    return sum;
}

void dir_slug(const char *text, char *slug, unsigned size)
{
    unsigned n = 0;
    for (; *text && n + 1 < size; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_';
        if (plain && !(c == '.' && n == 0))
            slug[n++] = (char)c;
        else if (n && slug[n - 1] != '-')
            slug[n++] = '-';
    }
    while (n && slug[n - 1] == '-')
        n--;
    if (!n) slug[n++] = 'm';
    slug[n] = '\0';
}
