/* Multiple-choice questions. */
#include "base/json.h"
#include "eval/continuations.h"
#include "eval/parts.h"
#include "model/tokenizer/tokenizer.h"

#include <string.h>

enum { LARGEST_FILE = 1 << 28, MOST_CHOICES = 64 };

struct task {
    size_t first, n, answer; /* its continuations */
};

struct tasks {
    struct ht__eval *e;
    struct ht__tokenizer *tokenizer;
    const char *path;
    struct ht__buf tasks, rows, lengths; /* struct task, struct ht__continuation, double */
    struct ht_diag *diag;
    size_t line;
};

static enum ht_err encode(struct tasks *t, const char *text, struct ht__tokens *ids)
{
    ids->n = 0;
    HT_TRY(ht__tokenizer_encode(t->tokenizer, text, strlen(text), HT__TOKENIZER_ADD_SPECIAL, ids, t->diag));
    if (ids->failed) return ht__fail_memory(t->diag, t->path);
    bool ends =
        ht__tokenizer_adds_eos(t->tokenizer) && ids->n > 0 && ids->ids[ids->n - 1] == ht__tokenizer_eos(t->tokenizer);
    if (ends) ids->n--; /* the text goes on */
    return HT_OK;
}

static double characters(const char *text)
{
    double n = 0;
    for (; *text; text++)
        n += ((unsigned char)*text & 0xC0) != 0x80;
    return n > 0 ? n : 1;
}

/* The choice's tokens are those that differ from the context's own: a tokenizer may join the two at
 * their seam. What does not fit the context is left out at its start. */
static enum ht_err add_choice(struct tasks *t, const struct ht__tokens *before, const char *context, const char *choice,
                              struct ht__tokens *ids)
{
    size_t at = strlen(context);
    bool joined = at == 0 || context[at - 1] == ' ' || context[at - 1] == '\n' || choice[0] == ' ';
    const char *text = ht__arena_printf(&t->e->arena, "%s%s%s", context, joined ? "" : " ", choice);
    if (!text) return ht__fail_memory(t->diag, t->path);
    HT_TRY(encode(t, text, ids));
    size_t n = ids->n, first = 0;
    while (first < before->n && first < n && ids->ids[first] == before->ids[first])
        first++;
    if (first < 1) first = 1;
    size_t skip = n > (size_t)t->e->n_ctx ? n - (size_t)t->e->n_ctx : 0;
    if (first >= n || skip >= first)
        return ht__fail(t->diag, HT_ERR_USAGE, t->path, -1, "line %zu: expected a choice of 1 to %d tokens, got %zu",
                        t->line, t->e->n_ctx - 1, first < n ? n - first : 0);
    int32_t *copy = ht__arena_array(&t->e->arena, n - skip, sizeof *copy);
    if (!copy) return ht__fail_memory(t->diag, t->path);
    memcpy(copy, ids->ids + skip, (n - skip) * sizeof *copy);
    struct ht__continuation row = {.tokens = copy, .n = (int)(n - skip), .first = (int)(first - skip)};
    double length = characters(choice);
    ht__buf_put(&t->rows, &row, sizeof row);
    ht__buf_put(&t->lengths, &length, sizeof length);
    return HT_OK;
}

static enum ht_err add_task(struct tasks *t, const struct ht__jnode *node, struct ht__tokens *before,
                            struct ht__tokens *ids)
{
    const char *context = ht__jstr(node, "context", NULL);
    const struct ht__jnode *choices = ht__jget(node, "choices");
    int64_t answer = ht__jint(node, "answer", -1);
    bool sound = context && choices && choices->type == HT__JSON_ARRAY && choices->n >= 2 &&
                 choices->n <= MOST_CHOICES && answer >= 0 && (uint64_t)answer < choices->n;
    for (size_t i = 0; sound && i < choices->n; i++)
        sound = choices->children[i].type == HT__JSON_STRING && choices->children[i].len > 0;
    if (!sound)
        return ht__fail(t->diag, HT_ERR_FORMAT, t->path, -1,
                        "line %zu: expected {\"context\": TEXT, \"choices\": [TEXT, TEXT, …], \"answer\": "
                        "NUMBER FROM 0}",
                        t->line);
    struct task task = {t->rows.len / sizeof(struct ht__continuation), choices->n, (size_t)answer};
    HT_TRY(encode(t, context, before));
    for (size_t i = 0; i < choices->n; i++)
        HT_TRY(add_choice(t, before, context, choices->children[i].text, ids));
    ht__buf_put(&t->tasks, &task, sizeof task);
    return t->tasks.failed || t->rows.failed || t->lengths.failed ? ht__fail_memory(t->diag, t->path) : HT_OK;
}

static enum ht_err read_tasks(struct tasks *t, const struct ht__buf *file)
{
    struct ht__tokens before, ids;
    enum ht_err err = HT_OK;
    ht__tokens_init(&before, t->e->run.alloc);
    ht__tokens_init(&ids, t->e->run.alloc);
    for (size_t at = 0; at < file->len && !err;) {
        const char *line = (const char *)file->data + at, *end = memchr(line, '\n', file->len - at);
        size_t len = end ? (size_t)(end - line) : file->len - at, blank = 0;
        at += len + 1;
        t->line++;
        while (blank < len && strchr(" \t\r", line[blank]))
            blank++;
        if (blank == len) continue;
        struct ht__jnode *node;
        err = ht__json_parse(&t->e->arena, line, len, t->path, &node, t->diag);
        if (!err) err = add_task(t, node, &before, &ids);
    }
    ht__tokens_close(&before);
    ht__tokens_close(&ids);
    if (!err && t->tasks.len == 0) return ht__fail(t->diag, HT_ERR_FORMAT, t->path, -1, "the file has no tasks");
    return err;
}

static void judge(const struct tasks *t, struct ht__eval_model *m)
{
    const struct task *tasks = (const struct task *)(const void *)t->tasks.data;
    const struct ht__continuation *rows = (const struct ht__continuation *)(const void *)t->rows.data;
    const double *lengths = (const double *)(const void *)t->lengths.data;
    m->n_tasks = t->tasks.len / sizeof *tasks;
    for (size_t i = 0; i < m->n_tasks; i++) {
        const struct task *task = &tasks[i];
        size_t best = 0, by_length = 0;
        for (size_t c = 1; c < task->n; c++) {
            const struct ht__continuation *row = rows + task->first;
            const double *length = lengths + task->first;
            if (row[c].log_likelihood > row[best].log_likelihood) best = c;
            if (row[c].log_likelihood / length[c] > row[by_length].log_likelihood / length[by_length]) by_length = c;
        }
        m->n_right += best == task->answer;
        m->n_right_by_length += by_length == task->answer;
    }
}

static enum ht_err run_tasks(struct tasks *t)
{
    struct ht__eval *e = t->e;
    struct ht__continuation *rows = (struct ht__continuation *)(void *)t->rows.data;
    size_t n = t->rows.len / sizeof *rows;
    ht__progress_begin(&e->progress, &e->run, "choices", "choices", (uint64_t)n * e->n_all);
    e->progress_base = 0;
    for (size_t i = 0; i < e->n_all; i++) {
        struct ht__eval_model *m = &e->models[i];
        HT_TRY(ht__score_continuations(m->scored.engine, rows, n, e->n_seqs, e->n_batch, ht__eval_tell, e, e->run.alloc,
                                       t->diag));
        judge(t, m);
        e->progress_base += n;
    }
    return HT_OK;
}

enum ht_err ht__eval_choices(struct ht__eval *e, struct ht_diag *diag)
{
    struct tasks t = {.e = e, .path = e->settings->choices, .diag = diag};
    struct ht__buf file;
    if (!t.path) return HT_OK;
    struct ht__buf *all[] = {&file, &t.tasks, &t.rows, &t.lengths};
    for (size_t i = 0; i < 4; i++)
        ht__buf_init(all[i], e->run.alloc);
    enum ht_err err = ht__file_load(t.path, LARGEST_FILE, &file, diag);
    if (!err) err = ht__eval_open_tokenizer(e, &t.tokenizer, diag);
    if (!err) err = read_tasks(&t, &file);
    if (!err) err = run_tasks(&t);
    ht__tokenizer_close(&t.tokenizer);
    for (size_t i = 0; i < 4; i++)
        ht__buf_close(all[i]);
    return err;
}
