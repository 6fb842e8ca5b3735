/* The log of requests, of which refused ones are limited. Any thread. */
#ifndef HT_SERVICE_API_REQUEST_LOG_H
#define HT_SERVICE_API_REQUEST_LOG_H

#include "service/api/api.h"

struct request_log;

struct request_log *request_log_open(void); /* NULL: no memory */
void request_log_close(struct request_log **log);
/* Lines that were not written, since the start. */
uint64_t request_log_left_out(const struct request_log *log);

#endif
