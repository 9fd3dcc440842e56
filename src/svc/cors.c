#include "svc/cors.h"

#include "text/json.h"

#include <stdio.h>

static qg_status parse(qg_cors *cors, const char *spec, qg_err *err)
{
    size_t i;
    json_t *one;
    if (spec[0] == '[')
        QG_TRY(qg_json_parse(qg_str(spec), 0, &cors->origins, err));
    else
        cors->origins = json_pack("[s]", spec);
    json_array_foreach (cors->origins, i, one) {
        if (!json_is_string(one))
            return QG_ERR_FORMAT;
        cors->all |= qg_slice_is(qg_json_slice(one), "*");
    }
    return cors->origins ? QG_OK : QG_ERR_FORMAT;
}

qg_status qg_cors_open(qg_cors *cors, const char *spec, qg_err *err)
{
    *cors = (qg_cors){.origins = NULL};
    if (!spec || !*spec || parse(cors, spec, NULL) == QG_OK)
        return QG_OK;
    qg_cors_close(cors);
    return qg_fail(err, QG_ERR_ARG,
                   "allowed origins: \"%s\" is neither an origin nor a JSON list of origins", spec);
}

void qg_cors_close(qg_cors *cors)
{
    json_decref(cors->origins);
    cors->origins = NULL;
}

static bool allowed(const qg_cors *cors, qg_slice origin)
{
    size_t i;
    const json_t *one;
    json_array_foreach (cors->origins, i, one)
        if (qg_slice_eq(qg_json_slice(one), origin))
            return true;
    return cors->all;
}

void qg_cors_dress(const qg_cors *cors, const qg_http_req *req, qg_http_answer *answer)
{
    qg_slice origin = qg_http_header(req, "Origin");
    char value[QG_HTTP_VALUE_BYTES];
    if (!origin.n || origin.n >= sizeof value || !allowed(cors, origin))
        return;
    snprintf(value, sizeof value, "%.*s", (int)origin.n, origin.p);
    qg_http_answer_header(answer, "Access-Control-Allow-Origin", cors->all ? "*" : value);
    if (!cors->all)
        qg_http_answer_header(answer, "Vary", "Origin");
    qg_http_answer_header(answer, "Access-Control-Expose-Headers",
                          "X-Request-Id, Retry-After, X-Qguard-Windows");
    if (!qg_http_header(req, "Access-Control-Request-Method").n)
        return;
    /* Authorization is not part of "*". */
    qg_http_answer_header(answer, "Access-Control-Allow-Methods", "GET, HEAD, POST, OPTIONS");
    qg_http_answer_header(answer, "Access-Control-Allow-Headers", "Authorization, *");
    qg_http_answer_header(answer, "Access-Control-Max-Age", "600");
}
