/* One call: what curl is told, what it tells us, and how it ends. */
#include "base/clock.h"
#include "base/mem.h"
#include "http/client_priv.h"

#include <stdio.h>
#include <strings.h>
#include <sys/socket.h>

enum { BUFFER_BYTES = 16 * 1024, LEAST_BUFFER_BYTES = 1024 };

const char *qg_client_cause_name(qg_client_cause cause)
{
    static const char *const names[] = {"whole",    "aborted",  "resolve",  "connect",
                                        "tls",      "late",     "stalled",  "broken",
                                        "protocol", "redirect", "no_memory"};
    return (size_t)cause < QG_COUNT(names) ? names[cause] : "unknown";
}

/* A call that ends early takes its connection along: this curl resets no stream of HTTP/2 when it
 * drops one, and the server would go on with an answer that nobody reads. */
static void break_connection(qg_client_call *call)
{
    curl_easy_setopt(call->easy, CURLOPT_FORBID_REUSE, 1L);
}

/* ---- what curl tells --------------------------------------------------------------------------
 */

static bool is_redirect(const qg_client_call *call)
{
    int s = call->status;
    return call->get && call->redirects &&
           (s == 301 || s == 302 || s == 303 || s == 307 || s == 308) &&
           qg_client_answer_header(call, "Location").p;
}

static bool header_block_ended(qg_client_call *call)
{
    long status = 0;
    curl_easy_getinfo(call->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200)
        return true; /* an interim answer: the real one follows */
    call->status = (int)status;
    call->headed = true;
    call->redirecting = is_redirect(call);
    if (call->redirecting || !call->events->head)
        return true;
    call->refused = !call->events->head(call->ud, call, call->status);
    if (call->refused)
        break_connection(call);
    return !call->refused;
}

static size_t on_header(char *p, size_t size, size_t n, void *ud)
{
    qg_client_call *call = ud;
    n *= size;
    call->last_us = qg_clock_us();
    call->head_bytes += n;
    if (call->head_bytes > QG_MAX_HEADER_BYTES) {
        call->big_head = true;
        return 0;
    }
    bool blank = (n == 2 && p[0] == '\r' && p[1] == '\n') || (n == 1 && p[0] == '\n');
    if (!blank || call->headed) /* headed: these are trailers */
        return n;
    return header_block_ended(call) ? n : 0;
}

static size_t on_body(char *p, size_t size, size_t n, void *ud)
{
    qg_client_call *call = ud;
    n *= size;
    call->last_us = qg_clock_us();
    if (call->redirecting || n == 0)
        return n;
    if (!call->headed) /* behind an unasked-for 101 curl takes all that comes for a body */
        return 0;
    if (atomic_load(&call->paused)) {
        call->held = true;
        return CURL_WRITEFUNC_PAUSE;
    }
    call->n_bytes += n;
    call->refused = !call->events->data(call->ud, p, n);
    if (call->refused)
        break_connection(call);
    return call->refused ? 0 : n;
}

/* ---- the end ----------------------------------------------------------------------------------
 */

static void unref(qg_client_call *call)
{
    if (atomic_fetch_sub(&call->refs, 1) != 1)
        return;
    if (call->easy)
        curl_easy_cleanup(call->easy);
    curl_slist_free_all(call->headers);
    qg_mfree(call->body);
    qg_mfree(call->url);
    qg_mfree(call);
}

static void unlink_call(qg_client_call *call)
{
    if (call->prev)
        call->prev->next = call->next;
    else
        call->client->calls = call->next;
    if (call->next)
        call->next->prev = call->prev;
}

void qg_client_call_end(qg_client_call *call, qg_client_cause cause, const char *sentence)
{
    qg_client_end end = {.cause = cause, .status = call->status, .n_bytes = call->n_bytes};
    if (cause != QG_CLIENT_WHOLE) {
        qg_fail(&end.err, QG_ERR_IO, "%s", sentence);
        break_connection(call);
    }
    call->ended = true;
    curl_multi_remove_handle(call->client->multi, call->easy);
    unlink_call(call);
    call->events->done(call->ud, &end);
    /* The handle goes now: what may hold the call for longer needs little of it. */
    curl_easy_cleanup(call->easy);
    call->easy = NULL;
    unref(call);
}

static qg_client_cause cause_of(const qg_client_call *call, CURLcode code)
{
    curl_off_t connected = 0;
    if (call->refused)
        return QG_CLIENT_ABORTED;
    switch (code) {
    case CURLE_OK:
        return QG_CLIENT_WHOLE;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return QG_CLIENT_RESOLVE;
    case CURLE_COULDNT_CONNECT:
        return QG_CLIENT_CONNECT;
    case CURLE_OPERATION_TIMEDOUT:
        curl_easy_getinfo(call->easy, CURLINFO_PRETRANSFER_TIME_T, &connected);
        return connected ? QG_CLIENT_LATE : QG_CLIENT_CONNECT;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_ISSUER_ERROR:
        return QG_CLIENT_TLS;
    case CURLE_GOT_NOTHING:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_PARTIAL_FILE:
    case CURLE_HTTP2_STREAM:
        return QG_CLIENT_BROKEN;
    case CURLE_OUT_OF_MEMORY:
        return QG_CLIENT_NOMEM;
    default:
        return QG_CLIENT_PROTOCOL;
    }
}

/* A header that is for the first host alone. */
static bool secret(const char *line)
{
    return strncasecmp(line, "Authorization:", 14) == 0 || strncasecmp(line, "Cookie:", 7) == 0;
}

static void drop_secrets(qg_client_call *call)
{
    struct curl_slist *kept = NULL;
    for (const struct curl_slist *h = call->headers; h; h = h->next) {
        struct curl_slist *more = secret(h->data) ? kept : curl_slist_append(kept, h->data);
        kept = more ? more : kept; /* without memory a header is missing, none too many is sent */
    }
    curl_slist_free_all(call->headers);
    call->headers = kept;
    curl_easy_setopt(call->easy, CURLOPT_HTTPHEADER, kept);
}

static bool may_follow(const qg_client_call *call, const char *from, const char *to)
{
    qg_err ignored;
    if (qg_client_url_check(to, &ignored) != QG_OK)
        return false;
    if (strncasecmp(from, "https:", 6) == 0 && strncasecmp(to, "https:", 6) != 0)
        return false;
    return call->allow ? call->allow(call->allow_ud, to) : qg_client_url_same_origin(from, to);
}

static void follow(qg_client_call *call)
{
    char *where = NULL;
    curl_easy_getinfo(call->easy, CURLINFO_REDIRECT_URL, &where);
    if (!where || !may_follow(call, call->url, where)) {
        qg_client_call_end(call, QG_CLIENT_REDIRECT, "redirected to where it must not go");
        return;
    }
    char *url = qg_memdup0(where, strlen(where));
    if (!url) {
        qg_client_call_end(call, QG_CLIENT_NOMEM, "out of memory");
        return;
    }
    if (!qg_client_url_same_origin(call->url, url))
        drop_secrets(call);
    qg_mfree(call->url);
    call->url = url;
    call->redirects--;
    call->headed = call->redirecting = call->held = false;
    call->head_bytes = 0;
    curl_multi_remove_handle(call->client->multi, call->easy);
    curl_easy_setopt(call->easy, CURLOPT_URL, call->url);
    if (curl_multi_add_handle(call->client->multi, call->easy))
        qg_client_call_end(call, QG_CLIENT_NOMEM, "out of memory");
}

/* Bytes behind an answer's end would be read as the answer to the next call on the connection,
 * which is another client's: such a connection is used no more. */
static void leave_connection(const qg_client_call *call)
{
    curl_socket_t fd = CURL_SOCKET_BAD;
    char byte;
    if (curl_easy_getinfo(call->easy, CURLINFO_ACTIVESOCKET, &fd) == CURLE_OK &&
        fd != CURL_SOCKET_BAD && recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0)
        shutdown(fd, SHUT_RDWR);
}

/* Bytes that came later still are no answer: once more, on a new connection. */
static bool try_again(qg_client_call *call, CURLcode code)
{
    long fresh = 1;
    if (call->again || call->headed || call->big_head || call->refused ||
        curl_easy_getinfo(call->easy, CURLINFO_NUM_CONNECTS, &fresh) != CURLE_OK || fresh > 0 ||
        (code != CURLE_UNSUPPORTED_PROTOCOL && code != CURLE_WEIRD_SERVER_REPLY &&
         code != CURLE_HTTP2_STREAM && code != CURLE_RECV_ERROR && code != CURLE_SEND_ERROR &&
         code != CURLE_GOT_NOTHING))
        return false;
    call->again = true;
    call->head_bytes = 0;
    call->fault[0] = 0;
    curl_multi_remove_handle(call->client->multi, call->easy);
    curl_easy_setopt(call->easy, CURLOPT_FRESH_CONNECT, 1L);
    if (curl_multi_add_handle(call->client->multi, call->easy))
        qg_client_call_end(call, QG_CLIENT_NOMEM, "out of memory");
    return true;
}

void qg_client_call_over(qg_client_call *call, CURLcode code)
{
    if (code == CURLE_OK)
        leave_connection(call);
    else if (try_again(call, code))
        return;
    if (code == CURLE_OK && call->redirecting) {
        follow(call);
        return;
    }
    if (code == CURLE_OK && !call->headed) { /* curl takes half a header block for an answer */
        qg_client_call_end(call, QG_CLIENT_BROKEN, "the connection ended in the header block");
        return;
    }
    const char *why = call->big_head   ? "the header block of the answer is too long"
                      : call->refused  ? "the caller did not want the answer"
                      : call->fault[0] ? call->fault
                                       : curl_easy_strerror(code);
    qg_client_call_end(call, cause_of(call, code), why);
}

void qg_client_call_sweep(qg_client_call *call, int64_t now)
{
    int64_t due = 0;
    bool late = !call->headed;
    if (late && call->header_ms)
        due = call->start_us + (int64_t)call->header_ms * 1000;
    else if (!late && call->stall_ms && !call->held && !atomic_load(&call->paused))
        due = call->last_us + (int64_t)call->stall_ms * 1000;
    if (due && due <= now)
        qg_client_call_end(call, late ? QG_CLIENT_LATE : QG_CLIENT_STALLED,
                           late ? "no answer in time" : "the answer does not go on");
    else if (call->header_ms || call->stall_ms)
        qg_client_sweep_at(call->client, due ? due : INT64_MAX);
}

/* ---- the beginning, and what others ask for ---------------------------------------------------
 */

static void begin(qg_client_call *call)
{
    qg_client *c = call->client;
    call->begun = true;
    call->start_us = call->last_us = qg_clock_us();
    call->next = c->calls;
    if (c->calls)
        c->calls->prev = call;
    c->calls = call;
    if (curl_multi_add_handle(c->multi, call->easy))
        qg_client_call_end(call, QG_CLIENT_NOMEM, "out of memory");
    else if (call->header_ms || call->stall_ms)
        qg_client_sweep_at(c, call->header_ms ? call->start_us + (int64_t)call->header_ms * 1000
                                              : INT64_MAX);
}

static void run_note(qg_client_note *note)
{
    qg_client_call *call = (qg_client_call *)note;
    atomic_store(&call->posted, false);
    if (!call->begun)
        begin(call);
    if (!call->ended && atomic_load(&call->aborted))
        qg_client_call_end(call, QG_CLIENT_ABORTED, "the caller ended it");
    if (!call->ended && call->held && !atomic_load(&call->paused)) {
        call->held = false;
        call->last_us = qg_clock_us();
        curl_easy_pause(call->easy, CURLPAUSE_CONT);
    }
    unref(call);
}

static void post(qg_client_call *call)
{
    if (atomic_exchange(&call->posted, true))
        return;
    atomic_fetch_add(&call->refs, 1);
    qg_client_post(call->client, &call->note);
}

void qg_client_pause(qg_client_call *call, bool paused)
{
    if (atomic_exchange(&call->paused, paused) && !paused)
        post(call);
}

void qg_client_abort(qg_client_call *call)
{
    if (!atomic_exchange(&call->aborted, true))
        post(call);
}

void qg_client_release(qg_client_call *call)
{
    if (call)
        unref(call);
}

/* ---- what curl is told ------------------------------------------------------------------------
 */

static bool plain(const char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 127)
            return false;
    return true;
}

static qg_status add_header(qg_client_call *call, const char *name, const char *value, qg_err *err)
{
    struct curl_slist *list = NULL;
    size_t n = strlen(name) + strlen(value) + 3;
    if (!*name || !plain(name) || !plain(value) || strpbrk(name, ": "))
        return qg_fail(err, QG_ERR_ARG, "a header of the call holds what no header may");
    char *line = qg_malloc(n);
    if (line) {
        /* "Name;" is how curl spells a header without a value. */
        snprintf(line, n, *value ? "%s: %s" : "%s;", name, value);
        list = curl_slist_append(call->headers, line);
    }
    qg_mfree(line);
    if (!list)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for an HTTP call");
    call->headers = list;
    return QG_OK;
}

static qg_status add_headers(qg_client_call *call, const qg_client_request *r, qg_err *err)
{
    bool encoding = false, expect = false;
    for (size_t i = 0; i < r->n_headers; i++) {
        QG_TRY(add_header(call, r->headers[i].name, r->headers[i].value, err));
        encoding = encoding || strcasecmp(r->headers[i].name, "Accept-Encoding") == 0;
        expect = expect || strcasecmp(r->headers[i].name, "Expect") == 0;
    }
    if (!encoding)
        QG_TRY(add_header(call, "Accept-Encoding", "identity", err));
    struct curl_slist *list = expect ? call->headers : curl_slist_append(call->headers, "Expect:");
    if (!list)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for an HTTP call");
    call->headers = list;
    return QG_OK;
}

/* The first code that is not CURLE_OK stays. */
#define SET(option, value) (rc = rc ? rc : curl_easy_setopt(e, option, value))

static CURLcode set_safety(qg_client_call *call, const qg_client_request *r)
{
    const qg_client *c = call->client;
    CURL *e = call->easy;
    CURLcode rc = CURLE_OK;
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (r->ca_file || c->ca_file)
        SET(CURLOPT_CAINFO, r->ca_file ? r->ca_file : c->ca_file);
    if (!c->proxy_env)
        SET(CURLOPT_PROXY, "");
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    SET(CURLOPT_TCP_KEEPALIVE, 1L);
    return rc;
}

static CURLcode set_request(qg_client_call *call, const qg_client_request *r)
{
    CURL *e = call->easy;
    CURLcode rc = CURLE_OK;
    size_t buffer = r->buffer_bytes ? r->buffer_bytes : BUFFER_BYTES;
    SET(CURLOPT_URL, call->url);
    SET(CURLOPT_HTTPHEADER, call->headers);
    if (r->body.p) {
        SET(CURLOPT_POSTFIELDS, call->body);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->n_body);
    }
    if (r->method && strcmp(r->method, "HEAD") == 0)
        SET(CURLOPT_NOBODY, 1L);
    else if (r->method)
        SET(CURLOPT_CUSTOMREQUEST, r->method);
    if (call->client->agent)
        SET(CURLOPT_USERAGENT, call->client->agent);
    SET(CURLOPT_BUFFERSIZE, (long)(buffer < LEAST_BUFFER_BYTES ? LEAST_BUFFER_BYTES : buffer));
    SET(CURLOPT_UPLOAD_BUFFERSIZE, (long)BUFFER_BYTES);
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)(r->connect_ms ? r->connect_ms : QG_CLIENT_CONNECT_MS));
    SET(CURLOPT_TIMEOUT_MS, (long)r->total_ms);
    /* Any value here makes curl undo whatever coding the answer has; our own header is sent. */
    if (r->decode)
        SET(CURLOPT_ACCEPT_ENCODING, "identity");
    return rc;
}

static CURLcode set_events(qg_client_call *call)
{
    CURL *e = call->easy;
    CURLcode rc = CURLE_OK;
    SET(CURLOPT_PRIVATE, call);
    SET(CURLOPT_ERRORBUFFER, call->fault);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, call);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, call);
    return rc;
}

static qg_status prepare(qg_client_call *call, const qg_client_request *r, qg_err *err)
{
    QG_TRY(qg_client_url_check(r->url, err));
    if (r->method &&
        (!*r->method || strspn(r->method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != strlen(r->method)))
        return qg_fail(err, QG_ERR_ARG, "a method of the call that is none");
    QG_TRY(add_headers(call, r, err));
    call->url = qg_memdup0(r->url, strlen(r->url));
    call->body = r->body.p ? qg_memdup0(r->body.p, r->body.n) : NULL;
    call->n_body = r->body.n;
    call->easy = curl_easy_init();
    if (!call->url || (r->body.p && !call->body) || !call->easy || set_safety(call, r) ||
        set_request(call, r) || set_events(call))
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for an HTTP call");
    call->get =
        r->method ? strcmp(r->method, "GET") == 0 || strcmp(r->method, "HEAD") == 0 : !r->body.p;
    call->redirects = r->redirects;
    call->allow = r->allow;
    call->allow_ud = r->allow_ud;
    call->header_ms = r->header_ms;
    call->stall_ms = r->stall_ms;
    return QG_OK;
}

qg_status qg_client_start(qg_client *client, const qg_client_request *request,
                          const qg_client_events *events, void *ud, qg_client_call **out,
                          qg_err *err)
{
    qg_client_call *call = qg_calloc(1, sizeof *call);
    if (out)
        *out = NULL;
    if (!call)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory for an HTTP call");
    call->note.run = run_note;
    call->client = client;
    call->events = events;
    call->ud = ud;
    atomic_init(&call->refs, out ? 2 : 1); /* the thread's, the caller's; post adds its own */
    qg_status rc = prepare(call, request, err);
    if (rc != QG_OK) {
        atomic_store(&call->refs, 1);
        unref(call);
        return rc;
    }
    if (out)
        *out = call;
    post(call);
    return QG_OK;
}

/* ---- the answer -------------------------------------------------------------------------------
 */

qg_slice qg_client_answer_header(const qg_client_call *call, const char *name)
{
    struct curl_header *h;
    if (curl_easy_header(call->easy, name, 0, CURLH_HEADER, -1, &h) != CURLHE_OK)
        return qg_slice_of(NULL, 0);
    return qg_str(h->value);
}

bool qg_client_answer_header_at(const qg_client_call *call, size_t i, qg_slice *name,
                                qg_slice *value)
{
    struct curl_header *h = NULL;
    do
        h = curl_easy_nextheader(call->easy, CURLH_HEADER, -1, h);
    while (h && i--);
    if (!h)
        return false;
    *name = qg_str(h->name);
    *value = qg_str(h->value);
    return true;
}

const char *qg_client_answer_url(const qg_client_call *call)
{
    return call->url;
}
