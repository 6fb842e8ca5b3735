#include "folder.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static void die(const char *what)
{
    perror(what);
    abort();
}

struct folder folder_make(void)
{
    struct folder folder;
    const char *base = getenv("TMPDIR");
    /* in memory where that can be: thousands of small jobs are synced to it */
    if (!base) base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(folder.path, sizeof folder.path, "%s/halftone-test-XXXXXX", base);
    if (!mkdtemp(folder.path)) die(folder.path);
    return folder;
}

static void clear(const char *path, int depth)
{
    DIR *dir = opendir(path);
    if (!dir) die(path);
    for (struct dirent *e; (e = readdir(dir));) {
        char child[1024];
        struct stat st;
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        if (depth > 0 && lstat(child, &st) == 0 && S_ISDIR(st.st_mode))
            clear(child, depth - 1);
        else if (unlink(child) != 0)
            die(child);
    }
    closedir(dir);
    if (rmdir(path) != 0) die(path);
}

void folder_remove(struct folder *folder)
{
    clear(folder->path, 8);
}

void folder_put(const struct folder *folder, const char *name, const void *data, size_t size)
{
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder->path, name);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    mkdir(path, 0777); /* there already, but for a subfolder */
    *slash = '/';
    FILE *f = fopen(path, "wb");
    if (!f || (size && fwrite(data, 1, size, f) != size) || fclose(f) != 0) die(path);
}

void folder_puts(const struct folder *folder, const char *name, const char *text)
{
    folder_put(folder, name, text, strlen(text));
}

static void varint(struct ht__buf *buf, uint64_t v)
{
    while (v >= 0x80) {
        ht__buf_put(buf, &(unsigned char){(unsigned char)(v | 0x80)}, 1);
        v >>= 7;
    }
    ht__buf_put(buf, &(unsigned char){(unsigned char)v}, 1);
}

static void message(struct ht__buf *buf, int number, struct ht__buf *body)
{
    varint(buf, (uint64_t)number << 3 | 2);
    varint(buf, body->len);
    ht__buf_put(buf, body->data, body->len);
    ht__buf_close(body);
}

static void number_field(struct ht__buf *buf, int number, uint64_t v)
{
    varint(buf, (uint64_t)number << 3);
    varint(buf, v);
}

void spm_piece(struct ht__buf *buf, const char *text, float score, int type)
{
    struct ht__buf body;
    ht__buf_init(&body, NULL);
    varint(&body, 1 << 3 | 2);
    varint(&body, strlen(text));
    ht__buf_str(&body, text);
    varint(&body, 2 << 3 | 5);
    ht__buf_put(&body, &score, sizeof score);
    if (type != 1) number_field(&body, 3, (uint64_t)type);
    message(buf, 1, &body);
}

void spm_base(struct ht__buf *buf)
{
    spm_piece(buf, "<unk>", 0, 2);
    spm_piece(buf, "<s>", 0, 3);
    spm_piece(buf, "</s>", 0, 3);
    for (int byte = 0; byte < 256; byte++) {
        char text[8];
        snprintf(text, sizeof text, "<0x%02X>", (unsigned)byte);
        spm_piece(buf, text, 0, 6);
    }
}

void spm_specs(struct ht__buf *buf, int kind, bool dummy_prefix, bool remove_extra, const void *charsmap,
               size_t charsmap_len)
{
    struct ht__buf body;
    ht__buf_init(&body, NULL);
    number_field(&body, 3, (uint64_t)kind);
    number_field(&body, 40, 0);
    message(buf, 2, &body);
    ht__buf_init(&body, NULL);
    if (charsmap_len) {
        varint(&body, 2 << 3 | 2);
        varint(&body, charsmap_len);
        ht__buf_put(&body, charsmap, charsmap_len);
    }
    number_field(&body, 3, dummy_prefix);
    number_field(&body, 4, remove_extra);
    message(buf, 3, &body);
}
