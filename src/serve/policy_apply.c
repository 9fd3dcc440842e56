/* The policy on the way of a judgement: what of the conversation is shown to the model, how long it
 * may take, and the rules beside it.  What is judged is always the last message. */
#include "serve/serve_priv.h"
#include "serve/shown.h"

void qg_serve_policy_begin(qg_serve_job *job)
{
    qg_slice model =
        job->root ? qg_json_slice(json_object_get(job->root, "model")) : qg_slice_of("", 0);
    qg_policy_view_of(job->policy, qg_str(job->key), model, &job->view);
}

/* ---- context --------------------------------------------------------------------------------- */

static qg_status keep_scope(qg_serve_ask *ask, qg_err *err)
{
    qg_serve_job *job = ask->job;
    qg_messages list = {(qg_message *)ask->request.messages, ask->request.n_messages};
    qg_status rc = qg_shown_scope(&job->view, &job->arena, &list);
    if (rc != QG_OK)
        return qg_fail(err, rc, "out of memory");
    ask->request.messages = list.p;
    ask->request.n_messages = list.n;
    return QG_OK;
}

static void set_deadline(qg_serve_ask *ask)
{
    int32_t ms = ask->job->view.deadline_ms[ask->phase];
    if (!ms)
        ms = ask->job->srv->opt->request_timeout_ms;
    if (ms)
        ask->request.deadline_us = ask->job->start_us + (int64_t)ms * 1000;
}

/* ---- rules ----------------------------------------------------------------------------------- */

static qg_status make(qg_serve_ask *ask, qg_result **out, qg_err *err)
{
    return qg_shown_rule_result(ask->job->house->engine, ask->phase, ask->match.rule, out, err);
}

static qg_status scan_raw_text(qg_serve_ask *ask, qg_slice text, qg_err *err)
{
    const qg_rules *rules = qg_policy_rules(ask->job->policy);
    qg_rule_hit other;
    bool known, also = false;
    qg_slice own = qg_raw_inside(&ask->job->house->raw, text, &ask->phase, &known);
    const qg_text judged = {own.p, own.n};
    if (!known)
        ask->phase = QG_PHASE_PROMPT;
    QG_TRY(qg_shown_rules(rules, ask->phase, judged, &ask->by_rule, &ask->match, err));
    if (!known) /* the rules for replies may be meant as well */
        QG_TRY(qg_shown_rules(rules, QG_PHASE_RESPONSE, judged, &also, &other, err));
    if (also && (!ask->by_rule || other.rule->severity > ask->match.rule->severity)) {
        ask->by_rule = true;
        ask->match = other;
        ask->phase = QG_PHASE_RESPONSE;
    }
    return QG_OK;
}

/* A prompt of tokens is read as the model reads it, and only what its caller put into the template
 * is held against the rules. */
static qg_status scan_raw(qg_serve_ask *ask, qg_err *err)
{
    const qg_rules *rules = qg_policy_rules(ask->job->policy);
    char *text;
    size_t n;
    if (!qg_rules_n(rules, QG_PHASE_PROMPT) && !qg_rules_n(rules, QG_PHASE_RESPONSE))
        return QG_OK;
    QG_TRY(qg_detokenize(ask->job->house->engine, ask->request.ids, ask->request.n_ids, false,
                         &text, &n, err));
    qg_status rc = scan_raw_text(ask, qg_slice_of(text, n), err);
    qg_free(text);
    return rc;
}

qg_status qg_serve_policy_ask(qg_serve_ask *ask, bool *decided, qg_err *err)
{
    const qg_rules *rules = qg_policy_rules(ask->job->policy);
    *decided = false;
    if (ask->request.n_messages) {
        ask->phase = qg_shown_phase(ask->request.messages, ask->request.n_messages);
        QG_TRY(keep_scope(ask, err));
    }
    set_deadline(ask);
    if (ask->request.n_messages) {
        const qg_message *last = &ask->request.messages[ask->request.n_messages - 1];
        QG_TRY(qg_shown_rules(rules, ask->phase, last->content, &ask->by_rule, &ask->match, err));
    } else {
        QG_TRY(scan_raw(ask, err));
    }
    *decided = ask->by_rule && ask->match.rule->final;
    return *decided ? make(ask, &ask->result, err) : QG_OK;
}

static void worse_of_both(qg_serve_ask *ask)
{
    qg_result *made, *said = ask->result;
    if (!ask->by_rule || ask->status != QG_OK || ask->match.rule->final)
        return;
    ask->by_rule = qg_shown_rule_stands(ask->match.rule, said);
    if (!ask->by_rule)
        return;
    ask->status = make(ask, &made, &ask->err);
    if (ask->status == QG_OK) {
        made->n_prompt_tokens = said->n_prompt_tokens;
        made->n_cached_tokens = said->n_cached_tokens;
        made->queued_us = said->queued_us;
        made->compute_us = said->compute_us;
    } else {
        made = NULL;
    }
    qg_result_free(said);
    ask->result = made;
}

/* What the caller did wrong is always an error; so is a client that has gone. */
static bool is_ours(qg_status status)
{
    return status == QG_ERR_TOO_LONG || status == QG_ERR_BUSY || status == QG_ERR_DEADLINE ||
           status == QG_ERR_NOMEM || status == QG_ERR_CLOSED || status == QG_ERR_INTERNAL;
}

/* A rule that matched has judged the text: it stands even when the model cannot. */
static void pass_if_open(qg_serve_ask *ask)
{
    const qg_serve_job *job = ask->job;
    qg_result *made;
    qg_err err;
    if (!job->how->opens || !is_ours(ask->status) || (!ask->by_rule && !job->view.open[ask->phase]))
        return;
    qg_status rc = ask->by_rule
                       ? make(ask, &made, &err)
                       : qg_result_make(job->house->engine,
                                        ask->phase == QG_PHASE_PROMPT ? "user" : "assistant",
                                        QG_SAFE, NULL, &made, &err);
    if (rc != QG_OK)
        return;
    ask->unjudged = !ask->by_rule;
    if (ask->unjudged) {
        made->source = "unjudged";
        qg_metrics_failure(job->srv->metrics, ask->phase, ask->status, true);
    }
    qg_result_free(ask->result);
    ask->result = made;
    ask->status = QG_OK;
}

void qg_serve_policy_after(qg_serve_ask *ask)
{
    worse_of_both(ask);
    pass_if_open(ask);
}
