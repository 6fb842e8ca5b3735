/* ollama generate: a text, or an answer about images, from a model of an Ollama server. */
#include "generate.h"
#include "ollama.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_IMAGE = 64 << 20 };

struct speaking {
    const struct remote *remote;
    struct output out;
    bool done;
};

/* What Ollama takes as an image, by its first bytes. */
static bool is_image(const char *data, size_t n)
{
    return (n > 8 && memcmp(data, "\x89PNG\r\n\x1a\n", 8) == 0) || (n > 3 && memcmp(data, "\xff\xd8\xff", 3) == 0) ||
           (n > 12 && memcmp(data, "RIFF", 4) == 0 && memcmp(data + 8, "WEBP", 4) == 0);
}

static int add_image(const struct remote *r, json_t *images, const char *path)
{
    char *data = NULL;
    size_t n = 0;
    int status = read_file(r->command, path, &data, &n);
    if (status == EXIT_DONE && (n > MOST_IMAGE || !is_image(data, n))) {
        fprintf(stderr, "halftone %s: ", r->command->name);
        put_safe(stderr, path);
        fputs(n > MOST_IMAGE ? ": it is too large for an image\n" : ": it is no PNG, JPEG or WebP image\n", stderr);
        status = EXIT_INPUT;
    }
    unsigned char *text = status == EXIT_DONE ? malloc(4 * (n / 3 + 1) + 1) : NULL;
    if (status == EXIT_DONE && !text) status = EXIT_RESOURCES;
    if (text) {
        int len = EVP_EncodeBlock(text, (const unsigned char *)data, (int)n);
        json_array_append_new(images, json_stringn((const char *)text, (size_t)len));
    }
    free(text);
    free(data);
    return status;
}

/* Figures of the last object, in the form of our own. */
static void end(struct speaking *s, const json_t *line)
{
    const char *reason = text_of(line, "done_reason");
    struct ht_generator_stats stats = {.read_tokens = (int)number_of(line, "prompt_eval_count"),
                                       .prompt_tokens = (int)number_of(line, "prompt_eval_count"),
                                       .new_tokens = (int)number_of(line, "eval_count"),
                                       .prompt_seconds = number_of(line, "prompt_eval_duration") / 1e9,
                                       .seconds = number_of(line, "eval_duration") / 1e9,
                                       .reason = reason};
    s->done = true;
    output_end(&s->out, &stats, false, false);
}

static int take_piece(void *ctx, const json_t *line)
{
    struct speaking *s = ctx;
    const json_t *text = json_object_get(line, "response");
    if (s->remote->json) {
        s->done = json_is_true(json_object_get(line, "done"));
        return print_answer(json_incref((json_t *)(uintptr_t)line));
    }
    if (json_is_string(text) && !output_text(&s->out, json_string_value(text), json_string_length(text)))
        return EXIT_FAILED;
    if (json_is_true(json_object_get(line, "done"))) end(s, line);
    return EXIT_DONE;
}

static int ask(struct remote *r, json_t *body)
{
    struct speaking s = {.remote = r};
    output_init(&s.out, r->command, false, false);
    output_begin(&s.out);
    int status = remote_lines(r, "/api/generate", body, take_piece, &s);
    if (status != EXIT_DONE || s.done) return status;
    fprintf(stderr, "halftone %s: %s ended in the middle of its answer\n", r->command->name, r->server);
    return EXIT_FAILED;
}

struct wishes {
    const char *prompt, *file, *system, *keep_alive, *image, *parameter;
    json_t *images, *options;
};

static int read_wishes(const struct remote *r, int argc, char **argv, struct wishes *w)
{
    int status = EXIT_DONE;
    for (int i = 2; i < argc && status == EXIT_DONE; i++) {
        if (take_value("--prompt", argc, argv, &i, &w->prompt) || take_value("-p", argc, argv, &i, &w->prompt) ||
            take_value("--file", argc, argv, &i, &w->file) || take_value("-f", argc, argv, &i, &w->file) ||
            take_value("--system", argc, argv, &i, &w->system) ||
            take_value("--keep-alive", argc, argv, &i, &w->keep_alive))
            continue;
        if (take_value("--image", argc, argv, &i, &w->image))
            status = add_image(r, w->images, w->image);
        else if (!take_value("--parameter", argc, argv, &i, &w->parameter))
            return unknown_argument(r->command, argv[i]);
        else if (!ollama_add_parameter(w->options, w->parameter))
            return usage_error(r->command, "--parameter needs NAME=VALUE, got \"%.200s\"", w->parameter);
    }
    if (status == EXIT_DONE && !w->prompt == !w->file)
        return usage_error(r->command, "give a prompt with -p TEXT or -f FILE");
    return status;
}

static json_t *prompt_of(const struct remote *r, const struct wishes *w, int *status)
{
    char *text = NULL;
    size_t len = 0;
    json_t *prompt;
    if (w->prompt) {
        prompt = json_string(w->prompt);
    } else {
        *status = read_file(r->command, w->file, &text, &len);
        prompt = *status == EXIT_DONE ? json_stringn(text ? text : "", len) : NULL;
        free(text);
    }
    if (!prompt && *status == EXIT_DONE) *status = usage_error(r->command, "the prompt is no UTF-8 text");
    return prompt;
}

int ollama_generate(struct remote *r, int argc, char **argv)
{
    struct wishes w = {.images = json_array(), .options = json_object()};
    int status = w.images && w.options ? read_wishes(r, argc, argv, &w) : EXIT_RESOURCES;
    if (status == EXIT_DONE && !ollama_name_is_good(argv[1]))
        status = usage_error(r->command, "\"%.400s\" is not a name of a model", argv[1]);
    json_t *prompt = status == EXIT_DONE ? prompt_of(r, &w, &status) : NULL;
    if (status == EXIT_DONE) {
        json_t *body = json_pack("{s:s, s:O, s:b, s:O, s:O}", "model", argv[1], "prompt", prompt, "stream", true,
                                 "images", w.images, "options", w.options);
        if (w.system) json_object_set_new(body, "system", json_string(w.system));
        if (w.keep_alive) json_object_set_new(body, "keep_alive", ollama_value(w.keep_alive));
        status = ask(r, body);
    }
    json_decref(prompt);
    json_decref(w.images);
    json_decref(w.options);
    return status;
}
