/* NVIDIA's cards by their management library, which need not be there. */
#ifndef HT_SERVICE_LEVELS_NVML_H
#define HT_SERVICE_LEVELS_NVML_H

#include <jansson.h>

struct nvml;

struct nvml *nvml_open(const char *library); /* NULL: it is not there, or there is no driver */
void nvml_close(struct nvml **nvml);
/* Appends a reading of each card: sensors.h. */
void nvml_read(struct nvml *nvml, json_t *gpus);

#endif
