/* A growing byte buffer. Failure is sticky: check `failed` once, when done. */
#ifndef HT_BASE_BUF_H
#define HT_BASE_BUF_H

#include "base/alloc.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ht__buf {
    const struct ht__alloc *alloc;
    unsigned char *data;
    size_t len, cap;
    bool failed;
};

void ht__buf_init(struct ht__buf *buf, const struct ht__alloc *alloc);
void ht__buf_close(struct ht__buf *buf);
/* Room for n more bytes; the caller writes them. NULL on failure. */
void *ht__buf_grow(struct ht__buf *buf, size_t n);
void ht__buf_put(struct ht__buf *buf, const void *data, size_t n);
void ht__buf_zeros(struct ht__buf *buf, size_t n);
void ht__buf_str(struct ht__buf *buf, const char *text);
void ht__buf_printf(struct ht__buf *buf, const char *fmt, ...) HT_PRINTF(2, 3);
static inline void ht__buf_u32(struct ht__buf *buf, uint32_t v)
{
    ht__buf_put(buf, &v, sizeof v);
}
static inline void ht__buf_u64(struct ht__buf *buf, uint64_t v)
{
    ht__buf_put(buf, &v, sizeof v);
}
/* A NUL after the end, not counted in len. */
const char *ht__buf_text(struct ht__buf *buf);
/* A copy of the text for a user, whom free() serves whatever the buffer's allocator is. NULL when memory has run out. */
HT_MUST_CHECK enum ht_err ht__buf_hand_out(struct ht__buf *buf, const char *where, char **text, struct ht_diag *diag);

#endif
