/*
 * Of each entry: local header | name | ZIP64 field | padding field | bytes | descriptor
 *   local header   30 bytes; CRC-32 and sizes are 0, and bit 3 of the flags says that the descriptor has them
 *   ZIP64 field    only where a size or the place of the header reaches 2^32 - 1
 *   padding field  "FB", its length, as many Z as bring the bytes to a multiple of 64
 *   descriptor     16 bytes, 24 with a ZIP64 field; none where there are no bytes
 * Then the central directory, the ZIP64 end record and its locator where they are needed, the end record.
 */
#include "formats/zip_write.h"
#include "base/check.h"

#include <string.h>
#include <zlib.h>

enum { UTF8 = 0x0800, DESCRIPTOR = 0x0008, LOCAL_SIZE = 30, MADE_BY_64 = 0x031e, NEEDED_64 = 45, MOST_16 = UINT16_MAX };
#define MOST_32 ((uint64_t)UINT32_MAX)

void ht__zip_begin(struct ht__zip_writer *zip, struct ht__layout *layout)
{
    *zip = (struct ht__zip_writer){.head = layout->head, .rest = layout->rest, .start = layout->head->len};
    ht__buf_init(&zip->directory, layout->head->alloc);
}

void ht__zip_close(struct ht__zip_writer *zip)
{
    ht__buf_close(&zip->directory);
}

static void put(struct ht__zip_writer *zip, const void *data, size_t n)
{
    if (zip->head->len - zip->start == zip->at)
        ht__buf_put(zip->head, data, n);
    else
        ht__rest_put(zip->rest, zip->at, data, n);
    zip->at += n;
}

/* Little-endian fields of an archive's records. */
struct record {
    unsigned char bytes[80];
    size_t n;
};

static void put_16(struct record *r, unsigned value)
{
    r->bytes[r->n++] = (unsigned char)value;
    r->bytes[r->n++] = (unsigned char)(value >> 8);
}

static void put_32(struct record *r, uint64_t value)
{
    put_16(r, (unsigned)(value & 0xffff));
    put_16(r, (unsigned)(value >> 16 & 0xffff));
}

static void put_64(struct record *r, uint64_t value)
{
    put_32(r, value & MOST_32);
    put_32(r, value >> 32);
}

static uint64_t in_32(uint64_t value)
{
    return value < MOST_32 ? value : MOST_32;
}

/* What does not fit into 32 bits. */
static struct record zip64_field(uint64_t n, uint64_t header)
{
    struct record r = {.n = 0};
    unsigned len = (n >= MOST_32 ? 16 : 0) + (header >= MOST_32 ? 8 : 0);
    if (len == 0) return r;
    put_16(&r, 1);
    put_16(&r, len);
    for (int i = 0; i < 2 && n >= MOST_32; i++)
        put_64(&r, n);
    if (header >= MOST_32) put_64(&r, header);
    return r;
}

static void put_padding(struct ht__zip_writer *zip, size_t padding)
{
    static const char letters[HT__ZIP_ALIGNMENT + 1] =
        "ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ";
    struct record r = {.bytes = "FB", .n = 2};
    put_16(&r, (unsigned)padding);
    put(zip, r.bytes, r.n);
    put(zip, letters, padding);
}

static void put_local(struct ht__zip_writer *zip, const char *name, uint64_t n, const struct record *zip64)
{
    size_t len = strlen(name);
    uint64_t end = zip->at + LOCAL_SIZE + len + zip64->n + 4;
    size_t padding = (size_t)((HT__ZIP_ALIGNMENT - end % HT__ZIP_ALIGNMENT) % HT__ZIP_ALIGNMENT);
    struct record r = {.n = 0};
    put_32(&r, 0x04034b50);
    put_16(&r, 0);
    put_16(&r, UTF8 | (n ? DESCRIPTOR : 0));
    put_16(&r, 0);              /* stored */
    for (int i = 0; i < 4; i++) /* time, CRC-32, two sizes */
        put_32(&r, 0);
    put_16(&r, (unsigned)len);
    put_16(&r, (unsigned)(zip64->n + 4 + padding));
    put(zip, r.bytes, r.n);
    put(zip, name, len);
    put(zip, zip64->bytes, zip64->n);
    put_padding(zip, padding);
}

static void put_descriptor(struct ht__zip_writer *zip, uint64_t n, uint32_t crc, bool wide)
{
    struct record r = {.n = 0};
    put_32(&r, 0x08074b50);
    put_32(&r, crc);
    for (int i = 0; i < 2; i++)
        if (wide)
            put_64(&r, n);
        else
            put_32(&r, n);
    put(zip, r.bytes, r.n);
}

static void list(struct ht__zip_writer *zip, const char *name, uint64_t n, uint32_t crc, uint64_t header,
                 const struct record *zip64)
{
    struct record r = {.n = 0};
    put_32(&r, 0x02014b50);
    put_32(&r, 0); /* versions: made by, needed */
    put_16(&r, UTF8 | (n ? DESCRIPTOR : 0));
    put_16(&r, 0);
    put_32(&r, 0);
    put_32(&r, crc);
    put_32(&r, in_32(n));
    put_32(&r, in_32(n));
    put_16(&r, (unsigned)strlen(name));
    put_16(&r, (unsigned)zip64->n);
    put_64(&r, 0); /* comment, disk, attributes: 2 + 2 + 2 + 4 bytes with the two that follow */
    put_16(&r, 0);
    put_32(&r, in_32(header));
    ht__buf_put(&zip->directory, r.bytes, r.n);
    ht__buf_str(&zip->directory, name);
    ht__buf_put(&zip->directory, zip64->bytes, zip64->n);
    zip->n++;
}

static uint64_t begin_entry(struct ht__zip_writer *zip, const char *name, uint64_t n, uint32_t crc)
{
    struct record zip64 = zip64_field(n, zip->at);
    list(zip, name, n, crc, zip->at, &zip64);
    put_local(zip, name, n, &zip64);
    return zip->at;
}

void ht__zip_add(struct ht__zip_writer *zip, const char *name, const void *data, size_t n)
{
    uint32_t crc = (uint32_t)crc32_z(0, data, n);
    bool wide = zip->at >= MOST_32 || n >= MOST_32;
    begin_entry(zip, name, n, crc);
    put(zip, data, n);
    if (n) put_descriptor(zip, n, crc, wide);
}

uint64_t ht__zip_reserve(struct ht__zip_writer *zip, const char *name, uint64_t n, uint32_t crc)
{
    bool wide = zip->at >= MOST_32 || n >= MOST_32;
    uint64_t data = begin_entry(zip, name, n, crc);
    if (!ht__add_ok(zip->at, n, &zip->at) || zip->at > INT64_MAX / 2) {
        zip->too_large = true;
        zip->at = data;
    }
    if (n) put_descriptor(zip, n, crc, wide);
    return data;
}

static void put_end64(struct ht__zip_writer *zip, uint64_t directory)
{
    struct record r = {.n = 0};
    uint64_t end = zip->at;
    put_32(&r, 0x06064b50);
    put_64(&r, 44); /* bytes of the record that follow */
    put_16(&r, MADE_BY_64);
    put_16(&r, NEEDED_64);
    put_64(&r, 0); /* two numbers of disks */
    put_64(&r, zip->n);
    put_64(&r, zip->n);
    put_64(&r, zip->directory.len);
    put_64(&r, directory);
    put(zip, r.bytes, r.n);
    r.n = 0;
    put_32(&r, 0x07064b50);
    put_32(&r, 0);
    put_64(&r, end);
    put_32(&r, 1); /* disks */
    put(zip, r.bytes, r.n);
}

enum ht_err ht__zip_end(struct ht__zip_writer *zip, struct ht_diag *diag)
{
    struct record r = {.n = 0};
    uint64_t directory = zip->at;
    unsigned n = zip->n < MOST_16 ? (unsigned)zip->n : MOST_16;
    put(zip, zip->directory.data, zip->directory.len);
    if (directory >= MOST_32 || zip->directory.len >= MOST_32 || n == MOST_16) put_end64(zip, directory);
    put_32(&r, 0x06054b50);
    put_32(&r, 0); /* two numbers of disks */
    put_16(&r, n);
    put_16(&r, n);
    put_32(&r, in_32(zip->directory.len));
    put_32(&r, in_32(directory));
    put_16(&r, 0); /* comment */
    put(zip, r.bytes, r.n);
    if (zip->too_large) return ht__fail(diag, HT_ERR_LIMIT, "archive", -1, "the file would be too large");
    if (zip->head->failed || zip->rest->bytes.failed || zip->directory.failed) return ht__fail_memory(diag, "archive");
    return HT_OK;
}
