/* Paths beside the API: the page. */
#include "service/api/api.h"
#include "service/page/page.h"

#include <string.h>

static bool accepts_gzip(const char *header)
{
    const char *at = header ? strstr(header, "gzip") : NULL;
    return at && strncmp(at + 4, ";q=0", 4) != 0;
}

void api_page(struct api_call *call)
{
    struct ht__http_request *r = call->request;
    struct page_file file;
    const char *path = ht__http_path(r), *known = ht__http_header(r, "If-None-Match");
    bool read = api_is(call, "GET") || api_is(call, "HEAD");
    if (strcmp(path, "/quantization") == 0 && read) { /* where guides say that the page is */
        api_header(call, "Location", "/");
        api_empty(call, 308);
        return;
    }
    if (!page_find(path, &file)) {
        api_problem(call, "not-found", "there is nothing at this address");
        return;
    }
    if (!read) {
        api_header(call, "Allow", "GET, HEAD");
        api_problem(call, "method", "%s cannot be done here", ht__http_method(r));
        return;
    }
    bool gzip = file.gzip && accepts_gzip(ht__http_header(r, "Accept-Encoding"));
    const char *tag = gzip ? file.gzip_etag : file.etag;
    api_common_headers(r);
    api_header(call, "Cache-Control", page_cache_control(&file));
    api_header(call, "ETag", tag);
    if (file.gzip) api_header(call, "Vary", "Accept-Encoding");
    if (known && strstr(known, tag)) {
        ht__http_answer(r, 304, NULL, "", 0);
        return;
    }
    if (gzip) api_header(call, "Content-Encoding", "gzip");
    ht__http_answer_static(r, 200, file.content_type, gzip ? file.gzip : file.data, gzip ? file.gzip_size : file.size);
}
