/* The tiny models of tests/golden/models.txt: their configurations and the shapes of their tensors. */
#ifndef HT_TESTS_LIB_MODELS_H
#define HT_TESTS_LIB_MODELS_H

#include "folder.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum { MAX_TENSORS = 400 };

struct tensor {
    char name[128], dtype[16];
    int64_t shape[5];
    int n_dims;
    bool left_out;
};

struct model {
    char name[64], config[8192];
    struct tensor tensors[MAX_TENSORS];
    int n;
};

/* The list, from HT_SOURCE_ROOT; NULL when it is not there. */
FILE *models_open(void);
/* The next model of the list; false at its end. */
bool models_next(FILE *list, struct model *model);
/* model.safetensors in the folder; weights are holes in the file. */
void models_write(const struct model *model, const struct folder *folder);
/* Fills these holes, of which every tensor must be F32, with small numbers that differ. */
void models_fill(const struct folder *folder);

#endif
