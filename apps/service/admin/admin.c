/* The command line of `halftone admin`. */
#include "service/admin/admin.h"

#include "service/settings/settings.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { DONE = 0, FAILED = 1, USAGE = 2 };

struct admin {
    struct settings settings;
    char data[4096];
    const char *url, *artifacts; /* NULL: the folder's own */
    bool json, quick;
};

static bool told_in_json; /* before the arguments are read, failures are told so too */

/* As every command tells its failures (doc/lines.schema.json). */
static void tell_in_json(const char *code, const char *where, const char *why)
{
    json_t *line = json_pack("{s:s, s:s, s:s, s:s, s:i}", "event", "error", "code", code, "where", where, "message",
                             why, "offset", -1);
    if (line) json_dumpf(line, stdout, JSON_COMPACT);
    puts(line ? "" : "{\"event\": \"error\"}");
    json_decref(line);
}

static int usage(const char *why)
{
    if (told_in_json) tell_in_json("HT_ERR_USAGE", "", why);
    fprintf(stderr, "halftone admin: %s\n`halftone admin --help` shows how it is used.\n", why);
    return USAGE;
}

static int failed(const char *what, const char *why)
{
    if (told_in_json) tell_in_json(*why ? "HT_ERR_IO" : "HT_ERR_MEMORY", *why ? what : "", *why ? why : what);
    fprintf(stderr, "halftone admin: %s%s%s\n", what, *why ? ": " : "", why);
    return FAILED;
}

static const char *given(const char *text)
{
    return text && *text ? text : NULL;
}

/* Everybody on a machine can read the arguments of its processes. */
static bool is_open_secret(const char *url, int argc, char **argv)
{
    const char *user = url ? strstr(url, "://") : NULL, *at = user ? strchr(user, '@') : NULL;
    bool secret = (at && memchr(user + 3, ':', (size_t)(at - user - 3))) || (url && strstr(url, "password="));
    for (int i = 1; i < argc && secret; i++)
        if (strstr(argv[i], url)) return true;
    return false;
}

static bool take_own(struct admin *a, const char *word)
{
    bool json = strcmp(word, "--json") == 0, quick = strcmp(word, "--quick") == 0;
    a->json |= json;
    a->quick |= quick;
    return json || quick;
}

/* The settings are those of `serve`, environment and configuration file with them. */
static int read_arguments(struct admin *a, int argc, char **argv)
{
    char why[600];
    char **rest = calloc((size_t)argc + 1, sizeof *rest);
    int n = 0;
    if (!rest) return failed("not enough memory", "");
    for (int i = 0; i < argc; i++)
        if (i < 2 || !take_own(a, argv[i])) rest[n++] = argv[i];
    bool read = settings_read(n - 1, rest + 1, &a->settings, why, sizeof why); /* its argv[0] is what is to be done */
    free(rest);
    if (!read) return usage(why);
    a->url = given(a->settings.store);
    a->artifacts = given(a->settings.artifacts);
    if (is_open_secret(a->url, argc, argv))
        return usage(
            "--store: the password does not belong on the command line; give it as PGPASSWORD or in ~/.pgpass");
    return settings_data(&a->settings, a->data, sizeof a->data) ? DONE : usage("where is the data? Give --data DIR");
}

static void print(json_t *answer)
{
    json_dumpf(answer, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(answer);
}

/* ---- check ---- */

struct shown {
    bool person;
    time_t at;
};

static void show(void *ctx, const char *name, uint64_t done, uint64_t of)
{
    struct shown *s = ctx;
    time_t now = time(NULL);
    if (!s->person || now == s->at) return;
    s->at = now;
    fprintf(stderr, "\r\033[K%3.0f %%  %.60s", of ? 100.0 * (double)done / (double)of : 100.0, name);
}

static void print_check(const json_t *answer)
{
    const json_t *problems = json_object_get(answer, "problems"), *p;
    size_t i;
    json_array_foreach(problems, i, p)
        printf("%-10s  %s: %s\n", json_string_value(json_object_get(p, "kind")),
               json_string_value(json_object_get(p, "name")), json_string_value(json_object_get(p, "text")));
    printf("%lld published files, %.3f GB read: %s\n", (long long)json_integer_value(json_object_get(answer, "files")),
           (double)json_integer_value(json_object_get(answer, "bytes")) / 1e9,
           i ? "what the database says and what lies there do not agree" : "everything is there as it was published");
}

static json_t *check_in(const struct admin *a, struct store *store, char *why, size_t size)
{
    struct artifacts *here = NULL, *far = NULL;
    struct shown shown = {.person = isatty(STDERR_FILENO) && !a->json};
    const struct check_progress progress = {show, &shown};
    json_t *answer = NULL;
    if (artifacts_open(NULL, store_folder(store), &here, why, size) &&
        (!a->artifacts || artifacts_open(a->artifacts, store_folder(store), &far, why, size)))
        answer = check_all(store, here, artifacts_are_far(far) ? far : NULL, a->quick, &progress, why, size);
    if (shown.at) fprintf(stderr, "\r\033[K");
    artifacts_close(&far);
    artifacts_close(&here);
    return answer;
}

static int check(struct admin *a)
{
    char why[600];
    struct store *store;
    if (!store_look(a->url, a->data, &store, why, sizeof why)) return failed("check", why);
    json_t *answer = check_in(a, store, why, sizeof why);
    store_close(&store);
    if (!answer) return failed("check", why);
    bool agrees = json_is_true(json_object_get(answer, "agrees"));
    if (!a->json) print_check(answer);
    if (a->json)
        print(answer);
    else
        json_decref(answer);
    return agrees ? DONE : FAILED;
}

/* ---- migrate ---- */

static void print_moved(const json_t *rows, bool before)
{
    const char *table;
    const json_t *n;
    json_object_foreach((json_t *)rows, table, n)
        printf("%-12s %lld\n", table, (long long)json_integer_value(n));
    printf(before ? "All of this had been moved before, and is the same.\n" : "Moved, read back and compared.\n");
    printf("From now on: halftone serve --store URL, with the same --data; this folder's own database is refused.\n");
}

static int migrate(struct admin *a)
{
    char why[600];
    struct store *from = NULL, *to = NULL;
    json_t *rows = NULL;
    bool before = false;
    if (!a->url) return usage("migrate: --store postgresql://… says where to");
    if (access(a->data, F_OK) != 0) return failed(a->data, "there is no such folder");
    bool done = store_open_moved(a->data, &from, why, sizeof why) &&
                store_open_at(a->url, given(a->settings.name), a->data, &to, why, sizeof why) &&
                store_migrate(from, to, &before, &rows, why, sizeof why);
    store_close(&to);
    store_close(&from);
    if (done && a->json)
        print(json_pack("{s:b, s:O}", "moved_before", before, "rows", rows));
    else if (done)
        print_moved(rows, before);
    json_decref(rows);
    return done ? DONE : failed("migrate", why);
}

int admin_run(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(struct admin *a);
    } verbs[] = {{"check", check}, {"migrate", migrate}};
    enum { N_VERBS = sizeof verbs / sizeof *verbs };
    for (int k = 1; k < argc; k++)
        told_in_json |= strcmp(argv[k], "--json") == 0;
    struct admin *a = calloc(1, sizeof *a);
    if (!a) return failed("not enough memory", "");
    size_t i = 0;
    while (argc > 1 && i < N_VERBS && strcmp(argv[1], verbs[i].name) != 0)
        i++;
    int status = argc > 1 && i < N_VERBS ? read_arguments(a, argc, argv) : usage("check or migrate?");
    if (status == DONE) status = verbs[i].run(a);
    settings_free(&a->settings);
    free(a);
    return status;
}
