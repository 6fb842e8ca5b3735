/* Text for people: names from files and servers, made safe for a terminal; sizes and times. */
#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* At most `most` bytes of the text, and how many columns they took. */
static int write_safe(FILE *to, const char *text, size_t most)
{
    char out[1024];
    int width = 0;
    size_t n = strnlen(text, most);
    for (size_t at = 0, len; at < n; at += len) {
        len = n - at < 100 ? n - at : 100;
        while (len < n - at && len < 104 && ((unsigned char)text[at + len] & 0xc0) == 0x80)
            len++; /* never half a character */
        ht_text_escape(text + at, len, out, sizeof out);
        fputs(out, to);
        width += text_width(out);
    }
    return width;
}

void print_safe(const char *text, int width)
{
    for (int n = write_safe(stdout, text, SIZE_MAX); n < width; n++)
        putchar(' ');
}

void put_safe(FILE *to, const char *text)
{
    write_safe(to, text, 1000);
}

const char *human_bytes(double bytes, char buffer[32])
{
    static const char *const units[] = {"B", "KB", "MB", "GB", "TB"};
    int unit = 0;
    while (bytes >= 999.5 && unit < 4) {
        bytes /= 1000;
        unit++;
    }
    snprintf(buffer, 32, "%.*f %s", unit == 0 || bytes >= 99.95 ? 0 : bytes >= 9.995 ? 1 : 2, bytes, units[unit]);
    return buffer;
}

const char *human_time(double seconds, char buffer[32])
{
    long s = (long)(seconds + 0.5);
    if (s < 60)
        snprintf(buffer, 32, "%ld s", s);
    else if (s < 3600)
        snprintf(buffer, 32, "%ld:%02ld min", s / 60, s % 60);
    else
        snprintf(buffer, 32, "%ld:%02ld h", s / 3600, s / 60 % 60);
    return buffer;
}

const char *text_of(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

double number_of(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

int print_answer(json_t *answer)
{
    char *text = answer ? json_dumps(answer, JSON_COMPACT) : NULL;
    if (text) puts(text);
    free(text);
    json_decref(answer);
    return text ? EXIT_DONE : EXIT_RESOURCES;
}
