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

#include "halftone/base.h"
#include "halftone/matrix.h"
#include "halftone/model.h"
#include "halftone/batch.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The library's version, "MAJOR.MINOR.PATCH". */
HT_API const char *ht_version(void);
/*
 * Copies text that comes from a file (names, metadata) so that it can be shown on a terminal: control characters,
 * line separators and marks of direction become \n, \t, \xNN or \uNNNN, bytes that are not UTF-8 become \xNN.
 * Returns the length of the whole result, as snprintf does; `out` holds what fits in size - 1 bytes, never half a
 * character. Diagnoses are escaped already.
 */
HT_API size_t ht_text_escape(const char *text, size_t len, char *out, size_t size);
/* The name that a mistyped word stands for, by edit distance; NULL where none is near. name: the one at an index, NULL
 * past the end. */
HT_API const char *ht_text_nearest(const char *word, const char *(*name)(void *ctx, size_t index), void *ctx);

/* ---- rows ------------------------------------------------------------------------------------ */

/*
 * Numeric formats by name, as `halftone types` lists them, case-insensitive ("q4_k", "IQ3_S"). Encoding
 * gives the bytes that llama.cpp's ggml_quantize_chunk gives. Rows are row_len floats, adjacent; row_len must
 * be a multiple of the format's block (32 to 256 weights). n_threads 0 takes every core.
 */

/* Bytes of one encoded row; 0 for an unknown type or a length that does not divide. */
HT_API size_t ht_row_size(const char *type, int64_t row_len);

/* What is encoded or decoded. */
struct ht_rows {
    size_t size;
    const char *type; /* a numeric format */
    int64_t n_rows, row_len;
    const float *importance; /* row_len floats, not negative, the same for all rows; or NULL. Only for encoding */
    int n_threads;           /* 0 takes every core */
    /* Rows that are done; called from the calling thread. false: stop, with HT_ERR_CANCELLED. May be NULL. */
    bool (*progress)(void *ctx, int64_t n_done, int64_t n_rows);
    void *ctx;
};
/* src: n_rows x row_len floats; dst: n_rows x ht_row_size bytes, undefined after an error. Nothing is allocated.
 * HT_ERR_USAGE: an unknown type, one that is only read, one that needs importance and has none, or a length that does
 * not divide; HT_ERR_NONFINITE: NaN or infinity, in src or importance (or a negative number there). */
HT_API enum ht_err ht_rows_encode(const struct ht_rows *rows, const float *src, void *dst, struct ht_diag *diag);
/* The reverse. Any bytes are decoded. */
HT_API enum ht_err ht_rows_decode(const struct ht_rows *rows, const void *src, float *dst, struct ht_diag *diag);

/* The same in short, without a diagnosis and to the end. */
HT_API enum ht_err ht_encode_rows(const char *type, const float *src, int64_t n_rows, int64_t row_len,
                                  const float *importance, int n_threads, void *dst);
HT_API enum ht_err ht_decode_rows(const char *type, const void *src, int64_t n_rows, int64_t row_len, int n_threads,
                                  float *dst);

/* ---- lists ----------------------------------------------------------------------------------- */

struct ht_type_info {
    const char *name;       /* "q4_k" */
    uint32_t gguf_id;       /* type id in a GGUF file */
    uint32_t block_weights; /* weights a block */
    uint32_t block_bytes;   /* bytes a block */
    bool uses_importance, needs_importance;
};
/* A numeric format that can be written; false past the end. */
HT_API bool ht_type_at(size_t index, struct ht_type_info *info);

struct ht_mix_info {
    const char *name;         /* "Q4_K_M" */
    uint32_t file_type;       /* general.file_type in a GGUF file */
    const char *default_type; /* "q4_k" */
    const char *about;        /* one line */
    bool needs_importance;    /* it is refused without an importance matrix */
    /* What it lost on the example model, in nats a token, and the share of tokens whose likeliest successor stayed the
     * same; divergence 0: it was not measured. */
    double divergence, same_top_token;
    bool measured_with_importance;
};
/* A named mix, as the option `type` takes it; false past the end. */
HT_API bool ht_mix_at(size_t index, struct ht_mix_info *info);

/* A kind of file: how outputs are written, and what is read. */
struct ht_container_info {
    size_t size;
    const char *name;   /* "safetensors", as the option `format` takes it */
    const char *suffix; /* ".safetensors" */
    bool is_folder; /* outputs are Hugging Face folders, with the native view of a model; otherwise single files, with
                           the GGUF view */
    bool can_write;
    const char *title, *about; /* for people: "Hugging Face folder", and one line */
};
/* The first that can be written, of files and of folders, is where a type goes that names none ("F16", "nf4" against
 * "pytorch/nf4"). false past the end. Set info->size before. */
HT_API bool ht_container_at(size_t index, struct ht_container_info *info);

/* A method: how the codes of a matrix are chosen. */
struct ht_method_info {
    size_t size;
    const char *name;  /* "round" */
    const char *about; /* one line */
};
/* The first is the one that is taken where none is named. false past the end. Set info->size before. */
HT_API bool ht_method_at(size_t index, struct ht_method_info *info);

struct ht_arch_info {
    const char *name;    /* GGUF architecture: "llama" */
    const char *classes; /* Hugging Face classes, separated by blanks */
};
/* An architecture that can be converted; false past the end. */
HT_API bool ht_arch_at(size_t index, struct ht_arch_info *info);

/* ---- jobs ------------------------------------------------------------------------------------ */

HT_API bool ht_option_at(size_t index, struct ht_option_info *info);

struct ht_job;

HT_API enum ht_err ht_job_open(struct ht_job **job);
/* NULL-safe; sets *job to NULL. */
HT_API void ht_job_close(struct ht_job **job);
/* Sets an option by name; flags take NULL, "true" or "false"; lists grow with each call. */
HT_API enum ht_err ht_job_set(struct ht_job *job, const char *name, const char *value, struct ht_diag *diag);
/* Sets the options of a YAML recipe file: the same names, lists as sequences. */
HT_API enum ht_err ht_job_config(struct ht_job *job, const char *path, struct ht_diag *diag);
HT_API void ht_job_on_progress(struct ht_job *job, ht_progress_fn *fn, void *ctx);
HT_API void ht_job_on_log(struct ht_job *job, ht_log_fn *fn, void *ctx);
/* Stops a running job soon. May be called from a signal handler or another thread. */
HT_API void ht_job_cancel(struct ht_job *job);

/* Plans and writes nothing: exact sizes, types, disk, memory and time needed, the memory to run each output at the
 * option "ctx", and whether it fits, as a JSON object. This machine's rates are measured for a third of a second. *json
 * is the caller's. */
HT_API enum ht_err ht_job_estimate(struct ht_job *job, char **json, struct ht_diag *diag);
/* A program that the option "for" of ht_job_recommend knows. */
struct ht_program_info {
    size_t size;
    const char *name;  /* "transformers" */
    const char *about; /* what it runs, in a few words */
    bool is_folder;    /* it runs Hugging Face folders; otherwise GGUF files */
};
/* The first is the one that is meant where none is named. false past the end. Set info->size before. */
HT_API bool ht_program_at(size_t index, struct ht_program_info *info);

/* Which type to make of the source, for the options "for" (a program), "memory" or "gpu" (with "gpu-count"), "ctx" and "cache-type": a JSON
 * object {"recommended", "next_better", "next_smaller", "offload", "reasons", "types", …}. *json is the caller's. */
HT_API enum ht_err ht_job_recommend(struct ht_job *job, char **json, struct ht_diag *diag);

struct ht_gpu_info {
    const char *name;
    uint64_t memory;    /* bytes; 0: shared with the processor, sold in several sizes */
    uint64_t bandwidth; /* bytes a second */
};
/* A card that the option "gpu" knows; false past the end. */
HT_API bool ht_gpu_at(size_t index, struct ht_gpu_info *info);
/* Runs to the end: reads the source once, writes every output, verifies, publishes. On success *json
 * (may be NULL) is the run report, the caller's. On failure nothing is published. */
HT_API enum ht_err ht_job_run(struct ht_job *job, char **json, struct ht_diag *diag);

/*
 * Measures the models that were set as "model" (a list: GGUF files or Hugging Face folders) on the option
 * "text": perplexity, and with "against" (or, when `compare`, against the largest of several) divergence from
 * that reference. *json is the caller's: {"perplexity", "tokens", "kld": {"mean", …}, …, "models": […]}.
 */
HT_API enum ht_err ht_job_eval(struct ht_job *job, bool compare, char **json, struct ht_diag *diag);

/*
 * Collects importance: runs the source on a text (the options text, tokens, ctx, chunks …), adds the files of
 * "in-file", and writes "output", a GGUF file as llama-imatrix writes it. *json (may be NULL) is the report, the
 * caller's. When it is cancelled, "output" + ".partial" is left, which a run with "resume" continues to the bit.
 */
HT_API enum ht_err ht_job_imatrix(struct ht_job *job, char **json, struct ht_diag *diag);

/*
 * Runs the source on a text (the options calibration, calibration-seed, ctx, chunks …) and keeps statistics of its activations in
 * the folder "output"; or merges the folders of "in-stats" into it. The option "calibration-stats" of other jobs takes them. *json
 * (may be NULL) is the report, the caller's. Nothing is left of a run that fails.
 */
HT_API enum ht_err ht_job_calibrate(struct ht_job *job, char **json, struct ht_diag *diag);

/* ---- hubs ------------------------------------------------------------------------------------ */

/*
 * Wherever a job is told a model, ORG/NAME[@REVISION][:FILE.gguf] names one of a hub, unless a file or folder here
 * is called so; only a job that was given a cache asks. Options of ht_job_set, which recipe files cannot set:
 *   hub-cache     the folder of models--ORG--NAME (the hub's other clients share it)
 *   hub-endpoint  default https://huggingface.co
 *   hub-token     sent to the endpoint's host alone, and in no report, log or diagnosis
 *   hub-proxy, hub-no-proxy, hub-ca-file, hub-parallel, hub-tries, hub-timeout
 */
HT_API bool ht_hub_is_name(const char *text);
/* Brings a model's files (or those that the option "include" matches) into the cache, with progress ("download",
 * "bytes"). *json is the caller's: {"path": what to open, "snapshot": its folder, "id", "revision", "commit", "files"}. */
HT_API enum ht_err ht_hub_pull(struct ht_job *job, const char *name, char **json, struct ht_diag *diag);
/*
 * Weights for a process that must not reach the hub. This call brings the small files into the cache, tells `ready`
 * once what ht_hub_pull tells, and then reads the weights by ranges for whoever holds the other end of the socket (a
 * stream), until that is closed. There the option hub-socket of a job, its descriptor, takes the place of the cache
 * and the token: the job reads the same model, without a network.
 */
HT_API enum ht_err ht_hub_lend(struct ht_job *job, const char *name, int socket,
                               void (*ready)(void *ctx, const char *json), void *ctx, struct ht_diag *diag);
/* What a model's files are, without fetching them: {"id", "revision", "commit", "files", "bytes"}. */
HT_API enum ht_err ht_hub_info(struct ht_job *job, const char *name, char **json, struct ht_diag *diag);
/* At most `limit` models that match a text: {"models": [{"id", "downloads", "likes", "updated", "gated", …}]}. */
HT_API enum ht_err ht_hub_search(struct ht_job *job, const char *text, int limit, char **json, struct ht_diag *diag);

/* All of the above in one call: a folder or file, mixes separated by commas, a folder for the outputs. */
HT_API enum ht_err ht_quantize(const char *source, const char *types, const char *out_dir, struct ht_diag *diag);

/* ---- files ----------------------------------------------------------------------------------- */

enum ht_inspect_flags { HT_INSPECT_TENSORS = 1, HT_INSPECT_VERIFY = 2 };
/* What is inside a checkpoint, a folder of one, a GGUF or an importance file, as a JSON object. With
 * HT_INSPECT_VERIFY every block is checked, and the first bad one is an error. *json is the caller's. */
HT_API enum ht_err ht_inspect(const char *path, unsigned flags, char **json, struct ht_diag *diag);
/* The same of a job's source, which may be a hub's: of weights only the headers are read then. */
HT_API enum ht_err ht_job_inspect(struct ht_job *job, unsigned flags, char **json, struct ht_diag *diag);

#ifdef __cplusplus
}
#endif
#endif
