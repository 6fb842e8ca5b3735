/*
 * The plan of a job: for every output file its tensors with types, offsets and exact size, before the
 * first byte is written.
 */
#ifndef HT_PIPELINE_PLAN_H
#define HT_PIPELINE_PLAN_H

#include "base/file.h"
#include "base/run.h"
#include "formats/container.h"
#include "formats/imatrix.h"
#include "pipeline/prune.h"
#include "pipeline/row_set.h"
#include "pipeline/settings.h"

/* A tensor as it is read: once, for the outputs of both views where both take the same rows. */
struct ht__item {
    const struct ht__weight *in[HT__N_DIALECTS]; /* in either view, or NULL */
    const struct ht__rows *rows;
};

/* A file to write. */
struct ht__plan_file {
    const char *path;    /* when all is published */
    const char *made;    /* where it is made: in an output that is a folder, under the folder's name while it is made */
    struct ht__buf head; /* everything before the weights */
    struct ht__rest rest; /* and what lies between and after them */
    struct ht__extent *entries;
    uint32_t n_entries;
    uint64_t size;
    struct ht__output out; /* open while the job runs */
    char sha256[65];       /* after verification */
};

void ht__plan_file_init(struct ht__plan_file *file, const struct ht__alloc *alloc);
void ht__plan_file_close(struct ht__plan_file *file); /* what a survey needs no more; the output stays */

/* A Linear that is stored by a scheme: its parts, and where they lie. */
struct ht__packed {
    const struct ht__scheme_params *params;
    const struct ht__method_params *method;
    struct ht__matrix matrix;
    struct ht__part parts[HT__SCHEME_PARTS];
    int n_parts;
    uint32_t entry[HT__SCHEME_PARTS]; /* of each part in its file; UINT32_MAX: in none */
    uint64_t base[HT__SCHEME_PARTS];  /* of each part's bytes among those of all */
    int64_t rows;                     /* taken in multiples of this */
    bool columns;                     /* some part is written line by line */
    unsigned flags;
    void *whole[HT__SCHEME_PARTS]; /* while it is made: parts that are kept in memory until the last row is done */
};

/* A tensor whose codes were chosen before its rows are written. */
struct ht__chosen {
    void *coded; /* (methods/coder.h) while its layer is written; NULL: the rows are rounded as they are written */
    const char *taken; /* the candidate that the method took; NULL: none */
    /* Squared error of the products on held-out tokens, of the plain encoder's result and of what was taken, as shares of
     * the products' squares. */
    double before, after;
    /* Of a stack of experts: how many there are, how many of them were sent fewer tokens than they have inputs, and none at all.
     * before and after are means over them. */
    uint32_t n_experts, n_few, n_without;
    /* before and after are divergences of the whole model instead, with this tensor alone changed */
    bool by_divergence;
};

/* One of the requested types: one file, several when it is split, or a folder of files. */
struct ht__plan_output {
    const struct ht__target *target;
    const struct ht__mix *mix;  /* the target's, or NULL */
    const char *folder, *made;  /* of an output that is a folder: its path, and that while it is made; otherwise NULL */
    bool published, replaced;   /* of a folder: it has its name; an older one had it before */
    struct ht__choice *choices; /* by item */
    const struct ht__chosen *chosen;   /* by item: what the layers driver chose; NULL: nothing */
    struct ht__packed **packed;        /* by item; NULL: not by a scheme. NULL where there is no scheme at all */
    struct ht__scheme_choice *linears; /* of a folder, by native weight: what they become, and why */
    struct ht__place {
        uint32_t file, entry;
    } * places;               /* by item */
    const char **unquantized; /* Linears that the scheme leaves as they are: names, and why */
    size_t n_unquantized;
    struct ht__plan_file *files;
    uint32_t n_files;
    uint64_t size; /* of all files */
    bool with_importance;
    const char *refused; /* in a survey: why the model cannot be made in this mix */
    const char *quality; /* what was measured, as a JSON object; or NULL */
};

/* A file that the outputs are made from. */
enum ht__source_role { HT__SOURCE_WEIGHTS, HT__SOURCE_COMPANION, HT__SOURCE_IMPORTANCE };
struct ht__source_file {
    const char *path;
    const struct ht__file *file; /* open for the whole run; NULL: it lies on a hub */
    bool owned;                  /* the file is the list's; otherwise the checkpoint's */
    uint64_t size;
    enum ht__source_role role;
    char sha256[65]; /* empty: not known (yet) */
    bool remote;     /* it lies on a hub, which gave the hash */
    bool from_cache; /* the hash is the name of a blob in a hub's cache: nothing was read for it */
};

struct ht__plan {
    struct ht__arena arena;
    struct ht__run run;
    const struct ht__pipeline_settings *settings;
    enum ht__purpose purpose;
    struct ht__checkpoint *checkpoint;
    struct ht__model *model;
    struct ht__pruned pruned;    /* layers of the source that the model lacks */
    struct ht__imatrix *imatrix; /* or NULL */
    struct ht__item *items;      /* the model's weights of the GGUF view, then what only the native view has */
    size_t n_items;
    uint32_t *order; /* weights of the GGUF view, in the order in which files hold them */
    uint32_t *work;  /* items that some output holds, in order of processing */
    size_t n_work;
    struct ht__row_span *ranges; /* by item: the rows that this part makes; NULL: all of them */
    const char **imatrix_names;  /* by weight: under which name its importance was collected */
    const float **importance;    /* by item: ne[0] floats for each matrix of it, or NULL */
    /* Importance is that of a text's first pass, until the layers driver has seen the whole text: what it chooses codes on says
     * it, too. text: a hash of that text's tokens. */
    bool importance_later;
    char text[65];
    struct ht__plan_output *outputs;
    size_t n_outputs;
    struct ht__scales *scales;      /* by which the model is scaled, or NULL (pipeline/scales.h) */
    struct ht__budget_plan *budget; /* what --fit or --bpw chose, or NULL */
    struct ht__source_file *sources;
    size_t n_sources;
    uint64_t n_weights;        /* of all tensors */
    uint64_t out_bytes;        /* of all outputs */
    uint64_t memory;           /* what running needs, at its highest */
    uint64_t collect_memory;   /* what collecting importance takes; 0: it is not collected */
    uint64_t engine_memory;    /* of it, while the model itself is run; 0: it is not */
    uint64_t measure_matrices; /* how much the models that are measured may take for their matrices; 0: as they need */
    uint64_t memory_limit;
    int n_threads;
};

/* Opens the source and plans. The settings stay the caller's, and must outlive the plan. On failure nothing is left
 * open. */
HT_MUST_CHECK enum ht_err ht__plan_open(const struct ht__pipeline_settings *settings, enum ht__purpose purpose,
                                        const struct ht__run *run, struct ht__plan **out, struct ht_diag *diag);
/* Files that were not published are removed. */
void ht__plan_close(struct ht__plan **plan);

/* Chooses a type for each weight by the output's mix; fills its choices. */
HT_MUST_CHECK enum ht_err ht__plan_types(struct ht__plan *plan, struct ht__plan_output *out, struct ht_diag *diag);

/* How many weights a worker has as floats, at most (a row that is longer is taken alone): what a core's cache holds. */
enum { HT__CHUNK_WEIGHTS = 64 << 10 };

/* Rows that are read and encoded at once, and rows in one chunk of this item, which are as many or a multiple. */
int64_t ht__plan_strip_rows(const struct ht__plan *plan, uint32_t item);
int64_t ht__plan_chunk_rows(const struct ht__plan *plan, uint32_t item);
/* The chunk of this item that the row lies in: its first row, and the one behind it. Chunks lie within one matrix. */
int64_t ht__plan_chunk_begin(const struct ht__plan *plan, uint32_t item, int64_t row);
int64_t ht__plan_chunk_end(const struct ht__plan *plan, uint32_t item, int64_t row);
/* Can some rows of the item be made here and others elsewhere? Not where a scheme looks at the whole matrix, or stores parts
 * otherwise than row by row. */
bool ht__plan_item_divisible(const struct ht__plan *plan, uint32_t item);

/* The item as the output holds it; NULL: it does not. */
static inline const struct ht__weight *ht__item_in(const struct ht__plan *plan, const struct ht__plan_output *out,
                                                   size_t item)
{
    const struct ht__weight *w = plan->items[item].in[out->target->container->dialect];
    if (!w || (!w->stack && !w->is_stack)) return w;
    /* experts in one tensor, or a matrix that is kept as [in, out]: as it is, or as rows that a scheme packs */
    bool packed = out->linears && out->linears[w->native].scheme;
    return packed == w->is_stack ? w : NULL;
}
/* The item in one of the views: its name, and what it is for. */
static inline const struct ht__weight *ht__item_any(const struct ht__plan *plan, size_t item)
{
    const struct ht__item *i = &plan->items[item];
    return i->in[HT__DIALECT_GGUF] ? i->in[HT__DIALECT_GGUF] : i->in[HT__DIALECT_NATIVE];
}
/* The rows of the item that this run makes. */
static inline struct ht__row_span ht__item_range(const struct ht__plan *plan, size_t item)
{
    return plan->ranges ? plan->ranges[item] : (struct ht__row_span){0, plan->items[item].rows->n_rows};
}
/* Bytes of one row as the output stores it, by its type. */
static inline uint64_t ht__item_row_bytes(const struct ht__codec *type, const struct ht__item *item)
{
    return ht__codec_bytes(type, (uint64_t)item->rows->row_len);
}

#endif
