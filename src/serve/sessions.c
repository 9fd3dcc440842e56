/* The session form, for clients that cannot read and write at the same time:
 *
 *   POST   /v1/moderations/sessions        a new session; its body may append already
 *   POST   /v1/moderations/sessions/{id}   append, get the verdicts
 *   GET    /v1/moderations/sessions/{id}   where it stands
 *   DELETE /v1/moderations/sessions/{id}
 *
 * The table is a list, most recently used first.  A request looks for its session by comparing at
 * most QG_MAX_HTTP_SESSIONS ids of 40 bytes: some 20 us when it is full. */
#define _GNU_SOURCE

#include "serve/sessions.h"

#include "base/limits.h"
#include "base/mem.h"
#include "serve/stream_ask.h"
#include "serve/stream_op.h"
#include "serve/stream_text.h"

#include <stdio.h>
#include <sys/random.h>

static const char prefix[] = "/v1/moderations/sessions/";

typedef struct session {
    qg_stream_op op; /* first */
    struct session *prev, *next;
    char id[48];
    size_t key; /* which API key made it */
    int64_t created, used_us;
    const char *role;      /* said by the client, for what names none */
    const char *shown;     /* of the last append */
    qg_stream_result last; /* without its tokens */
    qg_stream_said now;    /* what the rules said with it */
    bool fresh;            /* its first request is not answered yet */
    bool deleted;
    /* the request that is under way */
    qg_http_req *req; /* NULL = none */
    qg_stream_ask ask;
    qg_stream_result **results; /* [ask.n], NULL where there is none yet */
    qg_stream_said *said;       /* [ask.n] */
    size_t n_done;              /* appends that are done; the op's, while it runs */
    size_t n_noted;             /* of them in metrics and audit log */
    bool rolled;                /* the request has rolled back; the op's, while it runs */
} session;

struct qg_sessions {
    session *first, *oldest;
    size_t n;
};

/* ---- the table ------------------------------------------------------------------------------- */

qg_sessions *qg_sessions_open(void)
{
    return qg_calloc(1, sizeof(qg_sessions));
}

static void unlink_session(qg_sessions *all, session *s)
{
    *(s->prev ? &s->prev->next : &all->first) = s->next;
    *(s->next ? &s->next->prev : &all->oldest) = s->prev;
    all->n--;
}

static void link_first(qg_sessions *all, session *s)
{
    s->prev = NULL;
    s->next = all->first;
    *(s->next ? &s->next->prev : &all->oldest) = s;
    all->first = s;
    all->n++;
}

static void end_request(session *s)
{
    for (size_t i = 0; s->results && i < s->ask.n; i++)
        qg_stream_result_free(s->results[i]);
    qg_mfree(s->results);
    qg_mfree(s->said);
    s->results = NULL;
    s->said = NULL;
    qg_stream_ask_free(&s->ask);
    s->req = NULL;
}

static void destroy(qg_sessions *all, session *s)
{
    unlink_session(all, s);
    end_request(s);
    qg_stream_op_end(&s->op);
    qg_stream_op_close(&s->op);
    qg_mfree(s);
}

void qg_sessions_close(qg_sessions *all)
{
    while (all && all->first)
        destroy(all, all->first);
    qg_mfree(all);
}

/* The least recently used of this key's, and how many it has. */
static session *oldest_of(const qg_sessions *all, size_t key, size_t *n)
{
    session *found = NULL;
    *n = 0;
    for (session *s = all->first; s; s = s->next)
        if (s->key == key) {
            found = s;
            ++*n;
        }
    return found;
}

/* Makes room at the expense of one that is not in use right now. */
static bool give_way(qg_sessions *all, session *s)
{
    enum { IN_USE_S = 30 };
    if (s->req || qg_now_us() - s->used_us <= IN_USE_S * (int64_t)1000000)
        return false;
    destroy(all, s);
    return true;
}

/* Forgets what was not used for long; when the table, or a key's part of it where there are several
 * keys, is full, also the one of them that was not used for longest.  False when there is still no
 * room. */
static bool make_room(qg_server *srv, size_t key)
{
    qg_sessions *all = srv->sessions;
    int64_t now = qg_now_us();
    size_t n;
    while (all->oldest && !all->oldest->req &&
           now - all->oldest->used_us > QG_HTTP_SESSION_IDLE_S * (int64_t)1000000)
        destroy(all, all->oldest);
    bool shared = srv->keys.n + srv->keys.n_lines > 1;
    session *own = shared ? oldest_of(all, key, &n) : NULL;
    if (own && n >= QG_MAX_KEY_SESSIONS && !give_way(all, own))
        return false;
    return all->n < QG_MAX_HTTP_SESSIONS || give_way(all, all->oldest);
}

/* Another key's session is as good as none. */
static session *find(qg_server *srv, const qg_http_req *req)
{
    qg_slice path = qg_http_path(req);
    qg_slice id = qg_slice_of(path.p + sizeof prefix - 1, path.n - (sizeof prefix - 1));
    size_t key = qg_keys_which(&srv->keys, req);
    for (session *s = srv->sessions->first; s; s = s->next)
        if (qg_slice_is(id, s->id))
            return s->key == key && !s->deleted ? s : NULL;
    return NULL;
}

static session *make(qg_server *srv, const qg_http_req *req, size_t key)
{
    uint64_t random[2];
    if (getrandom(random, sizeof random, 0) != (ssize_t)sizeof random)
        return NULL; /* an id that can be guessed is worse than none */
    session *s = qg_calloc(1, sizeof *s);
    if (!s)
        return NULL;
    snprintf(s->id, sizeof s->id, "modsess-%016llx%016llx", (unsigned long long)random[0],
             (unsigned long long)random[1]);
    s->key = key;
    qg_stream_record_begin(&s->op.record, srv, req);
    s->op.record.session = s->id;
    s->created = qg_serve_now();
    s->used_us = qg_now_us();
    s->last.first_flagged_index = -1;
    s->fresh = true;
    link_first(srv->sessions, s);
    return s;
}

/* ---- answers --------------------------------------------------------------------------------- */

static json_t *head(const session *s)
{
    return json_pack("{s:s,s:s,s:I,s:s}", "id", s->id, "object", "moderation.session", "created",
                     (json_int_t)s->created, "model", s->op.house->stream_info.name);
}

static qg_status add_tokens(qg_buf *text, const session *s)
{
    bool first = true;
    for (size_t i = 0; i < s->n_done; i++) {
        const qg_stream_result *r = s->results[i];
        for (size_t k = 0; r && k < r->n_tokens; k++) {
            char *line = qg_token_json(s->op.house->stream, &r->tokens[k]);
            qg_status rc = line ? qg_buf_addf(text, "%s%s", first ? "" : ",", line) : QG_ERR_NOMEM;
            qg_free(line);
            QG_TRY(rc);
            first = false;
        }
    }
    return QG_OK;
}

/* What the rules said anew with the appends of this request. */
static json_t *news_of(const session *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->n_done; i++) {
        const qg_stream_rule *news[2];
        size_t n = qg_stream_said_news(&s->said[i], news);
        for (size_t k = 0; k < n; k++)
            if (json_array_append_new(list, qg_stream_rule_json(news[k], &s->op.record.view))) {
                json_decref(list);
                return NULL;
            }
    }
    return list;
}

static json_t *summary_of(const session *s)
{
    return qg_stream_summary(s->shown, &s->last, &s->now.now, &s->op.record.view);
}

/* {head…,"rules":[…],"tokens":[…],"summary":{…}}: the tokens are JSON already. */
static qg_status write_answer(qg_buf *text, const session *s)
{
    json_t *about = head(s), *summary = summary_of(s);
    if (about && json_object_set_new(about, "rules", news_of(s))) {
        json_decref(about);
        about = NULL;
    }
    char *front = about ? qg_json_dump(about) : NULL;
    char *back = summary ? qg_json_dump_digits(summary, 9) : NULL;
    qg_status rc = front && back ? qg_buf_add(text, front, strlen(front) - 1) : QG_ERR_NOMEM;
    if (rc == QG_OK)
        rc = qg_buf_adds(text, ",\"tokens\":[");
    if (rc == QG_OK)
        rc = add_tokens(text, s);
    if (rc == QG_OK)
        rc = qg_buf_addf(text, "],\"summary\":%s}", back);
    json_decref(about);
    json_decref(summary);
    qg_mfree(front);
    qg_mfree(back);
    return rc;
}

static void answer(const session *s, qg_http_req *req)
{
    qg_buf text;
    qg_http_answer a;
    qg_buf_init(&text, QG_MAX_TEXT_BYTES);
    qg_status rc = write_answer(&text, s);
    size_t n = text.n;
    char *body = rc == QG_OK ? qg_buf_take(&text) : NULL;
    qg_buf_free(&text);
    if (!body) {
        qg_serve_fail_memory(s->op.srv, req);
        return;
    }
    qg_http_answer_init(&a, s->fresh ? 201 : 200);
    a.type = "application/json";
    a.body = body;
    a.n = n;
    qg_http_reply(req, &a);
}

static void fail_plain(qg_http_req *req, int status, const char *code, const char *message)
{
    qg_serve_fail(req, &(qg_serve_error){.status = status,
                                         .type = qg_serve_error_type(status),
                                         .code = code,
                                         .message = message,
                                         .retry_after = status == 429 ? 1 : 0});
}

static void fail_stream(qg_server *srv, qg_http_req *req, qg_status rc, const qg_err *err)
{
    qg_serve_room room;
    qg_serve_error error = qg_serve_error_of(srv, rc, err, &room);
    qg_serve_fail(req, &error);
}

/* ---- appending ------------------------------------------------------------------------------- */

/* On any thread: the next append follows from here, so that the request is posted once. */
static void on_done(qg_stream_op *op)
{
    session *s = (session *)op;
    s->rolled = s->rolled || op->rolled;
    if (op->status == QG_OK) {
        s->said[s->n_done] = op->rules.said;
        s->results[s->n_done++] = op->result;
        op->result = NULL;
        if (s->n_done < s->ask.n) {
            op->append = s->ask.appends[s->n_done];
            op->rollback = -1;
            qg_stream_op_next(op);
            return;
        }
    }
    qg_http_post(s->req);
}

/* What was appended has happened, whether or not anybody still wants to know; once. */
static void absorb(session *s)
{
    qg_stream_record *rec = &s->op.record;
    if (!s->results)
        return;
    if (s->rolled)
        qg_stream_record_rollback(rec, s->ask.rollback);
    if (s->rolled && s->n_done) { /* no turn may be open behind it */
        s->now = (qg_stream_said){0};
        s->last = (qg_stream_result){.n_ids = s->ask.rollback, .first_flagged_index = -1};
    }
    s->rolled = false;
    for (; s->n_noted < s->n_done; s->n_noted++) {
        const qg_stream_result *r = s->results[s->n_noted];
        qg_stream_record_result(rec, &s->ask.appends[s->n_noted], r, &s->said[s->n_noted]);
        s->now = s->said[s->n_noted];
        s->last = r ? *r : s->last;
        s->last.tokens = NULL;
        s->last.n_tokens = 0;
    }
    if (s->op.status != QG_OK)
        qg_stream_record_failure(rec, s->op.append.role, s->op.status);
    s->op.status = QG_OK;
}

static void on_ready(void *ud, qg_http_req *req)
{
    session *s = ud;
    qg_status rc = s->op.status;
    absorb(s);
    if (rc == QG_OK) {
        answer(s, req);
        s->fresh = false;
        return;
    }
    if (s->fresh || rc == QG_ERR_GONE)
        s->deleted = true;
    fail_stream(s->op.srv, req, rc, &s->op.err);
}

static void on_gone(void *ud)
{
    session *s = ud;
    s->deleted = s->deleted || s->fresh; /* nobody knows its id */
}

static void on_free(void *ud)
{
    session *s = ud;
    absorb(s);
    end_request(s);
    s->used_us = qg_now_us();
    if (s->deleted)
        destroy(s->op.srv->sessions, s);
}

static void append(session *s, qg_http_req *req)
{
    static const qg_http_waiter waiter = {on_ready, on_gone, on_free};
    s->n_done = s->n_noted = 0;
    s->rolled = false;
    if (s->ask.role)
        s->role = s->ask.role;
    if (s->ask.appends[s->ask.n - 1].role)
        s->shown = s->ask.appends[s->ask.n - 1].role;
    s->results = qg_calloc(s->ask.n, sizeof *s->results);
    s->said = qg_calloc(s->ask.n, sizeof *s->said);
    if (!s->results || !s->said) {
        qg_serve_fail_memory(s->op.srv, req);
        end_request(s);
        s->deleted = s->fresh;
        if (s->deleted)
            destroy(s->op.srv->sessions, s);
        return;
    }
    s->req = req;
    s->op.done = on_done;
    s->op.append = s->ask.appends[0];
    s->op.rollback = s->ask.rollback;
    qg_stream_record_request(&s->op.record, req);
    qg_http_wait(req, &waiter, s);
    qg_stream_op_run(&s->op);
}

/* An empty body is an empty object. */
static qg_status read_body(qg_stream_ask *ask, const qg_http_req *req, bool first, const char *role,
                           qg_err *err)
{
    qg_slice body = qg_http_body(req);
    if (body.n > QG_MAX_STREAM_LINE) {
        *ask = (qg_stream_ask){.rollback = -1};
        return qg_fail(err, QG_ERR_ARG, "more than %u bytes; send the text in pieces",
                       QG_MAX_STREAM_LINE);
    }
    return qg_stream_ask_read(ask, body.n || !first ? body : qg_str("{}"), first, role, err);
}

static void create(qg_server *srv, qg_http_req *req, qg_stream_ask *ask)
{
    qg_err err = {""};
    size_t key = qg_keys_which(&srv->keys, req);
    session *s = make_room(srv, key) ? make(srv, req, key) : NULL;
    if (!s) {
        qg_stream_ask_free(ask);
        fail_plain(req, 429, "rate_limit_exceeded",
                   "Too many sessions; delete some, or try later.");
        return;
    }
    s->ask = *ask;
    qg_status rc =
        qg_stream_op_open(&s->op, srv, s->ask.has_thresholds ? &s->ask.thresholds : NULL, &err);
    if (rc != QG_OK) {
        fail_stream(srv, req, rc, &err);
        destroy(srv->sessions, s);
    } else if (s->ask.n) {
        append(s, req);
    } else {
        s->role = s->ask.role;
        s->n_done = 0;
        answer(s, req);
        s->fresh = false;
        end_request(s);
    }
}

void qg_serve_sessions(qg_server *srv, qg_http_req *req)
{
    qg_stream_ask ask;
    qg_err err = {""};
    qg_status rc = read_body(&ask, req, true, NULL, &err);
    if (rc == QG_OK && !qg_serve_knows_stream(srv, ask.model)) {
        qg_serve_room room;
        qg_serve_error error = qg_serve_error_of_model(ask.model, &room);
        qg_serve_fail(req, &error);
        qg_stream_ask_free(&ask);
    } else if (rc != QG_OK) {
        fail_stream(srv, req, rc, &err);
        qg_stream_ask_free(&ask);
    } else {
        create(srv, req, &ask);
    }
}

static void post_delta(session *s, qg_http_req *req)
{
    qg_err err = {""};
    qg_stream_ask ask;
    if (s->req) {
        fail_plain(req, 409, "session_busy",
                   "This session is still judging what was sent before; wait for its answer.");
        return;
    }
    qg_status rc = read_body(&ask, req, false, s->role, &err);
    s->ask = ask;
    unlink_session(s->op.srv->sessions, s);
    link_first(s->op.srv->sessions, s);
    s->used_us = qg_now_us();
    if (rc == QG_OK && ask.n) {
        append(s, req);
        return;
    }
    s->n_done = 0;
    if (rc != QG_OK)
        fail_stream(s->op.srv, req, rc, &err);
    else
        answer(s, req); /* an empty piece */
    end_request(s);
}

static void delete_session(session *s, qg_http_req *req)
{
    qg_serve_json(req, json_pack("{s:s,s:s,s:b}", "id", s->id, "object",
                                 "moderation.session.deleted", "deleted", 1));
    s->deleted = true; /* when an append is on its way, its request ends it */
    if (!s->req)
        destroy(s->op.srv->sessions, s);
}

void qg_serve_session(qg_server *srv, qg_http_req *req)
{
    session *s = find(srv, req);
    const char *method = qg_http_method(req);
    if (!s) {
        fail_plain(req, 404, "session_not_found", "There is no such session.");
    } else if (strcmp(method, "POST") == 0) {
        post_delta(s, req);
    } else if (strcmp(method, "DELETE") == 0) {
        delete_session(s, req);
    } else {
        json_t *value = head(s);
        if (value && json_object_set_new(value, "summary", summary_of(s))) {
            json_decref(value);
            value = NULL;
        }
        qg_serve_json(req, value);
    }
}
