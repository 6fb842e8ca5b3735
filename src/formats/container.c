/* The list of containers. */
#include "formats/container.h"
#include "base/check.h"

#include <stdio.h>
#include <strings.h>

static const struct ht__container *const containers[] = {
#define HT_FORMAT(id) &ht__container_##id,
#include "formats/formats.def"
#undef HT_FORMAT
};

enum { N_CONTAINERS = sizeof containers / sizeof containers[0] };
static const struct ht__container *registered;

void ht__container_register(const struct ht__container *container)
{
    registered = container;
}

const struct ht__container *ht__container_at(size_t index)
{
    return index < N_CONTAINERS ? containers[index] : index == N_CONTAINERS ? registered : NULL;
}

const struct ht__container *ht__container_by_name(const char *name)
{
    const struct ht__container *container;
    for (size_t i = 0; (container = ht__container_at(i)) != NULL; i++)
        if (strcasecmp(name, container->name) == 0) return container;
    return NULL;
}

const char *ht__container_written(char names[HT__CONTAINER_NAMES])
{
    const struct ht__container *c, *listed = NULL;
    size_t n = 0;
    names[0] = '\0';
    for (size_t i = 0; (c = ht__container_at(i)) != NULL; i++) {
        if (!c->lay_out) continue;
        if (listed && n < HT__CONTAINER_NAMES)
            n += (size_t)snprintf(names + n, HT__CONTAINER_NAMES - n, "%s%s", n ? ", " : "", listed->name);
        listed = c;
    }
    if (listed && n < HT__CONTAINER_NAMES)
        snprintf(names + n, HT__CONTAINER_NAMES - n, "%s%s", n ? " or " : "", listed->name);
    return names;
}

void ht__rest_init(struct ht__rest *rest, const struct ht__alloc *alloc)
{
    ht__buf_init(&rest->bytes, alloc);
    ht__buf_init(&rest->pieces, alloc);
}

void ht__rest_close(struct ht__rest *rest)
{
    ht__buf_close(&rest->bytes);
    ht__buf_close(&rest->pieces);
}

void ht__rest_put(struct ht__rest *rest, uint64_t at, const void *data, size_t n)
{
    size_t n_pieces = rest->pieces.len / sizeof(struct ht__piece);
    struct ht__piece *last = n_pieces ? (struct ht__piece *)(void *)rest->pieces.data + n_pieces - 1 : NULL;
    struct ht__piece fresh = {at, n};
    if (last && last->at + last->n == at)
        last->n += n;
    else
        ht__buf_put(&rest->pieces, &fresh, sizeof fresh);
    ht__buf_put(&rest->bytes, data, n);
    rest->bytes.failed |= rest->pieces.failed;
}

enum ht_err ht__extent_size(struct ht__extent *e, struct ht_diag *diag)
{
    uint64_t n, bytes;
    int64_t row = e->n_dims ? e->shape[e->n_dims - 1] : 1;
    if (!ht__extents_ok(e->shape, e->n_dims, &n) || row % e->type->block_len != 0 ||
        !ht__mul_ok(n / e->type->block_len, e->type->block_size, &bytes) || bytes > INT64_MAX / 2)
        return ht__fail(diag, HT_ERR_LIMIT, e->name, -1, "rows of %lld weights do not divide into %s blocks",
                        (long long)row, e->type->label);
    e->n_bytes = bytes;
    return HT_OK;
}
