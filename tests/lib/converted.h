/* A tiny model of tests/golden/models.txt in a folder, with a changed configuration and files beside, and what it
 * converts to. */
#ifndef HT_TESTS_LIB_CONVERTED_H
#define HT_TESTS_LIB_CONVERTED_H

#include "formats/checkpoint.h"
#include "lib/models.h"
#include "model/model.h"

struct converted {
    struct folder folder; /* the test makes it, puts files into it, and removes it */
    struct model model;
    struct ht__checkpoint *ck;
    struct ht__model *opened;
    struct ht_diag diag;
    char log[4096]; /* warnings of the last conversion */
};

/* The model of this name, which is not written yet. */
void converted_load(struct converted *c, const char *name);
/* Replaces a part of its config.json. */
void converted_change(struct converted *c, const char *from, const char *to);
/* Converts what is in the folder, with the model's config.json. */
enum ht_err converted_try(struct converted *c);
/* Writes the weights too, and expects no error. */
void converted_must(struct converted *c);
void converted_close(struct converted *c);

/* Metadata that must be there. */
const struct ht__kv *converted_key(const struct converted *c, const char *name);
void converted_is_number(const struct converted *c, const char *name, double want);
void converted_is_text(const struct converted *c, const char *name, const char *want);

#endif
