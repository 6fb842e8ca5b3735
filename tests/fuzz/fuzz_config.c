/* Recipe files: any bytes. What is accepted leaves options that hold what they say; an error has a reason. */
#include "fuzz/memory_file.h"
#include "job/job.h"
#include "lib/pieces.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_list(const struct ht__list *list)
{
    if (list->n > list->cap) abort();
    for (size_t i = 0; i < list->n; i++)
        if (strlen(list->items[i]) == 0) abort();
}

static void check_options(const struct ht__options *o)
{
    const char *const texts[] = {o->source, o->output, o->name, o->imatrix, o->threads, o->memory, o->report};
    const struct ht__list *const lists[] = {&o->type, &o->include_weights, &o->exclude_weights, &o->tensor_type,
                                            &o->override_kv};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        if (texts[i] && strlen(texts[i]) == 0) abort();
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++)
        check_list(lists[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[64];
    struct ht_job *job;
    struct ht_diag diag = {0};
    int fd = memory_file(data, size, path);
    if (ht__job_open(&pieces, &job) != HT_OK) abort();
    enum ht_err err = ht__options_load_yaml(job, path, &diag);
    if (err != HT_OK && (diag.code != err || !diag.message[0] || strcmp(diag.where, path) != 0)) abort();
    check_options(&job->options);
    ht__job_close(&job);
    close(fd);
    return 0;
}
