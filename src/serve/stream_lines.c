/* POST /v1/moderations/stream: text comes in line by line, verdicts go out while it comes.  NDJSON
 * both ways, or server-sent events out when asked.  And the same messages over a WebSocket,
 * GET /v1/moderations/ws. */
#include "serve/stream_text.h"
#include "serve/talk.h"

#include <strings.h>

static qg_status read_ask(qg_talk *t, qg_slice line, qg_err *err)
{
    return qg_stream_ask_read(&t->ask, line, t->first, t->role, err);
}

/* The tokens one by one, then what they come to. */
static bool show(qg_talk *t, const qg_stream_result *r, size_t step)
{
    if (step < r->n_tokens) {
        char *line = qg_token_json(t->op.house->stream, &r->tokens[step]);
        if (line)
            t->format->put(t, line, strlen(line));
        else
            qg_talk_json(t, NULL);
        qg_free(line);
        return true;
    }
    const qg_stream_rule *news[2];
    size_t n_news = qg_stream_said_news(&t->said, news), k = step - r->n_tokens;
    if (k < n_news) {
        json_t *rule = qg_stream_rule_json(news[k], &t->op.record.view);
        qg_talk_json(t, rule ? json_pack("{s:o}", "rule", rule) : NULL);
        return true;
    }
    const char *role = r->n_tokens ? r->tokens[r->n_tokens - 1].role : t->role;
    json_t *summary = qg_stream_summary(role, r, &t->said.now, &t->op.record.view);
    qg_talk_json(t, summary ? json_pack("{s:o}", "summary", summary) : NULL);
    return false;
}

static void fail(qg_talk *t, const qg_serve_error *error)
{
    char *line = qg_serve_error_json(error);
    if (line)
        t->format->put(t, line, strlen(line));
    qg_free(line);
}

static void put_line(qg_talk *t, const char *line, size_t n)
{
    qg_talk_write(t, "", line, n, "\n");
}

static void put_event(qg_talk *t, const char *line, size_t n)
{
    qg_talk_write(t, "data: ", line, n, "\n\n");
}

static void finish_events(qg_talk *t)
{
    put_event(t, "[DONE]", 6);
}

static void put_message(qg_talk *t, const char *line, size_t n)
{
    qg_talk_write(t, "", line, n, "");
}

static const qg_talk_format ndjson = {
    .type = "application/x-ndjson",
    .read = read_ask,
    .show = show,
    .fail = fail,
    .put = put_line,
    .plain_errors = true,
};
static const qg_talk_format events = {
    .type = "text/event-stream; charset=utf-8",
    .read = read_ask,
    .show = show,
    .fail = fail,
    .finish = finish_events,
    .put = put_event,
    .plain_errors = true,
};
static const qg_talk_format socket_format = {
    .read = read_ask,
    .show = show,
    .fail = fail,
    .put = put_message,
};

static bool wants_events(const qg_http_req *req)
{
    static const char type[] = "text/event-stream";
    qg_slice accept = qg_http_header(req, "Accept");
    for (size_t i = 0; i + sizeof type - 1 <= accept.n; i++)
        if (strncasecmp(accept.p + i, type, sizeof type - 1) == 0)
            return true;
    return false;
}

void qg_serve_stream(qg_server *srv, qg_http_req *req)
{
    qg_talk_body(srv, req, wants_events(req) ? &events : &ndjson, NULL);
}

void qg_serve_stream_socket(qg_server *srv, qg_http_req *req)
{
    qg_talk_socket(srv, req, &socket_format, NULL);
}
