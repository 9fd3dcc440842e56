/* GET /: the playground, one page to try the model with.  Three files that are built in; the page
 * takes nothing from elsewhere and may run nothing but its own script. */
#include "serve/serve_priv.h"
#include "svc/page.h"

/* Made by tools/embed from src/serve/playground. */
extern const char qg_embed_page[], qg_embed_page_end[];
extern const char qg_embed_script[], qg_embed_script_end[];
extern const char qg_embed_style[], qg_embed_style_end[];

static void reply_file(qg_http_req *req, const char *type, const char *begin, const char *end)
{
    if (!qg_page_reply(req, type, begin, end))
        qg_serve_json(req, NULL);
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
