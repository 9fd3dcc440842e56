#define _GNU_SOURCE

#include "http/http_priv.h"

#include "base/mem.h"

#include <stdio.h>
#include <sys/socket.h>

void qg_http_answer_init(qg_http_answer *answer, int status)
{
    *answer = (qg_http_answer){.status = status};
}

void qg_http_answer_header(qg_http_answer *answer, const char *name, const char *value)
{
    if (answer->n_headers == QG_HTTP_ANSWER_HEADERS || strlen(value) >= QG_HTTP_VALUE_BYTES)
        return;
    answer->headers[answer->n_headers].name = name;
    snprintf(answer->headers[answer->n_headers].value, QG_HTTP_VALUE_BYTES, "%s", value);
    answer->n_headers++;
}

void qg_http_answer_reason(qg_http_answer *answer, const char *words)
{
    size_t n = 0;
    for (; *words && n + 1 < sizeof answer->reason; words++)
        if (*words >= 0x20 && *words < 0x7F)
            answer->reason[n++] = *words;
    answer->reason[n] = 0;
}

void qg_http_answer_free(qg_http_answer *answer)
{
    if (answer->source)
        answer->source->close(answer->source);
    qg_mfree(answer->body);
    answer->source = NULL;
    answer->body = NULL;
    answer->n = 0;
}

void qg_http_reply(qg_http_req *req, qg_http_answer *answer)
{
    qg_http_answer_free(&req->answer);
    if (req->http->opt.dress)
        req->http->opt.dress(req->http->opt.ud, req, answer);
    if (req->extra)
        qg_http_answer_header(answer, req->extra, req->extra_value);
    req->answer = *answer;
    req->answered = true;
    qg_http_answer_init(answer, 0);
}

void qg_http_fault(qg_http_req *req, int status, const char *sentence)
{
    qg_http_answer answer;
    qg_http_answer_init(&answer, status);
    req->http->opt.fault(req->http->opt.ud, req, sentence, &answer);
    answer.close = true;
    qg_http_reply(req, &answer);
}

/* What a stream's response carries: each piece taken moves the write deadline. */
static ssize_t pull(void *cls, uint64_t pos, char *out, size_t room)
{
    qg_http_req *req = cls;
    (void)pos;
    qg_http_conn_phase(req->conn, QG_HTTP_WRITE, req->http->opt.limits.write_ms);
    ssize_t n = req->answer.source->pull(req->answer.source, out, room);
    return n > 0    ? n
           : n == 0 ? MHD_CONTENT_READER_END_OF_STREAM
                    : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void free_body(void *p)
{
    qg_mfree(p);
}

/* The source stays with the request, which outlives its response. */
static struct MHD_Response *make_response(qg_http_req *req)
{
    enum { PIECE = 4096 };
    qg_http_answer *a = &req->answer;
    if (a->source)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, PIECE, pull, req, NULL);
    if (!a->body)
        return MHD_create_response_from_buffer(0, (void *)(uintptr_t) "", MHD_RESPMEM_PERSISTENT);
    struct MHD_Response *r =
        MHD_create_response_from_buffer_with_free_callback(a->n, a->body, free_body);
    if (r)
        a->body = NULL;
    return r;
}

static bool must_close(const qg_http_req *req)
{
    const qg_http *http = req->http;
    return req->answer.close || http->stops ||
           req->conn->n_requests >= http->opt.limits.conn_requests;
}

static bool add_headers(struct MHD_Response *r, const qg_http_req *req)
{
    const qg_http_answer *a = &req->answer;
    bool ok = true;
    if (a->type)
        ok = ok && MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, a->type) == MHD_YES;
    if (req->id[0])
        ok = ok && MHD_add_response_header(r, "X-Request-Id", req->id) == MHD_YES;
    if (must_close(req))
        ok = ok && MHD_add_response_header(r, MHD_HTTP_HEADER_CONNECTION, "close") == MHD_YES;
    for (size_t i = 0; i < a->n_headers; i++)
        ok = ok && MHD_add_response_header(r, a->headers[i].name, a->headers[i].value) == MHD_YES;
    return ok;
}

enum MHD_Result qg_http_send(qg_http_req *req)
{
    enum MHD_Result rc = MHD_NO;
    if (req->answer.reason[0] && !req->answer.source) { /* the library has only its own words */
        qg_http_send_now(req);
        req->finished = true;
        return MHD_NO;
    }
    struct MHD_Response *r = make_response(req);
    req->answered = false;
    if (r && add_headers(r, req))
        rc = MHD_queue_response(req->conn->mhd, (unsigned)req->answer.status, r);
    if (r)
        MHD_destroy_response(r);
    if (rc != MHD_YES)
        return MHD_NO;
    req->sent = true;
    req->status = req->answer.status;
    qg_http_conn_phase(req->conn, QG_HTTP_WRITE, req->http->opt.limits.write_ms);
    return MHD_YES;
}

qg_status qg_http_head_text(qg_buf *text, const qg_http_req *req, const qg_http_answer *a)
{
    QG_TRY(qg_buf_addf(
        text, "HTTP/1.1 %d %s\r\nConnection: close\r\nX-Request-Id: %s\r\n", a->status,
        a->reason[0] ? a->reason : MHD_get_reason_phrase_for((unsigned)a->status), req->id));
    if (a->type)
        QG_TRY(qg_buf_addf(text, "Content-Type: %s\r\n", a->type));
    for (size_t i = 0; i < a->n_headers; i++)
        QG_TRY(qg_buf_addf(text, "%s: %s\r\n", a->headers[i].name, a->headers[i].value));
    return QG_OK;
}

static qg_status add_text(qg_buf *text, const qg_http_req *req)
{
    const qg_http_answer *a = &req->answer;
    QG_TRY(qg_http_head_text(text, req, a));
    QG_TRY(qg_buf_addf(text, "Content-Length: %zu\r\n\r\n", a->n));
    return a->n ? qg_buf_add(text, a->body, a->n) : QG_OK;
}

void qg_http_send_now(qg_http_req *req)
{
    enum { MOST = 64 * 1024 };
    qg_buf text;
    qg_buf_init(&text, MOST);
    req->answered = false;
    req->sent = true;
    req->status = req->answer.status;
    /* The library has written nothing for this request, so the socket is ours; an answer of this
     * size fits its buffer or is not worth waiting for. */
    if (add_text(&text, req) == QG_OK)
        (void)send(req->conn->fd, text.p, text.n, MSG_NOSIGNAL | MSG_DONTWAIT);
    qg_buf_free(&text);
    (void)shutdown(req->conn->fd, SHUT_WR);
    qg_http_conn_phase(req->conn, QG_HTTP_LINGER, req->http->opt.limits.linger_ms);
}
