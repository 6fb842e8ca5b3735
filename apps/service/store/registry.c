/* What was published: models (by source) and their variants (files). */
#include "service/artifacts/artifacts.h"
#include "service/artifacts/dir.h"
#include "service/store/sql.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static double number_of(const json_t *o, const char *key)
{
    const json_t *value = json_object_get(o, key);
    return json_is_number(value) ? json_number_value(value) : -1;
}

/* The job's source as a model; made when it is new. */
static enum store_result model_of(struct store *s, const char *job, const json_t *published, char id[STORE_ID_SIZE])
{
    struct statement *row;
    char made[STORE_ID_SIZE];
    const char *name = text_of(published, "name");
    const json_t *parameters = json_object_get(published, "parameters");
    store__new_id(s, made);
    enum store_result result = store__first(
        s, &s->writer, &row,
        "INSERT INTO models(id, name, source_model, source_type, source_revision, architecture, parameters,"
        " created_at, updated_at) SELECT ?2, coalesce(?3, source_model), source_model, source_type,"
        " source_revision, ?4, ?5, ?6, ?6 FROM jobs WHERE id = ?1 ON CONFLICT(source_type, source_model) DO"
        " UPDATE SET updated_at = excluded.updated_at, source_revision = excluded.source_revision, architecture"
        " = excluded.architecture, parameters = excluded.parameters RETURNING id",
        "ssssii", job, made, name, text_of(published, "architecture"), (int64_t)json_integer_value(parameters),
        store__wall());
    if (result != STORE_OK) return result;
    snprintf(id, STORE_ID_SIZE, "%s", store__text(row, 0));
    while ((result = store__next(s, &s->writer, row)) == STORE_OK)
        ;
    return result == STORE_NOT_FOUND ? STORE_OK : result;
}

/* Quality as `quantize --measure` reports it. */
struct measured {
    double perplexity, kld, top1;
};

static struct measured measured_of(const json_t *quality)
{
    return (struct measured){number_of(quality, "perplexity"), number_of(json_object_get(quality, "kld"), "mean"),
                             number_of(quality, "top1_agreement")};
}

/* A row that the estimate could not leave, because the disk was full just then, is made now. */
static enum store_result add_output(struct store *s, const char *job, int64_t position, const json_t *o)
{
    char id[STORE_ID_SIZE];
    store__new_id(s, id);
    return store__run(s, &s->writer, NULL,
                      "INSERT INTO outputs(id, job_id, position, name, format, quant_type, status)"
                      " SELECT ?1, ?2, ?3, ?4, ?5, ?6, 'pending' WHERE NOT EXISTS(SELECT 1 FROM outputs"
                      " WHERE job_id = ?2 AND name = ?4)",
                      "ssisss", id, job, position, text_of(o, "name"), text_of(o, "format"), text_of(o, "quant_type"));
}

static enum store_result set_output(struct store *s, const char *job, const char *path, const json_t *o)
{
    struct measured m = measured_of(json_object_get(o, "quality"));
    return store__run(s, &s->writer, NULL,
                      "UPDATE outputs SET file_size = ?3, bits_per_weight = ?4, perplexity = ?5, kld = ?6,"
                      " top1_agreement = ?7, relative_rmse = ?8, sha256 = ?9, path = ?10, status = 'completed',"
                      " error = NULL WHERE job_id = ?1 AND name = ?2",
                      "ssiDDDDDss", job, text_of(o, "name"),
                      (int64_t)json_integer_value(json_object_get(o, "file_size")), number_of(o, "bits_per_weight"),
                      m.perplexity, m.kld, m.top1, number_of(o, "relative_rmse"), text_of(o, "sha256"), path);
}

static enum store_result add_files(struct store *s, const char *variant, const json_t *files)
{
    const json_t *file;
    size_t i;
    enum store_result result = STORE_OK;
    json_array_foreach(files, i, file) {
        if (result != STORE_OK) break;
        result = store__run(s, &s->writer, NULL,
                            "INSERT INTO files(variant_id, position, name, size, sha256) VALUES(?1, ?2, ?3, ?4, ?5)",
                            "sisis", variant, (int64_t)i, text_of(file, "name"),
                            (int64_t)json_integer_value(json_object_get(file, "size")), text_of(file, "sha256"));
    }
    return result;
}

static enum store_result add_variant(struct store *s, const char *model, const char *job, const char *path,
                                     const json_t *o)
{
    char id[STORE_ID_SIZE];
    struct measured m = measured_of(json_object_get(o, "quality"));
    char *quality = store__dump(json_object_get(o, "quality"));
    store__new_id(s, id);
    enum store_result result = store__run(
        s, &s->writer, NULL,
        "INSERT INTO variants(id, model_id, job_id, name, format, quant_type, file_size, bits_per_weight,"
        " perplexity, kld, top1_agreement, relative_rmse, sha256, quality, path, created_at, importance, run_memory,"
        " job_name) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, (SELECT"
        " run_memory FROM outputs WHERE job_id = ?3 AND name = ?4), (SELECT name FROM jobs WHERE id = ?3))",
        "ssssssiDDDDDsssis", id, model, job, text_of(o, "name"), text_of(o, "format"), text_of(o, "quant_type"),
        (int64_t)json_integer_value(json_object_get(o, "file_size")), number_of(o, "bits_per_weight"), m.perplexity,
        m.kld, m.top1, number_of(o, "relative_rmse"), text_of(o, "sha256"), quality, path, store__wall(),
        text_of(o, "importance"));
    free(quality);
    return result == STORE_OK ? add_files(s, id, json_object_get(o, "files")) : result;
}

enum store_result store__register(struct store *s, const char *job, const char *folder, const json_t *published)
{
    char model[STORE_ID_SIZE], path[1024];
    const json_t *o;
    size_t i;
    enum store_result result = model_of(s, job, published, model);
    if (result == STORE_OK)
        result = store__run(s, &s->writer, NULL, "DELETE FROM variants WHERE job_id = ?1", "s", job);
    json_array_foreach(json_object_get(published, "outputs"), i, o) {
        if (result != STORE_OK) break;
        snprintf(path, sizeof path, "%s/%s", folder, text_of(o, "name"));
        result = add_output(s, job, (int64_t)i, o);
        if (result == STORE_OK) result = set_output(s, job, path, o);
        if (result == STORE_OK) result = add_variant(s, model, job, path, o);
    }
    if (result == STORE_OK)
        result = store__run(s, &s->writer, NULL, "DELETE FROM outputs WHERE job_id = ?1 AND status <> 'completed'", "s",
                            job);
    return result == STORE_CONFLICT ? store__failed(s, STORE_FAILED, "the report lacks what the registry needs")
                                    : result;
}

static json_t *variant_row(struct store *s, struct connection *c, struct statement *row)
{
    json_t *v = json_object();
    static const char *const names[] = {
        "id",         "job_id", "name",           "format",        "quant_type", "file_size", "bits_per_weight",
        "perplexity", "kld",    "top1_agreement", "relative_rmse", "sha256"};
    for (int i = 0; v && i < 12; i++)
        json_object_set_new(v, names[i], i >= 5 && i <= 10 ? store__json_number(row, i) : store__json_text(row, i));
    if (!v) return NULL;
    json_object_set_new(v, "quality", store__json_parsed(row, 12));
    json_object_set_new(v, "run_memory", store__json_parsed(row, 13));
    json_object_set_new(v, "created_at", store__json_time(row, 14));
    json_object_set_new(v, "job_name", store__json_text(row, 15));
    json_object_set_new(v, "importance", store__json_text(row, 16));
    json_t *url = store__url("quantize/jobs", store__text(row, 1), "outputs", store__text(row, 2));
    json_object_set_new(v, "files",
                        *store__text(row, 11) ? json_null()
                                              : store__files(s, c, store__text(row, 17), json_string_value(url)));
    json_object_set_new(v, "url", url);
    return v;
}

static json_t *variants_of(struct store *s, struct connection *c, const char *model)
{
    struct statement *row;
    json_t *list = json_array();
    enum store_result result = store__first(
        s, c, &row,
        "SELECT id, job_id, name, format, quant_type, file_size, bits_per_weight, perplexity, kld,"
        " top1_agreement, relative_rmse, sha256, quality, run_memory, created_at, job_name, importance, path FROM"
        " variants WHERE model_id = ?1 ORDER BY file_size, id",
        "s", model);
    for (; result == STORE_OK && list; result = store__next(s, c, row))
        json_array_append_new(list, variant_row(s, c, row));
    if (result == STORE_NOT_FOUND) return list;
    json_decref(list);
    return NULL;
}

static json_t *tags_of(struct store *s, struct connection *c, const char *model)
{
    struct statement *row;
    json_t *list = json_array();
    enum store_result result =
        store__first(s, c, &row, "SELECT tag FROM tags WHERE model_id = ?1 ORDER BY tag", "s", model);
    for (; result == STORE_OK && list; result = store__next(s, c, row))
        json_array_append_new(list, store__json_text(row, 0));
    return list;
}

#define MODEL_COLUMNS                                                                                                  \
    "SELECT id, name, source_model, source_type, source_revision, architecture, parameters, created_at, updated_at"

static json_t *model_row(struct store *s, struct connection *c, struct statement *row)
{
    json_t *tags = tags_of(s, c, store__text(row, 0)), *variants = variants_of(s, c, store__text(row, 0));
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "id", store__json_text(row, 0), "name",
                     store__json_text(row, 1), "source_model", store__json_text(row, 2), "source_type",
                     store__json_text(row, 3), "source_revision", store__json_text(row, 4), "architecture",
                     store__json_text(row, 5), "parameters", store__json_number(row, 6), "created_at",
                     store__json_time(row, 7), "updated_at", store__json_time(row, 8), "tags", tags, "variants",
                     variants);
}

struct filter {
    char *like;
    const char *tag;
};

static void bind_filter(void *ctx, struct statement *statement)
{
    const struct filter *f = ctx;
    store__bind(statement, "ss", f->like, f->tag);
}

json_t *store_models(struct store *s, const struct model_filter *filter, enum store_result *result)
{
    static const struct list_column columns[] = {
        {"created", "created_at"}, {"name", "name COLLATE NOCASE"}, {"updated", "updated_at"}, {NULL, NULL}};
    struct filter f = {.tag = filter->tag};
    *result = STORE_FAILED;
    if (filter->search && !(f.like = store__like(filter->search))) return NULL;
    struct list_query q = {.key = "models",
                           .columns_sql = MODEL_COLUMNS,
                           .table = "models",
                           .count_sql = "SELECT count(*) FROM models",
                           .n_bound = 2,
                           .where = "(?1 IS NULL OR name LIKE ?1 ESCAPE '\\' OR source_model LIKE ?1 ESCAPE '\\') AND"
                                    " (?2 IS NULL OR EXISTS(SELECT 1 FROM tags WHERE model_id = models.id AND"
                                    " tag = ?2))",
                           .bind = bind_filter,
                           .ctx = &f,
                           .row = model_row,
                           .columns = columns,
                           .sort = filter->sort ? filter->sort : "-updated",
                           .cursor = filter->cursor,
                           .limit = filter->limit,
                           .offset = filter->offset};
    json_t *list = store__list(s, &q, result);
    free(f.like);
    return list;
}

json_t *store_model(struct store *s, const char *id)
{
    struct connection *c = store__read(s);
    struct statement *row;
    json_t *model = NULL;
    if (!c) return NULL;
    if (store__first(s, c, &row, MODEL_COLUMNS " FROM models WHERE id = ?1", "s", id) == STORE_OK) {
        model = model_row(s, c, row);
        sql_reset(row);
    }
    store__read_end(s, c);
    return model;
}

/* Raises updated_at; NOT_FOUND: no such model. */
static enum store_result touch(struct store *s, const char *id, const char *name)
{
    int changed = 0;
    enum store_result result = store__run(s, &s->writer, &changed,
                                          "UPDATE models SET updated_at = ?2, name = coalesce(?3, name) WHERE id = ?1",
                                          "sis", id, store__wall(), name);
    return result == STORE_OK && !changed ? STORE_NOT_FOUND : result;
}

enum store_result store_model_set_tags(struct store *s, const char *id, const json_t *tags)
{
    const json_t *tag;
    size_t i;
    enum store_result result = store__begin(s);
    if (result != STORE_OK) return result;
    result = touch(s, id, NULL);
    if (result == STORE_OK) result = store__run(s, &s->writer, NULL, "DELETE FROM tags WHERE model_id = ?1", "s", id);
    json_array_foreach(tags, i, tag)
        if (result == STORE_OK)
            result =
                store__run(s, &s->writer, NULL, "INSERT INTO tags(model_id, tag) VALUES(?1, ?2) ON CONFLICT DO NOTHING",
                           "ss", id, json_string_value(tag));
    return store__end(s, result);
}

enum store_result store_model_rename(struct store *s, const char *id, const char *name)
{
    enum store_result result = store__begin(s);
    return result == STORE_OK ? store__end(s, touch(s, id, name)) : result;
}

/* Inside a transaction: the variants' rows go, their jobs' outputs say so. *paths: what lies on the disk. */
static enum store_result forget(struct store *s, const char *model, const char *variant, json_t *paths)
{
    struct statement *row;
    int changed = 0;
    enum store_result result =
        store__first(s, &s->writer, &row, "SELECT path FROM variants WHERE model_id = ?1 AND (?2 IS NULL OR id = ?2)",
                     "ss", model, variant);
    for (; result == STORE_OK; result = store__next(s, &s->writer, row))
        json_array_append_new(paths, store__json_text(row, 0));
    if (result != STORE_NOT_FOUND) return result;
    result = store__run(s, &s->writer, NULL,
                        "UPDATE outputs SET status = 'deleted', path = NULL WHERE path IN (SELECT path FROM"
                        " variants WHERE model_id = ?1 AND (?2 IS NULL OR id = ?2))",
                        "ss", model, variant);
    if (result == STORE_OK)
        result =
            store__run(s, &s->writer, &changed, "DELETE FROM variants WHERE model_id = ?1 AND (?2 IS NULL OR id = ?2)",
                       "ss", model, variant);
    return result == STORE_OK && variant && !changed ? STORE_NOT_FOUND : result;
}

void store_set_artifacts(struct store *s, struct artifacts *artifacts)
{
    s->artifacts = artifacts;
}

struct artifacts *store_artifacts(const struct store *s)
{
    return s->artifacts;
}

const char *store_far_name(const struct store *s, const char *path)
{
    size_t n = strlen(s->folder);
    bool far =
        artifacts_are_far(s->artifacts) && strncmp(path, s->folder, n) == 0 && strncmp(path + n, "/objects/", 9) == 0;
    return far ? path + n + 1 : NULL;
}

/* After the commit: a crash in between leaves files that nothing names, never a row without its file.
 * A folder that is empty but for what describes the run goes with its last file. */
static void remove_files(struct store *s, const json_t *paths)
{
    const json_t *item;
    size_t i;
    char path[4200], *slash;
    json_array_foreach(paths, i, item) {
        snprintf(path, sizeof path, "%s/%s", s->folder, json_string_value(item));
        bool far = store_far_name(s, path) != NULL;
        if (far) artifacts_remove_later(s->artifacts, json_string_value(item));
        if (unlink(path) != 0) dir_remove(path);
        slash = strrchr(path, '/');
        *slash = '\0';
        if (!far)
            dir_remove_if_bare(path);
        else if (!store_folder_used(s, path + strlen(s->folder) + 1)) /* here lie copies alone */
            dir_remove(path);
    }
}

static enum store_result delete (struct store *s, const char *id, const char *variant) {
    json_t *paths = json_array(); enum store_result result = store__begin(s); if (result == STORE_OK){
        result = touch(s, id, NULL); if (result == STORE_OK) result = forget(s, id, variant, paths);
        if (result == STORE_OK)
            result = store__run(s, &s->writer, NULL,
                                "DELETE FROM models WHERE id = ?1 AND NOT EXISTS(SELECT 1 FROM variants WHERE"
                                " model_id = ?1)",
                                "s", id);
        result = store__end(s, result);}
if (result == STORE_OK) remove_files(s, paths);
json_decref(paths);
return result;
}

static enum store_result delete_surely(struct store *s, const char *model, const char *variant)
{
    enum store_result result = delete (s, model, variant);
    return result == STORE_FULL && store__use_reserve(s) ? delete (s, model, variant) : result;
}

enum store_result store_model_delete(struct store *s, const char *id)
{
    return delete_surely(s, id, NULL);
}

enum store_result store_variant_delete(struct store *s, const char *model, const char *variant)
{
    return delete_surely(s, model, variant);
}

enum store_result store_variant_file(struct store *s, const char *model, const char *variant, struct store_file *file)
{
    struct connection *c = store__read(s);
    struct statement *row;
    if (!c) return STORE_FAILED;
    enum store_result result = store__first(
        s, c, &row,
        "SELECT path, name, file_size, sha256, id, created_at FROM variants WHERE model_id = ?1 AND (id = ?2 OR"
        " name = ?2)",
        "ss", model, variant);
    if (result == STORE_OK) result = store__file(s, row, file);
    store__read_end(s, c);
    return result;
}
