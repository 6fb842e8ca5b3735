/* What tools/gen_page.c writes when the program is built. */
#ifndef SERVER_PAGE_DATA_H
#define SERVER_PAGE_DATA_H

#include "server/page.h"

extern const struct page_file page_files[];
extern const size_t page_n_files;

#endif
