/*
 * Halftone: what calls of every kind share. Programs include halftone/halftone.h.
 */
#ifndef HALFTONE_BASE_H
#define HALFTONE_BASE_H

#include "halftone/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Structs of which the first member is `size` may grow: the caller sets it to sizeof, and so a program that was built
 * with an older header goes on working. Members that the caller does not know count as 0. */

/* Frees text that a call handed to the caller. NULL-safe. */
HT_API void ht_free(void *text);

/* Where memory comes from. It is called from the calling thread only, unless the struct that it is given in says
 * otherwise, and outlives what was opened with it. */
struct ht_allocator {
    size_t size;
    /* As realloc: ptr NULL allocates, size 0 frees and returns NULL. */
    void *(*resize)(void *ctx, void *ptr, size_t size);
    void *ctx;
};

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

/* An option that is set by name: of jobs (the command line, the recipe file and programs all set them so) and of
 * generators. */
enum ht_option_kind { HT_OPTION_FLAG, HT_OPTION_TEXT, HT_OPTION_LIST };
struct ht_option_info {
    const char *name; /* "tensor-type" */
    enum ht_option_kind kind;
    const char *verbs;   /* commands that take it, separated by blanks */
    const char *metavar; /* "RE=TYPE", or "" for a flag */
    const char *help;    /* one line */
    const char *group;   /* "Output": the heading that it is listed under */
};
#ifdef __cplusplus
}
#endif
#endif
