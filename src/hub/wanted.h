/* Which files of a repository are fetched. */
#ifndef QG_HUB_WANTED_H
#define QG_HUB_WANTED_H

#include "hub/listing.h"

/* Shell patterns as the hubs' own tools take them: '*' also matches '/'. */
typedef struct qg_patterns {
    const char *const *at; /* [n] */
    size_t n;
} qg_patterns;

/* Without patterns: what a model of this house needs and nothing else, from the top folder:
 * config.json, generation_config.json, the tokenizer's files, the chat template, *.safetensors and
 * their index.  With patterns: what any of them matches, wherever it lies. */
bool qg_wanted(const char *path, qg_patterns include);

/* Puts what is wanted into *out (copies), sorted by path.  QG_ERR_FORMAT when that can be no model
 * (without patterns: no config.json or no *.safetensors; with patterns: nothing matches), naming
 * what is there instead. */
qg_status qg_choose_files(const qg_hub_list *all, qg_patterns include, qg_hub_list *out,
                          qg_err *err);

#endif
