/*
 * What a plan is made from: the options of quantize and convert, parsed. Later stages see these values and never the
 * options' texts.
 */
#ifndef HT_PIPELINE_SETTINGS_H
#define HT_PIPELINE_SETTINGS_H

#include "base/json_write.h"
#include "base/file.h"
#include "base/list.h"
#include "calibrate/settings.h"
#include "eval/limit.h"
#include "eval/settings.h"
#include "formats/container.h"
#include "formats/kv.h"
#include "methods/method.h"
#include "recipe/ladder.h"
#include "recipe/recipe.h"
#include "recipe/scheme_rules.h"

/* What a plan is for. */
enum ht__purpose {
    HT__ESTIMATE, /* sizes, memory and time: that it does not fit is an answer, not an error */
    HT__SURVEY,   /* the sizes of many mixes: that one of them cannot be made is an answer likewise; importance is taken
                     to be at hand where a mix needs it */
    HT__REHEARSE, /* whatever can be refused is refused, before importance is collected for hours */
    HT__RUN,
};

/* Where the model comes from. */
struct ht__source {
    const char *path; /* what is opened; NULL: none was given */
    const char *name; /* what outputs are called after; NULL: as the path says */
    bool vocab_only;
    bool hash; /* the report has the SHA-256 of every file */
    /* of files that stayed on a hub, where there are any */
    const struct ht__remote_folder *remote;
    uint64_t missing_bytes;                                   /* to download before the work begins */
    uint64_t reading_memory;                                  /* what reading them takes */
    const char *(*sha256)(const void *ctx, const char *path); /* of one of them, or "" */
    void (*report)(const void *ctx, struct ht__jw *w);        /* a member of the report; NULL: none */
    const void *ctx;
};

struct ht__importance_settings {
    const char *imatrix; /* a file, or NULL */
    const char *stats;   /* a folder that `calibrate` wrote, or NULL */
    bool collect;        /* by running the calibration text through the model first */
    struct ht__calibration_settings calibration;
    uint32_t part, parts; /* only a share of the text: 1 <= part <= parts, kept for other runs; parts 0: all of it */
    struct ht__list include, exclude; /* texts in tensor names */
};

struct ht__prune_settings {
    const uint32_t *layers; /* that are left out */
    size_t n;
    const char *text; /* as they were given; NULL: none */
};

struct ht__split_settings {
    uint64_t max_size, max_tensors; /* UINT64_MAX: any */
    bool as_source;                 /* as the source GGUF is split */
};

struct ht__publish_settings {
    const char *output;        /* a folder, or a .gguf file */
    const char *name;          /* what files are called after; NULL: after the source */
    const char *report, *html; /* files, or NULL */
    bool overwrite, resume;    /* resume: an interrupted run is continued, and can be once more */
    uint32_t part, parts;      /* only the tensors of part 1 <= part <= parts, left unfinished; parts 0: all of them */
    struct ht__list take_from; /* folders of unfinished runs, whose finished tensors are taken */
    uint64_t checkpoint_seconds; /* between entries of the journal; 0: after every tensor */
};

struct ht__measure_settings {
    bool wanted;
    const struct ht__limit *limits;
    size_t n_limits;
    struct ht__eval_settings eval;
};

/* What a budget limits. */
enum ht__budget_kind {
    HT__BUDGET_NONE,
    HT__BUDGET_FILE, /* bytes of the file */
    HT__BUDGET_BITS, /* bits of all tensors over all weights */
    HT__BUDGET_ROOM  /* bytes of all tensors: what running the model leaves for them */
};
struct ht__budget_settings {
    enum ht__budget_kind kind;
    const char *text; /* as it was given, for names of files and reports: "4.5bpw", "8GB" */
    uint64_t bytes;
    double bpw;
    /* HT__BUDGET_ROOM: how many bytes; what was asked for is in ctx */
    enum ht_err (*room)(const void *ctx, const struct ht__model *model, uint64_t *bytes, struct ht_diag *diag);
    const void *ctx;
    double seconds;      /* for measuring; 0: as much as a model of its size takes */
    const char *options; /* the job's other options as YAML, for the recipe that makes the same file again */
};

/* Options as they were written: the report repeats them. */
struct ht__asked {
    const char *verb;
    struct ht__list tensor_type, override_kv, rule, skip_modules;
    const char *output_tensor_type, *token_embedding_type, *max_error;
    const char *method;    /* in one word, or NULL */
    struct ht__list notes; /* what became of it */
};

/* One output: in which container, and how its tensors are stored. */
struct ht__target {
    const struct ht__container *container;
    const struct ht__mix *mix;                  /* a named mix; in a native container a plain one; or NULL */
    const struct ht__scheme_params *scheme;     /* or the scheme of its Linears */
    const struct ht__ladder *ladder;            /* of which that is the first level; or NULL */
    struct ht__method_params method;            /* of a scheme: how their codes are chosen; otherwise of no method */
    bool method_asked;                          /* it was named */
    bool scaled;                                /* by AWQ's scales or SmoothQuant's, folded into the model before */
    const struct ht__scheme_rule *const *rules; /* of a scheme: which Linears have another one, or none */
    size_t n_rules;
    const char *type; /* as -t takes it: "Q4_K_M", "gptq:bits=3" */
};

struct ht__pipeline_settings {
    struct ht__source source;
    const struct ht__container *container; /* of types that do not say which themselves */
    struct ht__target *targets;            /* one for each output; none: convert takes the source's own type */
    size_t n_targets;
    struct ht__scheme_rule *rules; /* of which each target has those that are for it */
    size_t n_rules;
    double max_error; /* relative, of what a level of a ladder may lose of a matrix */
    bool best;        /* effort: codes are chosen for the least loss, however long it takes */
    bool strict;      /* a Linear that a scheme does not suit is refused, rather than kept as it is */
    struct ht__budget_settings budget;
    struct ht__recipe recipe; /* without mix and importance, which each output has for itself */
    struct ht__prune_settings prune;
    struct ht__kvs overrides; /* metadata keys that are set */
    struct ht__importance_settings importance;
    struct ht__split_settings split;
    struct ht__publish_settings publish;
    struct ht__measure_settings measure;
    enum ht__cpu_level level;
    struct ht__asked asked;
};

#endif
