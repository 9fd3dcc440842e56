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
    const qg_gen_options *o = &r->gen;
    size_t bytes = 0;
    volatile size_t sum = 0;
    must(r->messages.n >= 1 && r->messages.n <= QG_MAX_MESSAGES);
    must(o->n >= 1 && o->n <= QG_MAX_CHOICES && o->max_tokens >= 0);
    must(o->n_stops <= QG_GEN_STOPS);
    must(o->stream || (!o->include_usage && !o->continuous_usage));
    must(o->sampling.top_logprobs >= -1 && o->sampling.top_logprobs <= QG_MAX_TOP_LOGPROBS);
    must(r->prompt.n <= r->messages.n && r->judges_prompt == (r->prompt.n == r->messages.n));
    for (size_t i = 0; i < r->messages.n; i++) {
        const qg_message *m = &r->messages.p[i];
        must(m->role && *m->role && strlen(m->role) <= QG_MAX_ROLE_BYTES);
        sum += touch(m->content.p, m->content.n);
        bytes += m->content.n;
    }
    must(bytes <= n_body);
    for (size_t i = 0; i < o->n_stops; i++) {
        must(o->stops[i].n > 0);
        sum += touch(o->stops[i].p, o->stops[i].n);
    }
    for (size_t i = 0; i < o->sampling.n_bias; i++)
        must(o->sampling.bias[i] >= -100 && o->sampling.bias[i] <= 100);
    sum += touch((const char *)o->sampling.stop_ids, 4 * o->sampling.n_stop_ids);
    sum += touch(r->id.p, r->id.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n)
{
    qg_chat_request r;
    qg_fault fault;
    qg_arena arena;
    json_t *root = NULL;
    qg_arena_init(&arena, QG_MAX_TEXT_BYTES);
    qg_status rc = qg_body_parse(qg_slice_of((const char *)in, n), &root, &fault);
    if (rc == QG_OK)
        rc = qg_chat_request_read(&r, root, &arena, &fault);
    if (rc == QG_OK)
        check_accepted(&r, n);
    else
        must(fault.err.msg[0] && memchr(fault.param, 0, sizeof fault.param));
    qg_arena_free(&arena);
    json_decref(root);
    return 0;
}
