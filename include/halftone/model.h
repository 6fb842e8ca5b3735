/*
 * Halftone: an open model: its tensors and their rows, its tokenizer and chat template, logits and text.
 *
 *     struct ht_model_options options = {.size = sizeof options};
 *     struct ht_tensor_info tensor = {.size = sizeof tensor};
 *     struct ht_model *model;
 *     err = ht_model_open_with("Llama-3.2-1B", &options, &model, &diag);
 *     for (size_t i = 0; ht_model_tensor_at(model, HT_VIEW_NATIVE, i, &tensor); i++)
 *         err = ht_model_read_rows(model, HT_VIEW_NATIVE, i, 0, 1, first_row, &diag);
 *     ht_model_close(&model);
 */
#ifndef HALFTONE_MODEL_H
#define HALFTONE_MODEL_H

#include "halftone/base.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- models ---------------------------------------------------------------------------------- */

/*
 * A checkpoint that is open: a GGUF file, a Hugging Face folder, a safetensors or PyTorch file, as anybody wrote it.
 * Opening reads headers, configuration and metadata. Rows are read when they are asked for; the tokenizer is made and
 * the weights are read for running when a call first needs them.
 *
 * Several threads may use one handle at once for ht_model_info, ht_model_tensor_…, ht_model_read_rows and
 * ht_model_cancel; the other calls belong to one thread at a time. What a handle gives out (strings, the tokenizer,
 * generators) lives no longer than the handle.
 */
struct ht_model;

enum ht_model_flags {
    HT_MODEL_FAST = 1,   /* quantized weights times activations in eight bits; otherwise exact floats */
    HT_MODEL_STREAM = 2, /* a hub's weights are not downloaded first: what is read of them comes by ranges */
};

struct ht_model_options {
    size_t size;
    unsigned flags; /* enum ht_model_flags */
    /* of ht_model_logits */
    int n_ctx;       /* longest sequence in tokens; 0: what the model was trained with */
    int n_threads;   /* 0 takes every core */
    uint64_t memory; /* bytes that matrices may take (layers are then read as they are needed); 0: no limit */
    /* Of all that the handle holds, or NULL. Called from every thread that uses the handle and from those that it
     * starts, at the same time; must work until the handle is closed. */
    const struct ht_allocator *allocator;
    /* The options of ht_job_set that say how a hub is reached, and "offline": a name and its value in turn, NULL behind
     * the last: {"hub-cache", "/home/me/.cache/huggingface/hub", NULL}. NULL: ORG/NAME is a path. */
    const char *const *hub;
    ht_progress_fn *progress; /* of a download, from the calling thread; a return other than 0 cancels. Or NULL */
    void *ctx;
};

/*
 * source: a path, or ORG/NAME[@REVISION][:FILE.gguf] of a hub. options may be NULL. The model is the caller's, who
 * closes it; NULL after an error: HT_ERR_NOT_FOUND, HT_ERR_FORMAT or HT_ERR_UNSUPPORTED (an unknown architecture,
 * a packing that is not known), HT_ERR_LIMIT, HT_ERR_MEMORY.
 */
HT_API enum ht_err ht_model_open_with(const char *source, const struct ht_model_options *options,
                                      struct ht_model **model, struct ht_diag *diag);
/* The same with the weights made ready to run at once; the numbers are those of struct ht_model_options. */
HT_API enum ht_err ht_model_open(const char *path, int n_ctx, int n_threads, uint64_t memory, unsigned flags,
                                 struct ht_model **model, struct ht_diag *diag);
/* NULL-safe; sets *model to NULL. Generators of the model are closed before. */
HT_API void ht_model_close(struct ht_model **model);
/* cancelled: calls that run in other threads end soon with HT_ERR_CANCELLED, and later ones at once, until it is set
 * to false again. From any thread or signal handler. Generators have a cancellation of their own. */
HT_API void ht_model_cancel(struct ht_model *model, bool cancelled);

struct ht_model_info {
    size_t size;
    const char *path;         /* what was opened: of a hub's model, in the cache */
    const char *architecture; /* as GGUF names it: "llama" */
    const char *packed_as; /* how another program packed most of its matrices: "bitsandbytes nf4"; NULL: not at all */
    bool is_gguf;
    int n_layers, n_heads, n_kv_heads, n_experts;
    int n_ctx_train; /* longest sequence that it was trained with; 0: it cannot be run here */
    int vocabulary;  /* tokens: the length of a row of logits; 0: it cannot be run here */
};
/* false: no model, or info->size is not set. */
HT_API bool ht_model_info(const struct ht_model *model, struct ht_model_info *info);

/* ---- tensors of a model ---------------------------------------------------------------------- */

enum ht_view {
    HT_VIEW_NATIVE, /* the checkpoint's own names, shapes and order. Of a GGUF file: the other one */
    HT_VIEW_GGUF,   /* what converting to GGUF writes: renamed, permuted, experts stacked */
};

enum { HT_TENSOR_DIMS = 8 };
struct ht_tensor_info {
    size_t size;
    const char *name;
    const char *dtype; /* in which it is stored: "bf16", "q4_k"; of a packed matrix, that of the model's floats */
    int n_dims;        /* 0: one number */
    int64_t shape[HT_TENSOR_DIMS]; /* outermost first; of a packed matrix that of its weights, [n_out, n_in] */
    int64_t n_rows, row_len; /* as ht_model_read_rows sees it: the last dimension is a row, all others count them */
    const char *role; /* what it is for, as GGUF names it without layer: "attn_q"; "": of no role that is known */
    int32_t layer;    /* from 0; -1: of no layer */
    int32_t expert;   /* from 0; -1: of no expert, or of all of them */
    bool bias;        /* the bias of that role, not its weight */
    bool linear;      /* of the native view: a Linear's matrix, which schemes quantize */
    char scheme[128]; /* how another program packed it, as ht_matrix_dequantize takes it: "nf4"; "": not packed */
};
HT_API size_t ht_model_tensor_count(const struct ht_model *model, enum ht_view view);
/* false past the end, or where info->size is not set. */
HT_API bool ht_model_tensor_at(const struct ht_model *model, enum ht_view view, size_t index,
                               struct ht_tensor_info *info);
/* The index of a name; false: there is none. */
HT_API bool ht_model_tensor_find(const struct ht_model *model, enum ht_view view, const char *name, size_t *index);
/*
 * Rows [row, row + n) as floats: dst has room for n x row_len. Quantized and packed tensors are decoded, to what
 * programs that load them compute with. NaN and infinity are handed on as they are. HT_ERR_USAGE: there are no such
 * rows; HT_ERR_IO, HT_ERR_FORMAT: the file cannot be read, or its numbers make no sense. dst is undefined then.
 */
HT_API enum ht_err ht_model_read_rows(const struct ht_model *model, enum ht_view view, size_t index, int64_t row,
                                      int64_t n, float *dst, struct ht_diag *diag);

/* ---- logits ---------------------------------------------------------------------------------- */

/* Tokens that the model knows: the length of a row of logits; 0: it cannot be run. */
HT_API int ht_model_vocabulary(const struct ht_model *model);
/* Tokens at positions at, at + 1, …; at > 0 continues what earlier calls gave. logits: rows of
 * ht_model_vocabulary floats, the predictions after the last n_logits tokens. As many tokens as the context has room
 * for, computed 512 at a time. The first call reads the weights. */
HT_API enum ht_err ht_model_logits(struct ht_model *model, const int32_t *tokens, int n_tokens, int at, int n_logits,
                                   float *logits, struct ht_diag *diag);

/* ---- text from a model ----------------------------------------------------------------------- */

struct ht_generator;

/* A generator of an open model, which outlives it. It has a context and a cache of its own, so that several can be
 * in use; each is read by one thread at a time. Weights are read when the first prompt comes. */
HT_API enum ht_err ht_model_generator(struct ht_model *model, struct ht_generator **generator, struct ht_diag *diag);
/* The same with a model of its own: a path. */
HT_API enum ht_err ht_generator_open(const char *path, struct ht_generator **generator, struct ht_diag *diag);
/* NULL-safe; sets *generator to NULL. */
HT_API void ht_generator_close(struct ht_generator **generator);
/* The options by name; `verbs` is "generate run". false past the end. */
HT_API bool ht_generator_option_at(size_t index, struct ht_option_info *info);
/* Sets an option. One that shapes the engine (ctx, threads, memory, exact) ends the text that was begun: the next prompt
 * is read anew. The conversation stays. */
HT_API enum ht_err ht_generator_set(struct ht_generator *generator, const char *name, const char *value,
                                    struct ht_diag *diag);
/* Begins to continue a text. Control tokens are found in it by their spelling; the token that the model wants
 * before a text is put there, unless the text begins with it. */
HT_API enum ht_err ht_generator_prompt(struct ht_generator *generator, const char *text, size_t len,
                                       struct ht_diag *diag);
/*
 * Adds a message to the conversation: role is "system", "user" or "assistant". The user's begins an answer, which
 * ht_generator_next then gives and which becomes part of the conversation. The text is what the model's own chat
 * template (or the option chat-template) makes of it; control tokens spelled in messages are text like any other.
 * A message that is refused is not part of the conversation.
 */
HT_API enum ht_err ht_generator_say(struct ht_generator *generator, const char *role, const char *text, size_t len,
                                    struct ht_diag *diag);
/* The system message at the head of the conversation: put there, replaced, or (of no length) taken away. */
HT_API enum ht_err ht_generator_system(struct ht_generator *generator, const char *text, size_t len,
                                       struct ht_diag *diag);
/* Forgets the conversation, the system message too. NULL-safe. */
HT_API void ht_generator_clear(struct ht_generator *generator);
/* The conversation as the template writes it, ready for an answer. *text is the caller's (ht_free). */
HT_API enum ht_err ht_generator_conversation(struct ht_generator *generator, char **text, size_t *len,
                                             struct ht_diag *diag);
/*
 * The next piece of text as it is made, valid until the next call: whole UTF-8 characters where the model makes such.
 * *len is 0 at the end, and only there. After HT_ERR_CANCELLED, the call after it goes on.
 */
HT_API enum ht_err ht_generator_next(struct ht_generator *generator, const char **text, size_t *len,
                                     struct ht_diag *diag);
/* What is held back because it may become a stop text or a character; for those who end early. */
HT_API void ht_generator_rest(struct ht_generator *generator, const char **text, size_t *len);

struct ht_generator_stats {
    int context, trained_context; /* tokens */
    int prompt_tokens;            /* of them, read_tokens were not known from the turns before */
    int read_tokens, new_tokens;
    double prompt_seconds, seconds; /* reading the prompt, first token included; making the others */
    /* NULL: not at an end. "end": the model ended; "stop": a stop text; "length": as many tokens as were wanted, or
     * the context is full */
    const char *reason;
    bool context_full;
};
HT_API void ht_generator_stats(const struct ht_generator *generator, struct ht_generator_stats *stats);
/* Stops ht_generator_next soon, with HT_ERR_CANCELLED. May be called from a signal handler or another thread. */
HT_API void ht_generator_cancel(struct ht_generator *generator);

/* ---- chats ----------------------------------------------------------------------------------- */

struct ht_message {
    size_t size;
    const char *role; /* "system", "user" or "assistant" */
    const char *text; /* len bytes */
    size_t len;
};
/* The model's own template for conversations, in Jinja; NULL: it has none, or its tokenizer cannot be made. */
HT_API const char *ht_model_chat_template(struct ht_model *model);
/* A conversation as the template writes it, ready for an answer; the size of each message must be set. *text is the caller's
 * (ht_free), with a NUL behind its *len bytes. HT_ERR_UNSUPPORTED: there is no template, or it does what is not known
 * here; HT_ERR_USAGE: the template refuses the conversation. */
HT_API enum ht_err ht_model_chat(struct ht_model *model, const struct ht_message *messages, size_t n, char **text,
                                 size_t *len, struct ht_diag *diag);

/* ---- tokenizers ------------------------------------------------------------------------------ */

struct ht_tokenizer;

/* AROUND: with the tokens that the model wants before and behind a text. SPECIAL: control tokens are found by
 * their spelling (not for text of strangers), and decoding shows them. WITHIN: what is decoded stands within a text: a
 * space that it begins with stays. */
enum ht_tokenize_flags { HT_TOKENIZE_AROUND = 1, HT_TOKENIZE_SPECIAL = 2, HT_TOKENIZE_WITHIN = 4 };

/* The tokenizer of a GGUF file or a Hugging Face folder. Encoding and decoding may go on in several threads. */
HT_API enum ht_err ht_tokenizer_open(const char *path, struct ht_tokenizer **tokenizer, struct ht_diag *diag);
/* The tokenizer of an open model: the model's, never closed by the caller. */
HT_API enum ht_err ht_model_tokenizer(struct ht_model *model, const struct ht_tokenizer **tokenizer,
                                      struct ht_diag *diag);
/* NULL-safe; sets *tokenizer to NULL. */
HT_API void ht_tokenizer_close(struct ht_tokenizer **tokenizer);
/* Any bytes are taken. *ids is the caller's (ht_free). */
HT_API enum ht_err ht_tokenizer_encode(const struct ht_tokenizer *tokenizer, const char *text, size_t len,
                                       unsigned flags, int32_t **ids, size_t *n, struct ht_diag *diag);
/* *text is the caller's (ht_free), with a NUL behind its *len bytes, which may hold others. */
HT_API enum ht_err ht_tokenizer_decode(const struct ht_tokenizer *tokenizer, const int32_t *ids, size_t n,
                                       unsigned flags, char **text, size_t *len, struct ht_diag *diag);
/* Tokens of the vocabulary. */
HT_API int ht_tokenizer_size(const struct ht_tokenizer *tokenizer);
/* The tokens before and behind a text; -1: there is none. */
HT_API int32_t ht_tokenizer_bos(const struct ht_tokenizer *tokenizer);
HT_API int32_t ht_tokenizer_eos(const struct ht_tokenizer *tokenizer);
/* Does the token end what a model writes? */
HT_API bool ht_tokenizer_is_end(const struct ht_tokenizer *tokenizer, int32_t id);

#ifdef __cplusplus
}
#endif
#endif
