/* The model of a conversation, its settings, and what is said to it. */
#include "chat.h"

#include <stdlib.h>
#include <string.h>

/* As programs that speak to Ollama call our options. */
static const char *const names[][2] = {
    {"num_predict", "max-tokens"}, {"num_ctx", "ctx"}, {"num_thread", "threads"}, {"repeat_last_n", "repeat-last"}};

static const char *option_name(const char *given, char name[64])
{
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(given, names[i][0]) == 0) return names[i][1];
    snprintf(name, 64, "%s", given);
    for (char *p = name; *p; p++)
        if (*p == '_') *p = '-';
    return name;
}

static int told(const struct chat *chat, enum ht_err err, const struct ht_diag *diag)
{
    return err ? report_error(chat->command, err, diag, false) : EXIT_DONE;
}

static const char *known_option(void *ctx, size_t index)
{
    static struct ht_option_info o;
    (void)ctx;
    return ht_generator_option_at(index, &o) ? o.name : NULL;
}

int chat_set(struct chat *chat, const char *given, const char *value)
{
    char copy[64];
    const char *name = option_name(given, copy), *known;
    struct ht_diag diag = {0};
    for (size_t i = 0; (known = known_option(NULL, i)) != NULL && strcmp(known, name) != 0;)
        i++;
    if (!known) return unknown_name(chat->command, "setting", given, known_option, NULL);
    enum ht_err err = chat->generator ? ht_generator_set(chat->generator, name, value, &diag) : HT_OK;
    if (!err && json_array_append_new(chat->settings, json_pack("[s, s?]", name, value)) != 0) return EXIT_RESOURCES;
    return told(chat, err, &diag);
}

/* A new generator of the model, as everything is set. */
static enum ht_err prepare(const struct chat *chat, struct ht_model *model, struct ht_generator **g,
                           struct ht_diag *diag)
{
    const json_t *pair;
    size_t i;
    enum ht_err err = ht_model_generator(model, g, diag);
    if (!err) err = ht_generator_set(*g, "max-tokens", "2147483647", diag);
    json_array_foreach(chat->settings, i, pair) {
        const char *value = json_string_value(json_array_get(pair, 1));
        if (!err) err = ht_generator_set(*g, json_string_value(json_array_get(pair, 0)), value, diag);
    }
    if (!err && chat->system) err = ht_generator_system(*g, chat->system, strlen(chat->system), diag);
    if (err) ht_generator_close(g);
    return err;
}

int chat_load(struct chat *chat, const char *name)
{
    const char *path = name;
    struct ht_model *model = NULL;
    struct ht_generator *g = NULL;
    struct ht_diag diag = {0};
    int status = hub_model(chat->command, &path, false, false);
    catch_interrupts(true); /* a download has its own way */
    if (status != EXIT_DONE) return status;
    enum ht_err err = ht_model_open_with(path, NULL, &model, &diag);
    if (!err) err = prepare(chat, model, &g, &diag);
    char *copy = err ? NULL : strdup(name);
    if (!copy) {
        ht_generator_close(&g);
        ht_model_close(&model);
        return err ? told(chat, err, &diag) : EXIT_RESOURCES;
    }
    ht_generator_close(&chat->generator);
    ht_model_close(&chat->model);
    free(chat->name);
    chat->name = copy;
    chat->model = model;
    chat->generator = g;
    chat->warned = false;
    return EXIT_DONE;
}

int chat_system(struct chat *chat, const char *text)
{
    struct ht_diag diag = {0};
    char *copy = text && *text ? strdup(text) : NULL;
    if (text && *text && !copy) return EXIT_RESOURCES;
    enum ht_err err =
        chat->generator ? ht_generator_system(chat->generator, copy, copy ? strlen(copy) : 0, &diag) : HT_OK;
    if (err) {
        free(copy);
        return told(chat, err, &diag);
    }
    free(chat->system);
    chat->system = copy;
    return EXIT_DONE;
}

int chat_clear(struct chat *chat)
{
    struct ht_diag diag = {0};
    ht_generator_clear(chat->generator);
    if (!chat->system) return EXIT_DONE;
    return told(chat, ht_generator_system(chat->generator, chat->system, strlen(chat->system), &diag), &diag);
}

int chat_say(struct chat *chat, const char *text, size_t len)
{
    struct ht_diag diag = {0};
    bool interrupted = false;
    answer_begins(chat->generator);
    enum ht_err err = ht_generator_say(chat->generator, "user", text, len, &diag);
    if (!err && !chat->warned) warn_of_context(chat->command, chat->generator);
    chat->warned = true;
    int status = err ? told(chat, err, &diag)
                     : write_answer(chat->command, chat->generator, &chat->out, &interrupted, !chat->out.terminal);
    answer_ends();
    return interrupted && !chat->person && status == EXIT_DONE ? EXIT_INTERRUPTED : status;
}

void chat_close(struct chat *chat)
{
    ht_generator_close(&chat->generator);
    ht_model_close(&chat->model);
    json_decref(chat->settings);
    free(chat->name);
    free(chat->system);
    line_close(&chat->in);
}
