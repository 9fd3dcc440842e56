/* The calls of qguard.h about text and tokens: no job, no scheduler, any thread. */
#include "engine/engine_int.h"

#include "base/limits.h"
#include "base/mem.h"
#include "text/json.h"

static qg_status need_tok(const qg_engine *e, qg_err *err)
{
    return e && e->tok ? QG_OK
                       : qg_fail(err, QG_ERR_ARG, "the engine was opened without its tokenizer");
}

/* The caller frees with qg_free; never NULL, so that an empty answer differs from none. */
static qg_status give_ids(qg_ids *from, int32_t **ids, size_t *n_ids, qg_err *err)
{
    *n_ids = from->n;
    *ids = from->p ? from->p : qg_malloc(sizeof **ids);
    return *ids ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

static qg_status give_text(qg_buf *from, char **text, size_t *n_bytes, qg_err *err)
{
    *n_bytes = from->n;
    *text = qg_buf_take(from);
    return *text ? QG_OK : qg_fail(err, QG_ERR_NOMEM, "out of memory");
}

qg_status qg_tokenize(const qg_engine *engine, qg_text text, qg_special special, int32_t **ids,
                      size_t *n_ids, qg_err *err)
{
    qg_ids list = {0};
    *ids = NULL;
    *n_ids = 0;
    QG_TRY(need_tok(engine, err));
    qg_status rc = qg_tok_encode(engine->tok, qg_slice_of(text.p, text.n),
                                 special == QG_SPECIAL_PARSE, &list, err);
    if (rc == QG_OK)
        return give_ids(&list, ids, n_ids, err);
    qg_ids_free(&list);
    return rc;
}

qg_status qg_detokenize(const qg_engine *engine, const int32_t *ids, size_t n_ids,
                        bool skip_special, char **text, size_t *n_bytes, qg_err *err)
{
    qg_buf buf;
    *text = NULL;
    *n_bytes = 0;
    QG_TRY(need_tok(engine, err));
    qg_buf_init(&buf, QG_MAX_TEXT_BYTES);
    qg_status rc = qg_tok_decode(engine->tok, ids, n_ids, skip_special, &buf, err);
    if (rc == QG_OK)
        return give_text(&buf, text, n_bytes, err);
    qg_buf_free(&buf);
    return rc;
}

const char *qg_token_bytes(const qg_engine *engine, int32_t id, size_t *n)
{
    qg_slice bytes = engine && engine->tok ? qg_tok_bytes(engine->tok, id) : qg_str("");
    *n = bytes.n;
    return bytes.n ? bytes.p : "";
}

static qg_status render_text_only(const qg_engine *e, const json_t *vars, qg_buf *text, qg_err *err)
{
    qg_rendered r = {0};
    qg_status rc = qg_tmpl_render(e->tmpl, vars, &r, err);
    if (rc == QG_OK && qg_buf_add(text, r.text.p, r.text.n) != QG_OK)
        rc = qg_fail(err, QG_ERR_NOMEM, "out of memory");
    qg_rendered_free(&r);
    return rc;
}

qg_status qg_render(const qg_engine *engine, qg_text vars_json, char **text, size_t *n_bytes,
                    int32_t **ids, size_t *n_ids, qg_err *err)
{
    json_t *vars = NULL;
    qg_buf buf;
    qg_ids list = {0};

    *text = NULL;
    *n_bytes = 0;
    if (ids) {
        *ids = NULL;
        *n_ids = 0;
        QG_TRY(need_tok(engine, err));
    }
    if (!engine || !engine->tmpl)
        return qg_fail(err, QG_ERR_ARG, "the engine was opened without its template");
    qg_buf_init(&buf, QG_MAX_TEXT_BYTES);
    qg_status rc = qg_json_parse(qg_slice_of(vars_json.p, vars_json.n), QG_JSON_NUL, &vars, err);
    if (rc == QG_OK && !json_is_object(vars))
        rc = qg_fail(err, QG_ERR_FORMAT, "the variables must be a JSON object");
    if (rc == QG_OK)
        rc = ids ? qg_guard_render(engine->guard, vars, engine->opt.special, &buf, &list, err)
                 : render_text_only(engine, vars, &buf, err);
    if (rc == QG_OK)
        rc = give_text(&buf, text, n_bytes, err);
    if (rc == QG_OK && ids)
        rc = give_ids(&list, ids, n_ids, err);
    else
        qg_ids_free(&list);
    if (rc != QG_OK) {
        qg_mfree(*text);
        *text = NULL;
    }
    qg_buf_free(&buf);
    json_decref(vars);
    return rc;
}
