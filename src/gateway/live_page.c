/* GET /live: the page of the live view.  Three files that are built in; the page takes nothing from
 * elsewhere, may run nothing but its own script, and holds no text of users: that comes from
 * /v1/admin/live, with the admin key. */
#include "base/mem.h"
#include "gateway/gate.h"

/* Made by tools/embed from src/gateway/live. */
extern const char qg_embed_live_page[], qg_embed_live_page_end[];
extern const char qg_embed_live_script[], qg_embed_live_script_end[];
extern const char qg_embed_live_style[], qg_embed_live_style_end[];

static void reply_file(qg_http_req *req, const char *type, const char *begin, const char *end)
{
    qg_http_answer answer;
    qg_http_answer_init(&answer, 200);
    answer.type = type;
    answer.n = (size_t)(end - begin);
    answer.body = qg_memdup0(begin, answer.n);
    if (!answer.body) {
        qg_gate_fail(req, 503, "unavailable", "Out of memory.");
        return;
    }
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
}

void qg_gate_live_page(qg_gate *g, qg_http_req *req)
{
    qg_slice path = qg_http_path(req);
    (void)g;
    if (qg_slice_is(path, "/live.js"))
        reply_file(req, "text/javascript; charset=utf-8", qg_embed_live_script,
                   qg_embed_live_script_end);
    else if (qg_slice_is(path, "/live.css"))
        reply_file(req, "text/css; charset=utf-8", qg_embed_live_style, qg_embed_live_style_end);
    else
        reply_file(req, "text/html; charset=utf-8", qg_embed_live_page, qg_embed_live_page_end);
}
