/* /health, /ping: is the engine alive?  /version, /load. */
#include "serve/serve_priv.h"

void qg_serve_look(void *ud)
{
    qg_server *srv = ud;
    int64_t every_us = (int64_t)srv->opt->probe_ms * 1000, now_us = qg_now_us();
    if (!every_us || qg_http_stopping(srv->http))
        return;
    qg_probe_tick(&srv->house->probe, now_us, every_us);
    qg_probe_tick(&srv->house->stream_probe, now_us, every_us);
    qg_probe_tick(&srv->house->second_probe, now_us, every_us);
}

/* Sessions are not in the list of jobs: what the engine says of itself decides for them. */
static bool engine_stuck(qg_engine *engine, int64_t before_us)
{
    qg_stats stats;
    qg_engine_stats(engine, &stats);
    return stats.jobs_running + stats.jobs_waiting > 0 && stats.last_progress_us < before_us;
}

/* A job older than the limit, and nothing was finished in all that time: a queue that moves is
 * busy, not stuck.  Where there is no job a probe tells the same. */
static bool stuck(qg_server *srv)
{
    enum { GRACE_MS = 10000, NO_DEADLINE_MS = 300000 };
    const qg_serve_options *opt = srv->opt;
    int64_t ms = opt->stuck_ms;
    if (!ms)
        ms = opt->request_timeout_ms ? (int64_t)opt->request_timeout_ms + GRACE_MS : NO_DEADLINE_MS;
    int64_t before_us = qg_now_us() - ms * 1000;
    if (srv->house->stream && engine_stuck(srv->house->stream, before_us))
        return true;
    if (qg_probe_late(&srv->house->probe, before_us) ||
        qg_probe_late(&srv->house->stream_probe, before_us) ||
        qg_probe_late(&srv->house->second_probe, before_us))
        return true;
    if (!srv->oldest || srv->oldest->start_us >= before_us || srv->progress_us >= before_us)
        return false;
    qg_stats stats;
    qg_engine_stats(srv->house->engine, &stats);
    return stats.last_progress_us < before_us;
}

const char *qg_serve_trouble(qg_server *srv)
{
    if (srv->closed || stuck(srv))
        return "The engine does not answer.";
    if (srv->house->probe.sick || srv->house->stream_probe.sick || srv->house->second_probe.sick)
        return "The engine gives no valid numbers.";
    return NULL;
}

void qg_serve_health(qg_server *srv, qg_http_req *req)
{
    qg_http_answer answer;
    const char *trouble = qg_serve_trouble(srv);
    if (!trouble && qg_http_stopping(srv->http))
        trouble = "The server is shutting down.";
    if (trouble) {
        qg_serve_fail(req, &(qg_serve_error){.status = 503,
                                             .type = "ServiceUnavailableError",
                                             .message = trouble});
        return;
    }
    qg_http_answer_init(&answer, 200); /* with an empty body, as vLLM answers */
    qg_http_reply(req, &answer);
}

void qg_serve_version(qg_server *srv, qg_http_req *req)
{
    (void)srv;
    qg_serve_json(req, json_pack("{s:s}", "version", QG_VERSION));
}

void qg_serve_load(qg_server *srv, qg_http_req *req)
{
    qg_stats stats;
    qg_engine_stats(srv->house->engine, &stats);
    qg_serve_json(
        req, json_pack("{s:i}", "server_load", (int)(stats.jobs_waiting + stats.jobs_running)));
}
