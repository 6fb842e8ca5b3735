/* What can be written: read from the library's own lists, so that nothing is offered that is not there. */
#include "server/api/job_request.h"

#include <halftone/halftone.h>

#include <string.h>

void api_formats(struct api_call *call)
{
    api_json(call, 200,
             json_pack("{s:[{s:s, s:s, s:s}]}", "formats", "name", "gguf", "title", "GGUF", "description",
                       "One file that llama.cpp, Ollama and LM Studio run on processors and graphics cards"));
}

static double bits_of(const char *type)
{
    struct ht_type_info t;
    for (size_t i = 0; ht_type_at(i, &t); i++)
        if (strcmp(t.name, type) == 0) return 8.0 * t.block_bytes / t.block_weights;
    return 0;
}

/* One for little memory, one for a little more, one without a loss that is seen. */
static bool recommended(const char *name)
{
    return strcmp(name, "Q4_K_M") == 0 || strcmp(name, "Q5_K_M") == 0 || strcmp(name, "Q8_0") == 0;
}

char *formats_gguf_types(void)
{
    struct ht_mix_info m;
    json_t *list = json_array();
    for (size_t i = 0; ht_mix_at(i, &m); i++) {
        bool needs = false;
        mix_named(m.name, &needs);
        json_array_append_new(list, json_pack("{s:s, s:f, s:b, s:s, s:b}", "name", m.name, "bits_per_weight",
                                              bits_of(m.default_type), "needs_importance", needs, "hint", m.about,
                                              "recommended", recommended(m.name)));
    }
    json_t *answer = json_pack("{s:o}", "types", list);
    char *text = answer ? json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(answer);
    return text;
}

void api_gguf_types(struct api_call *call)
{
    const char *text = call->server->gguf_types;
    api_common_headers(call->request);
    api_header(call, "Cache-Control", "no-store");
    ht__http_answer_static(call->request, 200, "application/json", text, strlen(text));
}
