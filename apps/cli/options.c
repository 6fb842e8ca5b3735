/* The options of each command: those of the library, of the service, and the command's own. */
#include "cli.h"

#include <string.h>

static const struct option own[] = {
#define OWN(verbs_, group_, letter_, name_, kind_, metavar_, help_)                                                    \
    {.verbs = verbs_,                                                                                                  \
     .group = group_,                                                                                                  \
     .letter = letter_,                                                                                                \
     .name = name_,                                                                                                    \
     .kind = HT_OPTION_##kind_,                                                                                        \
     .metavar = metavar_,                                                                                              \
     .help = help_,                                                                                                    \
     .preset = ""},
#include "cli/options.def"
#undef OWN
};

#define HT_OPTION_COUNT HT_OPTION_TEXT
#define HT_OPTION_SIZE HT_OPTION_TEXT
static const struct option settings[] = {
#define SETTING(field_, kind_, name_, metavar_, preset_, help_)                                                        \
    {.verbs = "serve",                                                                                                 \
     .group = "Service",                                                                                               \
     .letter = "",                                                                                                     \
     .name = name_,                                                                                                    \
     .kind = HT_OPTION_##kind_,                                                                                        \
     .metavar = metavar_,                                                                                              \
     .help = help_,                                                                                                    \
     .preset = preset_},
#include "service/settings/settings.def"
#undef SETTING
};

static const char *letter_of(const char *name)
{
    static const char *const letters[][2] = {{"type", "t"}, {"output", "o"}, {"method", "m"}, {"max-tokens", "n"}};
    for (size_t i = 0; i < sizeof letters / sizeof letters[0]; i++)
        if (strcmp(letters[i][0], name) == 0) return letters[i][1];
    return "";
}

/* Any option of any command; false past the end. */
static bool option_at(size_t index, struct option *o)
{
    enum { N_OWN = sizeof own / sizeof own[0], N_SETTINGS = sizeof settings / sizeof settings[0] };
    struct ht_option_info info;
    size_t n = 0;
    while (ht_option_at(n, &info) && n < index)
        n++;
    if (!ht_option_at(n, &info) && !ht_generator_option_at(index -= n, &info)) {
        for (n = 0; ht_generator_option_at(n, &info);)
            n++;
        index -= n;
        if (index < N_SETTINGS) *o = settings[index];
        if (index >= N_SETTINGS && index - N_SETTINGS < N_OWN) *o = own[index - N_SETTINGS];
        return index < N_SETTINGS + N_OWN;
    }
    *o = (struct option){.verbs = info.verbs,
                         .group = info.group,
                         .letter = letter_of(info.name),
                         .name = info.name,
                         .kind = info.kind,
                         .metavar = info.metavar,
                         .help = info.help,
                         .preset = ""};
    return true;
}

static bool is_for(const struct option *option, const char *verb)
{
    size_t n = strlen(verb);
    for (const char *p = option->verbs; (p = strstr(p, verb)) != NULL; p += n)
        if ((p == option->verbs || p[-1] == ' ') && (p[n] == ' ' || p[n] == '\0')) return true;
    return strcmp(option->verbs, "*") == 0;
}

bool option_of(const char *verb, size_t index, struct option *o)
{
    for (size_t i = 0; option_at(i, o); i++)
        if (is_for(o, verb) && index-- == 0) return true;
    return false;
}

bool find_option(const char *verb, const char *arg, struct option *o)
{
    size_t len = strcspn(arg, "=");
    for (size_t i = 0; option_of(verb, i, o); i++) {
        if (arg[0] != '-') continue;
        if (arg[1] == '-' && strlen(o->name) == len - 2 && strncmp(o->name, arg + 2, len - 2) == 0) return true;
        if (*o->letter && strcmp(arg + 1, o->letter) == 0) return true;
    }
    return false;
}

const char *option_name_at(void *ctx, size_t index)
{
    static struct option o;
    return option_of(ctx, index, &o) ? o.name : NULL;
}
