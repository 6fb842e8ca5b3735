/* openapi.json, which the program carries inside. */
#ifndef HT_SERVICE_API_OPENAPI_H
#define HT_SERVICE_API_OPENAPI_H

extern const unsigned char ht__text_openapi[];
extern const unsigned long ht__text_openapi_len;

#endif
