/* Sessions of a request.  Each reads the conversation message by message, then the text of one lane
 * of the reply as the reply machine asks.  The first one begins with the request, so that it has
 * read the conversation when the first lane appears, and gives the prompt's verdict on its way. */
#include "gateway/gate.h"

#include "base/mem.h"

enum {
    INLINE_BYTES = 16 * 1024, /* encoding more takes a millisecond: the worker does it */
    RETRY_US = 20 * 1000,     /* the engine is full: again after so long */
    GRACE_US = 2000 * 1000,   /* the engine keeps the deadline; beyond that it is stuck */
    KEEP_BYTES = 4096,
};
#define NO_LANE UINT32_MAX

struct qg_hearing {
    qg_task task; /* first */
    qg_hearing *next;
    qg_relay *relay; /* the append under way has a reference */
    qg_session *session;
    uint32_t lane;
    size_t n_read; /* messages of the conversation */
    qg_buf text;   /* that the lane asked about */
    bool last, waits;
    bool for_prompt;  /* the first one, which judges the prompt where no Gen model does */
    bool fresh_again; /* the session was lost while it read, and begun anew */
    size_t window;    /* of the last message, when that is read in windows */
    bool was_cut;     /* once is enough */
    bool cutting;     /* the worker cuts it: */
    qg_long *cut;
    bool closed;      /* nobody wants it any more */
    qg_status failed; /* it cannot be used: what every ask is answered with, and err */
    /* the append under way */
    bool busy, of_text;
    qg_append append;
    int64_t deadline_us, retry_us;
    /* submitter and engine, then the back */
    atomic_int parts;
    atomic_bool done, submitted, gone;
    qg_status status;
    qg_stream_result *result;
    qg_err err;
};

static void step(qg_hearing *h);

/* ---- an append
 * ----------------------------------------------------------------------------------- */

static void end_part(qg_hearing *h, int n)
{
    qg_relay *r = h->relay;
    if (atomic_fetch_sub(&h->parts, n) != n)
        return;
    atomic_store(&h->done, true);
    qg_relay_post(r, QG_EVENT_HEARD);
    qg_relay_unref(r);
}

/* On the engine's thread. */
static void on_judged(void *ud, qg_status status, qg_stream_result *result, const qg_err *err)
{
    qg_hearing *h = ud;
    h->status = status;
    h->result = result;
    if (status != QG_OK && err)
        h->err = *err;
    end_part(h, 1);
}

static void submit_now(qg_hearing *h)
{
    qg_err err = {""};
    qg_status rc = atomic_load(&h->gone)
                       ? QG_ERR_CANCELLED
                       : qg_session_submit(h->session, &h->append, on_judged, h, &err);
    if (rc != QG_OK) {
        h->status = rc;
        h->err = err;
        end_part(h, 2);
        return;
    }
    atomic_store(&h->submitted, true);
    end_part(h, 1);
}

static void run_task(qg_task *task)
{
    submit_now((qg_hearing *)task);
}

static void submit(qg_hearing *h)
{
    h->status = QG_OK;
    h->result = NULL;
    h->err.msg[0] = 0;
    h->retry_us = 0;
    h->busy = true;
    atomic_store(&h->done, false);
    atomic_store(&h->submitted, false);
    atomic_store(&h->parts, 2);
    qg_relay_ref(h->relay);
    if (h->append.content.n <= INLINE_BYTES) {
        submit_now(h);
    } else {
        h->task.run = run_task;
        qg_worker_post(h->relay->gate->worker, &h->task);
    }
}

static void append(qg_hearing *h, const char *role, qg_slice text, bool end, bool of_text)
{
    const qg_relay *r = h->relay;
    int32_t ms = r->view.deadline_ms[of_text ? QG_PHASE_RESPONSE : QG_PHASE_PROMPT];
    ms = ms ? ms : r->gate->opt->judge_ms;
    qg_append_init(&h->append);
    h->append.role = role;
    h->append.content = (qg_text){text.p, text.n};
    h->append.end = end;
    h->deadline_us = h->append.deadline_us = qg_now_us() + (int64_t)ms * 1000;
    h->of_text = of_text;
    submit(h);
}

/* ---- a session
 * ------------------------------------------------------------------------------------ */

static void fail_hearing(qg_hearing *h, qg_status why, const char *sentence)
{
    h->failed = why;
    if (sentence != h->err.msg)
        qg_fail(&h->err, why, "%s", *sentence ? sentence : qg_status_name(why));
}

static void open_session(qg_hearing *h)
{
    const qg_relay *r = h->relay;
    qg_session_options opt;
    qg_session_options_init(&opt);
    opt.thresholds = &r->view.thresholds;
    h->failed = qg_session_open(&h->session, r->house->stream, &opt, &h->err);
}

static qg_hearing *open_hearing(qg_relay *r, uint32_t lane)
{
    qg_hearing *h = qg_calloc(1, sizeof *h);
    if (!h)
        return NULL;
    h->relay = r;
    h->lane = lane;
    qg_buf_init(&h->text, QG_MAX_TEXT_BYTES);
    h->window = r->heard_long ? r->heard_long->cut.n - 1 : 0;
    h->next = r->hearings;
    r->hearings = h;
    open_session(h);
    return h;
}

static void free_hearing(qg_hearing *h)
{
    qg_long_close(h->cut);
    qg_session_close(h->session);
    qg_stream_result_free(h->result);
    qg_buf_free(&h->text);
    qg_mfree(h);
}

/* While the worker has it, its session must not be closed under it: it then sees gone. */
static void close_hearing(qg_hearing *h)
{
    h->closed = true;
    h->retry_us = 0;
    atomic_store(&h->gone, true);
    if (h->busy && !atomic_load(&h->submitted))
        return;
    qg_session_close(h->session); /* an append under way ends early */
    h->session = NULL;
}

static void sweep(qg_relay *r)
{
    for (qg_hearing **at = &r->hearings; *at;) {
        qg_hearing *h = *at;
        if (h->closed && !h->busy) {
            *at = h->next;
            free_hearing(h);
        } else {
            at = &h->next;
        }
    }
}

/* ---- what is next
 * --------------------------------------------------------------------------------- */

static bool judges_prompt(const qg_hearing *h)
{
    const qg_relay *r = h->relay;
    return h->for_prompt && r->prompt == QG_PROMPT_WAITS && !qg_gate_gen(r->house);
}

/* ---- a conversation that is too long -----------------------------------------------------------
 */

/* Half of the context is left to the reply. */
static void run_cut(qg_task *task)
{
    qg_hearing *h = (qg_hearing *)task;
    const qg_relay *r = h->relay;
    if (atomic_load(&h->gone))
        h->status = QG_ERR_CANCELLED;
    else
        h->status = qg_long_open(&h->cut, r->house->stream, r->house->stream_info.max_model_len / 2,
                                 r->shown, r->n_shown, &h->err);
    end_part(h, 1);
}

static void cut(qg_hearing *h)
{
    h->busy = h->cutting = true;
    h->of_text = false;
    h->deadline_us = INT64_MAX / 2; /* the worker's time is its own */
    h->err.msg[0] = 0;
    atomic_store(&h->done, false);
    atomic_store(&h->submitted, false);
    atomic_store(&h->parts, 1);
    qg_relay_ref(h->relay);
    h->task.run = run_cut;
    qg_worker_post(h->relay->gate->worker, &h->task);
}

static void read_again(qg_hearing *h, size_t window)
{
    h->window = window;
    h->n_read = 0;
    qg_session_close(h->session);
    h->session = NULL;
    open_session(h);
}

/* The prompt is judged in every window; a reply goes on behind the last one. */
static size_t next_window(const qg_hearing *h, bool first)
{
    size_t last = h->relay->heard_long->cut.n - 1;
    return !judges_prompt(h) ? last : first ? 0 : h->window + 1;
}

static void heard_cut(qg_hearing *h)
{
    qg_relay *r = h->relay;
    h->cutting = false;
    if (h->status != QG_OK) {
        fail_hearing(h, h->status, h->err.msg);
        return;
    }
    if (!r->heard_long) {
        r->heard_long = h->cut;
        h->cut = NULL;
        qg_relay_count_long(r, r->heard_long);
    }
    read_again(h, next_window(h, true));
}

/* What message i says in this hearing. */
static qg_text said(const qg_hearing *h, size_t i)
{
    const qg_relay *r = h->relay;
    qg_text whole = r->shown[i].content;
    return r->heard_long && i + 1 == r->n_shown ? qg_long_text(r->heard_long, whole, h->window)
                                                : whole;
}

static void tell_failure(qg_hearing *h)
{
    qg_relay *r = h->relay;
    if (judges_prompt(h))
        qg_relay_prompt_failed(r, h->failed, h->err.msg);
    if (h->waits && !r->ended && r->reply) {
        h->waits = false;
        qg_relay_count_failure(r, QG_PHASE_RESPONSE, h->failed);
        qg_reply_judge_failed(r->reply, h->lane, h->failed, h->err.msg);
    }
}

/* Begins what can be begun. */
static void step(qg_hearing *h)
{
    const qg_relay *r = h->relay;
    if (h->busy || h->closed || h->retry_us)
        return;
    if (h->failed) {
        tell_failure(h);
    } else if (h->n_read < r->n_shown) {
        qg_text text = said(h, h->n_read);
        append(h, r->shown[h->n_read].role, qg_slice_of(text.p, text.n), true, false);
    } else if (h->waits) {
        append(h, "assistant", qg_buf_slice(&h->text), h->last, true);
    }
}

static const qg_token *last_token(const qg_stream_result *result)
{
    return result && result->n_tokens ? &result->tokens[result->n_tokens - 1] : NULL;
}

/* The prompt is judged at the end of the last message: a user's turn has one token there.  A reply
 * that the client has begun itself is judged like a reply: its first flagged token counts. */
static void judge_prompt(qg_hearing *h)
{
    qg_relay *r = h->relay;
    qg_prompt_verdict verdict;
    const qg_token *token = last_token(h->result);
    if (!judges_prompt(h) || h->n_read < r->n_shown)
        return;
    for (size_t i = 0; h->result && h->result->flagged && i < h->result->n_tokens; i++)
        if (h->result->tokens[i].flagged) {
            token = &h->result->tokens[i];
            break;
        }
    if (!token) {
        qg_relay_prompt_failed(r, QG_ERR_UNSUPPORTED, "The prompt has nothing to be judged at.");
        return;
    }
    qg_prompt_of_token(&r->view, token, &verdict);
    if (r->heard_long) {
        (void)qg_long_keep(r->heard_long, &verdict);
        if (h->window + 1 < r->heard_long->cut.n && !qg_long_decided(r->heard_long))
            return;
        verdict = r->heard_long->worst;
    }
    qg_relay_prompt(r, &verdict);
}

static void heard_context(qg_hearing *h)
{
    if (h->status == QG_OK) {
        h->n_read++;
        judge_prompt(h);
        if (h->relay->heard_long && h->n_read == h->relay->n_shown && !h->relay->ended &&
            h->window + 1 < h->relay->heard_long->cut.n)
            read_again(h, next_window(h, false));
    } else if (h->status == QG_ERR_GONE && !h->fresh_again) {
        h->fresh_again = true;
        h->n_read = 0;
        qg_session_close(h->session);
        h->session = NULL;
        open_session(h);
    } else if (h->status == QG_ERR_TOO_LONG && h->relay->view.long_input_windows && !h->was_cut) {
        h->was_cut = true;
        if (h->relay->heard_long)
            read_again(h, next_window(h, true));
        else
            cut(h);
    } else {
        fail_hearing(h, h->status, h->err.msg);
    }
}

static void heard_text(qg_hearing *h)
{
    qg_relay *r = h->relay;
    h->waits = false;
    if (h->text.cap > KEEP_BYTES)
        qg_buf_free(&h->text);
    if (!r->reply)
        return;
    if (h->status == QG_OK) {
        qg_reply_judged(r->reply, h->lane, h->result);
        return;
    }
    if (h->status != QG_ERR_GONE) /* which the reply machine asks again */
        qg_relay_count_failure(r, QG_PHASE_RESPONSE, h->status);
    qg_reply_judge_failed(r->reply, h->lane, h->status, h->err.msg);
}

static void heard(qg_hearing *h)
{
    qg_gate *g = h->relay->gate;
    int64_t now = qg_now_us();
    h->busy = false;
    if (h->closed || h->relay->ended)
        return;
    if (h->status == QG_ERR_BUSY && now + RETRY_US < h->deadline_us) {
        h->retry_us = now + RETRY_US;
        pthread_mutex_lock(&g->desk);
        g->counts.judge_retries++;
        pthread_mutex_unlock(&g->desk);
        return;
    }
    if (h->of_text)
        heard_text(h);
    else if (h->cutting)
        heard_cut(h);
    else
        heard_context(h);
    qg_stream_result_free(h->result);
    h->result = NULL;
    if (!h->relay->ended && !h->closed)
        step(h);
}

void qg_relay_heard(qg_relay *r)
{
    for (qg_hearing *h = r->hearings, *next; h; h = next) {
        next = h->next; /* hearings are added in front, and freed by sweep alone */
        if (h->busy && atomic_load(&h->done))
            heard(h);
    }
    if (r->ended)
        qg_relay_hearings_end(r);
    else
        qg_relay_pump(r);
    sweep(r);
}

/* ---- the owner's part
 * ------------------------------------------------------------------------------ */

void qg_relay_hear(qg_relay *r)
{
    r->base = open_hearing(r, NO_LANE);
    if (r->base)
        r->base->for_prompt = true;
    if (r->base)
        step(r->base);
    else
        qg_relay_prompt_failed(r, QG_ERR_NOMEM, "Out of memory.");
}

static qg_hearing *hearing_of(qg_relay *r, uint32_t lane)
{
    for (qg_hearing *h = r->hearings; h; h = h->next)
        if (h->lane == lane && !h->closed)
            return h;
    return NULL;
}

static qg_hearing *fresh_hearing(qg_relay *r, uint32_t lane)
{
    qg_hearing *old = hearing_of(r, lane), *base = r->base;
    if (old)
        close_hearing(old);
    r->base = NULL;
    if (base && !base->failed) {
        base->lane = lane;
        return base;
    }
    pthread_mutex_lock(&r->gate->desk);
    r->gate->counts.rebuilt += old != NULL;
    pthread_mutex_unlock(&r->gate->desk);
    return open_hearing(r, lane);
}

void qg_relay_ask(qg_relay *r, const qg_reply_ask *ask)
{
    qg_hearing *h = ask->fresh ? fresh_hearing(r, ask->lane) : hearing_of(r, ask->lane);
    qg_status rc = h ? QG_OK : QG_ERR_NOMEM;
    if (h) {
        h->text.n = 0;
        rc = qg_buf_add(&h->text, ask->text.p, ask->text.n);
    }
    if (rc != QG_OK) {
        qg_relay_count_failure(r, QG_PHASE_RESPONSE, rc);
        qg_reply_judge_failed(r->reply, ask->lane, rc, NULL);
        return;
    }
    h->last = ask->last;
    h->waits = true;
    step(h);
}

/* The engine keeps deadlines itself; one that is stuck does not. */
static void give_up(qg_hearing *h)
{
    qg_relay *r = h->relay;
    bool waits = h->waits;
    uint32_t lane = h->lane;
    static const char sentence[] = "the judge does not answer"; /* err is still the engine's */
    h->failed = QG_ERR_DEADLINE;
    h->waits = false;
    if (judges_prompt(h))
        qg_relay_prompt_failed(r, QG_ERR_DEADLINE, sentence);
    close_hearing(h);
    if (r->base == h)
        r->base = NULL;
    if (!waits || !r->reply || r->ended)
        return;
    qg_relay_count_failure(r, QG_PHASE_RESPONSE, QG_ERR_DEADLINE);
    qg_reply_judge_failed(r->reply, lane, QG_ERR_DEADLINE, sentence);
}

void qg_relay_hearings_tick(qg_relay *r, int64_t now)
{
    bool moved = false;
    for (qg_hearing *h = r->hearings; h && !r->ended; h = h->next) {
        if (h->retry_us && h->retry_us <= now && !h->busy && !h->closed) {
            submit(h);
        } else if (h->busy && !h->closed && now > h->deadline_us + GRACE_US) {
            give_up(h);
            moved = true;
        }
    }
    if (moved && !r->ended)
        qg_relay_pump(r);
}

void qg_relay_hearings_end(qg_relay *r)
{
    r->base = NULL;
    for (qg_hearing *h = r->hearings; h; h = h->next)
        if (!h->closed)
            close_hearing(h);
        else if (!h->busy && h->session) {
            qg_session_close(h->session);
            h->session = NULL;
        }
}

void qg_relay_hearings_free(qg_relay *r)
{
    for (qg_hearing *h = r->hearings, *next; h; h = next) {
        next = h->next;
        free_hearing(h);
    }
}
