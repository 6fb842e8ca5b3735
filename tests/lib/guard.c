#include "lib/guard.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct guard make(size_t size, int after)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t body = (size + page - 1) / page * page;
    struct guard g = {.size = size, .map_size = body + 2 * page};
    g.map = mmap(NULL, g.map_size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint8_t *start = (uint8_t *)g.map + page;
    if (g.map == MAP_FAILED || (body && mprotect(start, body, PROT_READ | PROT_WRITE) != 0)) {
        perror("guard");
        abort();
    }
    g.data = after ? start + body - size : start;
    memset(start, 0xA5, body);
    return g;
}

struct guard guard_after(size_t size)
{
    return make(size, 1);
}

struct guard guard_before(size_t size)
{
    return make(size, 0);
}

void guard_free(struct guard *guard)
{
    if (guard->map) munmap(guard->map, guard->map_size);
    memset(guard, 0, sizeof *guard);
}
