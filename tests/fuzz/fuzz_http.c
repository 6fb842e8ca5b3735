/* Ranges, paths, queries, cookies and whole heads: the first byte chooses. What they promise is checked. */
#include "net/http.h"
#include "net/http_parts.h"

#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* An allocation that ends where the text does. */
static char *text_of(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    if (!text) abort();
    if (size > 0) memcpy(text, data, size);
    text[size] = '\0';
    return text;
}

static void range(const char *text, uint64_t size)
{
    uint64_t first, len;
    if (ht__http_range(text, size, &first, &len) != HT__RANGE_ONE) return;
    if (len == 0 || first >= size || len > size - first) abort();
}

static void path(const uint8_t *data, size_t size)
{
    char *out = malloc(size + 1);
    if (!out) abort();
    if (ht__http_path_decode((const char *)data, size, out)) {
        size_t n = strlen(out);
        if (out[0] != '/' || ht__utf8_valid(out, n) != n || strstr(out, "//") || strstr(out, "/../")) abort();
        if (n >= 3 && strcmp(out + n - 3, "/..") == 0) abort();
    }
    free(out);
}

static void query(const uint8_t *data, size_t size)
{
    struct ht__http_pair pairs[HT__HTTP_MAX_PAIRS];
    char *out = malloc(size + 1);
    if (!out) abort();
    int n = ht__http_query_split((const char *)data, size, out, pairs, HT__HTTP_MAX_PAIRS);
    for (int i = 0; i < n; i++) {
        const char *end = pairs[i].value + strlen(pairs[i].value);
        if (pairs[i].name < out || pairs[i].value < pairs[i].name || end > out + size) abort();
    }
    free(out);
}

static void cookies(char *text, size_t size)
{
    struct ht__http_pair pairs[HT__HTTP_MAX_PAIRS];
    int n = ht__http_cookie_split(text, pairs, HT__HTTP_MAX_PAIRS);
    for (int i = 0; i < n; i++) {
        if (!ht__http_is_token(pairs[i].name)) abort();
        if (pairs[i].value < pairs[i].name || pairs[i].value + strlen(pairs[i].value) > text + size) abort();
    }
}

/* Lines: method, target, then "name:value". */
static void head(char *text)
{
    struct ht__http_pair headers[HT__HTTP_MAX_HEADERS + 1];
    struct ht__http_head h = {.headers = headers, .minor = text[0] == '0' ? 0 : 1};
    char *rest = NULL, *line = strtok_r(text, "\n", &rest);
    h.method = line ? line : "";
    line = strtok_r(NULL, "\n", &rest);
    h.target = line ? line : "";
    while (h.n_headers <= HT__HTTP_MAX_HEADERS && (line = strtok_r(NULL, "\n", &rest))) {
        char *colon = strchr(line, ':');
        if (colon) *colon = '\0';
        headers[h.n_headers++] = (struct ht__http_pair){line, colon ? colon + 1 : ""};
    }
    struct ht__http_verdict v = ht__http_guard(&h);
    if (v.status != 0 && (!v.reason || v.status < 400 || strpbrk(v.reason, "\"\\"))) abort();
    if (v.status == 0 && (v.path[0] != '/' || v.path_len > strlen(v.path))) abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1) return 0;
    char *text = text_of(data + 1, size - 1);
    uint64_t n = 0;
    switch (data[0] % 5) {
    case 0:
        memcpy(&n, text, size - 1 < 8 ? size - 1 : 8);
        range(text, n);
        range(size - 1 > 8 ? text + 8 : text, n >> 32);
        break;
    case 1: path(data + 1, size - 1); break;
    case 2: query(data + 1, size - 1); break;
    case 3: cookies(text, size - 1); break;
    case 4: head(text); break;
    }
    free(text);
    return 0;
}
