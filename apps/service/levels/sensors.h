/*
 * How full, busy and hot the machine and its cards are. Cards: NVIDIA's by its management library, loaded when it is first asked
 * for; AMD's by the kernel's files. The host: /proc, pressure files, thermal zones, the control group's limit. Whatever is not
 * there is null: unknown. A recorded trace can take the place of all of it.
 */
#ifndef HT_SERVICE_LEVELS_SENSORS_H
#define HT_SERVICE_LEVELS_SENSORS_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

struct sensors;

struct sensors_settings {
    const char *root;  /* of /proc and /sys; "": the system's */
    const char *nvml;  /* name of the library; NULL: libnvidia-ml.so.1 */
    const char *trace; /* a file of readings, one a line, in the place of all that; NULL or "": none */
};

/* NULL: why (a trace that cannot be read). */
struct sensors *sensors_open(const struct sensors_settings *settings, char *why, size_t size);
void sensors_close(struct sensors **sensors);
bool sensors_is_trace(const struct sensors *sensors);

/*
 * {time: seconds, gpus: [{name, source: "nvml" | "amdgpu", memory_used_bytes, memory_total_bytes, load: 0..1, temperature: °C,
 *  slowed: by heat}], host: {memory_total_bytes, memory_available_bytes, load: per thread, temperature, pressure: {memory, cpu, io}:
 *  percent of the last 10 s in which something waited}}. The caller's. NULL: a trace has ended, or there is no memory.
 */
json_t *sensors_read(struct sensors *sensors);

#endif
