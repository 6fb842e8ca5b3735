/* YAML trees, and names: whatever a model card says. */
#include "base/yaml.h"
#include "model/model_name.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int depth(const struct ht__jnode *node)
{
    int most = 0;
    for (size_t i = 0; i < node->n; i++) {
        int d = depth(&node->children[i]);
        most = d > most ? d : most;
        if (node->type == HT__JSON_OBJECT && !node->keys[i]) abort();
    }
    return most + 1;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ht__arena arena;
    struct ht__jnode *root;
    struct ht__model_name name;
    struct ht_diag diag = {0};
    ht__arena_init(&arena, NULL);
    enum ht_err err = ht__yaml_parse(&arena, (const char *)data, size, "input", &root, &diag);
    if ((err == HT_OK) != (diag.code == HT_OK) || (root && depth(root) > HT__JSON_MAX_DEPTH + 1)) abort();
    const char *id = ht__arena_copy(&arena, (const char *)data, size);
    if (id && (!ht__model_name_parse(&arena, id, size * 1000, &name) || !ht__model_title(&arena, id))) abort();
    ht__arena_close(&arena);
    return 0;
}
