#include "eval/logit_lens.h"

#include <string.h>

static enum ht_err open_model(struct ht__logit_lens *lens, size_t index, const struct ht__hparams *h,
                              struct ht_diag *diag)
{
    struct ht__logit_lens_model *m = &lens->models[index];
    m->n_embd = h->n_embd;
    if (index == 0) lens->n_layers = h->n_layers;
    if (h->n_layers != lens->n_layers) return HT_OK;
    m->rows =
        ht__new_array(lens->alloc, (size_t)h->n_layers * HT__LOGIT_LENS_ROWS, (size_t)h->n_embd * sizeof *m->rows);
    if (index > 0) m->kld = ht__new_array(lens->alloc, (size_t)h->n_layers, sizeof *m->kld);
    return m->rows && (m->kld || index == 0) ? HT_OK : ht__fail_memory(diag, "layers");
}

enum ht_err ht__logit_lens_open(struct ht__logit_lens *lens, struct ht__engine *(*engine_of)(void *ctx, size_t index),
                                void *ctx, size_t n_models, const struct ht__alloc *alloc, struct ht_diag *diag)
{
    *lens = (struct ht__logit_lens){.alloc = alloc};
    lens->models = ht__new_array(alloc, n_models, sizeof *lens->models);
    if (!lens->models) return ht__fail_memory(diag, "layers");
    lens->n_models = n_models;
    for (size_t i = 0; i < n_models; i++)
        HT_TRY(open_model(lens, i, ht__engine_hparams(engine_of(ctx, i)), diag));
    return HT_OK;
}

void ht__logit_lens_close(struct ht__logit_lens *lens)
{
    for (size_t i = 0; i < lens->n_models; i++) {
        ht__free(lens->alloc, lens->models[i].rows);
        ht__free(lens->alloc, lens->models[i].kld);
    }
    ht__free(lens->alloc, lens->models);
    *lens = (struct ht__logit_lens){.alloc = lens->alloc};
}

/* All passes when there are few; otherwise those at which an eighth of the run begins. */
static bool is_chosen(size_t pass, size_t n_passes)
{
    return pass == 0 || pass * HT__LOGIT_LENS_PASSES / n_passes != (pass - 1) * HT__LOGIT_LENS_PASSES / n_passes;
}

void ht__logit_lens_plan(struct ht__logit_lens *lens, size_t pass, size_t n_passes, int n_seqs, int n_ctx)
{
    int first = n_ctx / 2, scored = n_ctx - first - 1; /* what follows the last token is not known */
    int64_t all = (int64_t)n_seqs * scored;
    lens->n = 0;
    if (lens->n_models < 2 || !is_chosen(pass, n_passes)) return;
    lens->n = all < HT__LOGIT_LENS_ROWS ? (int)all : HT__LOGIT_LENS_ROWS;
    for (int i = 0; i < lens->n; i++) {
        int64_t row = i * all / lens->n;
        lens->at[i] = (int)(row / scored) * n_ctx + first + (int)(row % scored);
    }
    lens->n_positions += lens->n;
}

const float *ht__logit_lens_rows(const struct ht__logit_lens *lens, size_t model, int layer, int first)
{
    const struct ht__logit_lens_model *m = &lens->models[model];
    return m->rows + ((int64_t)layer * HT__LOGIT_LENS_ROWS + first) * m->n_embd;
}

void ht__logit_lens_keep(struct ht__logit_lens *lens, size_t model, int layer, const float *x)
{
    const struct ht__logit_lens_model *m = &lens->models[model];
    if (!m->rows) return;
    float *rows = m->rows + (int64_t)layer * HT__LOGIT_LENS_ROWS * m->n_embd;
    for (int i = 0; i < lens->n; i++)
        memcpy(rows + i * m->n_embd, x + lens->at[i] * m->n_embd, (size_t)m->n_embd * sizeof *x);
}

void ht__logit_lens_finish(struct ht__logit_lens *lens)
{
    for (size_t i = 1; i < lens->n_models; i++)
        for (int l = 0; lens->models[i].kld && l < lens->n_layers; l++)
            lens->models[i].kld[l] /= lens->n_positions > 0 ? lens->n_positions : 1;
}
