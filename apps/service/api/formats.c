/* What can be written: read from the library's own lists, so that nothing is offered that is not there. */
#include "service/api/api.h"
#include "service/api/types.h"

#include <halftone/halftone.h>

#include <stdlib.h>
#include <string.h>

void api_formats(struct api_call *call)
{
    struct format f;
    json_t *list = json_array();
    for (size_t i = 0; format_at(i, &f); i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b}", "name", f.name, "title", f.title, "description",
                                              f.description, "folder", f.folder));
    api_json(call, 200, json_pack("{s:o}", "formats", list));
}

static char *types_text(const struct format *format)
{
    json_t *answer = json_pack("{s:o}", "types", types_of(format));
    char *text = answer ? json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(answer);
    return text;
}

char **formats_types(void)
{
    struct format format;
    size_t n = 0;
    while (format_at(n, &format))
        n++;
    char **texts = calloc(n + 1, sizeof *texts);
    for (size_t i = 0; texts && i < n; i++)
        if (!format_at(i, &format) || !(texts[i] = types_text(&format))) {
            formats_free(&texts);
            return NULL;
        }
    return texts;
}

void formats_free(char ***texts)
{
    for (size_t i = 0; *texts && (*texts)[i]; i++)
        free((*texts)[i]);
    free(*texts);
    *texts = NULL;
}

void api_types(struct api_call *call)
{
    struct format f;
    size_t i = 0;
    bool there;
    while ((there = format_at(i, &f)) && strcmp(f.name, call->segments[0]) != 0)
        i++;
    if (!there) {
        char near[80];
        format_nearest(call->segments[0], near, sizeof near);
        api_problem(call, "not-found", "there is no such format%s", near);
        return;
    }
    const char *text = call->server->types[i];
    api_common_headers(call->request);
    api_header(call, "Cache-Control", "no-store");
    ht__http_answer_static(call->request, 200, "application/json", text, strlen(text));
}

/* The cards and programs that /recommend knows by name. */
void api_gpus(struct api_call *call)
{
    struct ht_gpu_info gpu;
    struct ht_program_info program = {.size = sizeof program};
    json_t *list = json_array();
    for (size_t i = 0; ht_gpu_at(i, &gpu); i++)
        json_array_append_new(list, json_pack("{s:s, s:o, s:I}", "name", gpu.name, "memory_bytes",
                                              gpu.memory ? json_integer((json_int_t)gpu.memory) : json_null(),
                                              "bandwidth_bytes_per_second", (json_int_t)gpu.bandwidth));
    json_t *programs = json_array();
    for (size_t i = 0; ht_program_at(i, &program); i++)
        json_array_append_new(programs, json_pack("{s:s, s:s, s:b}", "name", program.name, "description", program.about,
                                                  "folder", program.is_folder));
    api_json(call, 200, json_pack("{s:o, s:o}", "gpus", list, "programs", programs));
}
