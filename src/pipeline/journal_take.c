/* Finished tensors of another run, from its folder into this one's outputs. */
#include "pipeline/journal_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
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
        loff_t in = (loff_t)at, out = (loff_t)at;
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

static enum ht_err copy_tensor(struct taking *t, size_t weight, bool *whole, struct ht_diag *diag)
{
    *whole = true;
    for (size_t o = 0; o < t->plan->n_outputs; o++) {
        struct ht__plan_output *out = &t->plan->outputs[o];
        struct ht__journal_piece pieces[HT__SCHEME_PARTS];
        size_t n = ht__journal_pieces(t->plan, out, weight, pieces);
        uint32_t file = out->places[weight].file;
        for (size_t i = 0; *whole && i < n; i++)
            HT_TRY(copy(t, t->fds[o][file], &out->files[file].out, pieces[i].extent->offset, pieces[i].extent->n_bytes,
                        whole, diag));
    }
    return HT_OK;
}

/* False: the line is none, or was cut off. One that this run has finished already is passed over. */
static bool next_tensor(struct taking *t, char *text, size_t *weight)
{
    if (strncmp(text, "done ", 5) != 0 || !ht__journal_line_is_whole(text)) return false;
    uint64_t n = strtoull(text + 5, NULL, 10);
    *weight = SIZE_MAX;
    if (n >= t->plan->n_items) return false;
    if (t->journal->finished[n]) return true;
    *weight = (size_t)n;
    return ht__journal_parse(t->journal, t->plan, text, t->stats);
}

static enum ht_err take_tensors(struct taking *t, char *text, struct ht_diag *diag)
{
    struct ht__progress progress;
    uint64_t done = 0;
    size_t weight;
    bool whole;
    ht__progress_begin(&progress, &t->plan->run, "assemble", "bytes", t->plan->out_bytes);
    for (char *newline; (newline = strchr(text, '\n')) != NULL; text = newline + 1) {
        *newline = '\0';
        if (!next_tensor(t, text, &weight)) break;
        if (weight == SIZE_MAX) continue;
        enum ht_err err = copy_tensor(t, weight, &whole, diag);
        if (err == HT_OK && whole)
            err = ht__journal_check_tensor(t->journal, t->plan, t->stats, weight, t->window, &done, diag);
        if (err != HT_OK || !whole) ht__journal_forget(t->journal, t->plan, &t->stats[weight], weight);
        HT_TRY(err);
        t->taken += t->journal->finished[weight];
        if (ht__progress_tell(&progress, done, ht__item_any(t->plan, weight)->name))
            return ht__fail(diag, HT_ERR_CANCELLED, NULL, -1, "cancelled");
    }
    return HT_OK;
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
    HT_TRY(take_tensors(t, text, diag));
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
        say(&t, "there is no unfinished run with these outputs");
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
