/*
 * A recipe file: YAML, one mapping from option names to values.
 *     type: [Q4_K_M, Q8_0]
 *     tensor-type: {"blk\\.0\\.": q8_0}      # or a sequence of RE=TYPE
 * The keys of one-command quantization (keys.def) mean options, too.
 * The event interface is used, so that nothing is built that was not asked for; aliases and anchors
 * are refused (a few bytes could otherwise expand to gigabytes), as are tags and several documents.
 */
#include "base/file.h"
#include "base/map.h"
#include "job/job.h"

#include <string.h>
#include <yaml.h>

enum { LARGEST_FILE = 1 << 20 };

struct reader {
    yaml_parser_t parser;
    struct ht_job *job;
    struct ht__map seen; /* names of options, in the job's arena */
    const char *path;
    struct ht_diag *diag;
};

static enum ht_err fault(struct reader *r, const yaml_event_t *event, const char *message)
{
    return ht__fail(r->diag, HT_ERR_USAGE, r->path, -1, "line %zu: %s",
                    event ? event->start_mark.line + 1 : r->parser.problem_mark.line + 1, message);
}

/* The next event; the caller deletes it. There is none where this fails: it may be deleted all the same. */
static enum ht_err next(struct reader *r, yaml_event_t *event)
{
    if (!yaml_parser_parse(&r->parser, event)) {
        memset(event, 0, sizeof *event);
        if (r->parser.error == YAML_MEMORY_ERROR) return ht__fail_memory(r->diag, r->path);
        return fault(r, NULL, r->parser.problem ? r->parser.problem : "not YAML");
    }
    const unsigned char *anchor = NULL, *tag = NULL;
    if (event->type == YAML_SCALAR_EVENT) anchor = event->data.scalar.anchor, tag = event->data.scalar.tag;
    if (event->type == YAML_SEQUENCE_START_EVENT) anchor = event->data.sequence_start.anchor;
    if (event->type == YAML_MAPPING_START_EVENT) anchor = event->data.mapping_start.anchor;
    const char *refused = NULL;
    if (event->type == YAML_ALIAS_EVENT || anchor || tag)
        refused = "anchors, aliases and tags are not allowed";
    else if (event->type == YAML_SCALAR_EVENT && memchr(event->data.scalar.value, 0, event->data.scalar.length))
        refused = "NUL in a value";
    if (!refused) return HT_OK;
    enum ht_err err = fault(r, event, refused);
    yaml_event_delete(event);
    return err;
}

static const char *text_of(const yaml_event_t *event)
{
    return (const char *)event->data.scalar.value;
}

static enum ht_err set(struct reader *r, const char *name, const char *value, const yaml_event_t *at)
{
    struct ht_diag inner = {0};
    enum ht_err err = ht__options_set(r->job, name, value, &inner);
    if (err == HT_OK) return HT_OK;
    return ht__fail(r->diag, err, r->path, -1, "line %zu: %s: %s", at->start_mark.line + 1, name, inner.message);
}

/* Elements of a sequence, or members of a mapping as KEY=VALUE. */
static enum ht_err set_many(struct reader *r, const char *name, bool mapping)
{
    for (;;) {
        yaml_event_t key, value;
        enum ht_err err = next(r, &key);
        bool end = key.type == YAML_SEQUENCE_END_EVENT || key.type == YAML_MAPPING_END_EVENT;
        if (err == HT_OK && !end && key.type != YAML_SCALAR_EVENT) err = fault(r, &key, "expected a plain value here");
        if (err == HT_OK && !end && mapping) {
            err = next(r, &value);
            if (err == HT_OK && value.type != YAML_SCALAR_EVENT) err = fault(r, &value, "expected a plain value here");
            char *pair =
                err == HT_OK ? ht__arena_printf(&r->job->arena, "%s=%s", text_of(&key), text_of(&value)) : NULL;
            if (err == HT_OK && !pair) err = ht__fail_memory(r->diag, r->path);
            if (err == HT_OK) err = set(r, name, pair, &key);
            yaml_event_delete(&value);
        } else if (err == HT_OK && !end) {
            err = set(r, name, text_of(&key), &key);
        }
        yaml_event_delete(&key);
        if (err != HT_OK || end) return err;
    }
}

/* If an option is given twice, one value would silently win. */
static enum ht_err only_once(struct reader *r, const char *name, const yaml_event_t *key)
{
    const char *copy = ht__arena_str(&r->job->arena, name);
    enum ht__map_put put = copy ? ht__map_put(&r->seen, copy, strlen(copy), 0) : HT__MAP_NO_MEMORY;
    if (put == HT__MAP_NO_MEMORY) return ht__fail_memory(r->diag, r->path);
    return put == HT__MAP_NEW ? HT_OK : fault(r, key, "this option was given before");
}

/* model: {model_name, tokenizer_name} */
static enum ht_err set_model_member(struct reader *r, const yaml_event_t *key)
{
    const char *name = text_of(key);
    if (strcmp(name, "model_name") != 0 && strcmp(name, "tokenizer_name") != 0)
        return fault(r, key, "expected model_name or tokenizer_name here");
    HT_TRY(only_once(r, ht__options_key(name), key));
    yaml_event_t value;
    enum ht_err err = next(r, &value);
    if (err == HT_OK && value.type != YAML_SCALAR_EVENT) err = fault(r, &value, "expected a plain value here");
    if (err == HT_OK) err = set(r, name, text_of(&value), &value);
    yaml_event_delete(&value);
    return err;
}

static enum ht_err set_model(struct reader *r)
{
    for (;;) {
        yaml_event_t key;
        enum ht_err err = next(r, &key);
        bool end = key.type == YAML_MAPPING_END_EVENT;
        if (err == HT_OK && !end)
            err = key.type == YAML_SCALAR_EVENT ? set_model_member(r, &key) : fault(r, &key, "expected a name here");
        yaml_event_delete(&key);
        if (err != HT_OK || end) return err;
    }
}

static enum ht_err set_member(struct reader *r, const yaml_event_t *key)
{
    if (key->type != YAML_SCALAR_EVENT) return fault(r, key, "expected the name of an option here");
    const char *name = strcmp(text_of(key), "model") == 0 ? "source" : ht__options_key(text_of(key));
    yaml_event_t value;
    HT_TRY(next(r, &value));
    bool of_model = strcmp(text_of(key), "model") == 0 && value.type == YAML_MAPPING_START_EVENT;
    enum ht_err err = of_model ? set_model(r) : only_once(r, name, key);
    if (of_model) {
        yaml_event_delete(&value);
        return err;
    }
    if (err == HT_OK) switch (value.type) {
        case YAML_SCALAR_EVENT: err = set(r, name, text_of(&value), &value); break;
        case YAML_SEQUENCE_START_EVENT: err = set_many(r, name, false); break;
        case YAML_MAPPING_START_EVENT: err = set_many(r, name, true); break;
        default: err = fault(r, &value, "expected a value here"); break;
        }
    yaml_event_delete(&value);
    return err;
}

static enum ht_err expect(struct reader *r, yaml_event_type_t type, const char *message)
{
    yaml_event_t event;
    enum ht_err err = next(r, &event);
    if (err == HT_OK && event.type != type) err = fault(r, &event, message);
    yaml_event_delete(&event);
    return err;
}

static enum ht_err document(struct reader *r)
{
    HT_TRY(expect(r, YAML_STREAM_START_EVENT, "not YAML"));
    HT_TRY(expect(r, YAML_DOCUMENT_START_EVENT, "the file is empty"));
    HT_TRY(expect(r, YAML_MAPPING_START_EVENT, "expected a mapping from option names to values"));
    for (;;) {
        yaml_event_t key;
        enum ht_err err = next(r, &key);
        bool end = key.type == YAML_MAPPING_END_EVENT;
        if (err == HT_OK && !end) err = set_member(r, &key);
        yaml_event_delete(&key);
        if (err != HT_OK) return err;
        if (end) break;
    }
    HT_TRY(expect(r, YAML_DOCUMENT_END_EVENT, "expected the end of the file after the mapping"));
    return expect(r, YAML_STREAM_END_EVENT, "expected one document, got several");
}

enum ht_err ht__options_load_yaml(struct ht_job *job, const char *path, struct ht_diag *diag)
{
    struct ht__buf text;
    ht__buf_init(&text, job->alloc);
    enum ht_err err = ht__file_load(path, LARGEST_FILE, &text, diag);
    struct reader r = {.job = job, .path = path, .diag = diag};
    ht__map_init(&r.seen, job->alloc);
    if (err == HT_OK && !yaml_parser_initialize(&r.parser)) err = ht__fail_memory(diag, path);
    if (err == HT_OK) {
        yaml_parser_set_input_string(&r.parser, text.data ? text.data : (const unsigned char *)"", text.len);
        err = document(&r);
        yaml_parser_delete(&r.parser);
    }
    ht__map_close(&r.seen);
    ht__buf_close(&text);
    return err;
}
