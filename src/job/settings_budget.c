/* Budgets: how large a file may be, or what runs it, and how long may be measured for it. */
#include "job/settings_parts.h"
#include "advise/fit.h"
#include "advise/program.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static enum ht_err room_for_weights(const void *ctx, const struct ht__model *model, uint64_t *bytes,
                                    struct ht_diag *diag)
{
    const struct ht__room *room = ctx;
    struct ht__fit_shape shape;
    HT_TRY(ht__fit_shape(model, &shape, diag));
    *bytes = ht__fit_room(&shape, room->memory, room->ctx ? room->ctx : ht__fit_default_ctx(&shape),
                          ht__codec_by_name("f16"));
    return HT_OK;
}

/* "90", "90s", "10m", "2h" */
static enum ht_err parse_time(struct parser *p, const char *text, double *seconds)
{
    char *end = NULL;
    double value = isdigit((unsigned char)*text) || *text == '.' ? strtod(text, &end) : -1;
    double unit = value < 0 ? 0 : *end == 'm' ? 60 : *end == 'h' ? 3600 : 1;
    if (end && *end && strchr("smh", *end)) end++;
    *seconds = value * unit;
    if (*seconds > 0 && *seconds < 1e9 && *end == '\0') return HT_OK;
    return ht__fail(p->diag, HT_ERR_USAGE, "budget-time", -1, "expected a time such as 90s, 10m or 2h, got \"%s\"",
                    text);
}

static enum ht_err parse_bpw(struct parser *p)
{
    struct ht__budget_settings *b = &p->s->pipeline.budget;
    const char *text = p->o->bpw;
    char *end = NULL;
    b->bpw = isdigit((unsigned char)*text) || *text == '.' ? strtod(text, &end) : 0;
    if (!(b->bpw > 0) || b->bpw > 32 || *end)
        return ht__fail(p->diag, HT_ERR_USAGE, "bpw", -1, "expected bits a weight, such as 4.5, got \"%s\"", text);
    b->kind = HT__BUDGET_BITS;
    b->text = ht__arena_printf(&p->s->arena, "%.6gbpw", b->bpw);
    return b->text ? HT_OK : ht__fail_memory(p->diag, "bpw");
}

/* Of a file; with a context or a card, of what runs it. */
static enum ht_err parse_fit(struct parser *p)
{
    struct ht__budget_settings *b = &p->s->pipeline.budget;
    const struct ht__options *o = p->o;
    const struct ht__gpu *gpu = NULL;
    if (o->gpu) HT_TRY(ht__gpu_by_name(o->gpu, &gpu, p->diag));
    if (o->fit) HT_TRY(ht__parse_size("fit", o->fit, &b->bytes, p->diag));
    if (!o->fit) b->bytes = gpu->memory;
    if (!b->bytes)
        return ht__fail(p->diag, HT_ERR_USAGE, "fit", -1,
                        o->fit ? "no model has 0 bytes"
                               : "this card is sold with several memory sizes: add --fit SIZE");
    b->kind = gpu || o->ctx ? HT__BUDGET_ROOM : HT__BUDGET_FILE;
    b->text = ht__arena_str(&p->s->arena, o->fit ? o->fit : "gpu");
    b->room = room_for_weights;
    b->ctx = &p->s->room;
    p->s->room.memory = b->bytes;
    if (o->ctx) HT_TRY(ht__parse_count("ctx", o->ctx, 1, HT__FIT_MOST_CTX, &p->s->room.ctx, p->diag));
    return b->text ? HT_OK : ht__fail_memory(p->diag, "fit");
}

static enum ht_err check_budget(struct parser *p)
{
    const struct ht__options *o = p->o;
    const char *option = o->bpw ? "bpw" : "fit", *why = NULL;
    bool one_file = p->s->pipeline.budget.kind == HT__BUDGET_FILE;
    if (o->pure) why = "it chooses a type for each tensor, which --pure does not allow";
    if (o->convert) why = "convert chooses no types; use quantize";
    if (!o->type.n && o->format && strcmp(o->format, "gguf") != 0)
        why = "it chooses types of GGUF files: leave --format out, or say with -t which scheme a folder is of";
    if (o->bpw && (o->fit || o->gpu)) why = "give a size or bits a weight, not both";
    if (o->type.n && p->s->pipeline.budget.kind == HT__BUDGET_ROOM)
        why = "of folders it is bytes or bits: leave --ctx and --gpu out";
    if (one_file && !o->type.n && (o->split_max_size || o->split_max_tensors || o->keep_split))
        why = "it is the size of one file; with --bpw files can be split";
    return why ? ht__fail(p->diag, HT_ERR_USAGE, option, -1, "%s", why) : HT_OK;
}

enum ht_err ht__settings_parse_budget(struct parser *p)
{
    struct ht__budget_settings *b = &p->s->pipeline.budget;
    const struct ht__options *o = p->o;
    struct ht__buf yaml;
    if (!o->fit && !o->bpw && !o->gpu)
        return o->budget_time ? ht__fail(p->diag, HT_ERR_USAGE, "budget-time", -1, "it is for --fit SIZE and --bpw X")
                              : HT_OK;
    HT_TRY(o->bpw && !o->fit && !o->gpu ? parse_bpw(p) : parse_fit(p));
    HT_TRY(check_budget(p));
    if (o->budget_time) HT_TRY(parse_time(p, o->budget_time, &b->seconds));
    ht__buf_init(&yaml, p->job->alloc);
    ht__options_yaml(p->job, &yaml);
    const char *text = ht__buf_text(&yaml);
    b->options = text ? ht__arena_str(&p->s->arena, text) : NULL;
    ht__buf_close(&yaml);
    return b->options ? HT_OK : ht__fail_memory(p->diag, "budget");
}

/* A folder of one scheme; which matrices have another one, or none, is found when the model is known. */
enum ht_err ht__settings_check_budget(struct parser *p)
{
    const struct ht__pipeline_settings *s = &p->s->pipeline;
    const struct ht__target *t = &s->targets[0];
    const char *why = NULL;
    if (t->ladder) why = "a ladder chooses by errors itself: name one scheme";
    if (t->mix) why = "it chooses the types of GGUF files itself: leave -t out, or name a scheme (-t gptq)";
    if (s->n_targets > 1) why = "it is for one output";
    return why ? ht__fail(p->diag, HT_ERR_USAGE, p->o->bpw ? "bpw" : "fit", -1, "%s", why) : HT_OK;
}

/* One GGUF file; its mix is found when the model is known. */
enum ht_err ht__settings_take_budget(struct parser *p)
{
    struct ht__pipeline_settings *s = &p->s->pipeline;
    s->targets = ht__arena_array(&p->s->arena, 1, sizeof *s->targets);
    if (!s->targets) return ht__fail_memory(p->diag, "type");
    s->targets[s->n_targets++] =
        (struct ht__target){.container = &ht__container_gguf, .mix = ht__mix_by_name("Q2_K"), .type = s->budget.text};
    return HT_OK;
}
