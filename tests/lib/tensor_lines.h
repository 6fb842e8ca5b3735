/*
 * A safetensors file written as text: each line is a tensor: its name, its dtype, its shape ("-" of one number), and, after
 * that, its bytes, repeated as often as they fit: =TEXT or #HEX. Without them they are of every value.
 */
#ifndef HT_TESTS_LIB_TENSOR_LINES_H
#define HT_TESTS_LIB_TENSOR_LINES_H

#include "base/buf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LINES_TENSORS = 24, LINES_BYTES = 1 << 16, LINES_PATTERN = 400 };

static inline uint64_t lines_width(const char *dtype)
{
    static const char *const names[] = {"F32", "BF16", "F16",     "I64",     "I32",    "I8",
                                        "U8",  "BOOL", "F8_E4M3", "F8_E5M2", "F8_E8M0"};
    static const int sizes[] = {4, 2, 2, 8, 4, 1, 1, 1, 1, 1, 1};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        if (strcmp(dtype, names[i]) == 0) return (uint64_t)sizes[i];
    return 0;
}

/* What a tensor's bytes repeat. */
static inline size_t lines_pattern(const char *text, uint8_t out[LINES_PATTERN])
{
    unsigned byte;
    size_t n = 0;
    if (*text == '=') {
        n = strlen(text + 1);
        memcpy(out, text + 1, n);
        return n;
    }
    for (text += *text == '#'; n < LINES_PATTERN && sscanf(text, "%2x", &byte) == 1; text += 1 + (text[1] != 0))
        out[n++] = (uint8_t)byte;
    return n;
}

/* One tensor; false: the line says none. */
static inline bool lines_put(const char *line, size_t len, struct ht__buf *header, struct ht__buf *data)
{
    char text[LINES_PATTERN], name[120], dtype[12], shape[60];
    uint8_t bytes[LINES_PATTERN];
    int end = 0;
    uint64_t n;
    if (len >= sizeof text) return false;
    memcpy(text, line, len);
    text[len] = '\0';
    if (sscanf(text, "%119[A-Za-z0-9_.-] %11[A-Z0-9_] %59[0-9,-]%n", name, dtype, shape, &end) != 3 || !end ||
        !(n = lines_width(dtype)))
        return false;
    if (strcmp(shape, "-") == 0) shape[0] = '\0';
    for (const char *p = shape; *p; p += strcspn(p, ",") + (p[strcspn(p, ",")] == ',')) {
        uint64_t extent = strtoull(p, NULL, 10);
        if (extent > LINES_BYTES || (n *= extent) > LINES_BYTES - data->len) return false;
    }
    ht__buf_printf(header, "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
                   header->len ? "," : "{", name, dtype, shape, data->len, data->len + (size_t)n);
    size_t period = lines_pattern(text[end] ? text + end + 1 : "", bytes);
    for (uint64_t i = 0; i < n; i++)
        ht__buf_put(data, &(uint8_t){period ? bytes[i % period] : (uint8_t)(i * 89 + n)}, 1);
    return true;
}

/* Appends the file to `file`; the first line that says no tensor ends it. */
static inline void lines_file(const char *lines, size_t size, struct ht__buf *file)
{
    struct ht__buf header, data;
    ht__buf_init(&header, NULL);
    ht__buf_init(&data, NULL);
    for (int i = 0; size && i < LINES_TENSORS; i++) {
        const char *end = memchr(lines, '\n', size);
        size_t len = end ? (size_t)(end - lines) : size;
        if (!lines_put(lines, len, &header, &data)) break;
        lines += len + (end != NULL);
        size -= len + (end != NULL);
    }
    ht__buf_str(&header, header.len ? "}" : "{}");
    ht__buf_u64(file, header.len);
    ht__buf_put(file, header.data, header.len);
    ht__buf_put(file, data.data, data.len);
    ht__buf_close(&header);
    ht__buf_close(&data);
}

#endif
