#include "svc/page.h"

#include "base/mem.h"

bool qg_page_reply(qg_http_req *req, const char *type, const char *begin, const char *end)
{
    qg_http_answer answer;
    qg_http_answer_init(&answer, 200);
    answer.type = type;
    answer.n = (size_t)(end - begin);
    answer.body = qg_memdup0(begin, answer.n);
    if (!answer.body)
        return false;
    /* Two headers, which a browser takes together: one would not fit QG_HTTP_VALUE_BYTES. */
    qg_http_answer_header(&answer, "Content-Security-Policy",
                          "default-src 'none'; script-src 'self'; style-src 'self'; connect-src "
                          "'self'; img-src data:; base-uri 'none'");
    qg_http_answer_header(&answer, "Content-Security-Policy",
                          "form-action 'none'; frame-ancestors 'none'");
    qg_http_answer_header(&answer, "X-Content-Type-Options", "nosniff");
    qg_http_answer_header(&answer, "Referrer-Policy", "no-referrer");
    qg_http_answer_header(&answer, "Cache-Control", "no-cache");
    qg_http_reply(req, &answer);
    return true;
}
