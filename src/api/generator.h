/* What a generator's two files share: generator.c, and conversation.c. */
#ifndef HT_API_GENERATOR_H
#define HT_API_GENERATOR_H

#include "api/model.h"
#include "engine/generator.h"
#include "model/chat/chat.h"

struct ht_generator {
    const struct ht__alloc *alloc; /* the model's */
    struct ht_model *model;
    bool owns_model;
    const struct ht__tokenizer *text; /* the model's */
    struct ht__generator *generator;  /* from the first prompt on */
    struct ht__engine_params engine;
    struct ht__sampler_params sampling;
    uint64_t max_tokens;
    char **stops;
    size_t n_stops;
    bool options_changed;
    int trained_context;
    atomic_bool cancelled;
    /* the conversation */
    char *chat_template;               /* NULL: the model's own */
    struct ht__chat_message *messages; /* roles are literals; texts are owned, and marked (ht__tokenizer_mark) */
    size_t n_messages;
    bool answering;
    struct ht__buf answer;
};

/* Some text in memory of the generator's, with a NUL; NULL: memory is out. */
char *ht__generator_copy(const struct ht_generator *g, const char *text, size_t len);
/* Begins to continue the ids; the engine is opened when it is not yet. */
HT_MUST_CHECK enum ht_err ht__generator_start(struct ht_generator *g, const struct ht__tokens *ids, unsigned flags,
                                              struct ht_diag *diag);
/* A piece of an answer went out; an empty one ends it. */
HT_MUST_CHECK enum ht_err ht__conversation_heard(struct ht_generator *g, struct ht__str piece, struct ht_diag *diag);
/* An answer that was cut short is a message; one of which nothing was heard is none. */
HT_MUST_CHECK enum ht_err ht__conversation_pause(struct ht_generator *g, struct ht_diag *diag);
void ht__conversation_close(struct ht_generator *g);

#endif
