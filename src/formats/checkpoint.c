/* Opening whatever holds a checkpoint, and reading ranges of its weights. */
#include "base/check.h"
#include "base/json.h"
#include "formats/container.h"
#include "formats/folder.h"
#include "formats/table.h"

#include <stdlib.h>
#include <string.h>

enum { LARGEST_INDEX = 256 << 20, AHEAD = 16 << 20 };

static enum ht_err refuse_file(const struct ht__file *file, const unsigned char *head, uint64_t n, struct ht_diag *diag)
{
    static const char pointer[] = "version https://git-lfs";
    if (n >= sizeof pointer - 1 && memcmp(head, pointer, sizeof pointer - 1) == 0)
        return ht__fail(diag, HT_ERR_FORMAT, file->path, 0,
                        "a git-lfs pointer, not the weights: fetch them with `git lfs pull`");
    if (n >= 2 && head[0] == 0x80 && head[1] <= 5)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, file->path, 0,
                        "a PyTorch file of the old form, before 1.6: save it again with a newer PyTorch");
    return ht__fail(diag, HT_ERR_UNSUPPORTED, file->path, 0,
                    n == 0 ? "the file is empty" : "neither safetensors, PyTorch nor GGUF by its first bytes");
}

/* By content. */
static enum ht_err container_of(const struct ht__file *file, const struct ht__container **container,
                                struct ht_diag *diag)
{
    unsigned char head[128] = {0};
    uint64_t n = file->size < sizeof head ? file->size : sizeof head;
    HT_TRY(ht__file_read(file, 0, head, n, diag));
    for (size_t i = 0; (*container = ht__container_at(i)) != NULL; i++)
        if ((*container)->probe(head, n)) return HT_OK;
    return refuse_file(file, head, n, diag);
}

static enum ht_err open_file(struct ht__checkpoint *ck, const char *path, bool first, struct ht_diag *diag)
{
    uint32_t file;
    const struct ht__container *container = NULL;
    HT_TRY(ht__table_open(ck, path, &file, diag));
    HT_TRY(container_of(&ck->files[file], &container, diag));
    if (first) ck->container = container;
    if (container != ck->container)
        return ht__fail(diag, HT_ERR_FORMAT, path, 0, "its format differs from that of the files before it");
    return container->open(ck, file, diag);
}

/* What sorting looks at, together: tensors are large and lie far apart. */
struct key {
    const char *name;
    uint32_t file, at;
};

static int by_file_and_name(const void *a, const void *b)
{
    const struct key *x = a, *y = b;
    return x->file != y->file ? (x->file > y->file) - (x->file < y->file) : strcmp(x->name, y->name);
}

static struct key key_of(const struct ht__checkpoint *ck, uint32_t i)
{
    return (struct key){ck->tensors[i].name, ck->tensors[i].file, i};
}

/* Moves each tensor to its key's place, round by round; the keys are used up. */
static void permute(struct ht__tensor *tensors, struct key *keys, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (keys[i].at == i) continue;
        struct ht__tensor first = tensors[i];
        uint32_t to = i;
        for (uint32_t from; (from = keys[to].at) != i; to = from) {
            tensors[to] = tensors[from];
            keys[to].at = to;
        }
        tensors[to] = first;
        keys[to].at = to;
    }
}

static bool is_sorted(const struct ht__checkpoint *ck)
{
    for (uint32_t i = 1; i < ck->n_tensors; i++) {
        struct key a = key_of(ck, i - 1), b = key_of(ck, i);
        if (by_file_and_name(&a, &b) > 0) return false;
    }
    return true;
}

/* llama.cpp's converter takes the tensors of a safetensors file by name, and those of a pickle as they come. Most files
 * are sorted already; otherwise the map from names follows. */
static enum ht_err sort_shards(struct ht__checkpoint *ck, struct ht_diag *diag)
{
    uint32_t n = ck->n_tensors;
    if (!ck->container->sorted || is_sorted(ck)) return HT_OK;
    struct key *keys = ht__new_array(ck->arena.alloc, n, sizeof *keys);
    uint32_t *place = ht__new_array(ck->arena.alloc, n, sizeof *place);
    for (uint32_t i = 0; keys && i < n; i++)
        keys[i] = key_of(ck, i);
    if (keys) qsort(keys, n, sizeof *keys, by_file_and_name);
    if (keys && place) {
        for (uint32_t i = 0; i < n; i++)
            place[keys[i].at] = i;
        ht__map_renumber(&ck->by_name, place);
        permute(ck->tensors, keys, n);
    }
    enum ht_err err = keys && place ? HT_OK : ht__fail_memory(diag, ck->dir);
    ht__free(ck->arena.alloc, place);
    ht__free(ck->arena.alloc, keys);
    return err;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A shard's name comes from a file: it must stay inside the folder. */
static bool is_plain_name(const char *name)
{
    return name[0] != '\0' && name[0] != '.' && !strchr(name, '/');
}

struct shards {
    const char **names;
    size_t n, cap;
};

static enum ht_err add_shard(struct ht__arena *arena, struct shards *shards, const char *name, struct ht_diag *diag)
{
    if (shards->n == shards->cap) {
        size_t cap = shards->cap ? shards->cap * 2 : 32;
        const char **names = ht__arena_array(arena, cap, sizeof *names);
        if (!names) return ht__fail_memory(diag, name);
        if (shards->n) memcpy(names, shards->names, shards->n * sizeof *names);
        shards->names = names;
        shards->cap = cap;
    }
    shards->names[shards->n++] = name;
    return HT_OK;
}

/* The distinct files of an index's weight_map, sorted. */
static enum ht_err shards_of_index(struct ht__checkpoint *ck, const struct ht__jnode *map, const char *path,
                                   struct shards *shards, struct ht_diag *diag)
{
    if (!map || map->type != HT__JSON_OBJECT || map->n == 0)
        return ht__fail(diag, HT_ERR_FORMAT, path, -1, "it has no \"weight_map\"");
    struct ht__map seen;
    ht__map_init(&seen, ck->arena.alloc);
    enum ht_err err = HT_OK;
    for (size_t i = 0; i < map->n && err == HT_OK; i++) {
        const struct ht__jnode *v = &map->children[i];
        if (v->type != HT__JSON_STRING || !is_plain_name(v->text)) {
            err = ht__fail(diag, HT_ERR_FORMAT, path, -1,
                           "\"weight_map\" does not name a file of this folder for \"%.80s\"", map->keys[i]);
            break;
        }
        enum ht__map_put put = ht__map_put(&seen, v->text, v->len, 0);
        if (put == HT__MAP_NO_MEMORY) err = ht__fail_memory(diag, path);
        if (put == HT__MAP_NEW) err = add_shard(&ck->arena, shards, v->text, diag);
    }
    ht__map_close(&seen);
    if (err == HT_OK) qsort(shards->names, shards->n, sizeof *shards->names, by_text);
    return err;
}

/* Index and shards must agree, in both directions. */
static enum ht_err check_index(const struct ht__checkpoint *ck, const struct ht__jnode *map, const char *path,
                               struct ht_diag *diag)
{
    for (size_t i = 0; i < map->n; i++) {
        const struct ht__tensor *t = ht__checkpoint_find(ck, map->keys[i]);
        if (!t || strcmp(ht__path_base(ck->files[t->file].path), map->children[i].text) != 0)
            return ht__fail(diag, HT_ERR_FORMAT, path, -1, "%.100s is not in %.100s, which the index names for it",
                            map->keys[i], map->children[i].text);
    }
    if (map->n != ck->n_tensors)
        return ht__fail(diag, HT_ERR_FORMAT, path, -1, "the index names %zu tensors, but the files hold %u", map->n,
                        ck->n_tensors);
    return HT_OK;
}

static enum ht_err shards_exist(const struct ht__checkpoint *ck, const char *dir, const char *index,
                                const struct shards *shards, struct ht_diag *diag)
{
    for (size_t i = 0; i < shards->n; i++) {
        char path[4096];
        HT_TRY(ht__path_join(path, sizeof path, dir, shards->names[i], diag));
        if (!ht__path_exists_in(ck->remote, path))
            return ht__fail(diag, HT_ERR_NOT_FOUND, path, -1, "the file is missing, though %s names it",
                            ht__path_base(index));
    }
    return HT_OK;
}

static enum ht_err open_shards(struct ht__checkpoint *ck, const char *dir, const struct shards *shards,
                               struct ht_diag *diag)
{
    for (size_t i = 0; i < shards->n; i++) {
        char path[4096];
        HT_TRY(ht__path_join(path, sizeof path, dir, shards->names[i], diag));
        HT_TRY(open_file(ck, path, i == 0, diag));
    }
    return sort_shards(ck, diag);
}

static enum ht_err open_index(struct ht__checkpoint *ck, const char *dir, const char *path, struct ht_diag *diag)
{
    struct ht__arena tree; /* the index is only needed here */
    struct ht__jnode *root;
    struct shards shards = {0};
    ht__arena_init(&tree, ck->arena.alloc);
    enum ht_err err = ht__json_load(&tree, path, LARGEST_INDEX, &root, diag);
    const struct ht__jnode *map = err == HT_OK ? ht__jget(root, "weight_map") : NULL;
    if (err == HT_OK) err = shards_of_index(ck, map, path, &shards, diag);
    if (err == HT_OK) err = shards_exist(ck, dir, path, &shards, diag);
    if (err == HT_OK) err = open_shards(ck, dir, &shards, diag);
    if (err == HT_OK) err = check_index(ck, map, path, diag);
    ht__arena_close(&tree);
    return err;
}

static enum ht_err open_folder(struct ht__checkpoint *ck, const char *dir, struct ht_diag *diag)
{
    struct ht__folder_weights found;
    char path[4096];
    HT_TRY(ht__folder_choose(dir, ck->remote, &ck->arena, &found, diag));
    if (!found.index) {
        struct shards shards = {.names = found.files, .n = found.n};
        return open_shards(ck, dir, &shards, diag);
    }
    HT_TRY(ht__path_join(path, sizeof path, dir, found.index, diag));
    return open_index(ck, dir, path, diag);
}

static const char *folder_of(struct ht__arena *arena, const char *path)
{
    const char *slash = strrchr(path, '/');
    if (!slash) return ".";
    return ht__arena_copy(arena, path, slash == path ? 1 : (size_t)(slash - path));
}

static enum ht_err open_path(struct ht__checkpoint *ck, const char *path, struct ht_diag *diag)
{
    ck->is_folder = ht__path_is_dir(path);
    ck->dir = ck->is_folder ? ht__arena_str(&ck->arena, path) : folder_of(&ck->arena, path);
    if (!ck->dir) return ht__fail_memory(diag, path);
    if (ck->is_folder) return open_folder(ck, path, diag);
    HT_TRY(open_file(ck, path, true, diag));
    return sort_shards(ck, diag);
}

static enum ht_err open_shard(struct ht__checkpoint *ck, const char *path, struct ht_diag *diag)
{
    uint32_t file;
    HT_TRY(ht__table_open(ck, path, &file, diag));
    HT_TRY(container_of(&ck->files[file], &ck->container, diag));
    ck->dir = folder_of(&ck->arena, path);
    return ck->dir ? ck->container->open_alone(ck, file, diag) : ht__fail_memory(diag, path);
}

static enum ht_err open_empty(struct ht__checkpoint *ck, const char *path, struct ht_diag *diag)
{
    if (!ht__path_is_dir(path)) return ht__fail(diag, HT_ERR_NOT_FOUND, path, -1, "not a folder");
    ck->is_folder = ck->no_weights = true;
    ck->dir = ht__arena_str(&ck->arena, path);
    return ck->dir ? HT_OK : ht__fail_memory(diag, path);
}

static enum ht_err open_by(enum ht_err (*how)(struct ht__checkpoint *, const char *, struct ht_diag *),
                           const struct ht__remote_folder *remote, const char *path, const struct ht__alloc *alloc,
                           struct ht__checkpoint **out, struct ht_diag *diag)
{
    *out = NULL;
    struct ht__checkpoint *ck = ht__new(alloc, sizeof *ck);
    if (!ck) return ht__fail_memory(diag, path);
    ht__arena_init(&ck->arena, alloc);
    ht__map_init(&ck->by_name, alloc);
    ck->remote = remote;
    enum ht_err err = how(ck, path, diag);
    if (err != HT_OK)
        ht__checkpoint_close(&ck);
    else
        *out = ck;
    return err;
}

enum ht_err ht__checkpoint_open(const char *path, const struct ht__alloc *alloc, struct ht__checkpoint **out,
                                struct ht_diag *diag)
{
    return open_by(open_path, NULL, path, alloc, out, diag);
}

enum ht_err ht__checkpoint_open_in(const struct ht__remote_folder *remote, const char *path,
                                   const struct ht__alloc *alloc, struct ht__checkpoint **out, struct ht_diag *diag)
{
    return open_by(open_path, remote, path, alloc, out, diag);
}

enum ht_err ht__checkpoint_open_empty(const char *path, const struct ht__alloc *alloc, struct ht__checkpoint **out,
                                      struct ht_diag *diag)
{
    return open_by(open_empty, NULL, path, alloc, out, diag);
}

enum ht_err ht__checkpoint_open_shard(const char *path, const struct ht__alloc *alloc, struct ht__checkpoint **out,
                                      struct ht_diag *diag)
{
    return open_by(open_shard, NULL, path, alloc, out, diag);
}

void ht__checkpoint_close(struct ht__checkpoint **checkpoint)
{
    struct ht__checkpoint *ck = *checkpoint;
    if (!ck) return;
    for (uint32_t i = 0; i < ck->n_files; i++)
        ht__file_close(&ck->files[i]);
    ht__map_close(&ck->by_name);
    const struct ht__alloc *alloc = ck->arena.alloc;
    ht__free(alloc, ck->tensors);
    ht__arena_close(&ck->arena);
    ht__free(alloc, ck);
    *checkpoint = NULL;
}

uint64_t ht__checkpoint_memory(const struct ht__checkpoint *ck)
{
    return ck->arena.total + (uint64_t)ck->cap_tensors * sizeof *ck->tensors +
           ck->by_name.cap * sizeof *ck->by_name.slots;
}

const struct ht__tensor *ht__checkpoint_find(const struct ht__checkpoint *checkpoint, const char *name)
{
    const uint32_t *at = ht__map_get(&checkpoint->by_name, name, strlen(name));
    return at ? &checkpoint->tensors[*at] : NULL;
}

static _Thread_local const struct ht__tensor_watch *watching;

void ht__tensor_watch(const struct ht__tensor_watch *watch)
{
    watching = watch;
}

/* Bytes [at, at + n) of the tensor. */
static enum ht_err read_bytes(const struct ht__checkpoint *ck, const struct ht__tensor *t, uint64_t at, void *dst,
                              uint64_t n, struct ht_diag *diag)
{
    HT_TRY(ht__file_read(&ck->files[t->file], t->offset + at, dst, n, diag));
    if (watching) watching->read(watching->ctx, ck, t, t->offset + at, dst, n);
    return HT_OK;
}

enum ht_err ht__tensor_read_bytes(const struct ht__checkpoint *checkpoint, const struct ht__tensor *tensor, uint64_t at,
                                  uint64_t n, void *dst, struct ht_diag *diag)
{
    const struct ht__file *file = &checkpoint->files[tensor->file];
    if (file->backend) /* tensors are read from their beginning to their end: the rest of this one comes next */
        ht__file_expect(file, tensor->offset + at, tensor->n_bytes - at < AHEAD ? tensor->n_bytes - at : AHEAD);
    return read_bytes(checkpoint, tensor, at, dst, n, diag);
}

enum ht_err ht__tensor_read_raw(const struct ht__checkpoint *checkpoint, const struct ht__tensor *tensor,
                                uint64_t first, uint64_t n, void *dst, struct ht_diag *diag)
{
    const struct ht__codec *type = tensor->dtype;
    uint64_t at = first / type->block_len * type->block_size;
    return ht__tensor_read_bytes(checkpoint, tensor, at, ht__codec_bytes(type, n), dst, diag);
}

void ht__tensor_expect(const struct ht__checkpoint *checkpoint, const struct ht__tensor *tensor, uint64_t first,
                       uint64_t n)
{
    const struct ht__codec *type = tensor->dtype;
    ht__file_expect(&checkpoint->files[tensor->file], tensor->offset + first / type->block_len * type->block_size,
                    ht__codec_bytes(type, n));
}

static void swap_bytes(unsigned char *data, uint64_t n, size_t size)
{
    for (uint64_t i = 0; i < n; i++, data += size)
        for (size_t a = 0, b = size - 1; a < b; a++, b--) {
            unsigned char byte = data[a];
            data[a] = data[b];
            data[b] = byte;
        }
}

static enum ht_err read_contiguous(const struct ht__checkpoint *ck, const struct ht__tensor *t, uint64_t first,
                                   uint64_t n, float *dst, struct ht__arena *scratch, struct ht_diag *diag)
{
    void *raw = ht__arena_raw(scratch, ht__codec_bytes(t->dtype, n));
    if (!raw) return ht__fail_memory(diag, t->name);
    HT_TRY(ht__tensor_read_raw(ck, t, first, n, raw, diag));
    if (t->big_endian) swap_bytes(raw, n, t->dtype->block_size);
    ht__decoder(t->dtype, ht__cpu_best())(raw, (int64_t)n, dst);
    return HT_OK;
}

/* Offset, in elements, of the weight with this row-major number. */
static uint64_t strided_offset(const struct ht__tensor *t, uint64_t index)
{
    uint64_t offset = 0;
    for (int d = t->n_dims - 1; d >= 0; d--) {
        uint64_t extent = (uint64_t)t->shape[d];
        offset += index % extent * (uint64_t)t->strides[d];
        index /= extent;
    }
    return offset;
}

/* Views with strides occur for small or transposed tensors: element by element, from a window. */
static enum ht_err read_strided(const struct ht__checkpoint *ck, const struct ht__tensor *t, uint64_t first, uint64_t n,
                                float *dst, struct ht__arena *scratch, struct ht_diag *diag)
{
    enum { WINDOW = 64 << 10 };
    size_t size = t->dtype->block_size;
    unsigned char *window = ht__arena_raw(scratch, WINDOW);
    if (!window) return ht__fail_memory(diag, t->name);
    uint64_t start = 0, end = 0; /* bytes of the tensor that the window holds */
    for (uint64_t i = 0; i < n; i++) {
        uint64_t at = strided_offset(t, first + i) * size;
        if (at < start || at + size > end) {
            start = at;
            end = at + WINDOW < t->n_bytes ? at + WINDOW : t->n_bytes;
            HT_TRY(read_bytes(ck, t, start, window, end - start, diag));
        }
        unsigned char one[16];
        memcpy(one, window + (at - start), size);
        if (t->big_endian) swap_bytes(one, 1, size);
        t->dtype->decode(one, 1, dst + i);
    }
    return HT_OK;
}

enum ht_err ht__tensor_read(const struct ht__checkpoint *checkpoint, const struct ht__tensor *tensor, uint64_t first,
                            uint64_t n, float *dst, struct ht__arena *scratch, struct ht_diag *diag)
{
    return tensor->strides ? read_strided(checkpoint, tensor, first, n, dst, scratch, diag)
                           : read_contiguous(checkpoint, tensor, first, n, dst, scratch, diag);
}
