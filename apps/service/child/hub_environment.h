/* What of this process's environment children may have that reach the hub: its token, its address, its cache. */
#ifndef HT_SERVICE_CHILD_HUB_ENVIRONMENT_H
#define HT_SERVICE_CHILD_HUB_ENVIRONMENT_H

/* "NAME=value", ends with NULL. A service without a home (as service managers start them) keeps the hub's cache in
 * `folder`. NULL: no memory. */
char **hub_environment_open(const char *folder);
void hub_environment_close(char ***environment); /* NULL-safe */

#endif
