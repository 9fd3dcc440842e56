/* POST /tokenize, /detokenize: the model's tokenizer, and its template, for those who count. */
#include "serve/serve_priv.h"

typedef struct tokenize_job {
    qg_serve_job job; /* first */
    int32_t *ids;
    size_t n_ids;
    char *text; /* detokenize: the answer; tokenize: the rendered prompt, not shown */
    size_t n_text;
    bool strings;
} tokenize_job;

/* The engine's own refusals are about meaning. */
static qg_status engine_says(qg_serve_job *job, qg_status rc)
{
    job->fault.schema = false;
    return rc;
}

static qg_status tokenize_read(qg_serve_job *job)
{
    tokenize_job *t = (tokenize_job *)job;
    qg_slice prompt;
    qg_status rc;
    QG_TRY(qg_serve_check_model(job));
    QG_TRY(qg_body_opt_bool(job->root, "body", "return_token_strs", &t->strings, &job->fault));
    QG_TRY(qg_serve_asks(job, 0, "body"));
    if (json_object_get(job->root, "messages")) {
        char *vars;
        if (!json_object_get(job->root, "add_generation_prompt") &&
            json_object_set_new(job->root, "add_generation_prompt", json_true()))
            return engine_says(job, qg_fail(&job->fault.err, QG_ERR_NOMEM, "Out of memory."));
        vars = qg_json_dump(job->root);
        if (!vars)
            return engine_says(job, qg_fail(&job->fault.err, QG_ERR_NOMEM, "Out of memory."));
        rc = qg_render(job->house->engine, (qg_text){vars, strlen(vars)}, &t->text, &t->n_text,
                       &t->ids, &t->n_ids, &job->fault.err);
        qg_free(vars);
        return engine_says(job, rc);
    }
    QG_TRY(qg_body_get_str(job->root, "body", "prompt", &prompt, &job->fault));
    rc = qg_tokenize(job->house->engine, (qg_text){prompt.p, prompt.n}, QG_SPECIAL_PARSE, &t->ids,
                     &t->n_ids, &job->fault.err);
    return engine_says(job, rc);
}

static json_t *token_strings(const tokenize_job *t)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < t->n_ids; i++) {
        char *text = NULL;
        size_t n = 0;
        json_t *one = NULL;
        if (qg_detokenize(t->job.house->engine, &t->ids[i], 1, false, &text, &n, NULL) == QG_OK)
            one = json_stringn(text, n);
        qg_free(text);
        if (json_array_append_new(list, one)) {
            json_decref(list);
            list = NULL;
        }
    }
    return list;
}

static void tokenize_answer(qg_serve_job *job)
{
    tokenize_job *t = (tokenize_job *)job;
    json_t *ids = json_array();
    for (size_t i = 0; ids && i < t->n_ids; i++)
        if (json_array_append_new(ids, json_integer(t->ids[i]))) {
            json_decref(ids);
            ids = NULL;
        }
    qg_serve_reply(job, json_pack("{s:I,s:i,s:o,s:o}", "count", (json_int_t)t->n_ids,
                                  "max_model_len", (int)job->house->info.max_model_len, "tokens",
                                  ids, "token_strs", t->strings ? token_strings(t) : json_null()));
}

static qg_status detokenize_read(qg_serve_job *job)
{
    tokenize_job *t = (tokenize_job *)job;
    json_t *list = NULL, *id;
    size_t i;
    QG_TRY(qg_serve_check_model(job));
    QG_TRY(qg_serve_asks(job, 0, "body"));
    QG_TRY(qg_body_get_array(job->root, "body", "tokens", &list, &job->fault));
    int32_t *ids = qg_arena_calloc(&job->arena, json_array_size(list), sizeof *ids);
    if (!ids)
        return qg_fault_set(&job->fault, job->arena.why, "Out of memory.", "body.tokens");
    json_array_foreach (list, i, id) {
        json_int_t v = json_integer_value(id);
        if (!json_is_integer(id) || v < 0 || v > INT32_MAX)
            return qg_fault_set(&job->fault, QG_ERR_FORMAT, "This is not a token id.",
                                "body.tokens.%zu", i);
        ids[i] = (int32_t)v;
    }
    return engine_says(job, qg_detokenize(job->house->engine, ids, json_array_size(list), false,
                                          &t->text, &t->n_text, &job->fault.err));
}

static void detokenize_answer(qg_serve_job *job)
{
    const tokenize_job *t = (tokenize_job *)job;
    qg_serve_reply(job, json_pack("{s:s%}", "prompt", t->text, t->n_text));
}

static void tokenize_free(qg_serve_job *job)
{
    tokenize_job *t = (tokenize_job *)job;
    qg_free(t->ids);
    qg_free(t->text);
}

void qg_serve_tokenize(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {.size = sizeof(tokenize_job),
                                          .read = tokenize_read,
                                          .answer = tokenize_answer,
                                          .free = tokenize_free};
    qg_serve_judge(srv, req, &how);
}

void qg_serve_detokenize(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {.size = sizeof(tokenize_job),
                                          .read = detokenize_read,
                                          .answer = detokenize_answer,
                                          .free = tokenize_free};
    qg_serve_judge(srv, req, &how);
}
