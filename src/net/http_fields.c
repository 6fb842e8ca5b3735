/* Header names, values and cookies. */
#include "net/http_parts.h"

#include <string.h>
#include <strings.h>

static bool is_token_byte(unsigned char c)
{
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return true;
    return c != '\0' && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

bool ht__http_is_token(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    while (is_token_byte(*p))
        p++;
    return *p == '\0' && p != (const unsigned char *)text;
}

bool ht__http_is_value(const char *text)
{
    for (const unsigned char *p = (const unsigned char *)text; *p; p++)
        if ((*p < 0x20 && *p != '\t') || *p == 0x7f) return false;
    return true;
}

bool ht__http_same_name(const char *a, const char *b)
{
    return strcasecmp(a, b) == 0;
}

static char *skip_space(char *p)
{
    while (*p == ' ' || *p == '\t')
        p++;
    return p;
}

static void trim_end(char *text, char *end)
{
    while (end > text && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *end = '\0';
}

/* One "name=value" in [text, end), where *end may be overwritten. */
static bool cookie(char *text, char *end, struct ht__http_pair *pair)
{
    *end = '\0';
    char *name = skip_space(text), *eq = strchr(name, '=');
    if (!eq) return false;
    trim_end(name, eq);
    char *value = skip_space(eq + 1);
    trim_end(value, end);
    size_t len = strlen(value);
    if (len >= 2 && value[0] == '"' && value[len - 1] == '"') {
        value[len - 1] = '\0';
        value++;
    }
    *pair = (struct ht__http_pair){name, value};
    return ht__http_is_token(name);
}

int ht__http_cookie_split(char *text, struct ht__http_pair *pairs, int max)
{
    int n = 0;
    for (bool last = false; !last && n < max;) {
        char *end = text + strcspn(text, ";");
        last = *end == '\0';
        n += cookie(text, end, &pairs[n]);
        text = end + 1;
    }
    return n;
}
