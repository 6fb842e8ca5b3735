/* jobs: the command line of a server's queue. */
#include "jobs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool take_value(const char *name, int argc, char **argv, int *i, const char **value)
{
    size_t n = strlen(name);
    if (strncmp(argv[*i], name, n) != 0) return false;
    if (argv[*i][n] == '=') {
        *value = argv[*i] + n + 1;
        return true;
    }
    if (argv[*i][n] != '\0' || *i + 1 >= argc) return false;
    *value = argv[++*i];
    return true;
}

/* What the command takes is said by the list that help is made from. */
static int wrong_count(const struct command *c, const char *name, int given)
{
    const struct subcommand *s;
    for (size_t i = 0; (s = subcommand_at(c, i)) != NULL; i++)
        if (strcmp(s->name, name) == 0 && !*s->arguments)
            return usage_error(c, "%s takes no argument", name);
        else if (strcmp(s->name, name) == 0)
            break;
    return usage_error(c, "usage: halftone %s %s %s (got %d argument%s)", c->name, name, s ? s->arguments : "", given,
                       given == 1 ? "" : "s");
}

int remote_main(const struct remote_kind *kind, const struct command *c, const struct remote_verb *verbs, int argc,
                char **argv)
{
    struct remote_options options = {0};
    struct remote remote;
    const struct remote_verb *verb = verbs;
    int status = remote_take_options(c, &argc, argv, &options);
    if (status != EXIT_DONE) return status;
    while (argc > 1 && verb->name && strcmp(verb->name, argv[1]) != 0)
        verb++;
    if (!verb->name) return unknown_name(c, "command", argv[1], subcommand_name_at, (void *)(uintptr_t)c);
    if (argc > 1)
        argc--, argv++;
    else
        argc = 0;
    int given = argc > 0 ? argc - 1 : 0;
    if (given < verb->least || given > verb->most) return wrong_count(c, verb->name, given);
    status = remote_open(&remote, kind, c, &options);
    if (status == EXIT_DONE) status = verb->run(&remote, argc, argv);
    remote_close(&remote);
    return status;
}

/* -- Finding. -- */

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);
    return m <= n && strcmp(text + n - m, end) == 0;
}

/* One page of jobs; *found counts those whose id ends so. *cursor: of the next page, free(), or NULL. */
static int search_page(struct remote *r, const char *end, char **cursor, char id[33], int *found)
{
    json_t *page, *job;
    size_t i;
    char *path = *cursor ? remote_path(r, "/quantize/jobs?limit=200&cursor=%s", *cursor, NULL)
                         : remote_path(r, "/quantize/jobs?limit=200", NULL, NULL);
    int status = remote_call(r, "GET", path, NULL, &page);
    free(path);
    free(*cursor);
    *cursor = NULL;
    if (status != EXIT_DONE) return status;
    json_array_foreach(json_object_get(page, "jobs"), i, job) {
        const char *its = text_of(job, "id");
        if (strlen(its) != 32 || (*end && !ends_with(its, end))) continue;
        if (++*found == 1) snprintf(id, 33, "%s", its);
        if (!*end) break; /* the last one is the first */
    }
    if (*end && *text_of(page, "next_cursor")) *cursor = strdup(text_of(page, "next_cursor"));
    json_decref(page);
    return EXIT_DONE;
}

int find_job(struct remote *r, const char *text, char id[33])
{
    size_t n = strlen(text);
    bool last = strcmp(text, "last") == 0, hex = strspn(text, "0123456789abcdef") == n;
    char *cursor = NULL;
    int found = 0, status = EXIT_DONE;
    if (n == 32 && hex) {
        memcpy(id, text, 33);
        return EXIT_DONE;
    }
    if (!last && (!hex || n < 4 || n > 32))
        return usage_error(r->command, "\"%s\" is not the id of a job, the end of one, or \"last\"", text);
    do
        status = search_page(r, last ? "" : text, &cursor, id, &found);
    while (status == EXIT_DONE && cursor && found < 2);
    free(cursor);
    if (status != EXIT_DONE || found == 1) return status;
    fprintf(stderr, "halftone %s: %s\n", r->command->name,
            found  ? "the ids of several jobs end with this; give more of it"
            : last ? "there is no job"
                   : "there is no job whose id ends with this");
    return EXIT_INPUT;
}

/* -- Showing. -- */

/* The end of an id tells jobs apart, and every command takes it. */
enum { SHORT_ID = 8 };

static void print_job_line(const json_t *job)
{
    const char *id = text_of(job, "id");
    size_t n = strlen(id);
    print_safe(n > SHORT_ID ? id + n - SHORT_ID : id, SHORT_ID);
    printf("  ");
    print_safe(text_of(job, "status"), 11);
    printf("  %5.1f %%  %3.0f of %-3.0f  ", number_of(job, "progress"), number_of(job, "completed_outputs"),
           number_of(job, "total_outputs"));
    print_safe(text_of(job, "name"), 0);
    putchar('\n');
}

static int list_path(struct remote *r, int argc, char **argv, char *query, size_t size)
{
    static const char *const names[] = {"status", "search", "sort", "limit", "offset", "cursor"};
    size_t n = (size_t)snprintf(query, size, "/api/v1/quantize/jobs");
    for (int i = 1; i < argc; i++) {
        size_t k = 0;
        const char *value = NULL;
        for (; k < sizeof names / sizeof *names; k++) {
            char option[16];
            snprintf(option, sizeof option, "--%s", names[k]);
            if (take_value(option, argc, argv, &i, &value)) break;
        }
        char *escaped = value ? curl_easy_escape(r->curl, value, 0) : NULL;
        if (!escaped) return unknown_argument(r->command, argv[i]);
        n += (size_t)snprintf(query + n, size - n, "%c%s=%s", strchr(query, '?') ? '&' : '?', names[k], escaped);
        curl_free(escaped);
        if (n >= size) return usage_error(r->command, "the arguments are too long");
    }
    return EXIT_DONE;
}

static int list(struct remote *r, int argc, char **argv)
{
    char query[2000];
    json_t *page, *job;
    size_t i;
    int status = list_path(r, argc, argv, query, sizeof query);
    if (status == EXIT_DONE) status = remote_call(r, "GET", query, NULL, &page);
    if (status != EXIT_DONE) return status;
    if (r->json) return print_answer(page);
    if (json_array_size(json_object_get(page, "jobs")))
        printf("%-*s  %-11s  %7s  %-10s  %s\n", SHORT_ID, "id", "status", "done", "outputs", "name");
    else
        puts("no jobs");
    json_array_foreach(json_object_get(page, "jobs"), i, job)
        print_job_line(job);
    if (number_of(page, "total") > (double)json_array_size(json_object_get(page, "jobs")))
        printf("of %.0f; --limit, --offset and --cursor %s show others\n", number_of(page, "total"),
               text_of(page, "next_cursor"));
    json_decref(page);
    return EXIT_DONE;
}

static void print_output(const json_t *o)
{
    char size[32];
    printf("  ");
    print_safe(text_of(o, "name"), 32);
    printf(" ");
    print_safe(text_of(o, "status"), 10);
    if (json_is_number(json_object_get(o, "file_size")))
        printf(" %9s %6.3f bits", human_bytes(number_of(o, "file_size"), size), number_of(o, "bits_per_weight"));
    if (json_is_number(json_object_get(o, "perplexity"))) printf("  perplexity %.4f", number_of(o, "perplexity"));
    if (json_is_number(json_object_get(o, "kld"))) printf("  divergence %.6f", number_of(o, "kld"));
    if (*text_of(o, "error")) {
        printf("  ");
        print_safe(text_of(o, "error"), 0);
    }
    printf("\n");
    if (*text_of(o, "sha256")) printf("    sha256 %.64s\n", text_of(o, "sha256"));
    print_files(json_object_get(o, "files"));
}

static void print_outputs(const json_t *outputs)
{
    const json_t *o;
    size_t i;
    json_array_foreach(outputs, i, o)
        print_output(o);
}

static void print_job(const json_t *job)
{
    static const char *const rows[][2] = {{"id", "id"},
                                          {"name", "name"},
                                          {"description", "description"},
                                          {"status", "status"},
                                          {"now", "current_step"},
                                          {"source", "source_model"},
                                          {"created", "created_at"},
                                          {"started", "started_at"},
                                          {"ended", "completed_at"},
                                          {"error", "error"},
                                          {"advice", "error_advice"},
                                          {"command", "command"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!*text_of(job, rows[i][1])) continue;
        printf("%-12s ", rows[i][0]);
        print_safe(text_of(job, rows[i][1]), 0);
        putchar('\n');
    }
    printf("%-12s %.1f %%, %.0f of %.0f outputs\n", "progress", number_of(job, "progress"),
           number_of(job, "completed_outputs"), number_of(job, "total_outputs"));
    print_outputs(json_object_get(job, "outputs"));
}

/* One request about one job, whose answer is shown. */
static int about(struct remote *r, const char *method, const char *what, const char *text, void (*show)(const json_t *))
{
    char id[33];
    json_t *answer;
    int status = find_job(r, text, id);
    char *path = status == EXIT_DONE ? remote_path(r, what, id, NULL) : NULL;
    if (status == EXIT_DONE) status = remote_call(r, method, path, NULL, &answer);
    free(path);
    if (status != EXIT_DONE) return status;
    if (r->json) return answer ? print_answer(answer) : EXIT_DONE;
    if (answer) show(answer);
    json_decref(answer);
    return EXIT_DONE;
}

static int show(struct remote *r, int argc, char **argv)
{
    (void)argc;
    return about(r, "GET", "/quantize/jobs/%s", argv[1], print_job);
}

static int cancel(struct remote *r, int argc, char **argv)
{
    (void)argc;
    return about(r, "POST", "/quantize/jobs/%s/cancel", argv[1], print_job_line);
}

static int retry(struct remote *r, int argc, char **argv)
{
    (void)argc;
    return about(r, "POST", "/quantize/jobs/%s/retry", argv[1], print_job_line);
}

static int delete (struct remote *r, int argc, char **argv)
{
    (void)argc;
    return about(r, "DELETE", "/quantize/jobs/%s", argv[1], print_job_line);
}

static void print_output_list(const json_t *answer)
{
    print_outputs(json_object_get(answer, "outputs"));
}

static int outputs(struct remote *r, int argc, char **argv)
{
    (void)argc;
    return about(r, "GET", "/quantize/jobs/%s/outputs", argv[1], print_output_list);
}

static void print_log_line(const json_t *line)
{
    const char *level = text_of(line, "level");
    bool information = strcmp(level, "info") == 0;
    print_safe(text_of(line, "time"), 0);
    printf("  ");
    print_safe(information ? "" : level, 0);
    printf("%s", information ? "" : ": ");
    print_safe(text_of(line, "line"), 0);
    putchar('\n');
}

/* Page after page, as long as each leads further. */
static int log_of(struct remote *r, int argc, char **argv)
{
    char id[33], query[128];
    json_t *page, *line;
    double after = -1, next = 0;
    size_t i;
    (void)argc;
    int status = find_job(r, argv[1], id);
    while (status == EXIT_DONE && next > after) {
        after = next;
        snprintf(query, sizeof query, "/api/v1/quantize/jobs/%s/log?limit=1000&after=%.0f", id, after);
        status = remote_call(r, "GET", query, NULL, &page);
        if (status != EXIT_DONE) break;
        json_array_foreach(json_object_get(page, "lines"), i, line) {
            if (r->json)
                print_answer(json_incref(line));
            else
                print_log_line(line);
        }
        next = number_of(page, "next_after");
        json_decref(page);
    }
    return status;
}

/* -- Downloads. -- */

static int download(struct remote *r, int argc, char **argv)
{
    struct wish wish;
    char id[33];
    json_t *answer;
    int status = read_wish(r->command, argc, argv, &wish);
    if (status == EXIT_DONE) status = find_job(r, argv[1], id);
    char *path = status == EXIT_DONE ? remote_path(r, "/quantize/jobs/%s/outputs", id, NULL) : NULL;
    if (status == EXIT_DONE) status = remote_call(r, "GET", path, NULL, &answer);
    free(path);
    if (status != EXIT_DONE) return status;
    const json_t *list = json_object_get(answer, "outputs");
    const json_t *o = wish.name                    ? find_wished(list, wish.name)
                      : json_array_size(list) == 1 ? json_array_get(list, 0)
                                                   : NULL;
    if (!o) {
        status = usage_error(r->command,
                             wish.name ? "the job has no output \"%s\""
                                       : "which output? `halftone jobs outputs ID` lists them%s",
                             wish.name ? wish.name : "");
    } else if (strcmp(text_of(o, "status"), "completed") != 0) {
        fprintf(stderr, "halftone %s: this output is not completed\n", r->command->name);
        status = EXIT_INPUT;
    } else {
        status = download_item(r, remote_path(r, "/quantize/jobs/%s/outputs/%s", id, text_of(o, "name")), o, &wish);
    }
    json_decref(answer);
    return status;
}

/* Does the server take jobs? Its own answer is looked at, so that a container without curl can be asked. */
static int ready(struct remote *r, int argc, char **argv)
{
    json_t *answer;
    (void)argc;
    (void)argv;
    int status = remote_call(r, "GET", "/readyz", NULL, &answer);
    if (status != EXIT_DONE) return status;
    if (r->json) return print_answer(answer);
    json_decref(answer);
    puts("ready");
    return EXIT_DONE;
}

int run_jobs(const struct command *c, int argc, char **argv)
{
    enum { MANY = 1 << 20 };
    static const struct remote_verb verbs[] = {{"list", 0, MANY, list},          {"show", 1, 1, show},
                                               {"submit", 1, MANY, jobs_submit}, {"watch", 1, 1, jobs_watch},
                                               {"cancel", 1, 1, cancel},         {"retry", 1, 1, retry},
                                               {"delete", 1, 1, delete},         {"log", 1, 1, log_of},
                                               {"outputs", 1, 1, outputs},       {"ready", 0, 0, ready},
                                               {"download", 1, MANY, download},  {NULL, 0, 0, NULL}};
    return remote_main(&halftone_server, c, verbs, argc, argv);
}
