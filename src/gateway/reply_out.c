/* What leaves: events whose texts may, then the end. */
#include "base/mem.h"
#include "gateway/reply_int.h"

#include <stdio.h>

void qg_reply_drop_events(qg_reply *r)
{
    while (r->head) {
        qg_event *next = r->head->next;
        qg_mfree(r->head);
        r->head = next;
    }
    r->tail = NULL;
    r->held = 0;
}

void qg_reply_no_memory(qg_reply *r)
{
    r->spoiled = true;
    r->state.done = r->state.abort_upstream = true;
    r->state.outcome = QG_REPLY_NO_MEMORY;
    r->state.sentence = "out of memory";
    qg_reply_drop_events(r);
}

void qg_reply_fail(qg_reply *r, qg_reply_outcome outcome, bool now, int http, const char *code,
                   const char *sentence)
{
    r->fault.now |= r->fault.set && now && !r->view.shadow;
    if (r->fault.set || r->cut || r->spoiled || r->state.done)
        return;
    r->fault = (qg_reply_fault){.set = true, .now = now && !r->view.shadow, .http = http};
    snprintf(r->fault.code, sizeof r->fault.code, "%s", code);
    snprintf(r->fault.sentence, sizeof r->fault.sentence, "%s", sentence);
    r->state.outcome = outcome;
    r->state.sentence = r->fault.sentence;
    r->state.abort_upstream = !r->view.shadow;
}

/* Keeps going only while memory lasts. */
static bool ok(qg_reply *r, qg_status rc)
{
    if (rc != QG_OK && !r->spoiled)
        qg_reply_no_memory(r);
    return rc == QG_OK;
}

/* ---- what may leave -------------------------------------------------------------------------- */

static bool mark_free(qg_reply *r, const qg_mark *m)
{
    return m->in == QG_NO_LANE || m->to <= r->lanes[m->in]->released ||
           qg_lane_safe(r->lanes[m->in]) >= m->to;
}

static bool event_free(qg_reply *r, const qg_event *e)
{
    for (size_t i = 0; e->has_text && i < e->n_marks; i++)
        if (!mark_free(r, &e->marks[i]))
            return false;
    return true;
}

/* Before a second try is ruled out, nothing leaves that would rule it out: not even an event
 * without text, until the first text may go with it. */
static bool start_held(qg_reply *r)
{
    if (!r->opt.may_retry || r->text_left)
        return false;
    for (const qg_event *e = r->head; e; e = e->next)
        if (e->has_text)
            return !event_free(r, e);
        else if (e->last)
            return false;
    return !r->ended && !r->fault.set;
}

static void count_out(qg_reply *r, qg_lane *l, uint64_t to)
{
    if (to <= l->released)
        return;
    r->counts.text_out += to - l->released;
    r->text_left = true;
    if (r->watch)
        r->watch(r->watch_ud, l->number, true, qg_lane_text(l, l->released, to));
    qg_lane_release(l, to);
}

static void pop(qg_reply *r)
{
    qg_event *e = r->head;
    r->head = e->next;
    if (!r->head)
        r->tail = NULL;
    r->held -= e->raw.n;
    qg_mfree(e);
}

/* ---- leaving ----------------------------------------------------------------------------------
 */

static qg_status write_event(qg_reply *r, const qg_event *e, bool event_by_event, qg_edits *d)
{
    if (event_by_event)
        QG_TRY(qg_reply_plain_edits(r, e, d));
    QG_TRY(qg_event_write(e, d, &r->out));
    return qg_ending_saw(&r->ending, e);
}

/* Lets the head leave whole. */
static bool leave(qg_reply *r)
{
    qg_event *e = r->head;
    qg_edits d;
    r->ends_cr = e->raw.n && e->raw.p[e->raw.n - 1] == '\r';
    qg_edits_init(&d);
    for (size_t i = 0; i < e->n_marks; i++)
        if (e->marks[i].in != QG_NO_LANE)
            count_out(r, r->lanes[e->marks[i].in], e->marks[i].to);
    bool good = ok(r, write_event(r, e, true, &d));
    qg_edits_free(&d);
    if (good)
        pop(r);
    return good;
}

static void release(qg_reply *r)
{
    while (r->head && !r->spoiled && event_free(r, r->head) && !start_held(r)) {
        bool last = r->head->last;
        if (last && r->cut)
            return;
        if (!leave(r))
            return;
        if (last) {
            qg_reply_drop_events(r);
            r->state.done = true;
            r->state.outcome = QG_REPLY_PASSED;
            return;
        }
    }
}

/* ---- the end --------------------------------------------------------------------------------- */

static uint64_t safe_of(qg_reply *r, const qg_mark *m)
{
    qg_lane *l = r->lanes[m->in];
    uint64_t safe = qg_lane_safe(l);
    return safe < l->released ? l->released : safe;
}

/* How many bytes of the texts of a choice in this event leave. */
static uint64_t kept_bytes(qg_reply *r, const qg_event *e, int32_t choice)
{
    uint64_t n = 0;
    for (size_t i = 0; i < e->n_marks; i++) {
        const qg_mark *m = &e->marks[i];
        if (m->choice != choice || m->what > QG_MARK_WHOLE || m->in == QG_NO_LANE)
            continue;
        uint64_t safe = safe_of(r, m);
        n += safe >= m->to ? m->to - m->from : safe > m->from ? safe - m->from : 0;
    }
    return n;
}

/* Half a tool's name would be another tool's. */
static bool is_name(const qg_event *e, const qg_mark *m)
{
    return m->kind == QG_FIELD_TOOL &&
           qg_slice_is(qg_slice_of(e->data.p + m->name, m->n_name), "name");
}

/* The first event that may not leave whole, with what of its texts may; dropped when that is
 * nothing, or when it holds more than texts that go on. */
static qg_status leave_part(qg_reply *r)
{
    const qg_event *e = r->head;
    qg_edits d;
    bool any = false;
    qg_status rc = QG_OK;
    for (size_t i = 0; i < e->n_marks; i++) {
        const qg_mark *m = &e->marks[i];
        if (m->what == QG_MARK_WHOLE || m->what == QG_MARK_RAW ||
            ((m->read || is_name(e, m)) && m->in != QG_NO_LANE && safe_of(r, m) < m->to))
            return QG_OK;
        any |= m->what == QG_MARK_TEXT && m->in != QG_NO_LANE && safe_of(r, m) > m->from;
    }
    if (!any)
        return QG_OK;
    qg_edits_init(&d);
    for (size_t i = 0; i < e->n_marks && rc == QG_OK; i++) {
        const qg_mark *m = &e->marks[i];
        if (m->what != QG_MARK_TEXT) {
            rc = qg_reply_trim(e, m, kept_bytes(r, e, m->choice), &d);
            continue;
        }
        uint64_t safe = m->in == QG_NO_LANE ? 0 : safe_of(r, m);
        rc = qg_reply_cut_text(e, m, safe, NULL, &d);
        if (m->in != QG_NO_LANE)
            count_out(r, r->lanes[m->in], safe < m->to ? safe : m->to);
    }
    if (rc == QG_OK)
        rc = qg_event_write(e, &d, &r->out);
    if (rc == QG_OK)
        rc = qg_ending_saw_part(&r->ending, e);
    qg_edits_free(&d);
    return rc;
}

static qg_slice released_text(void *ud, int32_t choice, int32_t sub, const char *name)
{
    const qg_reply *r = ud;
    for (uint32_t i = 0; i < r->n_lanes; i++) {
        const qg_lane *l = r->lanes[i];
        if (l->keep && l->choice == choice && (l->sub == sub || sub < 0) && !strcmp(l->name, name))
            return qg_lane_text(l, 0, l->released);
    }
    return qg_slice_of("", 0);
}

static qg_wire_note note_of(const qg_reply_hit *h)
{
    return (qg_wire_note){.severity = h->severity,
                          .category = h->category,
                          .p = h->severity < 3 ? h->p_severity[h->severity] : 0,
                          .begin = h->begin,
                          .end = h->end,
                          .filtered = true};
}

static qg_status write_end(qg_reply *r)
{
    bool nothing = r->counts.bytes_out == 0 && r->out.n == r->taken;
    if (r->ends_cr) /* its last line end was half a CRLF */
        QG_TRY(qg_buf_adds(&r->out, "\n"));
    if (r->cut) {
        qg_wire_note note = note_of(&r->blocked);
        qg_ending_say end = {.message = r->view.message_written ? r->view.message : NULL,
                             .choice = r->blocked.choice,
                             .behind_text = r->text_left,
                             .tokens = qg_reply_counts_of(r).tokens,
                             .note = &note,
                             .text = released_text,
                             .ud = r};
        return qg_ending_write(&r->ending, &end, &r->out);
    }
    if (!nothing)
        return qg_ending_error(&r->ending, r->fault.http, r->fault.code, r->fault.sentence,
                               &r->out);
    r->state.http = r->fault.http;
    r->state.event_stream = false;
    return qg_wire_error(r->opt.proto, r->fault.http, r->fault.code, r->fault.sentence, NULL,
                         &r->out);
}

/* Ends a stream: what may leave leaves, then the protocol's end. */
static void finish_stream(qg_reply *r)
{
    bool whole_drop = r->cut && r->view.cut == QG_CUT_REPLY && !r->text_left;
    while (r->head && !r->spoiled && event_free(r, r->head) && !(whole_drop && r->head->has_text) &&
           !(r->head->last && r->cut))
        if (!leave(r))
            return;
    if (r->head && !whole_drop && !ok(r, leave_part(r)))
        return;
    qg_reply_drop_events(r);
    if (!ok(r, write_end(r)))
        return;
    r->state.done = r->state.abort_upstream = true;
    if (r->cut)
        r->state.outcome = QG_REPLY_CUT;
}

/* ---- bodies ---------------------------------------------------------------------------------- */

/* Every text is judged, or stopped and settled. */
static bool body_ready(qg_reply *r, const qg_event *e)
{
    for (size_t i = 0; i < e->n_marks; i++) {
        const qg_mark *m = &e->marks[i];
        if (!mark_free(r, m) && !qg_lane_settled(r->lanes[m->in]))
            return false;
    }
    return true;
}

static bool choice_stopped(const qg_reply *r, int32_t choice)
{
    bool by_choice = r->opt.proto <= QG_PROTO_COMPLETIONS;
    for (uint32_t i = 0; i < r->n_lanes; i++)
        if (r->lanes[i]->stopped && (!by_choice || r->lanes[i]->choice == choice))
            return true;
    return false;
}

static qg_status body_mark(qg_reply *r, const qg_event *e, const qg_mark *m, bool *message,
                           qg_edits *d)
{
    if (m->what == QG_MARK_LOGPROBS && choice_stopped(r, m->choice))
        return qg_reply_trim(e, m, r->view.cut == QG_CUT_REPLY ? 0 : kept_bytes(r, e, m->choice),
                             d);
    if (m->what == QG_MARK_FINISH) {
        QG_TRY(qg_reply_annotate(r, e, m, d));
        return choice_stopped(r, m->choice) && m->lane ? qg_reply_say(d, m->begin, m->end, m->lane)
                                                       : QG_OK;
    }
    if (m->in == QG_NO_LANE)
        return m->what == QG_MARK_LOGPROBS ? QG_OK : qg_reply_cut_text(e, m, 0, NULL, d);
    qg_lane *l = r->lanes[m->in];
    if (!l->stopped) {
        count_out(r, l, m->to);
        return QG_OK;
    }
    uint64_t safe = r->view.cut == QG_CUT_REPLY ? 0 : qg_lane_safe(l);
    bool tell = *message && m->kind == QG_FIELD_CONTENT && safe < m->to;
    *message &= !tell;
    count_out(r, l, safe < m->to ? safe : m->to);
    return qg_reply_cut_text(e, m, safe, tell ? r->view.message : NULL, d);
}

static void finish_body(qg_reply *r)
{
    qg_edits d;
    const qg_event *e = r->head;
    bool message = r->view.message_written;
    qg_status rc = QG_OK;
    qg_edits_init(&d);
    for (size_t i = 0; i < e->n_marks && rc == QG_OK; i++)
        rc = body_mark(r, e, &e->marks[i], &message, &d);
    if (rc == QG_OK)
        rc = write_event(r, e, false, &d);
    qg_edits_free(&d);
    if (!ok(r, rc))
        return;
    qg_reply_drop_events(r);
    r->state.done = true;
    r->state.outcome = r->cut ? QG_REPLY_CUT : QG_REPLY_PASSED;
}

/* ---- when ------------------------------------------------------------------------------------ */

/* Nothing moves: the head waits for a text that only more of it would let go, and there is too much
 * behind it. */
static void unstick(qg_reply *r)
{
    qg_err err = {""};
    const qg_event *e = r->held > QG_REPLY_HELD_BYTES ? r->head : NULL;
    while (e && !e->has_text)
        e = e->next;
    for (size_t i = 0; e && i < e->n_marks; i++) {
        const qg_mark *m = &e->marks[i];
        if (!mark_free(r, m) && !ok(r, qg_lane_end(r->lanes[m->in], true, &err)))
            return;
    }
}

/* True: the event holds the place where a stopped lane stops. */
static bool holds_stop(const qg_reply *r, const qg_event *e)
{
    for (size_t i = 0; i < e->n_marks; i++) {
        const qg_mark *m = &e->marks[i];
        if (m->in != QG_NO_LANE && r->lanes[m->in]->stopped && m->to > r->lanes[m->in]->stop)
            return true;
    }
    return false;
}

/* A hit has been found: what stands before it in the stream is still judged and leaves, nothing
 * behind it matters any more. */
static void freeze(qg_reply *r)
{
    qg_event *e = r->head;
    while (e && !holds_stop(r, e))
        e = e->next;
    for (qg_event *next = e ? e->next : NULL, *after; next; next = after) {
        after = next->next;
        r->held -= next->raw.n;
        qg_mfree(next);
    }
    if (e) {
        e->next = NULL;
        r->tail = e;
    }
    for (uint32_t k = 0; k < r->n_lanes; k++) {
        uint64_t to = r->lanes[k]->released;
        for (e = r->head; e; e = e->next)
            for (size_t i = 0; i < e->n_marks; i++)
                if (e->marks[i].in == k && e->marks[i].to > to)
                    to = e->marks[i].to;
        qg_lane_stop(r->lanes[k], to);
    }
    r->frozen = true;
}

static bool stops_settled(const qg_reply *r)
{
    for (uint32_t i = 0; i < r->n_lanes; i++)
        if (r->lanes[i]->stopped && !qg_lane_settled(r->lanes[i]))
            return false;
    return true;
}

static bool wants_retry(qg_reply *r)
{
    r->state.retry = r->cut && r->opt.may_retry && !r->text_left && r->counts.bytes_out == 0 &&
                     r->out.n == r->taken;
    r->state.abort_upstream |= r->state.retry;
    return r->state.retry;
}

/* Between two events, which leave whole. */
bool qg_reply_keep_alive(qg_reply *r)
{
    static const char comment[] = ": keep-alive\n\n";
    bool retry = r->opt.may_retry && !r->text_left;
    if (!r->opt.stream || r->view.shadow || !r->admitted || retry || r->state.done || r->spoiled ||
        !r->counts.bytes_in)
        return false;
    return ok(r, qg_buf_add(&r->out, comment, sizeof comment - 1));
}

static void settle_shadow(qg_reply *r)
{
    for (uint32_t i = 0; i < r->n_lanes; i++)
        count_out(r, r->lanes[i], qg_lane_safe(r->lanes[i]));
    if (!r->ended)
        return;
    r->state.done = true;
    if (r->state.outcome == QG_REPLY_RUNNING)
        r->state.outcome = QG_REPLY_PASSED;
}

static void settle_stream(qg_reply *r)
{
    if (r->cut || r->fault.now) {
        r->state.abort_upstream = true;
        if (!r->frozen)
            freeze(r);
        if (r->fault.now || stops_settled(r))
            finish_stream(r);
        else
            release(r);
        return;
    }
    release(r);
    if (r->state.done || r->spoiled)
        return;
    unstick(r);
    if (r->head)
        return;
    if (r->fault.set) {
        finish_stream(r);
    } else if (r->ended) {
        r->state.done = true;
        r->state.outcome = QG_REPLY_PASSED;
    }
}

void qg_reply_settle(qg_reply *r)
{
    if (r->spoiled)
        return;
    if (r->view.shadow) {
        settle_shadow(r);
        return;
    }
    if (r->state.done || !r->admitted || wants_retry(r))
        return;
    if (r->opt.stream)
        settle_stream(r);
    else if (r->fault.set) {
        qg_reply_drop_events(r);
        finish_stream(r);
    } else if (r->head && body_ready(r, r->head))
        finish_body(r);
}
