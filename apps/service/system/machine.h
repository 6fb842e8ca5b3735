/* What the machine is and has: read from the system, each time. */
#ifndef HT_SERVICE_SYSTEM_MACHINE_H
#define HT_SERVICE_SYSTEM_MACHINE_H

#include <jansson.h>

#include <stdbool.h>
#include <stdint.h>

json_t *machine_cpu(void); /* {name, levels, threads, load} */
void machine_memory(uint64_t *total, uint64_t *available);
uint64_t machine_own_memory(void); /* resident bytes of this process */
/* Resident bytes of another process, and the most that it ever had. false: it is not there. */
bool machine_process_memory(int pid, uint64_t *resident, uint64_t *most);
/* Bytes of the files under a folder, four folders deep. */
uint64_t machine_folder_bytes(const char *folder);
/* The program that reports NVIDIA cards, or NULL. */
const char *machine_gpu_program(void);
/* A card from a line "name, memory.total, memory.free, utilization.gpu" (MiB, percent); NULL: it is none. */
json_t *machine_gpu(const char *line);

#endif
