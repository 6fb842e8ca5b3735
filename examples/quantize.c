/* Quantizes a folder: cc examples/quantize.c $(pkg-config --cflags --libs halftone) -o quantize */
#include <halftone/halftone.h>

#include <stdio.h>

int main(int argc, char **argv)
{
    struct ht_diag diag;
    if (argc < 4) return fprintf(stderr, "usage: quantize FOLDER TYPE[,TYPE…] OUT\n"), 2;
    if (ht_quantize(argv[1], argv[2], argv[3], &diag) == HT_OK) return 0;
    return fprintf(stderr, "%s: %s\n", diag.where, diag.message), 1;
}
