#include "serve/talk.h"

#include "base/limits.h"
#include "base/mem.h"

#include <stdio.h>

enum { CLOSE_OK = 1000, CLOSE_AWAY = 1001, CLOSE_POLICY = 1008, CLOSE_INTERNAL = 1011 };

static void destroy(qg_talk *t)
{
    qg_stream_op_end(&t->op);
    qg_stream_op_close(&t->op);
    qg_stream_result_free(t->result);
    qg_stream_ask_free(&t->ask);
    qg_buf_free(&t->in);
    if (t->chan)
        qg_http_chan_free(t->chan);
    if (t->format->free)
        t->format->free(t);
    qg_mfree(t);
}

/* ---- out ------------------------------------------------------------------------------------- */

static void start(qg_talk *t)
{
    qg_http_answer answer;
    if (qg_http_chan_started(t->chan))
        return;
    qg_http_answer_init(&answer, 200);
    answer.type = t->format->type;
    qg_http_answer_header(&answer, "Cache-Control", "no-cache");
    qg_http_answer_header(&answer, "X-Accel-Buffering", "no"); /* nginx: pass it on at once */
    qg_http_chan_start(t->chan, &answer);
}

void qg_talk_write(qg_talk *t, const char *before, const char *line, size_t n, const char *after)
{
    qg_buf whole;
    start(t);
    qg_buf_init(&whole, QG_MAX_CHAN_OUT_BYTES);
    /* A write that fails breaks the channel off itself. */
    if (qg_buf_adds(&whole, before) == QG_OK && qg_buf_add(&whole, line, n) == QG_OK &&
        qg_buf_adds(&whole, after) == QG_OK)
        (void)qg_http_chan_write(t->chan, whole.p, whole.n);
    else
        qg_http_chan_finish(t->chan, CLOSE_INTERNAL);
    qg_buf_free(&whole);
}

void qg_talk_json(qg_talk *t, json_t *value)
{
    char *line = value ? qg_json_dump_digits(value, 9) : NULL;
    json_decref(value);
    if (line)
        t->format->put(t, line, strlen(line));
    else
        qg_http_chan_finish(t->chan, CLOSE_INTERNAL);
    qg_mfree(line);
}

static int close_code(int status)
{
    return status == 503 ? CLOSE_AWAY : status >= 500 ? CLOSE_INTERNAL : CLOSE_POLICY;
}

static void fail(qg_talk *t, const qg_serve_error *error)
{
    t->failed = true;
    if (t->format->plain_errors && !qg_http_chan_started(t->chan)) {
        qg_http_answer answer;
        qg_http_answer_init(&answer, error->status);
        qg_serve_error_fill(&answer, error);
        qg_http_chan_refuse(t->chan, &answer);
        return;
    }
    t->format->fail(t, error);
    qg_http_chan_finish(t->chan, close_code(error->status));
}

static void fail_status(qg_talk *t, qg_status rc, const qg_err *err)
{
    qg_serve_room room;
    qg_serve_error error = qg_serve_error_of(t->op.srv, rc, err, &room);
    fail(t, &error);
}

static void fail_line(qg_talk *t, qg_status rc, qg_err *err)
{
    fail_status(t, rc, (qg_fail_prefix(err, rc, "line %lld", (long long)t->n_lines), err));
}

/* ---- in -------------------------------------------------------------------------------------- */

/* The next line without its end; false when there is none yet.  What stands behind the last line
 * break counts once nothing more comes. */
static bool next_line(qg_talk *t, qg_slice *line)
{
    const char *p = qg_buf_slice(&t->in).p + t->at;
    size_t n = t->in.n - t->at;
    const char *end = n > t->scanned ? memchr(p + t->scanned, '\n', n - t->scanned) : NULL;
    t->scanned = end ? 0 : n;
    if (!end && (!t->ended || n == 0))
        return false;
    size_t used = end ? (size_t)(end - p) + 1 : n;
    *line = qg_slice_of(p, end ? used - 1 : n);
    t->at += used;
    t->scanned = 0;
    return true;
}

static bool blank(qg_slice line)
{
    for (size_t i = 0; i < line.n; i++)
        if (line.p[i] != ' ' && line.p[i] != '\t' && line.p[i] != '\r')
            return false;
    return true;
}

/* What was taken makes room: once for each piece that comes, however many lines it has. */
static void compact(qg_talk *t)
{
    if (!t->at)
        return;
    memmove(t->in.p, t->in.p + t->at, t->in.n - t->at);
    t->in.n -= t->at;
    t->at = 0;
}

static bool submit_next(qg_talk *t)
{
    if (t->next == t->ask.n)
        return false;
    t->op.rollback = t->next ? -1 : t->ask.rollback;
    t->op.append = t->ask.appends[t->next++];
    t->busy = true;
    qg_stream_op_run(&t->op);
    return true;
}

/* The end of the body ends the open turn: its provisional tail is judged for good. */
static bool submit_end(qg_talk *t)
{
    if (!t->open)
        return false;
    qg_append_init(&t->op.append);
    t->op.append.end = true;
    t->op.rollback = -1;
    t->busy = true;
    qg_stream_op_run(&t->op);
    return true;
}

static qg_status read_line(qg_talk *t, qg_slice line, qg_err *err)
{
    qg_stream_ask_free(&t->ask);
    t->next = 0;
    QG_TRY(t->format->read(t, line, err));
    if (t->ask.role)
        t->role = t->ask.role;
    if (!t->first)
        return QG_OK;
    t->first = false;
    return qg_stream_op_open(&t->op, t->op.srv, t->ask.has_thresholds ? &t->ask.thresholds : NULL,
                             err);
}

/* Takes lines until one of them has to be judged. */
static void take_lines(qg_talk *t)
{
    qg_slice line;
    qg_err err = {""};
    while (!t->busy && !t->failed && !t->empty && next_line(t, &line)) {
        t->n_lines++;
        if (blank(line))
            continue;
        qg_status rc = read_line(t, line, &err);
        if (rc == QG_OK && t->ask.model.n && !qg_serve_knows_stream(t->op.srv, t->ask.model)) {
            qg_serve_room room;
            qg_serve_error error = qg_serve_error_of_model(t->ask.model, &room);
            fail(t, &error);
        } else if (rc != QG_OK) {
            fail_line(t, rc, &err);
        } else if (!submit_next(t)) {
            t->empty = t->ask.empty;
        }
    }
    if (t->at == t->in.n) {
        qg_buf_free(&t->in);
        t->at = 0;
    }
}

static void finish(qg_talk *t)
{
    if (t->first && !t->stopping) {
        fail(t, &(qg_serve_error){.status = 400,
                                  .type = qg_serve_error_type(400),
                                  .message = "There is no line to judge."});
        return;
    }
    t->finished = true;
    start(t);
    if (t->format->finish)
        t->format->finish(t);
    qg_http_chan_finish(t->chan, t->stopping ? CLOSE_AWAY : CLOSE_OK);
}

/* Whatever can be done next is begun. */
static void step(qg_talk *t)
{
    if (t->gone || t->busy || t->result || t->empty || t->failed || t->finished)
        return;
    if (!submit_next(t))
        take_lines(t);
    if (!t->busy && !t->failed && !t->empty && t->ended && (t->stopping || !submit_end(t)))
        finish(t);
    qg_http_chan_pause(t->chan, t->busy || t->empty || t->failed || t->finished);
}

/* ---- events ---------------------------------------------------------------------------------- */

static void on_data(void *ud, const char *p, size_t n)
{
    qg_talk *t = ud;
    if (t->failed || t->finished)
        return;
    compact(t);
    qg_status rc = qg_buf_add(&t->in, p, n);
    /* The ceiling holds a line and what the library may still hand out behind it. */
    if (rc != QG_OK || (t->in.n - t->at > QG_MAX_STREAM_LINE &&
                        !memchr(t->in.p + t->at, '\n', QG_MAX_STREAM_LINE))) {
        qg_err err;
        t->n_lines++;
        if (rc == QG_ERR_NOMEM)
            qg_fail(&err, rc, "out of memory");
        else
            rc = qg_fail(&err, QG_ERR_ARG, "longer than %u bytes; send the text in pieces",
                         QG_MAX_STREAM_LINE);
        fail_line(t, rc, &err);
        qg_http_chan_pause(t->chan, true);
        return;
    }
    step(t);
}

/* A message is one line, whatever line breaks stand between its tokens. */
static void on_message(void *ud, const char *p, size_t n)
{
    qg_talk *t = ud;
    if (t->failed || t->finished)
        return;
    compact(t);
    size_t before = t->in.n;
    if (qg_buf_add(&t->in, p, n) != QG_OK || qg_buf_adds(&t->in, "\n") != QG_OK) {
        qg_http_chan_finish(t->chan, CLOSE_INTERNAL);
        t->failed = true;
        return;
    }
    for (char *c = t->in.p + before; c < t->in.p + before + n; c++)
        if (*c == '\n')
            *c = ' ';
    step(t);
}

static void on_end(void *ud, qg_http_chan_end why)
{
    qg_talk *t = ud;
    t->ended = true;
    t->stopping = why == QG_HTTP_STOPPING;
    if (why == QG_HTTP_TOO_IDLE && !t->failed && !t->finished)
        fail(t, &(qg_serve_error){.status = 408,
                                  .type = qg_serve_error_type(408),
                                  .code = "idle",
                                  .message = "Nothing came for too long."});
    else if (t->stopping && t->body && !t->failed && !t->finished)
        fail(t, &(qg_serve_error){.status = 503,
                                  .type = qg_serve_error_type(503),
                                  .code = "stopping",
                                  .message = "The server is stopping."});
    else
        step(t);
}

static bool on_more(void *ud)
{
    qg_talk *t = ud;
    const qg_stream_result *r = t->empty ? &t->last : t->result;
    if (!r || t->failed || t->finished)
        return false;
    if (t->format->show(t, r, t->step++))
        return true;
    t->last = *r;
    t->last.n_tokens = 0;
    t->last.tokens = NULL;
    t->said.ended_news = t->said.now_news = false;
    t->empty = false;
    qg_stream_result_free(t->result);
    t->result = NULL;
    t->step = 0;
    step(t);
    return true;
}

/* For the metrics page and the audit log, whether or not anybody still wants to know. */
static void note(qg_talk *t)
{
    qg_stream_op *op = &t->op;
    if (op->rolled)
        qg_stream_record_rollback(&op->record, op->rollback);
    t->said = op->rules.said;
    if (op->status == QG_OK)
        qg_stream_record_result(&op->record, &op->append, op->result, &t->said);
    else
        qg_stream_record_failure(&op->record, op->append.role, op->status);
}

static void on_woken(void *ud)
{
    qg_talk *t = ud;
    if (!t->busy)
        return;
    t->busy = false;
    note(t);
    t->result = t->op.result;
    t->op.result = NULL;
    if (t->gone) {
        destroy(t);
    } else if (t->failed) {
        return;
    } else if (t->op.status != QG_OK) {
        fail_status(t, t->op.status, &t->op.err);
    } else if (t->result) {
        t->open = !t->op.append.end;
    } else { /* rolled back to where no turn is open */
        t->last = (qg_stream_result){.n_ids = t->op.rollback, .first_flagged_index = -1};
        t->open = false;
        t->empty = true;
    }
}

static void on_gone(void *ud)
{
    qg_talk *t = ud;
    t->gone = true;
    if (t->busy)
        qg_stream_op_close(&t->op); /* the append ends early and wakes us */
    else
        destroy(t);
}

static void wake(qg_stream_op *op)
{
    qg_http_chan_wake(((qg_talk *)op)->chan);
}

static qg_talk *open_talk(qg_server *srv, qg_http_req *req, const qg_talk_format *format, void *own)
{
    qg_talk *t = qg_calloc(1, sizeof *t);
    if (!t) {
        qg_serve_fail_memory(srv, req);
        if (format->free)
            format->free(&(qg_talk){.own = own});
        return NULL;
    }
    t->op.srv = srv;
    t->op.rollback = -1;
    t->op.done = wake;
    qg_stream_record_begin(&t->op.record, srv, req);
    t->format = format;
    t->own = own;
    t->first = true;
    t->last.first_flagged_index = -1;
    qg_buf_init(&t->in, QG_MAX_STREAM_LINE + 2 * QG_HTTP_CHAN_AHEAD);
    return t;
}

void qg_talk_body(qg_server *srv, qg_http_req *req, const qg_talk_format *format, void *own)
{
    static const qg_http_chan_events events = {on_data, on_end, on_more, on_woken, on_gone};
    qg_talk *t = open_talk(srv, req, format, own);
    if (!t)
        return;
    t->body = true;
    t->chan = qg_http_chan_body(req, &events, t);
    if (!t->chan) {
        qg_serve_fail_memory(srv, req);
        destroy(t);
    }
}

void qg_talk_socket(qg_server *srv, qg_http_req *req, const qg_talk_format *format, void *own)
{
    static const qg_http_chan_events events = {on_message, on_end, on_more, on_woken, on_gone};
    const char *fault;
    int status;
    qg_talk *t = open_talk(srv, req, format, own);
    if (!t)
        return;
    t->chan = qg_http_chan_socket(req, QG_MAX_STREAM_LINE, &events, t, &status, &fault);
    if (!t->chan) {
        qg_http_answer answer;
        qg_http_answer_init(&answer, status);
        qg_serve_error_fill(&answer, &(qg_serve_error){.status = status,
                                                       .type = qg_serve_error_type(status),
                                                       .message = fault});
        if (status == 426) {
            qg_http_answer_header(&answer, "Upgrade", "websocket");
            qg_http_answer_header(&answer, "Sec-WebSocket-Version", "13");
        }
        qg_http_reply(req, &answer);
        destroy(t);
    }
}
