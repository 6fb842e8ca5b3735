#include "machine.h"

#include "../limits.h"
#include "base/pool.h"
#include "kernels/codec.h"
#include "reading.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif

enum { TRIES = 8 };

/* More than the last cache of any processor, or what is read has not come from memory. */
static const size_t READ = (size_t)768 << 20;

#if defined(__x86_64__)
static void name_processor(struct machine *m)
{
    unsigned a, b, c, d, words[12];
    __cpuid(0, a, b, c, d);
    unsigned vendor[3] = {b, d, c};
    memcpy(m->vendor, vendor, sizeof vendor);
    __cpuid(1, a, b, c, d);
    m->family = (int)(a >> 8 & 15);
    m->number = (int)(a >> 4 & 15);
    if (m->family == 6 || m->family == 15) m->number |= (int)(a >> 12 & 0xf0);
    if (m->family == 15) m->family += (int)(a >> 20 & 255);
    if ((unsigned)__get_cpuid_max(0x80000000u, NULL) < 0x80000004u) return;
    for (unsigned i = 0; i < 3; i++)
        __cpuid(0x80000002 + i, words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]);
    const char *name = (const char *)words;
    size_t n = strnlen(name, sizeof words);
    while (n > 0 && *name == ' ')
        name++, n--;
    memcpy(m->model, name, n);
}

/* As LDTILECFG reads it: four tiles of sixteen rows of 64 bytes. */
__attribute__((target("amx-tile,amx-int8"))) static double tiles_of_bytes(int tries)
{
    enum { STEPS = 1 << 15 };
    struct {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } shapes = {.palette = 1};
    double best = 0;
    for (int i = 0; i < 6; i++)
        shapes.bytes[i] = 64, shapes.rows[i] = 16;
    for (int try = 0; try < tries; try++) {
        __asm__ volatile("" ::: "memory");
        _tile_loadconfig(&shapes);
        _tile_zero(0);
        _tile_zero(1);
        _tile_zero(2);
        _tile_zero(3);
        _tile_zero(4);
        _tile_zero(5);
        double start = thread_seconds();
        for (int i = 0; i < STEPS; i++) {
            _tile_dpbssd(0, 4, 5);
            _tile_dpbssd(1, 4, 5);
            _tile_dpbssd(2, 4, 5);
            _tile_dpbssd(3, 4, 5);
        }
        double rate = 4.0 * STEPS * (2 * 16 * 16 * 64) / (thread_seconds() - start) / 1e9;
        _tile_release();
        best = rate > best ? rate : best;
    }
    return best;
}

static void measure_limits(struct machine *m)
{
    if (ht__cpu_has(HT__CPU_avx512)) {
        m->floats = floats_avx512(TRIES);
        m->bytes = bytes_avx512(TRIES);
    } else if (ht__cpu_has(HT__CPU_avx2)) {
        m->floats = floats_avx2(TRIES);
        m->bytes = bytes_avx2(TRIES);
    }
    if (ht__cpu_has(HT__CPU_amx)) m->tiles = tiles_of_bytes(TRIES);
}
#else
static void name_processor(struct machine *m)
{
    (void)m;
}
static void measure_limits(struct machine *m)
{
    (void)m;
}
#endif

static void measure_reading(struct machine *m)
{
    uint8_t *room = reading_room(READ, 1);
    for (int i = 0; room && i < MACHINE_PLACES && i < m->cores; i++) {
        struct reading r = {room, READ, i + 1, 1, 0}, asked = {room, READ, i + 1, 1, 4096};
        double itself = reading_speed(&r, 3), ahead = reading_speed(&asked, 3);
        m->read[i] = (itself > ahead ? itself : ahead) / 1e9;
    }
    if (room) munmap(room, READ);
}

void machine_measure(struct machine *m)
{
    *m = (struct machine){.level = ht__cpu_level_name(ht__cpu_best()), .cores = ht__core_count()};
    name_processor(m);
    measure_limits(m);
    measure_reading(m);
}

void machine_print(const struct machine *m)
{
    printf("machine: %s %s (family %d, model %d), %s, %d cores; a core: %.0f Gop/s in floats, %.0f in bytes", m->vendor,
           m->model, m->family, m->number, m->level, m->cores, m->floats, m->bytes);
    if (m->tiles > 0) printf(", %.0f in tiles", m->tiles);
    printf("; reads %.1f GB/s", m->read[0]);
    if (m->read[1] > 0) printf(", two %.1f", m->read[1]);
    printf("\n");
    fflush(stdout);
}

static void put_limit(struct ht__jw *w, const char *name, double value)
{
    value > 0 ? ht__jw_digits(w, name, value, 4) : ht__jw_null(w, name);
}

void machine_put(const struct machine *m, struct ht__jw *w)
{
    ht__jw_object(w, "machine");
    ht__jw_str(w, "vendor", m->vendor);
    ht__jw_str(w, "model", m->model);
    ht__jw_int(w, "family", m->family);
    ht__jw_int(w, "model_number", m->number);
    ht__jw_str(w, "level", m->level);
    ht__jw_int(w, "cores", m->cores);
    put_limit(w, "float_gops", m->floats);
    put_limit(w, "byte_gops", m->bytes);
    put_limit(w, "tile_gops", m->tiles);
    put_limit(w, "read_gbs", m->read[0]);
    put_limit(w, "read_gbs_two_threads", m->read[1]);
    ht__jw_end(w);
}
