/*
 * A backend multiplies matrices: on the processor, or on a device beside it. Each is one unit in this folder and one row
 * in backends.def. Norms, rotations and attention are computed by the host.
 */
#ifndef HT_ENGINE_BACKENDS_BACKEND_H
#define HT_ENGINE_BACKENDS_BACKEND_H

#include "base/pool.h"
#include "kernels/codec.h"

#include <stdatomic.h>
#include <stdbool.h>

struct ht__backend;

/* A backend's own struct begins with it. */
struct ht__device {
    const struct ht__backend *backend;
};

struct ht__device_params {
    const struct ht__alloc *alloc;
    struct ht__pool *pool;        /* the host's threads */
    float *scratch;               /* HT__MATMUL_SCRATCH floats for each of them */
    int64_t most_rows, most_in;   /* of x in a product */
    bool fast;                    /* quantized weights take activations of eight bits */
    bool wide;                    /* with fast: types of 256-weight blocks take one scale for 256 of them */
    const atomic_bool *cancelled; /* or NULL: products that are not `whole` may be cut short */
};

/* y [n x n_out] = x [n x n_in] W^T + bias. Rows of x are ldx floats apart, those of y ldy. */
struct ht__product {
    const struct ht__codec *type;
    const uint8_t *rows; /* W: n_out rows, row_bytes apart */
    size_t row_bytes;
    int64_t n_in, n_out;
    const float *bias; /* or NULL */
    const float *x;
    int64_t ldx, n;
    float *y;
    int64_t ldy;
    bool same_x; /* x is that of this device's product before it */
    bool whole;  /* even when cancelled */
};

struct ht__backend {
    const char *name;
    /* HT_ERR_UNSUPPORTED where this machine has no such device. */
    enum ht_err (*open)(const struct ht__device_params *params, struct ht__device **device, struct ht_diag *diag);
    void (*close)(struct ht__device *device);
    void (*matmul)(struct ht__device *device, const struct ht__product *product);
};

#define HT_BACKEND(id) extern const struct ht__backend ht__backend_##id;
#include "engine/backends/backends.def"
#undef HT_BACKEND

/* In the order of backends.def; NULL past the end. */
const struct ht__backend *ht__backend_at(size_t index);

HT_MUST_CHECK enum ht_err ht__device_open(const struct ht__backend *backend, const struct ht__device_params *params,
                                          struct ht__device **device, struct ht_diag *diag);
/* NULL-safe. */
void ht__device_close(struct ht__device **device);

#endif
