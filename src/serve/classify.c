/* Severity as a classifier's label: POST /classify and /pooling (vLLM), /predict (Text Embeddings
 * Inference) and /v1/models/NAME:predict (KServe).  Labels stand in the order Safe, Controversial,
 * Unsafe. */
#include "serve/serve_priv.h"

#include <stdio.h>

enum { N_LABELS = 3 };

typedef struct classify_job {
    qg_serve_job job; /* first */
    bool batch;       /* predict: an answer per input */
} classify_job;

static double p_of(const qg_result *r, int severity)
{
    if (r->has_p)
        return r->p_severity[severity];
    return (int)r->severity == severity ? 1 : 0;
}

/* ---- vLLM ---- */

static qg_status read_text(qg_serve_job *job, const json_t *text, size_t i, const char *where)
{
    if (!json_is_string(text))
        return qg_fault_set(&job->fault, QG_ERR_FORMAT, "A text to classify must be a string.",
                            "%s", where);
    return qg_serve_ask_text(job, i, "user", qg_json_slice(text));
}

static qg_status read_texts(qg_serve_job *job, const json_t *list, const char *where)
{
    QG_TRY(qg_serve_asks(job, json_array_size(list), where));
    for (size_t i = 0; i < job->n_asks; i++)
        QG_TRY(read_text(job, json_array_get(list, i), i, where));
    return QG_OK;
}

static qg_status classify_read(qg_serve_job *job)
{
    const json_t *input = json_object_get(job->root, "input");
    const json_t *list = json_object_get(job->root, "messages");
    QG_TRY(qg_serve_check_model(job));
    if (json_is_array(input))
        return read_texts(job, input, "body.input");
    QG_TRY(qg_serve_asks(job, 1, "body"));
    if (list) {
        qg_messages messages;
        QG_TRY(qg_messages_read(&job->arena, list, "body.messages", &messages, &job->fault));
        return qg_serve_ask_messages(job, 0, &messages);
    }
    return read_text(job, input, 0, "body.input");
}

static json_t *class_json(const qg_result *r, size_t i)
{
    json_t *p = json_array();
    for (int s = 0; p && s < N_LABELS; s++)
        json_array_append_new(p, json_real(p_of(r, s)));
    return json_pack("{s:I,s:s,s:o,s:i}", "index", (json_int_t)i, "label",
                     qg_severity_name(r->severity), "probs", p, "num_classes", N_LABELS);
}

/* The probabilities alone: what vLLM's pooler gives for a classifier. */
static json_t *pool_json(const qg_result *r, size_t i)
{
    json_t *p = json_array();
    for (int s = 0; p && s < N_LABELS; s++)
        json_array_append_new(p, json_real(p_of(r, s)));
    return json_pack("{s:I,s:s,s:o}", "index", (json_int_t)i, "object", "pooling", "data", p);
}

static void list_answer(qg_serve_job *job, const char *kind,
                        json_t *(*one)(const qg_result *r, size_t i))
{
    char id[QG_HTTP_VALUE_BYTES + 16];
    json_t *data = json_array();
    json_int_t tokens = 0;
    for (size_t i = 0; i < job->n_asks; i++) {
        tokens += job->asks[i].result->n_prompt_tokens;
        json_array_append_new(data, one(job->asks[i].result, i));
    }
    snprintf(id, sizeof id, "%s-%s", kind, qg_http_id(job->req));
    json_t *usage = json_pack("{s:I,s:I,s:i,s:n}", "prompt_tokens", tokens, "total_tokens", tokens,
                              "completion_tokens", 0, "prompt_tokens_details");
    qg_serve_reply(job, json_pack("{s:s,s:s,s:I,s:s,s:o,s:o}", "id", id, "object", "list",
                                  "created", (json_int_t)qg_serve_now(), "model",
                                  job->house->names[0], "data", data, "usage", usage));
}

static void classify_answer(qg_serve_job *job)
{
    list_answer(job, "classify", class_json);
}

static void pooling_answer(qg_serve_job *job)
{
    list_answer(job, "pool", pool_json);
}

/* Vectors of other kinds the model does not have; base64 would be read as floats by nobody here. */
static qg_status pooling_read(qg_serve_job *job)
{
    qg_slice task = {"", 0}, format = {"", 0};
    QG_TRY(qg_body_opt_str(job->root, "body", "task", &task, &job->fault));
    QG_TRY(qg_body_opt_str(job->root, "body", "encoding_format", &format, &job->fault));
    if (task.n && !qg_slice_is(task, "classify"))
        return qg_fault_set(&job->fault, QG_ERR_ARG, "The only task is classify.", "body.task");
    if (format.n && !qg_slice_is(format, "float"))
        return qg_fault_set(&job->fault, QG_ERR_ARG, "The only encoding_format is float.",
                            "body.encoding_format");
    return classify_read(job);
}

void qg_serve_pooling(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {
        .size = sizeof(classify_job), .read = pooling_read, .answer = pooling_answer};
    qg_serve_judge(srv, req, &how);
}

void qg_serve_classify(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {
        .size = sizeof(classify_job), .read = classify_read, .answer = classify_answer};
    qg_serve_judge(srv, req, &how);
}

/* ---- Text Embeddings Inference: ["a","b"] is one pair, [["a"],["b","c"]] a batch ---------------
 */

static qg_status read_input(qg_serve_job *job, size_t i, const json_t *input)
{
    qg_messages m = {.n = json_array_size(input)};
    const json_t *first = json_is_array(input) ? json_array_get(input, 0) : input;
    if (!json_is_array(input))
        return read_text(job, first, i, "inputs");
    if (m.n < 1 || m.n > 2 || !json_is_string(first) ||
        !json_is_string(json_array_get(input, m.n - 1)))
        return qg_fault_set(&job->fault, QG_ERR_FORMAT,
                            "An input is a text or a pair of texts: prompt and response.",
                            "inputs");
    m.p = qg_arena_calloc(&job->arena, m.n, sizeof *m.p);
    if (!m.p)
        return qg_fault_set(&job->fault, job->arena.why, "Out of memory.", "inputs");
    for (size_t k = 0; k < m.n; k++) {
        qg_slice text = qg_json_slice(json_array_get(input, k));
        m.p[k] = (qg_message){k ? "assistant" : "user", {text.p, text.n}};
    }
    return qg_serve_ask_messages(job, i, &m);
}

static qg_status predict_read(qg_serve_job *job)
{
    classify_job *c = (classify_job *)job;
    const json_t *inputs = json_object_get(job->root, "inputs");
    c->batch = json_is_array(json_array_get(inputs, 0));
    QG_TRY(qg_serve_asks(job, c->batch ? json_array_size(inputs) : 1, "inputs"));
    for (size_t i = 0; i < job->n_asks; i++)
        QG_TRY(read_input(job, i, c->batch ? json_array_get(inputs, i) : inputs));
    return QG_OK;
}

/* The most probable label first. */
static json_t *labels_json(const qg_result *r)
{
    json_t *list = json_array();
    bool told[N_LABELS] = {false};
    for (int n = 0; list && n < N_LABELS; n++) {
        int best = -1;
        for (int s = 0; s < N_LABELS; s++)
            if (!told[s] && (best < 0 || p_of(r, s) > p_of(r, best)))
                best = s;
        told[best] = true;
        json_array_append_new(list,
                              json_pack("{s:s,s:f}", "label", qg_severity_name((qg_severity)best),
                                        "score", p_of(r, best)));
    }
    return list;
}

static void predict_answer(qg_serve_job *job)
{
    json_t *all = json_array();
    for (size_t i = 0; i < job->n_asks; i++)
        json_array_append_new(all, labels_json(job->asks[i].result));
    if (!((classify_job *)job)->batch) {
        json_t *one = json_incref(json_array_get(all, 0));
        json_decref(all);
        all = one;
    }
    qg_serve_reply(job, all);
}

json_t *qg_serve_predict_error(qg_serve_error *e)
{
    const char *kind = e->status == 429 ? "Overloaded" : e->status < 500 ? "Validation" : "Backend";
    if (e->status == 400)
        e->status = e->code ? 413 : 422; /* only too long has a code */
    return json_pack("{s:s,s:s}", "error", e->message, "error_type", kind);
}

void qg_serve_predict(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {.size = sizeof(classify_job),
                                          .read = predict_read,
                                          .answer = predict_answer,
                                          .error = qg_serve_predict_error};
    qg_serve_judge(srv, req, &how);
}

void qg_serve_info(qg_server *srv, qg_http_req *req)
{
    json_t *names = json_object(), *ids = json_object();
    for (int s = 0; s < N_LABELS; s++) {
        char number[2] = {(char)('0' + s), 0};
        json_object_set_new(names, number, json_string(qg_severity_name((qg_severity)s)));
        json_object_set_new(ids, qg_severity_name((qg_severity)s), json_integer(s));
    }
    qg_serve_json(req,
                  json_pack("{s:s,s:s,s:i,s:{s:{s:o,s:o}},s:s}", "model_id", srv->house->names[0],
                            "model_dtype", srv->house->info.dtype, "max_input_length",
                            (int)srv->house->info.max_model_len, "model_type", "classifier",
                            "id2label", names, "label2id", ids, "version", QG_VERSION));
}

/* ---- KServe ---- */

static qg_status kserve_read(qg_serve_job *job)
{
    json_t *list = NULL;
    QG_TRY(qg_body_get_array(job->root, "body", "instances", &list, &job->fault));
    return read_texts(job, list, "body.instances");
}

static void kserve_answer(qg_serve_job *job)
{
    json_t *all = json_array();
    for (size_t i = 0; i < job->n_asks; i++) {
        json_t *p = json_object();
        for (int s = 0; s < N_LABELS; s++)
            json_object_set_new(p, qg_severity_name((qg_severity)s),
                                json_real(p_of(job->asks[i].result, s)));
        json_array_append_new(all, p);
    }
    qg_serve_reply(job, json_pack("{s:o}", "predictions", all));
}

void qg_serve_kserve(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {
        .size = sizeof(classify_job), .read = kserve_read, .answer = kserve_answer};
    qg_serve_judge(srv, req, &how);
}
