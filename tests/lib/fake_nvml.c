/* A management library of NVIDIA's shape with cards of all kinds: 0 answers with what newer drivers have, 1 with the names that they
 * removed, 2 cannot say anything. FAKE_NVML=broken: no driver. */
#include <stdlib.h>
#include <string.h>

#define SHOWN __attribute__((visibility("default")))
enum { OK = 0, NOT_SUPPORTED = 3, NOT_LOADED = 9, DEPRECATED = 26 };

SHOWN int nvmlInit_v2(void);
SHOWN int nvmlShutdown(void);
SHOWN int nvmlDeviceGetCount_v2(unsigned *n);
SHOWN int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **device);
SHOWN int nvmlDeviceGetName(void *device, char *name, unsigned size);
SHOWN int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *memory);
SHOWN int nvmlDeviceGetUtilizationRates(void *device, unsigned *use);
SHOWN int nvmlDeviceGetTemperatureV(void *device, void *temperature);
SHOWN int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *value);
SHOWN int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons);

static char cards[3];

static int kind(const void *device)
{
    return (int)((const char *)device - cards);
}

int nvmlInit_v2(void)
{
    const char *how = getenv("FAKE_NVML");
    return how && strcmp(how, "broken") == 0 ? NOT_LOADED : OK;
}

int nvmlShutdown(void)
{
    return OK;
}

int nvmlDeviceGetCount_v2(unsigned *n)
{
    *n = 4; /* the last has fallen off the bus */
    return OK;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned i, void **device)
{
    *device = cards + i;
    return i < 3 ? OK : 15;
}

int nvmlDeviceGetName(void *device, char *name, unsigned size)
{
    if (kind(device) == 2) return NOT_SUPPORTED;
    strncpy(name, kind(device) ? "Old" : "New", size);
    return OK;
}

int nvmlDeviceGetMemoryInfo(void *device, unsigned long long *memory)
{
    memory[0] = 8ULL << 30, memory[1] = 2ULL << 30, memory[2] = 6ULL << 30;
    return kind(device) == 2 ? NOT_SUPPORTED : OK;
}

int nvmlDeviceGetUtilizationRates(void *device, unsigned *use)
{
    use[0] = 87, use[1] = 5;
    return kind(device) == 0 ? OK : NOT_SUPPORTED;
}

int nvmlDeviceGetTemperatureV(void *device, void *temperature)
{
    int *t = temperature; /* version, sensor, value */
    if ((unsigned)t[0] != (12u | 1u << 24)) return 25;
    t[2] = 71;
    return kind(device) == 0 ? OK : NOT_SUPPORTED;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned *value)
{
    *value = 64;
    return sensor != 0 || kind(device) == 2 ? DEPRECATED : OK;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons)
{
    *reasons = kind(device) == 0 ? 0x44 : 0x5;
    return kind(device) == 2 ? DEPRECATED : OK;
}
