/* Outputs that are folders, on the disk: made as "NAME.part", which takes the folder's name when every file in it is
 * whole and synced. */
#ifndef HT_PIPELINE_FOLDER_PUBLISH_H
#define HT_PIPELINE_FOLDER_PUBLISH_H

#include "pipeline/plan.h"

/* Makes the folder to work in. HT_ERR_EXISTS: the folder is there, and is not to be overwritten. */
HT_MUST_CHECK enum ht_err ht__folder_begin(const struct ht__plan *plan, const struct ht__plan_output *out,
                                           struct ht_diag *diag);
/* Renames it into place, once its files are published in it. An older folder goes. */
HT_MUST_CHECK enum ht_err ht__folder_publish(struct ht__plan_output *out, struct ht_diag *diag);
/* Takes the name back, because what belongs to it failed. One that replaced an older folder stays. */
void ht__folder_retract(struct ht__plan_output *out);
/* Removes the folder to work in, unless files are kept in it. */
void ht__folder_abandon(const struct ht__plan_output *out);

#endif
