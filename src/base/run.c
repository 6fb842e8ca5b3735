#include "base/run.h"

enum ht_err ht__memory_too_small(uint64_t least, uint64_t limit, struct ht_diag *diag)
{
    unsigned long long need = least / 1000000 + 1;
    return ht__fail(diag, HT_ERR_NO_MEMORY_BUDGET, "memory", -1,
                    "this job needs at least %llu MB; %llu MB are allowed; the smallest that works is --memory %lluM",
                    need, (unsigned long long)(limit / 1000000), need);
}
