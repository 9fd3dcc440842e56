/* The start function: engines, upstreams, listener, signals, and the order in which they end. */
#include "gateway/gateway.h"

#include "base/mem.h"
#include "gateway/gate.h"
#include "svc/signals.h"

#include <errno.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

enum {
    TICK_MS = 20,
    CONNECTIONS = 16384, /* 2,000 streams are the least; each has one */
    BODY_BYTES = 32 * 1024 * 1024,
    BODY_BYTES_TOTAL = 1024 * 1024 * 1024,
    DRAIN_MS = 60000, /* replies are long */
};

void qg_gateway_options_init(qg_gateway_options *opt)
{
    *opt = (qg_gateway_options){.host = "127.0.0.1",
                                .port = 8080,
                                .judge_ms = 10000,
                                .header_ms = 300000,
                                .stall_ms = 120000,
                                .total_ms = 3600000,
                                .keep_alive_ms = 15000};
    qg_options_init(&opt->engine);
    qg_http_limits_init(&opt->http);
    opt->http.connections = opt->http.connections_addr = CONNECTIONS;
    opt->http.body_bytes = BODY_BYTES;
    opt->http.body_bytes_total = BODY_BYTES_TOTAL;
    opt->http.drain_ms = DRAIN_MS;
}

/* ---- log
 * ------------------------------------------------------------------------------------------------
 */

static void say(qg_gate *g, qg_gateway_log level, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));

static void say(qg_gate *g, qg_gateway_log level, const char *fmt, va_list args)
{
    char line[768];
    if (!g->opt->log)
        return;
    vsnprintf(line, sizeof line, fmt, args);
    g->opt->log(g->opt->log_ud, level, line);
}

void qg_gate_note(qg_gate *g, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(g, QG_GATEWAY_LOG_NOTE, fmt, args);
    va_end(args);
}

static void access_line(qg_gate *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void access_line(qg_gate *g, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    say(g, QG_GATEWAY_LOG_ACCESS, fmt, args);
    va_end(args);
}

/* The path comes from the network: only those of the route table are shown. */
static void on_end(void *ud, qg_http_req *req, const qg_http_end *end)
{
    qg_gate *g = ud;
    const char *endpoint = qg_gate_endpoint(qg_http_path(req));
    qg_admission_end(g->admission, qg_http_tag(req) - 1);
    pthread_mutex_lock(&g->desk);
    qg_metrics_request(g->metrics, endpoint, end->status, (double)end->us / 1e6);
    pthread_mutex_unlock(&g->desk);
    access_line(g, "%s \"%s %s\" %d %s%.1f ms, %llu bytes, %s, trace %s", qg_http_peer(req),
                qg_http_method(req), endpoint ? endpoint : "(other)", end->status,
                end->whole ? "" : "(not taken) ", (double)end->us / 1000,
                (unsigned long long)end->n_body, qg_http_id(req), qg_http_trace(req));
}

/* ---- signals
 * ---------------------------------------------------------------------------------------------- */

static qg_status open_policy(const qg_gateway_options *opt, qg_policy **out, qg_err *err)
{
    return opt->policy ? qg_policy_open(out, opt->policy, err) : qg_policy_default(out, err);
}

static qg_status open_upstreams(const qg_gateway_options *opt, qg_upstreams **out, qg_err *err)
{
    return opt->upstreams_file ? qg_upstreams_read(out, opt->upstreams_file, err)
                               : qg_upstreams_of_words(out, opt->upstreams, opt->n_upstreams,
                                                       opt->upstream_key, err);
}

qg_upstreams *qg_gate_upstreams(qg_gate *g)
{
    pthread_mutex_lock(&g->desk);
    qg_upstreams *list = g->upstreams;
    qg_upstreams_ref(list);
    pthread_mutex_unlock(&g->desk);
    return list;
}

static void reload_upstreams(qg_gate *g)
{
    qg_upstreams *fresh, *old;
    qg_err err;
    size_t n = 0;
    qg_upstream_state state;
    if (!g->opt->upstreams_file)
        return;
    if (qg_upstreams_read(&fresh, g->opt->upstreams_file, &err) != QG_OK) {
        qg_gate_note(g, "upstreams not reloaded, the old ones stay: %s", err.msg);
        return;
    }
    while (qg_upstreams_at(fresh, n, &state))
        n++;
    pthread_mutex_lock(&g->desk);
    old = g->upstreams;
    qg_upstreams_inherit(fresh, old);
    g->upstreams = fresh;
    pthread_mutex_unlock(&g->desk);
    qg_upstreams_unref(old);
    qg_gate_note(g, "upstreams reloaded (%zu)", n);
}

/* What is wrong changes nothing; requests under way keep what they began with. */
static void reload(qg_gate *g)
{
    qg_policy *fresh;
    qg_err err;
    reload_upstreams(g);
    if (qg_keys_load(&g->keys, &err) != QG_OK)
        qg_gate_note(g, "keys not reloaded, the old ones stay: %s", err.msg);
    else if (g->keys.path)
        qg_gate_note(g, "keys reloaded (%zu)", g->keys.n_lines);
    if (open_policy(g->opt, &fresh, &err) != QG_OK) {
        qg_gate_note(g, "policy not reloaded, the old one stays: %s", err.msg);
        return;
    }
    qg_policy_unref(g->policy);
    g->policy = fresh;
    qg_gate_note(g, "policy reloaded (%s)",
                 *qg_policy_hash(fresh) ? qg_policy_hash(fresh) : "default");
}

static void on_signal(void *ud)
{
    qg_gate *g = ud;
    qg_signal signal = qg_signals_read(g->signals);
    if (signal == QG_SIGNAL_RELOAD) {
        reload(g);
        qg_swap_look(&g->swap);
    } else if (signal == QG_SIGNAL_STOP) {
        qg_gate_note(g, qg_http_stopping(g->http) ? "stopping at once"
                                                  : "stopping: running requests may finish");
        if (g->live)
            qg_live_stop(g->live);
        qg_http_stop(g->http);
    }
}

/* ---- the back's clock
 * ---------------------------------------------------------------------------------------- */

static void on_tick(void *ud)
{
    qg_gate *g = ud;
    int64_t now = qg_now_us();
    for (qg_relay *r = g->relays, *next; r; r = next) {
        next = r->next;
        qg_relay_tick(r, now);
    }
    qg_gate_try_upstreams(g, now);
}

typedef struct stop_note {
    qg_client_note note; /* first */
    qg_gate *gate;
    sem_t done;
} stop_note;

static void run_stop(qg_client_note *note)
{
    qg_gate *g = ((stop_note *)note)->gate;
    g->stopping = true;
    while (g->relays)
        qg_relay_end(g->relays, QG_GATE_FAILED);
    sem_post(&((stop_note *)note)->done);
}

/* When this returns no request will ask the engines for anything any more. */
static void stop_back(qg_gate *g)
{
    stop_note stop = {.note = {.run = run_stop}, .gate = g};
    sem_init(&stop.done, 0, 0);
    qg_client_post(g->client, &stop.note);
    while (sem_wait(&stop.done) && errno == EINTR)
        continue;
    sem_destroy(&stop.done);
}

/* And the front's. */
static void on_front_tick(void *ud)
{
    qg_gate *g = ud;
    qg_swap_tick(&g->swap);
    if (g->live)
        qg_live_tick(g->live, qg_now_us());
}

/* ---- opening and closing
 * --------------------------------------------------------------------------------------- */

static void note_swap(void *ud, const char *sentence)
{
    qg_gate_note(ud, "%s", sentence);
}

/* With a Gen model that is the house's model, else the Stream model is. */
static qg_status open_engines(qg_gate *g, qg_err *err)
{
    const qg_gateway_options *opt = g->opt;
    const char *stream = opt->engine.model ? opt->engine.model : "qguard-demo-stream";
    const qg_swap_owner owner = {
        .house = &g->house,
        .engine = &opt->engine,
        .model = opt->gen_model ? opt->gen_model : stream,
        .stream_model = opt->gen_model ? stream : NULL,
        .second_model = opt->engine.second_model,
        .find_model = opt->find_model,
        .find_ud = opt->find_ud,
        .note = note_swap,
        .ud = g,
    };
    QG_TRY(qg_swap_open(&g->swap, &owner, err));
    if (opt->gen_model && g->house->info.stream)
        return qg_fail(err, QG_ERR_UNSUPPORTED, "%s: not a Gen model", opt->gen_model);
    return g->house->stream ? QG_OK
                            : qg_fail(err, QG_ERR_UNSUPPORTED, "%s: not a Stream model", stream);
}

static qg_status open_desk(qg_gate *g, qg_err *err)
{
    const qg_gateway_options *opt = g->opt;
    QG_TRY(open_upstreams(opt, &g->upstreams, err));
    QG_TRY(qg_keys_load(&g->keys, err));
    QG_TRY(open_policy(opt, &g->policy, err));
    QG_TRY(qg_metrics_open(&g->metrics, err));
    QG_TRY(qg_admission_open(&g->admission, err));
    if (opt->live_view && !opt->admin_key)
        return qg_fail(err, QG_ERR_ARG, "the live view shows users' texts: it needs an admin key");
    if (opt->live_view)
        QG_TRY(qg_live_open(&g->live, err));
    return opt->audit_log ? qg_audit_open(&g->audit, opt->audit_log, err) : QG_OK;
}

static void close_desk(qg_gate *g)
{
    qg_audit_close(g->audit);
    qg_admission_close(g->admission);
    qg_metrics_close(g->metrics);
    qg_policy_unref(g->policy);
    qg_keys_free(&g->keys);
    qg_gate_models_free(g);
    qg_upstreams_unref(g->upstreams);
    qg_live_close(g->live);
}

static qg_status listen_and_run(qg_gate *g, qg_err *err)
{
    const qg_gateway_options *opt = g->opt;
    const qg_http_options http = {
        .host = opt->host,
        .port = opt->port,
        .limits = opt->http,
        .ud = g,
        .head = qg_gate_head,
        .full = qg_gate_full,
        .fault = qg_gate_fault,
        .end = on_end,
        .tick = on_front_tick,
        .watch_fd = qg_signals_fd(g->signals),
        .watch = on_signal,
    };
    QG_TRY(qg_http_open(&g->http, &http, err));
    bool v6 = strchr(opt->host, ':');
    qg_gate_note(g, "listening on http://%s%s%s:%u (judge %s%s%s)", v6 ? "[" : "", opt->host,
                 v6 ? "]" : "", qg_http_port(g->http), g->house->stream_info.name,
                 qg_gate_gen(g->house) ? ", prompts " : "",
                 qg_gate_gen(g->house) ? g->house->info.name : "");
    return qg_http_run(g->http, err);
}

static qg_status serve(qg_gate *g, qg_err *err)
{
    const qg_client_options client = {
        .ca_file = g->opt->ca_file, .tick = on_tick, .tick_ud = g, .tick_ms = TICK_MS};
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    g->created = now.tv_sec;
    qg_status rc = open_engines(g, err);
    if (rc == QG_OK)
        rc = qg_worker_open(&g->worker, err);
    if (rc == QG_OK)
        rc = qg_client_open(&g->client, &client, err);
    if (rc == QG_OK) {
        rc = listen_and_run(g, err);
        qg_worker_stop(g->worker);
        stop_back(g);
    }
    qg_swap_end(&g->swap);      /* the engines' callbacks still post to the client's thread … */
    qg_client_close(g->client); /* … which runs what was posted … */
    qg_worker_close(g->worker);
    qg_http_close(g->http); /* … and still wakes channels */
    qg_swap_free(&g->swap);
    if (g->http)
        qg_gate_note(g, "stopped");
    return rc;
}

qg_status qg_gateway(const qg_gateway_options *opt, qg_err *err)
{
    qg_gate *g = qg_calloc(1, sizeof *g);
    if (!g)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    g->opt = opt;
    g->keys = (qg_keys){.keys = opt->api_keys, .n = opt->n_api_keys, .path = opt->api_key_file};
    pthread_mutex_init(&g->desk, NULL);
    qg_signals_raise_descriptors();
    qg_status rc = qg_signals_take(&g->signals, err);
    if (rc == QG_OK)
        rc = open_desk(g, err);
    if (rc == QG_OK)
        rc = serve(g, err);
    close_desk(g);
    qg_signals_give_back(g->signals);
    pthread_mutex_destroy(&g->desk);
    qg_mfree(g);
    return rc;
}
