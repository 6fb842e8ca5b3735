#include "pipeline/layers_parts.h"
#include "engine/memory.h"

#include <string.h>

bool ht__layers_output(const struct ht__plan *plan, const struct ht__plan_output *out)
{
    const struct ht__codec *type = out->mix ? ht__codec_by_name(out->mix->default_type) : NULL;
    const struct ht__importance_settings *im = &plan->settings->importance;
    if (out->target->scheme) return out->target->method.method->by_layer;
    if (!plan->settings->best || (!im->collect && !im->stats)) return false;
    if (out->target->container->dialect == HT__DIALECT_NATIVE) return false;
    return type && !(type->flags & HT__CODEC_PLAIN);
}

bool ht__layers_wanted(const struct ht__plan *plan)
{
    for (size_t i = 0; i < plan->n_outputs; i++)
        if (ht__layers_output(plan, &plan->outputs[i])) return true;
    return false;
}

bool ht__layers_in_turn(const struct ht__plan *plan)
{
    return ht__layers_wanted(plan) && !plan->settings->importance.stats;
}

/* What the method chooses is one matrix by itself (ht__course_can_choose): stacks of a GGUF file are rounded, row by row. */
bool ht__layers_whole(const struct ht__plan *plan, const struct ht__plan_output *out, uint32_t item)
{
    const struct ht__weight *w = ht__item_in(plan, out, item);
    if (!w || w->slot.bias || !ht__role_at(w->slot.role)->matrix || !ht__layers_output(plan, out)) return false;
    return out->choices[item].scheme || w->rows->n_rows == w->ne[1];
}

static bool is_sequential(const struct ht__plan_output *out)
{
    const struct ht__method_params *method = &out->target->method;
    return !method->method || ht__method_get(method, "sequential") != 0;
}

/* ---- for the driver's other files ---- */

float *ht__layers_rows(const struct ht__layers *d, float *x, size_t chunk)
{
    return x + (int64_t)chunk * d->cal.n_ctx * d->n_embd;
}

int ht__layers_seqs(const struct ht__layers *d, size_t chunk)
{
    size_t left = d->cal.windows.n - chunk;
    return left < (size_t)d->cal.n_seqs ? (int)left : d->cal.n_seqs;
}

struct ht__replacement ht__course_weight(void *course, const struct ht__weight *weight)
{
    const struct ht__course *c = course;
    size_t at = (size_t)(weight - c->plan->model->weights);
    if (c->unchosen) return (struct ht__replacement){NULL, NULL};
    if (c->native) return (struct ht__replacement){&ht__codec_f32, c->weights[at]};
    return (struct ht__replacement){c->out->choices[at].type, c->rows[at]};
}

/* The steps of a layer are estimates: what they come to is never more than its tokens, and never goes back. */
enum ht_err ht__layers_tell(struct ht__layers *d, double share, const char *what, struct ht_diag *diag)
{
    double done = d->done + share * d->step;
    if (done > d->most_done) done = d->most_done;
    if (done > d->told) d->told = done;
    bool stop = ht__progress_tell(&d->progress, (uint64_t)d->told, what);
    return stop ? ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled") : HT_OK;
}

/* ---- a layer of an output ---- */

const struct ht__weight *ht__course_matrix(const struct ht__course *c, size_t item, int layer)
{
    const struct ht__weight *w = ht__item_in(c->plan, c->out, item);
    return w && w->slot.layer == layer && !w->slot.bias && ht__role_at(w->slot.role)->matrix ? w : NULL;
}

static bool stage_has(const struct ht__stage *stage, const struct ht__weight *w)
{
    struct ht__site site = ht__slot_site(w->slot);
    return !w->slot.bias && w->ne[0] == stage->first->ne[0] && memcmp(&site, &stage->site, sizeof site) == 0;
}

const struct ht__stage *ht__layers_stage(const struct ht__layers *d, const struct ht__weight *w)
{
    for (size_t i = 0; i < d->n_stages; i++)
        if (stage_has(&d->stages[i], w)) return &d->stages[i];
    return NULL;
}

bool ht__course_can_choose(const struct ht__course *c, const struct ht__weight *w, size_t item)
{
    const struct ht__choice *choice = &c->out->choices[item];
    if (choice->scheme) return w->linear && ht__coder_takes(choice->scheme, &c->out->packed[item]->matrix);
    return w->rows->n_rows == w->ne[1] && !(choice->type->flags & HT__CODEC_PLAIN);
}

/* NULL: it is not chosen at this stage. */
static const struct ht__weight *chosen_at(const struct ht__course *c, const struct ht__stage *stage, size_t item)
{
    const struct ht__weight *w = ht__course_matrix(c, item, stage->site.layer);
    if (!w || !stage_has(stage, w) || !ht__course_changes(c, item)) return NULL;
    bool can =
        ht__layers_of_experts(stage) ? ht__course_chooses_experts(c, w, item) : ht__course_can_choose(c, w, item);
    return can ? w : NULL;
}

bool ht__course_chooses(const struct ht__layers *d, const struct ht__course *c, size_t item)
{
    const struct ht__stage *stage = ht__layers_stage(d, ht__item_in(d->plan, c->out, item));
    return stage && chosen_at(c, stage, item);
}

/* What the outputs hold of the layer. */
static bool finished(const struct ht__layers *d, int layer)
{
    const struct ht__plan *plan = d->plan;
    for (size_t i = 0; i < plan->n_work; i++) {
        struct ht__slot slot = ht__item_any(plan, plan->work[i])->slot;
        if (slot.layer == layer && !slot.bias && ht__role_at(slot.role)->matrix && !d->journal->finished[plan->work[i]])
            return false;
    }
    return true;
}

static enum ht_err read_back(struct ht__layers *d, struct ht__course *c, int layer, struct ht_diag *diag)
{
    for (size_t i = 0; i < d->plan->n_items; i++)
        if (ht__course_matrix(c, i, layer) && ht__course_changes(c, i)) HT_TRY(ht__course_read_back(d, c, i, diag));
    return ht__course_follow(c, layer, NULL, diag);
}

/* What no stage will choose is as its encoder makes it. */
static enum ht_err round_others(struct ht__layers *d, struct ht__course *c, int layer, struct ht_diag *diag)
{
    for (size_t i = 0; i < d->plan->n_items; i++)
        if (ht__course_matrix(c, i, layer) && ht__course_changes(c, i) && !ht__course_chooses(d, c, i))
            HT_TRY(ht__course_round(d, c, i, diag));
    return ht__course_follow(c, layer, NULL, diag);
}

/* GPTQ's groups are of the size that the folder's scheme has; schemes without that have no order by groups. */
struct ht__order ht__course_order(const struct ht__course *c)
{
    const struct ht__target *t = c->out->target;
    if (!t->method.method) return (struct ht__order){HT__ORDER_ACT, 0};
    struct ht__order order = {(enum ht__order_kind)ht__method_get(&t->method, "order"), 0};
    double group = ht__scheme_get(t->scheme, "group");
    order.group = group > 0 ? (int64_t)group : 1;
    if (order.kind == HT__ORDER_GROUP && group <= 0) order.kind = HT__ORDER_ACT;
    return order;
}

static enum ht_err choose_all(struct ht__layers *d, struct ht__course *c, const struct ht__stage *stage,
                              struct ht__site_stats *site, double share, struct ht_diag *diag)
{
    struct ht__best *best = NULL;
    if (ht__best_lean(site->n_in) && stage->site.layer >= 0) ht__engine_release(d->engine, stage->site.layer);
    enum ht_err err = ht__best_open(site, HT__BEST_SPEND | ht__best_lean(site->n_in), ht__course_order(c), d->ops,
                                    d->pool, d->plan->run.alloc, &best, diag);
    for (size_t i = 0; err == HT_OK && i < d->plan->n_items; i++)
        if (chosen_at(c, stage, i)) err = ht__course_choose(d, c, i, best, share, diag);
    ht__best_close(&best);
    return err == HT_OK ? ht__course_follow(c, stage->site.layer, stage, diag) : err;
}

static bool has_work(const struct ht__layers *d, const struct ht__course *c, const struct ht__stage *stage)
{
    for (size_t i = 0; i < d->plan->n_items; i++)
        if (chosen_at(c, stage, i)) return true;
    return false;
}

/* The outputs share the memory for what is kept at a mark: each moves on from there at once. */
static enum ht_err leave_mark(struct ht__layers *d, struct ht__course *c, const struct ht__stage *stage,
                              struct ht_diag *diag)
{
    int layer = stage->site.layer;
    if (!stage->kept) return HT_OK;
    const struct ht__flow *flow = c ? &c->flow : &d->flow;
    if (flow->mark != stage->mark) return HT_OK;
    return ht__layers_move(d, c, layer, ht__layers_next_mark(d, layer, stage->mark), 0.2, diag);
}

static enum ht_err stage_of_course(struct ht__layers *d, struct ht__course *c, struct ht__stage *stage,
                                   struct ht_diag *diag)
{
    struct ht__site_stats site = {.alloc = d->plan->run.alloc};
    double before = d->done;
    HT_TRY(ht__layers_move(d, c, stage->site.layer, stage->mark, 0.4, diag));
    bool experts = ht__layers_of_experts(stage);
    enum ht_err err =
        experts ? ht__layers_choose_experts(d, c, stage, diag) : ht__layers_look(d, c, stage, &site, diag);
    if (err == HT_OK && !experts) err = choose_all(d, c, stage, &site, stage->share, diag);
    ht__site_close(&site);
    if (err == HT_OK) err = leave_mark(d, c, stage, diag);
    d->done = before + d->step;
    return err;
}

/* The float model goes ahead where the residual stream says what the site's products are. */
static enum ht_err one_stage(struct ht__layers *d, struct ht__stage *stage, struct ht_diag *diag)
{
    bool any = false;
    for (size_t i = 0; i < d->n_courses; i++)
        any = any || has_work(d, &d->courses[i], stage);
    if (!any) return HT_OK;
    HT_TRY(ht__layers_move(d, NULL, stage->site.layer, stage->mark, 0.2, diag));
    if (stage->behind) HT_TRY(leave_mark(d, NULL, stage, diag));
    for (size_t i = 0; i < d->n_courses; i++)
        if (has_work(d, &d->courses[i], stage)) HT_TRY(stage_of_course(d, &d->courses[i], stage, diag));
    return leave_mark(d, NULL, stage, diag);
}

static enum ht_err choose_layer(struct ht__layers *d, int layer, struct ht_diag *diag)
{
    bool done = finished(d, layer);
    d->learnt = d->learnt_experts = d->routed = false;
    if (!done && d->plan->importance_later) HT_TRY(ht__layers_learn(d, layer, diag));
    for (size_t i = 0; i < d->n_courses; i++)
        HT_TRY(done ? read_back(d, &d->courses[i], layer, diag) : round_others(d, &d->courses[i], layer, diag));
    for (size_t i = 0; !done && i < d->n_stages; i++)
        HT_TRY(one_stage(d, &d->stages[i], diag));
    return HT_OK;
}

/* From the layer's start or to its end. */
static void mark_all(struct ht__layers *d, enum ht__mark mark)
{
    d->flow.mark = mark;
    for (size_t i = 0; i < d->n_courses; i++)
        d->courses[i].flow.mark = mark;
}

static size_t stream_bytes(const struct ht__layers *d)
{
    return (size_t)d->n_tokens * (size_t)d->n_embd * sizeof(float);
}

/* Outputs whose sites are looked at as if nothing in the layer were quantized go through it twice. */
static void begin_layer(struct ht__layers *d)
{
    mark_all(d, HT__MARK_START);
    for (size_t i = 0; i < d->n_courses; i++) {
        struct ht__course *c = &d->courses[i];
        if (!c->start) continue;
        memcpy(c->start, c->flow.x, stream_bytes(d));
        c->unchosen = true;
    }
}

static void begin_again(struct ht__layers *d, struct ht__course *c)
{
    if (!c->start) return;
    memcpy(c->flow.x, c->start, stream_bytes(d));
    c->flow.mark = HT__MARK_START;
    c->unchosen = false;
}

static enum ht_err finish_layer(struct ht__layers *d, int layer, struct ht_diag *diag)
{
    for (size_t i = 0; i < d->n_courses; i++)
        begin_again(d, &d->courses[i]);
    for (size_t i = 0; i < d->n_courses; i++)
        HT_TRY(ht__layers_move(d, &d->courses[i], layer, HT__MARK_END, 0.4, diag));
    return ht__layers_move(d, NULL, layer, HT__MARK_END, 0.4, diag);
}

/* ---- writing what was chosen ---- */

static enum ht_err write_marked(struct ht__layers *d, const bool *now, struct ht_diag *diag)
{
    enum ht_err err = ht__stream_items(d->stream, now, diag);
    for (size_t i = 0; i < d->n_courses; i++)
        ht__course_forget(&d->courses[i]);
    return err;
}

/* layer -1: the embedding */
static enum ht_err write_layer(struct ht__layers *d, int layer, struct ht_diag *diag)
{
    bool *now = ht__new_array(d->plan->run.alloc, d->plan->n_items, sizeof *now);
    if (!now) return ht__fail_memory(diag, "plan");
    for (size_t i = 0; i < d->plan->n_items; i++) {
        struct ht__slot slot = ht__item_any(d->plan, i)->slot;
        now[i] = layer < 0 ? ht__slot_is(slot, HT__ROLE_EMBEDDING) : slot.layer == layer;
    }
    enum ht_err err = write_marked(d, now, diag);
    ht__free(d->plan->run.alloc, now);
    return err;
}

static enum ht_err one_layer(struct ht__layers *d, int layer, struct ht_diag *diag)
{
    HT_TRY(ht__layers_find(d, layer, diag));
    d->step = (double)d->n_tokens / (double)(1 + d->n_courses * (d->n_stages + 1));
    d->most_done = (double)(layer + 1) * (double)d->n_tokens;
    begin_layer(d);
    HT_TRY(choose_layer(d, layer, diag));
    HT_TRY(finish_layer(d, layer, diag));
    d->done = d->most_done;
    return write_layer(d, layer, diag);
}

/* The output matrix, where it is one of its own and the output's method chooses it. */
static bool chooses_output(const struct ht__layers *d, const struct ht__course *c, const struct ht__stage *stage)
{
    for (size_t i = 0; i < d->plan->n_items; i++)
        if (chosen_at(c, stage, i) && !d->journal->finished[i]) return true;
    return false;
}

static enum ht_err end_of_course(struct ht__layers *d, struct ht__course *c, const struct ht__weight *output,
                                 struct ht_diag *diag)
{
    struct ht__site_stats site = {.alloc = d->plan->run.alloc};
    struct ht__stage stage = {.site = ht__slot_site(output->slot), .first = output};
    if (!chooses_output(d, c, &stage)) return HT_OK;
    enum ht_err err = ht__layers_look_at_end(d, c, &stage, &site, diag);
    if (err == HT_OK) err = choose_all(d, c, &stage, &site, 0, diag);
    ht__site_close(&site);
    return err;
}

/* Its inputs are looked at as those of one more layer. */
static enum ht_err end(struct ht__layers *d, struct ht_diag *diag)
{
    const struct ht__weight *w = ht__model_find(d->plan->model, HT__ROLE_OUTPUT);
    d->step = (double)d->n_tokens / (double)d->n_courses;
    d->most_done += (double)d->n_tokens;
    for (size_t i = 0; w && i < d->n_courses; i++) {
        HT_TRY(end_of_course(d, &d->courses[i], w, diag));
        d->done += d->step;
    }
    return write_marked(d, NULL, diag);
}

/* ---- memory ---- */

/* What is left for the engine, where there is a limit. */
static struct ht__run engine_run(const struct ht__layers *d)
{
    struct ht__run run = d->plan->run;
    uint64_t taken = ht__layers_besides(d);
    if (run.memory) run.memory = run.memory > taken ? run.memory - taken : 1;
    return run;
}

/* No more rows are kept of a site to judge by: windows that would be held out beyond that are learnt from. The ones that stay
 * are spread over the text. */
static void release_windows(struct ht__layers *d)
{
    struct ht__windows *w = &d->cal.windows;
    size_t most = (size_t)(HT__MOST_HELD / (d->cal.n_ctx > 1 ? d->cal.n_ctx - 1 : 1)), held = 0, at = 0;
    if (most < 1) most = 1;
    for (size_t i = 0; i < w->n; i++)
        held += w->at[i].held_out;
    for (size_t i = 0; held > most && i < w->n; i++) {
        if (!w->at[i].held_out) continue;
        w->at[i].held_out = at * most / held != (at + 1) * most / held;
        at++;
    }
}

/* In layers one half behind the other, whose products no norm changes. */
static bool says_wanted(const struct ht__model *m, const struct ht__hparams *h)
{
    if (h->parallel || h->compute->parallel != HT__PARALLEL_NO) return false;
    for (size_t i = 0; i < m->n_weights; i++) {
        enum ht__role role = m->weights[i].slot.role;
        if (role == HT__ROLE_ATTN_POST_NORM || role == HT__ROLE_FFN_POST_NORM) return false;
    }
    return true;
}

static bool has_wide_site(const struct ht__model *m)
{
    for (size_t i = 0; i < m->n_weights; i++)
        if (m->weights[i].slot.layer >= 0 && !m->weights[i].slot.bias && ht__best_lean(m->weights[i].ne[0]))
            return true;
    return false;
}

/* The calibration, and the sizes that everything else goes by. */
static enum ht_err open_text(struct ht__layers *d, struct ht_diag *diag)
{
    struct ht__hparams h;
    struct ht__plan *plan = d->plan;
    d->cal.alloc = plan->run.alloc;
    HT_TRY(ht__calibration_open(&d->cal, &plan->settings->importance.calibration, &plan->run, plan->model, diag));
    HT_TRY(ht__hparams_read(plan->model, plan->settings->source.path, &h, diag));
    release_windows(d);
    d->n_embd = h.n_embd;
    d->says_wanted = says_wanted(plan->model, &h);
    d->cal.one_layer = has_wide_site(plan->model);
    d->n_used = h.n_experts > 0 ? h.n_used : 0;
    d->n_tokens = (int64_t)d->cal.windows.n * d->cal.n_ctx;
    return HT_OK;
}

static enum ht_err memory_of_all(const struct ht__layers *d, uint64_t *total, struct ht_diag *diag)
{
    struct ht__run run = engine_run(d);
    uint64_t matrices;
    HT_TRY(ht__calibration_memory(&d->cal, &run, d->plan->model, total, &matrices, diag));
    *total += ht__layers_besides(d);
    return HT_OK;
}

/* What would be kept at marks gives way where memory is short. */
static enum ht_err settle_memory(struct ht__layers *d, uint64_t *total, struct ht_diag *diag)
{
    d->most_kept = ht__layers_widest_kept(d);
    HT_TRY(memory_of_all(d, total, diag));
    if (d->plan->run.memory == 0 || *total <= d->plan->run.memory) return HT_OK;
    d->most_kept = 0;
    return memory_of_all(d, total, diag);
}

/* Where it is more than was allowed: what works when it is allowed, as more experts are looked at together where there is more. */
static enum ht_err settle_least(struct ht__layers *d, uint64_t *total, struct ht_diag *diag)
{
    enum { TRIES = 16 };
    struct ht__run *run = &d->plan->run;
    HT_TRY(settle_memory(d, total, diag));
    for (int i = 0; i < TRIES && run->memory && *total > run->memory; i++) {
        run->memory = *total;
        HT_TRY(settle_memory(d, total, diag));
    }
    return HT_OK;
}

enum ht_err ht__layers_memory(const struct ht__plan *plan, uint64_t *total, struct ht_diag *diag)
{
    struct ht__plan as = *plan; /* read alone, but for what the run may take */
    struct ht__layers d = {.plan = &as};
    *total = 0;
    for (size_t i = 0; i < plan->n_outputs; i++)
        if (ht__layers_output(plan, &plan->outputs[i])) {
            d.n_courses++;
            d.n_starts += !is_sequential(&plan->outputs[i]);
            d.n_folders += plan->outputs[i].target->container->dialect == HT__DIALECT_NATIVE;
        }
    if (d.n_courses == 0) return HT_OK;
    if (plan->settings->importance.stats) {
        HT_TRY(ht__layers_kept_memory(plan, total, diag));
        return *total += ht__layers_besides(&d), HT_OK;
    }
    enum ht_err err = open_text(&d, diag);
    if (err == HT_OK) err = settle_least(&d, total, diag);
    ht__calibration_close(&d.cal);
    return err;
}

/* ---- opening ---- */

static enum ht_err open_course(struct ht__layers *d, struct ht__course *c, struct ht__plan_output *out,
                               struct ht_diag *diag)
{
    size_t n = d->plan->n_items;
    bool folder = out->target->container->dialect == HT__DIALECT_NATIVE;
    *c = (struct ht__course){.out = out, .plan = d->plan};
    out->chosen = c->chosen = ht__arena_array(&d->plan->arena, n, sizeof *c->chosen);
    c->rows = ht__arena_array(&d->plan->arena, n, sizeof *c->rows);
    c->rounded = ht__arena_array(&d->plan->arena, n, sizeof *c->rounded);
    if (!c->rows || !c->rounded) return ht__fail_memory(diag, "plan");
    if (folder) c->weights = ht__arena_array(&d->plan->arena, d->plan->model->n_weights, sizeof *c->weights);
    if (folder) c->native = ht__arena_array(&d->plan->arena, n, sizeof *c->native);
    if (folder) c->used = ht__arena_array(&d->plan->arena, n, sizeof *c->used);
    if (folder && (!c->weights || !c->native || !c->used)) return ht__fail_memory(diag, "plan");
    c->flow.x = ht__new_array(d->plan->run.alloc, (size_t)d->n_tokens, (size_t)d->n_embd * sizeof(float));
    if (!is_sequential(out))
        c->start = ht__new_array(d->plan->run.alloc, (size_t)d->n_tokens, (size_t)d->n_embd * sizeof(float));
    d->n_courses++;
    d->n_starts += !is_sequential(out);
    d->n_folders += folder;
    if (!is_sequential(out) && !c->start) return ht__fail_memory(diag, "activations");
    return c->chosen && c->flow.x ? HT_OK : ht__fail_memory(diag, "activations");
}

enum ht_err ht__courses_open(struct ht__layers *d, struct ht_diag *diag)
{
    struct ht__plan *plan = d->plan;
    d->courses = ht__arena_array(&plan->arena, plan->n_outputs, sizeof *d->courses);
    d->flow.x = ht__new_array(plan->run.alloc, (size_t)d->n_tokens, (size_t)d->n_embd * sizeof(float));
    if (!d->courses || !d->flow.x) return ht__fail_memory(diag, "activations");
    for (size_t i = 0; i < plan->n_outputs; i++)
        if (ht__layers_output(plan, &plan->outputs[i]))
            HT_TRY(open_course(d, &d->courses[d->n_courses], &plan->outputs[i], diag));
    return HT_OK;
}

static enum ht_err embed(struct ht__layers *d, struct ht_diag *diag)
{
    size_t n_ctx = (size_t)d->cal.n_ctx;
    for (size_t c = 0; d->cal.bos >= 0 && c < d->cal.windows.n; c++)
        d->cal.windows.tokens[c * n_ctx] = d->cal.bos;
    HT_TRY(ht__engine_check_tokens(d->engine, d->cal.dataset, d->cal.windows.tokens, d->cal.windows.n * n_ctx, diag));
    for (size_t c = 0; c < d->cal.windows.n; c += (size_t)d->cal.n_seqs)
        HT_TRY(ht__engine_embed(d->engine, d->cal.windows.tokens + c * n_ctx, ht__layers_seqs(d, c), d->cal.n_ctx,
                                ht__layers_rows(d, d->flow.x, c), diag));
    for (size_t i = 0; i < d->n_courses; i++)
        HT_TRY(ht__course_embed(d, &d->courses[i], diag));
    ht__engine_drop_outside(d->engine);
    return write_layer(d, -1, diag);
}

/* There must be windows to learn from, and one to judge by. */
static enum ht_err check_text(const struct ht__layers *d, struct ht_diag *diag)
{
    size_t held = 0;
    for (size_t i = 0; i < d->cal.windows.n; i++)
        held += d->cal.windows.at[i].held_out;
    if (held > 0 && held < d->cal.windows.n) return HT_OK;
    return ht__fail(
        diag, HT_ERR_USAGE, d->cal.dataset, -1,
        "%zu chunks of %d tokens, of which %zu are held out to judge by: --effort best needs a longer text, "
        "or shorter chunks (--ctx)",
        d->cal.windows.n, d->cal.n_ctx, held);
}

static enum ht_err open_rows(struct ht__layers *d, struct ht_diag *diag)
{
    for (int i = 0; i < 2 && d->most_kept > 0; i++) {
        d->rows[i] = ht__new_array(d->plan->run.alloc, (size_t)d->n_tokens, (size_t)d->most_kept * sizeof(float));
        if (!d->rows[i]) return ht__fail_memory(diag, "activations");
    }
    return HT_OK;
}

static enum ht_err open_parts(struct ht__layers *d, struct ht_diag *diag)
{
    struct ht__plan *plan = d->plan;
    uint64_t total;
    HT_TRY(open_text(d, diag));
    HT_TRY(check_text(d, diag));
    HT_TRY(ht__pool_open(plan->run.n_threads, plan->run.alloc, &d->pool, diag));
    HT_TRY(ht__courses_open(d, diag));
    if (plan->importance_later) HT_TRY(ht__importance_open(&d->sums, 1, plan->run.alloc, diag));
    HT_TRY(settle_memory(d, &total, diag));
    struct ht__run run = engine_run(d);
    HT_TRY(open_rows(d, diag));
    if (d->n_used)
        d->routes = ht__new_array(plan->run.alloc, (size_t)d->n_tokens, (size_t)d->n_used * sizeof *d->routes);
    if (d->n_used && !d->routes) return ht__fail_memory(diag, "experts");
    return ht__calibration_engine(&d->cal, &run, plan->model, &d->engine, diag);
}

static enum ht_err layers(struct ht__layers *d, struct ht_diag *diag)
{
    int n = ht__engine_hparams(d->engine)->n_layers;
    int passes = n + (ht__model_find(d->plan->model, HT__ROLE_OUTPUT) != NULL);
    ht__progress_begin(&d->progress, &d->plan->run, "best", "tokens", (uint64_t)d->n_tokens * (uint64_t)passes);
    HT_TRY(embed(d, diag));
    for (int i = 0; i < n; i++)
        HT_TRY(one_layer(d, i, diag));
    if (d->plan->importance_later) ht__calibration_warn(d->plan->run.log, &d->sums);
    return end(d, diag);
}

enum ht_err ht__layers_run(struct ht__plan *plan, const struct ht__journal *journal, struct ht__stream *stream,
                           struct ht_diag *diag)
{
    struct ht__layers d = {.plan = plan, .journal = journal, .stream = stream, .ops = ht__ops(ht__cpu_best())};
    bool kept = plan->settings->importance.stats != NULL;
    enum ht_err err = kept ? ht__layers_run_kept(&d, diag) : open_parts(&d, diag);
    if (err == HT_OK && !kept) err = layers(&d, diag);
    for (size_t i = 0; i < d.n_courses; i++) {
        ht__course_forget(&d.courses[i]);
        ht__free(plan->run.alloc, d.courses[i].flow.x);
        ht__free(plan->run.alloc, d.courses[i].start);
    }
    ht__free(plan->run.alloc, d.flow.x);
    for (int i = 0; i < 2; i++)
        ht__free(plan->run.alloc, d.rows[i]);
    ht__free(plan->run.alloc, d.routes);
    if (d.sums.pool) ht__importance_close(&d.sums);
    ht__engine_close(&d.engine);
    ht__pool_close(&d.pool);
    ht__calibration_close(&d.cal);
    return err;
}
