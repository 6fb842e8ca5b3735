/* Choosing among a folder's files: what transformers would load, or a reason why nothing can be. */
#include "formats/folder.h"
#include "base/file.h"
#include "base/text.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const stems[][2] = {{"model", "safetensors"}, {"pytorch_model", "bin"}};

/* "model-00002-of-00003.safetensors" gives 2 and 3. */
static bool is_numbered(const char *name, const char *const stem[2], unsigned *number, unsigned *total)
{
    size_t n = strlen(stem[0]);
    int end = -1;
    char rest[32];
    snprintf(rest, sizeof rest, ".%s", stem[1]);
    return strncmp(name, stem[0], n) == 0 && sscanf(name + n, "-%5u-of-%5u%n", number, total, &end) == 2 && end > 0 &&
           strcmp(name + n + end, rest) == 0 && *number >= 1 && *number <= *total;
}

/* What a folder may hold instead, the likeliest to be meant first. */
static const struct other {
    const char *start, *end;
    const char *reason;
} others[] = {
    {"consolidated", "",
     "the form of the model's first release; expected Hugging Face's form, with config.json and "
     "model.safetensors"},
    {"", ".pth",
     "the form of the model's first release; expected Hugging Face's form, with config.json and "
     "model.safetensors"},
    {"adapter_model", "", "an adapter without the model that it belongs to"},
    {"", ".gguf", "a model in one file: give the file itself"},
    {"", ".safetensors", "not the name of a whole model: give the file itself if it is one"},
    {"", ".bin", "not the name of a whole model: give the file itself if it is one"},
    {"", ".pt", "not the name of a whole model: give the file itself if it is one"},
};

enum { N_OTHERS = sizeof others / sizeof others[0] };

/* All that one pass over the folder finds. Of several names the first in order, as folders have none. */
struct listing {
    unsigned total[2]; /* of numbered files, by stem */
    unsigned kinds[2]; /* 2: numbered "of 3" and "of 4" lie side by side */
    char other[N_OTHERS][256];
};

static void note(struct listing *l, const char *name)
{
    unsigned number, total;
    for (int s = 0; s < 2; s++)
        if (is_numbered(name, stems[s], &number, &total)) {
            if (l->total[s] != total) l->kinds[s]++;
            l->total[s] = total;
            return;
        }
    for (size_t i = 0; i < N_OTHERS; i++) {
        if (strncmp(name, others[i].start, strlen(others[i].start)) != 0 || !ht__ends_with(name, others[i].end))
            continue;
        if (!l->other[i][0] || strcmp(name, l->other[i]) < 0) snprintf(l->other[i], sizeof l->other[i], "%.255s", name);
        return;
    }
}

static enum ht_err list(const char *dir, const struct ht__remote_folder *remote, struct listing *l,
                        struct ht_diag *diag)
{
    DIR *d = opendir(dir);
    if (!d) return ht__fail_errno(diag, errno, dir, "cannot list the folder");
    memset(l, 0, sizeof *l);
    for (struct dirent *e; (e = readdir(d)) != NULL;)
        note(l, e->d_name);
    closedir(d);
    for (size_t i = 0; remote && i < remote->n; i++)
        note(l, remote->names[i]);
    return HT_OK;
}

/* The files of a set, every one of which must be there. */
static enum ht_err numbered(const char *dir, const struct ht__remote_folder *remote, const char *const stem[2],
                            unsigned total, struct ht__arena *arena, struct ht__folder_weights *out,
                            struct ht_diag *diag)
{
    size_t cap = 0;
    for (unsigned i = 1; i <= total; i++) {
        char path[4096];
        const char *name = ht__arena_printf(arena, "%s-%05u-of-%05u.%s", stem[0], i, total, stem[1]);
        if (!name) return ht__fail_memory(diag, dir);
        HT_TRY(ht__path_join(path, sizeof path, dir, name, diag));
        if (!ht__path_exists_in(remote, path))
            return ht__fail(diag, HT_ERR_NOT_FOUND, path, -1, "one of %u files of the model is missing", total);
        if (out->n == cap) {
            cap = cap ? 2 * cap : 16;
            const char **grown = ht__arena_array(arena, cap, sizeof *grown);
            if (!grown) return ht__fail_memory(diag, dir);
            if (out->n) memcpy(grown, out->files, out->n * sizeof *grown);
            out->files = grown;
        }
        out->files[out->n++] = name;
    }
    return HT_OK;
}

static enum ht_err without_names(const char *dir, const struct ht__remote_folder *remote, struct ht__arena *arena,
                                 struct ht__folder_weights *out, struct ht_diag *diag)
{
    struct listing l;
    HT_TRY(list(dir, remote, &l, diag));
    for (int s = 0; s < 2; s++) {
        if (l.kinds[s] > 1)
            return ht__fail(diag, HT_ERR_FORMAT, dir, -1,
                            "numbered %s files of two models and no index that says which are meant", stems[s][1]);
        if (l.total[s]) return numbered(dir, remote, stems[s], l.total[s], arena, out, diag);
    }
    for (size_t i = 0; i < N_OTHERS; i++)
        if (l.other[i][0])
            return ht__fail(diag, HT_ERR_UNSUPPORTED, dir, -1, "its only weights are \"%.200s\": %s", l.other[i],
                            others[i].reason);
    return ht__fail(diag, HT_ERR_NOT_FOUND, dir, -1,
                    "no model.safetensors, pytorch_model.bin or an index of either is in this folder");
}

enum ht_err ht__folder_choose(const char *dir, const struct ht__remote_folder *remote, struct ht__arena *arena,
                              struct ht__folder_weights *out, struct ht_diag *diag)
{
    static const char *const names[] = {"model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                                        "pytorch_model.bin.index.json"};
    *out = (struct ht__folder_weights){NULL, NULL, 0};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        char path[4096];
        HT_TRY(ht__path_join(path, sizeof path, dir, names[i], diag));
        if (!ht__path_exists_in(remote, path)) continue;
        if (ht__ends_with(names[i], ".index.json")) {
            out->index = names[i];
            return HT_OK;
        }
        out->files = ht__arena_array(arena, 1, sizeof *out->files);
        if (!out->files) return ht__fail_memory(diag, dir);
        out->files[out->n++] = names[i];
        return HT_OK;
    }
    return without_names(dir, remote, arena, out, diag);
}
