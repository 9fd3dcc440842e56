/* `qguard pull`: a model from a hub into its cache, or into a folder. */
#ifndef QG_HUB_PULL_H
#define QG_HUB_PULL_H

#include "hub/fetch.h"
#include "hub/wanted.h"

typedef struct qg_pull_options {
    qg_hub_kind hub;
    const char *repo;     /* "Qwen/Qwen3Guard-Gen-0.6B" */
    const char *revision; /* NULL = the hub's default branch */
    const char *dir;      /* NULL = the hub's cache */
    qg_patterns include;  /* n 0 = what a model needs */
    int connections;      /* 0 = 4 */
    void *ud;
    void (*note)(void *ud, const char *sentence);             /* NULL = no */
    void (*progress)(void *ud, const qg_fetch_progress *now); /* NULL = no */
} qg_pull_options;

/* Fetches, checks and places; *path (qg_mfree) is the folder that is the model.  Whatever ends it,
 * also SIGKILL, leaves a state from which the same call goes on, and nothing half-written under the
 * name of a model.  All callbacks run on the caller's thread but note, which may come from any.
 *   QG_ERR_ARG     names that are none; offline by HF_HUB_OFFLINE
 *   QG_ERR_FORMAT  a hub that lies (hash, size, file names), a repository without a model
 *   QG_ERR_IO      the hub refuses; the disk
 *   QG_ERR_CLOSED  the hub cannot be reached (what came is kept)
 *   QG_ERR_BUSY (429), QG_ERR_TOO_LONG, QG_ERR_NOMEM */
qg_status qg_hub_pull(const qg_pull_options *opt, char **path, qg_err *err);

#endif
