/* New jobs: all of a request's in one transaction, once for each idempotency key. */
#include "service/store/sql.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define KEY_LIFE_MS (24 * 3600 * 1000LL)

static const char *text_of(const json_t *request, const char *key)
{
    return json_string_value(json_object_get(request, key));
}

json_t *store_requested(const json_t *request)
{
    const json_t *requested = json_object_get(request, "requested"), *type;
    size_t i;
    if (json_is_array(requested)) return json_deep_copy(requested);
    json_t *list = json_array();
    json_array_foreach(json_object_get(request, "gguf_quant_types"), i, type)
        json_array_append_new(
            list, json_pack("{s:s, s:O, s:{}, s:O}", "format", "gguf", "type", type, "options", "quant_type", type));
    return list;
}

/* "m-gptq:bits=3,group=64" is called m-gptq-bits3-group64. */
static void tidy(char *name)
{
    char *to = name;
    for (const char *p = name; *p; p++)
        if (*p != '=') *to++ = (char)(*p == ':' || *p == ',' ? '-' : *p);
    *to = '\0';
}

/* Names begin with the source's last part. The estimate finds the real one later. */
static void provisional_name(const json_t *request, const json_t *output, char *name, size_t size)
{
    const char *format = text_of(output, "format");
    bool gguf = strcmp(format, "gguf") == 0, usual = gguf || strcmp(format, "safetensors") == 0;
    const char *source = text_of(request, "source_model"), *end = source + strlen(source);
    while (end > source && end[-1] == '/')
        end--;
    const char *start = end;
    while (start > source && start[-1] != '/')
        start--;
    const char *type = text_of(output, "quant_type"), *slash = strchr(type, '/');
    snprintf(name, size, "%.*s-%.80s%s%.20s%s", (int)(end - start > 150 ? 150 : end - start), start,
             slash ? slash + 1 : type, usual ? "" : "-", usual ? "" : format, gguf ? ".gguf" : "");
    tidy(name);
}

static enum store_result add_outputs(struct store *s, const char *id, const json_t *request)
{
    json_t *requested = store_requested(request), *o;
    enum store_result result = requested ? STORE_OK : store__failed(s, STORE_FAILED, "out of memory");
    char output[STORE_ID_SIZE], name[256];
    size_t i;
    json_array_foreach(requested, i, o) {
        if (result != STORE_OK || !text_of(o, "format") || !text_of(o, "type") || !text_of(o, "quant_type")) continue;
        store__new_id(s, output);
        provisional_name(request, o, name, sizeof name);
        result = store__run(s, &s->writer, NULL,
                            "INSERT INTO outputs(id, job_id, position, name, format, quant_type, status)"
                            " VALUES(?1, ?2, ?3, ?4, ?5, ?6, 'pending')",
                            "ssisss", output, id, (int64_t)i, name, text_of(o, "format"), text_of(o, "quant_type"));
    }
    json_decref(requested);
    return result;
}

static double number_or(const json_t *request, const char *key)
{
    const json_t *value = json_object_get(request, key);
    return json_is_number(value) ? json_number_value(value) : -1;
}

static char *dump_or(const json_t *request, const char *key, const char *otherwise)
{
    const json_t *value = json_object_get(request, key);
    return json_is_object(value) || json_is_array(value) ? store__dump(value) : strdup(otherwise);
}

/* An upload may have been deleted since the request was looked through; within the transaction none is. */
static bool is_missing(const json_t *request)
{
    const char *kind = text_of(request, "source_type"), *path = text_of(request, "source_path");
    return kind && path && strcmp(kind, "upload") == 0 && access(path, F_OK) != 0;
}

static enum store_result count_waiting(struct store *s, int64_t *n)
{
    struct statement *row;
    enum store_result result =
        store__first(s, &s->writer, &row, "SELECT count(*) FROM jobs WHERE status = 'queued'", "");
    if (result != STORE_OK) return result;
    *n = sql_int64(row, 0);
    sql_reset(row);
    return STORE_OK;
}

static enum store_result add_job(struct store *s, const char *id, const json_t *request, const char *token_id)
{
    char *formats = dump_or(request, "output_formats", "[\"gguf\"]"),
         *types = dump_or(request, "gguf_quant_types", "[]");
    char *config = dump_or(request, "config", "{}"), *options = dump_or(request, "options", "{}");
    char *requested = store__dump(json_object_get(request, "requested"));
    const char *name = text_of(request, "name"), *source = text_of(request, "source_model");
    const char *kind = text_of(request, "source_type");
    enum store_result result = store__run(
        s, &s->writer, NULL,
        "INSERT INTO jobs(id, name, description, source_model, source_type, source_revision, source_path,"
        " output_formats, gguf_quant_types, config, options, command, status, priority, estimated_disk_gb,"
        " estimated_time_minutes, created_at, token_id, requested) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10,"
        " ?11, ?12, 'queued', ?13, ?14, ?15, ?16, ?17, ?18)",
        "ssssssssssssiDDiss", id, name ? name : source, text_of(request, "description"), source, kind ? kind : "local",
        text_of(request, "source_revision"), text_of(request, "source_path"), formats, types, config, options,
        text_of(request, "command"), (int64_t)json_integer_value(json_object_get(request, "priority")),
        number_or(request, "estimated_disk_gb"), number_or(request, "estimated_time_minutes"), store__wall(), token_id,
        requested);
    free(requested);
    free(formats);
    free(types);
    free(config);
    free(options);
    if (result == STORE_CONFLICT) return store__failed(s, STORE_FAILED, "a job without a source, or no memory");
    return result == STORE_OK ? add_outputs(s, id, request) : result;
}

/* OK: replayed, ids filled. NOT_FOUND: the key is new. */
static enum store_result replay(struct store *s, const char *token_id, const char *key, const char *body, size_t n,
                                char (*ids)[STORE_ID_SIZE])
{
    struct statement *row;
    enum store_result result = store__run(s, &s->writer, NULL, "DELETE FROM submissions WHERE created_at < ?1", "i",
                                          store__wall() - KEY_LIFE_MS);
    if (result == STORE_OK)
        result = store__first(s, &s->writer, &row,
                              "SELECT body_sha256, ids FROM submissions WHERE token_id = ?1 AND key = ?2", "ss",
                              token_id, key);
    if (result != STORE_OK) return result;
    json_t *first = store__json_parsed(row, 1);
    if (strcmp(store__text(row, 0), body) != 0 || json_array_size(first) != n) result = STORE_CONFLICT;
    for (size_t i = 0; i < n && result == STORE_OK; i++) {
        const char *id = json_string_value(json_array_get(first, i));
        snprintf(ids[i], STORE_ID_SIZE, "%s", id ? id : "");
        /* without memory the JSON library drops characters in silence */
        if (strlen(ids[i]) != STORE_ID_SIZE - 1) result = store__failed(s, STORE_FAILED, "out of memory");
    }
    json_decref(first);
    sql_reset(row);
    return result;
}

static enum store_result remember(struct store *s, const char *token_id, const char *key, const char *body, size_t n,
                                  char (*ids)[STORE_ID_SIZE])
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, json_string(ids[i]));
    char *text = json_array_size(list) == n ? store__dump(list) : NULL;
    json_decref(list);
    if (!text) return store__failed(s, STORE_FAILED, "out of memory");
    enum store_result result =
        store__run(s, &s->writer, NULL,
                   "INSERT INTO submissions(token_id, key, body_sha256, ids, created_at) VALUES(?1, ?2, ?3, ?4,"
                   " ?5)",
                   "ssssi", token_id, key, body, text, store__wall());
    free(text);
    return result;
}

enum store_result store_submit(struct store *s, const json_t *const *requests, size_t n, const char *token_id,
                               const char *key, const char *body, int64_t max_queued, char (*ids)[STORE_ID_SIZE],
                               bool *replayed)
{
    const char *owner = token_id ? token_id : "";
    *replayed = false;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    if (key) {
        result = replay(s, owner, key, body, n, ids);
        *replayed = result == STORE_OK;
        if (result != STORE_NOT_FOUND) return store__end(s, result);
    }
    int64_t waiting = 0;
    result = max_queued > 0 ? count_waiting(s, &waiting) : STORE_OK;
    if (result == STORE_OK && max_queued > 0 && waiting + (int64_t)n > max_queued) result = STORE_CROWDED;
    for (size_t i = 0; i < n && result == STORE_OK; i++) {
        if (is_missing(requests[i])) {
            result = STORE_NOT_FOUND;
            break;
        }
        store__new_id(s, ids[i]);
        result = add_job(s, ids[i], requests[i], token_id);
    }
    if (result == STORE_OK && key) result = remember(s, owner, key, body, n, ids);
    return store__end(s, result);
}
