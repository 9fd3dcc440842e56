/* Questions to a hub: its addresses, headers, redirects, and what is tried again. */
#ifndef QG_HUB_ASK_H
#define QG_HUB_ASK_H

#include "http/client.h"
#include "hub/hubenv.h"
#include "hub/listing.h"

#include <stdatomic.h>

typedef struct qg_ask {
    const qg_hub_env *env;
    const char *repo, *revision; /* for sentences and addresses */
    qg_client *client;
    const atomic_bool *cancel;                    /* NULL = never */
    void *ud;                                     /* of note */
    void (*note)(void *ud, const char *sentence); /* "the hub asks to wait 5 s"; may be NULL */
    bool reached;                                 /* the hub has answered once */
    char authorization[600], cookie[600];         /* values of headers; "" = none */
} qg_ask;

/* Fills in *ask (strings and env are borrowed) and starts its client.  A token goes over plain http
 * to this machine only. */
qg_status qg_ask_open(qg_ask *ask, const qg_hub_env *env, const char *repo, const char *revision,
                      qg_err *err);
void qg_ask_close(qg_ask *ask);

/* A request to url with the hub's headers, redirects and times set; extra (may be NULL) is one more
 * header.  headers [4] is filled and must live as long as the request. */
qg_client_request qg_ask_request(const qg_ask *ask, const char *url, qg_client_header *headers,
                                 const qg_client_header *extra);

/* The body of url, with retries.  QG_ERR_IO: the hub refuses; QG_ERR_CLOSED: it cannot be reached;
 * QG_ERR_CANCELLED, QG_ERR_TOO_LONG, QG_ERR_NOMEM.  *link (may be NULL) gets the Link header's
 * value in new memory or NULL.  what: for sentences ("the list of files").  *body is a buffer that
 * the caller inits and frees. */
qg_status qg_ask_get(qg_ask *ask, const char *url, const char *what, qg_buf *body, char **link,
                     qg_err *err);

/* Shall it be tried again?  end, retry_after and rate (headers Retry-After and RateLimit, NULL =
 * none) of a try that failed; tries so far.  *ms gets how long to wait before. */
bool qg_ask_again(const qg_ask *ask, const qg_client_end *end, const char *retry_after,
                  const char *rate, int tries, int64_t *ms);
/* Waits, unless cancelled meanwhile: then false. */
bool qg_ask_sleep(const qg_ask *ask, int64_t ms);

/* The sentence for an answer that is no success: code and words from the hub's headers X-Error-Code
 * and X-Error-Message (NULL = none), body its JSON. */
qg_status qg_ask_refused(const qg_ask *ask, const char *what, int status, const char *code,
                         const char *words, qg_slice body, qg_err *err);

/* The sentence for no answer, or one that broke off: QG_ERR_CLOSED, or QG_ERR_CANCELLED. */
qg_status qg_ask_unreachable(const qg_ask *ask, const char *what, const qg_client_end *end,
                             qg_err *err);
/* Tells why and how long is waited, when it is a second or more. */
void qg_ask_note_wait(const qg_ask *ask, const qg_client_end *end, int64_t ms);

/* Addresses, added to out. */
qg_status qg_ask_file_url(const qg_ask *ask, const char *commit, const char *path, qg_buf *out);

/* Seconds that a Retry-After header asks for (a number, or a date beside now), -1 when it says
 * nothing. */
int64_t qg_retry_after_s(const char *value, int64_t now);

/* The commit of the revision ("" on ModelScope, which has none), and all files at it. */
qg_status qg_ask_commit(qg_ask *ask, char commit[QG_HUB_COMMIT + 1], qg_err *err);
qg_status qg_ask_files(qg_ask *ask, const char *commit, qg_hub_list *list, qg_err *err);

#endif
