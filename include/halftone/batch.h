/*
 * Halftone: several texts from one model at the same time.
 *
 * Each step reads the weights once for all texts that are in the batch, so that many take little longer than one.
 * Texts come and go between steps. With HT_BATCH_EXACT a text does not depend on what else is in the batch.
 *
 *     err = ht_batch_open(model, &options, &batch, &diag);
 *     err = ht_model_chat_ids(model, "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}", len, 0, &ids, &n, &diag);
 *     err = ht_batch_add(batch, &text, &place, &diag);
 *     while (ht_batch_step(batch, &diag) == HT_OK && ht_batch_take(batch, place, &out) && !out.reason)
 *         fwrite(out.text, 1, out.len, stdout);
 *     ht_batch_remove(batch, place);
 */
#ifndef HALFTONE_BATCH_H
#define HALFTONE_BATCH_H

#include "halftone/model.h"

#ifdef __cplusplus
extern "C" {
#endif

struct ht_batch;

enum ht_batch_flags { HT_BATCH_EXACT = 1 /* floats without rounding to eight bits, in one order of sums */ };

struct ht_batch_options {
    size_t size;
    unsigned flags;        /* enum ht_batch_flags */
    int n_ctx;             /* tokens of a text; 0: what the model was trained with, 4096 at most */
    int n_texts;           /* at the same time; 0: 4. Each takes keys and values for n_ctx tokens as it fills them */
    int n_threads;         /* 0: every core */
    uint64_t memory;       /* bytes that matrices may take; 0: no limit */
    uint64_t cache_memory; /* bytes for keys and values: n_texts becomes fewer, down to 1, to fit; 0: no limit */
};

/* The model outlives the batch. Weights are read here. options may be NULL. */
HT_API enum ht_err ht_batch_open(struct ht_model *model, const struct ht_batch_options *options,
                                 struct ht_batch **batch, struct ht_diag *diag);
/* NULL-safe; sets *batch to NULL. */
HT_API void ht_batch_close(struct ht_batch **batch);

struct ht_batch_info {
    size_t size;
    int n_ctx, n_ctx_train, n_texts, n_embd;
    uint64_t weight_bytes; /* that are held for matrices */
    uint64_t cache_bytes;  /* of keys and values, when all texts fill the context */
};
HT_API bool ht_batch_info(const struct ht_batch *batch, struct ht_batch_info *info);

enum ht_batch_text_flags {
    HT_BATCH_ANSWER = 1, /* the ids ask for an answer (ht_model_chat_ids): what is made is a text of its own */
    HT_BATCH_ECHO = 2,   /* the tokens of the prompt are told too; n_top must not be -1 */
    HT_BATCH_STATES = 4, /* no text is made: the model's last states for the tokens of the prompt */
};

struct ht_batch_text {
    size_t size;
    const int32_t *ids; /* n tokens to be continued */
    size_t n;
    int max_tokens;        /* to be made at most */
    unsigned flags;        /* enum ht_batch_text_flags */
    double temperature;    /* 0: the likeliest token always */
    int top_k;             /* 0: off */
    double top_p;          /* 1: off */
    double min_p;          /* 0: off */
    double repeat_penalty; /* 1: off */
    double presence_penalty,
        frequency_penalty; /* 0: off; taken from the logits of tokens that occurred: once, and each time */
    int repeat_last;       /* tokens that count as having occurred; 0: none */
    uint64_t seed;
    const char *const *stops; /* n_stops texts that end it; they are not part of it */
    size_t n_stops;
    int n_top;          /* the likeliest tokens that are told with each, 20 at most; -1: no probabilities */
    const char *schema; /* JSON Schema that what is made has to fit; "": any JSON object; NULL: any text */
};

/* *place names the text until it is removed. HT_ERR_LIMIT: the prompt is longer than the context; HT_ERR_USAGE: all places
 * are taken, or a setting is out of its range; HT_ERR_UNSUPPORTED: the schema asks for what cannot be guaranteed. */
HT_API enum ht_err ht_batch_add(struct ht_batch *batch, const struct ht_batch_text *text, int *place,
                                struct ht_diag *diag);
/* What was read of it is kept for texts that begin alike, as long as its place is not needed. */
HT_API void ht_batch_remove(struct ht_batch *batch, int place);
HT_API int ht_batch_free(const struct ht_batch *batch); /* places */
HT_API int ht_batch_used(const struct ht_batch *batch);
/* One pass over the weights: a token for each text, or a part of its prompt. After an error no text can go on. */
HT_API enum ht_err ht_batch_step(struct ht_batch *batch, struct ht_diag *diag);

struct ht_batch_token {
    size_t size;
    int32_t id;
    double logprob; /* NaN: the first token of a prompt */
    int n_top;
    const int32_t *top; /* the likeliest first */
    const float *top_logprobs;
};
/* What the last step brought for a text; valid until the next one. */
struct ht_batch_out {
    size_t size;
    const char *text; /* len bytes of whole characters; not NUL-terminated */
    size_t len;
    int n_tokens;        /* whose text began in here; see ht_batch_token */
    const float *states; /* n_states x n_embd */
    int n_states;
    const char *reason; /* as in struct ht_generator_stats; NULL: it goes on. "error": see err and message */
    bool context_full;
    enum ht_err err;
    const char *message;
    int prompt_tokens, read_tokens, new_tokens; /* of the prompt; of them, read; made */
    double prompt_seconds, seconds;
};
/* false: no such text. Once after each step: pieces are handed out once. */
HT_API bool ht_batch_take(struct ht_batch *batch, int place, struct ht_batch_out *out);
/* Token i of what ht_batch_take gave last; false past the end. */
HT_API bool ht_batch_token(struct ht_batch *batch, int place, int i, struct ht_batch_token *token);

/*
 * A conversation as tokens, ready for an answer: a JSON object with "messages", a list of objects that each have a
 * "role" and what else the model's template looks at ("content", "tool_calls" …), and if wanted "tools" and other
 * names that the template knows. Control tokens spelled in texts are text like any other. template: one to be used
 * instead of the model's own, or NULL. *ids is the caller's (ht_free).
 */
HT_API enum ht_err ht_model_chat_ids(struct ht_model *model, const char *json, size_t len, const char *template_text,
                                     int32_t **ids, size_t *n, struct ht_diag *diag);
/* How the model makes one vector of a text of its states: "mean", "last", "first", or NULL: it was not made for that. */
HT_API const char *ht_model_pooling(struct ht_model *model);

#ifdef __cplusplus
}
#endif
#endif
