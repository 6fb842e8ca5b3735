/* What tools/gen_page.c writes when the program is built. */
#ifndef HT_SERVICE_PAGE_PAGE_DATA_H
#define HT_SERVICE_PAGE_PAGE_DATA_H

#include "service/page/page.h"

extern const struct page_file page_files[];
extern const size_t page_n_files;

#endif
