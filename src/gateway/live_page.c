/* GET /live: the page of the live view.  Three files that are built in; the page takes nothing from
 * elsewhere, may run nothing but its own script, and holds no text of users: that comes from
 * /v1/admin/live, with the admin key. */
#include "gateway/gate.h"
#include "svc/page.h"

/* Made by tools/embed from src/gateway/live. */
extern const char qg_embed_live_page[], qg_embed_live_page_end[];
extern const char qg_embed_live_script[], qg_embed_live_script_end[];
extern const char qg_embed_live_style[], qg_embed_live_style_end[];

static void reply_file(qg_http_req *req, const char *type, const char *begin, const char *end)
{
    if (!qg_page_reply(req, type, begin, end))
        qg_gate_fail(req, 503, "unavailable", "Out of memory.");
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
