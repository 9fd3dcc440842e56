/* Any body of POST /v1/chat/completions: it is refused with a sentence and a place, or everything
 * that the server will use is in range and lies in memory that the request owns. */
#include "base/limits.h"
#include "serve/chat_request.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

static size_t touch(const char *p, size_t n)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++)
        sum += (unsigned char)p[i];
    return sum;
}

static void check_accepted(const qg_chat_request *r, size_t n_body)
{
    size_t bytes = 0;
    volatile size_t sum = 0;
    must(r->n_messages >= 1 && r->n_messages <= QG_MAX_MESSAGES);
    must(r->n >= 1 && r->n <= QG_MAX_CHOICES && r->max_tokens >= 0);
    must(r->n_stops <= QG_CHAT_STOPS);
    must(r->stream || (!r->include_usage && !r->continuous_usage));
    for (size_t i = 0; i < r->n_messages; i++) {
        const qg_message *m = &r->messages[i];
        must(m->role && *m->role && strlen(m->role) <= QG_MAX_ROLE_BYTES);
        sum += touch(m->content.p, m->content.n);
        bytes += m->content.n;
    }
    must(bytes <= n_body);
    for (size_t i = 0; i < r->n_stops; i++) {
        must(r->stops[i].n > 0);
        sum += touch(r->stops[i].p, r->stops[i].n);
    }
    sum += touch(r->model.p, r->model.n) + touch(r->id.p, r->id.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n)
{
    qg_chat_request r;
    qg_chat_fault fault;
    qg_status rc = qg_chat_request_read(&r, qg_slice_of((const char *)in, n), &fault);
    if (rc == QG_OK)
        check_accepted(&r, n);
    else
        must(fault.err.msg[0] && memchr(fault.param, 0, sizeof fault.param));
    qg_chat_request_free(&r);
    return 0;
}
