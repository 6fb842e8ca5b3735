/*
 * Text, so that a person can read it:
 *     halftone journal 1 <sha256 of what the run is>
 *     <weight> <sum of squares> <error of output 0> <error of output 1> …
 * Numbers are hexadecimal floats: exact. A line counts when its newline is there; what a crash cut off
 * is written again.
 */
#include "job/journal.h"
#include "base/hash.h"
#include "job/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_JOURNAL = 256 << 20 };

static enum ht_err path_of(const struct ht__plan *plan, char path[4096], struct ht_diag *diag)
{
    const char *first = plan->outputs[0].files[0].path;
    if (snprintf(path, 4096, "%s.journal", first) >= 4096)
        return ht__fail(diag, HT_ERR_LIMIT, first, -1, "the path is too long");
    return HT_OK;
}

bool ht__journal_exists(const struct ht__plan *plan)
{
    char path[4096];
    return path_of(plan, path, NULL) == HT_OK && ht__path_exists(path);
}

/* What the run is: the source files as they stand on the disk, and every byte of the outputs' heads,
 * which carry each tensor's type, shape and place. */
static enum ht_err identity(const struct ht__plan *plan, char hex[65], struct ht_diag *diag)
{
    struct ht__sha256 sha;
    ht__sha256_begin(&sha);
    for (uint32_t i = 0; i < plan->checkpoint->n_files; i++) {
        const struct ht__file *file = &plan->checkpoint->files[i];
        struct stat st = {0};
        char line[4300];
        fstat(file->fd, &st);
        int n = snprintf(line, sizeof line, "%s %" PRIu64 " %lld.%09ld\n", file->path, file->size,
                         (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
        ht__sha256_add(&sha, line, n > 0 ? (size_t)n : 0);
    }
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++) {
            const struct ht__plan_file *file = &plan->outputs[i].files[f];
            ht__sha256_add(&sha, file->path, strlen(file->path) + 1);
            ht__sha256_add(&sha, file->head.data, file->head.len);
        }
    for (size_t i = 0; i < plan->model->n_weights; i++) /* importance decides bytes too */
        if (plan->importance[i]) {
            const struct ht__weight *w = &plan->model->weights[i];
            ht__sha256_add(&sha, plan->importance[i],
                           (size_t)(w->ne[0] * w->ne[2]) * sizeof(float));
        }
    ht__sha256_end(&sha, hex);
    return hex[0] ? HT_OK : ht__fail_memory(diag, "journal");
}

/* One whole line after the head; false when it is not one of ours. */
static bool parse_line(const struct ht__plan *plan, char *line, bool *finished,
                       struct ht__tensor_stats *stats)
{
    char *p = line, *end;
    unsigned long weight = strtoul(p, &end, 10);
    if (end == p || weight >= plan->model->n_weights) return false;
    struct ht__tensor_stats *s = &stats[weight];
    s->sum_squares = strtod(p = end, &end);
    if (end == p) return false;
    for (size_t i = 0; i < plan->n_outputs; i++) {
        s->errors[i] = strtod(p = end, &end);
        if (end == p) return false;
    }
    finished[weight] = true;
    return *end == '\0';
}

static enum ht_err take_up(struct ht__journal *j, const struct ht__plan *plan, const char *head,
                           struct ht__tensor_stats *stats, bool *resumed, struct ht_diag *diag)
{
    struct ht__buf text;
    ht__buf_init(&text, plan->job->alloc);
    enum ht_err err = ht__file_load(j->path, MAX_JOURNAL, &text, diag);
    char *p = err == HT_OK ? (char *)(uintptr_t)ht__buf_text(&text) : NULL;
    size_t head_len = strlen(head);
    if (err == HT_OK && text.len > 0 && strncmp(p, head, head_len) != 0)
        err = ht__fail(diag, HT_ERR_USAGE, j->path, -1,
                       "the earlier run was of another source, or with other types or options; run "
                       "without --resume to start anew");
    if (err == HT_OK && text.len > 0) {
        *resumed = true;
        p += head_len;
        for (char *newline; (newline = strchr(p, '\n')) != NULL; p = newline + 1) {
            *newline = '\0';
            if (!parse_line(plan, p, j->finished, stats)) break;
        }
    }
    ht__buf_close(&text);
    return err;
}

static enum ht_err put(const struct ht__journal *j, const void *data, size_t n, struct ht_diag *diag)
{
    for (const char *p = data; n > 0;) {
        ssize_t done = write(j->fd, p, n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return ht__fail_errno(diag, done < 0 ? errno : EIO, j->path, "cannot write");
        p += done;
        n -= (size_t)done;
    }
    return HT_OK;
}

/* Lines that were cut off must not be continued: what was understood is written anew. */
static enum ht_err rewrite(struct ht__journal *j, const struct ht__plan *plan, const char *head,
                           const struct ht__tensor_stats *stats, struct ht_diag *diag)
{
    j->fd = open(j->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (j->fd < 0) return ht__fail_errno(diag, errno, j->path, "cannot create");
    HT_TRY(put(j, head, strlen(head), diag));
    for (uint32_t i = 0; i < plan->model->n_weights; i++)
        if (j->finished[i]) HT_TRY(ht__journal_add(j, plan, stats, &i, 1, diag));
    return HT_OK;
}

enum ht_err ht__journal_open(struct ht__journal *j, const struct ht__plan *plan,
                             struct ht__tensor_stats *stats, bool resume, bool *resumed,
                             struct ht_diag *diag)
{
    char hex[65], head[128];
    *resumed = false;
    j->fd = -1;
    HT_TRY(path_of(plan, j->path, diag));
    HT_TRY(identity(plan, hex, diag));
    snprintf(head, sizeof head, "halftone journal 1 %s\n", hex);
    if (resume && ht__path_exists(j->path)) HT_TRY(take_up(j, plan, head, stats, resumed, diag));
    enum ht_err err = rewrite(j, plan, head, stats, diag);
    if (err != HT_OK) ht__journal_close(j, *resumed);
    return err;
}

enum ht_err ht__journal_add(struct ht__journal *j, const struct ht__plan *plan,
                            const struct ht__tensor_stats *stats, const uint32_t *weights, size_t n,
                            struct ht_diag *diag)
{
    struct ht__buf text;
    ht__buf_init(&text, plan->job->alloc);
    for (size_t i = 0; i < n; i++) {
        const struct ht__tensor_stats *s = &stats[weights[i]];
        ht__buf_printf(&text, "%u %a", weights[i], s->sum_squares);
        for (size_t o = 0; o < plan->n_outputs; o++)
            ht__buf_printf(&text, " %a", s->errors[o]);
        ht__buf_str(&text, "\n");
    }
    enum ht_err err = text.failed ? ht__fail_memory(diag, j->path) : HT_OK;
    if (err == HT_OK) err = put(j, text.data, text.len, diag);
    if (err == HT_OK && fdatasync(j->fd) != 0) err = ht__fail_errno(diag, errno, j->path, "cannot sync");
    ht__buf_close(&text);
    return err;
}

void ht__journal_close(struct ht__journal *j, bool keep)
{
    if (j->fd < 0) return;
    close(j->fd);
    j->fd = -1;
    if (!keep) unlink(j->path);
}
