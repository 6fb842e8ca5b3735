/* What can be written: read from the library's own lists, so that nothing is offered that is not there. */
#include "service/api/api.h"
#include "service/api/types.h"

#include <halftone/halftone.h>

#include <string.h>

void api_formats(struct api_call *call)
{
    const struct format *f;
    json_t *list = json_array();
    for (size_t i = 0; (f = format_at(i)) != NULL; i++)
        json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:b}", "name", f->name, "title", f->title, "description",
                                              f->description, "folder", f->folder));
    api_json(call, 200, json_pack("{s:o}", "formats", list));
}

char *formats_types(size_t i)
{
    const struct format *format = format_at(i);
    json_t *answer = format ? json_pack("{s:o}", "types", types_of(format)) : NULL;
    char *text = answer ? json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(answer);
    return text;
}

void api_types(struct api_call *call)
{
    const struct format *f;
    size_t i = 0;
    while ((f = format_at(i)) != NULL && strcmp(f->name, call->segments[0]) != 0)
        i++;
    if (!f) {
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

/* The cards that /recommend knows by name. */
void api_gpus(struct api_call *call)
{
    struct ht_gpu_info gpu;
    json_t *list = json_array();
    for (size_t i = 0; ht_gpu_at(i, &gpu); i++)
        json_array_append_new(list, json_pack("{s:s, s:o, s:I}", "name", gpu.name, "memory_bytes",
                                              gpu.memory ? json_integer((json_int_t)gpu.memory) : json_null(),
                                              "bandwidth_bytes_per_second", (json_int_t)gpu.bandwidth));
    api_json(call, 200, json_pack("{s:o}", "gpus", list));
}
