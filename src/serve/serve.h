/* The server: qguard serve.  The one start function of this room. */
#ifndef QG_SERVE_SERVE_H
#define QG_SERVE_SERVE_H

#include "base/arena.h"
#include "http/http.h"
#include "qguard.h"

typedef enum qg_serve_log {
    QG_SERVE_LOG_NOTE = 0,   /* where it listens, that it stops, what went wrong */
    QG_SERVE_LOG_ACCESS = 1, /* one line per request */
} qg_serve_log;

typedef struct qg_serve_options {
    qg_options engine;        /* the model and how to open it */
    const char *stream_model; /* a second engine, for Stream sessions; NULL = the model, if it is a
                                 Stream model, else none */
    /* Where a model's words lead, in new memory (qg_mfree), or NULL when that is nowhere; called at
     * the start, on SIGHUP and for POST /v1/admin/model, on the thread of qg_serve.  NULL = the
     * words are paths. */
    char *(*find_model)(void *ud, const char *word);
    void *find_ud;
    const char *admin_key; /* asked for by POST /v1/admin/model; NULL = there is no such route */
    const char *host;      /* default "127.0.0.1" */
    uint16_t port;         /* default 8000; 0 = any free one, told in the first line of the log */
    const char *socket;    /* path of a Unix socket to listen on instead; NULL = none */
    qg_http_limits http;   /* defaults of base/limits.h */
    const char *const *names; /* [n_names] served model names, the first one is answered; none:
                                  the model as given, or its folder's name; then a request may name
                                  it with any "owner/" before it */
    size_t n_names;
    const char *const *api_keys; /* [n_api_keys] none: no key is asked for.  The caller reads
                                    QGUARD_API_KEY */
    size_t n_api_keys;
    const char *api_key_file; /* more of them, see svc/keys.h; read again on SIGHUP; NULL = none */
    const char *origins;      /* pages that may call from a browser, as vLLM's --allowed-origins: a
                                 JSON list; default "*"; "" = none */
    const char *policy;       /* file; NULL = the default (docs/POLICY.md); read again on SIGHUP */
    const char *audit_log;    /* file; NULL = none */
    bool no_own_categories;   /* moderations: only OpenAI's 13, not the model's nine beside them */
    bool bare_categories;     /* a category that OpenAI has no word for sets none of the 13 */
    qg_decode decode;         /* default QG_DECODE_VERDICT */
    int32_t request_timeout_ms; /* from the request to its verdict; 0 = none; default 60,000 */
    int32_t stuck_ms; /* /health turns red when a job or probe is older and nothing was finished in
                         this time; 0 (default) = request timeout + 10 s, or 300 s without one */
    int32_t probe_ms; /* an engine out of which nothing has come for so long computes one token, so
                         that /health knows; 0 = never; default 10,000 */
    /* Called with one line without its end, on the thread of qg_serve; NULL = silence. */
    void (*log)(void *ud, qg_serve_log level, const char *line);
    void *log_ud;
} qg_serve_options;

/* Fills in the defaults, those of the engine too. */
void qg_serve_options_init(qg_serve_options *opt);

/* Opens policy and engine, listens, serves until SIGTERM or SIGINT, drains (a second signal ends
 * that) and closes.  SIGHUP reads the files of keys and policy again, and opens the model anew
 * when other files are where it was (svc/swap.h); what is wrong leaves the old ones in force.
 * Logs "listening on http://HOST:PORT", or unix:PATH, when ready.  While it runs, these signals are
 * blocked for the calling thread (so call it before starting others) and SIGPIPE is ignored. QG_OK
 * after a clean end; QG_ERR_IO when it cannot listen; else as qg_engine_open. */
qg_status qg_serve(const qg_serve_options *opt, qg_err *err);

/* Reads a JSON message list (a json_t array) as every route does: text parts are joined, tool calls
 * are text, the last message must have something to judge.  Texts live in list or in arena,
 * messages
 * [*n] in arena.  QG_ERR_FORMAT names the place: "messages.1.content: …"; QG_ERR_TOO_LONG,
 * QG_ERR_NOMEM. */
struct json_t;
qg_status qg_serve_messages(const struct json_t *list, qg_arena *arena, const qg_message **messages,
                            size_t *n, qg_err *err);

/* A setting of a --config file: a flag's name and its value (NULL: the flag alone). */
typedef struct qg_config_word {
    char *key, *value;
} qg_config_word;

/* Reads a YAML file whose keys are the names of flags, in its order; a list gives a word for each
 * of its values, true the flag alone, false nothing.  *words [n] lie in arena.  Errors name path,
 * line and key. */
qg_status qg_serve_config(const char *path, qg_arena *arena, qg_config_word **words, size_t *n,
                          qg_err *err);

/* Reads a policy file as the server would; summary (0-terminated, cut to n bytes) tells what it
 * holds.  Errors name path, line and field. */
qg_status qg_serve_policy_check(const char *path, char *summary, size_t n, qg_err *err);

/* Follows the chain of hashes through an audit log: *n records held.  QG_ERR_FORMAT names path and
 * the first line that breaks it. */
qg_status qg_serve_audit_check(const char *path, uint64_t *n, qg_err *err);

#endif
