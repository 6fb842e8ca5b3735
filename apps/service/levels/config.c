#include "service/levels/config.h"

#include "service/levels/policy.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LARGEST = 1 << 20 };

static bool fault(char *why, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static bool fault(char *why, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(why, size, format, args);
    va_end(args);
    return false;
}

/* ---- what is in it ------------------------------------------------------------------------------ */

static bool check_level(const json_t *object, const char *where, char *why, size_t size)
{
    const json_t *on = json_object_get(object, "enable_quantization"),
                 *bits = json_object_get(object, "quantization_bits");
    json_int_t n = json_integer_value(bits);
    if (on && !json_is_boolean(on)) return fault(why, size, "%s.enable_quantization: expected true or false", where);
    if (bits && !json_is_null(bits) && (!json_is_integer(bits) || (n != 4 && n != 8)))
        return fault(why, size, "%s.quantization_bits: expected 4 or 8", where);
    if (json_is_true(on) && !json_is_integer(bits))
        return fault(why, size, "%s.enable_quantization: with true, quantization_bits (4 or 8) says how many", where);
    return true;
}

void level_config_check(const json_t *ai, char *why, size_t size)
{
    const json_t *limit = json_object_get(ai, "gpu_memory_limit_mb"), *models = json_object_get(ai, "models");
    const json_t *adjust = json_object_get(ai, "adjust");
    const char *name;
    json_t *one;
    *why = '\0';
    if (!check_level(ai, "ai", why, size)) return;
    if (limit && !json_is_null(limit) &&
        (!json_is_integer(limit) || json_integer_value(limit) < 1 || json_integer_value(limit) > 1 << 30))
        fault(why, size, "ai.gpu_memory_limit_mb: expected a whole number of MiB from 1 to %d", 1 << 30);
    else if (models && !json_is_object(models))
        fault(why, size, "ai.models: expected an object of models by their names");
    else if (adjust && !json_is_object(adjust))
        fault(why, size, "ai.adjust: expected an object");
    struct policy_settings settings;
    if (!*why && adjust) policy_settings_read(adjust, &settings, why, size);
    if (*why || !models) return;
    json_object_foreach((json_t *)models, name, one) {
        char where[300];
        snprintf(where, sizeof where, "ai.models.%.200s", name);
        if (!json_is_object(one)) fault(why, size, "%s: expected an object", where);
        if (*why || !check_level(one, where, why, size)) return;
    }
}

enum level level_config_of(const json_t *object)
{
    const json_t *on = json_object_get(object, "enable_quantization");
    if (json_is_false(on)) return LEVEL_OFF;
    if (!json_is_true(on)) return LEVEL_UNSET;
    return json_integer_value(json_object_get(object, "quantization_bits")) == 4 ? LEVEL_4 : LEVEL_8;
}

json_t *level_config_json(enum level level)
{
    if (level == LEVEL_OFF) return json_pack("{s:b}", "enable_quantization", 0);
    return json_pack("{s:b, s:i}", "enable_quantization", 1, "quantization_bits", (int)level);
}

/* ---- reading ------------------------------------------------------------------------------------ */

/* The whole file; {} where there is none. NULL: why. */
static json_t *read_whole(const char *path, enum config_state *state, char *why, size_t size)
{
    struct stat info;
    json_error_t error;
    *state = CONFIG_ABSENT;
    if (stat(path, &info) != 0 && errno == ENOENT) return json_object();
    *state = CONFIG_DAMAGED;
    FILE *f = fopen(path, "re");
    bool sound = f && fstat(fileno(f), &info) == 0 && S_ISREG(info.st_mode);
    if (!sound || info.st_size > LARGEST) {
        fault(why, size, "config.json cannot be read: %s",
              !f       ? strerror(errno)
              : !sound ? "it is no file"
                       : "it is larger than 1 MiB");
        if (f) fclose(f);
        return NULL;
    }
    json_t *whole = json_loadf(f, JSON_REJECT_DUPLICATES, &error);
    fclose(f);
    if (!whole) {
        fault(why, size, "config.json is damaged: line %d: %.200s", error.line, error.text);
    } else if (!json_is_object(whole) ||
               (json_object_get(whole, "ai") && !json_is_object(json_object_get(whole, "ai")))) {
        fault(why, size, "config.json is damaged: expected an object with an object \"ai\"");
        json_decref(whole);
        whole = NULL;
    }
    if (whole) *state = CONFIG_READ;
    return whole;
}

json_t *level_config_read(const char *path, enum config_state *state, char *why, size_t size)
{
    json_t *whole = read_whole(path, state, why, size), *ai = json_object_get(whole, "ai");
    if (!whole) return NULL;
    ai = ai ? json_incref(ai) : json_object();
    json_decref(whole);
    level_config_check(ai, why, size);
    if (!*why) return ai;
    *state = CONFIG_DAMAGED;
    json_decref(ai);
    return NULL;
}

/* ---- writing ------------------------------------------------------------------------------------ */

/* Objects are merged, null removes. */
static void merge(json_t *into, const json_t *changes)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)changes, name, value) {
        json_t *old = json_object_get(into, name);
        if (json_is_null(value))
            json_object_del(into, name);
        else if (json_is_object(value)) {
            if (!json_is_object(old)) json_object_set_new(into, name, json_object());
            merge(json_object_get(into, name), value);
        } else
            json_object_set_new(into, name, json_deep_copy(value));
    }
}

static void sync_folder(const char *path)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) slash[slash == folder] = '\0';
    int fd = open(slash ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

/* Beside its place, with the rights of the old one; then there. */
static bool replace(const char *path, const json_t *whole, mode_t mode, char *why, size_t size)
{
    char new[PATH_MAX + 8];
    snprintf(new, sizeof new, "%s.new", path);
    int fd = open(new, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = fd >= 0 && fchmod(fd, mode) == 0 && json_dumpfd(whole, fd, JSON_INDENT(2)) == 0 &&
              write(fd, "\n", 1) == 1 && fsync(fd) == 0;
    int error = errno;
    if (fd >= 0 && close(fd) != 0) ok = false;
    if (ok && rename(new, path) == 0) {
        sync_folder(path);
        return true;
    }
    if (ok) error = errno;
    if (fd >= 0) unlink(new);
    return fault(why, size, "config.json cannot be written: %s; nothing was changed", strerror(error));
}

bool level_config_write(const char *path, const json_t *changes, char *why, size_t size)
{
    enum config_state state;
    char real[PATH_MAX];
    struct stat info = {.st_mode = 0600};
    json_t *whole = read_whole(path, &state, why, size);
    if (!whole) return false;
    if (!realpath(path, real)) snprintf(real, sizeof real, "%s", path); /* a link stays one */
    if (state == CONFIG_READ && stat(real, &info) == 0 && (info.st_mode & 0222) == 0) {
        json_decref(whole);
        return fault(why, size, "config.json is read-only; nothing was changed");
    }
    if (!json_object_get(whole, "ai")) json_object_set_new(whole, "ai", json_object());
    merge(json_object_get(whole, "ai"), changes);
    level_config_check(json_object_get(whole, "ai"), why, size);
    bool ok = !*why && replace(real, whole, info.st_mode & 0777, why, size);
    json_decref(whole);
    return ok;
}
