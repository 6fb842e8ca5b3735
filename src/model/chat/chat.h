/*
 * A conversation as the text that a model was trained on: its chat template, run. Templates are Jinja; what is
 * run here is the part of it that models' templates use, with the settings of transformers (trim_blocks,
 * lstrip_blocks, no escaping), and with limits on steps, memory and depth: a template is a stranger's program.
 * It sees the conversation, the special tokens' spellings and the date, nothing else.
 */
#ifndef HT_MODEL_CHAT_CHAT_H
#define HT_MODEL_CHAT_CHAT_H

#include "base/buf.h"
#include "base/json.h"
#include "model/tokenizer/tokenizer.h"

#include <time.h>

struct ht__chat_message {
    const char *role; /* "system", "user", "assistant", "tool" */
    struct ht__str text;
};
struct ht__chat {
    const char *source;                /* the template */
    struct ht__str bos, eos, unk, pad; /* {NULL, 0}: there is none */
    const struct tm *now;
    const struct ht__chat_message *messages;
    size_t n;
    /* NULL, or instead of messages all names that the template finds: an object with "messages", "tools" …, whose texts are
     * marked (ht__tokenizer_mark) on the way */
    const struct ht__jnode *names;
    const struct ht__tokenizer *text; /* with names */
    bool finished;                    /* nothing is appended that makes the model answer */
};

/* A chat with the model's own template, or the one given, and the spellings of its special tokens: for `now` and
 * messages to be filled in. source is NULL where there is no template. */
struct ht__chat ht__chat_of(const struct ht__tokenizer *t, const char *source);

/* Appends the conversation with what makes the model answer. HT_ERR_UNSUPPORTED: the template does what is not
 * known here; HT_ERR_USAGE: it refuses the conversation. */
HT_MUST_CHECK enum ht_err ht__chat_render(const struct ht__chat *chat, const struct ht__alloc *alloc,
                                          struct ht__buf *out, struct ht_diag *diag);

#endif
