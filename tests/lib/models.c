#include "models.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

FILE *models_open(void)
{
    char path[1000];
    const char *root = getenv("HT_SOURCE_ROOT");
    snprintf(path, sizeof path, "%s/tests/golden/models.txt", root ? root : ".");
    return fopen(path, "r");
}

static void parse_tensor(const char *line, struct tensor *t)
{
    char shape[100];
    *t = (struct tensor){.n_dims = 0};
    assert_int_equal(sscanf(line, "%127s %15s %99s", t->name, t->dtype, shape), 3);
    for (char *p = strtok(shape, ","); p; p = strtok(NULL, ","))
        t->shape[t->n_dims++] = strtol(p, NULL, 10);
}

bool models_next(FILE *list, struct model *model)
{
    static char line[9000];
    model->n = 0;
    while (fgets(line, sizeof line, list)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] == '#') continue;
        if (strncmp(line, "model ", 6) == 0) {
            if (model->n) {
                fseek(list, -(long)strlen(line) - 1, SEEK_CUR);
                return true;
            }
            snprintf(model->name, sizeof model->name, "%.60s", line + 6);
        } else if (strncmp(line, "config ", 7) == 0) {
            snprintf(model->config, sizeof model->config, "%.8191s", line + 7);
        } else {
            assert_in_range(model->n, 0, MAX_TENSORS - 1);
            parse_tensor(line, &model->tensors[model->n++]);
        }
    }
    return model->n > 0;
}

static int64_t bytes_of(const struct tensor *t)
{
    int64_t n = t->dtype[0] == 'U' || strncmp(t->dtype, "F8", 2) == 0 ? 1 : t->dtype[0] == 'B' ? 2 : 4;
    for (int d = 0; d < t->n_dims; d++)
        n *= t->shape[d];
    return n;
}

void models_write(const struct model *model, const struct folder *folder)
{
    static char text[200000];
    size_t n = 1;
    int64_t at = 0;
    strcpy(text, "{");
    for (int i = 0; i < model->n; i++) {
        const struct tensor *t = &model->tensors[i];
        if (t->left_out) continue;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[", n > 1 ? "," : "",
                              t->name, t->dtype);
        for (int d = 0; d < t->n_dims; d++)
            n += (size_t)snprintf(text + n, sizeof text - n, "%s%lld", d ? "," : "", (long long)t->shape[d]);
        n += (size_t)snprintf(text + n, sizeof text - n, "],\"data_offsets\":[%lld,%lld]}", (long long)at,
                              (long long)(at + bytes_of(t)));
        at += bytes_of(t);
    }
    n += (size_t)snprintf(text + n, sizeof text - n, "}");
    assert_true(n < sizeof text);
    char path[600];
    snprintf(path, sizeof path, "%s/model.safetensors", folder->path);
    int fd = open(path, O_RDWR | O_CREAT, 0600); /* truncating it to nothing would wait for the disk */
    FILE *f = fdopen(fd, "r+b");
    uint64_t length = n;
    assert_non_null(f);
    assert_int_equal(fwrite(&length, 8, 1, f), 1);
    assert_int_equal(fwrite(text, 1, n, f), n);
    assert_int_equal(fflush(f), 0);
    assert_int_equal(ftruncate(fileno(f), (off_t)(8 + n) + (off_t)at), 0);
    fclose(f);
}

void models_fill(const struct folder *folder)
{
    char path[600];
    uint64_t header;
    snprintf(path, sizeof path, "%s/model.safetensors", folder->path);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    assert_int_equal(fread(&header, 8, 1, f), 1);
    fseek(f, 0, SEEK_END);
    long n = (ftell(f) - 8 - (long)header) / 4;
    fseek(f, 8 + (long)header, SEEK_SET);
    unsigned s = 7;
    for (long i = 0; i < n; i++) {
        s = s * 1664525u + 1013904223u;
        float v = ((float)(s >> 8) / 16777216.0f - 0.5f) * 0.5f;
        fwrite(&v, sizeof v, 1, f);
    }
    fclose(f);
}
