/*
 * Text, so that a person can read it:
 *     halftone journal 3
 *     program <version>
 *     source <sha256 of what the source is, where it lies> <sha256 of what it is anywhere>
 *     recipe <sha256 of what decides the bytes of the outputs>
 *     part <inode> <time of birth> <file>                    one for each file, in the plan's order
 *     done <weight> <sum of squares> <outputs> <readings> <check>
 * where an output is <error> <low> <high>, the latter being the sum of the bytes that were written, and readings are
 * their number and then <tensor> <bytes> <places> <low> <high> for each. Floats are hexadecimal: exact. A line of a
 * tensor counts when it is whole and its check, the sum of the line before it, is right; what a crash cut off is made
 * again.
 */
#include "pipeline/journal_parts.h"
#include "base/hash.h"
#include "pipeline/source.h"
#include "pipeline/rows_driver.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WINDOW = HT__JOURNAL_WINDOW };

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

/* ---- lines ------------------------------------------------------------------------------------ */

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

static uint64_t check_of(const unsigned char *line, size_t n)
{
    struct ht__sum sum = {0};
    ht__sum_add(&sum, 0, line, n);
    return sum.low ^ sum.high;
}

static void put_tensor(struct ht__buf *out, const struct ht__plan *plan, uint32_t weight,
                       const struct ht__tensor_stats *s)
{
    const struct ht__reading *readings = (const struct ht__reading *)(const void *)s->readings.data;
    size_t start = out->len, n = s->readings.len / sizeof *readings;
    ht__buf_printf(out, "done %u %a", weight, s->sum_squares);
    for (size_t o = 0; o < plan->n_outputs; o++)
        ht__buf_printf(out, " %a %" PRIx64 " %" PRIx64, s->errors[o], s->written[o].low, s->written[o].high);
    ht__buf_printf(out, " %zx", n);
    for (size_t i = 0; i < n; i++) {
        const struct ht__sum *sum = &readings[i].sum;
        ht__buf_printf(out, " %x %" PRIx64 " %" PRIx64 " %" PRIx64 " %" PRIx64, readings[i].tensor, sum->bytes,
                       sum->places, sum->low, sum->high);
    }
    if (!out->failed) ht__buf_printf(out, " %" PRIx64 "\n", check_of(out->data + start, out->len - start));
}

struct line {
    char *at;
    bool bad;
};

static uint64_t take_number(struct line *line, int base)
{
    char *end;
    uint64_t value = strtoull(line->at, &end, base);
    line->bad |= end == line->at;
    line->at = end;
    return value;
}

static double take_float(struct line *line)
{
    char *end;
    double value = strtod(line->at, &end);
    line->bad |= end == line->at;
    line->at = end;
    return value;
}

static void take_readings(struct line *line, const struct ht__plan *plan, struct ht__buf *readings)
{
    uint64_t n = take_number(line, 16);
    for (uint64_t i = 0; i < n && !line->bad; i++) {
        uint64_t tensor = take_number(line, 16);
        struct ht__sum sum = {.bytes = take_number(line, 16)};
        sum.places = take_number(line, 16);
        sum.low = take_number(line, 16);
        sum.high = take_number(line, 16);
        line->bad |= tensor >= plan->checkpoint->n_tensors;
        if (!line->bad) ht__reading_add(readings, (uint32_t)tensor, &sum);
    }
}

bool ht__journal_line_is_whole(char *text)
{
    char *last = strrchr(text, ' '), *end;
    if (!last) return false;
    uint64_t check = strtoull(last + 1, &end, 16);
    return *end == '\0' && end != last + 1 && check == check_of((unsigned char *)text, (size_t)(last - text));
}

void ht__journal_forget(struct ht__journal *j, const struct ht__plan *plan, struct ht__tensor_stats *s, uint64_t weight)
{
    j->finished[weight] = false;
    s->sum_squares = 0;
    s->readings.len = 0;
    for (size_t o = 0; o < plan->n_outputs; o++) {
        s->errors[o] = 0;
        s->written[o] = (struct ht__sum){0};
    }
}

/* One line after the head; false when it is not one of ours. */
bool ht__journal_parse(struct ht__journal *j, const struct ht__plan *plan, char *text, struct ht__tensor_stats *stats)
{
    if (strncmp(text, "done ", 5) != 0 || !ht__journal_line_is_whole(text)) return false;
    struct line line = {text + 5, false};
    uint64_t weight = take_number(&line, 10);
    if (line.bad || weight >= plan->n_items || j->finished[weight]) return false;
    struct ht__tensor_stats *s = &stats[weight];
    s->sum_squares = take_float(&line);
    for (size_t o = 0; o < plan->n_outputs; o++) {
        s->errors[o] = take_float(&line);
        s->written[o].low = take_number(&line, 16);
        s->written[o].high = take_number(&line, 16);
    }
    take_readings(&line, plan, &s->readings);
    j->finished[weight] = !line.bad && !s->readings.failed;
    if (!j->finished[weight]) ht__journal_forget(j, plan, s, weight);
    return j->finished[weight];
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

enum ht_err ht__journal_load(struct ht__journal *j, const struct ht__plan *plan, struct ht__tensor_stats *stats,
                             bool *found, struct ht_diag *diag)
{
    struct ht__buf buf;
    *found = false;
    if (!ht__path_exists(j->path)) return HT_OK;
    ht__buf_init(&buf, plan->run.alloc);
    enum ht_err err = ht__file_load(j->path, HT__JOURNAL_MOST, &buf, diag);
    char *text = err == HT_OK ? (char *)(uintptr_t)ht__buf_text(&buf) : NULL;
    if (err == HT_OK && buf.failed) err = ht__fail_memory(diag, j->path);
    if (err == HT_OK) err = check_head(j, &text, diag);
    if (err == HT_OK) err = check_parts(j, plan, &text, found, diag);
    for (char *newline; err == HT_OK && *found && (newline = strchr(text, '\n')) != NULL; text = newline + 1) {
        *newline = '\0';
        if (!ht__journal_parse(j, plan, text, stats)) break;
    }
    ht__buf_close(&buf);
    return err;
}

/* The sum of a tensor's bytes in a .part. */
static enum ht_err sum_part(const struct ht__plan_file *file, const struct ht__extent *e, uint64_t base,
                            unsigned char *window, struct ht__sum *sum, struct ht_diag *diag)
{
    const struct ht__file in = {.fd = file->out.fd, .size = file->size};
    for (uint64_t at = 0, n; at < e->n_bytes; at += n) {
        n = e->n_bytes - at < WINDOW ? e->n_bytes - at : WINDOW;
        HT_TRY(ht__file_read(&in, e->offset + at, window, n, diag));
        ht__sum_add(sum, base + at, window, n);
    }
    return HT_OK;
}

size_t ht__journal_pieces(const struct ht__plan *plan, const struct ht__plan_output *out, size_t weight,
                          struct ht__journal_piece pieces[HT__SCHEME_PARTS])
{
    struct ht__place place = out->places[weight];
    const struct ht__plan_file *file = &out->files[place.file];
    const struct ht__packed *packed = out->packed ? out->packed[weight] : NULL;
    size_t n = 0;
    if (!ht__item_in(plan, out, weight)) return 0;
    if (!packed) pieces[n++] = (struct ht__journal_piece){&file->entries[place.entry], 0};
    for (int i = 0; packed && i < packed->n_parts; i++)
        if (packed->entry[i] != UINT32_MAX)
            pieces[n++] = (struct ht__journal_piece){&file->entries[packed->entry[i]], packed->base[i]};
    return n;
}

enum ht_err ht__journal_check_tensor(struct ht__journal *j, const struct ht__plan *plan, struct ht__tensor_stats *stats,
                                     size_t weight, unsigned char *window, uint64_t *done, struct ht_diag *diag)
{
    for (size_t o = 0; o < plan->n_outputs; o++) {
        const struct ht__plan_output *out = &plan->outputs[o];
        const struct ht__plan_file *file = &out->files[out->places[weight].file];
        struct ht__journal_piece pieces[HT__SCHEME_PARTS];
        struct ht__sum sum = {0};
        size_t n = ht__journal_pieces(plan, out, weight, pieces);
        for (size_t i = 0; i < n; i++) {
            HT_TRY(sum_part(file, pieces[i].extent, pieces[i].base, window, &sum, diag));
            *done += pieces[i].extent->n_bytes;
        }
        if (n == 0 || (sum.low == stats[weight].written[o].low && sum.high == stats[weight].written[o].high)) continue;
        ht__log_printf(plan->run.log, HT__LOG_WARNING, "%s: %s is not as it was written; the tensor is made anew",
                       file->out.part_path, pieces[0].extent->name);
        ht__journal_forget(j, plan, &stats[weight], weight);
        break;
    }
    return HT_OK;
}

enum ht_err ht__journal_check(struct ht__journal *j, const struct ht__plan *plan, struct ht__tensor_stats *stats,
                              struct ht_diag *diag)
{
    struct ht__progress progress;
    size_t n = plan->n_items, found = 0, kept = 0;
    uint64_t done = 0;
    unsigned char *window = ht__new_aligned(plan->run.alloc, WINDOW);
    enum ht_err err = window ? HT_OK : ht__fail_memory(diag, "journal");
    ht__progress_begin(&progress, &plan->run, "check", "bytes", plan->out_bytes);
    for (size_t w = 0; err == HT_OK && w < n; w++) {
        if (!j->finished[w]) continue;
        found++;
        err = ht__journal_check_tensor(j, plan, stats, w, window, &done, diag);
        kept += j->finished[w];
        if (err == HT_OK && ht__progress_tell(&progress, done, ht__item_any(plan, w)->name))
            err = ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
    }
    ht__free_aligned(plan->run.alloc, window);
    if (err == HT_OK)
        ht__log_printf(
            plan->run.log, HT__LOG_INFO,
            "continuing an earlier run: %zu of %zu tensors are finished, %zu read back differ from what was written",
            kept, n, found - kept);
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
        if (j->finished[i]) put_tensor(&text, plan, i, &stats[i]);
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
        put_tensor(&text, plan, weights[i], &stats[weights[i]]);
    enum ht_err err = text.failed ? ht__fail_memory(diag, j->path) : put(j, text.data, text.len, diag);
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
