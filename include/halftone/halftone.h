/*
 * Halftone: quantize language-model checkpoints.
 *
 *     struct ht_diag diag;
 *     if (ht_quantize("Llama-3.2-1B", "Q4_K_M,Q8_0", "out", &diag) != HT_OK)
 *         fprintf(stderr, "%s: %s\n", diag.where, diag.message);
 *
 * The library never prints, exits, aborts on input, or reads the environment. Handles are not to be
 * used from two threads at once, except where a call says so. Strings that are handed out live as long
 * as the handle or list they come from; text that is the caller's is freed with ht_free.
 */
#ifndef HALFTONE_H
#define HALFTONE_H

#include "halftone/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The library's version, "MAJOR.MINOR.PATCH". */
const char *ht_version(void);
/* Frees text that a call handed to the caller. NULL-safe. */
void ht_free(void *text);

/* ---- rows ------------------------------------------------------------------------------------ */

/*
 * Numeric formats by name, as `halftone types` lists them, case-insensitive ("q4_k", "IQ3_S"). Encoding
 * gives the bytes of the field's reference algorithms. Rows are row_len floats, adjacent; row_len must
 * be a multiple of the format's block (32 to 256 weights). n_threads 0 takes every core.
 */

/* Bytes of one encoded row; 0 for an unknown type or a length that does not divide. */
size_t ht_row_size(const char *type, int64_t row_len);

/* importance: [row_len] floats, not negative, the same for all rows; or NULL. dst: n_rows x ht_row_size.
 * HT_ERR_NONFINITE when src holds NaN or infinity: nothing is written then. */
enum ht_err ht_encode_rows(const char *type, const float *src, int64_t n_rows, int64_t row_len,
                           const float *importance, int n_threads, void *dst);
enum ht_err ht_decode_rows(const char *type, const void *src, int64_t n_rows, int64_t row_len,
                           int n_threads, float *dst);

/* ---- lists ----------------------------------------------------------------------------------- */

struct ht_type_info {
    const char *name;       /* "q4_k" */
    uint32_t gguf_id;       /* type id in a GGUF file */
    uint32_t block_weights; /* weights a block */
    uint32_t block_bytes;   /* bytes a block */
    bool uses_importance, needs_importance;
};
/* A numeric format that can be written; false past the end. */
bool ht_type_at(size_t index, struct ht_type_info *info);

struct ht_mix_info {
    const char *name;         /* "Q4_K_M" */
    uint32_t file_type;       /* general.file_type in a GGUF file */
    const char *default_type; /* "q4_k" */
    const char *about;        /* one line */
};
/* A named mix, as the option `type` takes it; false past the end. */
bool ht_mix_at(size_t index, struct ht_mix_info *info);

struct ht_arch_info {
    const char *name;    /* GGUF architecture: "llama" */
    const char *classes; /* Hugging Face classes, separated by blanks */
};
/* An architecture that can be converted; false past the end. */
bool ht_arch_at(size_t index, struct ht_arch_info *info);

/* ---- jobs ------------------------------------------------------------------------------------ */

/* What a job's option is: the command line, the recipe file and programs all set options by name. */
enum ht_option_kind { HT_OPTION_FLAG, HT_OPTION_TEXT, HT_OPTION_LIST };
struct ht_option_info {
    const char *name;    /* "tensor-type" */
    enum ht_option_kind kind;
    const char *verbs;   /* commands that take it, separated by blanks */
    const char *metavar; /* "RE=TYPE", or "" for a flag */
    const char *help;    /* one line */
};
bool ht_option_at(size_t index, struct ht_option_info *info);

struct ht_progress {
    const char *step;     /* "quantize", "verify", "measure" … */
    const char *tensor;   /* the one started last, or "" */
    const char *unit;     /* what is counted: "weights", "bytes", "tokens" */
    uint64_t done, total; /* weights read, transformed, encoded and written, of those to do */
    uint64_t bytes_read, bytes_written;
    double seconds;      /* since the step began */
    double rate;         /* units a second over the last seconds */
    double seconds_left; /* < 0 while not known */
};
/* Called about ten times a second from the thread that runs the job. A return other than 0 cancels. */
typedef int ht_progress_fn(void *ctx, const struct ht_progress *progress);
/* level 0: information; 1: warning. May come from any thread, one at a time. */
typedef void ht_log_fn(void *ctx, int level, const char *line);

struct ht_job;

enum ht_err ht_job_open(struct ht_job **job);
/* NULL-safe; sets *job to NULL. */
void ht_job_close(struct ht_job **job);
/* Sets an option by name; flags take NULL, "true" or "false"; lists grow with each call. */
enum ht_err ht_job_set(struct ht_job *job, const char *name, const char *value,
                       struct ht_diag *diag);
/* Sets the options of a YAML recipe file: the same names, lists as sequences. */
enum ht_err ht_job_config(struct ht_job *job, const char *path, struct ht_diag *diag);
void ht_job_on_progress(struct ht_job *job, ht_progress_fn *fn, void *ctx);
void ht_job_on_log(struct ht_job *job, ht_log_fn *fn, void *ctx);
/* Stops a running job soon. May be called from a signal handler or another thread. */
void ht_job_cancel(struct ht_job *job);

/* Plans and writes nothing: exact sizes, types, disk, memory and time needed, the memory to run each output at the
 * option "ctx", and whether it fits, as a JSON object. This machine's rates are measured for a third of a second. *json
 * is the caller's. */
enum ht_err ht_job_estimate(struct ht_job *job, char **json, struct ht_diag *diag);
/* Which mix to make of the source, for the options "memory" or "gpu" (with "gpu-count"), "ctx" and "cache-type": a JSON
 * object {"recommended", "next_better", "next_smaller", "offload", "reasons", "types", …}. *json is the caller's. */
enum ht_err ht_job_recommend(struct ht_job *job, char **json, struct ht_diag *diag);

struct ht_gpu_info {
    const char *name;
    uint64_t memory;    /* bytes; 0: shared with the processor, sold in several sizes */
    uint64_t bandwidth; /* bytes a second */
};
/* A card that the option "gpu" knows; false past the end. */
bool ht_gpu_at(size_t index, struct ht_gpu_info *info);
/* Runs to the end: reads the source once, writes every output, verifies, publishes. On success *json
 * (may be NULL) is the run report, the caller's. On failure nothing is published. */
enum ht_err ht_job_run(struct ht_job *job, char **json, struct ht_diag *diag);

/*
 * Measures the models that were set as "model" (a list: GGUF files or Hugging Face folders) on the option
 * "text": perplexity, and with "against" (or, when `compare`, against the largest of several) divergence from
 * that reference. *json is the caller's: {"perplexity", "tokens", "kld": {"mean", …}, …, "models": […]}.
 */
enum ht_err ht_job_eval(struct ht_job *job, bool compare, char **json, struct ht_diag *diag);

/*
 * Collects importance: runs the source on a text (the options text, tokens, ctx, chunks …), adds the files of
 * "in-file", and writes "output", a GGUF file of the field's form. *json (may be NULL) is the report, the
 * caller's. When it is cancelled, "output" + ".partial" is left, which a run with "resume" continues to the bit.
 */
enum ht_err ht_job_imatrix(struct ht_job *job, char **json, struct ht_diag *diag);

/* ---- hubs ------------------------------------------------------------------------------------ */

/*
 * Wherever a job is told a model, ORG/NAME[@REVISION][:FILE.gguf] names one of a hub, unless a file or folder here
 * is called so; only a job that was given a cache asks. Options of ht_job_set, which recipe files cannot set:
 *   hub-cache     the folder of models--ORG--NAME (the hub's other clients share it)
 *   hub-endpoint  default https://huggingface.co
 *   hub-token     sent to the endpoint's host alone, and in no report, log or diagnosis
 *   hub-proxy, hub-no-proxy, hub-ca-file, hub-parallel, hub-tries, hub-timeout
 */
bool ht_hub_is_name(const char *text);
/* Brings a model's files (or those that the option "include" matches) into the cache, with progress ("download",
 * "bytes"). *json is the caller's: {"path": what to open, "snapshot": its folder, "id", "revision", "commit", "files"}. */
enum ht_err ht_hub_pull(struct ht_job *job, const char *name, char **json, struct ht_diag *diag);
/* What a model's files are, without fetching them: {"id", "revision", "commit", "files", "bytes"}. */
enum ht_err ht_hub_info(struct ht_job *job, const char *name, char **json, struct ht_diag *diag);
/* At most `limit` models that match a text: {"models": [{"id", "downloads", "likes", "updated", "gated", …}]}. */
enum ht_err ht_hub_search(struct ht_job *job, const char *text, int limit, char **json, struct ht_diag *diag);

/* All of the above in one call: a folder or file, mixes separated by commas, a folder for the outputs. */
enum ht_err ht_quantize(const char *source, const char *types, const char *out_dir,
                        struct ht_diag *diag);

/* ---- files ----------------------------------------------------------------------------------- */

enum ht_inspect_flags { HT_INSPECT_TENSORS = 1, HT_INSPECT_VERIFY = 2 };
/* What is inside a checkpoint, a folder of one, a GGUF or an importance file, as a JSON object. With
 * HT_INSPECT_VERIFY every block is checked, and the first bad one is an error. *json is the caller's. */
enum ht_err ht_inspect(const char *path, unsigned flags, char **json, struct ht_diag *diag);
/* The same of a job's source, which may be a hub's: of weights only the headers are read then. */
enum ht_err ht_job_inspect(struct ht_job *job, unsigned flags, char **json, struct ht_diag *diag);

/* ---- models ---------------------------------------------------------------------------------- */

struct ht_model;

/*
 * Opens a model to be run: a GGUF file with any numeric formats, or a Hugging Face folder. n_ctx: the longest
 * sequence, 0 for what the model was trained with; n_threads 0 takes every core; memory: bytes that its
 * matrices may take (layers are then read as they are needed), 0 for no cap.
 */
enum ht_model_flags {
    HT_MODEL_FAST = 1, /* quantized weights times activations in eight bits; otherwise exact floats */
};
enum ht_err ht_model_open(const char *path, int n_ctx, int n_threads, uint64_t memory, unsigned flags,
                          struct ht_model **model, struct ht_diag *diag);
/* NULL-safe; sets *model to NULL. */
void ht_model_close(struct ht_model **model);
/* Tokens that the model knows: the length of a row of logits. */
int ht_model_vocabulary(const struct ht_model *model);
/* Tokens at positions at, at + 1, …; at > 0 continues what earlier calls gave. logits: rows of
 * ht_model_vocabulary floats, the predictions after the last n_logits tokens. */
enum ht_err ht_model_logits(struct ht_model *model, const int32_t *tokens, int n_tokens, int at, int n_logits,
                            float *logits, struct ht_diag *diag);

/* ---- text from a model ----------------------------------------------------------------------- */

struct ht_generator;

/* Opens a model (a GGUF file or a Hugging Face folder) with its tokenizer. Weights are read when the first prompt
 * comes. */
enum ht_err ht_generator_open(const char *path, struct ht_generator **generator, struct ht_diag *diag);
/* NULL-safe; sets *generator to NULL. */
void ht_generator_close(struct ht_generator **generator);
/* The options by name; `verbs` is "generate". false past the end. */
bool ht_generator_option_at(size_t index, struct ht_option_info *info);
/* Sets an option. Those that shape the engine (ctx, threads, memory, exact) are refused after the first prompt. */
enum ht_err ht_generator_set(struct ht_generator *generator, const char *name, const char *value,
                             struct ht_diag *diag);
/* Begins to continue a text. Control tokens are found in it by their spelling; the token that the model wants
 * before a text is put there, unless the text begins with it. */
enum ht_err ht_generator_prompt(struct ht_generator *generator, const char *text, size_t len, struct ht_diag *diag);
/*
 * Adds a message to the conversation: role is "system", "user" or "assistant". The user's begins an answer, which
 * ht_generator_next then gives and which becomes part of the conversation. The text is what the model's own chat
 * template (or the option chat-template) makes of it; control tokens spelled in messages are text like any other.
 * A message that is refused is not part of the conversation.
 */
enum ht_err ht_generator_say(struct ht_generator *generator, const char *role, const char *text, size_t len,
                             struct ht_diag *diag);
/* The conversation as the template writes it, ready for an answer. *text is the caller's (ht_free). */
enum ht_err ht_generator_conversation(struct ht_generator *generator, char **text, size_t *len, struct ht_diag *diag);
/*
 * The next piece of text as it is made, valid until the next call: whole UTF-8 characters where the model makes such.
 * *len is 0 at the end, and only there. After HT_ERR_CANCELLED, the call after it goes on.
 */
enum ht_err ht_generator_next(struct ht_generator *generator, const char **text, size_t *len, struct ht_diag *diag);
/* What is held back because it may become a stop text or a character; for those who end early. */
void ht_generator_rest(struct ht_generator *generator, const char **text, size_t *len);

struct ht_generator_stats {
    int context, trained_context;   /* tokens */
    int prompt_tokens;              /* of them, read_tokens were not known from the turns before */
    int read_tokens, new_tokens;
    double prompt_seconds, seconds; /* reading the prompt, first token included; making the others */
    /* NULL: not at an end. "end": the model ended; "stop": a stop text; "length": as many tokens as were wanted, or
     * the context is full */
    const char *reason;
    bool context_full;
};
void ht_generator_stats(const struct ht_generator *generator, struct ht_generator_stats *stats);
/* Stops ht_generator_next soon, with HT_ERR_CANCELLED. May be called from a signal handler or another thread. */
void ht_generator_cancel(struct ht_generator *generator);

/* ---- tokenizers ------------------------------------------------------------------------------ */

struct ht_tokenizer;

/* AROUND: with the tokens that the model wants before and behind a text. SPECIAL: control tokens are found by
 * their spelling (not for text of strangers), and decoding shows them. */
enum ht_tokenize_flags { HT_TOKENIZE_AROUND = 1, HT_TOKENIZE_SPECIAL = 2 };

/* The tokenizer of a GGUF file or a Hugging Face folder. Encoding and decoding may go on in several threads. */
enum ht_err ht_tokenizer_open(const char *path, struct ht_tokenizer **tokenizer, struct ht_diag *diag);
/* NULL-safe; sets *tokenizer to NULL. */
void ht_tokenizer_close(struct ht_tokenizer **tokenizer);
/* Any bytes are taken. *ids is the caller's (ht_free). */
enum ht_err ht_tokenizer_encode(const struct ht_tokenizer *tokenizer, const char *text, size_t len, unsigned flags,
                                int32_t **ids, size_t *n, struct ht_diag *diag);
/* *text is the caller's (ht_free), with a NUL behind its *len bytes, which may hold others. */
enum ht_err ht_tokenizer_decode(const struct ht_tokenizer *tokenizer, const int32_t *ids, size_t n, unsigned flags,
                                char **text, size_t *len, struct ht_diag *diag);
/* Tokens of the vocabulary. */
int ht_tokenizer_size(const struct ht_tokenizer *tokenizer);
/* The tokens before and behind a text; -1: there is none. */
int32_t ht_tokenizer_bos(const struct ht_tokenizer *tokenizer);
int32_t ht_tokenizer_eos(const struct ht_tokenizer *tokenizer);
/* Does the token end what a model writes? */
bool ht_tokenizer_is_end(const struct ht_tokenizer *tokenizer, int32_t id);

#ifdef __cplusplus
}
#endif
#endif
