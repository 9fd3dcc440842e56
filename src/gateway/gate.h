/* What the files of the gateway share.
 *
 * Two threads (docs/decisions/0017-gateway-threads.md): the front, the HTTP server's thread, owns
 * connections; the back, the HTTP client's thread, owns everything about a request from its parsed
 * body on: upstream calls, sessions, the reply machine.  They meet in qg_relay: the front posts
 * events, the back leaves bytes. */
#ifndef QG_GATEWAY_GATE_H
#define QG_GATEWAY_GATE_H

#include "base/limits.h"
#include "gateway/gateway.h"
#include "gateway/live.h"
#include "gateway/reply.h"
#include "gateway/upstream.h"
#include "http/chan.h"
#include "http/client.h"
#include "svc/admission.h"
#include "svc/audit.h"
#include "svc/keys.h"
#include "svc/metrics.h"
#include "svc/signals.h"
#include "svc/swap.h"
#include "svc/window_cut.h"
#include "svc/worker.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct qg_relay qg_relay;
typedef struct qg_hearing qg_hearing;
typedef struct qg_attempt qg_attempt;
typedef struct qg_gathering qg_gathering;

/* ---- what is counted (gate_metrics.c); any thread ----------------------------------------------
 */

typedef struct qg_gate_counts {
    uint64_t relays[QG_N_PROTOS];                         /* begun */
    uint64_t outcomes[8];                                 /* by qg_gate_outcome */
    uint64_t cuts[QG_POLICY_CATEGORIES + 1][QG_N_PHASES]; /* blocked; last row: no category */
    uint64_t flags[QG_N_PHASES];
    uint64_t upstream_errors[QG_CLIENT_NOMEM + 1]; /* by cause; those of status: below */
    uint64_t upstream_status, failovers, regenerated, rebuilt, windowed;
    uint64_t bytes_in, bytes_out, text_withheld, text_unjudged, tokens;
    uint64_t judge_retries;
    qg_histogram first,
        token;           /* seconds that judging added: to the first text, to each later one */
    qg_histogram prompt; /* from the request to the prompt's verdict */
    int64_t held_tokens, held_bytes, streams; /* now */
} qg_gate_counts;

typedef enum qg_gate_outcome {
    QG_GATE_PASSED,
    QG_GATE_BLOCKED, /* the prompt */
    QG_GATE_CUT,     /* the reply */
    QG_GATE_UNJUDGED,
    QG_GATE_UPSTREAM,
    QG_GATE_REFUSED, /* the request itself was wrong */
    QG_GATE_GONE,    /* the client hung up */
    QG_GATE_FAILED,  /* memory, malformed upstream, the gateway ends */
} qg_gate_outcome;
const char *qg_gate_outcome_name(qg_gate_outcome outcome);

/* ---- the gateway ------------------------------------------------------------------------------
 */

typedef struct qg_gate {
    const qg_gateway_options *opt;
    qg_client *client;
    qg_worker *worker; /* reads and encodes what is long */
    qg_live *live;     /* NULL: there is no live view */
    /* the front's */
    qg_http *http;
    qg_keys keys;
    qg_policy *policy;
    qg_admission *admission;
    qg_signals *signals;
    qg_house *house; /* the engines that judge now; a request keeps those it began with */
    qg_swap swap;
    int64_t created; /* seconds since 1970 */
    /* the back's */
    qg_relay *relays;
    bool stopping;
    /* any thread, under desk */
    pthread_mutex_t desk;
    qg_upstreams *upstreams;                /* see qg_gate_upstreams */
    qg_gathering *models_now, *models_kept; /* see models_list.c; NULL = none */
    int64_t models_until_us;
    qg_metrics *metrics;
    qg_audit *audit; /* NULL: none is kept */
    qg_gate_counts counts;
} qg_gate;

/* The engine that judges prompts; NULL: the Stream sessions do. */
static inline qg_engine *qg_gate_gen(const qg_house *house)
{
    return house->info.stream ? NULL : house->engine;
}

/* The upstreams that are asked now, with a reference; any thread.  A request keeps those it began
 * with. */
qg_upstreams *qg_gate_upstreams(qg_gate *g);

/* A line for the log; any thread. */
void qg_gate_note(qg_gate *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- front (gate_routes.c, relay_front.c) ------------------------------------------------------
 */

/* Callbacks of the HTTP server; ud is the qg_gate. */
void qg_gate_head(void *ud, qg_http_req *req);
void qg_gate_full(void *ud, qg_http_req *req);
void qg_gate_fault(void *ud, qg_http_req *req, const char *sentence, qg_http_answer *answer);
/* The route's own path, which lives for ever; NULL = none. */
const char *qg_gate_endpoint(qg_slice path);
/* Answers with an error of the protocol (that of the path); code may be NULL. */
void qg_gate_fail(qg_http_req *req, int status, const char *code, const char *sentence);
/* The request to path (what stands behind /v1) of the upstream and back, unjudged, in full(); and
 * whether the policy lets a path pass so (pass_through.c). */
void qg_gate_pass(qg_gate *g, qg_http_req *req, qg_slice path);
bool qg_gate_may_pass(const qg_policy *policy, qg_slice path);
void qg_gate_metrics_page(qg_gate *g, qg_http_req *req);
/* The models of all upstreams, in full(); and after everything, what was kept of them. */
void qg_gate_models(qg_gate *g, qg_http_req *req);
void qg_gate_models_free(qg_gate *g);
/* POST /v1/admin/model, in full(). */
void qg_gate_admin_model(qg_gate *g, qg_http_req *req);
void qg_gate_live(qg_gate *g, qg_http_req *req);
void qg_gate_live_page(qg_gate *g, qg_http_req *req);

/* Takes a request of one of the four protocols, in full(). */
void qg_relay_take(qg_gate *g, qg_http_req *req, qg_proto proto);

/* On the back: asks upstreams that were left out whether they are well (revive.c). */
void qg_gate_try_upstreams(qg_gate *g, int64_t now_us);

/* ---- a request --------------------------------------------------------------------------------
 */

/* The prompt's verdict, by model or rule. */
typedef struct qg_prompt_verdict {
    qg_severity severity;
    const char *category; /* NULL = none */
    double p_severity[3], p_category;
    bool hit;
    qg_action action; /* of a hit */
    const qg_rule *rule;
} qg_prompt_verdict;

/* A last message in windows (long_prompt.c). */
typedef struct qg_long {
    qg_window_cut cut;
    size_t next; /* the Gen model's: the window under way */
    bool judged; /* one is: */
    qg_prompt_verdict worst;
    qg_result *result;               /* the Gen model's, of worst, with the cost of all */
    qg_job *handles[QG_MAX_WINDOWS]; /* kept to the end: the back may be cancelling one */
} qg_long;

typedef enum qg_prompt_state {
    QG_PROMPT_WAITS,  /* for its verdict */
    QG_PROMPT_PASSED, /* or is not judged */
    QG_PROMPT_ENDED,  /* blocked, or could not be judged: the request is answered */
} qg_prompt_state;

/* What the live view knows of a request (live_relay.c). */
typedef struct qg_relay_live {
    uint64_t n; /* its number; 0 = it is not shown */
    json_t *sent, *released;
    uint32_t lanes; /* told about */
    size_t hits;
    uint64_t hit_end, held;
} qg_relay_live;

/* A time at which the upstream had sent so much text: when as much has left, judging took the
 * difference. */
typedef struct qg_relay_mark {
    uint64_t text;
    int64_t us;
} qg_relay_mark;
enum { QG_RELAY_MARKS = 16, QG_RELAY_HEADERS = 12 };

struct qg_relay {
    qg_client_note note; /* first: brings events to the back */
    qg_task task;        /* while the worker reads the body */
    qg_gate *gate;
    qg_house *house; /* a reference */
    qg_proto proto;
    qg_policy *policy;
    qg_policy_view view;
    char key[QG_MAX_KEY_NAME], id[QG_MAX_ID_BYTES], trace[40 + 32];
    char *body; /* [n_body] of the request */
    size_t n_body;
    int64_t start_us;
    struct {
        const char *name;
        char *value;
    } headers[QG_RELAY_HEADERS]; /* of the client's request, for the upstream */
    size_t n_headers;
    char *query; /* behind '?', or NULL */
    /* the worker's, then the back's */
    qg_asked *asked;
    qg_status read_rc, rule_rc;
    qg_err err; /* the reader's, then the Gen model's */
    bool rule_found;
    qg_rule_hit rule;
    qg_message *shown; /* [n_shown] what of the conversation is judged, as sessions take it */
    size_t n_shown;
    /* the back's */
    qg_relay *prev, *next; /* of the gate's list */
    bool begun, listed, ended;
    bool gone;    /* the client */
    bool replied; /* all is said; shadow mode may still be judging it */
    qg_prompt_state prompt;
    bool judged; /* the prompt: */
    qg_prompt_verdict verdict;
    _Atomic(qg_job *) gen_job; /* the worker sets it; given back with the relay */
    atomic_bool gen_unwanted;  /* nobody waits for its answer any more */
    int64_t gen_due_us;        /* the Gen model's deadline; 0 = it is not asked */
    qg_status gen_rc;
    qg_result *gen_result;
    qg_long
        *gen_long; /* the prompt is too long for the Gen model: in windows; the worker sets it */
    qg_long *heard_long;   /* … for sessions, which read the last window before the reply */
    atomic_uint n_windows; /* as told the client: the Gen model's, else the sessions'; 0 = none */
    qg_hearing *hearings, *base;
    qg_attempt *attempt;     /* the call under way; NULL = none */
    qg_upstreams *upstreams; /* a reference; from START on */
    uint64_t tried;          /* of them, since the last answer was begun */
    int32_t n_regenerated;
    qg_reply *reply;
    bool fed; /* bytes of an answer are in the reply */
    int upstream_status;
    char retry_after[16];
    qg_relay_mark marks[QG_RELAY_MARKS];
    uint32_t mark_first, n_marks;
    bool first_out;
    int64_t spoke_us; /* when the client last got something, or the reply was opened */
    int64_t shown_held_tokens, shown_held_bytes; /* as counted in the gate's */
    qg_gate_outcome outcome;
    qg_relay_live live;
    /* front and back */
    pthread_mutex_t lock;
    qg_buf out;     /* under lock: for the client */
    bool head_set;  /* under lock: the answer may begin: */
    int http;       /*   its status, */
    bool stream;    /*   event stream; else one body, sent when it is whole */
    bool out_ended; /* under lock: nothing more comes for the client */
    bool
        back_ended; /* under lock: the back is done with the relay, and wakes the channel no more */
    bool out_broken; /* under lock: and the connection is to be broken off */
    atomic_size_t unsent;
    atomic_bool throttled; /* the back waits for unsent to fall */
    atomic_uint events;
    atomic_bool posted;
    atomic_int refs;
    /* the front's */
    qg_http_chan *chan;
    size_t moved; /* bytes the channel has of us */
    bool chan_gone, back_gone, finished;
};

enum {
    QG_EVENT_START = 1u << 0,
    QG_EVENT_GONE = 1u << 1,
    QG_EVENT_DRAINED = 1u << 2,
    QG_EVENT_HEARD = 1u << 3,
    QG_EVENT_GEN = 1u << 4,
};
/* Any thread that holds a reference. */
void qg_relay_post(qg_relay *r, unsigned events);
void qg_relay_ref(qg_relay *r);
void qg_relay_unref(qg_relay *r);

/* ---- relay.c, on the back ----------------------------------------------------------------------
 */

/* ---- long_prompt.c ------------------------------------------------------------------------------
 */

/* Cuts messages [n] for a context of max_len tokens; errors as qg_window_cut_request.  Encodes: on
 * the worker. */
qg_status qg_long_open(qg_long **out, const qg_engine *engine, int32_t max_len,
                       const qg_message *messages, size_t n, qg_err *err);
void qg_long_close(qg_long *w); /* NULL is fine */
/* Window i of the last message. */
qg_text qg_long_text(const qg_long *w, qg_text whole, size_t i);
/* A window's verdict is in; true: it is the worst so far.  And its result, taken. */
bool qg_long_keep(qg_long *w, const qg_prompt_verdict *v);
void qg_long_keep_result(qg_long *w, qg_result *r, bool stands);
/* No later window can change what is done. */
bool qg_long_decided(const qg_long *w);
void qg_relay_count_long(qg_relay *r, const qg_long *w);

/* Before anything else: lock and references. */
void qg_relay_init(qg_relay *r);
/* Whatever the reply machine has to say is done: asks, output, pause, end. */
void qg_relay_pump(qg_relay *r);
/* The prompt's verdict is in. */
void qg_relay_prompt(qg_relay *r, const qg_prompt_verdict *verdict);
/* The prompt could not be judged. */
void qg_relay_prompt_failed(qg_relay *r, qg_status why, const char *sentence);
/* Ends it with an error body (nothing was sent yet) and counts. */
void qg_relay_fail(qg_relay *r, qg_gate_outcome outcome, int http, const char *code,
                   const char *sentence);
void qg_relay_end(qg_relay *r, qg_gate_outcome outcome);
/* Deadlines and second tries; on each tick of the back. */
void qg_relay_tick(qg_relay *r, int64_t now_us);
/* Leaves bytes for the front.  False: they do not fit, and the relay was ended. */
bool qg_relay_put(qg_relay *r, int http, bool stream, qg_slice bytes);

/* ---- relay_call.c, on the back: the upstream ---------------------------------------------------
 */

/* Calls the next upstream.  False: there is none left, or it cannot be called (answered). */
bool qg_relay_call(qg_relay *r);
void qg_relay_hang_up(qg_relay *r);
void qg_relay_pause(qg_relay *r, bool paused);

/* ---- hearing.c, on the back: sessions -----------------------------------------------------------
 */

/* The session that reads the conversation, and later the first lane. */
void qg_relay_hear(qg_relay *r);
/* Takes an ask of the reply machine. */
void qg_relay_ask(qg_relay *r, const qg_reply_ask *ask);
/* What engine or worker have done. */
void qg_relay_heard(qg_relay *r);
void qg_relay_hearings_tick(qg_relay *r, int64_t now_us);
void qg_relay_hearings_end(qg_relay *r);
void qg_relay_hearings_free(qg_relay *r); /* with the relay: nothing is under way */

/* ---- prompt.c
 * ------------------------------------------------------------------------------------ */

/* On the worker: reads the body, applies scope and rules. */
void qg_relay_read(qg_relay *r);
/* On the back: begins judging. */
void qg_relay_judge_prompt(qg_relay *r);
/* The relay ends: a Gen job that is under way, or about to be, is not computed any further. */
void qg_relay_gen_cancel(qg_relay *r);
/* The Gen model has answered. */
void qg_relay_gen_done(qg_relay *r);
/* Of a rule that is not final and the model's verdict the more severe stands. */
void qg_prompt_add_rule(const qg_relay *r, qg_prompt_verdict *verdict);
/* A session's verdict on the user's turn. */
void qg_prompt_of_token(const qg_policy_view *view, const qg_token *token, qg_prompt_verdict *out);

/* ---- live_relay.c, on the back: what the live view is told --------------------------------------
 */

void qg_relay_live_begin(qg_relay *r);
void qg_relay_live_prompt(qg_relay *r);
/* A reply was opened. */
void qg_relay_live_watch(qg_relay *r);
/* What has come and gone since the last time; on each pump. */
void qg_relay_live_flush(qg_relay *r);
/* The reply is asked for again. */
void qg_relay_live_again(qg_relay *r);
void qg_relay_live_end(qg_relay *r);

/* ---- gate_record.c
 * ------------------------------------------------------------------------------- */

/* Metrics and audit of a relay that has ended. */
void qg_relay_record(qg_relay *r);
/* A text could not be judged. */
void qg_relay_count_failure(qg_relay *r, qg_phase phase, qg_status why);

#endif
