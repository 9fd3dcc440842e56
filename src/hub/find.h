/* Models that are in a hub's cache already, whoever put them there. */
#ifndef QG_HUB_FIND_H
#define QG_HUB_FIND_H

#include "hub/hubenv.h"

/* The folder of repo at revision (NULL = the hub's default) in the cache, in new memory (qg_mfree);
 * NULL when it is not there, or not whole: by the list of the repository that the cache keeps,
 * where it does; else by config.json, a tokenizer and all weight files that the index names.  Sizes
 * are compared, bytes are not read. */
char *qg_hub_find(const qg_hub_env *env, const char *repo, const char *revision);

/* True when folder holds a whole model by its own files alone. */
bool qg_hub_is_whole(const char *folder);

#endif
