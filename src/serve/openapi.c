/* GET /openapi.json: docs/openapi.yaml, which the build turned into JSON. */
#include "base/mem.h"
#include "serve/serve_priv.h"

/* Made by tools/openapi and tools/embed. */
extern const char qg_embed_openapi[], qg_embed_openapi_end[];

void qg_serve_openapi(qg_server *srv, qg_http_req *req)
{
    qg_http_answer answer;
    qg_http_answer_init(&answer, 200);
    answer.type = "application/json";
    answer.n = (size_t)(qg_embed_openapi_end - qg_embed_openapi);
    answer.body = qg_memdup0(qg_embed_openapi, answer.n);
    if (!answer.body) {
        qg_serve_fail_memory(srv, req);
        return;
    }
    qg_http_answer_header(&answer, "Cache-Control", "no-cache");
    qg_http_reply(req, &answer);
}
