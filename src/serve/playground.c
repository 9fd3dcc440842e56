/* GET /: the playground, one page to try the model with.  Three files that are built in; the page
 * takes nothing from elsewhere and may run nothing but its own script. */
#include "base/mem.h"
#include "serve/serve_priv.h"

/* Made by tools/embed from src/serve/playground. */
extern const char qg_embed_page[], qg_embed_page_end[];
extern const char qg_embed_script[], qg_embed_script_end[];
extern const char qg_embed_style[], qg_embed_style_end[];

static const char policy[] = "default-src 'none'; script-src 'self'; style-src 'self'; "
                             "connect-src 'self'; img-src data:; base-uri 'none'; ";
static const char policy_end[] = "form-action 'none'; frame-ancestors 'none'";

static void reply_file(qg_http_req *req, const char *type, const char *begin, const char *end)
{
    qg_http_answer answer;
    qg_http_answer_init(&answer, 200);
    answer.type = type;
    answer.n = (size_t)(end - begin);
    answer.body = qg_memdup0(begin, answer.n);
    if (!answer.body) {
        qg_serve_json(req, NULL);
        return;
    }
    /* Two headers, which a browser takes together, because one would not fit QG_HTTP_VALUE_BYTES.
     */
    qg_http_answer_header(&answer, "Content-Security-Policy", policy);
    qg_http_answer_header(&answer, "Content-Security-Policy", policy_end);
    qg_http_answer_header(&answer, "X-Content-Type-Options", "nosniff");
    qg_http_answer_header(&answer, "Referrer-Policy", "no-referrer");
    qg_http_answer_header(&answer, "Cache-Control", "no-cache");
    qg_http_reply(req, &answer);
}

void qg_serve_playground(qg_server *srv, qg_http_req *req)
{
    qg_slice path = qg_http_path(req);
    (void)srv;
    if (qg_slice_is(path, "/playground.js"))
        reply_file(req, "text/javascript; charset=utf-8", qg_embed_script, qg_embed_script_end);
    else if (qg_slice_is(path, "/playground.css"))
        reply_file(req, "text/css; charset=utf-8", qg_embed_style, qg_embed_style_end);
    else
        reply_file(req, "text/html; charset=utf-8", qg_embed_page, qg_embed_page_end);
}
