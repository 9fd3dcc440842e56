/* WebSockets (RFC 6455): the handshake, and wslay between the socket and the channel.
 *
 * The handshake is an ordinary GET to the library, which then leaves the connection alone until the
 * end.  A client may not send anything before it has our 101, so the library cannot have read any
 * of its frames. */
#define _GNU_SOURCE

#include "base/limits.h"
#include "base/mem.h"
#include "http/chan_priv.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <wslay/wslay.h>

enum {
    TURN_BYTES = 64 * 1024,   /* in, in one turn */
    BEHIND_BYTES = 64 * 1024, /* a client that takes no more than this is not read from either */
    CLOSE_BAD_TYPE = 1003,
};

struct qg_http_socket {
    wslay_event_context_ptr ws;
    size_t left; /* bytes that may still be read in this turn */
    bool eof;    /* the client's end of the connection */
    bool pinged; /* and not heard since */
};

/* ---- handshake ------------------------------------------------------------------------------- */

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

/* Whether word, of any case, is in a comma-separated list. */
static bool lists(qg_slice value, const char *word)
{
    size_t n_word = strlen(word);
    for (size_t at = 0; at < value.n;) {
        size_t end = at;
        while (end < value.n && value.p[end] != ',')
            end++;
        size_t a = at, b = end;
        while (a < b && is_blank(value.p[a]))
            a++;
        while (b > a && is_blank(value.p[b - 1]))
            b--;
        if (b - a == n_word && strncasecmp(value.p + a, word, n_word) == 0)
            return true;
        at = end + 1;
    }
    return false;
}

/* 16 bytes in base64. */
static bool key_fine(qg_slice key)
{
    enum { KEY_CHARS = 24 };
    unsigned char text[KEY_CHARS + 1], bytes[KEY_CHARS];
    if (key.n != KEY_CHARS || key.p[21] == '=' || key.p[22] != '=' || key.p[23] != '=')
        return false;
    memcpy(text, key.p, KEY_CHARS);
    return EVP_DecodeBlock(bytes, text, KEY_CHARS) == 18;
}

bool qg_http_socket_accept(qg_slice key, char out[QG_HTTP_ACCEPT_BYTES])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned n_digest = 0;
    char text[64 + sizeof guid];
    if (!key_fine(key))
        return false;
    snprintf(text, sizeof text, "%.*s%s", (int)key.n, key.p, guid);
    if (EVP_Digest(text, strlen(text), digest, &n_digest, EVP_sha1(), NULL) != 1)
        return false;
    return EVP_EncodeBlock((unsigned char *)out, digest, (int)n_digest) + 1 == QG_HTTP_ACCEPT_BYTES;
}

static const char *handshake_fault(const qg_http_req *req, int *status)
{
    *status = MHD_HTTP_BAD_REQUEST;
    if (strcmp(qg_http_method(req), "GET") != 0 || req->old)
        return "A WebSocket begins with a GET of HTTP/1.1.";
    if (!lists(qg_http_header(req, "Upgrade"), "websocket") ||
        !lists(qg_http_header(req, "Connection"), "upgrade")) {
        *status = MHD_HTTP_UPGRADE_REQUIRED;
        return "This address is a WebSocket: the request must ask for the upgrade.";
    }
    if (!qg_slice_is(qg_http_header(req, "Sec-WebSocket-Version"), "13")) {
        *status = MHD_HTTP_UPGRADE_REQUIRED;
        return "Only version 13 of the WebSocket protocol is known.";
    }
    return NULL;
}

static bool write_head(qg_http_chan *c, const char *accept)
{
    char head[512];
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
                     "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\nX-Request-Id: %s\r\n\r\n",
                     accept, qg_http_id(c->req));
    return n > 0 && (size_t)n < sizeof head && qg_http_chan_put(c, head, (size_t)n);
}

/* ---- between wslay and the channel ----------------------------------------------------------- */

static ssize_t on_recv(wslay_event_context_ptr ws, uint8_t *buf, size_t n, int flags, void *ud)
{
    qg_http_chan *c = ud;
    qg_http_socket *s = c->socket;
    (void)flags;
    if (!qg_http_socket_reads(c) || !s->left) {
        wslay_event_set_error(ws, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    n = n < s->left ? n : s->left;
    ssize_t got = recv(c->req->conn->fd, buf, n, MSG_DONTWAIT);
    if (got > 0) {
        s->left -= (size_t)got;
        c->req->conn->body_bytes += (size_t)got;
        return got;
    }
    bool again = got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR);
    s->eof = !again;
    wslay_event_set_error(ws, again ? WSLAY_ERR_WOULDBLOCK : WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static ssize_t on_send(wslay_event_context_ptr ws, const uint8_t *p, size_t n, int flags, void *ud)
{
    (void)flags;
    if (qg_http_chan_put(ud, (const char *)p, n))
        return (ssize_t)n;
    wslay_event_set_error(ws, WSLAY_ERR_CALLBACK_FAILURE);
    return -1;
}

static void on_message(wslay_event_context_ptr ws, const struct wslay_event_on_msg_recv_arg *m,
                       void *ud)
{
    qg_http_chan *c = ud;
    c->active = true; /* a whole message or control frame: a byte now and then does not count */
    c->socket->pinged = false;
    if (m->opcode == WSLAY_BINARY_FRAME)
        (void)wslay_event_queue_close(ws, CLOSE_BAD_TYPE, (const uint8_t *)"text only", 9);
    else if (m->opcode == WSLAY_TEXT_FRAME && !c->finishing && !c->ended)
        c->on->data(c->ud, (const char *)m->msg, m->msg_length);
}

/* What wslay has queued becomes bytes at once; the channel's ceiling holds for them. */
static bool pump(qg_http_chan *c)
{
    if (wslay_event_send(c->socket->ws) != 0)
        c->broken = true;
    return !c->broken;
}

qg_http_chan *qg_http_chan_socket(qg_http_req *req, size_t max_bytes, const qg_http_chan_events *on,
                                  void *ud, int *status, const char **fault)
{
    static const struct wslay_event_callbacks calls = {
        .recv_callback = on_recv, .send_callback = on_send, .on_msg_recv_callback = on_message};
    char accept[QG_HTTP_ACCEPT_BYTES];
    *fault = handshake_fault(req, status);
    if (!*fault && !qg_http_socket_accept(qg_http_header(req, "Sec-WebSocket-Key"), accept))
        *fault = "Sec-WebSocket-Key is not a key.";
    if (*fault)
        return NULL;
    *status = MHD_HTTP_SERVICE_UNAVAILABLE;
    *fault = "Out of memory.";
    qg_http_chan *c = qg_http_chan_new(req, on, ud);
    if (!c)
        return NULL;
    c->socket = qg_calloc(1, sizeof *c->socket);
    if (!c->socket || wslay_event_context_server_init(&c->socket->ws, &calls, c) != 0 ||
        !write_head(c, accept)) {
        req->chan = NULL;
        qg_http_chan_free(c);
        return NULL;
    }
    wslay_event_config_set_max_recv_msg_length(c->socket->ws, max_bytes);
    c->started = true;
    req->sent = true;
    req->status = *status = MHD_HTTP_SWITCHING_PROTOCOLS;
    return c;
}

bool qg_http_socket_write(qg_http_chan *c, const char *p, size_t n)
{
    const struct wslay_event_msg m = {WSLAY_TEXT_FRAME, (const uint8_t *)p, n};
    if (qg_http_socket_closing(c))
        return false;
    if (wslay_event_queue_msg(c->socket->ws, &m) != 0)
        c->broken = true;
    return pump(c);
}

void qg_http_socket_finish(qg_http_chan *c, int code)
{
    if (!qg_http_socket_closing(c))
        (void)wslay_event_queue_close(c->socket->ws, (uint16_t)code, NULL, 0);
    (void)pump(c);
}

/* After our close frame: what still comes is read so that it gets through, and thrown away. */
static void discard(qg_http_chan *c)
{
    char bytes[4096];
    ssize_t n = recv(c->req->conn->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
        qg_http_chan_unhold(c); /* the connection ends */
}

void qg_http_socket_event(qg_http_chan *c, uint32_t events)
{
    qg_http_socket *s = c->socket;
    if (c->done) {
        discard(c);
        return;
    }
    if (events & (EPOLLIN | EPOLLRDHUP)) {
        s->left = TURN_BYTES;
        if (qg_http_socket_reads(c) && wslay_event_recv(s->ws) != 0)
            c->broken = c->broken || !s->eof || !wslay_event_get_close_received(s->ws);
        (void)pump(c);
    }
    /* The other end is closed and nothing will be read any more: the client has gone. */
    if ((events & EPOLLRDHUP) && (s->eof || c->paused) && !wslay_event_get_close_received(s->ws))
        c->broken = true;
}

bool qg_http_socket_ping(qg_http_chan *c)
{
    const struct wslay_event_msg ping = {WSLAY_PING, NULL, 0};
    if (c->socket->pinged || wslay_event_queue_msg(c->socket->ws, &ping) != 0)
        return false;
    c->socket->pinged = true;
    return pump(c);
}

bool qg_http_socket_reads(const qg_http_chan *c)
{
    return !c->paused && qg_http_chan_pending(c) < BEHIND_BYTES && !c->socket->eof &&
           wslay_event_want_read(c->socket->ws);
}

bool qg_http_socket_closing(const qg_http_chan *c)
{
    return c->socket && wslay_event_get_close_sent(c->socket->ws);
}

bool qg_http_socket_over(const qg_http_chan *c)
{
    return c->socket->eof || wslay_event_get_close_received(c->socket->ws);
}

void qg_http_socket_free(qg_http_chan *c)
{
    if (c->socket && c->socket->ws)
        wslay_event_context_free(c->socket->ws);
    qg_mfree(c->socket);
}
