/* What a budget chose, for people and for the next run. */
#include "base/json_write.h"
#include "eval/plot.h"
#include "pipeline/budget.h"

#include <stdio.h>
#include <string.h>

static double bits(const struct ht__plan *plan, uint64_t bytes)
{
    return plan->budget->n_weights ? (double)bytes * 8 / (double)plan->budget->n_weights : 0;
}

static const char *const ways[] = {"two types of each matrix", "one type of each matrix", "by layers"};

static void put_sum(struct ht__jw *w, const struct ht__plan *plan, const struct ht__budget_sum *sum)
{
    ht__jw_object(w, NULL);
    ht__jw_uint(w, "size_bytes", sum->bytes);
    ht__jw_fixed(w, "bits_per_weight", bits(plan, sum->bytes), 4);
    ht__jw_digits(w, "estimated_divergence", sum->cost, 6);
    ht__jw_end(w);
}

static void put_named(struct ht__jw *w, const struct ht__budget_plan *b)
{
    if (!b->named) return;
    ht__jw_object(w, "named");
    ht__jw_str(w, "type", b->named);
    ht__jw_uint(w, "size_bytes", b->named_size);
    ht__jw_digits(w, "estimated_divergence", b->named_estimated, 6);
    ht__jw_digits(w, "divergence", b->named_divergence, 6);
    ht__jw_end(w);
}

static void put_measured(struct ht__jw *w, const struct ht__plan *plan)
{
    const struct ht__budget_plan *b = plan->budget;
    ht__jw_uint(w, "size_bytes", b->size);
    ht__jw_str(w, "measured", ways[b->way]);
    ht__jw_uint(w, "tokens", b->n_tokens);
    ht__jw_uint(w, "tried", b->n_tried);
    ht__jw_str(w, "taken", b->taken);
    ht__jw_bool(w, "exact", b->exact);
    ht__jw_digits(w, "estimated_divergence", b->estimated, 6);
    ht__jw_digits(w, "divergence", b->divergence, 6);
    put_named(w, b);
    ht__jw_array(w, "curve");
    for (size_t i = 0; i < b->n_curve; i++)
        put_sum(w, plan, &b->curve[i]);
    ht__jw_end(w);
}

static const char *counts(const struct ht__plan *plan)
{
    if (plan->settings->budget.kind == HT__BUDGET_FILE) return plan->budget->mix ? "file" : "weight files";
    return plan->budget->mix ? "tensors" : "matrices";
}

void ht__budget_put(struct ht__jw *w, const struct ht__plan *plan)
{
    const struct ht__budget_plan *b = plan->budget;
    char path[4200];
    if (!b) return;
    ht__jw_object(w, "budget");
    ht__jw_str(w, "asked", plan->settings->budget.text);
    ht__jw_str(w, "counts", counts(plan));
    ht__jw_uint(w, "limit_bytes", b->limit);
    ht__jw_str(w, "rest_as", b->mix ? b->mix->name : plan->outputs[0].target->type);
    if (b->measured) ht__jw_str(w, "recipe", ht__budget_path(plan, path, sizeof path));
    if (b->measured) put_measured(w, plan);
    ht__jw_end(w);
}

/* ---- the recipe ---- */

const char *ht__budget_path(const struct ht__plan *plan, char *path, size_t size)
{
    const struct ht__plan_file *file = &plan->outputs[0].files[0];
    if (plan->outputs[0].folder) {
        snprintf(path, size, "%s.recipe.yaml", plan->outputs[0].folder);
        return path;
    }
    int len = (int)strlen(file->path) - 5;       /* ".gguf" */
    if (plan->outputs[0].n_files > 1) len -= 15; /* "-00001-of-00003" */
    snprintf(path, size, "%.*s.recipe.yaml", len, file->path);
    return path;
}

/* In a regular expression in double quotes: a point is \\. */
static void put_pattern(struct ht__buf *out, const char *name)
{
    ht__buf_str(out, "^");
    for (; *name; name++) {
        if (strchr(".^$*+?()[]{}|\\", *name)) ht__buf_str(out, "\\\\");
        ht__buf_put(out, name, 1);
    }
    ht__buf_str(out, "$");
}

static void put_text(struct ht__buf *out, const char *text)
{
    struct ht__jw w = ht__jw_line(out);
    ht__buf_str(out, "  - ");
    ht__jw_str(&w, NULL, text);
    ht__buf_str(out, "\n");
}

static void put_rules(const struct ht__plan *plan, struct ht__buf *out)
{
    const struct ht__budget_plan *b = plan->budget;
    const struct ht__list *asked = &plan->settings->asked.rule;
    if (asked->n + b->n_rules) ht__buf_str(out, "rule:\n");
    for (size_t i = 0; i < asked->n; i++)
        put_text(out, asked->items[i]);
    for (size_t i = 0; i < b->n_rules; i++)
        put_text(out, b->rules[i].text);
}

static void put_types(const struct ht__plan *plan, struct ht__buf *out)
{
    const struct ht__budget_plan *b = plan->budget;
    ht__buf_str(out, "tensor-type:\n");
    for (size_t i = 0; i < plan->settings->asked.tensor_type.n; i++)
        put_text(out, plan->settings->asked.tensor_type.items[i]);
    for (size_t i = 0; i < plan->model->n_weights; i++) {
        uint32_t at = plan->order[i];
        if (!b->types[at]) continue;
        ht__buf_str(out, "  - \"");
        put_pattern(out, plan->model->weights[at].name);
        ht__buf_printf(out, "=%s\"\n", b->types[at]->name);
    }
}

/* A folder of another kind than the usual one says so. */
static const char *kind_of(const struct ht__container *container)
{
    bool usual = container == &ht__container_gguf || container == &ht__container_safetensors;
    return usual ? "" : container->name;
}

void ht__budget_yaml(const struct ht__plan *plan, struct ht__buf *out)
{
    const struct ht__budget_plan *b = plan->budget;
    const struct ht__budget_settings *s = &plan->settings->budget;
    ht__buf_printf(out, "# %s: %llu bytes, %.4f bits a weight; divergence %.6g on %zu held-out tokens.\n", s->text,
                   (unsigned long long)plan->outputs[0].size, bits(plan, b->size), b->divergence, b->n_tokens);
    const struct ht__target *t = plan->outputs[0].target;
    ht__buf_printf(out, "# halftone quantize --config THIS -o DIR makes the same %s again.\n%stype: \"%s%s%s\"\n",
                   b->mix ? "file" : "folder", s->options, kind_of(t->container), kind_of(t->container)[0] ? "/" : "",
                   b->mix ? b->mix->name : t->type);
    (b->mix ? put_types : put_rules)(plan, out);
}

/* ---- the curve as a plot ---- */

void ht__budget_html(const void *ctx, struct ht__buf *out)
{
    const struct ht__plan *plan = ctx;
    const struct ht__budget_plan *b = plan->budget;
    double x[HT__BUDGET_POINTS], y[HT__BUDGET_POINTS], size = (double)b->size / 1e6;
    double named = (double)b->named_size / 1e6;
    for (size_t i = 0; i < b->n_curve; i++) {
        x[i] = (double)b->curve[i].bytes / 1e6;
        y[i] = b->curve[i].cost;
    }
    struct ht__series series[] = {
        {.name = "the best types for each size, as estimated", .x = x, .y = y, .n = b->n_curve, .colour = 0},
        {.name = "this file, measured",
         .x = &size,
         .y = &b->divergence,
         .n = 1,
         .points = true,
         .marked = true,
         .colour = 1},
        {.name = b->named ? b->named : "", .x = &named, .y = &b->named_divergence, .n = 1, .points = true, .colour = 2},
    };
    struct ht__plot plot = {"What a budget buys",
                            plan->settings->budget.kind == HT__BUDGET_FILE ? "size of the file, MB"
                                                                           : "size of all tensors, MB",
                            "KL divergence on held-out text, nats",
                            false,
                            true,
                            series,
                            b->named ? 3 : 2};
    ht__plot_put(&plot, out);
    ht__buf_printf(out,
                   "<p>Measured on %zu held-out tokens of the calibration text. <code>--fit</code> with the bytes of a "
                   "point makes the file of that point.</p>\n",
                   b->n_tokens);
}
