#include "service/levels/sensors.h"

#include "service/levels/nvml.h"
#include "service/system/steady.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { PATH = 4600, MOST = 256, LARGEST_TRACE = 16 << 20 };

struct sensors {
    char root[4096];
    struct nvml *nvml;
    json_t *trace; /* NULL: the machine */
    size_t at;     /* of the trace */
};

/* Paths that are too long are cut off, and then nothing is there. */
static void join(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void join(char *out, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(out, size, format, args);
    va_end(args);
}

/* ---- files -------------------------------------------------------------------------------------- */

/* The first line of a file under the root. */
static bool line_of(const struct sensors *s, const char *path, char *line, size_t size)
{
    char whole[PATH + 4096];
    join(whole, sizeof whole, "%s%s", s->root, path);
    FILE *f = fopen(whole, "re");
    bool found = f && fgets(line, (int)size, f);
    if (f) fclose(f);
    if (found) line[strcspn(line, "\n")] = '\0';
    return found;
}

static bool number_of(const struct sensors *s, const char *path, double *value)
{
    char line[64], *end;
    if (!line_of(s, path, line, sizeof line)) return false;
    *value = strtod(line, &end);
    return end != line;
}

/* The number behind "NAME" at the beginning of a line. */
static bool named_number(const struct sensors *s, const char *path, const char *name, double *value)
{
    char whole[PATH + 4096], line[256];
    size_t n = strlen(name);
    bool found = false;
    join(whole, sizeof whole, "%s%s", s->root, path);
    FILE *f = fopen(whole, "re");
    while (f && !found && fgets(line, sizeof line, f))
        if (strncmp(line, name, n) == 0 && (line[n] == ':' || line[n] == ' ' || line[n] == '\t')) {
            *value = strtod(line + n + 1, NULL);
            found = true;
        }
    if (f) fclose(f);
    return found;
}

static json_t *real_or_null(bool known, double value)
{
    return known ? json_real(value) : json_null();
}

static json_t *bytes_or_null(bool known, double value)
{
    return known ? json_integer((json_int_t)value) : json_null();
}

/* Calls `each` with the path of every entry of a folder whose name begins so. */
static void every(const struct sensors *s, const char *folder, const char *prefix,
                  void (*each)(const struct sensors *, const char *path, void *ctx), void *ctx)
{
    char path[PATH + 4096];
    struct dirent *e;
    join(path, sizeof path, "%s%s", s->root, folder);
    DIR *dir = opendir(path);
    for (int n = 0; dir && n < MOST && (e = readdir(dir)) != NULL; n++) {
        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0) continue;
        join(path, sizeof path, "%s/%s", folder, e->d_name);
        each(s, path, ctx);
    }
    if (dir) closedir(dir);
}

/* ---- AMD's cards -------------------------------------------------------------------------------- */

/* The hottest of a card's sensors (edge, junction, memory). */
static void take_hwmon(const struct sensors *s, const char *path, void *ctx)
{
    double *hottest = ctx, value;
    for (int i = 1; i <= 3; i++) {
        char file[PATH + 64];
        join(file, sizeof file, "%s/temp%d_input", path, i);
        if (number_of(s, file, &value) && value / 1000 > *hottest) *hottest = value / 1000;
    }
}

static void take_card(const struct sensors *s, const char *path, void *ctx)
{
    char file[PATH + 64];
    double total, used, busy, hottest = -1000;
    if (strchr(strrchr(path, '/'), '-')) return; /* card0-DP-1: a plug of it */
    join(file, sizeof file, "%s/device/mem_info_vram_total", path);
    if (!number_of(s, file, &total) || total <= 0) return;
    join(file, sizeof file, "%s/device/mem_info_vram_used", path);
    bool sized = number_of(s, file, &used) && used >= 0 && used <= total;
    join(file, sizeof file, "%s/device/gpu_busy_percent", path);
    bool told = number_of(s, file, &busy) && busy >= 0 && busy <= 100;
    join(file, sizeof file, "%s/device/hwmon", path);
    every(s, file, "hwmon", take_hwmon, &hottest);
    json_array_append_new(ctx,
                          json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:n}", "name", strrchr(path, '/') + 1, "source",
                                    "amdgpu", "memory_used_bytes", bytes_or_null(sized, used), "memory_total_bytes",
                                    bytes_or_null(true, total), "load", real_or_null(told, busy / 100), "temperature",
                                    real_or_null(hottest > -1000, hottest), "slowed"));
}

/* ---- the host ----------------------------------------------------------------------------------- */

static void take_zone(const struct sensors *s, const char *path, void *ctx)
{
    double *hottest = ctx, value;
    char file[PATH + 64];
    join(file, sizeof file, "%s/temp", path);
    if (number_of(s, file, &value) && value / 1000 > *hottest && value < 200000) *hottest = value / 1000;
}

/* What the control group leaves of the memory: version 2's files, or version 1's. Cached files that can go do not count. */
static void limit_memory(const struct sensors *s, double *total, double *available)
{
    static const struct {
        const char *limit, *used, *stat, *inactive;
    } versions[] = {
        {"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory.stat", "inactive_file"},
        {"/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes",
         "/sys/fs/cgroup/memory/memory.stat", "total_inactive_file"}};
    for (size_t i = 0; i < 2; i++) {
        double limit, used, inactive = 0;
        if (!number_of(s, versions[i].limit, &limit) || limit <= 0 || limit >= *total) continue;
        *total = limit;
        if (!number_of(s, versions[i].used, &used)) continue;
        named_number(s, versions[i].stat, versions[i].inactive, &inactive);
        double left = limit - used + inactive;
        if (left < *available) *available = left > 0 ? left : 0;
    }
}

/* "some avg10=1.23 avg60=…" */
static json_t *pressure_of(const struct sensors *s, const char *name)
{
    char path[64], line[200];
    double value = 0;
    snprintf(path, sizeof path, "/proc/pressure/%s", name);
    bool known = line_of(s, path, line, sizeof line) && sscanf(line, "some avg10=%lf", &value) == 1;
    return real_or_null(known, value);
}

static json_t *host_json(const struct sensors *s)
{
    double total = 0, available = 0, load = 0, hottest = -1000;
    bool known = named_number(s, "/proc/meminfo", "MemTotal", &total) &&
                 named_number(s, "/proc/meminfo", "MemAvailable", &available);
    long threads = sysconf(_SC_NPROCESSORS_ONLN);
    total *= 1024, available *= 1024;
    if (known) limit_memory(s, &total, &available);
    bool loaded = number_of(s, "/proc/loadavg", &load) && threads > 0;
    every(s, "/sys/class/thermal", "thermal_zone", take_zone, &hottest);
    return json_pack("{s:o, s:o, s:o, s:o, s:{s:o, s:o, s:o}}", "memory_total_bytes", bytes_or_null(known, total),
                     "memory_available_bytes", bytes_or_null(known, available), "load",
                     real_or_null(loaded, load / (double)threads), "temperature",
                     real_or_null(hottest > -1000, hottest), "pressure", "memory", pressure_of(s, "memory"), "cpu",
                     pressure_of(s, "cpu"), "io", pressure_of(s, "io"));
}

/* ---- traces ------------------------------------------------------------------------------------- */

/* A line of a trace, which is an object with a "time" that does not go back. */
static bool add_reading(json_t *list, const char *line)
{
    size_t n = json_array_size(list);
    json_t *one = json_loads(line, JSON_REJECT_DUPLICATES, NULL);
    const json_t *time = json_object_get(one, "time"),
                 *before = n ? json_object_get(json_array_get(list, n - 1), "time") : NULL;
    bool ok = json_is_number(time) && (!before || json_number_value(time) >= json_number_value(before)) &&
              json_array_append(list, one) == 0;
    json_decref(one);
    return ok;
}

static json_t *read_trace(const char *path, char *why, size_t size)
{
    FILE *f = fopen(path, "re");
    json_t *list = json_array();
    char *line = NULL;
    size_t room = 0, read = 0;
    ssize_t n;
    bool ok = true;
    while (f && ok && (n = getline(&line, &room, f)) > 0) {
        read += (size_t)n;
        ok = read <= LARGEST_TRACE && (line[strspn(line, " \t\r\n")] == '\0' || add_reading(list, line));
    }
    if (!f)
        snprintf(why, size, "%s cannot be read", path);
    else if (read > LARGEST_TRACE)
        snprintf(why, size, "%s is larger than 16 MiB", path);
    else
        snprintf(why, size, "%s: reading %zu is none: expected an object with a \"time\" that does not go back", path,
                 json_array_size(list) + 1);
    ok = f && ok && json_array_size(list) > 0;
    if (f) fclose(f);
    free(line);
    if (ok) return list;
    json_decref(list);
    return NULL;
}

/* ---- all of it ---------------------------------------------------------------------------------- */

struct sensors *sensors_open(const struct sensors_settings *settings, char *why, size_t size)
{
    struct sensors *s = calloc(1, sizeof *s);
    snprintf(why, size, "not enough memory");
    if (!s) return NULL;
    snprintf(s->root, sizeof s->root, "%s", settings->root ? settings->root : "");
    if (settings->trace && *settings->trace) {
        s->trace = read_trace(settings->trace, why, size);
        if (!s->trace) return free(s), NULL;
        return s;
    }
    s->nvml = nvml_open(settings->nvml ? settings->nvml : "libnvidia-ml.so.1");
    return s;
}

void sensors_close(struct sensors **sensors)
{
    struct sensors *s = *sensors;
    if (!s) return;
    nvml_close(&s->nvml);
    json_decref(s->trace);
    free(s);
    *sensors = NULL;
}

bool sensors_is_trace(const struct sensors *s)
{
    return s->trace != NULL;
}

json_t *sensors_read(struct sensors *s)
{
    if (s->trace) return json_deep_copy(json_array_get(s->trace, s->at++));
    json_t *gpus = json_array();
    nvml_read(s->nvml, gpus);
    every(s, "/sys/class/drm", "card", take_card, gpus);
    return json_pack("{s:f, s:o, s:o}", "time", steady_seconds(), "gpus", gpus, "host", host_json(s));
}
