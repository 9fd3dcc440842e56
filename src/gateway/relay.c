/* A request on the back: what happens when, from its parsed body to its last byte. */
#include "gateway/gate.h"

#include "base/mem.h"

enum {
    UNSENT_HIGH = 64 * 1024, /* bytes the client has not taken: the upstream is paused */
    UNSENT_LOW = 16 * 1024,
    LONGEST_OUT = 96 * 1024 * 1024, /* an answer in one piece; beyond QG_MAX_TEXT_BYTES */
};

/* ---- references and events ---------------------------------------------------------------------
 */

static void dispose(qg_relay *r)
{
    qg_relay_hearings_free(r);
    qg_reply_close(r->reply);
    qg_asked_close(r->asked);
    qg_result_free(r->gen_result);
    if (atomic_load(&r->gen_job) && !r->gen_long)
        qg_job_release(atomic_load(&r->gen_job));
    qg_long_close(r->gen_long);
    qg_long_close(r->heard_long);
    qg_policy_unref(r->policy);
    qg_upstreams_unref(r->upstreams);
    qg_buf_free(&r->out);
    pthread_mutex_destroy(&r->lock);
    for (size_t i = 0; i < r->n_headers; i++)
        qg_mfree(r->headers[i].value);
    json_decref(r->live.sent);
    json_decref(r->live.released);
    qg_mfree(r->query);
    qg_mfree(r->shown);
    qg_mfree(r->body);
    qg_house_unref(r->house);
    qg_mfree(r);
}

void qg_relay_ref(qg_relay *r)
{
    atomic_fetch_add(&r->refs, 1);
}

void qg_relay_unref(qg_relay *r)
{
    if (atomic_fetch_sub(&r->refs, 1) == 1)
        dispose(r);
}

void qg_relay_post(qg_relay *r, unsigned events)
{
    atomic_fetch_or(&r->events, events);
    if (atomic_exchange(&r->posted, true))
        return;
    qg_relay_ref(r);
    qg_client_post(r->gate->client, &r->note);
}

/* ---- bytes for the client ----------------------------------------------------------------------
 */

static void break_off(qg_relay *r)
{
    pthread_mutex_lock(&r->lock);
    r->out_broken = true;
    pthread_mutex_unlock(&r->lock);
    qg_relay_end(r, QG_GATE_FAILED);
}

bool qg_relay_put(qg_relay *r, int http, bool stream, qg_slice bytes)
{
    pthread_mutex_lock(&r->lock);
    bool first = !r->head_set;
    if (first) {
        r->http = http;
        r->stream = stream;
        qg_buf_init(&r->out, LONGEST_OUT);
        r->head_set = true;
    }
    bool fits = qg_buf_add(&r->out, bytes.p, bytes.n) == QG_OK;
    bool wake = r->stream && (first || r->out.n == bytes.n);
    pthread_mutex_unlock(&r->lock);
    atomic_fetch_add(&r->unsent, bytes.n);
    if (!fits)
        break_off(r);
    else if (wake) /* else it was woken for what lies there, or waits for the whole */
        qg_http_chan_wake(r->chan);
    return fits;
}

/* ---- the end ------------------------------------------------------------------------------------
 */

static void delist(qg_relay *r)
{
    if (!r->listed)
        return;
    if (r->prev)
        r->prev->next = r->next;
    else
        r->gate->relays = r->next;
    if (r->next)
        r->next->prev = r->prev;
    r->listed = false;
}

void qg_relay_end(qg_relay *r, qg_gate_outcome outcome)
{
    if (r->ended)
        return;
    r->ended = true;
    r->outcome = outcome;
    if (outcome == QG_GATE_PASSED)
        r->attempt =
            NULL; /* its last bytes may be on their way, and the connection be used again */
    qg_relay_hang_up(r);
    qg_relay_hearings_end(r);
    qg_relay_gen_cancel(r);
    qg_relay_record(r);
    qg_relay_live_end(r);
    delist(r);
    /* The last wake-up, under the lock: once the front sees back_ended (maybe told by an earlier
     * one) it may give the channel back. */
    pthread_mutex_lock(&r->lock);
    r->out_ended = r->back_ended = true;
    qg_http_chan_wake(r->chan);
    pthread_mutex_unlock(&r->lock);
    qg_relay_unref(r);
}

void qg_relay_fail(qg_relay *r, qg_gate_outcome outcome, int http, const char *code,
                   const char *sentence)
{
    qg_buf body;
    qg_buf_init(&body, QG_MAX_CHAN_OUT_BYTES);
    bool made = qg_wire_error(r->proto, http, code, sentence, NULL, &body) == QG_OK;
    if (!r->ended && made && qg_relay_put(r, http, false, qg_buf_slice(&body)))
        qg_relay_end(r, outcome);
    else if (!r->ended)
        break_off(r);
    qg_buf_free(&body);
}

/* ---- the prompt
 * ---------------------------------------------------------------------------------- */

static void admit(qg_relay *r)
{
    r->prompt = QG_PROMPT_PASSED;
    if (r->reply) {
        qg_reply_admit(r->reply);
        qg_relay_pump(r);
    } else if (!r->attempt) {
        (void)qg_relay_call(r);
    }
}

/* What a blocked prompt is answered with: an error, or a reply as the model would give it. */
static qg_status blocked_body(const qg_relay *r, const qg_wire_note *note, qg_buf *body)
{
    const qg_wire_blocked b = {.model = r->asked->model,
                               .id = qg_str(r->id),
                               .created = r->start_us / 1000000 + r->gate->created,
                               .message = r->view.message,
                               .note = note};
    if (r->view.prompt_block_message)
        return qg_wire_blocked_reply(r->proto, r->asked->stream, &b, body);
    return qg_wire_error(r->proto, 400, "content_filter", r->view.message, note, body);
}

static void block(qg_relay *r, const qg_prompt_verdict *v)
{
    bool message = r->view.prompt_block_message;
    const qg_wire_note note = {.severity = v->severity,
                               .category = v->category,
                               .p = v->p_severity[v->severity],
                               .filtered = true};
    qg_buf body;
    qg_buf_init(&body, QG_MAX_CHAN_OUT_BYTES);
    r->prompt = QG_PROMPT_ENDED;
    qg_relay_hang_up(r);
    if (blocked_body(r, &note, &body) != QG_OK)
        break_off(r);
    else if (qg_relay_put(r, message ? 200 : 400, message && r->asked->stream, qg_buf_slice(&body)))
        qg_relay_end(r, QG_GATE_BLOCKED);
    qg_buf_free(&body);
}

void qg_relay_prompt(qg_relay *r, const qg_prompt_verdict *said)
{
    qg_prompt_verdict *v = &r->verdict;
    if (r->ended || r->prompt != QG_PROMPT_WAITS)
        return;
    *v = *said;
    qg_prompt_add_rule(r, v);
    r->judged = true;
    qg_relay_live_prompt(r);
    pthread_mutex_lock(&r->gate->desk);
    qg_histogram_add(&r->gate->counts.prompt, (double)(qg_now_us() - r->start_us) / 1e6);
    pthread_mutex_unlock(&r->gate->desk);
    if (v->hit && v->action == QG_ACTION_BLOCK && !r->view.shadow)
        block(r, v);
    else
        admit(r);
}

/* The status that goes with a prompt that could not be judged. */
static int http_of(qg_status why)
{
    switch (why) {
    case QG_ERR_BUSY:
        return 429;
    case QG_ERR_DEADLINE:
        return 504;
    case QG_ERR_ARG:
    case QG_ERR_FORMAT:
    case QG_ERR_TOO_LONG:
    case QG_ERR_TEMPLATE:
    case QG_ERR_UNSUPPORTED:
        return 400;
    default:
        return 503;
    }
}

void qg_relay_prompt_failed(qg_relay *r, qg_status why, const char *sentence)
{
    const char *code = why == QG_ERR_TOO_LONG ? "context_length_exceeded" : "judge_unavailable";
    if (r->ended || r->prompt != QG_PROMPT_WAITS)
        return;
    qg_relay_count_failure(r, QG_PHASE_PROMPT, why);
    if (r->view.open[QG_PHASE_PROMPT] || r->view.shadow) {
        admit(r);
        return;
    }
    r->prompt = QG_PROMPT_ENDED;
    qg_relay_hang_up(r);
    qg_relay_fail(r, QG_GATE_UNJUDGED, http_of(why), code, sentence);
}

/* ---- the reply
 * ------------------------------------------------------------------------------------ */

static qg_gate_outcome outcome_of(const qg_reply_state *s)
{
    switch (s->outcome) {
    case QG_REPLY_PASSED:
        return QG_GATE_PASSED;
    case QG_REPLY_CUT:
        return QG_GATE_CUT;
    case QG_REPLY_UNJUDGED:
        return QG_GATE_UNJUDGED;
    case QG_REPLY_UPSTREAM:
        return QG_GATE_UPSTREAM;
    default:
        return QG_GATE_FAILED;
    }
}

/* Waiting for the verdict of text that came in at that time; when many pieces come at once only
 * the oldest are kept. */
static void mark_in(qg_relay *r, const qg_reply_counts *c, int64_t now)
{
    uint64_t known =
        r->n_marks ? r->marks[(r->mark_first + r->n_marks - 1) % QG_RELAY_MARKS].text : c->text_out;
    if (c->text_in > known && r->n_marks < QG_RELAY_MARKS)
        r->marks[(r->mark_first + r->n_marks++) % QG_RELAY_MARKS] =
            (qg_relay_mark){c->text_in, now};
}

static void mark_out(qg_relay *r, const qg_reply_counts *c, int64_t now)
{
    qg_gate *g = r->gate;
    pthread_mutex_lock(&g->desk);
    while (r->n_marks && r->marks[r->mark_first].text <= c->text_out) {
        double s = (double)(now - r->marks[r->mark_first].us) / 1e6;
        qg_histogram_add(r->first_out ? &g->counts.token : &g->counts.first, s);
        r->first_out = true;
        r->mark_first = (r->mark_first + 1) % QG_RELAY_MARKS;
        r->n_marks--;
    }
    g->counts.held_tokens += (int64_t)c->held_tokens - r->shown_held_tokens;
    g->counts.held_bytes += (int64_t)c->held_bytes - r->shown_held_bytes;
    r->shown_held_tokens = (int64_t)c->held_tokens;
    r->shown_held_bytes = (int64_t)c->held_bytes;
    pthread_mutex_unlock(&g->desk);
}

static void throttle(qg_relay *r, bool reply_full)
{
    size_t unsent = atomic_load(&r->unsent);
    bool full = atomic_load(&r->throttled) ? unsent > UNSENT_LOW : unsent > UNSENT_HIGH;
    atomic_store(&r->throttled, full && r->stream);
    qg_relay_pause(r, reply_full || (full && r->stream));
}

/* Another try, with a word to the model; false: it cannot be made. */
static bool regenerate(qg_relay *r)
{
    static const char word[] = "Your last answer to this was withheld by a safety filter. Answer "
                               "again, safely, or decline.";
    qg_buf body;
    qg_err err;
    if (r->n_regenerated >= r->view.regenerate)
        return false;
    qg_buf_init(&body, 2 * r->n_body + sizeof word + 4096);
    if (qg_asked_instruct(r->proto, qg_slice_of(r->body, r->n_body),
                          qg_slice_of(word, sizeof word - 1), &body, &err) != QG_OK) {
        qg_buf_free(&body);
        return false;
    }
    if (r->n_regenerated == 0) { /* one instruction is enough, however often it is asked again */
        qg_mfree(r->body);
        r->n_body = body.n;
        r->body = qg_buf_take(&body);
    }
    qg_buf_free(&body);
    r->n_regenerated++;
    r->tried = 0;
    r->fed = false;
    qg_relay_hang_up(r);
    qg_relay_live_again(r);
    qg_reply_retry(r->reply);
    pthread_mutex_lock(&r->gate->desk);
    r->gate->counts.regenerated++;
    pthread_mutex_unlock(&r->gate->desk);
    return qg_relay_call(r);
}

/* The status of the answer: the upstream's own where its error body has passed. */
static int status_of(const qg_relay *r, const qg_reply_state *s)
{
    return r->upstream_status >= 400 && s->http < 500 ? r->upstream_status : s->http;
}

static bool send_output(qg_relay *r, const qg_reply_state *s)
{
    qg_slice bytes = qg_reply_output(r->reply);
    bool nothing =
        s->done && r->view.shadow && !r->head_set; /* what has no body is passed on, too */
    if (!bytes.n && !nothing)
        return true;
    if (!qg_relay_put(r, status_of(r, s), s->event_stream, bytes))
        return false;
    r->spoke_us = qg_now_us();
    qg_reply_took(r->reply, bytes.n);
    return true;
}

/* The client has its answer, the judge still has text of it. */
static void replied(qg_relay *r)
{
    if (r->replied)
        return;
    r->replied = true;
    pthread_mutex_lock(&r->lock);
    r->out_ended = true;
    pthread_mutex_unlock(&r->lock);
    qg_http_chan_wake(r->chan);
}

void qg_relay_pump(qg_relay *r)
{
    qg_reply_ask ask;
    if (r->ended || !r->reply)
        return;
    while (qg_reply_ask_next(r->reply, &ask))
        qg_relay_ask(r, &ask);
    qg_reply_state s = qg_reply_state_of(r->reply);
    if (s.retry) {
        if (!regenerate(r) && !r->ended) {
            qg_reply_give_up(r->reply);
            qg_relay_pump(r);
        }
        return;
    }
    if (!send_output(r, &s))
        return;
    qg_relay_live_flush(r);
    qg_reply_counts c = qg_reply_counts_of(r->reply);
    int64_t now = qg_now_us();
    mark_in(r, &c, now);
    mark_out(r, &c, now);
    if (s.abort_upstream)
        qg_relay_hang_up(r);
    if (s.done && s.judging && r->view.shadow)
        replied(r);
    else if (s.done)
        qg_relay_end(r, outcome_of(&s));
    else
        throttle(r, s.pause);
}

/* ---- events
 * -------------------------------------------------------------------------------------- */

static void start(qg_relay *r)
{
    qg_gate *g = r->gate;
    r->begun = r->listed = true;
    r->upstreams = qg_gate_upstreams(g);
    r->next = g->relays;
    if (g->relays)
        g->relays->prev = r;
    g->relays = r;
    pthread_mutex_lock(&g->desk);
    g->counts.relays[r->proto]++;
    g->counts.streams++;
    pthread_mutex_unlock(&g->desk);
    qg_relay_live_begin(r);
    if (r->gone)
        qg_relay_end(r, QG_GATE_GONE);
    else if (g->stopping)
        qg_relay_fail(r, QG_GATE_FAILED, 503, "unavailable", "The gateway is shutting down.");
    else if (r->read_rc != QG_OK)
        qg_relay_fail(r, QG_GATE_REFUSED, r->read_rc == QG_ERR_NOMEM ? 503 : 400, "invalid_request",
                      r->err.msg);
    else if (!qg_upstreams_has(r->upstreams, r->asked->model))
        qg_relay_fail(r, QG_GATE_REFUSED, 404, "model_not_found",
                      "No upstream of this gateway has the model.");
    else
        qg_relay_judge_prompt(r);
    if (!r->ended && r->prompt == QG_PROMPT_WAITS && r->view.judge_prompt == QG_PROMPT_BESIDE)
        (void)qg_relay_call(r);
}

static void run_note(qg_client_note *note)
{
    qg_relay *r = (qg_relay *)note;
    atomic_store(&r->posted, false);
    unsigned events = atomic_exchange(&r->events, 0);
    r->gone = r->gone || (events & QG_EVENT_GONE);
    if (events & QG_EVENT_START)
        start(r);
    if (r->gone && r->begun && !r->replied)
        qg_relay_end(r, QG_GATE_GONE);
    if (events & QG_EVENT_GEN)
        qg_relay_gen_done(r);
    if (events & QG_EVENT_HEARD)
        qg_relay_heard(r);
    if (events & QG_EVENT_DRAINED)
        qg_relay_pump(r);
    qg_relay_unref(r);
}

/* Proxies and clients give up on a connection that is silent for long. */
static void keep_alive(qg_relay *r, int64_t now)
{
    int64_t us = (int64_t)r->gate->opt->keep_alive_ms * 1000;
    if (!us || now - r->spoke_us < us || atomic_load(&r->unsent))
        return;
    r->spoke_us = now;
    if (qg_reply_keep_alive(r->reply))
        qg_relay_pump(r);
}

void qg_relay_tick(qg_relay *r, int64_t now)
{
    enum {
        GRACE_US = 2000 * 1000
    }; /* the engine keeps deadlines itself; one that is stuck does not */
    if (r->gen_due_us && r->prompt == QG_PROMPT_WAITS && now > r->gen_due_us + GRACE_US)
        qg_relay_prompt_failed(r, QG_ERR_DEADLINE, "The judge does not answer.");
    if (!r->ended)
        qg_relay_hearings_tick(r, now);
    if (!r->ended && !r->replied && r->reply)
        keep_alive(r, now);
}

void qg_relay_init(qg_relay *r)
{
    r->note.run = run_note;
    pthread_mutex_init(&r->lock, NULL);
    atomic_init(&r->refs, 2); /* the front's, the back's */
}
