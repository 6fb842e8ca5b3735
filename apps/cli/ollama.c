/* ollama: a client of an Ollama server. */
#include "ollama.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- where the server is ------------------------------------------------------------------------- */

/* A port of its own, or the scheme's. Addresses to listen at are those of this machine. */
static int put_address(char server[1024], const char *scheme, const char *host, const char *port, const char *path)
{
    bool six = strchr(host, ':') != NULL;
    if (strcmp(host, "0.0.0.0") == 0 || !*host) host = "127.0.0.1";
    if (strcmp(host, "::") == 0) host = "::1";
    int n = snprintf(server, 1024, "%s://%s%s%s:%s%s", scheme, six ? "[" : "", host, six ? "]" : "", port, path);
    return n > 0 && n < 1024 ? EXIT_DONE : EXIT_USAGE;
}

static bool is_port(const char *text)
{
    size_t n = strlen(text);
    return n > 0 && n < 6 && strspn(text, "0123456789") == n && strtol(text, NULL, 10) <= 65535;
}

/* As OLLAMA_HOST is read: "host", "host:port", ":port", "[v6]:port", with a scheme or without, and a path. */
static int find_server(const struct command *c, const char *given, char server[1024])
{
    char text[900];
    const char *port = "11434", *scheme = "http", *path = "";
    if (snprintf(text, sizeof text, "%s", given) >= (int)sizeof text)
        return usage_error(c, "the address of the server is too long");
    char *host = text, *mark = strstr(text, "://");
    if (mark) {
        *mark = '\0';
        scheme = text;
        host = mark + 3;
        if (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0)
            return usage_error(c, "the address of a server begins with http:// or https://");
        port = strcmp(scheme, "http") == 0 ? "80" : "443";
    }
    char *slash = strchr(host, '/'), rest[900] = "";
    if (slash) {
        snprintf(rest, sizeof rest, "%s", slash);
        *slash = '\0';
        path = rest;
    }
    struct in6_addr six;
    char *colon = strrchr(host, ':');
    if (*host == '[' && strchr(host, ']')) {
        colon = strchr(host, ']');
        *colon++ = '\0';
        host++;
        if (*colon != ':') colon = NULL;
    } else if (colon && inet_pton(AF_INET6, host, &six) == 1) {
        colon = NULL;
    }
    if (colon) {
        *colon = '\0';
        if (!is_port(colon + 1)) return usage_error(c, "\"%s\" is not a port", colon + 1);
        port = colon + 1;
    }
    return put_address(server, scheme, host, port, path);
}

const struct remote_kind ollama_server = {.name = "an Ollama server",
                                          .server_variable = "OLLAMA_HOST",
                                          .token_variable = "OLLAMA_API_KEY",
                                          .address = "http://127.0.0.1:11434",
                                          .find = find_server};

/* ---- names and parameters ------------------------------------------------------------------------ */

static bool is_part(const char *text, size_t n, size_t most, const char *more)
{
    if (n == 0 || n > most || !(isalnum((unsigned char)*text) || *text == '_')) return false;
    for (size_t i = 0; i < n; i++)
        if (!isalnum((unsigned char)text[i]) && !strchr(more, text[i])) return false;
    return true;
}

bool ollama_name_is_good(const char *name)
{
    enum { PARTS = 3 };
    const char *parts[PARTS], *end = name + strlen(name), *last = strrchr(name, '/');
    const char *tag = strchr(last ? last : name, ':');
    size_t lengths[PARTS], n = 0;
    if (tag && !is_part(tag + 1, strlen(tag + 1), 80, "_-.")) return false;
    for (const char *p = name, *stop = tag ? tag : end; p <= stop && n <= PARTS; n++) {
        const char *slash = memchr(p, '/', (size_t)(stop - p));
        if (n == PARTS) return false;
        parts[n] = p;
        lengths[n] = (size_t)((slash ? slash : stop) - p);
        p = slash ? slash + 1 : stop + 1;
    }
    return is_part(parts[n - 1], lengths[n - 1], 80, "_-.") &&
           (n < 2 || is_part(parts[n - 2], lengths[n - 2], 80, "_-")) &&
           (n < 3 || is_part(parts[0], lengths[0], 350, "_-.:"));
}

json_t *ollama_value(const char *text)
{
    char *end;
    double number = strtod(text, &end);
    bool plain = *text && strspn(text, "0123456789+-.eE") == strlen(text);
    if (strcmp(text, "true") == 0 || strcmp(text, "false") == 0) return json_boolean(*text == 't');
    if (!plain || *end || !isfinite(number)) return json_string(text);
    return number > -1e15 && number < 1e15 && number == (double)(json_int_t)number ? json_integer((json_int_t)number)
                                                                                   : json_real(number);
}

static void add_value(json_t *parameters, const char *name, json_t *value)
{
    json_t *list = json_object_get(parameters, name);
    if (strcmp(name, "stop") != 0) {
        json_object_set_new(parameters, name, value);
        return;
    }
    if (!json_is_array(list)) {
        json_object_set_new(parameters, name, json_array());
        list = json_object_get(parameters, name);
    }
    json_array_append_new(list, value);
}

bool ollama_add_parameter(json_t *parameters, const char *text)
{
    const char *equals = strchr(text, '=');
    char name[64];
    if (!equals || equals == text || equals - text >= (int)sizeof name) return false;
    snprintf(name, sizeof name, "%.*s", (int)(equals - text), text);
    add_value(parameters, name, strcmp(name, "stop") == 0 ? json_string(equals + 1) : ollama_value(equals + 1));
    return true;
}

/* ---- answers ------------------------------------------------------------------------------------- */

int ollama_ask(struct remote *r, const char *name, json_t **answer)
{
    r->may_lack = true;
    int status = remote_call(r, "POST", "/api/show", json_pack("{s:s}", "model", name), answer);
    r->may_lack = false;
    if (status == EXIT_DONE && r->http == 404) {
        json_decref(*answer);
        *answer = NULL;
    } else if (status == EXIT_DONE && !json_is_object(*answer)) {
        json_decref(*answer);
        *answer = NULL;
        status = remote_strange(r, "it does not describe the model");
    }
    return status;
}

static int bad_name(const struct remote *r, const char *name)
{
    return usage_error(r->command, "\"%.400s\" is not a name of a model: expected [HOST/][NAMESPACE/]MODEL[:TAG]",
                       name);
}

static int lacking(const struct remote *r, const char *name)
{
    fprintf(stderr, "halftone %s: %s has no model \"", r->command->name, r->server);
    put_safe(stderr, name);
    fputs("\"; `halftone ollama list` shows those that it has\n", stderr);
    return EXIT_INPUT;
}

/* The models of an answer; NULL: it holds none, which has been told. */
static const json_t *models_of(struct remote *r, const json_t *answer)
{
    const json_t *models = json_object_get(answer, "models");
    if (!json_is_array(models)) remote_strange(r, "its answer lists no models");
    return json_is_array(models) ? models : NULL;
}

static int get_models(struct remote *r, const char *path, json_t **answer, const json_t **models)
{
    int status = remote_call(r, "GET", path, NULL, answer);
    if (status != EXIT_DONE) return status;
    *models = models_of(r, *answer);
    if (*models) return EXIT_DONE;
    json_decref(*answer);
    return EXIT_FAILED;
}

static int name_width(const json_t *models)
{
    int width = 4;
    const json_t *m;
    size_t i;
    json_array_foreach(models, i, m) {
        int n = text_width(text_of(m, "name"));
        if (n > width && n < 60) width = n;
    }
    return width;
}

static int list(struct remote *r, int argc, char **argv)
{
    json_t *answer;
    const json_t *models, *m;
    char size[32];
    size_t i;
    (void)argc;
    (void)argv;
    int status = get_models(r, "/api/tags", &answer, &models);
    if (status != EXIT_DONE) return status;
    if (r->json) return print_answer(answer);
    int width = name_width(models);
    printf("%-*s  %-12s  %10s  %-8s  %-8s  modified\n", width, "name", "id", "size", "level", "weights");
    json_array_foreach(models, i, m) {
        const json_t *details = json_object_get(m, "details");
        char id[13], day[11];
        snprintf(id, sizeof id, "%s", text_of(m, "digest"));
        snprintf(day, sizeof day, "%s", text_of(m, "modified_at"));
        print_safe(text_of(m, "name"), width);
        printf("  ");
        print_safe(id, 12);
        printf("  %10s  ", human_bytes(number_of(m, "size"), size));
        print_safe(text_of(details, "quantization_level"), 8);
        printf("  ");
        print_safe(text_of(details, "parameter_size"), 8);
        printf("  ");
        print_safe(day, 0);
        putchar('\n');
    }
    json_decref(answer);
    return EXIT_DONE;
}

static int ps(struct remote *r, int argc, char **argv)
{
    json_t *answer;
    const json_t *models, *m;
    char size[32], card[32];
    size_t i;
    (void)argc;
    (void)argv;
    int status = get_models(r, "/api/ps", &answer, &models);
    if (status != EXIT_DONE) return status;
    if (r->json) return print_answer(answer);
    int width = name_width(models);
    printf("%-*s  %10s  %10s  %8s  until\n", width, "name", "memory", "on a card", "context");
    json_array_foreach(models, i, m) {
        print_safe(text_of(m, "name"), width);
        printf("  %10s  %10s  %8.0f  ", human_bytes(number_of(m, "size"), size),
               human_bytes(number_of(m, "size_vram"), card), number_of(m, "context_length"));
        print_safe(text_of(m, "expires_at"), 0);
        putchar('\n');
    }
    json_decref(answer);
    return EXIT_DONE;
}

static void print_line(const char *name, const char *value)
{
    if (!*value) return;
    printf("%-14s ", name);
    print_safe(value, 0);
    putchar('\n');
}

/* The lines of a text, indented. */
static void print_text(const char *title, const char *text)
{
    if (!*text) return;
    printf("\n%s\n", title);
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, "\n");
        char *line = strndup(p, n);
        fputs("  ", stdout);
        print_safe(line ? line : "", 0);
        putchar('\n');
        free(line);
        p += n + (p[n] == '\n');
    }
}

/* A number of the model's own keys, which begin with its architecture. */
static void print_number(const json_t *info, const char *architecture, const char *key, const char *name)
{
    char full[200];
    snprintf(full, sizeof full, "%.100s.%s", architecture, key);
    const json_t *value = json_object_get(info, full);
    if (json_is_number(value)) printf("%-14s %.0f\n", name, json_number_value(value));
}

static void print_model(const char *name, const json_t *answer)
{
    const json_t *details = json_object_get(answer, "details"), *info = json_object_get(answer, "model_info"), *c;
    const char *architecture = text_of(info, "general.architecture");
    size_t i;
    print_line("model", name);
    print_line("architecture", architecture);
    print_line("weights", text_of(details, "parameter_size"));
    print_line("level", text_of(details, "quantization_level"));
    print_number(info, architecture, "context_length", "context");
    print_number(info, architecture, "embedding_length", "embedding");
    fputs("capabilities  ", stdout);
    json_array_foreach(json_object_get(answer, "capabilities"), i, c) {
        putchar(' ');
        print_safe(json_string_value(c) ? json_string_value(c) : "", 0);
    }
    putchar('\n');
    print_text("parameters", text_of(answer, "parameters"));
    print_text("system message", text_of(answer, "system"));
    print_text("template", text_of(answer, "template"));
}

static int show(struct remote *r, int argc, char **argv)
{
    json_t *answer;
    (void)argc;
    if (!ollama_name_is_good(argv[1])) return bad_name(r, argv[1]);
    int status = ollama_ask(r, argv[1], &answer);
    if (status != EXIT_DONE) return status;
    if (!answer) return lacking(r, argv[1]);
    if (r->json) return print_answer(answer);
    print_model(argv[1], answer);
    json_decref(answer);
    return EXIT_DONE;
}

/* Nothing is printed: the exit status tells. */
static int exists(struct remote *r, int argc, char **argv)
{
    json_t *answer;
    (void)argc;
    if (!ollama_name_is_good(argv[1])) return bad_name(r, argv[1]);
    int status = ollama_ask(r, argv[1], &answer);
    bool there = status == EXIT_DONE && answer;
    json_decref(answer);
    if (r->json && status == EXIT_DONE) print_answer(json_pack("{s:b}", "exists", there));
    return status == EXIT_DONE && !there ? EXIT_INPUT : status;
}

static int delete (struct remote *r, int argc, char **argv)
{
    (void)argc;
    if (!ollama_name_is_good(argv[1])) return bad_name(r, argv[1]);
    r->may_lack = true;
    int status = remote_call(r, "DELETE", "/api/delete", json_pack("{s:s}", "model", argv[1]), NULL);
    return status == EXIT_DONE && r->http == 404 ? lacking(r, argv[1]) : status;
}

/* ---- work that takes long ------------------------------------------------------------------------ */

struct follow {
    const struct remote *remote;
    bool quiet, success, drawn;
    char status[200];
};

static void draw(struct follow *f, const char *status, const json_t *line)
{
    char done[32], all[32];
    double total = number_of(line, "total"), completed = number_of(line, "completed");
    fputs("\r\033[K", stderr);
    put_safe(stderr, status);
    if (total > 0)
        fprintf(stderr, "  %.0f %%, %s of %s", 100 * completed / total, human_bytes(completed, done),
                human_bytes(total, all));
    f->drawn = true;
}

static int take_step(void *ctx, const json_t *line)
{
    struct follow *f = ctx;
    const char *status = text_of(line, "status");
    bool terminal = isatty(STDERR_FILENO), again = strncmp(f->status, status, sizeof f->status - 1) == 0;
    f->success = strcmp(status, "success") == 0;
    if (f->remote->json) return print_answer(json_incref((json_t *)(uintptr_t)line));
    if (f->quiet) return EXIT_DONE;
    if (!again && f->drawn) fputc('\n', stderr);
    if (terminal) {
        draw(f, status, line);
    } else if (!again) {
        put_safe(stderr, status);
        fputc('\n', stderr);
    }
    snprintf(f->status, sizeof f->status, "%s", status);
    return EXIT_DONE;
}

int ollama_follow(struct remote *r, const char *path, json_t *body, bool quiet)
{
    struct follow f = {.remote = r, .quiet = quiet};
    int status = remote_lines(r, path, body, take_step, &f);
    if (f.drawn) fputc('\n', stderr);
    if (status != EXIT_DONE || f.success) return status;
    fprintf(stderr, "halftone %s: %s ended before it was done\n", r->command->name, r->server);
    return EXIT_FAILED;
}

static int pull(struct remote *r, int argc, char **argv)
{
    (void)argc;
    if (!ollama_name_is_good(argv[1])) return bad_name(r, argv[1]);
    return ollama_follow(r, "/api/pull", json_pack("{s:s, s:b}", "model", argv[1], "stream", true), false);
}

int run_ollama(const struct command *c, int argc, char **argv)
{
    enum { MANY = 1 << 20 };
    static const struct remote_verb verbs[] = {{"list", 0, 0, list},
                                               {"show", 1, 1, show},
                                               {"exists", 1, 1, exists},
                                               {"ps", 0, 0, ps},
                                               {"pull", 1, 1, pull},
                                               {"create", 2, MANY, ollama_create},
                                               {"generate", 1, MANY, ollama_generate},
                                               {"delete", 1, 1, delete},
                                               {NULL, 0, 0, NULL}};
    return remote_main(&ollama_server, c, verbs, argc, argv);
}
