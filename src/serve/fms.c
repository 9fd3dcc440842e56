/* The detector API of the FMS guardrails orchestrator (TrustyAI, OpenShift AI), as detector
 * "qwen3guard": a detection is a hit, no detection is a pass. */
#include "serve/outcome.h"
#include "text/utf8.h"

typedef struct fms_job {
    qg_serve_job job; /* first */
    double threshold; /* 0 = as the policy says */
} fms_job;

/* LiteLLM puts whatever was configured into the header; NeMo sends none. */
static qg_status check_detector(qg_serve_job *job)
{
    qg_slice id = qg_http_header(job->req, "detector-id");
    if (id.n == 0 || qg_slice_is(id, "qwen3guard") || qg_serve_knows(job->house, id))
        return QG_OK;
    job->unknown_model = id;
    return QG_ERR_UNSUPPORTED;
}

static qg_status read_params(qg_serve_job *job)
{
    json_t *params = NULL;
    QG_TRY(check_detector(job));
    QG_TRY(qg_body_opt_object(job->root, "body", "detector_params", &params, &job->fault));
    if (!params)
        return QG_OK;
    return qg_body_opt_num(params, "body.detector_params", "threshold", 0, 1,
                           &((fms_job *)job)->threshold, &job->fault);
}

static qg_status contents_read(qg_serve_job *job)
{
    json_t *list, *text;
    size_t i;
    QG_TRY(read_params(job));
    QG_TRY(qg_body_get_array(job->root, "body", "contents", &list, &job->fault));
    QG_TRY(qg_serve_asks(job, json_array_size(list), "body.contents"));
    json_array_foreach (list, i, text) {
        if (!json_is_string(text))
            return qg_fault_set(&job->fault, QG_ERR_FORMAT, "contents must be strings.",
                                "body.contents.%zu", i);
        QG_TRY(qg_serve_ask_text(job, i, "user", qg_json_slice(text)));
    }
    return QG_OK;
}

static qg_status chat_read(qg_serve_job *job)
{
    qg_messages messages;
    QG_TRY(read_params(job));
    QG_TRY(qg_messages_read(&job->arena, json_object_get(job->root, "messages"), "body.messages",
                            &messages, &job->fault));
    QG_TRY(qg_serve_asks(job, 1, "body"));
    return qg_serve_ask_messages(job, 0, &messages);
}

static qg_status generation_read(qg_serve_job *job)
{
    qg_slice prompt, said;
    QG_TRY(read_params(job));
    QG_TRY(qg_body_get_str(job->root, "body", "prompt", &prompt, &job->fault));
    QG_TRY(qg_body_get_str(job->root, "body", "generated_text", &said, &job->fault));
    qg_message *m = qg_arena_calloc(&job->arena, 2, sizeof *m);
    QG_TRY(qg_serve_asks(job, 1, "body"));
    if (!m)
        return qg_fault_set(&job->fault, job->arena.why, "Out of memory.", "body");
    m[0] = (qg_message){"user", {prompt.p, prompt.n}};
    m[1] = (qg_message){"assistant", {said.p, said.n}};
    return qg_serve_ask_messages(job, 0, &(qg_messages){m, 2});
}

/* text: of contents, whole; p is NULL where there is no place to tell.  NULL = no detection. */
static json_t *detection(const qg_serve_job *job, size_t i, qg_slice text)
{
    double threshold = ((const fms_job *)job)->threshold;
    qg_outcome o;
    qg_serve_outcome(job, i, &o);
    if (threshold > 0 ? o.p_hit < threshold : !o.hit)
        return NULL;
    double score = threshold > 0 ? o.p_hit : o.score;
    bool unsafe = strcmp(o.severity, "Controversial") != 0;
    json_t *label =
        json_pack("[{s:s,s:s,s:f}]", "name", "label", "value", o.severity, "score", score);
    json_t *d = json_pack("{s:s,s:s,s:f,s:o}", "detection", o.category_name, "detection_type",
                          unsafe ? "qwen3guard_unsafe" : "qwen3guard_controversial", "score", score,
                          "evidence", label);
    if (d && o.refusal)
        json_object_set_new(d, "metadata", json_pack("{s:s}", "refusal", o.refusal));
    if (d && text.p) {
        json_object_set_new(d, "start", json_integer(0));
        json_object_set_new(d, "end", json_integer((json_int_t)qg_utf8_count(text)));
        json_object_set_new(d, "text", json_stringn(text.p, text.n));
    }
    return d;
}

static json_t *list_of(json_t *d)
{
    json_t *list = json_array();
    if (d)
        json_array_append_new(list, d);
    return list;
}

static void contents_answer(qg_serve_job *job)
{
    const json_t *contents = json_object_get(job->root, "contents");
    json_t *all = json_array();
    for (size_t i = 0; i < job->n_asks; i++)
        json_array_append_new(
            all, list_of(detection(job, i, qg_json_slice(json_array_get(contents, i)))));
    qg_serve_reply(job, all);
}

static void one_answer(qg_serve_job *job)
{
    qg_serve_reply(job, list_of(detection(job, 0, qg_slice_of(NULL, 0))));
}

/* The orchestrator's own detection route, which LiteLLM can call in its place. */
static qg_status content_read(qg_serve_job *job)
{
    qg_slice text;
    QG_TRY(qg_body_get_str(job->root, "body", "content", &text, &job->fault));
    QG_TRY(qg_serve_asks(job, 1, "body"));
    return qg_serve_ask_text(job, 0, "user", text);
}

static void content_answer(qg_serve_job *job)
{
    json_t *d = detection(job, 0, qg_json_slice(json_object_get(job->root, "content")));
    if (d)
        json_object_set_new(d, "detector_id", json_string("qwen3guard"));
    qg_serve_reply(job, json_pack("{s:o}", "detections", list_of(d)));
}

/* A code that is no HTTP status makes the orchestrator panic. */
json_t *qg_serve_fms_error(qg_serve_error *e)
{
    if (e->status == 400)
        e->status = 422;
    return json_pack("{s:i,s:s}", "code", e->status, "message", e->message);
}

void qg_serve_fms_contents(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {sizeof(fms_job), contents_read, contents_answer,
                                          .error = qg_serve_fms_error, .opens = true};
    qg_serve_judge(srv, req, &how);
}

void qg_serve_fms_chat(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {sizeof(fms_job), chat_read, one_answer,
                                          .error = qg_serve_fms_error, .opens = true};
    qg_serve_judge(srv, req, &how);
}

void qg_serve_fms_generation(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {sizeof(fms_job), generation_read, one_answer,
                                          .error = qg_serve_fms_error, .opens = true};
    qg_serve_judge(srv, req, &how);
}

void qg_serve_fms_content(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {sizeof(fms_job), content_read, content_answer,
                                          .error = qg_serve_fms_error, .opens = true};
    qg_serve_judge(srv, req, &how);
}
