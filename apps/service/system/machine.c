#include "service/system/machine.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined __aarch64__
#include <sys/auxv.h>
#endif
#include <sys/stat.h>
#include <unistd.h>

/* The value of the first line "NAME : value" of a file of the system. */
static bool line_value(const char *path, const char *name, char *value, size_t size)
{
    char line[512];
    FILE *f = fopen(path, "re");
    bool found = false;
    while (f && !found && fgets(line, sizeof line, f)) {
        if (strncmp(line, name, strlen(name)) != 0) continue;
        const char *colon = strchr(line, ':');
        if (!colon) continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(value, size, "%.*s", (int)strcspn(colon, "\n"), colon);
        found = true;
    }
    if (f) fclose(f);
    return found;
}

static json_t *levels(void)
{
    json_t *list = json_pack("[s]", "scalar");
#if defined __x86_64__
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        json_array_append_new(list, json_string("avx2"));
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512vbmi2"))
        json_array_append_new(list, json_string("avx512"));
#elif defined __aarch64__
    if (getauxval(AT_HWCAP) & 1ul << 20) json_array_append_new(list, json_string("neon")); /* HWCAP_ASIMDDP */
#endif
    return list;
}

json_t *machine_cpu(void)
{
    char name[256] = "";
    double load[3] = {0, 0, 0};
    if (!line_value("/proc/cpuinfo", "model name", name, sizeof name)) snprintf(name, sizeof name, "unknown");
    if (getloadavg(load, 3) != 3) load[0] = load[1] = load[2] = 0;
    return json_pack("{s:s, s:o, s:I, s:[f, f, f]}", "name", name, "levels", levels(), "threads",
                     (json_int_t)sysconf(_SC_NPROCESSORS_ONLN), "load", load[0], load[1], load[2]);
}

void machine_memory(uint64_t *total, uint64_t *available)
{
    char value[64];
    *total = line_value("/proc/meminfo", "MemTotal", value, sizeof value) ? strtoull(value, NULL, 10) * 1024 : 0;
    *available =
        line_value("/proc/meminfo", "MemAvailable", value, sizeof value) ? strtoull(value, NULL, 10) * 1024 : 0;
}

uint64_t machine_own_memory(void)
{
    char value[64];
    return line_value("/proc/self/status", "VmRSS", value, sizeof value) ? strtoull(value, NULL, 10) * 1024 : 0;
}

bool machine_process_memory(int pid, uint64_t *resident, uint64_t *most)
{
    char path[64], value[64];
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    *resident = line_value(path, "VmRSS", value, sizeof value) ? strtoull(value, NULL, 10) * 1024 : 0;
    *most = line_value(path, "VmHWM", value, sizeof value) ? strtoull(value, NULL, 10) * 1024 : 0;
    return *resident > 0;
}

static uint64_t bytes_under(int parent, const char *name, int depth)
{
    uint64_t sum = 0;
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *e;
    struct stat info;
    if (!dir && fd >= 0) close(fd);
    while (dir && (e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (fstatat(dirfd(dir), e->d_name, &info, AT_SYMLINK_NOFOLLOW) != 0) continue;
        if (S_ISREG(info.st_mode))
            sum += (uint64_t)info.st_blocks * 512;
        else if (S_ISDIR(info.st_mode) && depth > 0)
            sum += bytes_under(dirfd(dir), e->d_name, depth - 1);
    }
    if (dir) closedir(dir);
    return sum;
}

uint64_t machine_folder_bytes(const char *folder)
{
    return bytes_under(AT_FDCWD, folder, 4);
}

const char *machine_gpu_program(void)
{
    static const char *const places[] = {"/usr/bin/nvidia-smi", "/usr/local/bin/nvidia-smi",
                                         "/usr/local/nvidia/bin/nvidia-smi"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (access(places[i], X_OK) == 0) return places[i];
    return NULL;
}

json_t *machine_gpu(const char *line)
{
    char name[128], used[32] = "";
    unsigned long long total, left;
    if (sscanf(line, "%127[^,], %llu, %llu, %31s", name, &total, &left, used) < 3) return NULL;
    char *end = used;
    double share = strtod(used, &end); /* "[N/A]" where the card does not report it */
    return json_pack("{s:s, s:I, s:I, s:o}", "name", name, "memory_total_bytes", (json_int_t)(total << 20),
                     "memory_free_bytes", (json_int_t)(left << 20), "utilization",
                     end == used ? json_null() : json_real(share / 100));
}
