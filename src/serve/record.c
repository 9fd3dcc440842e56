/* What a request came to, for the metrics page and the audit log. */
#include "serve/outcome.h"
#include "svc/trace.h"

static qg_action action_of(const qg_outcome *o, const qg_policy_view *view, const qg_result *r)
{
    if (!o->hit)
        return QG_ACTION_ALLOW;
    return qg_policy_action(view, r->severity, o->primary >= 0 ? qg_harms[o->primary].name : NULL);
}

static void count(const qg_serve_ask *ask, const qg_outcome *o)
{
    const qg_serve_job *job = ask->job;
    const qg_result *r = ask->result;
    qg_metrics_verdict_add(job->srv->metrics,
                           &(qg_metrics_verdict){
                               .phase = ask->phase,
                               .severity = r->severity,
                               .category = r->n_categories ? r->categories[0] : NULL,
                               .action = action_of(o, &job->view, r),
                               .by_rule = ask->by_rule,
                               .shadow = job->view.shadow,
                               .prompt_tokens = r->n_prompt_tokens,
                               .cached_tokens = r->n_cached_tokens,
                               .generated_tokens = r->has_p ? 0 : (int32_t)r->n_ids,
                               .queue_seconds = (double)r->queued_us / 1e6,
                               .compute_seconds = (double)r->compute_us / 1e6,
                               .second = ask->second,
                           });
}

void qg_serve_record_trace(json_t *line, const char *text)
{
    size_t n = strlen(text);
    if (n < QG_TRACE_PARENT_AT - 1)
        return;
    json_object_set_new(line, "trace", json_stringn(text + QG_TRACE_AT, 32));
    json_object_set_new(line, "span", json_stringn(text + QG_TRACE_SPAN_AT, 16));
    if (n > QG_TRACE_PARENT_AT)
        json_object_set_new(line, "parent_span", json_stringn(text + QG_TRACE_PARENT_AT, 16));
}

/* No text of users: who asked by which route, what was said, what was done. */
static json_t *line_of(const qg_serve_ask *ask, const qg_outcome *o)
{
    const qg_serve_job *job = ask->job;
    const qg_result *r = ask->result;
    json_t *line =
        json_pack("{s:s,s:s,s:s,s:s,s:s}", "event", "verdict", "request", qg_http_id(job->req),
                  "endpoint", qg_serve_endpoint(qg_http_path(job->req)), "key", job->key, "role",
                  ask->phase == QG_PHASE_PROMPT ? "user" : "assistant");
    qg_serve_record_trace(line, qg_http_trace(job->req));
    json_object_set_new(line, "policy", json_string(qg_policy_hash(job->policy)));
    if (!r) {
        json_object_set_new(line, "error", json_string(qg_status_name(ask->status)));
        return line;
    }
    json_object_set_new(line, "severity", json_string(qg_severity_name(r->severity)));
    json_object_set_new(line, "category",
                        r->n_categories ? json_string(r->categories[0]) : json_null());
    json_object_set_new(line, "source", json_string(r->source));
    json_object_set_new(line, "p_hit", json_real(o->p_hit));
    json_object_set_new(line, "action", json_string(qg_action_name(action_of(o, &job->view, r))));
    if (job->view.shadow)
        json_object_set_new(line, "shadow", json_true());
    if (ask->by_rule)
        json_object_set_new(line, "rule_line", json_integer(ask->match.rule->line));
    if (qg_serve_windows_n(ask))
        json_object_set_new(line, "windows", json_integer((json_int_t)qg_serve_windows_n(ask)));
    bool other = r->second == QG_SECOND_GIVEN;
    json_object_set_new(line, "model",
                        json_string(other ? job->house->second_info.name : job->house->names[0]));
    qg_audit_second(line, r);
    return line;
}

static void audit(const qg_serve_ask *ask, const qg_outcome *o)
{
    qg_server *srv = ask->job->srv;
    qg_err err;
    json_t *line = line_of(ask, o);
    if (qg_audit_add(srv->audit, line, &err) != QG_OK)
        qg_serve_note(srv, err.msg);
    json_decref(line);
}

/* The longest of what was waited for. */
static void tell_work(const qg_serve_job *job)
{
    int64_t longest = 0;
    for (size_t i = 0; i < job->n_asks; i++) {
        const qg_result *r = job->asks[i].result;
        if (r && r->queued_us + r->compute_us > longest)
            longest = r->queued_us + r->compute_us;
    }
    qg_http_set_work(job->req, longest);
}

void qg_serve_record(const qg_serve_job *job)
{
    tell_work(job);
    for (size_t i = 0; i < job->n_asks; i++) {
        const qg_serve_ask *ask = &job->asks[i];
        qg_outcome o = {.primary = -1};
        if (ask->status == QG_OK && ask->result) {
            qg_outcome_of(&o, &job->view, ask->result);
            if (!ask->unjudged)
                count(ask, &o);
        } else if (ask->status != QG_OK && ask->status != QG_ERR_CANCELLED) {
            qg_metrics_failure(job->srv->metrics, ask->phase, ask->status, false);
        }
        if (job->srv->audit)
            audit(ask, &o);
    }
}
