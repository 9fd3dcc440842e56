/* The start function: engine, listener, signals, and the order in which they end. */
#define _GNU_SOURCE

#include "serve/serve.h"

#include "base/mem.h"
#include "serve/serve_priv.h"
#include "serve/sessions.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>

void qg_serve_options_init(qg_serve_options *opt)
{
    *opt = (qg_serve_options){.host = "127.0.0.1",
                              .port = 8000,
                              .request_timeout_ms = 60000,
                              .probe_ms = 10000,
                              .origins = "*"};
    qg_options_init(&opt->engine);
    qg_http_limits_init(&opt->http);
}

int64_t qg_serve_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec;
}

static void say(const qg_server *srv, qg_serve_log level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static void say(const qg_server *srv, qg_serve_log level, const char *fmt, ...)
{
    char line[512];
    va_list args;
    if (!srv->opt->log)
        return;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    srv->opt->log(srv->opt->log_ud, level, line);
}

void qg_serve_note(const qg_server *srv, const char *sentence)
{
    say(srv, QG_SERVE_LOG_NOTE, "%s", sentence);
}

/* The path comes from the network: what is not plain text must not reach a terminal. */
static void on_end(void *ud, qg_http_req *req, const qg_http_end *end)
{
    qg_server *srv = ud;
    qg_slice path = qg_http_path(req);
    qg_admission_end(srv->admission, qg_http_tag(req) - 1);
    qg_metrics_request(srv->metrics, qg_serve_endpoint(path), end->status, (double)end->us / 1e6);
    char shown[128];
    size_t n = path.n < sizeof shown - 1 ? path.n : sizeof shown - 1;
    for (size_t i = 0; i < n; i++)
        shown[i] = path.p[i] > 0x20 && path.p[i] < 0x7F && path.p[i] != '"' ? path.p[i] : '?';
    shown[n] = 0;
    char work[48] = "";
    if (end->work_us)
        snprintf(work, sizeof work, " (engine %.2f ms)", (double)end->work_us / 1000);
    say(srv, QG_SERVE_LOG_ACCESS, "%s \"%s %s\" %d %s%.2f ms%s, %llu bytes, %s, trace %s",
        qg_http_peer(req), qg_http_method(req), shown, end->status,
        end->whole ? "" : "(not taken) ", (double)end->us / 1000, work,
        (unsigned long long)end->n_body, qg_http_id(req), qg_http_trace(req));
}

static qg_status open_policy(const qg_serve_options *opt, qg_policy **out, qg_err *err)
{
    return opt->policy ? qg_policy_open(out, opt->policy, err) : qg_policy_default(out, err);
}

static void reload_keys(qg_server *srv)
{
    qg_err err;
    if (qg_keys_load(&srv->keys, &err) != QG_OK)
        say(srv, QG_SERVE_LOG_NOTE, "keys not reloaded, the old ones stay: %s", err.msg);
    else if (srv->keys.path)
        say(srv, QG_SERVE_LOG_NOTE, "keys reloaded (%zu)", srv->keys.n_lines);
}

/* A policy that is wrong changes nothing; requests under way keep the one they began with. */
static void reload(qg_server *srv)
{
    qg_policy *fresh;
    qg_err err;
    reload_keys(srv);
    if (open_policy(srv->opt, &fresh, &err) != QG_OK) {
        say(srv, QG_SERVE_LOG_NOTE, "policy not reloaded, the old one stays: %s", err.msg);
        return;
    }
    qg_policy_unref(srv->policy);
    srv->policy = fresh;
    say(srv, QG_SERVE_LOG_NOTE, "policy reloaded (%s)",
        *qg_policy_hash(fresh) ? qg_policy_hash(fresh) : "default");
}

static void on_signal(void *ud)
{
    qg_server *srv = ud;
    qg_signal signal = qg_signals_read(srv->signals);
    if (signal == QG_SIGNAL_RELOAD) {
        reload(srv);
        qg_swap_look(&srv->swap);
    }
    if (signal != QG_SIGNAL_STOP)
        return;
    say(srv, QG_SERVE_LOG_NOTE,
        qg_http_stopping(srv->http) ? "stopping at once" : "stopping: running requests may finish");
    qg_http_stop(srv->http);
}

static void dress(void *ud, qg_http_req *req, qg_http_answer *answer)
{
    qg_server *srv = ud;
    qg_cors_dress(&srv->cors, req, answer);
}

static void on_tick(void *ud)
{
    qg_serve_look(ud);
    qg_swap_tick(&((qg_server *)ud)->swap);
}

static qg_status listen_and_run(qg_server *srv, qg_err *err)
{
    const qg_serve_options *opt = srv->opt;
    const qg_http_options http = {
        .host = opt->host,
        .port = opt->port,
        .path = opt->socket,
        .limits = opt->http,
        .ud = srv,
        .head = qg_serve_head,
        .full = qg_serve_full,
        .dress = dress,
        .fault = qg_serve_fault,
        .end = on_end,
        .tick = on_tick,
        .busy = &srv->busy,
        .watch_fd = qg_signals_fd(srv->signals),
        .watch = on_signal,
    };
    QG_TRY(qg_http_open(&srv->http, &http, err));
    bool v6 = strchr(opt->host, ':');
    if (opt->socket)
        say(srv, QG_SERVE_LOG_NOTE, "listening on unix:%s (model %s)", opt->socket,
            srv->house->names[0]);
    else
        say(srv, QG_SERVE_LOG_NOTE, "listening on http://%s%s%s:%u (model %s)", v6 ? "[" : "",
            opt->host, v6 ? "]" : "", qg_http_port(srv->http), srv->house->names[0]);
    const qg_model_info *info = &srv->house->info;
    if (srv->house->second)
        say(srv, QG_SERVE_LOG_NOTE, "below %g %s (%s) is asked, too", opt->engine.second_below,
            srv->house->second_info.name, srv->house->second_info.dtype);
    if (opt->engine.memory_bytes)
        say(srv, QG_SERVE_LOG_NOTE,
            "--memory chose %s: weights %llu MiB, KV %llu MiB in %s, context of %d tokens",
            info->dtype, (unsigned long long)(info->weight_bytes >> 20),
            (unsigned long long)(info->kv_bytes >> 20), info->kv_dtype, info->max_model_len);
    return qg_http_run(srv->http, err);
}

static qg_status open_desk(qg_server *srv, qg_err *err)
{
    QG_TRY(qg_cors_open(&srv->cors, srv->opt->origins, err));
    QG_TRY(qg_keys_load(&srv->keys, err));
    QG_TRY(qg_pairs_open(&srv->pairs, err));
    QG_TRY(open_policy(srv->opt, &srv->policy, err));
    QG_TRY(qg_metrics_open(&srv->metrics, err));
    QG_TRY(qg_admission_open(&srv->admission, err));
    return srv->opt->audit_log ? qg_audit_open(&srv->audit, srv->opt->audit_log, err) : QG_OK;
}

static void close_desk(qg_server *srv)
{
    qg_audit_close(srv->audit);
    qg_admission_close(srv->admission);
    qg_metrics_close(srv->metrics);
    qg_policy_unref(srv->policy);
    qg_pairs_close(srv->pairs);
    qg_keys_free(&srv->keys);
    qg_cors_close(&srv->cors);
}

static void note(void *ud, const char *sentence)
{
    qg_serve_note(ud, sentence);
}

static void other_engines(void *ud)
{
    qg_server *srv = ud;
    srv->done_before = srv->shown_done;
    srv->closed = false;
}

static qg_status open_engines(qg_server *srv, qg_err *err)
{
    const qg_serve_options *opt = srv->opt;
    const qg_swap_owner owner = {
        .house = &srv->house,
        .engine = &opt->engine,
        .model = opt->engine.model,
        .stream_model = opt->stream_model,
        .second_model = opt->engine.second_model,
        .names = opt->names,
        .n_names = opt->n_names,
        .find_model = opt->find_model,
        .find_ud = opt->find_ud,
        .note = note,
        .taken = other_engines,
        .ud = srv,
    };
    qg_status rc = qg_swap_open(&srv->swap, &owner, err);
    srv->sessions = qg_sessions_open();
    return rc != QG_OK || srv->sessions ? rc : qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

static qg_status serve(qg_server *srv, qg_err *err)
{
    qg_status rc = open_engines(srv, err);
    srv->created = qg_serve_now();
    if (rc == QG_OK)
        rc = qg_worker_open(&srv->worker, err);
    if (rc == QG_OK)
        rc = listen_and_run(srv, err);
    qg_worker_stop(srv->worker);
    qg_swap_end(&srv->swap); /* the engines' callbacks still post to worker and HTTP server */
    qg_worker_close(srv->worker);
    qg_http_close(srv->http);
    qg_sessions_close(srv->sessions);
    qg_swap_free(&srv->swap);
    if (srv->http)
        say(srv, QG_SERVE_LOG_NOTE, "stopped");
    return rc;
}

qg_status qg_serve(const qg_serve_options *opt, qg_err *err)
{
    qg_serve_options own = *opt;
    qg_server srv = {
        .opt = &own,
        .keys = {.keys = opt->api_keys, .n = opt->n_api_keys, .path = opt->api_key_file},
    };
    own.engine.busy = &srv.busy;
    qg_signals_raise_descriptors();
    qg_status rc = qg_signals_take(&srv.signals, err);
    if (rc == QG_OK)
        rc = open_desk(&srv, err);
    if (rc == QG_OK)
        rc = serve(&srv, err);
    close_desk(&srv);
    qg_signals_give_back(srv.signals);
    return rc;
}
