/* API keys: who may ask. */
#ifndef QG_SVC_KEYS_H
#define QG_SVC_KEYS_H

#include "http/http.h"

typedef struct qg_key_entry {
    qg_slice name, key; /* the name is "" where the file gives none */
} qg_key_entry;

typedef struct qg_keys {
    const char *const *keys; /* [n], borrowed */
    size_t n;
    const char *path;    /* of a file with more of them, borrowed; NULL = none */
    char *text;          /* the file */
    qg_key_entry *lines; /* [n_lines] into text */
    size_t n_lines;
} qg_keys; /* one thread */

/* Reads the file, if there is one: one key a line, or a name, blanks and a key; empty lines and
 * lines that begin with '#' say nothing.  On failure ("path:line: why") the keys stay as they were,
 * so that a reload with a mistake changes nothing.  A file without a key is a mistake. */
qg_status qg_keys_load(qg_keys *keys, qg_err *err);
void qg_keys_free(qg_keys *keys);

/* True when the request carries one of the keys, as `Authorization: Bearer K` or in one of the
 * headers that other products use (x-api-key, api-key, Ocp-Apim-Subscription-Key), or when no key
 * is set.  The time taken does not tell how much of a key was right.  *name (may be NULL) gets the
 * key's name, "" when it has none. */
bool qg_keys_admit(const qg_keys *keys, const qg_http_req *req, qg_slice *name);

/* Which key that is: a number that stays the same when the file is read again; 0 when there is
 * none, or none is set.  The same promise. */
size_t qg_keys_which(const qg_keys *keys, const qg_http_req *req);

/* Whether given is one of the keys; the same promise about time. */
bool qg_keys_match(const qg_keys *keys, qg_slice given, qg_slice *name);

#endif
