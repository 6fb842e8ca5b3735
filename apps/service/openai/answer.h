/* An answer in OpenAI's shape that is made of tasks: one for each choice, as one body or as a stream of events. */
#ifndef HT_SERVICE_OPENAI_ANSWER_H
#define HT_SERVICE_OPENAI_ANSWER_H

#include "service/api/run.h"

enum answer_kind { ANSWER_CHAT, ANSWER_TEXT };

enum { ANSWER_MOST_CHOICES = 128 };

struct answer_settings {
    enum answer_kind kind;
    const char *model; /* as it is told */
    bool stream, usage, logprobs, tools;
    size_t n_choices, n_each; /* choices; of one prompt, which is counted once */
    json_t *echoes;           /* text that each choice begins with, or NULL; stolen */
};

/* Submits a request (see runtime/model.h) for each choice: `requests` is stolen. The call is answered later. */
void answer_start(struct api_call *call, const struct answer_settings *settings, const struct runtime_model *model,
                  json_t *requests);

#endif
