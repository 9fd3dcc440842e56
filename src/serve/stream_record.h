/* What a stream's turns came to, for the metrics page and the audit log: one verdict for each
 * judged turn, as for whole texts.  Server's thread. */
#ifndef QG_SERVE_STREAM_RECORD_H
#define QG_SERVE_STREAM_RECORD_H

#include "serve/serve_priv.h"
#include "serve/stream_rules.h"
#include "svc/trace.h"

typedef struct qg_stream_flag {
    bool flagged;
    qg_severity severity;
    const char *category;
    int32_t first; /* index of the first flagged token, -1 */
} qg_stream_flag;

/* Who talks, and the turn that is open.  Zeroed before qg_stream_record_begin. */
typedef struct qg_stream_record {
    qg_server *srv;
    const qg_house *house; /* of the session, once it is open */
    const char *endpoint;
    qg_policy *policy; /* as it was when the conversation began */
    qg_policy_view view;
    char key[QG_MAX_KEY_NAME];         /* its name */
    char request[QG_HTTP_VALUE_BYTES]; /* id of the last request that brought something */
    char trace[QG_TRACE_TEXT];
    const char *session; /* id of a session that outlives requests; NULL = a stream */
    /* the turn */
    const char *role; /* of the tokens so far: "user" or "assistant"; NULL = none is judged yet */
    qg_stream_flag says;        /* its final tokens */
    qg_stream_flag provisional; /* those of the last result */
    qg_stream_rule rule;        /* what the policy's rules say about it */
    double p_hit;               /* highest of its tokens, by the labels that are hits */
    int32_t n_tokens;
    int32_t n_cached, n_cached_before; /* found in the prefix cache: in all, and before the turn */
    int64_t queued_us, compute_us;
} qg_stream_record;

/* Takes the caller's name and what the policy says for it; in the call that has the request's
 * headers. */
void qg_stream_record_begin(qg_stream_record *rec, qg_server *srv, const qg_http_req *req);
/* A further request of the same conversation. */
void qg_stream_record_request(qg_stream_record *rec, const qg_http_req *req);
/* What an append came to; a NULL result is fine. */
void qg_stream_record_result(qg_stream_record *rec, const qg_append *append,
                             const qg_stream_result *result, const qg_stream_said *said);
/* An append to a turn of this role (NULL = the open one's) failed with rc. */
void qg_stream_record_failure(qg_stream_record *rec, const char *role, qg_status rc);
/* The token at index and what follows it was forgotten. */
void qg_stream_record_rollback(qg_stream_record *rec, int32_t index);
/* The conversation is over: a turn that was not ended counts as it stands, provisional tokens
 * included.  Nothing when it never began. */
void qg_stream_record_end(qg_stream_record *rec);

#endif
