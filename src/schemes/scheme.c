/* The list of schemes, their options as text, and where rows lie in parts. */
#include "schemes/scheme.h"
#include "base/nearest.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct ht__scheme *const schemes[] = {
#define HT_SCHEME(id) &ht__scheme_##id,
#include "schemes/schemes.def"
#undef HT_SCHEME
};
enum { N_SCHEMES = sizeof schemes / sizeof schemes[0], REGISTERED = 4 };
static const struct ht__scheme *registered[REGISTERED];

void ht__scheme_register(const struct ht__scheme *scheme)
{
    for (size_t i = 0; i < REGISTERED; i++)
        if (!registered[i]) {
            registered[i] = scheme;
            return;
        }
}

const struct ht__scheme *ht__scheme_at(size_t index)
{
    if (index < N_SCHEMES) return schemes[index];
    return index - N_SCHEMES < REGISTERED ? registered[index - N_SCHEMES] : NULL;
}

const struct ht__scheme *ht__scheme_by_name(const char *name, size_t len)
{
    const struct ht__scheme *scheme;
    for (size_t i = 0; (scheme = ht__scheme_at(i)) != NULL; i++)
        if (strlen(scheme->name) == len && strncasecmp(scheme->name, name, len) == 0) return scheme;
    return NULL;
}

static const char *name_at(void *ctx, size_t index)
{
    const struct ht__scheme *scheme = ht__scheme_at(index);
    return scheme ? scheme->name : NULL;
}

const char *ht__scheme_nearest(const char *word)
{
    char name[40];
    snprintf(name, sizeof name, "%.*s", (int)(strcspn(word, ":") < 39 ? strcspn(word, ":") : 39), word);
    return ht__nearest(name, name_at, NULL);
}

/* ---- options ---- */

void ht__scheme_defaults(const struct ht__scheme *scheme, struct ht__scheme_params *params)
{
    *params = (struct ht__scheme_params){.scheme = scheme};
    ht__options_defaults(scheme->options, params->option);
}

static int find_option(const struct ht__scheme *scheme, const char *name, size_t len)
{
    return ht__options_find(scheme->options, name, len);
}

double ht__scheme_get(const struct ht__scheme_params *params, const char *option)
{
    int i = find_option(params->scheme, option, strlen(option));
    return i < 0 ? 0 : params->option[i];
}

void ht__scheme_set(struct ht__scheme_params *params, const char *option, double value)
{
    int i = find_option(params->scheme, option, strlen(option));
    if (i >= 0) params->option[i] = value;
}

static enum ht_err parse(const char *text, bool reading, struct ht__scheme_params *params, struct ht_diag *diag)
{
    size_t len = strcspn(text, ":");
    const struct ht__scheme *scheme = ht__scheme_by_name(text, len);
    if (!scheme || (scheme->flags & HT__SCHEME_READ_ONLY && !reading)) return HT_ERR_NOT_FOUND;
    ht__scheme_defaults(scheme, params);
    return ht__options_parse(scheme->name, scheme->options, text + len, reading, params->option, diag);
}

enum ht_err ht__scheme_parse(const char *text, struct ht__scheme_params *params, struct ht_diag *diag)
{
    return parse(text, false, params, diag);
}

enum ht_err ht__scheme_parse_reading(const char *text, struct ht__scheme_params *params, struct ht_diag *diag)
{
    return parse(text, true, params, diag);
}

const char *ht__scheme_text(const struct ht__scheme_params *params, char *buffer, size_t size)
{
    return ht__options_text(params->scheme->name, params->scheme->options, params->option, buffer, size);
}

unsigned ht__scheme_flags(const struct ht__scheme_params *params)
{
    const struct ht__scheme *scheme = params->scheme;
    return scheme->flags | (scheme->flags_with ? scheme->flags_with(params) : 0);
}

bool ht__scheme_same(const struct ht__scheme_params *a, const struct ht__scheme_params *b)
{
    if (a == b || !a || !b) return a == b;
    return a->scheme == b->scheme && memcmp(a->option, b->option, sizeof a->option) == 0;
}

const char *ht__scheme_apart(const struct ht__scheme_params *params, const struct ht__scheme_params *other)
{
    if (ht__scheme_same(params, other)) return NULL;
    if (params->scheme->apart) return params->scheme->apart(params, other);
    return "its configuration describes one kind, and which modules are left out";
}

/* ---- places ---- */

static int64_t common_divisor(int64_t a, int64_t b)
{
    while (b) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

int64_t ht__scheme_rows(const struct ht__scheme_params *params, const struct ht__matrix *matrix)
{
    struct ht__part parts[HT__SCHEME_PARTS];
    int n = params->scheme->parts(params, matrix, parts);
    int64_t rows = params->scheme->rows ? params->scheme->rows(params, matrix) : 1;
    for (int i = 0; i < n; i++)
        if (parts[i].place != HT__PART_WHOLE) rows = rows / common_divisor(rows, parts[i].rows) * parts[i].rows;
    return rows;
}

uint64_t ht__part_bytes(const struct ht__part *part)
{
    uint64_t n = 1;
    for (int i = 0; i < part->n_dims; i++)
        n *= (uint64_t)part->shape[i];
    return ht__codec_bytes(part->dtype, n);
}

static uint64_t n_lines(const struct ht__part *part)
{
    uint64_t n = 1;
    for (int i = 0; part->place == HT__PART_COLUMNS && i + 1 < part->n_dims; i++)
        n *= (uint64_t)part->shape[i];
    return n;
}

/* Bytes of a line before `row`; of all of it at the end of the matrix. */
static uint64_t bytes_before(const struct ht__part *part, const struct ht__matrix *matrix, int64_t row, uint64_t line)
{
    if (row >= matrix->n_out) return line;
    uint64_t bytes = (uint64_t)(row / part->rows) * part->bytes;
    return bytes < line ? bytes : line;
}

static bool folded_piece(const struct ht__part *part, int64_t row, int64_t n, uint64_t i, struct ht__part_piece *piece)
{
    uint64_t fold = ht__part_bytes(part), begin = (uint64_t)row * part->bytes, end = (uint64_t)(row + n) * part->bytes;
    uint64_t from = i ? (begin / fold + i) * fold : begin, to = (begin / fold + i + 1) * fold;
    if (from >= end) return false;
    if (to > end) to = end;
    *piece = (struct ht__part_piece){from % fold, from - begin, to - from};
    return true;
}

bool ht__part_piece(const struct ht__part *part, const struct ht__matrix *matrix, int64_t row, int64_t n, uint64_t i,
                    struct ht__part_piece *piece)
{
    if (part->place == HT__PART_FOLDED) return folded_piece(part, row, n, i, piece);
    uint64_t lines = n_lines(part), line;
    if (i >= lines || part->place == HT__PART_WHOLE) return false;
    line = ht__part_bytes(part) / lines;
    uint64_t begin = bytes_before(part, matrix, row, line), end = bytes_before(part, matrix, row + n, line);
    *piece = (struct ht__part_piece){i * line + begin, i * (end - begin), end - begin};
    return true;
}

uint64_t ht__part_rows_bytes(const struct ht__part *part, const struct ht__matrix *matrix, int64_t row, int64_t n)
{
    struct ht__part_piece piece;
    if (part->place == HT__PART_FOLDED) return (uint64_t)n * part->bytes;
    return ht__part_piece(part, matrix, row, n, 0, &piece) ? piece.n_bytes * n_lines(part) : 0;
}
