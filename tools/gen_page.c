/*
 * The page's files as C arrays, plain and gzip: gen_page LIST OUTPUT.c
 * Each line of LIST is the path of the URL, a tab, and the file (relative to LIST's folder). Names under /assets/ carry a hash of their
 * bytes, so they may be cached for ever.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

enum { MAX_FILES = 64, MAX_LINE = 4096 };

struct file {
    char path[256];
    const char *type;
    size_t size, gzip_size;
    uint64_t hash;
};

static void *must(void *p, const char *what)
{
    if (!p) {
        perror(what);
        exit(EXIT_FAILURE);
    }
    return p;
}

static const char *content_type(const char *name)
{
    static const char *const types[][2] = {
        {".html", "text/html; charset=utf-8"},
        {".css", "text/css; charset=utf-8"},
        {".js", "text/javascript; charset=utf-8"},
        {".svg", "image/svg+xml"},
        {".png", "image/png"},
        {".txt", "text/plain; charset=utf-8"},
    };
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof types / sizeof *types; i++)
        if (strcmp(dot, types[i][0]) == 0) return types[i][1];
    fprintf(stderr, "gen_page: no content type for %s\n", name);
    exit(EXIT_FAILURE);
}

static unsigned char *read_whole(const char *path, size_t *size)
{
    FILE *in = must(fopen(path, "rb"), path);
    unsigned char *bytes = NULL;
    size_t room = 0, n;
    *size = 0;
    do {
        if (*size == room) bytes = must(realloc(bytes, room = room ? 2 * room : 65536), path);
        n = fread(bytes + *size, 1, room - *size, in);
        *size += n;
    } while (n > 0);
    fclose(in);
    return bytes;
}

static unsigned char *compress_gzip(const unsigned char *bytes, size_t size, size_t *out_size)
{
    z_stream z = {.next_in = (unsigned char *)(uintptr_t)bytes, .avail_in = (uInt)size};
    if (deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY) != Z_OK) exit(EXIT_FAILURE);
    size_t room = deflateBound(&z, (uLong)size);
    unsigned char *out = must(malloc(room), "gzip");
    z.next_out = out;
    z.avail_out = (uInt)room;
    if (deflate(&z, Z_FINISH) != Z_STREAM_END) exit(EXIT_FAILURE);
    *out_size = room - z.avail_out;
    deflateEnd(&z);
    return out;
}

static uint64_t hash_fnv(const unsigned char *bytes, size_t size)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < size; i++)
        h = (h ^ bytes[i]) * 1099511628211u;
    return h;
}

static void put_array(FILE *out, const char *kind, int number, const unsigned char *bytes, size_t size)
{
    fprintf(out, "static const unsigned char %s_%d[] = {\n", kind, number);
    for (size_t i = 0; i < size; i++)
        fprintf(out, "%d,%s", bytes[i], i % 32 == 31 ? "\n" : "");
    fprintf(out, "0};\n");
}

static void put_file(FILE *out, struct file *f, int number, const char *from)
{
    unsigned char *bytes = read_whole(from, &f->size);
    unsigned char *gzip = compress_gzip(bytes, f->size, &f->gzip_size);
    f->hash = hash_fnv(bytes, f->size);
    f->type = content_type(from);
    put_array(out, "data", number, bytes, f->size);
    if (f->gzip_size + 64 > f->size) f->gzip_size = 0; /* saves nothing */
    if (f->gzip_size) put_array(out, "gzip", number, gzip, f->gzip_size);
    free(gzip);
    free(bytes);
}

static void put_row(FILE *out, const struct file *f, int number)
{
    fprintf(out, "    {\"%s\", \"%s\", data_%d, %zu, ", f->path, f->type, number, f->size);
    if (f->gzip_size)
        fprintf(out, "gzip_%d, %zu", number, f->gzip_size);
    else
        fprintf(out, "NULL, 0");
    fprintf(out, ", \"\\\"%016" PRIx64 "\\\"\", \"\\\"%016" PRIx64 "-gz\\\"\", %s},\n", f->hash, f->hash,
            strncmp(f->path, "/assets/", 8) == 0 ? "true" : "false");
}

int main(int argc, char **argv)
{
    static struct file files[MAX_FILES];
    char line[MAX_LINE], from[2 * MAX_LINE];
    int n = 0;
    if (argc != 3) {
        fprintf(stderr, "usage: gen_page LIST OUTPUT.c\n");
        return EXIT_FAILURE;
    }
    FILE *list = must(fopen(argv[1], "r"), argv[1]);
    FILE *out = must(fopen(argv[2], "w"), argv[2]);
    const char *slash = strrchr(argv[1], '/');
    int folder = slash ? (int)(slash + 1 - argv[1]) : 0;
    fprintf(out, "#include \"service/page/page_data.h\"\n\n");
    while (n < MAX_FILES && fgets(line, sizeof line, list)) {
        char *tab = strchr(line, '\t');
        line[strcspn(line, "\n")] = '\0';
        if (!tab || tab - line >= (int)sizeof files[n].path) {
            fprintf(stderr, "gen_page: %s: not a line of path, tab, file: %s\n", argv[1], line);
            return EXIT_FAILURE;
        }
        memcpy(files[n].path, line, (size_t)(tab - line));
        snprintf(from, sizeof from, "%.*s%s", tab[1] == '/' ? 0 : folder, argv[1], tab + 1);
        put_file(out, &files[n], n, from);
        n++;
    }
    fclose(list);
    fprintf(out, "\nconst struct page_file page_files[] = {\n");
    for (int i = 0; i < n; i++)
        put_row(out, &files[i], i);
    fprintf(out, "};\nconst size_t page_n_files = %d;\n", n);
    return fclose(out) == 0 && n > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
