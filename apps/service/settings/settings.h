/* The settings of `halftone serve`: arguments before environment before configuration file before defaults. */
#ifndef HT_SERVICE_SETTINGS_SETTINGS_H
#define HT_SERVICE_SETTINGS_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct settings_list {
    char **items;
    size_t n;
};

enum { SETTINGS_UNSET = -1 }; /* a number that was not given and has no default of its own */

struct settings {
#define SETTING_TEXT char *
#define SETTING_COUNT int64_t
#define SETTING_SIZE int64_t
#define SETTING_LIST struct settings_list
#define SETTING(field, kind, name, metavar, preset, help) SETTING_##kind field;
#include "service/settings/settings.def"
#undef SETTING
    /* beside the list: what is asked for once, on the command line alone */
    char *config, *new_token, *scope, *remove_token;
    bool help, list_tokens;
};

/* argv[1..]. false: why says what is wrong. settings_free in both cases. */
bool settings_read(int argc, char **argv, struct settings *settings, char *why, size_t size);
/* The same from the text of a configuration file alone; name is used in messages. */
bool settings_config(struct settings *settings, const char *name, const unsigned char *text, size_t len, char *why,
                     size_t size);
/* One value by its name; lists grow. */
bool settings_set(struct settings *settings, const char *name, const char *value, char *why, size_t size);
bool settings_is_list(const char *name);
/* Where the service keeps its data: --data, or the usual place. False: there is none. */
bool settings_data(const struct settings *settings, char *path, size_t size);
void settings_free(struct settings *settings);

/* "512M", "4G", "4GiB", "1000000": decimal, with i binary. -1: no size. */
int64_t settings_size(const char *text);

#endif
