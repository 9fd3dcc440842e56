/* GET /v1/models, GET /v1/models/{id}: one card per served name. */
#define _GNU_SOURCE

#include "serve/serve_priv.h"
#include "text/utf8.h"

#include <stdio.h>

static qg_slice last_part(qg_slice name)
{
    const char *slash = memrchr(name.p, '/', name.n);
    size_t skip = slash ? (size_t)(slash - name.p) + 1 : 0;
    return qg_slice_of(name.p + skip, name.n - skip);
}

/* Clients name a model as its hub does ("Qwen/X") where the server may have been given a folder:
 * unless names were chosen, the last part decides. */
bool qg_serve_knows(const qg_house *house, qg_slice name)
{
    if (name.n == 0)
        return true;
    for (size_t i = 0; i < house->n_names; i++)
        if (qg_slice_is(name, house->names[i]))
            return true;
    return !house->chosen && qg_slice_is(last_part(name), house->info.name);
}

bool qg_serve_knows_stream(const qg_server *srv, qg_slice name)
{
    const char *typed = srv->opt->stream_model;
    if (srv->house->stream && srv->house->stream == srv->house->engine &&
        qg_serve_knows(srv->house, name))
        return true;
    return name.n == 0 || (typed && qg_slice_is(name, typed)) ||
           (srv->house->stream && qg_slice_is(last_part(name), srv->house->stream_info.name));
}

qg_serve_error qg_serve_error_of_model(qg_slice name, qg_serve_room *room)
{
    enum { SHOWN = 200 };
    /* Not in the middle of a character; a path or a header may hold what is none. */
    size_t n = qg_utf8_valid_prefix(qg_slice_of(name.p, name.n < SHOWN ? name.n : SHOWN));
    snprintf(room->text, sizeof room->text, "The model `%.*s` does not exist.", (int)n, name.p);
    return (qg_serve_error){
        .status = 404,
        .type = "NotFoundError",
        .param = "model",
        .code = "model_not_found",
        .message = room->text,
    };
}

static json_t *card(const qg_server *srv, const char *name, const qg_model_info *info)
{
    return json_pack("{s:s,s:s,s:I,s:s,s:s,s:n,s:i,s:[]}", "id", name, "object", "model", "created",
                     (json_int_t)srv->created, "owned_by", "qguard", "root", info->name, "parent",
                     "max_model_len", (int)info->max_model_len, "permission");
}

/* A Stream model of its own, beside the one that is served, has a card as well. */
static bool has_stream_beside(const qg_server *srv)
{
    return srv->house->stream && srv->house->stream != srv->house->engine;
}

void qg_serve_models(qg_server *srv, qg_http_req *req)
{
    json_t *cards = json_array();
    bool ok = cards != NULL;
    for (size_t i = 0; ok && i < srv->house->n_names; i++)
        ok = json_array_append_new(cards, card(srv, srv->house->names[i], &srv->house->info)) == 0;
    if (ok && has_stream_beside(srv))
        ok = json_array_append_new(
                 cards, card(srv, srv->house->stream_info.name, &srv->house->stream_info)) == 0;
    if (!ok) {
        json_decref(cards);
        cards = NULL;
    }
    qg_serve_json(req, cards ? json_pack("{s:s,s:o}", "object", "list", "data", cards) : NULL);
}

void qg_serve_model(qg_server *srv, qg_http_req *req)
{
    static const char prefix[] = "/v1/models/";
    qg_slice path = qg_http_path(req);
    qg_slice name = qg_slice_of(path.p + sizeof prefix - 1, path.n - (sizeof prefix - 1));
    for (size_t i = 0; i < srv->house->n_names; i++)
        if (qg_slice_is(name, srv->house->names[i])) {
            qg_serve_json(req, card(srv, srv->house->names[i], &srv->house->info));
            return;
        }
    if (qg_serve_knows(srv->house, name)) {
        qg_serve_json(req, card(srv, srv->house->names[0], &srv->house->info));
        return;
    }
    if (has_stream_beside(srv) && name.n && qg_serve_knows_stream(srv, name)) {
        qg_serve_json(req, card(srv, srv->house->stream_info.name, &srv->house->stream_info));
        return;
    }
    qg_serve_room room;
    qg_serve_error error = qg_serve_error_of_model(name, &room);
    qg_serve_fail(req, &error);
}
