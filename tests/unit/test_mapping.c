/* Files of weights that move into huge pages, and what memory is free. */
#include "base/free_memory.h"
#include "engine/mapping.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

enum { PAGES = 5, REST = 12345 };
static const size_t HUGE_PAGE = (size_t)2 << 20;

static uint8_t byte_at(size_t i)
{
    return (uint8_t)(i * 2654435761u >> 13);
}

static void write_file(const char *path, size_t size)
{
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    for (size_t i = 0; i < size; i++)
        assert_true(putc(byte_at(i), f) != EOF);
    assert_int_equal(fclose(f), 0);
}

static bool is_whole(const struct ht__mapping *m)
{
    for (size_t i = 0; i < m->size; i++)
        if (m->base[i] != byte_at(i)) return false;
    return true;
}

/* How much of the address space is still of that file. */
static size_t mapped_of(const char *path)
{
    char line[8192];
    size_t sum = 0;
    FILE *f = fopen("/proc/self/maps", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        unsigned long from, to;
        if (strstr(line, path) && sscanf(line, "%lx-%lx", &from, &to) == 2) sum += to - from;
    }
    fclose(f);
    return sum;
}

struct given {
    char folder[64], path[96];
    struct ht__file file;
    struct ht__pool *pool;
    struct ht__mapping m;
};

static void open_given(struct given *g, size_t size)
{
    struct ht_diag diag;
    strcpy(g->folder, "/tmp/test_mapping.XXXXXX");
    assert_non_null(mkdtemp(g->folder));
    snprintf(g->path, sizeof g->path, "%s/weights", g->folder);
    write_file(g->path, size);
    assert_int_equal(ht__file_open(&g->file, g->path, &diag), HT_OK);
    assert_int_equal(ht__pool_open(2, NULL, &g->pool, &diag), HT_OK);
    assert_int_equal(ht__mapping_open(&g->m, &g->file, &diag), HT_OK);
}

static void close_given(struct given *g)
{
    ht__mapping_close(&g->m);
    assert_int_equal(mapped_of(g->path), 0);
    ht__pool_close(&g->pool);
    ht__file_close(&g->file);
    unlink(g->path);
    rmdir(g->folder);
}

/* In parts: the address stays, the bytes stay, and only the part behind the last whole huge page is the file's. */
static void test_moved(void **state)
{
    struct given g;
    (void)state;
    if (!ht__mapping_can_move()) skip();
    open_given(&g, PAGES * HUGE_PAGE + REST);
    const uint8_t *base = g.m.base;
    assert_int_equal((uintptr_t)base % HUGE_PAGE, 0);
    assert_int_equal(ht__mapping_left(&g.m), PAGES * HUGE_PAGE);
    assert_true(ht__mapping_move(&g.m, 1, g.pool));
    assert_int_equal(g.m.moved, HUGE_PAGE);
    assert_true(is_whole(&g.m));
    assert_true(ht__mapping_move(&g.m, 2 * HUGE_PAGE, g.pool));
    assert_int_equal(ht__mapping_left(&g.m), 2 * HUGE_PAGE);
    assert_true(ht__mapping_move(&g.m, SIZE_MAX, g.pool));
    assert_int_equal(ht__mapping_left(&g.m), 0);
    assert_true(ht__mapping_move(&g.m, 1, g.pool)); /* nothing is left to do */
    assert_ptr_equal(g.m.base, base);
    assert_true(is_whole(&g.m));
    assert_int_equal(mapped_of(g.path), (REST + 4095) / 4096 * 4096);
    close_given(&g);
}

/* A file that cannot be read any more is not moved; nothing of the mapping is lost. */
static void test_not_moved(void **state)
{
    struct given g;
    (void)state;
    if (!ht__mapping_can_move()) skip();
    open_given(&g, PAGES * HUGE_PAGE + REST);
    assert_true(ht__mapping_move(&g.m, HUGE_PAGE, g.pool));
    int fd = g.file.fd;
    g.file.fd = -1;
    assert_false(ht__mapping_move(&g.m, SIZE_MAX, g.pool));
    g.file.fd = fd;
    assert_int_equal(g.m.moved, HUGE_PAGE);
    assert_true(is_whole(&g.m));
    close_given(&g);
}

static void test_small(void **state)
{
    struct given g;
    (void)state;
    open_given(&g, REST);
    assert_int_equal(ht__mapping_left(&g.m), 0);
    assert_true(ht__mapping_move(&g.m, SIZE_MAX, g.pool));
    assert_int_equal(mapped_of(g.path), (REST + 4095) / 4096 * 4096);
    close_given(&g);
}

/* ---- free memory ---- */

static void put(const char *root, const char *path, const char *text)
{
    char whole[512];
    snprintf(whole, sizeof whole, "%s%s", root, path);
    for (char *slash = whole + strlen(root) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(whole, 0700);
        *slash = '/';
    }
    FILE *f = fopen(whole, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void test_free_memory(void **state)
{
    char root[] = "/tmp/test_mapping.XXXXXX", command[64];
    (void)state;
    assert_non_null(mkdtemp(root));
    assert_int_equal(ht__free_memory_in(root), 0); /* nobody says */
    put(root, "/proc/meminfo", "MemTotal:    4000 kB\nMemAvailable:    3000 kB\n");
    assert_int_equal(ht__free_memory_in(root), 3000 * 1024);
    /* the group of the first version: no limit in truth */
    put(root, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
    put(root, "/sys/fs/cgroup/memory/memory.usage_in_bytes", "5\n");
    assert_int_equal(ht__free_memory_in(root), 3000 * 1024);
    /* the process's group: caches of files can go, files that are in memory alone cannot */
    put(root, "/proc/self/cgroup", "0::/outer/inner\n");
    put(root, "/sys/fs/cgroup/outer/inner/memory.max", "max\n");
    put(root, "/sys/fs/cgroup/outer/inner/memory.current", "900000\n");
    put(root, "/sys/fs/cgroup/outer/memory.max", "1000000\n");
    put(root, "/sys/fs/cgroup/outer/memory.current", "900000\n");
    put(root, "/sys/fs/cgroup/outer/memory.stat", "anon 200000\nfile 700000\nshmem 50000\n");
    assert_int_equal(ht__free_memory_in(root), 750000);
    put(root, "/sys/fs/cgroup/outer/inner/memory.max", "600000\n");
    assert_int_equal(ht__free_memory_in(root), 0);
    snprintf(command, sizeof command, "rm -r %s", root);
    assert_int_equal(system(command), 0);
    assert_true(ht__free_memory() > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_moved),
        cmocka_unit_test(test_not_moved),
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_free_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
