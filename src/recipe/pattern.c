#include "recipe/pattern.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* A pattern that needs more than this many steps on a name of 63 bytes is no tensor pattern. */
enum { MATCH_LIMIT = 100000 };

enum ht_err ht__pattern_open(const char *option, const char *text, bool anchored, void **pattern, struct ht_diag *diag)
{
    int code;
    PCRE2_SIZE offset;
    *pattern =
        pcre2_compile((PCRE2_SPTR)text, PCRE2_ZERO_TERMINATED, anchored ? PCRE2_ANCHORED : 0, &code, &offset, NULL);
    if (*pattern) return HT_OK;
    if (code == PCRE2_ERROR_HEAP_FAILED) return ht__fail_memory(diag, option);
    char message[120];
    pcre2_get_error_message(code, (PCRE2_UCHAR *)message, sizeof message);
    return ht__fail(diag, HT_ERR_USAGE, option, (int64_t)offset, "bad regular expression \"%s\": %s", text, message);
}

enum ht_err ht__pattern_match(const void *pattern, const char *option, const char *name, size_t len, bool *yes,
                              struct ht_diag *diag)
{
    pcre2_match_data *data = pcre2_match_data_create_from_pattern(pattern, NULL);
    pcre2_match_context *context = pcre2_match_context_create(NULL);
    int n = PCRE2_ERROR_NOMEMORY;
    if (data && context) {
        pcre2_set_match_limit(context, MATCH_LIMIT);
        n = pcre2_match(pattern, (PCRE2_SPTR)name, len, 0, 0, data, context);
    }
    pcre2_match_context_free(context);
    pcre2_match_data_free(data);
    *yes = n >= 0;
    return n == PCRE2_ERROR_NOMEMORY ? ht__fail_memory(diag, option) : HT_OK;
}

void ht__pattern_close(void **pattern)
{
    pcre2_code_free(*pattern);
    *pattern = NULL;
}
