/* The prompt: what of the conversation is judged, by rules, by the Gen model, or on the way by the
 * session that reads it (hearing.c). */
#include "gateway/gate.h"

#include "base/mem.h"

#include <stddef.h>

/* ---- reading, on the worker
 * ----------------------------------------------------------------------- */

/* A role as the models know it: instructions are the system's, results of tools the user's. */
static const char *role_of(const char *role, bool last)
{
    if (strcmp(role, "assistant") == 0)
        return "assistant";
    if (!last && (strcmp(role, "system") == 0 || strcmp(role, "developer") == 0))
        return "system";
    return "user"; /* also a system text that stands last: it would not be judged as itself */
}

static bool in_scope(const qg_policy_view *view, const char *role)
{
    if (strcmp(role, "user") == 0)
        return view->roles & QG_ROLE_USER;
    if (strcmp(role, "assistant") == 0)
        return view->roles & QG_ROLE_ASSISTANT;
    if (strcmp(role, "system") == 0 || strcmp(role, "developer") == 0)
        return view->roles & QG_ROLE_SYSTEM;
    if (strcmp(role, "tool") == 0 || strcmp(role, "function") == 0)
        return view->roles & QG_ROLE_TOOL;
    return true;
}

static qg_status show(qg_relay *r)
{
    const qg_asked *a = r->asked;
    size_t last = a->n_messages - 1;
    r->shown = qg_calloc(a->n_messages + 1, sizeof *r->shown);
    if (!r->shown)
        return qg_fail(&r->err, QG_ERR_NOMEM, "Out of memory.");
    for (size_t i = r->view.scope == QG_SCOPE_LAST_TURN ? last : 0; i <= last; i++)
        if (i == last || in_scope(&r->view, a->messages[i].role))
            r->shown[r->n_shown++] =
                (qg_message){role_of(a->messages[i].role, i == last), a->messages[i].content};
    return QG_OK;
}

/* Every text that is new in this request is held against the rules: those behind the last reply,
 * since what stands before it was the last message of an earlier request. */
static qg_status scan_one(qg_relay *r, const qg_rules *rules, qg_text text)
{
    qg_scan *scan;
    qg_rule_hit hit;
    QG_TRY(qg_scan_open(&scan, rules, QG_PHASE_PROMPT, &r->err));
    qg_status rc = qg_scan_push(scan, qg_slice_of(text.p, text.n), true, &r->err);
    if (rc == QG_OK && qg_scan_verdict(scan, &hit) &&
        (!r->rule_found || hit.rule->severity > r->rule.rule->severity)) {
        r->rule = hit;
        r->rule_found = true;
    }
    qg_scan_close(scan);
    return rc;
}

static qg_status scan(qg_relay *r)
{
    const qg_rules *rules = qg_policy_rules(r->policy);
    size_t from = r->n_shown - 1;
    if (!rules || !qg_rules_n(rules, QG_PHASE_PROMPT))
        return QG_OK;
    while (from > 0 && strcmp(r->shown[from - 1].role, "user") == 0)
        from--;
    for (size_t i = from; i < r->n_shown; i++)
        QG_TRY(scan_one(r, rules, r->shown[i].content));
    return QG_OK;
}

void qg_relay_read(qg_relay *r)
{
    qg_slice model;
    r->read_rc = qg_asked_open(&r->asked, r->proto, qg_slice_of(r->body, r->n_body), &r->err);
    if (r->read_rc != QG_OK)
        return;
    model = r->asked->model;
    qg_policy_view_of(r->policy, qg_str(r->key), model, &r->view);
    r->read_rc = show(r);
    if (r->read_rc == QG_OK && r->view.judge_prompt != QG_PROMPT_OFF)
        r->rule_rc = scan(r);
}

/* ---- verdicts
 * -------------------------------------------------------------------------------------- */

/* The rule itself is qg_thresholds_hit; this only brings a verdict to it. */
static void decide(const qg_policy_view *view, const double p_category[QG_POLICY_CATEGORIES],
                   qg_prompt_verdict *v)
{
    int by = -1, top = v->category ? qg_policy_category(v->category) : -1;
    v->hit = qg_thresholds_hit(&view->thresholds, v->severity, v->p_severity, p_category, top, &by);
    if (!v->hit)
        return;
    if (by >= 0)
        v->category = qg_category_name((size_t)by);
    v->p_category = by >= 0 ? p_category[by] : 0;
    v->action = qg_policy_action(view, v->severity, v->category);
}

static void add_p(double to[QG_POLICY_CATEGORIES], const char *const *names, const double *p,
                  size_t n)
{
    double all = 0;
    for (size_t i = 0; i < n; i++) {
        int k = names[i] ? qg_policy_category(names[i]) : -1;
        if (k >= 0)
            to[k] = p[i];
    }
    for (int i = 0; i < QG_POLICY_CATEGORIES; i++)
        all += to[i];
    for (int i = 0; i < QG_POLICY_CATEGORIES && all > 0; i++) /* given that it is a hit */
        to[i] /= all;
}

void qg_prompt_of_token(const qg_policy_view *view, const qg_token *t, qg_prompt_verdict *v)
{
    double p[QG_POLICY_CATEGORIES] = {0};
    *v = (qg_prompt_verdict){.severity = t->severity, .category = t->category};
    memcpy(v->p_severity, t->p_severity, sizeof v->p_severity);
    add_p(p, t->p_category_names, t->p_categories, t->n_p_categories);
    decide(view, p, v);
    if (t->flagged == v->hit)
        return;
    v->hit = t->flagged; /* debounced: one token of a reply is no hit */
    v->action = v->hit ? qg_policy_action(view, v->severity, v->category) : QG_ACTION_ALLOW;
}

static void of_result(const qg_policy_view *view, const qg_result *result, qg_prompt_verdict *v)
{
    double p[QG_POLICY_CATEGORIES] = {0};
    *v = (qg_prompt_verdict){.severity = result->severity,
                             .category = result->n_categories ? result->categories[0] : NULL};
    memcpy(v->p_severity, result->p_severity, sizeof v->p_severity);
    add_p(p, result->p_category_names, result->p_categories, result->n_p_categories);
    decide(view, p, v);
}

static void of_rule(const qg_policy_view *view, const qg_rule *rule, qg_prompt_verdict *v)
{
    double p[QG_POLICY_CATEGORIES] = {0};
    int k = rule->category ? qg_policy_category(rule->category) : -1;
    *v = (qg_prompt_verdict){.severity = rule->severity, .category = rule->category, .rule = rule};
    v->p_severity[rule->severity] = 1;
    if (k >= 0)
        p[k] = 1;
    decide(view, p, v);
}

void qg_prompt_add_rule(const qg_relay *r, qg_prompt_verdict *v)
{
    if (!v->rule && r->rule_found && r->rule.rule->severity > v->severity)
        of_rule(&r->view, r->rule.rule, v);
}

/* ---- the Gen model
 * ----------------------------------------------------------------------------------- */

static void on_gen(void *ud, qg_status status, qg_result *result, const qg_err *err)
{
    qg_relay *r = ud;
    r->gen_rc = status;
    r->gen_result = result;
    if (status != QG_OK && err)
        r->err = *err;
    qg_relay_post(r, QG_EVENT_GEN);
    qg_relay_unref(r);
}

/* The Gen template shows a first message only when it is the user's or the system's, and the last
 * one must be shown; system texts in mid-conversation are not. */
static qg_message *gen_messages(const qg_relay *r, size_t *n)
{
    qg_message *list = qg_calloc(r->n_shown + 1, sizeof *list);
    *n = 0;
    if (!list)
        return NULL;
    if (strcmp(r->shown[0].role, "assistant") == 0)
        list[(*n)++] = (qg_message){"user", {"", 0}};
    for (size_t i = 0; i < r->n_shown; i++) {
        list[*n] = r->shown[i];
        if (i > 0 && strcmp(list[*n].role, "system") == 0)
            list[*n].role = "user";
        (*n)++;
    }
    if (r->gen_long)
        list[*n - 1].content = qg_long_text(r->gen_long, list[*n - 1].content, r->gen_long->next);
    return list;
}

static qg_status submit_messages(qg_relay *r, const qg_message *list, size_t n, qg_err *err)
{
    qg_request request;
    qg_job *job = NULL;
    qg_request_init(&request);
    request.messages = list;
    request.n_messages = n;
    request.deadline_us = r->gen_due_us;
    qg_job **place = r->gen_long ? &r->gen_long->handles[r->gen_long->next] : NULL;
    qg_relay_ref(r);
    qg_status rc = atomic_load(&r->gen_unwanted)
                       ? qg_fail(err, QG_ERR_CANCELLED, "nobody waits for it")
                       : qg_submit(qg_gate_gen(r->house), &request, on_gen, r, &job, err);
    if (rc != QG_OK) {
        qg_relay_unref(r);
        return rc;
    }
    if (place) /* the back may be at the next window by now */
        *place = job;
    atomic_store(&r->gen_job, job);
    if (atomic_load(&r->gen_unwanted)) /* since then; whoever is second sees the other */
        qg_cancel(job);
    return QG_OK;
}

/* Too long as a whole: its first window, where the policy says so. */
static qg_status submit_gen(qg_relay *r)
{
    qg_err err = {""};
    size_t n;
    qg_message *list = gen_messages(r, &n);
    if (!list)
        return QG_ERR_NOMEM;
    qg_status rc = submit_messages(r, list, n, &err);
    if (rc == QG_ERR_TOO_LONG && r->view.long_input_windows && !r->gen_long) {
        rc = qg_long_open(&r->gen_long, qg_gate_gen(r->house), r->house->info.max_model_len, list,
                          n, &err);
        if (rc == QG_OK) {
            list[n - 1].content = qg_long_text(r->gen_long, list[n - 1].content, 0);
            rc = submit_messages(r, list, n, &err);
        }
    }
    qg_mfree(list);
    if (rc != QG_OK)
        r->err = err;
    return rc;
}

/* Rendering and encoding a long conversation takes milliseconds: on the worker. */
static void run_gen(qg_task *task)
{
    qg_relay *r = (qg_relay *)((char *)task - offsetof(qg_relay, task));
    qg_status rc = submit_gen(r);
    if (rc != QG_OK) {
        r->gen_rc = rc;
        qg_relay_post(r, QG_EVENT_GEN);
    }
    qg_relay_unref(r);
}

static void post_gen(qg_relay *r)
{
    r->task.run = run_gen;
    qg_relay_ref(r);
    qg_worker_post(r->gate->worker, &r->task);
}

static void begin_gen(qg_relay *r)
{
    int32_t ms = r->view.deadline_ms[QG_PHASE_PROMPT];
    r->gen_due_us = qg_now_us() + (int64_t)(ms ? ms : r->gate->opt->judge_ms) * 1000;
    post_gen(r);
}

void qg_relay_gen_cancel(qg_relay *r)
{
    atomic_store(&r->gen_unwanted, true);
    qg_job *job = atomic_load(&r->gen_job);
    if (job)
        qg_cancel(job);
}

/* True: it was the last one that matters, and *v is the worst verdict of all. */
static bool window_done(qg_relay *r, qg_prompt_verdict *v)
{
    qg_long *w = r->gen_long;
    qg_relay_count_long(r, w);
    qg_long_keep_result(w, r->gen_result, qg_long_keep(w, v));
    r->gen_result = NULL;
    if (w->next + 1 < w->cut.n && !qg_long_decided(w)) {
        w->next++;
        return false;
    }
    *v = w->worst;
    r->gen_result = w->result;
    w->result = NULL;
    return true;
}

void qg_relay_gen_done(qg_relay *r)
{
    qg_prompt_verdict v;
    if (r->ended)
        return;
    if (r->gen_rc != QG_OK) {
        qg_relay_prompt_failed(r, r->gen_rc, *r->err.msg ? r->err.msg : "not judged");
        return;
    }
    if (!r->gen_result || !r->gen_result->well_formed) {
        qg_relay_prompt_failed(r, QG_ERR_INTERNAL, "The model wrote no verdict.");
        return;
    }
    of_result(&r->view, r->gen_result, &v);
    if (r->gen_long && !window_done(r, &v))
        post_gen(r);
    else
        qg_relay_prompt(r, &v);
}

/* ---- beginning
 * ---------------------------------------------------------------------------------------- */

/* What no model need be asked about. */
static bool decided_by_rule(qg_relay *r, qg_prompt_verdict *v)
{
    if (!r->rule_found)
        return false;
    of_rule(&r->view, r->rule.rule, v);
    return r->rule.rule->final || (v->hit && v->action == QG_ACTION_BLOCK);
}

void qg_relay_judge_prompt(qg_relay *r)
{
    qg_prompt_verdict v;
    bool off = r->view.judge_prompt == QG_PROMPT_OFF;
    if (off)
        r->prompt = QG_PROMPT_PASSED;
    else if (r->asked->n_unread)
        qg_relay_prompt_failed(r, QG_ERR_UNSUPPORTED,
                               "The request holds parts that are no text, which cannot be judged.");
    if (!r->ended && r->prompt == QG_PROMPT_WAITS && r->rule_rc != QG_OK)
        qg_relay_prompt_failed(r, r->rule_rc, r->err.msg);
    if (!r->ended && r->prompt == QG_PROMPT_WAITS && decided_by_rule(r, &v))
        qg_relay_prompt(r, &v);
    if (r->ended)
        return;
    if (qg_gate_gen(r->house) && r->prompt == QG_PROMPT_WAITS)
        begin_gen(r);
    qg_relay_hear(r);
    if (off && !r->ended && !r->attempt)
        (void)qg_relay_call(r);
}
