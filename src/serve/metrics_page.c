/* GET /metrics: what Prometheus reads. */
#include "serve/serve_priv.h"

void qg_serve_metrics(qg_server *srv, qg_http_req *req)
{
    enum { MAX_PAGE = 1 << 20 };
    qg_metrics_now now = {
        .model = srv->names[0],
        .version = QG_VERSION,
        .dtype = srv->info.dtype,
        .kernel = srv->info.kernel,
        .start_seconds = srv->created,
        .healthy = !srv->closed && !qg_serve_stuck(srv),
    };
    qg_http_answer answer;
    qg_buf page;
    qg_engine_stats(srv->engine, &now.engine);
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
