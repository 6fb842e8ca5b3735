/* levels: which level of a model answers at a server, and figures of each. */
#include "jobs.h"

#include <stdlib.h>
#include <string.h>

/* ---- what there is ------------------------------------------------------------------------------ */

static void print_level(const json_t *level, const char *answers)
{
    const json_t *stats = json_object_get(level, "statistics");
    const char *name = text_of(level, "name"), *named = text_of(level, "level");
    char size[32], memory[32];
    printf("  %s %-5s ", strcmp(name, answers) == 0 ? "*" : " ", *named ? named : "?");
    print_safe(text_of(level, "type"), 8);
    printf(" %9s  %-8s", human_bytes(number_of(level, "size_bytes"), size), text_of(level, "state"));
    if (json_is_number(json_object_get(level, "memory_bytes")))
        printf("  %9s", human_bytes(number_of(level, "memory_bytes"), memory));
    if (number_of(stats, "calls") > 0) printf("  %.0f calls", number_of(stats, "calls"));
    if (json_is_number(json_object_get(stats, "average_seconds")))
        printf(", %.3f s each (%.3f to %.3f)", number_of(stats, "average_seconds"), number_of(stats, "least_seconds"),
               number_of(stats, "most_seconds"));
    if (json_is_number(json_object_get(stats, "tokens_per_second")))
        printf(", %.1f tokens/s", number_of(stats, "tokens_per_second"));
    if (number_of(stats, "failed") > 0) printf(", %.0f failed", number_of(stats, "failed"));
    printf("  ");
    print_safe(name, 0);
    putchar('\n');
    if (*text_of(level, "fault")) {
        printf("          ");
        print_safe(text_of(level, "fault"), 0);
        putchar('\n');
    }
}

static void print_model(const json_t *model)
{
    const json_t *level, *change = json_object_get(model, "switch");
    size_t i;
    print_safe(text_of(model, "name"), 0);
    if (*text_of(model, "wanted"))
        printf("  [%s%s]", text_of(model, "wanted"), strcmp(text_of(model, "wanted_by"), "all") == 0 ? ", as all" : "");
    if (json_is_object(change) && strcmp(text_of(change, "state"), "done") != 0) {
        printf("  to %s: %s ", text_of(change, "to"), text_of(change, "state"));
        print_safe(text_of(change, "detail"), 0);
    }
    putchar('\n');
    json_array_foreach(json_object_get(model, "levels"), i, level)
        print_level(level, text_of(model, "answers"));
}

static int print_all(struct remote *r, int status, json_t *answer)
{
    const json_t *settings = json_object_get(answer, "settings"), *model;
    char limit[32];
    size_t i;
    if (status != EXIT_DONE) return status;
    if (r->json) return print_answer(answer);
    if (*text_of(settings, "fault")) {
        printf("! ");
        print_safe(text_of(settings, "fault"), 0);
        putchar('\n');
    }
    printf("memory for models: %s\n", human_bytes(number_of(answer, "memory_limit_bytes"), limit));
    json_array_foreach(json_object_get(answer, "models"), i, model)
        print_model(model);
    json_decref(answer);
    return EXIT_DONE;
}

static int list(struct remote *r, int argc, char **argv)
{
    json_t *answer = NULL;
    (void)argc, (void)argv;
    int status = remote_call(r, "GET", "/api/v1/runtime/levels", NULL, &answer);
    return print_all(r, status, answer);
}

static int show(struct remote *r, int argc, char **argv)
{
    json_t *answer = NULL;
    (void)argc;
    char *path = remote_path(r, "/runtime/levels/%s", argv[1], NULL);
    int status = remote_call(r, "GET", path, NULL, &answer);
    free(path);
    if (status != EXIT_DONE) return status;
    if (r->json) return print_answer(answer);
    print_model(answer);
    json_decref(answer);
    return EXIT_DONE;
}

/* ---- changes ------------------------------------------------------------------------------------ */

static void print_switched(const json_t *answer)
{
    const json_t *seconds = json_object_get(answer, "seconds");
    if (!json_is_object(seconds)) return print_model(answer);
    print_safe(text_of(answer, "answers"), 0);
    printf(" answers for ");
    print_safe(text_of(answer, "name"), 0);
    if (json_is_true(json_object_get(answer, "made"))) printf("; it was made in %.1f s", number_of(seconds, "found"));
    printf("; loaded in %.2f s\n", number_of(seconds, "loaded"));
}

static int set(struct remote *r, int argc, char **argv)
{
    json_t *answer = NULL;
    bool only = false;
    for (int i = 3; i < argc; i++) {
        if (strcmp(argv[i], "--only-if-there") != 0) return unknown_argument(r->command, argv[i]);
        only = true;
    }
    char *path = remote_path(r, "/runtime/levels/%s", argv[1], NULL);
    int status = remote_call(r, "POST", path, json_pack("{s:s, s:b}", "level", argv[2], "make", !only), &answer);
    free(path);
    if (status != EXIT_DONE) return status;
    if (r->json) return print_answer(answer);
    print_switched(answer);
    json_decref(answer);
    return EXIT_DONE;
}

static bool take_level(const char *text, json_t *body)
{
    bool off = strcmp(text, "off") == 0, unset = strcmp(text, "unset") == 0;
    bool known = off || unset || strcmp(text, "8") == 0 || strcmp(text, "4") == 0;
    json_object_set_new(body, "enable_quantization", unset ? json_null() : json_boolean(!off));
    json_object_set_new(body, "quantization_bits", unset || off ? json_null() : json_integer(strtol(text, NULL, 10)));
    return known;
}

static int settings(struct remote *r, int argc, char **argv)
{
    const char *level = NULL, *memory = NULL;
    json_t *answer = NULL, *body = json_object();
    char *end = NULL;
    for (int i = 1; i < argc; i++)
        if (!take_value("--level", argc, argv, &i, &level) && !take_value("--memory-mb", argc, argv, &i, &memory)) {
            json_decref(body);
            return unknown_argument(r->command, argv[i]);
        }
    bool ok = !level || take_level(level, body), unset = memory && strcmp(memory, "unset") == 0;
    if (memory)
        json_object_set_new(body, "gpu_memory_limit_mb", unset ? json_null() : json_integer(strtol(memory, &end, 10)));
    if (!ok || (end && *end) || (!level && !memory)) {
        json_decref(body);
        return usage_error(r->command,
                           "expected --level off, 8, 4 or unset, or --memory-mb with a number of MiB or unset");
    }
    int status = remote_call(r, "PATCH", "/api/v1/runtime/levels", body, &answer);
    return print_all(r, status, answer);
}

/* ---- adjusting ---------------------------------------------------------------------------------- */

static void print_decision(const json_t *d)
{
    printf("  %s", text_of(d, "step"));
    if (*text_of(d, "model")) {
        putchar(' ');
        print_safe(text_of(d, "model"), 0);
        printf(", %s to %s", text_of(d, "from"), text_of(d, "to"));
    }
    printf("%s: ", json_is_true(json_object_get(d, "applied"))   ? ""
                   : json_is_true(json_object_get(d, "dry_run")) ? " (told only)"
                                                                 : " (not done)");
    print_safe(*text_of(d, "error") ? text_of(d, "error") : text_of(d, "reason"), 0);
    putchar('\n');
}

static void print_adjusting(const json_t *answer)
{
    const json_t *settings = json_object_get(answer, "settings"), *one;
    bool on = json_is_true(json_object_get(settings, "enabled")),
         dry = json_is_true(json_object_get(settings, "dry_run"));
    size_t i;
    printf("adjusting: %s\n", !on ? "off" : dry ? "told only" : "on");
    if (on && *text_of(answer, "reason")) {
        printf("now: ");
        print_safe(text_of(answer, "reason"), 0);
        putchar('\n');
    }
    json_array_foreach(json_object_get(answer, "stepped"), i, one) {
        printf("stepped down: ");
        print_safe(text_of(one, "model"), 0);
        printf(", from %s\n", text_of(one, "from"));
    }
    if (json_array_size(json_object_get(answer, "decisions")) > 0) printf("decisions:\n");
    json_array_foreach(json_object_get(answer, "decisions"), i, one)
        print_decision(one);
}

static int adjust(struct remote *r, int argc, char **argv)
{
    static const char address[] = "/api/v1/runtime/adjust";
    json_t *answer = NULL, *body = NULL;
    if (argc > 1) {
        bool off = strcmp(argv[1], "off") == 0, dry = strcmp(argv[1], "dry-run") == 0;
        if (!off && !dry && strcmp(argv[1], "on") != 0) return usage_error(r->command, "expected on, dry-run or off");
        body = json_pack("{s:b, s:b}", "enabled", !off, "dry_run", dry);
    }
    int status = remote_call(r, argc > 1 ? "PATCH" : "GET", address, body, &answer);
    if (status != EXIT_DONE) return status;
    if (r->json) return print_answer(answer);
    print_adjusting(answer);
    json_decref(answer);
    return EXIT_DONE;
}

/* ---- comparing ---------------------------------------------------------------------------------- */

static void print_number(const json_t *o, const char *name, int decimals, int width)
{
    char text[40] = "-";
    const json_t *value = json_object_get(o, name);
    if (json_is_number(value)) snprintf(text, sizeof text, "%.*f", decimals, json_number_value(value));
    printf(" %*s", width, text);
}

static void print_compared(const json_t *answer)
{
    const json_t *one;
    char size[32], memory[32];
    size_t i;
    printf("%-5s %9s %9s %8s %10s %8s %9s %10s  %s\n", "level", "size", "memory", "seconds", "tokens/s", "speedup",
           "agreement", "loss", "file");
    json_array_foreach(json_object_get(answer, "levels"), i, one) {
        bool fault = *text_of(one, "fault") != '\0';
        printf("%-5s %9s %9s", text_of(one, "level"), fault ? "-" : human_bytes(number_of(one, "size_bytes"), size),
               fault ? "-" : human_bytes(number_of(one, "memory_bytes"), memory));
        print_number(one, "average_seconds", 3, 8);
        print_number(one, "tokens_per_second", 2, 10);
        print_number(one, "speedup", 2, 8);
        print_number(one, "agreement", 4, 9);
        print_number(one, "loss", 5, 10);
        printf("  ");
        print_safe(fault ? text_of(one, "fault") : text_of(one, "name"), 0);
        putchar('\n');
    }
    printf("agreement and loss: of the texts that ");
    print_safe(text_of(answer, "reference"), 0);
    printf(" makes of the prompts\n");
}

static int compare(struct remote *r, int argc, char **argv)
{
    const char *prompt = NULL, *times = NULL, *tokens = NULL;
    json_t *prompts = json_array(), *answer = NULL;
    for (int i = 2; i < argc; i++) {
        prompt = NULL;
        if (take_value("--prompt", argc, argv, &i, &prompt) || take_value("-p", argc, argv, &i, &prompt))
            json_array_append_new(prompts, json_string(prompt));
        else if (!take_value("--iterations", argc, argv, &i, &times) &&
                 !take_value("--max-tokens", argc, argv, &i, &tokens)) {
            json_decref(prompts);
            return unknown_argument(r->command, argv[i]);
        }
    }
    json_t *body = json_pack("{s:s, s:o}", "model", argv[1], "prompts", prompts);
    if (times) json_object_set_new(body, "iterations", json_integer(strtol(times, NULL, 10)));
    if (tokens) json_object_set_new(body, "max_tokens", json_integer(strtol(tokens, NULL, 10)));
    if (json_array_size(prompts) == 0) {
        json_decref(body);
        return usage_error(r->command, "which prompts? Give them with -p");
    }
    int status = remote_call(r, "POST", "/api/v1/runtime/compare", body, &answer);
    if (status != EXIT_DONE) return status;
    if (r->json) return print_answer(answer);
    print_compared(answer);
    json_decref(answer);
    return EXIT_DONE;
}

int run_levels(const struct command *c, int argc, char **argv)
{
    static const struct remote_verb verbs[] = {
        {"list", 0, 0, list},     {"show", 1, 1, show},        {"set", 2, 3, set}, {"settings", 0, 4, settings},
        {"adjust", 0, 1, adjust}, {"compare", 1, 80, compare}, {NULL, 0, 0, NULL}};
    return remote_main(&halftone_server, c, verbs, argc, argv);
}
