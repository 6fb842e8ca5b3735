/* Inside journal*.c: lines of a journal, and where a tensor's bytes lie. */
#ifndef HT_PIPELINE_JOURNAL_PARTS_H
#define HT_PIPELINE_JOURNAL_PARTS_H

#include "pipeline/rows_driver.h"

#define HT__JOURNAL_BEGIN "halftone journal 3\nprogram " HT_VERSION "\nsource "
enum { HT__JOURNAL_MOST = 1 << 30, HT__JOURNAL_WINDOW = 1 << 20 };

/* Skips `want` at the start of the text; false: it begins otherwise. */
bool ht__journal_skip(char **text, const char *want);
/* The line that says which file it is. */
void ht__journal_put_part(struct ht__buf *out, int fd, const char *name);
bool ht__journal_line_is_whole(char *text);
/* A tensor's line, without its newline: marks it as finished. False: it is none, or the tensor is finished already. */
bool ht__journal_parse(struct ht__journal *j, const struct ht__plan *plan, char *text, struct ht__tensor_stats *stats);
void ht__journal_forget(struct ht__journal *j, const struct ht__plan *plan, struct ht__tensor_stats *s,
                        uint64_t weight);

/* Bytes of a tensor in one output: all in one file. */
struct ht__journal_piece {
    const struct ht__extent *extent;
    uint64_t base; /* among the bytes of all pieces */
};
size_t ht__journal_pieces(const struct ht__plan *plan, const struct ht__plan_output *out, size_t weight,
                          struct ht__journal_piece pieces[HT__SCHEME_PARTS]);
/* Reads a finished tensor back; forgets one that is not as it was written. */
HT_MUST_CHECK enum ht_err ht__journal_check_tensor(struct ht__journal *j, const struct ht__plan *plan,
                                                   struct ht__tensor_stats *stats, size_t weight, unsigned char *window,
                                                   uint64_t *done, struct ht_diag *diag);

#endif
