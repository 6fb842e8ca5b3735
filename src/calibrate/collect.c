/* Running a text through the engine with the sums watching. */
#include "calibrate/importance.h"

#include <string.h>

struct run {
    const struct ht__collect_params *p;
    struct ht__importance *imp;
    int n_layers;
    uint64_t before, tokens; /* of earlier passes, of this one */
};

static void on_layer(void *ctx, int layer, const float *x, int64_t n_rows)
{
    struct run *r = ctx;
    (void)x;
    (void)n_rows;
    if (layer + 1 > r->imp->layers_done) r->imp->layers_done = layer + 1;
    uint64_t part = r->tokens * (uint64_t)(layer + 1) / (uint64_t)r->n_layers;
    if (r->p->tell) r->p->tell(r->p->ctx, r->before + part);
}

static enum ht_err pass(struct run *r, struct ht__engine *engine, int32_t *batch, size_t chunk, int n_seqs,
                        struct ht_diag *diag)
{
    const struct ht__collect_params *p = r->p;
    size_t n_ctx = (size_t)p->n_ctx;
    r->before = chunk * n_ctx;
    r->tokens = (size_t)n_seqs * n_ctx;
    memcpy(batch, p->tokens + chunk * n_ctx, r->tokens * sizeof *batch);
    for (int s = 0; s < n_seqs && p->bos >= 0; s++)
        batch[(size_t)s * n_ctx] = p->bos;
    HT_TRY(ht__engine_pass(engine, batch, n_seqs, p->n_ctx, 0, diag));
    if (r->imp->process_output) ht__engine_show_output(engine);
    if (r->imp->failed) return ht__fail_memory(diag, "importance");
    return HT_OK;
}

static enum ht_err passes(struct run *r, struct ht__engine *engine, int32_t *batch, struct ht__sums_state *at,
                          struct ht_diag *diag)
{
    const struct ht__collect_params *p = r->p;
    for (size_t chunk = (size_t)at->passes * (size_t)p->n_seqs; chunk < p->n_chunks; chunk += (size_t)p->n_seqs) {
        size_t left = p->n_chunks - chunk;
        r->imp->skip_layers = r->imp->layers_done = (int)at->layers;
        enum ht_err err = pass(r, engine, batch, chunk, left < (size_t)p->n_seqs ? (int)left : p->n_seqs, diag);
        at->layers = (uint32_t)r->imp->layers_done;
        if (err != HT_OK) return err;
        at->passes++;
        at->layers = 0;
        if (p->pass) HT_TRY(p->pass(p->ctx, at->passes, diag));
    }
    return HT_OK;
}

enum ht_err ht__collect(struct ht__engine *engine, struct ht__importance *imp, const struct ht__collect_params *params,
                        struct ht__sums_state *at, struct ht_diag *diag)
{
    struct run r = {.p = params, .imp = imp, .n_layers = ht__engine_hparams(engine)->n_layers};
    *at = params->from;
    int32_t *batch = ht__new_array(imp->alloc, (size_t)params->n_seqs, (size_t)params->n_ctx * sizeof *batch);
    if (!batch) return ht__fail_memory(diag, "importance");
    ht__engine_observe(engine, ht__importance_add, imp);
    ht__engine_on_layer(engine, on_layer, &r);
    enum ht_err err = passes(&r, engine, batch, at, diag);
    ht__engine_observe(engine, NULL, NULL);
    ht__engine_on_layer(engine, NULL, NULL);
    imp->skip_layers = 0;
    ht__free(imp->alloc, batch);
    return err;
}
