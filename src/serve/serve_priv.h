/* What the files of this room share.  Everything here belongs to the server's thread. */
#ifndef QG_SERVE_SERVE_PRIV_H
#define QG_SERVE_SERVE_PRIV_H

#include "base/status.h"
#include "serve/serve.h"
#include "svc/keys.h"
#include "svc/worker.h"
#include "text/json.h"

#include <stdatomic.h>

typedef struct qg_serve_job qg_serve_job;

typedef struct qg_server {
    const qg_serve_options *opt;
    qg_engine *engine;
    qg_model_info info;
    const char *name;         /* when none was chosen */
    const char *const *names; /* [n_names], the first one is answered */
    size_t n_names;
    qg_keys keys;
    qg_http *http;
    qg_worker *worker; /* submits what is long */
    int signal_fd;
    int64_t created; /* seconds since 1970, for model cards */
    /* judging */
    qg_serve_job *oldest, *newest; /* under way */
    int64_t progress_us;           /* when the last one ended */
    bool closed;                   /* the engine said so */
} qg_server;

/* The time of day in whole seconds. */
int64_t qg_serve_now(void);

/* ---- routes.c ---------------------------------------------------------------------------------
 */

/* Callbacks of the HTTP server; ud is the qg_server. */
void qg_serve_head(void *ud, qg_http_req *req);
void qg_serve_full(void *ud, qg_http_req *req);

/* Handlers, one file per protocol. */
void qg_serve_chat(qg_server *srv, qg_http_req *req);
void qg_serve_models(qg_server *srv, qg_http_req *req);
void qg_serve_model(qg_server *srv, qg_http_req *req);
void qg_serve_health(qg_server *srv, qg_http_req *req);
void qg_serve_version(qg_server *srv, qg_http_req *req);

/* ---- errors.c ---------------------------------------------------------------------------------
 */

/* One error as clients of the OpenAI protocol read it. */
typedef struct qg_serve_error {
    int status;
    const char *type;  /* "BadRequestError", … */
    const char *code;  /* NULL = null */
    const char *param; /* the same */
    const char *message;
    int retry_after; /* seconds; 0 = no such header */
    bool no_retry;   /* asks the client not to try again */
} qg_serve_error;

void qg_serve_fail(qg_http_req *req, const qg_serve_error *error);
/* {"error":{…}}, from qg_malloc; NULL when out of memory. */
char *qg_serve_error_json(const qg_serve_error *error);
/* The error of a status that the engine gave. */
void qg_serve_fail_status(qg_server *srv, qg_http_req *req, qg_status status, const qg_err *err);
/* Bodies of the errors that arise in http (qg_http_options.fault). */
void qg_serve_fault(void *ud, qg_http_req *req, const char *sentence, qg_http_answer *answer);

/* Answers 200 with value (taken; NULL = out of memory, which becomes an error). */
void qg_serve_json(qg_http_req *req, json_t *value);

/* ---- judge.c ----------------------------------------------------------------------------------
 */

/* What a protocol adds to judging. */
typedef struct qg_serve_protocol {
    /* Reads the request's body and sets job->messages; false when it has to be refused.  On the
     * server's thread or the worker: touches the job and what never changes, nothing else. */
    bool (*read)(qg_serve_job *job);
    /* On the server's thread, one of them: the reply to what read refused; the reply to a result.
     */
    void (*refuse)(qg_serve_job *job);
    void (*answer)(qg_serve_job *job);
    void (*free)(qg_serve_job *job); /* the struct around it */
} qg_serve_protocol;

/* One judgement under way for one request; the first member of a protocol's own struct. */
struct qg_serve_job {
    qg_task task; /* first: while the worker has it */
    const qg_serve_protocol *how;
    qg_server *srv;
    qg_http_req *req;
    qg_serve_job *prev, *next;
    int64_t start_us;
    bool listed;
    /* the reader's, then read by all */
    const qg_message *messages; /* [n_messages], live as long as the job */
    size_t n_messages;
    bool refused;
    /* any thread */
    atomic_int parts; /* who is not done with it: the submitter, the engine */
    atomic_bool gone; /* the client is */
    _Atomic(qg_job *) job;
    /* written before the last part is done, read after the post */
    qg_status status;
    qg_result *result;
    qg_err err;
};

/* Reads, submits and replies.  Takes job, of which how, srv and req are set. */
void qg_serve_judge(qg_serve_job *job);
/* True when the engine has stopped answering. */
bool qg_serve_stuck(qg_server *srv);

/* ---- models.c ---------------------------------------------------------------------------------
 */

/* True when name is empty or one of the served names. */
bool qg_serve_knows(const qg_server *srv, qg_slice name);
/* The 404 of a model that is not served. */
void qg_serve_fail_model(qg_http_req *req, qg_slice name);

#endif
