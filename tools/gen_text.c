/* Files as C arrays: gen_text [-z] NAME HEADER FILE… writes ht__text_NAME, which HEADER declares: the files one after
 * the other with a blank line between, and their length. -z: compressed by zlib, and ht__text_NAME_size, the length
 * before that. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

struct bytes {
    unsigned char *at;
    size_t n, room;
};

static void *must(void *p, const char *what)
{
    if (!p) {
        perror(what);
        exit(EXIT_FAILURE);
    }
    return p;
}

static void put(struct bytes *b, int c)
{
    if (b->n == b->room) b->at = must(realloc(b->at, b->room = b->room ? 2 * b->room : 65536), "memory");
    b->at[b->n++] = (unsigned char)c;
}

static void put_file(struct bytes *b, const char *path)
{
    FILE *in = must(fopen(path, "rb"), path);
    if (b->n) put(b, '\n');
    for (int c; (c = getc(in)) != EOF;)
        put(b, c);
    if (ferror(in)) must(NULL, path);
    fclose(in);
}

static struct bytes compressed(const struct bytes *b)
{
    uLongf n = compressBound((uLong)b->n);
    struct bytes out = {.at = must(malloc(n), "memory")};
    if (compress2(out.at, &n, b->at, (uLong)b->n, 9) != Z_OK) must(NULL, "zlib");
    out.n = n;
    return out;
}

int main(int argc, char **argv)
{
    struct bytes text = {0};
    int packed = argc > 1 && strcmp(argv[1], "-z") == 0, first = 1 + packed;
    if (argc < first + 3) {
        fprintf(stderr, "usage: gen_text [-z] NAME HEADER FILE...\n");
        return EXIT_FAILURE;
    }
    for (int i = first + 2; i < argc; i++)
        put_file(&text, argv[i]);
    struct bytes out = packed ? compressed(&text) : text;
    const char *name = argv[first];
    printf("#include \"%s\"\n\nconst unsigned char ht__text_%s[] = {\n", argv[first + 1], name);
    for (size_t i = 0; i < out.n; i++)
        printf("%d,%s", out.at[i], i % 32 == 31 ? "\n" : "");
    printf("};\nconst unsigned long ht__text_%s_len = %zu;\n", name, out.n);
    if (packed) printf("const unsigned long ht__text_%s_size = %zu;\n", name, text.n);
    if (packed) free(out.at);
    free(text.at);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
