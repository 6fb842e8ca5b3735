/* Sizes are those of the engine's own buffers (engine.c, experts.c, weight_store.c), a little above where they depend
 * on the architecture. tests/cli/memory.sh compares them with what real runs take. */
#include "engine/memory.h"

#include "model/hparams.h"
#include "kernels/ops/ops.h"

#include <string.h>
#include <sys/stat.h>

enum {
    STRIP = 4 << 20,      /* weights that a layer's reader takes at once, as floats, where rows are computed */
    SCORES = 64,          /* rows of a block of attention */
    TOKEN = 256,          /* a vocabulary's entry in a tokenizer: text, hash, merges */
    TOKENS = 4,           /* bytes held for each byte of a text: the text, its tokens, their figures */
    OWN_TEXT = 256 << 10, /* the built-in text */
    PLAIN = 6 << 20,      /* threads' stacks and other small allocations */
};

static int64_t most(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* As the engine keeps it: weights.c says why. */
static uint64_t matrix_bytes(const struct ht__model *model, const struct ht__codec *const *types, size_t i)
{
    const struct ht__weight *w = &model->weights[i];
    const struct ht__codec *type = types ? types[i] : w->rows->raw_type ? w->rows->raw_type : w->source;
    bool encodes = type->flags & HT__CODEC_PLAIN && type->encode;
    if (!types && !w->rows->raw_type && !encodes) type = ht__codec_by_name("f32");
    return (uint64_t)w->rows->n_rows * ht__codec_bytes(type, (uint64_t)w->rows->row_len) + 64;
}

struct ht__engine_need ht__engine_need(const struct ht__model *model, const struct ht__codec *const *types)
{
    struct ht__engine_need need = {0};
    uint64_t layers[HT__MOST_LAYERS] = {0}, outside = 0, largest = 0, smallest = 0;
    for (size_t i = 0; i < model->n_weights; i++) {
        int32_t layer = model->weights[i].slot.layer;
        uint64_t bytes = matrix_bytes(model, types, i);
        need.all += bytes;
        if (layer >= 0 && layer < HT__MOST_LAYERS)
            layers[layer] += bytes;
        else
            outside += bytes;
    }
    for (int i = 0; i < HT__MOST_LAYERS; i++) {
        if (layers[i] > largest) largest = layers[i];
        if (layers[i] && (smallest == 0 || layers[i] < smallest)) smallest = layers[i];
    }
    need.turns = model->from_gguf ? 0 : smallest;
    need.outside = model->from_gguf ? 0 : outside;
    need.one = outside + largest;
    need.least = outside + 2 * largest < need.all ? outside + 2 * largest : need.all;
    return need;
}

uint64_t ht__engine_share(uint64_t memory, const struct ht__engine_need *need, const struct ht__engine_need *sum)
{
    uint64_t spare = memory > sum->least ? memory - sum->least : 0;
    double share = sum->all > sum->least ? (double)(need->all - need->least) / (double)(sum->all - sum->least) : 0;
    return need->least + (uint64_t)((double)spare * share) + 1;
}

/* The widest matrices of layers: of all, and of experts alone. */
static void widths(const struct ht__model *model, int64_t *widest, int64_t *experts)
{
    *widest = *experts = 1;
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct ht__weight *w = &model->weights[i];
        if (w->slot.layer < 0) continue;
        if (w->ne[2] > 1)
            *experts = most(*experts, most(w->ne[0], w->ne[1]));
        else
            *widest = most(*widest, most(w->ne[0], w->ne[1]));
    }
}

/* Activations of one token, in bytes. */
static double token_bytes(const struct ht__model *model, const struct ht__hparams *h, const struct ht__engine_use *use)
{
    int64_t ff, expert;
    widths(model, &ff, &expert);
    double heads = h->n_heads, q = heads * h->key_len, kv = (double)h->n_kv_heads * (h->key_len + h->value_len);
    double o = heads * (double)most(h->value_len, h->mla_value_len);
    double latent = h->latent ? heads * (double)most(h->nope_len + h->n_rot, h->mla_value_len) : 0;
    double floats = 4.0 * h->n_embd + o + q + 2 * kv + 2.0 * (double)most(ff, h->n_embd) + latent;
    if (h->n_experts) floats += h->n_experts + h->n_embd + 2.0 * (double)expert + (double)h->n_used * (h->n_embd + 8.0);
    double widest = (double)most(most(ff, expert), (int64_t)o);
    return floats * sizeof(float) + (use->fast ? widest * 5.5 : 0);
}

/* Floats that the reader of a matrix takes at once, where its rows are computed; at least a row. */
static double strip_bytes(const struct ht__model *model)
{
    double strip = 0;
    for (size_t i = 0; i < model->n_weights; i++) {
        const struct ht__rows *rows = model->weights[i].rows;
        double n = (double)rows->n_rows * (double)rows->row_len;
        if (n > STRIP) n = (double)most(STRIP, rows->row_len);
        if (!rows->raw_type && n > strip) strip = n;
    }
    return strip * sizeof(float);
}

enum ht_err ht__engine_besides(const struct ht__model *model, const struct ht__engine_use *use, uint64_t *bytes,
                               struct ht_diag *diag)
{
    struct ht__hparams h;
    const char *where = model->checkpoint->n_files ? model->checkpoint->files[0].path : "model";
    HT_TRY(ht__hparams_read(model, where, &h, diag));
    double cache = (double)use->n_seqs * use->n_ctx * h.n_kv_heads * (h.key_len + h.value_len) * sizeof(float);
    double engine = use->n_batch * token_bytes(model, &h, use) + cache +
                    (double)use->n_ctx * h.n_rot * 2 * sizeof(float) +
                    (double)use->n_threads * (SCORES * (double)use->n_ctx + HT__MATMUL_SCRATCH) * sizeof(float);
    double total = (double)use->n_models * (engine + (double)model->arena.total) + PLAIN + (double)h.n_vocab * TOKEN +
                   (double)(use->text_bytes ? use->text_bytes : OWN_TEXT) * TOKENS * (double)use->n_models;
    total += 2 * strip_bytes(model); /* and what the row sources need for as much */
    if (use->cache) total += cache * h.n_layers;
    total += use->more_bytes;
    if (total > 1e18)
        return ht__fail(diag, HT_ERR_NO_MEMORY_BUDGET, where, -1,
                        "running it with %d tokens a chunk takes too much memory", use->n_ctx);
    *bytes = (uint64_t)total;
    return HT_OK;
}

int ht__engine_seqs(const struct ht__model *model, int n_ctx)
{
    const double work = 1e11; /* operations: below a second wherever a model of this size is run at all */
    double weights = 0, layers = model->n_layers ? model->n_layers : 1;
    for (size_t i = 0; i < model->n_weights; i++)
        weights += (double)model->weights[i].rows->n_rows * (double)model->weights[i].rows->row_len;
    double tokens = work / (2 * weights / layers);
    tokens = tokens > 2048 ? 2048 : tokens;
    int n = (int)(tokens / n_ctx);
    return n < 1 ? 1 : n;
}

uint64_t ht__engine_text_bytes(const char *path)
{
    struct stat st;
    return path && strcmp(path, "default") != 0 && stat(path, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
}

void ht__engine_fit(uint64_t limit, uint64_t besides, const struct ht__engine_need *need, uint64_t *total,
                    uint64_t *matrices)
{
    *matrices = 0;
    *total = besides + need->all;
    if (*total <= limit) return;
    uint64_t least = besides + need->least;
    *total = least > limit ? least : limit;
    *matrices = *total - besides;
}
