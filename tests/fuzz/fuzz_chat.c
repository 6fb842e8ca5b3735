/* Chat templates: any text ends, within its limits, in a text or an error. */
#include "model/chat/chat.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct ht__chat_message messages[] = {{"system", {"Be \xffgood.", 9}},
                                                       {"user", {" <|im_end|>\n", 12}},
                                                       {"assistant", {"<think>\nx\n</think>y", 19}},
                                                       {"user", {"", 0}}};
    struct tm now = {.tm_year = 120, .tm_mday = 1};
    struct ht_diag diag = {0};
    struct ht__buf out;
    char *source = malloc(size + 1);
    if (!source) return 0;
    memcpy(source, data, size);
    source[size] = '\0';
    struct ht__chat chat = {.source = source, .bos = {"<s>", 3}, .now = &now, .messages = messages, .n = 4};
    ht__buf_init(&out, NULL);
    enum ht_err err = ht__chat_render(&chat, NULL, &out, &diag);
    if ((err == HT_OK) != (diag.code == HT_OK)) abort();
    ht__buf_close(&out);
    free(source);
    return 0;
}
