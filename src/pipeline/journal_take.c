/* Finished tensors of another run, from its folder into this one's outputs. */
#include "pipeline/journal_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct taking {
    struct ht__journal *journal;
    struct ht__plan *plan;
    struct ht__tensor_stats *stats;
    const char *folder;
    int **fds; /* by output and file: the other run's; -1: not open */
    unsigned char *window;
    size_t taken;
};

static void say(const struct taking *t, const char *why)
{
    ht__log_printf(t->plan->run.log, HT__LOG_WARNING, "%s: %s; nothing is taken from there", t->folder, why);
}

/* Where the other run has what lies at `path` here. */
static bool path_there(const struct taking *t, const char *path, const char *suffix, char *out, size_t size)
{
    size_t here = (size_t)(ht__path_base(t->journal->path) - t->journal->path);
    return strncmp(path, t->journal->path, here) == 0 &&
           snprintf(out, size, "%s/%s%s", t->folder, path + here, suffix) < (int)size;
}

static void close_files(struct taking *t)
{
    for (size_t o = 0; t->fds && o < t->plan->n_outputs; o++)
        for (uint32_t f = 0; t->fds[o] && f < t->plan->outputs[o].n_files; f++)
            if (t->fds[o][f] >= 0) close(t->fds[o][f]);
}

static enum ht_err make_room(struct taking *t, struct ht_diag *diag)
{
    struct ht__plan *plan = t->plan;
    t->fds = ht__arena_array(&plan->arena, plan->n_outputs, sizeof *t->fds);
    if (!t->fds) return ht__fail_memory(diag, "journal");
    for (size_t o = 0; o < plan->n_outputs; o++) {
        uint32_t n = plan->outputs[o].n_files;
        if (!(t->fds[o] = ht__arena_array(&plan->arena, n, sizeof **t->fds))) return ht__fail_memory(diag, "journal");
        for (uint32_t f = 0; f < n; f++)
            t->fds[o][f] = -1;
    }
    t->window = ht__new_aligned(plan->run.alloc, HT__JOURNAL_WINDOW);
    return t->window ? HT_OK : ht__fail_memory(diag, "journal");
}

/* The same program made the same outputs of the same source. */
static bool is_same_run(const struct taking *t, char **text)
{
    char want[160];
    if (!ht__journal_skip(text, HT__JOURNAL_BEGIN) || strnlen(*text, 65) < 65) return false;
    *text += 64; /* where its source lies is its own matter */
    snprintf(want, sizeof want, " %s\nrecipe %s\n", t->journal->content, t->journal->recipe);
    return ht__journal_skip(text, want);
}

/* Its files are the ones that its journal tells of. */
static bool open_files(struct taking *t, char **text)
{
    struct ht__buf want;
    char path[4200];
    bool same = true;
    ht__buf_init(&want, t->plan->run.alloc);
    for (size_t o = 0; same && o < t->plan->n_outputs; o++)
        for (uint32_t f = 0; same && f < t->plan->outputs[o].n_files; f++) {
            const struct ht__plan_file *file = &t->plan->outputs[o].files[f];
            bool named = path_there(t, file->made, ".part", path, sizeof path);
            t->fds[o][f] = named ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
            want.len = 0;
            ht__journal_put_part(&want, t->fds[o][f], ht__path_base(file->path));
            same = t->fds[o][f] >= 0 && !want.failed && ht__journal_skip(text, ht__buf_text(&want));
        }
    ht__buf_close(&want);
    return same;
}

/* *whole: false when there are fewer bytes than that. */
static enum ht_err copy(struct taking *t, int from, const struct ht__output *to, uint64_t at, uint64_t n, bool *whole,
                        struct ht_diag *diag)
{
    while (n > 0) {
        off_t in = (off_t)at, out = (off_t)at;
        size_t ask = n < (1u << 30) ? (size_t)n : 1u << 30;
        ssize_t done = copy_file_range(from, &in, to->fd, &out, ask, 0); /* shares or moves them below this program */
        if (done < 0) { /* this file system does not, or not between these files */
            done = pread(from, t->window, n < HT__JOURNAL_WINDOW ? (size_t)n : HT__JOURNAL_WINDOW, (off_t)at);
            if (done < 0 && errno == EINTR) continue;
            if (done < 0) return ht__fail_errno(diag, errno, t->folder, "cannot read");
            if (done > 0) HT_TRY(ht__output_write(to, at, t->window, (uint64_t)done, diag));
        }
        if (done == 0) {
            *whole = false;
            return HT_OK;
        }
        at += (uint64_t)done;
        n -= (uint64_t)done;
    }
    return HT_OK;
}

static enum ht_err copy_rows(struct taking *t, uint32_t item, struct ht__row_span rows, bool *whole,
                             struct ht_diag *diag)
{
    for (size_t o = 0; o < t->plan->n_outputs; o++) {
        struct ht__plan_output *out = &t->plan->outputs[o];
        struct ht__journal_piece pieces[HT__SCHEME_PARTS];
        size_t n = ht__journal_pieces(t->plan, out, item, rows, pieces);
        uint32_t file = out->places[item].file;
        for (size_t i = 0; *whole && i < n; i++)
            HT_TRY(copy(t, t->fds[o][file], &out->files[file].out, pieces[i].extent->offset + pieces[i].offset,
                        pieces[i].n_bytes, whole, diag));
    }
    return HT_OK;
}

/* Does this run lack something that the entry has, all of it or as much as it has itself? */
static bool is_wanted(const struct taking *t, const struct ht__journal_entry *e)
{
    const struct ht__row_set *mine = &t->journal->done[e->item];
    if (t->journal->finished[e->item]) return false;
    return !ht__row_set_meets(mine, &e->rows) || ht__row_set_holds(&e->rows, mine);
}

/* What lies here where the entry's rows go is no longer what it was. */
static enum ht_err take_entry(struct taking *t, const struct ht__journal_entry *e, uint64_t *done, struct ht_diag *diag)
{
    bool whole = true;
    if (ht__row_set_meets(&t->journal->done[e->item], &e->rows))
        ht__journal_forget(t->journal, t->plan, t->stats, e->item);
    for (size_t i = 0; whole && i < ht__row_set_size(&e->rows); i++)
        HT_TRY(copy_rows(t, e->item, ht__row_set_at(&e->rows, i), &whole, diag));
    if (whole) HT_TRY(ht__journal_check_rows(t->plan, e->item, &e->rows, &e->stats, t->window, done, &whole, diag));
    if (!whole) return HT_OK;
    if (!ht__journal_add_entry(t->journal, t->plan, t->stats, e)) return ht__fail_memory(diag, "journal");
    t->taken++;
    return HT_OK;
}

static enum ht_err take_tensors(struct taking *t, char *text, struct ht__journal_entry *entry, struct ht_diag *diag)
{
    struct ht__progress progress;
    uint64_t done = 0;
    ht__progress_begin(&progress, &t->plan->run, "assemble", "bytes", t->plan->out_bytes);
    for (char *newline; (newline = strchr(text, '\n')) != NULL; text = newline + 1) {
        *newline = '\0';
        if (!ht__journal_parse(t->plan, text, entry)) break; /* cut off, or not ours */
        if (!is_wanted(t, entry)) continue;
        HT_TRY(take_entry(t, entry, &done, diag));
        if (ht__progress_tell(&progress, done, ht__item_any(t->plan, entry->item)->name))
            return ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
    }
    return HT_OK;
}

static enum ht_err take_all(struct taking *t, char *text, struct ht_diag *diag)
{
    struct ht__journal_entry entry;
    enum ht_err err = ht__journal_entry_open(&entry, t->plan, diag);
    if (err == HT_OK) err = take_tensors(t, text, &entry, diag);
    ht__journal_entry_close(&entry, t->plan);
    return err;
}

static enum ht_err take(struct taking *t, char *text, struct ht_diag *diag)
{
    HT_TRY(make_room(t, diag));
    if (!is_same_run(t, &text)) {
        say(t, "the run there is of another source, other outputs or another version of halftone");
        return HT_OK;
    }
    if (!open_files(t, &text)) {
        say(t, "the files there are not those that its journal tells of");
        return HT_OK;
    }
    HT_TRY(take_all(t, text, diag));
    ht__log_printf(t->plan->run.log, HT__LOG_INFO, "%zu finished tensors are taken from %s", t->taken, t->folder);
    return HT_OK;
}

enum ht_err ht__journal_take(struct ht__journal *journal, struct ht__plan *plan, struct ht__tensor_stats *stats,
                             const char *folder, struct ht_diag *diag)
{
    struct taking t = {.journal = journal, .plan = plan, .stats = stats, .folder = folder};
    struct ht__buf text;
    char path[4200];
    if (!path_there(&t, journal->path, "", path, sizeof path) || !ht__path_exists(path)) {
        /* a folder may hold what was collected, and nothing else */
        if (!plan->settings->importance.collect) say(&t, "there is no unfinished run with these outputs");
        return HT_OK;
    }
    ht__buf_init(&text, plan->run.alloc);
    enum ht_err err = ht__file_load(path, HT__JOURNAL_MOST, &text, diag);
    char *from = err == HT_OK ? (char *)(uintptr_t)ht__buf_text(&text) : NULL;
    if (err == HT_OK && text.failed) err = ht__fail_memory(diag, path);
    if (err == HT_OK) err = take(&t, from, diag);
    close_files(&t);
    ht__free_aligned(plan->run.alloc, t.window);
    ht__buf_close(&text);
    return err;
}
