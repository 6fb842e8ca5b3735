#include "advise/rate.h"

#include "base/hash.h"
#include "base/progress.h"
#include "kernels/ops/ops.h"

#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Rows of a model's length, few enough for the second-level cache; slow encoders are stopped by the clock. */
enum { ROW = 1024, ROWS = 16, TOKENS = 256, BYTES = 4 << 20 };

/* The sum of four uniform numbers is near enough to a normal one; always the same. */
static void gaussian(float *x, size_t n)
{
    uint64_t state = 1;
    for (size_t i = 0; i < n; i++) {
        float sum = 0;
        for (int k = 0; k < 4; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            sum += (float)(state >> 40) * 0x1p-24f - .5f;
        }
        x[i] = sum * .03f;
    }
}

/* Of this thread alone: what else the machine does now is not what it will do while the job runs. */
static double cpu_seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Enough was measured: by its own time, or by the clock where others leave it little. */
static bool enough(double start, double wall_start, double budget)
{
    return cpu_seconds() - start >= budget || ht__seconds() - wall_start >= 4 * budget;
}

struct rows {
    float x[ROWS * ROW], again[ROWS * ROW], importance[ROW];
    unsigned char encoded[ROWS * ROW * 4];
};

static double time_codec(const struct ht__codec *codec, enum ht__cpu_level level, bool encode, bool importance,
                         double budget, struct rows *r)
{
    double start = cpu_seconds(), wall = ht__seconds();
    int64_t weights = 0, n = 2; /* rows at a time: few at first, as some encoders take a millisecond a row */
    do {
        if (encode) ht__encoder(codec, level)(r->x, n, ROW, importance ? r->importance : NULL, r->encoded);
        ht__decoder(codec, level)(r->encoded, n * ROW, r->again);
        weights += n * ROW;
        if (n < ROWS) n *= 2;
    } while (!enough(start, wall, budget));
    return (cpu_seconds() - start) / (double)weights;
}

double ht__rate_codec(const struct ht__codec *codec, enum ht__cpu_level level, bool encode, bool importance,
                      double budget, const struct ht__alloc *alloc)
{
    struct rows *r = ht__new(alloc, sizeof *r);
    if (!r) return HT__RATE_NO_MEMORY;
    gaussian(r->x, ROWS * ROW);
    for (int i = 0; i < ROW; i++)
        r->importance[i] = 1 + r->x[i];
    double seconds = time_codec(codec, level, encode && codec->encode, importance, budget, r);
    ht__free(alloc, r);
    return seconds;
}

struct product {
    _Alignas(64) float scratch[HT__MATMUL_SCRATCH];
    float x[TOKENS * ROW], y[TOKENS * HT__MATMUL_ROWS];
    unsigned char rows[HT__MATMUL_ROWS * ROW * 4];
};

double ht__rate_matmul(const struct ht__codec *codec, double budget, const struct ht__alloc *alloc)
{
    struct product *p = ht__new(alloc, sizeof *p + 64);
    const struct ht__ops *ops = ht__ops(ht__cpu_best());
    struct ht__matmul_weights w = {.decode = ht__decoder(codec, ht__cpu_best()),
                                   .row_bytes = (size_t)ht__codec_bytes(codec, ROW),
                                   .block_len = codec->block_len,
                                   .block_size = codec->block_size,
                                   .n_in = ROW,
                                   .n_rows = HT__MATMUL_ROWS};
    if (!p) return HT__RATE_NO_MEMORY;
    struct product *at = (void *)(((uintptr_t)p + 63) & ~(uintptr_t)63);
    gaussian(at->x, TOKENS * ROW);
    w.rows = at->rows; /* zeros: what the weights are does not matter to the time */
    double start = cpu_seconds(), wall = ht__seconds();
    uint64_t n = 0;
    do {
        ops->matmul(&w, at->x, ROW, TOKENS, at->y, HT__MATMUL_ROWS, at->scratch);
        n += (uint64_t)TOKENS * ROW * HT__MATMUL_ROWS;
    } while (!enough(start, wall, budget));
    ht__free(alloc, p);
    return (cpu_seconds() - start) / (double)n;
}

double ht__rate_exp(double budget)
{
    double start = cpu_seconds(), wall = ht__seconds(), sum = 0;
    uint64_t n = 0;
    do {
        for (int i = 0; i < ROW; i++)
            sum += exp(-(double)i * .01 + sum * 0x1p-60);
        n += ROW;
    } while (!enough(start, wall, budget));
    return sum > 0 ? (cpu_seconds() - start) / (double)n : 0;
}

double ht__rate_sha256(double budget, const struct ht__alloc *alloc)
{
    enum { PIECE = 256 << 10 };
    unsigned char *data = ht__new(alloc, PIECE);
    struct ht__sha256 sha;
    char hex[65];
    double start = cpu_seconds(), wall = ht__seconds();
    uint64_t bytes = 0;
    if (!data) return HT__RATE_NO_MEMORY;
    ht__sha256_begin(&sha);
    for (; !enough(start, wall, budget); bytes += PIECE)
        ht__sha256_add(&sha, data, PIECE);
    ht__sha256_end(&sha, hex);
    double seconds = cpu_seconds() - start;
    ht__free(alloc, data);
    return hex[0] && seconds > 0 ? (double)bytes / seconds : 0;
}

double ht__rate_read(const struct ht__file *file, double budget, const struct ht__alloc *alloc)
{
    unsigned char *data = ht__new(alloc, BYTES);
    uint64_t piece = file->size < BYTES ? file->size : BYTES, n_pieces = piece ? file->size / piece : 0, bytes = 0;
    double start = ht__seconds(), now = start;
    if (!data) return HT__RATE_NO_MEMORY;
    /* steps of about a golden section meet cached and other parts alike */
    for (uint64_t i = 0, at = 0; i < n_pieces && now - start < budget;
         i++, at = (at + n_pieces * 5 / 8 + 1) % n_pieces) {
        if (ht__file_read(file, at * piece, data, piece, NULL) != HT_OK) break;
        bytes += piece;
        now = ht__seconds();
    }
    ht__free(alloc, data);
    return now > start ? (double)bytes / (now - start) : 0;
}

double ht__rate_write(const char *folder, double budget, const struct ht__alloc *alloc)
{
    unsigned char *data = ht__new(alloc, BYTES);
    if (!data) return HT__RATE_NO_MEMORY;
    int fd = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    double start = ht__seconds(), now = start;
    uint64_t bytes = 0;
    memset(data, 0x5a, BYTES); /* not zeros: some disks compress */
    while (fd >= 0 && now - start < budget) {
        if (write(fd, data, BYTES) != BYTES || fdatasync(fd) != 0) break;
        bytes += BYTES;
        now = ht__seconds();
    }
    if (fd >= 0) close(fd);
    ht__free(alloc, data);
    return now > start ? (double)bytes / (now - start) : 0;
}
