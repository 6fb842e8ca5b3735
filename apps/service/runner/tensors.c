/* Tensor by tensor: what a job's plan says while it runs, and its report once it is published. */
#include "service/artifacts/dir.h"
#include "service/runner/run.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* 200,000 tensors in several types; a report is not made by us, but by who read a stranger's model. */
#define REPORT_MAX_BYTES (256 << 20)

json_t *run__load(const char *path)
{
    struct stat st;
    json_t *value = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return NULL;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size <= REPORT_MAX_BYTES)
        value = json_loadfd(fd, JSON_REJECT_DUPLICATES, NULL);
    close(fd);
    return value;
}

void run__keep_plan(const struct run *run, const json_t *estimate)
{
    char path[4200];
    snprintf(path, sizeof path, "%s/plan.json", run->work);
    unlink(path); /* of an earlier attempt; and whatever lies there, nothing is followed */
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return;
    bool kept = json_dumpfd(estimate, fd, JSON_COMPACT) == 0;
    if (close(fd) != 0 || !kept) unlink(path); /* only the page is poorer for it */
}

/* The report lies beside the files that were published. */
static json_t *published_report(struct store *store, const char *id)
{
    struct store_file file;
    json_t *outputs = store_outputs(store, id), *output, *report = NULL;
    size_t i;
    json_array_foreach(outputs, i, output) {
        const char *name = json_string_value(json_object_get(output, "id"));
        char *slash, path[sizeof file.path + 16];
        if (report || !name || store_output_file(store, id, name, &file) != STORE_OK) continue;
        slash = strrchr(file.path, '/');
        if (slash) *slash = 0;
        snprintf(path, sizeof path, "%s/report.json", file.path);
        report = run__load(path);
    }
    json_decref(outputs);
    return report;
}

static json_t *shape_of(const json_t *tensor, double *weights)
{
    json_t *shape = json_array(), *whole = json_object_get(tensor, "shape"), *size;
    size_t n = json_array_size(whole), i;
    while (n > 1 && json_integer_value(json_array_get(whole, n - 1)) == 1)
        n--;
    *weights = 1;
    json_array_foreach(whole, i, size) {
        *weights *= json_number_value(size);
        if (i < n) json_array_append(shape, size);
    }
    return shape;
}

/* The row of a tensor in list, made when it is new; rows finds them by name. Borrowed. */
static json_t *row_for(json_t *list, json_t *rows, const json_t *tensor)
{
    const char *name = json_string_value(json_object_get(tensor, "name"));
    json_t *row = name ? json_object_get(rows, name) : NULL;
    double weights;
    if (row || !name) return row;
    json_t *shape = shape_of(tensor, &weights);
    row = json_pack("{s:s, s:o, s:f, s:O?, s:{}}", "name", name, "shape", shape, "weights", weights, "source_type",
                    json_object_get(tensor, "source_type"), "outputs");
    if (!row || json_object_set_new(rows, name, row) != 0 || json_array_append(list, row) != 0) return NULL;
    return row;
}

static json_t *list_of(const json_t *report)
{
    json_t *list = json_array(), *rows = json_object(), *output, *tensor;
    size_t i, j;
    json_array_foreach(json_object_get(report, "outputs"), i, output) {
        json_t *quant_type = run__quant_type(output);
        const char *type = json_string_value(quant_type);
        json_array_foreach(json_object_get(output, "tensors"), j, tensor) {
            json_t *row = type ? row_for(list, rows, tensor) : NULL;
            if (row)
                json_object_set_new(json_object_get(row, "outputs"), type,
                                    json_pack("{s:O?, s:O?, s:O?, s:O?}", "type", json_object_get(tensor, "type"),
                                              "bytes", json_object_get(tensor, "bytes"), "relative_rmse",
                                              json_object_get(tensor, "relative_rmse"), "method",
                                              json_object_get(tensor, "method")));
        }
        json_decref(quant_type);
    }
    json_decref(rows);
    return list;
}

/* What a budget chose, without where its recipe lies. NULL: there was none. */
static json_t *budget_of(const json_t *report)
{
    json_t *budget = json_object_get(report, "budget");
    if (!json_is_object(budget)) return NULL;
    budget = json_deep_copy(budget);
    json_object_del(budget, "recipe");
    return budget;
}

json_t *scheduler_tensors(struct scheduler *scheduler, const char *id)
{
    char path[4300];
    json_t *job = store_job_brief(scheduler->store, id);
    if (!job) return NULL;
    json_decref(job);
    snprintf(path, sizeof path, "%s/jobs/%s/plan.json", store_folder(scheduler->store), id);
    json_t *report = run__load(path);
    if (!report) report = published_report(scheduler->store, id);
    json_t *list = list_of(report), *budget = budget_of(report);
    json_decref(report);
    return json_pack("{s:o, s:o?}", "tensors", list, "budget", budget);
}
