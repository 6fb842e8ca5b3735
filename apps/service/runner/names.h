/* Folders of jobs, by their names alone: jobs/ID, jobs/ID.eEPOCH of attempts elsewhere, models/SLUG-ID, and in a bucket
 * objects/SLUG-ID.eEPOCH: nothing is renamed there, so each attempt has names of its own. */
#ifndef HT_SERVICE_RUNNER_NAMES_H
#define HT_SERVICE_RUNNER_NAMES_H

#include "service/store/store.h"

struct store_claim;

/* "models/SLUG-ID"; far, in a bucket: "objects/SLUG-ID.eEPOCH". It has the job's id in it: no two jobs share one, and it is
 * known before the work begins. */
void name_place(const json_t *request, const struct store_claim *claim, bool far, char *name, size_t size);
bool name_id(const char *name, char id[STORE_ID_SIZE]); /* of the job whose folder it is; false: of none */
/* "objects/SLUG-ID.e3" of "objects/SLUG-ID.e3/FILE", and the job's id. */
bool name_folder(const char *name, char folder[300], char id[STORE_ID_SIZE]);

#endif
