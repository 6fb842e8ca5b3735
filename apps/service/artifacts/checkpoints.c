#include "service/artifacts/checkpoints.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_IN_FOLDER = 10000 };

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return n >= m && strcmp(text + n - m, end) == 0;
}

/* Parts of a split file after the first are not listed by themselves. */
static bool later_part(const char *name)
{
    const char *at = strstr(name, "-of-");
    return at && at - name >= 6 && ends_with(name, ".gguf") && strncmp(at - 6, "-00001", 6) != 0 && at[-6] == '-';
}

const char *checkpoints_file(const char *name)
{
    if (ends_with(name, ".gguf")) return later_part(name) ? NULL : "gguf";
    if (ends_with(name, ".safetensors")) return "safetensors";
    if (ends_with(name, ".pt") || ends_with(name, ".pth") || ends_with(name, ".bin")) return "pytorch";
    return NULL;
}

const char *checkpoints_folder(int parent, const char *name, int64_t *size)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const char *format = NULL;
    bool config = false;
    struct dirent *e;
    int64_t sizes[2] = {0, 0};
    if (!dir) {
        if (fd >= 0) close(fd);
        return NULL;
    }
    for (int n = 0; n < MAX_IN_FOLDER && (e = readdir(dir)) != NULL; n++) {
        struct stat info;
        const char *f = checkpoints_file(e->d_name);
        if (strcmp(e->d_name, "config.json") == 0) config = true;
        if (!f || strcmp(f, "gguf") == 0 || fstatat(dirfd(dir), e->d_name, &info, 0) != 0) continue;
        bool safe = strcmp(f, "safetensors") == 0;
        sizes[safe] += info.st_size;
        if (safe || !format) format = safe ? "safetensors" : "pytorch";
    }
    closedir(dir);
    *size = sizes[format && strcmp(format, "safetensors") == 0];
    return config ? format : NULL;
}
