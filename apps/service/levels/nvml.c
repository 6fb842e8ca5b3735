/*
 * Functions that CUDA 14 removes are taken where the new ones are not there: temperature and the reasons of lower clocks have two
 * names each. A removed one answers with an error, and then the value is unknown, as with any other error.
 */
#include "service/levels/nvml.h"

#include <dlfcn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, SENSOR_GPU = 0, MOST_CARDS = 64, NAME = 96 };
#define HOT ((unsigned long long)0x20 | 0x40) /* reasons of lower clocks: heat, told by software or by hardware */

typedef void *device;
struct memory {
    unsigned long long total, free, used;
};
struct utilization {
    unsigned gpu, memory;
};
struct temperature {
    unsigned version;
    int sensor, value;
};

struct nvml {
    void *library;
    int (*init)(void), (*shutdown)(void);
    int (*count)(unsigned *);
    int (*handle)(unsigned, device *);
    int (*name)(device, char *, unsigned);
    int (*memory)(device, struct memory *);
    int (*utilization)(device, struct utilization *);
    int (*temperature_v)(device, struct temperature *);
    int (*temperature)(device, int, unsigned *);
    int (*reasons)(device, unsigned long long *);
};

/* A function of the library by the first of its names that is there; functions are no objects to ISO C, so the address is
 * copied. */
static void find(const struct nvml *n, const char *name, const char *older, void *function)
{
    void *address = dlsym(n->library, name);
    if (!address && older) address = dlsym(n->library, older);
    memcpy(function, &address, sizeof address);
}

struct nvml *nvml_open(const char *library)
{
    struct nvml *n = calloc(1, sizeof *n);
    if (!n) return NULL;
    n->library = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (n->library) {
        find(n, "nvmlInit_v2", NULL, &n->init);
        find(n, "nvmlShutdown", NULL, &n->shutdown);
        find(n, "nvmlDeviceGetCount_v2", NULL, &n->count);
        find(n, "nvmlDeviceGetHandleByIndex_v2", NULL, &n->handle);
        find(n, "nvmlDeviceGetName", NULL, &n->name);
        find(n, "nvmlDeviceGetMemoryInfo", NULL, &n->memory);
        find(n, "nvmlDeviceGetUtilizationRates", NULL, &n->utilization);
        find(n, "nvmlDeviceGetTemperatureV", NULL, &n->temperature_v);
        find(n, "nvmlDeviceGetTemperature", NULL, &n->temperature);
        find(n, "nvmlDeviceGetCurrentClocksEventReasons", "nvmlDeviceGetCurrentClocksThrottleReasons", &n->reasons);
    }
    if (n->library && n->init && n->shutdown && n->count && n->handle && n->init() == OK) return n;
    if (n->library) dlclose(n->library);
    free(n);
    return NULL;
}

void nvml_close(struct nvml **nvml)
{
    struct nvml *n = *nvml;
    if (!n) return;
    n->shutdown();
    dlclose(n->library);
    free(n);
    *nvml = NULL;
}

static json_t *temperature_of(const struct nvml *n, device card)
{
    struct temperature t = {.version = (unsigned)sizeof t | 1u << 24, .sensor = SENSOR_GPU};
    unsigned old;
    if (n->temperature_v && n->temperature_v(card, &t) == OK) return json_integer(t.value);
    if (n->temperature && n->temperature(card, SENSOR_GPU, &old) == OK) return json_integer((json_int_t)old);
    return json_null();
}

static json_t *card_json(const struct nvml *n, device card)
{
    char name[NAME] = "";
    struct memory memory;
    struct utilization use;
    unsigned long long reasons;
    bool named = n->name && n->name(card, name, sizeof name - 1) == OK;
    bool sized = n->memory && n->memory(card, &memory) == OK && memory.total > 0 && memory.used <= memory.total;
    bool busy = n->utilization && n->utilization(card, &use) == OK && use.gpu <= 100;
    bool told = n->reasons && n->reasons(card, &reasons) == OK;
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:o, s:o}", "name", named ? name : "NVIDIA card", "source", "nvml",
                     "memory_used_bytes", sized ? json_integer((json_int_t)memory.used) : json_null(),
                     "memory_total_bytes", sized ? json_integer((json_int_t)memory.total) : json_null(), "load",
                     busy ? json_real(use.gpu / 100.0) : json_null(), "temperature", temperature_of(n, card), "slowed",
                     told ? json_boolean(reasons & HOT) : json_null());
}

void nvml_read(struct nvml *n, json_t *gpus)
{
    unsigned count = 0;
    device card;
    if (!n || n->count(&count) != OK) return;
    for (unsigned i = 0; i < count && i < MOST_CARDS; i++)
        if (n->handle(i, &card) == OK) json_array_append_new(gpus, card_json(n, card));
}
