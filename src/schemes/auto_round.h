/* AutoRound's own configuration, for schemes whose layouts it shares. */
#ifndef HT_SCHEMES_AUTO_ROUND_H
#define HT_SCHEMES_AUTO_ROUND_H

#include "schemes/scheme.h"

/* packing: its name for the layout. Numbers are the scheme's options "bits" (4 where there is none), "group" and "sym"
 * (off where there is none). */
void ht__auto_round_config(const struct ht__scheme_package *package, const char *packing, struct ht__jw *w);

#endif
