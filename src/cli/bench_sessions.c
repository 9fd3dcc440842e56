/* qguard bench stream of a Stream model: appends to sessions, from call to verdicts. */
#include "cli/bench.h"

#include <string.h>

enum { STEPS = 24, SESSIONS = 32 };

/* Appends n ids as the open assistant turn and waits. */
static qg_status append(bench *b, qg_session *session, const int32_t *ids, size_t n, int64_t *us)
{
    qg_append a;
    qg_stream_result *result;

    qg_append_init(&a);
    a.role = "assistant";
    a.ids = ids;
    a.n_ids = n;
    int64_t start = qg_now_us();
    QG_TRY(qg_session_judge(session, &a, &result, &b->err));
    *us = qg_now_us() - start;
    qg_stream_result_free(result);
    return QG_OK;
}

qg_status bench_session_steps(bench *b, const int32_t *ids, int32_t context, int32_t step,
                              double limit_ms)
{
    int64_t us[STEPS];
    qg_session *session;
    char metric[64];

    QG_TRY(qg_session_open(&session, b->engine, NULL, &b->err));
    qg_status rc = append(b, session, ids, (size_t)context, &us[0]);
    for (int i = 0; i < STEPS && rc == QG_OK; i++)
        rc = append(b, session, ids + context + i * step, (size_t)step, &us[i]);
    qg_session_close(session);
    if (rc != QG_OK)
        return rc;
    snprintf(metric, sizeof metric, "session_step%d_ctx%d", step, context);
    bench_latency(&b->out, "stream", metric, us, STEPS, limit_ms, "an append; heads included");
    return QG_OK;
}

static void judged(void *ud, qg_status rc, qg_stream_result *result, const qg_err *err)
{
    (void)err;
    qg_stream_result_free(result);
    bench_crowd_arrived(ud, rc);
}

/* One append of n ids to every session, until all are answered. */
static qg_status append_all(bench *b, qg_session **sessions, const int32_t *ids, size_t n,
                            int64_t *us)
{
    bench_crowd crowd;
    qg_append a;
    qg_status rc = QG_OK;

    bench_crowd_init(&crowd);
    qg_append_init(&a);
    a.role = "assistant";
    a.n_ids = n;
    int64_t start = qg_now_us();
    for (int i = 0; i < SESSIONS && rc == QG_OK; i++) {
        a.ids = ids + 16 * i; /* no two alike */
        bench_crowd_add(&crowd, 1);
        rc = qg_session_submit(sessions[i], &a, judged, &crowd, &b->err);
        if (rc != QG_OK)
            bench_crowd_add(&crowd, -1);
    }
    qg_status all = bench_crowd_wait(&crowd, &b->err);
    *us = qg_now_us() - start;
    bench_crowd_free(&crowd);
    return rc == QG_OK ? all : rc;
}

qg_status bench_sessions_at_once(bench *b, const int32_t *ids, int32_t context, double limit_ms)
{
    qg_session *sessions[SESSIONS] = {0};
    int64_t us[STEPS];
    char metric[64];
    qg_status rc = QG_OK;

    for (int i = 0; i < SESSIONS && rc == QG_OK; i++)
        rc = qg_session_open(&sessions[i], b->engine, NULL, &b->err);
    if (rc == QG_OK)
        rc = append_all(b, sessions, ids, (size_t)context, &us[0]);
    for (int i = 0; i < STEPS && rc == QG_OK; i++)
        rc = append_all(b, sessions, ids + context + i, 1, &us[i]);
    for (int i = 0; i < SESSIONS; i++)
        qg_session_close(sessions[i]);
    if (rc != QG_OK)
        return rc;
    snprintf(metric, sizeof metric, "sessions%d_step1_ctx%d", SESSIONS, context);
    bench_latency(&b->out, "stream", metric, us, STEPS, limit_ms,
                  "32 sessions a token each, until all are answered");
    return QG_OK;
}
