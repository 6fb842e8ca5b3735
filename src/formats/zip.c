/*
 * ZIP, stored records only:
 *   { local header 30 | name | extra | bytes }… | central directory { 46 | name | extra | comment
 * }… | [zip64 end 56 | zip64 locator 20] | end 22 | comment Sizes are taken from the central
 * directory, for writers leave them out of the local headers.
 */
#include "formats/zip.h"

#include "base/check.h"
#include "base/cursor.h"

#include <string.h>

enum { LARGEST_DIRECTORY = 256 << 20, TAIL = 22 + 65535 };

struct directory {
    uint64_t offset, size, n;
};

static enum ht_err fault(const struct ht__file *f, uint64_t at, const char *what,
                         struct ht_diag *diag)
{
    return ht__fail(diag, HT_ERR_FORMAT, f->path, (int64_t)at, "%s", what);
}

static enum ht_err read_zip64(const struct ht__file *f, uint64_t end, struct directory *d,
                              struct ht_diag *diag)
{
    uint8_t locator[20], head[56];
    if (end < sizeof locator) return HT_OK;
    HT_TRY(ht__file_read(f, end - 20, locator, sizeof locator, diag));
    if (memcmp(locator, "PK\6\7", 4) != 0) return HT_OK;
    uint64_t at;
    memcpy(&at, locator + 8, 8);
    if (!ht__range_ok(at, sizeof head, end)) return fault(f, end - 20, "bad zip64 locator", diag);
    HT_TRY(ht__file_read(f, at, head, sizeof head, diag));
    if (memcmp(head, "PK\6\6", 4) != 0) return fault(f, at, "bad zip64 end record", diag);
    memcpy(&d->n, head + 32, 8);
    memcpy(&d->size, head + 40, 8);
    memcpy(&d->offset, head + 48, 8);
    return HT_OK;
}

static enum ht_err find_directory(const struct ht__file *f, struct ht__arena *arena,
                                  struct directory *d, struct ht_diag *diag)
{
    uint64_t n = f->size < TAIL ? f->size : TAIL;
    uint8_t *tail = ht__arena_raw(arena, n + 1);
    if (!tail) return ht__fail_memory(diag, f->path);
    HT_TRY(ht__file_read(f, f->size - n, tail, n, diag));
    for (uint64_t i = n < 22 ? 0 : n - 22 + 1; i-- > 0;) {
        struct ht__cursor c = ht__cursor_of(tail + i, n - i);
        if (memcmp(tail + i, "PK\5\6", 4) != 0) continue;
        ht__cursor_take(&c, 10);
        d->n = ht__cursor_u16(&c);
        d->size = ht__cursor_u32(&c);
        d->offset = ht__cursor_u32(&c);
        return read_zip64(f, f->size - n + i, d, diag);
    }
    return fault(f, f->size, "a ZIP file without its directory: it is truncated", diag);
}

/* Values of 2^32 - 1 stand for 64-bit ones in the extra field, in this order. */
static bool read_extra(struct ht__cursor extra, uint64_t *raw, uint64_t *packed, uint64_t *offset)
{
    while (ht__cursor_left(&extra) >= 4) {
        uint16_t id = ht__cursor_u16(&extra), len = ht__cursor_u16(&extra);
        const uint8_t *p = ht__cursor_take(&extra, len);
        if (!p) return false;
        if (id != 1) continue;
        struct ht__cursor c = ht__cursor_of(p, len);
        if (*raw == UINT32_MAX) *raw = ht__cursor_u64(&c);
        if (*packed == UINT32_MAX) *packed = ht__cursor_u64(&c);
        if (*offset == UINT32_MAX) *offset = ht__cursor_u64(&c);
        return !c.bad;
    }
    return true;
}

static enum ht_err locate(const struct ht__file *f, uint64_t at, struct ht__zip_record *r,
                          uint64_t limit, struct ht_diag *diag)
{
    uint8_t head[30];
    uint16_t name, extra;
    if (!ht__range_ok(at, sizeof head, limit)) return fault(f, at, "a record past the end", diag);
    HT_TRY(ht__file_read(f, at, head, sizeof head, diag));
    if (memcmp(head, "PK\3\4", 4) != 0) return fault(f, at, "not a ZIP record", diag);
    memcpy(&name, head + 26, 2);
    memcpy(&extra, head + 28, 2);
    r->offset = at + sizeof head + name + extra;
    if (!ht__range_ok(r->offset, r->size, limit))
        return fault(f, at, "a ZIP record goes past its place", diag);
    return HT_OK;
}

static enum ht_err read_record(struct ht__zip *zip, const struct ht__file *f, struct ht__cursor *c,
                               uint64_t limit, struct ht__arena *arena, struct ht_diag *diag)
{
    const uint8_t *h = ht__cursor_take(c, 46);
    if (!h || memcmp(h, "PK\1\2", 4) != 0) return fault(f, limit, "bad ZIP directory", diag);
    uint16_t flags, method, lens[3];
    uint32_t sizes[2], at32;
    memcpy(&flags, h + 8, 2);
    memcpy(&method, h + 10, 2);
    memcpy(sizes, h + 20, 8);
    memcpy(lens, h + 28, 6);
    memcpy(&at32, h + 42, 4);
    const uint8_t *name = ht__cursor_take(c, lens[0]), *extra = ht__cursor_take(c, lens[1]);
    if (!name || !extra || !ht__cursor_take(c, lens[2]) || memchr(name, 0, lens[0]))
        return fault(f, limit, "bad ZIP directory", diag);
    uint64_t packed = sizes[0], size = sizes[1], at = at32;
    if (!read_extra(ht__cursor_of(extra, lens[1]), &size, &packed, &at))
        return fault(f, limit, "bad zip64 extra field", diag);
    const uint8_t *slash = memchr(name, '/', lens[0]);
    const uint8_t *base = slash ? slash + 1 : name;
    size_t len = lens[0] - (size_t)(base - name);
    if (method != 0 || (flags & 1) || packed != size)
        return ht__fail(diag, HT_ERR_UNSUPPORTED, f->path, (int64_t)at,
                        "record %.*s is compressed or encrypted", (int)(len < 80 ? len : 80), base);
    struct ht__zip_record *r = &zip->records[zip->n];
    r->size = size;
    HT_TRY(locate(f, at, r, limit, diag));
    if (!(r->name = ht__arena_copy(arena, (const char *)base, len)))
        return ht__fail_memory(diag, f->path);
    enum ht__map_put put = ht__map_put(&zip->by_name, r->name, len, zip->n);
    if (put == HT__MAP_NO_MEMORY) return ht__fail_memory(diag, f->path);
    if (put == HT__MAP_PRESENT) return fault(f, at, "two ZIP records of one name", diag);
    zip->n++;
    return HT_OK;
}

enum ht_err ht__zip_open(struct ht__zip *zip, const struct ht__file *file, struct ht__arena *arena,
                         struct ht_diag *diag)
{
    struct directory d = {0};
    memset(zip, 0, sizeof *zip);
    ht__map_init(&zip->by_name, arena->alloc);
    HT_TRY(find_directory(file, arena, &d, diag));
    if (!ht__range_ok(d.offset, d.size, file->size) || d.size > LARGEST_DIRECTORY ||
        d.n > d.size / 46)
        return fault(file, d.offset, "a ZIP directory that does not fit the file", diag);
    uint8_t *bytes = ht__arena_raw(arena, d.size + 1);
    zip->records = ht__arena_array(arena, d.n + 1, sizeof *zip->records);
    if (!bytes || !zip->records) return ht__fail_memory(diag, file->path);
    HT_TRY(ht__file_read(file, d.offset, bytes, d.size, diag));
    struct ht__cursor c = ht__cursor_of(bytes, d.size);
    for (uint64_t i = 0; i < d.n; i++)
        HT_TRY(read_record(zip, file, &c, d.offset, arena, diag));
    return HT_OK;
}

const struct ht__zip_record *ht__zip_find(const struct ht__zip *zip, const char *name)
{
    const uint32_t *at = ht__map_get(&zip->by_name, name, strlen(name));
    return at ? &zip->records[*at] : NULL;
}
