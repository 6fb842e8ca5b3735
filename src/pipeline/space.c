#include "pipeline/space.h"
#include "base/text.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A whole small file of the kernel's as a number; otherwise where it says something else or is not there. */
static uint64_t kernel_number(const char *path, uint64_t otherwise)
{
    char text[32] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0) close(fd);
    return n > 0 && *text >= '0' && *text <= '9' ? strtoull(text, NULL, 10) : otherwise;
}

uint64_t ht__machine_memory(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    uint64_t all = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_MAX;
    /* In a container these are its own group's, by the second and the first version of control groups. */
    uint64_t allowed = kernel_number("/sys/fs/cgroup/memory.max",
                                     kernel_number("/sys/fs/cgroup/memory/memory.limit_in_bytes", UINT64_MAX));
    return allowed < all ? allowed : all;
}

enum ht_err ht__space_ask(const struct ht__plan *plan, struct ht__space *space, struct ht_diag *diag)
{
    char *folder = space->folder;
    snprintf(folder, sizeof space->folder, "%s", plan->outputs[0].files[0].path);
    do { /* up to what exists: the folder is made when the job runs */
        char *slash = strrchr(folder, '/');
        if (!slash)
            strcpy(folder, ".");
        else
            slash[slash == folder] = '\0';
    } while (!ht__path_exists(folder) && strcmp(folder, ".") != 0 && strcmp(folder, "/") != 0);
    space->memory = ht__machine_memory();
    return ht__disk_free(folder, &space->disk_free, diag);
}

enum ht_err ht__space_check_disk(const struct ht__plan *plan, const struct ht__space *space, struct ht_diag *diag)
{
    if (plan->out_bytes <= space->disk_free) return HT_OK;
    char need[24], left[24];
    return ht__fail(diag, HT_ERR_NO_SPACE, space->folder, -1, "the outputs need %s, but only %s is free",
                    ht__text_bytes(plan->out_bytes, need), ht__text_bytes(space->disk_free, left));
}

enum ht_err ht__space_check_memory(const struct ht__plan *plan, const struct ht__space *space, struct ht_diag *diag)
{
    if (plan->memory > plan->memory_limit) return ht__memory_too_small(plan->memory, plan->memory_limit, diag);
    if (plan->memory > space->memory)
        return ht__fail(diag, HT_ERR_NO_MEMORY_BUDGET, "memory", -1, "this job needs %llu MB; this machine has %llu MB",
                        (unsigned long long)(plan->memory / 1000000 + 1),
                        (unsigned long long)(space->memory / 1000000));
    return HT_OK;
}
