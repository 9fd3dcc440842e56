/* The policy on the way of a judgement: what of the conversation is shown to the model, how long it
 * may take, and the rules beside it.  What is judged is always the last message. */
#include "serve/serve_priv.h"

void qg_serve_policy_begin(qg_serve_job *job)
{
    qg_slice model =
        job->root ? qg_json_slice(json_object_get(job->root, "model")) : qg_slice_of("", 0);
    qg_policy_view_of(job->policy, qg_str(job->key), model, &job->view);
}

/* ---- context --------------------------------------------------------------------------------- */

static bool in_scope(const qg_policy_view *view, const char *role)
{
    static const struct {
        const char *name;
        unsigned bit;
    } roles[] = {{"user", QG_ROLE_USER},
                 {"assistant", QG_ROLE_ASSISTANT},
                 {"system", QG_ROLE_SYSTEM},
                 {"tool", QG_ROLE_TOOL}};
    for (size_t i = 0; i < QG_COUNT(roles); i++)
        if (strcmp(role, roles[i].name) == 0)
            return view->roles & roles[i].bit;
    return true; /* a role that no policy can name is not left out by it */
}

/* A list that was cut may begin with a reply, which the template would drop. */
static qg_status shown(qg_serve_ask *ask, qg_err *err)
{
    qg_serve_job *job = ask->job;
    const qg_messages list = {(qg_message *)ask->request.messages, ask->request.n_messages};
    qg_status rc = qg_serve_ask_messages(job, (size_t)(ask - job->asks), &list);
    return rc == QG_OK ? rc : qg_fail(err, rc, "out of memory");
}

/* The reader's messages stay; a shorter list is made when something is left out. */
static qg_status keep_scope(qg_serve_ask *ask, qg_err *err)
{
    const qg_policy_view *view = &ask->job->view;
    qg_request *r = &ask->request;
    size_t last = r->n_messages - 1, n = 0;
    if (view->scope == QG_SCOPE_LAST_TURN) {
        r->messages += last;
        r->n_messages = 1;
        return shown(ask, err);
    }
    if (view->roles == QG_ROLE_ALL)
        return QG_OK;
    qg_message *kept = qg_arena_calloc(&ask->job->arena, r->n_messages, sizeof *kept);
    if (!kept)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    for (size_t i = 0; i <= last; i++)
        if (i == last || in_scope(view, r->messages[i].role))
            kept[n++] = r->messages[i];
    r->messages = kept;
    r->n_messages = n;
    return shown(ask, err);
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

static qg_phase phase_of(const qg_request *request)
{
    const qg_message *last = &request->messages[request->n_messages - 1];
    return strcmp(last->role, "user") == 0 ? QG_PHASE_PROMPT : QG_PHASE_RESPONSE;
}

static qg_status scan(const qg_rules *rules, qg_serve_ask *ask, qg_err *err)
{
    const qg_message *last = &ask->request.messages[ask->request.n_messages - 1];
    qg_scan *scan;
    QG_TRY(qg_scan_open(&scan, rules, ask->phase, err));
    qg_status rc = qg_scan_push(scan, qg_slice_of(last->content.p, last->content.n), true, err);
    if (rc == QG_OK)
        ask->by_rule = qg_scan_verdict(scan, &ask->match);
    qg_scan_close(scan);
    return rc;
}

static qg_status make(qg_serve_ask *ask, qg_result **out, qg_err *err)
{
    const qg_rule *rule = ask->match.rule;
    return qg_result_make(ask->job->srv->engine,
                          ask->phase == QG_PHASE_PROMPT ? "user" : "assistant", rule->severity,
                          rule->category, out, err);
}

qg_status qg_serve_policy_ask(qg_serve_ask *ask, bool *decided, qg_err *err)
{
    const qg_rules *rules = qg_policy_rules(ask->job->policy);
    *decided = false;
    if (ask->request.n_messages) {
        ask->phase = phase_of(&ask->request);
        QG_TRY(keep_scope(ask, err));
    }
    set_deadline(ask);
    if (!ask->request.n_messages || !qg_rules_n(rules, ask->phase))
        return QG_OK;
    QG_TRY(scan(rules, ask, err));
    *decided = ask->by_rule && ask->match.rule->final;
    return *decided ? make(ask, &ask->result, err) : QG_OK;
}

static void worse_of_both(qg_serve_ask *ask)
{
    qg_result *made, *said = ask->result;
    if (!ask->by_rule || ask->status != QG_OK || ask->match.rule->final)
        return;
    ask->by_rule = !said->well_formed || ask->match.rule->severity > said->severity;
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
    qg_status rc =
        ask->by_rule
            ? make(ask, &made, &err)
            : qg_result_make(job->srv->engine, ask->phase == QG_PHASE_PROMPT ? "user" : "assistant",
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
