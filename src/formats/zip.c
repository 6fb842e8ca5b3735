/*
 * End record (22 bytes and a comment) at the end of the file, perhaps with a ZIP64 locator and record before
 * it; it points to the central directory, whose entries point to local headers. Names and sizes come from
 * the central directory; a local header must not contradict it.
 */
#include "formats/zip.h"
#include "base/check.h"
#include "base/cursor.h"

#include <stdlib.h>
#include <string.h>

enum {
    END_SIZE = 22,
    LOCATOR_SIZE = 20,
    END64_SIZE = 56,
    CENTRAL_SIZE = 46,
    LOCAL_SIZE = 30,
    MAX_ENTRIES = 1 << 20,
    MAX_DIRECTORY = 256 << 20,
};

struct reader {
    struct ht__zip *zip;
    const struct ht__file *file;
    struct ht__arena *arena;
    struct ht_diag *diag;
    uint64_t directory, directory_size, n;
};

static enum ht_err fault(struct reader *r, uint64_t at, const char *message)
{
    return ht__fail(r->diag, HT_ERR_FORMAT, r->file->path, (int64_t)at, "ZIP: %s", message);
}

/* The value of a field that holds all ones is in the ZIP64 record instead. */
static enum ht_err read_end64(struct reader *r, uint64_t end)
{
    uint8_t bytes[END64_SIZE];
    if (end < LOCATOR_SIZE) return fault(r, end, "its ZIP64 locator is missing");
    HT_TRY(ht__file_read(r->file, end - LOCATOR_SIZE, bytes, LOCATOR_SIZE, r->diag));
    struct ht__cursor c = ht__cursor_of(bytes, LOCATOR_SIZE);
    if (ht__cursor_u32(&c) != 0x07064b50) return fault(r, end, "its ZIP64 locator is missing");
    ht__cursor_u32(&c);
    uint64_t at = ht__cursor_u64(&c);
    if (!ht__range_ok(at, END64_SIZE, r->file->size)) return fault(r, at, "its ZIP64 record is cut off");
    HT_TRY(ht__file_read(r->file, at, bytes, END64_SIZE, r->diag));
    c = ht__cursor_of(bytes, END64_SIZE);
    if (ht__cursor_u32(&c) != 0x06064b50) return fault(r, at, "its ZIP64 record is missing");
    ht__cursor_take(&c, 28);
    r->n = ht__cursor_u64(&c);
    r->directory_size = ht__cursor_u64(&c);
    r->directory = ht__cursor_u64(&c);
    return HT_OK;
}

/* A comment of up to 65535 bytes may follow the end record; PyTorch writes none, so few bytes are searched. */
static enum ht_err read_end(struct reader *r)
{
    uint8_t tail[1024];
    uint64_t n = r->file->size < sizeof tail ? r->file->size : sizeof tail, start = r->file->size - n;
    HT_TRY(ht__file_read(r->file, start, tail, n, r->diag));
    for (uint64_t i = n >= END_SIZE ? n - END_SIZE + 1 : 0; i-- > 0;) {
        if (memcmp(tail + i, "PK\5\6", 4) != 0) continue;
        struct ht__cursor c = ht__cursor_of(tail + i, END_SIZE);
        ht__cursor_take(&c, 10);
        r->n = ht__cursor_u16(&c);
        r->directory_size = ht__cursor_u32(&c);
        r->directory = ht__cursor_u32(&c);
        if (r->n == 0xffff || r->directory_size == 0xffffffff || r->directory == 0xffffffff)
            return read_end64(r, start + i);
        return HT_OK;
    }
    return fault(r, r->file->size, "its end record is missing: the file is truncated");
}

/* Sizes and offset that hold all ones are in the extra field with id 1 instead, in this order. */
static enum ht_err read_extra(struct reader *r, const uint8_t *extra, size_t len, uint64_t *size, uint64_t *packed,
                              uint64_t *offset)
{
    struct ht__cursor c = ht__cursor_of(extra, len);
    while (ht__cursor_left(&c) >= 4) {
        uint16_t id = ht__cursor_u16(&c), n = ht__cursor_u16(&c);
        const uint8_t *body = ht__cursor_take(&c, n);
        if (!body) break; /* padding at the end of the field is not an error */
        if (id != 1) continue;
        struct ht__cursor f = ht__cursor_of(body, n);
        if (*size == 0xffffffff) *size = ht__cursor_u64(&f);
        if (*packed == 0xffffffff) *packed = ht__cursor_u64(&f);
        if (*offset == 0xffffffff) *offset = ht__cursor_u64(&f);
        if (f.bad) return fault(r, 0, "a ZIP64 field is cut off");
    }
    return HT_OK;
}

/* The bytes begin after the local header, whose name and extra field have lengths of their own. */
static enum ht_err locate(struct reader *r, struct ht__zip_entry *e, uint64_t local, const char *full, size_t len)
{
    uint8_t bytes[LOCAL_SIZE];
    if (!ht__range_ok(local, LOCAL_SIZE + len, r->file->size)) return fault(r, local, "a local header lies outside");
    HT_TRY(ht__file_read(r->file, local, bytes, LOCAL_SIZE, r->diag));
    uint16_t name_len, extra_len, method;
    memcpy(&method, bytes + 8, 2);
    memcpy(&name_len, bytes + 26, 2);
    memcpy(&extra_len, bytes + 28, 2);
    if (memcmp(bytes, "PK\3\4", 4) != 0 || method != 0 || name_len != len)
        return fault(r, local, "a local header contradicts the directory");
    char *name = ht__arena_new(r->arena, len + 1);
    if (!name) return ht__fail_memory(r->diag, r->file->path);
    HT_TRY(ht__file_read(r->file, local + LOCAL_SIZE, name, len, r->diag));
    if (memcmp(name, full, len) != 0) return fault(r, local, "a local header has another name than the directory");
    e->offset = local + LOCAL_SIZE + name_len + extra_len;
    if (!ht__range_ok(e->offset, e->size, r->file->size)) return fault(r, e->offset, "an entry goes past the end");
    return HT_OK;
}

static enum ht_err read_entry(struct reader *r, struct ht__cursor *c)
{
    size_t at = c->pos;
    if (ht__cursor_u32(c) != 0x02014b50) return fault(r, r->directory + at, "the directory is damaged");
    ht__cursor_take(c, 4);
    uint16_t flags = ht__cursor_u16(c), method = ht__cursor_u16(c);
    ht__cursor_take(c, 8);
    uint64_t packed = ht__cursor_u32(c), size = ht__cursor_u32(c);
    uint16_t name_len = ht__cursor_u16(c), extra_len = ht__cursor_u16(c), comment_len = ht__cursor_u16(c);
    ht__cursor_take(c, 8);
    uint64_t local = ht__cursor_u32(c);
    const char *full = (const char *)ht__cursor_take(c, name_len);
    const uint8_t *extra = ht__cursor_take(c, extra_len);
    ht__cursor_take(c, comment_len);
    if (c->bad) return fault(r, r->directory + at, "the directory is cut off");
    HT_TRY(read_extra(r, extra, extra_len, &size, &packed, &local));
    if (flags & 1 || method != 0 || size != packed)
        return ht__fail(r->diag, HT_ERR_UNSUPPORTED, r->file->path, (int64_t)(r->directory + at),
                        "ZIP: \"%.*s\" is compressed or encrypted; checkpoints are stored plain", name_len, full);
    const char *slash = memchr(full, '/', name_len);
    if (memchr(full, '\0', name_len)) return fault(r, r->directory + at, "a name holds a NUL");
    const char *base = slash ? slash + 1 : full;
    struct ht__zip_entry e = {.size = size};
    e.name = ht__arena_copy(r->arena, base, (size_t)(full + name_len - base));
    if (!e.name) return ht__fail_memory(r->diag, r->file->path);
    HT_TRY(locate(r, &e, local, full, name_len));
    switch (ht__map_put(&r->zip->by_name, e.name, strlen(e.name), r->zip->n)) {
    case HT__MAP_NO_MEMORY: return ht__fail_memory(r->diag, r->file->path);
    case HT__MAP_PRESENT: return fault(r, r->directory + at, "two entries have one name");
    default: break;
    }
    r->zip->entries[r->zip->n++] = e;
    return HT_OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct ht__zip_entry *x = *(const struct ht__zip_entry *const *)a;
    const struct ht__zip_entry *y = *(const struct ht__zip_entry *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static enum ht_err check_overlap(struct reader *r)
{
    const struct ht__zip_entry **sorted = ht__new_array(r->arena->alloc, r->zip->n, sizeof *sorted);
    if (!sorted) return ht__fail_memory(r->diag, r->file->path);
    for (uint32_t i = 0; i < r->zip->n; i++)
        sorted[i] = &r->zip->entries[i];
    qsort(sorted, r->zip->n, sizeof *sorted, by_offset);
    enum ht_err err = HT_OK;
    for (uint32_t i = 1; i < r->zip->n && err == HT_OK; i++)
        if (sorted[i - 1]->offset + sorted[i - 1]->size > sorted[i]->offset)
            err = fault(r, sorted[i]->offset, "two entries overlap");
    ht__free(r->arena->alloc, sorted);
    return err;
}

static enum ht_err read_directory(struct reader *r, struct ht__buf *directory)
{
    if (r->n > MAX_ENTRIES || r->directory_size > MAX_DIRECTORY || r->n > r->directory_size / CENTRAL_SIZE ||
        !ht__range_ok(r->directory, r->directory_size, r->file->size))
        return fault(r, r->directory, "its directory lies outside the file, or is too large");
    void *bytes = ht__buf_grow(directory, (size_t)r->directory_size);
    if (!bytes && r->directory_size) return ht__fail_memory(r->diag, r->file->path);
    HT_TRY(ht__file_read(r->file, r->directory, bytes, r->directory_size, r->diag));
    r->zip->entries = ht__arena_array(r->arena, (size_t)r->n, sizeof *r->zip->entries);
    if (!r->zip->entries) return ht__fail_memory(r->diag, r->file->path);
    struct ht__cursor c = ht__cursor_of(bytes, (size_t)r->directory_size);
    for (uint64_t i = 0; i < r->n; i++)
        HT_TRY(read_entry(r, &c));
    return check_overlap(r);
}

enum ht_err ht__zip_open(struct ht__zip *zip, const struct ht__file *file, struct ht__arena *arena,
                         struct ht_diag *diag)
{
    struct reader r = {.zip = zip, .file = file, .arena = arena, .diag = diag};
    struct ht__buf directory;
    memset(zip, 0, sizeof *zip);
    ht__map_init(&zip->by_name, arena->alloc);
    HT_TRY(read_end(&r));
    ht__buf_init(&directory, arena->alloc);
    enum ht_err err = read_directory(&r, &directory);
    ht__buf_close(&directory);
    return err;
}

const struct ht__zip_entry *ht__zip_find(const struct ht__zip *zip, const char *name)
{
    const uint32_t *at = ht__map_get(&zip->by_name, name, strlen(name));
    return at ? &zip->entries[*at] : NULL;
}
