#include "engine/backends/backend.h"

const struct ht__backend *ht__backend_at(size_t index)
{
    static const struct ht__backend *const backends[] = {
#define HT_BACKEND(id) &ht__backend_##id,
#include "engine/backends/backends.def"
#undef HT_BACKEND
    };
    return index < sizeof backends / sizeof backends[0] ? backends[index] : NULL;
}

enum ht_err ht__device_open(const struct ht__backend *backend, const struct ht__device_params *params,
                            struct ht__device **device, struct ht_diag *diag)
{
    *device = NULL;
    return backend->open(params, device, diag);
}

void ht__device_close(struct ht__device **device)
{
    if (*device) (*device)->backend->close(*device);
    *device = NULL;
}
