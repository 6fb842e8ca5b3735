/* The web page's files, which the program carries inside. */
#ifndef HT_SERVICE_PAGE_PAGE_H
#define HT_SERVICE_PAGE_PAGE_H

#include <stdbool.h>
#include <stddef.h>

/* Sent with every file of the page: nothing inline, nothing from elsewhere, no frame around it. */
#define PAGE_CSP                                                                                                       \
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "               \
    "frame-ancestors 'none'"

struct page_file {
    const char *path; /* "/", "/page-3f2a.js" … */
    const char *content_type;
    const unsigned char *data;
    size_t size;
    const unsigned char *gzip; /* the same, for who accepts it; NULL where it saves nothing */
    size_t gzip_size;
    const char *etag; /* quoted; the two encodings have one each */
    const char *gzip_etag;
    bool immutable; /* its name changes with its bytes: may be kept for ever */
};

/* The file at a path, already decoded and without query; false: there is none. */
bool page_find(const char *path, struct page_file *out);

/* Value of Cache-Control for a file. */
const char *page_cache_control(const struct page_file *file);

#endif
