/* The JSON tree: what it accepts it can write again and read back. */
#include "base/json.h"
#include "lib/pieces.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ht__arena arena;
    struct ht__jnode *root;
    struct ht_diag diag = {0};
    ht__arena_init(&arena, &pieces);
    enum ht_err err = ht__json_parse(&arena, (const char *)data, size, "input", &root, &diag);
    if (err == HT_OK && root->type == HT__JSON_STRING) {
        struct ht__buf text;
        struct ht__jnode *again;
        ht__buf_init(&text, &pieces);
        ht__json_quote(&text, root->text, root->len);
        if (ht__json_parse(&arena, (const char *)text.data, text.len, "again", &again, &diag) != HT_OK ||
            again->len != root->len)
            abort();
        ht__buf_close(&text);
    }
    ht__arena_close(&arena);
    return 0;
}
