/* What the files of this room share.  Everything here belongs to the server's thread. */
#ifndef QG_SERVE_SERVE_PRIV_H
#define QG_SERVE_SERVE_PRIV_H

#include "base/limits.h"
#include "serve/messages.h"
#include "serve/pairs.h"
#include "serve/serve.h"
#include "svc/admission.h"
#include "svc/audit.h"
#include "svc/cors.h"
#include "svc/house.h"
#include "svc/keys.h"
#include "svc/metrics.h"
#include "svc/policy.h"
#include "svc/signals.h"
#include "svc/swap.h"
#include "svc/worker.h"

#include <stdatomic.h>

typedef struct qg_serve_job qg_serve_job;

typedef struct qg_server {
    const qg_serve_options *opt;
    qg_house *house; /* the engines that serve now */
    qg_swap swap;
    struct qg_sessions *sessions;
    qg_keys keys;
    qg_policy *policy;
    qg_metrics *metrics;
    qg_admission *admission;
    qg_audit *audit; /* NULL: none is kept */
    qg_cors cors;
    qg_pairs *pairs;
    qg_http *http;
    int busy;          /* its thread; the engines read it */
    qg_worker *worker; /* submits what is long */
    qg_signals *signals;
    int64_t created; /* seconds since 1970, for model cards */
    /* judging */
    qg_serve_job *oldest, *newest; /* under way */
    int64_t progress_us;           /* when the last one ended */
    bool closed;                   /* the engine said so */
    int64_t shown_done;            /* judgements, on the metrics page */
    int64_t done_before;           /* those of engines that served before */
} qg_server;

/* The time of day in whole seconds. */
int64_t qg_serve_now(void);
/* A line for the log. */
void qg_serve_note(const qg_server *srv, const char *sentence);

/* ---- routes.c ---------------------------------------------------------------------------------
 */

/* Callbacks of the HTTP server; ud is the qg_server. */
void qg_serve_head(void *ud, qg_http_req *req);
void qg_serve_full(void *ud, qg_http_req *req);

/* The route's own path, which lives for ever and holds nothing of the caller's; NULL = none. */
const char *qg_serve_endpoint(qg_slice path);

/* Handlers, one file per protocol. */
void qg_serve_metrics(qg_server *srv, qg_http_req *req);
void qg_serve_openapi(qg_server *srv, qg_http_req *req);
void qg_serve_playground(qg_server *srv, qg_http_req *req);
void qg_serve_chat(qg_server *srv, qg_http_req *req);
void qg_serve_completions(qg_server *srv, qg_http_req *req);
void qg_serve_moderations(qg_server *srv, qg_http_req *req);
void qg_serve_guard(qg_server *srv, qg_http_req *req);
void qg_serve_run_shield(qg_server *srv, qg_http_req *req);
void qg_serve_admin_model(qg_server *srv, qg_http_req *req);
void qg_serve_models(qg_server *srv, qg_http_req *req);
void qg_serve_kserve(qg_server *srv, qg_http_req *req);
void qg_serve_model(qg_server *srv, qg_http_req *req);
void qg_serve_tokenize(qg_server *srv, qg_http_req *req);
void qg_serve_detokenize(qg_server *srv, qg_http_req *req);
void qg_serve_classify(qg_server *srv, qg_http_req *req);
void qg_serve_predict(qg_server *srv, qg_http_req *req);
void qg_serve_info(qg_server *srv, qg_http_req *req);
void qg_serve_load(qg_server *srv, qg_http_req *req);
void qg_serve_health(qg_server *srv, qg_http_req *req);
void qg_serve_version(qg_server *srv, qg_http_req *req);
void qg_serve_stream_socket(qg_server *srv, qg_http_req *req);
void qg_serve_sessions(qg_server *srv, qg_http_req *req);
void qg_serve_session(qg_server *srv, qg_http_req *req);
/* In head(): the answer of these begins while the body still comes. */
void qg_serve_stream(qg_server *srv, qg_http_req *req);
void qg_serve_stream_fms(qg_server *srv, qg_http_req *req);
void qg_serve_dify(qg_server *srv, qg_http_req *req);
void qg_serve_litellm(qg_server *srv, qg_http_req *req);
void qg_serve_fms_contents(qg_server *srv, qg_http_req *req);
void qg_serve_fms_chat(qg_server *srv, qg_http_req *req);
void qg_serve_fms_generation(qg_server *srv, qg_http_req *req);
void qg_serve_fms_content(qg_server *srv, qg_http_req *req);
void qg_serve_lakera(qg_server *srv, qg_http_req *req);
void qg_serve_webhook_request(qg_server *srv, qg_http_req *req);
void qg_serve_webhook_response(qg_server *srv, qg_http_req *req);
void qg_serve_azure_analyze(qg_server *srv, qg_http_req *req);
void qg_serve_azure_shield(qg_server *srv, qg_http_req *req);
void qg_serve_pipelines_models(qg_server *srv, qg_http_req *req);
void qg_serve_pipelines_list(qg_server *srv, qg_http_req *req);
void qg_serve_pipelines_no(qg_server *srv, qg_http_req *req);
void qg_serve_pipelines_inlet(qg_server *srv, qg_http_req *req);
void qg_serve_pipelines_outlet(qg_server *srv, qg_http_req *req);
void qg_serve_pipelines_spec(qg_server *srv, qg_http_req *req);
void qg_serve_pipelines_valves(qg_server *srv, qg_http_req *req);
void qg_serve_bedrock(qg_server *srv, qg_http_req *req);
void qg_serve_pooling(qg_server *srv, qg_http_req *req);
void qg_serve_ext_authz(qg_server *srv, qg_http_req *req);
void qg_serve_aliyun(qg_server *srv, qg_http_req *req);

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

/* Bodies of errors in other protocols' shapes; they may change the status. */
json_t *qg_serve_fms_error(qg_serve_error *error);
json_t *qg_serve_bedrock_error(qg_serve_error *error);
json_t *qg_serve_aliyun_error(qg_serve_error *error);
json_t *qg_serve_pipelines_error(qg_serve_error *error);
json_t *qg_serve_predict_error(qg_serve_error *error);
/* What errors of this path look like before its handler was called; NULL = OpenAI's shape. */
typedef json_t *(*qg_serve_shape)(qg_serve_error *error);
qg_serve_shape qg_serve_shape_of(qg_slice path, const char *method);

/* The type that goes with an HTTP status. */
const char *qg_serve_error_type(int status);
void qg_serve_fail(qg_http_req *req, const qg_serve_error *error);
/* Fills in body, type and headers of an answer. */
void qg_serve_error_fill(qg_http_answer *answer, const qg_serve_error *error);
/* The same with another body: tree is taken; NULL = OpenAI's. */
void qg_serve_fail_with(qg_http_req *req, const qg_serve_error *error, json_t *tree);
/* {"error":{…}}, from qg_malloc; NULL when out of memory. */
char *qg_serve_error_json(const qg_serve_error *error);
/* The error of a status that the engine gave; message may come to lie in room. */
typedef struct qg_serve_room {
    char text[sizeof(qg_err) + 160];
} qg_serve_room;
qg_serve_error qg_serve_error_of(qg_server *srv, qg_status status, const qg_err *err,
                                 qg_serve_room *room);
void qg_serve_fail_memory(qg_server *srv, qg_http_req *req);
/* Bodies of the errors that arise in http (qg_http_options.fault). */
void qg_serve_fault(void *ud, qg_http_req *req, const char *sentence, qg_http_answer *answer);

/* Answers 200 with value (taken; NULL = out of memory, which becomes an error); real numbers get
 * nine digits, which hold a float32 whole, or in _exact all that came in. */
void qg_serve_json(qg_http_req *req, json_t *value);
void qg_serve_json_exact(qg_http_req *req, json_t *value);

/* ---- judge.c ----------------------------------------------------------------------------------
 */

/* What a protocol adds to judging. */
typedef struct qg_serve_protocol {
    size_t size; /* of its own struct, which begins with a qg_serve_job and starts as zeros */
    /* Reads job->root and calls qg_serve_asks; else says in job->fault why not.  On the server's
     * thread or the worker: touches the job and what never changes, nothing else. */
    qg_status (*read)(qg_serve_job *job);
    /* The reply when every ask has its result.  On the server's thread. */
    void (*answer)(qg_serve_job *job);
    void (*free)(qg_serve_job *job); /* what read allocated; NULL = nothing */
    /* Body of an error, whose status it may change; NULL = OpenAI's. */
    json_t *(*error)(qg_serve_error *error);
    /* It says pass or block, no more: where the policy lets pass what cannot be judged (on_error:
     * open), answer gets a Safe result that is marked by source "unjudged". */
    bool opens;
    bool raw;      /* read looks at the body itself: root stays NULL */
    bool any_text; /* text that is no verdict is an answer too; else it is an error */
    bool each;     /* answer looks at the status of each ask itself */
} qg_serve_protocol;

typedef struct qg_windows qg_windows;

/* One judgement.  read fills in what is asked; result belongs to the job. */
typedef struct qg_serve_ask {
    qg_request request; /* judge.c sets the deadline */
    qg_serve_job *job;
    _Atomic(qg_job *) handle;
    /* written before its part is done, read after the post */
    qg_status status;
    qg_result *result;
    qg_err err;
    /* the feeder's, read after the post */
    qg_phase phase;
    qg_windows *windows;    /* NULL: judged in one piece, or not at all */
    qg_second_count second; /* opinions asked for: one, or those of its windows */
    bool unjudged;          /* it could not be judged, and the policy lets it pass */
    bool by_rule;           /* a rule matched: */
    qg_rule_hit match;      /* (the policy lives as long as the job) */
} qg_serve_ask;

/* The judgements under way for one request; the first member of a protocol's own struct. */
struct qg_serve_job {
    qg_task task; /* first: while the worker has it */
    const qg_serve_protocol *how;
    qg_server *srv;
    qg_house *house; /* the engines as they were when the request came */
    qg_http_req *req;
    qg_serve_job *prev, *next;
    int64_t start_us;
    bool listed;
    qg_policy *policy; /* as it was when the request came */
    qg_policy_view view;
    char key[QG_MAX_KEY_NAME]; /* name of the caller's API key, "" = none */
    /* the reader's, then read by all; live as long as the job */
    json_t *root;   /* the body, an object; what read puts here is freed too */
    qg_arena arena; /* for what read builds */
    qg_serve_ask *asks;
    size_t n_asks;
    qg_status read_rc;
    qg_fault fault;
    qg_slice unknown_model; /* with read_rc QG_ERR_UNSUPPORTED: a 404 about this name */
    /* any thread */
    atomic_bool ready;  /* the asks are there */
    atomic_bool gone;   /* the client is */
    atomic_bool failed; /* an ask is: the rest need not be tried */
    atomic_int room;    /* asks that may still be submitted at the same time */
    atomic_bool feeding;
    size_t next_ask;  /* the feeder's */
    atomic_int parts; /* who is not done with it: the feeder, the asks */
};

/* Answers req by a protocol, which lives for ever: parses, reads, submits, replies. */
void qg_serve_judge(qg_server *srv, qg_http_req *req, const qg_serve_protocol *how);
/* In read: n asks with default requests; n may be 0, then answer is called at once.  More than
 * QG_MAX_INPUTS are refused; param tells where they stand. */
qg_status qg_serve_asks(qg_serve_job *job, size_t n, const char *param);
/* Ask i judges the last of these messages, or one text in a role; sees to it that the template
 * shows it. */
qg_status qg_serve_ask_messages(qg_serve_job *job, size_t i, const qg_messages *messages);
qg_status qg_serve_ask_text(qg_serve_job *job, size_t i, const char *role, qg_slice text);
/* In read: QG_OK when root's "model" is absent, null, empty or a served name; else a 404. */
qg_status qg_serve_check_model(qg_serve_job *job);
/* Instead of an answer. */
void qg_serve_fail_job(qg_serve_job *job, const qg_serve_error *error);
/* Answers 200 with value (taken), or what is due when it is NULL: out of memory. */
void qg_serve_reply(qg_serve_job *job, json_t *value);
/* Ends an ask of which status, result and err are told; the job may be gone when it returns. */
void qg_serve_end_ask(qg_serve_ask *ask, qg_status status);

/* ---- health.c --------------------------------------------------------------------------------
 */

/* From time to time: begins the probes that are due.  ud is the qg_server. */
void qg_serve_look(void *ud);
/* A sentence when the engine has stopped answering or computes nonsense; else NULL. */
const char *qg_serve_trouble(qg_server *srv);

/* ---- policy_apply.c --------------------------------------------------------------------------
 */

/* What the policy says for this request: sets job->view. */
void qg_serve_policy_begin(qg_serve_job *job);
/* Before the model is asked, on the feeder's thread: leaves out the context that the policy does
 * not want, sets the deadline, looks through the rules.  *decided: a final rule matched, and
 * ask->result is its verdict.  QG_ERR_TOO_LONG, QG_ERR_ARG: the text could not be held against the
 * rules, so it is not judged. */
qg_status qg_serve_policy_ask(qg_serve_ask *ask, bool *decided, qg_err *err);
/* When the model has judged, on the server's thread: the more severe of model and rule stands; what
 * could not be judged passes where protocol and policy are open. */
void qg_serve_policy_after(qg_serve_ask *ask);

/* ---- windows.c -------------------------------------------------------------------------------
 */

/* After qg_submit gave *rc, on the feeder's thread.  True: the text is too long, the policy says
 * windows, and they are being judged: the ask ends when they have been.  False: *rc and err tell
 * what became of it, as before unless cutting failed. */
bool qg_serve_windows_begin(qg_serve_ask *ask, qg_status *rc, qg_err *err);
/* NULL is fine. */
void qg_serve_windows_free(qg_windows *windows);
/* How many were judged; 0 = none, or not all of them. */
size_t qg_serve_windows_n(const qg_serve_ask *ask);
/* {"n","decided_by","begin","end"} of an ask that has some; code points of the judged message.
 * decided_by is null, without a place, when a rule has decided.  NULL when out of memory. */
json_t *qg_serve_windows_json(const qg_serve_ask *ask);
/* Says in the header X-Qguard-Windows into how many the longest text was cut, if any was. */
void qg_serve_windows_note(const qg_serve_job *job);

/* ---- record.c ---------------------------------------------------------------------------------
 */

/* Counts what every ask came to, and writes it into the audit log; before the reply. */
void qg_serve_record(const qg_serve_job *job);
/* Adds to a line of the audit log the caller's trace, the span this request is in it, and the
 * caller's own span if there is one; text: as qg_http_trace gives it. */
void qg_serve_record_trace(json_t *line, const char *text);

/* ---- models.c ---------------------------------------------------------------------------------
 */

/* True when name is empty or one of the served names. */
bool qg_serve_knows(const qg_house *house, qg_slice name);
/* The same for the Stream model. */
bool qg_serve_knows_stream(const qg_server *srv, qg_slice name);
/* The 404 of a model that is not served; its message lies in room. */
qg_serve_error qg_serve_error_of_model(qg_slice name, qg_serve_room *room);

#endif
