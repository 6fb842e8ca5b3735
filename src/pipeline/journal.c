/*
 * Text, so that a person can read it:
 *     halftone journal 4
 *     program <version>
 *     source <sha256 of what the source is, where it lies> <sha256 of what it is anywhere>
 *     recipe <sha256 of what decides the bytes of the outputs>
 *     part <inode> <time of birth> <file>                    one for each file, in the plan's order
 * and then a line for each tensor of which something is finished: journal_lines.c.
 */
#include "pipeline/journal_parts.h"
#include "base/hash.h"
#include "pipeline/source.h"
#include "pipeline/rows_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Every byte of the outputs' heads, which carry each tensor's type, shape and place, the importance, and the effort. */
static enum ht_err recipe_hash(const struct ht__plan *plan, char hex[65], struct ht_diag *diag)
{
    struct ht__sha256 sha;
    ht__sha256_begin(&sha);
    if (plan->settings->best) ht__sha256_add(&sha, "best", 4);
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++) {
            const struct ht__plan_file *file = &plan->outputs[i].files[f];
            const char *name = ht__path_base(file->path); /* another folder is no other recipe */
            ht__sha256_add(&sha, name, strlen(name) + 1);
            ht__sha256_add(&sha, file->head.data, file->head.len);
        }
    ht__sha256_add(&sha, plan->text, strlen(plan->text));
    for (size_t i = 0; i < plan->n_items; i++)
        if (plan->importance[i]) {
            const struct ht__weight *w = ht__item_any(plan, i);
            ht__sha256_add(&sha, plan->importance[i], (size_t)(w->ne[0] * w->ne[2]) * sizeof(float));
        }
    ht__sha256_end(&sha, hex);
    return hex[0] ? HT_OK : ht__fail_memory(diag, "journal");
}

enum ht_err ht__journal_init(struct ht__journal *j, const struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__plan_output *out = &plan->outputs[0];
    const char *first = out->folder ? out->folder : out->files[0].path;
    if (snprintf(j->path, sizeof j->path, "%s.journal", first) >= (int)sizeof j->path - 8)
        return ht__fail(diag, HT_ERR_LIMIT, first, -1, "the path is too long");
    HT_TRY(ht__sources_identity(plan, false, j->source, diag));
    HT_TRY(ht__sources_identity(plan, true, j->content, diag));
    return recipe_hash(plan, j->recipe, diag);
}

/* ---- the head -------------------------------------------------------------------------------- */

/* A file that was made anew has another inode or another time of birth, where the file system keeps one. */
void ht__journal_put_part(struct ht__buf *out, int fd, const char *name)
{
    struct statx x = {0};
    if (statx(fd, "", AT_EMPTY_PATH, STATX_INO | STATX_BTIME, &x) != 0) memset(&x, 0, sizeof x);
    bool born = x.stx_mask & STATX_BTIME;
    ht__buf_printf(out, "part %llu %lld.%09u %s\n", (unsigned long long)x.stx_ino,
                   born ? (long long)x.stx_btime.tv_sec : 0, born ? x.stx_btime.tv_nsec : 0, name);
}

static void put_head(struct ht__buf *out, const struct ht__journal *j)
{
    ht__buf_printf(out, HT__JOURNAL_BEGIN "%s %s\nrecipe %s\n", j->source, j->content, j->recipe);
}

/* ---- taking up an earlier run ----------------------------------------------------------------- */

/* Skips `want` at the start of the text; false: the text belongs to another run. */
bool ht__journal_skip(char **text, const char *want)
{
    size_t n = strlen(want);
    if (strncmp(*text, want, n) != 0) return false;
    *text += n;
    return true;
}

static enum ht_err refuse(const struct ht__journal *j, const char *why, struct ht_diag *diag)
{
    return ht__fail(diag, HT_ERR_USAGE, j->path, -1, "the earlier run %s; run without --resume to start anew", why);
}

static enum ht_err check_head(const struct ht__journal *j, char **text, struct ht_diag *diag)
{
    char want[160];
    if (!ht__journal_skip(text, HT__JOURNAL_BEGIN))
        return refuse(j, "was of another version of halftone, which may encode differently", diag);
    snprintf(want, sizeof want, "%s %s\nrecipe ", j->source, j->content);
    if (!ht__journal_skip(text, want)) return refuse(j, "was of another source, or the source has changed since", diag);
    snprintf(want, sizeof want, "%s\n", j->recipe);
    return ht__journal_skip(text, want) ? HT_OK : refuse(j, "was with other types, options or importance", diag);
}

static enum ht_err check_parts(const struct ht__journal *j, const struct ht__plan *plan, char **text, bool *same,
                               struct ht_diag *diag)
{
    struct ht__buf want;
    ht__buf_init(&want, plan->run.alloc);
    *same = true;
    for (size_t i = 0; *same && i < plan->n_outputs; i++)
        for (uint32_t f = 0; *same && f < plan->outputs[i].n_files; f++) {
            const struct ht__plan_file *file = &plan->outputs[i].files[f];
            want.len = 0;
            ht__journal_put_part(&want, file->out.fd, ht__path_base(file->path));
            *same = file->out.resumed && !want.failed && ht__journal_skip(text, ht__buf_text(&want));
            if (!*same)
                ht__log_printf(plan->run.log, HT__LOG_WARNING, "%s %s; every tensor is made anew", file->out.part_path,
                               file->out.resumed ? "is of another run than the one to continue" : "is gone");
        }
    enum ht_err err = want.failed ? ht__fail_memory(diag, j->path) : HT_OK;
    ht__buf_close(&want);
    return err;
}

/* ---- what is finished ------------------------------------------------------------------------- */

enum ht_err ht__journal_open(struct ht__journal *j, struct ht__plan *plan, struct ht_diag *diag)
{
    j->finished = ht__arena_array(&plan->arena, plan->n_items, sizeof *j->finished);
    j->done = ht__arena_array(&plan->arena, plan->n_items, sizeof *j->done);
    if (!j->finished || !j->done) return ht__fail_memory(diag, "plan");
    for (size_t i = 0; i < plan->n_items; i++)
        ht__row_set_init(&j->done[i], plan->run.alloc);
    return HT_OK;
}

void ht__journal_forget(struct ht__journal *j, const struct ht__plan *plan, struct ht__tensor_stats *stats, size_t item)
{
    struct ht__tensor_stats *s = &stats[item];
    j->finished[item] = false;
    ht__row_set_clear(&j->done[item]);
    s->sum_squares = 0;
    s->readings.len = 0;
    for (size_t o = 0; o < plan->n_outputs; o++) {
        s->errors[o] = 0;
        s->written[o] = (struct ht__sum){0};
    }
}

bool ht__journal_add_entry(struct ht__journal *j, const struct ht__plan *plan, struct ht__tensor_stats *stats,
                           const struct ht__journal_entry *e)
{
    struct ht__tensor_stats *s = &stats[e->item];
    struct ht__row_set *done = &j->done[e->item];
    const struct ht__reading *readings = (const struct ht__reading *)(const void *)e->stats.readings.data;
    for (size_t i = 0; i < ht__row_set_size(&e->rows); i++)
        ht__row_set_add(done, ht__row_set_at(&e->rows, i));
    for (size_t i = 0; i < e->stats.readings.len / sizeof *readings; i++)
        ht__reading_add(&s->readings, readings[i].tensor, &readings[i].sum);
    s->sum_squares += e->stats.sum_squares;
    for (size_t o = 0; o < plan->n_outputs; o++) {
        s->errors[o] += e->stats.errors[o];
        ht__sum_merge(&s->written[o], &e->stats.written[o]);
    }
    int64_t n = plan->items[e->item].rows->n_rows;
    j->finished[e->item] = ht__row_set_count(done, (struct ht__row_span){0, n}) == n;
    if (!done->spans.failed && !s->readings.failed) return true;
    ht__journal_forget(j, plan, stats, e->item);
    return false;
}

/* In the journal of one run; a later line says all that earlier ones said. */
static bool take_entry(struct ht__journal *j, const struct ht__plan *plan, struct ht__tensor_stats *stats,
                       const struct ht__journal_entry *e)
{
    if (!ht__row_set_holds(&e->rows, &j->done[e->item])) return false;
    ht__journal_forget(j, plan, stats, e->item);
    return ht__journal_add_entry(j, plan, stats, e);
}

enum ht_err ht__journal_load(struct ht__journal *j, const struct ht__plan *plan, struct ht__tensor_stats *stats,
                             bool *found, struct ht_diag *diag)
{
    struct ht__journal_entry entry;
    struct ht__buf buf;
    *found = false;
    if (!ht__path_exists(j->path)) return HT_OK;
    ht__buf_init(&buf, plan->run.alloc);
    enum ht_err err = ht__journal_entry_open(&entry, plan, diag);
    if (err == HT_OK) err = ht__file_load(j->path, HT__JOURNAL_MOST, &buf, diag);
    char *text = err == HT_OK ? (char *)(uintptr_t)ht__buf_text(&buf) : NULL;
    if (err == HT_OK && buf.failed) err = ht__fail_memory(diag, j->path);
    if (err == HT_OK) err = check_head(j, &text, diag);
    if (err == HT_OK) err = check_parts(j, plan, &text, found, diag);
    for (char *newline; err == HT_OK && *found && (newline = strchr(text, '\n')) != NULL; text = newline + 1) {
        *newline = '\0';
        if (!ht__journal_parse(plan, text, &entry) || !take_entry(j, plan, stats, &entry)) break;
    }
    ht__journal_entry_close(&entry, plan);
    ht__buf_close(&buf);
    return err;
}

enum ht_err ht__journal_check(struct ht__journal *j, const struct ht__plan *plan, struct ht__tensor_stats *stats,
                              struct ht_diag *diag)
{
    struct ht__progress progress;
    uint32_t n = (uint32_t)plan->n_items, found = 0, kept = 0;
    uint64_t done = 0;
    unsigned char *window = ht__new_aligned(plan->run.alloc, HT__JOURNAL_WINDOW);
    enum ht_err err = window ? HT_OK : ht__fail_memory(diag, "journal");
    ht__progress_begin(&progress, &plan->run, "check", "bytes", plan->out_bytes);
    for (uint32_t w = 0; err == HT_OK && w < n; w++) {
        bool same;
        if (ht__row_set_size(&j->done[w]) == 0) continue;
        found++;
        err = ht__journal_check_rows(plan, w, &j->done[w], &stats[w], window, &done, &same, diag);
        if (err == HT_OK && !same) ht__journal_forget(j, plan, stats, w);
        kept += err == HT_OK && same;
        if (err == HT_OK && ht__progress_tell(&progress, done, ht__item_any(plan, w)->name))
            err = ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
    }
    ht__free_aligned(plan->run.alloc, window);
    if (err == HT_OK)
        ht__log_printf(
            plan->run.log, HT__LOG_INFO,
            "continuing an earlier run: %u of %u tensors are finished, %u read back differ from what was written", kept,
            n, found - kept);
    return err;
}

/* ---- writing ---------------------------------------------------------------------------------- */

static enum ht_err put(const struct ht__journal *j, const void *data, size_t n, struct ht_diag *diag)
{
    for (const char *p = data; n > 0;) {
        ssize_t done = write(j->fd, p, n);
        if (done < 0 && errno == EINTR) continue;
        if (done <= 0) return ht__fail_errno(diag, done < 0 ? errno : EIO, j->path, "cannot write");
        p += done;
        n -= (size_t)done;
    }
    if (fdatasync(j->fd) != 0) return ht__fail_errno(diag, errno, j->path, "cannot sync");
    return HT_OK;
}

/* Under another name first: an earlier journal stays until this one is whole. */
static enum ht_err replace(struct ht__journal *j, const struct ht__buf *text, struct ht_diag *diag)
{
    char fresh[sizeof j->path];
    snprintf(fresh, sizeof fresh, "%.*s.new", (int)sizeof fresh - 5, j->path);
    j->fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (j->fd < 0) return ht__fail_errno(diag, errno, fresh, "cannot create");
    enum ht_err err = put(j, text->data, text->len, diag);
    if (err == HT_OK && rename(fresh, j->path) != 0)
        err = ht__fail_errno(diag, errno, j->path, "cannot rename into place");
    if (err == HT_OK) return HT_OK;
    unlink(fresh);
    close(j->fd);
    j->fd = -1;
    return err;
}

enum ht_err ht__journal_start(struct ht__journal *j, const struct ht__plan *plan, const struct ht__tensor_stats *stats,
                              struct ht_diag *diag)
{
    struct ht__buf text;
    ht__buf_init(&text, plan->run.alloc);
    put_head(&text, j);
    for (size_t i = 0; i < plan->n_outputs; i++)
        for (uint32_t f = 0; f < plan->outputs[i].n_files; f++)
            ht__journal_put_part(&text, plan->outputs[i].files[f].out.fd,
                                 ht__path_base(plan->outputs[i].files[f].path));
    for (uint32_t i = 0; i < plan->n_items; i++)
        if (ht__row_set_size(&j->done[i]) > 0) ht__journal_put_tensor(&text, plan, i, &j->done[i], &stats[i]);
    enum ht_err err = text.failed ? ht__fail_memory(diag, j->path) : replace(j, &text, diag);
    ht__buf_close(&text);
    return err;
}

enum ht_err ht__journal_add(struct ht__journal *j, const struct ht__plan *plan, const struct ht__tensor_stats *stats,
                            const uint32_t *weights, size_t n, struct ht_diag *diag)
{
    struct ht__buf text;
    ht__buf_init(&text, plan->run.alloc);
    for (size_t i = 0; i < n; i++)
        ht__journal_put_tensor(&text, plan, weights[i], &j->done[weights[i]], &stats[weights[i]]);
    enum ht_err err = text.failed ? ht__fail_memory(diag, j->path) : put(j, text.data, text.len, diag);
    ht__buf_close(&text);
    return err;
}

void ht__journal_close(struct ht__journal *j, const struct ht__plan *plan, bool keep)
{
    for (size_t i = 0; j->done && i < plan->n_items; i++)
        ht__row_set_close(&j->done[i]);
    j->done = NULL;
    if (j->fd < 0) return;
    close(j->fd);
    j->fd = -1;
    if (!keep) unlink(j->path);
}
