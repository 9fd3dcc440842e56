/* qguard bench stream, long: tokens through the layers. */
#include "cli/bench.h"

#include "base/mem.h"

#include <string.h>

enum { STEPS = 24, MOST_STEP = 16, STREAMS = 32, STREAMS_CONTEXT = 128 };

/* Feeds n ids in the given pieces and leaves the time of each in us. */
static qg_status feed(bench *b, const int32_t *ids, size_t n, const int32_t *pieces,
                      size_t n_pieces, int64_t *us, qg_err *err)
{
    int32_t last = (int32_t)n - 1;
    qg_model_info info;
    qg_engine_info(b->engine, &info);
    size_t width = (size_t)info.vocab_size;
    if (info.stream)
        width = (size_t)(info.n_labels[0] + info.n_labels[1] + info.n_labels[2] + info.n_labels[3]);
    float *logits = qg_malloc(width * sizeof *logits);
    const qg_logits_request req = {
        .ids = ids,
        .n_ids = n,
        .positions = &last,
        .n_positions = 1,
        .splits = pieces,
        .n_splits = n_pieces,
        .split_us = us,
    };
    qg_status rc = logits ? qg_logits(b->engine, &req, logits, err)
                          : qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_mfree(logits);
    return rc;
}

/* A pass of so many conversations with so many tokens each, in the middle of STEPS of them behind
 * context: the larger of reading weights and KV once and of the arithmetic, attention's too. */
static double step_limit(const bench *b, double conversations, double tokens, double context)
{
    double behind = conversations * (context + tokens * STEPS / 2);
    double read = bench_read_ms(&b->limits, behind);
    double compute = bench_compute_ms(&b->limits, conversations * tokens, behind * tokens);
    return read > compute ? read : compute;
}

static qg_status stream_at(bench *b, const int32_t *ids, int32_t context, int32_t step)
{
    int32_t pieces[STEPS + 1] = {context};
    int64_t us[STEPS + 1] = {0};
    char metric[64];

    for (int i = 1; i <= STEPS; i++)
        pieces[i] = step;
    QG_TRY(feed(b, ids, (size_t)(context + STEPS * step), pieces, STEPS + 1, us, &b->err));
    snprintf(metric, sizeof metric, "step%d_ctx%d", step, context);
    bench_latency(&b->out, "stream", metric, us + 1, STEPS, step_limit(b, 1, step, context),
                  "KV kept; without output matrix");
    return QG_OK;
}

/* ---- many streams, a token each ---- */

typedef struct stream {
    bench *b;
    const int32_t *ids;
    int32_t pieces[2 * STEPS + 1];
    int64_t us[2 * STEPS + 1];
    pthread_t thread;
    qg_status rc;
    qg_err err;
} stream;

static void *stream_main(void *arg)
{
    stream *s = arg;
    s->rc =
        feed(s->b, s->ids, STREAMS_CONTEXT + 2 * STEPS, s->pieces, 2 * STEPS + 1, s->us, &s->err);
    return NULL;
}

static qg_status run_streams(bench *b, stream *s, int *started)
{
    for (; *started < STREAMS; ++*started)
        if (pthread_create(&s[*started].thread, NULL, stream_main, &s[*started]))
            return qg_fail(&b->err, QG_ERR_NOMEM, "cannot start a thread");
    return QG_OK;
}

/* Each of 32 jobs is fed its context and then token by token.  The contexts take a few passes, so
 * the first jobs are some steps ahead; the first half of the last one's steps sees all 32. */
static qg_status streams_at_once(bench *b, const int32_t *ids)
{
    stream *s = qg_calloc(STREAMS, sizeof *s);
    int started = 0, slowest = 0;

    if (!s)
        return qg_fail(&b->err, QG_ERR_NOMEM, "out of memory");
    for (int i = 0; i < STREAMS; i++) {
        s[i].b = b;
        s[i].ids = ids + 16 * i;
        s[i].pieces[0] = STREAMS_CONTEXT;
        for (int j = 1; j <= 2 * STEPS; j++)
            s[i].pieces[j] = 1;
    }
    qg_status rc = run_streams(b, s, &started);
    for (int i = 0; i < started; i++) {
        pthread_join(s[i].thread, NULL);
        if (rc == QG_OK && s[i].rc != QG_OK) {
            rc = s[i].rc;
            b->err = s[i].err;
        }
        slowest = s[i].us[0] > s[slowest].us[0] ? i : slowest;
    }
    if (rc == QG_OK)
        bench_latency(&b->out, "stream", "streams32_step1_ctx128", s[slowest].us + 1, STEPS,
                      step_limit(b, STREAMS, 1, STREAMS_CONTEXT),
                      "32 streams a token each; a step of all");
    qg_mfree(s);
    return rc;
}

static qg_status stream_rows(bench *b, const int32_t *ids, int32_t context, bool sessions)
{
    static const int32_t steps[] = {1, MOST_STEP};
    for (size_t i = 0; i < QG_COUNT(steps); i++) {
        QG_TRY(stream_at(b, ids, context, steps[i]));
        if (sessions)
            QG_TRY(bench_session_steps(b, ids, context, steps[i],
                                       step_limit(b, 1, steps[i], context)));
    }
    return QG_OK;
}

static qg_status at_once_rows(bench *b, const int32_t *ids, bool sessions)
{
    QG_TRY(streams_at_once(b, ids));
    return sessions ? bench_sessions_at_once(b, ids, STREAMS_CONTEXT,
                                             step_limit(b, STREAMS, 1, STREAMS_CONTEXT))
                    : QG_OK;
}

qg_status bench_stream(bench *b)
{
    static const int32_t contexts[] = {128, 1024, 4096};
    qg_model_info info;
    int32_t *ids;

    QG_TRY(bench_open(b, true));
    qg_engine_info(b->engine, &info);
    QG_TRY(bench_ids(b->engine, 4096 + STEPS * MOST_STEP, &ids, &b->err));
    qg_status rc = QG_OK;
    for (size_t i = 0; i < QG_COUNT(contexts) && rc == QG_OK; i++)
        if (contexts[i] + STEPS * MOST_STEP <= info.max_model_len)
            rc = stream_rows(b, ids, contexts[i], info.stream);
    if (rc == QG_OK && STREAMS_CONTEXT + 2 * STEPS <= info.max_model_len)
        rc = at_once_rows(b, ids, info.stream);
    qg_free(ids);
    return rc;
}

qg_status bench_long(bench *b)
{
    static const int32_t lengths[] = {4096, 16384};
    qg_model_info info;
    int32_t *ids;

    QG_TRY(bench_open(b, true));
    qg_engine_info(b->engine, &info);
    QG_TRY(bench_ids(b->engine, 16384, &ids, &b->err));
    qg_status rc = QG_OK;
    size_t n = b->args->quick ? 1 : QG_COUNT(lengths);
    for (size_t i = 0; i < n && rc == QG_OK && lengths[i] <= info.max_model_len; i++) {
        double tokens = lengths[i];
        int64_t us = 0;
        char metric[64];
        rc = feed(b, ids, (size_t)lengths[i], &lengths[i], 1, &us, &b->err);
        snprintf(metric, sizeof metric, "prefill_%d", lengths[i]);
        if (rc == QG_OK)
            bench_row(&b->out, "long", metric, (double)us / 1e6, "s",
                      bench_compute_ms(&b->limits, tokens, tokens * (tokens + 1) / 2) / 1e3,
                      "one prompt; limit with attention");
    }
    qg_free(ids);
    return rc;
}
