/* What OpenAI's requests have in common: sampling, stops, formats. */
#ifndef HT_SERVICE_OPENAI_REQUESTS_H
#define HT_SERVICE_OPENAI_REQUESTS_H

#include "service/openai/answer.h"
#include "service/openai/known.h"

/* Fields of sampling and streaming, for a table of fields. */
#define OPENAI_FIELDS                                                                                                  \
    {"model", FIELD_TEXT, 1, 500}, {"temperature", FIELD_NUMBER, 0, 2}, {"top_p", FIELD_NUMBER, 0, 1},                 \
        {"min_p", FIELD_NUMBER, 0, 1}, {"top_k", FIELD_INTEGER, -1, 1e9}, {"n", FIELD_INTEGER, 1, 16},                 \
        {"max_tokens", FIELD_INTEGER, 0, 1e9}, {"presence_penalty", FIELD_NUMBER, -2, 2},                              \
        {"frequency_penalty", FIELD_NUMBER, -2, 2}, {"repetition_penalty", FIELD_NUMBER, 0.01, 100},                   \
        {"seed", FIELD_INTEGER, -9.2e18, 9.2e18},                                                                      \
    {                                                                                                                  \
        "stream", FIELD_FLAG, 0, 0                                                                                     \
    }

/* The request that the body asks for, without its prompt; NULL: it was answered. */
json_t *requests_of(struct api_call *call, const json_t *body);
/* A copy for each choice, with seeds that differ; NULL: no memory. */
json_t *requests_copies(const json_t *request, size_t n);
/* {"stream_options": {"include_usage": true}} */
bool requests_want_usage(const json_t *body);
/* The text of a member that must be there; NULL: it was answered. */
const char *requests_model(struct api_call *call, const json_t *body);

/* A text, a list of tokens, or a list of either, at most so many: as a list, to be released. NULL: none of these. */
json_t *requests_texts(const json_t *given, size_t most);

#endif
