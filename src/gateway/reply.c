/* First body: the interface stands, everything passes unread.  The hold follows. */
#include "gateway/reply.h"

#include "base/limits.h"
#include "base/mem.h"

struct qg_reply {
    qg_reply_options opt;
    qg_policy_view view;
    qg_buf out;
    size_t taken;
    bool admitted;
    qg_reply_state state;
    qg_reply_counts counts;
};

void qg_reply_options_init(qg_reply_options *opt)
{
    *opt = (qg_reply_options){.size = sizeof *opt, .stream = true};
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
    r->admitted = !opt->gated;
    r->state = (qg_reply_state){.http = 200, .event_stream = opt->stream, .sentence = ""};
    qg_buf_init(&r->out, QG_MAX_TEXT_BYTES);
    *out = r;
    return QG_OK;
}

void qg_reply_close(qg_reply *reply)
{
    if (!reply)
        return;
    qg_buf_free(&reply->out);
    qg_mfree(reply);
}

void qg_reply_feed(qg_reply *reply, qg_slice bytes)
{
    reply->counts.bytes_in += bytes.n;
    if (qg_buf_add(&reply->out, bytes.p, bytes.n) != QG_OK)
        reply->state.outcome = QG_REPLY_NO_MEMORY;
    reply->state.started = reply->admitted;
}

void qg_reply_end(qg_reply *reply)
{
    reply->state.done = reply->admitted;
    reply->state.outcome = QG_REPLY_PASSED;
}

void qg_reply_upstream_failed(qg_reply *reply, int http, const char *code, const char *sentence)
{
    (void)code, (void)sentence;
    reply->state.http = reply->state.started ? reply->state.http : http;
    reply->state.outcome = QG_REPLY_UPSTREAM;
    reply->state.done = true;
}

bool qg_reply_ask_next(qg_reply *reply, qg_reply_ask *ask)
{
    (void)reply, (void)ask;
    return false;
}

void qg_reply_judged(qg_reply *reply, uint32_t lane, const qg_stream_result *result)
{
    (void)reply, (void)lane, (void)result;
}

void qg_reply_judge_failed(qg_reply *reply, uint32_t lane, qg_status status, const char *sentence)
{
    (void)reply, (void)lane, (void)status, (void)sentence;
}

void qg_reply_admit(qg_reply *reply)
{
    reply->admitted = true;
    reply->state.started = reply->out.n > 0;
    reply->state.done = reply->state.outcome != QG_REPLY_RUNNING;
}

qg_slice qg_reply_output(const qg_reply *reply)
{
    return reply->admitted ? qg_slice_of((reply->out.p ? reply->out.p : "") + reply->taken,
                                         reply->out.n - reply->taken)
                           : qg_slice_of("", 0);
}

void qg_reply_took(qg_reply *reply, size_t n)
{
    reply->taken += n;
    reply->counts.bytes_out += n;
    if (reply->taken == reply->out.n)
        reply->taken = reply->out.n = 0;
}

const char *qg_reply_outcome_name(qg_reply_outcome outcome)
{
    static const char *const names[] = {"running",  "passed",    "cut",      "unjudged",
                                        "upstream", "malformed", "no_memory"};
    return names[outcome];
}

qg_reply_state qg_reply_state_of(const qg_reply *reply)
{
    return reply->state;
}

void qg_reply_retry(qg_reply *reply)
{
    (void)reply;
}

void qg_reply_give_up(qg_reply *reply)
{
    (void)reply;
}

size_t qg_reply_hits(const qg_reply *reply, const qg_reply_hit **hits)
{
    (void)reply;
    *hits = NULL;
    return 0;
}

qg_reply_counts qg_reply_counts_of(const qg_reply *reply)
{
    return reply->counts;
}

bool qg_reply_lane_of(const qg_reply *reply, uint32_t lane, qg_reply_lane *out)
{
    (void)reply, (void)lane, (void)out;
    return false;
}

void qg_reply_watch(qg_reply *reply, qg_reply_watch_fn *fn, void *ud)
{
    (void)reply, (void)fn, (void)ud;
}
