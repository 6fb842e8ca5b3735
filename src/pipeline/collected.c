#include "pipeline/collected.h"
#include "base/hash.h"
#include "calibrate/groups.h"

#include <stdio.h>
#include <string.h>

enum { PATH = 4400, WINDOW = 1 << 20 };

static bool path_of(const struct ht__collected *c, const char *folder, size_t group, const char *end, char path[PATH])
{
    return snprintf(path, PATH, "%s/importance-%.12s-%02zu.gguf%s", folder, c->identity, group + 1, end) < PATH;
}

static enum ht_err hash_file(const struct ht__collected *c, const char *path, char hex[65], struct ht_diag *diag)
{
    struct ht__file file;
    struct ht__sha256 sha;
    void *window = ht__new_array(c->plan->run.alloc, 1, WINDOW);
    enum ht_err err = window ? ht__file_open(&file, path, diag) : ht__fail_memory(diag, path);
    if (err != HT_OK) {
        ht__free(c->plan->run.alloc, window);
        return err;
    }
    ht__sha256_begin(&sha);
    for (uint64_t at = 0; err == HT_OK && at < file.size; at += WINDOW) {
        uint64_t n = file.size - at < WINDOW ? file.size - at : WINDOW;
        err = ht__file_read(&file, at, window, n, diag);
        if (err == HT_OK) ht__sha256_add(&sha, window, (size_t)n);
    }
    ht__sha256_end(&sha, hex);
    ht__file_close(&file);
    ht__free(c->plan->run.alloc, window);
    return err == HT_OK && !hex[0] ? ht__fail_memory(diag, path) : err;
}

/* ---- what others have collected ---- */

/* Is the file as it was written? Its hash lies beside it, and was written after it. */
static bool is_whole(const struct ht__collected *c, const char *folder, size_t group, const char *path)
{
    char beside[PATH], hex[65];
    struct ht__buf said;
    ht__buf_init(&said, c->plan->run.alloc);
    bool good = path_of(c, folder, group, ".sha256", beside) && ht__file_load(beside, 64, &said, NULL) == HT_OK &&
                said.len == 64 && hash_file(c, path, hex, NULL) == HT_OK && memcmp(hex, said.data, 64) == 0;
    ht__buf_close(&said);
    return good;
}

static enum ht_err read_group(const struct ht__collected *c, const char *path, size_t group,
                              struct ht__importance *sums, struct ht_diag *diag)
{
    struct ht__sums_file file;
    struct ht__arena arena;
    ht__arena_init(&arena, c->plan->run.alloc);
    enum ht_err err = ht__sums_read(path, (uint32_t)c->cal->n_ctx, &arena, &file, diag);
    if (err == HT_OK && (strcmp(file.state.identity, c->identity) != 0 || file.state.passes != group + 1))
        err = ht__fail(diag, HT_ERR_FORMAT, path, -1, "it is of another model or text");
    if (err == HT_OK) err = ht__importance_resume(sums, c->model, &file, path, diag);
    ht__arena_close(&arena);
    return err;
}

/* What is damaged is collected anew; what is whole and cannot be read is an error. */
static enum ht_err take_from(struct ht__collected *c, const char *folder, size_t group, struct ht__importance *sums,
                             bool *known, struct ht_diag *diag)
{
    char path[PATH];
    if (*known || !path_of(c, folder, group, "", path) || !ht__path_exists(path)) return HT_OK;
    if (!is_whole(c, folder, group, path)) {
        ht__log_printf(c->plan->run.log, HT__LOG_WARNING, "%s is not as it was written; it is not taken", path);
        return HT_OK;
    }
    HT_TRY(read_group(c, path, group, sums, diag));
    c->n_taken++;
    *known = true;
    return HT_OK;
}

static enum ht_err take(void *ctx, size_t group, struct ht__importance *sums, bool *known, struct ht_diag *diag)
{
    struct ht__collected *c = ctx;
    const struct ht__publish_settings *s = &c->plan->settings->publish;
    for (size_t i = 0; i < s->take_from.n; i++)
        HT_TRY(take_from(c, s->take_from.items[i], group, sums, known, diag));
    /* of a part that was interrupted, and is made again in the same folder */
    bool own = c->plan->settings->importance.parts && s->resume;
    return own ? take_from(c, s->output, group, sums, known, diag) : HT_OK;
}

/* ---- what is collected here ---- */

static enum ht_err keep(void *ctx, size_t group, struct ht__importance *sums, struct ht_diag *diag)
{
    const struct ht__collected *c = ctx;
    const char *folder = c->plan->settings->publish.output;
    struct ht__sums_file file;
    char path[PATH], beside[PATH], hex[65];
    if (!path_of(c, folder, group, "", path) || !path_of(c, folder, group, ".sha256", beside))
        return ht__fail(diag, HT_ERR_LIMIT, folder, -1, "the path is too long");
    HT_TRY(ht__make_dirs(folder, diag));
    HT_TRY(ht__importance_list(sums, &file, diag));
    file.chunk_size = (uint32_t)c->cal->n_ctx;
    file.state.passes = (uint32_t)group + 1;
    memcpy(file.state.identity, c->identity, sizeof file.state.identity);
    HT_TRY(ht__sums_write(path, &file, true, c->plan->run.alloc, diag));
    HT_TRY(hash_file(c, path, hex, diag));
    return ht__file_publish(beside, hex, 64, diag);
}

enum ht_err ht__collected_open(struct ht__collected *c, const struct ht__plan *plan, const struct ht__model *model,
                               const struct ht__calibration *cal, struct ht__calibration_watch *watch,
                               struct ht_diag *diag)
{
    const struct ht__importance_settings *s = &plan->settings->importance;
    size_t n = ht__groups_of(cal->windows.n);
    *c = (struct ht__collected){.plan = plan, .model = model, .cal = cal};
    *watch = (struct ht__calibration_watch){.ctx = c, .to = n};
    if (s->parts == 0 && plan->settings->publish.take_from.n == 0) return HT_OK;
    HT_TRY(ht__calibration_text_identity(cal, model, c->identity, diag));
    watch->take = take;
    if (s->parts == 0) return HT_OK;
    watch->keep = keep;
    watch->from = ht__groups_before(n, s->part - 1, s->parts);
    watch->to = ht__groups_before(n, s->part, s->parts);
    return HT_OK;
}
