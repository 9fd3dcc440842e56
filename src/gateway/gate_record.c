/* What a request through the gateway came to, for the metrics page and the audit log. */
#include "gateway/gate.h"
#include "svc/trace.h"

#include <jansson.h>

const char *qg_gate_outcome_name(qg_gate_outcome outcome)
{
    static const char *const names[] = {"passed",   "blocked", "cut",  "unjudged",
                                        "upstream", "refused", "gone", "failed"};
    return names[outcome];
}

void qg_relay_count_failure(qg_relay *r, qg_phase phase, qg_status why)
{
    pthread_mutex_lock(&r->gate->desk);
    qg_metrics_failure(r->gate->metrics, phase, why, r->view.open[phase] || r->view.shadow);
    pthread_mutex_unlock(&r->gate->desk);
}

/* ---- metrics; desk is held
 * ------------------------------------------------------------------------------- */

static void count_hit(qg_gate_counts *c, qg_phase phase, qg_action action, const char *category)
{
    int k = qg_policy_category(category);
    if (action == QG_ACTION_BLOCK)
        c->cuts[k >= 0 ? k : QG_POLICY_CATEGORIES][phase]++;
    else
        c->flags[phase]++;
}

static void count_prompt(qg_relay *r)
{
    const qg_prompt_verdict *v = &r->verdict;
    const qg_result *gen = r->gen_result;
    qg_metrics_verdict row = {.phase = QG_PHASE_PROMPT,
                              .severity = v->severity,
                              .category = v->category,
                              .action = v->hit ? v->action : QG_ACTION_ALLOW,
                              .by_rule = v->rule != NULL,
                              .shadow = r->view.shadow};
    if (gen) {
        qg_second_count_add(&row.second, gen);
        row.prompt_tokens = gen->n_prompt_tokens;
        row.cached_tokens = gen->n_cached_tokens;
        row.queue_seconds = (double)gen->queued_us / 1e6;
        row.compute_seconds = (double)gen->compute_us / 1e6;
    }
    qg_metrics_verdict_add(r->gate->metrics, &row);
    if (v->hit && v->action != QG_ACTION_ALLOW)
        count_hit(&r->gate->counts, QG_PHASE_PROMPT, v->action, v->category);
}

static void count_reply(qg_relay *r)
{
    qg_gate_counts *c = &r->gate->counts;
    const qg_reply_hit *hits;
    qg_reply_counts n = qg_reply_counts_of(r->reply);
    size_t n_hits = qg_reply_hits(r->reply, &hits);
    c->bytes_in += n.bytes_in;
    c->bytes_out += n.bytes_out;
    c->text_withheld += n.text_in > n.text_out ? n.text_in - n.text_out : 0;
    c->text_unjudged += n.text_unjudged;
    c->tokens += n.tokens;
    for (size_t i = 0; i < n_hits; i++)
        count_hit(c, QG_PHASE_RESPONSE, hits[i].action, hits[i].category);
    const qg_reply_hit *worst = n_hits ? &hits[n_hits - 1] : NULL;
    qg_metrics_verdict_add(r->gate->metrics,
                           &(qg_metrics_verdict){.phase = QG_PHASE_RESPONSE,
                                                 .severity = worst ? worst->severity : QG_SAFE,
                                                 .category = worst ? worst->category : NULL,
                                                 .action = worst ? worst->action : QG_ACTION_ALLOW,
                                                 .by_rule = worst && worst->rule,
                                                 .shadow = r->view.shadow});
}

static void count(qg_relay *r)
{
    qg_gate_counts *c = &r->gate->counts;
    c->outcomes[r->outcome]++;
    c->streams -= r->begun;
    c->held_tokens -= r->shown_held_tokens;
    c->held_bytes -= r->shown_held_bytes;
    if (r->judged)
        count_prompt(r);
    if (r->reply)
        count_reply(r);
}

/* ---- audit: who, what was said, what was done; no text of users
 * ------------------------------------------- */

static void add_trace(json_t *line, const char *text)
{
    size_t n = strlen(text);
    if (n < QG_TRACE_PARENT_AT - 1)
        return;
    json_object_set_new(line, "trace", json_stringn(text + QG_TRACE_AT, 32));
    json_object_set_new(line, "span", json_stringn(text + QG_TRACE_SPAN_AT, 16));
    if (n > QG_TRACE_PARENT_AT)
        json_object_set_new(line, "parent_span", json_stringn(text + QG_TRACE_PARENT_AT, 16));
}

static json_t *line_of(const qg_relay *r, const char *event, const char *role)
{
    json_t *line = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s}", "event", event, "request", r->id,
                             "endpoint", qg_proto_name(r->proto), "key", r->key, "role", role,
                             "policy", qg_policy_hash(r->policy));
    add_trace(line, r->trace);
    if (r->asked && r->asked->model.n && r->asked->model.n <= 256)
        json_object_set_new(line, "upstream_model",
                            json_stringn(r->asked->model.p, r->asked->model.n));
    json_object_set_new(line, "outcome", json_string(qg_gate_outcome_name(r->outcome)));
    if (r->view.shadow)
        json_object_set_new(line, "shadow", json_true());
    return line;
}

static void add_verdict(json_t *line, qg_severity severity, const char *category,
                        const double p_severity[3], double p_category, qg_action action,
                        const qg_rule *rule)
{
    json_object_set_new(line, "severity", json_string(qg_severity_name(severity)));
    json_object_set_new(line, "category", category ? json_string(category) : json_null());
    json_object_set_new(line, "source", json_string(rule ? "rule" : "model"));
    json_object_set_new(line, "p",
                        json_pack("{s:f,s:f,s:f}", "Safe", p_severity[QG_SAFE], "Controversial",
                                  p_severity[QG_CONTROVERSIAL], "Unsafe", p_severity[QG_UNSAFE]));
    if (category)
        json_object_set_new(line, "p_category", json_real(p_category));
    json_object_set_new(line, "action", json_string(qg_action_name(action)));
    if (rule)
        json_object_set_new(line, "rule_line", json_integer(rule->line));
}

/* line is taken. */
static void write_line(qg_gate *g, json_t *line)
{
    qg_err err;
    if (qg_audit_add(g->audit, line, &err) != QG_OK)
        qg_gate_note(g, "%s", err.msg);
    json_decref(line);
}

static void audit_prompt(const qg_relay *r)
{
    const qg_prompt_verdict *v = &r->verdict;
    json_t *line = line_of(r, "verdict", "user");
    if (r->judged)
        add_verdict(line, v->severity, v->category, v->p_severity, v->p_category,
                    v->hit ? v->action : QG_ACTION_ALLOW, v->rule);
    else
        json_object_set_new(line, "error", json_string("not judged"));
    if (atomic_load(&r->n_windows))
        json_object_set_new(line, "windows", json_integer(atomic_load(&r->n_windows)));
    const qg_result *gen = r->judged ? r->gen_result : NULL;
    json_object_set_new(line, "model",
                        json_string(gen ? gen->model : r->house->info.name)); /* without a Gen
                                                                model the Stream model's */
    if (gen)
        qg_audit_second(line, gen);
    write_line(r->gate, line);
}

static void audit_hit(const qg_relay *r, const qg_reply_hit *hit)
{
    json_t *line = line_of(r, "verdict", "assistant");
    add_verdict(line, hit->severity, hit->category, hit->p_severity, hit->p_category, hit->action,
                hit->rule);
    json_object_set_new(line, "choice", json_integer(hit->choice));
    json_object_set_new(line, "field", json_string(qg_field_name(hit->kind)));
    json_object_set_new(line, "chars",
                        json_pack("[I,I]", (json_int_t)hit->begin, (json_int_t)hit->end));
    json_object_set_new(line, "model", json_string(r->house->stream_info.name));
    write_line(r->gate, line);
}

static void audit_reply(const qg_relay *r)
{
    const qg_reply_hit *hits;
    qg_reply_counts n = qg_reply_counts_of(r->reply);
    qg_reply_state s = qg_reply_state_of(r->reply);
    size_t n_hits = qg_reply_hits(r->reply, &hits);
    for (size_t i = 0; i < n_hits; i++)
        audit_hit(r, &hits[i]);
    json_t *line = line_of(r, "reply", "assistant");
    json_object_set_new(line, "text_bytes", json_integer((json_int_t)n.text_in));
    json_object_set_new(line, "released_bytes", json_integer((json_int_t)n.text_out));
    json_object_set_new(line, "unjudged_bytes", json_integer((json_int_t)n.text_unjudged));
    json_object_set_new(line, "tokens", json_integer((json_int_t)n.tokens));
    if (r->n_regenerated)
        json_object_set_new(line, "regenerated", json_integer(r->n_regenerated));
    if (*s.sentence)
        json_object_set_new(line, "error", json_string(qg_reply_outcome_name(s.outcome)));
    write_line(r->gate, line);
}

void qg_relay_record(qg_relay *r)
{
    qg_gate *g = r->gate;
    pthread_mutex_lock(&g->desk);
    count(r);
    if (g->audit && r->begun) {
        if (r->view.judge_prompt != QG_PROMPT_OFF)
            audit_prompt(r);
        if (r->reply)
            audit_reply(r);
    }
    pthread_mutex_unlock(&g->desk);
}
