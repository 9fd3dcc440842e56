/* POST /: Aliyun's text moderation as APISIX and Higress call it, TextModerationPlus.  Parameters
 * come in the query or as a form; the signature is not looked at, API keys are this server's. */
#define _GNU_SOURCE /* memmem */

#include "serve/outcome.h"

typedef struct aliyun_job {
    qg_serve_job job; /* first */
    bool reply;
} aliyun_job;

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decodes [in, in + n) in place of "%41" and "+"; NULL when out of memory or broken. */
static qg_slice decode(qg_arena *arena, const char *in, size_t n)
{
    char *out = qg_arena_alloc(arena, n + 1);
    size_t k = 0;
    for (size_t i = 0; out && i < n; i++) {
        char c = in[i] == '+' ? ' ' : in[i];
        if (c == '%') {
            int high = i + 2 < n ? hex(in[i + 1]) : -1, low = high < 0 ? -1 : hex(in[i + 2]);
            if (low < 0)
                return qg_slice_of(NULL, 0);
            c = (char)(high * 16 + low);
            i += 2;
        }
        out[k++] = c;
    }
    return qg_slice_of(out, k);
}

/* Value of a form's field; p is NULL when it is not there. */
static qg_slice field(qg_arena *arena, qg_slice form, const char *name)
{
    size_t n = strlen(name);
    const char *at = form.p, *end = form.p + form.n;
    while (at < end) {
        const char *stop = memchr(at, '&', (size_t)(end - at));
        stop = stop ? stop : end;
        if ((size_t)(stop - at) > n && memcmp(at, name, n) == 0 && at[n] == '=')
            return decode(arena, at + n + 1, (size_t)(stop - at) - n - 1);
        at = stop + 1;
    }
    return qg_slice_of(NULL, 0);
}

static qg_slice parameter(qg_serve_job *job, const char *name)
{
    qg_slice value = field(&job->arena, qg_http_body(job->req), name);
    return value.p ? value : field(&job->arena, qg_http_query(job->req), name);
}

static qg_status aliyun_read(qg_serve_job *job)
{
    aliyun_job *a = (aliyun_job *)job;
    qg_slice action = parameter(job, "Action"), service = parameter(job, "Service"),
             parameters = parameter(job, "ServiceParameters"), content;
    if (!qg_slice_is(action, "TextModerationPlus"))
        return qg_fault_set(&job->fault, QG_ERR_ARG, "Action must be TextModerationPlus.",
                            "Action");
    if (!parameters.p)
        return qg_fault_set(&job->fault, QG_ERR_ARG, "ServiceParameters is missing or broken.",
                            "ServiceParameters");
    QG_TRY(qg_body_parse(parameters, &job->root, &job->fault));
    QG_TRY(qg_body_get_str(job->root, "ServiceParameters", "content", &content, &job->fault));
    a->reply = service.p && memmem(service.p, service.n, "response", 8);
    QG_TRY(qg_serve_asks(job, 1, "content"));
    return qg_serve_ask_text(job, 0, a->reply ? "assistant" : "user", content);
}

/* APISIX denies from "high" on, Higress from "max" on: what the policy blocks must stop at both. */
static void aliyun_answer(qg_serve_job *job)
{
    json_t *labels = json_array(), *advice = json_array();
    qg_outcome o;
    qg_serve_outcome(job, 0, &o);
    const char *level = o.block ? "max" : o.hit ? "medium" : "none";
    if (o.hit)
        json_array_append_new(labels, json_pack("{s:s,s:f}", "Label",
                                                o.primary >= 0 ? qg_harms[o.primary].key : "unsafe",
                                                "Confidence", 100 * o.score));
    if (o.block)
        json_array_append_new(advice, json_pack("{s:s}", "Answer", o.message));
    qg_serve_reply(job, json_pack("{s:i,s:s,s:s,s:{s:s,s:o,s:o}}", "Code", 200, "Message", "OK",
                                  "RequestId", qg_http_id(job->req), "Data", "RiskLevel", level,
                                  "Advice", advice, "Result", labels));
}

json_t *qg_serve_aliyun_error(qg_serve_error *e)
{
    return json_pack("{s:i,s:s}", "Code", e->status, "Message", e->message);
}

void qg_serve_aliyun(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {.size = sizeof(aliyun_job),
                                          .read = aliyun_read,
                                          .answer = aliyun_answer,
                                          .error = qg_serve_aliyun_error,
                                          .raw = true,
                                          .opens = true};
    qg_serve_judge(srv, req, &how);
}
