/* POST /v2/guard: Lakera Guard v2, which three gateways speak. */
#include "serve/outcome.h"

static qg_status lakera_read(qg_serve_job *job)
{
    qg_messages messages;
    QG_TRY(qg_messages_read(&job->arena, json_object_get(job->root, "messages"), "body.messages",
                            &messages, &job->fault));
    QG_TRY(qg_serve_asks(job, 1, "body"));
    return qg_serve_ask_messages(job, 0, &messages);
}

static const char *level(double score)
{
    return score >= 0.9    ? "l1_confident"
           : score >= 0.75 ? "l2_very_likely"
           : score > 0.5   ? "l3_likely"
           : score >= 0.25 ? "l4_less_likely"
                           : "l5_unlikely";
}

static json_t *entry(const char *project, const char *key, const char *type, double score,
                     bool detected)
{
    return json_pack("{s:s,s:s,s:s++,s:s,s:b,s:s}", "project_id", project, "policy_id",
                     "qwen3guard", "detector_id", "qwen3guard", "-", key, "detector_type", type,
                     "detected", (int)detected, "result", level(score));
}

/* Every category has its entry; a hit without one has an entry of its own. */
static json_t *breakdown(const qg_outcome *o, const char *project)
{
    json_t *list = json_array();
    for (int i = 0; i < QG_N_HARMS; i++)
        json_array_append_new(list, entry(project, qg_harms[i].key, qg_harms[i].lakera,
                                          o->category[i], i == o->primary));
    if (o->hit && o->primary < 0)
        json_array_append_new(list,
                              entry(project, "unsafe", "moderated_content/other", o->score, true));
    return list;
}

/* LiteLLM takes payload out of the reply and fails without it. */
static void lakera_answer(qg_serve_job *job)
{
    const char *project = json_string_value(json_object_get(job->root, "project_id"));
    qg_outcome o;
    qg_serve_outcome(job, 0, &o);
    qg_serve_reply(job,
                   json_pack("{s:b,s:[],s:o,s:{s:s},s:{s:s}}", "flagged", (int)o.hit, "payload",
                             "breakdown", breakdown(&o, project ? project : "qguard"), "dev_info",
                             "model", job->house->names[0], "metadata", "request_uuid",
                             qg_http_id(job->req)));
}

void qg_serve_lakera(qg_server *srv, qg_http_req *req)
{
    static const qg_serve_protocol how = {
        .size = sizeof(qg_serve_job), .read = lakera_read, .answer = lakera_answer, .opens = true};
    qg_serve_judge(srv, req, &how);
}
