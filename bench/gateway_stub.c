/* The gateway with the model left out: `bench_gateway_stub UPSTREAM [HOLD-BACK-POLICY]`.  Every
 * append is one token, judged Safe at once on the caller's thread, so that what is measured is the
 * gateway alone (bench/gateway.py). */
#include "base/clock.h"
#include "base/mem.h"
#include "gateway/gateway.h"

#include <stdio.h>

struct qg_engine {
    int unused;
};
struct qg_session {
    int32_t n_ids;
    uint64_t chars;
};
typedef struct box {
    qg_stream_result pub; /* first */
    qg_token token;
} box;

int64_t qg_now_us(void)
{
    return qg_clock_us();
}

void qg_options_init(qg_options *opt)
{
    *opt = (qg_options){.size = sizeof *opt};
}

qg_status qg_engine_open(qg_engine **out, const qg_options *opt, qg_err *err)
{
    (void)opt;
    *out = qg_calloc(1, sizeof **out);
    return *out ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

void qg_engine_close(qg_engine *engine)
{
    qg_mfree(engine);
}

void qg_engine_info(const qg_engine *engine, qg_model_info *info)
{
    (void)engine;
    *info = (qg_model_info){.name = "stub", .dtype = "none", .kernel = "none", .stream = true};
}

void qg_engine_stats(qg_engine *engine, qg_stats *stats)
{
    (void)engine;
    *stats = (qg_stats){.last_progress_us = qg_now_us()};
}

void qg_session_options_init(qg_session_options *opt)
{
    *opt = (qg_session_options){.size = sizeof *opt};
}

void qg_append_init(qg_append *a)
{
    *a = (qg_append){.size = sizeof *a};
}

qg_status qg_session_open(qg_session **out, qg_engine *engine, const qg_session_options *opt,
                          qg_err *err)
{
    (void)engine;
    (void)opt;
    *out = qg_calloc(1, sizeof **out);
    return *out ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

void qg_session_close(qg_session *session)
{
    qg_mfree(session);
}

void qg_stream_result_free(qg_stream_result *r)
{
    qg_mfree(r);
}

qg_status qg_session_submit(qg_session *s, const qg_append *a, qg_stream_done_fn *done, void *ud,
                            qg_err *err)
{
    uint64_t n = 0;
    box *b = qg_calloc(1, sizeof *b);
    if (!b)
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < a->content.n; i++)
        n += (a->content.p[i] & 0xC0) != 0x80;
    b->token = (qg_token){.role = "assistant",
                          .index = s->n_ids++,
                          .begin = s->chars,
                          .end = s->chars + n,
                          .p_severity = {1, 0, 0},
                          .final = true};
    s->chars = strcmp(a->role, "assistant") ? 0 : s->chars + n;
    b->pub = (qg_stream_result){
        .n_tokens = 1, .tokens = &b->token, .n_ids = s->n_ids, .first_flagged_index = -1};
    done(ud, QG_OK, &b->pub, NULL);
    return QG_OK;
}

/* ---- what the gateway names but does not call here ---------------------------------------------
 */

void qg_request_init(qg_request *req)
{
    *req = (qg_request){.size = sizeof *req};
}

qg_status qg_submit(qg_engine *engine, const qg_request *req, qg_done_fn *done, void *ud,
                    qg_job **job, qg_err *err)
{
    (void)engine;
    (void)req;
    (void)done;
    (void)ud;
    (void)job;
    return qg_fail(err, QG_ERR_UNSUPPORTED, "no Gen model");
}

qg_status qg_judge(qg_engine *engine, const qg_request *request, qg_result **out, qg_err *err)
{
    (void)engine, (void)request, (void)out;
    return qg_fail(err, QG_ERR_UNSUPPORTED, "no Gen model");
}

qg_status qg_session_judge(qg_session *session, const qg_append *a, qg_stream_result **out,
                           qg_err *err)
{
    (void)session, (void)a, (void)out;
    return qg_fail(err, QG_ERR_UNSUPPORTED, "no other model");
}

qg_status qg_render(const qg_engine *engine, qg_text vars, char **text, size_t *n_bytes,
                    int32_t **ids, size_t *n_ids, qg_err *err)
{
    (void)engine, (void)vars, (void)text, (void)n_bytes, (void)ids, (void)n_ids;
    return qg_fail(err, QG_ERR_UNSUPPORTED, "no template");
}

qg_status qg_tokenize(const qg_engine *engine, qg_text text, qg_special special, int32_t **ids,
                      size_t *n_ids, qg_err *err)
{
    (void)engine, (void)text, (void)special, (void)ids, (void)n_ids;
    return qg_fail(err, QG_ERR_UNSUPPORTED, "no tokenizer");
}

const char *qg_token_bytes(const qg_engine *engine, int32_t id, size_t *n)
{
    (void)engine, (void)id;
    *n = 0;
    return "";
}

qg_engine *qg_engine_second(const qg_engine *e)
{
    (void)e;
    return NULL;
}

qg_status qg_engine_memory(const qg_options *opt, uint64_t *bytes, qg_err *err)
{
    (void)opt, (void)bytes;
    return qg_fail(err, QG_ERR_UNSUPPORTED, "no files");
}

qg_status qg_inspect(const char *model, char **json, qg_err *err)
{
    (void)model, (void)json;
    return qg_fail(err, QG_ERR_UNSUPPORTED, "no files");
}

void qg_free(void *p)
{
    (void)p;
}

void qg_cancel(qg_job *job)
{
    (void)job;
}

void qg_job_release(qg_job *job)
{
    (void)job;
}

void qg_result_free(qg_result *result)
{
    (void)result;
}

const char *qg_severity_name(qg_severity severity)
{
    return severity == QG_SAFE ? "Safe" : "Unsafe";
}

const char *qg_category_name(size_t i)
{
    return i < 9 ? "Violent" : NULL;
}

static void log_line(void *ud, qg_gateway_log level, const char *line)
{
    (void)ud;
    if (level == QG_GATEWAY_LOG_NOTE)
        fprintf(stderr, "%s\n", line);
}

int main(int argc, char **argv)
{
    qg_gateway_options opt;
    qg_err err;
    const char *upstream = argc > 1 ? argv[1] : "";
    qg_gateway_options_init(&opt);
    opt.port = 0;
    opt.upstreams = &upstream;
    opt.n_upstreams = 1;
    opt.policy = argc > 2 ? argv[2] : NULL;
    opt.log = log_line;
    if (qg_gateway(&opt, &err) == QG_OK)
        return 0;
    fprintf(stderr, "error: %s\n", err.msg);
    return 1;
}
