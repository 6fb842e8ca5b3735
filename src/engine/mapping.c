#include "engine/mapping.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Of a kernel with pages of 4 KB. MOST: moved at a time, as so much is there twice. */
static const size_t HUGE_PAGE = (size_t)2 << 20, MOST = (size_t)64 << 20;

/* Room at a multiple of a huge page, from what is a huge page larger. */
static uint8_t *aligned_room(size_t size, int protection)
{
    size_t all = size + HUGE_PAGE;
    if (all < size) return NULL;
    uint8_t *room = mmap(NULL, all, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED) return NULL;
    size_t before = (HUGE_PAGE - (uintptr_t)room % HUGE_PAGE) % HUGE_PAGE;
    if (before) munmap(room, before);
    munmap(room + before + size, HUGE_PAGE - before);
    return room + before;
}

enum ht_err ht__mapping_open(struct ht__mapping *m, const struct ht__file *file, struct ht_diag *diag)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    *m = (struct ht__mapping){.size = file->size, .file = file};
    size_t whole = (m->size + page - 1) / page * page;
    uint8_t *room = aligned_room(whole, PROT_NONE);
    void *base = room ? mmap(room, m->size, PROT_READ, MAP_SHARED | MAP_FIXED, file->fd, 0) : MAP_FAILED;
    if (base == MAP_FAILED) {
        if (room) munmap(room, whole);
        return ht__fail(diag, HT_ERR_IO, file->path, -1, "cannot be mapped into memory");
    }
    m->base = base;
    return HT_OK;
}

void ht__mapping_close(struct ht__mapping *m)
{
    if (m->base) munmap(m->base, m->size);
    m->base = NULL;
}

size_t ht__mapping_left(const struct ht__mapping *m)
{
    return (m->size - m->moved) / HUGE_PAGE * HUGE_PAGE;
}

bool ht__mapping_can_move(void)
{
    char text[128] = "";
    int fd = open("/sys/kernel/mm/transparent_hugepage/enabled", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0) close(fd);
    return n > 0 && !strstr(text, "[never]");
}

struct copy {
    const struct ht__mapping *m;
    uint8_t *to;
    atomic_bool failed;
};

static void copy_page(void *ctx, int64_t task, int thread)
{
    struct copy *c = ctx;
    struct ht_diag diag;
    size_t at = (size_t)task * HUGE_PAGE;
    (void)thread;
    if (ht__file_read(c->m->file, c->m->moved + at, c->to + at, HUGE_PAGE, &diag) != HT_OK)
        atomic_store_explicit(&c->failed, true, memory_order_relaxed);
}

/* n: whole huge pages. */
static bool move(struct ht__mapping *m, size_t n, struct ht__pool *pool)
{
    struct copy c = {.m = m, .to = aligned_room(n, PROT_READ | PROT_WRITE)};
    if (!c.to) return false;
    bool good = madvise(c.to, n, MADV_HUGEPAGE) == 0;
    if (good) ht__pool_run(pool, (int64_t)(n / HUGE_PAGE), copy_page, &c);
    good = good && !atomic_load_explicit(&c.failed, memory_order_relaxed) && mprotect(c.to, n, PROT_READ) == 0 &&
           mremap(c.to, n, n, MREMAP_MAYMOVE | MREMAP_FIXED, m->base + m->moved) != MAP_FAILED;
    if (!good) {
        munmap(c.to, n);
        return false;
    }
    m->moved += n;
    return true;
}

bool ht__mapping_move(struct ht__mapping *m, size_t n, struct ht__pool *pool)
{
    size_t left = ht__mapping_left(m);
    for (n = n < left ? (n + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE : left; n > 0;) {
        size_t some = n < MOST ? n : MOST;
        if (!move(m, some, pool)) return false;
        n -= some;
    }
    return true;
}
