#include "serve/stream_rules.h"

#include "text/utf8.h"

void qg_stream_rules_begin(qg_stream_rules *r, const qg_rules *rules, const qg_policy_view *view)
{
    *r = (qg_stream_rules){.rules = rules, .view = view, .said.held = UINT64_MAX};
    if (rules && !qg_rules_n(rules, QG_PHASE_PROMPT) && !qg_rules_n(rules, QG_PHASE_RESPONSE))
        r->rules = NULL;
    qg_buf_init(&r->part, SIZE_MAX / 2);
}

static void close_turn(qg_stream_rules *r)
{
    qg_scan_close(r->scan);
    r->scan = NULL;
    r->role = NULL;
    r->part.n = 0;
    r->said.held = UINT64_MAX;
}

void qg_stream_rules_free(qg_stream_rules *r)
{
    close_turn(r);
    qg_buf_free(&r->part);
}

static qg_phase phase_of(const char *role)
{
    return strcmp(role, "assistant") == 0 ? QG_PHASE_RESPONSE : QG_PHASE_PROMPT;
}

static qg_status open_turn(qg_stream_rules *r, const char *role, qg_err *err)
{
    qg_phase phase = phase_of(role);
    r->role = role;
    r->said.now = (qg_stream_rule){.role = role};
    return qg_rules_n(r->rules, phase) ? qg_scan_open(&r->scan, r->rules, phase, err) : QG_OK;
}

/* What the scan says now; news when it is not what was told last. */
static void look(qg_stream_rules *r)
{
    qg_rule_hit hit;
    r->said.held = qg_scan_held(r->scan);
    if (!qg_scan_verdict(r->scan, &hit))
        return;
    r->said.now = (qg_stream_rule){r->role, hit.rule, hit.begin, hit.end};
    if (r->told.rule == hit.rule && r->told.begin == hit.begin)
        return;
    r->told = r->said.now;
    r->said.now_news = true;
}

/* Whole characters; what a rule that cannot be run to its end means is the policy's. */
static qg_status scan(qg_stream_rules *r, qg_slice text, bool last, qg_err *err)
{
    if (!r->scan)
        return QG_OK;
    qg_status rc = qg_scan_push(r->scan, text, last, err);
    if (rc == QG_OK) {
        look(r);
        return QG_OK;
    }
    if (rc == QG_ERR_NOMEM || !r->view->open[phase_of(r->role)])
        return qg_fail_prefix(err, rc, "the text was not held against the rules");
    qg_scan_close(r->scan);
    r->scan = NULL;
    r->said.held = UINT64_MAX;
    r->said.failed = rc;
    return QG_OK;
}

/* A control token is no text. */
static qg_status add_id(qg_stream_rules *r, const qg_engine *engine, int32_t id, qg_err *err)
{
    char *shown;
    size_t n, n_shown;
    const char *bytes = qg_token_bytes(engine, id, &n);
    if (!n)
        return QG_OK;
    QG_TRY(qg_detokenize(engine, &id, 1, true, &shown, &n_shown, err));
    qg_free(shown);
    if (!n_shown)
        return QG_OK;
    return qg_buf_add(&r->part, bytes, n) == QG_OK ? QG_OK
                                                   : qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

/* Bytes at the end that begin a character. */
static size_t unfinished(qg_slice s)
{
    for (size_t back = 1; back <= 3 && back <= s.n; back++) {
        uint8_t c = (uint8_t)s.p[s.n - back];
        if (c >= 0xC0)
            return back < (c >= 0xF0 ? 4u : c >= 0xE0 ? 3u : 2u) ? back : 0;
        if (c < 0x80)
            break;
    }
    return 0;
}

/* What ids spell need not be UTF-8: it reads as the model's vocabulary writes it, with U+FFFD. */
static qg_status scan_ids(qg_stream_rules *r, const qg_engine *engine, const qg_append *a,
                          qg_err *err)
{
    qg_buf text;
    for (size_t i = 0; r->scan && i < a->n_ids; i++)
        QG_TRY(add_id(r, engine, a->ids[i], err));
    qg_slice all = qg_buf_slice(&r->part);
    size_t rest = a->end ? 0 : unfinished(all);
    qg_buf_init(&text, SIZE_MAX / 2);
    qg_status rc = qg_utf8_lossy(qg_slice_of(all.p, all.n - rest), &text);
    if (rc != QG_OK)
        qg_fail(err, rc, "out of memory");
    else
        rc = scan(r, qg_buf_slice(&text), a->end, err);
    qg_buf_free(&text);
    if (rest)
        memmove(r->part.p, r->part.p + (r->part.n - rest), rest);
    r->part.n = rest;
    return rc;
}

/* After a rollback, or an append that came to nothing. */
static qg_status again(qg_stream_rules *r, qg_session *session, qg_err *err)
{
    const char *role;
    char *text;
    size_t n;
    close_turn(r);
    r->said.now = (qg_stream_rule){0};
    r->told.rule = NULL; /* it may not have been heard */
    QG_TRY(qg_session_turn(session, &role, &text, &n, err));
    qg_status rc = role ? open_turn(r, role, err) : QG_OK;
    if (rc == QG_OK && role)
        rc = scan(r, qg_slice_of(text, n), false, err);
    qg_free(text);
    r->stale = rc != QG_OK;
    return rc;
}

static qg_status other_turn(qg_stream_rules *r, const char *role, qg_err *err)
{
    if (r->role) {
        QG_TRY(scan(r, qg_slice_of("", 0), true, err));
        r->said.ended = r->said.now;
        r->said.ended_news = r->said.now_news;
    }
    close_turn(r);
    r->said.now_news = false;
    r->told.rule = NULL;
    return open_turn(r, role, err);
}

static qg_status append(qg_stream_rules *r, qg_session *session, const qg_engine *engine,
                        const qg_append *a, qg_err *err)
{
    if (r->stale)
        QG_TRY(again(r, session, err));
    const char *role = a->role ? a->role : r->role;
    if (!role)
        return QG_OK; /* the session refuses it */
    if (!r->role || strcmp(r->role, role) != 0)
        QG_TRY(other_turn(r, role, err));
    if (a->ids)
        QG_TRY(scan_ids(r, engine, a, err));
    else
        QG_TRY(scan(r, qg_slice_of(a->content.p ? a->content.p : "", a->content.n), a->end, err));
    if (a->end)
        close_turn(r);
    return QG_OK;
}

qg_status qg_stream_rules_append(qg_stream_rules *r, qg_session *session, const qg_engine *engine,
                                 const qg_append *a, qg_err *err)
{
    r->said.ended = (qg_stream_rule){0};
    r->said.ended_news = r->said.now_news = false;
    r->said.failed = QG_OK;
    if (!r->rules)
        return QG_OK;
    qg_status rc = append(r, session, engine, a, err);
    r->stale = rc != QG_OK;
    return rc;
}

/* ---- what it means --------------------------------------------------------------------------- */

bool qg_stream_rule_hits(const qg_stream_rule *s, const qg_policy_view *view)
{
    double severity[3] = {0}, category[QG_POLICY_CATEGORIES] = {0};
    int by;
    if (!s->rule || s->rule->severity == QG_SAFE)
        return false;
    int top = s->rule->category ? qg_policy_category(s->rule->category) : -1;
    severity[s->rule->severity] = 1;
    if (top >= 0)
        category[top] = 1;
    return qg_thresholds_hit(&view->thresholds, s->rule->severity, severity, category, top, &by) &&
           qg_policy_action(view, s->rule->severity, s->rule->category) != QG_ACTION_ALLOW;
}

bool qg_stream_rule_decides(const qg_stream_rule *s, qg_severity model)
{
    return s->rule && (s->rule->final || s->rule->severity > model);
}

json_t *qg_stream_rule_json(const qg_stream_rule *s, const qg_policy_view *view)
{
    qg_action action = qg_stream_rule_hits(s, view)
                           ? qg_policy_action(view, s->rule->severity, s->rule->category)
                           : QG_ACTION_ALLOW;
    return json_pack("{s:i,s:s,s:I,s:I,s:s,s:s?,s:b,s:s}", "line", (int)s->rule->line, "role",
                     s->role, "begin", (json_int_t)s->begin, "end", (json_int_t)s->end, "severity",
                     qg_severity_name(s->rule->severity), "category", s->rule->category, "final",
                     (int)s->rule->final, "action", qg_action_name(action));
}

size_t qg_stream_said_news(const qg_stream_said *said, const qg_stream_rule *out[2])
{
    size_t n = 0;
    if (said->ended_news)
        out[n++] = &said->ended;
    if (said->now_news)
        out[n++] = &said->now;
    return n;
}
