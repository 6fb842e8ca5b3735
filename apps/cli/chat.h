/* A conversation with a model on the terminal: run.c reads what is said, chat.c has the model and its settings. */
#ifndef HT_CLI_CHAT_H
#define HT_CLI_CHAT_H

#include "generate.h"
#include "line.h"

struct chat {
    const struct command *command;
    struct ht_model *model;
    struct ht_generator *generator;
    json_t *settings; /* [[name, value]] in the order in which they were set: another model gets them too */
    char *name;       /* of the model, as it was given */
    char *system;     /* or NULL */
    struct line_input in;
    struct output out;
    bool person; /* mistakes are told and do not end the conversation */
    bool ended, warned;
};

/* Opens the model; one that was open before stays until this one is there, and its conversation is forgotten. */
int chat_load(struct chat *chat, const char *model);
/* NULL-safe settings: an option of the generator by its name, or as Ollama calls it ("num_ctx"). */
int chat_set(struct chat *chat, const char *name, const char *value);
/* text NULL or "": no system message. */
int chat_system(struct chat *chat, const char *text);
/* Says something to the model, and writes the answer. */
int chat_say(struct chat *chat, const char *text, size_t len);
int chat_clear(struct chat *chat);
void chat_close(struct chat *chat);

/* A line that begins with a slash; it may read more lines. */
int chat_command(struct chat *chat, const char *line);
/* The rest of a text that began with three quotation marks, up to the next three; its first line is given.
 * *text is the caller's (free). */
int chat_read_long(struct chat *chat, const char *first, char **text);

#endif
