/*
 * Halftone: error codes and diagnoses.
 *
 * Every fallible call returns an `enum ht_err`; 0 is success. Where a call takes a
 * `struct ht_diag *`, it may be NULL; otherwise it is filled once, where the fault was found.
 */
#ifndef HALFTONE_ERR_H
#define HALFTONE_ERR_H

#include <stdint.h>

/* What leaves the shared library. */
#if defined(__GNUC__)
#define HT_API __attribute__((visibility("default")))
#else
#define HT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Numbers are pinned: they cross the foreign-function interface. Columns: code, number, text. */
#define HT_ERR_LIST(X)                                                                                                 \
    X(HT_OK, 0, "success")                                                                                             \
    X(HT_ERR_USAGE, 1, "wrong argument")                                                                               \
    X(HT_ERR_MEMORY, 2, "out of memory")                                                                               \
    X(HT_ERR_IO, 3, "input or output failed")                                                                          \
    X(HT_ERR_NOT_FOUND, 4, "not found")                                                                                \
    X(HT_ERR_EXISTS, 5, "already exists")                                                                              \
    X(HT_ERR_DENIED, 6, "not permitted")                                                                               \
    X(HT_ERR_FORMAT, 10, "malformed input")                                                                            \
    X(HT_ERR_UNSUPPORTED, 11, "unsupported input")                                                                     \
    X(HT_ERR_NONFINITE, 12, "non-finite weight")                                                                       \
    X(HT_ERR_LIMIT, 13, "limit exceeded")                                                                              \
    X(HT_ERR_NO_SPACE, 20, "not enough disk space")                                                                    \
    X(HT_ERR_NO_MEMORY_BUDGET, 21, "memory budget too small")                                                          \
    X(HT_ERR_CANCELLED, 30, "cancelled")                                                                               \
    X(HT_ERR_VERIFY, 31, "verification failed")                                                                        \
    X(HT_ERR_INTERNAL, 40, "internal error")

enum ht_err {
#define HT_ERR_ROW(code, number, text) code = number,
    HT_ERR_LIST(HT_ERR_ROW)
#undef HT_ERR_ROW
};

/* What went wrong and where. Strings are owned by the struct. */
struct ht_diag {
    enum ht_err code;
    int64_t offset;    /* byte offset in the file, or -1 */
    char where[256];   /* file, and tensor or key: "model.safetensors: model.norm.weight" */
    char message[512]; /* one sentence: what is wrong and, where possible, what to do next */
};

/* The fixed English text of a code, never NULL. */
HT_API const char *ht_err_text(enum ht_err code);
/* The name of a code ("HT_ERR_FORMAT"), never NULL. */
HT_API const char *ht_err_name(enum ht_err code);

#ifdef __cplusplus
}
#endif
#endif
