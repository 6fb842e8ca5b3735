/* What the headers of an answer say, one line at a time. */
#ifndef HT_HUB_HEADERS_H
#define HT_HUB_HEADERS_H

#include "hub/link.h"

/* Forgets all of an earlier hop but what the endpoint said about the file. */
void ht__reply_begin(struct ht__reply *reply, bool first_hop);
/* One header line, with or without its end of line. endpoint: said by the endpoint's own host. now: time(NULL). */
void ht__reply_header(struct ht__reply *reply, const char *line, size_t len, bool endpoint, int64_t now);

#endif
