/* Body channels: the answer's head and its chunks, written past the library. */
#define _GNU_SOURCE

#include "http/chan_priv.h"

#include <stdio.h>

qg_http_chan *qg_http_chan_body(qg_http_req *req, const qg_http_chan_events *events, void *ud)
{
    return qg_http_chan_new(req, events, ud);
}

bool qg_http_chan_started(const qg_http_chan *c)
{
    return c->started;
}

void qg_http_chan_start(qg_http_chan *c, const qg_http_answer *answer)
{
    enum { MOST = 4096 };
    qg_buf text;
    if (!c->req || c->started)
        return;
    c->started = true;
    c->plain = c->req->old;
    c->req->status = answer->status;
    c->req->sent = true;
    qg_buf_init(&text, MOST);
    if (qg_http_head_text(&text, c->req, answer) != QG_OK ||
        (!c->plain && qg_buf_adds(&text, "Transfer-Encoding: chunked\r\n") != QG_OK) ||
        qg_buf_adds(&text, "\r\n") != QG_OK)
        c->broken = true;
    else
        (void)qg_http_chan_put(c, text.p, text.n);
    qg_buf_free(&text);
}

bool qg_http_body_write(qg_http_chan *c, const char *p, size_t n)
{
    char size[24];
    if (n == 0)
        return true; /* an empty chunk would be the end */
    if (c->plain)
        return qg_http_chan_put(c, p, n);
    int n_size = snprintf(size, sizeof size, "%zx\r\n", n);
    return qg_http_chan_put(c, size, (size_t)n_size) && qg_http_chan_put(c, p, n) &&
           qg_http_chan_put(c, "\r\n", 2);
}

void qg_http_body_finish(qg_http_chan *c)
{
    if (c->started && !c->plain)
        (void)qg_http_chan_put(c, "0\r\n\r\n", 5);
    else if (!c->started)
        c->broken = true; /* the owner has nothing to say */
}

void qg_http_chan_refuse(qg_http_chan *c, qg_http_answer *answer)
{
    if (!c->req || c->started) {
        qg_http_answer_free(answer);
        return;
    }
    c->started = true;
    c->finishing = c->done = true;
    answer->close = true;
    qg_http_reply(c->req, answer);
    qg_http_send_now(c->req);
    qg_http_chan_unhold(c);
}
