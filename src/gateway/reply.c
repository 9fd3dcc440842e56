#include "gateway/reply_int.h"

#include "base/mem.h"

#include <stdio.h>

void qg_reply_options_init(qg_reply_options *opt)
{
    *opt = (qg_reply_options){.size = sizeof *opt, .stream = true};
}

static void start(qg_reply *r)
{
    qg_sse_init(&r->sse);
    qg_buf_init(&r->body, QG_MAX_REPLY_BODY);
    qg_buf_init(&r->room, QG_MAX_REPLY_BODY);
    qg_buf_init(&r->inner, QG_MAX_REPLY_BODY);
    qg_echo_init(&r->echo);
    qg_ending_init(&r->ending, r->opt.proto);
    r->marks = (qg_marks){NULL, 0, 0, -1};
    r->ended = r->saw_last = r->cut = r->frozen = r->spoiled = false;
    r->n_finished = r->kept = 0;
    r->hits_before = r->n_hits;
    r->text_left = r->ends_cr = false;
    r->last_lane = r->ask_from = 0;
    r->held = 0;
    r->fault = (qg_reply_fault){.set = false};
    r->state = (qg_reply_state){.http = 200, .event_stream = r->opt.stream, .sentence = ""};
}

/* Everything of one try. */
static void stop(qg_reply *r)
{
    qg_reply_drop_events(r);
    for (uint32_t i = 0; i < r->n_lanes; i++) {
        qg_lane_free(r->lanes[i]);
        qg_mfree(r->lanes[i]);
    }
    qg_mfree(r->lanes);
    r->lanes = NULL;
    r->n_lanes = r->lanes_cap = 0;
    qg_sse_free(&r->sse);
    qg_buf_free(&r->body);
    qg_buf_free(&r->room);
    qg_buf_free(&r->inner);
    qg_echo_free(&r->echo);
    qg_marks_free(&r->marks);
    qg_ending_free(&r->ending);
}

qg_status qg_reply_open(qg_reply **out, const qg_reply_options *opt, qg_err *err)
{
    *out = NULL;
    if (!opt->view)
        return qg_fail(err, QG_ERR_ARG, "a reply needs a policy view");
    qg_reply *r = qg_calloc(1, sizeof *r);
    if (!r)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    r->opt = *opt;
    r->view = *opt->view;
    r->env = (qg_lane_env){&r->view, opt->rules, qg_reply_on_hit, r};
    r->admitted = !opt->gated;
    qg_buf_init(&r->out, QG_MAX_REPLY_OUT);
    start(r);
    *out = r;
    return QG_OK;
}

void qg_reply_close(qg_reply *r)
{
    if (!r)
        return;
    stop(r);
    qg_buf_free(&r->out);
    qg_mfree(r);
}

/* ---- upstream -------------------------------------------------------------------------------- */

/* The sentence of a reading error, and what it means. */
static void unreadable(qg_reply *r, qg_status rc, const qg_err *err)
{
    if (rc == QG_ERR_NOMEM) {
        qg_reply_no_memory(r);
        return;
    }
    qg_reply_fail(r, QG_REPLY_MALFORMED, false, 502, "upstream_malformed", err->msg);
    qg_reply_end_lanes(r); /* what has come is all that comes */
}

/* In shadow mode the bytes go at once, whatever is found out about them. */
static bool pass_bytes(qg_reply *r, qg_slice bytes)
{
    if (!r->view.shadow)
        return true;
    if (qg_buf_add(&r->out, bytes.p, bytes.n) != QG_OK) {
        qg_reply_no_memory(r);
        return false;
    }
    return true;
}

static bool listening(const qg_reply *r)
{
    return !r->ended && !r->cut && !r->fault.set && !r->spoiled && !r->saw_last;
}

void qg_reply_feed(qg_reply *r, qg_slice bytes)
{
    qg_err err = {""};
    if (r->ended || r->state.abort_upstream || r->state.done)
        return;
    r->counts.bytes_in += bytes.n;
    if (!pass_bytes(r, bytes))
        return;
    if (!r->opt.stream) {
        qg_status rc = listening(r) ? qg_buf_add(&r->body, bytes.p, bytes.n) : QG_OK;
        if (rc == QG_ERR_TOO_LONG)
            qg_fail(&err, rc, "the reply has more than %u bytes", QG_MAX_REPLY_BODY);
        if (rc != QG_OK)
            unreadable(r, rc, &err);
        qg_reply_settle(r);
        return;
    }
    while (bytes.n > 0 && listening(r)) {
        qg_sse_event event;
        bool got;
        qg_status rc = qg_sse_next(&r->sse, &bytes, &event, &got, &err);
        if (rc != QG_OK)
            unreadable(r, rc, &err);
        else if (got)
            qg_reply_take_event(r, &event);
    }
    qg_reply_settle(r);
}

/* Some servers just close behind the last finish reason. */
static bool complete(const qg_reply *r)
{
    return r->saw_last || (r->opt.proto <= QG_PROTO_COMPLETIONS && r->n_finished > 0);
}

void qg_reply_end(qg_reply *r)
{
    qg_err err = {""};
    qg_sse_event event;
    bool got = false, torn = false;
    if (r->ended || r->spoiled)
        return;
    if (r->opt.stream && listening(r)) {
        qg_status rc = qg_sse_end(&r->sse, &event, &got, &torn, &err);
        if (rc != QG_OK)
            unreadable(r, rc, &err);
        else if (got)
            qg_reply_take_event(r, &event);
    } else if (listening(r)) {
        qg_reply_take_body(r);
    }
    r->ended = true;
    if (r->opt.stream && !r->cut && (torn || !complete(r)))
        qg_reply_fail(r, QG_REPLY_UPSTREAM, false, 502, "upstream_closed",
                      "The model's server closed the connection before its reply had ended.");
    qg_reply_end_lanes(r);
    qg_reply_settle(r);
}

void qg_reply_upstream_failed(qg_reply *r, int http, const char *code, const char *sentence)
{
    if (r->spoiled || r->state.done)
        return;
    qg_reply_fail(r, QG_REPLY_UPSTREAM, false, http, code, sentence);
    r->ended = true;
    qg_reply_end_lanes(r);
    qg_reply_settle(r);
}

/* ---- client ---------------------------------------------------------------------------------- */

void qg_reply_admit(qg_reply *r)
{
    r->admitted = true;
    qg_reply_settle(r);
}

qg_slice qg_reply_output(const qg_reply *r)
{
    if (!r->admitted || r->out.n == r->taken)
        return qg_slice_of("", 0);
    return qg_slice_of(r->out.p + r->taken, r->out.n - r->taken);
}

void qg_reply_took(qg_reply *r, size_t n)
{
    r->taken += n;
    r->counts.bytes_out += n;
    if (r->taken == r->out.n) {
        r->taken = r->out.n = 0;
        if (r->out.cap > 64u * 1024)
            qg_buf_free(&r->out);
    }
}

void qg_reply_retry(qg_reply *r)
{
    qg_reply_counts counts = r->counts;
    if (!r->state.retry)
        return;
    r->opt.request = qg_slice_of("", 0); /* the owner's is another now */
    stop(r);
    start(r);
    r->counts = counts;
}

void qg_reply_give_up(qg_reply *r)
{
    if (!r->state.retry)
        return;
    r->state.retry = r->opt.may_retry = false;
    qg_reply_settle(r);
}

/* ---- what happened --------------------------------------------------------------------------- */

const char *qg_reply_outcome_name(qg_reply_outcome outcome)
{
    static const char *const names[] = {"running",  "passed",    "cut",      "unjudged",
                                        "upstream", "malformed", "no_memory"};
    return names[outcome];
}

qg_reply_state qg_reply_state_of(const qg_reply *r)
{
    qg_reply_state s = r->state;
    s.started = r->admitted && (r->counts.bytes_out > 0 || r->out.n > r->taken);
    s.pause = r->held + (r->out.n - r->taken) > QG_REPLY_HELD_BYTES && !s.done;
    for (uint32_t i = 0; i < r->n_lanes && !s.judging && !r->spoiled; i++)
        s.judging = r->lanes[i]->busy;
    return s;
}

size_t qg_reply_hits(const qg_reply *r, const qg_reply_hit **hits)
{
    *hits = r->hits;
    return r->n_hits;
}

qg_reply_counts qg_reply_counts_of(const qg_reply *r)
{
    qg_reply_counts c = r->counts;
    c.lanes = r->n_lanes;
    c.held_bytes = r->held;
    for (uint32_t i = 0; i < r->n_lanes; i++) {
        const qg_lane *l = r->lanes[i];
        c.tokens += l->tokens;
        c.text_unjudged += l->n_unjudged;
        c.held_tokens += l->fresh ? 0 : l->n_tokens < QG_LANE_RING ? l->n_tokens : QG_LANE_RING - 1;
    }
    c.text_withheld = r->state.done && c.text_in > c.text_out ? c.text_in - c.text_out : 0;
    return c;
}

bool qg_reply_lane_of(const qg_reply *r, uint32_t lane, qg_reply_lane *out)
{
    if (lane >= r->n_lanes)
        return false;
    const qg_lane *l = r->lanes[lane];
    *out = (qg_reply_lane){.choice = l->choice,
                           .kind = l->kind,
                           .name = l->name,
                           .sent = qg_lane_total(l),
                           .judged = l->passed ? qg_lane_total(l) : l->model,
                           .released = l->released};
    return true;
}

void qg_reply_watch(qg_reply *r, qg_reply_watch_fn *fn, void *ud)
{
    r->watch = fn;
    r->watch_ud = ud;
}
