/* Files as C arrays: gen_text NAME HEADER FILE… writes ht__text_NAME, which HEADER declares: the files one after the other
 * with a blank line between. */
#include <stdio.h>
#include <stdlib.h>

static unsigned long put_file(const char *path, int first)
{
    FILE *in = fopen(path, "rb");
    unsigned long n = 0;
    int c;
    if (!in) {
        perror(path);
        exit(EXIT_FAILURE);
    }
    if (!first) printf("10,");
    while ((c = getc(in)) != EOF)
        printf("%d,%s", c, ++n % 32 == 0 ? "\n" : "");
    fclose(in);
    return n + !first;
}

int main(int argc, char **argv)
{
    unsigned long n = 0;
    if (argc < 4) {
        fprintf(stderr, "usage: gen_text NAME HEADER FILE...\n");
        return EXIT_FAILURE;
    }
    printf("#include \"%s\"\n\nconst unsigned char ht__text_%s[] = {\n", argv[2], argv[1]);
    for (int i = 3; i < argc; i++)
        n += put_file(argv[i], i == 3);
    printf("};\nconst unsigned long ht__text_%s_len = %lu;\n", argv[1], n);
    return EXIT_SUCCESS;
}
