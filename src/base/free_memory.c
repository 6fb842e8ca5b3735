#include "base/free_memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH = 4096, LINE = 4096 };

/* The number after `name` at the start of a line; name "": that of the first line. */
static bool number_in(const char *root, const char *folder, const char *file, const char *name, uint64_t *value)
{
    char path[3 * PATH], line[LINE];
    size_t n = strlen(name);
    bool found = false;
    snprintf(path, sizeof path, "%s%s/%s", root, folder, file);
    FILE *f = fopen(path, "re");
    while (f && !found && fgets(line, sizeof line, f)) {
        const char *at = line + n;
        if (strncmp(line, name, n) != 0) continue;
        at += strspn(at, ": \t");
        found = *at >= '0' && *at <= '9';
        if (found) *value = strtoull(at, NULL, 10);
    }
    if (f) fclose(f);
    return found;
}

struct group_files {
    const char *limit, *used, *cached, *shared;
};

static void take_less(uint64_t *least, uint64_t value)
{
    if (value < *least) *least = value;
}

/* What a group leaves: cached files can go, those that only memory holds cannot. */
static void take_group(const char *root, const char *folder, const struct group_files *files, uint64_t *least)
{
    uint64_t limit, used, cached = 0, shared = 0;
    if (!number_in(root, folder, files->limit, "", &limit) || !number_in(root, folder, files->used, "", &used)) return;
    if (!number_in(root, folder, "memory.stat", files->cached, &cached)) cached = 0;
    if (!number_in(root, folder, "memory.stat", files->shared, &shared)) shared = 0;
    uint64_t kept = used > cached ? used - cached : 0;
    kept += shared < cached ? shared : cached;
    take_less(least, limit > kept ? limit - kept : 0);
}

/* The process's group and those that it is in: each has a limit of its own. */
static void take_groups(const char *root, uint64_t *least)
{
    static const struct group_files second = {"memory.max", "memory.current", "file ", "shmem "};
    char path[PATH + 32], folder[PATH], line[LINE], own[PATH] = "";
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *f = strlen(root) < PATH ? fopen(path, "re") : NULL;
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "0::", 3) == 0) snprintf(own, sizeof own, "%.*s", (int)strcspn(line + 3, "\n"), line + 3);
    if (f) fclose(f);
    for (;;) {
        snprintf(folder, sizeof folder, "/sys/fs/cgroup%.*s", PATH - 32, own);
        take_group(root, folder, &second, least);
        char *slash = strrchr(own, '/');
        if (!slash) return;
        *slash = '\0';
    }
}

uint64_t ht__free_memory_in(const char *root)
{
    static const struct group_files first = {"memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache ",
                                             "total_shmem "};
    uint64_t kilobytes, least;
    if (!number_in(root, "/proc", "meminfo", "MemAvailable", &kilobytes) || kilobytes > UINT64_MAX / 1024) return 0;
    least = kilobytes * 1024;
    take_groups(root, &least);
    take_group(root, "/sys/fs/cgroup/memory", &first, &least);
    return least;
}

uint64_t ht__free_memory(void)
{
    return ht__free_memory_in("");
}
