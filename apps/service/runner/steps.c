/* The children of a job: pull, estimate, quantize. */
#include "service/runner/command.h"
#include "service/artifacts/dir.h"
#include "service/child/lend.h"
#include "service/runner/run.h"
#include "service/system/steady.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { LOG_LINES_MAX = 400, LINE_MAX_BYTES = 64 << 20, OUTPUT_MAX_BYTES = 256 << 20, NICE = 10 };

static const char *text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static bool is_hub(const struct run *run)
{
    const char *type = text_of(run->request, "source_type");
    return type && strcmp(type, "huggingface") == 0;
}

/* From range requests, without a copy on the disk: another child then lends what is on the hub. */
static bool is_streamed(const struct run *run)
{
    return is_hub(run) && json_is_true(json_object_get(json_object_get(run->request, "options"), "no-cache"));
}

/* What a child says of itself that goes wrong. */
static void note_failure(struct run *run, const json_t *event)
{
    const char *where = text_of(event, "where"), *message = text_of(event, "message"), *code = text_of(event, "code");
    snprintf(run->failure, sizeof run->failure, "%s%s%s", where ? where : "", where && *where ? ": " : "",
             message ? message : "");
    snprintf(run->failure_code, sizeof run->failure_code, "%s", code ? code : "");
}

static bool on_line(void *ctx, json_t *value, const char *text)
{
    struct run *run = ctx;
    const char *event = text_of(value, "event");
    if (!value && *text) run__log(run, "info", text);
    if (event && strcmp(event, "progress") == 0) run__progress(run, value);
    if (event && strcmp(event, "error") == 0) note_failure(run, value);
    return true;
}

static void on_error(void *ctx, const char *text)
{
    struct run *run = ctx;
    run->lines_logged++;
    if (run->lines_logged < LOG_LINES_MAX) run__log(run, strncmp(text, "warning", 7) == 0 ? "warning" : "info", text);
    if (run->lines_logged == LOG_LINES_MAX) run__log(run, "warning", "there are more lines, which are left out");
}

/* Common to all: no secrets unless the hub is asked, a bound on everything. */
static struct child_settings settings_for(const struct run *run, char **arguments, bool hub)
{
    const struct scheduler *s = run->scheduler;
    return (struct child_settings){.program = s->program,
                                   .arguments = (const char *const *)arguments,
                                   .environment = hub ? (const char *const *)s->hub_environment : NULL,
                                   .max_line = LINE_MAX_BYTES,
                                   .max_output = OUTPUT_MAX_BYTES,
                                   .memory_limit = s->settings.memory_limit,
                                   .nice = NICE,
                                   .network = hub,
                                   .keep_fd = run->lock};
}

/* ORG/NAME[@REVISION][:FILE]: the revision goes in unless there is one. */
static void name_with_revision(const char *model, const char *revision, char *name, size_t size)
{
    size_t end = strcspn(model, ":");
    bool add = revision && !memchr(model, '@', end);
    snprintf(name, size, "%.*s%s%s%s", (int)end, model, add ? "@" : "", add ? revision : "", model + end);
}

static void confine_model(const struct run *run, struct child_settings *settings, struct confined *confined)
{
    const struct scheduler *s = run->scheduler;
    confine_child(settings, confined, roots_held(s->settings.roots), s->folder, run->request);
}

/* What other attempts left, as confine_add takes it. The caller's; NULL: no memory. */
static const char **left_by_others(const struct run *run)
{
    const char **list = calloc(run->n_earlier + 2, sizeof *list);
    for (size_t i = 0; list && i < run->n_earlier; i++)
        list[i + 1] = run->earlier[i];
    return list;
}

/* The child that parses the model. What stays on the hub is lent to it: it has no network itself. */
static bool run_confined(struct run *run, struct child_settings *settings, child_line_fn line, child_error_fn error,
                         void *ctx, struct child_exit *exit)
{
    char name[1200];
    struct confined confined;
    const struct lend_settings lend = {.program = settings->program,
                                       .hub_environment = (const char *const *)run->scheduler->hub_environment,
                                       .model = name,
                                       .keep_fd = run->lock};
    confine_model(run, settings, &confined);
    const char **others = left_by_others(run);
    if (others) confine_add(settings, &confined, others); /* otherwise less is found finished, and the log says so */
    name_with_revision(text_of(run->request, "source_model"), text_of(run->request, "source_revision"), name,
                       sizeof name);
    bool done = is_streamed(run) ? lend_run(&lend, settings, &confined, &run->stop, line, error, ctx, exit)
                                 : child_run(settings, &run->stop, line, error, ctx, exit);
    free(others);
    return done;
}

/* The request without options that are the runner's own. */
static json_t *without_own(const json_t *request, bool part)
{
    static const char *const of_the_whole[] = {"measure", "fail-if", "retention", "choices", "text"};
    static const char *const own[] = {"output",  "report", "resume",       "overwrite", "html",
                                      "config",  "type",   "json",         "quiet",     "layer-cache",
                                      "dry-run", "part",   "collect-part", "take-from"};
    json_t *copy = json_deep_copy(request), *options = json_object_get(copy, "options");
    for (size_t i = 0; i < sizeof own / sizeof *own; i++)
        json_object_del(options, own[i]);
    for (size_t i = 0; i < sizeof of_the_whole / sizeof *of_the_whole && part; i++)
        json_object_del(options, of_the_whole[i]);
    return copy;
}

static char **arguments_for(struct run *run, const char *verb, const char *const *extra)
{
    const char *path = is_streamed(run) ? NULL : text_of(run->request, "source_path");
    char threads[32], name[1200];
    size_t n = 0;
    while (extra[n])
        n++;
    const char **words = calloc(n + 2, sizeof *words);
    if (!words) {
        run__fail(run, "out of memory", NULL);
        return NULL;
    }
    memcpy(words, extra, n * sizeof *words);
    json_t *request = without_own(run->request, run->claim.parts > 0), *options = command_options(request);
    snprintf(threads, sizeof threads, "--threads=%d", run->scheduler->settings.threads);
    if (run->scheduler->settings.threads > 0 && !json_object_get(options, "threads")) words[n++] = threads;
    words[n] = NULL;
    name_with_revision(text_of(run->request, "source_model"),
                       is_hub(run) ? text_of(run->request, "source_revision") : NULL, name, sizeof name);
    char **arguments = command_arguments(verb, request, path ? path : name, words);
    json_decref(options);
    json_decref(request);
    free(words);
    if (!arguments) run__fail(run, "out of memory", NULL);
    return arguments;
}

/* ORG/NAME@commit is pinned by where the hub's files were put: …/snapshots/COMMIT. */
static void keep_source(struct run *run, const json_t *answer)
{
    const char *path = text_of(answer, "path"), *commit = text_of(answer, "commit");
    const char *at = strstr(path, "/snapshots/");
    char revision[64] = "";
    if (!commit && at) snprintf(revision, sizeof revision, "%.40s", at + 11);
    struct store_update update = {.progress = -1,
                                  .estimated_disk_gb = -1,
                                  .estimated_time_minutes = -1,
                                  .source_path = path,
                                  .source_revision = commit      ? commit
                                                     : *revision ? revision
                                                                 : NULL};
    run__update(run, &update);
    json_object_set_new(run->request, "source_path", json_string(path));
}

struct pull {
    struct run *run;
    json_t *answer;
};

static bool on_pull_line(void *ctx, json_t *value, const char *text)
{
    struct pull *p = ctx;
    if (value && text_of(value, "path") && !text_of(value, "event")) {
        json_decref(p->answer);
        p->answer = json_incref(value);
    }
    return on_line(p->run, value, text);
}

static void on_pull_error(void *ctx, const char *text)
{
    on_error(((struct pull *)ctx)->run, text);
}

static void on_fetch_begin(void *ctx)
{
    run__step(ctx, "downloading", "download", "fetching the model from the server");
}

static void on_fetched(void *ctx, const char *file, uint64_t done, uint64_t total)
{
    struct run *run = ctx;
    double seconds = steady_seconds() - run->fetch_began;
    json_t *event = json_pack("{s:s, s:s, s:s, s:I, s:I, s:f, s:f, s:f}", "step", "download", "tensor", file, "unit",
                              "bytes", "done", (json_int_t)done, "total", (json_int_t)total, "seconds", seconds, "rate",
                              seconds > 0 ? (double)done / seconds : 0, "seconds_left",
                              done ? seconds * ((double)total / (double)done - 1) : 0);
    if (event) run__progress(run, event);
    json_decref(event);
}

static bool may_go_on(void *ctx)
{
    return run__may_go_on(ctx);
}

/* A model that lies with the server, where that is another machine. */
static bool fetch(struct run *run)
{
    struct worker_link *link = run->scheduler->link;
    char why[600] = "";
    struct link_fetch f = {&run->claim, run->request, run->scheduler->folder, on_fetch_begin, on_fetched,
                           may_go_on,   run};
    run->fetch_began = steady_seconds();
    if (link->operations->fetch(link, &f, why, sizeof why)) return true;
    if (why[0]) run__fail(run, why, NULL);
    return false;
}

bool run__download(struct run *run)
{
    const char *path = text_of(run->request, "source_path"), *model = text_of(run->request, "source_model");
    const char *revision = text_of(run->request, "source_revision");
    char name[1200];
    struct child_exit exit;
    if (!is_hub(run)) return fetch(run);
    if (is_streamed(run) || (path && access(path, R_OK) == 0)) return true;
    if (!run__step(run, "downloading", "download", "downloading")) return false;
    name_with_revision(model, revision, name, sizeof name);
    const char *arguments[] = {"pull", "--json", "--", name, NULL};
    struct child_settings settings = settings_for(run, (char **)arguments, true);
    struct pull pull = {run, NULL};
    bool done = child_run(&settings, &run->stop, on_pull_line, on_pull_error, &pull, &exit);
    if (done && pull.answer)
        keep_source(run, pull.answer);
    else if (done)
        run__fail(run, "the download ended without telling where the files are", NULL);
    else
        run__fail_child(run, "the download was", &exit);
    json_decref(pull.answer);
    return done && text_of(run->request, "source_path");
}

/* A row for a file, or, where that is NULL, for the output's folder. */
static json_t *row_of(const json_t *output, const json_t *file)
{
    const char *name = file ? run__base_name(text_of(file, "path")) : run__folder_of(output),
               *format = text_of(output, "format");
    json_t *memory = json_object_get(output, "run_memory"), *bits = json_object_get(output, "bpw");
    if (!bits) bits = json_object_get(output, "bits_per_weight");
    return json_pack("{s:s, s:s, s:o?, s:I, s:O?, s:O?}", "name", name ? name : "", "format", format ? format : "gguf",
                     "quant_type", run__quant_type(output), "file_size",
                     file ? json_integer_value(json_object_get(file, "size_bytes")) : (json_int_t)run__bytes_of(output),
                     "bits_per_weight", bits, "run_memory", memory);
}

/* A row for each file, for an output may be split; one for a folder. */
static json_t *rows_of(const json_t *estimate, double *bytes)
{
    const json_t *output, *file;
    size_t i, j;
    json_t *rows = json_array();
    *bytes = 0;
    json_array_foreach(json_object_get(estimate, "outputs"), i, output) {
        *bytes += run__bytes_of(output);
        if (run__folder_of(output)) {
            json_array_append_new(rows, row_of(output, NULL));
            continue;
        }
        json_array_foreach(json_object_get(output, "files"), j, file)
            json_array_append_new(rows, row_of(output, file));
    }
    return rows;
}

/* What an earlier attempt holds already does not have to be free. */
static double bytes_held(const struct run *run, const json_t *rows)
{
    const json_t *row;
    size_t i;
    double held = 0;
    char path[4700];
    json_array_foreach(rows, i, row) {
        snprintf(path, sizeof path, "%s/%.500s.part", run->out, text_of(row, "name"));
        held += dir_bytes(path);
    }
    return held;
}

static bool refuse(struct run *run, const char *code, const char *why)
{
    snprintf(run->failure_code, sizeof run->failure_code, "%s", code);
    run__fail(run, why, NULL);
    return false;
}

/* Before the first byte is written: is there room, on the disk and in memory? What an earlier attempt holds is room
 * too; the estimate's own reasons do not know of it, so they count when there was none. */
static bool fits(struct run *run, const json_t *estimate, const json_t *rows, double bytes)
{
    struct statvfs fs;
    char why[600];
    double held = bytes_held(run, rows), free_bytes = 1e300; /* where it is unknown, writing will fail instead */
    if (statvfs(run->work, &fs) == 0) free_bytes = (double)fs.f_bavail * (double)fs.f_frsize;
    if (bytes - held > free_bytes) {
        snprintf(why, sizeof why, "the outputs need %.3f GB, but %.3f GB are free on the disk", bytes / 1e9,
                 free_bytes / 1e9);
        return refuse(run, "HT_ERR_NO_SPACE", why);
    }
    const json_t *reasons = json_object_get(estimate, "reasons");
    const char *first = json_string_value(json_array_get(reasons, 0));
    if (held > 0 || !json_is_false(json_object_get(estimate, "fits")) || !first) return true;
    snprintf(why, sizeof why, "%s", first);
    return refuse(run, "HT_ERR_NO_MEMORY_BUDGET", why);
}

static bool keep_estimate(struct run *run, const json_t *estimate)
{
    double bytes;
    struct worker_link *link = run->scheduler->link;
    json_t *rows = rows_of(estimate, &bytes), *seconds = json_object_get(estimate, "seconds");
    bool told = json_array_size(rows) > 0;
    struct store_update update = {.progress = -1,
                                  .estimated_disk_gb = bytes / 1e9,
                                  .estimated_time_minutes =
                                      json_is_number(seconds) ? json_number_value(seconds) / 60 : -1};
    if (!told) run__fail(run, "the estimate names no outputs", NULL);
    if (told && link->operations->outputs(link, &run->claim, rows) == STORE_CONFLICT) told = false;
    if (told) run__update(run, &update);
    if (told) run__keep_plan(run, estimate);
    run->bytes = bytes;
    run->divisible = json_is_true(json_object_get(estimate, "divisible"));
    run->collects = json_is_true(json_object_get(estimate, "collects_in_parts"));
    bool go_on = told && fits(run, estimate, rows, bytes);
    json_decref(rows);
    return go_on;
}

void run__count_passes(struct run *run)
{
    json_t *options = command_options(run->request);
    json_t *requested = store_requested(run->request);
    double n = (double)json_array_size(requested);
    run->pass_size[PASS_DOWNLOAD] = is_hub(run) ? 1 : 0;
    run->pass_size[PASS_CALIBRATE] = json_object_get(options, "calibration") ? 1 : 0;
    run->pass_size[PASS_QUANTIZE] = run->pass_size[PASS_VERIFY] = n > 0 ? n : 1;
    run->pass_size[PASS_MEASURE] = json_is_true(json_object_get(options, "measure")) ? n + 1 : 0;
    json_decref(options);
    json_decref(requested);
}

struct answer {
    struct run *run;
    json_t *last;
};

static bool on_answer(void *ctx, json_t *value, const char *text)
{
    struct answer *a = ctx;
    if (json_object_get(value, "outputs")) {
        json_decref(a->last);
        a->last = json_incref(value);
    }
    return on_line(a->run, value, text);
}

static void on_answer_error(void *ctx, const char *text)
{
    on_error(((struct answer *)ctx)->run, text);
}

/* The folders may have changed since the job was submitted. */
static bool source_stays(struct run *run)
{
    char real[PATH_MAX];
    const char *type = text_of(run->request, "source_type"), *path = text_of(run->request, "source_path");
    if (!type || strcmp(type, "local") != 0 || !path) return true;
    const char *fault = roots_model_fault(run->scheduler->settings.roots, path, real);
    char why[1400];
    snprintf(why, sizeof why, "%.1024s: %s", text_of(run->request, "source_model"), fault ? fault : "");
    return !fault || refuse(run, "HT_ERR_NOT_FOUND", why);
}

bool run__prepare(struct run *run)
{
    static const char *const extra[] = {"--json", NULL};
    struct child_exit exit;
    struct answer answer = {run, NULL};
    if (!run__step(run, "preparing", "prepare", "reading the model's headers") || !source_stays(run)) return false;
    char **arguments = arguments_for(run, "estimate", extra);
    if (!arguments) return false;
    struct child_settings settings = settings_for(run, arguments, false);
    settings.folder = run->work;  /* the disk whose free space it reports */
    settings.writable = run->out; /* is not there yet the first time: nothing is writable */
    settings.memory_limit = confine_headers_memory(settings.memory_limit);
    bool done = run_confined(run, &settings, on_answer, on_answer_error, &answer, &exit);
    command_free(&arguments);
    if (done && answer.last)
        done = keep_estimate(run, answer.last);
    else
        run__fail_child(run, "the estimate was", &exit);
    done = done && answer.last;
    json_decref(answer.last);
    return done;
}

/* --take-from=… for each; ends with NULL, as `first` does. The caller's, as are those of the new words. NULL: no memory. */
static const char **with_earlier(const struct run *run, const char *const *first)
{
    size_t n = 0;
    while (first[n])
        n++;
    const char **words = calloc(n + run->n_earlier + 1, sizeof *words);
    if (!words) return NULL;
    memcpy(words, first, n * sizeof *words);
    for (size_t i = 0; i < run->n_earlier; i++) {
        size_t size = strlen(run->earlier[i]) + 16;
        char *word = malloc(size);
        if (word) snprintf(word, size, "--take-from=%s", run->earlier[i]);
        if (word) words[n++] = word;
    }
    return words;
}

static void free_words(const char **words, size_t own)
{
    for (size_t i = own; words && words[i]; i++)
        free((char *)(uintptr_t)words[i]);
    free(words);
}

bool run__quantize(struct run *run)
{
    char output[4200], report[4200], html[4200];
    struct child_exit exit;
    snprintf(output, sizeof output, "--output=%s", run->out);
    snprintf(report, sizeof report, "--report=%s/report.json", run->out);
    snprintf(html, sizeof html, "--html=%s/quality.html", run->out);
    char part[40];
    const char *extra[8] = {"--json", "--overwrite", output, report};
    int n = 4;
    bool collects = run->claim.part < 0;
    snprintf(part, sizeof part, "--%s=%d/%d", collects ? "collect-part" : "part",
             collects ? -run->claim.part : run->claim.part, run->claim.parts);
    if (run->claim.parts) extra[3] = part;
    if (dir_exists(run->out)) extra[n++] = "--resume"; /* an earlier attempt was here */
    if (run->pass_size[PASS_MEASURE] > 0 && !run->claim.parts) extra[n++] = html;
    if (!dir_make(run->out)) {
        run__fail(run, "the work folder cannot be made: No space left on device, or no permission", NULL);
        return false;
    }
    run__find_earlier(run);
    const char **words = with_earlier(run, extra);
    char **arguments = arguments_for(run, "quantize", words ? words : extra);
    free_words(words, (size_t)n);
    if (!arguments) return false;
    struct child_settings settings = settings_for(run, arguments, false);
    settings.folder = run->out;
    settings.writable = run->out;
    bool done = run_confined(run, &settings, on_line, on_error, run, &exit);
    command_free(&arguments);
    if (!done) run__fail_child(run, "the quantizer was", &exit);
    return done;
}
