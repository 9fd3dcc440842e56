/* /health, /ping: is the engine alive?  /version, /load. */
#include "serve/serve_priv.h"

void qg_serve_health(qg_server *srv, qg_http_req *req)
{
    qg_http_answer answer;
    bool dead = srv->closed || qg_serve_stuck(srv);
    if (dead || qg_http_stopping(srv->http)) {
        qg_serve_fail(req, &(qg_serve_error){
                               .status = 503,
                               .type = "ServiceUnavailableError",
                               .message = dead ? "The engine does not answer."
                                               : "The server is shutting down.",
                           });
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
    qg_engine_stats(srv->engine, &stats);
    qg_serve_json(
        req, json_pack("{s:i}", "server_load", (int)(stats.jobs_waiting + stats.jobs_running)));
}
