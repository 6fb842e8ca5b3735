/* Inside journal*.c: lines of a journal, and where a tensor's bytes lie. */
#ifndef HT_PIPELINE_JOURNAL_PARTS_H
#define HT_PIPELINE_JOURNAL_PARTS_H

#include "pipeline/rows_driver.h"

#define HT__JOURNAL_BEGIN "halftone journal 4\nprogram " HT_VERSION "\nsource "
enum { HT__JOURNAL_MOST = 1 << 30, HT__JOURNAL_WINDOW = 1 << 20 };

/* Skips `want` at the start of the text; false: it begins otherwise. */
bool ht__journal_skip(char **text, const char *want);
/* The line that says which file it is. */
void ht__journal_put_part(struct ht__buf *out, int fd, const char *name);
bool ht__journal_line_is_whole(char *text);
void ht__journal_put_tensor(struct ht__buf *out, const struct ht__plan *plan, uint32_t item,
                            const struct ht__row_set *rows, const struct ht__tensor_stats *stats);
/* What a line says of a tensor: which of its rows are finished, and what is known of these. */
struct ht__journal_entry {
    uint32_t item;
    struct ht__row_set rows;
    struct ht__tensor_stats stats;
};
HT_MUST_CHECK enum ht_err ht__journal_entry_open(struct ht__journal_entry *entry, const struct ht__plan *plan,
                                                 struct ht_diag *diag);
void ht__journal_entry_close(struct ht__journal_entry *entry, const struct ht__plan *plan);
/* A tensor's line, without its newline. False: it is none, or says what this plan does not have. */
bool ht__journal_parse(const struct ht__plan *plan, char *text, struct ht__journal_entry *entry);
/* What the entry says, added to what is finished; its rows are in no other one. False: memory is out. */
bool ht__journal_add_entry(struct ht__journal *j, const struct ht__plan *plan, struct ht__tensor_stats *stats,
                           const struct ht__journal_entry *entry);
void ht__journal_forget(struct ht__journal *j, const struct ht__plan *plan, struct ht__tensor_stats *stats,
                        size_t item);

/* Bytes of a tensor in one output: all in one file. */
struct ht__journal_piece {
    const struct ht__extent *extent;
    uint64_t offset, n_bytes; /* in the extent */
    uint64_t base;            /* among the bytes of the whole tensor */
};
/* Those of some of its rows; where these are not all of them, the item is divisible. */
size_t ht__journal_pieces(const struct ht__plan *plan, const struct ht__plan_output *out, uint32_t item,
                          struct ht__row_span rows, struct ht__journal_piece pieces[HT__SCHEME_PARTS]);
/* Reads finished rows back. *same: they are as they were written; otherwise it is logged. */
HT_MUST_CHECK enum ht_err ht__journal_check_rows(const struct ht__plan *plan, uint32_t item,
                                                 const struct ht__row_set *rows, const struct ht__tensor_stats *stats,
                                                 unsigned char *window, uint64_t *done, bool *same,
                                                 struct ht_diag *diag);

#endif
