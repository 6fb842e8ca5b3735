/* A published file as an answer. */
#ifndef HT_SERVER_API_DOWNLOADS_H
#define HT_SERVER_API_DOWNLOADS_H

#include "server/api/api.h"

void download_answer(struct api_call *call, const struct store_file *file);

#endif
