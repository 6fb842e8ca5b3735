#include "job/named.h"
#include "base/nearest.h"
#include "base/text.h"
#include "formats/container.h"
#include "recipe/mix.h"
#include "schemes/scheme.h"

#include <string.h>
#include <strings.h>

enum how { PLAIN, SCALED, BEST, SCALED_BEST };
struct way {
    const char *type; /* NULL: there is none */
    enum how how;
};
static const struct named {
    const char *name;
    struct way file, folder;
    const char *instead; /* a folder's type, or NULL */
    const char *about;
} all[] = {
#define HT_NAMED(name, file, file_how, folder, folder_how, instead, about)                                             \
    {name, {file, file_how}, {folder, folder_how}, instead, about},
#include "job/named.def"
#undef HT_NAMED
};
enum { N_NAMED = sizeof all / sizeof all[0] };

const char *ht__named_at(size_t index)
{
    return index < N_NAMED ? all[index].name : NULL;
}

static const char *name_at(void *ctx, size_t index)
{
    (void)ctx;
    return ht__named_at(index);
}

static const struct named *find(const char *name)
{
    for (size_t i = 0; i < N_NAMED; i++)
        if (strcasecmp(name, all[i].name) == 0) return &all[i];
    return NULL;
}

static enum ht_err note(struct ht_job *job, enum ht__log_level level, const char *text, struct ht_diag *diag)
{
    if (!text) return ht__fail_memory(diag, "method");
    ht__log_printf(&job->log, level, "%s", text);
    return ht__options_note(job, text, diag);
}

/* ---- the kind of file ---- */

/* What the output's name says: "gguf", or the container of a folder that is called so; NULL: nothing. */
static const char *format_of(const char *output)
{
    static const char *const names[] = {"gguf", "safetensors", "pytorch"};
    const char *dot = output ? strrchr(output, '.') : NULL;
    for (size_t i = 0; dot && i < sizeof names / sizeof names[0]; i++)
        if (strcasecmp(dot + 1, names[i]) == 0) return names[i];
    return NULL;
}

static bool is_file(const char *format)
{
    const struct ht__container *c = ht__container_by_name(format);
    return c && c->dialect == HT__DIALECT_GGUF;
}

static enum ht_err choose_format(const struct named *n, struct ht__options *o, const char **format,
                                 struct ht_diag *diag)
{
    const char *said = format_of(o->output);
    if (o->format && said && strcmp(o->format, said) != 0)
        return ht__fail(diag, HT_ERR_USAGE, "output", -1, "its name ends in .%s, but the format is %s", said,
                        o->format);
    *format = o->format ? o->format : said ? said : n->file.type ? "gguf" : "safetensors";
    if (!ht__container_by_name(*format) || is_file(*format) || n->folder.type || n->instead) return HT_OK;
    return ht__fail(diag, HT_ERR_USAGE, "method", -1, "%s makes GGUF files, and no folders of %s files", n->name,
                    *format);
}

/* What a GGUF file cannot hold goes into a folder. */
static enum ht_err into_folder(struct ht_job *job, const struct named *n, const char **format, struct ht_diag *diag)
{
    struct ht__options *o = &job->options;
    size_t len = o->output ? strlen(o->output) : 0;
    if (o->strict)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, "method", -1, "%s cannot be stored in a GGUF file, but in a folder",
                        n->name);
    *format = "safetensors";
    if (len > 5 && strcasecmp(o->output + len - 5, ".gguf") == 0) {
        o->output = ht__arena_printf(&job->arena, "%.*s.safetensors", (int)(len - 5), o->output);
        if (!o->output) return ht__fail_memory(diag, "output");
    }
    return note(job, HT__LOG_WARNING,
                ht__arena_printf(&job->arena, "%s cannot be stored in a GGUF file: a folder is written, %s", n->name,
                                 o->output ? o->output : "of safetensors files"),
                diag);
}

/* ---- the type ---- */

/* The group size belongs to AWQ's folders; blocks of GGUF types have theirs. */
static enum ht_err with_group(struct ht_job *job, const char **type, struct ht_diag *diag)
{
    const char *group = job->options.awq_group_size;
    uint64_t size;
    if (!group) return HT_OK;
    HT_TRY(ht__parse_count("awq-group-size", group, 8, 1 << 20, &size, diag));
    if (strcmp(*type, "awq") != 0)
        return note(job, HT__LOG_INFO,
                    ht__arena_printf(&job->arena, "awq-group-size changes nothing: %s has groups of its own", *type),
                    diag);
    *type = ht__arena_printf(&job->arena, "awq:group=%s", group);
    return *type ? HT_OK : ht__fail_memory(diag, "method");
}

static enum ht_err take_way(struct ht_job *job, const struct named *n, const struct way *way, const char *format,
                            struct ht_diag *diag)
{
    static const char *const how[] = {"", ", with AWQ's scales of a calibration text",
                                      ", codes chosen by the activations of a calibration text",
                                      ", with AWQ's scales, codes chosen by the activations of a calibration text"};
    bool scaled = way->how == SCALED || way->how == SCALED_BEST, best = way->how == BEST || way->how == SCALED_BEST;
    struct ht__options *o = &job->options;
    const char *type = way->type;
    HT_TRY(with_group(job, &type, diag));
    o->format = format;
    if (way->how != PLAIN && !o->calibration && (scaled || !o->imatrix)) o->calibration = "default";
    if (best && !o->effort) o->effort = "best";
    if (way->how == PLAIN) o->calibration = NULL;
    HT_TRY(note(job, HT__LOG_INFO, ht__arena_printf(&job->arena, "%s: %s%s", n->name, type, how[way->how]), diag));
    if (scaled && !(type = ht__arena_printf(&job->arena, "awq_%s", type))) return ht__fail_memory(diag, "method");
    return ht__options_set(job, "type", type, diag);
}

static enum ht_err take_named(struct ht_job *job, const struct named *n, const char *why, struct ht_diag *diag)
{
    const char *format = NULL;
    HT_TRY(choose_format(n, &job->options, &format, diag));
    if (is_file(format) && !n->file.type) HT_TRY(into_folder(job, n, &format, diag));
    struct way way = is_file(format) ? n->file : n->folder;
    const char *reason = why;
    if (!way.type) reason = "it has no such folders";
    if (reason) {
        way.how = PLAIN;
        if (!is_file(format)) way.type = n->instead;
        if (job->options.strict)
            return ht__fail(diag, HT_ERR_UNSUPPORTED, "method", -1, "%s cannot be done: %s", n->name, reason);
        HT_TRY(
            note(job, HT__LOG_WARNING,
                 ht__arena_printf(&job->arena, "%s cannot be done (%s): %s takes its place", n->name, reason, way.type),
                 diag));
    }
    return take_way(job, n, &way, format, diag);
}

/* ---- all of it ---- */

static bool is_type(const char *text)
{
    return ht__mix_by_name(text) || strpbrk(text, ":@/>,") || ht__scheme_by_name(text, strlen(text));
}

static enum ht_err check(const struct ht_job *job, struct ht_diag *diag)
{
    const struct ht__options *o = &job->options;
    const char *near = find(o->method) || is_type(o->method) ? NULL : ht__nearest(o->method, name_at, NULL);
    if (o->type.n) return ht__fail(diag, HT_ERR_USAGE, "method", -1, "it says the type: leave the other one out");
    if (o->fit || o->bpw || o->gpu)
        return ht__fail(diag, HT_ERR_USAGE, "method", -1, "a budget chooses the types itself: leave the method out");
    if (near)
        return ht__fail(diag, HT_ERR_USAGE, "method", -1, "there is no method \"%.80s\"; did you mean %s?", o->method,
                        near);
    return HT_OK;
}

/* ---- keys of recipe files ---- */

static enum ht_err check_flag(const char *key, const char *value, struct ht_diag *diag)
{
    if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0) return HT_OK;
    return ht__fail(diag, HT_ERR_USAGE, key, -1, "expected true or false, got \"%.40s\"", value);
}

/* Those that change nothing here are checked and told of. */
static enum ht_err tell_keys(struct ht_job *job, struct ht_diag *diag)
{
    const struct ht__options *o = &job->options;
    uint64_t size;
    if (o->batch_size) {
        HT_TRY(ht__parse_count("batch_size", o->batch_size, 1, UINT32_MAX, &size, diag));
        HT_TRY(
            note(job, HT__LOG_INFO,
                 "batch_size changes nothing: activations are computed in windows; memory: SIZE limits what is taken",
                 diag));
    }
    if (o->cleanup_temp) HT_TRY(check_flag("cleanup_temp", o->cleanup_temp, diag));
    if (o->cleanup_temp && strcmp(o->cleanup_temp, "false") == 0)
        HT_TRY(note(job, HT__LOG_INFO, "cleanup_temp changes nothing: there are no temporary files to keep", diag));
    return o->verbose ? check_flag("verbose", o->verbose, diag) : HT_OK;
}

static enum ht_err check_tokenizer(const struct ht__options *o, struct ht_diag *diag)
{
    if (!o->tokenizer || !o->source || strcmp(o->tokenizer, o->source) == 0) return HT_OK;
    return ht__fail(diag, HT_ERR_UNSUPPORTED, "tokenizer_name", -1,
                    "the tokenizer is the model's own, %s; another one cannot be put in its place", o->source);
}

enum ht_err ht__named_apply(struct ht_job *job, bool instead, const char *why, struct ht_diag *diag)
{
    const struct ht__options *o = &job->options;
    HT_TRY(check_tokenizer(o, diag));
    HT_TRY(tell_keys(job, diag));
    if (!o->method)
        return o->awq_group_size ? ht__fail(diag, HT_ERR_USAGE, "awq-group-size", -1, "it is for --method awq_q4_0")
                                 : HT_OK;
    HT_TRY(check(job, diag));
    const struct named *n = find(o->method);
    return n ? take_named(job, n, instead ? why : NULL, diag) : ht__options_set(job, "type", o->method, diag);
}

bool ht__named_has_instead(const struct ht_job *job)
{
    const struct named *n = job->options.method ? find(job->options.method) : NULL;
    if (!n || job->options.strict || !job->options.format) return false;
    return is_file(job->options.format) ? n->file.how != PLAIN : n->folder.type && n->instead;
}
