#include "serve/swap.h"

#include "base/mem.h"
#include "serve/serve_priv.h"

#include <stdarg.h>
#include <stdio.h>

static const char *or_builtin(const char *word)
{
    return word ? word : "the built-in model";
}

static void note(qg_server *srv, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(qg_server *srv, const char *fmt, ...)
{
    char text[sizeof(qg_err) + 300];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    qg_serve_note(srv, text);
}

static char *copy(const char *s)
{
    return s ? qg_memdup0(s, strlen(s)) : NULL;
}

static void forget(char **s)
{
    qg_mfree(*s);
    *s = NULL;
}

/* ---- the thread ------------------------------------------------------------------------------ */

/* Opened and tried: a model that cannot judge never takes over. */
static qg_status open_fresh(qg_server *srv, qg_swap *s)
{
    const qg_serve_options *opt = srv->opt;
    const qg_house_options ho = {
        .engine = &opt->engine,
        .model = s->path,
        .stream_model = s->stream_path,
        .typed = s->word,
        .names = opt->names,
        .n_names = opt->n_names,
    };
    QG_TRY(qg_house_room(s->path, opt->engine.dtype, &s->err));
    QG_TRY(qg_house_open(&s->fresh, &ho, &s->err));
    if (s->fresh->info.stream != srv->house->info.stream)
        return qg_fail(&s->err, QG_ERR_UNSUPPORTED, "%s: a %s model cannot take a %s model's place",
                       or_builtin(s->path), s->fresh->info.stream ? "Stream" : "Gen",
                       s->fresh->info.stream ? "Gen" : "Stream");
    return qg_house_try(s->fresh, &s->err);
}

/* srv->house stays while this runs: only the tick replaces it, and it waits for us. */
static void *work(void *arg)
{
    qg_server *srv = arg;
    qg_swap *s = &srv->swap;
    if (s->closing) {
        qg_house_close(s->closing);
    } else {
        s->rc = open_fresh(srv, s);
        if (s->rc != QG_OK) {
            qg_house_close(s->fresh);
            s->fresh = NULL;
        }
    }
    atomic_store(&s->done, true);
    return NULL;
}

static bool start(qg_server *srv)
{
    qg_swap *s = &srv->swap;
    atomic_store(&s->done, false);
    s->running = !pthread_create(&s->thread, NULL, work, srv);
    return s->running;
}

/* ---- what is asked for ----------------------------------------------------------------------- */

/* Where a word leads now; NULL with a sentence. */
static char *locate(const qg_server *srv, const char *word, qg_err *err)
{
    char *path = srv->opt->find_model ? srv->opt->find_model(srv->opt->find_ud, word) : copy(word);
    if (!path)
        qg_fail(err, QG_ERR_IO, "%s: no such model, or not whole, in the hub's cache", word);
    return path;
}

static bool find_paths(qg_server *srv, const char *word, qg_err *err)
{
    qg_swap *s = &srv->swap;
    const char *stream = srv->opt->stream_model;

    forget(&s->word);
    forget(&s->path);
    forget(&s->stream_path);
    s->word = copy(word);
    if (word && !(s->path = locate(srv, word, err)))
        return false;
    return !stream || (s->stream_path = locate(srv, stream, err));
}

static void kept(qg_server *srv, const char *why)
{
    note(srv, "model not changed, %s stays: %s", srv->house->info.name, why);
}

/* always: also when the files are the same. */
static qg_status begin(qg_server *srv, const char *word, bool always, qg_err *err)
{
    qg_swap *s = &srv->swap;

    if (s->running)
        return qg_fail(err, QG_ERR_BUSY, "another model is being opened or closed: try again");
    if (!find_paths(srv, word, err))
        return QG_ERR_IO;
    if (!always && qg_house_print(s->path, s->stream_path) == srv->house->print)
        return QG_OK;
    note(srv, "opening %s beside %s", or_builtin(s->path), srv->house->info.name);
    return start(srv) ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "cannot start a thread");
}

static const char *current_word(const qg_server *srv)
{
    return srv->swap.current ? srv->swap.current : srv->opt->engine.model;
}

void qg_swap_look(qg_server *srv)
{
    qg_err err;
    if (srv->swap.running)
        srv->swap.again = true;
    else if (begin(srv, current_word(srv), false, &err) != QG_OK)
        kept(srv, err.msg);
}

/* ---- what comes of it ------------------------------------------------------------------------ */

static void take_over(qg_server *srv)
{
    qg_swap *s = &srv->swap;
    qg_house *old = srv->house;

    note(srv, "%s serves now in the place of %s", s->fresh->info.name, old->info.name);
    srv->house = s->fresh;
    s->fresh = NULL;
    srv->done_before = srv->shown_done;
    srv->closed = false;
    old->next = s->retired;
    s->retired = old;
    qg_mfree(s->current);
    s->current = s->word;
    srv->house->name = srv->house->name == s->word ? s->current : srv->house->name;
    s->word = NULL;
}

static void finish(qg_server *srv)
{
    qg_swap *s = &srv->swap;
    pthread_join(s->thread, NULL);
    s->running = false;
    if (s->closing) {
        s->closing = NULL;
        return;
    }
    s->swapped = s->rc == QG_OK;
    if (s->swapped)
        take_over(srv);
    else
        kept(srv, s->err.msg);
    if (s->req)
        qg_http_post(s->req);
    s->req = NULL;
}

/* One reference is left: the server's own. */
static qg_house *take_unused(qg_swap *s)
{
    for (qg_house **at = &s->retired; *at; at = &(*at)->next)
        if (atomic_load(&(*at)->refs) == 1) {
            qg_house *house = *at;
            *at = house->next;
            return house;
        }
    return NULL;
}

void qg_swap_tick(qg_server *srv)
{
    qg_swap *s = &srv->swap;
    if (s->running && atomic_load(&s->done))
        finish(srv);
    if (s->running)
        return;
    s->closing = take_unused(s);
    if (s->closing && !start(srv)) {
        s->closing->next = s->retired;
        s->retired = s->closing;
        s->closing = NULL;
    } else if (!s->closing && s->again) {
        s->again = false;
        qg_swap_look(srv);
    }
}

void qg_swap_end(qg_server *srv)
{
    qg_swap *s = &srv->swap;
    if (s->running)
        finish(srv);
    for (qg_house *h = s->retired; h; h = h->next)
        qg_house_shut(h);
    if (srv->house)
        qg_house_shut(srv->house);
}

void qg_swap_free(qg_server *srv)
{
    qg_swap *s = &srv->swap;
    while (s->retired) {
        qg_house *house = s->retired;
        s->retired = house->next;
        qg_house_close(house);
    }
    qg_house_close(srv->house);
    srv->house = NULL;
    forget(&s->word);
    forget(&s->path);
    forget(&s->stream_path);
    forget(&s->current);
}

/* ---- POST /v1/admin/model -------------------------------------------------------------------- */

static void on_ready(void *ud, qg_http_req *req)
{
    qg_server *srv = ud;
    const qg_swap *s = &srv->swap;
    if (s->swapped)
        qg_serve_json(req, json_pack("{s:s,s:s}", "model", srv->house->info.name, "served_as",
                                     srv->house->names[0]));
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

static qg_status read_word(const qg_http_req *req, char **word, qg_err *err)
{
    qg_slice model = {"", 0}, body = qg_http_body(req);
    json_t *root = NULL;

    *word = NULL;
    if (!body.n)
        return QG_OK;
    QG_TRY(qg_json_parse(body, 0, &root, err));
    qg_status rc = json_is_object(root) ? qg_json_opt_str(root, "model", &model, err)
                                        : qg_fail(err, QG_ERR_FORMAT, "expected an object");
    if (rc == QG_OK && model.n && !(*word = qg_memdup0(model.p, model.n)))
        rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
    json_decref(root);
    return rc;
}

void qg_serve_admin_model(qg_server *srv, qg_http_req *req)
{
    static const qg_http_waiter waiter = {on_ready, on_gone, on_free};
    qg_serve_room room;
    char *word = NULL;
    qg_err err;

    if (!srv->opt->admin_key || !is_admin(srv, req)) {
        bool off = !srv->opt->admin_key;
        qg_serve_fail(
            req, &(qg_serve_error){.status = off ? 404 : 401,
                                   .type = off ? "NotFoundError" : "AuthenticationError",
                                   .message = off ? "Not Found" : "This asks for the admin key."});
        return;
    }
    qg_status rc = read_word(req, &word, &err);
    if (rc == QG_OK)
        rc = begin(srv, word ? word : current_word(srv), true, &err);
    qg_mfree(word);
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
