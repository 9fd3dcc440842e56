/* POST /v1/admin/model: other models take over (svc/swap.h). */
#include "base/mem.h"
#include "gateway/gate.h"
#include "text/json.h"

static void reply_names(const qg_gate *g, qg_http_req *req)
{
    qg_http_answer answer;
    qg_engine *gen = qg_gate_gen(g->house);
    json_t *names = json_pack("{s:s,s:s?}", "stream_model", g->house->stream_info.name, "gen_model",
                              gen ? g->house->info.name : NULL);
    if (g->house->second)
        json_object_set_new(names, "second_model", json_string(g->house->second_info.name));
    qg_http_answer_init(&answer, 200);
    answer.type = "application/json";
    answer.body = names ? qg_json_dump(names) : NULL;
    answer.n = answer.body ? strlen(answer.body) : 0;
    json_decref(names);
    if (answer.body)
        qg_http_reply(req, &answer);
    else
        qg_gate_fail(req, 503, "unavailable", "Out of memory.");
}

static void on_ready(void *ud, qg_http_req *req)
{
    const qg_gate *g = ud;
    if (g->swap.swapped)
        reply_names(g, req);
    else
        qg_gate_fail(req, 409, "model_not_changed", g->swap.err.msg);
}

static void on_gone(void *ud)
{
    (void)ud; /* the models take over all the same */
}

static void on_free(void *ud)
{
    (void)ud;
}

typedef struct words {
    char *stream, *gen, *second; /* NULL = as now */
} words;

static qg_status read_word(const json_t *root, const char *key, char **word, qg_err *err)
{
    qg_slice text = {"", 0};
    QG_TRY(qg_json_opt_str(root, key, &text, err));
    if (text.n && !(*word = qg_memdup0(text.p, text.n)))
        return qg_fail(err, QG_ERR_NOMEM, "out of memory");
    return QG_OK;
}

static qg_status read_words(const qg_gate *g, const qg_http_req *req, words *w, qg_err *err)
{
    qg_slice body = qg_http_body(req);
    json_t *root = NULL;
    if (!body.n)
        return QG_OK;
    QG_TRY(qg_json_parse(body, 0, &root, err));
    qg_status rc = QG_OK;
    if (!json_is_object(root) || json_object_get(root, "model"))
        rc = qg_fail(err, QG_ERR_FORMAT, "expected {\"stream_model\": …, \"gen_model\": …}");
    if (rc == QG_OK)
        rc = read_word(root, "stream_model", &w->stream, err);
    if (rc == QG_OK)
        rc = read_word(root, "gen_model", &w->gen, err);
    if (rc == QG_OK)
        rc = read_word(root, "second_model", &w->second, err);
    json_decref(root);
    if (rc == QG_OK && w->gen && !qg_gate_gen(g->house))
        rc = qg_fail(err, QG_ERR_FORMAT, "gen_model: this gateway was begun without one");
    return rc;
}

/* The words of house.h: with a Gen model that is the model, else the Stream model is. */
static qg_status begin(qg_gate *g, const words *w, qg_err *err)
{
    qg_swap *s = &g->swap;
    bool gen = qg_gate_gen(g->house);
    if (!gen)
        return qg_swap_begin(s, w->stream ? w->stream : qg_swap_model(s), NULL, w->second, err);
    return qg_swap_begin(s, w->gen ? w->gen : qg_swap_model(s),
                         w->stream ? w->stream : qg_swap_stream_model(s),
                         w->second ? w->second : qg_swap_second_model(s), err);
}

void qg_gate_admin_model(qg_gate *g, qg_http_req *req)
{
    static const qg_http_waiter waiter = {on_ready, on_gone, on_free};
    words w = {NULL, NULL, NULL};
    qg_err err;
    qg_status rc = read_words(g, req, &w, &err);
    bool bad = rc == QG_ERR_FORMAT;
    if (rc == QG_OK)
        rc = begin(g, &w, &err);
    qg_mfree(w.stream);
    qg_mfree(w.gen);
    qg_mfree(w.second);
    if (rc != QG_OK) {
        qg_gate_fail(req, bad ? 400 : 409, bad ? "invalid_request" : "model_not_changed", err.msg);
        return;
    }
    g->swap.req = req;
    qg_http_wait(req, &waiter, g);
}
