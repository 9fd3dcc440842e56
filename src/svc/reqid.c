#define _GNU_SOURCE

#include "svc/reqid.h"

#include "base/clock.h"
#include "base/limits.h"
#include "svc/trace.h"

#include <stdio.h>
#include <sys/random.h>

bool qg_reqid_ok(qg_slice id)
{
    if (id.n == 0 || id.n >= QG_MAX_ID_BYTES)
        return false;
    for (size_t i = 0; i < id.n; i++) {
        unsigned char c = (unsigned char)id.p[i];
        bool alnum = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z');
        if (!alnum && (c == 0 || !strchr("-_.:/+=@", c)))
            return false;
    }
    return true;
}

static void assign_id(qg_http_req *req)
{
    qg_slice given = qg_http_header(req, "X-Request-Id");
    char id[QG_MAX_ID_BYTES];
    uint64_t random[2] = {0};
    if (qg_reqid_ok(given)) {
        snprintf(id, sizeof id, "%.*s", (int)given.n, given.p);
    } else {
        /* Ids need not be secret: should the system have no random bytes, the clock will do. */
        if (getrandom(random, sizeof random, GRND_NONBLOCK) != (ssize_t)sizeof random)
            random[0] = (uint64_t)qg_clock_us();
        snprintf(id, sizeof id, "%016llx%016llx", (unsigned long long)random[0],
                 (unsigned long long)random[1]);
    }
    qg_http_set_id(req, id);
}

void qg_reqid_assign(qg_http_req *req)
{
    qg_trace trace;
    char text[QG_TRACE_TEXT];
    assign_id(req);
    qg_trace_begin(&trace, qg_http_header(req, "traceparent"));
    qg_trace_text(&trace, text);
    qg_http_set_trace(req, text);
}
