/* Verdicts kept in a file (SQLite, WAL): a text judged before by the same model in the same way is
 * not judged again.  What is kept is the model's own verdict, before any policy: thresholds and
 * rules are applied to it anew. */
#ifndef QG_BATCH_CACHE_H
#define QG_BATCH_CACHE_H

#include "batch/plain_verdict.h"

typedef struct qg_cache qg_cache;

typedef struct qg_cache_key {
    unsigned char at[32];
} qg_cache_key;

/* Opens or makes the file.  identity: all that a verdict depends on beside the messages (model,
 * format, kernel, way of decoding).  QG_ERR_IO, QG_ERR_FORMAT (another file), QG_ERR_NOMEM. */
qg_status qg_cache_open(qg_cache **out, const char *path, const char *identity, qg_err *err);
/* Commits what was put.  NULL is fine. */
void qg_cache_close(qg_cache *c);

/* The key of these messages; SHA-256 of identity, roles and texts.  Any thread. */
qg_status qg_cache_key_of(const qg_cache *c, const qg_message *messages, size_t n,
                          qg_cache_key *key, qg_err *err);
/* True: it is there.  One thread at a time; another one may put meanwhile. */
bool qg_cache_get(qg_cache *c, const qg_cache_key *key, qg_said *said);
/* Keeps it; on the disk after the next commit.  One thread at a time. */
qg_status qg_cache_put(qg_cache *c, const qg_cache_key *key, const qg_said *said, qg_err *err);
qg_status qg_cache_commit(qg_cache *c, qg_err *err);

#endif
