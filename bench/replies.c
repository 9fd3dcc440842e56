/* Cost of the gateway's core per event, without sockets and with a judge that costs nothing:
 *
 *     bench_replies [STREAMS [EVENTS]]
 *
 * STREAMS replies (default 2000) run side by side, one token of text an event, EVENTS each (default
 * 200); chat, then Responses and Anthropic events.  Tells microseconds an event on one thread, and
 * the memory of a stream in mid-flight. */
#include "gateway/reply.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct stream {
    qg_reply *reply;
    uint64_t cps;
} stream;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The judge: one token a piece, final at once. */
static void judge(stream *s)
{
    qg_reply_ask ask;
    while (qg_reply_ask_next(s->reply, &ask)) {
        qg_token token = {
            .role = "assistant", .begin = s->cps, .end = s->cps + ask.text.n, .final = true};
        qg_stream_result result = {.n_tokens = ask.text.n > 0, .tokens = &token};
        s->cps += ask.text.n;
        qg_reply_judged(s->reply, ask.lane, &result);
    }
}

static const char *const events[QG_N_PROTOS] = {
    [QG_PROTO_CHAT] =
        "data: {\"id\":\"chatcmpl-6f2d1c3b9a8e4f70\",\"object\":\"chat.completion.chunk\","
        "\"created\":1790000000,\"model\":\"some-model-7b\",\"choices\":[{\"index\":0,\"delta\":{"
        "\"content\":\" word\"},\"logprobs\":null,\"finish_reason\":null}]}\n\n",
    [QG_PROTO_RESPONSES] =
        "event: response.output_text.delta\ndata: {\"type\":\"response.output_text.delta\","
        "\"sequence_number\":17,\"item_id\":\"msg_6f2d1c3b9a8e4f70\",\"output_index\":0,"
        "\"content_index\":0,\"delta\":\" word\",\"logprobs\":[]}\n\n",
    [QG_PROTO_ANTHROPIC] =
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,"
        "\"delta\":{\"type\":\"text_delta\",\"text\":\" word\"}}\n\n",
};

static void run(qg_proto proto, stream *all, size_t n, size_t n_events,
                const qg_reply_options *from)
{
    qg_reply_options opt = *from;
    qg_slice event = {events[proto], strlen(events[proto])};
    uint64_t out = 0;
    size_t before = mallinfo2().uordblks;
    opt.proto = proto;
    for (size_t i = 0; i < n; i++) {
        all[i].cps = 0;
        if (qg_reply_open(&all[i].reply, &opt, NULL) != QG_OK)
            exit(1);
    }
    double start = now();
    for (size_t k = 0; k < n_events; k++)
        for (size_t i = 0; i < n; i++) {
            qg_reply_feed(all[i].reply, event);
            judge(&all[i]);
            size_t ready = qg_reply_output(all[i].reply).n;
            qg_reply_took(all[i].reply, ready);
            out += ready;
        }
    double seconds = now() - start;
    size_t held = mallinfo2().uordblks - before;
    for (size_t i = 0; i < n; i++)
        qg_reply_close(all[i].reply);
    printf("%-10s %8.2f us/event %10.0f events/s %6.1f KiB/stream (%zu streams, %llu MB out)\n",
           qg_proto_name(proto), 1e6 * seconds / (double)(n * n_events),
           (double)(n * n_events) / seconds, (double)held / (double)n / 1024, n,
           (unsigned long long)(out >> 20));
}

int main(int argc, char **argv)
{
    size_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 2000;
    size_t n_events = argc > 2 ? strtoull(argv[2], NULL, 10) : 200;
    qg_policy *policy;
    qg_policy_view view;
    qg_reply_options opt;
    stream *all = calloc(n ? n : 1, sizeof *all);
    if (!all || qg_policy_default(&policy, NULL) != QG_OK)
        return 1;
    qg_policy_view_of(policy, qg_str(""), qg_str(""), &view);
    qg_reply_options_init(&opt);
    opt.view = &view;
    opt.rules = qg_policy_rules(policy);
    for (int p = 0; p < QG_N_PROTOS; p++)
        if (events[p])
            run((qg_proto)p, all, n, n_events, &opt);
    qg_policy_unref(policy);
    free(all);
    return 0;
}
