/* POST /v1/admin/model: another model takes over (svc/swap.h). */
#include "base/mem.h"
#include "serve/serve_priv.h"
#include "text/json.h"

#include <stdio.h>

static void on_ready(void *ud, qg_http_req *req)
{
    qg_server *srv = ud;
    const qg_swap *s = &srv->swap;
    const qg_house *house = srv->house;
    if (s->swapped && house->second)
        qg_serve_json(req, json_pack("{s:s,s:s,s:s}", "model", house->info.name, "served_as",
                                     house->names[0], "second_model", house->second_info.name));
    else if (s->swapped)
        qg_serve_json(
            req, json_pack("{s:s,s:s}", "model", house->info.name, "served_as", house->names[0]));
    else
        qg_serve_fail(req, &(qg_serve_error){.status = 409,
                                             .type = "ConflictError",
                                             .code = "model_not_changed",
                                             .message = s->err.msg});
}

static void on_gone(void *ud)
{
    (void)ud; /* the model takes over all the same */
}

static void on_free(void *ud)
{
    (void)ud;
}

static bool is_admin(const qg_server *srv, const qg_http_req *req)
{
    const qg_keys keys = {.keys = &srv->opt->admin_key, .n = 1};
    return qg_keys_admit(&keys, req, NULL);
}

/* What the body asks for; NULL where it says nothing. */
typedef struct words {
    char *model, *second;
} words;

static qg_status read_member(const json_t *root, const char *name, char **word, qg_err *err)
{
    qg_slice said = {"", 0};
    QG_TRY(qg_json_opt_str(root, name, &said, err));
    if (said.n && !(*word = qg_memdup0(said.p, said.n)))
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    return QG_OK;
}

static qg_status read_words(const qg_http_req *req, words *w, qg_err *err)
{
    qg_slice body = qg_http_body(req);
    json_t *root = NULL;

    if (!body.n)
        return QG_OK;
    QG_TRY(qg_json_parse(body, 0, &root, err));
    qg_status rc = json_is_object(root) ? read_member(root, "model", &w->model, err)
                                        : qg_fail(err, QG_ERR_FORMAT, "expected an object");
    if (rc == QG_OK)
        rc = read_member(root, "second_model", &w->second, err);
    json_decref(root);
    return rc;
}

/* Words that are not said stay what they are now. */
static qg_status begin(qg_swap *s, const words *w, qg_err *err)
{
    return qg_swap_begin(s, w->model ? w->model : qg_swap_model(s), qg_swap_stream_model(s),
                         w->second ? w->second : qg_swap_second_model(s), err);
}

void qg_serve_admin_model(qg_server *srv, qg_http_req *req)
{
    static const qg_http_waiter waiter = {on_ready, on_gone, on_free};
    qg_serve_room room;
    words w = {NULL, NULL};
    qg_err err;

    if (!srv->opt->admin_key || !is_admin(srv, req)) {
        bool off = !srv->opt->admin_key;
        qg_serve_fail(
            req, &(qg_serve_error){.status = off ? 404 : 401,
                                   .type = off ? "NotFoundError" : "AuthenticationError",
                                   .message = off ? "Not Found" : "This asks for the admin key."});
        return;
    }
    qg_status rc = read_words(req, &w, &err);
    if (rc == QG_OK)
        rc = begin(&srv->swap, &w, &err);
    qg_mfree(w.model);
    qg_mfree(w.second);
    if (rc == QG_OK) {
        srv->swap.req = req;
        qg_http_wait(req, &waiter, srv);
        return;
    }
    snprintf(room.text, sizeof room.text, "%s", err.msg);
    qg_serve_fail(
        req, &(qg_serve_error){.status = rc == QG_ERR_FORMAT ? 400 : 409,
                               .type = rc == QG_ERR_FORMAT ? "BadRequestError" : "ConflictError",
                               .code = rc == QG_ERR_FORMAT ? NULL : "model_not_changed",
                               .message = room.text});
}
