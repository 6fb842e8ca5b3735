/* Files as C arrays: gen_text NAME FILE… writes ht__text_NAME, the files one after the other with a blank line between. */
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
    if (argc < 3) {
        fprintf(stderr, "usage: gen_text NAME FILE...\n");
        return EXIT_FAILURE;
    }
    printf("#include \"calibrate/default_text.h\"\n\nconst unsigned char ht__text_%s[] = {\n", argv[1]);
    for (int i = 2; i < argc; i++)
        n += put_file(argv[i], i == 2);
    printf("};\nconst unsigned long ht__text_%s_len = %lu;\n", argv[1], n);
    return EXIT_SUCCESS;
}
