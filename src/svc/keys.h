/* API keys: who may ask. */
#ifndef QG_SVC_KEYS_H
#define QG_SVC_KEYS_H

#include "http/http.h"

typedef struct qg_keys {
    const char *const *keys; /* [n], borrowed */
    size_t n;                /* 0: everybody may */
} qg_keys;

/* True when the request carries one of the keys, as `Authorization: Bearer K` or in one of the
 * headers that other products use (x-api-key, api-key, Ocp-Apim-Subscription-Key), or when no key
 * is set.  The time taken does not tell how much of a key was right.  Any thread. */
bool qg_keys_admit(const qg_keys *keys, const qg_http_req *req);

/* Which key that is: its index + 1; 0 when there is none, or none is set.  The same promise. */
size_t qg_keys_which(const qg_keys *keys, const qg_http_req *req);

/* Whether given is one of the keys; the same promise about time. */
bool qg_keys_match(const qg_keys *keys, qg_slice given);

#endif
