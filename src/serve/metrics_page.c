/* GET /metrics: what Prometheus reads. */
#include "serve/serve_priv.h"

/* Without the probes, which nobody asked for; a counter must not fall, and one may just end. */
static void count_done(qg_server *srv, qg_stats *stats)
{
    qg_serve_look(srv);
    qg_engine_stats(srv->house->engine, stats);
    int64_t n = srv->done_before + stats->jobs_done - srv->house->probe.n_probes;
    srv->shown_done = n > srv->shown_done ? n : srv->shown_done;
    stats->jobs_done = srv->shown_done;
}

void qg_serve_metrics(qg_server *srv, qg_http_req *req)
{
    enum { MAX_PAGE = 1 << 20 };
    qg_metrics_now now = {
        .model = srv->house->names[0],
        .version = QG_VERSION,
        .dtype = srv->house->info.dtype,
        .kernel = srv->house->info.kernel,
        .start_seconds = srv->created,
        .healthy = !qg_serve_trouble(srv),
    };
    qg_http_answer answer;
    qg_buf page;
    count_done(srv, &now.engine);
    qg_buf_init(&page, MAX_PAGE);
    if (qg_metrics_write(srv->metrics, &now, &page) != QG_OK) {
        qg_buf_free(&page);
        qg_serve_json(req, NULL);
        return;
    }
    qg_http_answer_init(&answer, 200);
    answer.type = "text/plain; version=0.0.4; charset=utf-8";
    answer.n = page.n;
    answer.body = qg_buf_take(&page);
    qg_http_reply(req, &answer);
}
