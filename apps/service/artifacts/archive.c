/*
 * An archive is a folder's entry, one entry a file, and two blocks of zeros. An entry is a header of 512 bytes and the
 * file's bytes, filled up with zeros to a multiple of 512. Where a name or a size does not fit a header's fields, an
 * entry of records ("30 path=…\n") comes before it, whose own header has the type 'x'.
 */
#include "service/artifacts/archive.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BLOCK = 512, NAME_FIELD = 100, HEADERS = 4 * BLOCK };
#define SIZE_FIELD_MAX ((uint64_t)077777777777) /* eleven octal digits: 8 GiB - 1 */

struct entry {
    char name[520]; /* with the folder's in front */
    uint64_t size;
    uint64_t at, header; /* where it begins, and bytes before the file's own */
};

struct archive {
    char path[4096];
    int64_t time;
    struct entry *entries; /* the folder's first */
    size_t n;
    uint64_t size, at;
    unsigned char block[HEADERS]; /* of the piece that was given last */
};

static uint64_t up(uint64_t n)
{
    return (n + BLOCK - 1) / BLOCK * BLOCK;
}

/* -- Headers. -- */

/* Digits, and a NUL at the end. */
static void put_octal(unsigned char *field, int width, uint64_t value)
{
    for (int i = width - 2; i >= 0; i--, value >>= 3)
        field[i] = (unsigned char)('0' + (value & 7));
}

static void put_header(unsigned char *block, const char *name, char type, uint64_t size, int64_t time)
{
    unsigned sum = 0;
    size_t len = strlen(name);
    memset(block, 0, BLOCK);
    memcpy(block, name, len < NAME_FIELD ? len : NAME_FIELD);
    put_octal(block + 100, 8, type == '5' ? 0755 : 0644);
    put_octal(block + 108, 8, 0);
    put_octal(block + 116, 8, 0);
    put_octal(block + 124, 12, size <= SIZE_FIELD_MAX ? size : 0);
    put_octal(block + 136, 12, time > 0 ? (uint64_t)time : 0);
    memset(block + 148, ' ', 8);
    block[156] = (unsigned char)type;
    memcpy(block + 257, "ustar\00000", 8);
    for (int i = 0; i < BLOCK; i++)
        sum += block[i];
    put_octal(block + 148, 7, sum);
    block[154] = 0;
}

/* A record is as long as it says, its length included. */
static size_t put_record(char *out, size_t size, const char *key, const char *value)
{
    size_t body = strlen(key) + strlen(value) + 3, len = body; /* blank, '=', line feed */
    for (int digits = 1; digits < 6; digits++) {
        len = body + (size_t)digits;
        if (snprintf(NULL, 0, "%zu", len) == digits) break;
    }
    snprintf(out, size, "%zu %s=%s\n", len, key, value);
    return len;
}

static bool is_ascii(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text >= 0x80) return false;
    return true;
}

/* Records for what the header has no room for; 0: none. */
static size_t records_of(const struct entry *e, char *out, size_t size)
{
    char number[24];
    size_t n = 0;
    if (strlen(e->name) > NAME_FIELD || !is_ascii(e->name)) n += put_record(out, size, "path", e->name);
    snprintf(number, sizeof number, "%llu", (unsigned long long)e->size);
    if (e->size > SIZE_FIELD_MAX) n += put_record(out + n, size - n, "size", number);
    return n;
}

/* All that comes before the file's bytes; its length. */
static size_t make_header(const struct archive *a, const struct entry *e, unsigned char out[HEADERS])
{
    size_t n = records_of(e, (char *)out + BLOCK, BLOCK * 2), at = 0;
    if (n > 0) {
        memset(out + BLOCK + n, 0, (size_t)up(n) - n);
        put_header(out, "pax", 'x', n, a->time);
        at = BLOCK + (size_t)up(n);
    }
    put_header(out + at, e->name, e == a->entries ? '5' : '0', e->size, a->time);
    return at + BLOCK;
}

/* -- The whole. -- */

static bool is_there(const char *folder, const struct archive_file *file)
{
    char path[4400];
    struct stat st;
    if (snprintf(path, sizeof path, "%s/%s", folder, file->name) >= (int)sizeof path) return false;
    return lstat(path, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == file->size;
}

static bool lay_out(struct archive *a, const char *name, const struct archive_file *files)
{
    for (size_t i = 0; i < a->n; i++) {
        struct entry *e = &a->entries[i];
        if (i > 0 && !is_there(a->path, &files[i - 1])) return false;
        snprintf(e->name, sizeof e->name, "%s/%s", name, i > 0 ? files[i - 1].name : "");
        e->size = i > 0 ? files[i - 1].size : 0;
        e->at = a->size;
        e->header = make_header(a, e, a->block);
        if (e->size > INT64_MAX - a->size - HEADERS) return false;
        a->size += e->header + up(e->size);
    }
    a->size += 2 * BLOCK;
    return true;
}

struct archive *archive_open(const char *path, const char *name, const struct archive_file *files, size_t n,
                             int64_t time)
{
    struct archive *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->n = n + 1;
    a->time = time;
    a->entries = calloc(a->n, sizeof *a->entries);
    bool fits = snprintf(a->path, sizeof a->path, "%s", path) < (int)sizeof a->path && strlen(name) < 256;
    if (!a->entries || !fits || !lay_out(a, name, files)) archive_close(&a);
    return a;
}

void archive_close(struct archive **archive)
{
    if (!*archive) return;
    free((*archive)->entries);
    free(*archive);
    *archive = NULL;
}

uint64_t archive_size(const struct archive *a)
{
    return a->size;
}

void archive_seek(struct archive *a, uint64_t at)
{
    a->at = at;
}

/* -- Pieces. -- */

/* The last entry that begins at or before `at`. */
static const struct entry *entry_at(const struct archive *a, uint64_t at)
{
    size_t low = 0, high = a->n;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;
        if (a->entries[middle].at <= at)
            low = middle;
        else
            high = middle;
    }
    return &a->entries[low];
}

static bool open_piece(const struct archive *a, const struct entry *e, struct archive_piece *piece)
{
    char path[4700];
    struct stat st;
    snprintf(path, sizeof path, "%s/%s", a->path, strrchr(e->name, '/') + 1);
    piece->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (piece->fd < 0) return false;
    if (fstat(piece->fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == e->size) return true;
    close(piece->fd);
    return false;
}

bool archive_next(struct archive *a, struct archive_piece *piece)
{
    const struct entry *e = entry_at(a, a->at);
    uint64_t at = a->at - e->at, end = e->header + e->size;
    *piece = (struct archive_piece){.fd = -1};
    if (a->at >= a->size) return false;
    if (at < e->header) {
        make_header(a, e, a->block);
        piece->data = a->block + at;
        piece->len = e->header - at;
    } else if (at < end) {
        if (!open_piece(a, e, piece)) return false;
        piece->offset = at - e->header;
        piece->len = end - at;
    } else { /* to the next entry, or the archive's end */
        memset(a->block, 0, sizeof a->block);
        piece->data = a->block;
        piece->len = (e + 1 < a->entries + a->n ? e[1].at : a->size) - a->at;
    }
    a->at += piece->len;
    return true;
}
