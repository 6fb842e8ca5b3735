#include "service/page/page.h"
#include "service/page/page_data.h"

#include <string.h>

bool page_find(const char *path, struct page_file *out)
{
    for (size_t i = 0; i < page_n_files; i++) {
        if (strcmp(page_files[i].path, path) == 0) {
            *out = page_files[i];
            return true;
        }
    }
    return false;
}

const char *page_cache_control(const struct page_file *file)
{
    /* no-cache: kept, but asked about each time; the answer is 304 while the program is the same */
    return file->immutable ? "public, max-age=31536000, immutable" : "no-cache";
}
