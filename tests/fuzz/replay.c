/*
 * Runs a fuzz driver over files or folders of stored inputs, without a fuzzer: replay [--damaged N] PATH…
 * With --damaged each input is run, too, cut at every length and in N copies with some bytes or lengths changed: the
 * same ones every time. For builds that no fuzzer knows (32 bits, MemorySanitizer).
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LONGEST_CUT = 4096 };
static long n_damaged;

static void run_copy(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1); /* of its own size: a sanitizer sees any access past its end */
    if (!copy) exit(1);
    if (size) memcpy(copy, data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static uint32_t draw(void)
{
    static uint64_t state = 1;
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(state >> 33);
}

/* A byte, or a length: zero, all ones, a sign, small changes. */
static void damage(uint8_t *data, size_t size)
{
    static const uint64_t lengths[] = {0, 1, UINT64_MAX, (uint64_t)1 << 63, INT32_MAX, (uint64_t)UINT32_MAX + 1};
    size_t at = draw() % size, kind = draw() % 4, n = size - at < 8 ? size - at : 8;
    uint64_t length = lengths[draw() % (sizeof lengths / sizeof lengths[0])];
    if (kind == 0) data[at] = (uint8_t)draw();
    if (kind == 1) data[at] ^= (uint8_t)(1u << draw() % 8);
    if (kind == 2) data[at] = (uint8_t)(data[at] + (draw() % 2 ? 1 : -1));
    if (kind == 3) memcpy(data + at, &length, n);
}

static int replay_damaged(const uint8_t *data, size_t size)
{
    int n = 0;
    if (size == 0 || n_damaged == 0) return 0;
    for (size_t cut = 0; cut < size && cut < LONGEST_CUT; cut++, n++)
        run_copy(data, cut);
    uint8_t *copy = malloc(size);
    if (!copy) exit(1);
    for (long i = 0; i < n_damaged; i++, n++) {
        memcpy(copy, data, size);
        for (uint32_t k = draw() % 4 + 1; k > 0; k--)
            damage(copy, size);
        run_copy(copy, size);
    }
    free(copy);
    return n;
}

static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    struct stat st;
    if (!f || fstat(fileno(f), &st) != 0) {
        perror(path);
        exit(1);
    }
    /* exactly as large as the input, so that a sanitizer sees any access past its end */
    size_t size = (size_t)st.st_size;
    uint8_t *data = malloc(size ? size : 1);
    if (!data || fread(data, 1, size, f) != size) {
        fprintf(stderr, "%s: short read\n", path);
        exit(1);
    }
    fclose(f);
    LLVMFuzzerTestOneInput(data, size);
    int n = 1 + replay_damaged(data, size);
    free(data);
    return n;
}

static int replay(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        perror(path);
        exit(1);
    }
    if (!S_ISDIR(st.st_mode)) return replay_file(path);
    int n = 0;
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (e->d_name[0] == '.') continue;
        char child[4096];
        snprintf(child, sizeof child, "%s/%s", path, e->d_name);
        n += replay(child);
    }
    if (dir) closedir(dir);
    return n;
}

int main(int argc, char **argv)
{
    int n = 0;
    int first = argc > 2 && strcmp(argv[1], "--damaged") == 0 ? 3 : 1;
    if (first == 3) n_damaged = strtol(argv[2], NULL, 10);
    for (int i = first; i < argc; i++)
        n += replay(argv[i]);
    printf("%d inputs replayed\n", n);
    return n > 0 ? 0 : 1; /* an empty corpus proves nothing */
}
