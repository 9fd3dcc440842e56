/* Any bytes as a reply of an upstream, whole and in two pieces: what is done with them does not
 * depend on the pieces, ends, and lets nothing leave that was not asked about.  The first byte
 * picks the protocol, whether it is streamed, and where it is cut in two. */
#include "gateway/reply.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n);

static void must(bool ok)
{
    if (!ok)
        abort();
}

typedef struct run {
    qg_buf out;
    qg_reply_outcome outcome;
    uint64_t asked, left;
} run;

/* One token for all of a text, at its end. */
static void judge(qg_reply *reply, run *r)
{
    qg_reply_ask ask;
    while (qg_reply_ask_next(reply, &ask)) {
        qg_stream_result none = {.n_tokens = 0};
        r->asked += ask.text.n;
        qg_reply_judged(reply, ask.lane, &none);
    }
}

static void one(const char *p, size_t n, size_t cut, qg_proto proto, bool stream, run *r)
{
    qg_policy *policy;
    qg_policy_view view;
    qg_reply_options opt;
    qg_reply *reply;
    must(qg_policy_default(&policy, NULL) == QG_OK);
    qg_policy_view_of(policy, qg_str(""), qg_str(""), &view);
    view.fields[QG_FIELD_OPAQUE] = QG_FIELD_WITHHELD;
    qg_reply_options_init(&opt);
    opt.proto = proto;
    opt.stream = stream;
    opt.view = &view;
    must(qg_reply_open(&reply, &opt, NULL) == QG_OK);
    memset(r, 0, sizeof *r);
    qg_buf_init(&r->out, 1u << 28);
    for (int i = 0; i < 2; i++) {
        qg_reply_feed(reply, i ? qg_slice_of(p + cut, n - cut) : qg_slice_of(p, cut));
        judge(reply, r);
    }
    qg_reply_end(reply);
    judge(reply, r);
    qg_slice out = qg_reply_output(reply);
    must(qg_buf_add(&r->out, out.p, out.n) == QG_OK);
    qg_reply_state s = qg_reply_state_of(reply);
    must(s.done);
    r->outcome = s.outcome;
    qg_reply_counts c = qg_reply_counts_of(reply);
    must(c.text_out <= c.text_in && c.text_out <= r->asked);
    qg_reply_close(reply);
    qg_policy_unref(policy);
}

int LLVMFuzzerTestOneInput(const uint8_t *in, size_t n)
{
    run whole, parts;
    if (n == 0)
        return 0;
    const char *p = (const char *)in + 1;
    qg_proto proto = (qg_proto)(in[0] & 3);
    bool stream = !(in[0] & 4);
    size_t cut = (n - 1) * (size_t)(in[0] >> 3) / 32;
    one(p, n - 1, n - 1, proto, stream, &whole);
    one(p, n - 1, cut, proto, stream, &parts);
    must(whole.outcome == parts.outcome);
    if (whole.outcome == QG_REPLY_PASSED)
        must(qg_slice_eq(qg_buf_slice(&whole.out), qg_buf_slice(&parts.out)));
    qg_buf_free(&whole.out);
    qg_buf_free(&parts.out);
    return 0;
}
