#include "serve/stream_record.h"

#include <stdio.h>

static void new_turn(qg_stream_record *rec)
{
    rec->role = NULL;
    rec->says = rec->provisional = (qg_stream_flag){.first = -1};
    rec->rule = (qg_stream_rule){0};
    rec->p_hit = 0;
    rec->n_tokens = 0;
    rec->n_cached_before = rec->n_cached;
    rec->queued_us = rec->compute_us = 0;
}

void qg_stream_record_request(qg_stream_record *rec, const qg_http_req *req)
{
    snprintf(rec->request, sizeof rec->request, "%s", qg_http_id(req));
    snprintf(rec->trace, sizeof rec->trace, "%s", qg_http_trace(req));
}

void qg_stream_record_begin(qg_stream_record *rec, qg_server *srv, const qg_http_req *req)
{
    qg_slice name;
    rec->srv = srv;
    rec->endpoint = qg_serve_endpoint(qg_http_path(req));
    qg_keys_admit(&srv->keys, req, &name);
    snprintf(rec->key, sizeof rec->key, "%.*s", (int)name.n, name.p ? name.p : "");
    rec->policy = srv->policy;
    qg_policy_ref(rec->policy);
    qg_policy_view_of(rec->policy, qg_str(rec->key), qg_str(""), &rec->view);
    qg_stream_record_request(rec, req);
    new_turn(rec);
}

/* ---- what is written ------------------------------------------------------------------------- */

static qg_phase phase_of(const char *role)
{
    return role && strcmp(role, "assistant") == 0 ? QG_PHASE_RESPONSE : QG_PHASE_PROMPT;
}

/* No text of users, as in record.c. */
static json_t *begin_line(const qg_stream_record *rec, const char *event, const char *role)
{
    json_t *line = json_pack("{s:s,s:s,s:s?,s:s,s:s?}", "event", event, "request", rec->request,
                             "endpoint", rec->endpoint, "key", rec->key, "role", role);
    qg_serve_record_trace(line, rec->trace);
    if (rec->session)
        json_object_set_new(line, "session", json_string(rec->session));
    json_object_set_new(line, "policy", json_string(qg_policy_hash(rec->policy)));
    return line;
}

static void write_line(const qg_stream_record *rec, json_t *line)
{
    qg_err err;
    if (qg_audit_add(rec->srv->audit, line, &err) != QG_OK)
        qg_serve_note(rec->srv, err.msg);
    json_decref(line);
}

static void write_verdict(const qg_stream_record *rec, qg_action action, bool by_rule)
{
    json_t *line = begin_line(rec, "verdict", rec->role);
    json_object_set_new(line, "severity", json_string(qg_severity_name(rec->says.severity)));
    json_object_set_new(line, "category",
                        rec->says.category ? json_string(rec->says.category) : json_null());
    json_object_set_new(line, "source", json_string(by_rule ? "rule" : "stream"));
    if (by_rule)
        json_object_set_new(line, "rule_line", json_integer(rec->rule.rule->line));
    json_object_set_new(line, "p_hit", json_real(rec->p_hit));
    json_object_set_new(line, "action", json_string(qg_action_name(action)));
    if (rec->view.shadow)
        json_object_set_new(line, "shadow", json_true());
    json_object_set_new(line, "tokens", json_integer(rec->n_tokens));
    json_object_set_new(line, "first_flagged_index", json_integer(rec->says.first));
    json_object_set_new(line, "model", json_string(rec->house->stream_info.name));
    write_line(rec, line);
}

static void end_turn(qg_stream_record *rec)
{
    if (rec->role) {
        bool by_rule = qg_stream_rule_decides(&rec->rule, rec->says.severity);
        if (by_rule) {
            rec->says.severity = rec->rule.rule->severity;
            rec->says.category = rec->rule.rule->category;
            rec->says.flagged = qg_stream_rule_hits(&rec->rule, &rec->view);
        }
        qg_action action =
            rec->says.flagged ? qg_policy_action(&rec->view, rec->says.severity, rec->says.category)
                              : QG_ACTION_ALLOW;
        qg_metrics_verdict_add(rec->srv->metrics,
                               &(qg_metrics_verdict){
                                   .phase = phase_of(rec->role),
                                   .severity = rec->says.severity,
                                   .category = rec->says.category,
                                   .action = action,
                                   .by_rule = by_rule,
                                   .shadow = rec->view.shadow,
                                   .prompt_tokens = rec->n_tokens,
                                   .cached_tokens = rec->n_cached - rec->n_cached_before,
                                   .queue_seconds = (double)rec->queued_us / 1e6,
                                   .compute_seconds = (double)rec->compute_us / 1e6,
                               });
        if (rec->srv->audit)
            write_verdict(rec, action, by_rule);
    }
    new_turn(rec);
}

/* ---- what comes ------------------------------------------------------------------------------ */

/* A turn is what its first flagged token says, or a more severe one after it; a prompt, which has
 * one token, is what that says. */
static void take_flag(qg_stream_flag *says, const qg_token *t, qg_phase phase)
{
    if (!t->flagged && phase == QG_PHASE_RESPONSE)
        return;
    if (says->flagged && t->severity <= says->severity)
        return;
    if (t->flagged && !says->flagged)
        says->first = t->index;
    says->flagged = t->flagged;
    says->severity = t->severity;
    says->category = t->category;
}

/* What the rules say about a turn is part of it, also where the model says nothing. */
static void take_rule(qg_stream_record *rec, const qg_stream_rule *rule)
{
    if (rule->rule && !rec->role)
        rec->role = rule->role;
    if (rec->role && rule->role && strcmp(rec->role, rule->role) == 0)
        rec->rule = *rule;
}

static void take_token(qg_stream_record *rec, const qg_token *t, const qg_stream_said *said)
{
    qg_phase phase = phase_of(t->role);
    const char *role = phase == QG_PHASE_RESPONSE ? "assistant" : "user";
    if (rec->role && strcmp(role, rec->role) != 0)
        end_turn(rec);
    rec->role = role;
    take_rule(rec, &said->ended);
    take_rule(rec, &said->now);
    take_flag(t->final ? &rec->says : &rec->provisional, t, phase);
    if (!t->final)
        return;
    double p = t->p_severity[QG_UNSAFE];
    if (!rec->view.thresholds.loose)
        p += t->p_severity[QG_CONTROVERSIAL];
    rec->n_tokens++;
    rec->p_hit = p > rec->p_hit ? p : rec->p_hit;
    if (phase == QG_PHASE_PROMPT) /* its end token */
        end_turn(rec);
}

/* Whether a token of a turn of this role is in r. */
static bool judges(const qg_stream_result *r, const char *role)
{
    for (size_t i = 0; i < r->n_tokens; i++)
        if (strcmp(r->tokens[i].role, role) == 0)
            return true;
    return false;
}

void qg_stream_record_result(qg_stream_record *rec, const qg_append *a, const qg_stream_result *r,
                             const qg_stream_said *said)
{
    if (!rec->srv || !r)
        return;
    if (said->failed != QG_OK)
        qg_metrics_failure(rec->srv->metrics, phase_of(said->now.role), said->failed, true);
    take_rule(rec, said->ended.role ? &said->ended : &said->now);
    rec->queued_us += r->queued_us;
    rec->compute_us += r->compute_us;
    rec->n_cached = r->n_cached;
    rec->provisional = (qg_stream_flag){.first = -1};
    for (size_t i = 0; i < r->n_tokens; i++)
        take_token(rec, &r->tokens[i], said);
    bool left = rec->role && a->role && strcmp(a->role, rec->role) != 0;
    if (left)
        end_turn(rec);
    if (said->ended.role && !judges(r, said->now.role))
        take_rule(rec, &said->now);
    if (a->end)
        end_turn(rec);
}

void qg_stream_record_failure(qg_stream_record *rec, const char *role, qg_status rc)
{
    if (!rec->srv || rc == QG_OK || rc == QG_ERR_CANCELLED)
        return;
    qg_metrics_failure(rec->srv->metrics, phase_of(role ? role : rec->role), rc, false);
    if (!rec->srv->audit)
        return;
    json_t *line = begin_line(rec, "verdict", role ? role : rec->role);
    json_object_set_new(line, "error", json_string(qg_status_name(rc)));
    write_line(rec, line);
}

void qg_stream_record_rollback(qg_stream_record *rec, int32_t index)
{
    if (!rec->srv)
        return;
    if (rec->srv->audit) {
        json_t *line = begin_line(rec, "rollback", rec->role);
        json_object_set_new(line, "index", json_integer(index));
        write_line(rec, line);
    }
    rec->provisional = (qg_stream_flag){.first = -1};
    rec->rule = (qg_stream_rule){0};
    if (rec->says.first >= index)
        rec->says = rec->provisional;
}

void qg_stream_record_end(qg_stream_record *rec)
{
    if (!rec->srv)
        return;
    if (!rec->says.flagged && rec->provisional.flagged)
        rec->says = rec->provisional;
    end_turn(rec);
    qg_policy_unref(rec->policy);
    rec->policy = NULL;
    rec->srv = NULL;
}
