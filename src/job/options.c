/* Setting a job's options by name. */
#include "base/json_write.h"
#include "base/nearest.h"
#include "job/job.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum kind { FLAG, TEXT, LIST };

/* Where a value goes. Kept beside options.def by name: test_options proves that the two agree. */
static const struct slot {
    const char *name;
    enum kind kind;
    size_t offset;
} slots[] = {
#define SLOT(name, kind, field)                                                                                        \
    {                                                                                                                  \
        name, kind, offsetof(struct ht__options, field)                                                                \
    }
    SLOT("source", TEXT, source),
    SLOT("type", LIST, type),
    SLOT("output", TEXT, output),
    SLOT("format", TEXT, format),
    SLOT("strict", FLAG, strict),
    SLOT("name", TEXT, name),
    SLOT("imatrix", TEXT, imatrix),
    SLOT("include-weights", LIST, include_weights),
    SLOT("exclude-weights", LIST, exclude_weights),
    SLOT("pure", FLAG, pure),
    SLOT("tensor-type", LIST, tensor_type),
    SLOT("rule", LIST, rule),
    SLOT("skip-modules", LIST, skip_modules),
    SLOT("max-error", TEXT, max_error),
    SLOT("output-tensor-type", TEXT, output_tensor_type),
    SLOT("token-embedding-type", TEXT, token_embedding_type),
    SLOT("leave-output-tensor", FLAG, leave_output_tensor),
    SLOT("allow-requantize", FLAG, allow_requantize),
    SLOT("override-kv", LIST, override_kv),
    SLOT("prune-layers", TEXT, prune_layers),
    SLOT("split-max-size", TEXT, split_max_size),
    SLOT("split-max-tensors", TEXT, split_max_tensors),
    SLOT("keep-split", FLAG, keep_split),
    SLOT("vocab-only", FLAG, vocab_only),
    SLOT("threads", TEXT, threads),
    SLOT("memory", TEXT, memory),
    SLOT("layer-cache", TEXT, layer_cache),
    SLOT("cpu", TEXT, cpu),
    SLOT("overwrite", FLAG, overwrite),
    SLOT("resume", FLAG, resume),
    SLOT("part", TEXT, part),
    SLOT("collect-part", TEXT, collect_part),
    SLOT("take-from", LIST, take_from),
    SLOT("checkpoint-seconds", TEXT, checkpoint_seconds),
    SLOT("report", TEXT, report),
    SLOT("no-source-hash", FLAG, no_source_hash),
    SLOT("model", LIST, models),
    SLOT("text", TEXT, text),
    SLOT("tokens", TEXT, tokens),
    SLOT("against", TEXT, against),
    SLOT("ctx", TEXT, ctx),
    SLOT("chunks", TEXT, chunks),
    SLOT("retention", TEXT, retention),
    SLOT("choices", TEXT, choices),
    SLOT("html", TEXT, html),
    SLOT("fast", FLAG, fast),
    SLOT("measure", FLAG, measure),
    SLOT("fail-if", LIST, fail_if),
    SLOT("from-chunk", TEXT, from_chunk),
    SLOT("process-output", FLAG, process_output),
    SLOT("in-file", LIST, in_file),
    SLOT("statistics", FLAG, statistics),
    SLOT("save-every", TEXT, save_every),
    SLOT("calibration", TEXT, calibration),
    SLOT("calibration-length", TEXT, calibration_length),
    SLOT("calibration-stats", TEXT, calibration_stats),
    SLOT("in-stats", LIST, in_stats),
    SLOT("calibration-seed", TEXT, calibration_seed),
    SLOT("effort", TEXT, effort),
    SLOT("fit", TEXT, fit),
    SLOT("bpw", TEXT, bpw),
    SLOT("budget-time", TEXT, budget_time),
    SLOT("method", TEXT, method),
    SLOT("awq-group-size", TEXT, awq_group_size),
    SLOT("tokenizer", TEXT, tokenizer),
    SLOT("batch-size", TEXT, batch_size),
    SLOT("cleanup-temp", TEXT, cleanup_temp),
    SLOT("verbose", TEXT, verbose),
    SLOT("cache-type", TEXT, cache_type),
    SLOT("gpu", TEXT, gpu),
    SLOT("gpu-count", TEXT, gpu_count),
    SLOT("for", TEXT, program),
    SLOT("include", LIST, include),
    SLOT("offline", FLAG, offline),
    SLOT("no-cache", FLAG, no_cache),
#undef SLOT
};

static enum ht_err set_flag(bool *flag, const char *name, const char *value, struct ht_diag *diag)
{
    if (!value || strcmp(value, "true") == 0)
        *flag = true;
    else if (strcmp(value, "false") == 0)
        *flag = false;
    else
        return ht__fail(diag, HT_ERR_USAGE, name, -1, "expected true or false, got \"%s\"", value);
    return HT_OK;
}

static enum ht_err append(struct ht_job *job, struct ht__list *list, const char *text, size_t len, struct ht_diag *diag)
{
    if (list->n == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 8;
        const char **items = ht__arena_array(&job->arena, cap, sizeof *items);
        if (!items) return ht__fail_memory(diag, "options");
        if (list->n) memcpy(items, list->items, list->n * sizeof *items);
        list->items = items;
        list->cap = cap;
    }
    char *copy = ht__arena_copy(&job->arena, text, len);
    if (!copy) return ht__fail_memory(diag, "options");
    list->items[list->n++] = copy;
    return HT_OK;
}

enum ht_err ht__options_note(struct ht_job *job, const char *text, struct ht_diag *diag)
{
    return append(job, &job->options.notes, text, strlen(text), diag);
}

/* Types may come several at once, with commas; other lists hold patterns and texts with any comma. */
static enum ht_err append_types(struct ht_job *job, struct ht__list *list, const char *value, struct ht_diag *diag)
{
    for (const char *p = value;;) {
        size_t len = strcspn(p, ",");
        if (len == 0) return ht__fail(diag, HT_ERR_USAGE, "type", -1, "an empty type in \"%s\"", value);
        HT_TRY(append(job, list, p, len, diag));
        if (p[len] == '\0') return HT_OK;
        p += len + 1;
    }
}

static const struct {
    const char *key, *option;
} keys[] = {
#define HT_KEY(key, option) {key, option},
#include "job/keys.def"
#undef HT_KEY
};

const char *ht__options_key(const char *name)
{
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++)
        if (strcmp(name, keys[i].key) == 0) return keys[i].option;
    return name;
}

/* Keys first: they are as near as the options that they mean. */
static const char *name_at(void *ctx, size_t index)
{
    enum { N_KEYS = sizeof keys / sizeof keys[0] };
    (void)ctx;
    if (index < N_KEYS) return keys[index].key;
    index -= N_KEYS;
    return index < sizeof slots / sizeof slots[0] ? slots[index].name : NULL;
}

static enum ht_err fail_unknown(const char *name, struct ht_diag *diag)
{
    const char *near = ht__nearest(name, name_at, NULL);
    return ht__fail(diag, HT_ERR_USAGE, name, -1, "no such option%s%s%s", near ? "; did you mean " : "",
                    near ? near : "", near ? "?" : "");
}

enum ht_err ht__options_set(struct ht_job *job, const char *name, const char *value, struct ht_diag *diag)
{
    if (strcmp(name, "verb") == 0) {
        job->options.convert = value && strcmp(value, "convert") == 0;
        job->options.writes = true;
        if (job->options.convert || (value && strcmp(value, "quantize") == 0)) return HT_OK;
        return ht__fail(diag, HT_ERR_USAGE, name, -1, "expected quantize or convert");
    }
    const struct slot *slot = NULL;
    if (strcmp(name, "source") == 0) job->options.tokenizer = NULL; /* a model other than a recipe's brings its own */
    name = ht__options_key(name);
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++)
        if (strcmp(name, slots[i].name) == 0) slot = &slots[i];
    if (!slot) return fail_unknown(name, diag);
    void *field = (char *)&job->options + slot->offset;
    if (slot->kind == FLAG) return set_flag(field, name, value, diag);
    if (!value || !*value) return ht__fail(diag, HT_ERR_USAGE, name, -1, "the value is missing");
    if (slot->kind == LIST)
        return field == &job->options.type ? append_types(job, field, value, diag)
                                           : append(job, field, value, strlen(value), diag);
    const char *copy = ht__arena_str(&job->arena, value);
    if (!copy) return ht__fail_memory(diag, "options");
    *(const char **)field = copy;
    return HT_OK;
}

/* What does not change a byte of the files, and what a recipe says otherwise. */
static bool is_said(const struct ht_job *job, const struct slot *slot)
{
    static const char *const not [] = {
        "type",
        "tensor-type",
        "rule",
        "output",
        "overwrite",
        "resume",
        "part",
        "collect-part",
        "take-from",
        "checkpoint-seconds",
        "report",
        "html",
        "threads",
        "memory",
        "layer-cache",
        "cpu",
        "text",
        "measure",
        "fail-if",
        "retention",
        "no-source-hash",
        "fast",
        "fit",
        "bpw",
        "budget-time",
        "cache-type",
        "gpu",
        "gpu-count",
        "tokens",
        "choices",
        "offline",
        "no-cache",
        "model",
        "tokenizer",
        "batch-size",
        "cleanup-temp",
        "verbose",
    };
    for (size_t i = 0; i < sizeof not / sizeof not [0]; i++)
        if (strcmp(slot->name, not [i]) == 0) return false;
    return !(job->options.fit && strcmp(slot->name, "ctx") == 0); /* the context to run the model with */
}

static void put_text(struct ht__buf *out, const char *text)
{
    struct ht__jw w = ht__jw_line(out);
    ht__jw_str(&w, NULL, text);
    ht__buf_str(out, "\n");
}

void ht__options_yaml(const struct ht_job *job, struct ht__buf *out)
{
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        const void *field = (const char *)&job->options + slots[i].offset;
        const char *name = strcmp(slots[i].name, "source") == 0 ? "model" : slots[i].name;
        const struct ht__list *list = field;
        if (!is_said(job, &slots[i])) continue;
        if (slots[i].kind == FLAG && *(const bool *)field) ht__buf_printf(out, "%s: true\n", name);
        if (slots[i].kind == TEXT && *(const char *const *)field) {
            ht__buf_printf(out, "%s: ", name);
            put_text(out, *(const char *const *)field);
        }
        if (slots[i].kind != LIST || !list->n) continue;
        ht__buf_printf(out, "%s:\n", name);
        for (size_t k = 0; k < list->n; k++) {
            ht__buf_str(out, "  - ");
            put_text(out, list->items[k]);
        }
    }
}

enum ht_err ht__parse_size(const char *option, const char *text, uint64_t *bytes, struct ht_diag *diag)
{
    char *end;
    double number = isdigit((unsigned char)text[0]) ? strtod(text, &end) : -1;
    double unit = 1;
    if (number >= 0 && *end) {
        const char *letters = "KMGT", *at = strchr(letters, toupper((unsigned char)*end));
        double base = end[1] == 'i' ? 1024 : 1000;
        for (int i = 0; at && *at && i <= at - letters; i++)
            unit *= base;
        end += at && *at ? 1 + (end[1] == 'i') : 0;
        if (toupper((unsigned char)*end) == 'B') end++;
    }
    if (number < 0 || *end || number * unit >= 9e18)
        return ht__fail(diag, HT_ERR_USAGE, option, -1, "\"%s\" is not a size; write 300M, 4G or 1.5Gi", text);
    *bytes = (uint64_t)(number * unit);
    return HT_OK;
}

enum ht_err ht__parse_count(const char *option, const char *text, uint64_t least, uint64_t most, uint64_t *value,
                            struct ht_diag *diag)
{
    char *end;
    unsigned long long v = isdigit((unsigned char)text[0]) ? strtoull(text, &end, 10) : 0;
    if (!isdigit((unsigned char)text[0]) || *end || v < least || v > most)
        return ht__fail(diag, HT_ERR_USAGE, option, -1, "expected a number from %llu to %llu, got \"%s\"",
                        (unsigned long long)least, (unsigned long long)most, text);
    *value = v;
    return HT_OK;
}
