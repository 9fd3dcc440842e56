/* The fake engine's tokens: one per byte. */
#define _GNU_SOURCE

#include "base/mem.h"
#include "base/status.h"

#include <string.h>

#define FOUR(x)    (char)(x), (char)((x) + 1), (char)((x) + 2), (char)((x) + 3)
#define SIXTEEN(x) FOUR(x), FOUR((x) + 4), FOUR((x) + 8), FOUR((x) + 12)
#define MANY(x)    SIXTEEN(x), SIXTEEN((x) + 16), SIXTEEN((x) + 32), SIXTEEN((x) + 48)
static const char bytes[256] = {MANY(0), MANY(64), MANY(128), MANY(192)};

qg_status qg_detokenize(const qg_engine *engine, const int32_t *ids, size_t n_ids,
                        bool skip_special, char **text, size_t *n_bytes, qg_err *err)
{
    (void)engine;
    (void)skip_special;
    (void)err;
    *text = qg_malloc(n_ids + 1);
    *n_bytes = 0;
    for (size_t i = 0; i < n_ids; i++)
        if (ids[i] < 256)
            (*text)[(*n_bytes)++] = (char)(n_ids == 1 && ids[i] > 127 ? '?' : ids[i]); /* lossy */
    (*text)[*n_bytes] = 0;
    return QG_OK;
}

const char *qg_token_bytes(const qg_engine *engine, int32_t id, size_t *n)
{
    (void)engine;
    *n = id >= 0 && id < 256;
    return *n ? &bytes[id] : "";
}

qg_status qg_tokenize(const qg_engine *engine, qg_text text, qg_special special, int32_t **ids,
                      size_t *n_ids, qg_err *err)
{
    (void)engine;
    (void)special;
    (void)err;
    *ids = qg_calloc(text.n + 1, sizeof **ids);
    *n_ids = text.n;
    for (size_t i = 0; i < text.n; i++)
        (*ids)[i] = (unsigned char)text.p[i];
    return QG_OK;
}

/* The variables themselves, so that a test can see what was asked. */
qg_status qg_render(const qg_engine *engine, qg_text vars_json, char **text, size_t *n_bytes,
                    int32_t **ids, size_t *n_ids, qg_err *err)
{
    if (memmem(vars_json.p, vars_json.n, "template", 8)) {
        *text = NULL;
        return qg_fail(err, QG_ERR_TEMPLATE, "the template raised: no");
    }
    *text = qg_memdup0(vars_json.p, vars_json.n);
    *n_bytes = vars_json.n;
    return ids ? qg_tokenize(engine, vars_json, QG_SPECIAL_TEXT, ids, n_ids, err) : QG_OK;
}

/* Second opinions are the real engine's (tests/http/test_second.py). */
qg_engine *qg_engine_second(const qg_engine *e)
{
    (void)e;
    return NULL;
}

qg_status qg_engine_memory(const qg_options *opt, uint64_t *most, qg_err *err)
{
    (void)opt, (void)err;
    *most = 0;
    return QG_OK;
}

qg_status qg_inspect(const char *model, char **json, qg_err *err)
{
    (void)model;
    *json = NULL;
    return qg_fail(err, QG_ERR_UNSUPPORTED, "not in the fake engine");
}

qg_status qg_judge(qg_engine *engine, const qg_request *request, qg_result **out, qg_err *err)
{
    (void)request;
    return qg_result_make(engine, "user", QG_SAFE, NULL, out, err);
}

qg_status qg_session_judge(qg_session *session, const qg_append *a, qg_stream_result **out,
                           qg_err *err)
{
    (void)session, (void)a;
    *out = qg_calloc(1, sizeof **out);
    return *out ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
}
