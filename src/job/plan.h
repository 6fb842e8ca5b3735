/*
 * The plan of a job: for every output file its tensors with types, offsets and exact size, before the
 * first byte is written.
 */
#ifndef HT_JOB_PLAN_H
#define HT_JOB_PLAN_H

#include "base/file.h"
#include "formats/gguf_write.h"
#include "formats/imatrix.h"
#include "job/job.h"
#include "recipe/recipe.h"

/* A file to write. */
struct ht__plan_file {
    const char *path;
    struct ht__buf head; /* everything before the weights */
    struct ht__gguf_entry *entries;
    uint32_t n_entries;
    uint64_t size;
    struct ht__output out; /* open while the job runs */
    char sha256[65];       /* after verification */
};

/* One of the requested types: one file, or several when it is split. */
struct ht__plan_output {
    const struct ht__mix *mix;
    struct ht__choice *choices; /* by weight */
    struct ht__place {
        uint32_t file, entry;
    } *places; /* by weight */
    struct ht__plan_file *files;
    uint32_t n_files;
    uint64_t size; /* of all files */
    bool with_importance;
    const char *refused; /* in a survey: why the model cannot be made in this mix */
    const char *quality; /* what was measured, as members of a JSON object; or NULL */
};

/* A file that the outputs are made from. */
enum ht__source_role { HT__SOURCE_WEIGHTS, HT__SOURCE_COMPANION, HT__SOURCE_IMPORTANCE };
struct ht__source_file {
    const char *path;
    uint64_t size;
    enum ht__source_role role;
    char sha256[65]; /* empty: not known (yet) */
    bool remote;     /* it lies on a hub, which gave the hash */
    bool from_cache; /* the hash is the name of a blob in a hub's cache: nothing was read for it */
};

struct ht__plan {
    struct ht__arena arena;
    struct ht_job *job;
    struct ht__checkpoint *checkpoint;
    struct ht__model *model;
    struct ht__imatrix *imatrix; /* or NULL */
    struct ht__type_rule *rules;
    size_t n_rules;
    uint32_t *order;                /* weights in order of processing */
    const char **imatrix_names;     /* by weight: under which name its importance was collected */
    const float **importance;       /* by weight: ne[0] floats for each matrix of it, or NULL */
    struct ht__plan_output *outputs;
    size_t n_outputs;
    struct ht__source_file *sources;
    size_t n_sources;
    uint64_t n_weights; /* of all tensors */
    uint64_t out_bytes; /* of all outputs */
    uint64_t memory;    /* what running needs */
    uint64_t memory_limit;
    int n_threads;
    enum ht__cpu_level level;
};

/* Opens the source and plans. On failure nothing is left open. */
HT_MUST_CHECK enum ht_err ht__plan_open(struct ht_job *job, struct ht__plan **out,
                                        struct ht_diag *diag);
/* Files that were not published are removed. */
void ht__plan_close(struct ht__plan **plan);

/* How many weights a worker takes at once, at most (a row that is longer is taken alone). */
enum { HT__CHUNK_WEIGHTS = 256 << 10 };

/* Rows in one chunk of this tensor. */
int64_t ht__plan_chunk_rows(const struct ht__weight *weight);

/* Leaves layers out of a model and renumbers the rest; old_names (one a weight) moves along (prune.c). */
HT_MUST_CHECK enum ht_err ht__prune_layers(struct ht__model *model, const char **old_names,
                                           const char *list, struct ht_diag *diag);

#endif
