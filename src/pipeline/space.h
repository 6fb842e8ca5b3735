/* Will the job fit: its disk space and its memory, before the first byte is written. */
#ifndef HT_PIPELINE_SPACE_H
#define HT_PIPELINE_SPACE_H

#include "pipeline/plan.h"

struct ht__space {
    char folder[4096]; /* the outputs' folder, or the nearest one above it that exists */
    uint64_t disk_free;
    uint64_t memory; /* of the machine, or what its control group may take */
};
HT_MUST_CHECK enum ht_err ht__space_ask(const struct ht__plan *plan, struct ht__space *space, struct ht_diag *diag);

/* Bytes of memory that this machine has, or that its control group may take. */
uint64_t ht__machine_memory(void);

/* HT_ERR_NO_SPACE and HT_ERR_NO_MEMORY_BUDGET with the figures. */
HT_MUST_CHECK enum ht_err ht__space_check_disk(const struct ht__plan *plan, const struct ht__space *space,
                                               struct ht_diag *diag);
HT_MUST_CHECK enum ht_err ht__space_check_memory(const struct ht__plan *plan, const struct ht__space *space,
                                                 struct ht_diag *diag);

#endif
