/*
 * Writes the tables of iq_grid.h as C, when the program is built. For a code that is not on the lattice the
 * neighbours are all points in the nearest shells (distinct squared distances between values 2l + 1),
 * ordered by distance, then by index.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct grid {
    const char *name;
    int shells, levels, dim, bits;
    const int *points;
    int n;
};

#define HT_GRID(name, shells, levels, dim, bits, ...) static const int points_##name[] = {__VA_ARGS__};
#include "kernels/search/iq_grids.def"
#undef HT_GRID

static const struct grid grids[] = {
#define HT_GRID(name, shells, levels, dim, bits, ...)                                              \
    {#name, shells, levels, dim, bits, points_##name, (int)(sizeof points_##name / sizeof points_##name[0])},
#include "kernels/search/iq_grids.def"
#undef HT_GRID
};

static int digit(const struct grid *g, int code, int i)
{
    return code >> g->bits * i & ((1 << g->bits) - 1);
}

struct near {
    int distance, index;
};

static int by_distance(const void *a, const void *b)
{
    const struct near *x = a, *y = b;
    return x->distance != y->distance ? x->distance - y->distance : x->index - y->index;
}

/* How many of the sorted points stand in the nearest shells. */
static int in_shells(const struct grid *g, const struct near *near)
{
    int n = 1;
    for (int shells = 1; n < g->n; n++)
        if (near[n].distance != near[n - 1].distance && ++shells > g->shells) break;
    return n;
}

/* Lists are filled up with their first point, so that vectors may read sixteen at a time. */
static int padded(int n)
{
    return (n + 15) / 16 * 16;
}

static int is_valid(const struct grid *g, int code)
{
    for (int i = 0; i < g->dim; i++)
        if (digit(g, code, i) >= g->levels) return 0;
    return 1;
}

/* The nearest points of a code that is not on the lattice, sorted; gives their number. */
static int neighbours_of(const struct grid *g, int code, struct near *near)
{
    for (int i = 0; i < g->n; i++) {
        near[i] = (struct near){0, i};
        for (int d = 0; d < g->dim; d++) {
            int diff = 2 * (digit(g, g->points[i], d) - digit(g, code, d));
            near[i].distance += diff * diff;
        }
    }
    qsort(near, (size_t)g->n, sizeof near[0], by_distance);
    return in_shells(g, near);
}

static void write_list(const struct grid *g, const struct near *near, int n, FILE *codes)
{
    printf("%d,", n);
    fprintf(codes, "%d,", n);
    for (int i = 0; i < padded(n); i++) {
        int index = near[i < n ? i : 0].index;
        printf("%d,", index);
        fprintf(codes, "%d,", g->points[index]);
    }
}

static void write_grid(const struct grid *g)
{
    static struct near near[4096];
    int n_codes = 1 << g->bits * g->dim;
    int *map = calloc((size_t)n_codes, sizeof *map);
    long offset = 0;
    char *codes_text = NULL;
    size_t codes_len = 0;
    FILE *codes = open_memstream(&codes_text, &codes_len);
    for (int i = 0; i < g->n; i++)
        map[g->points[i]] = i + 1;
    printf("static const uint8_t points_%s[] = {", g->name);
    for (int i = 0; i < g->n; i++)
        for (int d = 0; d < g->dim; d++)
            printf("%d,", digit(g, g->points[i], d));
    printf("};\nstatic const uint16_t neighbours_%s[] = {", g->name);
    for (int code = 0; code < n_codes; code++) {
        if (map[code] > 0 || !is_valid(g, code)) continue;
        int n = neighbours_of(g, code, near);
        write_list(g, near, n, codes);
        map[code] = (int)-(offset + 1);
        offset += padded(n) + 1;
    }
    fclose(codes);
    printf("};\nstatic const uint16_t codes_%s[] = {%s", g->name, codes_text);
    printf("};\nstatic const int32_t map_%s[] = {", g->name);
    for (int code = 0; code < n_codes; code++)
        printf("%d,", map[code] > 0 ? map[code] - 1 : map[code]);
    printf("};\nconst struct ht__iq_grid ht__%s_grid = {%d, %d, %d, %d, points_%s, map_%s, neighbours_%s, codes_%s};\n",
           g->name, g->dim, g->bits, g->levels, g->n, g->name, g->name, g->name, g->name);
    free(codes_text);
    free(map);
}

int main(void)
{
    printf("#include \"kernels/search/iq_grid.h\"\n");
    for (size_t i = 0; i < sizeof grids / sizeof grids[0]; i++)
        write_grid(&grids[i]);
    return 0;
}
