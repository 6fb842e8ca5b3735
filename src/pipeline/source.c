#include "calibrate/kept.h"
#include "pipeline/source.h"
#include "base/hash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { WINDOW = 1 << 20, HEX_DIGITS = 64 };

/* What the reading of a folder may look at, beside the weights. */
static const char *const companions[] = {
    "config.json",
    "generation_config.json",
    "model.safetensors.index.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "chat_template.jinja",
    "chat_template.json",
    "README.md",
    "pytorch_model.bin.index.json",
};

/* blobs/<64 hexadecimal digits>: large files of a hub's cache are named by their SHA-256. */
static void take_known_hash(struct ht__source_file *file)
{
    char real[4096];
    if (!realpath(file->path, real)) return;
    const char *name = ht__path_base(real);
    if (strlen(name) != HEX_DIGITS || strspn(name, "0123456789abcdef") != HEX_DIGITS) return;
    static const char folder[] = "/blobs/";
    size_t before = (size_t)(name - real), n = sizeof folder - 1;
    if (before < n || memcmp(name - n, folder, n) != 0) return;
    memcpy(file->sha256, name, HEX_DIGITS + 1);
    file->from_cache = true;
}

static enum ht_err add(struct ht__plan *plan, const struct ht__file *file, bool owned, enum ht__source_role role,
                       struct ht_diag *diag)
{
    struct ht__source_file *source = &plan->sources[plan->n_sources++];
    source->file = file;
    source->owned = owned;
    source->path = ht__arena_str(&plan->arena, file->path);
    if (!source->path) return ht__fail_memory(diag, file->path);
    source->size = file->size;
    source->role = role;
    take_known_hash(source);
    return HT_OK;
}

/* A file that the reading of the model opens by itself, if it is there. It is opened before, and looked at again at the
 * end: what was read in between is what is hashed. */
static enum ht_err add_path(struct ht__plan *plan, const char *path, enum ht__source_role role, struct ht_diag *diag)
{
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISREG(st.st_mode)) return HT_OK; /* not there: not read either */
    struct ht__file *file = ht__arena_new(&plan->arena, sizeof *file);
    if (!file) return ht__fail_memory(diag, path);
    HT_TRY(ht__file_open(file, path, diag));
    return add(plan, file, true, role, diag);
}

/* What stays on a hub is not read a second time: the hub says what it is. */
static enum ht_err add_remote(struct ht__plan *plan, const struct ht__file *file, struct ht_diag *diag)
{
    struct ht__source_file *source = &plan->sources[plan->n_sources++];
    source->path = ht__arena_str(&plan->arena, file->path);
    if (!source->path) return ht__fail_memory(diag, file->path);
    source->size = file->size;
    source->role = HT__SOURCE_WEIGHTS;
    source->remote = true;
    snprintf(source->sha256, sizeof source->sha256, "%s",
             plan->settings->source.sha256(plan->settings->source.ctx, file->path));
    return HT_OK;
}

/* The importance file, or the texts that importance is collected on. */
static enum ht_err add_importance(struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__importance_settings *s = &plan->settings->importance;
    char stats[HT__KEPT_PATH];
    if (s->stats)
        HT_TRY(ht__path_join(stats, sizeof stats, s->stats, "statistics.json", diag)); /* it has the others' hashes */
    if (s->stats) return add_path(plan, stats, HT__SOURCE_IMPORTANCE, diag);
    if (!s->collect) return s->imatrix ? add_path(plan, s->imatrix, HT__SOURCE_IMPORTANCE, diag) : HT_OK;
    for (size_t i = 0; i < s->calibration.n_parts; i++)
        if (s->calibration.parts[i].path)
            HT_TRY(add_path(plan, s->calibration.parts[i].path, HT__SOURCE_IMPORTANCE, diag));
    return HT_OK;
}

enum ht_err ht__sources_list(struct ht__plan *plan, struct ht_diag *diag)
{
    const struct ht__checkpoint *ck = plan->checkpoint;
    size_t n = sizeof companions / sizeof companions[0];
    size_t n_texts = plan->settings->importance.calibration.n_parts;
    plan->sources = ht__arena_array(&plan->arena, ck->n_files + n + n_texts + 1, sizeof *plan->sources);
    if (!plan->sources) return ht__fail_memory(diag, "plan");
    for (uint32_t i = 0; i < ck->n_files; i++)
        HT_TRY(ck->files[i].backend ? add_remote(plan, &ck->files[i], diag)
                                    : add(plan, &ck->files[i], false, HT__SOURCE_WEIGHTS, diag));
    for (size_t i = 0; ck->container != &ht__container_gguf && i < n; i++) {
        char path[4096];
        HT_TRY(ht__path_join(path, sizeof path, ck->dir, companions[i], diag));
        HT_TRY(add_path(plan, path, HT__SOURCE_COMPANION, diag));
    }
    return add_importance(plan, diag);
}

enum ht_err ht__sources_unchanged(const struct ht__plan *plan, struct ht_diag *diag)
{
    for (size_t i = 0; i < plan->n_sources; i++)
        if (plan->sources[i].file) HT_TRY(ht__file_check_unchanged(plan->sources[i].file, diag));
    return HT_OK;
}

void ht__sources_close(struct ht__plan *plan)
{
    for (size_t i = 0; i < plan->n_sources; i++)
        if (plan->sources[i].owned) {
            struct ht__file file = *plan->sources[i].file;
            ht__file_close(&file);
        }
    plan->n_sources = 0;
}

/* ---- what it was, for a later run ------------------------------------------------------------- */

static enum ht_err add_range(struct ht__sha256 *sha, const struct ht__file *file, uint64_t at, uint64_t n, void *window,
                             struct ht_diag *diag)
{
    for (uint64_t piece; n > 0; at += piece, n -= piece) {
        piece = n < WINDOW ? n : WINDOW;
        HT_TRY(ht__file_read(file, at, window, piece, diag));
        ht__sha256_add(sha, window, piece);
    }
    return HT_OK;
}

/* Bytes before the first tensor: the header; or the beginning of another file. */
static uint64_t header_bytes(const struct ht__checkpoint *ck, const struct ht__file *file)
{
    enum { COMPANION = 1 << 20 };
    static const uint64_t most = 64 << 20;
    uint64_t n = file->size;
    bool weights = false;
    for (uint32_t i = 0; i < ck->n_tensors; i++) {
        if (&ck->files[ck->tensors[i].file] != file) continue;
        weights = true;
        if (ck->tensors[i].offset < n) n = ck->tensors[i].offset;
    }
    uint64_t limit = weights ? most : COMPANION;
    return n < limit ? n : limit;
}

/*
 * The header, the end, and pieces from all over the file, each at a place in its part that looks random but is always
 * the same. A change of a few tensors may lie between them: the comparison with the whole source's hash finds it.
 */
static enum ht_err add_sample(struct ht__sha256 *sha, const struct ht__checkpoint *ck, const struct ht__file *file,
                              void *window, struct ht_diag *diag)
{
    enum { PIECES = 64, PIECE = 4096, END = 64 << 10 };
    uint64_t part = file->size / PIECES, end = file->size < END ? file->size : END;
    HT_TRY(add_range(sha, file, 0, header_bytes(ck, file), window, diag));
    HT_TRY(add_range(sha, file, file->size - end, end, window, diag));
    for (uint64_t i = 0; part > PIECE && i < PIECES; i++)
        HT_TRY(add_range(sha, file, i * part + (i + 1) * 2654435761u % (part - PIECE), PIECE, window, diag));
    return HT_OK;
}

/* As it lies here: where, and since when. */
static void add_place(struct ht__sha256 *sha, const struct ht__source_file *s)
{
    char line[4400];
    const int64_t *written = s->file ? s->file->state.written : (const int64_t[2]){0};
    int n = snprintf(line, sizeof line, "%s %llu %lld.%09lld %s\n", s->path, (unsigned long long)s->size,
                     (long long)written[0], (long long)written[1], s->remote ? s->sha256 : "");
    ht__sha256_add(sha, line, n > 0 ? (size_t)n : 0);
}

/* As it is anywhere. */
static void add_name(struct ht__sha256 *sha, const struct ht__source_file *s)
{
    char line[400];
    int n = snprintf(line, sizeof line, "%.255s %llu %s\n", ht__path_base(s->path), (unsigned long long)s->size,
                     s->remote || s->from_cache ? s->sha256 : "");
    ht__sha256_add(sha, line, n > 0 ? (size_t)n : 0);
}

enum ht_err ht__sources_identity(const struct ht__plan *plan, bool anywhere, char hex[65], struct ht_diag *diag)
{
    struct ht__sha256 sha;
    void *window = ht__new_aligned(plan->run.alloc, WINDOW);
    if (!window) return ht__fail_memory(diag, "source");
    ht__sha256_begin(&sha);
    enum ht_err err = HT_OK;
    for (size_t i = 0; err == HT_OK && i < plan->n_sources; i++) {
        const struct ht__source_file *s = &plan->sources[i];
        (anywhere ? add_name : add_place)(&sha, s);
        if (s->file) err = add_sample(&sha, plan->checkpoint, s->file, window, diag);
    }
    ht__sha256_end(&sha, hex);
    ht__free_aligned(plan->run.alloc, window);
    if (err == HT_OK && !hex[0]) err = ht__fail_memory(diag, "source");
    return err;
}
