/* A folder of small files for a test, and a writer of SentencePiece models. */
#ifndef HT_TESTS_LIB_FOLDER_H
#define HT_TESTS_LIB_FOLDER_H

#include "base/buf.h"

struct folder {
    char path[256];
};

/* Made afresh; aborts when the file system refuses (tests only). */
struct folder folder_make(void);
/* Removes it with all that is in it. */
void folder_remove(struct folder *folder);
/* Writes a file; its name may have one subfolder, which is made. */
void folder_put(const struct folder *folder, const char *name, const void *data, size_t size);
void folder_puts(const struct folder *folder, const char *name, const char *text);

/* One piece of a SentencePiece model: its text, score, and type (1 normal, 2 unknown, 3 control,
 * 4 user-defined, 5 unused, 6 byte). */
void spm_piece(struct ht__buf *buf, const char *text, float score, int type);
/* unk, two controls, 256 bytes. */
void spm_base(struct ht__buf *buf);
/* trainer_spec with the kind (1 unigram, 2 BPE) and normalizer_spec. */
void spm_specs(struct ht__buf *buf, int kind, bool dummy_prefix, bool remove_extra, const void *charsmap,
               size_t charsmap_len);

#endif
