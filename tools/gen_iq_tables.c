/*
 * Writes the tables of iq_grid.h as C, when the program is built. For a code that is not on the
 * lattice the neighbours are all points in the nearest shells (distinct squared distances between
 * values 2l + 1), ordered by distance, then by index.
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
#define HT_GRID(name, shells, levels, dim, bits, ...)                                                                  \
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

/* Lists are filled up with their first point, so that vectors may read sixteen at a time, or eight. */
enum { SHORT = 8 };

static int padded(int n)
{
    return (n + 15) / 16 * 16;
}

static int padded_near(int n)
{
    return n <= SHORT ? SHORT : padded(n);
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

/*
 * Whether a comes before b for every x that rounds to this code: in each coordinate it is b's
 * equal, in the middle of the cell, nearer on the same side, or on the other side and nearer by a
 * level at least. Distances are sums of monotone terms, so that the same holds of their floats as
 * long as x is not at the cell's very edge.
 */
static int dominates(const struct grid *g, int code, int a, int b)
{
    for (int d = 0; d < g->dim; d++) {
        int c = digit(g, code, d), to_a = digit(g, a, d) - c, to_b = digit(g, b, d) - c;
        if (to_a == to_b || to_a == 0) continue;
        int same_side = (to_a < 0) == (to_b < 0) && to_b != 0;
        if (abs(to_a) > abs(to_b) - !same_side) return 0;
    }
    return 1;
}

/* Leaves out the neighbours that an earlier one dominates. */
static int prune(const struct grid *g, int code, const struct near *near, int n, struct near *kept)
{
    int m = 0;
    for (int i = 0; i < n; i++) {
        int beaten = 0;
        for (int j = 0; j < m && !beaten; j++)
            beaten = dominates(g, code, g->points[kept[j].index], g->points[near[i].index]);
        if (!beaten) kept[m++] = near[i];
    }
    return m;
}

/* Lists of the points' codes, and of the codes of those that prune() leaves. */
enum { CODES, NEAR, N_LISTS };
static const char *const list_names[] = {"codes", "near"};

struct text {
    char *text;
    size_t len;
    FILE *file;
};

static void write_list(const struct grid *g, const struct near *near, int n, int size, FILE *out)
{
    fprintf(out, "%d,", n);
    for (int i = 0; i < size; i++) {
        int index = near[i < n ? i : 0].index;
        fprintf(out, "%d,", g->points[index]);
    }
}

static void write_map(const char *name, const char *grid, const int *map, int n)
{
    printf("static const int32_t %s_%s[] = {", name, grid);
    for (int code = 0; code < n; code++)
        printf("%d,", map[code] > 0 ? map[code] - 1 : map[code]);
    printf("};\n");
}

/* The pruned lists: first those of up to SHORT points, which vectors read whole. Gives where the
 * longer ones begin. */
static long write_near_lists(const struct grid *g, int *map, FILE *out)
{
    static struct near near[4096], kept[4096];
    long offset = 0, long_lists = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int code = 0; code < 1 << g->bits * g->dim; code++) {
            if (map[code] != 0 || !is_valid(g, code)) continue;
            int n = prune(g, code, near, neighbours_of(g, code, near), kept);
            if (pass == 0 && n > SHORT) continue;
            write_list(g, kept, n, padded_near(n), out);
            map[code] = (int)-(offset + 1);
            offset += padded_near(n) + 1;
        }
        if (pass == 0) long_lists = offset;
    }
    return long_lists;
}

static void write_grid(const struct grid *g)
{
    static struct near near[4096];
    int n_codes = 1 << g->bits * g->dim;
    int *map = calloc((size_t)n_codes, sizeof *map), *near_map = calloc((size_t)n_codes, sizeof *near_map);
    long offset = 0;
    struct text lists[N_LISTS];
    for (int i = 0; i < N_LISTS; i++)
        lists[i].file = open_memstream(&lists[i].text, &lists[i].len);
    for (int i = 0; i < g->n; i++)
        map[g->points[i]] = near_map[g->points[i]] = i + 1;
    printf("static const uint8_t points_%s[] = {", g->name);
    for (int i = 0; i < g->n; i++)
        for (int d = 0; d < g->dim; d++)
            printf("%d,", digit(g, g->points[i], d));
    printf("};\n");
    for (int code = 0; code < n_codes; code++) {
        if (map[code] > 0 || !is_valid(g, code)) continue;
        int n = neighbours_of(g, code, near);
        write_list(g, near, n, padded(n), lists[CODES].file);
        map[code] = (int)-(offset + 1);
        offset += padded(n) + 1;
    }
    long long_lists = write_near_lists(g, near_map, lists[NEAR].file);
    for (int i = 0; i < N_LISTS; i++) {
        fclose(lists[i].file);
        printf("static const uint16_t %s_%s[] = {%s};\n", list_names[i], g->name, lists[i].text);
        free(lists[i].text);
    }
    write_map("map", g->name, map, n_codes);
    write_map("near_map", g->name, near_map, n_codes);
    printf("const struct ht__iq_grid ht__%s_grid = {%d, %d, %d, %d, points_%s, map_%s, codes_%s,\n"
           "    near_map_%s, near_%s, %ld};\n",
           g->name, g->dim, g->bits, g->levels, g->n, g->name, g->name, g->name, g->name, g->name, long_lists);
    free(map);
    free(near_map);
}

int main(void)
{
    printf("#include \"kernels/search/iq_grid.h\"\n");
    for (size_t i = 0; i < sizeof grids / sizeof grids[0]; i++)
        write_grid(&grids[i]);
    return 0;
}
