/* The gateway: qguard gateway.  The one start function of this room. */
#ifndef QG_GATEWAY_GATEWAY_H
#define QG_GATEWAY_GATEWAY_H

#include "http/http.h"
#include "qguard.h"

typedef enum qg_gateway_log {
    QG_GATEWAY_LOG_NOTE = 0,   /* where it listens, that it stops, what went wrong */
    QG_GATEWAY_LOG_ACCESS = 1, /* one line per request */
} qg_gateway_log;

typedef struct qg_gateway_options {
    const char *const *upstreams; /* [n_upstreams] "URL" or "MODEL=URL", see gateway/upstream.h */
    size_t n_upstreams;
    const char *upstreams_file; /* instead of them; read again on SIGHUP; NULL = none */
    const char *upstream_key;   /* sent to them; NULL = what the client sends, when the gateway asks
                                   for no key of its own */
    const char *ca_file;        /* authorities for https upstreams; NULL = the system's */
    qg_options engine;          /* the Stream model and how to open it; model NULL = the built-in */
    /* Where a model's words lead, as in qg_serve_options; NULL = the words are paths. */
    char *(*find_model)(void *ud, const char *word);
    void *find_ud;
    const char *gen_model; /* judges prompts; NULL = the Stream model does */
    const char *host;      /* default "127.0.0.1" */
    uint16_t port;         /* default 8080; 0 = any free one, told in the first line of the log */
    qg_http_limits http;
    const char *const *api_keys; /* [n_api_keys] asked of clients; none: no key is asked for */
    size_t n_api_keys;
    const char *api_key_file; /* more of them, see svc/keys.h; read again on SIGHUP; NULL = none */
    const char *admin_key;    /* asked for by the routes below /v1/admin/; NULL = there are none */
    bool live_view;        /* /live and /v1/admin/live, which show users' texts; needs admin_key */
    const char *policy;    /* file; NULL = the default; read again on SIGHUP */
    const char *audit_log; /* file; NULL = none */
    int32_t judge_ms;      /* for a verdict, where the policy says nothing; default 10,000 */
    int32_t header_ms;     /* for the beginning of an upstream's answer; default 300,000 */
    int32_t stall_ms;      /* between two pieces of it; default 120,000 */
    int32_t total_ms;      /* for all of it; default 3,600,000 */
    int32_t keep_alive_ms; /* a stream's silence, once it has begun, until a comment; 0 = never;
                              default 15,000 */
    /* Called with one line without its end, from any thread, one at a time; NULL = silence. */
    void (*log)(void *ud, qg_gateway_log level, const char *line);
    void *log_ud;
} qg_gateway_options;

/* Fills in the defaults, those of the engine too. */
void qg_gateway_options_init(qg_gateway_options *opt);

/* Opens policy and engines, listens, serves until SIGTERM or SIGINT, drains (a second signal ends
 * that) and closes; SIGHUP reads keys, policy and upstreams again, and opens the models anew when
 * other files are where they were.  Logs "listening on http://HOST:PORT" when ready.  Signals as
 * qg_serve: call it before starting threads.  QG_OK after a clean end; QG_ERR_IO when it cannot
 * listen; QG_ERR_ARG: an upstream; else as qg_engine_open. */
qg_status qg_gateway(const qg_gateway_options *opt, qg_err *err);

#endif
