/* The quality card's part on codes that were chosen: by which text, and what that left of the errors, role by role. */
#include "pipeline/method_card.h"
#include "calibrate/default_text.h"
#include "base/hash.h"

#include <math.h>
#include <string.h>

enum ht_err ht__builtin_text_sha256(const struct ht__alloc *alloc, char hex[65], struct ht_diag *diag)
{
    struct ht__sha256 sha;
    struct ht__buf text;
    enum ht_err err = HT_OK;
    ht__sha256_begin(&sha);
    for (int i = 0; err == HT_OK && i < HT__DEFAULT_DOMAINS; i++) {
        ht__buf_init(&text, alloc);
        err = ht__default_text(&ht__default_domains[i], &text, diag);
        if (err == HT_OK) ht__sha256_add(&sha, text.data, text.len);
        ht__buf_close(&text);
    }
    ht__sha256_end(&sha, hex);
    return err == HT_OK && !hex[0] ? ht__fail_memory(diag, "calibration") : err;
}

/* ---- the text ---- */

static void put_hash(struct ht__buf *out, const char *name, const char *hex)
{
    ht__buf_printf(out, "%s%s%s%s", name, hex[0] ? " (SHA-256 `" : "", hex, hex[0] ? "`)" : "");
}

static enum ht_err put_texts(const struct ht__plan *plan, struct ht__buf *out, struct ht_diag *diag)
{
    const struct ht__calibration_settings *s = &plan->settings->importance.calibration;
    const char *between = "";
    char hex[65];
    for (size_t i = 0; i < s->n_parts; i++) {
        if (s->parts[i].path) continue;
        HT_TRY(ht__builtin_text_sha256(plan->run.alloc, hex, diag));
        put_hash(out, "the built-in text", hex);
        between = ", ";
    }
    for (size_t i = 0; i < plan->n_sources; i++) {
        const struct ht__source_file *file = &plan->sources[i];
        if (file->role != HT__SOURCE_IMPORTANCE) continue;
        ht__buf_str(out, between);
        put_hash(out, ht__path_base(file->path), file->sha256);
        between = ", ";
    }
    ht__buf_printf(out, ", %u chunks of %u tokens", plan->imatrix->chunk_count, plan->imatrix->chunk_size);
    if (s->seed) ht__buf_printf(out, ", seed %llu", (unsigned long long)s->seed);
    return HT_OK;
}

/* ---- the figures ---- */

struct sum {
    size_t n, n_rounded;
    double before, after; /* sums of the shares */
    bool by_divergence;
};

static struct sum sum_of(const struct ht__plan *plan, const struct ht__plan_output *o, enum ht__role role)
{
    struct sum sum = {0};
    for (size_t i = 0; i < plan->n_items; i++) {
        const struct ht__weight *w = ht__item_in(plan, o, i);
        const struct ht__chosen *c = &o->chosen[i];
        if (!w || w->slot.role != role || !c->taken) continue;
        sum.n++;
        sum.n_rounded += strcmp(c->taken, "round") == 0;
        sum.before += c->before;
        sum.after += c->after;
        sum.by_divergence = c->by_divergence;
    }
    return sum;
}

static void put_output(const struct ht__plan *plan, const struct ht__plan_output *o, struct ht__buf *out)
{
    for (int r = 0; r < HT__N_ROLES; r++) {
        struct sum sum = sum_of(plan, o, (enum ht__role)r);
        double n = (double)sum.n;
        if (!sum.n) continue;
        ht__buf_printf(out, "| %s | %s%s | %zu | %zu | %.6g | %.6g | ", o->target->type,
                       ht__role_at((enum ht__role)r)->name, sum.by_divergence ? " (divergence)" : "", sum.n,
                       sum.n_rounded, sum.before / n, sum.after / n);
        if (sum.before > 0) ht__buf_printf(out, "%.0f %% ", 100 * sum.after / sum.before);
        ht__buf_str(out, "|\n");
    }
}

enum ht_err ht__method_card(const struct ht__plan *plan, struct ht__buf *out, struct ht_diag *diag)
{
    bool any = false;
    for (size_t i = 0; i < plan->n_outputs; i++)
        any |= plan->outputs[i].chosen != NULL;
    if (!any) return HT_OK;
    ht__buf_str(out, "\n## How codes were chosen\n\nBy `--effort best`, on ");
    HT_TRY(put_texts(plan, out, diag));
    ht__buf_str(
        out, ". Errors are of the products, as shares of their squares, on tokens that were held out: means over the "
             "tensors of a role.\n\n| Type | Role | Tensors | Rounded all the same | Error if rounded | Error | "
             "Left |\n|---|---|--:|--:|--:|--:|--:|\n");
    for (size_t i = 0; i < plan->n_outputs; i++)
        if (plan->outputs[i].chosen) put_output(plan, &plan->outputs[i], out);
    return HT_OK;
}
