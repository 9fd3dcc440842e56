/* GET /metrics: what serve's page has, and the gateway's own rows. */
#include "base/mem.h"
#include "gateway/gate.h"

static void put_histogram(qg_metrics_text *p, const char *name, const char *help,
                          const qg_histogram *h)
{
    qg_metrics_head(p, name, "histogram", help);
    qg_metrics_histogram(p, name, "", h);
}

static void put_outcomes(qg_metrics_text *p, const qg_gate_counts *c)
{
    static const char *const phases[] = {"prompt", "response"};
    qg_metrics_head(p, "qguard_gateway_requests_total", "counter", "Requests taken, by protocol.");
    for (int i = 0; i < QG_N_PROTOS; i++)
        qg_metrics_put(p, "qguard_gateway_requests_total{protocol=\"%s\"} %llu\n",
                       qg_proto_name((qg_proto)i), (unsigned long long)c->relays[i]);
    qg_metrics_head(p, "qguard_gateway_outcomes_total", "counter", "Requests, by how they ended.");
    for (int i = 0; i <= QG_GATE_FAILED; i++)
        qg_metrics_put(p, "qguard_gateway_outcomes_total{outcome=\"%s\"} %llu\n",
                       qg_gate_outcome_name((qg_gate_outcome)i),
                       (unsigned long long)c->outcomes[i]);
    qg_metrics_head(p, "qguard_gateway_cuts_total", "counter", "Hits that the policy blocks.");
    for (int i = 0; i <= QG_POLICY_CATEGORIES; i++)
        for (int k = 0; k < QG_N_PHASES; k++)
            qg_metrics_put(p, "qguard_gateway_cuts_total{category=\"%s\",phase=\"%s\"} %llu\n",
                           i < QG_POLICY_CATEGORIES ? qg_category_name((size_t)i) : "None",
                           phases[k], (unsigned long long)c->cuts[i][k]);
    qg_metrics_head(p, "qguard_gateway_flags_total", "counter", "Hits that the policy flags.");
    for (int k = 0; k < QG_N_PHASES; k++)
        qg_metrics_put(p, "qguard_gateway_flags_total{phase=\"%s\"} %llu\n", phases[k],
                       (unsigned long long)c->flags[k]);
}

static void put_upstreams(qg_metrics_text *p, qg_gate *g)
{
    const qg_gate_counts *c = &g->counts;
    qg_upstream_state s;
    qg_metrics_head(p, "qguard_gateway_upstream_errors_total", "counter",
                    "Upstream calls that failed.");
    for (int i = QG_CLIENT_RESOLVE; i < QG_CLIENT_NOMEM; i++)
        qg_metrics_put(p, "qguard_gateway_upstream_errors_total{cause=\"%s\"} %llu\n",
                       qg_client_cause_name((qg_client_cause)i),
                       (unsigned long long)c->upstream_errors[i]);
    qg_metrics_put(p, "qguard_gateway_upstream_errors_total{cause=\"status\"} %llu\n",
                   (unsigned long long)c->upstream_status);
    qg_metrics_head(p, "qguard_gateway_upstream_up", "gauge",
                    "1 while the upstream is not left out.");
    for (size_t i = 0; qg_upstreams_at(g->upstreams, i, &s); i++)
        qg_metrics_put(p, "qguard_gateway_upstream_up{upstream=\"%zu\"} %d\n", i, !s.out);
    qg_metrics_head(p, "qguard_gateway_upstream_running", "gauge", "Calls under way.");
    for (size_t i = 0; qg_upstreams_at(g->upstreams, i, &s); i++)
        qg_metrics_put(p, "qguard_gateway_upstream_running{upstream=\"%zu\"} %u\n", i, s.running);
}

static void put_numbers(qg_metrics_text *p, const qg_gate_counts *c)
{
    const struct {
        const char *name, *type, *help;
        double value;
    } rows[] = {
        {"qguard_gateway_failovers_total", "counter", "Calls that went on to another upstream.",
         (double)c->failovers},
        {"qguard_gateway_regenerated_total", "counter", "Replies asked for again after a hit.",
         (double)c->regenerated},
        {"qguard_gateway_sessions_rebuilt_total", "counter", "Sessions that were lost and rebuilt.",
         (double)c->rebuilt},
        {"qguard_gateway_windowed_total", "counter",
         "Requests whose conversation was judged in windows.", (double)c->windowed},
        {"qguard_gateway_judge_retries_total", "counter", "Appends that found the engine full.",
         (double)c->judge_retries},
        {"qguard_gateway_upstream_bytes_total", "counter", "Bytes of replies from upstreams.",
         (double)c->bytes_in},
        {"qguard_gateway_client_bytes_total", "counter", "Bytes of replies to clients.",
         (double)c->bytes_out},
        {"qguard_gateway_withheld_bytes_total", "counter", "Bytes of text that never left.",
         (double)c->text_withheld},
        {"qguard_gateway_unjudged_bytes_total", "counter",
         "Bytes of text that left without a verdict, as the policy said.",
         (double)c->text_unjudged},
        {"qguard_gateway_tokens_total", "counter", "Tokens of replies judged.", (double)c->tokens},
        {"qguard_gateway_streams", "gauge", "Requests under way.", (double)c->streams},
        {"qguard_gateway_held_tokens", "gauge", "Judged tokens that wait for those behind them.",
         (double)c->held_tokens},
        {"qguard_gateway_held_bytes", "gauge", "Bytes from upstreams that wait.",
         (double)c->held_bytes},
    };
    for (size_t i = 0; i < QG_COUNT(rows); i++) {
        qg_metrics_one(p, rows[i].name, rows[i].type, rows[i].help, rows[i].value);
    }
}

static qg_status write_page(qg_gate *g, qg_buf *out)
{
    qg_metrics_text p = {.out = out};
    const qg_model_info *info = &g->house->stream_info;
    qg_engine *gen = qg_gate_gen(g->house);
    qg_metrics_now now = {.model = info->name,
                          .version = QG_VERSION,
                          .dtype = info->dtype,
                          .kernel = info->kernel,
                          .start_seconds = g->created,
                          .healthy = true};
    qg_engine_stats(g->house->stream, &now.engine);
    QG_TRY(qg_metrics_write(g->metrics, &now, out));
    if (gen) {
        qg_stats stats;
        qg_engine_stats(gen, &stats);
        qg_metrics_one(&p, "qguard_gateway_gen_jobs", "gauge",
                       "Prompts at the Gen model, waiting or running.",
                       (double)(stats.jobs_running + stats.jobs_waiting));
    }
    put_outcomes(&p, &g->counts);
    put_upstreams(&p, g);
    put_numbers(&p, &g->counts);
    put_histogram(&p, "qguard_gateway_added_first_seconds",
                  "From a reply's first text to its first text that left.", &g->counts.first);
    put_histogram(&p, "qguard_gateway_added_token_seconds", "The same for each later piece.",
                  &g->counts.token);
    put_histogram(&p, "qguard_gateway_prompt_seconds", "From the request to its prompt's verdict.",
                  &g->counts.prompt);
    return p.rc;
}

void qg_gate_metrics_page(qg_gate *g, qg_http_req *req)
{
    enum { MAX_PAGE = 1 << 20 };
    qg_http_answer answer;
    qg_buf out;
    qg_buf_init(&out, MAX_PAGE);
    pthread_mutex_lock(&g->desk);
    qg_status rc = write_page(g, &out);
    pthread_mutex_unlock(&g->desk);
    if (rc != QG_OK) {
        qg_buf_free(&out);
        qg_gate_fail(req, 503, "unavailable", "Out of memory.");
        return;
    }
    qg_http_answer_init(&answer, 200);
    answer.type = "text/plain; version=0.0.4; charset=utf-8";
    answer.n = out.n;
    answer.body = qg_buf_take(&out);
    qg_http_reply(req, &answer);
}
